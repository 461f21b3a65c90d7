//! What the runbook of `EventFreshnessBudgetBurn` says to do about a transaction that a broker took with it: it is open in a
//! partition, and nobody is left who knows of it. Kafka's own tool ends it.

use std::process::Command;

use crate::support::kafka::Kafka;

const TOOL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/kafka");
/// How the relay tells of it.
const TOLD: &str = "a transaction of another producer is open on ";

/// How often the relay has told of one.
pub fn told(log: &str) -> usize {
    log.matches(TOLD).count()
}

/// Ends the transaction that the relay's log tells of last; gives where it was.
#[track_caller]
pub fn end(kafka: &Kafka, log: &str) -> Option<String> {
    let (_, told) = log.rsplit_once(TOLD)?;
    let (topic, told) = told.split_once(" partition ")?;
    let partition = told.split(':').next()?;
    let place = ["--topic", topic, "--partition", partition];
    let producers = transactions(kafka, &[&["describe-producers"], &place[..]].concat());
    let begins: Vec<&str> =
        producers.lines().skip(1).filter_map(|line| line.split_whitespace().last()).collect();
    let begin = begins.into_iter().find(|begin| begin.parse::<u64>().is_ok())?;
    transactions(kafka, &[&["abort"], &place[..], &["--start-offset", begin]].concat());
    Some(format!("{topic} partition {partition}, from offset {begin}"))
}

fn transactions(kafka: &Kafka, arguments: &[&str]) -> String {
    let mut command = Command::new(TOOL);
    command.args(["transactions", "--bootstrap-server", &kafka.servers]).args(arguments);
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    let (told, failed) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{arguments:?}: {told}{failed}");
    told
}
