//! What checking a key costs: one that is remembered, among many, and texts that are no keys.
//!
//! `cargo run --release -p access --example key_cost`; ends with 1 when a check of a key takes 5 µs or longer.

#![allow(clippy::unwrap_used, reason = "a measurement that cannot go on ends")]

use std::{
    hint::black_box,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use access::{
    Access, Mode, Role, Scope,
    keys::{self, KEYS_A_SCOPE_MAX, NewKey},
    throttle::Limiter,
};
use domain::time::Timestamp;
use store::{Clock, Location, Settings, Store, audit::Actor};
use uuid::Uuid;

const ROUNDS: u32 = 20;
const CHECKS_A_ROUND: u32 = 20_000;
const WANTED_MAX: Duration = Duration::from_micros(5);

#[tokio::main]
async fn main() -> ExitCode {
    let folder = std::env::temp_dir().join(format!("key_cost_{}", Uuid::now_v7().simple()));
    std::fs::create_dir_all(&folder).unwrap();
    let store = open(&folder).await;
    let access = Access::new(store.clone(), Mode::Required);
    let mut secrets = Vec::new();
    for number in 0..KEYS_A_SCOPE_MAX {
        let new = NewKey {
            name: format!("key {number}"),
            is_live: true,
            scope: Scope::Platform,
            role: Role::Read,
            requests_per_second: Some(1000),
            expires_at: None,
        };
        let created = keys::create(&store, &new, &Actor::new("key_cost", "a measurement")).await.unwrap();
        secrets.push(created.secret);
    }
    let known: Vec<&str> = secrets.iter().map(|secret| secret.reveal()).collect();
    let mistyped: Vec<String> = known.iter().map(|key| format!("{}x", &key[..key.len() - 1])).collect();
    let mistyped: Vec<&str> = mistyped.iter().map(String::as_str).collect();
    let checked = measure(&access, &known, "a key that is remembered").await;
    measure(&access, &mistyped, "a key that was mistyped").await;
    limit();
    store.close().await;
    std::fs::remove_dir_all(&folder).unwrap();
    if checked < WANTED_MAX { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The median of the rounds' means: a round in which an entry became stale or another process ran counts once.
async fn measure(access: &Access, presented: &[&str], what: &str) -> Duration {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let begin = Instant::now();
        for text in presented.iter().cycle().take(CHECKS_A_ROUND as usize) {
            let _ = black_box(access.key(black_box(text)).await);
        }
        rounds.push(begin.elapsed() / CHECKS_A_ROUND);
    }
    rounds.sort_unstable();
    let median = rounds[rounds.len() / 2];
    println!("{what}: {median:?} (the slowest round {:?})", rounds[rounds.len() - 1]);
    median
}

fn limit() {
    let (limiter, begin) = (Limiter::default(), Instant::now());
    for number in 0..CHECKS_A_ROUND {
        black_box(limiter.check(Uuid::from_u128(u128::from(number % 1000)), 1000, Instant::now()));
    }
    println!("a rate that is checked: {:?}", begin.elapsed() / CHECKS_A_ROUND);
}

async fn open(folder: &std::path::Path) -> Store {
    let settings = Settings {
        location: Location::Sqlite(folder.join("fintech.db")),
        lanes: None,
        writers: 1,
        readers: 2,
        queue_commands_max: 100,
        batch_commands_max: 64,
        idempotency_retention: Duration::from_hours(24),
        sealing_key: [7; 32],
        hints: false,
    };
    let clock: Clock = Arc::new(|| {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
    });
    Store::open(settings, clock).await.unwrap()
}
