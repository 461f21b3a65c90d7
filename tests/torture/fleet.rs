//! The processes of the platform, and who starts them again: as an init system would, a moment after they ended.

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Child,
    time::{Duration, Instant},
};

use crate::{
    plan::{PROCESSES_A_ROLE, Role, Target},
    support::{program, server::signal},
};

/// What a program that ended by itself is given before it is started again.
const RESTART_AFTER: Duration = Duration::from_millis(500);
/// How long a program that was asked to stop may take; its own limit is below ten seconds.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// Below the ports that the kernel hands out by itself, so that nobody takes one while its owner is down.
const PORTS: std::ops::Range<u16> = 20_000..30_000;
const PORTS_SKIPPED_MAX: u32 = 9_000;
const ANY_PORT: &str = "127.0.0.1:0";
/// What a program says when it has started.
const STARTED: &str = "Data in ";
const STARTED_WITHIN_BYTES: u64 = 64 * 1024;
/// What no log may have.
const COMPLAINTS: [&str; 3] = ["panicked at", "ended by a panic", "internal invariant is broken"];

pub struct Fleet {
    folder: PathBuf,
    variables: Vec<(String, String)>,
    database: String,
    processes: Vec<Process>,
    /// Processes that had started and ended without being asked.
    pub deserters: Vec<String>,
}

struct Process {
    target: Target,
    port: u16,
    child: Option<Child>,
    starts: usize,
    /// When to start it again.
    due: Option<Instant>,
    /// When to let it go on.
    thaws: Option<Instant>,
    /// When it was asked to stop.
    asked: Option<Instant>,
}

impl Fleet {
    /// Nothing runs yet. `folder` is where logs go.
    pub fn new(folder: &Path, database: String, variables: Vec<(String, String)>) -> Self {
        // Somewhere in the range: another run may look for ports at the same time.
        let begin = usize::try_from(std::process::id() % PORTS_SKIPPED_MAX).unwrap();
        let mut ports = PORTS.skip(begin).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
        let processes = Role::ALL
            .iter()
            .flat_map(|role| (1..=PROCESSES_A_ROLE).map(|number| Target { role: *role, number }));
        let process = |target| Process {
            target,
            port: ports.next().expect("a free port between 20000 and 30000"),
            child: None,
            starts: 0,
            due: None,
            thaws: None,
            asked: None,
        };
        let processes = processes.map(process).collect();
        Self { folder: folder.to_owned(), variables, database, processes, deserters: Vec::new() }
    }

    /// Starts what does not run, and lets go on what is frozen.
    pub fn heal(&mut self) {
        for process in &mut self.processes {
            process.thaw();
            if process.child.is_none() {
                process.due = Some(Instant::now());
            }
        }
        self.tend();
    }

    /// Whether all of them run and have said that they have started.
    pub fn is_whole(&mut self) -> bool {
        self.tend();
        let folder = &self.folder;
        self.processes.iter().all(|process| process.child.is_some() && process.has_started(folder))
    }

    /// Where the API can be asked.
    pub fn urls(&self) -> Vec<String> {
        let api = self.processes.iter().filter(|process| process.target.role == Role::Api);
        api.map(|process| format!("http://127.0.0.1:{}", process.port)).collect()
    }

    /// Starts what is due, lets go on what is due, and sees who has ended. To be called all the time.
    pub fn tend(&mut self) {
        let now = Instant::now();
        for process in &mut self.processes {
            if process.thaws.is_some_and(|at| at <= now) {
                process.thaw();
            }
            if let Some(child) = &mut process.child
                && let Some(status) = child.try_wait().unwrap()
            {
                process.child = None;
                process.due = Some(now + RESTART_AFTER);
                let was_asked = process.asked.take().is_some();
                if !(was_asked && status.success()) && process.has_started(&self.folder) {
                    let name = process.log_name();
                    self.deserters.push(format!("{name} ended by itself, with {status}"));
                }
            }
            let patience = process.asked.map(|at| at.elapsed() > STOP_PATIENCE);
            if patience == Some(true) {
                self.deserters.push(format!("{} does not stop", process.log_name()));
                process.asked = None;
                process.kill();
            }
            if process.due.is_some_and(|at| at <= now) {
                process.start(&self.folder, &self.database, &self.variables);
            }
        }
    }

    /// SIGKILL; false when it does not run.
    pub fn kill(&mut self, target: Target, down: Duration) -> bool {
        let process = self.find(target);
        let runs = process.child.is_some();
        if runs {
            process.kill();
            process.due = Some(Instant::now() + down);
        }
        runs
    }

    /// SIGTERM; false when it does not run, or is frozen or stopping already.
    pub fn stop(&mut self, target: Target) -> bool {
        let folder = self.folder.clone();
        let process = self.find(target);
        // One that has not started is not yet listening for signals.
        let can = process.thaws.is_none() && process.asked.is_none() && process.has_started(&folder);
        let child = process.child.as_ref().filter(|_| can);
        if let Some(child) = child {
            signal(child.id(), "TERM");
            process.asked = Some(Instant::now());
        }
        can && process.child.is_some()
    }

    /// SIGSTOP; false when it does not run, or is frozen or stopping already.
    pub fn freeze(&mut self, target: Target, length: Duration) -> bool {
        let process = self.find(target);
        let child = process.child.as_ref().filter(|_| process.thaws.is_none() && process.asked.is_none());
        let Some(child) = child else { return false };
        signal(child.id(), "STOP");
        process.thaws = Some(Instant::now() + length);
        true
    }

    pub fn starts(&self) -> usize {
        self.processes.iter().map(|process| process.starts).sum()
    }

    /// All lines of all logs that tell of a broken program.
    pub fn complaints(&self) -> Vec<String> {
        let mut found = Vec::new();
        for log in fs::read_dir(&self.folder).unwrap() {
            let path = log.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "log") {
                continue;
            }
            for line in BufReader::new(File::open(&path).unwrap()).split(b'\n') {
                let line = line.unwrap();
                let line = String::from_utf8_lossy(&line);
                if COMPLAINTS.iter().any(|complaint| line.contains(complaint)) {
                    found.push(format!("{}: {line}", path.display()));
                }
            }
        }
        found
    }

    fn find(&mut self, target: Target) -> &mut Process {
        self.processes.iter_mut().find(|process| process.target == target).expect("all targets are there")
    }
}

impl Process {
    fn start(&mut self, folder: &Path, database: &str, variables: &[(String, String)]) {
        self.due = None;
        self.starts += 1;
        let log = File::create(self.log_path(folder)).unwrap();
        let listen = format!("127.0.0.1:{}", self.port);
        let roles = self.target.role.name();
        let arguments = [
            "serve",
            "--listen",
            &listen,
            "--operations",
            ANY_PORT,
            "--roles",
            roles,
            "--database",
            database,
        ];
        let mut variables: Vec<(&str, &str)> =
            variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        // With each start another one: the topics hold both, whoever publishes.
        variables.push(("Schemas__Format", if self.starts.is_multiple_of(2) { "avro" } else { "json" }));
        let mut command = program::command(folder, &arguments, &variables);
        self.child = Some(command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap());
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
        (self.thaws, self.asked) = (None, None);
    }

    fn thaw(&mut self) {
        if self.thaws.take().is_some()
            && let Some(child) = &self.child
        {
            signal(child.id(), "CONT");
        }
    }

    fn has_started(&self, folder: &Path) -> bool {
        let Ok(file) = File::open(self.log_path(folder)) else { return false };
        let mut begin = Vec::new();
        file.take(STARTED_WITHIN_BYTES).read_to_end(&mut begin).unwrap();
        String::from_utf8_lossy(&begin).contains(STARTED)
    }

    /// A log for each start.
    fn log_name(&self) -> String {
        format!("{}-{}-{}.log", self.target.role.name(), self.target.number, self.starts)
    }

    fn log_path(&self, folder: &Path) -> PathBuf {
        folder.join(self.log_name())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
