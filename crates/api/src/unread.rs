//! A request that is answered before its body was read: what is left of the body would be taken for the next request, so the
//! connection ends behind the answer, and the answer says so. Otherwise a caller that keeps connections would send its next
//! request into one that is being closed.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    body::{Body, Bytes, HttpBody},
    http::{HeaderValue, Request, Version, header::CONNECTION},
    middleware::Next,
    response::Response,
};
use hyper::body::{Frame, SizeHint};

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// A layer around all routes of a port.
pub async fn told(request: Request<Body>, next: Next) -> Response {
    // HTTP/2 ends the stream alone.
    if request.body().is_end_stream() || request.version() >= Version::HTTP_2 {
        return next.run(request).await;
    }
    let is_read = Arc::new(AtomicBool::new(false));
    let followed = |body| Body::new(Followed { body, is_read: is_read.clone() });
    let mut response = next.run(request.map(followed)).await;
    if !is_read.load(Ordering::Relaxed) {
        response.headers_mut().insert(CONNECTION, CLOSE);
    }
    response
}

struct Followed {
    body: Body,
    is_read: Arc<AtomicBool>,
}

impl HttpBody for Followed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.is_read.store(true, Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
