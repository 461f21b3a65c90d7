//! The built-in registry over HTTP: the paths, bodies, codes and the media type of Confluent Schema Registry, so that its
//! clients need not know the difference. Query parameters that mean nothing here are passed over, as there.

use std::{collections::HashMap, time::Duration};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use registry::{Among, Builtin, Incompatibility, Level, MEDIA_TYPE, Registered, RegistryError, Version};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tower_http::{catch_panic::CatchPanicLayer, timeout::TimeoutLayer};

use crate::server::{self, Shape};

/// Serializers ask once for a schema and keep it.
const CONNECTIONS_MAX: usize = 256;
const DRAIN_TIMEOUT: Duration = Duration::from_millis(500);
/// Above the largest schema with all of its characters escaped, so that what is too large for a schema is told as that.
const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// For a body and its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

type Parameters = Query<HashMap<String, String>>;
type Answer = Result<Json, Refused>;

/// Serves until `shutdown` is ready.
pub async fn serve(registry: Builtin, listener: TcpListener, shutdown: impl Future<Output = ()>) {
    let shape = Shape {
        connections_max: CONNECTIONS_MAX,
        head_timeout: REQUEST_TIMEOUT,
        lame_duck: Duration::ZERO,
        drain_timeout: DRAIN_TIMEOUT,
        // It is served on a loopback address only.
        tls: None,
    };
    server::take_connections(router(registry), listener, shape, shutdown).await;
}

/// Every path.
fn router(registry: Builtin) -> Router {
    Router::new()
        .route("/", get(async || Json(json!({}))))
        .route("/mode", get(async || Json(json!({"mode": "READWRITE"}))))
        .route("/schemas/types", get(async || Json(json!(["AVRO"]))))
        .route("/schemas/ids/{id}", get(schema))
        .route("/schemas/ids/{id}/schema", get(schema_alone))
        .route("/schemas/ids/{id}/subjects", get(subjects_of))
        .route("/schemas/ids/{id}/versions", get(versions_of))
        .route("/subjects", get(subjects))
        .route("/subjects/{subject}", post(lookup).delete(delete_subject))
        .route("/subjects/{subject}/versions", get(versions).post(register))
        .route("/subjects/{subject}/versions/{version}", get(version).delete(delete_version))
        .route("/subjects/{subject}/versions/{version}/schema", get(version_alone))
        .route("/compatibility/subjects/{subject}/versions", post(check_all))
        .route("/compatibility/subjects/{subject}/versions/{version}", post(check))
        .route("/config", get(level).put(set_level).delete(reset_level))
        .route("/config/{subject}", get(subject_level).put(set_subject_level).delete(delete_subject_level))
        .fallback(async || StatusCode::NOT_FOUND)
        .layer(CatchPanicLayer::new())
        .layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(with_body))
        .with_state(registry)
}

/// An answer in the registry's media type.
struct Json(Value);

impl IntoResponse for Json {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE))], self.0.to_string()).into_response()
    }
}

/// An error as an answer.
struct Refused(RegistryError);

impl From<RegistryError> for Refused {
    fn from(error: RegistryError) -> Self {
        Self(error)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(error) = self;
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let message = if status.is_server_error() {
            // What the database says is for whoever runs it.
            tracing::warn!(%error, "a request to the schema registry failed");
            "Error in the backend data store".to_owned()
        } else {
            error.to_string()
        };
        (status, Json(json!({"error_code": error.code(), "message": message}))).into_response()
    }
}

/// What the server itself refuses is told in the same form.
async fn with_body(request: Request, next: Next) -> Response {
    if has_control(request.uri().path()) {
        return Refused(RegistryError::InvalidSubject).into_response();
    }
    let response = next.run(request).await;
    let status = response.status();
    let is_ours = response.headers().get(header::CONTENT_TYPE).is_some_and(|value| value == MEDIA_TYPE);
    if is_ours || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let reason = status.canonical_reason().unwrap_or("Error");
    let body =
        json!({"error_code": status.as_u16(), "message": format!("HTTP {} {reason}", status.as_u16())});
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    Response::from_parts(parts, body.to_string().into())
}

/// Whether a path has a control character in it, as `%00`: no subject has one.
fn has_control(path: &str) -> bool {
    let codes = path.split('%').skip(1).filter_map(|rest| rest.get(..2));
    codes.filter_map(|code| u8::from_str_radix(code, 16).ok()).any(|byte| byte.is_ascii_control())
}

/// Truth values as Confluent's clients write them: `true`, `True`, `false`, `False`.
fn is_true(parameters: &Parameters, name: &str) -> bool {
    parameters.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

fn among(parameters: &Parameters) -> Among {
    let is = |name| is_true(parameters, name);
    match () {
        () if is("deletedOnly") || is("deleted_only") => Among::Deleted,
        () if is("deleted") => Among::All,
        () => Among::Alive,
    }
}

/// A schema that is sent.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    schema: Option<String>,
    schema_type: Option<String>,
    references: Option<Vec<Value>>,
}

fn sent(body: &Bytes) -> Result<String, RegistryError> {
    let refused = |reason: &str| Err(RegistryError::InvalidSchema(reason.to_owned()));
    let Sent { schema, schema_type, references } = serde_json::from_slice(body)
        .map_err(|error| RegistryError::InvalidSchema(format!("the body cannot be read: {error}")))?;
    if schema_type.is_some_and(|kind| !kind.eq_ignore_ascii_case("AVRO")) {
        return refused("this registry has schemas of the type AVRO only");
    }
    if references.is_some_and(|references| !references.is_empty()) {
        return refused("this registry takes no references: write the types into the schema");
    }
    match schema {
        Some(schema) if !schema.trim().is_empty() => Ok(schema),
        _ => refused("Empty schema"),
    }
}

fn sent_level(body: &Bytes) -> Result<Level, RegistryError> {
    let body: Value = serde_json::from_slice(body).map_err(|_| RegistryError::InvalidLevel)?;
    body["compatibility"]
        .as_str()
        .and_then(|name| Level::parse(&name.to_ascii_uppercase()))
        .ok_or(RegistryError::InvalidLevel)
}

fn shown(registered: Registered) -> Json {
    let Registered { subject, version, id, text } = registered;
    Json(json!({"subject": subject, "version": version, "id": id, "schema": text}))
}

fn checked(found: &[Incompatibility], parameters: &Parameters) -> Json {
    let mut answer = json!({"is_compatible": found.is_empty()});
    if is_true(parameters, "verbose") {
        let messages: Vec<String> = found.iter().map(ToString::to_string).collect();
        answer["messages"] = json!(messages);
    }
    Json(answer)
}

async fn by_id(registry: &Builtin, id: &str) -> Result<String, RegistryError> {
    match id.parse() {
        Ok(id) => registry.schema(id).await?.ok_or(RegistryError::SchemaNotFound),
        Err(_) => Err(RegistryError::SchemaNotFound),
    }
}

async fn schema(State(registry): State<Builtin>, Path(id): Path<String>) -> Answer {
    Ok(Json(json!({"schema": by_id(&registry, &id).await?})))
}

async fn schema_alone(State(registry): State<Builtin>, Path(id): Path<String>) -> Result<Response, Refused> {
    Ok(alone(by_id(&registry, &id).await?))
}

/// The text of a schema, which is JSON itself.
fn alone(text: String) -> Response {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE))], text).into_response()
}

async fn places(
    registry: &Builtin,
    id: &str,
    parameters: &Parameters,
) -> Result<Vec<(String, i64)>, RegistryError> {
    let id = id.parse().map_err(|_| RegistryError::SchemaNotFound)?;
    registry.places(id, among(parameters)).await
}

async fn subjects_of(
    State(registry): State<Builtin>,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Answer {
    let mut subjects: Vec<String> =
        places(&registry, &id, &parameters).await?.into_iter().map(|(subject, _)| subject).collect();
    subjects.dedup();
    Ok(Json(json!(subjects)))
}

async fn versions_of(
    State(registry): State<Builtin>,
    Path(id): Path<String>,
    parameters: Parameters,
) -> Answer {
    let places = places(&registry, &id, &parameters).await?.into_iter();
    Ok(Json(places.map(|(subject, version)| json!({"subject": subject, "version": version})).collect()))
}

async fn subjects(State(registry): State<Builtin>, parameters: Parameters) -> Answer {
    let mut subjects = registry.subjects(among(&parameters)).await?;
    if let Some(prefix) = parameters.get("subjectPrefix") {
        subjects.retain(|subject| subject.starts_with(prefix.as_str()));
    }
    Ok(Json(json!(subjects)))
}

async fn versions(
    State(registry): State<Builtin>,
    Path(subject): Path<String>,
    parameters: Parameters,
) -> Answer {
    Ok(Json(json!(registry.versions(&subject, among(&parameters)).await?)))
}

async fn version(
    State(registry): State<Builtin>,
    Path((subject, version)): Path<(String, String)>,
    parameters: Parameters,
) -> Answer {
    let version = Version::parse(&version)?;
    Ok(shown(registry.version(&subject, version, among(&parameters)).await?))
}

async fn version_alone(
    State(registry): State<Builtin>,
    Path((subject, version)): Path<(String, String)>,
    parameters: Parameters,
) -> Result<Response, Refused> {
    let version = Version::parse(&version)?;
    Ok(alone(registry.version(&subject, version, among(&parameters)).await?.text))
}

async fn lookup(
    State(registry): State<Builtin>,
    Path(subject): Path<String>,
    parameters: Parameters,
    body: Bytes,
) -> Answer {
    Ok(shown(registry.lookup(&subject, &sent(&body)?, among(&parameters)).await?))
}

async fn register(State(registry): State<Builtin>, Path(subject): Path<String>, body: Bytes) -> Answer {
    Ok(Json(json!({"id": registry.register(&subject, &sent(&body)?).await?})))
}

async fn delete_subject(
    State(registry): State<Builtin>,
    Path(subject): Path<String>,
    parameters: Parameters,
) -> Answer {
    Ok(Json(json!(registry.delete_subject(&subject, is_true(&parameters, "permanent")).await?)))
}

async fn delete_version(
    State(registry): State<Builtin>,
    Path((subject, version)): Path<(String, String)>,
    parameters: Parameters,
) -> Answer {
    let version = Version::parse(&version)?;
    Ok(Json(json!(registry.delete_version(&subject, version, is_true(&parameters, "permanent")).await?)))
}

async fn check_all(
    State(registry): State<Builtin>,
    Path(subject): Path<String>,
    parameters: Parameters,
    body: Bytes,
) -> Answer {
    Ok(checked(&registry.check(&subject, &sent(&body)?, None).await?, &parameters))
}

async fn check(
    State(registry): State<Builtin>,
    Path((subject, version)): Path<(String, String)>,
    parameters: Parameters,
    body: Bytes,
) -> Answer {
    let version = Version::parse(&version)?;
    Ok(checked(&registry.check(&subject, &sent(&body)?, Some(version)).await?, &parameters))
}

async fn level(State(registry): State<Builtin>) -> Answer {
    Ok(Json(json!({"compatibilityLevel": registry.level().await?.name()})))
}

async fn set_level(State(registry): State<Builtin>, body: Bytes) -> Answer {
    let level = sent_level(&body)?;
    registry.set_level(level).await?;
    Ok(Json(json!({"compatibility": level.name()})))
}

async fn reset_level(State(registry): State<Builtin>) -> Answer {
    let level = registry.level().await?;
    registry.set_level(Level::Backward).await?;
    Ok(Json(json!({"compatibilityLevel": level.name()})))
}

async fn subject_level(
    State(registry): State<Builtin>,
    Path(subject): Path<String>,
    parameters: Parameters,
) -> Answer {
    let level = match registry.subject_level(&subject).await {
        Err(RegistryError::NoLevel(_)) if is_true(&parameters, "defaultToGlobal") => registry.level().await?,
        level => level?,
    };
    Ok(Json(json!({"compatibilityLevel": level.name()})))
}

async fn set_subject_level(
    State(registry): State<Builtin>,
    Path(subject): Path<String>,
    body: Bytes,
) -> Answer {
    let level = sent_level(&body)?;
    registry.set_subject_level(&subject, level).await?;
    Ok(Json(json!({"compatibility": level.name()})))
}

async fn delete_subject_level(State(registry): State<Builtin>, Path(subject): Path<String>) -> Answer {
    Ok(Json(json!({"compatibilityLevel": registry.delete_subject_level(&subject).await?.name()})))
}
