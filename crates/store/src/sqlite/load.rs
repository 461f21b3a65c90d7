//! What a batch names, read under the writer's lock: one prepared look-up a row, in this process.

use domain::{id::MerchantId, lane::Lane, merchant::EmailKey};
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::{id, query};
use crate::{
    batch::{Loaded, Needs},
    error::ReadError,
    queries::{MERCHANT, PAYMENT, WITHDRAWAL, merchant_from, payment_from, withdrawal_from},
    rows::{ACCOUNT, HEAD, KEY, account_from, head_from, stored_answer_from},
};

/// In the order of [`Loaded`]: heads, keys, merchants, emails, payments, withdrawals, accounts.
fn look_ups() -> [String; 7] {
    [
        format!("{HEAD} where lane = $1"),
        format!("{KEY} where key_prefix = $1 and key_hash = $2"),
        format!("{MERCHANT} where id = $1"),
        "select id from merchants where email_key = $1".to_owned(),
        format!("{PAYMENT} where id = $1"),
        format!("{WITHDRAWAL} where id = $1"),
        format!("{ACCOUNT} where owner = $1"),
    ]
}

pub(super) fn load(connection: &Connection, needs: &Needs) -> Result<Loaded, ReadError> {
    let mut loaded = Loaded::default();
    let [head, key_query, merchant_query, email, payment_query, withdrawal_query, accounts] = look_ups();
    for lane in &needs.lanes {
        for row in &query(connection, &head, vec![i64::from(lane.0).into()])? {
            loaded.heads.push(head_from(row)?);
        }
    }
    for key in &needs.keys {
        for row in &query(connection, &key_query, vec![key_prefix(key).into(), (*key).into()])? {
            loaded.keys.push(stored_answer_from(row)?);
        }
    }
    for merchant in &needs.merchants {
        for row in &query(connection, &merchant_query, vec![(*merchant).into()])? {
            let merchant = merchant_from(row)?;
            loaded.state.merchants.insert(merchant.id, merchant);
        }
    }
    for email_key in &needs.emails {
        for row in &query(connection, &email, vec![email_key.as_str().into()])? {
            loaded.state.emails.insert(EmailKey::of(email_key), MerchantId(row.uuid(0)?));
        }
    }
    for payment in &needs.payments {
        for row in &query(connection, &payment_query, vec![(*payment).into()])? {
            let payment = payment_from(row)?;
            loaded.state.payments.insert(payment.id, payment);
        }
    }
    for withdrawal in &needs.withdrawals {
        for row in &query(connection, &withdrawal_query, vec![(*withdrawal).into()])? {
            let withdrawal = withdrawal_from(row)?;
            loaded.state.withdrawals.insert(withdrawal.id, withdrawal);
        }
    }
    for owner in &needs.account_owners {
        for row in &query(connection, &accounts, vec![(*owner).into()])? {
            let (key, account) = account_from(row)?;
            loaded.state.accounts.insert(key, account);
        }
    }
    Ok(loaded)
}

pub(super) fn commands_behind(
    connection: &Connection,
    lane: Lane,
    sequence: i64,
) -> Result<Vec<Uuid>, rusqlite::Error> {
    let sql = "select distinct command_id from events where lane = ?1 and sequence > ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map(params![lane.0, sequence], |row| {
        let bytes: [u8; 16] = row.get(0)?;
        Ok(Uuid::from_bytes(bytes))
    })?;
    rows.collect()
}

/// The first 64 bits of a key's hash: what the narrow index holds.
pub(crate) fn key_prefix(key: &Uuid) -> i64 {
    let (prefix, _) = id(key).split_at(8);
    i64::from_be_bytes(prefix.try_into().expect("half of sixteen bytes is eight"))
}

#[cfg(test)]
mod tests {
    use domain::time::Timestamp;

    use super::*;
    use crate::{
        sql::Durability,
        sqlite::{migrate::migrate, open},
    };

    #[test]
    fn every_look_up_of_a_batch_uses_an_index() {
        let path = std::env::temp_dir().join(format!("look_ups_{}.db", Uuid::now_v7().simple()));
        migrate(&path, None, Timestamp::from_micros(0)).unwrap();
        let connection = open(&path, Durability::Full).unwrap();
        for sql in look_ups() {
            let nothing = vec![crate::sql::Value::Null; sql.matches('$').count()];
            let plan = query(&connection, &format!("explain query plan {sql}"), nothing).unwrap();
            let is_search = plan.iter().all(|row| row.text(3).unwrap().starts_with("SEARCH"));
            assert!(is_search && !plan.is_empty(), "{sql}: {plan:?}");
        }
        drop(connection);
        for suffix in ["", "-wal", "-shm"] {
            let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
        }
    }
}
