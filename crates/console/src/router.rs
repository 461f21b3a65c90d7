//! Every route of port 8080.

use std::any::Any;

use axum::{
    Router,
    http::StatusCode,
    middleware,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer,
        predicate::{NotForContentType, Predicate, SizeAbove},
    },
};

use crate::{
    assets, debug, early, guard, machine,
    pages::{
        approvals, audit, configuration, home, keys, live, operators, payment, payments, requests, sign_in,
        theme, views,
    },
    state::Console,
};

/// A smaller body costs more to compress than to send.
const GZIP_BYTES_MIN: u64 = 1024;

/// What the books and the log say of themselves.
fn proof() -> Router<Console> {
    use crate::pages::{account, analytics, event, events, idempotency, ledger, reconciliation, verify};
    Router::new()
        .route("/ledger", get(ledger::show))
        .route("/ledger/accounts/{owner}/{kind}/{currency}", get(account::show))
        .route("/events", get(events::list))
        .route("/events/at", get(events::at))
        .route("/events/id/{id}", get(events::by_id))
        .route("/events/verify", get(verify::show))
        .route("/events/{stream}/{lane}/{position}", get(event::show))
        .route("/idempotency", get(idempotency::show))
        .route("/reconciliation", get(reconciliation::list).post(reconciliation::begin))
        .route("/reconciliation/{run}", get(reconciliation::show))
        .route("/analytics", get(analytics::show))
}

/// Money: who is paid, what goes out, what waits to be looked at.
fn money() -> Router<Console> {
    use crate::pages::{merchant, merchants, payments_export, reviews, search, withdrawal, withdrawals};
    Router::new()
        .route("/payments.csv", get(payments_export::csv))
        .route("/payments.jsonl", get(payments_export::json_lines))
        .route("/merchants", get(merchants::list).post(merchants::create))
        .route("/merchants/{id}", get(merchant::show))
        .route("/merchants/{id}/rename", post(merchant::rename))
        .route("/merchants/{id}/activate", post(merchant::activate))
        .route("/merchants/{id}/deactivate", post(merchant::deactivate))
        .route("/merchants/{id}/payments", post(merchant::pay))
        .route("/merchants/{id}/withdrawals", post(merchant::withdraw))
        .route("/withdrawals", get(withdrawals::list))
        .route("/withdrawals/{id}", get(withdrawal::show))
        .route("/withdrawals/{id}/process", post(withdrawal::process))
        .route("/withdrawals/{id}/complete", post(withdrawal::complete))
        .route("/withdrawals/{id}/fail", post(withdrawal::fail))
        .route("/withdrawals/{id}/cancel", post(withdrawal::cancel))
        .route("/reviews", get(reviews::list))
        .route("/reviews/{id}/approve", post(reviews::approve))
        .route("/reviews/{id}/decline", post(reviews::decline))
        .route("/search", get(search::show))
}

/// How events travel, and what was left behind.
fn event_system() -> Router<Console> {
    use crate::pages::{
        consumer, consumers, dead_letter, dead_letters, dead_letters_bulk, dead_letters_run, messages,
        messages_export, relay, restart, tail, topics,
    };
    Router::new()
        .route("/dead-letters", get(dead_letters::list))
        .route("/dead-letters/bulk", get(dead_letters_bulk::dry_run).post(dead_letters_bulk::begin))
        .route("/dead-letters/runs/{id}", get(dead_letters_run::show))
        .route("/dead-letters/runs/{id}/go-on", post(dead_letters_run::go_on))
        .route("/dead-letters/{id}", get(dead_letter::show))
        .route("/dead-letters/{id}/redrive", post(dead_letter::redrive))
        .route("/dead-letters/{id}/discard", post(dead_letter::discard))
        .route("/consumers", get(consumers::list))
        .route("/consumers/{name}", get(consumer::show))
        .route("/consumers/{name}/pause", post(consumer::pause))
        .route("/consumers/{name}/resume", post(consumer::resume))
        .route("/consumers/{name}/restart", get(restart::plan).post(restart::restart))
        .route("/relay", get(relay::show))
        .route("/topics", get(topics::list))
        .route("/topics/{name}", get(topics::show))
        .route("/topics/{name}/messages", get(messages::list))
        .route("/topics/{name}/messages.jsonl", get(messages_export::export))
        .route("/topics/{name}/messages/{partition}/{offset}", get(messages::show))
        .route("/topics/{name}/messages/{partition}/{offset}/value", get(messages::value))
        .route("/topics/{name}/tail", get(tail::follow))
}

/// Live pages go out line by line, and what takes long in pieces.
fn compression() -> CompressionLayer<impl Predicate> {
    let is_worth_it = SizeAbove::new(GZIP_BYTES_MIN).and(NotForContentType::SSE).and(early::is_whole);
    CompressionLayer::new().compress_when(is_worth_it)
}

pub fn router(console: Console) -> Router {
    let pages = Router::new()
        .route("/", get(home::show))
        .route(live::PATH, get(live::follow))
        .route("/payments", get(payments::list))
        .route("/payments/{id}", get(payment::show))
        .route("/payments/{id}/complete", post(payment::complete))
        .route("/payments/{id}/cancel", post(payment::cancel))
        .route("/payments/{id}/refund", post(payment::refund))
        .route("/payments/{id}/flag", post(payment::flag))
        .merge(proof())
        .merge(event_system())
        .merge(money())
        .route("/audit", get(audit::list))
        .route("/audit.jsonl", get(audit::export))
        .route("/audit/commands", get(audit::commands))
        .route("/requests", get(requests::list))
        .route("/requests/errors", get(requests::errors))
        .route("/configuration", get(configuration::show))
        .route("/keys", get(keys::list).post(keys::create))
        .route("/keys/{id}/revoke", post(keys::revoke))
        .route("/operators", get(operators::list).post(operators::create))
        .route("/operators/{name}/{what}", post(operators::change))
        .route("/approvals", get(approvals::list))
        .route("/approvals/{id}", post(approvals::decide))
        .route("/sign-in", get(sign_in::show).post(sign_in::sign_in))
        .route("/sign-out", post(sign_in::sign_out))
        .route("/theme", post(theme::switch))
        .route("/views", post(views::change))
        .route("/assets/{hash}/{name}", get(assets::show))
        .fallback(async || StatusCode::NOT_FOUND)
        .layer(middleware::from_fn_with_state(console.clone(), guard::pages))
        .layer(compression());
    Router::new()
        .route("/metrics", get(machine::metrics))
        .route("/health/live", get(machine::live))
        .route("/health/ready", get(machine::ready))
        .merge(debug::routes())
        .merge(pages)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn(api::observe))
        .with_state(console)
}

/// The cause is for the log, which names the request.
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    tracing::error!(cause = text.unwrap_or("without a text"), "a page ended by a panic");
    (StatusCode::INTERNAL_SERVER_ERROR, "Something went wrong here, and it is in the log.\n").into_response()
}
