//! Runs over many dead letters, as they are stored for every process: what is to be done with which letters, how far it has
//! come, and what became of each.
//!
//! One run is under way at a time, in all processes together, and one process works on it: it holds the run, and every note
//! that it makes is made under that condition. A run whose holder has not been heard of for [`LEFT_AFTER`] is cut off and
//! may be taken up by anybody. That goes by the clocks of two machines, and may: a letter is ended once, under the lock of
//! its place, whoever ends it ([`crate::redrive`]), and a holder that was taken for dead by mistake stops at its next note.
//!
//! What became of a letter is noted behind the transaction that ended it. Of a run that was cut off in between, the letter
//! is found ended when the run goes on.

use std::time::Duration;

use domain::time::Timestamp;
use serde_json::json;
use store::{
    Store,
    audit::{self, Actor},
    error::ReadError,
    sql::{Reads, Row, Transaction, Value},
};
use uuid::Uuid;

use crate::redrive::{Letter, letter};

/// How often a holder lets itself be heard of, whatever its letter takes.
pub const BEAT_INTERVAL: Duration = Duration::from_secs(2);
/// A run whose holder was silent for this long is cut off.
pub const LEFT_AFTER: Duration = Duration::from_secs(8);
/// Older ones are deleted when a run begins.
const RUNS_KEPT_MAX: usize = 200;
/// Letters that one statement inserts.
const LETTERS_OF_AN_INSERT: usize = 100;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Redrive,
    Discard,
}

impl Action {
    const ALL: [Self; 2] = [Self::Redrive, Self::Discard];

    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.name() == name)
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Redrive => "redrive",
            Self::Discard => "discard",
        }
    }

    const fn number(self) -> i64 {
        match self {
            Self::Redrive => 1,
            Self::Discard => 2,
        }
    }

    fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|action| action.number() == number)
    }
}

/// What became of a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Handled, with so many of the same subject.
    Handled(usize),
    /// It failed again and stays, for this reason.
    Failed(String),
    /// A letter of the same subject came before it in this run.
    WithAnother,
    Discarded,
    /// It was ended meanwhile.
    NotOpen,
}

impl Outcome {
    /// Its number, how many were handled, and why it failed.
    fn columns(&self) -> [Value; 3] {
        let (number, handled, reason) = match self {
            Self::Handled(count) => (1_i64, Some(i64::try_from(*count).unwrap_or(i64::MAX)), None),
            Self::Failed(reason) => (2, None, Some(reason.as_str())),
            Self::WithAnother => (3, None, None),
            Self::Discarded => (4, None, None),
            Self::NotOpen => (5, None, None),
        };
        [number.into(), handled.into(), reason.into()]
    }

    fn from_columns(row: Row<'_>, first: usize) -> Result<Option<Self>, ReadError> {
        let Some(number) = row.opt_int(first)? else { return Ok(None) };
        Ok(Some(match number {
            1 => Self::Handled(row.opt_int(first + 1)?.and_then(|n| usize::try_from(n).ok()).unwrap_or(1)),
            2 => Self::Failed(row.opt_text(first + 2)?.unwrap_or_default().to_owned()),
            3 => Self::WithAnother,
            4 => Self::Discarded,
            5 => Self::NotOpen,
            _ => return Err(ReadError::Invalid("an unknown outcome of a dead letter".to_owned())),
        }))
    }
}

/// What a run is begun with; who begins it, and why, says the actor.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Of whoever asks for it, so that it runs once however often it is asked for.
    pub id: Uuid,
    pub action: Action,
    pub letters_a_second: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Running,
    /// Whoever worked on it is gone.
    CutOff,
    Done,
    /// It met a trouble and stopped.
    Broken,
}

impl Standing {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::CutOff => "cut off",
            Self::Done => "done",
            Self::Broken => "broken",
        }
    }

    /// Whether somebody may go on with it.
    pub const fn is_left(self) -> bool {
        matches!(self, Self::CutOff | Self::Broken)
    }
}

/// A run as it is stored.
#[derive(Clone, Debug)]
pub struct Run {
    pub id: Uuid,
    pub action: Action,
    pub standing: Standing,
    pub letters_a_second: u32,
    pub begun_at: Timestamp,
    pub begun_by: String,
    pub reason: String,
    pub letters: usize,
    /// Of these so many have been dealt with.
    pub done: usize,
    pub ended_at: Option<Timestamp>,
    pub trouble: Option<String>,
}

/// What came of the wish to work on a run.
pub enum Taken {
    Held(Held),
    /// It was begun before: by the same form, or it goes on, or it has ended.
    Already,
    /// Another one is under way.
    Busy(Uuid),
    Unknown,
}

const RUN: &str = "select r.id, action, letters_a_second, begun_at, begun_by, reason, letters, done, ended_at, trouble, \
     h.beat_at from dead_letter_runs r left join dead_letter_run_held h on h.run = r.id";

/// The newest first.
pub async fn latest(db: &dyn Reads, now: Timestamp, limit: usize) -> Result<Vec<Run>, ReadError> {
    let sql = format!("{RUN} where begun_at <= $1 order by begun_at desc, id desc limit {limit}");
    let rows = db.query(&sql, vec![i64::MAX.into()]).await?;
    rows.iter().map(|row| run_from(row, now)).collect()
}

pub async fn find(db: &dyn Reads, id: Uuid, now: Timestamp) -> Result<Option<Run>, ReadError> {
    let rows = db.query(&format!("{RUN} where r.id = $1"), vec![id.into()]).await?;
    rows.first().map(|row| run_from(row, now)).transpose()
}

/// The letters of a run in its order, without their bytes; `None`: nothing has become of it yet.
pub async fn letters(db: &dyn Reads, run: Uuid) -> Result<Vec<(Letter, Option<Outcome>)>, ReadError> {
    let sql = "select l.id, l.consumer, l.stream, l.lane, l.position, l.kafka_offset, l.event_id, l.event_type, \
         l.subject_id, null, null, null, l.kind, l.reason, l.attempts, l.state, l.created_at, l.ended_at, \
         r.outcome, r.handled, r.failure \
         from dead_letter_run_letters r join dead_letters l on l.id = r.letter where r.run = $1 order by r.number";
    let rows = db.query(sql, vec![run.into()]).await?;
    rows.iter().map(|row| Ok((letter(row)?, Outcome::from_columns(row, 18)?))).collect()
}

fn run_from(row: Row<'_>, now: Timestamp) -> Result<Run, ReadError> {
    let number = |column| row.int(column).map(|number| usize::try_from(number).unwrap_or_default());
    let unknown = || ReadError::Invalid("a run over dead letters that does something unknown".to_owned());
    let (ended_at, trouble) = (row.opt_int(8)?.map(Timestamp::from_micros), row.opt_text(9)?);
    let standing = match (ended_at, trouble, row.opt_int(10)?) {
        (Some(_), None, _) => Standing::Done,
        (Some(_), Some(_), _) => Standing::Broken,
        (None, _, Some(beat_at)) if beat_at >= silent_before(now) => Standing::Running,
        (None, _, _) => Standing::CutOff,
    };
    Ok(Run {
        id: row.uuid(0)?,
        action: Action::from_number(row.int(1)?).ok_or_else(unknown)?,
        standing,
        letters_a_second: u32::try_from(row.int(2)?).unwrap_or(1),
        begun_at: Timestamp::from_micros(row.int(3)?),
        begun_by: row.text(4)?.to_owned(),
        reason: row.text(5)?.to_owned(),
        letters: number(6)?,
        done: number(7)?,
        ended_at,
        trouble: trouble.map(str::to_owned),
    })
}

/// Whoever was heard of last before this is taken for gone.
fn silent_before(now: Timestamp) -> i64 {
    now.as_micros().saturating_sub(i64::try_from(LEFT_AFTER.as_micros()).unwrap_or(i64::MAX))
}

/// Stores a run, and holds it.
pub async fn begin(
    store: &Store,
    plan: &Plan,
    letters: &[Letter],
    actor: &Actor,
) -> Result<Taken, ReadError> {
    let now = store.now();
    let held = Held { store: store.clone(), run: plan.id, me: Uuid::new_v4() };
    let mut transaction = store.begin_durable().await?;
    if !held.take(transaction.as_mut(), now).await? {
        return in_the_way(transaction.as_mut(), plan.id).await;
    }
    let sql = "insert into dead_letter_runs (id, action, letters_a_second, begun_at, begun_by, reason, letters, done) \
         values ($1, $2, $3, $4, $5, $6, $7, 0) on conflict (id) do nothing";
    let count = i64::try_from(letters.len()).unwrap_or(i64::MAX);
    let params = vec![
        plan.id.into(),
        plan.action.number().into(),
        i64::from(plan.letters_a_second).into(),
        now.as_micros().into(),
        actor.name.as_str().into(),
        actor.why.as_str().into(),
        count.into(),
    ];
    if transaction.execute(sql, params).await? == 0 {
        // Rolled back: it does not hold anything.
        return Ok(Taken::Already);
    }
    insert_letters(transaction.as_mut(), plan.id, letters).await?;
    sweep(transaction.as_mut()).await?;
    let detail = json!({
        "action": plan.action.name(), "letters": count, "lettersASecond": plan.letters_a_second,
    });
    let subject = plan.id.to_string();
    audit::write(transaction.as_mut(), actor, "dead-letter.run", &subject, &detail, now).await?;
    transaction.commit().await?;
    Ok(Taken::Held(held))
}

/// Holds a run that was left, to go on with it.
pub async fn take_up(store: &Store, id: Uuid, actor: &Actor) -> Result<Taken, ReadError> {
    let now = store.now();
    let held = Held { store: store.clone(), run: id, me: Uuid::new_v4() };
    let mut transaction = store.begin_durable().await?;
    if !held.take(transaction.as_mut(), now).await? {
        return in_the_way(transaction.as_mut(), id).await;
    }
    let sql = "update dead_letter_runs set ended_at = null, trouble = null \
         where id = $1 and (ended_at is null or trouble is not null)";
    if transaction.execute(sql, vec![id.into()]).await? == 0 {
        let rows = transaction.query("select 1 from dead_letter_runs where id = $1", vec![id.into()]).await?;
        return Ok(if rows.first().is_some() { Taken::Already } else { Taken::Unknown });
    }
    let detail = json!({"outcome": "taken up"});
    audit::write(transaction.as_mut(), actor, "dead-letter.run", &id.to_string(), &detail, now).await?;
    transaction.commit().await?;
    Ok(Taken::Held(held))
}

async fn in_the_way(transaction: &mut dyn Transaction, wanted: Uuid) -> Result<Taken, ReadError> {
    let rows = transaction.query("select run from dead_letter_run_held", Vec::new()).await?;
    let other = rows.first().map(|row| row.opt_uuid(0)).transpose()?.flatten().unwrap_or_default();
    Ok(if other == wanted { Taken::Already } else { Taken::Busy(other) })
}

async fn insert_letters(
    transaction: &mut dyn Transaction,
    run: Uuid,
    letters: &[Letter],
) -> Result<(), ReadError> {
    let numbered: Vec<(i64, Uuid)> = (0..).zip(letters.iter().map(|letter| letter.id)).collect();
    for rows in numbered.chunks(LETTERS_OF_AN_INSERT) {
        let mut params: Vec<Value> = vec![run.into()];
        let mut values = Vec::with_capacity(rows.len());
        for (number, letter) in rows {
            values.push(format!("($1, {number}, ${})", params.len() + 1));
            params.push((*letter).into());
        }
        let sql =
            format!("insert into dead_letter_run_letters (run, number, letter) values {}", values.join(", "));
        transaction.execute(&sql, params).await?;
    }
    Ok(())
}

/// Leaves the newest [`RUNS_KEPT_MAX`].
async fn sweep(transaction: &mut dyn Transaction) -> Result<(), ReadError> {
    let sql = format!(
        "select id from dead_letter_runs order by begun_at desc, id desc limit {RUNS_KEPT_MAX} offset {RUNS_KEPT_MAX}"
    );
    let old = transaction.query(&sql, Vec::new()).await?;
    for row in &old {
        let id = row.uuid(0)?;
        transaction.execute("delete from dead_letter_run_letters where run = $1", vec![id.into()]).await?;
        transaction.execute("delete from dead_letter_runs where id = $1", vec![id.into()]).await?;
    }
    Ok(())
}

/// A run that this process works on.
#[derive(Clone)]
pub struct Held {
    store: Store,
    run: Uuid,
    me: Uuid,
}

impl Held {
    pub const fn run(&self) -> Uuid {
        self.run
    }

    /// Of two that take at once one does: the second waits for the row, and finds it taken.
    async fn take(&self, transaction: &mut dyn Transaction, now: Timestamp) -> Result<bool, ReadError> {
        let sql = "update dead_letter_run_held set run = $1, holder = $2, beat_at = $3 \
             where number = 1 and (holder is null or beat_at < $4)";
        let params = vec![self.run.into(), self.me.into(), now.as_micros().into(), silent_before(now).into()];
        Ok(transaction.execute(sql, params).await? == 1)
    }

    /// Lets itself be heard of; gives whether the run is still held.
    async fn heard(&self, transaction: &mut dyn Transaction) -> Result<bool, ReadError> {
        let sql = "update dead_letter_run_held set beat_at = $2 where holder = $1";
        let params = vec![self.me.into(), self.store.now().as_micros().into()];
        Ok(transaction.execute(sql, params).await? == 1)
    }

    /// As long as the run is held; not under the transaction of a letter.
    pub async fn beat(&self) -> Result<bool, ReadError> {
        let mut transaction = self.store.begin().await?;
        let is_held = self.heard(transaction.as_mut()).await?;
        transaction.commit().await?;
        Ok(is_held)
    }

    /// Notes what became of a letter, by its number in the run; gives whether the run is still held.
    pub async fn note(&self, number: usize, outcome: &Outcome) -> Result<bool, ReadError> {
        let mut transaction = self.store.begin().await?;
        if !self.heard(transaction.as_mut()).await? {
            return Ok(false);
        }
        let sql = "update dead_letter_run_letters set outcome = $3, handled = $4, failure = $5 \
             where run = $1 and number = $2 and outcome is null";
        let mut params: Vec<Value> = vec![self.run.into(), i64::try_from(number).unwrap_or(i64::MAX).into()];
        params.extend(outcome.columns());
        let noted = transaction.execute(sql, params).await?;
        let sql = "update dead_letter_runs set done = done + $2 where id = $1";
        let noted = i64::try_from(noted).unwrap_or_default();
        transaction.execute(sql, vec![self.run.into(), noted.into()]).await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Ends the run, by what it stopped at if it did; gives whether it was still held.
    pub async fn end(&self, trouble: Option<&str>) -> Result<bool, ReadError> {
        let mut transaction = self.store.begin().await?;
        let sql = "update dead_letter_run_held set run = null, holder = null where holder = $1";
        if transaction.execute(sql, vec![self.me.into()]).await? == 0 {
            return Ok(false);
        }
        let sql = "update dead_letter_runs set ended_at = $2, trouble = $3 where id = $1";
        let now = self.store.now().as_micros();
        transaction.execute(sql, vec![self.run.into(), now.into(), trouble.into()]).await?;
        transaction.commit().await?;
        Ok(true)
    }
}
