//! A listener to server-sent events, as the HTML Living Standard has a browser read them (9.2.6).

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write as _},
    net::{Shutdown, TcpStream},
    sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel},
    thread,
};

use serde_json::Value;

use super::PATIENCE;

/// An open stream. Dropping it closes the connection.
pub struct Events {
    connection: TcpStream,
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    /// What the server says before the stream begins, when it does not begin.
    pub refusal: Value,
    unread: Option<Chunks<BufReader<TcpStream>>>,
    arrived: Receiver<Arrived>,
    /// What a browser would send as `Last-Event-ID`.
    pub last_id: Option<String>,
}

enum Arrived {
    Event(Event),
    /// An id without data.
    Id(String),
    Comment(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub id: String,
    pub name: String,
    pub data: Value,
}

impl Events {
    pub fn open(address: &str, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut events = Self::open_unread(address, path, headers);
        events.begin();
        events
    }

    /// A stream of which nothing is read until [`Self::begin`].
    pub fn open_unread(address: &str, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut connection = TcpStream::connect(address).unwrap();
        write!(connection, "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept-Encoding: gzip\r\n").unwrap();
        for (name, value) in headers {
            write!(connection, "{name}: {value}\r\n").unwrap();
        }
        connection.write_all(b"\r\n").unwrap();
        connection.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut reader = BufReader::new(connection.try_clone().unwrap());
        let (status, headers) = head(&mut reader);
        let (mut refusal, mut unread) = (Value::Null, None);
        if status == 200 {
            unread = Some(Chunks { reader, left: 0, is_over: false });
        } else {
            let length = headers["content-length"].parse().unwrap();
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            refusal = serde_json::from_slice(&body).unwrap();
        }
        let (_, arrived) = channel();
        Self { connection, status, headers, refusal, unread, arrived, last_id: None }
    }

    /// Reads from now on, as fast as it comes.
    pub fn begin(&mut self) {
        let Some(chunks) = self.unread.take() else { return };
        // A stream may say nothing for long.
        self.connection.set_read_timeout(None).unwrap();
        let (sender, arrived) = channel();
        self.arrived = arrived;
        thread::spawn(move || {
            let mut body = BufReader::new(chunks);
            while let Some(arrived) = next(&mut body) {
                if sender.send(arrived).is_err() {
                    return;
                }
            }
        });
    }

    /// The next event; `None` when the stream has ended.
    pub fn next(&mut self) -> Option<Event> {
        loop {
            match self.arrive()? {
                Arrived::Event(event) => {
                    self.last_id = Some(event.id.clone());
                    return Some(event);
                }
                Arrived::Id(id) => self.last_id = Some(id),
                Arrived::Comment(_) => {}
            }
        }
    }

    /// So many events.
    #[track_caller]
    pub fn take(&mut self, count: usize) -> Vec<Event> {
        (0..count).map(|n| self.next().unwrap_or_else(|| panic!("the stream ended after {n}"))).collect()
    }

    /// The id that the server sends first, before anything has happened.
    #[track_caller]
    pub fn opening(&mut self) -> String {
        match self.arrive() {
            Some(Arrived::Id(id)) => self.last_id.insert(id).clone(),
            _ => panic!("the stream does not begin with an id"),
        }
    }

    /// Waits for a comment, which must come before any event.
    #[track_caller]
    pub fn comment(&mut self) -> String {
        loop {
            match self.arrive().expect("the stream has ended") {
                Arrived::Comment(text) => return text,
                Arrived::Id(id) => self.last_id = Some(id),
                Arrived::Event(event) => panic!("an event came: {event:?}"),
            }
        }
    }

    /// Whether the stream has ended; what has arrived until now is read.
    pub fn is_over(&mut self) -> bool {
        loop {
            match self.arrived.try_recv() {
                Ok(_) => {}
                Err(error) => return error == TryRecvError::Disconnected,
            }
        }
    }

    fn arrive(&mut self) -> Option<Arrived> {
        match self.arrived.recv_timeout(PATIENCE) {
            Ok(arrived) => Some(arrived),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("nothing arrived on a stream in {PATIENCE:?}"),
        }
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        // Its other end may be gone already.
        drop(self.connection.shutdown(Shutdown::Both));
    }
}

fn head(reader: &mut impl BufRead) -> (u16, BTreeMap<String, String>) {
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    };
    let first = line();
    let status = first.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {first:?}")).parse().unwrap();
    let headers = std::iter::from_fn(|| Some(line()).filter(|line| !line.is_empty()));
    let headers = headers.map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        (name.to_lowercase(), value.to_owned())
    });
    (status, headers.collect())
}

/// One block of the stream; `None` at its end, wherever it broke off.
fn next(body: &mut impl BufRead) -> Option<Arrived> {
    let (mut id, mut name, mut data) = (None, String::new(), Vec::new());
    loop {
        let mut line = String::new();
        if body.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.strip_suffix('\n')?;
        match line.split_once(':') {
            None if line.is_empty() => {
                return Some(match id {
                    _ if !data.is_empty() => {
                        let data = serde_json::from_str(&data.join("\n")).unwrap();
                        Arrived::Event(Event { id: id?, name, data })
                    }
                    Some(id) => Arrived::Id(id),
                    None => Arrived::Comment(String::new()),
                });
            }
            Some(("", comment)) => {
                // The rest of the block is read as one of its own.
                return Some(Arrived::Comment(comment.trim_start().to_owned()));
            }
            Some(("id", value)) => id = Some(value.trim_start().to_owned()),
            Some(("event", value)) => value.trim_start().clone_into(&mut name),
            Some(("data", value)) => data.push(value.trim_start().to_owned()),
            Some(("retry", _)) => {}
            _ => panic!("not a field: {line:?}"),
        }
    }
}

/// A body in chunks (RFC 9112, 7.1).
struct Chunks<R> {
    reader: R,
    left: usize,
    is_over: bool,
}

impl<R: BufRead> Read for Chunks<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.is_over {
            return Ok(0);
        }
        if self.left == 0 {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            self.left = usize::from_str_radix(line.trim_end(), 16)
                .map_err(|_| std::io::Error::other(format!("not a chunk: {line:?}")))?;
            if self.left == 0 {
                self.is_over = true;
                return Ok(0);
            }
        }
        let wanted = buffer.len().min(self.left);
        let read = self.reader.read(&mut buffer[..wanted])?;
        self.left -= read;
        if self.left == 0 {
            self.reader.read_line(&mut String::new())?;
        }
        Ok(read)
    }
}
