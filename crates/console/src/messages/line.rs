//! A message as a line of JSON. JSON stays as it was written, to the last digit; what is not a text is in hexadecimal, and
//! its name says so.

use std::fmt::Write as _;

use serde_json::value::RawValue;
use stream::kafka::browse::Message;

pub fn line(message: &Message) -> String {
    let mut line = format!("{{\"partition\":{},\"offset\":{}", message.partition, message.offset);
    if let Some(at) = message.timestamp {
        push(&mut line, &format!(",\"timestamp\":\"{at}\""));
    }
    member(&mut line, "key", message.key.as_deref(), false);
    let read = message.avro.as_ref().and_then(|avro| avro.event.as_ref().ok());
    match read {
        Some((_, json)) => member(&mut line, "value", Some(json.as_bytes()), true),
        None => member(&mut line, "value", message.value.as_deref(), true),
    }
    if let Some(avro) = &message.avro {
        push(&mut line, &format!(",\"schemaId\":{}", avro.schema_id));
    }
    line.push_str(",\"headers\":[");
    for (number, header) in message.headers.iter().enumerate() {
        line.push_str(if number == 0 { "{\"name\":" } else { ",{\"name\":" });
        text(&mut line, &header.name);
        member(&mut line, "value", header.value.as_deref(), false);
        line.push('}');
    }
    line.push_str("]}\n");
    line
}

fn push(line: &mut String, text: &str) {
    line.push_str(text);
}

/// `,"name":…`; `may_be_json` keeps JSON as it is.
fn member(line: &mut String, name: &str, bytes: Option<&[u8]>, may_be_json: bool) {
    let utf8 = bytes.map(std::str::from_utf8);
    match utf8 {
        None => push(line, &format!(",\"{name}\":null")),
        Some(Ok(found)) => {
            push(line, &format!(",\"{name}\":"));
            // One line is one message, whatever is in it.
            let is_json = may_be_json
                && !found.contains(['\n', '\r'])
                && serde_json::from_str::<&RawValue>(found).is_ok();
            if is_json { line.push_str(found.trim()) } else { text(line, found) }
        }
        Some(Err(_)) => {
            push(line, &format!(",\"{name}Hex\":\""));
            for byte in bytes.unwrap_or_default() {
                // Writing to a String cannot fail.
                let _ = write!(line, "{byte:02x}");
            }
            line.push('"');
        }
    }
}

fn text(line: &mut String, text: &str) {
    // A text is always JSON.
    line.push_str(&serde_json::to_string(text).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use stream::kafka::browse::Header;

    use super::*;

    fn message(value: Option<&[u8]>) -> Message {
        let header = |name: &str, value: Option<&[u8]>| Header {
            name: name.to_owned(),
            value: value.map(<[u8]>::to_vec),
        };
        Message {
            partition: 3,
            offset: i64::MAX,
            timestamp: None,
            key: Some(b"a\"b".to_vec()),
            value: value.map(<[u8]>::to_vec),
            headers: vec![header("x", Some(&[0xff])), header("x", None)],
            avro: None,
        }
    }

    #[test]
    fn every_digit_and_every_byte_is_kept() {
        let rest = r#","headers":[{"name":"x","valueHex":"ff"},{"name":"x","value":null}]}"#;
        for (value, shown) in [
            (Some(&br#"{"a": 9223372036854775807}"#[..]), r#""value":{"a": 9223372036854775807}"#),
            (Some(b"{\n\"a\":1}"), r#""value":"{\n\"a\":1}""#),
            (Some(b"plain"), r#""value":"plain""#),
            (Some(&[0, 0xfe]), r#""valueHex":"00fe""#),
            (None, r#""value":null"#),
        ] {
            let expected = format!(
                "{{\"partition\":3,\"offset\":9223372036854775807,\"key\":\"a\\\"b\",{shown}{rest}\n"
            );
            assert_eq!(line(&message(value)), expected);
            assert!(serde_json::from_str::<serde_json::Value>(&expected).is_ok());
        }
    }
}
