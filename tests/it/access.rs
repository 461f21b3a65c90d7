//! Who may do what, at the API as it is served: every operation of its document with every sort of key, rates, and
//! idempotency keys that belong to whoever sent them.

use std::net::Ipv4Addr;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::{
    backend::Kind,
    client::{Answer, Content},
    eventually,
    server::Server,
    wire,
};

const REQUIRED: (&str, &str) = ("Security__Access", "required");
/// A key as it could be; nobody made it.
const FORGED: &str = "fk_live_000000000000000000000000000000000000000";
/// Far above what the limits are.
const REQUESTS_MAX: usize = 2000;

fn start(kind: Kind, variables: &[(&str, &str)]) -> Server {
    Server::start_with(kind, &[&[REQUIRED], variables].concat())
}

/// A key that `fintech keys create` made, and its id.
struct Key {
    secret: String,
    id: String,
}

impl Key {
    fn new(server: &Server, merchant: Option<&str>, role: &str, more: &[&str]) -> Self {
        let mut arguments = vec!["keys", "create", "--name", "test", "--why", "a test", "--role", role];
        arguments.extend(merchant.iter().flat_map(|id| ["--merchant", id]));
        arguments.extend(more);
        let ended = server.run(&arguments);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        let mut words = ended.stderr.split_whitespace().map(|word| word.trim_matches('.'));
        let id = words.find_map(|word| Uuid::parse_str(word).ok()).unwrap();
        Self { secret: ended.stdout.trim().to_owned(), id: id.to_string() }
    }

    fn platform(server: &Server, role: &str) -> Self {
        Self::new(server, None, role, &[])
    }

    fn header(&self) -> String {
        format!("Bearer {}", self.secret)
    }

    fn get(&self, server: &Server, path: &str) -> Answer {
        server.send("GET", path, &[("Authorization", &self.header())], &Content::Nothing)
    }

    fn post(&self, server: &Server, path: &str, idempotency_key: &str, body: &Value) -> Answer {
        let headers = [("Authorization", &*self.header()), ("Idempotency-Key", idempotency_key)];
        server.send("POST", path, &headers, &Content::Json(body))
    }

    fn merchant(&self, server: &Server) -> String {
        let email = format!("{}@example.com", Uuid::new_v4().simple());
        let body = json!({"name": "Test", "email": email});
        self.post(server, "/api/merchants", &email, &body).expect(201).id()
    }
}

/// What the table of the API is checked with, written once more: whose keys an operation takes, and the lowest role.
fn expected(method: &str, path: &str) -> (bool, &'static str) {
    let is_step_of_platform = ["/process", "/complete", "/fail"].iter().any(|step| path.ends_with(step))
        && path.contains("withdrawals");
    let of_platform = path == "/api/merchants"
        || path.starts_with("/api/admin/")
        || is_step_of_platform
        || method == "PATCH";
    let role = match method {
        _ if path.starts_with("/api/admin/") || is_step_of_platform => "operate",
        "GET" => "read",
        _ => "write",
    };
    (of_platform, role)
}

struct Operation {
    method: String,
    template: String,
}

impl Operation {
    fn all(document: &Value) -> Vec<Self> {
        let paths = document["paths"].as_object().unwrap();
        let items = paths.iter().filter(|(path, _)| path.starts_with("/api"));
        let operations = items.flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(|method| Self { method: method.to_uppercase(), template: path.clone() })
        });
        operations.collect()
    }

    fn path(&self, merchant: &str) -> String {
        let path = self.template.replace("{merchantId}", merchant).replace("{currency}", "USD");
        let mut parts = Vec::new();
        for segment in path.split('/') {
            let is_id = segment.starts_with('{');
            parts.push(if is_id { Uuid::new_v4().to_string() } else { segment.to_owned() });
        }
        parts.join("/")
    }
}

/// Asks from an address of its own each time, so that failures do not add up.
struct Asker<'a> {
    server: &'a Server,
    addresses: u16,
}

impl Asker<'_> {
    fn next(&mut self) -> Ipv4Addr {
        self.addresses += 1;
        wire::address(self.addresses)
    }

    fn ask(&mut self, operation: &Operation, merchant: &str, key: Option<&str>) -> Answer {
        let authorization = key.map(|key| format!("Bearer {key}"));
        let headers: Vec<(&str, &str)> =
            authorization.iter().map(|value| ("Authorization", value.as_str())).collect();
        let (path, from) = (operation.path(merchant), self.next());
        wire::send_from(from, self.server.address(), &operation.method, &path, &headers).unwrap()
    }

    #[track_caller]
    fn refused(
        &mut self,
        operation: &Operation,
        merchant: &str,
        key: Option<&str>,
        as_what: (u16, &str, &str),
    ) {
        let answer = self.ask(operation, merchant, key);
        let (status, code, challenge) = as_what;
        let place = format!("{} {}", operation.method, operation.template);
        assert_eq!((answer.status, answer.problem().as_str()), (status, code), "{place}: {}", answer.text);
        let told = answer.header("www-authenticate").unwrap_or_default();
        assert!(told.starts_with("Bearer realm=") && told.contains(challenge), "{place}: {told}");
        // Without a key there is no error to tell (RFC 6750 §3.1).
        assert_eq!(told.contains("error="), key.is_some(), "{place}: {told}");
    }
}

const NO_KEY: (u16, &str, &str) = (401, "unauthenticated", "");
const BAD_KEY: (u16, &str, &str) = (401, "unauthenticated", "error=\"invalid_token\"");
const DENIED: (u16, &str, &str) = (403, "access_denied", "error=\"insufficient_scope\"");

/// Design, invariant 7; failure mode 90.
fn no_operation_answers_without_the_right_key(kind: Kind) {
    let server = start(kind, &[]);
    let admin = Key::platform(&server, "admin");
    let (own, other) = (admin.merchant(&server), admin.merchant(&server));
    let roles = ["read", "write", "operate", "admin"];
    let platform: Vec<Key> = roles.iter().map(|role| Key::platform(&server, role)).collect();
    let merchants: Vec<Key> = roles.iter().map(|role| Key::new(&server, Some(&own), role, &[])).collect();
    let of_other = Key::new(&server, Some(&other), "admin", &[]);
    let [expired, revoked, deleted] = [(); 3].map(|()| Key::platform(&server, "admin"));
    server.alter(&format!("update api_keys set expires_at = 1 where {}", is_row_of(&expired)));
    server.alter(&format!("delete from api_keys where {}", is_row_of(&deleted)));
    assert_eq!(server.run(&["keys", "revoke", &revoked.id, "--why", "a test"]).code, Some(0));

    let document = server.get("/openapi.json").expect(200).json;
    let operations = Operation::all(&document);
    assert!(operations.len() >= 25, "{}", operations.len());
    let mut asker = Asker { server: &server, addresses: 0 };
    for operation in &operations {
        let (of_platform, role) = expected(&operation.method, &operation.template);
        asker.refused(operation, &own, None, NO_KEY);
        for key in [FORGED, &expired.secret, &revoked.secret, &deleted.secret, &swapped(&admin.secret)] {
            asker.refused(operation, &own, Some(key), BAD_KEY);
        }
        // Whether there is such a merchant is not to be told from the answer.
        asker.refused(operation, &own, Some(&of_other.secret), DENIED);
        asker.refused(operation, &Uuid::new_v4().to_string(), Some(&of_other.secret), DENIED);
        for ((has, merchant), platform) in roles.iter().zip(&merchants).zip(&platform) {
            let suffices = rank(has) >= rank(role);
            if suffices && !of_platform {
                let_in(&mut asker, operation, &own, merchant);
            } else {
                asker.refused(operation, &own, Some(&merchant.secret), DENIED);
            }
            if suffices {
                let_in(&mut asker, operation, &own, platform);
            } else {
                asker.refused(operation, &own, Some(&platform.secret), DENIED);
            }
        }
        let described = &document["paths"][&operation.template][operation.method.to_lowercase()];
        let role = if of_platform { format!("platform:{role}") } else { role.to_owned() };
        assert_eq!(described["security"], json!([{"apiKey": [role]}]), "{}", operation.template);
        for status in ["401", "403", "429"] {
            assert!(described["responses"][status].is_object(), "{} {status}", operation.template);
        }
    }
    for public in ["/health", "/health/live", "/health/ready", "/openapi.json", "/docs/", "/docs/problems"] {
        server.get(public).expect(200);
    }
}

fn let_in(asker: &mut Asker<'_>, operation: &Operation, merchant: &str, key: &Key) {
    let answer = asker.ask(operation, merchant, Some(&key.secret));
    let is_in = ![401, 403, 405, 429].contains(&answer.status) && answer.status < 500;
    assert!(is_in, "{} {}: {} {}", operation.method, operation.template, answer.status, answer.text);
}

fn rank(role: &str) -> usize {
    ["read", "write", "operate", "admin"].iter().position(|known| known == &role).unwrap()
}

/// As it would be mistyped: two neighbours changed places.
fn swapped(secret: &str) -> String {
    let mut bytes = secret.as_bytes().to_vec();
    let at = (10..bytes.len()).find(|at| bytes[*at] != bytes[*at - 1]).unwrap();
    bytes.swap(at, at - 1);
    String::from_utf8(bytes).unwrap()
}

/// The condition of a key's row, as both databases understand it.
fn is_row_of(key: &Key) -> String {
    format!("prefix = '{}' and last4 = '{}'", &key.secret[..12], &key.secret[key.secret.len() - 4..])
}

#[test]
fn no_operation_answers_without_the_right_key_on_sqlite() {
    no_operation_answers_without_the_right_key(Kind::Sqlite);
}

#[test]
fn no_operation_answers_without_the_right_key_on_postgres() {
    no_operation_answers_without_the_right_key(Kind::Postgres);
}

#[test]
fn a_revoked_key_stops_working_while_the_program_runs() {
    let server = start(Kind::Sqlite, &[]);
    let key = Key::platform(&server, "read");
    key.get(&server, "/api/merchants").expect(200);
    assert_eq!(server.run(&["keys", "revoke", &key.id, "--why", "lost"]).code, Some(0));
    // Another process revoked it: within seconds.
    let told = eventually("the end of a key", || {
        let answer = key.get(&server, "/api/merchants");
        (answer.status != 200).then_some(answer)
    });
    assert_eq!((told.status, told.problem().as_str()), (401, "unauthenticated"));
    assert!(told.text.contains("revoked"), "{}", told.text);
}

#[test]
fn a_key_is_sent_once_in_its_header_and_nowhere_else() {
    let server = start(Kind::Sqlite, &[]);
    let key = Key::platform(&server, "read");
    let good = key.header();
    let ask = |from: u16, path: &str, headers: &[(&str, &str)]| {
        wire::send_from(wire::address(from), server.address(), "GET", path, headers).unwrap()
    };
    let twice = ask(1, "/api/merchants", &[("Authorization", &good), ("Authorization", &good)]);
    assert_eq!((twice.status, twice.problem().as_str()), (400, "authorization_invalid"));
    assert!(twice.header("www-authenticate").unwrap().contains("error=\"invalid_request\""));
    for query in [format!("access_token={}", key.secret), format!("limit=1&key={}", key.secret)] {
        let answer = ask(2, &format!("/api/merchants?{query}"), &[("Authorization", &good)]);
        assert_eq!((answer.status, answer.problem().as_str()), (400, "authorization_invalid"));
        assert!(!answer.text.contains(&key.secret), "{}", answer.text);
    }
    for scheme in ["Basic dXNlcjpwYXNzd29yZA==", "Digest username=\"x\"", &key.secret] {
        let answer = ask(3, "/api/merchants", &[("Authorization", scheme)]);
        assert_eq!((answer.status, answer.problem().as_str()), (401, "unauthenticated"), "{scheme}");
    }
    assert_eq!(ask(4, "/api/merchants", &[("Authorization", &good.replace("Bearer", "bearer"))]).status, 200);
    let head = wire::send(server.address(), "HEAD", "/api/merchants", &[]).unwrap();
    assert_eq!(head.status, 401);
    let other = ask(5, "/api/merchants/%30/balances", &[("Authorization", &good)]);
    assert_eq!(other.status, 400, "{}", other.text);
    assert!(!server.log().contains(&key.secret));
}

/// Without a key whoever asks is the platform; a key that is presented counts.
#[test]
fn open_access_checks_keys_that_are_presented() {
    let server = Server::start(Kind::Sqlite);
    let (own, other) = (server.merchant(), server.merchant());
    let key = Key::new(&server, Some(&own), "read", &[]);
    let forged = [("Authorization", &*format!("Bearer {FORGED}"))];
    server.send("GET", "/api/merchants", &forged, &Content::Nothing).expect(401);
    key.get(&server, "/api/merchants").expect(403);
    key.get(&server, &format!("/api/merchants/{other}")).expect(403);
    key.get(&server, &format!("/api/merchants/{own}")).expect(200);
}

/// Failure modes 84 and 90: the same idempotency key of another caller is another key, and one that is repeated with
/// the key that followed upon the first is the same.
fn an_idempotency_key_belongs_to_whoever_sent_it(kind: Kind) {
    let server = start(kind, &[]);
    let admin = Key::platform(&server, "admin");
    let (own, other) = (admin.merchant(&server), admin.merchant(&server));
    let [first, second] = [(); 2].map(|()| Key::new(&server, Some(&own), "write", &[]));
    let stranger = Key::new(&server, Some(&other), "write", &[]);
    let body = json!({"amountInMinorUnits": 700, "currency": "USD"});
    let path = format!("/api/merchants/{own}/payments");
    let replayed = |answer: &Answer| answer.header("idempotent-replayed") == Some("true");

    let made = first.post(&server, &path, "order-1", &body).expect(201);
    assert!(!replayed(&made));
    let again = second.post(&server, &path, "order-1", &body).expect(201);
    assert!(replayed(&again) && again.text == made.text, "{}", again.text);
    stranger.post(&server, &path, "order-1", &body).expect(403);
    let of_stranger = stranger.post(&server, &format!("/api/merchants/{other}/payments"), "order-1", &body);
    assert!(!replayed(&of_stranger.expect(201)));
    let of_platform = admin.post(&server, &path, "order-1", &body).expect(201);
    assert!(!replayed(&of_platform) && of_platform.id() != made.id());
    assert_eq!(first.get(&server, &path).list().len(), 2);
}

#[test]
fn an_idempotency_key_belongs_to_whoever_sent_it_on_sqlite() {
    an_idempotency_key_belongs_to_whoever_sent_it(Kind::Sqlite);
}

#[test]
fn an_idempotency_key_belongs_to_whoever_sent_it_on_postgres() {
    an_idempotency_key_belongs_to_whoever_sent_it(Kind::Postgres);
}

/// What the platform began while access was open, it can repeat when keys are required.
#[test]
fn a_repetition_is_known_after_keys_became_required() {
    let mut server = Server::start(Kind::Sqlite);
    let path = format!("/api/merchants/{}/payments", server.merchant());
    let body = json!({"amountInMinorUnits": 700, "currency": "USD"});
    let made = server.post_with_key(&path, "order-1", &body).expect(201);
    server.set(REQUIRED.0, REQUIRED.1);
    server.restart();
    let again = Key::platform(&server, "write").post(&server, &path, "order-1", &body).expect(201);
    assert_eq!(again.header("idempotent-replayed"), Some("true"));
    assert_eq!(again.text, made.text);
}

#[test]
fn a_key_keeps_to_its_rate_and_is_told_of_it() {
    let server = start(Kind::Sqlite, &[("Security__RequestsPerSecondMax", "400")]);
    let slow = Key::new(&server, None, "read", &["--requests-per-second", "2"]);
    let usual = Key::platform(&server, "read");
    let first = slow.get(&server, "/api/merchants").expect(200);
    assert_eq!(first.header("ratelimit-policy"), Some("\"key\";q=2;w=1"));
    assert!(first.header("ratelimit").is_some_and(|left| left.starts_with("\"key\";r=1;t=")));
    let limited =
        (0..REQUESTS_MAX).map(|_| slow.get(&server, "/api/merchants")).find(|answer| answer.status != 200);
    let limited = limited.unwrap();
    assert_eq!((limited.status, limited.problem().as_str()), (429, "rate_limited"));
    assert_eq!(limited.header("retry-after"), Some("1"));
    assert_eq!(limited.header("ratelimit"), Some("\"key\";r=0;t=1"));
    let other = usual.get(&server, "/api/merchants").expect(200);
    assert_eq!(other.header("ratelimit-policy"), Some("\"key\";q=400;w=1"));
    eventually("a second's patience", || (slow.get(&server, "/api/merchants").status == 200).then_some(()));
}

/// Brute force is slowed by the address that it comes from, and locks out nobody else.
#[test]
fn an_address_that_guesses_keys_is_slowed_and_good_keys_are_not() {
    let server = start(Kind::Sqlite, &[]);
    let key = Key::platform(&server, "read");
    let ask = |from: u16, key: &str| {
        let headers = [("Authorization", &*format!("Bearer {key}")), ("X-Forwarded-For", "198.51.100.7")];
        wire::send_from(wire::address(from), server.address(), "GET", "/api/merchants", &headers).unwrap()
    };
    let slowed = (0..REQUESTS_MAX).map(|_| ask(1, FORGED)).find(|answer| answer.status != 401).unwrap();
    assert_eq!((slowed.status, slowed.problem().as_str()), (429, "rate_limited"));
    assert!(slowed.header("retry-after").is_some_and(|seconds| seconds.parse::<u64>().unwrap() >= 1));
    assert_eq!(ask(1, &key.secret).status, 200, "a good key from the same address");
    assert_eq!(ask(2, FORGED).status, 401, "another address, whatever a header says");
}
