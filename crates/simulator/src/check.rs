//! What must always hold (design.md §8), looked at after every step; and what must hold when all has come to rest.

use std::collections::{BTreeMap, BTreeSet};

use domain::{command::Action, event::Stream, id::CommandId, lane::Lane};
use store::{
    Store,
    batch::LogEvent,
    log::{self, Verifier},
    memory::Memory,
    sql::{Reads, Row},
};
use stream::{
    kafka::record::{self, Incoming, Topic},
    position::{self, Place},
};
use tokio::sync::watch;
use uuid::Uuid;

use crate::{
    callers::{Asked, Told},
    consumer::{ON_KAFKA, ON_THE_LOG},
    kafka::{Kafka, places},
};

const PAGE: usize = 1000;

/// What was found wrong, in a sentence.
pub type Verdict = Result<(), String>;

/// What has been looked at so far.
pub struct Checker {
    memory: Memory,
    lanes: u16,
    verifiers: BTreeMap<Lane, Verifier>,
    log: BTreeMap<Place, Vec<LogEvent>>,
    commands: BTreeMap<CommandId, usize>,
    /// What has happened to each payment and withdrawal.
    happened: BTreeSet<(Uuid, String)>,
}

impl Checker {
    pub fn new(memory: Memory, lanes: u16) -> Self {
        let verifiers = (0..lanes).map(|lane| (Lane(lane), Verifier::new(Lane(lane)))).collect();
        Self {
            memory,
            lanes,
            verifiers,
            log: BTreeMap::new(),
            commands: BTreeMap::new(),
            happened: BTreeSet::new(),
        }
    }

    pub fn events(&self) -> usize {
        self.log.values().map(Vec::len).sum()
    }

    pub async fn open_letters(&self) -> Result<i64, String> {
        let sql = "select count(*) from dead_letters where state = 1";
        let rows = self.memory.query(sql, Vec::new()).await;
        let count = rows.and_then(|rows| rows.first().map_or(Ok(0), |row| row.int(0)));
        count.map_err(|error| error.to_string())
    }

    /// All that holds at every moment.
    pub async fn at_any_moment(&mut self, kafka: &Kafka, asked: &[Asked]) -> Verdict {
        self.the_log_is_dense_and_sealed().await?;
        self.what_was_acknowledged_is_there(asked)?;
        self.the_ledger_is_balanced().await?;
        self.the_topics_hold_the_log(kafka, false)?;
        for consumer in [ON_KAFKA, ON_THE_LOG] {
            self.effects_are_those_of_the_position(consumer).await?;
        }
        self.nothing_unhandled_lies_before_the_offset(kafka).await
    }

    /// All that holds when nothing is under way.
    pub async fn at_rest(&mut self, kafka: &Kafka, store: &Store) -> Verdict {
        self.the_topics_hold_the_log(kafka, true)?;
        for consumer in [ON_KAFKA, ON_THE_LOG] {
            self.everything_was_handled(consumer).await?;
            self.effects_are_in_order(consumer).await?;
        }
        self.offsets_lie_behind_the_topics(kafka).await?;
        self.reconciled(store).await
    }

    /// Invariant 3, and the heads' own word for it.
    async fn the_log_is_dense_and_sealed(&mut self) -> Verdict {
        let heads = log::heads(&self.memory).await.map_err(|error| error.to_string())?;
        for head in heads {
            let verifier = self.verifiers.entry(head.lane).or_insert_with(|| Verifier::new(head.lane));
            let events = log::behind_sequence(&self.memory, head.lane, verifier.sequence(), PAGE).await;
            for event in events.map_err(|error| error.to_string())? {
                verifier.next(&event).map_err(|flaw| format!("the log: {flaw}"))?;
                *self.commands.entry(event.command_id).or_default() += 1;
                self.happened.insert((event.subject_id, event.event_type.clone()));
                self.log.entry((event.stream, event.lane)).or_default().push(event);
            }
            verifier.end(&head).map_err(|flaw| format!("the log: {flaw}"))?;
        }
        Ok(())
    }

    /// Invariants 1 and 7: an answer's effect is in the log, a refusal's is not, a request takes effect once, and
    /// everybody who asks with one key gets one answer, about what is the merchant's own.
    fn what_was_acknowledged_is_there(&self, asked: &[Asked]) -> Verdict {
        for request in asked {
            let wrong = |what: &str| Err(format!("{what}: {:?} of {}", request.action, request.merchant));
            let effects = request.told.keys().filter(|id| self.commands.contains_key(id)).count();
            if request.key.is_some() && effects > 1 {
                return wrong("a request with a key took effect more than once");
            }
            let mut answer = None;
            for (id, told) in &request.told {
                let has_effect = self.commands.contains_key(id);
                match told {
                    Told::Unknown => {}
                    Told::Nothing if has_effect => return wrong("a request that was refused took effect"),
                    Told::Nothing => {}
                    Told::Broken(reason) => return wrong(reason),
                    Told::Answer(given) => {
                        if self.has_not_happened(&request.action) {
                            return wrong("what was acknowledged has not happened");
                        }
                        let changes = Self::changes(request);
                        if changes && effects == 0 {
                            return wrong("an acknowledged change is not in the log");
                        }
                        if request.key.is_none() && changes && !has_effect {
                            return wrong("an acknowledged change is not in the log");
                        }
                        let first = answer.get_or_insert(given);
                        if request.key.is_some() && first.outcome != given.outcome {
                            return wrong("a request with a key got two answers");
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether an answer to the request means that there is an event of it. What is so already needs none.
    const fn changes(request: &Asked) -> bool {
        match &request.action {
            Action::CreateMerchant { .. }
            | Action::CreatePayments(_)
            | Action::RefundPayment { .. }
            | Action::RequestWithdrawal(_) => true,
            Action::UpdateMerchant { .. }
            | Action::CompletePayment { .. }
            | Action::CancelPayment { .. }
            | Action::FlagPayment { .. }
            | Action::ProcessWithdrawal { .. }
            | Action::CompleteWithdrawal { .. }
            | Action::FailWithdrawal { .. }
            | Action::CancelWithdrawal { .. } => false,
        }
    }

    /// Whether nothing in the log says what an answer to the action says, whoever has asked for it first.
    fn has_not_happened(&self, action: &Action) -> bool {
        let (subject, event_type) = match action {
            Action::CompletePayment { payment_id, .. } => (payment_id.0, "PaymentCompleted"),
            Action::CancelPayment { payment_id } => (payment_id.0, "PaymentCancelled"),
            Action::RefundPayment { payment_id, .. } => (payment_id.0, "PaymentRefunded"),
            Action::FlagPayment { payment_id, .. } => (payment_id.0, "PaymentFlagged"),
            Action::ProcessWithdrawal { withdrawal_id } => (withdrawal_id.0, "WithdrawalProcessing"),
            Action::CompleteWithdrawal { withdrawal_id, .. } => (withdrawal_id.0, "WithdrawalCompleted"),
            Action::FailWithdrawal { withdrawal_id, .. } => (withdrawal_id.0, "WithdrawalFailed"),
            Action::CancelWithdrawal { withdrawal_id } => (withdrawal_id.0, "WithdrawalCancelled"),
            Action::CreateMerchant { .. }
            | Action::UpdateMerchant { .. }
            | Action::CreatePayments(_)
            | Action::RequestWithdrawal(_) => return false,
        };
        !self.happened.contains(&(subject, event_type.to_owned()))
    }

    /// Invariant 2.
    async fn the_ledger_is_balanced(&self) -> Verdict {
        let unbalanced = "select hex(transaction_id) from ledger_entries group by transaction_id, currency \
             having sum(amount) <> 0 limit 1";
        self.none(unbalanced, "a ledger transaction does not sum to zero").await?;
        let drifted = "select hex(a.owner) from accounts a where a.balance <> \
             (select coalesce(sum(e.amount), 0) from ledger_entries e \
             where e.owner = a.owner and e.kind = a.kind and e.currency = a.currency) limit 1";
        self.none(drifted, "a balance is not the sum of its entries").await?;
        // The platform's own accounts have numbers for owners: lanes, not ids.
        let negative = "select hex(owner) from accounts where balance < 0 and \
             owner in (select id from merchants) limit 1";
        self.none(negative, "a merchant's balance is negative").await
    }

    async fn none(&self, sql: &str, otherwise: &str) -> Verdict {
        let rows = self.memory.query(sql, Vec::new()).await.map_err(|error| error.to_string())?;
        match rows.first() {
            Some(row) => Err(format!("{otherwise}: {}", row.text(0).unwrap_or("?"))),
            None => Ok(()),
        }
    }

    /// Invariant 4. While something is under way the topic may hold less; what it holds is the log's, in order, once.
    fn the_topics_hold_the_log(&self, kafka: &Kafka, all: bool) -> Verdict {
        for (stream, lane) in places(self.lanes) {
            let wrong = |what: String| Err(format!("{} lane {lane}: {what}", stream.name()));
            let events = self.log.get(&(stream, lane)).map_or(&[][..], Vec::as_slice);
            let (low, _) = kafka.bounds(Topic::Stream(stream), i32::from(lane.0));
            let mut last = None;
            for position in published(kafka, stream, lane, events)? {
                match last {
                    Some(before) if position != before + 1 => {
                        return wrong(format!(
                            "position {position} lies behind position {before} on the topic"
                        ));
                    }
                    None if low == 0 && position != 1 => {
                        return wrong(format!("the topic begins with position {position}"));
                    }
                    _ => last = Some(position),
                }
            }
            let is_whole = last.is_none_or(|last| i64::try_from(events.len()) == Ok(last));
            let is_missing = last.is_none() && low == 0 && !events.is_empty();
            if all && (!is_whole || is_missing) {
                return wrong(format!("the topic ends with {last:?} and the log with {}", events.len()));
            }
        }
        Ok(())
    }

    /// Invariant 5: what a consumer's position says that it has handled is there once, or is a dead letter.
    async fn effects_are_those_of_the_position(&self, consumer: &str) -> Verdict {
        let counted = self
            .by_place(
                "select stream, lane, count(*), count(distinct position), max(position) from effects \
                 where consumer = $1 group by stream, lane",
                consumer,
                |row| Ok((row.int(2)?, row.int(3)?, row.int(4)?)),
            )
            .await?;
        let letters = self
            .by_place(
                "select stream, lane, count(*) from dead_letters where consumer = $1 and state = 1 \
                 and position is not null group by stream, lane",
                consumer,
                |row| row.int(2),
            )
            .await?;
        let positions = position::load(&self.memory, consumer).await.map_err(|error| error.to_string())?;
        for place in places(self.lanes) {
            let (effects, distinct, last) = counted.get(&place).copied().unwrap_or_default();
            let letters = letters.get(&place).copied().unwrap_or_default();
            let position = positions.get(&place).map_or(0, |mark| mark.position);
            let wrong = |what: &str| {
                Err(format!(
                    "{consumer} {} lane {}: {what} (position {position}, {effects} effects of {distinct} events, \
                     {letters} dead letters)",
                    place.0.name(),
                    place.1
                ))
            };
            if effects != distinct {
                return wrong("an effect happened twice");
            }
            if last > position {
                return wrong("an effect lies behind the position");
            }
            if effects + letters != position {
                return wrong("effects and dead letters are not what the position says");
            }
        }
        Ok(())
    }

    async fn by_place<T>(
        &self,
        sql: &str,
        consumer: &str,
        value: impl Fn(Row<'_>) -> Result<T, store::error::ReadError>,
    ) -> Result<BTreeMap<Place, T>, String> {
        let rows = self.memory.query(sql, vec![consumer.into()]).await;
        let found: Result<BTreeMap<Place, T>, _> = rows
            .and_then(|rows| rows.iter().map(|row| Ok((position::place(row, 0)?, value(row)?))).collect());
        found.map_err(|error| error.to_string())
    }

    /// An offset to go on from never skips what was not handled.
    async fn nothing_unhandled_lies_before_the_offset(&self, kafka: &Kafka) -> Verdict {
        let positions = position::load(&self.memory, ON_KAFKA).await.map_err(|error| error.to_string())?;
        for ((stream, lane), mark) in positions {
            // An offset of a topic that is not there any more says nothing; the positions sort it out.
            let is_the_first = kafka.incarnation(Topic::Stream(stream)) == 0;
            let Some(offset) = mark.kafka_offset.filter(|_| is_the_first) else { continue };
            for (at, found) in on_topic(kafka, stream, lane) {
                if at < offset && found > mark.position {
                    return Err(format!(
                        "{} lane {lane}: the consumer would go on from offset {offset}, before which lies position \
                         {found}, and has handled {}",
                        stream.name(),
                        mark.position
                    ));
                }
            }
        }
        Ok(())
    }

    async fn everything_was_handled(&self, consumer: &str) -> Verdict {
        let positions = position::load(&self.memory, consumer).await.map_err(|error| error.to_string())?;
        for (place, events) in &self.log {
            let position = positions.get(place).map_or(0, |mark| mark.position);
            if i64::try_from(events.len()) != Ok(position) {
                return Err(format!(
                    "{consumer} {} lane {}: it stands at {position} of {}",
                    place.0.name(),
                    place.1,
                    events.len()
                ));
            }
        }
        Ok(())
    }

    /// The events of one payment, withdrawal or merchant take effect in their order, redriven or not.
    async fn effects_are_in_order(&self, consumer: &str) -> Verdict {
        let sql = "select stream, lane, subject_id, position from effects where consumer = $1 order by no";
        let rows = self.memory.query(sql, vec![consumer.into()]).await.map_err(|error| error.to_string())?;
        let mut last = BTreeMap::new();
        for row in &rows {
            let read = || Ok::<_, store::error::ReadError>((row.int(0)?, row.uuid(2)?, row.int(3)?));
            let (stream, subject, position) = read().map_err(|error| error.to_string())?;
            if last.insert((stream, subject), position).is_some_and(|before| before > position) {
                return Err(format!(
                    "{consumer}: an earlier event of {subject} took effect after a later one"
                ));
            }
        }
        Ok(())
    }

    /// What was read to its end is not read again.
    async fn offsets_lie_behind_the_topics(&self, kafka: &Kafka) -> Verdict {
        let positions = position::load(&self.memory, ON_KAFKA).await.map_err(|error| error.to_string())?;
        for (stream, lane) in places(self.lanes) {
            let offset = positions.get(&(stream, lane)).and_then(|mark| mark.kafka_offset).unwrap_or(0);
            let last = kafka
                .read(Topic::Stream(stream), i32::from(lane.0), 0, usize::MAX)
                .last()
                .map(|(offset, _)| *offset);
            if last.is_some_and(|last| offset <= last) {
                return Err(format!(
                    "{} lane {lane}: the consumer would go on from offset {offset}, and has handled {last:?}",
                    stream.name()
                ));
            }
        }
        Ok(())
    }

    /// Invariant 6: the log folds to the tables.
    async fn reconciled(&self, store: &Store) -> Verdict {
        struct Breaks(Vec<String>);
        impl reconcile::Listener for Breaks {
            fn found(&mut self, found: &reconcile::Break) {
                self.0.push(format!("{found:?}"));
            }

            fn advanced(&mut self, _: usize) {}
        }
        let mut breaks = Breaks(Vec::new());
        let settings = reconcile::Settings { topics: None, load_percent_max: 100 };
        let (_stop, stopping) = watch::channel(false);
        let run = reconcile::run(store, &self.memory, &settings, &mut breaks, stopping).await;
        run.map_err(|error| format!("it could not be reconciled: {error}"))?;
        match breaks.0.first() {
            Some(first) => Err(format!("reconcile found {} breaks, the first: {first}", breaks.0.len())),
            None => Ok(()),
        }
    }
}

/// The positions of our records on a partition, each of which is the log's.
fn published(kafka: &Kafka, stream: Stream, lane: Lane, events: &[LogEvent]) -> Result<Vec<i64>, String> {
    let known: BTreeSet<(i64, [u8; 32])> = events.iter().map(|event| (event.position, event.hash)).collect();
    let mut positions = Vec::new();
    for (offset, stored) in kafka.read(Topic::Stream(stream), i32::from(lane.0), 0, usize::MAX) {
        let value = stored.value.as_deref();
        let incoming = record::decode(stream, lane, Some(&stored.key), value, Some(&stored.headers));
        match incoming {
            Incoming::Event(event) | Incoming::Avro(event, _) | Incoming::Claim(event) => {
                if !known.contains(&(event.position, event.hash)) {
                    return Err(format!(
                        "{} lane {lane}: what lies at offset {offset} of the topic is not in the log",
                        stream.name()
                    ));
                }
                positions.push(event.position);
            }
            Incoming::Foreign(_) => {}
        }
    }
    Ok(positions)
}

/// Offsets and positions of our records on a partition.
fn on_topic(kafka: &Kafka, stream: Stream, lane: Lane) -> Vec<(i64, i64)> {
    let records = kafka.read(Topic::Stream(stream), i32::from(lane.0), 0, usize::MAX);
    let found = records.into_iter().filter_map(|(offset, stored)| {
        let value = stored.value.as_deref();
        match record::decode(stream, lane, Some(&stored.key), value, Some(&stored.headers)) {
            Incoming::Event(event) | Incoming::Avro(event, _) | Incoming::Claim(event) => {
                Some((offset, event.position))
            }
            Incoming::Foreign(_) => None,
        }
    });
    found.collect()
}
