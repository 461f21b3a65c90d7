//! `/topics/{name}/messages.jsonl`: the messages of all pages of a list, a JSON object a line.

use std::convert::Infallible;

use access::Permission;
use axum::{
    body::{Body, Bytes},
    extract::{Path, State},
    http::header,
    response::{IntoResponse, Response},
};
use futures_util::stream::{self, StreamExt as _};

use super::{Visit, messages::wanted, note_export};
use crate::{
    fault::Fault,
    list::Params,
    messages::{Wanted, line::line, source::Source},
    state::Console,
};

/// Messages of a file; its last line says when there are more.
const MESSAGES_MAX: usize = 100_000;
const MESSAGES_A_LOOK: usize = 200;
const CONTENT_TYPE: &str = "application/jsonl; charset=utf-8";

/// How far a file has come.
struct Export {
    console: Console,
    name: String,
    /// `None`: it has come to its end.
    wanted: Option<Wanted>,
    messages: usize,
}

/// `GET /topics/{name}/messages.jsonl`
pub async fn export(
    State(console): State<Console>,
    visit: Visit,
    Path(name): Path<String>,
    mut params: Params,
) -> Result<Response, Fault> {
    visit.must(Permission::Export)?;
    visit.must(Permission::ReadMessages)?;
    let source = Source::of(&console, &name)?;
    let wanted = wanted(&console, &source, &mut params);
    if params.is_wrong() {
        return Err(Fault::bad_request("The filter is not understood: look at the list first."));
    }
    note_export(&console, &visit, &params).await?;
    let export = Export {
        name: source.name().to_owned(),
        console: console.clone(),
        wanted: Some(wanted),
        messages: 0,
    };
    let body = stream::unfold(export, async |mut export| {
        let lines = export.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(lines)), export))
    });
    let file = format!("attachment; filename=\"{}.jsonl\"", source.name());
    let headers = [(header::CONTENT_TYPE, CONTENT_TYPE.to_owned()), (header::CONTENT_DISPOSITION, file)];
    // Compression asks once more behind the end.
    Ok((headers, Body::from_stream(body.fuse())).into_response())
}

impl Export {
    async fn next(&mut self) -> Option<String> {
        let wanted = self.wanted.take()?;
        if self.messages >= MESSAGES_MAX {
            return Some(format!(
                "{{\"more\":\"a file ends after {MESSAGES_MAX} messages: narrow the filter\"}}\n"
            ));
        }
        let found = match Source::of(&self.console, &self.name) {
            Ok(source) => source.look(&self.console, &wanted, MESSAGES_A_LOOK).await,
            Err(fault) => Err(fault),
        };
        match found {
            Ok(found) => {
                self.messages += found.messages.len();
                self.wanted = found.next.map(|next| Wanted { after: Some(next), ..wanted });
                Some(found.messages.iter().map(line).collect())
            }
            // The file has begun: what is missing is said at its end.
            Err(fault) => Some(format!("{}\n", serde_json::json!({"broken off": fault.detail}))),
        }
    }
}
