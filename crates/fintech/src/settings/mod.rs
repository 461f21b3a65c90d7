//! The settings: built-in defaults, then `appsettings.json`, then the file of the environment's name, then
//! environment variables, then flags; each over the one before it.
//!
//! [`table`] declares every setting once. What is unknown or unusable stops the start with one sentence.

mod database;
mod kafka;
mod kind;
mod layers;
mod roles;
mod schemas;
mod security;
mod sources;
mod table;
mod traces;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use self::{
    kind::{Raw, SecretKey, Value},
    sources::Source,
    table::{
        API_ADDRESS, BANK_DETAILS_KEY, DATABASE, DEVELOPMENT_KEY, LOG_LEVEL, OPERATIONS_ADDRESS,
        REGISTRY_ADDRESS, ROLES,
    },
};
pub use self::{
    layers::{Layers, Resolved},
    roles::Roles,
    schemas::Format,
    security::{Security, TlsFiles},
    sources::Flags,
};

/// What the program runs by. It holds secrets, so it has no `Debug`.
pub struct Settings {
    pub store: store::Settings,
    /// Where the data is, without a password.
    pub database_shown: String,
    pub listen: SocketAddr,
    pub operations: Option<Aside>,
    /// Where the built-in schema registry is served.
    pub registry: Option<Aside>,
    pub api: api::Settings,
    pub security: Security,
    pub roles: Roles,
    pub consumers: stream::runtime::Settings,
    /// `None`: consumers read the event log itself.
    pub kafka: Option<stream::kafka::Settings>,
    pub relay: stream::relay::Settings,
    pub schemas: Schemas,
    pub reconcile: Reconcile,
    /// For how long the record of requests is kept.
    pub requests_retention: Duration,
    pub logging: Logging,
    /// Where traces go; `None`: nowhere.
    pub traces: Option<telemetry::trace::Settings>,
    /// Where a trace is shown.
    pub trace_url: Option<String>,
    /// All of them, as they may be shown.
    pub shown: Vec<console::Setting>,
    /// What the operator should know at the start, a sentence each.
    pub warnings: Vec<String>,
}

/// Where something is served beside the API.
#[derive(Clone, Copy, Debug)]
pub struct Aside {
    pub address: SocketAddr,
    /// Whether somebody asked for this address, so that it must be had.
    pub is_wanted: bool,
}

pub struct Schemas {
    pub format: Format,
    /// `None`: the built-in one.
    pub remote: Option<Arc<registry::Remote>>,
}

#[derive(Clone, Copy, Debug)]
pub struct Reconcile {
    pub interval: Duration,
    pub load_percent_max: u32,
}

#[derive(Clone, Debug)]
pub struct Logging {
    /// Directives of `tracing_subscriber::EnvFilter`.
    pub level: String,
    /// `auto`, `text` or `json`.
    pub format: String,
}

/// Reads all sources of this process.
pub fn layers(flags: &Flags) -> anyhow::Result<Layers> {
    let environment = std::env::var(sources::ENVIRONMENT_VARIABLE).ok();
    let mut layers = Layers::defaults();
    for file in sources::files(flags.config.as_deref(), environment.as_deref())? {
        layers.add(file)?;
    }
    layers.add(sources::environment(std::env::vars_os())?)?;
    layers.add(flags.given())?;
    Ok(layers)
}

impl Settings {
    /// Checks what concerns several settings, and gives each part of the program its own.
    pub fn from_layers(layers: &Layers) -> anyhow::Result<Self> {
        let security = security::settings(layers)?;
        let listen = security.check_address(layers, API_ADDRESS, layers.address(API_ADDRESS))?;
        let operations = aside(layers, OPERATIONS_ADDRESS, |address| {
            security.check_address(layers, OPERATIONS_ADDRESS, address)
        })?;
        let registry = aside(layers, REGISTRY_ADDRESS, security::check_registry_address)?;
        let addresses: Vec<SocketAddr> =
            [listen].into_iter().chain(operations.map(|aside| aside.address)).collect();
        let schemas =
            Schemas { format: schemas::format(layers), remote: schemas::remote(layers)?.map(Arc::new) };
        let seconds = |key| Duration::from_secs(layers.integer(key));
        let milliseconds = |key| Duration::from_millis(layers.integer(key));
        let roles = Roles::from_words(layers.words(ROLES));
        let kafka = kafka::settings(layers)?;
        Ok(Self {
            store: store::Settings {
                location: layers.database().clone(),
                lanes: layers.optional_lanes("Ledger:Lanes"),
                writers: layers.size("Store:Writers"),
                readers: layers.size("Store:Readers"),
                queue_commands_max: layers.size("Store:QueueCommandsMax"),
                batch_commands_max: layers.size("Store:BatchCommandsMax"),
                idempotency_retention: seconds("Idempotency:RetentionHours") * 3600,
                sealing_key: layers.key(BANK_DETAILS_KEY),
                hints: kafka.is_some() || !roles.are_all(),
            },
            database_shown: layers.of(DATABASE).shown(),
            listen,
            operations,
            registry: registry.filter(|_| roles.registry && schemas.remote.is_none()),
            schemas,
            api: api::Settings {
                connections_max: layers.size("Server:ConnectionsMax"),
                request_timeout: seconds("Server:RequestTimeoutSeconds"),
                body_bytes_max: layers.size("Server:BodyBytesMax"),
                bulk_body_bytes_max: layers.size("Server:BulkBodyBytesMax"),
                allowed_origins: layers.origins("Cors:AllowedOrigins"),
                drain_timeout: seconds("Server:DrainTimeoutSeconds"),
                requests_per_second_max: security.requests_per_second_max,
                requests_kept_per_second_max: u32::try_from(layers.integer("Requests:KeptPerSecondMax"))
                    .unwrap_or(u32::MAX),
            },
            consumers: stream::runtime::Settings {
                batch_events_max: layers.size("Consumers:BatchEventsMax"),
                attempts_max: u32::try_from(layers.integer("Consumers:AttemptsMax")).unwrap_or(u32::MAX),
                backoff_initial: milliseconds("Consumers:BackoffInitialMilliseconds"),
                backoff_max: milliseconds("Consumers:BackoffMaxMilliseconds"),
            },
            roles,
            kafka,
            relay: stream::relay::Settings {
                lease: milliseconds("Relay:LeaseMilliseconds"),
                batch_events_max: layers.size("Relay:BatchEventsMax"),
            },
            reconcile: Reconcile {
                interval: seconds("Reconcile:IntervalSeconds"),
                load_percent_max: u32::try_from(layers.integer("Reconcile:LoadPercentMax"))
                    .unwrap_or(u32::MAX),
            },
            requests_retention: seconds("Requests:RetentionDays") * 86_400,
            traces: traces::settings(layers)?,
            trace_url: traces::url(layers)?,
            logging: Logging { level: layers.log_level(), format: layers.text("Logging:Format") },
            shown: layers.resolved.iter().map(Resolved::for_console).collect(),
            warnings: [layers.warnings(), security.warnings(&addresses)].concat(),
            security,
        })
    }
}

fn aside(
    layers: &Layers,
    key: &'static str,
    check: impl FnOnce(SocketAddr) -> anyhow::Result<SocketAddr>,
) -> anyhow::Result<Option<Aside>> {
    Ok(match layers.of(key) {
        Resolved { value: Value::Absent, .. } => None,
        Resolved { source, .. } => {
            Some(Aside { address: check(layers.address(key))?, is_wanted: *source != Source::Default })
        }
    })
}

/// The values by their kinds. That a key has the kind that is asked for here is a matter of the table.
impl Layers {
    fn integer(&self, key: &str) -> u64 {
        match self.of(key).value {
            Value::Integer(number) => number,
            ref other => unreachable!("{key} is {other:?}"),
        }
    }

    fn size(&self, key: &str) -> usize {
        usize::try_from(self.integer(key)).unwrap_or(usize::MAX)
    }

    fn optional_lanes(&self, key: &str) -> Option<u16> {
        match self.of(key).value {
            Value::Absent => None,
            _ => u16::try_from(self.integer(key)).ok(),
        }
    }

    fn address(&self, key: &str) -> SocketAddr {
        match self.of(key).value {
            Value::Address(address) => address,
            ref other => unreachable!("{key} is {other:?}"),
        }
    }

    fn database(&self) -> &store::Location {
        match &self.of(DATABASE).value {
            Value::Database(database) => database.location(),
            other => unreachable!("{DATABASE} is {other:?}"),
        }
    }

    fn origins(&self, key: &str) -> Vec<String> {
        match &self.of(key).value {
            Value::Origins(origins) => origins.clone(),
            other => unreachable!("{key} is {other:?}"),
        }
    }

    fn key(&self, key: &str) -> [u8; 32] {
        match self.of(key).value {
            Value::Key(SecretKey(bytes)) => bytes,
            ref other => unreachable!("{key} is {other:?}"),
        }
    }

    fn text(&self, key: &str) -> String {
        match &self.of(key).value {
            Value::Text(text) => text.clone(),
            other => unreachable!("{key} is {other:?}"),
        }
    }

    fn switch(&self, key: &str) -> bool {
        match self.of(key).value {
            Value::Switch(value) => value,
            ref other => unreachable!("{key} is {other:?}"),
        }
    }

    fn words(&self, key: &str) -> &[&'static str] {
        match &self.of(key).value {
            Value::Words(words) => words,
            other => unreachable!("{key} is {other:?}"),
        }
    }

    fn optional_text(&self, key: &str) -> Option<String> {
        match &self.of(key).value {
            Value::Absent => None,
            _ => Some(self.text(key)).filter(|text| !text.is_empty()),
        }
    }

    fn optional_integer(&self, key: &str) -> Option<u64> {
        match self.of(key).value {
            Value::Absent => None,
            _ => Some(self.integer(key)),
        }
    }

    fn log_level(&self) -> String {
        match &self.of(LOG_LEVEL).value {
            Value::LogLevel(level) => level.clone(),
            other => unreachable!("{LOG_LEVEL} is {other:?}"),
        }
    }

    fn has_development_key(&self) -> bool {
        let resolved = self.of(BANK_DETAILS_KEY);
        let development = resolved.setting.kind.parse(&Raw::Text(DEVELOPMENT_KEY.to_owned()));
        development.as_ref() == Ok(&resolved.value)
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.has_development_key() {
            warnings.push(format!(
                "bank details are sealed with the development key, which everybody knows; \
                 set {BANK_DETAILS_KEY} to 32 random bytes in base64 before real ones are stored"
            ));
        }
        for (key, source) in &self.without_effect {
            warnings.push(format!("{key} in {source} has no effect here"));
        }
        warnings
    }
}

impl Resolved {
    fn for_console(&self) -> console::Setting {
        console::Setting {
            key: self.setting.key,
            value: self.shown(),
            source: self.source.to_string(),
            sentence: self.setting.sentence,
        }
    }

    /// As `fintech config show` has it: nothing secret.
    pub fn shown(&self) -> String {
        match &self.value {
            _ if self.setting.is_secret => "***".to_owned(),
            Value::Absent => "(none)".to_owned(),
            Value::Database(database) => database.masked().to_owned(),
            Value::Address(address) => address.to_string(),
            Value::Origins(origins) => origins.join(","),
            Value::Integer(number) => number.to_string(),
            Value::Switch(value) => value.to_string(),
            Value::Text(text) | Value::LogLevel(text) => text.clone(),
            Value::Words(words) => words.join(","),
            Value::Key(_) => "***".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub fn with(pairs: &[(&str, &str)]) -> anyhow::Result<Settings> {
        let mut layers = Layers::defaults();
        let variables = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        layers.add(sources::environment(variables)?)?;
        Settings::from_layers(&layers)
    }

    #[test]
    fn the_defaults_are_what_a_newcomer_needs() {
        let settings = with(&[]).unwrap();
        assert_eq!(settings.listen.to_string(), "127.0.0.1:5153");
        assert_eq!(settings.store.location, store::Location::Sqlite("data/fintech.db".into()));
        assert_eq!(settings.store.lanes, None);
        assert_eq!(settings.store.idempotency_retention, Duration::from_hours(24));
        assert_eq!(settings.warnings.len(), 2, "the development key and open access");
    }

    /// A newcomer may delete the file that comes with the program, and nothing changes.
    #[test]
    fn the_file_in_the_repository_says_what_the_defaults_say() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../appsettings.json");
        let mut layers = Layers::defaults();
        for file in sources::files(Some(path.as_ref()), None).unwrap() {
            layers.add(file).unwrap();
        }
        for (with_file, default) in layers.resolved.iter().zip(Layers::defaults().resolved) {
            assert_eq!(with_file.value, default.value, "{}", default.setting.key);
        }
        assert!(layers.without_effect.is_empty());
    }

    #[test]
    fn the_port_of_operations_must_be_had_only_where_somebody_asked_for_it() {
        let of = |address: &str| with(&[("Server__OperationsAddress", address)]).unwrap().operations;
        assert!(of("").is_none());
        assert!(of("127.0.0.1:9").unwrap().is_wanted);
        assert!(!with(&[]).unwrap().operations.unwrap().is_wanted);
    }

    #[test]
    fn kafka_is_used_where_its_servers_are_named() {
        assert!(with(&[]).unwrap().kafka.is_none());
        let kafka = with(&[("Kafka__BootstrapServers", "localhost:9092")]).unwrap().kafka.unwrap();
        assert_eq!(kafka.bootstrap_servers, "localhost:9092");
        assert_eq!(kafka.group_id, "fintechplatform-api");
    }

    /// Failure modes 33, 40, 46 and 53: what would break a promise is refused, whether Kafka is used or not.
    #[test]
    fn what_would_break_a_promise_is_refused_with_the_reason() {
        for (key, value, reason) in [
            ("Kafka__EnableIdempotence", "false", "twice"),
            ("Kafka__Acks", "1", "loses events"),
            ("Kafka__Acks", "0", "loses events"),
            ("Kafka__MessageSendMaxRetries", "0", "at least 1"),
            ("Kafka__EnableAutoCommit", "true", "before"),
            ("Kafka__AutoOffsetReset", "latest", "skip"),
            ("Kafka__SecurityProtocol", "SaslSsl", "Kafka:SaslUsername"),
        ] {
            let told = with(&[("Kafka__BootstrapServers", "h:1"), (key, value)]).err().unwrap().to_string();
            assert!(told.contains(reason), "{key}={value}: {told}");
        }
        assert!(with(&[("Kafka__BootstrapServers", "h:1"), ("Kafka__Acks", "-1")]).is_ok());
    }

    #[test]
    fn a_password_of_kafka_is_not_shown() {
        let mut layers = Layers::defaults();
        let variables = [("Kafka__SaslPassword".into(), "canary".into())].into_iter();
        layers.add(sources::environment(variables).unwrap()).unwrap();
        assert_eq!(layers.of("Kafka:SaslPassword").shown(), "***");
    }
}
