//! `/api/merchants/{merchantId}/events/stream`: a merchant's events as they happen (server-sent events).
//!
//! One [`follower`] a process reads the log for all listeners; a [`feed`] is what one of them is sent: each event once,
//! in the order of the lane, from the id that the client names. A client that comes back names the last id that it got,
//! so nothing is lost or doubled, whether the network broke, the listener was slow, or the program was stopped.

mod feed;
mod follower;
mod frame;
mod seats;

use std::{convert::Infallible, time::Duration};

use ::access::{Access, KeyRefusal};
use axum::{
    body::{Body, Bytes},
    extract::State,
    http::{
        HeaderMap, HeaderName, HeaderValue, Uri,
        header::{CACHE_CONTROL, CONTENT_TYPE},
    },
    response::{IntoResponse, Response},
};
use domain::lane::lane_of;
use futures_util::{StreamExt, stream};
use store::{Store, merchant_log};
use tokio::sync::Semaphore;

use self::{feed::Feed, follower::Joins, seats::Seats};
use crate::{
    access::credentials::{self, Presented},
    parse::Errors,
    path::OfMerchant,
    problem::Problem,
    problem_kind::TOO_MANY_STREAMS,
    query::Query,
    state::App,
};

pub use follower::Follower;

/// More are refused, so that streams cannot take all connections; fewer when half of the connections is less.
const STREAMS_MAX: usize = 1000;
/// Streams that read the log at the same moment to catch up.
const CATCH_UPS_MAX: usize = 4;
/// A proxy ends what says nothing for a minute, or half of one.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// How often it is asked whether the key of a stream was revoked; of a quiet one, with each heartbeat.
const KEY_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How long a client waits before it comes back.
const RETRY: Duration = Duration::from_secs(1);

const CONTENT: HeaderValue = HeaderValue::from_static("text/event-stream");
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// nginx holds an answer back until it has a buffer full of it, unless it is told not to.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

const ID_WANTED: &str =
    "Send the id of an event of this stream, 0 for all from the first one, or nothing to begin now.";

/// What all streams share.
pub struct Streams {
    seats: Seats,
    joins: Joins,
    catch_ups: Semaphore,
    access: Access,
}

impl Streams {
    /// The follower is to be run by whoever makes this.
    pub fn new(store: Store, access: Access, connections_max: usize) -> (Self, Follower) {
        let (joins, follower) = Follower::new(store);
        let seats = Seats::new(STREAMS_MAX.min(connections_max / 2).max(1));
        (Self { seats, joins, catch_ups: Semaphore::new(CATCH_UPS_MAX), access }, follower)
    }

    /// Whether the key with which a stream was opened is still let in. Nobody is sent away because that is not known.
    async fn still_lets_in(&self, presented: &Presented) -> bool {
        matches!(self.access.key(presented.text()).await, Ok(_) | Err(KeyRefusal::Unavailable(_)))
    }
}

/// A merchant's events as they happen
///
/// Server-sent events: `event` is the type of the event, `data` its JSON exactly as its Kafka topic has it (docs/events.md
/// has every field, schemas/ a JSON Schema of each), and `id` its place in the stream. Every event of the merchant comes
/// once and in order. Ids grow, and mean nothing else.
///
/// Without an id the stream begins now. A client that comes back sends the last id that it got as Last-Event-ID, as
/// browsers do by themselves, or as `after`, and misses nothing, however long it was away; of both, the header counts.
/// `after=0` gives everything from the first event. An id may come without data: from then on it is the one to send.
/// Every 15 seconds without an event there is a comment. The server may end the stream at any time.
#[utoipa::path(get, path = "/api/merchants/{merchantId}/events/stream", tag = "Events",
    operation_id = "streamEvents",
    params(
        ("after" = Option<String>, Query, description = "The id behind which to begin", example = "1042"),
        ("Last-Event-ID" = Option<String>, Header, description = "The same; counts before `after`")),
    responses((status = 200, description = "Does not end by itself", body = String,
        content_type = "text/event-stream",
        example = "id: 1043\nevent: PaymentCompleted\ndata: {\"eventId\":\"01a216aa-d77e-774d-b2c9-b93e55e6a731\",…}\n\n")))]
pub async fn show(
    State(app): State<App>,
    OfMerchant(merchant): OfMerchant,
    mut query: Query,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let key = credentials::of(&headers, &uri)?;
    let after = after(&mut query, &headers)?;
    app.merchant(merchant).await?;
    let seat = app.streams().seats.take(merchant).ok_or_else(too_many)?;
    let lane = lane_of(merchant, app.store().lanes());
    let end = app.read(merchant_log::lane_end(app.reads(), lane)).await?;
    let begin = after.unwrap_or(end);
    if begin > end {
        return Err(wrong_id("No event of this stream has this id yet. Send nothing to begin now."));
    }
    let feed = Feed::behind(app, (lane, merchant), begin, key, seat);
    let opening = Ok::<_, Infallible>(Bytes::from(frame::opening(begin)));
    let events = stream::unfold(feed, Feed::next).fuse().map(Ok);
    let body = Body::from_stream(stream::iter([opening]).chain(events));
    let headers = [
        (CONTENT_TYPE, CONTENT),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (X_ACCEL_BUFFERING, HeaderValue::from_static("no")),
    ];
    Ok((headers, body).into_response())
}

/// The id behind which the client wants to begin; `None`: now.
fn after(query: &mut Query, headers: &HeaderMap) -> Result<Option<i64>, Problem> {
    let read = |text: &str| text.parse().ok().filter(|id| *id >= 0);
    let mut after = None;
    if let Some(text) = query.value("after") {
        after = read(&text);
        if after.is_none() {
            query.errors.at_parameter("after", ID_WANTED);
        }
    }
    query.finish()?;
    let Some(last) = headers.get(LAST_EVENT_ID).filter(|value| !value.is_empty()) else { return Ok(after) };
    let last = last.to_str().ok().and_then(read);
    last.map(Some).ok_or_else(|| wrong_id(ID_WANTED))
}

fn wrong_id(detail: &'static str) -> Problem {
    let mut errors = Errors::default();
    errors.at_parameter("Last-Event-ID", detail);
    match errors.into_result() {
        Err(problem) => problem,
        Ok(()) => Problem::internal("an error that is listed is one"),
    }
}

fn too_many() -> Problem {
    Problem::new(TOO_MANY_STREAMS, TOO_MANY_STREAMS.description)
}
