//! Lists: pages, filters, export.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{client::Answer, fixtures::new_withdrawal, on_both_backends, server::Server};

on_both_backends!(
    pages_hold_everything_once_newest_first,
    a_page_is_bounded,
    merchants_and_withdrawals_have_pages_too,
    filters_choose,
    a_search_takes_wildcards_literally,
    an_export_is_safe_to_open,
    a_long_export_is_whole,
    a_balance_can_be_asked_for_as_of_a_moment,
);

fn ids(answer: &Answer) -> Vec<String> {
    answer.list().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

fn payments(merchant: &str) -> String {
    format!("/api/merchants/{merchant}/payments")
}

fn pages_hold_everything_once_newest_first(server: &mut Server) {
    let merchant = server.merchant();
    let path = payments(&merchant);
    let created: Vec<String> = (1..=25)
        .map(|amount| {
            let payment = server.payment(&merchant, amount);
            payment.rsplit('/').next().unwrap().to_owned()
        })
        .collect();
    let newest_first: Vec<String> = created.iter().rev().cloned().collect();

    let mut listed = Vec::new();
    let mut sizes = Vec::new();
    let mut next = Some(format!("{path}?limit=10&minAmount=1"));
    while let Some(page_path) = next {
        let page = server.get(&page_path).expect(200);
        sizes.push(page.list().len());
        listed.extend(ids(&page));
        next = page.next_page();
        // What is added while somebody reads moves nothing.
        server.payment(&merchant, 1_000_000);
    }
    assert_eq!(sizes, [10, 10, 5]);
    assert_eq!(listed, newest_first);
}

fn a_page_is_bounded(server: &mut Server) {
    let merchant = server.merchant();
    let path = payments(&merchant);
    let bulk: Vec<Value> = (0..120).map(|_| json!({"amountInMinorUnits": 1, "currency": "USD"})).collect();
    server.post(&format!("{path}/bulk"), &json!({"payments": bulk})).expect(201);
    assert!(server.get(&path).expect(200).list().len() <= 100);
    assert_eq!(server.get(&format!("{path}?limit=100")).expect(200).list().len(), 100);
    assert_eq!(server.all_pages(&format!("{path}?limit=50")).len(), 120);
    for bad in ["limit=0", "limit=101", "limit=-1", "limit=ten", "cursor=nonsense", "cursor=AAAA"] {
        let answer = server.get(&format!("{path}?{bad}"));
        assert_eq!(answer.status, 400, "{bad}: {}", answer.text);
        answer.problem();
    }
}

fn merchants_and_withdrawals_have_pages_too(server: &mut Server) {
    let merchants: BTreeSet<String> = (0..7).map(|_| server.merchant()).collect();
    let listed = server.all_pages("/api/merchants?limit=3");
    let listed: Vec<&str> = listed.iter().map(|merchant| merchant["id"].as_str().unwrap()).collect();
    assert_eq!(listed.len(), 7);
    assert_eq!(listed.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), merchants);

    let merchant = merchants.first().unwrap();
    server.completed_payment(merchant, 1000);
    let path = format!("/api/merchants/{merchant}/withdrawals");
    for _ in 0..7 {
        server.post(&path, &new_withdrawal(10)).expect(201);
    }
    assert_eq!(server.all_pages(&format!("{path}?limit=3")).len(), 7);
}

fn filters_choose(server: &mut Server) {
    let merchant = server.merchant();
    let path = payments(&merchant);
    let amounts = |query: &str| -> Vec<i64> {
        let answer = server.get(&format!("{path}?{query}")).expect(200);
        answer.list().iter().map(|payment| payment["amountInMinorUnits"].as_i64().unwrap()).collect()
    };
    server.payment(&merchant, 100);
    let completed = server.completed_payment(&merchant, 200);
    let refunded = server.completed_payment(&merchant, 300);
    server.post_empty(&format!("{refunded}/refund")).expect(200);
    let described = json!({
        "amountInMinorUnits": 400, "currency": "EUR",
        "externalReference": "Order-77", "description": "Blue Shoes",
    });
    let fourth = server.post(&path, &described).expect(201);
    let second = server.get(&completed).expect(200).string("createdAt");

    assert_eq!(amounts(""), [400, 300, 200, 100]);
    assert_eq!(amounts("minAmount=200&maxAmount=300"), [300, 200]);
    assert_eq!(amounts("status=Completed"), [200]);
    assert_eq!(amounts("status=Completed,Refunded"), [300, 200]);
    assert_eq!(amounts(&format!("dateFrom={second}")), [400, 300, 200]);
    assert_eq!(amounts(&format!("dateTo={second}")), [200, 100]);
    assert_eq!(amounts("search=order-7"), [400]);
    assert_eq!(amounts("search=shoes"), [400]);
    assert_eq!(amounts(&format!("search={}", fourth.id())), [400]);
    assert_eq!(amounts("search=hat"), [0_i64; 0]);
    for bad in [
        "status=Lost",
        "minAmount=much",
        "maxAmount=1.5",
        "dateFrom=yesterday",
        "dateTo=2026-13-01T00:00:00Z",
    ] {
        let answer = server.get(&format!("{path}?{bad}"));
        assert_eq!(answer.status, 400, "{bad}: {}", answer.text);
        answer.problem();
    }
}

fn a_search_takes_wildcards_literally(server: &mut Server) {
    let merchant = server.merchant();
    let path = payments(&merchant);
    for description in ["100% cotton", "1000 nails", "under_score", "underscore"] {
        let payment = json!({"amountInMinorUnits": 1, "currency": "USD", "description": description});
        server.post(&path, &payment).expect(201);
    }
    for (search, found) in [("100%25", "100% cotton"), ("r_s", "under_score")] {
        let answer = server.get(&format!("{path}?search={search}")).expect(200);
        assert_eq!(answer.list().len(), 1, "{search}: {}", answer.text);
        assert_eq!(answer.list()[0]["description"], found);
    }
}

/// A spreadsheet must not run what a payer wrote.
fn an_export_is_safe_to_open(server: &mut Server) {
    let merchant = server.merchant();
    let path = payments(&merchant);
    let formulas = ["=1+1", "+1", "-1", "@SUM(A1)"];
    for formula in formulas {
        let payment = json!({"amountInMinorUnits": 5000, "currency": "USD", "externalReference": formula, "description": "a,\"b\""});
        server.post(&path, &payment).expect(201);
    }
    server.post(&path, &json!({"amountInMinorUnits": 7, "currency": "JPY"})).expect(201);
    let export = server.get(&format!("{path}/export?status=Pending&minAmount=100")).expect(200);
    assert!(export.header("content-type").unwrap().starts_with("text/csv"));
    assert!(export.header("content-disposition").unwrap().starts_with("attachment"));
    assert_eq!(export.text.lines().count(), 1 + formulas.len());
    for formula in formulas {
        assert!(export.text.contains(&format!("'{formula}")), "{}", export.text);
        assert!(!export.text.contains(&format!(",{formula}")), "{}", export.text);
        assert!(!export.text.contains(&format!(",\"{formula}")), "{}", export.text);
    }
    assert!(export.text.contains("\"a,\"\"b\"\"\""), "{}", export.text);
    assert!(export.text.contains("50.00"));
    let all = server.get(&format!("{path}/export")).expect(200);
    assert_eq!(all.text.lines().count(), 2 + formulas.len());
}

/// Longer than what is read at a time; each payment stands in it once.
fn a_long_export_is_whole(server: &mut Server) {
    let merchant = server.merchant();
    let path = payments(&merchant);
    for _ in 0..2 {
        let bulk: Vec<Value> =
            (0..700).map(|_| json!({"amountInMinorUnits": 1, "currency": "USD"})).collect();
        server.post(&format!("{path}/bulk"), &json!({"payments": bulk})).expect(201);
    }
    let export = server.get(&format!("{path}/export")).expect(200);
    let ids: BTreeSet<&str> = export.text.lines().skip(1).filter_map(|line| line.split(',').next()).collect();
    assert_eq!(export.text.lines().count(), 1 + 1400);
    assert_eq!(ids.len(), 1400);
}

fn a_balance_can_be_asked_for_as_of_a_moment(server: &mut Server) {
    let merchant = server.merchant();
    let first = server.completed_payment(&merchant, 1000);
    let moment = server.get(&first).expect(200).string("completedAt");
    server.completed_payment(&merchant, 500);
    let path = format!("/api/merchants/{merchant}/balances");
    let then = server.get(&format!("{path}?asOf={moment}")).expect(200);
    assert_eq!(then.list()[0]["availableBalanceInMinorUnits"], 1000);
    let then = server.get(&format!("{path}/USD?asOf={moment}")).expect(200);
    assert_eq!(then.integer("availableBalanceInMinorUnits"), 1000);
    assert_eq!(server.balance(&merchant), (1500, 0));
    server.get(&format!("{path}?asOf=yesterday")).expect(400).problem();
}
