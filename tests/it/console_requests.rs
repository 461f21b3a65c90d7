//! The record of requests in the console: what was asked of the API, by whom, how it went, and what is not in it.

use serde_json::json;
use uuid::Uuid;

use crate::support::{
    backend::Kind,
    client::{Answer, Client, Content},
    eventually,
    fixtures::{BANK_ACCOUNT, BANK_ROUTING, at_once},
    on_both_backends,
    pages::{Pages, encoded, holds, next},
    server::Server,
};

on_both_backends!(
    what_is_asked_of_the_api_stands_in_the_record,
    the_record_is_filtered_by_its_address_and_goes_on_by_a_cursor,
    errors_stand_together_with_an_example,
    nothing_secret_is_kept_and_nothing_that_was_sent_is_run,
);

const ESCAPED: &str = "&#60;script&#62;alert(1)";

/// Asks under an id of its own, by which the request is found again.
fn ask(client: &Client, id: &str, method: &str, path: &str, key: Option<&str>) -> Answer {
    let authorization = key.map(|key| format!("Bearer {key}"));
    let mut headers = vec![("X-Request-Id", id)];
    headers.extend(authorization.as_deref().map(|text| ("Authorization", text)));
    client.send(method, path, &headers, &Content::Nothing)
}

/// The page of a list once the record holds so many rows.
fn list(pages: &Pages, path: &str, rows: usize) -> String {
    eventually(&format!("{rows} rows of {path}"), || {
        let page = pages.page(path);
        (count(&page) == rows).then_some(page)
    })
}

fn count(page: &str) -> usize {
    page.split_once("<tbody>").map_or(0, |(_, rows)| rows.matches("<tr>").count())
}

/// The ids of the requests of a page, in its order.
fn ids(page: &str) -> Vec<String> {
    let (_, table) = page.split_once("<tbody>").unwrap_or_default();
    let rows = table.split("<tr>").skip(1);
    rows.map(|row| row.split("<code>").nth(1).unwrap().split('<').next().unwrap().to_owned()).collect()
}

fn key(server: &Server, merchant: Option<&str>) -> String {
    let mut arguments = vec!["keys", "create", "--name", "till", "--role", "admin", "--why", "a test"];
    arguments.extend(merchant.iter().flat_map(|merchant| ["--merchant", merchant]));
    server.run(&arguments).stdout.trim().to_owned()
}

fn what_is_asked_of_the_api_stands_in_the_record(server: &mut Server) {
    let pages = Pages::of(server);
    holds(&pages.page("/requests"), &["No request is in the record", "curl http://"]);
    let merchant = server.merchant();
    let path = format!("/api/merchants/{merchant}");
    let of_merchant = key(server, Some(&merchant));
    ask(server, "r-open", "GET", &format!("{path}/payments?search=debug"), None).expect(200);
    ask(server, "r-key", "GET", &path, Some(&of_merchant)).expect(200);
    ask(server, "r-denied", "GET", "/api/merchants", Some(&of_merchant)).expect(403);
    ask(server, "r-unknown", "GET", &path, Some("fk_live_nobody")).expect(401);
    ask(server, "r-nowhere", "GET", "/nowhere", None).expect(404);
    ask(server, "r-missing", "POST", &format!("{path}/payments/{}/complete", Uuid::new_v4()), None)
        .expect(404);
    // Neither probes nor pages of the documentation are what anybody looks for here.
    server.get("/health").expect(200);
    let page = list(&pages, "/requests", 7);
    assert!(!page.contains("/health") && !page.contains("debug"));
    let shown = of_merchant.get(..12).unwrap();
    let row = |id: &str| {
        let page = pages.page(&format!("/requests?request={id}"));
        assert_eq!(count(&page), 1, "{id}");
        page.split_once("<tbody>").unwrap().1.split_once("</tbody>").unwrap().0.to_owned()
    };
    let template = "/api/merchants/{merchantId}</a>";
    let whole = format!("<small>{path}/payments</small>");
    let link = format!("<a href=\"/merchants/{merchant}\"");
    holds(
        &row("r-open"),
        &[
            "/api/merchants/{merchantId}/payments</a>",
            &whole,
            &link,
            "open access",
            "good\">200",
            " ms</td>",
            "<b>GET</b>",
        ],
    );
    holds(&row("r-key"), &[template, &link, shown, "/audit/commands?request=r-key"]);
    holds(&row("r-denied"), &["403", "access_denied", shown, &link]);
    holds(&row("r-unknown"), &["401", "unauthenticated", "unknown"]);
    holds(
        &row("r-nowhere"),
        &["404", "route_not_found", "no route", "<small>/nowhere</small>", "open access"],
    );
    holds(&row("r-missing"), &["<b>POST</b>", "payment_not_found", &link, "curl -X POST", "@body.json"]);
    // Nobody is told to send the key that was presented.
    assert!(!row("r-key").contains(&of_merchant));
    // What a program did before it was stopped is in the record, too.
    ask(server, "r-last", "GET", &path, None).expect(200);
    server.restart();
    assert_eq!(count(&Pages::of(server).page("/requests?request=r-last")), 1);
}

fn the_record_is_filtered_by_its_address_and_goes_on_by_a_cursor(server: &mut Server) {
    let pages = Pages::of(server);
    let merchant = server.merchant();
    let path = format!("/api/merchants/{merchant}");
    // Fewer than are kept of a second, in each of several seconds.
    let mut asked = Vec::new();
    for round in 0..2 {
        for number in 0..26 {
            let id = format!("r-{round}-{number}");
            ask(server, &id, "GET", &path, None).expect(200);
            asked.insert(0, id);
        }
        let rows = 26 * (round + 1);
        list(&pages, &format!("/requests?method=GET&request=r-{round}-25"), 1);
        let found = eventually("all of the round", || {
            let first = pages.page("/requests?method=GET");
            let rest = next(&first).map(|next| pages.page(&next)).unwrap_or_default();
            let found = [ids(&first), ids(&rest)].concat();
            (found.len() == rows).then_some(found)
        });
        assert_eq!(found, asked, "newest first, each once");
    }
    ask(server, "r-missing", "GET", &format!("/api/merchants/{}", Uuid::new_v4()), None).expect(404);
    list(&pages, "/requests?status=404", 1);
    let found = |query: &str| ids(&pages.page(&format!("/requests?{query}")));
    for query in [
        "status=4xx",
        "status=errors",
        "problem=merchant_not_found",
        "status=404&caller=open+access&method=GET&from=2020-01-01&to=2100-01-01",
        "route=%2Fapi%2Fmerchants%2F%7BmerchantId%7D&status=404",
    ] {
        assert_eq!(found(query), ["r-missing"], "{query}");
    }
    assert_eq!(found(&format!("merchant={merchant}&request=r-1-7")), ["r-1-7"]);
    assert_eq!(found("method=POST").len(), 1, "the merchant was created");
    for empty in ["status=5xx", "caller=nobody", "method=PATCH", "to=2020-01-01", "from=2100-01-01"] {
        holds(&pages.page(&format!("/requests?{empty}")), &["No request in the record passes this filter"]);
    }
    for wrong in ["status=600", "method=STEAL", "merchant=me", "from=yesterday", "after=x"] {
        for page in ["/requests", "/requests/errors"] {
            let page = pages.page(&format!("{page}?{wrong}"));
            let name = wrong.split('=').next().unwrap();
            holds(&page, &["The filter is not understood", &format!("<b>{name}</b>")]);
        }
    }
    // A filter is kept under a name.
    let fields = [("name", "not found")];
    let hidden = pages.hidden("/requests?status=404", "/views");
    assert!(hidden.iter().any(|(name, value)| name == "list" && value == "/requests"), "{hidden:?}");
    let hidden = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    pages.post("/views", &hidden.chain(fields).collect::<Vec<_>>()).expect(303);
    holds(&pages.page("/requests"), &["not found", "/requests?status=404"]);
}

fn errors_stand_together_with_an_example(server: &mut Server) {
    let pages = Pages::of(server);
    holds(&pages.page("/requests/errors"), &["There is no error among the requests"]);
    for number in 0..3 {
        ask(server, &format!("r-{number}"), "GET", &format!("/api/merchants/{}", Uuid::new_v4()), None)
            .expect(404);
    }
    server.post("/api/merchants", &json!({"name": ""})).expect(400);
    let merchant = server.merchant();
    list(&pages, "/requests", 5);
    let page = list(&pages, "/requests/errors", 2);
    let rows: Vec<&str> = page.split_once("<tbody>").unwrap().1.split("<tr>").skip(1).collect();
    holds(rows[0], &[">3</a>", "merchant_not_found", "404", "/api/merchants/{merchantId}", "r-2"]);
    holds(rows[1], &[">1</a>", "validation_failed", "400", "<b>POST</b>"]);
    // From the group to its requests.
    let href = rows[0].split("href=\"").nth(1).unwrap().split('"').next().unwrap().replace("&#38;", "&");
    assert_eq!(ids(&pages.page(&href)), ["r-2", "r-1", "r-0"]);
    let nobody = format!("/requests/errors?merchant={merchant}");
    holds(&pages.page(&nobody), &["passes this filter"]);
}

fn nothing_secret_is_kept_and_nothing_that_was_sent_is_run(server: &mut Server) {
    let pages = Pages::of(server);
    let merchant = server.merchant();
    server.completed_payment(&merchant, 10_000);
    server.withdrawal(&merchant, 100);
    // A bank number and a key in every wrong place.
    let secret = key(server, None);
    for path in [
        format!("/api/merchants/{BANK_ACCOUNT}"),
        format!("/api/merchants/{merchant}/payments?search={BANK_ACCOUNT}&account={BANK_ROUTING}"),
        format!("/{BANK_ACCOUNT}/{BANK_ROUTING}"),
        format!("/api/{secret}"),
        format!("/api/merchants?key={secret}"),
    ] {
        ask(server, "r-secret", "GET", &path, None);
    }
    let body = json!({"amountInMinorUnits": 1, "currency": BANK_ACCOUNT, BANK_ROUTING: secret});
    server.post(&format!("/api/merchants/{merchant}/payments"), &body).expect(400);
    let markup = "%3Cscript%3Ealert(1)%3C/script%3E";
    ask(server, "\"'><script>alert(1)</script>", "GET", &format!("/{markup}"), None).expect(404);
    ask(server, "r-shell", "GET", "/api/merchants/x';reboot;'", None).expect(400);
    // All that was asked above: the merchant, the payment, its completion, the withdrawal, five, one, two.
    let page = list(&pages, "/requests", 12);
    holds(&page, &[ESCAPED, "{masked}", "x%27%3Breboot%3B%27"]);
    assert!(!page.contains("<script>alert"));
    let errors = pages.page("/requests/errors");
    holds(&errors, &[ESCAPED]);
    assert!(!errors.contains("<script>alert"));
    let typed = format!("/requests?caller={}", encoded("\"><script>alert(1)</script>"));
    assert!(!pages.page(&typed).contains("<script>alert"));
    for column in ["path", "route", "caller", "request_id", "method", "problem"] {
        for row in server.query(&format!("select {column} from api_requests")) {
            let is_secret = [BANK_ACCOUNT, BANK_ROUTING, &secret].iter().any(|secret| row.contains(*secret));
            assert!(!is_secret && !row.contains('?'), "{column}: {row}");
        }
    }
    let shown = [page, errors].concat();
    assert!(!shown.contains(BANK_ACCOUNT) && !shown.contains(BANK_ROUTING) && !shown.contains(&secret));
}

/// What is above the budget is counted, to the request; of the rest errors are kept first.
fn a_burst_is_counted_and_its_errors_are_kept(kind: Kind) {
    let server = Server::start_with(kind, &[("Requests__KeptPerSecondMax", "4")]);
    let pages = Pages::of(&server);
    let merchant = server.merchant();
    let path = format!("/api/merchants/{merchant}");
    let (threads, reads) = (4, 30);
    at_once(threads, |thread| {
        for number in 0..reads {
            ask(&server, &format!("r-{thread}-{number}"), "GET", &path, None).expect(200);
        }
        ask(&server, "r-error", "GET", &format!("/api/merchants/{}", Uuid::new_v4()), None).expect(404);
    });
    let asked = 1 + threads * (reads + 1);
    let sum = |sql: &str| server.query(sql)[0].parse::<usize>().unwrap_or(0);
    eventually("the record of all of them", || {
        let kept = sum("select count(*) from api_requests");
        let left_out = sum("select coalesce(cast(sum(errors + changes + reads) as bigint), 0) \
             from api_requests_left_out");
        assert!(kept + left_out <= asked, "{kept} kept and {left_out} left out of {asked}");
        (kept + left_out == asked).then_some(())
    });
    assert_eq!(count(&pages.page("/requests?request=r-error")), threads, "errors go first");
    let left_out = sum("select cast(sum(reads) as bigint) from api_requests_left_out");
    assert!(left_out > 0, "the burst was no burst");
    holds(
        &pages.page("/requests"),
        &["and not kept", &format!("<span class=\"number\">{left_out}</span> reads")],
    );
    assert!(!pages.page("/requests?to=2020-01-01").contains("and not kept"), "of another time");
}

#[test]
fn a_burst_is_counted_and_its_errors_are_kept_on_sqlite() {
    a_burst_is_counted_and_its_errors_are_kept(Kind::Sqlite);
}

#[test]
fn a_burst_is_counted_and_its_errors_are_kept_on_postgres() {
    a_burst_is_counted_and_its_errors_are_kept(Kind::Postgres);
}

/// Old rows go by themselves, and 0 records nothing.
#[test]
fn what_is_old_is_swept_and_nothing_is_recorded_where_nobody_wants_it() {
    let mut server = Server::start_with(Kind::Sqlite, &[("Requests__RetentionDays", "1")]);
    server.merchant();
    list(&Pages::of(&server), "/requests", 1);
    // An id that begins with a moment of 2020.
    server.alter("update api_requests set id = x'016f5e66e80070008000000000000001'");
    server.set("Requests__KeptPerSecondMax", "0");
    server.restart();
    server.merchant();
    let pages = Pages::of(&server);
    let page = list(&pages, "/requests", 0);
    holds(&page, &["Requests are not recorded", "Requests:KeptPerSecondMax"]);
    server.restart();
    assert!(server.query("select id from api_requests").is_empty(), "nor at the end");
}

/// What was answered while the database was away is written when it is there again: that is what people look for.
#[test]
fn what_failed_while_the_database_was_away_is_recorded_afterwards() {
    let server = Server::start(Kind::Postgres);
    let merchant = server.merchant();
    server.let_database_connect(false);
    ask(&server, "r-away", "GET", &format!("/api/merchants/{merchant}"), None).expect(503);
    server.let_database_connect(true);
    let pages = Pages::of(&server);
    let page = eventually("the record of the request", || {
        let answer = pages.get("/requests?request=r-away");
        (answer.status == 200 && count(&answer.text) == 1).then_some(answer.text)
    });
    holds(&page, &["503", "unavailable", "open access"]);
}
