//! Bank details of a withdrawal. In the clear they exist only on their way from the request to the
//! sealed column; everywhere else stands the mask.

use std::fmt;

/// A bank account or routing number in the clear. It has no `Display`, and its `Debug` is the mask,
/// so that it cannot reach a log, an answer or an event by accident.
#[derive(Clone, PartialEq, Eq)]
pub struct BankNumber(String);

/// An account number (ISO 13616 allows 34 characters) or a routing number, BIC or sort code.
pub const BANK_NUMBER_CHARS_MIN: usize = 5;
pub const BANK_NUMBER_CHARS_MAX: usize = 34;
const VISIBLE_CHARS: usize = 4;

impl BankNumber {
    /// ASCII letters and digits; spaces and hyphens between them are taken out.
    pub fn parse(text: &str) -> Option<Self> {
        let compact: String = text.chars().filter(|c| !matches!(c, ' ' | '-')).collect();
        let allowed = compact.chars().all(|c| c.is_ascii_alphanumeric());
        let fits = (BANK_NUMBER_CHARS_MIN..=BANK_NUMBER_CHARS_MAX).contains(&compact.len());
        (allowed && fits).then_some(Self(compact))
    }

    /// A star for each character but the last four.
    pub fn masked(&self) -> String {
        let hidden = self.0.len() - VISIBLE_CHARS;
        format!("{}{}", "*".repeat(hidden), &self.0[hidden..])
    }

    /// For sealing only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for BankNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.masked())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_four_characters_are_shown() {
        let number = BankNumber::parse("DE89 3704-0044 0532 0130 00").unwrap();
        assert_eq!(number.expose(), "DE89370400440532013000");
        assert_eq!(number.masked(), "******************3000");
        assert_eq!(format!("{number:?}"), "******************3000");
    }

    #[test]
    fn too_short_to_mask_or_odd_characters_are_refused() {
        for bad in ["", "1234", "12 34", "12345;DROP", "１２３４５６", &"1".repeat(35)] {
            assert!(BankNumber::parse(bad).is_none(), "{bad}");
        }
    }
}
