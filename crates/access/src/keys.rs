//! API keys: made, listed, revoked. Of a key there is a hash, what it begins with and what it ends in; it is shown once,
//! when it is made.

use domain::{id::MerchantId, time::Timestamp};
use serde_json::{Value as Json, json};
use store::{
    Store,
    audit::{self, Actor},
    error::ReadError,
    sql::{Reads, Row, Transaction, Value},
};
use uuid::Uuid;

use crate::{
    Access, AccessError, Role, Scope, Secret,
    error::check_name,
    secret::{self, Hash},
};

/// Of a merchant, or of the platform, that are neither revoked nor expired.
pub const KEYS_A_SCOPE_MAX: i64 = 100;
pub const KEY_NAME_CHARS_MAX: usize = 100;
/// No process answers more.
pub const REQUESTS_PER_SECOND_MAX: u32 = 1_000_000;

/// What a key is to be.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// For people: what uses it.
    pub name: String,
    /// Otherwise it is a test key: it looks different, and may do the same.
    pub is_live: bool,
    pub scope: Scope,
    pub role: Role,
    /// `None`: as many as everybody may.
    pub requests_per_second: Option<u32>,
    pub expires_at: Option<Timestamp>,
}

/// A key as it may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    pub id: Uuid,
    /// Its first twelve characters: `fk_live_ab12`.
    pub prefix: String,
    pub last4: String,
    pub name: String,
    pub is_live: bool,
    pub scope: Scope,
    pub role: Role,
    pub requests_per_second: Option<u32>,
    pub created_at: Timestamp,
    pub created_by: String,
    pub expires_at: Option<Timestamp>,
    /// To the minute.
    pub last_used_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    Active,
    Expired,
    Revoked,
}

/// A key that was just made. The secret is nowhere else.
#[derive(Clone, Debug)]
pub struct Created {
    pub key: Key,
    pub secret: Secret,
}

impl KeyState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

impl Key {
    pub fn state(&self, now: Timestamp) -> KeyState {
        if self.revoked_at.is_some() {
            KeyState::Revoked
        } else if self.expires_at.is_some_and(|end| now >= end) {
            KeyState::Expired
        } else {
            KeyState::Active
        }
    }

    /// As the audit log has whoever uses it.
    pub fn actor_name(&self) -> String {
        format!("key {}", self.prefix)
    }

    fn describe(&self) -> Json {
        json!({
            "key": format!("{}…{}", self.prefix, self.last4),
            "name": self.name,
            "merchantId": self.scope.merchant(),
            "role": self.role.name(),
            "requestsPerSecond": self.requests_per_second,
            "expiresAt": self.expires_at,
            "revokedAt": self.revoked_at,
        })
    }
}

/// Makes a key. When this returns, it is on the disk.
pub async fn create(store: &Store, new: &NewKey, actor: &Actor) -> Result<Created, AccessError> {
    let now = store.now();
    check(new, now)?;
    let secret = secret::new_key(new.is_live);
    let (prefix, last4) = secret::ends(&secret);
    let key = Key {
        id: Uuid::now_v7(),
        prefix: prefix.to_owned(),
        last4: last4.to_owned(),
        name: new.name.clone(),
        is_live: new.is_live,
        scope: new.scope,
        role: new.role,
        requests_per_second: new.requests_per_second,
        created_at: now,
        created_by: actor.name.clone(),
        expires_at: new.expires_at,
        last_used_at: None,
        revoked_at: None,
    };
    let mut transaction = store.begin_durable().await?;
    check_scope(transaction.as_mut(), new.scope, now).await?;
    insert(transaction.as_mut(), &key, secret::hash(secret.reveal())).await?;
    let detail = json!({"after": key.describe()});
    audit::write(transaction.as_mut(), actor, "key.create", &key.id.to_string(), &detail, now).await?;
    transaction.commit().await?;
    Ok(Created { key, secret })
}

fn check(new: &NewKey, now: Timestamp) -> Result<(), AccessError> {
    check_name(&new.name, KEY_NAME_CHARS_MAX)?;
    if new.expires_at.is_some_and(|end| end <= now) {
        return Err(AccessError::InvalidExpiry);
    }
    match new.requests_per_second {
        Some(rate) if !(1..=REQUESTS_PER_SECOND_MAX).contains(&rate) => Err(AccessError::InvalidRate),
        _ => Ok(()),
    }
}

async fn check_scope(
    transaction: &mut dyn Transaction,
    scope: Scope,
    now: Timestamp,
) -> Result<(), AccessError> {
    let mut params = vec![Value::from(now.as_micros())];
    let of_scope = match scope {
        Scope::Platform => "merchant_id is null",
        Scope::Merchant(MerchantId(id)) => {
            let found = transaction.query("select id from merchants where id = $1", vec![id.into()]).await?;
            if found.is_empty() {
                return Err(AccessError::NoSuchMerchant(id));
            }
            params.push(id.into());
            "merchant_id = $2"
        }
    };
    let sql = format!(
        "select count(*) from api_keys where {of_scope} and revoked_at is null \
         and (expires_at is null or expires_at > $1)"
    );
    let rows = transaction.query(&sql, params).await?;
    let count = rows.first().map_or(Ok(0), |row| row.int(0))?;
    if count >= KEYS_A_SCOPE_MAX { Err(AccessError::TooManyKeys) } else { Ok(()) }
}

async fn insert(transaction: &mut dyn Transaction, key: &Key, hash: Hash) -> Result<(), ReadError> {
    let sql = "insert into api_keys (id, hash, prefix, last4, name, is_live, merchant_id, role, requests_per_second, \
         created_at, created_by, expires_at) values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
    let params = vec![
        key.id.into(),
        hash.to_vec().into(),
        key.prefix.as_str().into(),
        key.last4.as_str().into(),
        key.name.as_str().into(),
        i64::from(key.is_live).into(),
        key.scope.merchant().map(|id| id.0).into(),
        key.role.number().into(),
        key.requests_per_second.map(i64::from).into(),
        key.created_at.as_micros().into(),
        key.created_by.as_str().into(),
        key.expires_at.map(Timestamp::as_micros).into(),
    ];
    transaction.execute(sql, params).await.map(|_| ())
}

/// Revokes a key for good; one that is revoked stays as it is. Counts at once in this process, and within five seconds
/// in others.
pub async fn revoke(access: &Access, id: Uuid, actor: &Actor) -> Result<Key, AccessError> {
    let store = access.store();
    let now = store.now();
    let mut transaction = store.begin_durable().await?;
    let sql = "update api_keys set revoked_at = $2 where id = $1 and revoked_at is null";
    let changed = transaction.execute(sql, vec![id.into(), now.as_micros().into()]).await?;
    let rows = transaction.query(&format!("{KEY} where id = $1"), vec![id.into()]).await?;
    let key = rows.first().map(key_from).transpose()?.ok_or(AccessError::NoSuchKey(id))?;
    if changed == 1 {
        let before = Key { revoked_at: None, ..key.clone() };
        let detail = json!({"before": before.describe(), "after": key.describe()});
        audit::write(transaction.as_mut(), actor, "key.revoke", &id.to_string(), &detail, now).await?;
        transaction.commit().await?;
    }
    access.forget(id);
    Ok(key)
}

/// Newest first, behind a key; of one merchant, or all that there are.
pub async fn list(
    db: &dyn Reads,
    merchant: Option<MerchantId>,
    behind: Option<Uuid>,
    limit: usize,
) -> Result<Vec<Key>, ReadError> {
    let (mut conditions, mut params) = (Vec::new(), Vec::<Value>::new());
    if let Some(MerchantId(id)) = merchant {
        params.push(id.into());
        conditions.push(format!("merchant_id = ${}", params.len()));
    }
    if let Some(behind) = behind {
        params.push(behind.into());
        conditions.push(format!("id < ${}", params.len()));
    }
    let conditions =
        if conditions.is_empty() { String::new() } else { format!(" where {}", conditions.join(" and ")) };
    let rows = db.query(&format!("{KEY}{conditions} order by id desc limit {limit}"), params).await?;
    rows.iter().map(key_from).collect()
}

/// Those that begin so, newest first. Of a key that is given whole no more is looked at than may be shown.
pub async fn by_prefix(db: &dyn Reads, begins: &str, limit: usize) -> Result<Vec<Key>, ReadError> {
    let prefix: String = begins.chars().take(PREFIX_CHARS).collect();
    let sql = format!("{KEY} where prefix = $1 order by id desc limit {limit}");
    db.query(&sql, vec![prefix.into()]).await?.iter().map(key_from).collect()
}

pub async fn get(db: &dyn Reads, id: Uuid) -> Result<Option<Key>, ReadError> {
    let rows = db.query(&format!("{KEY} where id = $1"), vec![id.into()]).await?;
    rows.first().map(key_from).transpose()
}

pub(crate) async fn by_hash(db: &dyn Reads, hash: &Hash) -> Result<Option<Key>, ReadError> {
    let rows = db.query(&format!("{KEY} where hash = $1"), vec![hash.to_vec().into()]).await?;
    rows.first().map(key_from).transpose()
}

/// What is shown of a key: its first characters.
pub const PREFIX_CHARS: usize = secret::PREFIX_CHARS;
const KEY: &str = "select id, prefix, last4, name, is_live, merchant_id, role, requests_per_second, created_at, \
     created_by, expires_at, last_used_at, revoked_at from api_keys";

fn key_from(row: Row<'_>) -> Result<Key, ReadError> {
    let moment = |column| Ok::<_, ReadError>(row.opt_int(column)?.map(Timestamp::from_micros));
    let unknown = |what: &str| ReadError::Invalid(format!("a key has a {what} that is not known"));
    let rate = row.opt_int(7)?.map(u32::try_from).transpose();
    Ok(Key {
        id: row.uuid(0)?,
        prefix: row.text(1)?.to_owned(),
        last4: row.text(2)?.to_owned(),
        name: row.text(3)?.to_owned(),
        is_live: row.int(4)? != 0,
        scope: row.opt_uuid(5)?.map_or(Scope::Platform, |id| Scope::Merchant(MerchantId(id))),
        role: Role::from_number(row.int(6)?).ok_or_else(|| unknown("role"))?,
        requests_per_second: rate.map_err(|_| unknown("rate"))?,
        created_at: Timestamp::from_micros(row.int(8)?),
        created_by: row.text(9)?.to_owned(),
        expires_at: moment(10)?,
        last_used_at: moment(11)?,
        revoked_at: moment(12)?,
    })
}
