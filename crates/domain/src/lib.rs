//! Money and what may happen to it: values and pure functions. No I/O, no async, no clock and no
//! randomness; time and ids are passed in.
//!
//! [`decide::decide`] turns a [`command::Command`] into events or a [`refusal::Refusal`]; and
//! [`state::State::apply`] folds an event into the state. The state *is* the fold of the events:
//! there is no second way to change it, so folding the log gives exactly the tables.

pub mod bank;
pub mod chain;
pub mod command;
pub mod currency;
pub mod decide;
pub mod event;
pub mod id;
pub mod lane;
pub mod ledger;
pub mod merchant;
pub mod money;
pub mod payment;
pub mod refusal;
pub mod state;
pub mod time;
pub mod withdrawal;
