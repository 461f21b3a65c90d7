//! Who asks, and whether they may. Every request passes here before anything is looked up for it: the operation's rule
//! says whose keys it takes ([`rules`]), the key says whose it is. With open access a request without a key is the
//! platform's; a key that is presented is checked in any case.
//!
//! A refusal says what the caller can do (RFC 6750 §3), and nothing about what there is: another merchant's path is
//! denied in the same way whether that merchant exists or not.

pub(crate) mod credentials;
mod limits;
pub mod rules;

use std::{
    convert::Infallible,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
};

use ::access::{Access, KeyRefusal, Mode, VerifiedKey};
use axum::{
    body::Body,
    extract::{ConnectInfo, MatchedPath},
    http::{
        HeaderValue, Request,
        header::{ALLOW, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use futures_util::future::{BoxFuture, Either, ready};
use telemetry::{metrics, metrics::Reason};
use tower::{Layer, Service};

pub use self::limits::{RATE_LIMIT, RATE_LIMIT_POLICY};
use self::{
    credentials::Presented,
    limits::{Limits, Standing},
    rules::{Denied, Reach, Rule},
};
use crate::{
    problem::Problem,
    problem_kind::{ACCESS_DENIED, METHOD_NOT_ALLOWED, UNAUTHENTICATED},
};

/// The challenges of RFC 6750 §3, with its error codes.
const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"FintechPlatform\"");
const INVALID_REQUEST: HeaderValue =
    HeaderValue::from_static("Bearer realm=\"FintechPlatform\", error=\"invalid_request\"");
const INVALID_TOKEN: HeaderValue =
    HeaderValue::from_static("Bearer realm=\"FintechPlatform\", error=\"invalid_token\"");
const INSUFFICIENT_SCOPE: HeaderValue =
    HeaderValue::from_static("Bearer realm=\"FintechPlatform\", error=\"insufficient_scope\"");

/// In the extensions of every request that a handler of `/api` gets, and of the answer to one with a key that is known.
#[derive(Clone, Debug)]
pub enum Asker {
    /// Nobody said; access is open.
    Anybody,
    Key(Arc<VerifiedKey>),
}

impl Asker {
    /// Whose idempotency keys a request's are. It names no key: a request that is repeated with the key that followed
    /// upon an expired one is still a repetition. A merchant's programs are one caller and the platform's are another,
    /// so that neither takes the other's key for its own; which merchant is meant stands beside it in the claim.
    ///
    /// The platform has the name that all callers had before there were keys, and that open access has: what the
    /// platform began before keys were required is repeated after it.
    pub fn idempotency_scope(&self) -> &'static str {
        match self {
            Self::Key(key) if key.caller.scope.merchant().is_some() => "merchant",
            Self::Key(_) | Self::Anybody => "anonymous",
        }
    }

    /// As the audit log has it; `None`: nobody who could be named.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Anybody => None,
            Self::Key(key) => Some(&key.caller.name),
        }
    }
}

/// Puts the guard before routes.
#[derive(Clone)]
pub struct GuardLayer(Arc<Guard>);

struct Guard {
    access: Access,
    limits: Limits,
}

/// A route behind the guard.
#[derive(Clone)]
pub struct Guarded<S> {
    guard: Arc<Guard>,
    inner: S,
}

/// What can be said of a request without waiting.
enum Sight {
    /// Whoever it is.
    Public,
    Anybody,
    Key(Reach, Presented),
}

impl GuardLayer {
    /// `requests_per_second_max` is for keys that have no limit of their own; `None`: as many as they like.
    pub fn new(access: Access, requests_per_second_max: Option<u32>) -> Self {
        Self(Arc::new(Guard { access, limits: Limits::new(requests_per_second_max) }))
    }
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guarded<S>;

    fn layer(&self, inner: S) -> Guarded<S> {
        Guarded { guard: Arc::clone(&self.0), inner }
    }
}

/// Without a key nothing is awaited and nothing allocated, so that open access costs a look at the table.
impl<S> Service<Request<Body>> for Guarded<S>
where
    S: Service<Request<Body>, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Either<S::Future, BoxFuture<'static, Result<Response, Infallible>>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        match self.guard.see(&request) {
            Ok(Sight::Public) => Either::Left(self.inner.call(request)),
            Ok(Sight::Anybody) => {
                request.extensions_mut().insert(Asker::Anybody);
                Either::Left(self.inner.call(request))
            }
            Ok(Sight::Key(reach, presented)) => {
                // The one that was asked whether it is ready.
                let inner = self.inner.clone();
                let mut inner = std::mem::replace(&mut self.inner, inner);
                let guard = Arc::clone(&self.guard);
                Either::Right(Box::pin(async move {
                    let key = match guard.identify(address_of(&request), &presented).await {
                        Ok(key) => key,
                        Err(refusal) => return Ok(*refusal),
                    };
                    let mut response = match guard.admit(&mut request, reach, &key) {
                        Ok(standing) => {
                            let mut response = inner.call(request).await?;
                            standing.show(&mut response);
                            response
                        }
                        Err(refusal) => *refusal,
                    };
                    // For the record of requests.
                    response.extensions_mut().insert(Asker::Key(key));
                    Ok(response)
                }))
            }
            Err(refusal) => Either::Right(Box::pin(ready(Ok(*refusal)))),
        }
    }
}

impl Guard {
    fn see(&self, request: &Request<Body>) -> Result<Sight, Box<Response>> {
        // What no route has is not found, whoever asks.
        let Some(path) = request.extensions().get::<MatchedPath>() else { return Ok(Sight::Public) };
        let reach = match rules::rule(request.method(), path.as_str()) {
            Rule::Of(Reach::Public) => return Ok(Sight::Public),
            Rule::Of(reach) => reach,
            Rule::OtherMethods => return Err(Box::new(method_not_allowed(path.as_str()))),
            Rule::None => {
                return Err(Box::new(
                    Problem::internal(format!("no rule for {}", path.as_str())).into_response(),
                ));
            }
        };
        let presented = credentials::of(request.headers(), request.uri()).map_err(|problem| {
            let challenge = if problem.kind() == UNAUTHENTICATED { CHALLENGE } else { INVALID_REQUEST };
            Box::new(refused(problem, challenge, "malformed"))
        })?;
        match presented {
            Some(presented) => Ok(Sight::Key(reach, presented)),
            None if self.access.mode() == Mode::Open => Ok(Sight::Anybody),
            None => {
                let told = "Send a key as Authorization: Bearer fk_live_…";
                Err(Box::new(refused(Problem::new(UNAUTHENTICATED, told), CHALLENGE, "no_key")))
            }
        }
    }

    /// Whose key it is, or the refusal. One that was used within the last seconds is in memory; only another one is
    /// waited for.
    async fn identify(
        &self,
        address: Option<IpAddr>,
        presented: &Presented,
    ) -> Result<Arc<VerifiedKey>, Box<Response>> {
        let found = self.access.key(presented.text()).await;
        found.map_err(|refusal| Box::new(self.not_let_in(refusal, address)))
    }

    /// Lets the request in, with its caller in its extensions, or gives the refusal.
    fn admit(
        &self,
        request: &mut Request<Body>,
        reach: Reach,
        key: &Arc<VerifiedKey>,
    ) -> Result<Standing, Box<Response>> {
        let standing = self.limits.count(key).inspect_err(|_| count_refused("rate"))?;
        let template = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
        if let Err(denied) = reach.check(&key.caller, template, request.uri().path()) {
            let mut response = not_allowed(denied);
            standing.show(&mut response);
            return Err(Box::new(response));
        }
        request.extensions_mut().insert(Asker::Key(Arc::clone(key)));
        Ok(standing)
    }

    fn not_let_in(&self, refusal: KeyRefusal, address: Option<IpAddr>) -> Response {
        let (told, reason) = match refusal {
            KeyRefusal::Unavailable(error) => return Problem::read(error).into_response(),
            KeyRefusal::Unknown => ("There is no such key.", "unknown"),
            KeyRefusal::Expired => ("This key has expired; use the one that followed upon it.", "expired"),
            KeyRefusal::Revoked => ("This key was revoked; use another one.", "revoked"),
        };
        if let Some(slowed) = address.and_then(|address| self.limits.count_failure(address)) {
            count_refused("rate");
            return slowed;
        }
        refused(Problem::new(UNAUTHENTICATED, told), INVALID_TOKEN, reason)
    }
}

/// Where the connection comes from. What a header says of it anybody can write.
fn address_of(request: &Request<Body>) -> Option<IpAddr> {
    request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip())
}

fn not_allowed(denied: Denied) -> Response {
    let (told, reason) = match denied {
        Denied::NotYours => {
            let told = "This is not for this key: it belongs to the platform or to another merchant.";
            (told.to_owned(), "not_yours")
        }
        Denied::RoleTooLow(role) => (format!("This needs a key of the role {role} or a higher one."), "role"),
    };
    refused(Problem::new(ACCESS_DENIED, told), INSUFFICIENT_SCOPE, reason)
}

fn count_refused(reason: &'static str) {
    metrics().access_refused.get_or_create(&Reason { reason }).inc();
}

fn refused(problem: Problem, challenge: HeaderValue, reason: &'static str) -> Response {
    count_refused(reason);
    let mut response = problem.into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    response
}

fn method_not_allowed(path: &str) -> Response {
    let mut response = Problem::new(METHOD_NOT_ALLOWED, METHOD_NOT_ALLOWED.description).into_response();
    response.headers_mut().insert(ALLOW, rules::allowed(path));
    response
}
