//! `fintech bench` beside the faults: it asks again until it is answered, and writes down what was acknowledged.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Child,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::support::program;

/// What two busy cores carry beside three brokers and a database.
const RATE: &str = "120";
const CONNECTIONS: &str = "24";
const MERCHANTS: &str = "40";
const MIX: &str = "create=45,complete=30,refund=8,withdraw=7,read=5,balance=5";
const REPEATS: &str = "0.1";
/// Frozen processes do not answer.
const TIMEOUT_SECONDS: &str = "8";
const PATIENCE_SECONDS: &str = "900";
/// Beyond the load itself: the last requests, asking what nobody knows, and comparing the totals.
const END_PATIENCE: Duration = Duration::from_mins(15);
const BETWEEN_LOOKS: Duration = Duration::from_millis(100);

pub struct Load {
    bench: Child,
    folder: PathBuf,
    ends: Instant,
}

impl Load {
    pub fn start(folder: &Path, urls: &[String], duration: Duration, seed: u64) -> Self {
        let (seconds, seed) = (duration.as_secs().to_string(), seed.to_string());
        let journal = folder.join("journal");
        let mut arguments = vec!["bench", "run", "--json", "--persist", "--rate", RATE, "--mix", MIX];
        arguments.extend(["--connections", CONNECTIONS, "--merchants", MERCHANTS, "--repeats", REPEATS]);
        arguments.extend(["--timeout", TIMEOUT_SECONDS, "--patience", PATIENCE_SECONDS]);
        arguments.extend(["--duration", &seconds, "--seed", &seed, "--journal", journal.to_str().unwrap()]);
        arguments.extend(urls.iter().flat_map(|url| ["--url", url]));
        let file = |name: &str| File::create(folder.join(name)).unwrap();
        let mut command = program::command(folder, &arguments, &[]);
        let bench = command.stdout(file("bench.json")).stderr(file("bench.log")).spawn().unwrap();
        Self { bench, folder: folder.to_owned(), ends: Instant::now() + duration }
    }

    /// Waits for its end; gives its report. `meanwhile` is done all the time.
    pub fn end(mut self, mut meanwhile: impl FnMut()) -> Value {
        let deadline = self.ends + END_PATIENCE;
        let status = loop {
            meanwhile();
            if let Some(status) = self.bench.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the load does not end");
            std::thread::park_timeout(BETWEEN_LOOKS);
        };
        let text = |name: &str| fs::read_to_string(self.folder.join(name)).unwrap();
        let (report, log) = (text("bench.json"), text("bench.log"));
        assert_eq!(status.code(), Some(0), "the load: {report}{log}");
        let report: Value = serde_json::from_str(&report).unwrap();
        assert_eq!(report["ledger"]["verdict"], "agrees", "{report}");
        assert_eq!(report["ledger"]["unsettled"], 0, "{report}");
        assert_eq!(report["repeats"]["mismatches"], 0, "{report}");
        assert_eq!(report["wrongAnswers"], 0, "{report}");
        assert_eq!(report["journalError"], Value::Null, "{report}");
        report
    }

    pub fn has_ended(&mut self) -> bool {
        self.bench.try_wait().unwrap().is_some()
    }

    /// Every change that was acknowledged.
    pub fn journal(folder: &Path) -> Vec<Value> {
        let journal = fs::read_to_string(folder.join("journal")).unwrap();
        journal.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.bench.kill());
        drop(self.bench.wait());
    }
}
