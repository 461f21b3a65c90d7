//! Paying out, and keeping bank details to oneself.

use serde_json::json;

use crate::support::{
    client::{Answer, Content},
    collector::Collector,
    fixtures::{BANK_ACCOUNT, BANK_ROUTING, new_withdrawal},
    on_both_backends,
    server::Server,
};

on_both_backends!(
    a_withdrawal_is_paid_out,
    a_failed_withdrawal_gives_the_money_back,
    a_cancelled_withdrawal_gives_the_money_back,
    impossible_steps_are_refused,
    an_inactive_merchant_takes_nothing_new,
    a_full_bank_account_number_appears_nowhere,
);

fn a_withdrawal_is_paid_out(server: &mut Server) {
    let merchant = server.merchant();
    server.completed_payment(&merchant, 5000);
    let requested = server.request_withdrawal(&merchant, 2000).expect(201);
    assert_eq!(requested.json["status"], "Pending");
    assert_eq!(requested.json["bankAccountNumber"], "****************1100");
    assert_eq!(requested.json["bankRoutingNumber"], "*****0021");
    assert_eq!(server.balance(&merchant), (3000, 2000));

    let path = format!("/api/merchants/{merchant}/withdrawals/{}", requested.id());
    assert_eq!(requested.header("location"), Some(path.as_str()));
    let processing = server.post_empty(&format!("{path}/process")).expect(200);
    assert_eq!(processing.json["status"], "Processing");
    assert!(processing.json["processedAt"].is_string());
    assert_eq!(server.balance(&merchant), (3000, 2000));

    let reference = json!({"externalTransactionId": "wire-17"});
    let completed = server.post(&format!("{path}/complete"), &reference).expect(200);
    assert_eq!(completed.json["status"], "Completed");
    assert_eq!(completed.json["externalTransactionId"], "wire-17");
    assert!(completed.json["completedAt"].is_string());
    assert_eq!(server.balance(&merchant), (3000, 0));
    assert_eq!(server.get(&path).expect(200).json, completed.json);
    server.verify_balance(&merchant);
}

fn a_failed_withdrawal_gives_the_money_back(server: &mut Server) {
    let merchant = server.merchant();
    server.completed_payment(&merchant, 5000);
    let path = server.withdrawal(&merchant, 2000);
    server.post_empty(&format!("{path}/process")).expect(200);
    let failed = server.post(&format!("{path}/fail"), &json!({"reason": "account closed"})).expect(200);
    assert_eq!(failed.json["status"], "Failed");
    assert_eq!(failed.json["failureReason"], "account closed");
    assert_eq!(server.balance(&merchant), (5000, 0));
    server.verify_balance(&merchant);
}

fn a_cancelled_withdrawal_gives_the_money_back(server: &mut Server) {
    let merchant = server.merchant();
    server.completed_payment(&merchant, 5000);
    let path = server.withdrawal(&merchant, 2000);
    let cancelled = server.post_empty(&format!("{path}/cancel")).expect(200);
    assert_eq!(cancelled.json["status"], "Cancelled");
    assert_eq!(server.balance(&merchant), (5000, 0));
    server.verify_balance(&merchant);
}

/// Failure mode 98.
fn impossible_steps_are_refused(server: &mut Server) {
    let merchant = server.merchant();
    server.completed_payment(&merchant, 5000);
    let reason = json!({"reason": "no"});
    let steps = |path: &str, refused: &[&str]| {
        for step in refused {
            let path = format!("{path}/{step}");
            let answer = if *step == "fail" { server.post(&path, &reason) } else { server.post_empty(&path) };
            assert_eq!((answer.status, answer.problem().as_str()), (409, "withdrawal_in_wrong_state"));
        }
    };
    let path = server.withdrawal(&merchant, 1000);
    steps(&path, &["complete", "fail"]);
    server.post_empty(&format!("{path}/process")).expect(200);
    steps(&path, &["process", "cancel"]);
    server.post_empty(&format!("{path}/complete")).expect(200);
    steps(&path, &["process", "complete", "fail", "cancel"]);
    let path = server.withdrawal(&merchant, 1000);
    server.post_empty(&format!("{path}/cancel")).expect(200);
    steps(&path, &["process", "complete", "fail", "cancel"]);
    assert_eq!(server.balance(&merchant), (4000, 0));
}

fn an_inactive_merchant_takes_nothing_new(server: &mut Server) {
    let merchant = server.merchant();
    server.completed_payment(&merchant, 5000);
    let pending = server.payment(&merchant, 100);
    let path = format!("/api/merchants/{merchant}");
    assert_eq!(server.patch(&path, &json!({"isActive": false})).expect(200).json["isActive"], false);
    assert_eq!(server.request_withdrawal(&merchant, 100).problem(), "merchant_inactive");
    let payment = json!({"amountInMinorUnits": 100, "currency": "USD"});
    assert_eq!(server.post(&format!("{path}/payments"), &payment).problem(), "merchant_inactive");
    server.post_empty(&format!("{pending}/complete")).expect(200);
    assert_eq!(server.balance(&merchant), (5100, 0));
    server.patch(&path, &json!({"isActive": true})).expect(200);
    server.request_withdrawal(&merchant, 100).expect(201);
}

/// Every path that takes a bank account number, the right ones and the wrong ones.
fn a_full_bank_account_number_appears_nowhere(server: &mut Server) {
    let collector = Collector::start();
    server.set("Logging__Level", "trace");
    server.set("Telemetry__OtlpEndpoint", collector.url());
    server.restart();
    let merchant = server.merchant();
    server.completed_payment(&merchant, 5000);
    let path = format!("/api/merchants/{merchant}/withdrawals");
    let with = |member: &str, value: serde_json::Value| {
        let mut body = new_withdrawal(100);
        body[member] = value;
        body
    };
    let spaced = "9988 7766 5544 3322 1100";
    let number: serde_json::Value = serde_json::from_str(BANK_ACCOUNT).unwrap();
    let mut answers: Vec<Answer> = [
        new_withdrawal(100),
        new_withdrawal(1_000_000),
        with("bankAccountNumber", json!(spaced)),
        with("bankAccountNumber", json!(format!("{BANK_ACCOUNT};"))),
        with("bankAccountNumber", number),
        with("bankAccountNumber", json!([BANK_ACCOUNT])),
        with("bankAccountNumber", json!(BANK_ACCOUNT.repeat(2))),
        with("currency", json!(BANK_ACCOUNT)),
        with("amountInMinorUnits", json!(BANK_ACCOUNT)),
        with("bankRoutingNumber", json!("")),
        with("account", json!(BANK_ACCOUNT)),
    ]
    .iter()
    .map(|body| server.post_with_key(&path, &uuid::Uuid::new_v4().to_string(), body))
    .collect();
    let broken = format!("{{\"bankAccountNumber\": \"{BANK_ACCOUNT}\", oops");
    answers.push(server.send("POST", &path, &[], &Content::Bytes("application/json", broken.as_bytes())));
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 2);

    let withdrawal = format!("{path}/{}", answers[0].id());
    answers.push(server.post_empty(&format!("{withdrawal}/process")));
    answers.push(server.post_empty(&format!("{withdrawal}/complete")));
    answers.push(server.get(&withdrawal));
    answers.push(server.get(&path));
    answers.push(server.get(&format!("/api/admin/ledger-history/{merchant}")));
    server.stop();
    for answer in &answers {
        assert_absent("an answer", answer.text.as_bytes());
        assert_absent("a header", format!("{:?}", answer.headers).as_bytes());
    }
    assert_absent("the log", server.log().as_bytes());
    assert_absent("the database", &server.stored_bytes());
    let spans = collector.spans();
    assert!(!spans.is_empty());
    assert_absent("a span", format!("{spans:?}").as_bytes());
}

#[track_caller]
fn assert_absent(place: &str, bytes: &[u8]) {
    let hex = hex::encode(BANK_ACCOUNT);
    for canary in [BANK_ACCOUNT, "9988 7766 5544 3322 1100", "99887766554433220000", BANK_ROUTING, &hex] {
        let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
        assert!(!found, "{canary} stands in {place}");
    }
}
