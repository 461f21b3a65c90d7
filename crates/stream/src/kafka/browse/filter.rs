//! Which messages are wanted, by texts that they hold.

use rdkafka::message::{BorrowedMessage, Message as _};

use super::message;

/// What a message must hold; what is `None` is not asked for. Upper and lower case of ASCII are the same.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    pub key: Option<String>,
    /// In the bytes of the value, or in its JSON where it is an event in Avro.
    pub value: Option<String>,
    /// The whole name of a header.
    pub header_name: Option<String>,
    /// In the value of a header: of the one that is named, or of any.
    pub header_value: Option<String>,
    /// In the key, the value, or the name or the value of a header.
    pub anywhere: Option<String>,
}

impl Filter {
    /// `decode` gives the text of a value that is not one.
    pub(super) fn matches(
        &self,
        message: &BorrowedMessage<'_>,
        decode: &mut dyn FnMut(&[u8]) -> Option<String>,
    ) -> bool {
        let key = message.key().unwrap_or_default();
        let value = message.payload().unwrap_or_default();
        let mut in_value = |text: &str| {
            holds(value, text)
                || (message::may_be_avro(value)
                    && decode(value).is_some_and(|json| holds(json.as_bytes(), text)))
        };
        if self.key.as_ref().is_some_and(|text| !holds(key, text))
            || self.value.as_ref().is_some_and(|text| !in_value(text))
        {
            return false;
        }
        if (self.header_name.is_some() || self.header_value.is_some()) && !self.matches_header(message) {
            return false;
        }
        self.anywhere.as_ref().is_none_or(|text| {
            let in_headers = || {
                message::headers(message).any(|header| {
                    holds(header.name.as_bytes(), text) || holds(header.value.unwrap_or_default(), text)
                })
            };
            holds(key, text) || in_value(text) || in_headers()
        })
    }

    fn matches_header(&self, message: &BorrowedMessage<'_>) -> bool {
        message::headers(message).any(|header| {
            self.header_name.as_ref().is_none_or(|name| header.name.eq_ignore_ascii_case(name))
                && self.header_value.as_ref().is_none_or(|text| holds(header.value.unwrap_or_default(), text))
        })
    }
}

fn holds(bytes: &[u8], text: &str) -> bool {
    let wanted = text.as_bytes();
    wanted.is_empty() || bytes.windows(wanted.len()).any(|part| part.eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_in_bytes_whatever_its_case() {
        assert!(holds(b"\x00\xffPaymentCreated\xfe", "paymentcreated"));
        assert!(holds(b"abc", "abc"));
        assert!(holds(b"", ""));
        assert!(!holds(b"", "a"));
        assert!(!holds(b"ab", "abc"));
        assert!(holds("Zoë".as_bytes(), "oë"));
    }
}
