//! What one version of an event changes of another.

use anyhow::{Context as _, ensure};
use schema::{catalogue::Entry, compatibility};
use serde_json::Value;

use crate::cli::output;

pub fn show(from: &Entry, to: &Entry) -> anyhow::Result<()> {
    ensure!(
        from.event_type == to.event_type,
        "{} and {} are two events; compare two versions of one",
        from.event_type,
        to.event_type
    );
    let (earlier, later) = (fields(from)?, fields(to)?);
    let of = |fields: &[(String, Value)], name: &str| {
        fields.iter().find(|(known, _)| known == name).map(|(_, field)| field.clone())
    };
    for (name, field) in &earlier {
        match of(&later, name) {
            None => output::line(format_args!("- {name} {}", told(field))),
            Some(new) if told(&new) != told(field) => {
                output::line(format_args!("- {name} {}", told(field)));
                output::line(format_args!("+ {name} {}", told(&new)))
            }
            Some(new) if new["doc"] != field["doc"] => {
                output::line(format_args!("~ {name}: another description: {}", new["doc"]))
            }
            Some(_) => true,
        };
    }
    for (name, field) in later.iter().filter(|(name, _)| of(&earlier, name).is_none()) {
        output::line(format_args!("+ {name} {}", told(field)));
    }
    let (old, new) = (compatibility::parse(from.avro)?, compatibility::parse(to.avro)?);
    for (reader, reads, writer, written) in [(to, &new, from, &old), (from, &old, to, &new)] {
        let found = compatibility::can_read(reads, written);
        let verdict = if found.is_empty() { "can" } else { "cannot" };
        output::line(format_args!("Readers of v{} {verdict} read v{}.", reader.version, writer.version));
        for sentence in found {
            output::line(format_args!("  {sentence}"));
        }
    }
    Ok(())
}

/// By name, in their order.
fn fields(entry: &Entry) -> anyhow::Result<Vec<(String, Value)>> {
    let schema: Value = serde_json::from_str(entry.avro).context("a schema is JSON")?;
    let fields = schema["fields"].as_array().context("an event is a record")?;
    Ok(fields
        .iter()
        .map(|field| (field["name"].as_str().unwrap_or_default().to_owned(), field.clone()))
        .collect())
}

fn told(field: &Value) -> String {
    match field.get("default") {
        Some(default) => format!("{} = {default}", field["type"]),
        None => field["type"].to_string(),
    }
}
