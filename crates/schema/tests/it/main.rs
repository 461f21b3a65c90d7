//! The schemas, held together with the types of the domain in both directions, and with a library that knows Avro.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bytes;
mod catalogue;
mod compatibility;
mod documents;
mod types;
