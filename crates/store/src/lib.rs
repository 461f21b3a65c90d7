//! Lanes, batches, the event log and queries: the only place with SQL.
//!
//! [`Store::submit`] hands a command to the [`writer`] of its lane, which commits many commands at once:
//! [`batch`] decides them, [`session`] is the trait behind which [`sqlite`] and [`postgres`] stand.
//! [`lookup`] and [`queries`] read the tables, [`log`] the event log, and [`Store::begin`] gives a consumer the
//! transaction that carries its effect and its position.

pub mod audit;
pub mod batch;
pub mod browse;
pub mod daily_totals;
pub mod error;
pub mod fault;
pub mod find;
pub mod log;
pub mod lookup;
mod measure;
pub mod merchant_log;
pub mod merchants;
mod migrate;
pub mod origins;
mod postgres;
pub mod queries;
pub mod recent;
pub mod request;
pub mod request_log;
pub mod reviews;
mod rows;
mod sealing;
pub mod session;
pub mod sql;
mod sqlite;
pub mod statement;
mod store;
pub mod tables;
mod writer;

pub use sqlite::memory;
pub use store::{Clock, Commits, Location, Parts, Run, Settings, Store, migrate, open_reads};
