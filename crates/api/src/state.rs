//! What every handler works with, and the two ways into the store, each with its deadline: the one
//! place where the store's errors become problems.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use domain::{
    command::{Action, Command},
    id::{CommandId, MerchantId},
    merchant::Merchant,
    time::Timestamp,
};
use store::{
    Store,
    error::ReadError,
    request::{Answer, Claim, Origin, Request},
    sql::Reads,
};
use telemetry::trace;

use crate::{event_stream::Streams, health::Health, openapi, problem::Problem, problem_kind};

#[derive(Clone)]
pub struct App(Arc<Parts>);

struct Parts {
    store: Store,
    limits: Limits,
    health: Health,
    streams: Streams,
    openapi: Bytes,
    problems_page: Bytes,
}

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For taking in the body, and again for the answer.
    pub request_timeout: Duration,
    pub body_bytes_max: usize,
    pub bulk_body_bytes_max: usize,
}

impl App {
    pub fn new(store: Store, limits: Limits, health: Health, streams: Streams) -> Self {
        Self(Arc::new(Parts {
            store,
            limits,
            health,
            streams,
            openapi: openapi::openapi_json().into(),
            problems_page: problem_kind::page().into(),
        }))
    }

    /// Hands a change to the store and waits until it is durable, or certainly is not. The store carries
    /// it out even if the client goes away meanwhile.
    pub async fn submit(
        &self,
        merchant_id: MerchantId,
        action: Action,
        claim: Option<Claim>,
        origin: Option<Origin>,
    ) -> Result<Answer, Problem> {
        let trace = trace::current().map(|scope| scope.trace);
        let command = Command { id: CommandId(trace::command_id()), merchant_id, action };
        let has_key = claim.is_some();
        let submitted = self.0.store.submit(Request { command, claim, origin, trace });
        match tokio::time::timeout(self.0.limits.request_timeout, submitted).await {
            Ok(answer) => answer.map_err(|error| Problem::submit(error, has_key)),
            Err(_) => Err(Problem::late_change(has_key)),
        }
    }

    /// Waits for a query of [`store::queries`] or [`store::lookup`].
    pub async fn read<T>(&self, query: impl Future<Output = Result<T, ReadError>>) -> Result<T, Problem> {
        match tokio::time::timeout(self.0.limits.request_timeout, query).await {
            Ok(found) => found.map_err(Problem::read),
            Err(_) => Err(Problem::late_read()),
        }
    }

    pub async fn merchant(&self, id: MerchantId) -> Result<Merchant, Problem> {
        let merchant = self.read(self.store().lookups().merchant(id)).await?;
        merchant.ok_or_else(|| Problem::merchant_not_found(id))
    }

    pub fn reads(&self) -> &dyn Reads {
        self.0.store.reads()
    }

    pub fn store(&self) -> &Store {
        &self.0.store
    }

    pub fn now(&self) -> Timestamp {
        self.0.store.now()
    }

    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub fn health(&self) -> &Health {
        &self.0.health
    }

    pub fn streams(&self) -> &Streams {
        &self.0.streams
    }

    pub fn openapi(&self) -> Bytes {
        self.0.openapi.clone()
    }

    pub fn problems_page(&self) -> Bytes {
        self.0.problems_page.clone()
    }
}
