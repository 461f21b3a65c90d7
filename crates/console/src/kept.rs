//! What is too much work to find out for everybody who looks: found out by one, beside them, and kept for a while.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use domain::time::Timestamp;
use store::error::ReadError;
use tokio::{sync::watch, time::timeout};

/// A value as it was found last. Clones share it.
pub struct Kept<T>(Arc<Inner<T>>);

struct Inner<T> {
    kept_micros: i64,
    latest: watch::Sender<Option<Found<T>>>,
    is_being_found: AtomicBool,
}

struct Found<T> {
    at: Timestamp,
    value: Arc<T>,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Clone for Found<T> {
    fn clone(&self) -> Self {
        Self { at: self.at, value: self.value.clone() }
    }
}

/// Somebody finds anew, until this is dropped.
struct Finding<T>(Arc<Inner<T>>);

impl<T> Drop for Finding<T> {
    fn drop(&mut self) {
        self.0.is_being_found.store(false, Ordering::Release);
    }
}

impl<T: Send + Sync + 'static> Kept<T> {
    pub fn new(kept_micros: i64) -> Self {
        let (latest, is_being_found) = (watch::Sender::new(None), AtomicBool::new(false));
        Self(Arc::new(Inner { kept_micros, latest, is_being_found }))
    }

    /// As it was found last. What is old is found anew beside those who look, who wait for it this long; in vain, they are
    /// given the one of before, if there is one.
    pub async fn get(
        &self,
        now: Timestamp,
        patience: Duration,
        find: impl Future<Output = Result<T, ReadError>> + Send + 'static,
    ) -> Option<Arc<T>> {
        let mut found = self.0.latest.subscribe();
        let kept = found.borrow_and_update().clone();
        if let Some(Found { at, value }) = kept
            && now.as_micros() - at.as_micros() < self.0.kept_micros
        {
            return Some(value);
        }
        if !self.0.is_being_found.swap(true, Ordering::AcqRel) {
            let inner = self.0.clone();
            tokio::spawn(async move {
                // Also when it ends by a panic: the next look finds anew.
                let finding = Finding(inner);
                let inner = &finding.0;
                match find.await {
                    Ok(value) => {
                        inner.latest.send_replace(Some(Found { at: now, value: Arc::new(value) }));
                    }
                    Err(error) => tracing::debug!(%error, "the console could not find out a number"),
                }
            });
        }
        drop(timeout(patience, found.changed()).await);
        self.0.latest.borrow().as_ref().map(|found| found.value.clone())
    }
}
