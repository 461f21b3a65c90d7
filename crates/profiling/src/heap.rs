//! A heap profile: what is allocated at this moment, by where it was asked for.
//!
//! jemalloc samples from the start: one allocation in every so many bytes notes its stack for as long as it lives. Begun only when
//! somebody asks, it would not know the oldest allocations, and what leaks is old. How much is between two samples is set when
//! jemalloc is built (`.cargo/config.toml`); `_RJEM_MALLOC_CONF=prof:false` in the environment turns it off.

use std::time::Duration;

use jemalloc_pprof::PROF_CTL;
/// What a program must allocate with to have heap profiles.
pub use tikv_jemallocator::Jemalloc as Allocator;
use tokio::sync::Semaphore;

use crate::{
    ProfileError, Turn,
    encode::{Kind, Stack, encode},
    on_a_thread,
};

static ONE: Semaphore = Semaphore::const_new(1);

/// What is between the program and the sample, and would be all that a list of the innermost functions has.
const ALLOCATING: &str = concat!(
    r"_rjem_.*|prof_.*|imalloc.*|irallocx.*|do_rallocx|__r(dl|g)_.*|__rust_(re)?alloc(_zeroed)?|",
    r"<?alloc::(alloc|raw_vec)::.*|.*(GlobalAlloc|Jemalloc).*|alloc_impl.*|try_allocate_in.*",
);

pub fn turn() -> Result<Turn, ProfileError> {
    Turn::of(&ONE)
}

/// Takes a profile of what is allocated now.
pub async fn take(turn: Turn) -> Result<Vec<u8>, ProfileError> {
    on_a_thread(turn, dump).await
}

fn dump() -> Result<Vec<u8>, ProfileError> {
    let control = PROF_CTL.as_ref().ok_or(ProfileError::Off)?;
    let mut control = control.blocking_lock();
    if !control.activated() {
        return Err(ProfileError::Off);
    }
    let period = 1_i64.checked_shl(u32::try_from(control.lg_sample()).unwrap_or(u32::MAX)).unwrap_or(0);
    let profile = control.dump_profile().map_err(|error| ProfileError::Failed(format!("{error:#}")))?;
    drop(control);
    let stacks = profile.stacks.into_iter().map(|(sample, _)| {
        // It has the outermost first.
        let addresses = sample.addrs.into_iter().rev().collect();
        (Stack { addresses, thread: None }, vec![whole(sample.weight)])
    });
    let kind = Kind {
        values: &[("inuse_space", "bytes")],
        period,
        duration: Duration::ZERO,
        drop_frames: ALLOCATING,
    };
    encode(&kind, stacks)
}

/// No heap has 2^53 bytes.
#[allow(clippy::cast_possible_truncation)]
fn whole(bytes: f64) -> i64 {
    bytes.round() as i64
}
