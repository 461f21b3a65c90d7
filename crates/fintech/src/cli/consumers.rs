//! `fintech consumers`: how far behind the log each consumer is.

use std::fmt::Display;

use super::output;
use crate::{database, settings::Settings};

const MICROS_A_MILLISECOND: i64 = 1000;

pub async fn show(settings: Settings) -> anyhow::Result<()> {
    let db = store::open_reads(&settings.store.location, 1)?;
    let now = database::now();
    row("CONSUMER", "LAG EVENTS", "LAG SECONDS", "DEAD LETTERS");
    for lag in stream::lag::lags(db.as_ref(), now).await? {
        let millis = lag.micros / MICROS_A_MILLISECOND;
        let seconds = format!("{}.{:03}", millis / 1000, millis % 1000);
        row(&lag.consumer, lag.events, seconds, lag.dead_letters);
    }
    Ok(())
}

fn row(consumer: &str, events: impl Display, seconds: impl Display, dead_letters: impl Display) {
    output::line(format_args!("{consumer:<24} {events:>12} {seconds:>12} {dead_letters:>12}"));
}
