//! A bare idempotent librdkafka producer that sends what the relay sends: the same keys, values and headers, without a
//! log to read, an order to keep or a transaction to commit. And Kafka's own `ProducerPerformance`.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use store::batch::LogEvent;
use stream::kafka::{record, values::Format};

const FLUSH_TIMEOUT: Duration = Duration::from_mins(2);

#[derive(Debug, thiserror::Error)]
pub enum ProducerError {
    #[error("the bare producer failed: {0}")]
    Kafka(#[from] KafkaError),
    #[error("{program} failed: {reason}")]
    Tool { program: String, reason: String },
    #[error("the bare producer ended by a panic")]
    Panic,
}

/// Events a second: `sample`, over and over, until so many are acknowledged.
pub async fn events_per_second(
    servers: &str,
    topic: &str,
    sample: Vec<LogEvent>,
    events: usize,
) -> Result<f64, ProducerError> {
    let (servers, topic) = (servers.to_owned(), topic.to_owned());
    let run = move || run(&servers, &topic, &sample, events);
    tokio::task::spawn_blocking(run).await.map_err(|_| ProducerError::Panic)?
}

fn run(servers: &str, topic: &str, sample: &[LogEvent], events: usize) -> Result<f64, ProducerError> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("enable.idempotence", "true")
        .set("compression.codec", "snappy")
        .set("linger.ms", "1")
        .set("queue.buffering.max.messages", "100000")
        .create()?;
    let begun = Instant::now();
    for event in sample.iter().cycle().take(events) {
        let outgoing = record::encode(event, &Format::Json, usize::MAX);
        let value = outgoing.value.unwrap_or_default();
        let mut headers = OwnedHeaders::new_with_capacity(outgoing.headers.len());
        for (key, value) in &outgoing.headers {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let mut record = BaseRecord::to(topic)
            .partition(outgoing.partition)
            .key(&outgoing.key)
            .payload(&value)
            .headers(headers);
        loop {
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), rejected)) => {
                    producer.poll(Duration::from_millis(1));
                    record = rejected;
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(FLUSH_TIMEOUT)?;
    Ok(crate::report::rate(events as u64, begun.elapsed().as_secs_f64()))
}

/// Records a second of Kafka's own tool, `program` being `scripts/kafka`. It sends values only, of `bytes` each.
pub async fn performance_tool(
    program: &str,
    servers: &str,
    topic: &str,
    bytes: usize,
    events: usize,
) -> Result<f64, ProducerError> {
    let mut command = Command::new(program);
    command
        .env("FINTECH_KAFKA_JAVA", "-Xmx512m -XX:+UseSerialGC")
        .args(["producer-perf-test", "--topic", topic, "--throughput", "-1"])
        .args(["--num-records", &events.to_string(), "--record-size", &bytes.to_string()])
        .args(["--bootstrap-server", servers])
        .args(["--command-property", "acks=all", "compression.type=snappy", "enable.idempotence=true"]);
    let failed = |reason: String| ProducerError::Tool { program: program.to_owned(), reason };
    let output = tokio::task::spawn_blocking(move || command.output()).await;
    let output = output.map_err(|_| ProducerError::Panic)?.map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8_lossy(&output.stdout);
    // "1000000 records sent, 59000.1 records/sec (28.13 MB/sec), …"; the last line is of the whole run.
    let rate = text.lines().rev().find_map(|line| {
        let (before, _) = line.split_once(" records/sec")?;
        before.rsplit(' ').next()?.replace(',', "").parse().ok()
    });
    rate.ok_or_else(|| failed(format!("{text}{}", String::from_utf8_lossy(&output.stderr))))
}
