//! Fail points, for tests that kill or poison the program at a chosen place. Compiled into debug builds only.
//!
//! `FINTECH_FAIL` is a list of `POINT=ACTION` with semicolons between them. For a point of the relay the action
//! is `abort@N`: the N-th time that it is reached the process ends as by SIGKILL. For `consumer` it is
//! `poison:TEXT` or `transient:TEXT`: an event whose payload holds the text cannot be handled; for `client` it is
//! `deaf`: the first client of each group loses whatever it reads.

use std::{
    collections::HashMap,
    sync::{LazyLock, Mutex, PoisonError},
};

use store::batch::LogEvent;

use crate::consumer::HandleError;

static ACTIONS: LazyLock<HashMap<String, String>> = LazyLock::new(|| {
    let list = std::env::var("FINTECH_FAIL").unwrap_or_default();
    let pairs = list.split(';').filter_map(|pair| pair.split_once('='));
    pairs.map(|(point, action)| (point.to_owned(), action.to_owned())).collect()
});
static REACHED: LazyLock<Mutex<HashMap<&'static str, u32>>> = LazyLock::new(Mutex::default);

/// Reaches a point.
pub fn at(point: &'static str) {
    let Some(action) = ACTIONS.get(point) else { return };
    let mut reached = REACHED.lock().unwrap_or_else(PoisonError::into_inner);
    let times = reached.entry(point).or_default();
    *times += 1;
    if action.strip_prefix("abort@").and_then(|nth| nth.parse().ok()) == Some(*times) {
        // No destructor, no flush, no farewell to anybody: what SIGKILL leaves behind.
        std::process::abort();
    }
}

/// Whether a group's client, the how-many-eth of this process, loses what it reads.
pub fn is_deaf(client: u32) -> bool {
    client == 1 && ACTIONS.get("client").is_some_and(|action| action == "deaf")
}

/// Fails the handling of events as the test asked.
pub fn handle(events: &[LogEvent]) -> Result<(), HandleError> {
    let Some(action) = ACTIONS.get("consumer") else { return Ok(()) };
    let (kind, text) = action.split_once(':').unwrap_or((action, ""));
    if !events.iter().any(|event| event.payload.contains(text)) {
        return Ok(());
    }
    match kind {
        "poison" => Err(HandleError::Poison("the test poisoned this event".to_owned())),
        "transient" => Err(HandleError::Transient("the test made this event wait".to_owned())),
        _ => Ok(()),
    }
}
