//! The console in a real browser: the first users' session, who comes in and what each may do, whether everybody can use it,
//! what was stored to be run, and what it looks like. The steps are in `tests/browser`.

use serde_json::json;
use uuid::Uuid;

use crate::{
    console_access::{PASSWORD, operator},
    dead_letters::{POISON, with_dead_letters},
    support::{
        backend::Kind,
        browser::{self, beside_the_build, browse},
        eventually,
        fixtures::new_withdrawal,
        kafka::Kafka,
        pages::Pages,
        server::Server,
    },
};

/// A page that the embedded server does not show, by its route, as `tests/browser/pages.mjs` takes it.
const ABSENT_EMBEDDED: (&str, &str) = ("ABSENT", "/relay");
/// The pages that are others without Kafka, or with open access: a banner stands on each, and the log in the place of topics.
const ROUTES_EMBEDDED: (&str, &str) = (
    "ROUTES",
    "/ /payments/{id} /consumers /consumers/{name} /topics /topics/{name} /topics/{name}/messages /approvals",
);
const ADMIN: (&str, &str) = ("OPERATOR", "anna");
const SIGNED_IN: (&str, &str) = ("PASSWORD", PASSWORD);
/// What two operators must agree on is above this.
const ALONE_MINOR_MAX: i64 = 100_000;
/// Names, and what each may do.
const OPERATORS: [(&str, &str); 4] =
    [("anna", "admin"), ("fred", "finance"), ("greta", "finance"), ("vera", "viewer")];
/// What a browser would run, or show as elements, wherever it stands in a page as it is.
const MARKUP: &str =
    r#""><i class=injected></i></td></script><script>injected=1</script><img src=x onerror="injected=1">'"#;

/// A merchant with something of every kind that a page shows. Every text that a caller may choose is the name of its
/// field, and `text` behind it. Gives the page of a withdrawal that one operator alone may not approve.
fn furnish(server: &Server, text: &str) -> String {
    let email = format!("{}@example.com", Uuid::new_v4().simple());
    let merchant = json!({"name": format!("name {text}"), "email": email});
    let merchant = server.post("/api/merchants", &merchant).expect(201).id();
    let path = format!("/api/merchants/{merchant}/payments");
    let pay = |amount_minor: i64, currency: &str| {
        let payment = json!({
            "amountInMinorUnits": amount_minor, "currency": currency,
            "externalReference": format!("reference {text}"), "description": format!("description {text}"),
        });
        format!("{path}/{}", server.post(&path, &payment).expect(201).id())
    };
    let paid = [(1_234_567, "USD"), (1_999, "EUR"), (120_000, "JPY"), (12_345, "KWD"), (50_000, "USD")]
        .map(|(amount_minor, currency)| pay(amount_minor, currency));
    for payment in &paid {
        server.post_empty(&format!("{payment}/complete")).expect(200);
    }
    let refund = json!({"refundAmountInMinorUnits": 20_000, "reason": format!("reason {text}")});
    server.post(&format!("{}/refund", paid[4]), &refund).expect(200);
    server.post_empty(&format!("{}/cancel", pay(700, "USD"))).expect(200);
    // One in each of its states.
    let withdraw = || server.withdrawal(&merchant, 1_000);
    let large = in_the_console(&server.withdrawal(&merchant, ALONE_MINOR_MAX + 1));
    let step = |withdrawal: String, step: &str| {
        server.post_empty(&format!("{withdrawal}/{step}")).expect(200);
        withdrawal
    };
    let paid_out = json!({"externalTransactionId": format!("wire {text}")});
    server.post(&format!("{}/complete", step(withdraw(), "process")), &paid_out).expect(200);
    let failed = json!({"reason": format!("reason {text}")});
    server.post(&format!("{}/fail", step(withdraw(), "process")), &failed).expect(200);
    step(withdraw(), "process");
    step(withdraw(), "cancel");
    withdraw();
    // The newest are what a list begins with: pending, so that they can be completed.
    pay(2_500, "USD");
    pay(9_007_199_254_740_991, "USD");
    let page = in_the_console(&pay(3_300, "USD"));
    let reason = [("reason", &*format!("flag {text}"))];
    Pages::of(server).done(&page, &format!("{page}/flag"), &reason);
    let reconciled = server.run(&["reconcile"]);
    assert!(reconciled.stdout.contains("payments"), "{}{}", reconciled.stdout, reconciled.stderr);
    large
}

/// The page of what has this path in the API.
fn in_the_console(path: &str) -> String {
    let [id, kind] = [0, 1].map(|from_the_end| path.rsplit('/').nth(from_the_end).unwrap());
    format!("/{kind}/{id}")
}

/// A server whose every page has something to show, dead letters included.
fn furnished(kafka: Option<&Kafka>, text: &str) -> Server {
    let (server, _) = with_dead_letters(kafka, Kind::Sqlite);
    furnish(&server, text);
    server
}

/// From now on whoever comes must say who it is: one of [`OPERATORS`].
fn required(server: &mut Server) {
    for (name, role) in OPERATORS {
        operator(server, name, role);
    }
    server.set("Security__Access", "required");
    server.set("Security__FourEyesWithdrawalMinor", &ALONE_MINOR_MAX.to_string());
    server.restart();
}

/// As [`furnished`], for operators, with what is only where they are: keys, and something that waits for approval.
fn furnished_for_operators(kafka: &Kafka, text: &str) -> Server {
    let (mut server, _) = with_dead_letters(Some(kafka), Kind::Sqlite);
    let large = furnish(&server, text);
    for role in ["read", "admin"] {
        let key = ["keys", "create", "--name", text, "--role", role, "--test", "--why", "a shop"];
        assert_eq!(server.run(&key).code, Some(0));
    }
    required(&mut server);
    let fred = Pages::signed_in(&server, "fred", PASSWORD);
    fred.done(&large, &format!("{large}/process"), &[("reason", "the invoice of May")]);
    server
}

/// The other tests of this file say nothing unless their tools find what is wrong with a page.
#[test]
fn what_judges_the_console_finds_what_is_wrong() {
    browser::run("proof.mjs", &[]);
}

/// With open access, and then by an operator.
#[test]
fn the_first_users_session_is_walked_in_the_console() {
    let kafka = Kafka::new();
    let (mut server, _) = with_dead_letters(Some(&kafka), Kind::Postgres);
    let poison = ("POISON", POISON);
    browse("walk.mjs", &server, &[poison]);
    required(&mut server);
    browse("walk.mjs", &server, &[poison, ADMIN, SIGNED_IN]);
    server.set("FINTECH_FAIL", "");
    server.restart();
    browse("redrive.mjs", &server, &[ADMIN, SIGNED_IN]);
    server.verify_log();
}

/// `scripts/screens` runs this alone, and says where the pictures are.
#[test]
fn everybody_can_use_the_console_and_pictures_show_it() {
    let folder = beside_the_build("screens");
    let server = furnished_for_operators(&Kafka::new(), "of a shop");
    browse("survey.mjs", &server, &[ADMIN, SIGNED_IN, ("SCREENS", folder.to_str().unwrap())]);
}

#[test]
fn everybody_can_use_the_console_of_an_embedded_server_and_by_keys_alone() {
    let server = furnished(None, "in order");
    browse("survey.mjs", &server, &[ABSENT_EMBEDDED, ROUTES_EMBEDDED]);
    browse("keyboard.mjs", &server, &[]);
}

/// Markup in every field that a caller may choose, and in a record that somebody else sent to a topic of the program.
#[test]
fn what_was_stored_to_be_run_is_shown() {
    let kafka = Kafka::new();
    let server = furnished(Some(&kafka), MARKUP);
    let letters = || server.query("select count(*) from dead_letters")[0].parse::<i64>().unwrap();
    let before = letters();
    let [key, name, headed] = ["key", "header", "headed"].map(|field| format!("{field} {MARKUP}"));
    let headers = [(name.as_str(), headed.as_str())];
    let members = json!({ format!("member {MARKUP}"): format!("value {MARKUP}") }).to_string();
    kafka.produce("payment-events", 0, &key, Some(members.as_bytes()), &headers);
    kafka.produce("payment-events", 0, &key, Some(format!("value {MARKUP}").as_bytes()), &headers);
    // Two of each consumer that reads payments.
    eventually("dead letters of what came from elsewhere", || (letters() == before + 6).then_some(()));
    browse("hostile.mjs", &server, &[]);
}

#[test]
fn a_viewer_is_led_only_where_it_may_go() {
    let mut server = furnished(Some(&Kafka::new()), "in order");
    required(&mut server);
    let forbidden = "/audit /audit/commands /configuration /operators /keys /topics/payment-events/messages";
    let absent = "/audit /configuration /operators /keys /topics/{name}/messages /dead-letters/bulk \
                  /consumers/{name}/restart /sign-in";
    let variables = [("OPERATOR", "vera"), SIGNED_IN, ("FORBIDDEN", forbidden), ("ABSENT", absent)];
    browse("roles.mjs", &server, &variables);
}

#[test]
fn one_signs_in_and_whoever_guesses_is_slowed() {
    let mut server = Server::start(Kind::Postgres);
    operator(&server, "lena", "viewer");
    required(&mut server);
    // The pauses between ten failures take eight minutes.
    server.alter("update operators set failures = 9 where name = 'lena'");
    browse("sign_in.mjs", &server, &[ADMIN, SIGNED_IN, ("OTHER", "vera"), ("LOCKED", "lena")]);
}

#[test]
fn a_large_withdrawal_needs_two_operators() {
    let mut server = Server::start(Kind::Sqlite);
    let merchant = server.merchant();
    server.completed_payment(&merchant, 10 * ALONE_MINOR_MAX);
    let withdraw = |amount_minor: i64| {
        let path = format!("/api/merchants/{merchant}/withdrawals");
        format!("/withdrawals/{}", server.post(&path, &new_withdrawal(amount_minor)).expect(201).id())
    };
    let [large, refused] = [1, 2].map(|more| withdraw(ALONE_MINOR_MAX + more));
    let small = withdraw(ALONE_MINOR_MAX);
    required(&mut server);
    let who = [("OPERATOR", "fred"), ("SECOND", "greta"), ("VIEWER", "vera"), SIGNED_IN];
    let what = [("LARGE", &*large), ("REFUSED", &*refused), ("SMALL", &*small)];
    browse("four_eyes.mjs", &server, &[&who[..], &what[..]].concat());
}
