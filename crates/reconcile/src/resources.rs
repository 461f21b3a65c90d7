//! Merchants, payments and withdrawals: each row is the fold of the events of its subject.
//!
//! Events are read in the order of their subjects, rows in the order of their ids, which is the same; so both are read
//! once, side by side.

use domain::{
    event::Event,
    id::{MerchantId, PaymentId, WithdrawalId},
    lane::Lane,
    ledger::posting,
    merchant::Merchant,
    payment::Payment,
    state::State,
    withdrawal::Withdrawal,
};
use store::{
    error::ReadError,
    log::{self, Step, Steps},
    sql::Reads,
    tables::{self, Found, Ids},
};
use uuid::Uuid;

use crate::{
    Area, Error, Kind, PAGE,
    progress::Phase,
    run::{Run, Watermark},
    sums::{self, Booked},
};

/// A look that finds a row changing is repeated so often.
const LOOKS_MAX: usize = 10;

/// Goes through all of them behind an id, and sums up what their events book.
pub async fn walk(run: &mut Run<'_>, after: Option<Uuid>) -> Result<(), Error> {
    let db = run.db;
    let mut walk = Walk { db, after, folds: Vec::new() };
    let (subject, sequence) = after.map_or((Uuid::nil(), 0), |id| (id, i64::MAX));
    let mut open: Option<Fold> = None;
    let mut page = log::behind_subject(db, subject, sequence, PAGE).await?;
    while let Some((subject, sequence)) = page.last() {
        // The next page is read while this one is folded and compared.
        let (next, compared) = tokio::join!(log::behind_subject(db, subject, sequence, PAGE), async {
            walk.fold(&page, &mut open, &run.watermark);
            // The last subject may have more events.
            match walk.folds.last().map(|fold| fold.subject) {
                Some(last) => walk.compare(Some(last), run).await,
                None => Ok(()),
            }
        });
        compared?;
        run.advanced(page.len());
        let after = walk.after;
        run.reached(|| Phase::Rows { after }).await?;
        page = next?;
    }
    walk.folds.extend(open);
    walk.compare(None, run).await
}

/// What the events of a subject make of it.
struct Fold {
    subject: Uuid,
    state: State,
    /// What they book before the watermark.
    booked: Vec<Booked>,
    /// Events that are none, or that lie beside columns of another one.
    strange: Vec<Strange>,
    /// Why they make nothing.
    flaw: Option<String>,
}

/// An event by its lane and sequence, and what its row has that it should not have.
struct Strange {
    lane: Lane,
    sequence: i64,
    found: String,
}

impl Fold {
    fn new(subject: Uuid) -> Self {
        Self { subject, state: State::default(), booked: Vec::new(), strange: Vec::new(), flaw: None }
    }

    fn apply(&mut self, sequence: i64, step: &Step<'_>, watermark: &Watermark) {
        let lane = step.lane;
        let event = match step.parse() {
            Ok(event) => event,
            Err(error) => {
                self.strange.push(Strange { lane, sequence, found: error.to_string() });
                return;
            }
        };
        if let Some(found) = strange_column(self.subject, step, &event) {
            self.strange.push(Strange { lane, sequence, found });
        }
        if !watermark.is_behind(lane, sequence)
            && let Some(posting) = posting(&event, lane)
        {
            let legs = sums::legs(&posting);
            self.booked
                .extend(legs.iter().map(|(leg, amount)| sums::of_leg(&event, &posting, *leg, *amount)));
        }
        if let Err(error) = self.state.apply_resource(&event) {
            self.flaw.get_or_insert(error.to_string());
        }
    }
}

/// The columns beside the payload are not sealed with it; they say what it says.
fn strange_column(subject: Uuid, step: &Step<'_>, event: &Event) -> Option<String> {
    if event.merchant_id() != step.merchant_id {
        return Some(format!("merchant_id {}", step.merchant_id));
    }
    if event.body.subject() != subject {
        return Some(format!("subject_id {subject}"));
    }
    // The payload is written by one function, so that no parser is needed.
    let id = step.payload.strip_prefix("{\"eventId\":\"").and_then(|rest| rest.split_once('"'));
    let is_the_same = id.is_some_and(|(id, _)| id.parse() == Ok(step.event_id.0));
    (!is_the_same).then(|| format!("event_id {}", step.event_id))
}

struct Walk<'a> {
    db: &'a dyn Reads,
    /// Rows up to here are compared.
    after: Option<Uuid>,
    folds: Vec<Fold>,
}

impl Walk<'_> {
    /// Folds a page of events; what is open is not complete yet.
    fn fold(&mut self, page: &Steps, open: &mut Option<Fold>, mark: &Watermark) {
        for ((subject, sequence), step) in page.iter() {
            if open.as_ref().is_none_or(|fold| fold.subject != subject) {
                self.folds.extend(open.take());
                *open = Some(Fold::new(subject));
            }
            // What cannot be read has been told already.
            if let (Some(fold), Ok(step)) = (open.as_mut(), step) {
                fold.apply(sequence, &step, mark);
            }
        }
    }

    /// Compares what was folded with the rows up to `until`, or all that are left.
    async fn compare(&mut self, until: Option<Uuid>, run: &mut Run<'_>) -> Result<(), Error> {
        let folds = std::mem::take(&mut self.folds);
        for fold in &folds {
            fold.booked.iter().for_each(|booked| run.booked.add(booked));
            for Strange { lane, sequence, found } in &fold.strange {
                let place = Area::Events.at(format_args!("lane {lane} sequence {sequence}"));
                run.tell(Kind::Altered, place, "what the payload says".to_owned(), found.clone());
            }
        }
        self.compare_with::<Merchant>(&folds, until, run).await?;
        self.compare_with::<Payment>(&folds, until, run).await?;
        self.compare_with::<Withdrawal>(&folds, until, run).await?;
        self.after = until.or(self.after);
        Ok(())
    }

    async fn compare_with<R: Resource>(
        &self,
        folds: &[Fold],
        until: Option<Uuid>,
        run: &mut Run<'_>,
    ) -> Result<(), Error> {
        let mut suspects = self.differing::<R>(folds, until, run).await?;
        let flawed = folds.iter().filter(|fold| fold.flaw.is_some());
        suspects.extend(flawed.filter_map(|fold| R::of(&fold.state, fold.subject)).map(Resource::id));
        suspects.sort_unstable();
        suspects.dedup();
        for subject in suspects {
            look_again::<R>(subject, run).await?;
        }
        Ok(())
    }

    /// The ids of rows that are not what was folded, of rows without a fold, and of folds without a row.
    async fn differing<R: Resource>(
        &self,
        folds: &[Fold],
        until: Option<Uuid>,
        run: &mut Run<'_>,
    ) -> Result<Vec<Uuid>, ReadError> {
        let mut differing = Vec::new();
        let folded: Vec<&R> = folds.iter().filter_map(|fold| R::of(&fold.state, fold.subject)).collect();
        let mut folded = folded.into_iter().peekable();
        let mut after = self.after;
        loop {
            let rows = R::rows(self.db, Ids { after, until, limit: PAGE }).await?;
            for (id, row) in &rows {
                while let Some(without) = folded.next_if(|fold| fold.id() < *id) {
                    differing.push(without.id());
                }
                let fold = folded.next_if(|fold| fold.id() == *id);
                if fold.is_none() || row.as_ref().ok() != fold {
                    differing.push(*id);
                }
            }
            run.summary.resources += rows.len() as u64;
            let Some((last, _)) = rows.last() else { break };
            after = Some(*last);
        }
        differing.extend(folded.map(Resource::id));
        Ok(differing)
    }
}

/// Reads a row, its events and the row again: when it has not changed meanwhile and still does not fit, it is a break.
async fn look_again<R: Resource>(id: Uuid, run: &mut Run<'_>) -> Result<(), Error> {
    let db = run.db;
    let place = R::AREA.at(id);
    for _ in 0..LOOKS_MAX {
        let before = R::row(db, id).await?;
        let mut fold = Fold::new(id);
        let mut sequence = 0;
        loop {
            let page = log::behind_subject(db, id, sequence, PAGE).await?;
            let mut own = 0;
            for ((_, sequence), step) in page.iter().take_while(|((subject, _), _)| *subject == id) {
                own += 1;
                if let Ok(step) = step {
                    fold.apply(sequence, &step, &run.watermark);
                }
            }
            // A whole page of its own: there may be more.
            let Some((_, last)) = page.last().filter(|_| own == PAGE) else { break };
            sequence = last;
        }
        let row = R::row(db, id).await?;
        let readable =
            |row: &Option<Result<R, ReadError>>| row.as_ref().map(|row| row.as_ref().ok().cloned());
        if readable(&before) != readable(&row) {
            continue;
        }
        let folded = R::of(&fold.state, id);
        match (row, folded) {
            (Some(Ok(row)), Some(folded)) if row == *folded => {}
            (Some(Ok(row)), Some(folded)) => {
                let (expected, found) = differences(&folded.fields(), &row.fields());
                run.tell(Kind::Altered, place, expected, found);
            }
            (Some(Err(error)), Some(folded)) => {
                run.tell(Kind::Altered, place, describe(&folded.fields()), error.to_string());
            }
            (Some(row), None) => {
                let found = row.map_or_else(|error| error.to_string(), |row| describe(&row.fields()));
                run.tell(Kind::Foreign, place, "no row".to_owned(), found);
            }
            (None, Some(folded)) => {
                run.tell(Kind::Missing, place, describe(&folded.fields()), "no row".to_owned());
            }
            (None, None) => return Ok(()),
        }
        if let Some(flaw) = fold.flaw.filter(|_| R::of(&fold.state, id).is_some()) {
            let place = Area::Events.at(format_args!("of {} {id}", R::AREA.name()));
            run.tell(Kind::Altered, place, "events that follow from each other".to_owned(), flaw);
        }
        return Ok(());
    }
    // It changes all the time: there is life in it, and the next run comes.
    Ok(())
}

type Fields = Vec<(&'static str, String)>;

fn describe(fields: &Fields) -> String {
    let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name} {value}")).collect();
    fields.join(", ")
}

/// Only what differs.
fn differences(expected: &Fields, found: &Fields) -> (String, String) {
    let pairs = || expected.iter().zip(found).filter(|((_, a), (_, b))| a != b);
    (
        describe(&pairs().map(|(a, _)| a.clone()).collect()),
        describe(&pairs().map(|(_, b)| b.clone()).collect()),
    )
}

/// What is a row of a table and a fold of events.
trait Resource: Clone + PartialEq + Sized {
    const AREA: Area;

    fn of(state: &State, id: Uuid) -> Option<&Self>;
    fn id(&self) -> Uuid;
    fn fields(&self) -> Fields;
    fn rows(db: &dyn Reads, ids: Ids) -> impl Future<Output = Result<Vec<Found<Self>>, ReadError>> + Send;

    async fn row(db: &dyn Reads, id: Uuid) -> Result<Option<Result<Self, ReadError>>, ReadError> {
        let rows = Self::rows(db, Ids::one(id)).await?;
        Ok(rows.into_iter().next().map(|(_, row)| row))
    }
}

macro_rules! resource {
    ($type:ident, $id:ident, $states:ident, $area:ident: $($field:ident),+) => {
        impl Resource for $type {
            const AREA: Area = Area::$area;

            fn of(state: &State, id: Uuid) -> Option<&Self> {
                state.$states.get(&$id(id))
            }

            fn id(&self) -> Uuid {
                self.id.0
            }

            fn fields(&self) -> Fields {
                let Self { id: _, $($field),+ } = self;
                vec![$((stringify!($field), format!("{:?}", $field))),+]
            }

            fn rows(db: &dyn Reads, ids: Ids) -> impl Future<Output = Result<Vec<Found<Self>>, ReadError>> + Send {
                tables::$states(db, ids)
            }
        }
    };
}

resource!(Merchant, MerchantId, merchants, Merchants: name, email, is_active, created_at);
resource!(Payment, PaymentId, payments, Payments:
    merchant_id, amount, currency, status, external_reference, description, created_at, completed_at, completed_by,
    refunded_minor, refunded_at, refund_reason, flag_reason);
resource!(Withdrawal, WithdrawalId, withdrawals, Withdrawals:
    merchant_id, amount, currency, status, bank_account_masked, bank_routing_masked, external_transaction_id,
    failure_reason, created_at, processed_at, completed_at);
