//! What is written about the events for people and programs, all of it derived from the catalogue, the list of headers and
//! one real record of each version: a JSON Schema of each, an `AsyncAPI` document of the topics, and a page.
//!
//! The files are kept in the repository, where they can be read without the program; a test compares them with what is
//! derived, and writes them when it is told to.

mod asyncapi;
mod channel;
mod example;
mod field;
mod json_schema;
mod message;
mod occasion;
mod page;

use serde_json::Value;

pub use self::{
    asyncapi::asyncapi,
    example::{CLAIM_CHECK, DEAD_LETTER, Example},
    json_schema::json_schema,
    occasion::occasion,
    page::page,
};
use crate::catalogue::CATALOGUE;

/// What writes the files again.
const COMMAND: &str = "UPDATE_DOCUMENTS=1 cargo test -p schema --test it documents";

/// All files: the path from the root of the repository, and the text.
pub fn files() -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = CATALOGUE
        .iter()
        .map(|entry| {
            let path = format!("schemas/{}/{}.schema.json", entry.stream.name(), entry.name());
            (path, text(&json_schema(entry)))
        })
        .collect();
    files.push(("docs/asyncapi.json".to_owned(), text(&asyncapi())));
    files.push(("docs/events.md".to_owned(), page()));
    files
}

fn text(json: &Value) -> String {
    format!("{json:#}\n")
}
