//! A small HTTP server for what the program, or what watches it, sends to others.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::Arc,
    thread,
};

const BODY_BYTES_MAX: usize = 64 << 20;

/// Listens until the test's process ends; gives its address. `take` gets the first line and the body of each request, and
/// what it has taken is answered with 200.
pub fn listen(content_type: &'static str, take: impl Fn(&str, &[u8]) + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let take = Arc::new(take);
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let take = Arc::clone(&take);
            thread::spawn(move || while answer(&stream, content_type, &*take).is_some() {});
        }
    });
    url
}

/// One request; `None`: the connection has ended.
fn answer(mut stream: &TcpStream, content_type: &str, take: &dyn Fn(&str, &[u8])) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut line, mut first) = (0, String::new(), String::new());
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if first.is_empty() {
            first.clone_from(&line);
        }
        let header = line.to_ascii_lowercase();
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse::<usize>().ok().filter(|length| *length <= BODY_BYTES_MAX)?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    take(first.trim_end(), &body);
    let answer = format!("HTTP/1.1 200 OK\r\ncontent-type: {content_type}\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(answer.as_bytes()).ok()
}
