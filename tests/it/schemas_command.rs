//! `fintech schemas`: what it shows, and that a change that would break somebody is told before it is registered.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::Path,
    sync::mpsc,
};

use serde_json::{Value, json};

use crate::support::{
    backend::{Folder, Kind},
    client::Content,
    program::{self, Ended},
    server::Server,
};

const CREATED: &str = "payment-events-com.fintechplatform.PaymentCreated";

/// What somebody does to what was released.
type Change = fn(&mut Value);

fn released() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/released.json");
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

/// Compares the program's schemas with a file of released ones.
fn check(released: &Value) -> Ended {
    let folder = Folder::new();
    let file = folder.path().join("released.json");
    fs::write(&file, released.to_string()).unwrap();
    schemas(folder.path(), &["check", "--file", file.to_str().unwrap()])
}

fn schemas(folder: &Path, arguments: &[&str]) -> Ended {
    let arguments: Vec<&str> = ["schemas"].into_iter().chain(arguments.iter().copied()).collect();
    program::run(folder, &arguments, &[])
}

/// The field of a released version.
fn field<'a>(released: &'a mut Value, version: usize, name: &str) -> &'a mut Value {
    let fields = released[CREATED][version - 1]["fields"].as_array_mut().unwrap();
    fields.iter_mut().find(|field| field["name"] == name).unwrap()
}

/// What is in the sources may be registered beside what was released.
#[test]
fn what_was_released_is_as_it_was() {
    let Ended { code, stdout, stderr } = check(&released());
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("13 are registered, 0 are new, 0 may not be registered."), "{stdout}");
}

/// Whoever changes a schema is told what is incompatible, where, and how to do it instead, and the check fails. Failure
/// mode 76.
#[test]
fn an_incompatible_change_is_told_with_how_to_do_it_instead() {
    let amount: Change = |released| field(released, 2, "amountInMinorUnits")["type"] = json!("string");
    let removed: Change = |released| {
        let more = json!({"name": "channel", "type": "string"});
        released[CREATED][1]["fields"].as_array_mut().unwrap().push(more);
    };
    let required: Change = |released| {
        released[CREATED][1]["fields"].as_array_mut().unwrap().retain(|field| field["name"] != "currency");
    };
    let renamed: Change = |released| field(released, 2, "currency")["name"] = json!("currencyCode");
    let changes: [(Change, &[&str]); 4] = [
        (amount, &["TYPE_MISMATCH at /fields/5/type", "long", "string"]),
        (removed, &["READER_FIELD_MISSING_DEFAULT_VALUE", "channel", "default"]),
        (required, &["READER_FIELD_MISSING_DEFAULT_VALUE at /fields/6", "currency", "default"]),
        (renamed, &["currencyCode", "Version 2 cannot read the new schema", "default"]),
    ];
    for (change, expected) in changes {
        let mut released = released();
        change(&mut released);
        let Ended { code, stdout, stderr } = check(&released);
        assert_eq!(code, Some(1), "{stdout}{stderr}");
        assert!(stdout.contains("PaymentCreated.v2 may not be registered:"), "{stdout}");
        for part in expected {
            assert!(stdout.contains(part), "{part}: {stdout}");
        }
        assert!(stdout.contains("make the change as PaymentCreated.v3"), "{stdout}");
    }
}

#[test]
fn a_released_version_may_not_change_or_go() {
    let mut changed = released();
    field(&mut changed, 1, "description")["doc"] = json!("Another text.");
    let Ended { code, stdout, .. } = check(&changed);
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.contains("PaymentCreated.v1 was released, and events were written by it"), "{stdout}");
    let mut gone = released();
    let third = gone[CREATED][1].clone();
    gone[CREATED].as_array_mut().unwrap().push(third);
    let Ended { code, stdout, .. } = check(&gone);
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.contains(&format!("Version 3 of {CREATED} was released and is gone")), "{stdout}");
    let folder = Folder::new();
    let file = folder.path().join("released.json");
    fs::write(&file, "{").unwrap();
    let Ended { code, stderr, .. } = schemas(folder.path(), &["check", "--file", file.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("cannot be read"), "{stderr}");
}

#[test]
fn registering_into_a_file_writes_what_is_released() {
    let folder = Folder::new();
    let file = folder.path().join("new.json");
    let ended = schemas(folder.path(), &["register", "--file", file.to_str().unwrap()]);
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
    let written: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    assert_eq!(written, released());
}

#[test]
fn a_version_is_shown_and_compared() {
    let folder = Folder::new();
    let shown = schemas(folder.path(), &["show", "PaymentCreated.v1"]);
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/payment-events/PaymentCreated.v1.avsc");
    assert_eq!(shown.stdout.trim_end(), fs::read_to_string(file).unwrap().trim_end());
    let json = schemas(folder.path(), &["show", "PaymentCreated", "--json"]).stdout;
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["$id"], "urn:fintechplatform:event:PaymentCreated:v2");
    let diff = schemas(folder.path(), &["diff", "PaymentCreated.v1", "PaymentCreated.v2"]).stdout;
    let lines: Vec<&str> = diff.lines().collect();
    assert_eq!(lines.len(), 3, "{diff}");
    assert!(lines[0].starts_with("+ bulkId "), "{diff}");
    assert_eq!(lines[1..], ["Readers of v2 can read v1.", "Readers of v1 can read v2."]);
    for (arguments, expected) in [
        (&["show", "PaymentInvented"][..], "there is no event PaymentInvented; there are MerchantCreated.v1"),
        (&["show", "PaymentCreated.v9"], "there is no event PaymentCreated.v9"),
        (&["diff", "PaymentCreated.v1", "MerchantCreated.v1"], "two events"),
    ] {
        let Ended { code, stderr, .. } = schemas(folder.path(), arguments);
        assert_eq!(code, Some(2), "{stderr}");
        assert!(stderr.contains(expected), "{stderr}");
    }
}

/// In a registry in which somebody has registered another schema under a name of ours, nothing is registered.
#[test]
fn nothing_is_registered_where_something_may_not_be() {
    let other = Server::start_with(Kind::Sqlite, &[("Kafka__Prefix", "theirs.")]);
    let registry = other.registry();
    let text = json!({"type": "record", "name": "PaymentCreated", "namespace": "com.fintechplatform",
        "fields": [{"name": "id", "type": "string"}]});
    let subject = format!("ours.{CREATED}");
    let level = Content::Json(&json!({"compatibility": "FULL_TRANSITIVE"}));
    registry.send("PUT", &format!("/config/{subject}"), &[], &level).expect(200);
    let path = format!("/subjects/{subject}/versions");
    registry.post(&path, &json!({"schema": text.to_string()})).expect(200);
    let before = registry.get("/subjects").expect(200).json;
    let url = other.registry_url();
    let variables = [
        ("Schemas__RegistryUrl", url.as_str()),
        ("Kafka__BootstrapServers", "127.0.0.1:1"),
        ("Kafka__Prefix", "ours."),
    ];
    let folder = Folder::new();
    for (command, code) in [("check", 1), ("register", 2)] {
        let ended = program::run(folder.path(), &["schemas", command], &variables);
        assert_eq!(ended.code, Some(code), "{}{}", ended.stdout, ended.stderr);
        let told = format!("{}{}", ended.stdout, ended.stderr);
        assert!(told.contains("PaymentCreated.v1 may not be registered"), "{told}");
        assert!(told.contains("/fields/"), "the registry's reasons: {told}");
    }
    assert_eq!(registry.get("/subjects").expect(200).json, before);
}

/// Settings of a registry that cannot be meant stop the start with a sentence, and hold no secret.
#[test]
fn settings_of_a_registry_are_checked() {
    let folder = Folder::new();
    for (variables, expected) in [
        (&[("Schemas__RegistryUrl", "registry:8081")][..], "must begin with http:// or https://"),
        (&[("Schemas__RegistryUrl", "http://u:hunter2@h/")], "must not hold a user or a password"),
        (&[("Schemas__RegistryUrl", "http://h/"), ("Schemas__RegistryUser", "u")], "must both be set"),
        (
            &[
                ("Schemas__RegistryUrl", "http://h/"),
                ("Schemas__RegistryUser", "u"),
                ("Schemas__RegistryToken", "hunter2"),
            ],
            "use one or the other",
        ),
        (&[("Schemas__RegistryToken", "hunter2")], "Schemas:RegistryUrl is not set"),
        (&[("Schemas__Format", "protobuf")], "it must be one of json, avro"),
        (&[("Server__RegistryAddress", "0.0.0.0:8081")], "use a loopback address"),
    ] {
        let told = program::refusal(folder.path(), &["serve"], variables);
        assert!(told.contains(expected), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}

/// A registry of somebody else, which asks who it is, or says nothing at all. Gives its address, and what it was sent.
fn registry_of_others(answer: Option<&'static str>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/registry", listener.local_addr().unwrap());
    let (tell, told) = mpsc::channel();
    // Ends with the tests.
    std::thread::spawn(move || {
        let mut silent = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = String::new();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            while reader.read_line(&mut head).unwrap_or(0) > 2 {}
            let _ = tell.send(head);
            match answer {
                Some(answer) => drop(stream.write_all(answer.as_bytes())),
                None => silent.push(stream),
            }
        }
    });
    (url, told)
}

const UNAUTHORIZED: &str = "HTTP/1.1 401 Unauthorized\r\ncontent-length: 48\r\nconnection: close\r\n\r\n\
     {\"error_code\":40101,\"message\":\"who goes there?\"}";

#[test]
fn a_registry_is_told_who_asks() {
    let folder = Folder::new();
    for (variables, expected) in [
        (
            &[("Schemas__RegistryUser", "u"), ("Schemas__RegistryPassword", "hunter2")][..],
            "Basic dTpodW50ZXIy",
        ),
        (&[("Schemas__RegistryToken", "hunter2")], "Bearer hunter2"),
    ] {
        let (url, sent) = registry_of_others(Some(UNAUTHORIZED));
        let variables: Vec<_> =
            variables.iter().copied().chain([("Schemas__RegistryUrl", url.as_str())]).collect();
        let Ended { code, stdout, stderr } = program::run(folder.path(), &["schemas", "check"], &variables);
        assert_eq!(code, Some(2), "{stdout}{stderr}");
        assert!(stderr.contains("the registry answered 40101 (who goes there?)"), "{stderr}");
        assert!(!stderr.contains("hunter2"), "{stderr}");
        let head = sent.recv().unwrap();
        assert!(
            head.starts_with(
                "POST /registry/subjects/merchant-events-com.fintechplatform.MerchantCreated?deleted=true HTTP/1.1"
            ),
            "{head}"
        );
        assert!(head.to_lowercase().contains(&format!("authorization: {expected}").to_lowercase()), "{head}");
    }
}

/// Failure mode 78: a registry that takes connections and answers nothing does not hold anybody for ever.
#[test]
fn a_registry_that_says_nothing_is_given_up() {
    let folder = Folder::new();
    let (url, _sent) = registry_of_others(None);
    let variables = [("Schemas__RegistryUrl", url.as_str())];
    let Ended { code, stderr, .. } = program::run(folder.path(), &["schemas", "check"], &variables);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("the registry does not answer") && stderr.contains("timed out"), "{stderr}");
}
