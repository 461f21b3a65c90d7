//! What a text from outside may hold.

use std::borrow::Cow;

/// Limits are in characters, not bytes, as the contract counts them.
#[derive(Clone, Copy, Debug)]
pub struct TextRule {
    pub chars_min: usize,
    pub chars_max: usize,
    /// Whether line breaks and tabs are allowed.
    pub has_lines: bool,
}

pub const NAME: TextRule = TextRule { chars_min: 1, chars_max: 255, has_lines: false };
pub const EMAIL: TextRule = TextRule { chars_min: 1, chars_max: 255, has_lines: false };
pub const EXTERNAL_REFERENCE: TextRule = TextRule { chars_min: 0, chars_max: 255, has_lines: false };
pub const EXTERNAL_TRANSACTION_ID: TextRule = TextRule { chars_min: 0, chars_max: 255, has_lines: false };
pub const DESCRIPTION: TextRule = TextRule { chars_min: 0, chars_max: 1000, has_lines: true };
pub const REFUND_REASON: TextRule = TextRule { chars_min: 0, chars_max: 500, has_lines: true };
pub const FAILURE_REASON: TextRule = TextRule { chars_min: 1, chars_max: 500, has_lines: true };
pub const SEARCH: TextRule = TextRule { chars_min: 0, chars_max: 255, has_lines: false };

impl TextRule {
    /// The sentence says what to send instead; it does not repeat the text.
    pub fn check(&self, text: &str) -> Result<(), Cow<'static, str>> {
        let Self { chars_min, chars_max, has_lines } = *self;
        if chars_min > 0 && text.trim().is_empty() {
            return Err(format!("Send {chars_min} to {chars_max} characters that are not all blank.").into());
        }
        // Bytes are never fewer than characters, so most texts need no counting.
        if text.len() > chars_max {
            let chars = text.chars().count();
            if chars > chars_max {
                return Err(format!("Send at most {chars_max} characters; these are {chars}.").into());
            }
        }
        let is_allowed = |c: char| !c.is_control() || (has_lines && matches!(c, '\n' | '\t'));
        if text.chars().all(is_allowed) {
            Ok(())
        } else if has_lines {
            Err("Send text without control characters other than line feeds and tabs.".into())
        } else {
            Err("Send text without control characters.".into())
        }
    }
}

/// Whether it looks like an email: whether it is one, only a message to it could tell.
pub fn check_email(text: &str) -> Result<(), Cow<'static, str>> {
    EMAIL.check(text)?;
    let has_two_sides = text
        .split_once('@')
        .is_some_and(|(local, host)| !local.is_empty() && !host.is_empty() && !host.contains('@'));
    if has_two_sides && !text.contains(char::is_whitespace) {
        Ok(())
    } else {
        Err("Send an email address such as name@example.com.".into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_counted_in_characters() {
        assert!(NAME.check(&"é".repeat(255)).is_ok());
        assert!(NAME.check(&"é".repeat(256)).is_err());
        for blank in ["", " ", "\u{3000}"] {
            assert!(NAME.check(blank).is_err());
        }
        assert!(DESCRIPTION.check("").is_ok());
    }

    #[test]
    fn control_characters_are_refused() {
        for bad in ["a\0", "a\u{7f}", "a\u{85}", "a\r", "\u{1b}[31m"] {
            assert!(DESCRIPTION.check(bad).is_err());
        }
        assert!(DESCRIPTION.check("one\n\ttwo").is_ok());
        assert!(NAME.check("one\ntwo").is_err());
    }

    #[test]
    fn an_email_has_one_at_sign_between_two_sides() {
        assert!(check_email("o'hara+x@example.com").is_ok());
        for bad in ["", "a", "@", "a@", "@b", "a@b@c", "a b@c", "a@b\n"] {
            assert!(check_email(bad).is_err(), "{bad}");
        }
    }
}
