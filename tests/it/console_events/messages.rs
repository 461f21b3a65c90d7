//! Topics → payment-events → Messages, without Kafka: the log in the same form.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
};

use serde_json::{Value, json};

use super::{MARKUP, Visitor, all_between, encoded, next_page};
use crate::support::{
    PATIENCE, backend::Kind, browser::browse, fixtures::BANK_ACCOUNT, on_both_backends, server::Server,
};

on_both_backends!(
    the_two_events_of_a_payment_are_read_with_their_headers,
    every_message_is_on_one_page,
    a_list_leaves_as_a_file,
    what_comes_is_followed_live,
);

const MESSAGES: &str = "/topics/payment-events/messages";

/// Partition and offset of the messages of a page, in their order.
fn listed(page: &str) -> Vec<(u32, i64)> {
    let places = all_between(page, "<tr><td><a href=\"/topics/payment-events/messages/", "\"");
    let place = |place: &str| {
        let (partition, offset) = place.split_once('/').unwrap();
        (partition.parse().unwrap(), offset.parse().unwrap())
    };
    places.into_iter().map(place).collect()
}

fn the_two_events_of_a_payment_are_read_with_their_headers(server: &mut Server) {
    let visitor = Visitor::new(server);
    assert!(visitor.page(MESSAGES).contains("There is no message yet"));
    let merchant = server.merchant();
    let payment = json!({"amountInMinorUnits": 9_007_199_254_740_991_i64, "currency": "USD", "externalReference": MARKUP});
    let path = format!("/api/merchants/{merchant}/payments");
    let id = server.post(&path, &payment).expect(201).id();
    server.post_empty(&format!("{path}/{id}/complete")).expect(200);
    server.completed_payment(&server.merchant(), 100);
    let topics = visitor.page("/topics");
    for topic in ["payment-events", "withdrawal-events", "merchant-events"] {
        assert!(topics.contains(&format!("href=\"/topics/{topic}\"")), "{topic}");
    }
    assert!(visitor.page("/topics/payment-events").contains(MESSAGES));
    visitor.get("/topics/elsewhere").expect(404);
    let page = visitor.page(&format!("{MESSAGES}?key={merchant}"));
    let found = listed(&page);
    assert_eq!(found.len(), 2, "{page}");
    for shown in
        ["PaymentCreated", "PaymentCompleted", "event-type", "ce_type", "chain-hash", "9007199254740991"]
    {
        assert!(page.contains(shown), "{shown}");
    }
    let created =
        listed(&visitor.page(&format!("{MESSAGES}?key={merchant}&header=event-type&holds=created")));
    assert_eq!(created, [(found[0].0, found[0].1 - 1)], "the header says which");
    assert!(visitor.page(&format!("{MESSAGES}?value=nowhere")).contains("No message passes this filter"));
    let (partition, offset) = created[0];
    let one = format!("{MESSAGES}/{partition}/{offset}");
    let by_position = visitor.get(&format!("{MESSAGES}?partition={partition}&position={offset}"));
    assert_eq!(super::led_to(&by_position), one);
    let page = visitor.page(&one);
    assert!(page.contains(&format!("<title>{partition}/{offset}")) && page.contains("16 headers"), "{page}");
    let whole = visitor.get(&format!("{one}/value")).expect(200);
    let stored = server.query(&format!("select payload from events where event_type = 'PaymentCreated' and stream = 1 and position = {offset} and lane = {partition}"));
    assert_eq!(stored, [whole.text.as_str()]);
    assert_eq!(
        whole.header("content-disposition"),
        Some(&*format!("attachment; filename=\"message-{partition}-{offset}\""))
    );
    visitor.get(&format!("{MESSAGES}/{partition}/999")).expect(404);
    visitor.get(&format!("{MESSAGES}?partition={partition}&position=999")).expect(404);
    let wrong =
        visitor.page(&format!("{MESSAGES}?partition=x&order=sideways&since=yesterday&offset=-1&after=here"));
    for field in ["partition", "order", "since", "offset", "after"] {
        assert!(wrong.contains(&format!("<b>{field}</b> is ")), "{field}");
    }
}

/// Walks all pages of a list.
fn walk(visitor: &Visitor, path: &str) -> Vec<(u32, i64)> {
    let mut page = visitor.page(path);
    let mut found = listed(&page);
    while let Some(next) = next_page(&page) {
        page = visitor.page(&next);
        found.extend(listed(&page));
    }
    found
}

fn every_message_is_on_one_page(server: &mut Server) {
    let visitor = Visitor::new(server);
    let merchants: Vec<String> = (0..5).map(|_| server.merchant()).collect();
    for merchant in merchants.iter().cycle().take(120) {
        server.payment(merchant, 100);
    }
    let all: BTreeSet<(u32, i64)> = server
        .query("select cast(lane as text) || '/' || cast(position as text) from events where stream = 1")
        .iter()
        .map(|place| {
            let (lane, position) = place.split_once('/').unwrap();
            (lane.parse().unwrap(), position.parse().unwrap())
        })
        .collect();
    let newest = walk(&visitor, MESSAGES);
    let oldest = walk(&visitor, &format!("{MESSAGES}?order=oldest"));
    assert_eq!(newest.len(), 120);
    assert_eq!(newest.iter().copied().collect::<BTreeSet<_>>(), all, "each once");
    assert_eq!(oldest.iter().copied().collect::<BTreeSet<_>>(), all);
    assert!(
        newest.iter().rev().zip(&oldest).all(|(a, b)| a.0 != b.0 || a.1 == b.1),
        "the same order, turned"
    );
    let lane = newest[0].0;
    let of_lane = all.iter().filter(|(found, position)| *found == lane && *position >= 5).count();
    assert_eq!(walk(&visitor, &format!("{MESSAGES}?partition={lane}&offset=5")).len(), of_lane);
    let times = server.query(
        "select cast(occurred_at as text) from events where stream = 1 order by occurred_at, lane, position",
    );
    let since = visitor.page(&format!("{MESSAGES}/{}/{}", oldest[60].0, oldest[60].1));
    let exact = all_between(&since, "datetime=\"", "\"")[0];
    let later = times.iter().filter(|time| **time >= times[60]).count();
    assert_eq!(walk(&visitor, &format!("{MESSAGES}?since={}", encoded(exact))).len(), later);
    let earlier = times.iter().filter(|time| **time <= times[60]).count();
    assert_eq!(walk(&visitor, &format!("{MESSAGES}?until={}", encoded(exact))).len(), earlier);
}

/// Exactly what is listed, to the digit; in the audit; and no bank account.
fn a_list_leaves_as_a_file(server: &mut Server) {
    let visitor = Visitor::new(server);
    let merchant = server.merchant();
    for _ in 0..70 {
        server.payment(&merchant, 9_007_199_254_740_991 / 100);
    }
    server.completed_payment(&merchant, 5_000);
    server.withdrawal(&merchant, 100);
    let lines = |path: &str| {
        let answer = visitor.get(path).expect(200);
        assert_eq!(answer.header("content-type"), Some("application/jsonl; charset=utf-8"));
        assert!(!answer.text.contains(BANK_ACCOUNT));
        answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<Value>>()
    };
    let all = lines(&format!("{MESSAGES}.jsonl"));
    assert_eq!(all.len(), 72);
    assert!(all.iter().all(|line| line["key"] == merchant.as_str()));
    let completed = lines(&format!("{MESSAGES}.jsonl?header=event-type&holds=Completed"));
    assert_eq!(completed.len(), 1);
    assert_eq!(completed[0]["value"]["merchantId"], merchant.as_str());
    assert_eq!(completed[0]["headers"].as_array().unwrap().len(), 16);
    let withdrawals = lines("/topics/withdrawal-events/messages.jsonl");
    assert_eq!(withdrawals.len(), 1);
    for path in ["/topics/withdrawal-events/messages", "/topics/withdrawal-events"] {
        assert!(!visitor.page(path).contains(BANK_ACCOUNT), "{path}");
    }
    let audit = server.query("select subject from audit_log where action = 'console.export' order by id");
    assert_eq!(audit.len(), 3, "{audit:?}");
    visitor.get(&format!("{MESSAGES}.jsonl?order=sideways")).expect(400);
}

/// Who follows gets what comes, filtered on the server, as rows.
fn what_comes_is_followed_live(server: &mut Server) {
    let visitor = Visitor::new(server);
    let page = visitor.page(&format!("{MESSAGES}?live=yes"));
    assert!(page.contains("sse-connect=\"/topics/payment-events/tail"), "{page}");
    let (followed, other) = (server.merchant(), server.merchant());
    server.payment(&followed, 100);
    let mut lines = follow(server, &format!("/topics/payment-events/tail?key={followed}"));
    server.payment(&other, 100);
    server.payment(&followed, 100);
    let row = lines.find(|line| line.starts_with("data:") && line.contains("PaymentCreated")).unwrap();
    assert!(row.contains(&followed) && row.starts_with("data: <tr>"), "{row}");
    assert!(row.contains("event-type"));
    visitor.get("/topics/payment-events/tail?order=sideways").expect(400);
}

/// The same in a real browser, whose page stays of one size.
#[test]
fn a_browser_follows_what_comes() {
    let server = Server::start(Kind::Sqlite);
    let merchant = server.merchant();
    server.payment(&merchant, 100);
    let api = format!("http://{}", server.address());
    browse("live.mjs", &server, &[("API", &api), ("MERCHANT", &merchant)]);
}

/// The lines of a page of server-sent events, as they come. It is followed when this returns.
pub fn follow(server: &Server, path: &str) -> impl Iterator<Item = String> + use<> {
    let host = server.operations_url().split_once("://").unwrap().1.to_owned();
    let mut connection = TcpStream::connect(&host).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(connection, "GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: text/event-stream\r\n\r\n").unwrap();
    let mut lines = BufReader::new(connection).lines().map(Result::unwrap);
    let status = lines.next().unwrap();
    assert!(status.contains("200"), "{status}");
    // The head of the answer is sent when what comes next is seen.
    lines.find(String::is_empty).unwrap();
    lines
}
