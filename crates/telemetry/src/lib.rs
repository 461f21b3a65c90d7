//! What the program tells about itself: [`metrics`], each declared once, [`trace`]s, and how its [`tasks`] fare.
//!
//! They belong to the process, as its log lines do, so they are asked for and not handed around. This crate knows nobody.

pub mod metrics;
pub mod tasks;
pub mod trace;

pub use metrics::{Metrics, metrics};
