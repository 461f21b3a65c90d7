//! A request that changes something: its body, and its claim to be carried out once.

use axum::{
    Json,
    body::Body,
    extract::FromRequest,
    http::{HeaderName, HeaderValue, Method, Request, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use domain::{command::Action, id::MerchantId};
use serde::Serialize;
use store::request::{Answer, Claim, Origin};
use uuid::Uuid;

use crate::{
    access::Asker,
    body,
    idempotency::{IDEMPOTENT_REPLAYED, key_of},
    problem::Problem,
    query::Query,
    request_id::RequestId,
    state::App,
};

const REPLAYED: HeaderName = HeaderName::from_static(IDEMPOTENT_REPLAYED);

/// A POST or PATCH, not yet parsed. It has no `Debug`: the body may hold bank numbers.
pub struct Change {
    method: Method,
    uri: Uri,
    key: Option<String>,
    asker: Asker,
    /// Who asks, when the caller has a name.
    origin: Option<Origin>,
    pub body: Bytes,
}

/// As [`Change`], with the limit for bulk bodies.
pub struct BulkChange(pub Change);

impl FromRequest<App> for Change {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, app: &App) -> Result<Self, Problem> {
        Self::take(request, app, app.limits().body_bytes_max).await
    }
}

impl FromRequest<App> for BulkChange {
    type Rejection = Problem;

    async fn from_request(request: Request<Body>, app: &App) -> Result<Self, Problem> {
        Change::take(request, app, app.limits().bulk_body_bytes_max).await.map(Self)
    }
}

impl Change {
    async fn take(request: Request<Body>, app: &App, bytes_max: usize) -> Result<Self, Problem> {
        let key = key_of(request.headers())?;
        Query::of(request.uri())?.finish()?;
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let asker = request.extensions().get::<Asker>().cloned();
        let asker = asker.ok_or_else(|| Problem::internal("nobody asked whose request it is"))?;
        let id = request.extensions().get::<RequestId>().map_or("", RequestId::as_str);
        let origin = asker.name().map(|name| Origin::new(name, id));
        let body = body::read(request, bytes_max, app.limits().request_timeout).await?;
        Ok(Self { method, uri, key, asker, origin, body })
    }

    /// Has the action carried out on an existing merchant.
    pub async fn submit(&self, app: &App, merchant: MerchantId, action: Action) -> Result<Answer, Problem> {
        app.submit(merchant, action, self.claim(Some(merchant)), self.origin.clone()).await
    }

    /// Has a new merchant made; its id is the answer's.
    pub async fn submit_new(&self, app: &App, action: Action) -> Result<Answer, Problem> {
        app.submit(MerchantId(Uuid::now_v7()), action, self.claim(None), self.origin.clone()).await
    }

    /// The claim of the request's idempotency key, scoped to the merchant; to none when it creates one.
    fn claim(&self, merchant: Option<MerchantId>) -> Option<Claim> {
        let key = self.key.as_deref()?;
        let mut buffer = Uuid::encode_buffer();
        let merchant = match merchant {
            Some(id) => &*id.0.hyphenated().encode_lower(&mut buffer),
            None => "",
        };
        let request = [self.method.as_str().as_bytes(), self.uri.path().as_bytes(), self.body.as_ref()];
        Some(Claim::new(self.asker.idempotency_scope(), merchant, key, &request))
    }
}

/// The answer to a change that was made, now or earlier with the same idempotency key.
pub fn changed(replayed: bool, body: &impl Serialize) -> Response {
    let mut response = Json(body).into_response();
    if replayed {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    response
}

/// As [`changed`], for something new, which stands at `location` from now on.
pub fn created(replayed: bool, location: &str, body: &impl Serialize) -> Response {
    let mut response = changed(replayed, body);
    *response.status_mut() = StatusCode::CREATED;
    if let Ok(location) = HeaderValue::from_str(location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}
