//! The outside world at its worst: callers that go away, databases that go away, disks that are full.

use std::{io::Write as _, net::TcpStream, process::Command};

use serde_json::json;

use crate::support::{backend::Kind, eventually, fixtures::at_once, on_both_backends, server::Server};

on_both_backends!(
    a_caller_that_goes_away_changes_nothing,
    merchants_of_all_lanes_at_once_do_not_block_each_other,
    currencies_never_mix,
    a_balance_is_known_as_of_any_moment,
);

/// Failure mode 88: the caller sends a payment and hangs up. The payment is made, once, and whoever asks
/// again with the same key learns of it.
fn a_caller_that_goes_away_changes_nothing(server: &mut Server) {
    let merchant = server.merchant();
    let path = format!("/api/merchants/{merchant}/payments");
    let body = json!({"amountInMinorUnits": 5000, "currency": "USD"});
    let text = body.to_string();
    for number in 0..20 {
        let mut connection = TcpStream::connect(server.address()).unwrap();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nIdempotency-Key: gone-{number}\r\n\
             Content-Length: {}\r\n\r\n{text}",
            text.len()
        );
        connection.write_all(request.as_bytes()).unwrap();
        drop(connection);
    }
    for number in 0..20 {
        server.post_with_key(&path, &format!("gone-{number}"), &body).expect(201);
    }
    assert_eq!(server.all_pages(&format!("{path}?limit=100")).len(), 20);
}

/// Failure mode 94: creating merchants locks two lanes each, in all directions at once.
fn merchants_of_all_lanes_at_once_do_not_block_each_other(server: &mut Server) {
    let merchants: Vec<Vec<String>> = at_once(8, |_| {
        (0..10)
            .map(|_| {
                let merchant = server.merchant();
                server.completed_payment(&merchant, 100);
                merchant
            })
            .collect()
    });
    for merchant in merchants.iter().flatten() {
        assert_eq!(server.balance(merchant), (100, 0));
        server.verify_balance(merchant);
    }
    assert_eq!(server.all_pages("/api/merchants?limit=100").len(), 80);
}

/// Failure mode 96.
fn currencies_never_mix(server: &mut Server) {
    let merchant = server.merchant();
    let payments = format!("/api/merchants/{merchant}/payments");
    for (currency, major) in [("USD", "50.00"), ("JPY", "5000"), ("KWD", "5.000"), ("CLF", "0.5000")] {
        let payment =
            server.post(&payments, &json!({"amountInMinorUnits": 5000, "currency": currency})).expect(201);
        assert!(payment.text.contains(&format!("\"amountInMajorUnits\":{major}")), "{}", payment.text);
        server.post_empty(&format!("{payments}/{}/complete", payment.id())).expect(200);
    }
    let withdrawal = json!({"amountInMinorUnits": 5001, "currency": "JPY", "bankAccountNumber": "DE89370400440532013000",
        "bankRoutingNumber": "021000021"});
    let refused = server.post(&format!("/api/merchants/{merchant}/withdrawals"), &withdrawal).expect(422);
    assert_eq!(refused.problem(), "insufficient_funds");
    let balances = server.get(&format!("/api/merchants/{merchant}/balances")).expect(200);
    let balances = balances.list();
    assert_eq!(balances.len(), 4);
    assert!(balances.iter().all(|balance| balance["availableBalanceInMinorUnits"] == 5000), "{balances:?}");
}

fn a_balance_is_known_as_of_any_moment(server: &mut Server) {
    let merchant = server.merchant();
    let mut moments = Vec::new();
    for _ in 0..3 {
        let payment = server.completed_payment(&merchant, 100);
        moments.push(server.get(&payment).expect(200).string("completedAt"));
    }
    let path = format!("/api/merchants/{merchant}/balances/USD");
    for (moment, expected) in moments.iter().zip([100, 200, 300]) {
        let balance = server.get(&format!("{path}?asOf={moment}")).expect(200);
        assert_eq!(balance.integer("availableBalanceInMinorUnits"), expected);
    }
    let before = server.get(&format!("{path}?asOf=2020-01-01T00:00:00Z")).expect(200);
    assert_eq!(before.integer("availableBalanceInMinorUnits"), 0);
}

/// Failure mode 100: the disk is full. Payments are refused truthfully, reads go on, and when there is
/// room again payments are taken again, without a restart.
#[test]
fn a_full_disk_refuses_payments_and_loses_none() {
    let server = Server::start(Kind::Sqlite);
    let merchant = server.merchant();
    let path = format!("/api/merchants/{merchant}/payments");
    let body = json!({"amountInMinorUnits": 5000, "currency": "USD", "description": "x".repeat(900)});
    server.limit_file_size(Some(600 * 1024));
    let mut acknowledged = Vec::new();
    let refused = eventually("a full disk", || {
        let answer = server.post(&path, &body);
        match answer.status {
            201 => acknowledged.push(answer.id()),
            503 => return Some(answer),
            status => panic!("{status}: {}", answer.text),
        }
        None
    });
    refused.problem();
    assert!(refused.header("retry-after").is_some());
    for id in &acknowledged {
        server.get(&format!("{path}/{id}")).expect(200);
    }
    server.get("/health/live").expect(200);
    server.limit_file_size(None);
    acknowledged.push(server.post(&path, &body).expect(201).id());
    let stored = server.all_pages(&format!("{path}?limit=100"));
    assert_eq!(stored.len(), acknowledged.len());
}

/// Failure modes 100 and 107: PostgreSQL is away. The program lives, says that it is not ready, answers
/// truthfully, and goes on by itself when the database is back.
#[test]
fn a_database_that_is_away_is_said_to_be_away() {
    let server = Server::start(Kind::Postgres);
    let merchant = server.merchant();
    let payment = server.payment(&merchant, 100);
    server.let_database_connect(false);
    let path = format!("/api/merchants/{merchant}/payments");
    let refused = server.post(&path, &json!({"amountInMinorUnits": 5000, "currency": "USD"})).expect(503);
    refused.problem();
    assert!(refused.header("retry-after").is_some());
    server.get(&payment).expect(503).problem();
    server.get("/health/ready").expect(503);
    server.get("/health").expect(503);
    server.get("/health/live").expect(200);
    server.let_database_connect(true);
    eventually("readiness", || (server.get("/health/ready").status == 200).then_some(()));
    server.post_empty(&format!("{payment}/complete")).expect(200);
    assert_eq!(server.balance(&merchant), (100, 0));
    assert_eq!(server.all_pages(&path).len(), 1);
}

impl Server {
    /// No file of the program may grow beyond this: what a full disk or a quota does.
    fn limit_file_size(&self, bytes: Option<u64>) {
        let limit = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        let status = Command::new("prlimit")
            .args(["--pid", &self.process_id().to_string(), &format!("--fsize={limit}:unlimited")])
            .status()
            .unwrap();
        assert!(status.success());
    }
}
