//! A simulation of the whole: the real domain, writer, relay and consumers, over a database and a Kafka in memory and a
//! clock that is turned by hand, while everything that can go wrong goes wrong. One seed decides all of it.
//!
//! [`run`] takes a [`Schedule`] and gives what it broke, if anything; [`shrink`] cuts a schedule that breaks something to
//! the few steps that do. What must hold is in [`check`]. That it can see is shown by [`store::fault`]: rules of the design
//! that are deliberately not kept, each of which must be found.

mod callers;
mod chaos;
mod check;
mod client;
mod consumer;
mod database;
mod kafka;
mod node;
pub mod schedule;
mod schemas;
mod shrink;
mod world;

pub use schedule::Schedule;
pub use shrink::shrink;
pub use world::{Outcome, run};
