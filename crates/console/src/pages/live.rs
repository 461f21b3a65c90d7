//! `/live`: what moves by itself. One look at the platform serves all who follow ([`crate::pulse`]), and what it becomes is
//! written once a look, so that a viewer costs a copy of a few kilobytes whatever the others do.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::StatusCode,
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
};
use domain::event::Stream;
use futures_util::stream::{self, Stream as Events, StreamExt as _};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Visit, home};
use crate::{
    fault::Fault,
    pulse::{Followed, Pulse},
    show::Clock,
    state::Console,
};

pub const PATH: &str = "/live";
/// Pages that are followed at once; one more is told to come back.
pub const FOLLOWERS_MAX: usize = 150;
/// A browser comes again by itself; whoever was signed out meanwhile does not come in again.
const FOLLOWED_AT_MOST: Duration = Duration::from_mins(5);
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// `GET /live`: `pulse` is the home page's cards, `news` the numbers that lists and toasts go by.
pub async fn follow(
    State(console): State<Console>,
    _: Visit,
) -> Result<Sse<impl Events<Item = Result<Event, Infallible>>>, Fault> {
    let permit = permit(console.followers())?;
    let receiver = console.pulses().follow();
    let events = stream::unfold((receiver, permit), async |(mut receiver, permit)| {
        let followed = loop {
            receiver.changed().await.ok()?;
            if let Some(followed) = receiver.borrow_and_update().clone() {
                break followed;
            }
        };
        let Followed { cards, news, .. } = &*followed;
        let both = [Event::default().event("pulse").data(cards), Event::default().event("news").data(news)];
        Some((stream::iter(both.map(Ok)), (receiver, permit)))
    });
    let until = tokio::time::sleep(FOLLOWED_AT_MOST);
    Ok(Sse::new(events.fuse().flatten().take_until(until)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

fn permit(followers: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, Fault> {
    Arc::clone(followers).try_acquire_owned().map_err(|_| {
        Fault::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many follow",
            "Too many pages are followed live at once.",
        )
    })
}

/// What a look is to those who follow.
pub fn followed(pulse: Arc<Pulse>) -> Followed {
    let of = |stream: Stream| pulse.events[stream.index()];
    let news = json!({
        "payments": of(Stream::Payments),
        "withdrawals": of(Stream::Withdrawals),
        "merchants": of(Stream::Merchants),
        "events": pulse.events.iter().sum::<i64>(),
        "dead-letters": pulse.dead_letters(),
        "breaks": pulse.last_ended_run.as_ref().map_or(0, |run| run.summary.breaks()),
    });
    let cards = home::cards_html(&pulse, Clock { now: pulse.at }).unwrap_or_default();
    Followed { cards, news: news.to_string(), pulse }
}
