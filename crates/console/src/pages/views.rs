//! Filters of lists that an operator keeps under a name.

use access::views::{self, View};
use axum::{extract::State, response::Response};
use form_urlencoded::Serializer;

use super::keys::refused;
use crate::{
    change::{Form, done},
    fault::Fault,
    guard::Viewer,
    layout::{KEPT, SavedView},
    state::Console,
};

/// What is kept for the list at a path.
pub async fn of(console: &Console, viewer: &Viewer, path: &str) -> Result<Vec<SavedView>, Fault> {
    if !KEPT.contains(&path) {
        return Ok(Vec::new());
    }
    let kept = console.read(views::list(console.db(), &viewer.name, path)).await?;
    Ok(kept
        .into_iter()
        .map(|View { name, query }| SavedView { href: format!("{path}?{query}"), name })
        .collect())
}

/// A query without the page of the list and without what is said once.
pub fn kept_query(query: &str) -> String {
    let mut kept = Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if !value.is_empty() && name != "after" && name != "notice" {
            kept.append_pair(&name, &value);
        }
    }
    kept.finish()
}

/// `POST /views`: keeps a filter, or forgets it.
pub async fn change(State(console): State<Console>, form: Form) -> Result<Response, Fault> {
    let list = form.get("list").and_then(|list| KEPT.into_iter().find(|kept| *kept == list));
    let list = list.ok_or_else(|| Fault::bad_request("There is no such list. Nothing was changed."))?;
    let (viewer, name) = (&form.viewer.name, form.text("name", views::VIEW_NAME_CHARS_MAX)?);
    if form.get("forget").is_some() {
        console.read(views::delete(console.store(), viewer, list, name)).await?;
        return Ok(done(list, "forgotten"));
    }
    // Read and written again, so that it is a query whatever was sent.
    let query = kept_query(form.get("query").unwrap_or_default());
    let view = View { name: name.to_owned(), query };
    views::save(console.store(), viewer, list, &view).await.map_err(refused)?;
    Ok(done(&format!("{list}?{}", view.query), "kept"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_kept_without_its_page() {
        assert_eq!(
            kept_query("status=Failed&after=1.2&currency=&notice=kept&search=a%26b"),
            "status=Failed&search=a%26b"
        );
        assert_eq!(kept_query(""), "");
    }
}
