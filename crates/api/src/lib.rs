//! The public HTTP API: parses requests into commands and queries of the domain, hands them to the
//! store, and shows what came back in the shapes of the wire contract.
//!
//! A request goes [`server`] (connections) → [`edge`] (request id, panics, problems, CORS, gzip) →
//! [`mod@access`] (who asks, and whether they may) → [`router`] (every route) → one file a resource. What is
//! read from outside goes through [`parse`] (bodies) or [`query`] (the query string), which name every wrong field at
//! once; every error leaves as a [`problem`] (RFC 9457) of a kind from the table in [`problem_kind`].

pub mod access;
mod admin;
mod analytics;
pub mod answer;
mod balances;
mod body;
mod change;
mod decimal;
mod edge;
mod event_stream;
pub mod health;
mod idempotency;
mod json;
mod merchants;
mod observe;
mod openapi;
mod page;
mod parse;
mod path;
mod payment_filter;
pub mod payment_rows;
mod payments;
mod payments_export;
mod problem;
mod problem_kind;
mod query;
mod request_id;
mod request_log;
mod request_schema;
mod revenue;
mod router;
mod schema;
pub mod schema_registry;
pub mod server;
mod state;
mod suggest;
pub mod text;
mod tls;
mod unread;
mod withdrawals;

pub use health::Health;
pub use observe::observe;
pub use openapi::openapi_json;
pub use request_id::{X_REQUEST_ID, request_id};
pub use server::{Parts, Settings, serve};
pub use tls::{Tls, TlsError};
