//! The operations console: what people look at and do on port 8080, and what machines ask for there.
//!
//! Pages are made on the server from the tables, the log and Kafka; they work without JavaScript. Every list goes by
//! keyset and looks at a bounded number of rows. What changes something is a POST that proves where it came from
//! ([`guard`]), and goes the same way as the API's: a command to the writer.

mod assets;
mod bulk;
mod change;
mod debug;
mod early;
mod fault;
mod fields;
mod flow;
mod four_eyes;
mod guard;
mod kept;
mod layout;
mod list;
mod machine;
mod messages;
mod pages;
mod pulse;
mod router;
mod server;
mod show;
mod state;

pub use server::serve;
pub use state::{Parts, Setting, TRACE_ID, Transport};
