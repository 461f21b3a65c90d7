//! What black-box tests share: the real program on either database, a client, and things to pay with.

pub mod backend;
pub mod browser;
pub mod client;
pub mod collector;
pub mod events;
pub mod fixtures;
pub mod kafka;
pub mod listener;
pub mod pages;
pub mod program;
pub mod server;
pub mod services;
pub mod wire;

use std::time::{Duration, Instant};

/// How long anything may take before a test gives up; far above what it should take.
pub const PATIENCE: Duration = Duration::from_mins(1);
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);

/// Looks until there is something, and gives it.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for {what}");
        std::thread::park_timeout(BETWEEN_LOOKS);
    }
}

/// Runs each of the named tests on SQLite and on PostgreSQL, each time on a server of its own.
macro_rules! on_both_backends {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(#[test]
            fn $test() {
                super::$test(&mut $crate::support::server::Server::start($crate::support::backend::Kind::Sqlite));
            })+
        }
        mod postgres {
            $(#[test]
            fn $test() {
                super::$test(&mut $crate::support::server::Server::start($crate::support::backend::Kind::Postgres));
            })+
        }
    };
}
pub(crate) use on_both_backends;
