//! What is in the hand is found from the console: the search, and payments as files.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    console_money::{ESCAPED, MARKUP, page_of},
    dead_letters::with_dead_letters,
    support::{
        backend::Kind,
        client::{Answer, Content},
        eventually, on_both_backends,
        pages::{Pages, encoded, holds, listed},
        server::Server,
    },
};

on_both_backends!(whatever_is_in_the_hand_leads_to_its_page, an_export_holds_exactly_the_rows_of_its_filter,);

/// Where a search leads to.
#[track_caller]
fn found(pages: &Pages, query: &str) -> String {
    let answer = pages.get(&format!("/search?q={}", encoded(query))).expect(303);
    answer.header("location").unwrap().to_owned()
}

fn whatever_is_in_the_hand_leads_to_its_page(server: &mut Server) {
    let pages = Pages::of(server);
    let email = format!("{}@example.com", Uuid::new_v4().simple());
    let id = server.post("/api/merchants", &json!({"name": "Shoe Shop", "email": email})).expect(201).id();
    let path = format!("/api/merchants/{id}/payments");
    let new = json!({"amountInMinorUnits": 5000, "currency": "USD", "externalReference": "Order/77 ä", "description": "shoes"});
    let payment = server.post(&path, &new).expect(201).id();
    server.post_empty(&format!("{path}/{payment}/complete")).expect(200);
    let withdrawal = page_of(&server.withdrawal(&id, 10), "withdrawals");
    assert_eq!(found(&pages, &payment), format!("/payments/{payment}"));
    assert_eq!(found(&pages, &format!(" {} ", payment.to_uppercase())), format!("/payments/{payment}"));
    assert_eq!(found(&pages, &withdrawal["/withdrawals/".len()..]), withdrawal);
    assert_eq!(found(&pages, &id), format!("/merchants/{id}"));
    assert_eq!(found(&pages, &email.to_uppercase()), format!("/merchants/{id}"));
    assert_eq!(found(&pages, "Order/77 ä"), format!("/payments/{payment}"));

    // Events and commands, by what the payment's page says of them.
    let shown = pages.page(&format!("/payments/{payment}"));
    let first = shown.split("<h3><a href=\"/events/").nth(1).unwrap();
    let place = format!("/events/{}", first.split('"').next().unwrap());
    let ids: Vec<&str> = first.split("data-copy=\"").skip(1).take(2).map(|id| &id[..36]).collect();
    assert_eq!(found(&pages, ids[0]), place);
    assert_eq!(found(&pages, ids[1]), place, "a command leads to its first event");

    // What only begins like it, or holds it, is listed.
    holds(
        &pages.page("/search?q=shoe"),
        &["Shoe Shop", &format!("/payments/{payment}"), "idempotency?key=shoe"],
    );
    holds(&pages.page("/search?q="), &["Search for the id of a payment"]);
    let nothing = Uuid::new_v4().to_string();
    holds(
        &pages.page(&format!("/search?q={nothing}")),
        &["Nothing was found", "withdrawals", "dead letters", "commands"],
    );
    pages.get(&format!("/search?q={}", "x".repeat(256))).expect(400);
    let hostile = pages.page(&format!("/search?q={}", encoded(MARKUP)));
    assert!(hostile.contains(ESCAPED) && !hostile.contains("<script>alert"));

    // A key is found by what is seen of it; of a whole one that was pasted no more is shown.
    let created =
        server.run(&["keys", "create", "--name", "till", "--merchant", &id, "--role", "read", "--why", "w"]);
    let key = created.stdout.trim();
    for query in [key, &key[..12]] {
        let page = pages.page(&format!("/search?q={query}"));
        holds(&page, &["till", &key[..12], &format!("/keys?merchant={id}")]);
        assert!(!page.contains(&key[..20]));
    }
    holds(&pages.page("/search?q=fk_live_zzzz"), &["Nothing was found", "API keys"]);

    // What was proved, by the id of the run.
    let told = server.run(&["reconcile", "--json"]);
    assert_eq!(told.code, Some(0), "{}{}", told.stdout, told.stderr);
    let listed = pages.page("/reconciliation");
    let (_, run) = listed.split_once("<a href=\"/reconciliation/").unwrap();
    assert_eq!(found(&pages, &run[..36]), format!("/reconciliation/{}", &run[..36]));

    // What was done by hand, by the id of its request.
    let export = pages.get("/payments.csv").expect(200);
    let request = export.header("x-request-id").unwrap().to_owned();
    assert_eq!(found(&pages, &request), format!("/audit?request={request}"));
    holds(&pages.page(&format!("/audit?request={request}")), &["console.export", &request]);
    assert!(!pages.page(&format!("/audit?request={nothing}")).contains("console.export"));

    // What was asked of the API, which is noted a moment later.
    let answer = server.get(&format!("{path}/{payment}")).expect(200);
    let request = answer.header("x-request-id").unwrap();
    let search = format!("/search?q={request}");
    let answer = eventually("the note of a request", || Some(pages.get(&search)).filter(|a| a.status == 303));
    assert_eq!(answer.header("location"), Some(format!("/requests?request={request}").as_str()));
}

#[test]
fn a_dead_letter_is_found_by_its_id() {
    let (server, _) = with_dead_letters(None, Kind::Sqlite);
    let pages = Pages::of(&server);
    let listed = server.run(&["dead-letters", "list", "--consumer", "probe"]).stdout;
    let id = listed.lines().nth(1).unwrap().split_whitespace().next().unwrap();
    assert_eq!(found(&pages, id), format!("/dead-letters/{id}"));
}

fn an_export_holds_exactly_the_rows_of_its_filter(server: &mut Server) {
    let pages = Pages::of(server);
    let (one, other) = (server.merchant(), server.merchant());
    let bulk: Vec<Value> =
        (1..=900).map(|amount| json!({"amountInMinorUnits": amount, "currency": "USD"})).collect();
    for id in [&one, &other, &one] {
        server.post(&format!("/api/merchants/{id}/payments/bulk"), &json!({"payments": bulk})).expect(201);
    }
    let formula = json!({"amountInMinorUnits": 7, "currency": "JPY", "externalReference": "=1+1", "description": "a,\"b\"\n2"});
    server.post(&format!("/api/merchants/{one}/payments"), &formula).expect(201);

    let all = pages.get("/payments.csv").expect(200);
    assert_eq!(all.header("content-type"), Some("text/csv; charset=utf-8"));
    assert!(all.header("content-disposition").unwrap().contains("payments.csv"));
    // More than is read at a time, and each once.
    let rows: std::collections::BTreeSet<&str> =
        all.text.lines().skip(1).filter(|line| line.len() > 72).map(|line| &line[..73]).collect();
    assert_eq!(rows.len(), 2701);
    assert!(all.text.starts_with("merchantId,id,createdAt,"), "{}", &all.text[..80]);
    holds(&all.text, &[",'=1+1,\"a,\"\"b\"\"\n2\","]);

    let lines = |answer: &Answer| -> Vec<Value> {
        answer.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let filter = format!("merchant={one}&currency=USD&min=899&max=900&status=Pending");
    let some = pages.get(&format!("/payments.jsonl?{filter}")).expect(200);
    let found: Vec<(i64, String)> = lines(&some)
        .iter()
        .map(|line| {
            (line["amountInMinorUnits"].as_i64().unwrap(), line["merchantId"].as_str().unwrap().to_owned())
        })
        .collect();
    assert_eq!(found.len(), 4, "{}", some.text);
    assert!(found.iter().all(|(amount, id)| *amount >= 899 && *id == one));
    // The same rows in the same order as the list.
    let ids: Vec<String> = lines(&some).iter().map(|line| line["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(listed(&pages.page(&format!("/payments?{filter}")), "payments"), ids);
    assert!(lines(&pages.get("/payments.jsonl?currency=EUR").expect(200)).is_empty());

    // As every browser asks for it: what is broken off is no answer.
    let gzip = [("Accept-Encoding", "gzip")];
    let zipped =
        server.operations().send("GET", "/payments.csv?currency=JPY", &gzip, &Content::Nothing).expect(200);
    assert_eq!(zipped.header("content-encoding"), Some("gzip"));

    let refused = pages.get("/payments.csv?currency=nonsense").expect(400);
    holds(&refused.text, &["currency is a code of ISO 4217"]);
    let audit = server
        .query("select actor || ' ' || subject from audit_log where action = 'console.export' order by id");
    assert_eq!(
        audit,
        [
            "open access /payments.csv".to_owned(),
            format!("open access /payments.jsonl?{filter}"),
            "open access /payments.jsonl?currency=EUR".to_owned(),
            "open access /payments.csv?currency=JPY".to_owned(),
        ]
    );
}
