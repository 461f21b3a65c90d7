//! The built-in schema registry over HTTP: the shapes and codes of Confluent's, on both databases, and what may go wrong.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{
    backend::Kind,
    client::{Answer, Client, Content},
    on_both_backends,
    server::Server,
};

const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";
const SUBJECT: &str = "/subjects/visits-value";
const VERSIONS: &str = "/subjects/visits-value/versions";

on_both_backends!(
    a_schema_has_one_id_whatever_its_subject,
    versions_are_listed_looked_up_and_shown,
    an_incompatible_schema_is_refused_and_changes_nothing,
    compatibility_is_asked_for_before,
    each_level_is_obeyed,
    deleting_is_soft_first_and_an_id_lives_for_ever,
    what_is_no_schema_is_refused,
    what_is_no_request_is_told_in_the_same_form,
    a_registry_that_is_full_says_so,
    those_who_register_at_once_agree,
    what_was_answered_survives_a_kill,
    the_schemas_of_the_program_are_registered,
);

fn record(fields: &Value) -> String {
    json!({"type": "record", "name": "Visit", "namespace": "test", "fields": fields}).to_string()
}

/// By turns more.
fn first() -> String {
    record(&json!([{"name": "id", "type": "string"}]))
}

fn second() -> String {
    record(&json!([
        {"name": "id", "type": "string"},
        {"name": "note", "type": ["null", "string"], "default": null},
    ]))
}

fn with_required() -> String {
    record(&json!([{"name": "id", "type": "string"}, {"name": "amount", "type": "long"}]))
}

fn body(schema: &str) -> Value {
    json!({"schema": schema, "schemaType": "AVRO"})
}

#[track_caller]
fn register(registry: &Client, schema: &str) -> i64 {
    registry.post(VERSIONS, &body(schema)).expect(200).integer("id")
}

fn delete(registry: &Client, path: &str) -> Answer {
    registry.send("DELETE", path, &[], &Content::Nothing)
}

fn put(registry: &Client, path: &str, level: &str) -> Answer {
    registry.send("PUT", path, &[], &Content::Json(&json!({"compatibility": level})))
}

#[track_caller]
fn refused(answer: Answer, status: u16, code: i64) -> String {
    let answer = answer.expect(status);
    assert_eq!(answer.header("content-type"), Some(MEDIA_TYPE), "{}", answer.text);
    assert_eq!(answer.integer("error_code"), code, "{}", answer.text);
    answer.string("message")
}

fn a_schema_has_one_id_whatever_its_subject(server: &mut Server) {
    let registry = server.registry();
    let id = register(&registry, &first());
    assert_eq!(register(&registry, &first()), id, "again");
    let spaced = serde_json::to_string_pretty(&serde_json::from_str::<Value>(&first()).unwrap()).unwrap();
    assert_eq!(register(&registry, &spaced), id, "however it is laid out");
    let other = registry.post("/subjects/other-value/versions?normalize=False", &body(&first())).expect(200);
    assert_eq!(other.integer("id"), id);
    let shown = registry.get(&format!("/schemas/ids/{id}?subject=visits-value&fetchMaxId=false")).expect(200);
    assert_eq!(shown.header("content-type"), Some(MEDIA_TYPE));
    assert_eq!(serde_json::from_str::<Value>(&shown.string("schema")).unwrap(), json_of(&first()));
    let places = registry.get(&format!("/schemas/ids/{id}/versions")).expect(200);
    let expected = json!([
        {"subject": "other-value", "version": 1},
        {"subject": "visits-value", "version": 1},
    ]);
    assert_eq!(places.json, expected);
    refused(registry.get("/schemas/ids/999999"), 404, 40403);
    refused(registry.get("/schemas/ids/none"), 404, 40403);
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn versions_are_listed_looked_up_and_shown(server: &mut Server) {
    let registry = server.registry();
    refused(registry.get(VERSIONS), 404, 40401);
    refused(registry.post(SUBJECT, &body(&first())), 404, 40401);
    let ids = [register(&registry, &first()), register(&registry, &second())];
    assert_eq!(registry.get(VERSIONS).expect(200).json, json!([1, 2]));
    let found = registry.post(SUBJECT, &body(&second())).expect(200);
    assert_eq!((found.integer("version"), found.integer("id")), (2, ids[1]));
    assert_eq!(found.string("subject"), "visits-value");
    refused(registry.post(SUBJECT, &body(&with_required())), 404, 40403);
    for (version, number) in [("1", 1), ("2", 2), ("latest", 2), ("-1", 2)] {
        let shown = registry.get(&format!("{VERSIONS}/{version}")).expect(200);
        assert_eq!(shown.integer("version"), number);
        assert_eq!(shown.integer("id"), ids[usize::try_from(number - 1).unwrap()]);
    }
    assert_eq!(registry.get(&format!("{VERSIONS}/2/schema")).expect(200).json, json_of(&second()));
    refused(registry.get(&format!("{VERSIONS}/3")), 404, 40402);
    for wrong in ["0", "-2", "newest", "99999999999"] {
        refused(registry.get(&format!("{VERSIONS}/{wrong}")), 422, 42202);
        refused(delete(&registry, &format!("{VERSIONS}/{wrong}")), 422, 42202);
    }
    let subjects = registry.get("/subjects?subjectPrefix=visits").expect(200);
    assert_eq!(subjects.json, json!(["visits-value"]));
}

/// Failure mode 76.
fn an_incompatible_schema_is_refused_and_changes_nothing(server: &mut Server) {
    let registry = server.registry();
    register(&registry, &first());
    let message = refused(registry.post(VERSIONS, &body(&with_required())), 409, 409);
    assert!(message.contains("READER_FIELD_MISSING_DEFAULT_VALUE at /fields/1"), "{message}");
    assert!(message.contains("default"), "it says how to do it instead: {message}");
    assert_eq!(registry.get(VERSIONS).expect(200).json, json!([1]));
}

fn compatibility_is_asked_for_before(server: &mut Server) {
    let registry = server.registry();
    let asked = |version: &str, schema: &str| {
        registry.post(&format!("/compatibility{VERSIONS}{version}"), &body(schema))
    };
    assert_eq!(
        asked("/latest", &first()).expect(200).json,
        json!({"is_compatible": true}),
        "of an unknown subject"
    );
    refused(asked("/1", &first()), 404, 40402);
    register(&registry, &first());
    for version in ["/latest", "/1", ""] {
        assert_eq!(asked(version, &second()).expect(200).json, json!({"is_compatible": true}));
        assert_eq!(asked(version, &with_required()).expect(200).json, json!({"is_compatible": false}));
    }
    let told = asked("/latest?verbose=True", &with_required()).expect(200);
    assert!(told.json["messages"][0].as_str().unwrap().contains("/fields/1"), "{}", told.text);
    refused(asked("/2", &first()), 404, 40402);
    refused(asked("/latest", "{"), 422, 42201);
}

fn each_level_is_obeyed(server: &mut Server) {
    let registry = server.registry();
    assert_eq!(registry.get("/config").expect(200).json, json!({"compatibilityLevel": "BACKWARD"}));
    refused(registry.get("/config/visits-value"), 404, 40408);
    let global = registry.get("/config/visits-value?defaultToGlobal=true").expect(200);
    assert_eq!(global.string("compatibilityLevel"), "BACKWARD");
    refused(put(&registry, "/config", "SIDEWAYS"), 422, 42203);
    refused(registry.send("PUT", "/config", &[], &Content::Json(&json!({}))), 422, 42203);
    assert_eq!(
        put(&registry, "/config", "full_transitive").expect(200).string("compatibility"),
        "FULL_TRANSITIVE"
    );
    assert_eq!(delete(&registry, "/config").expect(200).string("compatibilityLevel"), "FULL_TRANSITIVE");
    assert_eq!(registry.get("/config").expect(200).string("compatibilityLevel"), "BACKWARD");
    register(&registry, &first());
    // A required field: who has the earlier schema reads it, who has the later one does not read what was.
    for (level, is_compatible) in [
        ("NONE", true),
        ("FORWARD", true),
        ("FORWARD_TRANSITIVE", true),
        ("BACKWARD", false),
        ("BACKWARD_TRANSITIVE", false),
        ("FULL", false),
        ("FULL_TRANSITIVE", false),
    ] {
        assert_eq!(
            put(&registry, "/config/visits-value", level).expect(200).json,
            json!({"compatibility": level})
        );
        assert_eq!(registry.get("/config/visits-value").expect(200).string("compatibilityLevel"), level);
        let path = format!("/compatibility{VERSIONS}/latest");
        let asked = registry.post(&path, &body(&with_required())).expect(200);
        assert_eq!(asked.json["is_compatible"], is_compatible, "{level}");
    }
    // Transitive or not: the field goes away and comes back with another type, each step compatible with the one before.
    assert_eq!(put(&registry, "/config/visits-value", "BACKWARD").status, 200);
    register(&registry, &second());
    let back = record(&json!([
        {"name": "id", "type": "string"},
        {"name": "note", "type": "long", "default": 0},
    ]));
    assert_eq!(delete(&registry, &format!("{VERSIONS}/1")).expect(200).json, json!(1));
    assert_eq!(delete(&registry, &format!("{VERSIONS}/1?permanent=true")).expect(200).json, json!(1));
    register(&registry, &first());
    assert_eq!(put(&registry, "/config/visits-value", "BACKWARD_TRANSITIVE").status, 200);
    let message = refused(registry.post(VERSIONS, &body(&back)), 409, 409);
    assert!(message.contains("version 2"), "it names the version: {message}");
    assert_eq!(put(&registry, "/config/visits-value", "BACKWARD").status, 200);
    register(&registry, &back);
    let deleted = delete(&registry, "/config/visits-value").expect(200);
    assert_eq!(deleted.string("compatibilityLevel"), "BACKWARD");
    refused(registry.get("/config/visits-value"), 404, 40408);
}

fn deleting_is_soft_first_and_an_id_lives_for_ever(server: &mut Server) {
    let registry = server.registry();
    refused(delete(&registry, SUBJECT), 404, 40401);
    let ids = [register(&registry, &first()), register(&registry, &second())];
    refused(delete(&registry, &format!("{VERSIONS}/2?permanent=true")), 404, 40407);
    refused(delete(&registry, &format!("{SUBJECT}?permanent=true")), 404, 40405);
    assert_eq!(delete(&registry, &format!("{VERSIONS}/2")).expect(200).json, json!(2));
    refused(delete(&registry, &format!("{VERSIONS}/2")), 404, 40406);
    assert_eq!(registry.get(VERSIONS).expect(200).json, json!([1]));
    assert_eq!(registry.get(&format!("{VERSIONS}?deleted=True")).expect(200).json, json!([1, 2]));
    refused(registry.get(&format!("{VERSIONS}/2")), 404, 40402);
    assert_eq!(delete(&registry, SUBJECT).expect(200).json, json!([1]));
    refused(registry.get(VERSIONS), 404, 40401);
    refused(delete(&registry, SUBJECT), 404, 40404);
    refused(registry.post(SUBJECT, &body(&first())), 404, 40401);
    refused(registry.get(&format!("{VERSIONS}/1")), 404, 40401);
    let found = registry.post(&format!("{SUBJECT}?deleted=true"), &body(&first())).expect(200);
    assert_eq!(found.integer("id"), ids[0]);
    let of_ours = |path: &str| registry.get(path).expect(200).list().contains(&json!("visits-value"));
    assert!(!of_ours("/subjects") && of_ours("/subjects?deleted=true"));
    assert_eq!(delete(&registry, &format!("{SUBJECT}?permanent=true")).expect(200).json, json!([1, 2]));
    assert!(!of_ours("/subjects?deleted=true"));
    // What was written with them is read for ever, and no other schema ever gets their ids.
    for (id, schema) in ids.iter().zip([first(), second()]) {
        let shown = registry.get(&format!("/schemas/ids/{id}")).expect(200);
        assert_eq!(json_of(&shown.string("schema")), json_of(&schema));
    }
    let new = register(&registry, &with_required());
    assert!(!ids.contains(&new));
    assert_eq!(registry.get(VERSIONS).expect(200).json, json!([1]));
}

/// Bad schemas are refused with Confluent's code; nothing is registered.
fn what_is_no_schema_is_refused(server: &mut Server) {
    let registry = server.registry();
    let long = "x".repeat(1024 * 1024);
    let deep = format!("{}\"int\"{}", r#"{"type":"array","items":"#.repeat(5000), "}".repeat(5000));
    let recursive = r#"{"type":"record","name":"A","fields":[{"name":"a","type":"B"}]}"#;
    let longer = record(&json!([{"name": "id", "type": "string", "doc": long}]));
    for (what, schema) in [
        ("empty", ""),
        ("no JSON", "{"),
        ("no type", r#"{"type":"record"}"#),
        ("an unknown type", r#"{"type":"record","name":"A","fields":[{"name":"a","type":"money"}]}"#),
        ("an unknown reference", recursive),
        (
            "a name twice",
            r#"{"type":"record","name":"A","fields":[{"name":"a","type":"int"},{"name":"a","type":"int"}]}"#,
        ),
        (
            "a wrong default",
            r#"{"type":"record","name":"A","fields":[{"name":"a","type":"int","default":"x"}]}"#,
        ),
        ("a name with a space", r#"{"type":"record","name":"A b","fields":[]}"#),
        ("5,000 levels", deep.as_str()),
        ("a megabyte", longer.as_str()),
    ] {
        let message = refused(registry.post(VERSIONS, &body(schema)), 422, 42201);
        assert!(message.len() < 2000, "{what}: {} characters", message.len());
    }
    let other = json!({"schema": "syntax = \"proto3\";", "schemaType": "PROTOBUF"});
    refused(registry.post(VERSIONS, &other), 422, 42201);
    let references = json!({"schema": first(), "references": [{"name": "a", "subject": "a", "version": 1}]});
    refused(registry.post(VERSIONS, &references), 422, 42201);
    refused(registry.get(VERSIONS), 404, 40401);
    // A record within itself is no error: a list is one.
    let list =
        r#"{"type":"record","name":"Node","fields":[{"name":"next","type":["null","Node"],"default":null}]}"#;
    registry.post("/subjects/list/versions", &body(list)).expect(200);
    let longer = r#"{"type":"record","name":"Node","fields":[{"name":"next","type":["null","Node"],"default":null},{"name":"v","type":"int","default":0}]}"#;
    registry.post("/subjects/list/versions", &body(longer)).expect(200);
}

fn what_is_no_request_is_told_in_the_same_form(server: &mut Server) {
    let registry = server.registry();
    refused(registry.get("/nowhere"), 404, 404);
    // Of a newer registry; its clients go on when it is not there.
    refused(registry.get("/associations/resources/visits"), 404, 404);
    refused(registry.send("PATCH", VERSIONS, &[], &Content::Nothing), 405, 405);
    refused(registry.post(&format!("/subjects/{}/versions", "s".repeat(600)), &body(&first())), 422, 42208);
    for path in [
        "/subjects/a%00b/versions",
        "/subjects/a%00b",
        "/config/a%0ab",
        "/compatibility/subjects/a%7f/versions",
    ] {
        refused(registry.post(path, &body(&first())), 422, 42208);
        refused(registry.get(path), 422, 42208);
    }
    refused(registry.send("POST", VERSIONS, &[], &Content::Bytes(MEDIA_TYPE, b"\xff{")), 422, 42201);
    let much = vec![b' '; 5 * 1024 * 1024];
    refused(registry.send("POST", VERSIONS, &[], &Content::Bytes(MEDIA_TYPE, &much)), 413, 413);
    // The connection is of no more use: the rest of the body was not read.
    let registry = server.registry();
    refused(registry.get(VERSIONS), 404, 40401);
    assert_eq!(registry.get("/schemas/types").expect(200).json, json!(["AVRO"]));
    assert_eq!(registry.get("/mode").expect(200).json, json!({"mode": "READWRITE"}));
}

/// An id is never used again, so they come to an end; what is registered goes on.
fn a_registry_that_is_full_says_so(server: &mut Server) {
    let id = register(&server.registry(), &first());
    server.alter("update schema_registry set last_schema_id = 20000");
    let registry = server.registry();
    let message = refused(registry.post(VERSIONS, &body(&second())), 422, 422);
    assert!(message.contains("20000 schemas"), "{message}");
    assert_eq!(register(&registry, &first()), id);
    assert_eq!(registry.get(VERSIONS).expect(200).json, json!([1]));
}

/// Of many at once each gets its id, and the same schema the same one, in versions without a gap.
fn those_who_register_at_once_agree(server: &mut Server) {
    let registry = server.registry();
    assert_eq!(put(&registry, "/config/visits-value", "NONE").status, 200);
    let schema = |number: usize| record(&json!([{"name": format!("f{}", number % 8), "type": "long"}]));
    let ids: Vec<(usize, i64)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..32)
            .map(|number| {
                let registry = registry.clone();
                scope.spawn(move || (number % 8, register(&registry, &schema(number))))
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let distinct: BTreeSet<(usize, i64)> = ids.iter().copied().collect();
    assert_eq!(distinct.len(), 8, "a schema has one id: {distinct:?}");
    assert_eq!(distinct.iter().map(|(_, id)| id).collect::<BTreeSet<_>>().len(), 8);
    assert_eq!(registry.get(VERSIONS).expect(200).json, json!([1, 2, 3, 4, 5, 6, 7, 8]));
}

fn what_was_answered_survives_a_kill(server: &mut Server) {
    let id = register(&server.registry(), &first());
    assert_eq!(put(&server.registry(), "/config", "FULL").status, 200);
    server.kill();
    server.restart();
    let registry = server.registry();
    assert_eq!(register(&registry, &first()), id);
    assert_eq!(registry.get("/config").expect(200).string("compatibilityLevel"), "FULL");
}

/// With the program come its schemas, under a level that keeps replays readable; what `fintech schemas` says of them is
/// what the registry says.
fn the_schemas_of_the_program_are_registered(server: &mut Server) {
    let registry = server.registry();
    let subject = "payment-events-com.fintechplatform.PaymentCreated";
    assert_eq!(registry.get(&format!("/subjects/{subject}/versions")).expect(200).json, json!([1, 2]));
    let level = registry.get(&format!("/config/{subject}")).expect(200);
    assert_eq!(level.string("compatibilityLevel"), "FULL_TRANSITIVE");
    let latest = registry.get(&format!("/subjects/{subject}/versions/latest")).expect(200);
    let shown = server.run(&["schemas", "show", "PaymentCreated"]).stdout;
    assert_eq!(json_of(&latest.string("schema")), json_of(&shown));
    let listed = server.run(&["schemas", "list"]).stdout;
    let line = listed.lines().find(|line| line.starts_with("PaymentCreated.v2 ")).unwrap();
    assert_eq!(line.split_whitespace().nth(1), Some(latest.integer("id").to_string().as_str()), "{listed}");
    let checked = server.run(&["schemas", "check"]);
    assert_eq!(checked.code, Some(0), "{}{}", checked.stdout, checked.stderr);
    let again = server.run(&["schemas", "register"]);
    assert_eq!(again.code, Some(0), "{}{}", again.stdout, again.stderr);
    assert!(!again.stdout.contains("is now registered"), "{}", again.stdout);
}

/// Where another registry is used, the built-in one is not served.
#[test]
fn a_process_without_the_role_serves_no_registry() {
    let server = Server::start_with(Kind::Sqlite, &[("Server__Roles", "api")]);
    assert!(!server.log().contains("Schema registry on"), "{}", server.log());
}
