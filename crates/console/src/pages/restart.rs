//! `/consumers/{name}/restart`: first what a restart would move, then, when its name was typed, the restart.

use access::Permission;
use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use domain::{event::Stream, lane::Lane};
use stream::{
    consumer::Replay,
    control::{self, Move, Restart},
    replay::From,
};
use uuid::Uuid;

use super::{
    Visit,
    consumer::{find, refused},
};
use crate::{
    change::{Form, done},
    fault::{Fault, render},
    four_eyes::{self, Outcome, Sensitive},
    layout::{Frame, Section},
    list::Params,
    state::Console,
};

#[derive(Template)]
#[template(path = "restart.html")]
struct RestartPage {
    frame: Frame,
    name: String,
    is_paused: bool,
    needs_second: bool,
    /// What the effect of the consumer means for it.
    is_rebuilt: bool,
    params: Params,
    from: String,
    moves: Vec<MoveRow>,
    skipped: i64,
    repeated: i64,
    /// Why it would be refused.
    refusal: String,
    once: String,
}

struct MoveRow {
    stream: &'static str,
    lane: u16,
    from: i64,
    to: i64,
    what: String,
}

/// `GET /consumers/{name}/restart`
pub async fn plan(
    State(console): State<Console>,
    visit: Visit,
    Path(name): Path<String>,
    mut params: Params,
) -> Result<Response, Fault> {
    visit.must(Permission::ControlConsumers)?;
    let consumer = find(&console, &name)?;
    let restart = wanted(&mut params);
    let (moves, refusal) = if params.is_wrong() {
        (Vec::new(), String::new())
    } else {
        // Not under the time of a query: of many lanes, each is looked up.
        match control::plan(console.store(), consumer.as_ref(), &restart).await {
            Ok(moves) => (moves, String::new()),
            Err(control::ControlError::Database(error)) => return Err(Fault::read(error)),
            Err(error) => (Vec::new(), error.to_string()),
        }
    };
    let states = console.read(control::states(console.db())).await?;
    render(&RestartPage {
        is_paused: states.iter().any(|state| state.consumer == name && state.is_paused),
        needs_second: !visit.viewer.is_open(),
        is_rebuilt: consumer.replay() == Replay::Rebuilds,
        from: match restart.from {
            From::Beginning => "the beginning".to_owned(),
            From::Position(position) => format!("position {position}"),
            From::Time(time) => format!("the first event at or after {time}"),
        },
        skipped: moves.iter().map(Move::skipped).sum(),
        repeated: moves.iter().map(Move::repeated).sum(),
        moves: moves.iter().map(MoveRow::new).collect(),
        refusal,
        once: Uuid::new_v4().simple().to_string(),
        params,
        frame: visit.frame(Section::Consumers, format!("{name} restart")),
        name,
    })
}

impl MoveRow {
    fn new(step: &Move) -> Self {
        let (stream, lane) = step.place;
        let what = match (step.repeated(), step.skipped()) {
            (0, skipped) => format!("{skipped} events are skipped"),
            (repeated, _) => format!("{repeated} events are handled again"),
        };
        Self { stream: stream.name(), lane: lane.0, from: step.from, to: step.to, what }
    }
}

/// Where an address, or a form, says that it is to begin.
fn wanted(params: &mut Params) -> Restart {
    let stream = params.read("stream", "the name of a stream", |name| {
        Stream::ALL.into_iter().find(|stream| stream.name() == name)
    });
    let lane = params.read("lane", "the number of a lane", |text| text.parse().ok().map(Lane));
    let position =
        params.read("position", "a position, from 1", |text| text.parse().ok().filter(|at| *at >= 1_i64));
    let time = params.moment("time", false);
    match (stream, lane) {
        (None, Some(_)) if !params.is_wrong() => params.errors.push(("stream", "needed beside a lane")),
        (Some(_), None) if !params.is_wrong() => params.errors.push(("lane", "needed beside a stream")),
        _ => {}
    }
    if position.is_some() && time.is_some() {
        params.errors.push(("time", "asked for instead of a position, not beside it"));
    }
    let from = position.map(From::Position).or(time.map(From::Time)).unwrap_or(From::Beginning);
    Restart { place: stream.zip(lane), from, may_skip: params.is("skip", "yes") }
}

/// `POST /consumers/{name}/restart`: the fields of the plan, the typed name, and why.
pub async fn restart(
    State(console): State<Console>,
    Path(name): Path<String>,
    form: Form,
) -> Result<Response, Fault> {
    form.viewer.must(Permission::ControlConsumers)?;
    let consumer = find(&console, &name)?;
    if form.get("name") != Some(consumer.name()) {
        return Err(Fault::bad_request(format!("Type {name} to restart it. Nothing was changed.")));
    }
    form.reason()?;
    let query: String = ["stream", "lane", "position", "time", "skip"]
        .into_iter()
        .filter_map(|field| Some((field, form.get(field)?)))
        .fold(form_urlencoded::Serializer::new(String::new()), |mut query, (field, value)| {
            query.append_pair(field, value);
            query
        })
        .finish();
    let outcome =
        four_eyes::do_or_ask(&console, &form, Sensitive::RestartConsumer(name.clone(), query)).await?;
    let notice = if outcome == Outcome::Asked { "asked" } else { "restarted" };
    Ok(done(&format!("/consumers/{name}"), notice))
}

/// Moves the positions as the plan's address says.
pub async fn carry_out(console: &Console, form: &Form, name: &str, query: &str) -> Result<(), Fault> {
    let consumer = find(console, name)?;
    let mut params = Params::of_query(query);
    let restart = wanted(&mut params);
    if params.is_wrong() {
        return Err(Fault::bad_request("It is not understood where to begin. Nothing was changed."));
    }
    let moved = control::restart(console.store(), consumer.as_ref(), &restart, &form.actor()?).await;
    moved.map(|_| ()).map_err(refused)
}
