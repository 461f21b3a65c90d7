//! `/search`: whatever somebody has in the hand leads to its page: an id of any kind, an external reference, an email, the
//! id of a request, the beginning of an API key. What is found for certain and alone is gone to at once.

use access::{
    Permission, approvals,
    keys::{self, Key},
};
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use domain::id::{CommandId, EventId, MerchantId, PaymentId, WithdrawalId};
use futures_util::try_join;
use reconcile::runs;
use store::{
    batch::LogEvent,
    browse::{self, PaymentsWanted, ROWS_LOOKED_AT_MAX},
    error::ReadError,
    find, log,
    merchants::{self, MerchantsWanted},
    origins::{self, OriginFilter},
    queries::PaymentFilter,
    request_log::{self, RequestsWanted},
};
use stream::{
    letter_runs,
    redrive::{self, Selection},
};
use uuid::Uuid;

use super::{Visit, dead_letters_run::run_path};
use crate::{
    fault::{Fault, render},
    guard::Viewer,
    layout::{Frame, Section},
    list::Params,
    show::IdLink,
    state::Console,
};

const QUERY_CHARS_MAX: usize = 255;
/// Of a kind; the lists have the rest.
const HITS_MAX: usize = 10;

#[derive(Template)]
#[template(path = "search.html")]
struct SearchPage {
    frame: Frame,
    /// Of a key only what may be shown.
    query: String,
    hits: Vec<Hit>,
    tried: &'static [&'static str],
    looked_at_max: usize,
    more: Vec<More>,
}

/// Something that was found.
struct Hit {
    what: &'static str,
    name: String,
    href: String,
    detail: String,
    /// It is what was asked for, not only like it.
    is_certain: bool,
}

/// Where else to look.
struct More {
    name: &'static str,
    href: String,
}

const TRIED_ID: &[&str] = &[
    "payments",
    "withdrawals",
    "merchants",
    "events",
    "commands",
    "dead letters and runs over them",
    "reconciliation runs",
    "approvals",
    "requests to the API",
    "API keys and the audit, if your role may see them",
];
const TRIED_KEY: &[&str] = &["the beginnings of API keys, if your role may see them"];
const TRIED_TEXT: &[&str] = &[
    "what merchants’ names and emails begin with",
    "the references and descriptions of the newest payments",
    "ids of requests",
];

/// `GET /search`
pub async fn show(State(console): State<Console>, visit: Visit, params: Params) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let query = params.text("q").to_owned();
    if query.chars().count() > QUERY_CHARS_MAX {
        return Err(Fault::bad_request(format!("Search for at most {QUERY_CHARS_MAX} characters.")));
    }
    let (shown, hits, tried) = if query.is_empty() {
        (String::new(), Vec::new(), &[] as &[_])
    } else if is_key(&query) {
        // A whole key may have been pasted: no more of it is looked for, or shown, than is visible anyway.
        let prefix: String = query.chars().take(keys::PREFIX_CHARS).collect();
        let hits = console.read(by_key(&console, &visit.viewer, &prefix)).await?;
        (prefix, hits, TRIED_KEY)
    } else if let Ok(id) = Uuid::parse_str(&query) {
        let (things, work, requests) = (
            by_id(&console, &visit.viewer, id),
            by_id_of_work(&console, id),
            by_request(&console, &visit.viewer, &query),
        );
        let (mut hits, work, requests) = console.read(async { try_join!(things, work, requests) }).await?;
        hits.extend(work.into_iter().chain(requests));
        (query.clone(), hits, TRIED_ID)
    } else {
        (query.clone(), console.read(by_text(&console, &visit.viewer, &query)).await?, TRIED_TEXT)
    };
    let mut certain = hits.iter().filter(|hit| hit.is_certain);
    if let (Some(Hit { href, .. }), None) = (certain.next(), certain.next()) {
        return Ok(Redirect::to(href).into_response());
    }
    let more = if is_key(&query) { Vec::new() } else { more(&query) };
    let title = if shown.is_empty() { "Search".to_owned() } else { format!("{shown} – search") };
    render(&SearchPage {
        frame: visit.frame(Section::Elsewhere, title),
        query: shown,
        hits,
        tried,
        looked_at_max: ROWS_LOOKED_AT_MAX,
        more,
    })
}

fn is_key(query: &str) -> bool {
    query.starts_with("fk_")
}

fn more(query: &str) -> Vec<More> {
    if query.is_empty() {
        return Vec::new();
    }
    let encoded: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
    vec![
        More { name: "all payments with it", href: format!("/payments?search={encoded}") },
        More { name: "merchants that begin with it", href: format!("/merchants?search={encoded}") },
        More { name: "it as an idempotency key", href: format!("/idempotency?key={encoded}") },
    ]
}

async fn by_id(console: &Console, viewer: &Viewer, id: Uuid) -> Result<Vec<Hit>, ReadError> {
    let db = console.db();
    let letter = Selection { ids: vec![id], ..Selection::default() };
    let key = async { if viewer.may(Permission::ManageKeys) { keys::get(db, id).await } else { Ok(None) } };
    let (payment, withdrawal, merchant, event, command, letters, key) = try_join!(
        browse::payment(db, PaymentId(id)),
        browse::withdrawal(db, WithdrawalId(id)),
        console.store().lookups().merchant(MerchantId(id)),
        log::by_event_id(db, EventId(id)),
        find::first_event(db, CommandId(id)),
        redrive::select(db, &letter, 1),
        key,
    )?;
    let to = |what, page| hit(what, id.to_string(), format!("/{page}/{id}"), String::new());
    let found = [
        payment.map(|_| to("Payment", "payments")),
        withdrawal.map(|_| to("Withdrawal", "withdrawals")),
        merchant.map(|merchant| Hit { detail: merchant.name, ..to("Merchant", "merchants") }),
        event.map(|event| hit("Event", id.to_string(), event_href(&event), event.event_type)),
        command.map(|event| {
            let detail = format!("first event {}", event.event_type);
            hit("Command", id.to_string(), event_href(&event), detail)
        }),
        letters
            .first()
            .map(|letter| Hit { detail: letter.consumer.clone(), ..to("Dead letter", "dead-letters") }),
        key.as_ref().map(key_hit),
    ];
    Ok(found.into_iter().flatten().collect())
}

/// What people have begun, and asked each other for.
async fn by_id_of_work(console: &Console, id: Uuid) -> Result<Vec<Hit>, ReadError> {
    let db = console.db();
    let (approval, reconciliation, run) =
        try_join!(approvals::get(db, id), runs::find(db, id), letter_runs::find(db, id, console.now()),)?;
    let to = |what, href, detail| hit(what, id.to_string(), href, detail);
    let found = [
        approval.map(|approval| {
            let detail = format!("{}, {}", approval.kind, approval.state.name());
            to("Approval", format!("/approvals?id={id}"), detail)
        }),
        reconciliation.map(|run| {
            to("Reconciliation run", format!("/reconciliation/{id}"), run.state.name().to_owned())
        }),
        run.map(|run| {
            let detail = format!("{}, {}", run.action.name(), run.standing.name());
            to("Run over dead letters", run_path(id), detail)
        }),
    ];
    Ok(found.into_iter().flatten().collect())
}

fn hit(what: &'static str, name: String, href: String, detail: String) -> Hit {
    Hit { what, name, href, detail, is_certain: true }
}

fn event_href(event: &LogEvent) -> String {
    format!("/events/{}/{}/{}", event.stream.name(), event.lane.0, event.position)
}

async fn by_key(console: &Console, viewer: &Viewer, prefix: &str) -> Result<Vec<Hit>, ReadError> {
    if !viewer.may(Permission::ManageKeys) {
        return Ok(Vec::new());
    }
    let found = keys::by_prefix(console.db(), prefix, HITS_MAX).await?;
    Ok(found.iter().map(key_hit).collect())
}

fn key_hit(key: &Key) -> Hit {
    let href = key.scope.merchant().map_or("/keys".to_owned(), |id| format!("/keys?merchant={id}"));
    // The page of the keys has many: it is shown where to look.
    let name = format!("{}…{}", key.prefix, key.last4);
    Hit { is_certain: false, ..hit("API key", name, href, key.name.clone()) }
}

async fn by_text(console: &Console, viewer: &Viewer, text: &str) -> Result<Vec<Hit>, ReadError> {
    let db = console.db();
    let wanted = MerchantsWanted { search: Some(text.to_owned()), is_active: None };
    let filter = PaymentFilter { search: Some(text.to_owned()), ..PaymentFilter::default() };
    let payments = PaymentsWanted { filter, ..PaymentsWanted::default() };
    let (merchants, payments, requests) = try_join!(
        merchants::list(db, &wanted, None, HITS_MAX),
        browse::payments(db, &payments, None, HITS_MAX),
        by_request(console, viewer, text),
    )?;
    let mut hits: Vec<Hit> = merchants
        .rows
        .into_iter()
        .map(|merchant| Hit {
            is_certain: merchant.email.eq_ignore_ascii_case(text),
            ..hit("Merchant", merchant.name, format!("/merchants/{}", merchant.id), merchant.email)
        })
        .collect();
    hits.extend(payments.rows.into_iter().map(|payment| Hit {
        is_certain: payment.external_reference.as_deref() == Some(text),
        ..hit(
            "Payment",
            IdLink::new(payment.id.0, "").short,
            format!("/payments/{}", payment.id),
            payment.external_reference.or(payment.description).unwrap_or_default(),
        )
    }));
    hits.extend(requests);
    Ok(hits)
}

/// What came, and what was done, under the id of a request.
async fn by_request(console: &Console, viewer: &Viewer, id: &str) -> Result<Vec<Hit>, ReadError> {
    let db = console.db();
    let wanted = RequestsWanted { request_id: Some(id.to_owned()), ..RequestsWanted::default() };
    let requests = request_log::list(db, &wanted, None, 1).await?.rows.len();
    let (mut commands, mut lines) = (0, 0);
    if viewer.may(Permission::ReadAudit) {
        let filter = OriginFilter { request_id: Some(id.to_owned()), ..OriginFilter::default() };
        commands = origins::list(db, &filter, None, 1).await?.lines.len();
        lines = find::audit_lines(db, id, 1).await?;
    }
    let encoded: String = form_urlencoded::byte_serialize(id.as_bytes()).collect();
    let found = [
        ("API request", "/requests", requests),
        ("Request of commands", "/audit/commands", commands),
        ("Request in the audit", "/audit", lines),
    ];
    let found = found.into_iter().filter(|(.., count)| *count > 0);
    let hits = found
        .map(|(what, page, _)| hit(what, id.to_owned(), format!("{page}?request={encoded}"), String::new()));
    Ok(hits.collect())
}
