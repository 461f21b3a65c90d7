//! Sessions of operators. A session begins with a token that nobody had before, whatever the browser brought along, and
//! ends after 30 minutes without a request, after 12 hours, with the operator's password, or when somebody ends it. Of the
//! token there is a hash; the operator's role and whether it is active are read anew for each request.

use domain::time::Timestamp;
use store::{
    Store,
    error::ReadError,
    sql::{Reads, Transaction},
};
use subtle::ConstantTimeEq as _;
use uuid::Uuid;

use crate::{
    OperatorRole, Secret,
    operators::{self, Operator},
    secret,
};

pub const IDLE_MICROS_MAX: i64 = 30 * 60 * 1_000_000;
pub const SESSION_MICROS_MAX: i64 = 12 * 60 * 60 * 1_000_000;
/// Of one operator; the oldest gives way.
pub const SESSIONS_AN_OPERATOR_MAX: usize = 20;
/// Requests are noted no more often.
const SEEN_EVERY_MICROS: i64 = 60 * 1_000_000;

/// A session that has just begun. The token is nowhere else.
#[derive(Clone, Debug)]
pub struct Begun {
    pub token: Secret,
    /// For the forms of its pages.
    pub csrf: String,
    pub expires_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    pub operator_id: Uuid,
    /// The operator's name.
    pub operator: String,
    pub role: OperatorRole,
    /// For the forms of its pages.
    pub csrf: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

impl Session {
    /// As the audit log has whoever acts.
    pub fn actor_name(&self) -> String {
        operators::actor_name(&self.operator)
    }

    /// Whether a form was made for this session; takes as long whatever was sent.
    pub fn is_csrf(&self, sent: &str) -> bool {
        self.csrf.as_bytes().ct_eq(sent.as_bytes()).into()
    }
}

/// After [`operators::sign_in`] only.
pub async fn begin(store: &Store, operator: &Operator) -> Result<Begun, ReadError> {
    let now = store.now();
    let (token, csrf) = (secret::token(), secret::token().reveal().to_owned());
    let expires_at = Timestamp::from_micros(now.as_micros() + SESSION_MICROS_MAX);
    let mut transaction = store.begin().await?;
    make_room(transaction.as_mut(), operator.id, now).await?;
    let sql = "insert into operator_sessions (token_hash, operator_id, csrf, created_at, seen_at, expires_at) \
         values ($1, $2, $3, $4, $4, $5)";
    let params = vec![
        secret::hash(token.reveal()).to_vec().into(),
        operator.id.into(),
        csrf.as_str().into(),
        now.as_micros().into(),
        expires_at.as_micros().into(),
    ];
    transaction.execute(sql, params).await?;
    transaction.commit().await?;
    Ok(Begun { token, csrf, expires_at })
}

/// Deletes what has ended, and the oldest if there are too many.
async fn make_room(
    transaction: &mut dyn Transaction,
    operator_id: Uuid,
    now: Timestamp,
) -> Result<(), ReadError> {
    let sql = "delete from operator_sessions where operator_id = $1 and (expires_at <= $2 or seen_at <= $3)";
    let idle = now.as_micros() - IDLE_MICROS_MAX;
    let params = vec![operator_id.into(), now.as_micros().into(), idle.into()];
    transaction.execute(sql, params).await?;
    let sql = format!(
        "delete from operator_sessions where token_hash in (select token_hash from operator_sessions \
         where operator_id = $1 order by created_at desc, token_hash limit 1000 offset {})",
        SESSIONS_AN_OPERATOR_MAX - 1
    );
    transaction.execute(&sql, vec![operator_id.into()]).await.map(|_| ())
}

/// The session of a token, if it goes on. It is used by this, so it goes on for longer.
pub async fn find(store: &Store, token: &str) -> Result<Option<Session>, ReadError> {
    look(store, token, true).await
}

/// As [`find`], for what a page asks by itself: a page that is left open keeps no session alive.
pub async fn find_unused(store: &Store, token: &str) -> Result<Option<Session>, ReadError> {
    look(store, token, false).await
}

async fn look(store: &Store, token: &str, is_use: bool) -> Result<Option<Session>, ReadError> {
    let now = store.now();
    let hash = secret::hash(token).to_vec();
    let sql = "select operators.id, name, role, csrf, operator_sessions.created_at, expires_at, seen_at \
         from operator_sessions join operators on operators.id = operator_id \
         where token_hash = $1 and expires_at > $2 and seen_at > $3 and is_active = 1";
    let params =
        vec![hash.clone().into(), now.as_micros().into(), (now.as_micros() - IDLE_MICROS_MAX).into()];
    let rows = store.reads().query(sql, params).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let session = Session {
        operator_id: row.uuid(0)?,
        operator: row.text(1)?.to_owned(),
        role: operators::role_from(row.int(2)?)?,
        csrf: row.text(3)?.to_owned(),
        created_at: Timestamp::from_micros(row.int(4)?),
        expires_at: Timestamp::from_micros(row.int(5)?),
    };
    if is_use && now.as_micros() - row.int(6)? >= SEEN_EVERY_MICROS {
        // Whoever may read is let in, also while nothing can be written.
        if let Err(error) = note_seen(store, hash, now).await {
            tracing::warn!(%error, "an operator's request could not be noted");
        }
    }
    Ok(Some(session))
}

async fn note_seen(store: &Store, hash: Vec<u8>, now: Timestamp) -> Result<(), ReadError> {
    let mut transaction = store.begin().await?;
    let sql = "update operator_sessions set seen_at = $2 where token_hash = $1 and seen_at < $2";
    transaction.execute(sql, vec![hash.into(), now.as_micros().into()]).await?;
    transaction.commit().await
}

/// Ends a session, if there is one.
pub async fn end(store: &Store, token: &str) -> Result<(), ReadError> {
    let mut transaction = store.begin_durable().await?;
    let sql = "delete from operator_sessions where token_hash = $1";
    transaction.execute(sql, vec![secret::hash(token).to_vec().into()]).await?;
    transaction.commit().await
}

pub async fn end_all_of(store: &Store, operator_id: Uuid) -> Result<(), ReadError> {
    let mut transaction = store.begin_durable().await?;
    end_all_within(transaction.as_mut(), operator_id).await?;
    transaction.commit().await
}

pub(crate) async fn end_all_within(
    transaction: &mut dyn Transaction,
    operator_id: Uuid,
) -> Result<(), ReadError> {
    let sql = "delete from operator_sessions where operator_id = $1";
    transaction.execute(sql, vec![operator_id.into()]).await.map(|_| ())
}

/// How many sessions an operator has that go on.
pub async fn count(db: &dyn Reads, operator_id: Uuid, now: Timestamp) -> Result<i64, ReadError> {
    let sql =
        "select count(*) from operator_sessions where operator_id = $1 and expires_at > $2 and seen_at > $3";
    let idle = now.as_micros() - IDLE_MICROS_MAX;
    let rows = db.query(sql, vec![operator_id.into(), now.as_micros().into(), idle.into()]).await?;
    rows.first().map_or(Ok(0), |row| row.int(0))
}
