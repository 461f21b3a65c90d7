//! Keys, operators, sessions and approvals over both back ends, as the API and the console see them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod approvals;
mod audit;
mod backend;
mod keys;
mod operators;
mod plans;
mod sessions;
mod views;
