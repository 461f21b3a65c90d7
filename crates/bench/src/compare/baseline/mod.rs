//! What the program is compared with: others' code that does the same work, or less.

pub mod pgbench;
pub mod producer;
pub mod sqlite;
