//! The three curl commands that the first platform's guide begins with.

use serde_json::{Value, json};

use crate::support::{
    backend::Kind,
    client::{Answer, Content},
    eventually, on_both_backends,
    server::Server,
};

on_both_backends!(a_merchant_is_paid_in_three_commands, two_events_are_read_by_the_consumer);

struct Session {
    answers: Vec<Answer>,
    merchant: String,
    payment: String,
}

/// The bodies are the guide's, byte for byte.
fn seed_session(server: &Server) -> Session {
    let post = |path: &str, body: &str| {
        server.send("POST", path, &[], &Content::Bytes("application/json", body.as_bytes()))
    };
    let created = post("/api/merchants", r#"{"name": "Test", "email": "test@test.com"}"#);
    let merchant = format!("/api/merchants/{}", created.id());
    let pending = post(&format!("{merchant}/payments"), r#"{"amountInMinorUnits": 5000, "currency": "USD"}"#);
    let payment = format!("{merchant}/payments/{}", pending.id());
    let completed = server.post_empty(&format!("{payment}/complete"));
    Session { answers: vec![created, pending, completed], merchant, payment }
}

fn a_merchant_is_paid_in_three_commands(server: &mut Server) {
    let Session { answers, merchant, payment } = seed_session(server);
    let [created, pending, completed] = &answers[..] else { panic!("three answers") };

    assert_eq!(created.status, 201);
    assert_eq!(created.json["name"], "Test");
    assert_eq!(created.json["email"], "test@test.com");
    assert_eq!(created.json["isActive"], true);

    assert_eq!(pending.status, 201);
    assert_eq!(pending.json["status"], "Pending");
    assert_eq!(pending.json["merchantId"], created.json["id"]);
    assert_eq!(pending.json["amountInMinorUnits"], 5000);
    assert!(pending.text.contains("\"amountInMajorUnits\":50.00"), "{}", pending.text);
    assert_eq!(pending.header("location"), Some(payment.as_str()));

    assert_eq!(completed.status, 200);
    assert_eq!(completed.json["status"], "Completed");
    assert_eq!(completed.json["completedBy"], "Manual");
    assert_eq!(completed.json["id"], pending.json["id"]);
    assert_eq!(server.get(&payment).expect(200).json, completed.json);

    let balance = server.get(&format!("{merchant}/balances/USD")).expect(200);
    assert_eq!(balance.integer("availableBalanceInMinorUnits"), 5000);
    assert_eq!(balance.integer("pendingBalanceInMinorUnits"), 0);
    assert_eq!(balance.integer("totalBalanceInMinorUnits"), 5000);
    server.verify_balance(&created.id());
}

fn two_events_are_read_by_the_consumer(server: &mut Server) {
    seed_session(server);
    let lines = eventually("two lines of the consumer", || {
        let log = server.log();
        let lines: Vec<String> =
            log.lines().filter(|line| line.contains("Processing payment event")).map(str::to_owned).collect();
        (lines.len() >= 2).then_some(lines)
    });
    assert_eq!(lines.len(), 2);
    assert!(lines[0].contains("PaymentCreated"), "{}", lines[0]);
    assert!(lines[1].contains("PaymentCompleted"), "{}", lines[1]);
}

/// A longer session than the guide's: everything that a merchant does, and some that is refused.
fn long_session(server: &Server) -> Vec<Answer> {
    let Session { mut answers, merchant, payment } = seed_session(server);
    let withdrawal = json!({
        "amountInMinorUnits": 1000, "currency": "USD",
        "bankAccountNumber": "DE89370400440532013000", "bankRoutingNumber": "021000021",
    });
    let withdrawals = format!("{merchant}/withdrawals");
    let requested = server.post(&withdrawals, &withdrawal);
    let withdrawal_path = format!("{withdrawals}/{}", requested.id());
    let bulk = json!({"payments": [
        {"amountInMinorUnits": 1, "currency": "JPY", "description": "first"},
        {"amountInMinorUnits": 2, "currency": "KWD", "externalReference": "second"},
    ]});
    answers.extend([
        requested,
        server.post_empty(&format!("{payment}/complete")),
        server
            .post(&format!("{payment}/refund"), &json!({"refundAmountInMinorUnits": 1500, "reason": "torn"})),
        server.post(&format!("{payment}/refund"), &json!({"refundAmountInMinorUnits": 5000})),
        server.post_empty(&format!("{payment}/cancel")),
        server.post_empty(&format!("{withdrawal_path}/process")),
        server.post(&format!("{withdrawal_path}/fail"), &json!({"reason": "account closed"})),
        server.post_empty(&format!("{withdrawal_path}/cancel")),
        server.post(&format!("{merchant}/payments/bulk"), &bulk),
        server.post("/api/merchants", &json!({"name": "Other", "email": "TEST@test.com"})),
        server.patch(&merchant, &json!({"name": "Renamed", "isActive": false})),
        server.post(&format!("{merchant}/payments"), &json!({"amountInMinorUnits": 1, "currency": "USD"})),
        server.get("/api/merchants"),
        server.get(&format!("{merchant}/payments")),
        server.get(&format!("{merchant}/payments?minAmount=2&maxAmount=5000&status=Pending,Completed")),
        server.get(&withdrawals),
        server.get(&format!("{merchant}/balances")),
        server.get(&format!("{merchant}/balances/JPY")),
        server.get(&format!("{merchant}/analytics")),
        server.get(&merchant.replace("/api/merchants", "/api/admin/ledger-history")),
        server.get(&format!(
            "{}?currency=USD",
            merchant.replace("/api/merchants", "/api/admin/verify-balance")
        )),
    ]);
    answers
}

/// What differs from run to run, replaced by its kind.
fn without_ids_and_times(value: &Value) -> Value {
    match value {
        Value::String(text) if uuid::Uuid::parse_str(text).is_ok() => json!("<id>"),
        Value::String(text) if is_time(text) => json!("<time>"),
        // Sentences and problem members name what they speak of.
        Value::String(text) if text.contains("/api/merchants/") => json!("<path>"),
        Value::Array(items) => items.iter().map(without_ids_and_times).collect(),
        Value::Object(members) => {
            let members = members.iter().map(|(name, value)| (name.clone(), without_ids_and_times(value)));
            Value::Object(members.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

fn is_time(text: &str) -> bool {
    text.len() >= 20 && text.as_bytes()[4] == b'-' && text.as_bytes()[10] == b'T' && text.ends_with('Z')
}

#[test]
fn both_databases_give_the_same_answers_but_for_ids_and_times() {
    let sqlite = long_session(&Server::start(Kind::Sqlite));
    let postgres = long_session(&Server::start(Kind::Postgres));
    assert_eq!(sqlite.len(), postgres.len());
    for (number, (a, b)) in sqlite.iter().zip(&postgres).enumerate() {
        let context = format!("answer {number}: {} and {}", a.text, b.text);
        assert_eq!(a.status, b.status, "{context}");
        assert_eq!(without_ids_and_times(&a.json), without_ids_and_times(&b.json), "{context}");
        assert_eq!(a.header("content-type"), b.header("content-type"), "{context}");
    }
    let statuses: Vec<u16> = sqlite.iter().map(|answer| answer.status).collect();
    let expected = [
        201, 201, 200, 201, 200, 200, 422, 409, 200, 200, 409, 201, 409, 200, 409, 200, 200, 200, 200, 200,
        200, 200, 200, 200,
    ];
    assert_eq!(statuses, expected);
}
