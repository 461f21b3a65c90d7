//! The schemas of the events: every version of every event in Avro, from `schemas/`, and how an event is written by one of
//! them and read back. It does no input or output.

pub mod catalogue;
pub mod codec;
pub mod compatibility;
pub mod documents;
pub mod frame;
pub mod headers;
