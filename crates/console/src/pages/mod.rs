//! One file a page.

pub mod account;
pub mod analytics;
pub mod approvals;
pub mod audit;
pub mod configuration;
pub mod consumer;
pub mod consumers;
pub mod dead_letter;
pub mod dead_letters;
pub mod dead_letters_bulk;
pub mod dead_letters_run;
pub mod event;
pub mod events;
pub mod home;
pub mod idempotency;
pub mod keys;
pub mod ledger;
pub mod live;
pub mod merchant;
pub mod merchants;
pub mod messages;
pub mod messages_export;
pub mod operators;
pub mod payment;
pub mod payments;
pub mod payments_export;
pub mod reconciliation;
pub mod relay;
pub mod requests;
pub mod restart;
pub mod reviews;
pub mod search;
pub mod sign_in;
pub mod tail;
pub mod theme;
pub mod topics;
pub mod verify;
pub mod views;
pub mod withdrawal;
pub mod withdrawals;

use access::Permission;
use axum::{extract::FromRequestParts, http::request::Parts};
use store::{
    audit::{self as audit_log, Actor},
    browse::Page,
    error::ReadError,
    queries::PageKey,
};

use crate::{
    change,
    fault::Fault,
    guard::Viewer,
    layout::{Frame, SavedView, Section},
    list::Params,
    show::Clock,
    state::Console,
};

/// Who looks, and what every page is made with.
pub struct Visit {
    pub viewer: Viewer,
    pub clock: Clock,
    notice: Option<&'static str>,
    is_embedded: bool,
    views: Vec<SavedView>,
    query: String,
}

impl FromRequestParts<Console> for Visit {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Fault> {
        let viewer = parts.extensions.get::<Viewer>().cloned();
        let viewer = viewer.ok_or_else(|| Fault::internal("a page without a viewer"))?;
        let query = parts.uri.query().unwrap_or_default();
        let code = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "notice");
        Ok(Self {
            views: views::of(console, &viewer, parts.uri.path()).await?,
            query: views::kept_query(query),
            viewer,
            clock: Clock { now: console.now() },
            notice: code.and_then(|(_, code)| change::notice(&code)),
            is_embedded: console.kafka().is_none(),
        })
    }
}

impl Visit {
    pub fn must(&self, permission: Permission) -> Result<(), Fault> {
        self.viewer.must(permission)
    }

    /// The layout of a page; `title` begins with what the page is about, so that tabs can be told apart.
    pub fn frame(self, section: Section, title: impl Into<String>) -> Frame {
        let Self { viewer, clock, notice, is_embedded, views, query } = self;
        Frame { title: title.into(), section, viewer, clock, notice, is_embedded, views, query }
    }
}

/// What stands under a list.
pub struct Pager {
    pub is_behind_first: bool,
    pub first: String,
    /// Empty: there is nothing more.
    pub next: String,
    pub is_cut_short: bool,
}

impl Pager {
    pub fn of<T>(params: &Params, page: &Page<T>) -> Self {
        Self::new(params, page.next, page.is_cut_short)
    }

    pub fn new(params: &Params, next: Option<PageKey>, is_cut_short: bool) -> Self {
        Self {
            is_behind_first: params.get("after").is_some(),
            first: params.first_page(),
            next: next.map(|key| params.page(key)).unwrap_or_default(),
            is_cut_short,
        }
    }
}

/// The rows of a list's page. A filter that is not understood shows none, rather than others than were meant.
pub async fn listed<T>(
    console: &Console,
    params: &Params,
    query: impl Future<Output = Result<Page<T>, ReadError>>,
) -> Result<Page<T>, Fault> {
    if params.is_wrong() {
        return Ok(Page { rows: Vec::new(), next: None, is_cut_short: false });
    }
    console.read(query).await
}

/// That a list left as a file, for the audit.
pub async fn note_export(console: &Console, visit: &Visit, params: &Params) -> Result<(), Fault> {
    let Viewer { name, request_id, .. } = &visit.viewer;
    let actor = Actor::new(name.clone(), "").of_request(request_id.clone());
    let subject = params.first_page();
    let noted = async {
        let mut transaction = console.store().begin_durable().await?;
        let detail = serde_json::json!({});
        audit_log::write(transaction.as_mut(), &actor, "console.export", &subject, &detail, console.now())
            .await?;
        transaction.commit().await
    };
    console.read(noted).await
}
