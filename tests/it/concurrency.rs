//! Many callers at once: each change takes effect once.

use serde_json::json;

use crate::support::{fixtures::at_once, on_both_backends, server::Server};

on_both_backends!(
    a_hundred_completions_take_effect_once,
    a_hundred_refunds_never_exceed_the_payment,
    a_hundred_withdrawals_never_overdraw,
    refunds_race_with_withdrawals_for_the_same_money,
    a_payment_is_either_completed_or_cancelled,
    a_first_balance_in_a_currency_is_one,
    an_email_is_given_away_once,
);

const CALLERS: usize = 100;

/// Failure modes 92, 97 and 98.
fn a_hundred_completions_take_effect_once(server: &mut Server) {
    let merchant = server.merchant();
    let payment = server.payment(&merchant, 5000);
    let answers = at_once(CALLERS, |_| server.post_empty(&format!("{payment}/complete")).expect(200));
    assert!(answers.iter().all(|answer| answer.text == answers[0].text), "a completion repeated is no news");
    assert_eq!(server.balance(&merchant), (5000, 0));
    let history = server.get(&format!("/api/admin/ledger-history/{merchant}")).expect(200);
    assert_eq!(history.integer("totalEntries"), 1);
    server.verify_balance(&merchant);
}

/// Failure mode 97.
fn a_hundred_refunds_never_exceed_the_payment(server: &mut Server) {
    let merchant = server.merchant();
    // Other money is there, so that only the payment itself is the limit.
    server.completed_payment(&merchant, 1_000_000);
    let payment = server.completed_payment(&merchant, 1000);
    let refund = json!({"refundAmountInMinorUnits": 300});
    let answers = at_once(CALLERS, |_| server.post(&format!("{payment}/refund"), &refund));
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 3);
    for refused in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(refused.problem(), "refund_above_payment");
    }
    let payment = server.get(&payment).expect(200);
    assert_eq!(payment.json["status"], "PartiallyRefunded");
    assert_eq!(payment.integer("refundedAmountInMinorUnits"), 900);
    assert_eq!(server.balance(&merchant), (1_000_100, 0));
    server.verify_balance(&merchant);
}

/// Failure mode 92.
fn a_hundred_withdrawals_never_overdraw(server: &mut Server) {
    let merchant = server.merchant();
    server.completed_payment(&merchant, 1000);
    let answers = at_once(CALLERS, |_| server.request_withdrawal(&merchant, 300));
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 3);
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!(refused.problem(), "insufficient_funds");
    }
    assert_eq!(server.balance(&merchant), (100, 900));
    server.verify_balance(&merchant);

    let path = format!("/api/merchants/{merchant}/withdrawals");
    let withdrawal = server.get(&path).expect(200).list()[0]["id"].as_str().unwrap().to_owned();
    let cancelled = at_once(CALLERS, |_| server.post_empty(&format!("{path}/{withdrawal}/cancel")));
    assert_eq!(cancelled.iter().filter(|answer| answer.status == 200).count(), 1);
    assert_eq!(server.balance(&merchant), (400, 600));
}

/// Failure mode 97: a withdrawal racing a refund.
fn refunds_race_with_withdrawals_for_the_same_money(server: &mut Server) {
    let merchant = server.merchant();
    let payment = server.completed_payment(&merchant, 1000);
    let answers = at_once(20, |number| {
        if number % 2 == 0 {
            server.post_empty(&format!("{payment}/refund"))
        } else {
            server.request_withdrawal(&merchant, 1000)
        }
    });
    let done = answers.iter().filter(|answer| answer.status < 300).count();
    assert_eq!(done, 1, "the money goes one way");
    let (available, pending) = server.balance(&merchant);
    assert_eq!(available, 0);
    assert!(pending == 0 || pending == 1000);
    server.verify_balance(&merchant);
}

/// Failure mode 98.
fn a_payment_is_either_completed_or_cancelled(server: &mut Server) {
    let merchant = server.merchant();
    let payment = server.payment(&merchant, 5000);
    at_once(20, |number| {
        let verb = if number % 2 == 0 { "complete" } else { "cancel" };
        server.post_empty(&format!("{payment}/{verb}"))
    });
    let status = server.get(&payment).expect(200).string("status");
    let expected = match status.as_str() {
        "Completed" => (5000, 0),
        "Failed" => (0, 0),
        other => panic!("{other}"),
    };
    assert_eq!(server.balance(&merchant), expected);
}

/// The first platform raced here and failed.
fn a_first_balance_in_a_currency_is_one(server: &mut Server) {
    let merchant = server.merchant();
    let payments: Vec<String> = (0..20).map(|_| server.payment(&merchant, 100)).collect();
    at_once(20, |number| server.post_empty(&format!("{}/complete", payments[number])).expect(200));
    assert_eq!(server.get(&format!("/api/merchants/{merchant}/balances")).list().len(), 1);
    assert_eq!(server.balance(&merchant), (2000, 0));
    server.verify_balance(&merchant);
}

fn an_email_is_given_away_once(server: &mut Server) {
    let answers = at_once(20, |number| {
        let email = if number % 2 == 0 { "Same@Example.com" } else { "same@example.com" };
        server.post("/api/merchants", &json!({"name": "Test", "email": email}))
    });
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    for refused in answers.iter().filter(|answer| answer.status != 201) {
        assert_eq!((refused.status, refused.problem().as_str()), (409, "email_taken"));
    }
    assert_eq!(server.get("/api/merchants").expect(200).list().len(), 1);
}
