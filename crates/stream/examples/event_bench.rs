//! The measurements of the event system in `docs/performance.md`, on a real PostgreSQL and a real Kafka. The program
//! itself is measured by `scripts/bench-events`, which uses these:
//!
//! - `fill DATABASE EVENTS`: a log of that many payments
//! - `bare DATABASE SERVERS EVENTS`: what an idempotent librdkafka producer alone reaches with the same bytes
//! - `totals DATABASE SERVERS`: reads all of the topics with a consumer whose effect is rows
//! - `latency DATABASE SERVERS RATE SECONDS`: from the answer of a commit to the consumer's stored effect

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use domain::{
    command::{Action, Command, NewPayment},
    currency::Currency,
    event::{EventBody, Stream},
    id::{CommandId, MerchantId},
    money::AmountMinor,
    state::Outcome,
    time::Timestamp,
};
use futures_util::{StreamExt as _, future::BoxFuture};
use rdkafka::{
    ClientConfig,
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use store::{Location, Store, batch::LogEvent, log, request::Request, sql::Transaction};
use stream::{
    consumer::{Consumer, Group, HandleError, Replay},
    engine,
    kafka::{self, record},
    relay,
};
use tokio::sync::watch;
use uuid::Uuid;

type Failure = Box<dyn std::error::Error>;

const MERCHANTS: usize = 100;
const PAYMENTS_A_COMMAND: usize = 500;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["fill", database, events] => fill(&open(database).await?, events.parse()?).await,
        ["bare", database, servers, events] => bare(&open(database).await?, servers, events.parse()?).await,
        ["totals", database, servers] => totals(open(database).await?, servers).await,
        ["latency", database, servers, rate, seconds] => {
            latency(database, open(database).await?, servers, rate.parse()?, seconds.parse()?).await
        }
        _ => Err("see the top of this file".into()),
    }
}

async fn open(database: &str) -> Result<Store, Failure> {
    let settings = store::Settings {
        location: Location::Postgres(database.to_owned()),
        lanes: std::env::var("LANES").ok().and_then(|lanes| lanes.parse().ok()),
        writers: 2,
        readers: 4,
        queue_commands_max: 10_000,
        batch_commands_max: 1000,
        idempotency_retention: Duration::from_hours(24),
        sealing_key: [7; 32],
        hints: true,
    };
    Ok(Store::open(settings, Arc::new(now)).await?)
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}

fn kafka(servers: &str) -> kafka::Settings {
    kafka::Settings {
        bootstrap_servers: servers.to_owned(),
        prefix: std::env::var("Kafka__Prefix").unwrap_or_else(|_| "bench.".to_owned()),
        group_id: "fintechplatform-api".to_owned(),
        session_timeout: Duration::from_secs(45),
        compression: "snappy".to_owned(),
        send_retries: 3,
        message_bytes_max: 1_000_000,
        replication: None,
        min_insync_replicas: None,
        retention: None,
        security: Vec::new(),
    }
}

async fn merchants(store: &Store) -> Result<Vec<MerchantId>, Failure> {
    let mut merchants = Vec::new();
    for _ in 0..MERCHANTS {
        let id = MerchantId(Uuid::now_v7());
        let action = Action::CreateMerchant { name: "Bench".to_owned(), email: format!("{id}@example.com") };
        let command = Command { id: CommandId(Uuid::now_v7()), merchant_id: id, action };
        store.submit(Request { command, claim: None }).await?;
        merchants.push(id);
    }
    Ok(merchants)
}

fn payments(merchant: MerchantId, count: usize, number: usize) -> Result<Request, Failure> {
    let new = NewPayment {
        amount: AmountMinor::new(5000).ok_or("an amount")?,
        currency: Currency::parse("USD").ok_or("USD")?,
        external_reference: Some(format!("order-{number}")),
        description: Some("A payment for something nice".to_owned()),
    };
    let action = Action::CreatePayments(vec![new; count]);
    Ok(Request {
        command: Command { id: CommandId(Uuid::now_v7()), merchant_id: merchant, action },
        claim: None,
    })
}

async fn fill(store: &Store, events: usize) -> Result<(), Failure> {
    let merchants = merchants(store).await?;
    let begun = Instant::now();
    let mut running = tokio::task::JoinSet::new();
    for number in 0..events / PAYMENTS_A_COMMAND {
        let request = payments(merchants[number % MERCHANTS], PAYMENTS_A_COMMAND, number)?;
        let store = store.clone();
        running.spawn(async move { store.submit(request).await.map(|_| ()) });
        if running.len() > 20 {
            running.join_next().await.transpose()?.transpose()?;
        }
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    println!("filled: {events} payments in {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}

/// The same keys, values and headers, without a log to read, an order to keep or a transaction to commit.
async fn bare(store: &Store, servers: &str, events: usize) -> Result<(), Failure> {
    let mut sample = Vec::new();
    for head in log::heads(store.reads()).await? {
        sample.extend(log::behind(store.reads(), Stream::Payments, head.lane, 0, 3000).await?);
    }
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", servers)
        .set("enable.idempotence", "true")
        .set("compression.codec", "snappy")
        .set("linger.ms", "1")
        .set("queue.buffering.max.messages", "100000")
        .create()?;
    let begun = Instant::now();
    for event in sample.iter().cycle().take(events) {
        let outgoing = record::encode(event, usize::MAX);
        let value = outgoing.value.unwrap_or_default();
        let mut headers = OwnedHeaders::new_with_capacity(outgoing.headers.len());
        for (key, value) in &outgoing.headers {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let mut record = BaseRecord::to("bench.bare")
            .partition(outgoing.partition)
            .key(&outgoing.key)
            .payload(&value)
            .headers(headers);
        loop {
            match producer.send(record) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), rejected)) => {
                    producer.poll(Duration::from_millis(1));
                    record = rejected;
                }
                Err((error, _)) => return Err(error.into()),
            }
        }
        producer.poll(Duration::ZERO);
    }
    producer.flush(Duration::from_mins(2))?;
    println!("bare producer: {events} events, {}/s", rate(events, begun.elapsed()));
    Ok(())
}

fn rate(events: usize, took: Duration) -> u128 {
    events as u128 * 1_000_000 / took.as_micros().max(1)
}

/// What every merchant has taken, by currency and day: one statement a batch.
#[derive(Default)]
struct Totals {
    /// Tells with each commit, over PostgreSQL's channel, how far it came: `lane:position` and the next.
    tells: bool,
}

impl Consumer for Totals {
    fn name(&self) -> &'static str {
        "bench_totals"
    }

    fn streams(&self) -> &'static [Stream] {
        &[Stream::Payments]
    }

    fn group(&self) -> Group {
        Group::Named("bench-totals")
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
                "insert into bench_totals as t values {} on conflict (merchant_id, currency, day) do update \
                 set count = t.count + excluded.count, amount = t.amount + excluded.amount",
                rows.join(", ")
            );
            transaction.execute(&sql, params).await?;
            if self.tells {
                let ends: BTreeMap<u16, i64> =
                    events.iter().map(|event| (event.lane.0, event.position)).collect();
                let ends: Vec<String> = ends.iter().map(|(lane, end)| format!("{lane}:{end}")).collect();
                let sql = "select pg_notify('bench', $1)";
                transaction.execute(sql, vec![ends.join(" ").into()]).await?;
            }
            Ok(())
        })
    }
}

async fn table(store: &Store) -> Result<(), Failure> {
    let mut transaction = store.begin().await?;
    let sql = "create table if not exists bench_totals (merchant_id uuid, currency text, day text, \
         count bigint not null, amount bigint not null, primary key (merchant_id, currency, day))";
    transaction.execute(sql, Vec::new()).await?;
    transaction.commit().await?;
    Ok(())
}

const CONSUMING: engine::Settings = engine::Settings {
    batch_events_max: 500,
    attempts_max: 5,
    backoff_initial: Duration::from_millis(100),
    backoff_max: Duration::from_secs(30),
};

async fn sum(store: &Store, sql: &str) -> Result<i64, Failure> {
    Ok(store.reads().query(sql, Vec::new()).await?[0].int(0)?)
}

const HANDLED: &str = "select cast(coalesce(sum(position), 0) as bigint) from consumer_positions \
     where consumer = 'bench_totals'";

async fn totals(store: Store, servers: &str) -> Result<(), Failure> {
    table(&store).await?;
    let wanted = sum(&store, "select cast(sum(payments_position) as bigint) from lane_heads").await?;
    let (stop, stopping) = watch::channel(false);
    let run = kafka::group::run(
        store.clone(),
        kafka(servers),
        Group::Named("bench-totals"),
        vec![Arc::new(Totals::default())],
        CONSUMING,
        stopping,
    );
    let running = tokio::spawn(run);
    while sum(&store, HANDLED).await? == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let begun = Instant::now();
    while sum(&store, HANDLED).await? < wanted {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = begun.elapsed();
    stop.send_replace(true);
    running.await?;
    let counted = sum(&store, "select cast(sum(count) as bigint) from bench_totals").await?;
    assert_eq!(counted, wanted, "each event once");
    println!("consumer with rows: {wanted} events, {}/s", rate(usize::try_from(wanted)?, took));
    Ok(())
}

/// Payments at a fixed rate; each is timed from the answer of its commit until the database tells that the
/// consumer's transaction is committed.
async fn latency(
    database: &str,
    store: Store,
    servers: &str,
    rate: u64,
    seconds: u64,
) -> Result<(), Failure> {
    table(&store).await?;
    let seen: Seen = Arc::default();
    let listening = listen(database, seen.clone()).await?;
    let merchants = merchants(&store).await?;
    let (stop, stopping) = watch::channel(false);
    let mut running = tokio::task::JoinSet::new();
    let relay_settings = relay::Settings { lease: Duration::from_secs(1), batch_events_max: 2000 };
    running.spawn(relay::run(
        store.clone(),
        kafka(servers),
        relay_settings,
        HashMap::new().into_iter().collect(),
        stopping.clone(),
    ));
    running.spawn(kafka::group::run(
        store.clone(),
        kafka(servers),
        Group::Named("bench-totals"),
        vec![Arc::new(Totals { tells: true })],
        CONSUMING,
        stopping,
    ));
    // Payments, and when each was committed.
    let committed: Committed = Arc::default();
    let mut sent = tokio::task::JoinSet::new();
    let begun = tokio::time::Instant::now();
    for number in 0..rate * seconds {
        let at = begun + Duration::from_micros(number * 1_000_000 / rate);
        tokio::time::sleep_until(at).await;
        // Before the warm-up is over nothing is counted.
        let counts = number >= rate * 3;
        let merchant = merchants[usize::try_from(number)? % MERCHANTS];
        let request = payments(merchant, 1, usize::try_from(number)?)?;
        let (store, committed) = (store.clone(), committed.clone());
        sent.spawn(async move {
            let answer = store.submit(request).await;
            let at = Instant::now();
            if let (Ok(answer), true) = (answer, counts)
                && let Outcome::Payments(payments) = answer.outcome
            {
                lock(&committed).push((payments[0].id.0, at));
            }
        });
    }
    while sent.join_next().await.is_some() {}
    tokio::time::sleep(Duration::from_secs(2)).await;
    stop.send_replace(true);
    while running.join_next().await.is_some() {}
    listening.abort();
    let committed = std::mem::take(&mut *lock(&committed));
    let seen = std::mem::take(&mut *lock(&seen));
    let mut micros = Vec::with_capacity(committed.len());
    for (payment, at) in committed {
        let events = log::by_subject(store.reads(), payment, 1).await?;
        let event = events.first().ok_or("an event of each payment")?;
        let moves = seen.get(&event.lane.0).ok_or("a lane that was handled")?;
        let reached = moves.partition_point(|(reached, _)| *reached < event.position);
        let (_, seen_at) = moves.get(reached).ok_or("an event that was handled")?;
        let took = seen_at.saturating_duration_since(at);
        micros.push(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
    micros.sort_unstable();
    let at = |thousandths: usize| {
        let index = (micros.len() * thousandths / 1000).min(micros.len().saturating_sub(1));
        let micros = micros.get(index).copied().unwrap_or(0);
        format!("{}.{} ms", micros / 1000, micros % 1000 / 100)
    };
    println!(
        "commit to stored effect at {rate}/s: {} payments, p50 {}, p90 {}, p99 {}, max {}",
        micros.len(),
        at(500),
        at(900),
        at(990),
        at(1000)
    );
    Ok(())
}

type Committed = Arc<Mutex<Vec<(Uuid, Instant)>>>;

/// When each position of a lane was reached.
type Seen = Arc<Mutex<HashMap<u16, Vec<(i64, Instant)>>>>;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

async fn listen(database: &str, seen: Seen) -> Result<tokio::task::JoinHandle<()>, Failure> {
    let (client, mut connection) = tokio_postgres::connect(database, tokio_postgres::NoTls).await?;
    let task = tokio::spawn(async move {
        // Kept until the listening ends.
        let mut messages = std::pin::pin!(futures_util::stream::poll_fn(|cx| connection.poll_message(cx)));
        while let Some(Ok(message)) = messages.next().await {
            let at = Instant::now();
            let tokio_postgres::AsyncMessage::Notification(notification) = message else { continue };
            let mut seen = lock(&seen);
            for end in notification.payload().split(' ') {
                let Some((lane, position)) = end.split_once(':') else { continue };
                if let (Ok(lane), Ok(position)) = (lane.parse(), position.parse()) {
                    seen.entry(lane).or_default().push((position, at));
                }
            }
        }
    });
    client.batch_execute("listen bench").await?;
    // Without its client the connection would end.
    std::mem::forget(client);
    Ok(task)
}
