//! The console in a real browser: the first users' session, whether everybody can use it, what was stored to be run, and
//! what it looks like. The steps are in `tests/browser`.

use serde_json::json;
use uuid::Uuid;

use crate::{
    dead_letters::{POISON, with_dead_letters},
    support::{
        backend::Kind,
        browser::{self, beside_the_build, browse},
        kafka::Kafka,
        server::Server,
    },
};

/// A page that the embedded server does not show, by its route, as `tests/browser/pages.mjs` takes it.
const ABSENT_EMBEDDED: (&str, &str) = ("ABSENT", "/relay");
/// What a browser would run, or show as elements, wherever it stands in a page as it is.
const MARKUP: &str =
    r#""><i class=injected></i></td></script><script>injected=1</script><img src=x onerror="injected=1">'"#;

/// A merchant with something of every kind that a page shows. Every text that a caller may choose is the name of its
/// field, and `text` behind it.
fn furnish(server: &Server, text: &str) {
    let email = format!("{}@example.com", Uuid::new_v4().simple());
    let merchant = json!({"name": format!("name {text}"), "email": email});
    let merchant = server.post("/api/merchants", &merchant).expect(201).id();
    let path = format!("/api/merchants/{merchant}/payments");
    let pay = |amount_minor: i64, currency: &str| {
        let payment = json!({
            "amountInMinorUnits": amount_minor, "currency": currency,
            "externalReference": format!("reference {text}"), "description": format!("description {text}"),
        });
        format!("{path}/{}", server.post(&path, &payment).expect(201).id())
    };
    let paid = [(1_234_567, "USD"), (1_999, "EUR"), (120_000, "JPY"), (12_345, "KWD"), (50_000, "USD")]
        .map(|(amount_minor, currency)| pay(amount_minor, currency));
    for payment in &paid {
        server.post_empty(&format!("{payment}/complete")).expect(200);
    }
    let refund = json!({"refundAmountInMinorUnits": 20_000, "reason": format!("reason {text}")});
    server.post(&format!("{}/refund", paid[4]), &refund).expect(200);
    server.post_empty(&format!("{}/cancel", pay(700, "USD"))).expect(200);
    // One in each of its states.
    let withdraw = || server.withdrawal(&merchant, 1_000);
    let step = |withdrawal: String, step: &str| {
        server.post_empty(&format!("{withdrawal}/{step}")).expect(200);
        withdrawal
    };
    let paid_out = json!({"externalTransactionId": format!("wire {text}")});
    server.post(&format!("{}/complete", step(withdraw(), "process")), &paid_out).expect(200);
    let failed = json!({"reason": format!("reason {text}")});
    server.post(&format!("{}/fail", step(withdraw(), "process")), &failed).expect(200);
    step(withdraw(), "process");
    step(withdraw(), "cancel");
    withdraw();
    // The newest are what a list begins with: pending, so that they can be completed.
    pay(2_500, "USD");
    pay(9_007_199_254_740_991, "USD");
    let reconciled = server.run(&["reconcile"]);
    assert!(reconciled.stdout.contains("payments"), "{}{}", reconciled.stdout, reconciled.stderr);
}

/// A server whose every page has something to show, dead letters included.
fn furnished(kafka: Option<&Kafka>, text: &str) -> Server {
    let (server, _) = with_dead_letters(kafka, Kind::Sqlite);
    furnish(&server, text);
    server
}

/// The other tests of this file say nothing unless their tools find what is wrong with a page.
#[test]
fn what_judges_the_console_finds_what_is_wrong() {
    browser::run("proof.mjs", &[]);
}

#[test]
fn the_first_users_session_is_walked_in_the_console() {
    let kafka = Kafka::new();
    let (mut server, _) = with_dead_letters(Some(&kafka), Kind::Postgres);
    browse("walk.mjs", &server, &[("POISON", POISON)]);
    server.set("FINTECH_FAIL", "");
    server.restart();
    browse("redrive.mjs", &server, &[]);
    server.verify_log();
}

#[test]
fn everybody_can_use_the_console() {
    browse("axe.mjs", &furnished(Some(&Kafka::new()), "in order"), &[]);
}

#[test]
fn everybody_can_use_the_console_of_an_embedded_server() {
    browse("axe.mjs", &furnished(None, "in order"), &[ABSENT_EMBEDDED]);
}

#[test]
fn the_console_works_by_keys_alone() {
    browse("keyboard.mjs", &furnished(None, "in order"), &[ABSENT_EMBEDDED]);
}

#[test]
fn what_was_stored_to_be_run_is_shown() {
    browse("hostile.mjs", &furnished(Some(&Kafka::new()), MARKUP), &[]);
}

/// `scripts/screens` runs this alone, and says where the pictures are.
#[test]
fn every_page_is_pictured() {
    let folder = beside_the_build("screens");
    let server = furnished(Some(&Kafka::new()), "of a shop");
    browse("screens.mjs", &server, &[("SCREENS", folder.to_str().unwrap())]);
}
