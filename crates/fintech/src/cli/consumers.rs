//! `fintech consumers`: how far behind the log each consumer is.

use crate::{database, settings::Settings};

const MICROS_A_MILLISECOND: i64 = 1000;

pub async fn show(settings: Settings) -> anyhow::Result<()> {
    let db = store::open_reads(&settings.store.location, 1)?;
    let now = database::now();
    println!("{:<24} {:>12} {:>12} {:>12}", "CONSUMER", "LAG EVENTS", "LAG SECONDS", "DEAD LETTERS");
    for lag in stream::lag::lags(db.as_ref(), now).await? {
        let millis = lag.micros / MICROS_A_MILLISECOND;
        let seconds = format!("{}.{:03}", millis / 1000, millis % 1000);
        println!("{:<24} {:>12} {:>12} {:>12}", lag.consumer, lag.events, seconds, lag.dead_letters);
    }
    Ok(())
}
