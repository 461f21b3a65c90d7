//! The settings of Kafka. A value that would break what the platform promises stops the start.

use std::time::Duration;

use anyhow::{bail, ensure};

use super::{Layers, table::KAFKA_SERVERS};

const SECONDS_AN_HOUR: u64 = 3600;

pub fn settings(layers: &Layers) -> anyhow::Result<Option<stream::kafka::Settings>> {
    refuse_what_breaks_promises(layers)?;
    let Some(bootstrap_servers) = layers.optional_text(KAFKA_SERVERS) else {
        return Ok(None);
    };
    let count = |key| layers.optional_integer(key).and_then(|number| i32::try_from(number).ok());
    Ok(Some(stream::kafka::Settings {
        bootstrap_servers,
        prefix: layers.text("Kafka:Prefix"),
        group_id: layers.text("Kafka:GroupId"),
        session_timeout: Duration::from_millis(layers.integer("Kafka:SessionTimeoutMilliseconds")),
        compression: layers.text("Kafka:CompressionType"),
        send_retries: layers.integer("Kafka:MessageSendMaxRetries"),
        message_bytes_max: layers.size("Kafka:MessageBytesMax"),
        replication: count("Kafka:ReplicationFactor"),
        min_insync_replicas: count("Kafka:MinInsyncReplicas"),
        retention: layers
            .optional_integer("Kafka:RetentionHours")
            .map(|hours| Duration::from_secs(hours * SECONDS_AN_HOUR)),
        security: security(layers)?,
    }))
}

fn refuse_what_breaks_promises(layers: &Layers) -> anyhow::Result<()> {
    ensure!(
        layers.switch("Kafka:EnableIdempotence"),
        "Kafka:EnableIdempotence is false: a record that is sent again would lie in the topic twice; set it to true"
    );
    let acks = layers.text("Kafka:Acks");
    ensure!(
        acks == "all" || acks == "-1",
        "Kafka:Acks is {acks}: the loss of one broker then loses events that were published; set it to all"
    );
    ensure!(
        layers.integer("Kafka:MessageSendMaxRetries") > 0,
        "Kafka:MessageSendMaxRetries is 0: an idempotent producer must be able to send again; set it to at least 1"
    );
    ensure!(
        !layers.switch("Kafka:EnableAutoCommit"),
        "Kafka:EnableAutoCommit is true: offsets would be committed before events are handled; set it to false"
    );
    let reset = layers.text("Kafka:AutoOffsetReset");
    ensure!(
        reset == "earliest",
        "Kafka:AutoOffsetReset is {reset}: a group without offsets would skip events; set it to earliest"
    );
    Ok(())
}

/// In the words of librdkafka.
fn security(layers: &Layers) -> anyhow::Result<Vec<(&'static str, String)>> {
    let (protocol, has_sasl) = match layers.text("Kafka:SecurityProtocol").as_str() {
        "Ssl" => ("ssl", false),
        "SaslPlaintext" => ("sasl_plaintext", true),
        "SaslSsl" => ("sasl_ssl", true),
        _ => ("plaintext", false),
    };
    let mut security = vec![("security.protocol", protocol.to_owned())];
    if has_sasl {
        let mechanism = match layers.text("Kafka:SaslMechanism").as_str() {
            "ScramSha256" => "SCRAM-SHA-256",
            "ScramSha512" => "SCRAM-SHA-512",
            _ => "PLAIN",
        };
        security.push(("sasl.mechanism", mechanism.to_owned()));
        for (key, name) in [("Kafka:SaslUsername", "sasl.username"), ("Kafka:SaslPassword", "sasl.password")]
        {
            let Some(value) = layers.optional_text(key) else {
                bail!("Kafka:SecurityProtocol asks for SASL, and {key} is not set");
            };
            security.push((name, value));
        }
    }
    for (key, name) in [
        ("Kafka:SslCaLocation", "ssl.ca.location"),
        ("Kafka:SslCertificateLocation", "ssl.certificate.location"),
        ("Kafka:SslKeyLocation", "ssl.key.location"),
        ("Kafka:SslKeyPassword", "ssl.key.password"),
    ] {
        security.extend(layers.optional_text(key).map(|value| (name, value)));
    }
    Ok(security)
}
