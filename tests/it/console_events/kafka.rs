//! The same pages on a real Kafka, with what others may put there.

use std::time::{Duration, Instant};

use super::{MARKUP, Visitor, all_between, led_to, messages::follow};
use crate::support::{backend::Kind, eventually, kafka::Kafka, server::Server};

/// A page may wait for Kafka for so long.
const AWAY_MAX: Duration = Duration::from_secs(9);

fn places(page: &str, topic: &str) -> Vec<String> {
    let begin = format!("<tr><td><a href=\"/topics/{topic}/messages/");
    all_between(page, &begin, "\"").into_iter().map(str::to_owned).collect()
}

fn messages(kafka: &Kafka) -> String {
    format!("/topics/{}/messages", kafka.topic("payment-events"))
}

/// Topics, partitions, groups with their lag, members, the relay, and the two messages of a payment.
#[test]
fn the_first_users_find_their_messages() {
    let kafka = Kafka::new();
    let server = kafka.server(Kind::Postgres, &[]);
    let visitor = Visitor::new(&server);
    let merchant = server.merchant();
    let paid = server.completed_payment(&merchant, 100);
    kafka.hold_the_log(&server);
    let topic = kafka.topic("payment-events");
    let topics = visitor.page("/topics");
    assert!(topics.contains(&format!("href=\"/topics/{topic}\"")), "{topics}");
    assert!(!topics.contains("__consumer_offsets"), "nothing of others");
    let group = kafka.group("fintechplatform-api");
    eventually("the group without lag in the topic's page", || {
        let page = visitor.page(&format!("/topics/{topic}"));
        let is_read = page.contains(&group) && page.contains(">lag 0<") && page.contains("Members");
        (is_read && page.contains("retention.ms")).then_some(())
    });
    let page = visitor.page(&format!("{}?key={merchant}", messages(&kafka)));
    let found = places(&page, &topic);
    assert_eq!(found.len(), 2, "{page}");
    for shown in ["PaymentCreated", "PaymentCompleted", "event-type", "ce_type", "chain-hash", "occurred"] {
        assert!(page.contains(shown), "{shown}");
    }
    let lane = found[0].split_once('/').unwrap().0;
    for position in 1..=2 {
        // By the stream's own name, as other pages link.
        let path = format!("/topics/payment-events/messages?partition={lane}&position={position}");
        let led = led_to(&visitor.get(&path));
        assert_eq!(led, format!("{}/{}", messages(&kafka), found[2 - position]));
        assert!(visitor.page(&led).contains(&format!("/events/payment-events/{lane}/{position}")));
    }
    visitor.get(&format!("/topics/payment-events/messages?partition={lane}&position=3")).expect(404);
    the_timeline_says_where(&visitor, &page_of(&paid), &topic, &found);
    eventually("the relay that has noted all", || {
        let page = visitor.page("/relay");
        (page.contains("0 events") && page.contains("held") && page.contains(&topic)).then_some(())
    });
    eventually("the members", || {
        let page = visitor.page("/consumers/payment_log");
        (page.contains("127.0.0.1") && page.contains(&group)).then_some(())
    });
}

/// The console's page of what the API has under a path.
fn page_of(path: &str) -> String {
    format!("/payments/{}", path.rsplit('/').next().unwrap())
}

/// A timeline is there without Kafka, and has partition and offset of each event when it is asked to: by a link, or by the
/// same link as soon as it is there.
fn the_timeline_says_where(visitor: &Visitor, payment: &str, topic: &str, found: &[String]) {
    let page = visitor.page(payment);
    assert!(page.contains("<a href=\"?kafka=yes\" hx-get=\"?kafka=yes\" hx-trigger=\"load\""), "{page}");
    assert!(!page.contains("offset"), "Kafka was not asked");
    let page = visitor.page(&format!("{payment}?kafka=yes"));
    let (places, mut expected) = (all_between(&page, "<a href=\"/topics/", "</a>"), found.to_vec());
    expected.reverse();
    let expected: Vec<String> = expected
        .iter()
        .map(|place| {
            let (partition, offset) = place.split_once('/').unwrap();
            format!("{topic}/messages/{place}\">partition {partition}, offset {offset}")
        })
        .collect();
    assert_eq!(places, expected, "{page}");
}

/// Binary bytes, a megabyte, ten thousand headers, markup: shown, cut, and had whole.
#[test]
fn what_others_put_on_a_topic_is_shown_and_cut() {
    let kafka = Kafka::new();
    let server = kafka.server(Kind::Sqlite, &[]);
    let visitor = Visitor::new(&server);
    let (topic, path) = (kafka.topic("payment-events"), messages(&kafka));
    let large = format!("[\"large\",{}1]", "12345678,".repeat(100_000));
    let numbered: Vec<(String, String)> = (0..10_000).map(|n| (format!("h{n}"), format!("v{n}"))).collect();
    let headers: Vec<(&str, &str)> =
        numbered.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    kafka.produce("payment-events", 0, MARKUP, Some(MARKUP.as_bytes()), &[("markup", MARKUP), (MARKUP, "x")]);
    kafka.produce("payment-events", 1, "binary", Some(&[0x80, 0, 0xff]), &[]);
    kafka.produce("payment-events", 2, "many", Some(br#"{"n":9223372036854775807}"#), &headers);
    kafka.produce("payment-events", 3, "large", Some(large.as_bytes()), &[]);
    kafka.produce("payment-events", 3, "gone", None, &[]);
    let page =
        eventually("all five", || Some(visitor.page(&path)).filter(|page| places(page, &topic).len() == 5));
    assert!(page.contains("80 00 ff") && page.contains("a tombstone"), "{page}");
    assert!(page.contains("9223372036854775807") && page.contains("9960 more headers are not shown here"));
    assert!(page.contains("Get the whole") && page.len() < 200_000, "{}", page.len());
    let one = |key: &str| {
        let page = visitor.page(&format!("{path}?key={key}"));
        let found = places(&page, &topic);
        assert_eq!(found.len(), 1, "{key}");
        format!("{path}/{}", found[0])
    };
    let many = visitor.page(&one("many"));
    assert!(many.contains("10000 headers") && many.contains("9000 more headers are not shown here"));
    let large_path = one("large");
    assert!(visitor.page(&large_path).len() < 200_000);
    assert_eq!(visitor.get(&format!("{large_path}/value")).expect(200).text, large);
    let named = visitor.page(&format!("{path}?header=h9999&holds=v9999"));
    assert_eq!(places(&named, &topic).len(), 1, "the last of ten thousand is found");
    let file = visitor.get(&format!("{path}.jsonl")).expect(200).text;
    assert_eq!(file.lines().count(), 5);
    assert!(file.contains(r#""valueHex":"8000ff""#) && file.contains(r#""value":{"n":9223372036854775807}"#));
    let mut live = follow(&server, &format!("/topics/{topic}/tail?key=live"));
    kafka.produce("payment-events", 0, "not this one", Some(b"x"), &[]);
    kafka.produce("payment-events", 0, "live one", Some(b"line\r\nline"), &[]);
    let row = live.find(|line| line.starts_with("data: <tr>")).unwrap();
    assert!(row.contains("live one") && !row.contains("not this one"), "{row}");
}

/// Kafka's pages say so within seconds; the others go on.
#[test]
fn a_kafka_that_is_away_is_said() {
    let server = Server::start_with(Kind::Sqlite, &[("Kafka__BootstrapServers", "127.0.0.1:9")]);
    let visitor = Visitor::new(&server);
    let merchant = server.merchant();
    let payment = page_of(&server.payment(&merchant, 100));
    for path in [
        "/topics",
        "/topics/payment-events",
        "/topics/payment-events/messages",
        "/topics/payment-events/tail",
    ] {
        let asked_at = Instant::now();
        // A page of messages has begun when it is found out.
        let status = if path.ends_with("/messages") { 200 } else { 503 };
        let answer = visitor.get(path).expect(status);
        assert!(answer.text.contains("Kafka is not available"), "{path}: {}", answer.text);
        assert!(asked_at.elapsed() < AWAY_MAX, "{path} took {:?}", asked_at.elapsed());
    }
    // A timeline does not wait for Kafka, and not long when it is asked to.
    assert!(visitor.page(&payment).contains("Where they are on Kafka"));
    let asked_at = Instant::now();
    let page = visitor.page(&format!("{payment}?kafka=yes"));
    assert!(page.contains("Where they are on Kafka is not known: ") && page.contains("PaymentCreated"));
    assert!(asked_at.elapsed() < AWAY_MAX, "{:?}", asked_at.elapsed());
    let page = visitor.page("/consumers/payment_log");
    assert!(page.contains("What Kafka knows of the group is not shown"), "{page}");
    assert!(visitor.page("/relay").contains("2 events, the oldest is"), "it waits in the log");
    visitor.page("/consumers");
    visitor.page("/dead-letters");
}

/// A value in Avro is read by its schema; what only looks like one is shown as its bytes, and why.
#[test]
fn a_value_in_avro_is_read_by_its_schema() {
    let kafka = Kafka::new();
    let server = kafka.server(Kind::Sqlite, &[("Schemas__Format", "avro")]);
    let visitor = Visitor::new(&server);
    let (topic, path) = (kafka.topic("payment-events"), messages(&kafka));
    let merchant = server.merchant();
    server.payment(&merchant, 9_007_199_254_740_991);
    // The filter looks into what was read.
    let page = eventually("the payment", || {
        let page = visitor.page(&format!("{path}?key={merchant}&value=9007199254740991"));
        Some(page).filter(|page| places(page, &topic).len() == 1)
    });
    assert!(page.contains("Avro by schema") && page.contains(", PaymentCreated"), "{page}");
    assert!(page.contains("9007199254740991") && page.contains("application/vnd"), "{page}");
    kafka.produce("payment-events", 0, "no schema", Some(&[0, 0x7f, 0xff, 0xff, 0xff, 1]), &[]);
    let page = eventually("the other one", || {
        Some(visitor.page(&format!("{path}?key=schema"))).filter(|page| places(page, &topic).len() == 1)
    });
    assert!(page.contains("Not read: ") && page.contains("00 7f ff ff ff 01"), "{page}");
}
