//! Operators: who may sign in to the console. They are few, and made by the command line or by an admin.

mod sign_in;

use domain::time::Timestamp;
use serde_json::{Value as Json, json};
use store::{
    Store,
    audit::{self, Actor},
    error::ReadError,
    sql::{Reads, Row, Transaction},
};
use uuid::Uuid;

pub use self::sign_in::{LOCKED_MICROS, SIGN_IN_FAILURES_MAX, sign_in};
use crate::{AccessError, OperatorRole, password, sessions};

pub const OPERATORS_MAX: i64 = 1000;
pub const OPERATOR_NAME_CHARS_MAX: usize = 40;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operator {
    pub id: Uuid,
    /// Lower-case; whoever signs in may write it as they like.
    pub name: String,
    pub role: OperatorRole,
    /// One that is not may not sign in.
    pub is_active: bool,
    pub locked_until: Option<Timestamp>,
    pub created_at: Timestamp,
    pub changed_at: Timestamp,
}

impl Operator {
    /// As the audit log has them.
    pub fn actor_name(&self) -> String {
        actor_name(&self.name)
    }

    fn describe(&self) -> Json {
        json!({"name": self.name, "role": self.role.name(), "isActive": self.is_active})
    }
}

pub(crate) fn actor_name(name: &str) -> String {
    format!("operator {name}")
}

pub async fn create(
    store: &Store,
    name: &str,
    role: OperatorRole,
    password: &str,
    actor: &Actor,
) -> Result<Operator, AccessError> {
    let name = parse_name(name)?;
    let hash = password::hash(password).await?;
    let now = store.now();
    let operator = Operator {
        id: Uuid::now_v7(),
        name,
        role,
        is_active: true,
        locked_until: None,
        created_at: now,
        changed_at: now,
    };
    let mut transaction = store.begin_durable().await?;
    let count = transaction.query("select count(*) from operators", Vec::new()).await?;
    if count.first().map_or(Ok(0), |row| row.int(0))? >= OPERATORS_MAX {
        return Err(AccessError::TooManyOperators);
    }
    let sql = "insert into operators (id, name, password_hash, role, is_active, failures, created_at, changed_at) \
         values ($1, $2, $3, $4, 1, 0, $5, $5) on conflict (name) do nothing";
    let params = vec![
        operator.id.into(),
        operator.name.as_str().into(),
        hash.into(),
        role.number().into(),
        now.as_micros().into(),
    ];
    if transaction.execute(sql, params).await? == 0 {
        return Err(AccessError::NameTaken(operator.name));
    }
    let detail = json!({"after": operator.describe()});
    audit::write(transaction.as_mut(), actor, "operator.create", &operator.name, &detail, now).await?;
    transaction.commit().await?;
    Ok(operator)
}

/// Sets a new password, and ends all sessions and a lock.
pub async fn set_password(
    store: &Store,
    name: &str,
    password: &str,
    actor: &Actor,
) -> Result<Operator, AccessError> {
    let hash = password::hash(password).await?;
    let mut change = Change::begin(store, name).await?;
    let sql = "update operators set password_hash = $2, failures = 0, locked_until = null where id = $1";
    change.transaction.execute(sql, vec![change.before.id.into(), hash.into()]).await?;
    sessions::end_all_within(change.transaction.as_mut(), change.before.id).await?;
    let after = Operator { locked_until: None, ..change.before.clone() };
    change.end(after, "operator.password", actor).await
}

/// Counts at once, also in sessions that there are.
pub async fn set_role(
    store: &Store,
    name: &str,
    role: OperatorRole,
    actor: &Actor,
) -> Result<Operator, AccessError> {
    let mut change = Change::begin(store, name).await?;
    if role != OperatorRole::Admin {
        change.leave_an_admin().await?;
    }
    let after = Operator { role, ..change.before.clone() };
    change.end(after, "operator.role", actor).await
}

/// Lets somebody in no longer, and ends all sessions.
pub async fn disable(store: &Store, name: &str, actor: &Actor) -> Result<Operator, AccessError> {
    let mut change = Change::begin(store, name).await?;
    change.leave_an_admin().await?;
    sessions::end_all_within(change.transaction.as_mut(), change.before.id).await?;
    let after = Operator { is_active: false, ..change.before.clone() };
    change.end(after, "operator.disable", actor).await
}

/// Lets somebody in again.
pub async fn enable(store: &Store, name: &str, actor: &Actor) -> Result<Operator, AccessError> {
    let change = Change::begin(store, name).await?;
    let after = Operator { is_active: true, ..change.before.clone() };
    change.end(after, "operator.enable", actor).await
}

/// By name; all that there are.
pub async fn list(db: &dyn Reads) -> Result<Vec<Operator>, ReadError> {
    let rows = db.query(&format!("{OPERATOR} order by name limit {OPERATORS_MAX}"), Vec::new()).await?;
    rows.iter().map(operator_from).collect()
}

pub async fn get(db: &dyn Reads, name: &str) -> Result<Option<Operator>, ReadError> {
    let name = name.to_lowercase();
    let rows = db.query(&format!("{OPERATOR} where name = $1"), vec![name.into()]).await?;
    rows.first().map(operator_from).transpose()
}

/// A change of one operator, under the lock of all: they are few, and so are changes.
struct Change {
    transaction: Box<dyn Transaction>,
    before: Operator,
    now: Timestamp,
}

impl Change {
    async fn begin(store: &Store, name: &str) -> Result<Self, AccessError> {
        let now = store.now();
        let name = name.to_lowercase();
        let mut transaction = store.begin_durable().await?;
        // Of two admins who disable each other, the second waits here and sees what the first has done. The row that
        // is locked is always the same one, so nobody waits in a circle.
        let lock = "update operators set changed_at = changed_at \
             where id = (select id from operators order by name limit 1)";
        transaction.execute(lock, Vec::new()).await?;
        let rows =
            transaction.query(&format!("{OPERATOR} where name = $1"), vec![name.as_str().into()]).await?;
        let before = rows.first().map(operator_from).transpose()?;
        let before = before.ok_or(AccessError::NoSuchOperator(name))?;
        Ok(Self { transaction, before, now })
    }

    /// Refuses to take the rights of the last one who could give some.
    async fn leave_an_admin(&mut self) -> Result<(), AccessError> {
        let is_one = self.before.is_active && self.before.role == OperatorRole::Admin;
        let sql = "select id from operators where is_active = 1 and role = $1 and id <> $2 limit 1";
        let params = vec![OperatorRole::Admin.number().into(), self.before.id.into()];
        let is_last = is_one && self.transaction.query(sql, params).await?.is_empty();
        if is_last { Err(AccessError::LastAdmin(self.before.name.clone())) } else { Ok(()) }
    }

    async fn end(mut self, after: Operator, action: &str, actor: &Actor) -> Result<Operator, AccessError> {
        let after = Operator { changed_at: self.now, ..after };
        let sql = "update operators set role = $2, is_active = $3, changed_at = $4 where id = $1";
        let params = vec![
            after.id.into(),
            after.role.number().into(),
            i64::from(after.is_active).into(),
            self.now.as_micros().into(),
        ];
        self.transaction.execute(sql, params).await?;
        let detail = json!({"before": self.before.describe(), "after": after.describe()});
        audit::write(self.transaction.as_mut(), actor, action, &after.name, &detail, self.now).await?;
        self.transaction.commit().await?;
        Ok(after)
    }
}

const OPERATOR: &str =
    "select id, name, role, is_active, locked_until, created_at, changed_at from operators";

fn operator_from(row: Row<'_>) -> Result<Operator, ReadError> {
    Ok(Operator {
        id: row.uuid(0)?,
        name: row.text(1)?.to_owned(),
        role: role_from(row.int(2)?)?,
        is_active: row.int(3)? != 0,
        locked_until: row.opt_int(4)?.map(Timestamp::from_micros),
        created_at: Timestamp::from_micros(row.int(5)?),
        changed_at: Timestamp::from_micros(row.int(6)?),
    })
}

pub(crate) fn role_from(number: i64) -> Result<OperatorRole, ReadError> {
    let unknown = || ReadError::Invalid("an operator has a role that is not known".to_owned());
    OperatorRole::from_number(number).ok_or_else(unknown)
}

/// Names look alike in a list of who did what, so they are plain.
fn parse_name(name: &str) -> Result<String, AccessError> {
    let name = name.to_lowercase();
    let fits = (1..=OPERATOR_NAME_CHARS_MAX).contains(&name.len());
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_".contains(c);
    if fits && name.chars().all(is_plain) {
        Ok(name)
    } else {
        Err(AccessError::InvalidOperatorName { chars_max: OPERATOR_NAME_CHARS_MAX })
    }
}
