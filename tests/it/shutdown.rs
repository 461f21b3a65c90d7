//! Being asked to stop. Failure mode 107.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use serde_json::json;

use crate::support::{PATIENCE, client::Content, eventually, on_both_backends, server::Server};

on_both_backends!(
    an_idle_server_ends_at_once,
    readiness_fails_while_requests_are_still_served,
    a_request_in_flight_is_answered,
    a_server_under_load_ends_in_time_and_keeps_what_it_acknowledged,
);

const END_TIMEOUT: Duration = Duration::from_secs(10);
const AT_ONCE: Duration = Duration::from_secs(4);

fn an_idle_server_ends_at_once(server: &mut Server) {
    // A connection that is kept open for a next request holds up nothing.
    server.get("/health/ready").expect(200);
    let (status, took) = server.stop();
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(took < AT_ONCE, "{took:?}");
}

/// A load balancer that looks sees it before it meets a closed door.
fn readiness_fails_while_requests_are_still_served(server: &mut Server) {
    let merchant = server.merchant();
    server.get("/health/ready").expect(200);
    server.terminate();
    eventually("readiness that fails", || (server.get("/health/ready").status == 503).then_some(()));
    server.payment(&merchant, 100);
    server.get("/health/live").expect(200);
    let (status, _) = server.wait();
    assert_eq!(status.code(), Some(0), "{status}");
}

/// The head of the request and half of its body are there when the signal comes; the rest comes later.
fn a_request_in_flight_is_answered(server: &mut Server) {
    let merchant = server.merchant();
    let body = json!({"amountInMinorUnits": 5000, "currency": "USD"}).to_string();
    let mut connection = TcpStream::connect(server.address()).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "POST /api/merchants/{merchant}/payments HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n",
        server.address(),
        body.len()
    );
    let (half, rest) = body.split_at(10);
    connection.write_all(head.as_bytes()).unwrap();
    connection.write_all(half.as_bytes()).unwrap();
    // The server has surely taken the connection once it answers a later one.
    server.get("/health").expect(200);
    server.terminate();
    eventually("word that the program is stopping", || server.log().contains("SIGTERM").then_some(()));
    connection.write_all(rest.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let (status, took) = server.wait();
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(took < END_TIMEOUT, "{took:?}");

    server.restart();
    assert_eq!(server.get(&format!("/api/merchants/{merchant}/payments")).expect(200).list().len(), 1);
}

/// Until the signal everything is acknowledged, afterwards nothing is half done.
fn a_server_under_load_ends_in_time_and_keeps_what_it_acknowledged(server: &mut Server) {
    let merchant = server.merchant();
    let path = format!("/api/merchants/{merchant}/payments");
    let payment = json!({"amountInMinorUnits": 1, "currency": "USD"});
    let client = (*server).clone();
    let (acknowledged, (status, took)) = std::thread::scope(|scope| {
        let load: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut acknowledged = Vec::new();
                    while let Ok(answer) = client.try_send("POST", &path, &[], &Content::Json(&payment)) {
                        match answer.status {
                            201 => acknowledged.push(answer.id()),
                            503 => break,
                            status => panic!("{status}: {}", answer.text),
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        eventually("some payments", || (client.get(&path).list().len() >= 50).then_some(()));
        let ended = server.stop();
        let acknowledged: Vec<String> = load.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
        (acknowledged, ended)
    });
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(took < END_TIMEOUT, "{took:?}");
    server.restart();
    for id in acknowledged {
        server.get(&format!("{path}/{id}")).expect(200);
    }
}
