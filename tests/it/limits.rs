//! Every limit of the server, at it and beyond it.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
};

use crate::support::{PATIENCE, backend::Kind, server::Server};

const CONNECTIONS_MAX: usize = 4;

fn connect(server: &Server) -> TcpStream {
    let connection = TcpStream::connect(server.address()).unwrap();
    connection.set_read_timeout(Some(PATIENCE)).unwrap();
    connection
}

fn send(connection: &mut TcpStream, text: &str) {
    connection.write_all(text.as_bytes()).unwrap();
}

/// Until the server closes the connection.
fn rest(mut connection: TcpStream) -> String {
    let mut text = String::new();
    connection.read_to_string(&mut text).unwrap();
    text
}

const GET_AND_KEEP: &str = "GET /health/live HTTP/1.1\r\nHost: test\r\n\r\n";
const GET_AND_CLOSE: &str = "GET /health/live HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

/// One connection too many waits until another one ends; it is neither refused nor forgotten.
#[test]
fn connections_beyond_the_limit_wait_for_their_turn() {
    let limit = CONNECTIONS_MAX.to_string();
    let server = Server::start_with(Kind::Sqlite, &[("Server__ConnectionsMax", &limit)]);
    let mut kept: Vec<TcpStream> = (0..CONNECTIONS_MAX)
        .map(|_| {
            let mut connection = connect(&server);
            send(&mut connection, GET_AND_KEEP);
            let mut first = [0; 12];
            connection.read_exact(&mut first).unwrap();
            assert_eq!(&first, b"HTTP/1.1 200");
            connection
        })
        .collect();
    let mut waiting = connect(&server);
    send(&mut waiting, GET_AND_CLOSE);
    waiting.set_nonblocking(true).unwrap();
    let mut nothing = [0; 1];
    assert!(waiting.read(&mut nothing).is_err(), "served beyond the limit");
    waiting.set_nonblocking(false).unwrap();
    kept.pop();
    assert!(rest(waiting).starts_with("HTTP/1.1 200"));
}

/// A head that never ends costs a connection for the request time-out, not for ever.
#[test]
fn a_head_that_does_not_come_ends_the_connection() {
    let server = Server::start_with(Kind::Sqlite, &[("Server__RequestTimeoutSeconds", "1")]);
    let mut connection = connect(&server);
    send(&mut connection, "GET /health/live HTTP/1.1\r\nHost: te");
    assert!(!rest(connection).starts_with("HTTP/1.1 200"));
}

#[test]
fn a_body_that_does_not_come_is_answered_with_408() {
    let server = Server::start_with(Kind::Sqlite, &[("Server__RequestTimeoutSeconds", "1")]);
    let mut connection = connect(&server);
    send(
        &mut connection,
        "POST /api/merchants HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: 50\r\n\r\n{\"name\"",
    );
    let answer = rest(connection);
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("body_timeout"), "{answer}");
    assert!(server.get("/api/merchants").expect(200).list().is_empty());
}

/// What is declared too large is refused before it is sent; a chunked body is counted.
#[test]
fn a_body_is_limited_in_bytes_however_it_comes() {
    let server = Server::start_with(Kind::Sqlite, &[("Server__BodyBytesMax", "1024")]);
    let head = "POST /api/merchants HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nConnection: close\r\n";
    let mut expecting = connect(&server);
    send(&mut expecting, &format!("{head}Content-Length: 2000000\r\nExpect: 100-continue\r\n\r\n"));
    let answer = rest(expecting);
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");

    let mut chunked = connect(&server);
    send(&mut chunked, &format!("{head}Transfer-Encoding: chunked\r\n\r\n"));
    for _ in 0..4 {
        send(&mut chunked, &format!("200\r\n{}\r\n", " ".repeat(0x200)));
    }
    send(&mut chunked, "0\r\n\r\n");
    let answer = rest(chunked);
    assert!(answer.starts_with("HTTP/1.1 413") && answer.contains("1024 bytes"), "{answer}");
    assert!(server.get("/api/merchants").expect(200).list().is_empty());
}
