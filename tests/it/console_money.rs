//! The console's pages of money: merchants, withdrawals, the review queue.

use serde_json::json;
use uuid::Uuid;

use crate::{
    access_commands::with_line,
    support::{
        backend::Kind,
        eventually,
        fixtures::{BANK_ACCOUNT, BANK_ROUTING},
        on_both_backends,
        pages::{Pages, encoded, holds, listed, next},
        server::Server,
    },
};

on_both_backends!(
    a_merchant_is_made_paid_and_paid_out_by_forms,
    a_form_that_is_wrong_or_foreign_changes_nothing,
    a_form_takes_effect_once_and_only_as_it_was_sent,
    lists_filter_and_go_on_by_a_cursor,
    what_was_flagged_is_decided_with_a_note,
    stored_texts_are_shown_and_not_run,
    balances_are_exact_and_can_be_asked_for_as_of_a_moment,
);

pub const MARKUP: &str = r#""'><script>alert(1)</script>"#;
/// As it stands in a page.
pub const ESCAPED: &str = "&#60;script&#62;alert(1)";

/// The path of a new merchant's page.
fn merchant(server: &Server) -> String {
    format!("/merchants/{}", server.merchant())
}

/// The console's page of what the API shows at this path.
pub fn page_of(api_path: &str, kind: &str) -> String {
    format!("/{kind}/{}", api_path.rsplit('/').next().unwrap())
}

fn a_merchant_is_made_paid_and_paid_out_by_forms(server: &mut Server) {
    let pages = Pages::of(server);
    holds(&pages.page("/merchants"), &["There are no merchants yet", "curl -X POST"]);
    let fields = [("name", "Shoe Shop"), ("email", "sales@shoes.example")];
    let (shop, page) = pages.done("/merchants", "/merchants", &fields);
    holds(
        &page,
        &["Created.", "Shoe Shop", "sales@shoes.example", "MerchantCreated", "No money has moved yet"],
    );
    let id = shop.rsplit('/').next().unwrap();
    assert!(page.contains(&format!("<title>{}", &id[..8])), "the title begins with the id");
    assert_eq!(listed(&pages.page("/merchants"), "merchants"), [id]);

    let fields =
        [("amount", "5000"), ("currency", "usd"), ("reference", "Order-7"), ("description", "Shoes")];
    let (payment, page) = pages.done(&shop, &format!("{shop}/payments"), &fields);
    assert!(payment.starts_with("/payments/"), "{payment}");
    holds(&page, &["Created.", "50.00", "Order-7", "Shoes"]);
    pages.done(&payment, &format!("{payment}/complete"), &[]);
    let page = pages.page(&shop);
    holds(&page, &["50.00 <abbr>USD</abbr>", "Order-7", &payment, &format!("/payments?merchant={id}")]);
    holds(&page, &[&format!("/ledger/accounts/{id}/Available/USD")]);

    let fields =
        [("amount", "2000"), ("currency", "USD"), ("account", BANK_ACCOUNT), ("routing", BANK_ROUTING)];
    let (withdrawal, page) = pages.done(&shop, &format!("{shop}/withdrawals"), &fields);
    holds(
        &page,
        &["Created.", "Pending", "20.00", "****************1100", "WithdrawalRequested", "Ledger entries"],
    );
    let (_, page) = pages.done(&withdrawal, &format!("{withdrawal}/process"), &[]);
    holds(&page, &["Approved: it is being paid out.", "Processing", "WithdrawalProcessing"]);
    let (_, page) = pages.done(&withdrawal, &format!("{withdrawal}/complete"), &[("external", "wire-1")]);
    holds(&page, &["Paid out.", "Completed", "wire-1", "WithdrawalCompleted"]);
    holds(&pages.page("/withdrawals"), &[&withdrawal, "Completed"]);
    // One more is failed by the bank, and one cancelled.
    for (end, word, said) in
        [("fail", "Failed", "Failed: the money is available again."), ("cancel", "Cancelled", "Cancelled.")]
    {
        let (withdrawal, _) = pages.done(&shop, &format!("{shop}/withdrawals"), &fields);
        if end == "fail" {
            pages.done(&withdrawal, &format!("{withdrawal}/process"), &[]);
        }
        let reason: &[_] = if end == "fail" { &[("reason", "no such account")] } else { &[] };
        let (_, page) = pages.done(&withdrawal, &format!("{withdrawal}/{end}"), reason);
        holds(&page, &[word, said]);
        assert_eq!(page.contains("no such account"), end == "fail");
    }
    let (_, page) = pages.done(&shop, &format!("{shop}/rename"), &[("name", "Hat Shop")]);
    holds(&page, &["Changed.", "Hat Shop"]);
    let (_, page) = pages.done(&shop, &format!("{shop}/deactivate"), &[]);
    holds(&page, &["inactive", "takes no new payments"]);
    assert!(!page.contains("New payment"));
    let (_, page) = pages.done(&shop, &format!("{shop}/activate"), &[]);
    holds(&page, &["New payment", "30.00"]);
    assert_eq!(server.balance(id), (3000, 0));
    server.verify_balance(id);
    server.verify_log();
    // A bank number stands nowhere but where it was typed.
    for path in [&shop, &withdrawal, "/withdrawals", "/merchants", &format!("/search?q={BANK_ACCOUNT}")] {
        let page = pages.page(path).replace(&format!("q={BANK_ACCOUNT}"), "");
        let is_shown = page.contains(BANK_ACCOUNT) || page.contains(BANK_ROUTING);
        assert!(!is_shown || path.starts_with("/search"), "{path}");
    }
    let log = server.log();
    assert!(!log.contains(BANK_ACCOUNT) && !log.contains(BANK_ROUTING));
}

fn a_form_that_is_wrong_or_foreign_changes_nothing(server: &mut Server) {
    let pages = Pages::of(server);
    let shop = merchant(server);
    // All that is wrong is told at once, in the API's words; what was typed is not repeated.
    let fields = [("amount", "12.50"), ("currency", "XXX1"), ("reference", "a\u{7}b")];
    let answer = pages.send(&shop, &format!("{shop}/payments"), &fields).expect(400);
    holds(
        &answer.text,
        &[
            "Amount in minor units",
            "whole number",
            "Currency",
            "ISO 4217",
            "Reference",
            "control characters",
            "Nothing was changed.",
        ],
    );
    for amount in ["", "0", "-1", "+1", "1e3", "9007199254740992", "99999999999999999999"] {
        let answer =
            pages.send(&shop, &format!("{shop}/payments"), &[("amount", amount), ("currency", "USD")]);
        assert_eq!(answer.status, 400, "{amount}");
    }
    let fields = [("amount", "1"), ("currency", "USD"), ("account", "CANARY;12345"), ("routing", "12")];
    let answer = pages.send(&shop, &format!("{shop}/withdrawals"), &fields).expect(400);
    holds(&answer.text, &["Bank account number", "Bank routing number"]);
    assert!(!answer.text.contains("CANARY"));
    let long = "x".repeat(256);
    for fields in [
        [("name", " "), ("email", "a@b")],
        [("name", &long), ("email", "a@b")],
        [("name", "A"), ("email", "a b@c")],
    ] {
        pages.send("/merchants", "/merchants", &fields).expect(400);
    }
    // What the domain refuses is told in its sentence.
    let fields = [("amount", "1"), ("currency", "USD"), ("account", BANK_ACCOUNT), ("routing", BANK_ROUTING)];
    let answer = pages.send(&shop, &format!("{shop}/withdrawals"), &fields).expect(409);
    holds(&answer.text, &["does not cover 1. Nothing was changed."]);

    let action = format!("{shop}/payments");
    let good = [("amount", "5"), ("currency", "USD"), ("once", "a")];
    pages.post(&action, &good).expect(403);
    pages.post(&action, &[&good[..], &[("csrf", "forged")]].concat()).expect(403);
    let hidden = pages.hidden(&shop, &action);
    let token = hidden.iter().find(|(name, _)| name == "csrf").unwrap().1.as_str();
    let with_token = [&good[..], &[("csrf", token)]].concat();
    // Without the key that makes it happen once, it does not happen.
    pages.post(&action, &with_token[..2]).expect(403);
    pages.post(&action, &[with_token[0], with_token[1], with_token[3]]).expect(400);
    for path in
        [format!("/payments/{}", Uuid::nil()), format!("{shop}/payments/1"), "/merchants/nobody".to_owned()]
    {
        assert!(matches!(pages.get(&path).status, 400 | 404), "{path}");
    }
    pages.get(&action).expect(405);
    let id = shop.rsplit('/').next().unwrap();
    assert!(server.all_pages(&format!("/api/merchants/{id}/payments")).is_empty());
}

fn a_form_takes_effect_once_and_only_as_it_was_sent(server: &mut Server) {
    let pages = Pages::of(server);
    let shop = merchant(server);
    let action = format!("{shop}/payments");
    let hidden = pages.hidden(&shop, &action);
    let send = |action: &str, fields: &[(&str, &str)]| {
        let hidden = hidden.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        pages.post(action, &hidden.chain(fields.iter().copied()).collect::<Vec<_>>())
    };
    let first = send(&action, &[("amount", "5"), ("currency", "USD")]).expect(303);
    let again = send(&action, &[("amount", "5"), ("currency", "USD")]).expect(303);
    assert_eq!(first.header("location"), again.header("location"));
    // Gone back to and changed, or another form of the same page: refused, not taken for the first one.
    let changed = send(&action, &[("amount", "6"), ("currency", "USD")]).expect(409);
    holds(&changed.text, &["This form was used before"]);
    send(&format!("{shop}/deactivate"), &[]).expect(409);
    let id = shop.rsplit('/').next().unwrap();
    assert_eq!(server.all_pages(&format!("/api/merchants/{id}/payments")).len(), 1);
    assert_eq!(server.get(&format!("/api/merchants/{id}")).json["isActive"], true);
    // A merchant, too, is made once, although it has no id before.
    let hidden = pages.hidden("/merchants", "/merchants");
    let fields = [("name", "Once"), ("email", "once@example.com")];
    let fields: Vec<_> = hidden.iter().map(|(n, v)| (n.as_str(), v.as_str())).chain(fields).collect();
    let made: Vec<Option<String>> = (0..2)
        .map(|_| pages.post("/merchants", &fields).expect(303).header("location").map(str::to_owned))
        .collect();
    assert_eq!(made[0], made[1]);
    assert_eq!(server.all_pages("/api/merchants").len(), 2);
    let taken = pages.send("/merchants", "/merchants", &[("name", "Twice"), ("email", "ONCE@example.com")]);
    holds(&taken.expect(409).text, &["A merchant with this email exists already. Nothing was changed."]);
}

fn lists_filter_and_go_on_by_a_cursor(server: &mut Server) {
    let pages = Pages::of(server);
    let mut merchants: Vec<String> = (0..53).map(|_| server.merchant()).collect();
    merchants.reverse();
    let first = pages.page("/merchants");
    assert_eq!(listed(&first, "merchants"), merchants[..50]);
    let rest = pages.page(&next(&first).unwrap());
    assert_eq!(listed(&rest, "merchants"), merchants[50..]);
    assert!(next(&rest).is_none());
    holds(&rest, &["First page", "That is all."]);

    server.patch(&format!("/api/merchants/{}", merchants[0]), &json!({"isActive": false})).expect(200);
    server.patch(&format!("/api/merchants/{}", merchants[1]), &json!({"name": "Zebra & Co"})).expect(200);
    assert_eq!(listed(&pages.page("/merchants?state=inactive"), "merchants"), merchants[..1]);
    assert_eq!(listed(&pages.page("/merchants?search=zebra+%26"), "merchants"), merchants[1..2]);
    let email = server.get(&format!("/api/merchants/{}", merchants[2])).string("email");
    assert_eq!(listed(&pages.page(&format!("/merchants?search={email}")), "merchants"), merchants[2..3]);
    assert_eq!(
        listed(&pages.page(&format!("/merchants?search={}", merchants[3])), "merchants"),
        merchants[3..4]
    );
    holds(&pages.page("/merchants?search=nobody"), &["No merchant passes this filter"]);

    let (one, other) = (&merchants[1], &merchants[2]);
    let mut made = Vec::new();
    for (id, steps) in
        [(one, &["process"][..]), (one, &[]), (other, &["cancel"]), (one, &["process", "complete"])]
    {
        server.completed_payment(id, 100);
        let withdrawal = server.withdrawal(id, 100);
        for step in steps {
            server.post_empty(&format!("{withdrawal}/{step}")).expect(200);
        }
        made.insert(0, withdrawal.rsplit('/').next().unwrap().to_owned());
    }
    let found = |query: &str| listed(&pages.page(&format!("/withdrawals{query}")), "withdrawals");
    assert_eq!(found(""), made);
    assert_eq!(found("?status=Processing"), made[3..]);
    assert_eq!(found(&format!("?merchant={other}")), made[1..2]);
    assert_eq!(found(&format!("?merchant={one}&status=Completed&currency=usd")), made[..1]);
    assert!(found("?currency=EUR").is_empty());
    for (list, wrong) in [
        ("/withdrawals", "merchant=me"),
        ("/withdrawals", "status=Lost"),
        ("/withdrawals", "currency=USDX"),
        ("/withdrawals", "after=x"),
        ("/merchants", "state=asleep"),
        ("/merchants", "after=1.x"),
    ] {
        let page = pages.page(&format!("{list}?{wrong}"));
        holds(
            &page,
            &["The filter is not understood", &format!("<b>{}</b>", wrong.split('=').next().unwrap())],
        );
    }
}

fn what_was_flagged_is_decided_with_a_note(server: &mut Server) {
    let pages = Pages::of(server);
    holds(&pages.page("/reviews"), &["Nothing waits for review"]);
    let id = server.merchant();
    server.completed_payment(&id, 700);
    let payments: Vec<String> = (0..3).map(|_| page_of(&server.payment(&id, 5000), "payments")).collect();
    for payment in &payments {
        pages.done(payment, &format!("{payment}/flag"), &[("reason", "an odd hour")]);
    }
    let ids: Vec<&str> = payments.iter().map(|payment| &payment["/payments/".len()..]).collect();
    let page = pages.page("/reviews");
    assert_eq!(listed(&page, "payments"), ids, "the oldest stands first");
    holds(&page, &["an odd hour", "1 completed", "3 pending", "3 flagged of its newest 4", "50.00"]);

    let approve = format!("/reviews/{}/approve", ids[0]);
    // Without a note nothing is decided.
    pages.send("/reviews", &approve, &[]).expect(400);
    let (_, page) = pages.done("/reviews", &approve, &[("reason", "called the payer")]);
    holds(&page, &["Approved: the payment is completed."]);
    assert_eq!(listed(&page, "payments"), ids[1..]);
    // The other button of the form of the next one.
    let form = format!("/reviews/{}/approve", ids[1]);
    let hidden = pages.hidden("/reviews", &form);
    let fields: Vec<_> =
        hidden.iter().map(|(n, v)| (n.as_str(), v.as_str())).chain([("reason", "stolen card")]).collect();
    let decline = format!("/reviews/{}/decline", ids[1]);
    for _ in 0..2 {
        let answer = pages.post(&decline, &fields).expect(303);
        assert_eq!(answer.header("location"), Some("/reviews?notice=declined"));
    }
    assert_eq!(listed(&pages.page("/reviews"), "payments"), ids[2..]);
    let status =
        |number: usize| server.get(&format!("/api/merchants/{id}/payments/{}", ids[number])).string("status");
    assert_eq!([status(0), status(1), status(2)], ["Completed", "Failed", "Pending"]);
    let audit = server.query(
        "select action || ': ' || subject || ': ' || reason from audit_log where action like 'review.%' order by id",
    );
    let line = |action: &str, id: &str, why: &str| format!("review.{action}: {id}: {why}");
    // The form that was sent twice left one note.
    assert_eq!(audit, [line("approve", ids[0], "called the payer"), line("decline", ids[1], "stolen card")]);
    // What waits for no review is not decided here, and what was decided not again.
    let plain = page_of(&server.payment(&id, 1), "payments");
    let token: Vec<_> = pages.hidden("/reviews", &format!("/reviews/{}/approve", ids[2]));
    let fields: Vec<_> =
        token.iter().map(|(n, v)| (n.as_str(), v.as_str())).chain([("reason", "x")]).collect();
    pages.post(&format!("/reviews/{}/approve", &plain["/payments/".len()..]), &fields).expect(400);
    pages.post(&format!("/reviews/{}/decline", ids[0]), &fields).expect(409);
}

fn stored_texts_are_shown_and_not_run(server: &mut Server) {
    let pages = Pages::of(server);
    let fields = [("name", MARKUP), ("email", "\"><script>alert(1)</script>@example.com")];
    let (shop, _) = pages.done("/merchants", "/merchants", &fields);
    let fields = [("amount", "5000"), ("currency", "USD"), ("reference", MARKUP), ("description", MARKUP)];
    let (flagged, _) = pages.done(&shop, &format!("{shop}/payments"), &fields);
    pages.done(&flagged, &format!("{flagged}/flag"), &[("reason", MARKUP)]);
    let (payment, _) = pages.done(&shop, &format!("{shop}/payments"), &fields);
    pages.done(&payment, &format!("{payment}/complete"), &[]);
    let bank = [("amount", "1"), ("currency", "USD"), ("account", BANK_ACCOUNT), ("routing", BANK_ROUTING)];
    let mut withdrawals = Vec::new();
    for (end, field) in [("complete", "external"), ("fail", "reason")] {
        let (withdrawal, _) = pages.done(&shop, &format!("{shop}/withdrawals"), &bank);
        pages.done(&withdrawal, &format!("{withdrawal}/process"), &[]);
        pages.done(&withdrawal, &format!("{withdrawal}/{end}"), &[(field, MARKUP)]);
        withdrawals.push(withdrawal);
    }
    let search = format!("/search?q={}", encoded("\"'>"));
    let shown =
        [&shop, &flagged, &withdrawals[0], &withdrawals[1], "/merchants", "/reviews", "/payments", &search];
    for path in shown {
        let page = pages.page(path);
        assert!(page.contains(ESCAPED), "{path} does not show it: {page}");
        assert!(!page.contains("<script>alert"), "{path}");
        // Nor does it end an attribute: a quote stands only as its reference.
        assert!(!page.contains("\"'>"), "{path}");
    }
}

fn balances_are_exact_and_can_be_asked_for_as_of_a_moment(server: &mut Server) {
    let pages = Pages::of(server);
    let id = server.merchant();
    let shop = format!("/merchants/{id}");
    let first = server.completed_payment(&id, 9_007_199_254_740_991);
    let moment = server.get(&first).expect(200).string("completedAt");
    server.completed_payment(&id, 500);
    holds(&pages.page(&shop), &["90,071,992,547,414.91", "title=\"9007199254741491 minor units\""]);
    let then = pages.page(&format!("{shop}?at={}", encoded(&moment)));
    holds(&then, &["as of", "title=\"9007199254740991 minor units\"", "As they are now"]);
    assert!(!then.contains("9007199254741491"));
    holds(&pages.page(&format!("{shop}?at=2001-01-01")), &["No money had moved by then"]);
    holds(&pages.page(&format!("{shop}?at=yesterday")), &["<b>at</b> is a time"]);
    // As large as a balance can be.
    server.alter(&format!("update accounts set balance = {} where currency = 'USD'", i64::MAX));
    holds(&pages.page(&shop), &["92,233,720,368,547,758.07", "title=\"9223372036854775807 minor units\""]);
}

/// Above the limit two operators are needed, and a role that may do it at all.
#[test]
fn a_large_withdrawal_leaves_by_two_operators() {
    let settings = [("Security__Access", "required"), ("Security__FourEyesWithdrawalMinor", "1000")];
    let server = Server::start_with(Kind::Sqlite, &settings);
    let password = "correct horse battery";
    for (name, role) in [("anna", "finance"), ("otto", "finance"), ("vera", "viewer")] {
        let made = with_line(&server, &["operators", "create", name, "--role", role, "--why", "w"], password);
        assert_eq!(made.code, Some(0), "{}", made.stderr);
    }
    let [anna, otto, vera] = ["anna", "otto", "vera"].map(|name| Pages::signed_in(&server, name, password));
    let (shop, _) = anna.done("/merchants", "/merchants", &[("name", "S"), ("email", "s@example.com")]);
    let (payment, _) =
        anna.done(&shop, &format!("{shop}/payments"), &[("amount", "5000"), ("currency", "USD")]);
    anna.done(&payment, &format!("{payment}/complete"), &[]);
    let request = |amount: &str| {
        let fields =
            [("amount", amount), ("currency", "USD"), ("account", BANK_ACCOUNT), ("routing", BANK_ROUTING)];
        anna.done(&shop, &format!("{shop}/withdrawals"), &fields).0
    };
    let (small, large) = (request("1000"), request("1001"));
    let (_, page) = anna.done(&small, &format!("{small}/process"), &[]);
    holds(&page, &["Approved: it is being paid out."]);
    holds(&anna.page(&large), &["10.00 <abbr>USD</abbr>", "two operators have to approve"]);
    let (_, page) = anna.done(&large, &format!("{large}/process"), &[("reason", "invoice 7")]);
    holds(&page, &["another operator has to approve it", "operator anna", "invoice 7", "Pending"]);
    assert!(!page.contains("Ask for approval"));
    // Not again by the one who asked; approved by another one.
    let approval = |pages: &Pages| -> String {
        let page = pages.page("/approvals");
        let (_, form) = page.split_once("action=\"/approvals/").unwrap_or(("", ""));
        form.split('"').next().unwrap_or_default().to_owned()
    };
    assert_eq!(approval(&anna), "");
    let form = format!("/approvals/{}", approval(&otto));
    otto.done("/approvals", &form, &[("decision", "approve"), ("reason", "seen the invoice")]);
    holds(&otto.page(&large), &["Processing"]);

    // Who only looks is offered nothing, and refused everything.
    for (path, actions) in [
        (shop.as_str(), &["rename", "deactivate", "payments", "withdrawals"][..]),
        (large.as_str(), &["process", "complete", "fail", "cancel"]),
    ] {
        let page = vera.page(path);
        let token = page.split("name=\"csrf\" value=\"").nth(1).unwrap().split('"').next().unwrap();
        for action in actions {
            assert!(!page.contains(&format!("{path}/{action}")), "{action}");
            let answer =
                vera.post(&format!("{path}/{action}"), &[("csrf", token), ("once", "a"), ("reason", "r")]);
            assert_eq!(answer.status, 403, "{action}: {}", answer.text);
        }
    }
    vera.get("/payments.csv").expect(403);
    vera.page("/reviews");
    let origins = server.query("select actor from command_origins order by command_id");
    assert_eq!(origins.last().unwrap(), "operator otto");
}

/// Pages say that the database is away, and come back with it.
#[test]
fn pages_outlive_the_database() {
    let server = Server::start(Kind::Postgres);
    let pages = Pages::of(&server);
    let shop = merchant(&server);
    server.let_database_connect(false);
    let paths = ["/merchants", &shop, "/withdrawals", "/reviews", "/search?q=shoe", "/payments.csv"];
    for path in paths {
        let answer = pages.get(path).expect(503);
        holds(&answer.text, &["The database is not available", "Request id"]);
    }
    server.let_database_connect(true);
    for path in paths {
        eventually(path, || (pages.get(path).status == 200).then_some(()));
    }
}
