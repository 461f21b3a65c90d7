//! The real program, serving one test.

use std::{
    fs::{self, File, OpenOptions},
    ops::Deref,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus},
    time::{Duration, Instant},
};

use super::{
    backend::{Database, Folder, Kind},
    client::Client,
    eventually,
    program::{self, Ended},
};

const LOG_LINES_SHOWN: usize = 60;
const ADDRESS: &str = "Listening on ";
const OPERATIONS: &str = "Console, metrics and probes on ";
const REGISTRY: &str = "Schema registry on ";
/// Tests run beside each other.
const ANY_PORT: &str = "127.0.0.1:0";
const ANY_PORTS: [&str; 4] = ["--listen", ANY_PORT, "--operations", ANY_PORT];

pub struct Server {
    process: Option<Child>,
    client: Client,
    address: String,
    variables: Vec<(String, String)>,
    // Dropped last: first the program ends, then its data goes.
    database: Database,
    folder: Folder,
}

/// A server is asked as its client is.
impl Deref for Server {
    type Target = Client;

    fn deref(&self) -> &Client {
        &self.client
    }
}

impl Server {
    pub fn start(kind: Kind) -> Self {
        Self::start_with(kind, &[])
    }

    /// With settings, as environment variables.
    pub fn start_with(kind: Kind, variables: &[(&str, &str)]) -> Self {
        Self::start_on(Database::new(kind), Folder::new(), variables)
    }

    /// On data that is there already.
    pub fn start_on(database: Database, folder: Folder, variables: &[(&str, &str)]) -> Self {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let mut server = Self {
            process: None,
            client: Client::new(""),
            address: String::new(),
            variables: variables.collect(),
            database,
            folder,
        };
        server.spawn();
        server
    }

    /// Starts the program again on the same data; stops it before, if it runs.
    pub fn restart(&mut self) {
        if self.process.is_some() {
            self.stop();
        }
        self.spawn();
    }

    /// Runs the program to its end on the same data, beside the one that serves.
    pub fn run(&self, arguments: &[&str]) -> Ended {
        let url = self.database_url();
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--database", &url]).collect();
        program::run(self.folder(), &arguments, &self.variables())
    }

    /// The log has no gap and its chain is whole.
    #[track_caller]
    pub fn verify_log(&self) {
        let Ended { code, stdout, stderr } = self.run(&["events", "verify"]);
        assert_eq!(code, Some(0), "{stdout}{stderr}");
    }

    /// SIGTERM; gives how the program ended, and after how long.
    pub fn stop(&mut self) -> (ExitStatus, Duration) {
        self.terminate();
        self.wait()
    }

    /// Waits for the end of a program that was asked to stop.
    pub fn wait(&mut self) -> (ExitStatus, Duration) {
        let asked_at = Instant::now();
        let process = self.process.as_mut().unwrap();
        let status = eventually("the end of the program", || process.try_wait().unwrap());
        self.process = None;
        (status, asked_at.elapsed())
    }

    /// Sends SIGTERM and waits for nothing.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// All that the program has written so far, over restarts.
    pub fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub const fn kind(&self) -> Kind {
        self.database.kind()
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Everything that the database holds, as it lies there.
    pub fn stored_bytes(&self) -> Vec<u8> {
        self.database.stored_bytes(self.folder.path())
    }

    /// Changes the database behind the program's back.
    pub fn alter(&self, sql: &str) {
        self.database.alter(self.folder.path(), sql);
    }

    /// What the port of operations answers.
    pub fn operations(&self) -> Client {
        Client::new(&self.operations_url())
    }

    pub fn operations_url(&self) -> String {
        operations_url(&self.log()).unwrap()
    }

    /// What the built-in schema registry answers.
    pub fn registry(&self) -> Client {
        Client::new(&self.registry_url())
    }

    pub fn registry_url(&self) -> String {
        let log = self.log();
        // The last start counts.
        log.lines().rev().find_map(|line| line.strip_prefix(REGISTRY)).unwrap().to_owned()
    }

    pub fn let_database_connect(&self, allowed: bool) {
        self.database.let_connect(allowed);
    }

    pub fn process_id(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    pub fn database_url(&self) -> String {
        self.database.url()
    }

    fn variables(&self) -> Vec<(&str, &str)> {
        self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    /// Sets a variable for the next start.
    pub fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Starts another process on the same data, with its own log, that does only the given roles.
    pub fn beside(&self, roles: &str) -> Beside {
        let log_path = self.folder.path().join(format!("log-{}", uuid::Uuid::new_v4().simple()));
        let log = File::create(&log_path).unwrap();
        let url = self.database.url();
        let mut arguments = ["serve", "--roles", roles, "--database", &url].to_vec();
        arguments.extend(ANY_PORTS);
        arguments.extend(["--registry", ANY_PORT]);
        let process = program::command(self.folder.path(), &arguments, &self.variables())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let beside = Beside { process, log_path };
        eventually("the start of another process", || beside.log().contains("Data in").then_some(()));
        beside
    }

    /// The first column of a query's rows.
    pub fn query(&self, sql: &str) -> Vec<String> {
        self.database.query(self.folder.path(), sql)
    }

    /// Sends a signal, such as STOP or CONT.
    pub fn signal(&self, name: &str) {
        signal(self.process_id(), name);
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn spawn(&mut self) {
        let log: File = OpenOptions::new().create(true).append(true).open(self.log_path()).unwrap();
        let begin = self.log().len();
        let url = self.database.url();
        let mut arguments = ["serve", "--database", &url].to_vec();
        arguments.extend(ANY_PORTS);
        if let Some(address) = self.variables.iter().find(|(name, _)| name == "Server__RegistryAddress") {
            arguments.extend(["--registry", &address.1]);
        } else {
            arguments.extend(["--registry", ANY_PORT]);
        }
        let process = program::command(self.folder.path(), &arguments, &self.variables())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
        let base = eventually("the address of the program", || {
            let ended = self.process.as_mut().unwrap().try_wait().unwrap();
            let log = self.log();
            assert!(ended.is_none(), "the program ended at once: {}", &log[begin..]);
            let mut whole_lines =
                log[begin..].split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
            whole_lines.find_map(|line| line.strip_prefix(ADDRESS)).map(str::to_owned)
        });
        base.split_once("://").unwrap().1.clone_into(&mut self.address);
        self.client = Client::new(&base);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            drop(process.kill());
            drop(process.wait());
        }
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            eprintln!("the program's last lines:\n{}", last.join("\n"));
        }
    }
}

/// A further process on the data of a server.
pub struct Beside {
    process: Child,
    log_path: PathBuf,
}

impl Beside {
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log_path).unwrap_or_default()
    }

    #[allow(dead_code)] // tests/watched asks for it.
    pub fn operations_url(&self) -> String {
        eventually("the port of operations", || operations_url(&self.log()))
    }

    pub fn signal(&self, name: &str) {
        signal(self.process.id(), name);
    }

    /// SIGTERM, and waits for the end.
    pub fn stop(&mut self) {
        self.signal("TERM");
        eventually("the end of another process", || self.process.try_wait().unwrap());
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = &lines[lines.len().saturating_sub(LOG_LINES_SHOWN)..];
            eprintln!("another process' last lines:\n{}", last.join("\n"));
        }
    }
}

/// The last start counts.
fn operations_url(log: &str) -> Option<String> {
    let mut whole_lines = log.split_inclusive('\n').rev().filter_map(|line| line.strip_suffix('\n'));
    whole_lines.find_map(|line| line.strip_prefix(OPERATIONS)).map(str::to_owned)
}

pub fn signal(process_id: u32, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {process_id}")]).status().unwrap();
    assert!(sent.success());
}
