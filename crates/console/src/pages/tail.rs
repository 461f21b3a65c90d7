//! `/topics/{name}/tail`: messages as they come, by server-sent events, for ten minutes at most. Closing it pauses.

use std::{convert::Infallible, time::Duration};

use access::Permission;
use askama::Template;
use axum::{
    extract::{Path, State},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use domain::event::Stream;
use futures_util::stream::{self, StreamExt as _};

use super::{
    Visit,
    messages::{Extent, LiveRow, MessageRow, wanted},
};
use crate::{
    fault::Fault,
    list::Params,
    messages::{source::Source, tail::Tail},
    show::Clock,
    state::Console,
};

const LIVE_AT_MOST: Duration = Duration::from_mins(10);
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A sentence as a browser may take it for markup.
#[derive(Template)]
#[template(source = "{{ text }}", ext = "html")]
struct Sentence<'a> {
    text: &'a str,
}

/// Who follows, and what was told so far.
struct Follower {
    console: Console,
    topic: String,
    stream: Option<Stream>,
    tail: Tail,
    dropped: u64,
    is_over: bool,
}

/// `GET /topics/{name}/tail`: events `message` (a row), `dropped` (how many were lost so far), `trouble` and `end`.
pub async fn follow(
    State(console): State<Console>,
    visit: Visit,
    Path(name): Path<String>,
    mut params: Params,
) -> Result<Response, Fault> {
    visit.must(Permission::ReadMessages)?;
    let source = Source::of(&console, &name)?;
    let wanted = wanted(&console, &source, &mut params);
    if params.is_wrong() {
        return Err(Fault::bad_request("The filter is not understood: look at the list first."));
    }
    let follower = Follower {
        console: console.clone(),
        topic: source.name().to_owned(),
        stream: source.stream(&console),
        tail: source.tail(&console, &wanted).await?,
        dropped: 0,
        is_over: false,
    };
    let events = stream::unfold(follower, async |mut follower| {
        let event = follower.next().await?;
        Some((Ok::<_, Infallible>(event), follower))
    });
    // A browser opens what ended anew, unless it is told not to.
    let end = stream::iter([Ok(Event::default().event("end").data("after ten minutes"))]);
    let events = events.fuse().take_until(tokio::time::sleep(LIVE_AT_MOST)).chain(end);
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response())
}

impl Follower {
    async fn next(&mut self) -> Option<Event> {
        if self.is_over {
            return None;
        }
        let dropped = self.tail.dropped();
        if dropped != self.dropped {
            self.dropped = dropped;
            return Some(Event::default().event("dropped").data(dropped.to_string()));
        }
        match self.tail.next().await? {
            Ok(message) => {
                let clock = Clock { now: self.console.now() };
                let row = MessageRow::new(&self.topic, self.stream, &message, Extent::Listed, clock);
                // Server-sent events have no carriage returns.
                let html = LiveRow::new(row).render().unwrap_or_default().replace('\r', "&#13;");
                Some(Event::default().event("message").data(html))
            }
            Err(fault) => {
                self.is_over = true;
                let html = Sentence { text: &fault.detail }.render().unwrap_or_default();
                Some(Event::default().event("trouble").data(html.replace('\r', " ")))
            }
        }
    }
}
