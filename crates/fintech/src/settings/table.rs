//! Every setting, once. Whatever shows, checks or documents settings reads this table.

use super::kind::Kind;

#[derive(Debug)]
pub struct Setting {
    /// `Section:Name`; in the environment `Section__Name`. Letters of either case.
    pub key: &'static str,
    pub kind: Kind,
    /// As it would be written in the environment; `None`: absent unless somebody sets it.
    pub default: Option<&'static str>,
    /// Never shown, not even in the message that it is wrong.
    pub is_secret: bool,
    pub sentence: &'static str,
}

const fn setting(
    key: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    sentence: &'static str,
) -> Setting {
    Setting { key, kind, default, is_secret: false, sentence }
}

const fn secret(
    key: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    sentence: &'static str,
) -> Setting {
    Setting { key, kind, default, is_secret: true, sentence }
}

const fn integer(min: u64, max: u64) -> Kind {
    Kind::Integer { min, max }
}

const MIB: u64 = 1024 * 1024;
/// Of an amount.
const MINOR_MAX: u64 = (1 << 53) - 1;
const HOURS_A_YEAR: u64 = 24 * 366;

pub const DATABASE: &str = "ConnectionStrings:DefaultConnection";
pub const API_ADDRESS: &str = "Server:ApiAddress";
pub const OPERATIONS_ADDRESS: &str = "Server:OperationsAddress";
pub const BANK_DETAILS_KEY: &str = "Security:BankDetailsKey";
pub const ACCESS: &str = "Security:Access";
pub const TLS_CERTIFICATE: &str = "Server:TlsCertificate";
pub const TLS_KEY: &str = "Server:TlsKey";
pub const LOG_LEVEL: &str = "Logging:Level";
pub const ROLES: &str = "Server:Roles";
pub const REGISTRY_ADDRESS: &str = "Server:RegistryAddress";
pub const REGISTRY_URL: &str = "Schemas:RegistryUrl";
pub const OTLP_ENDPOINT: &str = "Telemetry:OtlpEndpoint";
pub const TRACE_URL: &str = "Telemetry:TraceUrl";
pub const TRACES_KEPT_PERCENT: &str = "Telemetry:TracesKeptPercent";
pub const KAFKA_SERVERS: &str = "Kafka:BootstrapServers";

/// Known to everybody who reads this file, so it protects nothing: for a developer's own machine.
pub const DEVELOPMENT_KEY: &str = "ZmludGVjaCBkZXZlbG9wbWVudCBrZXkgLSBpbnNlY3U=";

#[rustfmt::skip] // A table is read by its lines.
pub const SETTINGS: &[Setting] = &[
    setting(DATABASE, Kind::Database, Some("sqlite:data/fintech.db"),
        "Where the data is: sqlite:PATH or postgres://USER:PASSWORD@HOST:PORT/DATABASE."),
    setting(API_ADDRESS, Kind::Address { empty: false }, Some("127.0.0.1:5153"),
        "Where the public API listens; port 0 takes a free one."),
    setting(OPERATIONS_ADDRESS, Kind::Address { empty: true }, Some("127.0.0.1:8080"),
        "Where the console, metrics and probes are served; empty: nowhere. The default may be taken by another program."),
    setting(REGISTRY_ADDRESS, Kind::Address { empty: true }, Some("127.0.0.1:8081"),
        "Where the built-in schema registry is served; empty: nowhere. The default may be taken by another program."),
    setting("Server:ConnectionsMax", integer(1, 1_000_000), Some("1024"),
        "Connections that are served at once; more wait to be accepted."),
    setting("Server:RequestTimeoutSeconds", integer(1, 3600), Some("30"),
        "After this long a request is answered with 503."),
    setting("Server:BodyBytesMax", integer(1024, 64 * MIB), Some("65536"),
        "The largest body of a request."),
    setting("Server:BulkBodyBytesMax", integer(1024, 256 * MIB), Some("8388608"),
        "The largest body of a bulk request."),
    setting("Server:DrainTimeoutSeconds", integer(0, 3600), Some("8"),
        "How long requests in flight may take to end when the program is asked to stop."),
    setting(TLS_CERTIFICATE, Kind::Text { chars_max: 4096 }, None,
        "A PEM file with the certificate of the API and of operations, and those that vouch for it; absent: in clear."),
    setting(TLS_KEY, Kind::Text { chars_max: 4096 }, None,
        "A PEM file with the certificate's private key, not encrypted."),
    setting("Cors:AllowedOrigins", Kind::Origins,
        Some("http://localhost:5173,http://127.0.0.1:5173,http://localhost:5153,http://127.0.0.1:5153"),
        "Pages of these origins may call the API; in the environment with commas between them."),
    setting("Ledger:Lanes", integer(1, domain::lane::LANES_MAX as u64), None,
        "Fixed when the database is initialised; absent: what the database has, 16 in a new one."),
    setting("Store:Writers", integer(1, 256), Some("2"),
        "Connections that commit batches; SQLite always has one."),
    setting("Store:Readers", integer(1, 256), Some("4"),
        "Connections that answer queries."),
    setting("Store:QueueCommandsMax", integer(1, 1_000_000), Some("10000"),
        "Commands that wait for a writer; one more is answered with 503 at once."),
    setting("Store:BatchCommandsMax", integer(1, 10_000), Some("512"),
        "Commands in one commit; bulk requests end it earlier, at 5,000 payments."),
    setting("Idempotency:RetentionHours", integer(1, HOURS_A_YEAR), Some("24"),
        "How long a repeated request with the same Idempotency-Key gets the first answer."),
    setting("Requests:KeptPerSecondMax", integer(0, 1000), Some("50"),
        "Requests to the API that are recorded each second for the console, errors first; 0: none."),
    setting("Requests:RetentionDays", integer(1, 366), Some("3"),
        "How long the record of requests is kept."),
    setting("Consumers:BatchEventsMax", integer(1, 100_000), Some("500"),
        "Events that a consumer handles in one transaction."),
    setting("Consumers:AttemptsMax", integer(1, 1000), Some("5"),
        "How often an event is tried before it becomes a dead letter."),
    setting("Consumers:BackoffInitialMilliseconds", integer(1, 3_600_000), Some("100"),
        "The pause after a first failure; it doubles with each further one."),
    setting("Consumers:BackoffMaxMilliseconds", integer(1, 86_400_000), Some("30000"),
        "The longest pause between two attempts."),
    secret(BANK_DETAILS_KEY, Kind::Key, Some(DEVELOPMENT_KEY),
        "Seals bank details at rest: 32 bytes in base64; the default protects nothing."),
    setting(ACCESS, Kind::Choice(&["open", "required"]), Some("open"),
        "open: everybody may do everything, on loopback addresses only; required: with a key or a sign-in."),
    setting("Security:RequestsPerSecondMax", integer(0, 1_000_000), Some("0"),
        "Requests a second for each API key that has no limit of its own; 0: no limit."),
    setting("Security:FourEyesWithdrawalMinor", integer(0, MINOR_MAX), Some("1000000"),
        "A withdrawal of more minor units than this is not decided by one operator alone."),
    setting(LOG_LEVEL, Kind::LogLevel, Some("info"),
        "off, error, warn, info, debug or trace; single modules as in info,store=debug."),
    setting("Logging:Format", Kind::Choice(&["auto", "text", "json"]), Some("auto"),
        "auto: text on a terminal, json elsewhere."),
    setting(OTLP_ENDPOINT, Kind::Text { chars_max: 4096 }, None,
        "A collector for traces (OTLP over HTTP), such as http://localhost:4318; absent: none are kept."),
    setting(TRACE_URL, Kind::Text { chars_max: 4096 }, None,
        "Where a trace is shown, such as http://localhost:16686/trace/{traceId}; absent: the console links to none."),
    setting("Telemetry:ServiceName", Kind::Text { chars_max: 100 }, Some("fintech"),
        "What the process is called in traces."),
    setting(TRACES_KEPT_PERCENT, integer(0, 100), Some("100"),
        "The share of traces that begin here and are kept; those of callers say so themselves."),
    setting("Telemetry:TracesPerSecondMax", integer(0, 1_000_000), Some("100"),
        "Traces that are kept each second at most, those of callers included."),
    setting(ROLES, Kind::Words(&["api", "relay", "consumers", "reconcile", "registry"]),
        Some("api,relay,consumers,reconcile,registry"),
        "What this process does; several processes may share the work."),
    setting("Relay:LeaseMilliseconds", integer(100, 600_000), Some("5000"),
        "After this long without a sign of life of the relay another process publishes."),
    setting("Relay:BatchEventsMax", integer(1, 20_000), Some("2000"),
        "Events that the relay reads at once; a backlog goes out in Kafka transactions of eight such batches."),
    setting("Reconcile:IntervalSeconds", integer(1, 366 * 86_400), Some("3600"),
        "The pause between two runs of the role reconcile, and of fintech reconcile --follow."),
    setting("Reconcile:LoadPercentMax", integer(1, 100), Some("25"),
        "The share of one core's time that a run of the role reconcile may take."),
    setting("Schemas:Format", Kind::Choice(&["json", "avro"]), Some("json"),
        "How events are written to Kafka; both are read, whatever is written."),
    setting(REGISTRY_URL, Kind::Text { chars_max: 4096 }, None,
        "A schema registry with the API of Confluent's; absent: the built-in one, in the database."),
    setting("Schemas:RegistryUser", Kind::Text { chars_max: 1000 }, None,
        "The user that the registry knows (HTTP basic authentication)."),
    secret("Schemas:RegistryPassword", Kind::Text { chars_max: 4096 }, None,
        "The password of that user."),
    secret("Schemas:RegistryToken", Kind::Text { chars_max: 16_384 }, None,
        "A bearer token for the registry, instead of a user."),
    setting(KAFKA_SERVERS, Kind::Text { chars_max: 4096 }, None,
        "HOST:PORT of Kafka brokers, with commas between them; without it consumers read the event log itself."),
    setting("Kafka:Prefix", Kind::KafkaName { empty: true }, Some(""),
        "Stands before the names of topics, groups and transactional ids: several platforms on one cluster."),
    setting("Kafka:GroupId", Kind::KafkaName { empty: false }, Some("fintechplatform-api"),
        "The consumer group of the event loggers."),
    setting("Kafka:EnableIdempotence", Kind::Switch, Some("true"),
        "Must be true: otherwise a record that is sent again lies in the topic twice."),
    setting("Kafka:Acks", Kind::Choice(&["all", "-1", "1", "0"]), Some("all"),
        "Must be all: otherwise the loss of one broker loses events."),
    setting("Kafka:MessageSendMaxRetries", integer(0, 2_147_483_647), Some("3"),
        "How often the producer sends a record again before the relay begins anew."),
    setting("Kafka:EnableAutoCommit", Kind::Switch, Some("false"),
        "Must be false: otherwise offsets are committed before events are handled."),
    setting("Kafka:AutoOffsetReset", Kind::Choice(&["earliest", "latest", "error"]), Some("earliest"),
        "Must be earliest: a group without offsets begins with the first event."),
    setting("Kafka:SessionTimeoutMilliseconds", integer(6000, 300_000), Some("45000"),
        "After this long without a sign of life of a consumer others take its partitions over."),
    setting("Kafka:CompressionType", Kind::Choice(&["snappy", "lz4", "zstd", "gzip", "none"]), Some("snappy"),
        "How the producer compresses."),
    setting("Kafka:MessageBytesMax", integer(1000, 100 * MIB), Some("1000000"),
        "A larger event is published as a claim check: consumers read it from the log."),
    setting("Kafka:ReplicationFactor", integer(1, 100), None,
        "Replicas of a topic that is made; 3, or as many as there are brokers."),
    setting("Kafka:MinInsyncReplicas", integer(1, 100), None,
        "Replicas that must have a record before it counts; one less than there are."),
    setting("Kafka:RetentionHours", integer(1, 1_000_000), None,
        "How long a topic that is made keeps its records; for ever."),
    setting("Kafka:SecurityProtocol", Kind::Choice(&["Plaintext", "Ssl", "SaslPlaintext", "SaslSsl"]), Some("Plaintext"),
        "How brokers are talked to."),
    setting("Kafka:SaslMechanism", Kind::Choice(&["Plain", "ScramSha256", "ScramSha512"]), Some("Plain"),
        "How brokers are told who this is, with SaslPlaintext and SaslSsl."),
    setting("Kafka:SaslUsername", Kind::Text { chars_max: 1000 }, None,
        "The user of SASL."),
    secret("Kafka:SaslPassword", Kind::Text { chars_max: 1000 }, None,
        "The password of SASL."),
    setting("Kafka:SslCaLocation", Kind::Text { chars_max: 4096 }, None,
        "A PEM file of the authorities that may vouch for brokers; those of the system."),
    setting("Kafka:SslCertificateLocation", Kind::Text { chars_max: 4096 }, None,
        "A PEM file with this client's certificate."),
    setting("Kafka:SslKeyLocation", Kind::Text { chars_max: 4096 }, None,
        "A PEM file with this client's private key."),
    secret("Kafka:SslKeyPassword", Kind::Text { chars_max: 1000 }, None,
        "The password of the private key."),
];

/// Names of the first platform for a setting that has another one here.
pub const ALIASES: &[(&str, &str)] = &[("Logging:LogLevel:Default", LOG_LEVEL)];

/// Keys of the first platform's files that mean nothing here: allowed, so that the file can be kept, and
/// told at the start. What ends in a colon stands for all below it.
pub const WITHOUT_EFFECT: &[&str] = &["AllowedHosts", "Logging:LogLevel:"];
