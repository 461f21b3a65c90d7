//! The record of requests for the console: what was asked, by whom, and how it went. Never a body or a query, and of the
//! path only what cannot be a secret.
//!
//! Payments must not notice it. A request is handed over without waiting, up to a number a second of each class; above it,
//! one atomic addition is all that a request costs, and how many there were is recorded in its place. One task writes once
//! a second. Of what was handed over it keeps errors before changes and changes before reads.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ::access::{Access, Caller, Mode};
use axum::{
    body::Body,
    extract::MatchedPath,
    http::{HeaderValue, Method, Request, StatusCode, Uri, header::AUTHORIZATION},
    response::Response,
};
use domain::{id::MerchantId, time::Timestamp};
use store::{
    Store,
    error::ReadError,
    request_log::{self, ApiRequest, ERROR_STATUS_MIN, LeftOut},
};
use telemetry::metrics;
use tokio::{
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, timeout},
};
use uuid::Uuid;

use crate::access::Asker;

/// Who presented a key that is not known, or nothing where a key is required.
const UNKNOWN_CALLER: &str = "unknown";
/// Stands for a segment of a path that may be something secret.
const MASKED: &str = "{masked}";

const WRITE_INTERVAL: Duration = Duration::from_secs(1);
/// The last write, when the program stops; the database may be away.
const LAST_WRITE_TIMEOUT: Duration = Duration::from_millis(500);
/// Rows that wait while the database is away; more are counted.
const UNWRITTEN_ROWS_MAX: usize = 10_000;
/// Seconds whose counts wait while the database is away; later ones are added to the last.
const UNWRITTEN_SECONDS_MAX: usize = 600;
const PATH_CHARS_MAX: usize = 300;
/// A longer segment, or one with more digits, is masked unless it is an id: bank numbers have more, and keys.
const SEGMENT_CHARS_MAX: usize = 40;
const SEGMENT_DIGITS_MAX: usize = 5;

/// In the order in which they are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Error,
    Change,
    Read,
}

const CLASSES: [Class; 3] = [Class::Error, Class::Change, Class::Read];

/// Takes requests in; `None`: nobody wants them.
#[derive(Clone)]
pub struct Recorder(Option<Arc<Inner>>);

struct Inner {
    access: Access,
    store: Store,
    kept_per_second_max: u64,
    /// Answered in this second, by class.
    answered: [AtomicU64; 3],
    /// Of those that were to be handed over: there was no room.
    lost: [AtomicU64; 3],
    queue: mpsc::Sender<(Class, ApiRequest)>,
}

/// What is known of a request when it comes.
pub struct Arrival {
    began: Instant,
    method: Method,
    route: Option<MatchedPath>,
    uri: Uri,
    has_key: bool,
}

/// Writes what the recorder took in.
pub struct Writer {
    inner: Arc<Inner>,
    inbox: mpsc::Receiver<(Class, ApiRequest)>,
    requests: Vec<ApiRequest>,
    left_out: Vec<LeftOut>,
    is_database_away: bool,
}

/// A recorder and its writer; `kept_per_second_max` of 0 records nothing.
pub fn begin(store: Store, access: Access, kept_per_second_max: u32) -> (Recorder, Option<Writer>) {
    if kept_per_second_max == 0 {
        return (Recorder::off(), None);
    }
    // What is handed over in a second, and in the next one while the first is being written.
    let room = usize::try_from(kept_per_second_max).unwrap_or(usize::MAX).saturating_mul(CLASSES.len() * 2);
    let (queue, inbox) = mpsc::channel(room);
    let inner = Arc::new(Inner {
        access,
        store,
        kept_per_second_max: kept_per_second_max.into(),
        answered: Default::default(),
        lost: Default::default(),
        queue,
    });
    let recorder = Recorder(Some(Arc::clone(&inner)));
    let (requests, left_out) = (Vec::new(), Vec::new());
    (recorder, Some(Writer { inner, inbox, requests, left_out, is_database_away: false }))
}

impl Arrival {
    pub fn of(request: &Request<Body>) -> Self {
        Self {
            began: Instant::now(),
            method: request.method().clone(),
            route: request.extensions().get::<MatchedPath>().cloned(),
            uri: request.uri().clone(),
            has_key: request.headers().contains_key(AUTHORIZATION),
        }
    }

    pub const fn method(&self) -> &Method {
        &self.method
    }

    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// Probes and pages of the documentation are not what anybody looks for here; what no route has is.
    fn is_wanted(&self) -> bool {
        self.route.as_ref().is_none_or(|route| route.as_str().starts_with("/api/"))
    }
}

impl Recorder {
    pub const fn off() -> Self {
        Self(None)
    }

    /// `problem` is the code of what it was answered with, if that was an error.
    pub fn record(
        &self,
        arrival: &Arrival,
        response: &Response,
        problem: Option<&'static str>,
        id: &HeaderValue,
    ) {
        let Some(inner) = &self.0 else { return };
        if !arrival.is_wanted() {
            return;
        }
        let class = Class::of(&arrival.method, response.status());
        let before = inner.answered[class.number()].fetch_add(1, Ordering::Relaxed);
        if before < inner.kept_per_second_max {
            let row = inner.row(arrival, response, problem, id);
            if inner.queue.try_send((class, row)).is_err() {
                inner.lost[class.number()].fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Inner {
    fn row(
        &self,
        arrival: &Arrival,
        response: &Response,
        problem: Option<&'static str>,
        id: &HeaderValue,
    ) -> ApiRequest {
        let micros = i64::try_from(arrival.began.elapsed().as_micros()).unwrap_or(i64::MAX);
        let at = Timestamp::from_micros(self.store.now().as_micros().saturating_sub(micros));
        let (route, path) = (arrival.route.as_ref().map_or("", MatchedPath::as_str), arrival.path());
        let asker = response.extensions().get::<Asker>();
        let of_key = match asker {
            Some(Asker::Key(key)) => key.caller.scope.merchant(),
            Some(Asker::Anybody) | None => None,
        };
        ApiRequest {
            id: request_log::id_of(at),
            at,
            method: method_name(&arrival.method).to_owned(),
            route: route.to_owned(),
            path: kept_path(path),
            status: response.status().as_u16(),
            micros,
            caller: self.caller(arrival, asker),
            merchant_id: merchant_of(route, path).or(of_key),
            request_id: id.to_str().unwrap_or_default().to_owned(),
            problem: problem.map(str::to_owned),
        }
    }

    fn caller(&self, arrival: &Arrival, asker: Option<&Asker>) -> String {
        match asker {
            Some(Asker::Key(key)) => key.caller.name.clone(),
            // The guard says nothing of whom it did not let in, nor of those who need no key.
            Some(Asker::Anybody) | None => match self.access.mode() {
                Mode::Open if !arrival.has_key => Caller::open().name,
                Mode::Open | Mode::Required => UNKNOWN_CALLER.to_owned(),
            },
        }
    }
}

impl Writer {
    /// Writes once a second until the program ends, and then what is left.
    pub async fn run(mut self, mut ending: watch::Receiver<bool>) {
        let mut seconds = interval(WRITE_INTERVAL);
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut second_began = self.inner.store.now();
        loop {
            let is_end = tokio::select! {
                _ = seconds.tick() => false,
                // Whoever could say it is gone: that is the same.
                _ = ending.wait_for(|is_ending| *is_ending) => true,
            };
            self.gather(second_began);
            second_began = self.inner.store.now();
            if is_end {
                if timeout(LAST_WRITE_TIMEOUT, self.write()).await.is_err() {
                    tracing::warn!("the last requests are not in the record: the database did not answer");
                }
                return;
            }
            self.write().await;
        }
    }

    /// Takes the second's requests, chooses those that are kept, and counts the others.
    fn gather(&mut self, second: Timestamp) {
        let most = self.inner.kept_per_second_max;
        let above = |class: Class| {
            let number = class.number();
            let answered = self.inner.answered[number].swap(0, Ordering::Relaxed);
            answered.saturating_sub(most) + self.inner.lost[number].swap(0, Ordering::Relaxed)
        };
        let mut left_out = CLASSES.map(above);
        let mut taken = Vec::new();
        while let Ok(request) = self.inbox.try_recv() {
            taken.push(request);
        }
        let kept_max = usize::try_from(most).unwrap_or(usize::MAX);
        let kept_max = kept_max.min(UNWRITTEN_ROWS_MAX.saturating_sub(self.requests.len()));
        for class in keep(&mut taken, kept_max) {
            left_out[class.number()] += 1;
        }
        self.requests.extend(taken.into_iter().map(|(_, request)| request));
        let [errors, changes, reads] = left_out.map(|count| i64::try_from(count).unwrap_or(i64::MAX));
        let not_kept = errors + changes + reads;
        if not_kept == 0 {
            return;
        }
        metrics().requests_not_kept.inc_by(not_kept.unsigned_abs());
        let are_many = self.left_out.len() >= UNWRITTEN_SECONDS_MAX;
        match self.left_out.last_mut() {
            Some(last) if are_many => {
                last.errors += errors;
                last.changes += changes;
                last.reads += reads;
            }
            _ => self.left_out.push(LeftOut { id: request_log::id_of(second), errors, changes, reads }),
        }
    }

    /// What could not be written is written with the next second: what is answered while the database is away is what
    /// people will look for.
    async fn write(&mut self) {
        if self.requests.is_empty() && self.left_out.is_empty() {
            return;
        }
        match request_log::append(&self.inner.store, &self.requests, &self.left_out).await {
            Ok(()) => self.is_database_away = false,
            Err(ReadError::Unavailable(error)) => {
                if !self.is_database_away {
                    tracing::warn!(error, "requests are not recorded for now; it is tried again");
                }
                self.is_database_away = true;
                return;
            }
            Err(error @ ReadError::Invalid(_)) => tracing::error!(%error, "requests could not be recorded"),
        }
        self.requests.clear();
        self.left_out.clear();
    }
}

/// Leaves so many at most, by their class and then as they came; gives the class of each that was taken out.
fn keep(requests: &mut Vec<(Class, ApiRequest)>, kept_max: usize) -> Vec<Class> {
    // Stable.
    requests.sort_by_key(|(class, _)| class.number());
    requests.drain(kept_max.min(requests.len())..).map(|(class, _)| class).collect()
}

impl Class {
    fn of(method: &Method, status: StatusCode) -> Self {
        match *method {
            _ if status.as_u16() >= ERROR_STATUS_MIN => Self::Error,
            Method::GET | Method::HEAD | Method::OPTIONS => Self::Read,
            _ => Self::Change,
        }
    }

    const fn number(self) -> usize {
        self as usize
    }
}

/// HTTP allows any word; a list of them is to stay short.
fn method_name(method: &Method) -> &str {
    match *method {
        Method::GET
        | Method::HEAD
        | Method::POST
        | Method::PATCH
        | Method::PUT
        | Method::DELETE
        | Method::OPTIONS => method.as_str(),
        _ => "OTHER",
    }
}

/// A path may hold anything: a bank number that was put in the wrong place, a key. Ids and words are kept.
fn kept_path(path: &str) -> String {
    let segments: Vec<&str> =
        path.split('/').map(|segment| if is_plain(segment) { segment } else { MASKED }).collect();
    segments.join("/").chars().take(PATH_CHARS_MAX).collect()
}

fn is_plain(segment: &str) -> bool {
    let digits = segment.bytes().filter(u8::is_ascii_digit).count();
    (segment.len() <= SEGMENT_CHARS_MAX && digits <= SEGMENT_DIGITS_MAX)
        || (segment.len() == 36 && Uuid::parse_str(segment).is_ok())
}

/// Which merchant's the path is.
fn merchant_of(route: &str, path: &str) -> Option<MerchantId> {
    let (_, text) = route.split('/').zip(path.split('/')).find(|(name, _)| *name == "{merchantId}")?;
    Uuid::parse_str(text).ok().map(MerchantId)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(class: Class, number: i64) -> (Class, ApiRequest) {
        let at = Timestamp::from_micros(number);
        let request = ApiRequest {
            id: request_log::id_of(at),
            at,
            method: "GET".to_owned(),
            route: String::new(),
            path: String::new(),
            status: 200,
            micros: number,
            caller: String::new(),
            merchant_id: None,
            request_id: String::new(),
            problem: None,
        };
        (class, request)
    }

    #[test]
    fn errors_are_kept_before_changes_and_changes_before_reads() {
        let of = |classes: &[Class]| -> Vec<_> {
            (1_i64..).zip(classes).map(|(number, class)| request(*class, number)).collect()
        };
        let all = [Class::Read, Class::Change, Class::Read, Class::Error, Class::Change, Class::Error];
        for (kept_max, kept, left_out) in [
            (6, vec![4, 6, 2, 5, 1, 3], vec![]),
            (4, vec![4, 6, 2, 5], vec![Class::Read, Class::Read]),
            (3, vec![4, 6, 2], vec![Class::Change, Class::Read, Class::Read]),
            (
                0,
                vec![],
                vec![Class::Error, Class::Error, Class::Change, Class::Change, Class::Read, Class::Read],
            ),
        ] {
            let mut requests = of(&all);
            assert_eq!(keep(&mut requests, kept_max), left_out);
            let numbers: Vec<i64> = requests.iter().map(|(_, request)| request.micros).collect();
            assert_eq!(numbers, kept);
        }
    }

    #[test]
    fn a_request_has_a_class() {
        assert_eq!(Class::of(&Method::GET, StatusCode::OK), Class::Read);
        assert_eq!(Class::of(&Method::GET, StatusCode::NOT_FOUND), Class::Error);
        assert_eq!(Class::of(&Method::POST, StatusCode::CREATED), Class::Change);
        assert_eq!(Class::of(&Method::PATCH, StatusCode::SERVICE_UNAVAILABLE), Class::Error);
        assert_eq!(method_name(&Method::from_bytes(b"STEAL").unwrap()), "OTHER");
    }

    /// Failure mode: a bank number or a key in the path is kept for ever.
    #[test]
    fn of_a_path_only_ids_and_words_are_kept() {
        let id = "019a0000-0000-7000-8000-000000000001";
        for (path, kept) in [
            (format!("/api/merchants/{id}/payments"), format!("/api/merchants/{id}/payments")),
            ("/api/merchants/99887766554433221100".to_owned(), "/api/merchants/{masked}".to_owned()),
            ("/api/%39%39%38%38%37%37/x".to_owned(), "/api/{masked}/x".to_owned()),
            (format!("/api/{}", "k".repeat(41)), "/api/{masked}".to_owned()),
            ("/".to_owned(), "/".to_owned()),
        ] {
            assert_eq!(kept_path(&path), kept);
        }
        assert_eq!(kept_path(&"/word".repeat(1000)).len(), PATH_CHARS_MAX);
    }

    #[test]
    fn the_merchant_stands_in_the_path() {
        let id = Uuid::from_u128(7);
        let route = "/api/merchants/{merchantId}/payments/{paymentId}";
        assert_eq!(merchant_of(route, &format!("/api/merchants/{id}/payments/x")), Some(MerchantId(id)));
        assert_eq!(merchant_of(route, "/api/merchants/me/payments/x"), None);
        assert_eq!(merchant_of("/api/merchants", "/api/merchants"), None);
    }
}
