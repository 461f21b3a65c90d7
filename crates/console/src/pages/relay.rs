//! `/relay`: how far the log is published to Kafka, lane by lane, and who publishes it.

use access::Permission;
use askama::Template;
use axum::{extract::State, response::Response};
use stream::relay::status::{self, Published, Status};

use super::Visit;
use crate::{
    fault::{Fault, render},
    layout::{Frame, Section},
    show::{Badge, Clock, When, span},
    state::Console,
};

#[derive(Template)]
#[template(path = "relay.html")]
struct RelayPage {
    frame: Frame,
    status: Status,
    lease: Badge,
    oldest: String,
    rows: Vec<PlaceRow>,
}

struct PlaceRow {
    topic: String,
    stream: &'static str,
    lane: u16,
    position: String,
    offset: String,
    head: i64,
    unsent: i64,
    oldest: String,
    noted: Option<When>,
}

/// `GET /relay`
pub async fn show(State(console): State<Console>, visit: Visit) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let settings = console.kafka().ok_or_else(|| {
        Fault::not_found("Without Kafka nothing is relayed: consumers read the log itself.")
    })?;
    let status = console.read(status::status(console.db(), console.now())).await?;
    let places = console.read(status::places(console.db(), console.now())).await?;
    let clock = visit.clock;
    let row = |place: &Published| PlaceRow::new(settings.topic(place.place.0), place, clock);
    render(&RelayPage {
        lease: Badge::of(if status.is_held { "running" } else { "stopped" }),
        oldest: span(status.micros),
        rows: places.iter().map(row).collect(),
        status,
        frame: visit.frame(Section::Relay, "Relay"),
    })
}

impl PlaceRow {
    fn new(topic: String, place: &Published, clock: Clock) -> Self {
        let (stream, lane) = place.place;
        let or_none =
            |number: Option<i64>| number.map_or_else(|| "–".to_owned(), |number| number.to_string());
        let unsent = place.unpublished();
        Self {
            topic,
            stream: stream.name(),
            lane: lane.0,
            position: or_none(place.noted.map(|noted| noted.position)),
            offset: or_none(place.noted.map(|noted| noted.kafka_offset)),
            head: place.head,
            unsent,
            oldest: if unsent > 0 { span(place.micros) } else { "–".to_owned() },
            noted: place.noted.map(|noted| clock.when(noted.at)),
        }
    }
}
