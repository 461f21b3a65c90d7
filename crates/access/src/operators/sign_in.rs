//! Signing in, and what slows down whoever tries passwords.
//!
//! A failure is counted before the password is looked at, and taken back when it was right, so tries that are sent at once
//! count one by one. From the third on a pause follows each, twice as long as the one before; after
//! [`SIGN_IN_FAILURES_MAX`] the account is locked for 15 minutes, and counting begins anew. Whoever is refused is not told
//! why, and waits as long for it whatever the reason is.

use domain::time::Timestamp;
use serde_json::json;
use store::{
    Store,
    audit::{self, Actor},
    error::ReadError,
};
use uuid::Uuid;

use super::{OPERATOR, Operator, operator_from};
use crate::{SignInRefusal, password::Turn};

pub const SIGN_IN_FAILURES_MAX: i64 = 10;
pub const LOCKED_MICROS: i64 = 15 * 60 * SECOND_MICROS;
/// So many may be mistyped without having to wait.
const FAILURES_WITHOUT_PAUSE: i64 = 2;
const SECOND_MICROS: i64 = 1_000_000;
/// Of tries that are counted at the same moment.
const COUNTING_TRIED_MAX: u32 = 5;

/// Who has this name and this password. The caller begins a session, and no other way leads to one.
pub async fn sign_in(store: &Store, name: &str, password: &str) -> Result<Operator, SignInRefusal> {
    // Before anything is counted: a try that is not looked at does not count.
    let turn = Turn::wait().await.ok_or(SignInRefusal::Busy)?;
    let account = Account::find(store, name).await?;
    let may_try = Account::count_failure(account.as_ref(), store).await?;
    let hash = account.as_ref().filter(|_| may_try).map(|account| account.password_hash.as_str());
    let is_right = turn.verify(password, hash).await?;
    match account {
        Some(account) if is_right => Ok(account.signed_in(store).await?),
        _ => Err(SignInRefusal::Refused),
    }
}

struct Account {
    operator: Operator,
    password_hash: String,
    failures: i64,
}

impl Account {
    async fn find(store: &Store, name: &str) -> Result<Option<Self>, ReadError> {
        let select = OPERATOR.replace(" from operators", ", password_hash, failures from operators");
        let sql = format!("{select} where name = $1 and is_active = 1");
        let rows = store.reads().query(&sql, vec![name.to_lowercase().into()]).await?;
        let Some(row) = rows.first() else { return Ok(None) };
        let operator = operator_from(row)?;
        Ok(Some(Self { operator, password_hash: row.text(7)?.to_owned(), failures: row.int(8)? }))
    }

    /// Counts a failure; false when nobody has the name, the account is paused or locked, or others count at the same time
    /// again and again. Where there is nothing to count, the same statements run for nobody: that takes as long.
    async fn count_failure(account: Option<&Self>, store: &Store) -> Result<bool, ReadError> {
        let known = account.map(|account| (account.operator.id, account.operator.name.as_str()));
        let (known_id, name) = known.unwrap_or_default();
        let mut state =
            account.map_or((0, None), |account| (account.failures, account.operator.locked_until));
        for _ in 0..COUNTING_TRIED_MAX {
            let now = store.now();
            let (counted, locked_until) = state;
            let id = if locked_until.is_some_and(|end| now < end) { Uuid::nil() } else { known_id };
            let failures = if counted >= SIGN_IN_FAILURES_MAX { 1 } else { counted + 1 };
            let until = pause_micros(failures).map(|micros| now.as_micros() + micros);
            let mut transaction = store.begin().await?;
            let sql = "update operators set failures = $3, locked_until = $4 where id = $1 and failures = $2";
            let params = vec![id.into(), counted.into(), failures.into(), until.into()];
            if transaction.execute(sql, params).await? == 1 {
                if failures == SIGN_IN_FAILURES_MAX {
                    let actor = Actor::new("sign-in", "too many failures");
                    let detail =
                        json!({"failures": failures, "lockedUntil": until.map(Timestamp::from_micros)});
                    audit::write(transaction.as_mut(), &actor, "operator.lock", name, &detail, now).await?;
                }
                transaction.commit().await?;
                return Ok(true);
            }
            let sql = "select failures, locked_until from operators where id = $1";
            let rows = transaction.query(sql, vec![id.into()]).await?;
            let Some(row) = rows.first() else { return Ok(false) };
            state = (row.int(0)?, row.opt_int(1)?.map(Timestamp::from_micros));
        }
        Ok(false)
    }

    /// Nothing has failed.
    async fn signed_in(self, store: &Store) -> Result<Operator, ReadError> {
        let now = store.now();
        let mut transaction = store.begin().await?;
        let sql = "update operators set failures = 0, locked_until = null where id = $1";
        transaction.execute(sql, vec![self.operator.id.into()]).await?;
        let actor = Actor::new(self.operator.actor_name(), "");
        let detail = json!({"failuresBefore": self.failures});
        let name = &self.operator.name;
        audit::write(transaction.as_mut(), &actor, "operator.sign-in", name, &detail, now).await?;
        transaction.commit().await?;
        Ok(Operator { locked_until: None, ..self.operator })
    }
}

/// After so many failures.
fn pause_micros(failures: i64) -> Option<i64> {
    match failures {
        ..=FAILURES_WITHOUT_PAUSE => None,
        SIGN_IN_FAILURES_MAX.. => Some(LOCKED_MICROS),
        _ => Some(SECOND_MICROS << (failures - FAILURES_WITHOUT_PAUSE - 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_until_the_account_is_locked() {
        let seconds: Vec<i64> = (1..12).map(|n| pause_micros(n).unwrap_or(0) / SECOND_MICROS).collect();
        assert_eq!(seconds, [0, 0, 1, 2, 4, 8, 16, 32, 64, 900, 900]);
    }
}
