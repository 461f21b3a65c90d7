//! Who asked for what: of every command that took effect under a key, and of no other.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    client::{Answer, Content},
    on_both_backends,
    server::Server,
};

on_both_backends!(
    what_a_key_changed_is_kept_with_the_key_and_the_request,
    nothing_is_kept_of_callers_without_a_name,
);

const ORIGINS: &str =
    "select actor || ' ' || request_id || ' ' || events from command_origins order by command_id";

struct Caller<'a> {
    server: &'a Server,
    key: String,
}

impl<'a> Caller<'a> {
    fn new(server: &'a Server, arguments: &[&str]) -> Self {
        let create = ["keys", "create", "--name", "test", "--why", "a test"];
        let made = server.run(&[&create, arguments].concat());
        assert_eq!(made.code, Some(0), "{}", made.stderr);
        Self { server, key: made.stdout.trim().to_owned() }
    }

    /// As the audit names it.
    fn name(&self) -> String {
        format!("key {}", &self.key[..12])
    }

    fn post(&self, path: &str, request_id: &str, idempotency_key: &str, body: &Value) -> Answer {
        let authorization = format!("Bearer {}", self.key);
        let headers = [
            ("Authorization", authorization.as_str()),
            ("X-Request-Id", request_id),
            ("Idempotency-Key", idempotency_key),
        ];
        self.server.send("POST", path, &headers, &Content::Json(body))
    }
}

fn what_a_key_changed_is_kept_with_the_key_and_the_request(server: &mut Server) {
    server.set("Security__Access", "required");
    server.restart();
    let platform = Caller::new(server, &["--role", "write"]);
    let body = json!({"name": "Test", "email": "test@example.com"});
    let merchant = platform.post("/api/merchants", "r-merchant", "m", &body).expect(201).id();
    let own = Caller::new(server, &["--role", "write", "--merchant", &merchant]);
    let path = format!("/api/merchants/{merchant}/payments");
    let new = json!({"amountInMinorUnits": 5000, "currency": "USD"});
    let payment = own.post(&path, "r-payment", "p", &new).expect(201).id();
    // Given again, refused, and changing nothing.
    own.post(&path, "r-again", "p", &new).expect(201);
    own.post(&format!("{path}/{payment}/refund"), "r-refused", "r", &json!({})).expect(409);
    own.post(&format!("{path}/{payment}/complete"), "r-complete", "c", &json!({})).expect(200);
    own.post(&format!("{path}/{payment}/complete"), "r-nothing", "c2", &json!({})).expect(200);
    let bulk = json!({"payments": [new, new, new]});
    own.post(&format!("{path}/bulk"), "r-bulk", "b", &bulk).expect(201);
    // One that cannot stand in a line of a log is replaced by one of our own.
    let made = own.post(&path, "two words", "p2", &new).expect(201);
    let request_id = made.header("x-request-id").unwrap().to_owned();
    assert!(Uuid::parse_str(&request_id).is_ok(), "{request_id}");

    let (platform, own) = (platform.name(), own.name());
    let wanted = [
        format!("{platform} r-merchant 1"),
        format!("{own} r-payment 1"),
        format!("{own} r-complete 1"),
        format!("{own} r-bulk 3"),
        format!("{own} {request_id} 1"),
    ];
    assert_eq!(server.query(ORIGINS), wanted);
}

fn nothing_is_kept_of_callers_without_a_name(server: &mut Server) {
    let merchant = server.merchant();
    server.completed_payment(&merchant, 5000);
    assert!(server.query(ORIGINS).is_empty());
}
