//! A consumer whose effect is rows: what every merchant has taken, by currency and day; one statement a batch.

use std::collections::{BTreeMap, HashMap};

use domain::event::{EventBody, Stream};
use futures_util::future::BoxFuture;
use store::{Store, batch::LogEvent, sql::Transaction};
use stream::consumer::{Consumer, Group, HandleError, Replay};
use uuid::Uuid;

use super::CompareError;

pub const NAME: &str = "bench_totals";
pub const GROUP: Group = Group::Named("bench-totals");
/// The channel of PostgreSQL on which it tells.
pub const CHANNEL: &str = "bench";

#[derive(Default)]
pub struct Totals {
    /// Tells with each commit, over PostgreSQL's channel, how far it came: `lane:position` and the next.
    pub tells: bool,
}

/// Its table.
pub async fn table(store: &Store) -> Result<(), CompareError> {
    let mut transaction = store.begin().await?;
    let sql = "create table if not exists bench_totals (merchant_id uuid, currency text, day text, \
         count bigint not null, amount bigint not null, primary key (merchant_id, currency, day))";
    transaction.execute(sql, Vec::new()).await?;
    Ok(transaction.commit().await?)
}

impl Consumer for Totals {
    fn name(&self) -> &'static str {
        NAME
    }

    fn streams(&self) -> &'static [Stream] {
        &[Stream::Payments]
    }

    fn group(&self) -> Group {
        GROUP
    }

    fn replay(&self) -> Replay {
        Replay::Rebuilds
    }

    fn handle<'a>(
        &'a self,
        events: &'a [LogEvent],
        transaction: &'a mut dyn Transaction,
    ) -> BoxFuture<'a, Result<(), HandleError>> {
        Box::pin(async move {
            add(events, transaction).await?;
            if self.tells {
                let ends: BTreeMap<u16, i64> =
                    events.iter().map(|event| (event.lane.0, event.position)).collect();
                let ends: Vec<String> = ends.iter().map(|(lane, end)| format!("{lane}:{end}")).collect();
                let sql = format!("select pg_notify('{CHANNEL}', $1)");
                transaction.execute(&sql, vec![ends.join(" ").into()]).await?;
            }
            Ok(())
        })
    }
}

async fn add(events: &[LogEvent], transaction: &mut dyn Transaction) -> Result<(), HandleError> {
    let mut sums: HashMap<(Uuid, String, String), (i64, i64)> = HashMap::new();
    for event in events {
        let parsed = event.parse().map_err(|error| HandleError::Poison(error.to_string()))?;
        let EventBody::PaymentCreated(created) = &parsed.body else { continue };
        let key = (event.merchant_id.0, created.currency.to_string(), event.occurred_at.date_utc());
        let sum = sums.entry(key).or_default();
        *sum = (sum.0 + 1, sum.1 + created.amount.get());
    }
    if sums.is_empty() {
        return Ok(());
    }
    let mut rows = Vec::new();
    let mut params = Vec::new();
    for ((merchant, currency, day), (count, amount)) in sums {
        let n = params.len();
        rows.push(format!("(${}, ${}, ${}, ${}, ${})", n + 1, n + 2, n + 3, n + 4, n + 5));
        params.extend([merchant.into(), currency.into(), day.into(), count.into(), amount.into()]);
    }
    let sql = format!(
        "insert into bench_totals as t (merchant_id, currency, day, count, amount) values {} \
         on conflict (merchant_id, currency, day) do update \
         set count = t.count + excluded.count, amount = t.amount + excluded.amount",
        rows.join(", ")
    );
    transaction.execute(&sql, params).await?;
    Ok(())
}
