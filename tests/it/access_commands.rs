//! Keys, operators and the audit log by the command line, beside the running program.

use std::{io::Write as _, process::Stdio};

use serde_json::Value;

use crate::support::{
    backend::{Folder, Kind},
    on_both_backends,
    program::{self, Ended},
    server::Server,
};

on_both_backends!(
    a_key_is_shown_once_and_revoked_for_good,
    operators_are_made_changed_and_listed,
    the_audit_log_is_read_by_its_filters,
);

const PASSWORD: &str = "correct horse battery";

#[track_caller]
fn run(server: &Server, arguments: &[&str]) -> String {
    let ended = server.run(arguments);
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}{}", ended.stdout, ended.stderr);
    ended.stdout
}

/// What the program says why it did nothing: one sentence.
#[track_caller]
fn refusal(ended: &Ended) -> &str {
    let Ended { code, stdout, stderr } = ended;
    assert_eq!((*code, stdout.as_str()), (Some(1), ""), "{stderr}");
    assert_eq!(stderr.trim_end().lines().count(), 1, "not one sentence: {stderr}");
    stderr
}

/// With a line on standard input, which is no terminal.
pub fn with_line(server: &Server, arguments: &[&str], line: &str) -> Ended {
    let url = server.database_url();
    let arguments: Vec<&str> = arguments.iter().copied().chain(["--database", &url]).collect();
    let mut process = program::command(server.folder(), &arguments, &[])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(format!("{line}\nwhat follows is not read").as_bytes()).unwrap();
    drop(stdin);
    let output = process.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

fn json_lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn a_key_is_shown_once_and_revoked_for_good(server: &mut Server) {
    let merchant = server.merchant();
    let arguments = ["keys", "create", "--name", "the shop", "--merchant", &merchant, "--role", "write"];
    let arguments = [&arguments[..], &["--expires", "90d", "--requests-per-second", "50"]].concat();
    let arguments = [&arguments[..], &["--why", "a new shop", "--by", "anna"]].concat();
    let created = server.run(&arguments);
    assert_eq!(created.code, Some(0), "{}", created.stderr);
    // Alone on standard output, for `KEY=$(fintech keys create …)`.
    let key = created.stdout.strip_suffix('\n').unwrap();
    assert!(key.starts_with("fk_live_") && key.len() == 47 && !key.contains('\n'), "{key}");
    assert!(created.stderr.contains("shown this once"), "{}", created.stderr);
    let test = run(server, &["keys", "create", "--name", "ci", "--role", "admin", "--test", "--why", "ci"]);
    assert!(test.starts_with("fk_test_"), "{test}");

    let listed = json_lines(&run(server, &["keys", "list", "--json"]));
    assert_eq!(listed.len(), 2);
    assert_eq!((&listed[0]["name"], &listed[0]["merchantId"]), (&Value::from("ci"), &Value::Null));
    let shop = &listed[1];
    assert_eq!(shop["prefix"], key[..12]);
    assert_eq!(shop["last4"], key[43..]);
    assert_eq!(shop["merchantId"], *merchant);
    assert_eq!((&shop["role"], &shop["state"]), (&Value::from("write"), &Value::from("active")));
    assert_eq!((&shop["requestsPerSecond"], &shop["createdBy"]), (&Value::from(50), &Value::from("anna")));
    assert!(shop["expiresAt"].as_str().unwrap() > shop["createdAt"].as_str().unwrap());
    let of_merchant = run(server, &["keys", "list", "--merchant", &merchant]);
    assert_eq!(of_merchant.lines().count(), 2, "{of_merchant}");
    assert!(of_merchant.contains(&format!("{}…{}", &key[..12], &key[43..])) && !of_merchant.contains(key));

    let id = shop["id"].as_str().unwrap();
    let revoked = run(server, &["keys", "revoke", id, "--why", "the shop has closed", "--by", "otto"]);
    assert!(revoked.contains("was revoked at"), "{revoked}");
    assert_eq!(run(server, &["keys", "revoke", id, "--why", "twice"]), revoked, "as it was");
    assert_eq!(json_lines(&run(server, &["keys", "list", "--json"]))[1]["state"], "revoked");

    let audit = json_lines(&run(server, &["audit", "list", "--subject", id, "--json"]));
    let told: Vec<_> = audit.iter().map(|line| (line["actor"].clone(), line["action"].clone())).collect();
    assert_eq!(told, [("otto".into(), "key.revoke".into()), ("anna".into(), "key.create".into())]);
    assert_eq!(audit[0]["detail"]["before"]["revokedAt"], Value::Null);
    assert_ne!(audit[0]["detail"]["after"]["revokedAt"], Value::Null);
    // Whoever has the database, the log and the audit log has no key.
    assert!(!contains(&server.stored_bytes(), &key[8..]), "a key is stored");
    assert!(!server.log().contains(&key[8..]));
}

fn operators_are_made_changed_and_listed(server: &mut Server) {
    let create =
        ["operators", "create", "Anna", "--role", "finance", "--why", "her first day", "--by", "root"];
    let short = with_line(server, &create, "eleven char");
    assert!(refusal(&short).contains("12 to 256 characters"), "{}", short.stderr);
    let made = with_line(server, &create, PASSWORD);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    assert!(made.stdout.starts_with("anna ") && made.stdout.contains("finance"), "{}", made.stdout);
    let again = with_line(server, &create, PASSWORD);
    assert!(refusal(&again).contains("there is an operator anna already"), "{}", again.stderr);
    // Nobody has typed one.
    let nothing = server.run(&["operators", "create", "otto", "--role", "viewer"]);
    assert!(refusal(&nothing).contains("a password has"), "{}", nothing.stderr);

    run(server, &["operators", "role", "anna", "admin"]);
    let last = server.run(&["operators", "disable", "anna"]);
    assert!(refusal(&last).contains("last active operator who is an admin"), "{}", last.stderr);
    let another = with_line(server, &["operators", "create", "otto", "--role", "admin"], PASSWORD);
    assert_eq!(another.code, Some(0), "{}", another.stderr);
    run(server, &["operators", "role", "anna", "viewer"]);
    run(server, &["operators", "disable", "anna", "--why", "gone"]);
    let listed = run(server, &["operators", "list"]);
    let line: Vec<&str> = listed.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(line[..3], ["anna", "viewer", "disabled"]);
    run(server, &["operators", "enable", "anna"]);
    let changed = with_line(server, &["operators", "password", "ANNA"], "another one, long");
    assert_eq!(changed.code, Some(0), "{}", changed.stderr);
    let nobody = with_line(server, &["operators", "password", "emil"], "another one, long");
    assert!(refusal(&nobody).contains("there is no operator emil"), "{}", nobody.stderr);
    let unknown = server.run(&["operators", "role", "anna", "root"]);
    assert!(unknown.stderr.contains("viewer, support, finance, admin"), "{}", unknown.stderr);

    let actions = server.query("select action from audit_log order by at, id");
    let expected = ["create", "role", "create", "role", "disable", "enable", "password"]
        .map(|a| format!("operator.{a}"));
    assert_eq!(actions, expected);
    let stored = server.stored_bytes();
    assert!(!contains(&stored, PASSWORD) && !contains(&stored, "another one, long"));
    assert!(contains(&stored, "$argon2id$v=19$m=19456,t=2,p=1$"));
}

fn the_audit_log_is_read_by_its_filters(server: &mut Server) {
    for (name, by) in [("one", "anna"), ("two", "otto"), ("three", "anna")] {
        run(server, &["keys", "create", "--name", name, "--role", "read", "--why", name, "--by", by]);
    }
    // Whoever writes into the log cannot write to the reader's terminal.
    let odd = "\u{1b}[2J\nroot  key.create";
    assert_eq!(
        with_line(server, &["operators", "create", "otto", "--role", "viewer", "--why", odd], PASSWORD).code,
        Some(0)
    );
    let all = run(server, &["audit", "list"]);
    assert_eq!(all.lines().count(), 5, "{all}");
    assert!(!all.contains('\u{1b}'), "{all}");
    let table = run(server, &["audit", "list", "--actor", "anna", "--action", "key."]);
    let whys: Vec<&str> = table.lines().skip(1).filter_map(|line| line.split_whitespace().last()).collect();
    assert_eq!(whys, ["three", "one"], "newest first");
    let lines = json_lines(&run(server, &["audit", "list", "--json", "--limit", "2"]));
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["action"], "operator.create");
    assert_eq!(lines[0]["reason"], odd);
    let at = lines[1]["at"].as_str().unwrap();
    let since = json_lines(&run(server, &["audit", "list", "--json", "--from", at]));
    assert_eq!(since, lines);
    let until = json_lines(&run(server, &["audit", "list", "--json", "--to", at]));
    assert_eq!((until.len(), &until[0]), (3, &lines[1]));
    let wrong = server.run(&["audit", "list", "--from", "yesterday"]);
    assert_ne!(wrong.code, Some(0));
    assert!(wrong.stderr.contains("expected a time as RFC 3339"), "{}", wrong.stderr);
}

/// What cannot be is said in one sentence, and leaves nothing behind.
#[test]
fn a_key_that_cannot_be_is_not_made() {
    let server = Server::start(Kind::Sqlite);
    let nobody = "00000000-0000-7000-8000-000000000001";
    let make = |more: &[&str]| {
        let arguments = ["keys", "create", "--name", "x", "--role", "read", "--why", "y"];
        server.run(&[&arguments[..], more].concat())
    };
    let cases: [(&[&str], &str); 4] = [
        (&["--merchant", nobody], "there is no merchant 00000000-0000-7000-8000-000000000001"),
        (&["--expires", "2020-01-01"], "a key ends in the future"),
        (&["--expires", "soon"], "soon is neither a time from now"),
        (&["--requests-per-second", "0"], "at least 1 request a second"),
    ];
    for (more, expected) in cases {
        let ended = make(more);
        assert!(refusal(&ended).contains(expected), "{}", ended.stderr);
    }
    let role = server.run(&["keys", "create", "--name", "x", "--role", "root", "--why", "y"]);
    assert!(role.stderr.contains("there are read, write, operate, admin"), "{}", role.stderr);
    let without_why = server.run(&["keys", "create", "--name", "x", "--role", "read"]);
    assert!(without_why.stderr.contains("--why"), "{}", without_why.stderr);
    let missing = server.run(&["keys", "revoke", nobody, "--why", "z"]);
    assert!(refusal(&missing).contains("there is no key"), "{}", missing.stderr);
    assert_eq!(server.query("select count(*) from api_keys"), ["0"]);
    assert_eq!(server.query("select count(*) from audit_log"), ["0"]);
}

/// The first thing that somebody does: there is no database yet.
#[test]
fn a_key_may_be_made_before_the_first_start() {
    let folder = Folder::new();
    let arguments = ["keys", "create", "--name", "first", "--role", "admin", "--why", "the first one"];
    let created = program::run(folder.path(), &arguments, &[]);
    assert_eq!(created.code, Some(0), "{}", created.stderr);
    let listed = program::run(folder.path(), &["keys", "list"], &[]);
    assert!(listed.stdout.contains(&created.stdout[..12]), "{}{}", listed.stdout, listed.stderr);
}
