//! A connection over HTTP/1.1, kept open from request to request. It is driven by the caller that waits for the
//! answer, so that nothing is handed from task to task. One that breaks is opened anew at the next address.

use std::{
    error::Error as _,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
pub use hyper::header::HeaderValue;
use hyper::{
    Request, StatusCode,
    client::conn::http1,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::{net::TcpStream, time::timeout};
use uuid::Uuid;

use crate::{
    address::Address,
    connection::{Answer, Connection, Holdings, Payments, Resource, Verdict},
    operation::{Action, CURRENCY, Operation},
};

/// A connection that was silent for longer is opened anew, well before a server ends it.
const IDLE_MAX: Duration = Duration::from_secs(10);

type Driver = http1::Connection<TokioIo<TcpStream>, Full<Bytes>>;

pub struct HttpConnection {
    addresses: Arc<[Address]>,
    current: usize,
    open: Option<Open>,
    timeout: Duration,
    authorization: Option<HeaderValue>,
}

struct Open {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Pin<Box<Driver>>,
    used_at: Instant,
}

/// Why there is no answer.
enum Failure {
    Unsent(String),
    Unknown(String),
}

impl HttpConnection {
    /// Connections are dealt out to the addresses in turn. `timeout` is for a whole request.
    pub fn new(addresses: Arc<[Address]>, number: usize, timeout: Duration) -> Self {
        let current = number.checked_rem(addresses.len()).unwrap_or(0);
        Self { addresses, current, open: None, timeout, authorization: None }
    }

    /// What each request says of who asks.
    #[must_use]
    pub fn with_authorization(self, authorization: Option<HeaderValue>) -> Self {
        Self { authorization, ..self }
    }

    async fn request(
        &mut self,
        method: &str,
        path: &str,
        key: Option<Uuid>,
        body: String,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let limit = self.timeout;
        let result = timeout(limit, self.exchange(method, path, key, body)).await;
        let result = result.unwrap_or_else(|_| Err(Failure::Unknown(format!("no answer within {limit:?}"))));
        if result.is_err() {
            self.open = None;
            self.current = (self.current + 1) % self.addresses.len();
        }
        result
    }

    async fn exchange(
        &mut self,
        method: &str,
        path: &str,
        key: Option<Uuid>,
        body: String,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let address = &self.addresses[self.current];
        let mut open = match self.open.take() {
            Some(open) if open.used_at.elapsed() < IDLE_MAX && !open.sender.is_closed() => open,
            _ => Open::at(address).await?,
        };
        let uri = match (address.prefix.as_str(), path) {
            ("", "") => "/".to_owned(),
            (prefix, path) => format!("{prefix}{path}"),
        };
        let mut request = Request::builder().method(method).uri(uri).header(HOST, address.authority.as_str());
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(key) = key {
            request = request
                .header("idempotency-key", key.hyphenated().encode_lower(&mut Uuid::encode_buffer()) as &str);
        }
        let request = request.body(Full::from(body)).map_err(|error| Failure::Unsent(error.to_string()))?;
        let (answer, is_open) = open.exchange(request).await?;
        if is_open {
            open.used_at = Instant::now();
            self.open = Some(open);
        }
        Ok(answer)
    }

    async fn get<T: for<'a> Deserialize<'a>>(&mut self, path: &str) -> Result<T, String> {
        match self.request("GET", path, None, String::new()).await {
            Ok((StatusCode::OK, body)) => {
                serde_json::from_slice(&body).map_err(|error| format!("GET {path}: {error}"))
            }
            Ok((status, body)) => Err(format!("GET {path}: {status}, {}", String::from_utf8_lossy(&body))),
            Err(Failure::Unsent(reason) | Failure::Unknown(reason)) => Err(format!("GET {path}: {reason}")),
        }
    }
}

impl Open {
    async fn at(address: &Address) -> Result<Self, Failure> {
        let unsent = |reason: String| Failure::Unsent(format!("{address}: {reason}"));
        let stream =
            TcpStream::connect(&address.authority).await.map_err(|error| unsent(error.to_string()))?;
        stream.set_nodelay(true).map_err(|error| unsent(error.to_string()))?;
        let (sender, driver) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| unsent(error.to_string()))?;
        Ok(Self { sender, driver: Box::pin(driver), used_at: Instant::now() })
    }

    /// The answer, and whether the connection may be used again.
    async fn exchange(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<((StatusCode, Bytes), bool), Failure> {
        let Self { sender, driver, .. } = self;
        let mut exchange = pin!(async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            Ok((status, response.into_body().collect().await?.to_bytes()))
        });
        let (result, is_open): (Result<_, hyper::Error>, bool) = tokio::select! {
            biased;
            result = &mut exchange => (result, true),
            // It ended, perhaps right behind the answer.
            _ = driver => (exchange.await, false),
        };
        match result {
            Ok(answer) => Ok((answer, is_open)),
            Err(error) if error.is_canceled() => Err(Failure::Unsent(told(&error))),
            Err(error) => Err(Failure::Unknown(told(&error))),
        }
    }
}

fn told(error: &hyper::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

impl Connection for HttpConnection {
    async fn send(&mut self, operation: &Operation) -> Answer {
        let key = operation.kind().is_change().then_some(operation.key);
        match self.request(operation.method(), &operation.path(), key, operation.body()).await {
            Ok((status, body)) => answer(operation, status, &body),
            Err(Failure::Unsent(reason)) => Answer::without(Verdict::Unsent, reason),
            Err(Failure::Unknown(reason)) => Answer::without(Verdict::Unknown, reason),
        }
    }

    async fn holdings(&mut self, merchant: Uuid) -> Result<Holdings, String> {
        let base = format!("/api/merchants/{merchant}");
        let balances: Vec<BalanceBody> = self.get(&format!("{base}/balances")).await?;
        let proof: ProofBody =
            self.get(&format!("/api/admin/verify-balance/{merchant}?currency={CURRENCY}")).await?;
        let figures: AnalyticsBody = self.get(&format!("{base}/analytics")).await?;
        let balance = balances.into_iter().find(|balance| balance.currency == CURRENCY);
        let mut payments = Payments::default();
        for share in figures.status_distribution {
            *payments.of(&share.status).ok_or_else(|| format!("a payment is \"{}\"", share.status))? =
                share.count;
        }
        Ok(Holdings {
            available_minor: balance.as_ref().map_or(0, |balance| balance.available),
            pending_minor: balance.as_ref().map_or(0, |balance| balance.pending),
            entries_minor: proof
                .ledger_calculated_value
                .get()
                .parse()
                .map_err(|_| "a sum of entries is no integer".to_owned())?,
            payments,
        })
    }
}

impl Payments {
    /// The count of a status, by its name in the API.
    pub fn of(&mut self, status: &str) -> Option<&mut u64> {
        match status {
            "Pending" => Some(&mut self.pending),
            "Completed" => Some(&mut self.completed),
            "PartiallyRefunded" => Some(&mut self.partially_refunded),
            "Refunded" => Some(&mut self.refunded),
            "Failed" => Some(&mut self.failed),
            _ => None,
        }
    }
}

fn answer(operation: &Operation, status: StatusCode, body: &[u8]) -> Answer {
    let mut hasher = DefaultHasher::new();
    status.as_u16().hash(&mut hasher);
    body.hash(&mut hasher);
    let mut answer = Answer {
        verdict: verdict(status, body),
        status: Some(status.as_u16()),
        resources: Vec::new(),
        digest: hasher.finish(),
        reason: None,
    };
    if answer.verdict != Verdict::Ok {
        answer.reason = Some(format!("{status}: {}", String::from_utf8_lossy(body)));
        return answer;
    }
    match resources(operation, body) {
        Ok(resources) => answer.resources = resources,
        Err(error) => {
            answer.verdict = Verdict::Unknown;
            answer.reason = Some(format!("{status} with a body that cannot be read: {error}"));
        }
    }
    answer
}

fn verdict(status: StatusCode, body: &[u8]) -> Verdict {
    if status.is_success() {
        return Verdict::Ok;
    }
    if status.is_client_error() {
        return Verdict::Refused;
    }
    let code = serde_json::from_slice::<ProblemBody>(body).map(|problem| problem.code).unwrap_or_default();
    match code.as_str() {
        "busy" => Verdict::Busy,
        "unavailable" => Verdict::Unavailable,
        _ => Verdict::Unknown,
    }
}

fn resources(operation: &Operation, body: &[u8]) -> serde_json::Result<Vec<Resource>> {
    if !operation.kind().is_change() {
        return Ok(Vec::new());
    }
    let bodies: Vec<ResourceBody<'_>> = match operation.action {
        Action::Create { bulk: true, .. } => serde_json::from_slice(body)?,
        _ => vec![serde_json::from_slice(body)?],
    };
    let resource = |body: ResourceBody<'_>| Resource {
        id: body.id,
        amount_minor: body.amount_in_minor_units,
        status: body.status.to_owned(),
    };
    Ok(bodies.into_iter().map(resource).collect())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceBody<'a> {
    id: Uuid,
    #[serde(default)]
    amount_in_minor_units: i64,
    #[serde(default)]
    status: &'a str,
}

#[derive(Deserialize)]
struct ProblemBody {
    code: String,
}

#[derive(Deserialize)]
struct BalanceBody {
    currency: String,
    #[serde(rename = "availableBalanceInMinorUnits")]
    available: i64,
    #[serde(rename = "pendingBalanceInMinorUnits")]
    pending: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProofBody {
    /// May have more than 64 bits.
    ledger_calculated_value: Box<RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AnalyticsBody {
    status_distribution: Vec<StatusBody>,
}

#[derive(Deserialize)]
struct StatusBody {
    status: String,
    count: u64,
}
