//! The store over both back ends, as its callers see it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod backend;
mod calls;
mod check;
mod finding;
mod flow;
mod invariants;
mod origins;
mod plans;
mod proxy;
mod recent;
mod recovery;
mod request_log;
