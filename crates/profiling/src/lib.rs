//! Profiles of the running program, on demand: where its processor time goes ([`cpu`]) and where its memory was asked for
//! ([`heap`]), in pprof's format, gzipped, with the names of functions in it, so that whoever reads it needs no program.
//!
//! Of each kind there is one at a time. A profile that nobody waits for any more ends by itself, and none keeps the program
//! from stopping: it is made on a thread that nobody joins. Names of functions, files and threads are all that it tells;
//! no value of the program is in it.

pub mod cpu;
mod encode;
pub mod heap;
pub mod proto;
mod symbols;

use std::thread;

use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

/// Why there is no profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    #[error("another profile of this kind is being taken")]
    Busy,
    #[error("the allocator of this process does not sample")]
    Off,
    #[error("the profiler failed: {0}")]
    Failed(String),
}

/// The right to take a profile of a kind, which nobody else has meanwhile.
#[derive(Debug)]
pub struct Turn(#[allow(dead_code, reason = "it counts while it is held")] SemaphorePermit<'static>);

impl Turn {
    fn of(one: &'static Semaphore) -> Result<Self, ProfileError> {
        one.try_acquire().map(Self).map_err(|_| ProfileError::Busy)
    }
}

/// Runs on a thread of its own what would keep a task from being polled, and holds the turn until it has ended.
async fn on_a_thread(
    turn: Turn,
    work: impl FnOnce() -> Result<Vec<u8>, ProfileError> + Send + 'static,
) -> Result<Vec<u8>, ProfileError> {
    let (tell, told) = oneshot::channel();
    let thread = thread::Builder::new().name("profile".to_owned()).spawn(move || {
        let made = work();
        drop(turn);
        // Nobody waits any more: then nobody is told.
        let _ = tell.send(made);
    });
    thread.map_err(|error| ProfileError::Failed(error.to_string()))?;
    told.await.unwrap_or_else(|_| Err(ProfileError::Failed("it ended by a panic".to_owned())))
}
