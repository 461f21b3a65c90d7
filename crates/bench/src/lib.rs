//! A load with a verdict: asks a platform for payments as many callers at once would, measures how long they wait, and
//! afterwards checks that what was acknowledged is what the ledger holds.
//!
//! A request goes [`pace`] (when) → [`caller`] (what) → [`connection`] (how) → [`tally`] (how it ended: latencies in
//! [`recorder`], changes in [`books`] and [`journal`]). [`load`] runs it all, [`check`] compares at the end, and
//! [`report`] is what is shown. [`compare`] puts the same load on the program and on others, side by side.

pub mod address;
pub mod books;
pub mod caller;
pub mod check;
pub mod compare;
pub mod connection;
pub mod http;
pub mod in_process;
pub mod journal;
pub mod load;
pub mod machine;
pub mod mix;
pub mod operation;
pub mod pace;
pub mod random;
pub mod recorder;
pub mod report;
pub mod spread;
pub mod tally;
