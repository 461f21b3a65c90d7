//! Who may do what: API keys, operators and their sessions, and what needs two of them.
//!
//! A program that calls the API has a key ([`keys`]); [`Access::key`] says whose it is, from memory, in well under 5 µs.
//! A person who opens the console is an operator ([`operators`]) with a session ([`sessions`]); what its role allows
//! stands in one table ([`OperatorRole::may`]). What nobody may do alone is asked for and decided by another one
//! ([`approvals`]). Everything here that changes something leaves a line in the audit log, in the same transaction.
//!
//! No secret is kept: of keys and of sessions' tokens there is a SHA-256, of passwords an argon2id. HTTP is not known here.

mod access;
pub mod approvals;
mod cache;
mod caller;
mod error;
pub mod keys;
mod last_use;
pub mod operators;
mod password;
mod permission;
mod secret;
pub mod sessions;
pub mod throttle;
pub mod views;

pub use access::{Access, VerifiedKey};
pub use caller::{Caller, Mode, Role, Scope, UnknownRole};
pub use error::{AccessError, KeyRefusal, SignInRefusal};
pub use password::PASSWORD_CHARS_MIN;
pub use permission::{OperatorRole, Permission};
pub use secret::Secret;
