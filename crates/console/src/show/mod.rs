//! Values as a person reads them. Everything is text that the templates escape; no number passes through a float.

pub mod chart;
mod clock;
pub mod content;
mod json;
mod money;

use uuid::Uuid;

pub use clock::{Clock, When, span};
pub use content::Content;
pub use json::{Tree, tree};
pub use money::Money;

/// An id: short to look at, whole to copy, and a link to what it names.
#[derive(Clone, Debug)]
pub struct IdLink {
    pub short: String,
    pub whole: String,
    /// Empty: there is nothing to go to.
    pub href: String,
}

impl IdLink {
    pub fn new(id: Uuid, href: impl Into<String>) -> Self {
        let whole = id.to_string();
        // The end is what differs between ids of the same moment.
        let short = format!("{}…{}", &whole[..8], &whole[whole.len() - 6..]);
        Self { short, whole, href: href.into() }
    }

    pub fn to(id: Uuid, page: &str) -> Self {
        Self::new(id, format!("/{page}/{id}"))
    }
}

/// A state by its name and the colour of its class; the name always stands beside the colour.
#[derive(Clone, Copy, Debug)]
pub struct Badge {
    pub name: &'static str,
    pub class: &'static str,
}

impl Badge {
    pub fn of(name: &'static str) -> Self {
        let class = match name {
            "Completed" | "redriven" | "running" | "clean" | "active" | "live" | "ok" => "good",
            "Pending" | "Processing" | "PartiallyRefunded" | "open" | "paused" | "parked" | "waiting" => {
                "wait"
            }
            "Failed" | "Cancelled" | "poison" | "broken" | "cut off" | "inactive" | "stopped" | "revoked" => {
                "bad"
            }
            _ => "plain",
        };
        Self { name, class }
    }
}
