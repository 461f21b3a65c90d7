//! Prometheus and Alertmanager as deploy/ has them, but sixty times faster, and somebody who is told.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::support::{
    client::{Client, Content},
    eventually,
    listener::listen,
    pages::encoded,
};

/// By how much the windows of the rules, their `for` and their intervals are shorter.
pub const FASTER: u64 = 60;
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const SCRAPE: &str = "1s";
const TARGETS: &str = "targets.json";
const FORM: &str = "application/x-www-form-urlencoded";
const LISTENING: &str = "Listening on";
/// What Alertmanager waits for, as it is and sixty times shorter.
const WAITS: [(&str, &str); 5] = [
    ("group_wait: 30s", "group_wait: 500ms"),
    ("group_interval: 5m", "group_interval: 5s"),
    ("repeat_interval: 12h", "repeat_interval: 12m"),
    ("group_wait: 10s", "group_wait: 166ms"),
    ("repeat_interval: 1h", "repeat_interval: 1m"),
];

/// An alert, and who is told of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alert {
    pub name: String,
    pub severity: String,
}

impl Alert {
    pub fn of(text: &str) -> Self {
        let (severity, name) = text.split_once(' ').expect("a severity and a name");
        Self { name: name.to_owned(), severity: severity.to_owned() }
    }

    fn of_labels(labels: &Value) -> Self {
        let text = |label: &str| labels[label].as_str().unwrap_or_default().to_owned();
        Self { name: text("alertname"), severity: text("severity") }
    }
}

impl std::fmt::Display for Alert {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}", self.severity, self.name)
    }
}

/// What a receiver was told, and whether it began or was over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Told {
    pub receiver: String,
    pub alert: Alert,
    pub is_over: bool,
}

pub struct Stack {
    folder: PathBuf,
    prometheus: Process,
    _alertmanager: Process,
    told: Arc<Mutex<BTreeSet<Told>>>,
    begun: f64,
}

/// A program that ends with the test.
struct Process {
    child: Child,
    url: String,
}

impl Stack {
    /// Which scrapes these processes: the role of each, and the address of its operations.
    pub fn start(folder: &Path, processes: &[(&str, String)]) -> Self {
        let told: Arc<Mutex<BTreeSet<Told>>> = Arc::default();
        let taken = Arc::clone(&told);
        let hook = listen("text/plain", move |_, body| {
            let message: Value = serde_json::from_slice(body).expect("a message of Alertmanager's");
            let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
            taken.extend(message["alerts"].as_array().unwrap().iter().map(|alert| Told {
                receiver: message["receiver"].as_str().unwrap().to_owned(),
                alert: Alert::of_labels(&alert["labels"]),
                is_over: alert["status"] == "resolved",
            }));
        });
        write(folder, "alertmanager.yml", &alertmanager_yml(&hook));
        let alertmanager = Process::start(
            folder,
            "prometheus-alertmanager",
            &["--config.file=alertmanager.yml", "--storage.path=alertmanager", "--cluster.listen-address="],
        );
        run("scripts/slo-rules", &["--faster", &FASTER.to_string(), folder.join("rules").to_str().unwrap()]);
        write(folder, TARGETS, &targets(processes));
        write(folder, "prometheus.yml", &prometheus_yml(address(&alertmanager.url)));
        let prometheus = Process::start(
            folder,
            "prometheus",
            &[
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=prometheus",
                "--enable-feature=exemplar-storage",
            ],
        );
        let folder = folder.to_owned();
        let mut stack = Self { folder, prometheus, _alertmanager: alertmanager, told, begun: now() };
        stack.has_scraped(processes);
        // It looks for whom to scrape every five seconds; until then the API was down for all that it knew.
        eventually("an end of what was not known", || stack.firing().is_empty().then_some(()));
        stack.begun = now();
        stack
    }

    /// Scrapes these from now on.
    pub fn scrape(&self, processes: &[(&str, String)]) {
        // Prometheus must not read half of it.
        write(&self.folder, "targets.new", &targets(processes));
        fs::rename(self.folder.join("targets.new"), self.folder.join(TARGETS)).unwrap();
        self.has_scraped(processes);
    }

    fn has_scraped(&self, processes: &[(&str, String)]) {
        for (role, url) in processes {
            let is_seen = format!("up{{role=\"{role}\",instance=\"{}\"}}", address(url));
            eventually("a process to be scraped", || (!self.now(&is_seen).is_empty()).then_some(()));
        }
    }

    /// What a query gives now.
    #[track_caller]
    pub fn now(&self, expr: &str) -> Vec<Value> {
        self.ask("query", &[("query", expr)])
    }

    /// The labels of what a query has given at any moment since the beginning, and when and with which values: as a dashboard
    /// shows it. What is no number is nothing.
    #[track_caller]
    pub fn ever(&self, expr: &str) -> Vec<(Value, Vec<(f64, f64)>)> {
        let (start, end) = (self.begun.to_string(), now().to_string());
        let series =
            self.ask("query_range", &[("query", expr), ("start", &start), ("end", &end), ("step", "500ms")]);
        let points = |series: &Value| -> Vec<(f64, f64)> {
            let points = series["values"].as_array().unwrap().iter();
            let points = points.map(|p| (p[0].as_f64().unwrap(), p[1].as_str().unwrap().parse().unwrap()));
            points.filter(|(_, value): &(f64, f64)| value.is_finite()).collect()
        };
        let series = series.iter().map(|series| (series["metric"].clone(), points(series)));
        series.filter(|(_, points)| !points.is_empty()).collect()
    }

    /// The names of all metrics that Prometheus has seen.
    pub fn metrics(&self) -> BTreeSet<String> {
        let answer = Client::new(&self.prometheus.url).get("/api/v1/label/__name__/values").expect(200);
        let names = answer.json["data"].as_array().unwrap();
        names.iter().map(|name| name.as_str().unwrap().to_owned()).collect()
    }

    /// The traces that buckets of a histogram name.
    pub fn exemplars(&self, metric: &str) -> BTreeSet<String> {
        let (start, end) = (self.begun.to_string(), now().to_string());
        let series = self.ask("query_exemplars", &[("query", metric), ("start", &start), ("end", &end)]);
        let exemplars = series.iter().flat_map(|series| series["exemplars"].as_array().unwrap());
        exemplars.map(|one| one["labels"]["trace_id"].as_str().unwrap().to_owned()).collect()
    }

    /// The alerts that fire.
    pub fn firing(&self) -> BTreeSet<Alert> {
        let firing = self.now("ALERTS{alertstate=\"firing\"}");
        firing.iter().map(|series| Alert::of_labels(&series["metric"])).collect()
    }

    /// When each alert fired first, of all that ever have.
    pub fn fired(&self) -> BTreeMap<Alert, f64> {
        let mut fired = BTreeMap::new();
        for (labels, points) in self.ever("ALERTS{alertstate=\"firing\"}") {
            let first = fired.entry(Alert::of_labels(&labels)).or_insert(f64::MAX);
            *first = points[0].0.min(*first);
        }
        fired
    }

    pub fn told(&self) -> BTreeSet<Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[track_caller]
    fn ask(&self, what: &str, fields: &[(&str, &str)]) -> Vec<Value> {
        let fields: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let body = fields.join("&");
        let content = Content::Bytes(FORM, body.as_bytes());
        let answer =
            Client::new(&self.prometheus.url).send("POST", &format!("/api/v1/{what}"), &[], &content);
        assert_eq!(answer.status, 200, "{}: {}", fields[0], answer.text);
        let data = &answer.json["data"];
        let found = data["result"].as_array().or_else(|| data.as_array());
        found.unwrap_or_else(|| panic!("{}", answer.text)).clone()
    }
}

impl Process {
    fn start(folder: &Path, program: &str, arguments: &[&str]) -> Self {
        let log = folder.join(format!("{program}.log"));
        let file = File::create(&log).unwrap();
        let child = Command::new(program)
            .args(arguments)
            .arg("--web.listen-address=127.0.0.1:0")
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}: scripts/test installs it, as Debian has it"));
        let mut process = Self { child, url: String::new() };
        process.url = eventually(program, || {
            let log = fs::read_to_string(&log).unwrap();
            let ended = process.child.try_wait().unwrap();
            assert!(ended.is_none(), "{program} ended at once: {log}");
            let line = log.lines().find(|line| line.contains(LISTENING))?.to_owned();
            let address = line.split_once("address=")?.1.split_whitespace().next()?.to_owned();
            Some(format!("http://{address}"))
        });
        let client = Client::new(&process.url);
        eventually(program, || (client.get("/-/ready").status == 200).then_some(()));
        process
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A script of the repository's, to its end; gives what it printed.
#[track_caller]
pub fn run(script: &str, arguments: &[&str]) -> String {
    // Debian's Python, for which Debian has PyYAML.
    let python = ["python3", "/usr/bin/python3"].into_iter().find(|python| {
        Command::new(python)
            .args(["-c", "import yaml"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|s| s.success())
    });
    let python = python.expect("a Python that has PyYAML: scripts/test installs Debian's");
    let output = Command::new(python).arg(Path::new(ROOT).join(script)).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    assert!(output.status.success(), "{script}: {}", text(output.stderr));
    text(output.stdout)
}

pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

fn address(url: &str) -> &str {
    url.split_once("://").unwrap().1
}

fn targets(processes: &[(&str, String)]) -> String {
    let target = |(role, url): &(&str, String)| json!({"targets": [address(url)], "labels": {"role": role}});
    processes.iter().map(target).collect::<Value>().to_string()
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).unwrap();
}

/// That of deploy/, with shorter waits and somebody who is told.
fn alertmanager_yml(hook: &str) -> String {
    let mut text = fs::read_to_string(Path::new(ROOT).join("deploy/alertmanager/alertmanager.yml")).unwrap();
    for (wait, shorter) in WAITS {
        assert_eq!(text.matches(wait).count(), 1, "{wait}");
        text = text.replace(wait, shorter);
    }
    for receiver in ["  - name: page\n", "  - name: ticket\n"] {
        assert_eq!(text.matches(receiver).count(), 1, "{receiver}");
        let told =
            format!("{receiver}    webhook_configs:\n      - url: {hook}\n        send_resolved: true\n");
        text = text.replace(receiver, &told);
    }
    text
}

fn prometheus_yml(alertmanager: &str) -> String {
    json!({
        "global": {"scrape_interval": SCRAPE, "scrape_timeout": SCRAPE, "evaluation_interval": "250ms"},
        "rule_files": ["rules/*.yml"],
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [{
            "job_name": "fintech",
            "file_sd_configs": [{"files": [TARGETS], "refresh_interval": SCRAPE}],
        }],
    })
    .to_string()
}
