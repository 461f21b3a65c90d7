//! What the code that runs now works for: log lines name it, and what it writes is part of it.

use std::{cell::Cell, sync::Arc};

use uuid::Uuid;

use super::{Span, TraceContext};

tokio::task_local! {
    static SCOPE: Scope;
}

/// A request that is answered, or an event that is handled.
#[derive(Clone, Debug)]
pub struct Scope {
    pub trace: TraceContext,
    /// The trace's id, where it began with this request: its first command has the same.
    root: Cell<Option<Uuid>>,
    pub request_id: Option<Arc<str>>,
}

impl Scope {
    /// Of an event.
    pub const fn of(trace: TraceContext) -> Self {
        Self { trace, root: Cell::new(None), request_id: None }
    }

    /// Of a request that this span answers.
    pub fn of_request(span: &Span, request_id: &str) -> Self {
        let root = Cell::new(span.root());
        Self { trace: span.context(), root, request_id: Some(Arc::from(request_id)) }
    }
}

/// Has the future work for it.
pub async fn within<F: Future>(scope: Scope, work: F) -> F::Output {
    SCOPE.scope(scope, work).await
}

pub fn within_sync<T>(scope: Scope, work: impl FnOnce() -> T) -> T {
    SCOPE.sync_scope(scope, work)
}

/// An id for a command of what is worked on. The events of a command need not say which trace they are part of when it has
/// the trace's own id.
pub fn command_id() -> Uuid {
    SCOPE.try_with(|scope| scope.root.take()).ok().flatten().unwrap_or_else(Uuid::now_v7)
}

pub fn current() -> Option<Scope> {
    SCOPE.try_with(Clone::clone).ok()
}
