//! The event system: from the log to consumers.
//!
//! A [`consumer::Consumer`] says which streams it reads and what it does with an event. The
//! [`runtime`] owns the rest: order, batches, positions, retries, dead letters, stopping. [`lag`] says
//! how far behind a consumer is.

pub mod consumer;
mod dead_letter;
pub mod lag;
mod position;
pub mod runtime;
