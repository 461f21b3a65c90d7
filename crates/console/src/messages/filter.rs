//! What a message of the log must hold to be shown, by the rules of [`stream::kafka::browse`].

use stream::kafka::browse::{Filter, Message};

pub fn is_empty(filter: &Filter) -> bool {
    *filter == Filter::default()
}

pub fn passes(filter: &Filter, message: &Message) -> bool {
    let Filter { key, value, header_name, header_value, anywhere } = filter;
    let of_key = message.key.as_deref().unwrap_or_default();
    let of_value = message.value.as_deref().unwrap_or_default();
    let is_header_wanted = header_name.is_some() || header_value.is_some();
    key.as_ref().is_none_or(|text| holds(of_key, text))
        && value.as_ref().is_none_or(|text| holds(of_value, text))
        && (!is_header_wanted || passes_header(header_name.as_deref(), header_value.as_deref(), message))
        && anywhere.as_ref().is_none_or(|text| {
            holds(of_key, text)
                || holds(of_value, text)
                || message.headers.iter().any(|header| {
                    holds(header.name.as_bytes(), text)
                        || holds(header.value.as_deref().unwrap_or_default(), text)
                })
        })
}

fn passes_header(name: Option<&str>, value: Option<&str>, message: &Message) -> bool {
    message.headers.iter().any(|header| {
        name.is_none_or(|name| header.name.eq_ignore_ascii_case(name))
            && value.is_none_or(|text| holds(header.value.as_deref().unwrap_or_default(), text))
    })
}

/// Whether a text occurs in bytes; the case of ASCII letters does not count.
fn holds(bytes: &[u8], text: &str) -> bool {
    let wanted = text.as_bytes();
    wanted.is_empty() || bytes.windows(wanted.len()).any(|window| window.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use stream::kafka::browse::Header;

    use super::*;

    fn message() -> Message {
        let header = |name: &str, value: Option<&[u8]>| Header {
            name: name.to_owned(),
            value: value.map(<[u8]>::to_vec),
        };
        Message {
            partition: 0,
            offset: 1,
            timestamp: None,
            key: Some(b"merchant-1".to_vec()),
            value: Some(br#"{"amount":5000}"#.to_vec()),
            headers: vec![
                header("event-type", Some(b"PaymentCreated")),
                header("binary", Some(&[0xff, 0])),
                header("absent", None),
            ],
            avro: None,
        }
    }

    /// The most repeated wish of others' users: to search in headers, too.
    #[test]
    fn key_value_and_headers_are_searched() {
        let passing = [
            ["", "", "", "", ""],
            ["MERCHANT-1", "", "", "", ""],
            ["", "5000", "", "", ""],
            ["", "", "Event-Type", "", ""],
            ["", "", "event-type", "paymentC", ""],
            ["", "", "", "created", ""],
            ["", "", "absent", "", ""],
            ["1", "amount", "", "Payment", "event-"],
            ["", "", "", "", "5000"],
        ];
        let failing = [
            ["merchant-2", "", "", "", ""],
            ["", "5001", "", "", ""],
            ["", "", "event", "", ""],
            ["", "", "binary", "Payment", ""],
            ["", "", "", "", "elsewhere"],
        ];
        let passes = |texts: [&str; 5]| {
            let [key, value, header_name, header_value, anywhere] =
                texts.map(|text| Some(text.to_owned()).filter(|text| !text.is_empty()));
            let filter = Filter { key, value, header_name, header_value, anywhere };
            passes(&filter, &message())
        };
        for texts in passing {
            assert!(passes(texts), "{texts:?}");
        }
        for texts in failing {
            assert!(!passes(texts), "{texts:?}");
        }
    }
}
