//! The switch between dark and light.

use axum::{
    http::{HeaderMap, HeaderValue, header},
    response::{IntoResponse, Redirect, Response},
};

use crate::{
    change::Form,
    fault::Fault,
    layout::{THEME_COOKIE, Theme},
};

/// `POST /theme`: back to the page that was looked at.
pub async fn switch(headers: HeaderMap, form: Form) -> Result<Response, Fault> {
    let theme = Theme::of_name(form.get("theme").unwrap_or_default());
    let referer = headers.get(header::REFERER).and_then(|value| value.to_str().ok());
    let mut response = Redirect::to(&path_of(referer)).into_response();
    let cookie =
        format!("{THEME_COOKIE}={}; Path=/; Max-Age=31536000; HttpOnly; SameSite=Strict", theme.name());
    let cookie = HeaderValue::from_str(&cookie).map_err(|error| Fault::internal(&error.to_string()))?;
    response.headers_mut().insert(header::SET_COOKIE, cookie);
    Ok(response)
}

/// The path of an address of ours, never another site: only its path and query are kept.
fn path_of(referer: Option<&str>) -> String {
    let uri: Option<axum::http::Uri> = referer.and_then(|referer| referer.parse().ok());
    let path = uri.and_then(|uri| uri.path_and_query().map(|path| path.as_str().to_owned()));
    // `//host` would be another site.
    path.filter(|path| path.starts_with('/') && !path.starts_with("//")).unwrap_or_else(|| "/".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_to_another_site() {
        for (referer, path) in [
            (Some("http://localhost:8080/payments?status=Failed"), "/payments?status=Failed"),
            (Some("http://evil.example//evil.example/x"), "/"),
            (Some("javascript:alert(1)"), "/"),
            (None, "/"),
        ] {
            assert_eq!(path_of(referer), path);
        }
    }
}
