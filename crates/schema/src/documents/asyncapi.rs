//! The topics as `AsyncAPI` 3.0.0 has them, from the platform's side: it sends what a reader receives.
//!
//! `AsyncAPI` lets a message have one payload, so each version of an event is two messages, as JSON and in Avro; which of
//! them is sent is a setting of the platform. Everything is in one document, without references to other files.

use serde_json::{Map, Value, json};

use super::{
    channel::{BINDING_VERSION, TOPICS, Topic, channels},
    message::{bindings, messages, reference, schemas},
};
use crate::headers::{self, CONTENT_TYPE_JSON, DEAD_LETTER_HEADERS, EVENT_HEADERS};

const DESCRIPTION: &str = "Every change of a merchant, a payment or a withdrawal is an event, and every event lies once in \
    its topic. Read with `isolation.level=read_committed`: the topics are written in transactions. A value is JSON, or Avro \
    in the framing of Confluent's serializers, as `Schemas:Format` has it; the header `content-type` says which. The headers \
    make each record a CloudEvent in binary mode.";

/// The document.
pub fn asyncapi() -> Value {
    json!({
        "asyncapi": "3.0.0",
        "id": "urn:fintechplatform:events",
        "info": {
            "title": "Events of FintechPlatform",
            "version": env!("CARGO_PKG_VERSION"),
            "description": DESCRIPTION,
            "license": { "name": "Apache 2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0" },
            "tags": TOPICS.iter().map(|topic| json!({ "name": topic.name, "description": topic.meaning })).collect::<Vec<_>>(),
        },
        "defaultContentType": CONTENT_TYPE_JSON,
        "servers": servers(),
        "channels": channels(),
        "operations": operations(),
        "components": {
            "messages": messages(),
            "schemas": all_schemas(),
            "correlationIds": { "request": {
                "description": "The request that caused the event; all events of one request share it.",
                "location": "$message.header#/command-id",
            } },
            "messageBindings": bindings(),
            "securitySchemes": security_schemes(),
        },
    })
}

fn servers() -> Value {
    let registry = |url: &str| {
        json!({ "kafka": {
            "schemaRegistryUrl": url,
            "schemaRegistryVendor": "confluent",
            "bindingVersion": BINDING_VERSION,
        } })
    };
    let security = ["scramSha512", "scramSha256", "plain", "certificate"]
        .map(|name| reference(&format!("components/securitySchemes/{name}")));
    json!({
        "production": {
            "host": "{broker}",
            "protocol": "kafka-secure",
            "description": "The brokers of an installation: `Kafka:BootstrapServers`, with TLS and one of the ways of \
                `Kafka:SaslMechanism`. The registry is that of `Schemas:RegistryUrl`.",
            "variables": { "broker": {
                "default": "kafka.example.com:9093",
                "description": "HOST:PORT of one of them.",
            } },
            "security": security,
            "bindings": registry("https://registry.example.com"),
        },
        "local": {
            "host": "localhost:9092",
            "protocol": "kafka",
            "description": "A broker on the machine of a developer, as docs/KafkaTestingGuide.md starts it, with the built-in \
                registry at its default `Server:RegistryAddress`.",
            "bindings": registry("http://localhost:8081"),
        },
    })
}

fn security_schemes() -> Value {
    json!({
        "scramSha512": { "type": "scramSha512", "description": "`Kafka:SaslMechanism` is ScramSha512." },
        "scramSha256": { "type": "scramSha256", "description": "`Kafka:SaslMechanism` is ScramSha256." },
        "plain": { "type": "plain", "description": "`Kafka:SaslMechanism` is Plain." },
        "certificate": { "type": "X509", "description": "`Kafka:SslCertificateLocation` and `Kafka:SslKeyLocation`." },
    })
}

fn operations() -> Map<String, Value> {
    let names =
        ["publishPaymentEvents", "publishWithdrawalEvents", "publishMerchantEvents", "publishDeadLetters"];
    let publishing = names.iter().zip(&TOPICS).map(|(name, topic)| ((*name).to_owned(), publishing(topic)));
    let logging = ["logPaymentEvents", "logWithdrawalEvents"].iter().zip(&TOPICS);
    publishing.chain(logging.map(|(name, topic)| ((*name).to_owned(), logging_of(topic)))).collect()
}

fn publishing(topic: &Topic) -> Value {
    operation(
        topic,
        "send",
        "The platform publishes",
        json!({ "clientId": { "type": "string", "const": "fintech" } }),
    )
}

fn logging_of(topic: &Topic) -> Value {
    let group = json!({ "groupId": { "type": "string", "const": "fintechplatform-api" } });
    operation(topic, "receive", "The platform's own event logger, a consumer as any other", group)
}

fn operation(topic: &Topic, action: &str, summary: &str, binding: Value) -> Value {
    let channel = format!("channels/{}", topic.name);
    let messages: Vec<Value> =
        topic.messages().iter().map(|name| reference(&format!("{channel}/messages/{name}"))).collect();
    let mut binding = binding;
    binding["bindingVersion"] = BINDING_VERSION.into();
    json!({
        "action": action,
        "channel": reference(&channel),
        "title": topic.title,
        "summary": format!("{summary}: {}", topic.name),
        "bindings": { "kafka": binding },
        "messages": messages,
    })
}

fn all_schemas() -> Map<String, Value> {
    let mut all = schemas();
    all.insert("EventHeaders".to_owned(), headers::json_schema(EVENT_HEADERS));
    all.insert("DeadLetterHeaders".to_owned(), headers::json_schema(DEAD_LETTER_HEADERS));
    all
}
