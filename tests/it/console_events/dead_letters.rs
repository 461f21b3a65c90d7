//! What consumers could not handle: found, read, handled again and given up.

use serde_json::json;

use super::{MARKUP, Visitor, all_between, hidden, led_to, next_page};
use crate::{
    dead_letters::{POISON, with_dead_letters},
    support::{backend::Kind, eventually, server::Server},
};

const LETTERS: &str = "href=\"/dead-letters/";

fn open(server: &Server) -> usize {
    server.query("select count(*) from dead_letters where state = 1")[0].parse().unwrap()
}

/// The letters that a page lists, by their ids.
fn listed(page: &str) -> Vec<String> {
    let list = page.split("<table class=\"list\"").nth(1).unwrap_or_default();
    let ids = all_between(list, LETTERS, "\"").into_iter().filter(|id| id.len() == 36);
    ids.map(str::to_owned).collect()
}

fn with_poison(kind: Kind) -> (Server, Visitor) {
    let (server, _) = with_dead_letters(None, kind);
    let visitor = Visitor::new(&server);
    (server, visitor)
}

/// Filters and groups; a filter that is wrong is named, and shows nothing.
fn they_are_found_by_what_went_wrong(kind: Kind) {
    let (server, visitor) = with_poison(kind);
    let page = visitor.page("/dead-letters");
    assert_eq!(listed(&page).len(), open(&server));
    assert!(
        page.contains("the test poisoned this event")
            && page.contains("an earlier event of the same subject")
    );
    let of_probe = listed(&visitor.page("/dead-letters?consumer=probe"));
    assert_eq!(of_probe.len(), 2);
    let parked = listed(&visitor.page("/dead-letters?consumer=probe&kind=parked"));
    let poison = listed(&visitor.page("/dead-letters?consumer=probe&reason=POISONED"));
    assert_eq!((parked.len(), poison.len()), (1, 1));
    assert_eq!([parked, poison].concat(), of_probe, "the newest first");
    let none = visitor.page("/dead-letters?state=discarded");
    assert!(none.contains("No dead letter passes this filter") && listed(&none).is_empty());
    let wrong = visitor.page("/dead-letters?kind=bad&state=worse");
    assert!(wrong.contains("<b>kind</b> is poison") && wrong.contains("<b>state</b> is open"), "{wrong}");
    assert!(listed(&wrong).is_empty());
    let missing = visitor.get("/dead-letters/00000000-0000-0000-0000-000000000000").expect(404);
    assert!(missing.text.contains("There is no dead letter"));
}

#[test]
fn they_are_found_by_what_went_wrong_on_sqlite() {
    they_are_found_by_what_went_wrong(Kind::Sqlite);
}

#[test]
fn they_are_found_by_what_went_wrong_on_postgres() {
    they_are_found_by_what_went_wrong(Kind::Postgres);
}

/// One is read whole and redriven, while it still fails and when it does not. What was not sent from the page changes
/// nothing.
fn one_is_read_and_redriven(kind: Kind) {
    let (mut server, visitor) = with_poison(kind);
    let id = listed(&visitor.page("/dead-letters?consumer=probe&kind=poison")).remove(0);
    let path = format!("/dead-letters/{id}");
    let page = visitor.page(&path);
    assert!(page.contains(&format!("<title>{}", &id[..8])) && page.contains(POISON), "{page}");
    assert!(page.contains("Nobody has done anything with it yet"));
    let redrive = format!("{path}/redrive");
    let reason = ("reason".to_owned(), "once more".to_owned());
    visitor.post(&redrive, std::slice::from_ref(&reason)).expect(403);
    visitor.post(&redrive, &[("csrf".to_owned(), "x".to_owned()), reason]).expect(403);
    let unsaid = visitor.send(&path, &redrive, &[]).expect(400);
    assert!(unsaid.text.contains("Fill in “reason”"), "{}", unsaid.text);
    assert!(visitor.get(&redrive).status == 405, "a GET changes nothing");
    assert_eq!(server.query("select count(*) from audit_log"), ["0"]);
    let failed = led_to(&visitor.send(&path, &redrive, &[("reason", MARKUP)]));
    let page = visitor.page(&failed);
    assert!(page.contains("It failed again and stays") && page.contains("dead-letter.redrive"));
    assert!(page.contains("alert(1)"), "what was given as the reason is shown");
    assert_eq!(redriven(&server, "failed"), "1");
    server.set("FINTECH_FAIL", "");
    server.restart();
    let visitor = Visitor::new(&server);
    let done = led_to(&visitor.send(&path, &redrive, &[("reason", "the handler was mended")]));
    let page = visitor.page(&done);
    assert!(page.contains("Handled again.") && page.contains("the handler was mended"), "{page}");
    assert!(!page.contains(&redrive), "what is ended is not redriven");
    let requests = server.query("select request_id from audit_log where reason = 'the handler was mended'");
    assert!(
        requests.len() == 2 && requests.iter().all(|id| !id.is_empty()),
        "with its parked one: {requests:?}"
    );
    assert_eq!(redriven(&server, "handled"), "2");
    assert!(visitor.page("/dead-letters?consumer=probe").contains("No dead letter passes"));
}

/// How often, as the metrics of the program have it.
fn redriven(server: &Server, outcome: &str) -> String {
    let shown = server.operations().get("/metrics").expect(200).text;
    let series = format!("fintech_dead_letters_redriven_total{{consumer=\"probe\",outcome=\"{outcome}\"}} ");
    let value = shown.lines().find_map(|line| line.strip_prefix(&series));
    value.unwrap_or_else(|| panic!("no {series}")).to_owned()
}

#[test]
fn one_is_read_and_redriven_on_sqlite() {
    one_is_read_and_redriven(Kind::Sqlite);
}

#[test]
fn one_is_read_and_redriven_on_postgres() {
    one_is_read_and_redriven(Kind::Postgres);
}

/// A selection is shown first; the number has to be typed; the same form runs once.
fn a_selection_is_shown_before_it_is_discarded(kind: Kind) {
    let (server, visitor) = with_poison(kind);
    let before = open(&server);
    let chosen = listed(&visitor.page("/dead-letters?consumer=probe"));
    let dry = format!("/dead-letters/bulk?action=discard&id={}&id={}", chosen[0], chosen[1]);
    let page = visitor.page(&dry);
    assert!(page.contains("Discard 2 dead letters") && listed(&page).len() == 2, "{page}");
    let mut form = hidden(&page, "/dead-letters/bulk");
    form.extend([("reason", MARKUP), ("pace", "200")].map(|(n, v)| (n.to_owned(), v.to_owned())));
    let typed = |number: &str| [form.clone(), vec![("number".to_owned(), number.to_owned())]].concat();
    let wrong = visitor.post("/dead-letters/bulk", &typed("3")).expect(400);
    assert!(wrong.text.contains("it is 2 now"), "{}", wrong.text);
    assert_eq!(open(&server), before);
    let run = led_to(&visitor.post("/dead-letters/bulk", &typed("2")));
    let again = led_to(&visitor.post("/dead-letters/bulk", &typed("2")));
    assert_eq!(run, again);
    let page = eventually("the run", || Some(visitor.page(&run)).filter(|page| page.contains("2 discarded")));
    assert_eq!(listed(&page).len(), 2);
    assert_eq!(open(&server), before - 2);
    assert_eq!(server.query("select count(*) from audit_log where action = 'dead-letter.discard'"), ["2"]);
    let nothing = visitor.page(&dry);
    assert!(nothing.contains("None of them is open any more"));
    visitor.get("/dead-letters/bulk?action=discard").expect(400);
    visitor.get("/dead-letters/bulk?action=burn&id=1").expect(400);
    assert!(visitor.page("/dead-letters").contains(&run), "the run is linked");
}

#[test]
fn a_selection_is_shown_before_it_is_discarded_on_sqlite() {
    a_selection_is_shown_before_it_is_discarded(Kind::Sqlite);
}

#[test]
fn a_selection_is_shown_before_it_is_discarded_on_postgres() {
    a_selection_is_shown_before_it_is_discarded(Kind::Postgres);
}

/// Pages by cursor; all of one reason are redriven, each with what became of it.
fn all_of_one_reason_are_redriven(kind: Kind) {
    let (mut server, visitor) = with_poison(kind);
    let merchant = server.merchant();
    let payment = json!({"amountInMinorUnits": 100, "currency": "USD", "description": POISON});
    for _ in 0..60 {
        server.post(&format!("/api/merchants/{merchant}/payments"), &payment).expect(201);
    }
    let of_probe = "select count(*) from dead_letters where state = 1 and kind = 1 and consumer = 'probe'";
    eventually("their dead letters", || (server.query(of_probe) == ["61"]).then_some(()));
    let mut page = visitor.page("/dead-letters?consumer=probe&kind=poison");
    let mut seen = listed(&page);
    assert_eq!(seen.len(), 50);
    while let Some(next) = next_page(&page) {
        page = visitor.page(&next);
        seen.extend(listed(&page));
    }
    assert_eq!(seen.len(), 61);
    assert!(seen.is_sorted_by(|a, b| a > b), "each once, the newest first");
    server.set("FINTECH_FAIL", "");
    server.restart();
    let visitor = Visitor::new(&server);
    let dry = format!("/dead-letters/bulk?action=redrive&like={}", seen[5]);
    assert!(visitor.page("/dead-letters").contains("/dead-letters/bulk?action=redrive&#38;like="));
    let page = visitor.page(&dry);
    assert!(page.contains("Redrive 61 dead letters") && page.contains("And 11 more."), "{page}");
    let fields = [("number", "61"), ("reason", "mended"), ("pace", "200")];
    let run = led_to(&visitor.send(&dry, "/dead-letters/bulk", &fields));
    let page = eventually("the run", || Some(visitor.page(&run)).filter(|page| page.contains("61 handled")));
    assert_eq!(listed(&page).len(), 61);
    let left = server.query("select count(*) from dead_letters where state = 1 and consumer = 'probe'");
    assert_eq!(left, ["0"], "what was parked behind them, too");
}

#[test]
fn all_of_one_reason_are_redriven_on_sqlite() {
    all_of_one_reason_are_redriven(Kind::Sqlite);
}

#[test]
fn all_of_one_reason_are_redriven_on_postgres() {
    all_of_one_reason_are_redriven(Kind::Postgres);
}

/// The console stays up, and says what is the matter.
#[test]
fn a_database_that_is_away_is_said() {
    let (server, visitor) = with_poison(Kind::Postgres);
    server.let_database_connect(false);
    let paths = ["/dead-letters", "/consumers", "/topics", "/topics/payment-events/messages"];
    for path in paths {
        let answer =
            eventually("the page that says so", || Some(visitor.get(path)).filter(|a| a.status == 503));
        assert!(
            answer.text.contains("database is not available") || answer.text.contains("database is slow")
        );
    }
    server.let_database_connect(true);
    for path in paths {
        eventually("the page", || Some(visitor.get(path)).filter(|answer| answer.status == 200));
    }
}
