//! The platform's own parts, where a measurement needs one by itself: its topics, a store, a log to work on.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use domain::{
    command::{Action, Command, NewPayment},
    currency::Currency,
    event::Stream,
    id::{CommandId, MerchantId},
    money::AmountMinor,
    time::Timestamp,
};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
};
use registry::{Builtin, Codecs};
use store::{Location, Store, error::SubmitError, request::Request};
use stream::kafka::{self, values::Values};
use tokio::{task::JoinSet, time::sleep};
use uuid::Uuid;

use super::{
    CompareError, Context,
    database::{self, Database},
    program::Program,
};
use crate::operation::{CURRENCY, DESCRIPTION, EXTERNAL_REFERENCE};

const MERCHANTS: usize = 100;
const PAYMENTS_A_COMMAND: usize = 500;
/// Commands at once while a log is filled.
const FILLING_MAX: usize = 20;
/// As many as the log has lanes when nobody says otherwise.
pub const LANES: i32 = 16;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// For a whole log to be handled.
const HANDLING_MAX: Duration = Duration::from_mins(15);
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Topics that nobody else uses.
pub struct Topics {
    pub servers: String,
    prefix: String,
}

impl Topics {
    pub fn new(context: &Context) -> Result<Self, CompareError> {
        let servers = context.settings.kafka.clone().ok_or(CompareError::Needs("--kafka"))?;
        // Said here, so that nothing is measured in vain.
        context.settings.postgres.as_ref().ok_or(CompareError::Needs("--postgres"))?;
        let prefix = format!("bench-{}.", Uuid::new_v4().simple());
        Context::note(&context.topics, prefix.clone());
        Ok(Self { servers, prefix })
    }

    /// The program, publishing to them.
    pub fn program(&self, context: &Context) -> Program {
        context.program.with("Kafka__BootstrapServers", &self.servers).with("Kafka__Prefix", &self.prefix)
    }

    /// As the program has them when nobody says otherwise.
    pub fn settings(&self) -> kafka::Settings {
        kafka::Settings {
            bootstrap_servers: self.servers.clone(),
            prefix: self.prefix.clone(),
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

    /// A topic for a bare producer.
    pub async fn bare(&self, name: &str) -> Result<String, CompareError> {
        let topic = format!("{}{name}", self.prefix);
        let new = NewTopic::new(&topic, LANES, TopicReplication::Fixed(1));
        for result in self.admin()?.create_topics([&new], &options()).await? {
            result.map_err(|_| CompareError::Broken("a topic could not be made"))?;
        }
        Ok(topic)
    }

    pub async fn drop(self) -> Result<(), CompareError> {
        let settings = self.settings();
        let mut names: Vec<String> = Stream::ALL.iter().map(|stream| settings.topic(*stream)).collect();
        names.extend([
            settings.dead_letter_topic(),
            format!("{}bare", self.prefix),
            format!("{}java", self.prefix),
        ]);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        // One that was never made cannot be deleted either.
        self.admin()?.delete_topics(&names, &options()).await?;
        Ok(())
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>, CompareError> {
        Ok(ClientConfig::new().set("bootstrap.servers", &self.servers).create()?)
    }
}

/// Takes away what a measurement that failed has left.
pub async fn clean_up(context: &Context) {
    if let Some(admin) = &context.settings.postgres {
        for name in Context::noted(&context.databases) {
            // There is nothing more to try; the name says whose it was.
            drop(database::drop_by_name(admin, &name).await);
        }
    }
    if let Some(servers) = &context.settings.kafka {
        for prefix in Context::noted(&context.topics) {
            drop(Topics { servers: servers.clone(), prefix }.drop().await);
        }
    }
}

fn options() -> AdminOptions {
    AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT)).operation_timeout(Some(REQUEST_TIMEOUT))
}

/// Events as they are by default.
pub fn values(store: &Store) -> Values {
    Values::new(Codecs::new(Arc::new(Builtin::new(store.clone()))), false)
}

/// As the program opens it when nobody says otherwise.
pub async fn open(url: &str) -> Result<Store, CompareError> {
    let location = match url.strip_prefix("sqlite:") {
        Some(path) => Location::Sqlite(path.into()),
        None => Location::Postgres(url.to_owned()),
    };
    let settings = store::Settings {
        location,
        lanes: None,
        writers: 2,
        readers: 4,
        queue_commands_max: 10_000,
        batch_commands_max: 512,
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

pub async fn merchants(store: &Store) -> Result<Vec<MerchantId>, CompareError> {
    let mut merchants = Vec::new();
    for _ in 0..MERCHANTS {
        let id = MerchantId(Uuid::now_v7());
        let action = Action::CreateMerchant { name: "Bench".to_owned(), email: format!("{id}@example.com") };
        let command = Command { id: CommandId(Uuid::now_v7()), merchant_id: id, action };
        store.submit(Request { command, claim: None, origin: None, trace: None }).await?;
        merchants.push(id);
    }
    Ok(merchants)
}

/// So many payments of one merchant.
pub fn payments(merchant: MerchantId, count: usize) -> Result<Request, CompareError> {
    let new = NewPayment {
        amount: AmountMinor::new(5000).ok_or(CompareError::Broken("no amount"))?,
        currency: Currency::parse(CURRENCY).ok_or(CompareError::Broken("no currency"))?,
        external_reference: Some(EXTERNAL_REFERENCE.to_owned()),
        description: Some(DESCRIPTION.to_owned()),
    };
    let action = Action::CreatePayments(vec![new; count]);
    let command = Command { id: CommandId(Uuid::now_v7()), merchant_id: merchant, action };
    Ok(Request { command, claim: None, origin: None, trace: None })
}

/// A log of so many payments.
pub async fn fill(url: &str, events: usize) -> Result<(), CompareError> {
    let store = open(url).await?;
    let merchants = merchants(&store).await?;
    let mut running: JoinSet<Result<(), SubmitError>> = JoinSet::new();
    let mut left = events;
    for merchant in merchants.iter().cycle() {
        let count = left.min(PAYMENTS_A_COMMAND);
        if count == 0 {
            break;
        }
        left -= count;
        let (request, store) = (payments(*merchant, count)?, store.clone());
        running.spawn(async move { store.submit(request).await.map(|_| ()) });
        if running.len() >= FILLING_MAX
            && let Some(ended) = running.join_next().await
        {
            ended??;
        }
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    store.close().await;
    Ok(())
}

/// Waits until a consumer has handled so many payment events; gives how many a second it were since the first.
pub async fn handled(database: &Database, consumer: &str, events: usize) -> Result<f64, CompareError> {
    let sql = format!(
        "select coalesce(sum(position), 0)::bigint from consumer_positions where consumer = '{consumer}' and stream = 1"
    );
    let asked_at = Instant::now();
    let mut began: Option<(Instant, i64)> = None;
    let wanted = i64::try_from(events).unwrap_or(i64::MAX);
    while asked_at.elapsed() < HANDLING_MAX {
        let handled = database.number(&sql).await?;
        if handled >= wanted {
            let (since, before) = began.unwrap_or((asked_at, 0));
            let counted = u64::try_from(handled - before).unwrap_or(0);
            return Ok(crate::report::rate(counted, since.elapsed().as_secs_f64()));
        }
        if handled > 0 && began.is_none() {
            began = Some((Instant::now(), handled));
        }
        sleep(LOOK_INTERVAL).await;
    }
    Err(CompareError::Late("the handling of a whole log"))
}
