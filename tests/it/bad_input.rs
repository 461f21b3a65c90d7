//! Whatever is sent, the answer is one that a person can act on, and nothing is written.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpStream,
};

use serde_json::{Value, json};

use crate::support::{
    PATIENCE,
    backend::Kind,
    client::{Answer, Content},
    fixtures::new_withdrawal,
    on_both_backends,
    server::Server,
};

on_both_backends!(
    every_field_of_every_request_is_checked,
    a_body_that_is_not_json_is_refused,
    all_wrong_fields_are_named_at_once,
    a_bulk_request_is_all_or_nothing,
    a_path_that_names_nothing_is_refused,
    another_merchants_things_do_not_exist,
    amounts_are_exact_up_to_their_limit,
);

/// A request that would be accepted, with the fields to spoil.
struct Request {
    path: String,
    body: Value,
    fields: Vec<Field>,
}

struct Field {
    name: &'static str,
    is_required: bool,
    bad: Vec<Value>,
}

fn text(name: &'static str, is_required: bool, chars_max: usize, more: &[&str]) -> Field {
    let mut bad = vec![json!(5), json!(true), json!([]), json!({}), json!("a\u{0}b"), json!("a\u{7}b")];
    bad.push(json!("x".repeat(chars_max + 1)));
    bad.extend(more.iter().map(|text| json!(text)));
    Field { name, is_required, bad }
}

fn amount(name: &'static str, is_required: bool) -> Field {
    let numbers = [
        "0",
        "-1",
        "1.5",
        "100.0",
        "1e2",
        "9007199254740992",
        "9007199254740993",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775809",
        "1e400",
        "123456789012345678901234567890",
    ];
    let mut bad: Vec<Value> = vec![json!("100"), json!(true), json!([]), json!({}), json!("")];
    bad.extend(numbers.iter().filter_map(|number| serde_json::from_str(number).ok()));
    Field { name, is_required, bad }
}

fn currency() -> Field {
    text("currency", true, 3, &["", "US", "USDT", "ABC", "XAU", "XXX", "XDR", "U$D", "840", " USD"])
}

fn requests(merchant: &str, payment: &str, withdrawal: &str) -> Vec<Request> {
    let at = |path: &str| format!("/api/merchants/{merchant}{path}");
    let new_payment = || json!({"amountInMinorUnits": 100, "currency": "USD"});
    let name = |is_required| text("name", is_required, 255, &["", "   "]);
    let in_use = json!({"name": "New", "email": "new@example.com"});
    let emails = ["", "no-at-sign", "@example.com", "a@", "a b@example.com", "a@b@c"];
    let payment_fields = || {
        vec![
            amount("amountInMinorUnits", true),
            currency(),
            text("externalReference", false, 255, &[]),
            text("description", false, 1000, &[]),
        ]
    };
    let banks = ["", "1234", "12345;67", "１２３４５６７"];
    vec![
        Request {
            path: "/api/merchants".to_owned(),
            body: in_use,
            fields: vec![name(true), text("email", true, 255, &emails)],
        },
        Request { path: at("/payments"), body: new_payment(), fields: payment_fields() },
        Request {
            path: format!("{payment}/refund"),
            body: json!({"refundAmountInMinorUnits": 1, "reason": "torn"}),
            fields: vec![amount("refundAmountInMinorUnits", false), text("reason", false, 500, &[])],
        },
        Request {
            path: at("/withdrawals"),
            body: new_withdrawal(100),
            fields: vec![
                amount("amountInMinorUnits", true),
                currency(),
                text("bankAccountNumber", true, 34, &banks),
                text("bankRoutingNumber", true, 34, &banks),
            ],
        },
        Request {
            path: format!("{withdrawal}/fail"),
            body: json!({"reason": "account closed"}),
            fields: vec![text("reason", true, 500, &[""])],
        },
        Request {
            path: format!("{withdrawal}/complete"),
            body: json!({"externalTransactionId": "wire-17"}),
            fields: vec![text("externalTransactionId", false, 255, &[])],
        },
    ]
}

/// All that a caller can see of a merchant, and of all merchants.
fn seen(server: &Server, merchant: &str) -> Vec<String> {
    let paths = [
        "/api/merchants".to_owned(),
        format!("/api/merchants/{merchant}/payments"),
        format!("/api/merchants/{merchant}/withdrawals"),
        format!("/api/merchants/{merchant}/balances"),
        format!("/api/admin/ledger-history/{merchant}"),
    ];
    paths.iter().map(|path| server.get(path).expect(200).text).collect()
}

/// A merchant with money, a completed payment, and a withdrawal that is being processed.
fn merchant_at_work(server: &Server) -> (String, String, String) {
    let merchant = server.merchant();
    let payment = server.completed_payment(&merchant, 1_000_000);
    let withdrawal = server.withdrawal(&merchant, 1000);
    server.post_empty(&format!("{withdrawal}/process")).expect(200);
    (merchant, payment, withdrawal)
}

#[track_caller]
fn assert_refused(answer: &Answer, context: &str) {
    assert!((400..500).contains(&answer.status), "{context}: {} {}", answer.status, answer.text);
    answer.problem();
}

/// Failure mode 95, and everything else that a field can be.
fn every_field_of_every_request_is_checked(server: &mut Server) {
    let (merchant, payment, withdrawal) = merchant_at_work(server);
    let before = seen(server, &merchant);
    for Request { path, body, fields } in requests(&merchant, &payment, &withdrawal) {
        let post = |method: &str, body: &Value, context: &str| {
            let answer = server.send(method, &path, &[], &Content::Json(body));
            assert_refused(&answer, &format!("{path}: {context}"));
            answer
        };
        for Field { name, is_required, bad } in &fields {
            let pointer = format!("/{name}");
            for value in bad {
                let mut spoiled = body.clone();
                spoiled[name] = value.clone();
                let answer = post("POST", &spoiled, &format!("{name} is {value}"));
                assert!(
                    answer.wrong_fields().contains(&pointer),
                    "{path} {name} is {value}: {}",
                    answer.text
                );
            }
            if *is_required {
                let mut without = body.clone();
                without.as_object_mut().unwrap().remove(*name);
                let answer = post("POST", &without, &format!("without {name}"));
                assert!(answer.wrong_fields().contains(&pointer), "{path} without {name}: {}", answer.text);
                let mut null = body.clone();
                null[name] = Value::Null;
                post("POST", &null, &format!("{name} is null"));
            }
        }
        let mut unknown = body.clone();
        unknown["surprise"] = json!(1);
        let answer = post("POST", &unknown, "an unknown field");
        assert!(answer.text.contains("surprise"), "{}", answer.text);
        for whole in [json!([]), json!("text"), json!(5), json!([body])] {
            post("POST", &whole, "not an object");
        }
    }
    assert_eq!(seen(server, &merchant), before);
}

fn a_body_that_is_not_json_is_refused(server: &mut Server) {
    let (merchant, _, _) = merchant_at_work(server);
    let before = seen(server, &merchant);
    let path = format!("/api/merchants/{merchant}/payments");
    let send = |content_type: &str, body: &[u8]| {
        server.send("POST", &path, &[], &Content::Bytes(content_type, body))
    };
    let good = r#"{"amountInMinorUnits": 100, "currency": "USD"}"#;
    for broken in [
        "",
        "{",
        "}",
        "nonsense",
        "{\"amountInMinorUnits\": 100,}",
        "{'a': 1}",
        "{\"amountInMinorUnits\": 1e400, \"currency\": \"USD\"}",
        "{\"amountInMinorUnits\": 0100, \"currency\": \"USD\"}",
        "{\"amountInMinorUnits\": NaN, \"currency\": \"USD\"}",
        "{\"amountInMinorUnits\": 1, \"amountInMinorUnits\": 100, \"currency\": \"USD\"}",
        &format!("{good}{good}"),
        &"[".repeat(10_000),
    ] {
        let beginning: String = broken.chars().take(60).collect();
        let answer = send("application/json", broken.as_bytes());
        assert_eq!(answer.status, 400, "{beginning}: {}", answer.text);
        answer.problem();
    }
    assert_refused(&send("application/json", b"{\"currency\": \"\xff\xfe\"}"), "not UTF-8");
    for content_type in
        ["text/plain", "application/x-www-form-urlencoded", "application/xml", "multipart/form-data"]
    {
        send(content_type, good.as_bytes()).expect(415).problem();
    }
    let huge = format!(
        r#"{{"amountInMinorUnits": 100, "currency": "USD", "description": "{}"}}"#,
        "x".repeat(1 << 20)
    );
    send("application/json", huge.as_bytes()).expect(413).problem();
    server.send("PUT", &path, &[], &Content::Nothing).expect(405).problem();
    assert_eq!(seen(server, &merchant), before);
    send("application/json; charset=utf-8", good.as_bytes()).expect(201);
}

fn all_wrong_fields_are_named_at_once(server: &mut Server) {
    let merchant = server.merchant();
    let path = format!("/api/merchants/{merchant}/payments");
    let body = json!({"amountInMinorUnits": -1, "currency": "ABC", "externalReference": "x".repeat(256)});
    let mut fields = server.post(&path, &body).expect(400).wrong_fields();
    fields.sort();
    assert_eq!(fields, ["/amountInMinorUnits", "/currency", "/externalReference"]);
}

fn a_bulk_request_is_all_or_nothing(server: &mut Server) {
    let (merchant, _, _) = merchant_at_work(server);
    let before = seen(server, &merchant);
    let path = format!("/api/merchants/{merchant}/payments/bulk");
    let good = json!({"amountInMinorUnits": 100, "currency": "USD"});
    let mut spoiled = vec![good.clone(); 3];
    spoiled[1]["amountInMinorUnits"] = json!(0);
    let answer = server.post(&path, &json!({"payments": spoiled}));
    assert_refused(&answer, "one of three is wrong");
    assert_eq!(answer.wrong_fields(), ["/payments/1/amountInMinorUnits"]);
    for (payments, context) in [
        (json!([]), "none"),
        (json!(vec![good.clone(); 1001]), "too many"),
        (Value::Null, "null"),
        (json!(good), "an object"),
        (json!([1]), "a number"),
    ] {
        assert_refused(&server.post(&path, &json!({"payments": payments})), context);
    }
    assert_refused(&server.post(&path, &json!([good])), "a bare array");
    assert_eq!(seen(server, &merchant), before);
    let created = server.post(&path, &json!({"payments": vec![good; 1000]})).expect(201);
    assert_eq!(created.list().len(), 1000);
}

fn a_path_that_names_nothing_is_refused(server: &mut Server) {
    let (merchant, payment, _) = merchant_at_work(server);
    let before = seen(server, &merchant);
    let absent = uuid::Uuid::new_v4();
    let new_payment = json!({"amountInMinorUnits": 100, "currency": "USD"});
    for id in ["not-a-uuid", "1", "..", &absent.simple().to_string(), "%00", &absent.to_string()] {
        for path in [
            format!("/api/merchants/{id}"),
            format!("/api/merchants/{id}/payments"),
            format!("/api/merchants/{id}/balances"),
            format!("/api/merchants/{id}/withdrawals"),
            format!("/api/merchants/{merchant}/payments/{id}"),
            format!("/api/merchants/{merchant}/withdrawals/{id}"),
            format!("/api/admin/verify-balance/{id}?currency=USD"),
        ] {
            assert_refused(&server.get(&path), &path);
        }
        for path in [
            format!("/api/merchants/{merchant}/payments/{id}/complete"),
            format!("/api/merchants/{merchant}/payments/{id}/refund"),
            format!("/api/merchants/{merchant}/withdrawals/{id}/cancel"),
        ] {
            assert_refused(&server.post_empty(&path), &path);
        }
        assert_refused(&server.post(&format!("/api/merchants/{id}/payments"), &new_payment), id);
    }
    for path in ["/", "/api", "/api/merchant", "/api/merchants/", &format!("{payment}/nonsense")] {
        server.get(path).expect(404).problem();
    }
    for code in ["XAU", "usdollar", "%F0%9F%92%B6"] {
        assert_refused(&server.get(&format!("/api/merchants/{merchant}/balances/{code}")), code);
    }
    assert_eq!(seen(server, &merchant), before);
}

/// The first platform completed another merchant's payment; ours says that it does not exist.
fn another_merchants_things_do_not_exist(server: &mut Server) {
    let (merchant, payment, withdrawal) = merchant_at_work(server);
    let before = seen(server, &merchant);
    let other = server.merchant();
    let foreign = |path: &str| path.replace(&merchant, &other);
    for path in [&payment, &withdrawal] {
        server.get(&foreign(path)).expect(404).problem();
    }
    for step in ["complete", "cancel", "refund"] {
        server.post_empty(&format!("{}/{step}", foreign(&payment))).expect(404).problem();
    }
    for step in ["process", "complete", "cancel"] {
        server.post_empty(&format!("{}/{step}", foreign(&withdrawal))).expect(404).problem();
    }
    let reason = json!({"reason": "no"});
    server.post(&format!("{}/fail", foreign(&withdrawal)), &reason).expect(404).problem();
    assert_eq!(seen(server, &merchant)[1..], before[1..]);
    assert_eq!(server.balance(&other), (0, 0));
}

/// Failure mode 95: 2^53 - 1 goes in and comes out to the last digit, and so does a balance beyond it.
fn amounts_are_exact_up_to_their_limit(server: &mut Server) {
    const LARGEST: i64 = (1 << 53) - 1;
    let merchant = server.merchant();
    for _ in 0..2 {
        let payment = server.completed_payment(&merchant, LARGEST);
        let payment = server.get(&payment).expect(200);
        assert_eq!(payment.integer("amountInMinorUnits"), LARGEST);
        assert!(payment.text.contains("\"amountInMajorUnits\":90071992547409.91"), "{}", payment.text);
    }
    assert_eq!(server.balance(&merchant), (2 * LARGEST, 0));
    server.verify_balance(&merchant);
}

/// What stands before the body of an answer to this beginning of a request.
fn head(server: &Server, request: &str) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.replace('\n', "\r\n").as_bytes()).unwrap();
    let lines = BufReader::new(stream).lines().map(Result::unwrap);
    lines.take_while(|line| !line.is_empty()).collect::<Vec<_>>().join("\n").to_lowercase()
}

/// What follows on the connection would be taken for the rest of the body, and whoever keeps connections is told so.
#[test]
fn an_answer_before_the_body_was_read_ends_the_connection() {
    let server = Server::start(Kind::Sqlite);
    let whole = "content-type: application/json\ncontent-length: 2\n\n{}";
    let begun = "content-type: application/json\ncontent-length: 20\n\n{";
    for (request, status, is_closed) in [
        (format!("POST /api/nothing HTTP/1.1\nhost: x\n{begun}"), "404", true),
        (format!("POST /api/merchants HTTP/1.1\nhost: x\n{whole}"), "400", false),
        ("POST /api/nothing HTTP/1.1\nhost: x\n\n".to_owned(), "404", false),
        ("GET /api/merchants HTTP/1.1\nhost: x\n\n".to_owned(), "200", false),
    ] {
        let head = head(&server, &request);
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{request}: {head}");
        assert_eq!(head.contains("\nconnection: close"), is_closed, "{request}: {head}");
    }
}
