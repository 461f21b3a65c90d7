//! The first page: what goes on, and how much of it goes wrong, in all processes together.

use serde_json::{Value, json};
use uuid::Uuid;

use super::Visitor;
use crate::support::{backend::Kind, eventually, server::Server};

/// Payments of one bulk request: ten a second over a minute.
const PAYMENTS: usize = 600;

/// What stands on a card.
#[derive(Debug, PartialEq, Eq)]
struct Card {
    value: String,
    detail: String,
    class: String,
}

#[track_caller]
fn card(visitor: &Visitor, name: &str) -> Card {
    let page = visitor.page("/");
    let (before, after) = page.split_once(&format!("<small>{name}</small>")).unwrap_or_else(|| {
        panic!("no card {name} in {page}");
    });
    let class = before.rsplit_once("class=\"card ").unwrap().1.split('"').next().unwrap();
    let value = super::between(after, "<b>", "</b>").unwrap();
    let detail = super::between(after, "<small>", "</small>").unwrap();
    Card { value: value.to_owned(), detail: detail.replace("&#60;", "<"), class: class.to_owned() }
}

/// It is counted beside the page, which does not wait for long.
fn counted(card: Card) -> Option<Card> {
    Some(card).filter(|card| card.detail != "being counted")
}

fn pay(server: &Server, merchant: &str) {
    let payments: Vec<Value> =
        (0..PAYMENTS).map(|_| json!({"amountInMinorUnits": 100, "currency": "USD"})).collect();
    let path = format!("/api/merchants/{merchant}/payments/bulk");
    server.post(&path, &json!({"payments": payments})).expect(201);
}

/// Payments by the log's positions; requests by the record, those that it left out among them; whichever process one asks,
/// and from the moment at which it starts.
fn what_goes_on_is_counted(kind: Kind) {
    // Two of each second are kept.
    let server = Server::start_with(kind, &[("Requests__KeptPerSecondMax", "2")]);
    let visitor = Visitor::new(&server);
    let (payments, errors) = ("Payment events a second, last minute", "Error rate, last minute");
    let card_of = |name: &str| card(&visitor, name);
    let first = |name: &str| eventually("what was counted", || counted(card_of(name)));
    assert_eq!(first(payments).value, "0.0");
    let Card { value, detail, class } = first(errors);
    assert_eq!((value.as_str(), detail.as_str(), class.as_str()), ("–", "no request in 15 minutes", "plain"));

    let merchant = server.merchant();
    pay(&server, &merchant);
    for _ in 0..4 {
        server.get(&format!("/api/merchants/{}", Uuid::new_v4())).expect(404);
    }
    for _ in 0..10 {
        server.get(&format!("/api/merchants/{merchant}")).expect(200);
    }
    let told = eventually("the rates", || {
        let told = (card_of(payments), card_of(errors));
        (told.0.value == "10.0" && told.1.value == "25.0 %").then_some(told)
    });
    assert_eq!(told.0.detail, "0.6 over 15 minutes; 600 made in the minute");
    assert_eq!(told.1.detail, "4 of 16 requests; 25.0 % over 15 minutes");
    assert_eq!(told.1.class, "good", "what callers do wrong is their affair");
    let kept = server.query("select count(*) from api_requests");
    assert_ne!(kept, ["16"], "the record left some out");

    // An answer of 500 or above is the program's affair.
    let failed = "update api_requests set status = 503 where status = 404";
    server.alter(failed);
    eventually("the red card", || (card_of(errors).class == "bad").then_some(()));
}

#[test]
fn what_goes_on_is_counted_on_sqlite() {
    what_goes_on_is_counted(Kind::Sqlite);
}

#[test]
fn what_goes_on_is_counted_on_postgres() {
    what_goes_on_is_counted(Kind::Postgres);
}

/// A process that has just come tells what the others did.
#[test]
fn a_process_that_has_just_started_tells_the_same() {
    let mut server = Server::start(Kind::Postgres);
    let merchant = server.merchant();
    pay(&server, &merchant);
    server.get(&format!("/api/merchants/{}", Uuid::new_v4())).expect(404);
    // What was asked of it is written when it ends, at the latest.
    server.restart();
    let visitor = Visitor::new(&server);
    let [payments, errors] = ["Payment events a second, last minute", "Error rate, last minute"]
        .map(|name| eventually("what was counted", || counted(card(&visitor, name))));
    assert!(payments.detail.ends_with("600 made in the minute") && payments.value == "10.0", "{payments:?}");
    assert!(errors.detail.starts_with("1 of 3 requests; "), "{errors:?}");
}
