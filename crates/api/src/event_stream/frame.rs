//! How an event is written on a stream (HTML Living Standard, 9.2.6, server-sent events).

use std::fmt::Write;

use store::batch::LogEvent;

/// An event, ready to be sent to any number of listeners.
#[derive(Debug)]
pub struct Frame {
    pub sequence: i64,
    pub text: String,
}

impl Frame {
    pub fn of(event: &LogEvent) -> Self {
        let LogEvent { sequence, event_type, payload, .. } = event;
        let mut text = String::with_capacity(payload.len() + event_type.len() + 48);
        // Writing to a String cannot fail.
        let _ = write!(text, "id: {sequence}\nevent: {event_type}\n");
        // JSON as it was written has no end of a line; one that somebody altered must not forge another event.
        for line in payload.split(['\n', '\r']) {
            let _ = writeln!(text, "data: {line}");
        }
        text.push('\n');
        Self { sequence: *sequence, text }
    }
}

/// The first thing on a stream. An id without data raises no event, but from now on the client knows where to go on,
/// even if nothing ever happened before its connection broke.
pub fn opening(sequence: i64) -> String {
    format!("retry: {}\nid: {sequence}\n\n", super::RETRY.as_millis())
}

/// Keeps proxies from taking the stream for dead. The id takes along the place up to which there was nothing for this
/// merchant, so that a client that comes back does not have it looked through again.
pub fn heartbeat(sequence: i64) -> String {
    format!(": heartbeat\nid: {sequence}\n\n")
}

#[cfg(test)]
mod tests {
    use domain::{
        chain::GENESIS,
        event::Stream,
        id::{CommandId, EventId, MerchantId},
        lane::Lane,
        time::Timestamp,
    };
    use uuid::Uuid;

    use super::*;

    fn event(payload: &str) -> LogEvent {
        LogEvent {
            lane: Lane(3),
            sequence: 42,
            stream: Stream::Payments,
            position: 7,
            event_id: EventId(Uuid::nil()),
            trace: None,
            command_id: CommandId(Uuid::nil()),
            event_type: "PaymentCreated".to_owned(),
            version: 2,
            occurred_at: Timestamp::from_micros(0),
            merchant_id: MerchantId(Uuid::nil()),
            subject_id: Uuid::nil(),
            payload: payload.to_owned(),
            hash: GENESIS,
        }
    }

    #[test]
    fn an_event_is_its_id_its_type_and_its_payload() {
        let frame = Frame::of(&event("{\"a\":1}"));
        assert_eq!(frame.text, "id: 42\nevent: PaymentCreated\ndata: {\"a\":1}\n\n");
    }

    #[test]
    fn an_altered_payload_forges_no_event() {
        let frame = Frame::of(&event("{}\n\nid: 99\r\revent: Forged"));
        let fields: Vec<&str> = frame.text.lines().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(fields, ["id", "event", "data", "data", "data", "data", "data", ""]);
    }
}
