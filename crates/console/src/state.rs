//! What every page works with.

use std::{sync::Arc, time::Duration};

use access::{Access, throttle::Slowdown};
use api::{Health, Tls};
use domain::time::Timestamp;
use store::{Store, error::ReadError, sql::Reads};
use telemetry::Registry;

use crate::{fault::Fault, pulse::Pulses};

/// For one query of a page; the browser of a person is not kept waiting for longer.
const QUERY_TIMEOUT: Duration = Duration::from_secs(5);

/// What the console shows, and acts on.
pub struct Parts {
    pub store: Store,
    pub access: Access,
    /// A withdrawal of more minor units is not decided by one operator alone.
    pub four_eyes_withdrawal_minor: i64,
    pub tls: Option<Tls>,
    pub health: Health,
    pub registry: Registry,
    pub transport: Transport,
    /// As the program runs by them.
    pub settings: Vec<Setting>,
    /// Where the API is, for the examples that pages show.
    pub api_url: String,
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
    sign_ins: Slowdown,
}

impl Console {
    pub fn new(parts: Parts) -> Self {
        let is_published = matches!(parts.transport, Transport::Kafka(_));
        let pulses = Pulses::new(parts.store.clone(), is_published);
        Self(Arc::new(Inner { parts, pulses, sign_ins: Slowdown::default() }))
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

    pub fn pulses(&self) -> &Pulses {
        &self.0.pulses
    }

    pub fn registry(&self) -> &Registry {
        &self.0.parts.registry
    }

    pub fn kafka(&self) -> Option<&stream::kafka::Settings> {
        match &self.0.parts.transport {
            Transport::Log => None,
            Transport::Kafka(settings) => Some(settings),
        }
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
