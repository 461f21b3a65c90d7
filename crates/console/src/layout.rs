//! What stands around every page: who is here, where one may go, and how one wants to see it.

use access::Permission;
use askama::Template;
use axum::http::{HeaderMap, header};

use crate::{guard::Viewer, show::Clock};

/// A place in the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    Home,
    Payments,
    Merchants,
    Withdrawals,
    Ledger,
    Events,
    DeadLetters,
    Consumers,
    Relay,
    Topics,
    Reviews,
    Reconciliation,
    Analytics,
    Idempotency,
    Requests,
    Audit,
    Configuration,
    Approvals,
    Keys,
    Operators,
    Elsewhere,
}

impl Section {
    /// What one must be allowed to do to see it.
    pub const fn permission(self) -> Permission {
        match self {
            Self::Audit => Permission::ReadAudit,
            Self::Configuration => Permission::ReadConfiguration,
            Self::Keys => Permission::ManageKeys,
            Self::Operators => Permission::ManageOperators,
            _ => Permission::View,
        }
    }
}

/// Lists whose filters can be kept under a name.
pub const KEPT: [&str; 7] =
    ["/payments", "/withdrawals", "/merchants", "/events", "/dead-letters", "/audit", "/requests"];

/// A link of the navigation: where to, its name, the shortcut behind `g`.
pub struct Link {
    pub section: Section,
    pub href: &'static str,
    pub name: &'static str,
    pub key: &'static str,
    pub group: &'static str,
}

const fn link(
    group: &'static str,
    section: Section,
    href: &'static str,
    name: &'static str,
    key: &'static str,
) -> Link {
    Link { section, href, name, key, group }
}

/// Every page that can be gone to, in the order of the navigation.
pub const LINKS: &[Link] = &[
    link("", Section::Home, "/", "Home", "h"),
    link("Money", Section::Payments, "/payments", "Payments", "p"),
    link("Money", Section::Withdrawals, "/withdrawals", "Withdrawals", "w"),
    link("Money", Section::Merchants, "/merchants", "Merchants", "m"),
    link("Money", Section::Reviews, "/reviews", "Review queue", "v"),
    link("Money", Section::Ledger, "/ledger", "Ledger", "l"),
    link("Money", Section::Analytics, "/analytics", "Analytics", "a"),
    link("Events", Section::Events, "/events", "Event log", "e"),
    link("Events", Section::Consumers, "/consumers", "Consumers", "c"),
    link("Events", Section::DeadLetters, "/dead-letters", "Dead letters", "d"),
    link("Events", Section::Relay, "/relay", "Relay", "r"),
    link("Events", Section::Topics, "/topics", "Topics", "t"),
    link("Proof", Section::Reconciliation, "/reconciliation", "Reconciliation", "b"),
    link("Proof", Section::Idempotency, "/idempotency", "Idempotency", "i"),
    link("Proof", Section::Requests, "/requests", "API requests", "q"),
    link("Proof", Section::Audit, "/audit", "Audit", "u"),
    link("Rights", Section::Approvals, "/approvals", "Approvals", "n"),
    link("Rights", Section::Keys, "/keys", "API keys", "k"),
    link("Rights", Section::Operators, "/operators", "Operators", "s"),
    link("Proof", Section::Configuration, "/configuration", "Configuration", "o"),
];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    /// As the browser prefers.
    #[default]
    Auto,
    Light,
    Dark,
}

impl Theme {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }

    pub fn of_name(name: &str) -> Self {
        match name {
            "light" => Self::Light,
            "dark" => Self::Dark,
            _ => Self::Auto,
        }
    }

    /// What the switch turns it to.
    pub const fn next(self) -> Self {
        match self {
            Self::Auto => Self::Dark,
            Self::Dark => Self::Light,
            Self::Light => Self::Auto,
        }
    }
}

/// The cookie that keeps the theme; it says nothing about anybody.
pub const THEME_COOKIE: &str = "theme";

/// What the layout's template needs beside the page's own values.
#[derive(Clone)]
pub struct Frame {
    pub title: String,
    pub section: Section,
    pub viewer: Viewer,
    pub clock: Clock,
    /// Of what was just done, to be said once.
    pub notice: Option<&'static str>,
    pub is_embedded: bool,
    /// Filters of this list that the viewer has kept.
    pub views: Vec<SavedView>,
    /// The filter that is looked at now.
    pub query: String,
}

/// A filter under a name.
#[derive(Clone, Debug)]
pub struct SavedView {
    pub name: String,
    pub href: String,
}

impl Frame {
    /// The pages that are for this viewer.
    pub fn links(&self) -> impl Iterator<Item = &'static Link> {
        let is_there = |link: &&Link| !(self.is_embedded && link.section == Section::Relay);
        LINKS.iter().filter(is_there).filter(|link| self.viewer.may(link.section.permission()))
    }

    /// Where the viewer is, if it is a list whose filters can be kept under a name.
    pub fn list(&self) -> Option<&'static str> {
        let is_list = |link: &&Link| link.section == self.section && KEPT.contains(&link.href);
        LINKS.iter().find(is_list).map(|link| link.href)
    }

    pub fn now(&self) -> String {
        self.clock.when(self.clock.now).text
    }

    pub fn is_here(&self, link: &Link) -> bool {
        self.section == link.section
    }
}

/// A cookie's value.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(found, value)| (found == name).then_some(value))
}

/// The page of a [`crate::fault::Fault`].
#[derive(Template)]
#[template(path = "fault.html")]
pub struct FaultPage<'a> {
    pub frame: Frame,
    pub status: u16,
    pub detail: &'a str,
    pub request_id: &'a str,
}
