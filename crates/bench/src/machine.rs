//! What /proc says of this machine and of the processes that take part.

use std::{
    collections::BTreeSet,
    fs,
    net::IpAddr,
    path::Path,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use domain::time::Timestamp;
use serde::Serialize;
use store::Location;
use tokio_postgres::config::Host;

/// `USER_HZ`, which is 100 on every Linux that Rust runs on.
const TICKS_A_SECOND: f64 = 100.0;
const POSTGRES_PORT: u16 = 5432;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Machine {
    pub cores: usize,
    pub processor: String,
    pub memory_mib: u64,
    pub kernel: String,
    pub date: String,
}

impl Machine {
    pub fn this() -> Self {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = processors.lines().find_map(|line| line.strip_prefix("model name"));
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros());
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor: processor
                .map_or("unknown", |name| name.trim_start_matches([' ', '\t', ':']))
                .to_owned(),
            memory_mib: kib(&memory, "MemTotal:").unwrap_or(0) / 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            date: Timestamp::from_micros(i64::try_from(micros).unwrap_or(0)).date_utc(),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { cores, processor, memory_mib, kernel, date } = self;
        write!(f, "{date}, {cores} cores of {processor}, {} GiB, Linux {kernel}", memory_mib / 1024)
    }
}

/// Processes that play one part in a load.
#[derive(Debug)]
pub struct Group {
    role: &'static str,
    ids: Vec<u32>,
    /// Started with this one: its children belong to it, whenever they begin.
    parent: Option<u32>,
    begun: Option<(Instant, f64)>,
    memory_peak_kib: u64,
}

/// What a group of processes took.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    pub role: &'static str,
    pub processes: Vec<u32>,
    /// Of one core.
    pub cpu_percent: f64,
    /// Of one process the most that was resident; of several the most that they had together, shared memory counted once.
    pub memory_peak_mib: f64,
}

impl Group {
    pub fn of(role: &'static str, id: u32) -> Self {
        Self { role, ids: vec![id], parent: None, begun: None, memory_peak_kib: 0 }
    }

    /// A process and its children.
    pub fn family(role: &'static str, parent: u32) -> Self {
        Self { parent: Some(parent), ..Self::of(role, parent) }
    }

    /// CPU is counted from now on.
    pub fn begin(&mut self) {
        self.look();
        self.begun = Some((Instant::now(), self.cpu_seconds()));
    }

    /// Looks at the memory.
    pub fn look(&mut self) {
        if let Some(parent) = self.parent {
            let mut ids: BTreeSet<u32> = self.ids.iter().copied().collect();
            ids.extend(children(parent));
            self.ids = ids.into_iter().collect();
        }
        let now_kib = match self.ids.as_slice() {
            [one] => peak_kib(*one).unwrap_or(0),
            many => many.iter().filter_map(|id| proportional_kib(*id)).sum(),
        };
        self.memory_peak_kib = self.memory_peak_kib.max(now_kib);
    }

    #[allow(clippy::cast_precision_loss)] // Kibibytes of memory.
    pub fn usage(&mut self) -> Usage {
        self.look();
        let cpu_percent = self.begun.map_or(0.0, |(since, seconds)| {
            (self.cpu_seconds() - seconds).max(0.0) * 100.0 / since.elapsed().as_secs_f64().max(0.001)
        });
        Usage {
            role: self.role,
            processes: self.ids.clone(),
            cpu_percent,
            memory_peak_mib: self.memory_peak_kib as f64 / 1024.0,
        }
    }

    fn cpu_seconds(&self) -> f64 {
        self.ids.iter().filter_map(|id| cpu_ticks(*id)).sum::<f64>() / TICKS_A_SECOND
    }
}

/// The server processes of a PostgreSQL on this machine; none for any other database.
pub fn database(location: &Location) -> Option<Group> {
    let Location::Postgres(config) = location else { return None };
    let config: tokio_postgres::Config = config.parse().ok()?;
    let is_here = config.get_hosts().iter().any(|host| match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        }
        Host::Unix(_) => true,
    });
    let port = config.get_ports().first().copied().unwrap_or(POSTGRES_PORT);
    is_here.then(|| listener(port)).flatten().map(|postmaster| Group::family("database", postmaster))
}

/// The process of this machine that listens on a TCP port.
pub fn listener(port: u16) -> Option<u32> {
    let sockets: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|table| listening(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if sockets.is_empty() {
        return None;
    }
    let processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    // Children inherit sockets; the parent has the smaller id nearly always, and is listed first.
    let ids = processes.filter_map(|process| process.file_name().to_str()?.parse::<u32>().ok());
    ids.filter(|id| holds(*id, &sockets)).min()
}

/// The inodes of the sockets that listen on a port, from a table of `/proc/net`.
fn listening(table: &str, port: u16) -> Vec<String> {
    const LISTEN: &str = "0A";
    let suffix = format!(":{port:04X}");
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.get(1).is_some_and(|local| local.ends_with(&suffix)) && row.get(3) == Some(&LISTEN))
        .filter_map(|row| row.get(9).map(|inode| (*inode).to_owned()))
        .collect()
}

fn holds(id: u32, sockets: &[String]) -> bool {
    let Ok(files) = fs::read_dir(format!("/proc/{id}/fd")) else { return false };
    let targets = files.filter_map(|file| fs::read_link(file.ok()?.path()).ok());
    targets.into_iter().any(|target| sockets.iter().any(|socket| target == Path::new(socket)))
}

fn children(parent: u32) -> Vec<u32> {
    fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|id| id.parse().ok())
        .collect()
}

fn cpu_ticks(id: u32) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name stands in parentheses and may hold anything; utime and stime are the 12th and 13th behind it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

/// The most that was resident of a process so far.
#[allow(clippy::cast_precision_loss)] // Kibibytes of memory.
pub fn memory_peak_mib(id: u32) -> Option<f64> {
    peak_kib(id).map(|kib| kib as f64 / 1024.0)
}

fn peak_kib(id: u32) -> Option<u64> {
    kib(&fs::read_to_string(format!("/proc/{id}/status")).ok()?, "VmHWM:")
}

/// Memory that processes share is shared out among them.
fn proportional_kib(id: u32) -> Option<u64> {
    kib(&fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?, "Pss:")
}

fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_behind_a_port_is_found() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(listener(socket.local_addr().unwrap().port()), Some(std::process::id()));
    }

    #[test]
    fn a_port_on_which_nobody_listens_has_no_process() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        drop(socket);
        assert_eq!(listener(port), None);
    }

    #[test]
    fn work_is_seen_as_cpu_and_memory() {
        let mut group = Group::of("generator", std::process::id());
        group.begin();
        let begun = Instant::now();
        let mut sum = 0_u64;
        while begun.elapsed().as_millis() < 100 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let usage = group.usage();
        assert!(usage.cpu_percent > 5.0, "{usage:?}");
        assert!(usage.memory_peak_mib > 1.0, "{usage:?}");
    }
}
