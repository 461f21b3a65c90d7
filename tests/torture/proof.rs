//! Afterwards: what was acknowledged is there, every event lies in its topic and had its effect, once and in order.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    path::Path,
    time::{Duration, Instant},
};

use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::{BorrowedMessage, Headers as _, Message as _},
};
use serde_json::Value;

use crate::{
    LANES,
    database::Postgres,
    load::Load,
    support::{
        client::Client,
        kafka::{Kafka, STREAMS},
        program::{self, Ended},
    },
};

/// For what has gathered while relay and consumers were away again and again.
const CATCH_UP_PATIENCE: Duration = Duration::from_mins(10);
const READ_PATIENCE: Duration = Duration::from_mins(10);
const BETWEEN_LOOKS: Duration = Duration::from_millis(500);
const POLL: Duration = Duration::from_millis(100);
const REQUEST: Duration = Duration::from_secs(20);

pub struct Proof<'a> {
    pub postgres: &'a Postgres,
    pub kafka: &'a Kafka,
    pub api: Client,
    pub folder: &'a Path,
    pub variables: &'a [(String, String)],
}

/// Counts of what was looked at.
#[derive(Debug, Default)]
pub struct Found {
    pub acknowledged: usize,
    pub events: u64,
    pub effects: u64,
    pub records: usize,
    pub reconciled: String,
    pub caught_up_after: Duration,
}

impl Proof<'_> {
    /// `meanwhile` is done while relay and consumers catch up.
    pub fn all(&self, meanwhile: impl FnMut()) -> Found {
        let caught_up_after = self.caught_up(meanwhile);
        let verified = self.run(&["events", "verify"]);
        assert_eq!(verified.code, Some(0), "{}{}", verified.stdout, verified.stderr);
        let reconciled = self.run(&["reconcile"]);
        assert_eq!(reconciled.code, Some(0), "{}{}", reconciled.stdout, reconciled.stderr);
        let records: usize =
            (1..).zip(STREAMS).map(|(number, name)| self.topic_holds_the_log(number, name)).sum();
        let events = self.postgres.number("select count(*) from events");
        assert_eq!(records as u64, events);
        assert_eq!(self.postgres.number("select count(*) from dead_letters"), 0, "dead letters");
        Found {
            acknowledged: self.acknowledged_is_there(),
            events,
            effects: self.effects_are_once_each_in_order(events),
            records,
            reconciled: reconciled.stdout.trim().to_owned(),
            caught_up_after,
        }
    }

    fn run(&self, arguments: &[&str]) -> Ended {
        let url = self.postgres.address();
        let arguments: Vec<&str> = arguments.iter().copied().chain(["--database", &url]).collect();
        let variables: Vec<(&str, &str)> =
            self.variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        program::run(self.folder, &arguments, &variables)
    }

    /// Waits until nothing is unpublished and no consumer is behind; gives how long that took.
    fn caught_up(&self, mut meanwhile: impl FnMut()) -> Duration {
        let begun = Instant::now();
        let mut consumers;
        loop {
            meanwhile();
            let relay = self.run(&["relay"]);
            consumers = self.run(&["consumers"]);
            let column = |ended: &Ended, at: usize| -> Vec<String> {
                let rows = ended.stdout.lines().skip(1);
                rows.map(|row| row.split_whitespace().nth(at).unwrap_or_default().to_owned()).collect()
            };
            let unpublished = column(&relay, 2);
            let lags = column(&consumers, 1);
            if unpublished == ["0"] && lags.len() > 1 && lags.iter().all(|lag| lag == "0") {
                return begun.elapsed();
            }
            assert!(
                begun.elapsed() < CATCH_UP_PATIENCE,
                "relay and consumers do not catch up:\n{}{}\n{}{}",
                relay.stdout,
                relay.stderr,
                consumers.stdout,
                consumers.stderr
            );
            crate::torment::pause(BETWEEN_LOOKS);
        }
    }

    /// Every line of the journal is a resource of its merchant with the amount that was acknowledged, in the state
    /// that was acknowledged last; each key made one thing; and nothing was made that was not acknowledged.
    fn acknowledged_is_there(&self) -> usize {
        let journal = Load::journal(self.folder);
        let mut keys = HashSet::new();
        let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
        let mut resources: HashMap<&str, Acknowledged> = HashMap::new();
        for line in &journal {
            let text = |member: &str| line[member].as_str().unwrap();
            assert!(keys.insert(text("key")), "acknowledged twice: {line}");
            let kind = event_of(text("path"));
            *kinds.entry(kind).or_default() += 1;
            if kind == "MerchantCreated" {
                continue;
            }
            let (merchant, amount_minor) = (text("merchantId"), line["amountInMinorUnits"].as_i64().unwrap());
            let known =
                resources.entry(text("id")).or_insert(Acknowledged { merchant, amount_minor, progress: 0 });
            assert_eq!((known.merchant, known.amount_minor), (merchant, amount_minor), "{line}");
            known.progress = known.progress.max(progress(text("statusAfter")));
        }
        let counted = self.postgres.query("select event_type, count(*) from events group by event_type");
        let counted: BTreeMap<&str, u64> =
            counted.iter().map(|row| (row[0].as_str(), row[1].parse().unwrap())).collect();
        assert_eq!(counted, kinds, "events by type, and what was acknowledged");
        self.api_shows(&resources);
        journal.len()
    }

    /// Each of them is found in the lists of its merchant, once, and nothing else is.
    fn api_shows(&self, resources: &HashMap<&str, Acknowledged<'_>>) {
        let merchants: HashSet<&str> = resources.values().map(|known| known.merchant).collect();
        let mut found = HashSet::new();
        for merchant in merchants {
            for list in ["payments", "withdrawals"] {
                for one in self.api.all_pages(&format!("/api/merchants/{merchant}/{list}?limit=100")) {
                    let id = one["id"].as_str().unwrap();
                    let is = Acknowledged {
                        merchant,
                        amount_minor: one["amountInMinorUnits"].as_i64().unwrap(),
                        progress: progress(one["status"].as_str().unwrap()),
                    };
                    assert_eq!(resources.get(id), Some(&is), "{one}");
                    assert!(found.insert(id.to_owned()), "listed twice: {one}");
                }
            }
        }
        assert_eq!(found.len(), resources.len());
    }

    /// The rows of the probe are numbered as they were written.
    fn effects_are_once_each_in_order(&self, events: u64) -> u64 {
        let effects = self.postgres.number("select count(*) from probe");
        assert_eq!(effects, events, "an effect for each event");
        let stray = "select count(*) from probe p where not exists \
             (select 1 from events e where e.stream = p.stream and e.lane = p.lane and e.position = p.position \
             and e.event_id::text = p.event_id)";
        assert_eq!(self.postgres.number(stray), 0, "effects of no event");
        let out_of_order = "select count(*) from (select position, row_number() over \
             (partition by stream, lane order by number) as wanted from probe) numbered where position <> wanted";
        assert_eq!(self.postgres.number(out_of_order), 0, "effects that are doubled or out of order");
        effects
    }

    /// Reads the topic from its beginning to its end beside the log: the same events, in the same order, once.
    fn topic_holds_the_log(&self, number: u32, name: &str) -> usize {
        let mut wanted = self.sealed(number);
        let topic = self.kafka.topic(name);
        let consumer = self.reader(&topic);
        let mut open: HashSet<i32> = (0..LANES).collect();
        let (deadline, mut read) = (Instant::now() + READ_PATIENCE, 0);
        while !open.is_empty() {
            assert!(Instant::now() < deadline, "{topic} could not be read to its end");
            match consumer.poll(POLL) {
                Some(Ok(message)) => {
                    let next = wanted.get_mut(&message.partition()).and_then(VecDeque::pop_front);
                    let place = (message.partition(), message.offset());
                    assert_eq!(Some(seal_of(&message)), next, "{topic} {place:?}");
                    read += 1;
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    open.remove(&partition);
                }
                _ => {}
            }
        }
        let missing: usize = wanted.values().map(VecDeque::len).sum();
        assert_eq!(missing, 0, "events that are not in {topic}");
        read
    }

    /// The events of a stream by lane, in order.
    fn sealed(&self, stream: u32) -> BTreeMap<i32, VecDeque<Seal>> {
        let sql = format!(
            "select lane, event_id, encode(hash, 'hex') from events where stream = {stream} order by lane, position"
        );
        let mut sealed: BTreeMap<i32, VecDeque<Seal>> = BTreeMap::new();
        for row in self.postgres.query(&sql) {
            let [lane, event_id, hash] = row.try_into().unwrap();
            sealed.entry(lane.parse().unwrap()).or_default().push_back(Seal { event_id, hash });
        }
        sealed
    }

    /// What reads all committed records of a topic.
    fn reader(&self, topic: &str) -> BaseConsumer {
        let mut config = self.kafka.client();
        config.set("group.id", "reader").set("isolation.level", "read_committed");
        config.set("enable.partition.eof", "true").set("enable.auto.commit", "false");
        let consumer: BaseConsumer = config.create().unwrap();
        // Asked first, so that a topic which is not there is told.
        consumer.fetch_metadata(Some(topic), REQUEST).unwrap();
        let mut list = TopicPartitionList::new();
        for lane in 0..LANES {
            list.add_partition_offset(topic, lane, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        consumer
    }
}

/// What the answers said of a resource, the last of them of its state.
#[derive(Debug, PartialEq, Eq)]
struct Acknowledged<'a> {
    merchant: &'a str,
    amount_minor: i64,
    progress: usize,
}

/// By which an event is known, and all before it.
#[derive(Debug, PartialEq, Eq)]
struct Seal {
    event_id: String,
    hash: String,
}

fn seal_of(message: &BorrowedMessage<'_>) -> Seal {
    let headers = message.headers().expect("records have headers");
    let header = |name: &str| {
        let found = headers.iter().find(|header| header.key == name).and_then(|header| header.value);
        String::from_utf8_lossy(found.unwrap_or_default()).into_owned()
    };
    Seal { event_id: header("ce_id"), hash: header("chain-hash") }
}

/// What a request that was acknowledged has made, by its path.
fn event_of(path: &str) -> &'static str {
    match path.rsplit('/').next() {
        Some("merchants") => "MerchantCreated",
        Some("payments") => "PaymentCreated",
        Some("complete") => "PaymentCompleted",
        Some("refund") => "PaymentRefunded",
        Some("withdrawals") => "WithdrawalRequested",
        _ => panic!("{path}"),
    }
}

/// States in the order in which they come.
fn progress(status: &str) -> usize {
    let all = ["Pending", "Completed", "PartiallyRefunded", "Refunded"];
    all.iter().position(|known| *known == status).unwrap_or_else(|| panic!("the state {status}"))
}

/// The answers of a load, by what its report says.
pub fn answered(report: &Value) -> u64 {
    let kinds = report["measured"]["kinds"].as_array().unwrap();
    let kinds = kinds.iter().filter(|line| line["kind"] != "all");
    kinds.map(|line| line["ok"].as_u64().unwrap()).sum()
}
