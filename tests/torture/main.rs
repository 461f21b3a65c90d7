//! The torture test: the real program as several processes a role, a real PostgreSQL and a real Kafka of three nodes,
//! all broken again and again by a plan that is drawn from a seed, under load. Afterwards everything that was
//! acknowledged must be there, once, in the tables, in the log, in the topics and in the consumers' effects.
//!
//! `FINTECH_TORTURE_SECONDS` says for how long (300), `FINTECH_TORTURE_SEED` with which plan (a new one; it is printed),
//! `FINTECH_TORTURE_REPORT` to which file the counts are appended.

// Everything here is a test, helpers included: an unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

mod database;
mod fleet;
mod load;
mod plan;
mod proof;
#[path = "../../crates/store/tests/it/proxy.rs"]
mod proxy;
// Made for many tests; this one needs a part of it.
#[allow(dead_code, unused_imports, unused_macros)]
#[path = "../it/support/mod.rs"]
mod support;
mod torment;

use std::{
    fmt::Write as _,
    fs::{self, OpenOptions},
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use database::Postgres;
use fleet::Fleet;
use load::Load;
use plan::Plan;
use proof::{Found, Proof};
use proxy::Proxy;
use serde_json::Value;
use support::{client::Client, eventually, kafka::Kafka};
use torment::{Counts, Torment};

pub const LANES: i32 = 8;
const SECONDS_DEFAULT: u64 = 300;
/// How long the load goes on when everything is healed.
const CALM: Duration = Duration::from_secs(10);
/// Rows are numbered as they are written, so that their order can be seen.
const PROBE_TABLE: &str = "create table probe (number bigserial, event_id text, stream bigint, lane bigint, \
     position bigint)";

/// Nothing that was acknowledged is lost, nothing is doubled, nothing is out of order, whatever is killed when; and
/// everything goes on by itself. Failure modes 1, 3, 9, 10, 17, 34, 35, 36, 41, 46, 49, 51, 63, 64, 68, 73, 83, 85, 86, 88,
/// 91, 94, 99, 100 and 107.
#[test]
fn nothing_is_lost_or_doubled_whatever_is_killed_when() {
    let seed = number("FINTECH_TORTURE_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::from(now.subsec_nanos()) ^ now.as_secs()
    });
    let length = Duration::from_secs(number("FINTECH_TORTURE_SECONDS").unwrap_or(SECONDS_DEFAULT));
    println!("torture for {} s: FINTECH_TORTURE_SEED={seed}", length.as_secs());
    let evidence = Evidence::new();
    let folder = evidence.0.as_path();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();

    let postgres = Arc::new(Postgres::start(folder));
    let kafka = Arc::new(Kafka::cluster(3));
    let proxy = runtime.block_on(Proxy::start(postgres.server()));
    if !postgres.has_its_own_disk() {
        println!("THE FULL DISK IS NOT TRIED: mounting a disk needs root and is not allowed here");
    }
    let variables = variables(&kafka);
    initialise(&postgres, folder, &variables);
    let mut fleet = Fleet::new(folder, database::url(proxy.port), variables.clone());
    fleet.heal();
    eventually("the start of all processes", || fleet.is_whole().then_some(()));

    let begun = Instant::now();
    let mut load = Load::start(folder, &fleet.urls(), length + CALM, seed);
    let mut torment = Torment::new(fleet, postgres.clone(), kafka.clone(), proxy, folder);
    eventually("the first payments", || {
        (postgres.number("select count(*) from payments") > 100).then_some(())
    });
    torment.run(Plan::new(seed), length.saturating_sub(begun.elapsed()), || !load.has_ended());
    torment.heal();
    let report = load.end(|| torment.fleet.tend());

    let api = Client::new(&torment.fleet.urls()[0]);
    let proof = Proof { postgres: &postgres, kafka: &kafka, api, folder, variables: &variables };
    let found = proof.all(|| torment.fleet.tend());
    torment.fleet.tend();
    let story = story(seed, length, &torment.counts, torment.fleet.starts(), &report, &found);
    println!("{story}");
    assert_eq!(torment.fleet.complaints(), Vec::<String>::new());
    assert_eq!(torment.fleet.deserters, Vec::<String>::new());
    append(&story);
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text}")))
}

fn variables(kafka: &Kafka) -> Vec<(String, String)> {
    let lanes = LANES.to_string();
    let variables = [
        ("Kafka__BootstrapServers", kafka.servers.as_str()),
        ("Kafka__Prefix", kafka.prefix.as_str()),
        ("Kafka__SessionTimeoutMilliseconds", "6000"),
        ("Ledger__Lanes", lanes.as_str()),
        ("Relay__LeaseMilliseconds", "1000"),
        ("FINTECH_PROBE", "1"),
    ];
    variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The tables, and one for the effects of the probe.
fn initialise(postgres: &Postgres, folder: &Path, variables: &[(String, String)]) {
    let variables: Vec<(&str, &str)> =
        variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let migrated = support::program::run(folder, &["migrate", "--database", &postgres.address()], &variables);
    assert_eq!(migrated.code, Some(0), "{}{}", migrated.stdout, migrated.stderr);
    postgres.query(PROBE_TABLE);
}

/// What was survived, for people.
fn story(
    seed: u64,
    length: Duration,
    counts: &Counts,
    starts: usize,
    report: &Value,
    found: &Found,
) -> String {
    let mut story = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| writeln!(story, "{text}").unwrap();
    line(format_args!("seed {seed}, {} s: {} faults", length.as_secs(), counts.total()));
    for (name, count) in &counts.faults {
        line(format_args!("  {count:6} {name}"));
    }
    let Counts { skipped, sessions_cut, commits_cut, .. } = counts;
    line(format_args!(
        "  ({sessions_cut} sessions ended, {commits_cut} cut at COMMIT, {starts} processes started; {skipped} more faults \
         were drawn and not possible then)"
    ));
    line(format_args!(
        "requests answered with success {}, repeats of them {}, sent again for want of an answer {}, not started in time {}",
        proof::answered(report),
        report["repeats"]["answered"],
        report["retries"],
        report["dropped"],
    ));
    let Found { acknowledged, events, effects, records, reconciled, caught_up_after } = found;
    line(format_args!(
        "{acknowledged} acknowledged changes found, {events} events, {records} records on Kafka, {effects} effects; caught up \
         {:.1} s after the end",
        caught_up_after.as_secs_f64()
    ));
    line(format_args!("reconcile: {reconciled}"));
    story
}

fn append(story: &str) {
    if let Some(path) = std::env::var_os("FINTECH_TORTURE_REPORT") {
        let mut file = OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{story}").unwrap();
    }
}

/// The logs of everything; kept when the test fails.
struct Evidence(PathBuf);

impl Evidence {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("fintech-torture-{}", uuid::Uuid::new_v4().simple()));
        fs::create_dir_all(&path).unwrap();
        println!("logs in {}", path.display());
        Self(path)
    }
}

impl Drop for Evidence {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "the logs of all processes, the faults and the journal are kept in {}",
                self.0.display()
            );
        } else {
            drop(fs::remove_dir_all(&self.0));
        }
    }
}
