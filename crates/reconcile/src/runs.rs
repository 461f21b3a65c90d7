//! Runs and breaks as they are stored, for whoever asks later and for whoever goes on with a run.
//!
//! One process works on a run: its id is the run's holder, and every note that it makes is made under that condition. No
//! clock of another machine is trusted: who wants to go on with a run watches its beat stand still first.

use std::time::Duration;

use domain::time::Timestamp;
use sha2::{Digest as _, Sha256};
use store::{
    Store,
    error::ReadError,
    sql::{Reads, Row, Value},
};
use uuid::Uuid;

use crate::{Area, Break, Error, Kind, Place, Summary, progress::Checkpoint, sums::Sums};

/// Breaks of one run that are stored; the rest is counted.
pub const BREAKS_STORED_MAX: u64 = 1000;
/// What is stored of a value.
const TEXT_CHARS_MAX: usize = 1000;
/// Older ones are deleted when a run ends.
const RUNS_KEPT_MAX: usize = 1000;
const CLOSED_BREAKS_KEPT_MAX: usize = 10_000;
/// How often a run says that it lives, and notes how far it has come.
pub(crate) const NOTE_INTERVAL: Duration = Duration::from_secs(2);
/// A run whose beat stands still for this long has been left.
const LEFT_AFTER: Duration = Duration::from_secs(6);
const LOOK_PAUSE: Duration = Duration::from_millis(500);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Running,
    /// Left in the middle by a process that was asked to stop.
    Interrupted,
    Ended,
    Failed,
}

impl State {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Interrupted => "interrupted",
            Self::Ended => "ended",
            Self::Failed => "failed",
        }
    }

    const fn number(self) -> i64 {
        match self {
            Self::Running | Self::Interrupted => 1,
            Self::Ended => 2,
            Self::Failed => 3,
        }
    }
}

/// A run as it is stored.
#[derive(Clone, Debug)]
pub struct StoredRun {
    pub id: Uuid,
    pub state: State,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// As far as the run has come.
    pub summary: Summary,
    /// Why it failed.
    pub failure: Option<String>,
    beat: i64,
}

/// A break as it is stored.
#[derive(Clone, Debug)]
pub struct StoredBreak {
    pub id: Uuid,
    pub found: Break,
    pub first_seen_at: Timestamp,
    pub last_seen_at: Timestamp,
    /// When a run did not find it any more.
    pub closed_at: Option<Timestamp>,
}

const RUN: &str =
    "select id, state, holder, beat, started_at, ended_at, summary, failure from reconciliation_runs";

const BREAK: &str = "select id, kind, area, place, expected, found, first_seen_at, last_seen_at, closed_at \
     from reconciliation_breaks";

/// Newest first.
pub async fn list(db: &dyn Reads, limit: usize) -> Result<Vec<StoredRun>, ReadError> {
    page(db, None, limit).await
}

/// Newest first, behind a run.
pub async fn page(db: &dyn Reads, behind: Option<Uuid>, limit: usize) -> Result<Vec<StoredRun>, ReadError> {
    let behind = behind.unwrap_or(Uuid::max());
    let rows =
        db.query(&format!("{RUN} where id < $1 order by id desc limit {limit}"), vec![behind.into()]).await?;
    rows.iter().map(run_from).collect()
}

pub async fn find(db: &dyn Reads, id: Uuid) -> Result<Option<StoredRun>, ReadError> {
    let rows = db.query(&format!("{RUN} where id = $1"), vec![id.into()]).await?;
    rows.first().map(run_from).transpose()
}

/// The newest run that came to its end; `None` when there was none among those that are kept.
pub async fn newest_ended(db: &dyn Reads) -> Result<Option<StoredRun>, ReadError> {
    let ended = State::Ended.number();
    // Backwards by the key; behind a row of another state there is one of this soon, and never more than are kept.
    let rows = db.query(&format!("{RUN} where state = {ended} order by id desc limit 1"), Vec::new()).await?;
    rows.first().map(run_from).transpose()
}

/// The breaks that were open when a run ended, in the order in which they were first seen.
pub async fn breaks(db: &dyn Reads, run: Uuid) -> Result<Vec<StoredBreak>, ReadError> {
    // Runs are numbered by time, and a break is seen by each of them until it is closed.
    let sql =
        format!("{BREAK} where first_run <= $1 and last_run >= $1 order by id limit {BREAKS_STORED_MAX}");
    let rows = db.query(&sql, vec![run.into()]).await?;
    rows.iter().filter_map(|row| break_from(row).transpose()).collect()
}

/// The breaks that no run has found closed, in the order in which they were first seen, at most `limit`.
pub async fn open_breaks(db: &dyn Reads, limit: usize) -> Result<Vec<StoredBreak>, ReadError> {
    let sql = format!("{BREAK} where closed_at is null order by id limit {limit}");
    let rows = db.query(&sql, Vec::new()).await?;
    rows.iter().filter_map(|row| break_from(row).transpose()).collect()
}

fn run_from(row: Row<'_>) -> Result<StoredRun, ReadError> {
    let state = match (row.int(1)?, row.opt_uuid(2)?) {
        (1, Some(_)) => State::Running,
        (1, None) => State::Interrupted,
        (2, _) => State::Ended,
        _ => State::Failed,
    };
    Ok(StoredRun {
        id: row.uuid(0)?,
        state,
        beat: row.int(3)?,
        started_at: Timestamp::from_micros(row.int(4)?),
        ended_at: row.opt_int(5)?.map(Timestamp::from_micros),
        summary: serde_json::from_str(row.text(6)?).unwrap_or_default(),
        failure: row.opt_text(7)?.map(str::to_owned),
    })
}

/// `None` for one that a newer program has stored.
fn break_from(row: Row<'_>) -> Result<Option<StoredBreak>, ReadError> {
    let (Some(kind), Some(area)) = (Kind::from_number(row.int(1)?), Area::from_name(row.text(2)?)) else {
        return Ok(None);
    };
    let place = Place { area, place: row.text(3)?.to_owned() };
    Ok(Some(StoredBreak {
        id: row.uuid(0)?,
        found: Break { kind, place, expected: row.text(4)?.to_owned(), found: row.text(5)?.to_owned() },
        first_seen_at: Timestamp::from_micros(row.int(6)?),
        last_seen_at: Timestamp::from_micros(row.int(7)?),
        closed_at: row.opt_int(8)?.map(Timestamp::from_micros),
    }))
}

/// The run that this process works on.
pub(crate) struct Held {
    store: Store,
    id: Uuid,
    me: Uuid,
}

/// Where a run that was left goes on.
pub(crate) struct Left {
    pub checkpoint: Checkpoint,
    pub booked: Sums,
    pub found: Sums,
}

impl Held {
    pub(crate) async fn begin(store: &Store) -> Result<Self, ReadError> {
        let held = Self { store: store.clone(), id: Uuid::now_v7(), me: Uuid::new_v4() };
        let mut transaction = store.begin().await?;
        let sql = "insert into reconciliation_runs (id, state, holder, beat, started_at, summary) \
             values ($1, 1, $2, 0, $3, '{}')";
        let now = store.now().as_micros().into();
        transaction.execute(sql, vec![held.id.into(), held.me.into(), now]).await?;
        transaction.commit().await?;
        Ok(held)
    }

    /// Takes the newest run over, when it has not ended and nobody works on it any more.
    pub(crate) async fn take_over(
        store: &Store,
        db: &dyn Reads,
    ) -> Result<Option<(Self, Option<Left>)>, Error> {
        let Some(mut run) = list(db, 1).await?.pop() else { return Ok(None) };
        if !matches!(run.state, State::Running | State::Interrupted) {
            return Ok(None);
        }
        let watched_since = tokio::time::Instant::now();
        while run.state == State::Running && watched_since.elapsed() < LEFT_AFTER {
            tokio::time::sleep(LOOK_PAUSE).await;
            match find(db, run.id).await? {
                Some(now) if now.beat == run.beat && now.state == State::Running => {}
                Some(now) if now.state == State::Interrupted => run = now,
                _ => return Err(Error::InProgress(run.id)),
            }
        }
        let held = Self { store: store.clone(), id: run.id, me: Uuid::new_v4() };
        let mut transaction = store.begin().await?;
        let sql = "update reconciliation_runs set holder = $1, beat = beat + 1 \
             where id = $2 and beat = $3 and state = 1";
        let taken = transaction.execute(sql, vec![held.me.into(), run.id.into(), run.beat.into()]).await?;
        transaction.commit().await?;
        if taken == 0 {
            return Err(Error::InProgress(run.id));
        }
        let sql = "select checkpoint, sums from reconciliation_runs where id = $1";
        let rows = db.query(sql, vec![run.id.into()]).await?;
        let left = rows.first().map(left_from).transpose()?.flatten();
        Ok(Some((held, left)))
    }

    pub(crate) const fn id(&self) -> Uuid {
        self.id
    }

    /// Raises the beat, stores breaks, and where there is one how far the run has come.
    pub(crate) async fn note(
        &self,
        breaks: &[Break],
        checkpoint: Option<(&Checkpoint, Vec<u8>)>,
    ) -> Result<(), Error> {
        let now = self.store.now().as_micros();
        let mut transaction = self.store.begin().await?;
        let mut sets = "beat = beat + 1".to_owned();
        let mut params: Vec<Value> = vec![self.id.into(), self.me.into()];
        if let Some((checkpoint, sums)) = checkpoint {
            sets += ", summary = $3, checkpoint = $4, sums = $5";
            params.push(json(&checkpoint.summary).into());
            params.push(json(checkpoint).into());
            params.push(sums.into());
        }
        let sql = format!("update reconciliation_runs set {sets} where id = $1 and holder = $2");
        if transaction.execute(&sql, params).await? == 0 {
            return Err(Error::TakenOver(self.id));
        }
        for found in breaks {
            transaction.execute(STORE_BREAK, self.params(found, now)).await?;
        }
        Ok(transaction.commit().await?)
    }

    fn params(&self, found: &Break, now: i64) -> Vec<Value> {
        let Break { kind, place, expected, found } = found;
        vec![
            Uuid::now_v7().into(),
            known_by(*kind, place).into(),
            (*kind as i64).into(),
            place.area.name().into(),
            cut(&place.place).into(),
            cut(expected).into(),
            cut(found).into(),
            self.id.into(),
            now.into(),
        ]
    }

    /// Leaves the run, so that somebody can go on with it at once.
    pub(crate) async fn leave(self) -> Result<(), ReadError> {
        let sql = "update reconciliation_runs set holder = null where id = $1 and holder = $2";
        let mut transaction = self.store.begin().await?;
        transaction.execute(sql, vec![self.id.into(), self.me.into()]).await?;
        transaction.commit().await
    }

    /// Ends the run; closes the breaks that it did not find, unless it found more than are stored, or could not look
    /// at the topics.
    pub(crate) async fn end(self, summary: &Summary, has_topics: bool) -> Result<(), Error> {
        let now = self.store.now().as_micros();
        let mut transaction = self.store.begin().await?;
        let sql = "update reconciliation_runs set summary = $3, state = $4, ended_at = $5, \
             holder = null, checkpoint = null, sums = null where id = $1 and holder = $2";
        let mut params: Vec<Value> = vec![self.id.into(), self.me.into(), json(summary).into()];
        params.extend([State::Ended.number().into(), now.into()]);
        if transaction.execute(sql, params).await? == 0 {
            return Err(Error::TakenOver(self.id));
        }
        if summary.breaks() <= BREAKS_STORED_MAX {
            let but_topics = if has_topics { "" } else { "and area <> 'topic'" };
            let sql = format!(
                "update reconciliation_breaks set closed_at = $1, closed_run = $2 \
                 where closed_at is null and last_run < $2 {but_topics}"
            );
            transaction.execute(&sql, vec![now.into(), self.id.into()]).await?;
        }
        for sql in [
            format!(
                "delete from reconciliation_runs where id <= \
                 (select id from reconciliation_runs order by id desc limit 1 offset {RUNS_KEPT_MAX})"
            ),
            format!(
                "delete from reconciliation_breaks where closed_at <= \
                 (select closed_at from reconciliation_breaks where closed_at is not null \
                 order by closed_at desc limit 1 offset {CLOSED_BREAKS_KEPT_MAX})"
            ),
        ] {
            transaction.execute(&sql, Vec::new()).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Ends a run that could not find out everything.
    pub(crate) async fn fail(self, summary: &Summary, failure: &str) -> Result<(), ReadError> {
        let mut transaction = self.store.begin().await?;
        let sql = "update reconciliation_runs set summary = $3, state = $4, ended_at = $5, \
             failure = $6, holder = null, checkpoint = null, sums = null where id = $1 and holder = $2";
        let mut params: Vec<Value> = vec![self.id.into(), self.me.into(), json(summary).into()];
        let now = self.store.now().as_micros();
        params.extend([State::Failed.number().into(), now.into(), cut(failure).into()]);
        transaction.execute(sql, params).await?;
        transaction.commit().await
    }
}

const STORE_BREAK: &str = "insert into reconciliation_breaks (id, known_by, kind, area, place, expected, found, \
     first_run, first_seen_at, last_run, last_seen_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $8, $9) \
     on conflict (known_by) where closed_at is null do update set expected = excluded.expected, \
     found = excluded.found, last_run = excluded.last_run, last_seen_at = excluded.last_seen_at";

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("a checkpoint is texts, numbers and lists")
}

fn left_from(row: Row<'_>) -> Result<Option<Left>, ReadError> {
    let checkpoint = row.opt_text(0)?.and_then(Checkpoint::read);
    let sums = row.opt_bytes(1)?.and_then(Sums::pair_from_bytes);
    Ok(checkpoint.zip(sums).map(|(checkpoint, (booked, found))| Left { checkpoint, booked, found }))
}

/// By what a break is known from one run to the next.
fn known_by(kind: Kind, place: &Place) -> Uuid {
    let digest = Sha256::digest(format!("{kind}: {place}"));
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    Uuid::from_bytes(half)
}

/// Without zeros, which PostgreSQL does not take in a text.
fn cut(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').take(TEXT_CHARS_MAX).collect()
}
