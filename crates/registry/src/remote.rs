//! A client for any registry that speaks the HTTP API of Confluent Schema Registry.

use std::time::Duration;

use reqwest::{Client, Method, StatusCode, Url};
use schema::{compatibility::Level, frame::SchemaId};
use serde_json::{Value, json};

use crate::{
    MEDIA_TYPE, RegistryError,
    source::{Asking, Source},
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// For a request and its answer, of a step of a deployment.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Of what is asked for while events are published and read, and is asked again: others wait meanwhile.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// Of an answer: a schema, or what is wrong about one.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// How the registry is told who asks.
#[derive(Clone)]
pub enum Credentials {
    None,
    Basic { user: String, password: String },
    Bearer(String),
}

pub struct Remote {
    client: Client,
    base: Url,
    credentials: Credentials,
}

/// What a registry said.
struct Answer {
    status: StatusCode,
    body: Value,
}

impl Answer {
    fn code(&self) -> u64 {
        self.body["error_code"].as_u64().unwrap_or(u64::from(self.status.as_u16()))
    }

    fn refused(&self) -> RegistryError {
        let message = self.body["message"].as_str().unwrap_or("without a message");
        let told = format!("the registry answered {} ({message})", self.code());
        // What it cannot do now it may do later; who it does not let in, it may let in when somebody has seen to it.
        let may_pass = self.status.is_server_error()
            || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&self.status)
            || [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&self.status);
        if may_pass { RegistryError::Unavailable(told) } else { RegistryError::Broken(told) }
    }

    fn id(&self) -> Result<SchemaId, RegistryError> {
        let id = self.body["id"].as_u64().and_then(|id| SchemaId::try_from(id).ok());
        id.ok_or_else(|| RegistryError::Broken("the registry answered without an id".to_owned()))
    }
}

impl Remote {
    /// Nothing is asked yet.
    pub fn new(url: &str, credentials: Credentials) -> Result<Self, String> {
        // Somebody else may have done so: whoever is first, it is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let base: Url = url.parse().map_err(|error| format!("it is not a URL: {error}"))?;
        if !matches!(base.scheme(), "http" | "https") || !base.has_host() {
            return Err("it must begin with http:// or https:// and name a host".to_owned());
        }
        let client = Client::builder()
            .connect_timeout(CONNECT_TIMEOUT)
            .user_agent(concat!("fintech/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| format!("its client cannot be made: {error}"))?;
        Ok(Self { client, base, credentials })
    }

    async fn ask(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, &str)],
        body: Option<Value>,
        timeout: Duration,
    ) -> Result<Answer, RegistryError> {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let mut request = self.client.request(method, url).timeout(timeout).header("accept", MEDIA_TYPE);
        request = match &self.credentials {
            Credentials::None => request,
            Credentials::Basic { user, password } => request.basic_auth(user, Some(password)),
            Credentials::Bearer(token) => request.bearer_auth(token),
        };
        if let Some(body) = body {
            request = request.header("content-type", MEDIA_TYPE).body(body.to_string());
        }
        // The address may hold a password, and the errors of the client tell the address.
        let away = |error: reqwest::Error| RegistryError::Unavailable(described(&error.without_url()));
        let mut response = request.send().await.map_err(away)?;
        let status = response.status();
        let mut text = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(away)? {
            text.extend_from_slice(&chunk);
            if text.len() > ANSWER_BYTES_MAX {
                return Err(RegistryError::Broken("the registry's answer is too long".to_owned()));
            }
        }
        match serde_json::from_slice(&text) {
            Ok(body) => Ok(Answer { status, body }),
            // A proxy in between writes pages.
            Err(_) if !status.is_success() => Ok(Answer { status, body: Value::Null }),
            Err(_) => Err(RegistryError::Broken("the registry's answer is not JSON".to_owned())),
        }
    }
}

fn described(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", described(source)),
        None => error.to_string(),
    }
}

fn avro(text: &str) -> Value {
    json!({"schema": text, "schemaType": "AVRO"})
}

impl Source for Remote {
    fn schema(&self, id: SchemaId) -> Asking<'_, Option<String>> {
        Box::pin(async move {
            let answer =
                self.ask(Method::GET, &["schemas", "ids", &id.to_string()], &[], None, ASK_TIMEOUT).await?;
            if answer.status == StatusCode::NOT_FOUND && answer.code() == 40403 {
                return Ok(None);
            }
            if !answer.status.is_success() {
                return Err(answer.refused());
            }
            let text = answer.body["schema"].as_str();
            let missing = || RegistryError::Broken("the registry answered without a schema".to_owned());
            text.map(|text| Some(text.to_owned())).ok_or_else(missing)
        })
    }

    fn id<'a>(&'a self, subject: &'a str, text: &'a str) -> Asking<'a, Option<SchemaId>> {
        Box::pin(async move {
            let answer = self
                .ask(
                    Method::POST,
                    &["subjects", subject],
                    // What was deleted since may still be written: its id stays what it is.
                    &[("deleted", "true")],
                    Some(avro(text)),
                    ASK_TIMEOUT,
                )
                .await?;
            match answer.code() {
                40401 | 40403 => Ok(None),
                _ if answer.status.is_success() => answer.id().map(Some),
                _ => Err(answer.refused()),
            }
        })
    }

    fn check<'a>(&'a self, subject: &'a str, text: &'a str) -> Asking<'a, Vec<String>> {
        Box::pin(async move {
            let path = ["compatibility", "subjects", subject, "versions"];
            let answer = self
                .ask(Method::POST, &path, &[("verbose", "true")], Some(avro(text)), REQUEST_TIMEOUT)
                .await?;
            if answer.code() == 40401 {
                return Ok(Vec::new());
            }
            if !answer.status.is_success() {
                return Err(answer.refused());
            }
            if answer.body["is_compatible"].as_bool() == Some(true) {
                return Ok(Vec::new());
            }
            let messages = answer.body["messages"].as_array().into_iter().flatten();
            let mut told: Vec<String> = messages.filter_map(|m| m.as_str().map(str::to_owned)).collect();
            if told.is_empty() {
                told.push("the registry says that it is incompatible, and not why".to_owned());
            }
            Ok(told)
        })
    }

    fn register<'a>(&'a self, subject: &'a str, text: &'a str) -> Asking<'a, SchemaId> {
        Box::pin(async move {
            let path = ["subjects", subject, "versions"];
            let answer = self.ask(Method::POST, &path, &[], Some(avro(text)), REQUEST_TIMEOUT).await?;
            if answer.status.is_success() { answer.id() } else { Err(answer.refused()) }
        })
    }

    fn set_level<'a>(&'a self, subject: &'a str, level: Level) -> Asking<'a, ()> {
        Box::pin(async move {
            let body = json!({"compatibility": level.name()});
            let answer =
                self.ask(Method::PUT, &["config", subject], &[], Some(body), REQUEST_TIMEOUT).await?;
            if answer.status.is_success() { Ok(()) } else { Err(answer.refused()) }
        })
    }
}
