//! `/consumers`: how far behind each is, in events and in seconds, and what waits for somebody.

use access::Permission;
use askama::Template;
use axum::{extract::State, response::Response};
use stream::{consumer::Replay, lag::Lag};

use super::Visit;
use crate::{
    fault::{Fault, render},
    layout::{Frame, Section},
    show::{Badge, span},
    state::Console,
};

#[derive(Template)]
#[template(path = "consumers.html")]
struct ConsumersPage {
    frame: Frame,
    rows: Vec<ConsumerRow>,
}

pub struct ConsumerRow {
    pub name: String,
    pub state: Badge,
    pub lag_events: i64,
    pub lag: String,
    pub is_behind: bool,
    pub dead_letters: i64,
    pub group: String,
    pub streams: String,
    pub replay: &'static str,
}

impl ConsumerRow {
    /// Of a consumer that this program knows, or that has once run on this database.
    pub fn new(console: &Console, name: &str, lag: Option<&Lag>) -> Self {
        let consumer = console.consumer(name);
        let state = match (consumer, lag) {
            (None, _) => "unknown",
            (Some(_), None) => "waiting",
            (Some(_), Some(lag)) if lag.is_paused => "paused",
            (Some(_), Some(_)) => "running",
        };
        let streams: Vec<&str> = consumer
            .map(|consumer| consumer.streams().iter().map(|stream| stream.name()).collect())
            .unwrap_or_default();
        Self {
            name: name.to_owned(),
            state: Badge::of(state),
            lag_events: lag.map_or(0, |lag| lag.events),
            lag: span(lag.map_or(0, |lag| lag.micros)),
            is_behind: lag.is_some_and(|lag| lag.events > 0),
            dead_letters: lag.map_or(0, |lag| lag.dead_letters),
            group: consumer
                .zip(console.kafka())
                .map(|(consumer, settings)| settings.group(consumer.group()))
                .unwrap_or_default(),
            streams: streams.join(", "),
            replay: consumer.map_or("–", |consumer| match consumer.replay() {
                Replay::Repeats => "may be repeated",
                Replay::Rebuilds => "is made anew from the beginning",
                Replay::Refused => "leaves the database: never repeated",
            }),
        }
    }
}

/// `GET /consumers`
pub async fn list(State(console): State<Console>, visit: Visit) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let pulse = console.read(console.pulses().now()).await?;
    let lag_of = |name: &str| pulse.lags.iter().find(|lag| lag.consumer == name);
    let known = console.consumers().iter().map(|consumer| consumer.name());
    let once =
        pulse.lags.iter().map(|lag| lag.consumer.as_str()).filter(|name| console.consumer(name).is_none());
    let rows = known.chain(once).map(|name| ConsumerRow::new(&console, name, lag_of(name)));
    render(&ConsumersPage { rows: rows.collect(), frame: visit.frame(Section::Consumers, "Consumers") })
}
