//! Four eyes: what one asks for and another one decides. Only once, and never by whoever asked.
//!
//! Nothing is carried out here. Whoever has approved carries it out, under the request's id as the idempotency key where it
//! is a command, so that it happens once whatever is killed when.

use domain::time::Timestamp;
use serde_json::{Value as Json, json};
use store::{
    Store,
    audit::{self, Actor},
    error::ReadError,
    sql::{Reads, Row, Transaction},
};
use uuid::Uuid;

use crate::{AccessError, error::check_name};

pub const OPEN_APPROVALS_MAX: i64 = 1000;
pub const KIND_CHARS_MAX: usize = 60;
pub const SUBJECT_CHARS_MAX: usize = 200;

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// `withdrawal.process`, `dead-letters.redrive-all`, `replay` …
    pub kind: String,
    /// One request of a kind may be open for it.
    pub subject: String,
    /// All that is needed to carry it out, and to judge it.
    pub detail: Json,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Approval {
    pub id: Uuid,
    pub kind: String,
    pub subject: String,
    pub detail: Json,
    /// As the audit log has them: `operator anna`.
    pub requested_by: String,
    pub requested_at: Timestamp,
    pub reason: String,
    pub state: State,
    pub decided_by: Option<String>,
    pub decided_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Open,
    Approved,
    Refused,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Approve,
    Refuse,
}

impl State {
    const ALL: [Self; 3] = [Self::Open, Self::Approved, Self::Refused];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Approved => "approved",
            Self::Refused => "refused",
        }
    }

    const fn number(self) -> i64 {
        match self {
            Self::Open => 1,
            Self::Approved => 2,
            Self::Refused => 3,
        }
    }
}

impl Decision {
    const fn state(self) -> State {
        match self {
            Self::Approve => State::Approved,
            Self::Refuse => State::Refused,
        }
    }

    const fn action(self) -> &'static str {
        match self {
            Self::Approve => "approval.approve",
            Self::Refuse => "approval.refuse",
        }
    }
}

/// Asks for it; the actor's reason is what others judge it by.
pub async fn request(store: &Store, wanted: &Wanted, actor: &Actor) -> Result<Approval, AccessError> {
    check_name(&wanted.kind, KIND_CHARS_MAX)?;
    check_name(&wanted.subject, SUBJECT_CHARS_MAX)?;
    let now = store.now();
    let approval = Approval {
        id: Uuid::now_v7(),
        kind: wanted.kind.clone(),
        subject: wanted.subject.clone(),
        detail: wanted.detail.clone(),
        requested_by: actor.name.clone(),
        requested_at: now,
        reason: actor.why.clone(),
        state: State::Open,
        decided_by: None,
        decided_at: None,
    };
    let mut transaction = store.begin_durable().await?;
    let count = transaction.query("select count(*) from approvals where state = 1", Vec::new()).await?;
    if count.first().map_or(Ok(0), |row| row.int(0))? >= OPEN_APPROVALS_MAX {
        return Err(AccessError::TooManyApprovals);
    }
    if !insert(transaction.as_mut(), &approval).await? {
        let sql = format!("{APPROVAL} where kind = $1 and subject = $2 and state = 1");
        let params = vec![wanted.kind.as_str().into(), wanted.subject.as_str().into()];
        let rows = transaction.query(&sql, params).await?;
        // Decided between the two statements: whoever asks again, asks anew.
        let open = rows.first().ok_or(AccessError::AlreadyDecided)?;
        return Err(AccessError::AlreadyRequested(open.uuid(0)?));
    }
    let detail = json!({"approval": approval.id, "after": approval.detail});
    let action = format!("approval.request.{}", approval.kind);
    audit::write(transaction.as_mut(), actor, &action, &approval.subject, &detail, now).await?;
    transaction.commit().await?;
    Ok(approval)
}

async fn insert(transaction: &mut dyn Transaction, approval: &Approval) -> Result<bool, ReadError> {
    let sql = "insert into approvals (id, kind, subject, detail, requested_by, requested_at, reason, state) \
         values ($1, $2, $3, $4, $5, $6, $7, 1) on conflict (kind, subject) where state = 1 do nothing";
    let params = vec![
        approval.id.into(),
        approval.kind.as_str().into(),
        approval.subject.as_str().into(),
        approval.detail.to_string().into(),
        approval.requested_by.as_str().into(),
        approval.requested_at.as_micros().into(),
        approval.reason.as_str().into(),
    ];
    Ok(transaction.execute(sql, params).await? == 1)
}

/// Decides it; of two who decide at once, one is told that it was decided already.
pub async fn decide(
    store: &Store,
    id: Uuid,
    decision: Decision,
    actor: &Actor,
) -> Result<Approval, AccessError> {
    let now = store.now();
    let mut transaction = store.begin_durable().await?;
    let sql = "update approvals set state = $2, decided_by = $3, decided_at = $4 \
         where id = $1 and state = 1 and requested_by <> $3";
    let params =
        vec![id.into(), decision.state().number().into(), actor.name.as_str().into(), now.as_micros().into()];
    let changed = transaction.execute(sql, params).await?;
    let rows = transaction.query(&format!("{APPROVAL} where id = $1"), vec![id.into()]).await?;
    let approval = rows.first().map(approval_from).transpose()?.ok_or(AccessError::NoSuchApproval(id))?;
    if changed == 0 {
        let is_open = approval.state == State::Open;
        return Err(if is_open { AccessError::OwnRequest } else { AccessError::AlreadyDecided });
    }
    let detail = json!({"approval": id, "kind": approval.kind, "requestedBy": approval.requested_by});
    audit::write(transaction.as_mut(), actor, decision.action(), &approval.subject, &detail, now).await?;
    transaction.commit().await?;
    Ok(approval)
}

/// Those that are open, oldest first.
pub async fn open(db: &dyn Reads) -> Result<Vec<Approval>, ReadError> {
    let sql = format!("{APPROVAL} where state = 1 order by requested_at, id limit {OPEN_APPROVALS_MAX}");
    let rows = db.query(&sql, Vec::new()).await?;
    rows.iter().map(approval_from).collect()
}

pub async fn get(db: &dyn Reads, id: Uuid) -> Result<Option<Approval>, ReadError> {
    let rows = db.query(&format!("{APPROVAL} where id = $1"), vec![id.into()]).await?;
    rows.first().map(approval_from).transpose()
}

/// All, newest first, behind one.
pub async fn list(db: &dyn Reads, behind: Option<Uuid>, limit: usize) -> Result<Vec<Approval>, ReadError> {
    let (condition, params) = match behind {
        Some(id) => ("where id < $1", vec![id.into()]),
        None => ("", Vec::new()),
    };
    let rows = db.query(&format!("{APPROVAL} {condition} order by id desc limit {limit}"), params).await?;
    rows.iter().map(approval_from).collect()
}

const APPROVAL: &str = "select id, kind, subject, detail, requested_by, requested_at, reason, state, decided_by, \
     decided_at from approvals";

fn approval_from(row: Row<'_>) -> Result<Approval, ReadError> {
    let invalid = |what: &str| ReadError::Invalid(format!("a request for an approval has a {what}"));
    let number = row.int(7)?;
    let state = State::ALL.into_iter().find(|state| state.number() == number);
    Ok(Approval {
        id: row.uuid(0)?,
        kind: row.text(1)?.to_owned(),
        subject: row.text(2)?.to_owned(),
        detail: serde_json::from_str(row.text(3)?).map_err(|_| invalid("detail that is no JSON"))?,
        requested_by: row.text(4)?.to_owned(),
        requested_at: Timestamp::from_micros(row.int(5)?),
        reason: row.text(6)?.to_owned(),
        state: state.ok_or_else(|| invalid("state that is not known"))?,
        decided_by: row.opt_text(8)?.map(str::to_owned),
        decided_at: row.opt_int(9)?.map(Timestamp::from_micros),
    })
}
