//! How fast a run is, for `docs/performance.md`: makes a log of about two events a payment with the store itself, where
//! the file is not there yet, and compares everything once.
//!
//! `cargo run --release -p reconcile --example speed -- FILE PAYMENTS`

use std::{
    error::Error,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use domain::{
    command::{Action, Command, NewPayment},
    currency::Currency,
    id::{CommandId, MerchantId},
    money::AmountMinor,
    payment::{CompletedBy, Payment},
    state::Outcome,
    time::Timestamp,
};
use reconcile::{Break, Listener};
use store::{
    Location, Store,
    request::{Claim, Request},
};
use tokio::{sync::watch, task::JoinSet};
use uuid::Uuid;

const MERCHANTS: usize = 100;
const BULK_PAYMENTS: usize = 500;
/// Bulk commands and their completions that are in flight.
const IN_FLIGHT: usize = 8;
/// `utime` and `stime` of `/proc/self/stat` count these (`man 5 proc`).
const TICKS_A_SECOND: f64 = 100.0;

type Outcomes<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Outcomes<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, path, payments] = arguments.as_slice() else { return Err("usage: speed FILE PAYMENTS".into()) };
    let (path, payments): (PathBuf, usize) = (path.into(), payments.parse()?);
    let is_new = !path.exists();
    let store = Store::open(settings(&path), Arc::new(now)).await?;
    if is_new {
        fill(&store, payments).await?;
    }
    let db = store::open_reads(&Location::Sqlite(path), reconcile::READERS)?;
    let (_stop, stopping) = watch::channel(false);
    let (began, cpu) = (Instant::now(), cpu_seconds()?);
    let settings = reconcile::Settings { topics: None, load_percent_max: 100 };
    let (_, summary) = reconcile::run(&store, db.as_ref(), &settings, &mut Breaks, stopping).await?;
    let (seconds, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    let events = f64::from(u32::try_from(summary.events)?);
    println!(
        "{} events, {} rows, {} entries, {} breaks: {seconds:.2} s and {cpu:.2} s of CPU, \
         {:.0} events/s, {:.0} events/s a core, {} MiB at most",
        summary.events,
        summary.resources,
        summary.entries,
        summary.breaks(),
        events / seconds,
        events / cpu,
        memory_mib_max()?,
    );
    store.close().await;
    Ok(())
}

fn settings(path: &Path) -> store::Settings {
    store::Settings {
        location: Location::Sqlite(path.to_owned()),
        lanes: None,
        writers: 1,
        readers: 1,
        queue_commands_max: 100_000,
        batch_commands_max: 2000,
        idempotency_retention: Duration::from_hours(24),
        sealing_key: [0; 32],
        hints: false,
    }
}

fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}

/// Payments in bulk under an idempotency key each, of which all are completed and every tenth is refunded.
async fn fill(store: &Store, payments: usize) -> Outcomes<()> {
    let mut merchants = Vec::new();
    for number in 0..MERCHANTS {
        let id = MerchantId(Uuid::now_v7());
        let action =
            Action::CreateMerchant { name: "Test".to_owned(), email: format!("{number}@example.com") };
        submit(store, id, action, None).await?;
        merchants.push(id);
    }
    let mut running = JoinSet::new();
    for bulk in 0..payments.div_ceil(BULK_PAYMENTS) {
        if running.len() == IN_FLIGHT {
            running.join_next().await.transpose()?.transpose()?;
        }
        running.spawn(pay(store.clone(), merchants[bulk % MERCHANTS], bulk));
    }
    while let Some(paid) = running.join_next().await {
        paid??;
    }
    Ok(())
}

async fn pay(store: Store, merchant: MerchantId, bulk: usize) -> Outcomes<()> {
    let new = |number: usize| NewPayment {
        amount: AmountMinor::new(5000).expect("a small amount"),
        currency: Currency::parse("USD").expect("a currency"),
        external_reference: Some(format!("order-{bulk}-{number}")),
        description: Some("A payment for something nice".to_owned()),
    };
    let action = Action::CreatePayments((0..BULK_PAYMENTS).map(new).collect());
    let claim = Claim::new("caller", &merchant.to_string(), &bulk.to_string(), &[]);
    let Outcome::Payments(made) = submit(&store, merchant, action, Some(claim)).await? else {
        return Err("bulk payments give payments".into());
    };
    let mut running = JoinSet::new();
    for (number, Payment { id: payment_id, .. }) in made.into_iter().enumerate() {
        let store = store.clone();
        running.spawn(async move {
            let action = Action::CompletePayment { payment_id, completed_by: CompletedBy::Manual };
            submit(&store, merchant, action, None).await?;
            if number.is_multiple_of(10) {
                let action = Action::RefundPayment { payment_id, amount: None, reason: None };
                submit(&store, merchant, action, None).await?;
            }
            Outcomes::Ok(())
        });
    }
    while let Some(done) = running.join_next().await {
        done??;
    }
    Ok(())
}

async fn submit(
    store: &Store,
    merchant_id: MerchantId,
    action: Action,
    claim: Option<Claim>,
) -> Outcomes<Outcome> {
    let command = Command { id: CommandId(Uuid::now_v7()), merchant_id, action };
    Ok(store.submit(Request { command, claim, origin: None, trace: None }).await?.outcome)
}

struct Breaks;

impl Listener for Breaks {
    fn found(&mut self, found: &Break) {
        println!("{found}");
    }

    fn advanced(&mut self, _: usize) {}
}

fn cpu_seconds() -> Outcomes<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').ok_or("no name in /proc/self/stat")?;
    let ticks: u32 = fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse().unwrap_or(0)).sum();
    Ok(f64::from(ticks) / TICKS_A_SECOND)
}

fn memory_mib_max() -> Outcomes<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kib / 1024)
}
