//! A page whose beginning is sent while what it shows is still looked for.
//!
//! What is found soon is a page like any other, with a status of its own. Of a look that takes longer the browser has the
//! page's beginning at once, its form and its navigation, and the rest when it is found; that nothing could be found then
//! stands in the page, because its status is gone already.

use std::{convert::Infallible, time::Duration};

use askama::Template;
use axum::{
    body::Body,
    http::{Extensions, HeaderMap, HeaderValue, StatusCode, Version, header},
    response::{Html, IntoResponse as _, Response},
};
use futures_util::stream::{self, StreamExt as _};
use telemetry::trace;
use tokio::time::timeout;

use crate::fault::{Fault, render};

/// A person takes what comes sooner for at once.
const BEGUN_AFTER: Duration = Duration::from_millis(50);
/// Stands in a template before the first thing that depends on what is found.
const FOUND: &str = "<!-- found -->";

/// In the extensions of an answer: it goes out piece by piece, and a compressor would keep the first one.
#[derive(Clone, Copy)]
struct InPieces;

/// Waits for a look and shows it; begins the page without it when it takes long. `page` makes the same text up to the
/// template's mark whatever it is given.
pub async fn show<T, P>(
    look: impl Future<Output = Result<T, Fault>> + Send + 'static,
    page: impl Fn(Result<T, Fault>) -> P + Send + 'static,
) -> Result<Response, Fault>
where
    T: Default + Send + 'static,
    P: Template,
{
    let mut look = Box::pin(look);
    if let Ok(found) = timeout(BEGUN_AFTER, &mut look).await {
        return render(&page(Ok(found?)));
    }
    let (beginning, _) = halves(&page(Ok(T::default())))?;
    let scope = trace::current();
    let rest = async move {
        // The answer is sent when the request is answered already: what goes wrong belongs to it all the same.
        let found = match scope {
            Some(scope) => trace::within(scope, look).await,
            None => look.await,
        };
        // What is wrong with the template was seen with the beginning.
        halves(&page(found)).map(|(_, rest)| rest).unwrap_or_default()
    };
    let pieces = stream::iter([beginning]).chain(stream::once(rest)).map(Ok::<_, Infallible>);
    let mut response = Html(Body::from_stream(pieces)).into_response();
    response.extensions_mut().insert(InPieces);
    // The same for a proxy before the console.
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store, no-transform"));
    Ok(response)
}

/// Whether an answer may wait in a compressor.
pub fn is_whole(_: StatusCode, _: Version, _: &HeaderMap, extensions: &Extensions) -> bool {
    extensions.get::<InPieces>().is_none()
}

fn halves(page: &impl Template) -> Result<(String, String), Fault> {
    let text = page.render().map_err(|error| Fault::internal(&error.to_string()))?;
    let (beginning, rest) =
        text.split_once(FOUND).ok_or_else(|| Fault::internal("a page without its mark"))?;
    Ok((beginning.to_owned(), rest.to_owned()))
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use tokio::sync::oneshot;

    use super::*;

    #[derive(Template)]
    #[template(source = "<p>begun</p><!-- found -->{{ found }}", ext = "html")]
    struct Page {
        found: String,
    }

    fn page(found: Result<String, Fault>) -> Page {
        Page { found: found.unwrap_or_else(|fault| fault.title.to_owned()) }
    }

    async fn text(response: Response) -> String {
        String::from_utf8(to_bytes(response.into_body(), 1000).await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn what_is_found_soon_is_whole() {
        let response = show(async { Ok("soon".to_owned()) }, page).await.unwrap();
        assert!(response.extensions().get::<InPieces>().is_none());
        assert_eq!(text(response).await, "<p>begun</p><!-- found -->soon");
        let refused = show(async { Err(Fault::late()) }, page).await;
        assert_eq!(refused.unwrap_err().status, StatusCode::SERVICE_UNAVAILABLE);
    }

    #[tokio::test]
    async fn a_long_look_leaves_its_page_begun() {
        for (answer, told) in [(Ok("late".to_owned()), "late"), (Err(Fault::late()), Fault::late().title)] {
            let (found, look) = oneshot::channel();
            let response = show(async { look.await.unwrap() }, page).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            assert!(!is_whole(
                response.status(),
                response.version(),
                response.headers(),
                response.extensions()
            ));
            let mut pieces = response.into_body().into_data_stream();
            assert_eq!(pieces.next().await.unwrap().unwrap(), "<p>begun</p>", "before anything is found");
            found.send(answer).unwrap();
            assert_eq!(pieces.next().await.unwrap().unwrap(), told);
            assert!(pieces.next().await.is_none());
        }
    }
}
