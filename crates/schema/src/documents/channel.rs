//! The topics as `AsyncAPI` channels, as the program makes them when nothing else is set.

use domain::{event::Stream, lane::LANES_DEFAULT};
use serde_json::{Map, Value, json};

use super::message::{CLAIM_CHECK, DEAD_LETTER, messages_of, reference};

pub const BINDING_VERSION: &str = "0.5.0";
/// Where there are as many brokers.
const REPLICAS: u16 = 3;

pub struct Topic {
    pub name: &'static str,
    pub title: &'static str,
    pub meaning: &'static str,
    /// `None`: dead letters.
    pub stream: Option<Stream>,
}

pub const TOPICS: [Topic; 4] = [
    Topic {
        name: Stream::Payments.name(),
        title: "Payments",
        meaning: "What happened to payments, from their creation to their last refund.",
        stream: Some(Stream::Payments),
    },
    Topic {
        name: Stream::Withdrawals.name(),
        title: "Withdrawals",
        meaning: "What happened to withdrawals, from the request to the bank's answer.",
        stream: Some(Stream::Withdrawals),
    },
    Topic {
        name: Stream::Merchants.name(),
        title: "Merchants",
        meaning: "What happened to merchants themselves.",
        stream: Some(Stream::Merchants),
    },
    Topic {
        name: "dead-letter-queue",
        title: "Dead letters",
        meaning: "Records that a consumer of the platform could not handle, each as it was, with the reason in its headers.",
        stream: None,
    },
];

impl Topic {
    /// The names of its messages.
    pub fn messages(&self) -> Vec<String> {
        let Some(stream) = self.stream else {
            return vec![DEAD_LETTER.to_owned()];
        };
        let mut names = messages_of(stream);
        names.push(CLAIM_CHECK.to_owned());
        names
    }
}

pub fn channels() -> Map<String, Value> {
    TOPICS.iter().map(|topic| (topic.name.to_owned(), channel(topic))).collect()
}

fn channel(topic: &Topic) -> Value {
    let messages: Map<String, Value> = topic
        .messages()
        .into_iter()
        .map(|name| {
            let reference = reference(&format!("components/messages/{name}"));
            (name, reference)
        })
        .collect();
    let place = match topic.stream {
        Some(_) => {
            "The key is the merchant's id, so that its events lie in one partition, in the order in which they \
             happened. There are as many partitions as the log has lanes, and their number never changes."
        }
        None => {
            "A dead letter lies in the partition of the number that it was in, under the key that it had."
        }
    };
    json!({
        "address": topic.name,
        "title": topic.title,
        "summary": topic.meaning,
        "description": format!(
            "{place} The platform makes the topic when it is missing. `Kafka:Prefix` stands before its name; replicas, \
             those of them that must be in sync, and retention are `Kafka:ReplicationFactor` (three, or as many as there \
             are brokers), `Kafka:MinInsyncReplicas` (one less) and `Kafka:RetentionHours` (for ever)."
        ),
        "servers": [reference("servers/production"), reference("servers/local")],
        "messages": messages,
        "bindings": { "kafka": {
            "topic": topic.name,
            "partitions": LANES_DEFAULT,
            "replicas": REPLICAS,
            "topicConfiguration": {
                "cleanup.policy": ["delete"],
                "retention.ms": -1,
                "min.insync.replicas": REPLICAS - 1,
                "unclean.leader.election.enable": false,
                "compression.type": "producer",
                "message.timestamp.type": "LogAppendTime",
            },
            "bindingVersion": BINDING_VERSION,
        } },
    })
}
