//! One batch: what it must load, how it decides its commands, and what it must write. Values only;
//! the same code runs over every back end.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use domain::{
    chain::{self, Hash, Link},
    command::{Action, Command},
    decide::decide,
    event::{Event, EventBody, Stream},
    id::{CommandId, EventId, MerchantId, PaymentId, WithdrawalId},
    lane::{LANE_OF_CLAIMS, Lane, lane_of},
    ledger::{Account, AccountKey, Entry, Owner},
    merchant::{EmailKey, Merchant},
    payment::Payment,
    state::{FoldError, Outcome, State, Subject},
    time::Timestamp,
    withdrawal::Withdrawal,
};
use telemetry::trace::TraceContext;
use uuid::Uuid;

use crate::{
    error::SubmitError,
    fault::{self, Fault},
    measure::Counted,
    origins::CommandOrigin,
    request::{Answer, Claim, Request},
    sealing::Sealer,
};

/// The end of a lane's log, kept in one row whose lock is the lane's lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneHead {
    pub lane: Lane,
    pub sequence: i64,
    /// When the last event occurred; no later event of the lane is earlier.
    pub clock: Timestamp,
    /// Position and hash of the last event of each stream, by [`Stream::index`].
    pub streams: [(i64, Hash); 3],
}

impl LaneHead {
    pub const fn empty(lane: Lane) -> Self {
        Self { lane, sequence: 0, clock: Timestamp::from_micros(0), streams: [(0, chain::GENESIS); 3] }
    }
}

/// An event as the log holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEvent {
    pub lane: Lane,
    pub sequence: i64,
    pub stream: Stream,
    pub position: i64,
    pub event_id: EventId,
    pub command_id: CommandId,
    pub event_type: String,
    pub version: u16,
    pub occurred_at: Timestamp,
    pub merchant_id: MerchantId,
    /// The payment, withdrawal or merchant whose life the event belongs to.
    pub subject_id: Uuid,
    pub payload: String,
    pub hash: Hash,
    /// The trace that it is part of, where that is not its command's own. It says where an event came from and not what
    /// happened, so it is not sealed.
    pub trace: Option<TraceContext>,
}

impl LogEvent {
    /// The hash that this event must have behind the one before it.
    pub fn seal(&self, previous: &Hash) -> Hash {
        chain::seal(previous, &self.link())
    }

    /// The trace that it is part of. A command's own trace has its id, and is kept nowhere.
    pub fn trace_context(&self) -> TraceContext {
        self.trace.unwrap_or_else(|| own_trace(self.command_id, self.event_id))
    }

    /// What is sealed of it.
    pub fn link(&self) -> Link<'_> {
        Link {
            stream: self.stream,
            lane: self.lane,
            position: self.position,
            sequence: self.sequence,
            event_type: &self.event_type,
            version: self.version,
            occurred_at: self.occurred_at,
            payload: self.payload.as_bytes(),
        }
    }
}

/// All events of a command are one trace, and each of them is a span of it.
pub fn own_trace(command: CommandId, event: EventId) -> TraceContext {
    let span_id = event.0.as_bytes().last_chunk().expect("sixteen bytes end in eight");
    let never_nil = || TraceContext::new([1; 16], [1; 8], false).expect("these are not zero");
    TraceContext::new(*command.0.as_bytes(), *span_id, false).unwrap_or_else(never_nil)
}

/// Whether a command's id says all that there is to say of its trace.
fn is_own(trace: &TraceContext, command: CommandId) -> bool {
    !trace.is_sampled() && trace.trace_id() == *command.0.as_bytes()
}

/// What stands for the answer of an idempotency key: the subject, folded up to a sequence of its lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAnswer {
    pub claim: Claim,
    pub kind: SubjectKind,
    /// The merchant, payment or withdrawal; for created payments the command.
    pub subject_id: Uuid,
    pub lane: Lane,
    pub sequence: i64,
    /// How many payments were created.
    pub size: i64,
    pub created_at: Timestamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectKind {
    Merchant = 1,
    Payment = 2,
    Payments = 3,
    Withdrawal = 4,
}

impl SubjectKind {
    pub const fn from_number(number: i64) -> Option<Self> {
        match number {
            1 => Some(Self::Merchant),
            2 => Some(Self::Payment),
            3 => Some(Self::Payments),
            4 => Some(Self::Withdrawal),
            _ => None,
        }
    }
}

/// What must be locked and loaded before a batch can be decided.
#[derive(Debug, Default)]
pub struct Needs {
    /// Ascending: the order in which every batch locks.
    pub lanes: BTreeSet<Lane>,
    pub merchants: BTreeSet<Uuid>,
    pub emails: BTreeSet<String>,
    pub payments: BTreeSet<Uuid>,
    pub withdrawals: BTreeSet<Uuid>,
    pub account_owners: BTreeSet<Uuid>,
    pub keys: BTreeSet<Uuid>,
}

impl Needs {
    pub fn of<'a>(requests: impl Iterator<Item = &'a Request>, lanes: u16) -> Self {
        let mut needs = Self::default();
        for request in requests {
            needs.add(request, lanes);
        }
        needs
    }

    fn add(&mut self, request: &Request, lanes: u16) {
        let Command { merchant_id, action, .. } = &request.command;
        let lane = lane_of(*merchant_id, lanes);
        self.lanes.insert(lane);
        self.keys.extend(request.claim.map(|claim| claim.key_hash));
        if let Action::CreateMerchant { email, .. } = action {
            self.lanes.insert(LANE_OF_CLAIMS);
            self.emails.insert(EmailKey::of(email).as_str().to_owned());
            return;
        }
        self.merchants.insert(merchant_id.0);
        self.payments.extend(action.payment_id().map(|id| id.0));
        self.withdrawals.extend(action.withdrawal_id().map(|id| id.0));
        if action.moves_money() {
            self.account_owners.insert(merchant_id.0);
            self.account_owners.insert(Owner::Platform(lane).to_uuid());
        }
    }
}

/// What the back end found, under the locks.
#[derive(Debug, Default)]
pub struct Loaded {
    pub heads: Vec<LaneHead>,
    pub state: State,
    /// Also those that have expired.
    pub keys: Vec<StoredAnswer>,
}

/// What the back end must write, one statement a table. Several changes of one row are one change.
#[derive(Clone, Debug, Default)]
pub struct Writes {
    pub heads: Vec<LaneHead>,
    pub events: Vec<LogEvent>,
    pub merchants_new: Vec<Merchant>,
    pub merchants_changed: Vec<Merchant>,
    pub payments_new: Vec<Payment>,
    pub payments_changed: Vec<Payment>,
    pub withdrawals_new: Vec<(Withdrawal, Vec<u8>)>,
    pub withdrawals_changed: Vec<Withdrawal>,
    /// Inserted or changed.
    pub accounts: Vec<(AccountKey, Account)>,
    pub entries: Vec<Entry>,
    pub keys_expired: Vec<Uuid>,
    pub keys: Vec<StoredAnswer>,
    pub origins: Vec<CommandOrigin>,
    /// What is counted when it is committed, of each event.
    pub(crate) counted: Vec<Counted>,
}

impl Writes {
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.keys.is_empty()
    }
}

/// What a command's caller is told once the batch is durable.
#[derive(Clone, Debug)]
pub enum Reply {
    Answer(Answer),
    /// An earlier request with the same key has the answer; it is folded from the log.
    Replay(StoredAnswer),
}

/// A batch that is being decided.
pub struct Batch<'a> {
    lanes: u16,
    now: Timestamp,
    keys_valid_from: Timestamp,
    sealer: &'a Sealer,
    state: State,
    heads: BTreeMap<Lane, LaneHead>,
    stored: HashMap<Uuid, StoredAnswer>,
    /// Keys claimed by this batch, with the outcome that an equal request gets too.
    claimed: HashMap<Uuid, (Uuid, Outcome)>,
    changed: Changed,
    writes: Writes,
}

/// Which rows the events have touched; their last values are written once.
#[derive(Default)]
struct Changed {
    lanes: BTreeSet<Lane>,
    merchants_new: Vec<MerchantId>,
    merchants: HashSet<MerchantId>,
    payments_new: Vec<PaymentId>,
    payments: HashSet<PaymentId>,
    withdrawals_new: Vec<(WithdrawalId, Vec<u8>)>,
    withdrawals: HashSet<WithdrawalId>,
    accounts: BTreeSet<AccountKey>,
}

impl<'a> Batch<'a> {
    /// `keys_valid_from`: idempotency keys older than this have expired.
    pub fn new(
        loaded: Loaded,
        lanes: u16,
        now: Timestamp,
        keys_valid_from: Timestamp,
        sealer: &'a Sealer,
    ) -> Self {
        let mut writes = Writes::default();
        let mut stored = HashMap::new();
        for key in loaded.keys {
            if key.created_at < keys_valid_from {
                writes.keys_expired.push(key.claim.key_hash);
            } else {
                stored.insert(key.claim.key_hash, key);
            }
        }
        Self {
            lanes,
            now,
            keys_valid_from,
            sealer,
            state: loaded.state,
            heads: loaded.heads.into_iter().map(|head| (head.lane, head)).collect(),
            stored,
            claimed: HashMap::new(),
            changed: Changed::default(),
            writes,
        }
    }

    /// Decides one command. The outer error is a broken invariant and ends the batch; the inner one is
    /// the caller's, and leaves no trace.
    pub fn decide(&mut self, request: &Request) -> Result<Result<Reply, SubmitError>, FoldError> {
        if let Some(reply) = request.claim.and_then(|claim| self.known(claim))
            && !fault::is_on(Fault::ForgetIdempotencyKey)
        {
            return Ok(reply);
        }
        let command = &request.command;
        let lane = lane_of(command.merchant_id, self.lanes);
        let clock = match self.heads.get(&lane) {
            Some(head) if !fault::is_on(Fault::LetClockRunBack) => head.clock.max(self.now),
            _ => self.now,
        };
        let decision = match decide(&self.state, command, lane, clock) {
            Ok(decision) => decision,
            Err(refusal) => return Ok(Err(SubmitError::Refused(refusal))),
        };
        for event in &decision.events {
            let entries = self.state.apply(lane, event)?;
            self.changed.note(event, &entries, command, self.sealer);
            self.writes.entries.extend(entries);
            self.append(lane, event, request.trace);
        }
        self.note_origin(request, lane, &decision.events);
        let outcome = self
            .state
            .outcome(&decision.subject)
            .ok_or(FoldError::Unknown { event_type: "outcome", subject: command.merchant_id.0 })?;
        if let Some(claim) = request.claim {
            self.claim(claim, lane, command.id, &decision.subject, &outcome);
        }
        Ok(Ok(Reply::Answer(Answer { outcome, replayed: false })))
    }

    /// What to write so that all of it is durable.
    pub fn into_writes(mut self) -> Writes {
        let changed = self.changed;
        let state = &mut self.state;
        let writes = &mut self.writes;
        writes.heads = changed.lanes.iter().filter_map(|lane| self.heads.remove(lane)).collect();
        writes.accounts =
            changed.accounts.iter().filter_map(|key| Some((*key, *state.accounts.get(key)?))).collect();
        writes.merchants_new = take(&mut state.merchants, changed.merchants_new);
        writes.merchants_changed = take(&mut state.merchants, changed.merchants);
        writes.payments_new = take(&mut state.payments, changed.payments_new);
        writes.payments_changed = take(&mut state.payments, changed.payments);
        for (id, sealed) in changed.withdrawals_new {
            writes.withdrawals_new.extend(state.withdrawals.remove(&id).map(|row| (row, sealed)));
        }
        writes.withdrawals_changed = take(&mut state.withdrawals, changed.withdrawals);
        if writes.keys.is_empty() {
            writes.keys_expired.clear();
        }
        self.writes
    }

    fn known(&self, claim: Claim) -> Option<Result<Reply, SubmitError>> {
        if let Some((fingerprint, outcome)) = self.claimed.get(&claim.key_hash) {
            return Some(if *fingerprint == claim.fingerprint {
                Ok(Reply::Answer(Answer { outcome: outcome.clone(), replayed: true }))
            } else {
                Err(SubmitError::KeyReused)
            });
        }
        let stored = self.stored.get(&claim.key_hash)?;
        debug_assert!(stored.created_at >= self.keys_valid_from);
        Some(if stored.claim.fingerprint == claim.fingerprint {
            Ok(Reply::Replay(stored.clone()))
        } else {
            Err(SubmitError::KeyReused)
        })
    }

    fn claim(&mut self, claim: Claim, lane: Lane, command: CommandId, subject: &Subject, outcome: &Outcome) {
        let (kind, subject_id, size) = match subject {
            Subject::Merchant(id) => (SubjectKind::Merchant, id.0, 1),
            Subject::Payment(id) => (SubjectKind::Payment, id.0, 1),
            Subject::Payments(ids) => (SubjectKind::Payments, command.0, ids.len()),
            Subject::Withdrawal(id) => (SubjectKind::Withdrawal, id.0, 1),
        };
        self.claimed.insert(claim.key_hash, (claim.fingerprint, outcome.clone()));
        self.writes.keys.push(StoredAnswer {
            claim,
            kind,
            subject_id,
            lane,
            sequence: self.heads.get(&lane).map_or(0, |head| head.sequence),
            size: i64::try_from(size).expect("a bulk command has at most a thousand payments"),
            created_at: self.now,
        });
    }

    /// A command without events changed nothing that somebody would have to answer for.
    fn note_origin(&mut self, request: &Request, lane: Lane, events: &[Event]) {
        let (Some(origin), [first, ..]) = (&request.origin, events) else { return };
        let events = i64::try_from(events.len()).expect("a bulk command has at most a thousand payments");
        let last = self.heads.get(&lane).map_or(0, |head| head.sequence);
        self.writes.origins.push(CommandOrigin {
            command_id: request.command.id,
            at: first.occurred_at,
            origin: origin.clone(),
            merchant_id: request.command.merchant_id,
            lane,
            sequence: last - events + 1,
            events,
        });
    }

    fn append(&mut self, lane: Lane, event: &Event, trace: Option<TraceContext>) {
        let head = self.heads.entry(lane).or_insert_with(|| LaneHead::empty(lane));
        let stream = event.body.stream();
        let (position, previous) = head.streams[stream.index()];
        let mut appended = LogEvent {
            lane,
            sequence: head.sequence + 1,
            stream,
            position: position + 1,
            event_id: event.id,
            command_id: event.command_id,
            event_type: event.body.event_type().to_owned(),
            version: event.body.version(),
            occurred_at: event.occurred_at,
            merchant_id: event.merchant_id(),
            subject_id: event.body.subject(),
            payload: event.to_json(),
            hash: chain::GENESIS,
            trace: trace.filter(|trace| !is_own(trace, event.command_id)),
        };
        appended.hash = appended.seal(&previous);
        head.sequence = appended.sequence;
        head.clock = appended.occurred_at;
        head.streams[stream.index()] = (appended.position, appended.hash);
        self.changed.lanes.insert(lane);
        self.writes.events.push(appended);
        self.writes.counted.push(Counted::of(lane, &event.body));
    }
}

impl Changed {
    fn note(&mut self, event: &Event, entries: &[Entry], command: &Command, sealer: &Sealer) {
        self.accounts.extend(entries.iter().map(|entry| entry.account));
        match &event.body {
            EventBody::MerchantCreated(e) => self.merchants_new.push(e.merchant_id),
            EventBody::MerchantUpdated(e) => {
                self.merchants.insert(e.merchant_id);
            }
            EventBody::PaymentCreated(e) => self.payments_new.push(e.payment_id),
            EventBody::WithdrawalRequested(e) => {
                let sealed = match &command.action {
                    Action::RequestWithdrawal(request) => sealer.seal(e.withdrawal_id, request),
                    _ => Vec::new(),
                };
                self.withdrawals_new.push((e.withdrawal_id, sealed));
            }
            body => {
                self.payments.extend(body.payment_id());
                self.withdrawals.extend(body.withdrawal_id());
            }
        }
    }
}

/// The last values of the named rows; a row that is new in this batch was taken before and is skipped.
fn take<K: std::hash::Hash + Eq, V>(rows: &mut HashMap<K, V>, ids: impl IntoIterator<Item = K>) -> Vec<V> {
    ids.into_iter().filter_map(|id| rows.remove(&id)).collect()
}
