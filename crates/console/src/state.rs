//! What every page works with.

use std::{sync::Arc, time::Duration};

use access::{Access, throttle::Slowdown};
use api::{Health, Tls};
use domain::time::Timestamp;
use store::{Store, error::ReadError, sql::Reads};
use stream::{
    consumer::Consumer,
    kafka::{browse::Browser, values::Values},
};
use telemetry::trace::TraceContext;
use tokio::sync::{Notify, Semaphore};

use crate::{fault::Fault, pages::live::FOLLOWERS_MAX, pulse::Pulses};

/// For one query of a page; the browser of a person is not kept waiting for longer.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);
/// Who follows the log live in this process, at once.
const TAILS_MAX: usize = 32;

/// In the address of a page that shows a trace.
pub const TRACE_ID: &str = "{traceId}";

/// What the console shows, and acts on.
pub struct Parts {
    pub store: Store,
    pub access: Access,
    /// A withdrawal of more minor units is not decided by one operator alone.
    pub four_eyes_withdrawal_minor: i64,
    pub tls: Option<Tls>,
    pub health: Health,
    pub transport: Transport,
    /// All that this program knows, wherever they run.
    pub consumers: Vec<Arc<dyn Consumer>>,
    /// Wakes the reconciliation of this process; `None`: it has not that role.
    pub reconcile_now: Option<Arc<Notify>>,
    /// How values on Kafka are read.
    pub values: Values,
    /// As the program runs by them.
    pub settings: Vec<Setting>,
    /// Where the API is, for the examples that pages show.
    pub api_url: String,
    /// Where a trace is shown, with [`TRACE_ID`] in its place.
    pub trace_url: Option<String>,
}

/// How events reach consumers.
#[derive(Clone)]
pub enum Transport {
    /// Consumers read the log itself.
    Log,
    Kafka(Box<stream::kafka::Settings>),
}

/// A setting as it may be shown: nothing secret.
#[derive(Clone, Debug)]
pub struct Setting {
    pub key: &'static str,
    pub value: String,
    /// Where the value comes from.
    pub source: String,
    pub sentence: &'static str,
}

#[derive(Clone)]
pub(crate) struct Console(Arc<Inner>);

struct Inner {
    parts: Parts,
    pulses: Pulses,
    followers: Arc<Semaphore>,
    sign_ins: Slowdown,
    browser: Option<Browser>,
    tails: Arc<Semaphore>,
}

impl Console {
    pub fn new(parts: Parts) -> Self {
        let browser = match &parts.transport {
            Transport::Log => None,
            Transport::Kafka(settings) => Some(Browser::new(settings.as_ref().clone(), parts.values.clone())),
        };
        let pulses = Pulses::new(parts.store.clone(), browser.is_some());
        let sign_ins = Slowdown::default();
        let tails = Arc::new(Semaphore::new(TAILS_MAX));
        let followers = Arc::new(Semaphore::new(FOLLOWERS_MAX));
        Self(Arc::new(Inner { parts, pulses, followers, sign_ins, browser, tails }))
    }

    pub fn store(&self) -> &Store {
        &self.0.parts.store
    }

    pub fn db(&self) -> &dyn Reads {
        self.0.parts.store.reads()
    }

    pub fn now(&self) -> Timestamp {
        self.0.parts.store.now()
    }

    pub fn health(&self) -> &Health {
        &self.0.parts.health
    }

    pub fn access(&self) -> &Access {
        &self.0.parts.access
    }

    /// Those who failed to sign in, by address.
    pub fn sign_ins(&self) -> &Slowdown {
        &self.0.sign_ins
    }

    pub fn four_eyes_withdrawal_minor(&self) -> i64 {
        self.0.parts.four_eyes_withdrawal_minor
    }

    /// Room for those who follow live.
    pub fn followers(&self) -> &Arc<Semaphore> {
        &self.0.followers
    }

    pub fn pulses(&self) -> &Pulses {
        &self.0.pulses
    }

    pub fn kafka(&self) -> Option<&stream::kafka::Settings> {
        match &self.0.parts.transport {
            Transport::Log => None,
            Transport::Kafka(settings) => Some(settings),
        }
    }

    /// Looks into Kafka; `None`: there is none.
    pub fn browser(&self) -> Option<&Browser> {
        self.0.browser.as_ref()
    }

    pub fn consumers(&self) -> &[Arc<dyn Consumer>] {
        &self.0.parts.consumers
    }

    pub fn consumer(&self, name: &str) -> Option<&Arc<dyn Consumer>> {
        self.consumers().iter().find(|consumer| consumer.name() == name)
    }

    pub fn tails(&self) -> &Arc<Semaphore> {
        &self.0.tails
    }

    pub fn reconcile_now(&self) -> Option<&Notify> {
        self.0.parts.reconcile_now.as_deref()
    }

    /// Where a trace is shown that is kept.
    pub fn trace_href(&self, trace: &TraceContext) -> Option<String> {
        let url = self.0.parts.trace_url.as_ref().filter(|_| trace.is_sampled())?;
        Some(url.replace(TRACE_ID, &trace.trace_id_text()))
    }

    pub fn api_url(&self) -> String {
        self.0.parts.api_url.clone()
    }

    pub fn settings(&self) -> &[Setting] {
        &self.0.parts.settings
    }

    /// Waits for a query, for as long as a person would.
    pub async fn read<T>(&self, query: impl Future<Output = Result<T, ReadError>>) -> Result<T, Fault> {
        match tokio::time::timeout(QUERY_TIMEOUT, query).await {
            Ok(found) => found.map_err(Fault::read),
            Err(_) => Err(Fault::late()),
        }
    }
}
