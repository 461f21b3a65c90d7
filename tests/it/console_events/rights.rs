//! What operators see and do by their roles, and what takes two of them.

use super::{Visitor, led_to};
use crate::{
    access_commands::with_line,
    dead_letters::{POISON, with_dead_letters},
    support::{backend::Kind, client::Content, eventually, server::Server},
};

const PASSWORD: &str = "correct horse battery";

impl Visitor {
    /// An operator who is made for it, and signs in.
    fn operator(server: &Server, name: &str, role: &str) -> Self {
        let arguments = ["operators", "create", name, "--role", role, "--why", "a test"];
        let made = with_line(server, &arguments, PASSWORD);
        assert_eq!(made.code, Some(0), "{}{}", made.stdout, made.stderr);
        let mut visitor = Self::new(server);
        let body = format!("name={name}&password=correct+horse+battery&back=%2F");
        let content = Content::Bytes("application/x-www-form-urlencoded", body.as_bytes());
        let signed_in = visitor.client.send("POST", "/sign-in", &[], &content).expect(303);
        let cookie = signed_in.header("set-cookie").unwrap();
        cookie.split(';').next().unwrap().clone_into(&mut visitor.cookie);
        visitor
    }
}

/// Bytes are for who may read messages; changes are for who may make them; all of one reason take a second operator, and
/// so does a restart.
#[test]
fn roles_decide_what_is_seen_and_two_operators_what_touches_much() {
    let (mut server, _) = with_dead_letters(None, Kind::Sqlite);
    server.set("Security__Access", "required");
    server.set("FINTECH_FAIL", "");
    server.restart();
    let stranger = Visitor::new(&server);
    for path in ["/dead-letters", "/consumers", "/topics", "/topics/payment-events/messages", "/relay"] {
        let led = led_to(&stranger.get(path));
        assert!(led.starts_with("/sign-in?back="), "{led}");
    }
    let viewer = Visitor::operator(&server, "vera", "viewer");
    let (anna, ben) =
        (Visitor::operator(&server, "anna", "admin"), Visitor::operator(&server, "ben", "support"));
    let ids = server.query("select lower(hex(id)) from dead_letters where consumer = 'probe' and kind = 1");
    let id = uuid::Uuid::parse_str(&ids[0]).unwrap();
    let letter = format!("/dead-letters/{id}");
    assert!(anna.page(&letter).contains(POISON) && ben.page(&letter).contains(POISON));
    let seen = viewer.page(&letter);
    assert!(!seen.contains(POISON) && seen.contains("shown to operators who may read messages"));
    assert!(!seen.contains("/redrive\""), "no form of what may not be done");
    viewer.page("/topics");
    let (messages, bulk) =
        ("/topics/payment-events/messages", format!("/dead-letters/bulk?action=redrive&like={id}"));
    let restart = "/consumers/payment_log/restart?position=1";
    let closed =
        [messages, "/topics/payment-events/messages.jsonl", "/topics/payment-events/tail", &bulk, restart];
    for path in closed {
        viewer.get(path).expect(403);
    }
    ben.get(restart).expect(403);
    ben.get(messages).expect(200);
    let forged = viewer.post(&format!("{letter}/redrive"), &[("reason".to_owned(), "x".to_owned())]);
    assert_eq!(forged.status, 403);
    assert_eq!(server.query("select count(*) from audit_log where action like 'dead-letter%'"), ["0"]);

    let fields = [("number", "1"), ("reason", "mended"), ("pace", "50")];
    let asked = led_to(&ben.send(&bulk, "/dead-letters/bulk", &fields));
    assert!(ben.page(&asked).contains("another operator has to approve it"));
    assert!(ben.page("/approvals").contains("Somebody else has to decide"));
    assert_eq!(server.query("select count(*) from dead_letters where state = 2"), ["0"]);
    let asked = uuid::Uuid::parse_str(&server.query("select lower(hex(id)) from approvals")[0]).unwrap();
    let found = led_to(&viewer.get(&format!("/search?q={asked}")));
    assert!(viewer.page(&found).contains("Redrive all dead letters of one reason"), "{found}");
    decide(&anna, &server);
    eventually("the redrive", || {
        let left = server.query("select count(*) from dead_letters where state = 1 and consumer = 'probe'");
        (left == ["0"]).then_some(())
    });
    let by = server.query("select distinct actor from audit_log where action = 'dead-letter.redrive'");
    assert_eq!(by, ["operator anna"]);

    let path = "/consumers/payment_log";
    led_to(&anna.send(path, &format!("{path}/pause"), &[("reason", "a gap")]));
    let fields = [("name", "payment_log"), ("reason", "a gap")];
    led_to(&anna.send(restart, &format!("{path}/restart"), &fields));
    assert_eq!(server.query("select count(*) from audit_log where action = 'consumer.restart'"), ["0"]);
    decide(&Visitor::operator(&server, "carl", "admin"), &server);
    assert_eq!(
        server.query("select actor from audit_log where action = 'consumer.restart'"),
        ["operator carl"]
    );
}

/// Approves what is open.
fn decide(visitor: &Visitor, server: &Server) {
    let open = server.query("select lower(hex(id)) from approvals where state = 1");
    let action = format!("/approvals/{}", uuid::Uuid::parse_str(&open[0]).unwrap());
    let fields = [("decision", "approve"), ("reason", "it is right")];
    let decided = led_to(&visitor.send("/approvals", &action, &fields));
    assert!(visitor.page(&decided).contains("Approved, and done."));
}
