//! `fintech health`, which images and scripts ask instead of a tool of their own.

use crate::support::{backend::Kind, eventually, on_both_backends, program::Ended, server::Server};

on_both_backends!(a_program_that_serves_is_ready_and_one_that_ended_is_not);

/// Asks about the operations port of a server.
fn health(server: &Server, address: &str) -> Ended {
    server.run(&["health", "--operations", address])
}

fn address(server: &Server) -> String {
    server.operations_url().split_once("://").unwrap().1.to_owned()
}

fn a_program_that_serves_is_ready_and_one_that_ended_is_not(server: &mut Server) {
    let address = address(server);
    let Ended { code, stdout, stderr } = health(server, &address);
    assert_eq!((code, stdout.as_str()), (Some(0), format!("{address} is ready\n").as_str()), "{stderr}");
    server.stop();
    let Ended { code, stderr, .. } = health(server, &address);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.starts_with(&format!("fintech: {address} does not answer: ")), "{stderr}");
}

/// It is the program that is asked, and that knows whether its database answers.
#[test]
fn a_program_without_its_database_is_not_ready() {
    let server = Server::start(Kind::Postgres);
    let address = address(&server);
    server.let_database_connect(false);
    let told = eventually("a program that is not ready", || {
        let Ended { code, stderr, .. } = health(&server, &address);
        (code == Some(1)).then_some(stderr)
    });
    assert!(told.contains("is not ready: it answered 503") || told.contains("did not answer"), "{told}");
    server.let_database_connect(true);
    eventually("a program that is ready again", || (health(&server, &address).code == Some(0)).then_some(()));
}
