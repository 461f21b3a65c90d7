//! The console's pages of proof: the ledger, the event log, idempotency keys, reconciliation and analytics, as a browser
//! without JavaScript gets them.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{
    backend::Kind,
    client::{Client, Content},
    eventually,
    fixtures::{BANK_ACCOUNT, BANK_ROUTING, new_withdrawal},
    on_both_backends,
    pages::encoded,
    server::Server,
};

on_both_backends!(
    the_books_balance_and_lead_to_every_entry,
    an_account_that_was_altered_is_called_broken,
    the_event_log_is_turned_page_by_page,
    the_event_log_is_filtered_by_its_address,
    an_event_proves_itself_and_names_its_neighbours,
    an_event_that_was_altered_is_called_broken,
    an_idempotency_key_shows_the_answer_that_a_repetition_gets,
    a_reconciliation_shows_its_breaks_and_what_to_do,
    a_reconciliation_is_begun_once_for_a_form_that_proves_where_it_comes_from,
    charts_are_drawn_from_totals_that_can_be_made_anew,
    nothing_that_was_stored_is_run_and_no_bank_number_is_shown,
);

/// What a browser would run if it were not escaped.
const MARKUP: &str = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>";

/// The same as a key, which has no spaces.
const KEY: &str = "<script>alert(1)</script>'&";

#[track_caller]
fn page(console: &Client, path: &str) -> String {
    let answer = console.get(path).expect(200);
    assert!(answer.header("content-type").unwrap().starts_with("text/html"), "{path}");
    assert!(!answer.text.contains("<script>alert"), "{path} runs what was stored");
    answer.text
}

/// The links of a page that begin so, in their order, each once.
fn links(html: &str, begin: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for part in html.split("href=\"").skip(1) {
        let href = part.split('"').next().unwrap().replace("&#38;", "&").replace("&amp;", "&");
        if href.starts_with(begin) && !found.contains(&href) {
            found.push(href);
        }
    }
    found
}

/// The page behind this one.
fn next(html: &str) -> Option<String> {
    let (before, _) = html.split_once("\" rel=\"next\"")?;
    let (_, href) = before.rsplit_once("href=\"")?;
    Some(href.replace("&#38;", "&").replace("&amp;", "&"))
}

/// The content without the navigation, whose links lead everywhere.
fn content(html: &str) -> &str {
    html.split_once("<main").unwrap().1
}

#[track_caller]
fn holds(html: &str, texts: &[&str]) {
    for text in texts {
        assert!(html.contains(text), "no “{text}” in {}", content(html));
    }
}

fn uuid(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}

fn the_books_balance_and_lead_to_every_entry(server: &mut Server) {
    let merchant = server.merchant();
    for _ in 0..55 {
        server.completed_payment(&merchant, 1000);
    }
    let last = server.completed_payment(&merchant, 500);
    server.withdrawal(&merchant, 300);
    let console = server.operations();

    let ledger = page(&console, "/ledger");
    // Available, pending, clearing, and what they come to.
    holds(&ledger, &["552.00", "3.00", "-555.00", "<span class=\"badge good\">ok</span>"]);
    assert!(!ledger.contains("broken"));
    let of_platform = links(&ledger, "/ledger/accounts/00000000");
    assert_eq!(of_platform.len(), 1, "clearing of one lane");
    holds(&page(&console, &of_platform[0]), &["-555.00", "56 entries sum to"]);

    let looked_up = page(&console, &format!("/ledger?merchant={merchant}"));
    let accounts = links(&looked_up, &format!("/ledger/accounts/{merchant}"));
    assert_eq!(accounts.len(), 2, "available and pending");
    let account = page(&console, &accounts[0]);
    holds(
        &account,
        &["57 entries sum to", "which is the balance", "WithdrawalRequested", "55200 minor units"],
    );
    let mut events = Vec::new();
    let mut path = Some(accounts[0].clone());
    while let Some(turned) = path {
        let html = page(&console, &turned);
        events.extend(links(content(&html), "/events/id/"));
        path = next(&html);
    }
    assert_eq!((events.len(), events.iter().collect::<BTreeSet<_>>().len()), (57, 57));
    // From an entry to its event, and back.
    let to = console.get(&events[0]).expect(303).header("location").unwrap().to_owned();
    let event = page(&console, &to);
    holds(&event, &["WithdrawalRequested", "-3.00", accounts[0].as_str(), accounts[1].as_str()]);

    let completed_at = server.get(&last).expect(200).string("completedAt");
    holds(&page(&console, &format!("{}?as_of={completed_at}", accounts[0])), &["555.00", "after entry 56"]);
    holds(&page(&console, &format!("{}?as_of=2020-01-01", accounts[0])), &["Nothing was booked up to"]);
    holds(&page(&console, &format!("{}?as_of=yesterday", accounts[0])), &["<b>as_of</b>"]);
    holds(&page(&console, "/ledger?merchant=nobody"), &["<b>merchant</b>"]);
    for missing in
        ["/ledger/accounts/00000000-0000-0000-0000-000000000000/Available/USD", "/ledger/accounts/x/y/z"]
    {
        assert!((400..500).contains(&console.get(missing).status), "{missing}");
    }
}

fn an_account_that_was_altered_is_called_broken(server: &mut Server) {
    let merchant = server.merchant();
    server.completed_payment(&merchant, 1000);
    server.alter("update accounts set balance = balance + 1 where kind = 1");
    let console = server.operations();
    let ledger = page(&console, &format!("/ledger?merchant={merchant}"));
    holds(&ledger, &["0.01", "<span class=\"badge bad\">broken</span>"]);
    let account = page(&console, &links(&ledger, &format!("/ledger/accounts/{merchant}"))[0]);
    holds(
        &account,
        &["<span class=\"badge bad\">broken</span>", "10.01", "10.00", "not what the account says"],
    );
}

fn the_event_log_is_turned_page_by_page(server: &mut Server) {
    let console = server.operations();
    holds(&page(&console, "/events"), &["Nothing has happened yet"]);
    let merchants: Vec<String> = (0..5).map(|_| server.merchant()).collect();
    for merchant in merchants.iter().cycle().take(60) {
        server.completed_payment(merchant, 100);
    }
    let mut events = Vec::new();
    let mut sizes = Vec::new();
    let mut path = Some("/events".to_owned());
    while let Some(turned) = path {
        let html = page(&console, &turned);
        let list = content(&html).split("<h2>Lanes").next().unwrap();
        let mut of_page = Vec::new();
        for stream in ["payment-events", "merchant-events"] {
            of_page.extend(links(list, &format!("/events/{stream}/")));
        }
        sizes.push(of_page.len());
        events.extend(of_page);
        path = next(&html);
        // What happens while somebody reads moves nothing.
        server.merchant();
    }
    assert_eq!(sizes, [50, 50, 25]);
    assert_eq!(events.iter().collect::<BTreeSet<_>>().len(), 125);
    let first = page(&console, &events[0]);
    holds(&first, &["PaymentCompleted"]);
    holds(&page(&console, events.last().unwrap()), &["MerchantCreated"]);
    // Into the middle, and to the end of a lane.
    let lane = events[0].split('/').nth(3).unwrap();
    let to = console.get(&format!("/events/at?stream=payment-events&lane={lane}&position=1")).expect(303);
    holds(&page(&console, to.header("location").unwrap()), &["PaymentCreated", "the first of its stream"]);
    let to = console.get(&format!("/events/at?stream=payment-events&lane={lane}")).expect(303);
    assert_eq!(to.header("location"), Some(events[0].as_str()));
    for wrong in [
        "/events/at?stream=x&lane=0",
        "/events/at?stream=payment-events",
        "/events/verify",
        "/events/verify?lane=x",
    ] {
        assert_eq!(console.get(wrong).status, 400, "{wrong}");
    }
    for missing in [
        "/events/payment-events/0/999999",
        "/events/nothing/0/1",
        "/events/verify?lane=999",
        "/events/payment-events/0/0",
    ] {
        assert_eq!(console.get(missing).status, 404, "{missing}");
    }
}

fn the_event_log_is_filtered_by_its_address(server: &mut Server) {
    let (first, second) = (server.merchant(), server.merchant());
    let payment = server.completed_payment(&first, 100);
    server.payment(&second, 200);
    server.withdrawal(&first, 10);
    let console = server.operations();
    let rows = |query: &str| {
        let html = page(&console, &format!("/events?{query}"));
        let list = content(&html).split("<h2>Lanes").next().unwrap().to_owned();
        list.matches("<tr><td>").count()
    };
    assert_eq!(rows(""), 6);
    assert_eq!(rows("stream=merchant-events"), 2);
    assert_eq!(rows("stream=withdrawal-events&type="), 1);
    assert_eq!(rows("type=PaymentCreated"), 2);
    assert_eq!(rows(&format!("merchant={first}")), 4);
    assert_eq!(rows(&format!("subject={}", uuid(&payment))), 2);
    assert_eq!(rows(&format!("subject={}&type=PaymentCompleted", uuid(&payment))), 1);
    let completed_at = server.get(&payment).expect(200).string("completedAt");
    assert_eq!(rows(&format!("to={completed_at}")), 4);
    assert_eq!(rows(&format!("from={completed_at}")), 3);
    let by_lane: usize = (0..16).map(|lane| rows(&format!("lane={lane}"))).sum();
    assert_eq!(by_lane, 6);
    for (wrong, field) in [
        ("stream=payments", "stream"),
        ("lane=first", "lane"),
        ("type=Paid", "type"),
        ("merchant=me", "merchant"),
        ("subject=it", "subject"),
        ("from=then", "from"),
        ("to=now", "to"),
        ("after=-1", "after"),
    ] {
        let html = page(&console, &format!("/events?{wrong}"));
        holds(&html, &[&format!("<b>{field}</b>")]);
        assert_eq!(content(&html).matches("<tr><td>").count(), 0, "{wrong}");
    }
    holds(&page(&console, "/events?type=PaymentRefunded"), &["No event passes this filter"]);
}

fn an_event_proves_itself_and_names_its_neighbours(server: &mut Server) {
    let merchant = server.merchant();
    let payment = server.completed_payment(&merchant, 2500);
    server.post(&format!("{payment}/refund"), &json!({"refundAmountInMinorUnits": 500})).expect(200);
    let console = server.operations();
    let list = page(&console, &format!("/events?subject={}", uuid(&payment)));
    let events = links(content(&list), "/events/payment-events/");
    assert!(events.len() >= 3);
    let (refunded, completed, created) = (&events[0], &events[1], &events[2]);
    let html = page(&console, completed);
    holds(&html, &["PaymentCompleted", "version 1", "behind the event before it", "sealed with this one"]);
    holds(&html, &[refunded, created, "25.00", "-25.00", &format!("/payments/{}", uuid(&payment))]);
    // The payment's completion is booked in both accounts, as the ledger has it.
    assert_eq!(html.matches("<span class=\"badge good\">ok</span>").count(), 4);
    holds(&page(&console, refunded), &["No event follows it yet", "5.00"]);
    let hash = server.query(&format!(
        "select {} from events where event_type = 'PaymentCompleted'",
        if server.kind() == Kind::Sqlite { "lower(hex(hash))" } else { "encode(hash, 'hex')" }
    ));
    holds(&html, &[&hash[0], "Hash before"]);
    let lane = completed.split('/').nth(3).unwrap();
    let verified = page(&console, &format!("/events/verify?lane={lane}"));
    holds(&verified, &["Nothing is wrong with them", "from sequence 1 to 4"]);
}

fn an_event_that_was_altered_is_called_broken(server: &mut Server) {
    let merchant = server.merchant();
    let payment = server.completed_payment(&merchant, 2500);
    server.completed_payment(&merchant, 100);
    server.alter(
        "update events set payload = replace(payload, '2500', '2501') where event_type = 'PaymentCompleted'",
    );
    let console = server.operations();
    let list = page(&console, &format!("/events?subject={}&type=PaymentCompleted", uuid(&payment)));
    let altered = &links(content(&list), "/events/payment-events/")[0];
    let html = page(&console, altered);
    holds(&html, &["<span class=\"badge bad\">broken</span>", "one of the two was altered"]);
    let (lane, position) = (altered.split('/').nth(3).unwrap(), altered.split('/').nth(4).unwrap());
    let verified = page(&console, &format!("/events/verify?lane={lane}"));
    holds(&verified, &["The chain is broken", &format!("payment-events lane {lane} position {position}")]);
    assert_eq!(verified.matches("<li class").count(), 1, "one flaw is told once");
}

fn an_idempotency_key_shows_the_answer_that_a_repetition_gets(server: &mut Server) {
    let merchant = server.merchant();
    let path = format!("/api/merchants/{merchant}/payments");
    let body = json!({"amountInMinorUnits": 5000, "currency": "USD"});
    let first = server.post_with_key(&path, "order-7", &body).expect(201);
    server.post_empty(&format!("{path}/{}/complete", first.id())).expect(200);
    let again = server.post_with_key(&path, "order-7", &body).expect(201);
    let console = server.operations();
    let html = page(&console, &format!("/idempotency?key=order-7&merchant={merchant}"));
    // The answer as it was, not as the payment is now.
    holds(&html, &[&format!("/payments/{}", first.id()), "live", "&#34;Pending&#34;", "open access"]);
    assert!(!html.contains("Completed"));
    let raw = again.text.replace('"', "&#34;");
    holds(&html, &[&raw]);
    holds(
        &page(&console, &format!("/idempotency?key=order-8&merchant={merchant}")),
        &["This key is not known"],
    );
    holds(&page(&console, "/idempotency?key=order-7"), &["not known without a merchant"]);
    let new = json!({"name": "Shop", "email": "shop@example.com"});
    let made = server.post_with_key("/api/merchants", "shop", &new).expect(201);
    holds(
        &page(&console, "/idempotency?key=shop"),
        &[&format!("/merchants/{}", made.id()), "shop@example.com"],
    );
    let bulk: Vec<Value> = (0..25).map(|_| body.clone()).collect();
    server.post_with_key(&format!("{path}/bulk"), "bulk", &json!({"payments": bulk})).expect(201);
    holds(&page(&console, &format!("/idempotency?key=bulk&merchant={merchant}")), &["and 5 more"]);
    holds(&page(&console, "/idempotency"), &["Idempotency-Key", "24 hours"]);
    holds(&page(&console, &format!("/idempotency?key={}", "x".repeat(256))), &["<b>key</b>"]);
}

fn a_reconciliation_shows_its_breaks_and_what_to_do(server: &mut Server) {
    let merchant = server.merchant();
    let payment = server.completed_payment(&merchant, 1000);
    let console = server.operations();
    holds(&page(&console, "/reconciliation"), &["Nothing was compared yet", "fintech reconcile"]);
    assert_eq!(server.run(&["reconcile"]).code, Some(0));
    let runs = page(&console, "/reconciliation");
    holds(&runs, &["No break is open", "ended", "clean"]);
    let clean = &links(content(&runs), "/reconciliation/")[0];
    holds(&page(&console, clean), &["Everything that was compared agrees", "ledger entries"]);
    server.alter("update payments set amount = amount + 1, description = '<script>alert(1)</script>'");
    assert_eq!(server.run(&["reconcile"]).code, Some(1));
    let runs = page(&console, "/reconciliation");
    holds(
        &runs,
        &["altered", &format!("/payments/{}", uuid(&payment)), "find out who wrote to the database"],
    );
    let broken = &links(content(&runs), "/reconciliation/")[0];
    assert_ne!(broken, clean, "the newest first");
    holds(&page(&console, broken), &["broken", "altered", "&#60;script&#62;"]);
    holds(&page(&console, &format!("/reconciliation?after={}", uuid(broken))), &[clean]);
    holds(&page(&console, "/reconciliation?after=x"), &["<b>after</b>"]);
    assert_eq!(console.get("/reconciliation/00000000-0000-0000-0000-000000000000").status, 404);
}

fn a_reconciliation_is_begun_once_for_a_form_that_proves_where_it_comes_from(server: &mut Server) {
    server.merchant();
    let console = server.operations();
    let html = page(&console, "/reconciliation");
    let (_, token) = html.split_once("name=\"csrf\" value=\"").unwrap();
    let token = token.split('"').next().unwrap();
    let post = |body: &str, headers: &[(&str, &str)]| {
        let form = Content::Bytes("application/x-www-form-urlencoded", body.as_bytes());
        console.send("POST", "/reconciliation", headers, &form)
    };
    let whole = format!("csrf={token}&reason=to+be+sure");
    assert_eq!(post("reason=to+be+sure", &[]).status, 403, "without a token");
    assert_eq!(post("csrf=guessed&reason=to+be+sure", &[]).status, 403);
    assert_eq!(post(&whole, &[("Origin", "http://evil.example")]).status, 403);
    assert_eq!(post(&format!("csrf={token}"), &[]).status, 400, "without a reason");
    assert_eq!(server.query("select count(*) from audit_log"), ["0"]);
    let begun = post(&whole, &[]).expect(303);
    holds(&page(&console, begun.header("location").unwrap()), &["A run begins"]);
    eventually("the end of the run", || page(&console, "/reconciliation").contains("clean").then_some(()));
    assert_eq!(server.query("select count(*) from reconciliation_runs"), ["1"]);
    let audit = server.query("select actor || ': ' || action || ': ' || reason from audit_log");
    assert_eq!(audit, ["open access: reconciliation.begin: to be sure"]);
    assert_eq!(server.query("select count(*) from audit_log where request_id is null"), ["0"]);
}

fn charts_are_drawn_from_totals_that_can_be_made_anew(server: &mut Server) {
    let console = server.operations();
    holds(&page(&console, "/analytics"), &["Nothing happened to payments"]);
    let merchants = [server.merchant(), server.merchant()];
    for merchant in merchants.iter().cycle().take(6) {
        server.completed_payment(merchant, 9_007_199_254_740_991);
    }
    let refunded = server.completed_payment(&merchants[0], 300);
    server.post(&format!("{refunded}/refund"), &json!({"refundAmountInMinorUnits": 100})).expect(200);
    server.post_empty(&format!("{}/cancel", server.payment(&merchants[1], 50))).expect(200);
    let yen = json!({"amountInMinorUnits": 70, "currency": "JPY"});
    server.post(&format!("/api/merchants/{}/payments", merchants[0]), &yen).expect(201);

    // How a sum is kept in halves depends on how it was gathered.
    let totals = "select currency || ' ' || transition || ' ' || sum(payments) || ' ' || \
         (sum(amount_upper) * 4294967296 + sum(amount_lower)) from daily_totals group by currency, transition \
         order by currency, transition";
    let before = eventually("the totals", || {
        let rows = server.query(totals);
        (rows.len() == 5 && rows.last()?.starts_with("USD 4 1 ")).then_some(rows)
    });
    // 6 × (2^53 - 1) + 300, to the last digit; and currencies each for themselves.
    let html = page(&console, "/analytics?days=7&currency=USD");
    holds(&html, &["540,431,955,284,462.46", "in 7 completed payments", "87.5 %", "<svg", "<path", "1.00"]);
    assert!(html.contains("54043195528446246 minor units"), "in minor units");
    holds(
        &page(&console, "/analytics?currency=JPY"),
        &["of the payments that were completed or failed", "JPY"],
    );
    holds(&page(&console, "/analytics?currency=EUR"), &["Nothing happened to payments in this currency"]);
    holds(&page(&console, "/analytics?days=8"), &["<b>days</b>"]);
    for days in [7, 30, 90] {
        let html = page(&console, &format!("/analytics?days={days}"));
        assert_eq!(html.matches("<tr><td><a href=\"/events?from=").count(), days);
    }
    let told = server.run(&["replay", "--consumer", "daily_totals", "--from-beginning", "--why", "a test"]);
    assert_eq!(told.code, Some(0), "{}{}", told.stdout, told.stderr);
    assert_eq!(server.query(totals), before, "made anew from the log");
}

fn nothing_that_was_stored_is_run_and_no_bank_number_is_shown(server: &mut Server) {
    let email = "hostile@example.com";
    let merchant = server.post("/api/merchants", &json!({"name": MARKUP, "email": email})).expect(201).id();
    let path = format!("/api/merchants/{merchant}/payments");
    let hostile = json!({
        "amountInMinorUnits": 5000, "currency": "USD", "externalReference": MARKUP, "description": MARKUP,
    });
    let payment = server.post_with_key(&path, KEY, &hostile).expect(201).id();
    server.post_empty(&format!("{path}/{payment}/complete")).expect(200);
    let refund = json!({"refundAmountInMinorUnits": 1, "reason": MARKUP});
    server.post(&format!("{path}/{payment}/refund"), &refund).expect(200);
    server.post(&format!("/api/merchants/{merchant}/withdrawals"), &new_withdrawal(100)).expect(201);
    server.run(&["reconcile"]);
    let console = server.operations();
    let key = encoded(KEY);
    let mut todo: Vec<String> = [
        "/ledger",
        "/events",
        "/reconciliation",
        "/analytics",
        &format!("/ledger?merchant={merchant}"),
        &format!("/idempotency?key={key}&merchant={merchant}"),
        &format!("/events?type={key}&stream={key}&after={key}"),
    ]
    .map(str::to_owned)
    .into();
    let mut seen = BTreeSet::new();
    while let Some(path) = todo.pop() {
        let answer = console.get(&path);
        if answer.status == 303 {
            todo.push(answer.header("location").unwrap().to_owned());
            continue;
        }
        let html = page(&console, &path);
        for text in [BANK_ACCOUNT, BANK_ROUTING, "<img src=x"] {
            assert!(!html.contains(text), "{text} in {path}");
        }
        for begin in ["/ledger/", "/events/", "/reconciliation/"] {
            let new = links(&html, begin).into_iter().filter(|href| seen.insert(href.clone()));
            todo.extend(new.collect::<Vec<_>>());
        }
    }
    assert!(seen.len() > 20, "{seen:?}");
    let created = page(&console, &format!("/events?subject={payment}&type=PaymentCreated"));
    let created = page(&console, &links(content(&created), "/events/payment-events/")[0]);
    holds(&created, &["&#60;script&#62;alert(1)&#60;/script&#62;"]);
}

/// A page says that the database is away, under its request's id, and is there again when it is.
#[test]
fn without_a_database_the_pages_say_so_and_stay_up() {
    let server = Server::start(Kind::Postgres);
    let merchant = server.merchant();
    server.completed_payment(&merchant, 100);
    let console = server.operations();
    server.let_database_connect(false);
    for path in ["/events", "/ledger", "/reconciliation", "/analytics", "/idempotency?key=x"] {
        let answer = console.get(path);
        assert_eq!(answer.status, 503, "{path}: {}", answer.text);
        holds(&answer.text, &["The database is not available", "Request id"]);
    }
    server.let_database_connect(true);
    for path in ["/events", "/ledger", "/reconciliation", "/analytics"] {
        eventually("the pages", || (console.get(path).status == 200).then_some(()));
    }
}
