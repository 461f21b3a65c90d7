//! The role `reconcile`: compares everything again and again, beside the others and slowly enough not to disturb them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use domain::time::Timestamp;
use reconcile::{
    Break, Error, Kind, Listener, Summary,
    runs::{self, State},
};
use store::{Store, sql::Reads};
use telemetry::{
    metrics,
    metrics::{KindOf, Outcome},
};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use crate::{event_system, settings::Settings};

/// The first run of a new database is due after an interval, a further one an interval after the last one ended,
/// whichever process that ran in; and one whenever somebody wants it.
pub async fn run(
    store: Store,
    db: Box<dyn Reads>,
    settings: reconcile::Settings,
    interval: Duration,
    wanted: Arc<Notify>,
    mut stopping: watch::Receiver<bool>,
) {
    let mut pause = until_due(db.as_ref(), store.now(), interval).await;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = wanted.notified() => {}
            _ = stopping.wait_for(|stopping| *stopping) => return,
        }
        match once(&store, db.as_ref(), &settings, &mut Counter, &stopping).await {
            Ok((run, summary)) => told(run, &summary),
            Err(Error::Stopped) => return,
            Err(error @ (Error::InProgress(_) | Error::TakenOver(_))) => {
                tracing::debug!(%error, "reconciliation is left to another process");
            }
            Err(error) => {
                tracing::error!(%error, "reconciliation could not find out whether everything is right");
            }
        }
        pause = interval;
    }
}

/// How long after the newest run the next one is due; at once when it was left before its end.
async fn until_due(db: &dyn Reads, now: Timestamp, interval: Duration) -> Duration {
    let newest = match runs::list(db, 1).await {
        Ok(mut newest) => newest.pop(),
        Err(error) => {
            tracing::warn!(%error, "it is not known when reconciliation last ran");
            return interval;
        }
    };
    match newest {
        Some(run) if matches!(run.state, State::Running | State::Interrupted) => Duration::ZERO,
        Some(runs::StoredRun { ended_at: Some(ended_at), .. }) => {
            let passed = now.as_micros().saturating_sub(ended_at.as_micros());
            interval.saturating_sub(Duration::from_micros(u64::try_from(passed).unwrap_or(0)))
        }
        _ => interval,
    }
}

/// Goes on with the newest run, or makes a new one when that has ended; and counts it.
pub async fn once(
    store: &Store,
    db: &dyn Reads,
    settings: &reconcile::Settings,
    listener: &mut dyn Listener,
    stopping: &watch::Receiver<bool>,
) -> Result<(Uuid, Summary), Error> {
    let began = Instant::now();
    let ran = match reconcile::resume(store, db, settings, listener, stopping.clone()).await {
        Ok(Some(ran)) => Ok(ran),
        Ok(None) => reconcile::run(store, db, settings, listener, stopping.clone()).await,
        Err(error) => Err(error),
    };
    match &ran {
        Ok((_, summary)) => {
            let outcome = if summary.breaks() == 0 { "clean" } else { "broken" };
            metrics().reconciliation_runs.get_or_create(&Outcome { outcome }).inc();
            for kind in Kind::ALL {
                let count = summary.breaks_by_kind[kind.index()];
                metrics()
                    .reconciliation_breaks
                    .get_or_create(&KindOf { kind: kind.name() })
                    .set(i64::try_from(count).unwrap_or(i64::MAX));
            }
            let now = Duration::from_micros(u64::try_from(store.now().as_micros()).unwrap_or(0));
            metrics().reconciliation_last_run.set(now.as_secs_f64());
            metrics().reconciliation_duration.set(began.elapsed().as_secs_f64());
        }
        Err(Error::Stopped | Error::InProgress(_) | Error::TakenOver(_)) => {}
        Err(_) => {
            metrics().reconciliation_runs.get_or_create(&Outcome { outcome: "failed" }).inc();
        }
    }
    ran
}

/// What a run works by, with this share of a core's time.
pub fn settings(store: &Store, settings: &Settings, load_percent_max: u32) -> reconcile::Settings {
    let topics = settings.kafka.clone().map(|kafka| {
        let values = event_system::values(store, settings);
        reconcile::Topics { kafka, values }
    });
    reconcile::Settings { topics, load_percent_max }
}

fn told(run: Uuid, summary: &Summary) {
    if summary.breaks() == 0 {
        tracing::info!(%run, events = summary.events, "reconciliation found nothing wrong");
    } else {
        tracing::error!(
            %run,
            breaks = summary.breaks(),
            "reconciliation found breaks; `fintech reconcile show` lists them with what to do"
        );
    }
}

/// Counts what was looked at; what was found is stored.
struct Counter;

impl Listener for Counter {
    fn found(&mut self, _: &Break) {}

    fn advanced(&mut self, by: usize) {
        metrics().reconciliation_events.inc_by(by as u64);
    }
}
