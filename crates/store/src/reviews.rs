//! The review queue: payments that were flagged and are still Pending, oldest first.
//!
//! The queue is a table of its own, written in the transaction that flags or decides a payment; a payment that was never
//! flagged costs it nothing. An index over the state of payments would cost every payment something: PostgreSQL keeps an
//! update off the indexes only as long as no index looks at what it changes.

use std::collections::HashMap;

use domain::{
    id::{MerchantId, PaymentId},
    payment::{Payment, PaymentStatus},
};
use uuid::Uuid;

use crate::{
    batch::Writes,
    browse::Page,
    error::ReadError,
    queries::{PAYMENT, PageKey, Query, payment_from, payment_status},
    sql::Reads,
};

/// Of a merchant's payments, so many are looked at for its history.
pub const HISTORY_PAYMENTS_MAX: usize = 50;
const MERCHANTS_OF_A_QUERY: usize = 10;

/// How a merchant's newest payments went; at most [`HISTORY_PAYMENTS_MAX`] are counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct History {
    pub payments: i64,
    pub completed: i64,
    /// In part or as a whole.
    pub refunded: i64,
    pub failed: i64,
    pub pending: i64,
    pub flagged: i64,
}

/// Those that wait, oldest first, behind a payment.
pub async fn queue(
    db: &dyn Reads,
    after: Option<PaymentId>,
    limit: usize,
) -> Result<Page<Payment>, ReadError> {
    let mut query = Query::new("select payment_id from payments_to_review");
    if let Some(after) = after {
        query.and("payment_id >", after.0);
    }
    // One more than is shown tells whether there is more.
    query.sql.push_str(" order by payment_id limit ");
    query.sql.push_str(&(limit + 1).to_string());
    let found = db.query(&query.sql, query.params).await?;
    let mut ids = found.iter().map(|row| row.uuid(0)).collect::<Result<Vec<Uuid>, _>>()?;
    let is_full = ids.len() > limit;
    ids.truncate(limit);
    let rows = payments(db, &ids).await?;
    let last = rows.last().filter(|_| is_full);
    let next = last.map(|payment| PageKey { created_at: payment.created_at, id: payment.id.0 });
    Ok(Page { rows, next, is_cut_short: false })
}

/// In two steps and not by a join, whose plan would depend on how large the tables were when it was made.
async fn payments(db: &dyn Reads, ids: &[Uuid]) -> Result<Vec<Payment>, ReadError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let places: Vec<String> = (1..=ids.len()).map(|n| format!("${n}")).collect();
    let sql = format!("{PAYMENT} where id in ({}) order by id", places.join(", "));
    let rows = db.query(&sql, ids.iter().map(|id| (*id).into()).collect()).await?;
    rows.iter().map(payment_from).collect()
}

/// Of each of these merchants, those without payments left out.
pub async fn histories(
    db: &dyn Reads,
    merchants: &[MerchantId],
) -> Result<HashMap<MerchantId, History>, ReadError> {
    let mut found = HashMap::with_capacity(merchants.len());
    for merchants in merchants.chunks(MERCHANTS_OF_A_QUERY) {
        let newest: Vec<String> = (1..=merchants.len()).map(newest_of).collect();
        let sql = format!(
            "select merchant_id, status, count(*), count(flag_reason) from ({}) as newest \
             group by merchant_id, status",
            newest.join(" union all ")
        );
        for row in &db.query(&sql, merchants.iter().map(|id| id.0.into()).collect()).await? {
            let history: &mut History = found.entry(MerchantId(row.uuid(0)?)).or_default();
            history.count(payment_status(row.int(1)?)?, row.int(2)?);
            history.flagged += row.int(3)?;
        }
    }
    Ok(found)
}

/// The newest payments of the merchant of the nth parameter. SQLite takes a limit in a part of a union only in a query of
/// its own.
fn newest_of(n: usize) -> String {
    format!(
        "select merchant_id, status, flag_reason from (select merchant_id, status, flag_reason from payments \
         where merchant_id = ${n} order by created_at desc, id desc limit {HISTORY_PAYMENTS_MAX}) as newest_{n}"
    )
}

impl History {
    const fn count(&mut self, status: PaymentStatus, payments: i64) {
        self.payments += payments;
        match status {
            PaymentStatus::Pending => self.pending += payments,
            PaymentStatus::Completed => self.completed += payments,
            PaymentStatus::PartiallyRefunded | PaymentStatus::Refunded => self.refunded += payments,
            PaymentStatus::Failed => self.failed += payments,
        }
    }
}

/// The payments of a batch that wait from now on.
pub(crate) fn begun(writes: &Writes) -> Vec<Uuid> {
    let changed = writes.payments_new.iter().chain(&writes.payments_changed);
    changed.filter(|payment| payment.flag_reason.is_some() && is_waiting(payment)).map(|p| p.id.0).collect()
}

/// The payments of a batch that may have waited and do not wait any more.
pub(crate) fn ended(writes: &Writes) -> Vec<Uuid> {
    let changed = writes.payments_changed.iter();
    changed.filter(|payment| payment.flag_reason.is_some() && !is_waiting(payment)).map(|p| p.id.0).collect()
}

fn is_waiting(payment: &Payment) -> bool {
    payment.status == PaymentStatus::Pending
}
