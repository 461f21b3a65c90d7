//! The event system: from the log to consumers, and to Kafka.
//!
//! A [`consumer::Consumer`] says which streams it reads and what it does with an event. The [`engine`] owns the
//! rest: order, positions, retries, dead letters. Two transports feed it: the log table itself ([`runtime`]) and
//! Kafka ([`kafka::group`]). The [`relay`] copies the log to Kafka. [`lag`] says how far behind a consumer is.

pub mod consumer;
pub mod control;
pub mod dead_letter;
pub mod engine;
#[cfg(debug_assertions)]
pub mod fail;
pub mod kafka;
pub mod lag;
pub mod letter_runs;
pub mod letters;
mod measure;
pub mod position;
pub mod redrive;
pub mod relay;
pub mod replay;
pub mod runtime;
