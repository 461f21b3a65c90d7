//! `/configuration`: the settings as the program runs by them, and where each comes from.

use access::Permission;
use askama::Template;
use axum::{extract::State, response::Response};

use super::Visit;
use crate::{
    fault::{Fault, render},
    layout::{Frame, Section},
    state::{Console, Setting},
};

#[derive(Template)]
#[template(path = "configuration.html")]
struct ConfigurationPage<'a> {
    frame: Frame,
    settings: &'a [Setting],
    version: &'static str,
    migrations: Vec<MigrationRow>,
    lanes: u16,
}

struct MigrationRow {
    number: i64,
    name: String,
    applied: crate::show::When,
}

/// `GET /configuration`
pub async fn show(State(console): State<Console>, visit: Visit) -> Result<Response, Fault> {
    visit.must(Permission::ReadConfiguration)?;
    let applied = console.read(store::browse::migrations(console.db())).await?;
    let clock = visit.clock;
    let migrations = applied
        .into_iter()
        .map(|(number, name, at)| MigrationRow { number, name, applied: clock.when(at) })
        .collect();
    render(&ConfigurationPage {
        frame: visit.frame(Section::Configuration, "Configuration"),
        settings: console.settings(),
        version: env!("CARGO_PKG_VERSION"),
        migrations,
        lanes: console.store().lanes(),
    })
}
