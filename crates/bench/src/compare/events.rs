//! Whole logs: drained to Kafka, read from it, handled again, and proved.

use std::{sync::Arc, time::Instant};

use domain::event::Stream;
use store::log;
use stream::{engine, kafka};
use tokio::sync::watch;

use super::{
    CompareError, Context,
    baseline::producer,
    database::{Database, Kind},
    effect::{self, Totals},
    platform::{self, Topics},
    row::{Figure, Sample, Spec, Target},
};

/// Events of each lane that a bare producer sends over and over.
const SAMPLE_EVENTS_A_LANE: usize = 3000;

const fn spec(name: &'static str, baseline: &'static str, target: Target) -> Spec {
    Spec { name, baseline, unit: "events/s", target }
}

/// The engine's settings as the program has them when nobody says otherwise.
pub const CONSUMING: engine::Settings = engine::Settings {
    batch_events_max: 500,
    attempts_max: 5,
    backoff_initial: std::time::Duration::from_millis(100),
    backoff_max: std::time::Duration::from_secs(30),
};

/// Start, recovery and end of the program included.
pub async fn drain(context: &Context) -> Result<Vec<Sample>, CompareError> {
    let topics = Topics::new(context)?;
    let events = context.settings.events;
    let database = Database::new(context, Kind::Postgres).await?;
    platform::fill(&database.url, events).await?;
    let store = platform::open(&database.url).await?;
    let mut sample = Vec::new();
    for head in log::heads(store.reads()).await? {
        let lane = log::behind(store.reads(), Stream::Payments, head.lane, 0, SAMPLE_EVENTS_A_LANE);
        sample.extend(lane.await?);
    }
    store.close().await;
    let bytes = sample.iter().map(|event| event.payload.len()).sum::<usize>() / sample.len().max(1);

    let bare = topics.bare("bare").await?;
    let bare = producer::events_per_second(&topics.servers, &bare, sample, events).await?;
    let java = match &context.settings.kafka_tool {
        Some(tool) => {
            let topic = topics.bare("java").await?;
            Some(producer::performance_tool(tool, &topics.servers, &topic, bytes, events).await?)
        }
        None => None,
    };
    let begun = Instant::now();
    let memory_mib = topics.program(context).run(&["topics", "rebuild", "--database", &database.url]).await?;
    let value = crate::report::rate(events as u64, begun.elapsed().as_secs_f64());
    let candidate = Figure { memory_mib: Some(memory_mib), ..Figure::of(value) };

    let in_avro = Topics::new(context)?;
    let begun = Instant::now();
    let program = in_avro.program(context).with("Schemas__Format", "avro");
    let memory_mib = program.run(&["topics", "rebuild", "--database", &database.url]).await?;
    let value = crate::report::rate(events as u64, begun.elapsed().as_secs_f64());
    let avro = Figure { memory_mib: Some(memory_mib), ..Figure::of(value) };
    database.drop().await?;
    topics.drop().await?;
    in_avro.drop().await?;
    let against_bare = spec("drain", "bare idempotent librdkafka producer", Target::RatioMin(0.6));
    let against_java = spec("drain-java", "ProducerPerformance", Target::Nothing);
    let mut samples = vec![Sample { spec: against_bare, baseline: Some(Figure::of(bare)), candidate }];
    samples.extend(java.map(|java| Sample {
        spec: against_java,
        baseline: Some(Figure::of(java)),
        candidate,
    }));
    samples.push(Sample {
        spec: spec("drain-avro", "the same in JSON", Target::Nothing),
        baseline: Some(candidate),
        candidate: avro,
    });
    Ok(samples)
}

pub async fn consumers(context: &Context) -> Result<Vec<Sample>, CompareError> {
    let topics = Topics::new(context)?;
    let events = context.settings.events;
    let database = Database::new(context, Kind::Postgres).await?;
    platform::fill(&database.url, events).await?;
    let program = topics.program(context);
    program.run(&["topics", "rebuild", "--database", &database.url]).await?;

    // Their lines are what they do, so they are written.
    let loggers = program.with("Logging__Level", "info");
    let server = loggers.serve(&database.url, &["--roles", "consumers"]).await?;
    let value = platform::handled(&database, "payment_log", events).await?;
    let memory_mib = crate::machine::memory_peak_mib(server.id());
    let lines = std::fs::read_to_string(server.log())?.matches("Processing payment event").count();
    server.stop().await?;
    if lines < events {
        return Err(CompareError::Broken("an event logger has left events out"));
    }
    let loggers = Figure { memory_mib, ..Figure::of(value) };
    let rows = Figure::of(with_rows(&database, topics.settings(), events).await?);
    database.drop().await?;
    topics.drop().await?;
    Ok(vec![
        Sample { spec: spec("consumers-loggers", "", Target::Nothing), baseline: None, candidate: loggers },
        Sample { spec: spec("consumers-rows", "", Target::Nothing), baseline: None, candidate: rows },
    ])
}

/// A consumer whose effect is rows, in this process.
async fn with_rows(database: &Database, kafka: kafka::Settings, events: usize) -> Result<f64, CompareError> {
    let store = platform::open(&database.url).await?;
    effect::table(&store).await?;
    let (stop, stopping) = watch::channel(false);
    let consumers: Vec<Arc<dyn stream::consumer::Consumer>> = vec![Arc::new(Totals::default())];
    let values = platform::values(&store);
    let run = kafka::group::run(store.clone(), kafka, effect::GROUP, consumers, values, CONSUMING, stopping);
    let running = tokio::spawn(run);
    let rate = platform::handled(database, effect::NAME, events).await?;
    stop.send_replace(true);
    running.await?;
    store.close().await;
    let counted = database.number("select sum(count)::bigint from bench_totals").await?;
    if usize::try_from(counted) == Ok(events) {
        Ok(rate)
    } else {
        Err(CompareError::Broken("a consumer has not handled each event once"))
    }
}

pub async fn replay(context: &Context) -> Result<Vec<Sample>, CompareError> {
    let command = ["replay", "--consumer", "payment_log", "--from-beginning"];
    on_a_log(context, &command, ["replay-postgres", "replay-sqlite"]).await
}

pub async fn reconcile(context: &Context) -> Result<Vec<Sample>, CompareError> {
    on_a_log(context, &["reconcile"], ["reconcile-postgres", "reconcile-sqlite"]).await
}

/// A command that goes through a whole log; start and end included.
async fn on_a_log(
    context: &Context,
    command: &[&str],
    names: [&'static str; 2],
) -> Result<Vec<Sample>, CompareError> {
    let mut samples = Vec::new();
    for (kind, name) in [Kind::Postgres, Kind::Sqlite].into_iter().zip(names) {
        if kind == Kind::Postgres && context.settings.postgres.is_none() {
            continue;
        }
        let events = context.settings.events;
        let database = Database::new(context, kind).await?;
        platform::fill(&database.url, events).await?;
        let mut arguments = command.to_vec();
        arguments.extend(["--database", &database.url]);
        let begun = Instant::now();
        let memory_mib = context.program.run(&arguments).await?;
        let value = crate::report::rate(events as u64, begun.elapsed().as_secs_f64());
        let candidate = Figure { memory_mib: Some(memory_mib), ..Figure::of(value) };
        samples.push(Sample { spec: spec(name, "", Target::Nothing), baseline: None, candidate });
        database.drop().await?;
    }
    Ok(samples)
}
