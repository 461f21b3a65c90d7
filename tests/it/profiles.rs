//! Profiles of the running program: who may take them, that they tell something, and that they end.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use profiling::proto::Profile;
use serde_json::json;
use ureq::Agent;

use crate::{
    console_access::{PASSWORD, operator},
    support::{
        PATIENCE,
        backend::Kind,
        client::{Answer, Client, Content},
        eventually, on_both_backends,
        pages::{Pages, holds},
        server::Server,
    },
};

on_both_backends!(administrators_alone_take_profiles, a_profile_that_nobody_waits_for_ends,);

const PROFILE: &str = "/debug/pprof/profile";
const HEAP: &str = "/debug/pprof/heap";

fn ask(client: &Client, path: &str, headers: &[(&str, &str)]) -> Answer {
    client.send("GET", path, headers, &Content::Nothing)
}

/// A key that was made at the shell.
fn key(server: &Server, arguments: &[&str]) -> String {
    let arguments = ["keys", "create", "--why", "a test"].into_iter().chain(arguments.iter().copied());
    let made = server.run(&arguments.collect::<Vec<_>>());
    assert_eq!(made.code, Some(0), "{}{}", made.stdout, made.stderr);
    let secret = made.stdout.split_whitespace().find(|word| word.starts_with("fk_live_"));
    format!("Bearer {}", secret.unwrap_or_else(|| panic!("no key in {}", made.stdout)))
}

/// The profile itself, not its text.
fn profile(server: &Server, path: &str, headers: &[(&str, &str)]) -> Profile {
    let agent: Agent = Agent::config_builder().timeout_global(Some(PATIENCE)).build().new_agent();
    let mut request = agent.get(format!("{}{path}", server.operations_url()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = request.call().unwrap();
    assert_eq!(response.headers()["content-type"], "application/octet-stream");
    assert_eq!(response.headers()["cache-control"], "no-store");
    Profile::read(&response.body_mut().read_to_vec().unwrap()).unwrap()
}

/// Failure: a stranger who makes the program work for nothing, or learns how it is built; and somebody who did without a trace.
fn administrators_alone_take_profiles(server: &mut Server) {
    operator(server, "anna", "admin");
    operator(server, "victor", "viewer");
    let merchant = server.merchant();
    let (admin, operate) = (
        key(server, &["--name", "ops", "--role", "admin"]),
        key(server, &["--name", "desk", "--role", "operate"]),
    );
    let of_merchant = key(server, &["--name", "shop", "--role", "admin", "--merchant", &merchant]);
    server.set("Security__Access", "required");
    server.restart();
    let operations = server.operations();
    for path in [PROFILE, HEAP] {
        let stranger = ask(&operations, path, &[]).expect(401);
        assert_eq!(stranger.problem(), "unauthenticated");
        assert!(stranger.header("www-authenticate").unwrap().starts_with("Bearer"));
        let unknown = format!("Bearer fk_live_{}", "a".repeat(32));
        for wrong in [unknown.as_str(), "Basic YTpi"] {
            assert_eq!(
                ask(&operations, path, &[("Authorization", wrong)]).expect(401).problem(),
                "unauthenticated"
            );
        }
        for too_low in [&operate, &of_merchant] {
            assert_eq!(
                ask(&operations, path, &[("Authorization", too_low)]).expect(403).problem(),
                "access_denied"
            );
        }
        let victor = Pages::signed_in(server, "victor", PASSWORD).get(path).expect(403);
        assert_eq!(victor.problem(), "access_denied");
    }
    let authorised = [("Authorization", admin.as_str())];
    for (wrong, told) in [
        ("?seconds=0", "seconds is a whole number from 1 to 60."),
        ("?seconds=61", "seconds is a whole number from 1 to 60."),
        ("?seconds=soon", "seconds is a whole number from 1 to 60."),
        ("?hz=501", "hz is a whole number from 1 to 500."),
        ("?second=1", "There is no parameter \"second\"; there are seconds and hz."),
    ] {
        let refused = ask(&operations, &format!("{PROFILE}{wrong}"), &authorised).expect(400);
        assert_eq!((refused.problem().as_str(), refused.string("detail").as_str()), ("bad_request", told));
    }
    let bad = "select count(*) from audit_log where action like 'profile.%'";
    assert_eq!(server.query(bad), ["0"], "nothing was taken yet");

    profile(server, &format!("{PROFILE}?seconds=1"), &authorised);
    assert!(profile(server, HEAP, &authorised).value_in("", "inuse_space").unwrap() > 0);
    let anna = Pages::signed_in(server, "anna", PASSWORD);
    anna.get(&format!("{PROFILE}?seconds=1")).expect(200);
    let took = "select actor || ' ' || action from audit_log where action like 'profile.%' order by at";
    let lines = server.query(took);
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines[0].starts_with("key fk_live_") && lines[0].ends_with(" profile.cpu"), "{lines:?}");
    assert!(lines[1].starts_with("key fk_live_") && lines[1].ends_with(" profile.heap"), "{lines:?}");
    assert_eq!(lines[2], "operator anna profile.cpu");
    holds(&anna.page("/audit"), &["profile.cpu", "profile.heap"]);
}

/// A client that goes away, and a program that is to stop, wait for no minute. Failure: a minute in which nobody can take
/// a profile, or a deployment that hangs.
fn a_profile_that_nobody_waits_for_ends(server: &mut Server) {
    let impatient: Agent =
        Agent::config_builder().timeout_global(Some(Duration::from_millis(500))).build().new_agent();
    let long = format!("{}{PROFILE}?seconds=60", server.operations_url());
    assert!(impatient.get(&long).call().is_err(), "it waited for a minute");
    let operations = server.operations();
    let began = Instant::now();
    eventually("the profile to end", || {
        (ask(&operations, &format!("{PROFILE}?seconds=1"), &[]).status == 200).then_some(())
    });
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());

    let waiting = thread::spawn(move || {
        operations.try_send("GET", &format!("{PROFILE}?seconds=60"), &[], &Content::Nothing)
    });
    // It is written while the turn is held.
    let begun = "select count(*) from audit_log where action = 'profile.cpu' and detail like '%60%'";
    eventually("the second long profile to begin", || (server.query(begun) == ["2"]).then_some(()));
    let second = server.operations();
    let refused = ask(&second, &format!("{PROFILE}?seconds=1"), &[]).expect(409);
    assert_eq!(refused.problem(), "profile_in_progress");
    // Of the other kind there may be one meanwhile.
    ask(&second, HEAP, &[]).expect(200);
    let (status, took) = server.stop();
    assert!(status.success() && took < Duration::from_secs(20), "{status} after {took:?}");
    assert!(waiting.join().unwrap().is_err(), "it cannot have been answered");
    server.restart();
}

/// Under load a profile of the processor shows the writer at work, and one of the heap what is held. Failure: an empty
/// profile, or one of addresses that nobody can read.
fn profiles_tell_what_the_program_does(kind: Kind) {
    let server = Server::start(kind);
    let merchant = server.merchant();
    let path = format!("/api/merchants/{merchant}/payments/bulk");
    let payment = json!({"amountInMinorUnits": 5, "currency": "USD"});
    let body = json!({"payments": vec![payment; 500]});
    let is_done = AtomicBool::new(false);
    let (cpu, heap) = thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_done.load(Ordering::Relaxed) {
                    server.post(&path, &body);
                }
            });
        }
        let cpu = profile(&server, &format!("{PROFILE}?seconds=3&hz=200"), &[]);
        let heap = profile(&server, HEAP, &[]);
        is_done.store(true, Ordering::Relaxed);
        (cpu, heap)
    });
    let spent = |function: &str| cpu.value_in(function, "cpu").unwrap();
    assert!(cpu.value_in("", "samples").unwrap() >= 20, "{} samples", cpu.sample.len());
    assert!(spent("store::writer::Writer") > 0, "the writer is not in it");
    assert!(spent("store::batch::Batch") > 0, "deciding is not in it");
    let of_writer = if kind == Kind::Sqlite { "sqlite-write" } else { "tokio-rt-worker" };
    assert!(cpu.threads().any(|name| name == of_writer), "{:?}", cpu.threads().collect::<Vec<_>>());
    assert!(cpu.duration_nanos >= 3_000_000_000);
    assert!(heap.value_in("", "inuse_space").unwrap() > 0, "nothing is in use");
    // Which allocations are sampled is by chance, but not that ours are among them.
    let ours = ["fintech::", "store::", "stream::", "console::", "api::"];
    let of_ours = ours.iter().any(|function| heap.value_in(function, "inuse_space").unwrap() > 0);
    assert!(of_ours, "stacks do not reach the program's own functions");
    let (reached, all) = (heap.value_in("_start", "inuse_space"), heap.value_in("", "inuse_space"));
    assert!(
        2 * reached.unwrap() > all.unwrap(),
        "stacks end before their threads' beginning: {reached:?} of {all:?}"
    );
}

#[test]
fn profiles_tell_what_the_program_does_on_sqlite() {
    profiles_tell_what_the_program_does(Kind::Sqlite);
}

#[test]
fn profiles_tell_what_the_program_does_on_postgres() {
    profiles_tell_what_the_program_does(Kind::Postgres);
}

/// Another site's page may ask with this machine's browser, and gets nothing.
#[test]
fn another_site_takes_no_profile() {
    let server = Server::start(Kind::Sqlite);
    let operations = server.operations();
    let cross_site = [("Sec-Fetch-Site", "cross-site")];
    assert_eq!(ask(&operations, HEAP, &cross_site).expect(403).problem(), "access_denied");
    let renamed = [("Host", "evil.example")];
    assert_eq!(ask(&operations, HEAP, &renamed).expect(421).problem(), "misdirected_request");
    ask(&operations, HEAP, &[("Sec-Fetch-Site", "none")]).expect(200);
}
