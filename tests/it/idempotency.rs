//! Repeating a request with the same Idempotency-Key is safe.

use serde_json::{Value, json};

use crate::support::{
    client::{Answer, Content},
    fixtures::{at_once, new_withdrawal},
    on_both_backends,
    server::Server,
};

on_both_backends!(
    a_repeated_request_gets_the_first_answer,
    an_old_answer_is_as_it_was_then,
    a_key_serves_one_request_only,
    the_same_key_of_another_merchant_is_another_key,
    nothing_is_kept_for_what_was_not_done,
    many_at_once_with_one_key_take_effect_once,
    a_key_survives_a_restart,
    a_quoted_key_and_a_bare_one_are_one_key,
    an_unusable_key_is_refused,
);

const KEY: &str = "7c9e6679-7425-40de-944b-e07fc1f90ae7";

fn new_payment(amount_minor: i64) -> Value {
    json!({"amountInMinorUnits": amount_minor, "currency": "USD"})
}

fn payments(merchant: &str) -> String {
    format!("/api/merchants/{merchant}/payments")
}

fn is_replayed(answer: &Answer) -> bool {
    answer.header("idempotent-replayed") == Some("true")
}

fn a_repeated_request_gets_the_first_answer(server: &mut Server) {
    let merchant = server.merchant();
    server.completed_payment(&merchant, 10_000);
    let payment = server.payment(&merchant, 700);
    let bulk = json!({"payments": [new_payment(1), new_payment(2)]});
    let requests = [
        ("/api/merchants".to_owned(), json!({"name": "Once", "email": "once@example.com"})),
        (payments(&merchant), new_payment(5000)),
        (format!("{}/bulk", payments(&merchant)), bulk),
        (format!("{payment}/complete"), Value::Null),
        (format!("{payment}/refund"), json!({"refundAmountInMinorUnits": 100})),
        (format!("/api/merchants/{merchant}/withdrawals"), new_withdrawal(300)),
    ];
    for (number, (path, body)) in requests.iter().enumerate() {
        let key = format!("{KEY}-{number}");
        let content = if body.is_null() { Content::Nothing } else { Content::Json(body) };
        let send = || server.send("POST", path, &[("Idempotency-Key", &key)], &content);
        let first = send();
        assert!(matches!(first.status, 200 | 201), "{path}: {}", first.text);
        assert!(!is_replayed(&first), "{path}");
        let second = send();
        assert!(is_replayed(&second), "{path}");
        assert_eq!((second.status, &second.text), (first.status, &first.text), "{path}");
        assert_eq!(second.header("location"), first.header("location"), "{path}");
    }
    assert_eq!(server.get(&payments(&merchant)).list().len(), 5);
    assert_eq!(server.balance(&merchant), (10_000 + 700 - 100 - 300, 300));
}

/// The answer of then, although the payment went on since. Failure mode 91.
fn an_old_answer_is_as_it_was_then(server: &mut Server) {
    let merchant = server.merchant();
    let path = payments(&merchant);
    let created = server.post_with_key(&path, KEY, &new_payment(5000)).expect(201);
    let payment = format!("{path}/{}", created.id());
    server.post_empty(&format!("{payment}/complete")).expect(200);
    server.post_empty(&format!("{payment}/refund")).expect(200);
    let again = server.post_with_key(&path, KEY, &new_payment(5000)).expect(201);
    assert_eq!(again.text, created.text);
    assert_eq!(again.json["status"], "Pending");
}

/// Failure mode 84.
fn a_key_serves_one_request_only(server: &mut Server) {
    let merchant = server.merchant();
    let path = payments(&merchant);
    let created = server.post_with_key(&path, KEY, &new_payment(5000)).expect(201);
    let other_body = server.post_with_key(&path, KEY, &new_payment(5001)).expect(422);
    assert_eq!(other_body.problem(), "idempotency_key_reused");
    let complete = format!("{path}/{}/complete", created.id());
    let other_path = server.send("POST", &complete, &[("Idempotency-Key", KEY)], &Content::Nothing);
    other_path.expect(422).problem();
    assert_eq!(server.get(&path).list().len(), 1);
    assert_eq!(server.get(&path).list()[0]["status"], "Pending");
}

/// Failure modes 84 and 90.
fn the_same_key_of_another_merchant_is_another_key(server: &mut Server) {
    let [one, other] = [server.merchant(), server.merchant()];
    let first = server.post_with_key(&payments(&one), KEY, &new_payment(5000)).expect(201);
    let second = server.post_with_key(&payments(&other), KEY, &new_payment(5000)).expect(201);
    assert!(!is_replayed(&second));
    assert_ne!(first.id(), second.id());
    assert_eq!(second.json["merchantId"], other.as_str());
}

/// Failure mode 89.
fn nothing_is_kept_for_what_was_not_done(server: &mut Server) {
    let merchant = server.merchant();
    let path = payments(&merchant);
    server.post_with_key(&path, KEY, &new_payment(0)).problem();
    server.post_with_key(&path, KEY, &new_payment(5000)).expect(201);

    let withdrawals = format!("/api/merchants/{merchant}/withdrawals");
    let refused = server.post_with_key(&withdrawals, "withdraw", &new_withdrawal(100));
    assert_eq!(refused.problem(), "insufficient_funds");
    server.completed_payment(&merchant, 1000);
    let withdrawn = server.post_with_key(&withdrawals, "withdraw", &new_withdrawal(100)).expect(201);
    assert!(!is_replayed(&withdrawn));
}

/// Failure mode 83.
fn many_at_once_with_one_key_take_effect_once(server: &mut Server) {
    let merchant = server.merchant();
    let path = payments(&merchant);
    let answers = at_once(20, |_| server.post_with_key(&path, KEY, &new_payment(5000)).expect(201));
    assert!(answers.iter().all(|answer| answer.text == answers[0].text));
    assert_eq!(answers.iter().filter(|answer| !is_replayed(answer)).count(), 1);
    assert_eq!(server.get(&path).list().len(), 1);

    let merchants = |_| {
        let body = json!({"name": "Once", "email": "once@example.com"});
        server.post_with_key("/api/merchants", KEY, &body).expect(201).id()
    };
    let ids = at_once(20, merchants);
    assert!(ids.iter().all(|id| *id == ids[0]));
}

/// Failure mode 85: neither an orderly end nor a kill leaves a key in flight or forgets it.
fn a_key_survives_a_restart(server: &mut Server) {
    let merchant = server.merchant();
    let first = server.post_with_key(&payments(&merchant), KEY, &new_payment(5000)).expect(201);
    server.restart();
    let after_stop = server.post_with_key(&payments(&merchant), KEY, &new_payment(5000)).expect(201);
    server.kill();
    server.restart();
    let after_kill = server.post_with_key(&payments(&merchant), KEY, &new_payment(5000)).expect(201);
    for again in [after_stop, after_kill] {
        assert!(is_replayed(&again));
        assert_eq!(again.text, first.text);
    }
    assert_eq!(server.get(&payments(&merchant)).list().len(), 1);
}

/// The draft's structured field and the bare value that most clients send.
fn a_quoted_key_and_a_bare_one_are_one_key(server: &mut Server) {
    let merchant = server.merchant();
    server.post_with_key(&payments(&merchant), KEY, &new_payment(5000)).expect(201);
    let quoted = format!("\"{KEY}\"");
    let again = server.post_with_key(&payments(&merchant), &quoted, &new_payment(5000)).expect(201);
    assert!(is_replayed(&again));
}

fn an_unusable_key_is_refused(server: &mut Server) {
    let merchant = server.merchant();
    for key in ["", "\"\"", "\"unfinished", &"k".repeat(256)] {
        server.post_with_key(&payments(&merchant), key, &new_payment(5000)).expect(400).problem();
    }
    server.post_with_key(&payments(&merchant), &"k".repeat(255), &new_payment(5000)).expect(201);
    assert_eq!(server.get(&payments(&merchant)).list().len(), 1);
}
