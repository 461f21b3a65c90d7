//! `/requests`: what was asked of the API, by whom, and how it went; and `/requests/errors`, the same errors together. The
//! record is bounded: what is not in it is counted, and said.

use std::{fmt::Write as _, ops::RangeInclusive};

use ::access::{Mode, Permission};
use askama::Template;
use axum::{extract::State, response::Response};
use form_urlencoded::byte_serialize;
use store::{
    browse::{Page, ROWS_LOOKED_AT_MAX},
    queries::PageKey,
    request_log::{self, ApiRequest, ERROR_STATUS_MIN, ErrorGroup, Errors, LeftOut, RequestsWanted},
};
use uuid::Uuid;

use super::{Pager, Visit};
use crate::{
    fault::{Fault, render},
    layout::{Frame, Section},
    list::{Params, ROWS},
    show::{Clock, IdLink, When},
    state::Console,
};

const METHODS: [&str; 6] = ["GET", "POST", "PATCH", "PUT", "DELETE", "OTHER"];
/// What the filter of states offers; a single status can be written in the address, too.
const STATUSES: [(&str, &str); 5] =
    [("errors", "all errors"), ("5xx", "5xx"), ("4xx", "4xx"), ("3xx", "3xx"), ("2xx", "2xx")];
const KEPT_PER_SECOND: &str = "Requests:KeptPerSecondMax";

#[derive(Template)]
#[template(path = "requests.html")]
struct RequestsPage {
    frame: Frame,
    params: Params,
    methods: [&'static str; 6],
    statuses: [(&'static str, &'static str); 5],
    /// One that is asked for by its number.
    other_status: Option<String>,
    is_filtered: bool,
    rows: Vec<RequestRow>,
    left_out: Option<LeftOutRow>,
    kept_per_second: String,
    page: Pager,
    api: String,
}

struct RequestRow {
    at: When,
    method: String,
    /// Empty: no route has the path.
    route: String,
    /// The same list, of this route.
    of_route: String,
    path: String,
    status: u16,
    class: &'static str,
    problem: String,
    duration: String,
    caller: String,
    of_caller: String,
    merchant: Option<IdLink>,
    request_id: String,
    of_request: String,
    /// Empty: what is needed for it was not kept.
    curl: String,
}

/// What stands above a page about what is not in it.
struct LeftOutRow {
    total: i64,
    errors: i64,
    changes: i64,
    reads: i64,
    is_more: bool,
}

#[derive(Template)]
#[template(path = "request_errors.html")]
struct ErrorsPage {
    frame: Frame,
    params: Params,
    is_filtered: bool,
    groups: Vec<GroupRow>,
    left_out: Option<LeftOutRow>,
    page: Pager,
    looked_at_max: usize,
}

struct GroupRow {
    requests: u64,
    problem: String,
    status: u16,
    class: &'static str,
    method: String,
    route: String,
    first: When,
    last: When,
    request_id: String,
    of_request: String,
    /// The list of those requests.
    list: String,
}

/// `GET /requests`
pub async fn list(
    State(console): State<Console>,
    visit: Visit,
    mut params: Params,
) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let wanted = wanted(&mut params);
    let after = params.after().map(|key| key.id);
    let mut page = Page { rows: Vec::new(), next: None, is_cut_short: false };
    let mut left_out = None;
    if !params.is_wrong() {
        page = console.read(request_log::list(console.db(), &wanted, after, ROWS)).await?;
        left_out = not_kept(&console, &wanted, page.next, after).await?;
    }
    let shower = Shower {
        clock: visit.clock,
        api: console.api_url(),
        has_keys: console.access().mode() == Mode::Required,
        may_audit: visit.viewer.may(Permission::ReadAudit),
    };
    render(&RequestsPage {
        rows: page.rows.iter().map(|request| shower.row(&params, request)).collect(),
        frame: visit.frame(Section::Requests, "API requests"),
        methods: METHODS,
        statuses: STATUSES,
        other_status: params
            .get("status")
            .filter(|status| STATUSES.iter().all(|(known, _)| known != status))
            .map(str::to_owned),
        is_filtered: params.first_page() != "/requests",
        left_out,
        kept_per_second: kept_per_second(&console),
        page: Pager::of(&params, &page),
        params,
        api: shower.api,
    })
}

/// `GET /requests/errors`
pub async fn errors(
    State(console): State<Console>,
    visit: Visit,
    mut params: Params,
) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let wanted = wanted(&mut params);
    let after = params.after().map(|key| key.id);
    let mut found = Errors { groups: Vec::new(), next: None };
    let mut left_out = None;
    if !params.is_wrong() {
        found = console.read(request_log::errors(console.db(), &wanted, after)).await?;
        left_out = not_kept(&console, &wanted, found.next, after).await?;
    }
    let may_audit = visit.viewer.may(Permission::ReadAudit);
    let clock = visit.clock;
    render(&ErrorsPage {
        groups: found.groups.iter().map(|group| group_row(&params, group, clock, may_audit)).collect(),
        frame: visit.frame(Section::Requests, "Errors of the API"),
        is_filtered: params.first_page() != "/requests/errors",
        left_out,
        page: Pager::new(&params, found.next, found.next.is_some()),
        params,
        looked_at_max: ROWS_LOOKED_AT_MAX,
    })
}

/// The filter of a list's address.
fn wanted(params: &mut Params) -> RequestsWanted {
    let text = |params: &Params, name: &str| params.get(name).map(str::to_owned);
    RequestsWanted {
        request_id: text(params, "request"),
        caller: text(params, "caller"),
        route: text(params, "route"),
        problem: text(params, "problem"),
        method: params.read("method", "one of the methods of HTTP", |text| {
            METHODS.contains(&text).then(|| text.to_owned())
        }),
        status: params.read("status", "errors, a class such as 4xx, or a status such as 404", statuses),
        merchant: params.merchant(),
        from: params.moment("from", false),
        to: params.moment("to", true),
    }
}

fn statuses(text: &str) -> Option<RangeInclusive<u16>> {
    if text == "errors" {
        return Some(ERROR_STATUS_MIN..=599);
    }
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class.parse().ok().filter(|class| (1..=5).contains(class))?;
        return Some(class * 100..=class * 100 + 99);
    }
    let status = text.parse().ok().filter(|status| (100..=599).contains(status))?;
    Some(status..=status)
}

/// What was not kept of the time that a page shows: from where the next page begins, or from where the list does.
async fn not_kept(
    console: &Console,
    wanted: &RequestsWanted,
    next: Option<PageKey>,
    after: Option<Uuid>,
) -> Result<Option<LeftOutRow>, Fault> {
    let (from, to) = wanted.ids();
    let from = next.map(|key| key.id).or(from);
    let before = after.or(to);
    let read = request_log::left_out(console.db(), from, before);
    let (left_out, is_more) = console.read(read).await?;
    let LeftOut { errors, changes, reads, .. } = left_out;
    let total = left_out.total();
    Ok((total > 0).then_some(LeftOutRow { total, errors, changes, reads, is_more }))
}

/// As this process has it; another one may have been started with another number.
fn kept_per_second(console: &Console) -> String {
    let setting = console.settings().iter().find(|setting| setting.key == KEPT_PER_SECOND);
    setting.map(|setting| setting.value.clone()).unwrap_or_default()
}

/// How requests are shown to this viewer.
struct Shower {
    clock: Clock,
    api: String,
    has_keys: bool,
    may_audit: bool,
}

impl Shower {
    fn row(&self, params: &Params, request: &ApiRequest) -> RequestRow {
        RequestRow {
            at: self.clock.when(request.at),
            method: request.method.clone(),
            route: request.route.clone(),
            of_route: params.with("route", &request.route),
            path: request.path.clone(),
            status: request.status,
            class: class(request.status),
            problem: request.problem.clone().unwrap_or_default(),
            duration: milliseconds(request.micros),
            caller: request.caller.clone(),
            of_caller: params.with("caller", &request.caller),
            merchant: request.merchant_id.map(|merchant| IdLink::to(merchant.0, "merchants")),
            of_request: of_request(&request.request_id, self.may_audit),
            request_id: request.request_id.clone(),
            curl: self.curl(request),
        }
    }

    /// Without the key and the body, which nobody has but the caller.
    fn curl(&self, request: &ApiRequest) -> String {
        // What is in braces was masked.
        if request.route.is_empty() || request.method == "OTHER" || request.path.contains('{') {
            return String::new();
        }
        let mut curl = "curl".to_owned();
        if request.method != "GET" {
            let _ = write!(curl, " -X {}", request.method);
        }
        if self.has_keys {
            curl.push_str(" -H \"Authorization: Bearer $FINTECH_KEY\"");
        }
        if matches!(request.method.as_str(), "POST" | "PATCH" | "PUT") {
            curl.push_str(" -H \"Content-Type: application/json\" -d @body.json");
        }
        let _ = write!(curl, " '{}{}'", self.api, shell_safe(&request.path));
        curl
    }
}

/// A path that is pasted into a shell between single quotes is a path there, whatever was asked for.
fn shell_safe(path: &str) -> String {
    path.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'.' | b'_' | b'~' | b'%' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

/// What a command did stands in the audit; who may not read it stays with the record.
fn of_request(id: &str, may_audit: bool) -> String {
    let page = if may_audit { "/audit/commands" } else { "/requests" };
    format!("{page}?request={}", byte_serialize(id.as_bytes()).collect::<String>())
}

fn group_row(params: &Params, group: &ErrorGroup, clock: Clock, may_audit: bool) -> GroupRow {
    let ErrorGroup { problem, method, route, status, requests, first_at, last_at, request_id } = group;
    let problem = problem.clone().unwrap_or_default();
    let status_text = status.to_string();
    let narrowed: [(&str, &str); 4] =
        [("problem", &problem), ("method", method), ("route", route), ("status", &status_text)];
    GroupRow {
        requests: *requests,
        list: params.at_with("/requests", &narrowed),
        problem,
        status: *status,
        class: class(*status),
        method: method.clone(),
        route: route.clone(),
        first: clock.when(*first_at),
        last: clock.when(*last_at),
        request_id: request_id.clone(),
        of_request: of_request(request_id, may_audit),
    }
}

const fn class(status: u16) -> &'static str {
    match status {
        200..=299 => "good",
        400..=499 => "wait",
        500.. => "bad",
        _ => "plain",
    }
}

/// Exactly: `1.234 ms`.
fn milliseconds(micros: i64) -> String {
    format!("{}.{:03} ms", micros / 1000, micros % 1000)
}

#[cfg(test)]
mod tests {
    use domain::time::Timestamp;

    use super::*;

    fn request(method: &str, path: &str) -> ApiRequest {
        ApiRequest {
            id: Uuid::nil(),
            at: Timestamp::from_micros(0),
            method: method.to_owned(),
            route: "/api/merchants/{merchantId}".to_owned(),
            path: path.to_owned(),
            status: 200,
            micros: 0,
            caller: String::new(),
            merchant_id: None,
            request_id: String::new(),
            problem: None,
        }
    }

    /// Failure mode: whoever asks for a path of their choice has an operator run it.
    #[test]
    fn what_is_pasted_into_a_shell_is_one_request_and_nothing_else() {
        let api = "http://127.0.0.1:5153".to_owned();
        let open =
            Shower { clock: Clock { now: Timestamp::from_micros(0) }, api, has_keys: false, may_audit: true };
        assert_eq!(
            open.curl(&request("GET", "/api/x';reboot;$(id)`id`\"")),
            "curl 'http://127.0.0.1:5153/api/x%27%3Breboot%3B%24%28id%29%60id%60%22'"
        );
        assert_eq!(open.curl(&request("GET", "/api/merchants/{masked}")), "");
        let required = Shower { has_keys: true, ..open };
        assert_eq!(
            required.curl(&request("POST", "/api/merchants")),
            "curl -X POST -H \"Authorization: Bearer $FINTECH_KEY\" -H \"Content-Type: application/json\" \
             -d @body.json 'http://127.0.0.1:5153/api/merchants'"
        );
    }

    #[test]
    fn a_status_is_one_or_a_class() {
        assert_eq!(statuses("errors"), Some(400..=599));
        assert_eq!(statuses("4xx"), Some(400..=499));
        assert_eq!(statuses("404"), Some(404..=404));
        for wrong in ["", "xx", "6xx", "0xx", "99", "600", "-1", "4x", "four"] {
            assert_eq!(statuses(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_duration_is_exact() {
        for (micros, text) in [(0, "0.000 ms"), (1234, "1.234 ms"), (30_000_007, "30000.007 ms")] {
            assert_eq!(milliseconds(micros), text);
        }
    }
}
