//! Consumers on both transports, and looking into Kafka, on real databases and a real broker.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../../store/tests/it/backend.rs"]
#[allow(dead_code, unused_imports, unused_macros)] // The store's tests use more of it.
mod backend;
mod browse;
#[path = "../../../store/tests/it/calls.rs"]
#[allow(dead_code)]
mod calls;
mod control;
mod letters;
mod recorder;
mod records;
mod runtime;
mod shared_place;
