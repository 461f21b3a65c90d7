//! The real executable, started as a user would: durable, with its consumers, at the log level `warn`.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::CompareError;
use crate::{address::Address, machine};

/// For a start, and for a stop.
const PATIENCE: Duration = Duration::from_mins(1);
const LOOK_INTERVAL: Duration = Duration::from_millis(2);
const LISTENING: &str = "Listening on ";
const LOG_BYTES_SHOWN: usize = 2000;

/// How the program is run.
#[derive(Clone, Debug)]
pub struct Program {
    pub path: PathBuf,
    /// It runs here.
    pub folder: PathBuf,
    /// All of its environment.
    pub variables: Vec<(String, String)>,
}

pub struct Server {
    process: Child,
    log: PathBuf,
    pub address: Address,
    /// When it was asked to start.
    pub started_at: Instant,
}

impl Program {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.path);
        command
            .args(arguments)
            .current_dir(&self.folder)
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null());
        command
    }

    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut program = self.clone();
        program.variables.retain(|(known, _)| known != name);
        program.variables.push((name.to_owned(), value.to_owned()));
        program
    }

    /// Runs it to its end; gives the most memory that it had, in MiB.
    pub async fn run(&self, arguments: &[&str]) -> Result<f64, CompareError> {
        let log = self.folder.join("run.log");
        let mut process = start(self.command(arguments), &log)?;
        let mut memory_mib = 0.0;
        loop {
            memory_mib = machine::memory_peak_mib(process.id()).unwrap_or(memory_mib);
            match process.try_wait()? {
                Some(status) if status.success() => return Ok(memory_mib),
                Some(_) => return Err(failed(arguments, &log)),
                None => sleep(LOOK_INTERVAL).await,
            }
        }
    }

    /// Starts `serve` on a database and waits until it listens.
    pub async fn serve(&self, database: &str, further: &[&str]) -> Result<Server, CompareError> {
        let mut arguments = vec!["serve", "--listen", "127.0.0.1:0", "--database", database];
        arguments.extend(further);
        let log = self.folder.join("serve.log");
        let started_at = Instant::now();
        let mut process = start(self.command(&arguments), &log)?;
        let has_api = !further.contains(&"--roles");
        loop {
            let text = fs::read_to_string(&log).unwrap_or_default();
            // Whole lines only.
            let mut lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
            let address = if has_api {
                lines.find_map(|line| line.strip_prefix(LISTENING)).and_then(|address| address.parse().ok())
            } else {
                lines.find(|line| line.starts_with("Data in")).and("http://127.0.0.1:0".parse().ok())
            };
            if let Some(address) = address {
                return Ok(Server { process, log, address, started_at });
            }
            if process.try_wait()?.is_some() || started_at.elapsed() > PATIENCE {
                drop(process.kill());
                return Err(failed(&arguments, &log));
            }
            sleep(LOOK_INTERVAL).await;
        }
    }
}

impl Server {
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Asks it to end, and waits until it has.
    pub async fn stop(mut self) -> Result<(), CompareError> {
        let asked_at = Instant::now();
        let id = self.process.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status()?;
        while self.process.try_wait()?.is_none() && asked_at.elapsed() < PATIENCE {
            sleep(LOOK_INTERVAL).await;
        }
        Ok(())
    }
}

/// Nothing outlives the comparison, whatever ends it.
impl Drop for Server {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn start(mut command: Command, log: &Path) -> Result<Child, CompareError> {
    let file = File::create(log)?;
    Ok(command.stdout(file.try_clone()?).stderr(file).spawn()?)
}

fn failed(arguments: &[&str], log: &Path) -> CompareError {
    let text = fs::read_to_string(log).unwrap_or_default();
    let begin = text.len().saturating_sub(LOG_BYTES_SHOWN);
    let end = text.get(begin..).unwrap_or(&text).trim().to_owned();
    CompareError::Program { command: arguments.join(" "), log: end }
}
