//! The writer: group commit. One task owns a set of lanes, and one transaction carries the commands that
//! gathered while the one before was being committed, as many as fit. There is no timer: a command that comes
//! alone is committed at once.
//!
//! A caller is answered only when its batch is durable, or when it is certain that nothing was written.
//! When the connection breaks at COMMIT the outcome is found out under the lanes' locks, in the log.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use domain::{command::Action, lane::Lane, time::Timestamp};
use telemetry::{metrics, metrics::KindOf};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::Instant,
};

use crate::{
    Clock,
    batch::{Batch, Needs, Reply, Writes},
    error::SubmitError,
    fault::{self, Fault},
    measure::{self, Measured},
    request::Request,
    sealing::Sealer,
    session::{BatchError, Connect, Session},
    store::Commits,
};

/// How long a batch is tried again while the database is away, before its callers are told so.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Payments of bulk requests in one transaction, unless one alone has more: what they may take of memory together, and how
/// long others wait behind them.
const BATCH_BULK_PAYMENTS_MAX: usize = 5_000;
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(20);
const RETRY_PAUSE_MAX: Duration = Duration::from_millis(500);

/// A request on its way through the writer.
pub struct Job {
    pub request: Request,
    pub reply: oneshot::Sender<Result<Reply, SubmitError>>,
}

type Replies = Vec<Result<Reply, SubmitError>>;

/// What a writer needs to know besides its connection.
#[derive(Clone)]
pub struct Rules {
    pub lanes: u16,
    pub batch_commands_max: usize,
    pub idempotency_retention: Duration,
    pub sealer: Arc<Sealer>,
    pub clock: Clock,
    /// Counts up with each commit, so that readers of the log wake.
    pub commits: watch::Sender<Commits>,
}

pub struct Writer<C: Connect> {
    connect: C,
    rules: Rules,
    session: Option<C::Session>,
}

impl<C: Connect> Writer<C> {
    pub const fn new(connect: C, rules: Rules) -> Self {
        Self { connect, rules, session: None }
    }

    /// Runs until all senders are gone and what they sent is answered.
    pub async fn run(mut self, mut inbox: mpsc::Receiver<Job>) {
        let mut jobs = Vec::with_capacity(self.rules.batch_commands_max);
        loop {
            let taken = inbox.recv_many(&mut jobs, self.rules.batch_commands_max).await;
            metrics().commands_waiting.dec_by(i64::try_from(taken).unwrap_or(i64::MAX));
            if taken == 0 {
                break;
            }
            let mut retry = Retry::new();
            while !jobs.is_empty() {
                let batch = jobs.drain(..fitting(&jobs));
                let (requests, callers): (Vec<_>, Vec<_>) = batch.map(|job| (job.request, job.reply)).unzip();
                let replies = self.settle(&requests, &mut retry).await;
                for ((caller, request), reply) in callers.into_iter().zip(&requests).zip(replies) {
                    measure::answered(request, &reply);
                    // A caller that went away changes nothing: its effect is durable or refused already.
                    let _ = caller.send(reply);
                }
            }
        }
    }

    /// Gives every request its reply. A batch that meets a broken invariant is decided again one command
    /// at a time, so that one command does not harm its neighbours.
    async fn settle(&mut self, requests: &[Request], retry: &mut Retry) -> Replies {
        match self.commit_with_retries(requests, retry).await {
            Ok(replies) => replies,
            Err(SubmitError::Broken) if requests.len() > 1 => {
                let mut replies = Vec::with_capacity(requests.len());
                for request in requests {
                    match self.commit_with_retries(std::slice::from_ref(request), retry).await {
                        Ok(reply) => replies.extend(reply),
                        Err(error) => replies.push(Err(error)),
                    }
                }
                replies
            }
            Err(error) => requests.iter().map(|_| Err(error.clone())).collect(),
        }
    }

    async fn commit_with_retries(
        &mut self,
        requests: &[Request],
        retry: &mut Retry,
    ) -> Result<Replies, SubmitError> {
        loop {
            let error = match self.attempt(requests).await {
                Ok(replies) => {
                    *retry = Retry::new();
                    return Ok(replies);
                }
                Err(Attempt::Failed(error)) => error,
                Err(Attempt::Unknown { starts, replies, writes, reason }) => {
                    tracing::warn!(%reason, "the connection broke at COMMIT; looking for the outcome in the log");
                    if !fault::is_on(Fault::SkipLookUp) && self.find_out(requests, &starts, retry).await? {
                        self.took_effect(&writes);
                        return Ok(replies);
                    }
                    if !retry.pause().await {
                        tracing::error!(%reason, "nothing was committed; callers are told to try again");
                        return Err(SubmitError::Unavailable);
                    }
                    continue;
                }
            };
            match error {
                BatchError::Broken(reason) => {
                    tracing::error!(%reason, commands = requests.len(), "a batch met a broken invariant and was rolled back");
                    self.session = None;
                    return Err(SubmitError::Broken);
                }
                BatchError::Unavailable(reason) | BatchError::OutcomeUnknown(reason) => {
                    self.session = None;
                    metrics().database_errors.get_or_create(&KindOf { kind: "write" }).inc();
                    if !retry.pause().await {
                        tracing::error!(%reason, "the database is not available; callers are told to try again");
                        return Err(SubmitError::Unavailable);
                    }
                    tracing::warn!(%reason, "the database is not available; the batch is tried again");
                }
            }
        }
    }

    async fn attempt(&mut self, requests: &[Request]) -> Result<Replies, Attempt> {
        let needs = Needs::of(requests.iter(), self.rules.lanes);
        let now = (self.rules.clock)();
        let session = match &mut self.session {
            Some(session) => session,
            empty => empty.insert(self.connect.connect().await?),
        };
        let measured = Measured::begin(requests, C::SYSTEM);
        let loaded = session.begin(&needs).await?;
        let starts: BTreeMap<Lane, i64> =
            loaded.heads.iter().map(|head| (head.lane, head.sequence)).collect();
        let mut batch =
            Batch::new(loaded, self.rules.lanes, now, self.rules.keys_valid_from(now), &self.rules.sealer);
        let mut replies = Vec::with_capacity(requests.len());
        for request in requests {
            match batch.decide(request) {
                Ok(reply) => replies.push(reply),
                Err(error) => return Err(BatchError::Broken(error.to_string()).into()),
            }
        }
        let writes = batch.into_writes();
        if writes.is_empty() {
            session.rollback().await?;
            measured.ended("empty");
            return Ok(replies);
        }
        let committed = session.commit(&writes).await;
        // What was committed is published again by the relay, which would be found for that.
        #[cfg(debug_assertions)]
        if committed.is_err() && fault::is_on(Fault::PublishBeforeCommit) {
            fault::publish(&writes.events);
        }
        match committed {
            Ok(()) => {}
            Err(_) if fault::is_on(Fault::AnswerBeforeCommit) => self.session = None,
            Err(BatchError::OutcomeUnknown(reason)) => {
                self.session = None;
                measured.ended("unknown");
                let starts = changed_only(starts, &writes);
                return Err(Attempt::Unknown { starts, replies, writes: Box::new(writes), reason });
            }
            Err(error) => return Err(error.into()),
        }
        measured.committed();
        self.took_effect(&writes);
        Ok(replies)
    }

    /// Wakes whoever waits for commits, and counts what is durable now.
    fn took_effect(&self, writes: &Writes) {
        let events = u64::try_from(writes.events.len()).unwrap_or(u64::MAX);
        self.rules.commits.send_modify(|commits| commits.own += events.max(1));
        measure::count(writes);
    }

    /// Whether a batch whose COMMIT went unanswered is in the log. Locking the same lanes waits until
    /// the old transaction has ended. A batch is one transaction, so one of its commands speaks for all;
    /// a batch without events changed nothing that repeating it would double.
    async fn find_out(
        &mut self,
        requests: &[Request],
        starts: &BTreeMap<Lane, i64>,
        retry: &mut Retry,
    ) -> Result<bool, SubmitError> {
        loop {
            match self.look_up(requests, starts).await {
                Ok(found) => return Ok(found),
                Err(error) => {
                    self.session = None;
                    tracing::warn!(%error, "the outcome of a batch cannot be found out yet");
                    if !retry.pause().await {
                        return Err(SubmitError::OutcomeUnknown);
                    }
                }
            }
        }
    }

    async fn look_up(
        &mut self,
        requests: &[Request],
        starts: &BTreeMap<Lane, i64>,
    ) -> Result<bool, BatchError> {
        let mut session = self.connect.connect().await?;
        let needs = Needs { lanes: starts.keys().copied().collect(), ..Needs::default() };
        session.begin(&needs).await?;
        let mut found = false;
        for (lane, sequence) in starts {
            let committed = session.commands_behind(*lane, *sequence).await?;
            found |= requests.iter().any(|request| committed.contains(&request.command.id.0));
        }
        session.rollback().await?;
        self.session = Some(session);
        Ok(found)
    }
}

/// How many of the first jobs go into one transaction; at least one.
fn fitting(jobs: &[Job]) -> usize {
    let mut payments = 0;
    let over = jobs.iter().position(|job| {
        payments += match &job.request.command.action {
            Action::CreatePayments(new) if new.len() > 1 => new.len(),
            _ => 0,
        };
        payments > BATCH_BULK_PAYMENTS_MAX
    });
    over.unwrap_or(jobs.len()).max(1)
}

impl Rules {
    fn keys_valid_from(&self, now: Timestamp) -> Timestamp {
        let retention = i64::try_from(self.idempotency_retention.as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(now.as_micros().saturating_sub(retention))
    }
}

/// Only lanes to which events were appended can tell whether the batch was committed.
fn changed_only(mut starts: BTreeMap<Lane, i64>, writes: &Writes) -> BTreeMap<Lane, i64> {
    starts.retain(|lane, _| writes.heads.iter().any(|head| head.lane == *lane));
    starts
}

/// How one attempt ended without a durable batch.
enum Attempt {
    Failed(BatchError),
    Unknown { starts: BTreeMap<Lane, i64>, replies: Replies, writes: Box<Writes>, reason: String },
}

impl From<BatchError> for Attempt {
    fn from(error: BatchError) -> Self {
        Self::Failed(error)
    }
}

/// Pauses that double, within [`RETRY_MAX`] in all; for all that was taken from the queue at once, so that nobody waits longer
/// because of those before.
struct Retry {
    until: Instant,
    pause: Duration,
}

impl Retry {
    fn new() -> Self {
        Self { until: Instant::now() + RETRY_MAX, pause: RETRY_PAUSE_MIN }
    }

    /// False when the time is up.
    async fn pause(&mut self) -> bool {
        if Instant::now() + self.pause > self.until {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(RETRY_PAUSE_MAX);
        true
    }
}

#[cfg(test)]
mod tests {
    use domain::{
        command::{Command, NewPayment},
        currency::Currency,
        id::{CommandId, MerchantId, PaymentId},
        money::AmountMinor,
    };
    use uuid::Uuid;

    use super::*;

    fn job(action: Action) -> Job {
        let command = Command { id: CommandId(Uuid::nil()), merchant_id: MerchantId(Uuid::nil()), action };
        Job {
            request: Request { command, claim: None, origin: None, trace: None },
            reply: oneshot::channel().0,
        }
    }

    fn payments(count: usize) -> Job {
        let payment = NewPayment {
            amount: AmountMinor::new(1).unwrap(),
            currency: Currency::parse("EUR").unwrap(),
            external_reference: None,
            description: None,
        };
        job(Action::CreatePayments(vec![payment; count]))
    }

    /// Single commands are limited by their number alone, and the first job goes in whatever its size.
    #[test]
    fn bulk_requests_end_a_batch_and_single_commands_do_not() {
        let single = || job(Action::CancelPayment { payment_id: PaymentId(Uuid::nil()) });
        let half = BATCH_BULK_PAYMENTS_MAX / 2;
        assert_eq!(fitting(&[single()]), 1);
        assert_eq!(
            fitting(&(0..2 * BATCH_BULK_PAYMENTS_MAX).map(|_| payments(1)).collect::<Vec<_>>()),
            10_000
        );
        assert_eq!(fitting(&[payments(half), single(), payments(half), single(), payments(2)]), 4);
        assert_eq!(fitting(&[payments(BATCH_BULK_PAYMENTS_MAX + 1), single()]), 1);
        assert_eq!(fitting(&[single(), payments(BATCH_BULK_PAYMENTS_MAX + 1)]), 1);
    }
}
