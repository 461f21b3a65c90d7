//! What happened to payments on each day, in each currency: a projection of the log, kept by the consumer of the same
//! name, so that nobody counts payments to draw a chart. A row belongs to a lane, so that whoever handles a lane
//! writes rows that nobody else writes, and a lane can be taken back alone.

use domain::{currency::Currency, lane::Lane, time::Timestamp};

use crate::{
    error::ReadError,
    queries::{currency, wide_sum},
    sql::{Reads, Transaction},
};

pub const MICROS_A_DAY: i64 = 86_400_000_000;

/// What became of a payment; the number in the table never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transition {
    Created = 1,
    Completed = 2,
    /// Cancelled before it was completed.
    Failed = 3,
    /// A refund, whole or in part; a payment may have several.
    Refunded = 4,
}

impl Transition {
    pub const ALL: [Self; 4] = [Self::Created, Self::Completed, Self::Failed, Self::Refunded];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Created => "Created",
            Self::Completed => "Completed",
            Self::Failed => "Failed",
            Self::Refunded => "Refunded",
        }
    }

    /// 0, 1, 2 …: the place in an array that holds something for each.
    pub const fn index(self) -> usize {
        self as usize - 1
    }

    fn from_number(number: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|transition| *transition as i64 == number)
    }
}

/// Of which day, currency and transition a total is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Of {
    /// Since 1970-01-01, in UTC.
    pub day: i64,
    pub currency: Currency,
    pub transition: Transition,
}

impl Of {
    pub const fn day_of(moment: Timestamp) -> i64 {
        moment.as_micros() / MICROS_A_DAY
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Total {
    pub payments: i64,
    pub amount_minor: i128,
}

impl Total {
    pub const fn add(&mut self, amount_minor: i128) {
        self.payments += 1;
        self.amount_minor += amount_minor;
    }
}

/// Adds to the totals of a lane.
pub async fn add(
    transaction: &mut dyn Transaction,
    lane: Lane,
    of: Of,
    total: Total,
) -> Result<(), ReadError> {
    // A day's sum may be beyond 64 bits: it is kept in two halves, as `wide_sum` puts them together.
    let sql = "insert into daily_totals (day, currency, transition, lane, payments, amount_upper, amount_lower) \
         values ($1, $2, $3, $4, $5, $6, $7) on conflict (day, currency, transition, lane) do update set \
         payments = daily_totals.payments + excluded.payments, \
         amount_upper = daily_totals.amount_upper + excluded.amount_upper, \
         amount_lower = daily_totals.amount_lower + excluded.amount_lower";
    let beyond = |_| ReadError::Invalid("a batch of payments sums to more than a total holds".to_owned());
    let params = vec![
        of.day.into(),
        of.currency.code().into(),
        (of.transition as i64).into(),
        i64::from(lane.0).into(),
        total.payments.into(),
        i64::try_from(total.amount_minor >> 32).map_err(beyond)?.into(),
        i64::try_from(total.amount_minor & 0xffff_ffff).map_err(beyond)?.into(),
    ];
    transaction.execute(sql, params).await.map(|_| ())
}

/// Takes a lane's totals back.
pub async fn reset(transaction: &mut dyn Transaction, lane: Lane) -> Result<(), ReadError> {
    let sql = "delete from daily_totals where lane = $1";
    transaction.execute(sql, vec![i64::from(lane.0).into()]).await.map(|_| ())
}

/// The totals over all lanes from a day on, by day, currency and transition.
pub async fn since(db: &dyn Reads, day: i64) -> Result<Vec<(Of, Total)>, ReadError> {
    let sql = "select day, currency, transition, cast(sum(payments) as bigint), \
         cast(sum(amount_upper) as bigint), cast(sum(amount_lower) as bigint) from daily_totals \
         where day >= $1 group by day, currency, transition order by day, currency, transition";
    let rows = db.query(sql, vec![day.into()]).await?;
    let mut totals = Vec::with_capacity(rows.len());
    for row in &rows {
        // One of a newer program is none of these.
        let Some(transition) = Transition::from_number(row.int(2)?) else { continue };
        let of = Of { day: row.int(0)?, currency: currency(row.text(1)?)?, transition };
        totals.push((of, Total { payments: row.int(3)?, amount_minor: wide_sum(row.int(4)?, row.int(5)?) }));
    }
    Ok(totals)
}
