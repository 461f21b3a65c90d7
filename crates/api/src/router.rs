//! Every route. The path and the method of each stand in the `utoipa::path` of its handler, so that the
//! program and its documentation cannot differ.

use axum::{Router, http::StatusCode, routing::get};
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::{Config, SwaggerUi};

use crate::{
    access::GuardLayer, admin, analytics, balances, edge, event_stream, health, merchants, observe, openapi,
    payments, payments_export, problem_kind, request_log::Recorder, state::App, withdrawals,
};

/// What the OpenAPI document describes.
pub fn documented() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(openapi::head())
        .routes(routes!(merchants::create, merchants::list))
        .routes(routes!(merchants::show, merchants::update))
        .routes(routes!(balances::list))
        .routes(routes!(balances::show))
        .routes(routes!(payments::create, payments::list))
        .routes(routes!(payments::create_bulk))
        .routes(routes!(payments_export::export))
        .routes(routes!(payments::show))
        .routes(routes!(payments::complete))
        .routes(routes!(payments::cancel))
        .routes(routes!(payments::refund))
        .routes(routes!(withdrawals::create, withdrawals::list))
        .routes(routes!(withdrawals::show))
        .routes(routes!(withdrawals::process))
        .routes(routes!(withdrawals::complete))
        .routes(routes!(withdrawals::fail))
        .routes(routes!(withdrawals::cancel))
        .routes(routes!(analytics::show))
        .routes(routes!(event_stream::show))
        .routes(routes!(admin::verify_balance))
        .routes(routes!(admin::ledger_history))
        .routes(routes!(health::health))
        .routes(routes!(health::live))
        .routes(routes!(health::ready))
}

pub fn router(app: App, guard: GuardLayer, recorder: Recorder, allowed_origins: &[String]) -> Router {
    let (routes, described) = documented().split_for_parts();
    observe::begin_at_zero(&described);
    let docs = SwaggerUi::new("/docs").config(Config::new([openapi::PATH]));
    let routes = routes
        .route(openapi::PATH, get(openapi::show))
        .route("/docs/problems", get(problem_kind::show))
        .merge(docs)
        .fallback(async || StatusCode::NOT_FOUND)
        .layer(guard);
    edge::around(routes, recorder, allowed_origins).with_state(app)
}
