//! Amounts in minor units. Integers only: no floating point anywhere near money.

use serde::{Deserialize, Serialize};

use crate::currency::Currency;

/// What one payment, refund or withdrawal may move at most: 2^53 − 1, the largest integer that every
/// JSON reader gets exactly (RFC 8259 §6). Balances are sums and may grow beyond it, up to i64.
pub const AMOUNT_MINOR_MAX: i64 = (1 << 53) - 1;

/// How much one command moves: 1 to [`AMOUNT_MINOR_MAX`] minor units.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct AmountMinor(i64);

impl AmountMinor {
    pub const fn new(minor: i64) -> Option<Self> {
        if minor >= 1 && minor <= AMOUNT_MINOR_MAX { Some(Self(minor)) } else { None }
    }

    pub const fn get(self) -> i64 {
        self.0
    }
}

impl TryFrom<i64> for AmountMinor {
    type Error = String;

    fn try_from(minor: i64) -> Result<Self, Self::Error> {
        Self::new(minor).ok_or_else(|| format!("{minor} is not an amount between 1 and {AMOUNT_MINOR_MAX}"))
    }
}

impl From<AmountMinor> for i64 {
    fn from(amount: AmountMinor) -> Self {
        amount.0
    }
}

/// The exact decimal in major units, with as many digits as the currency has: 5000 USD is `50.00`,
/// 5000 JPY is `5000`, -5 KWD is `-0.005`. It is also a valid JSON number.
pub fn to_major(minor: i64, currency: Currency) -> String {
    let sign = if minor < 0 { "-" } else { "" };
    let digits = minor.unsigned_abs();
    let exponent = usize::from(currency.exponent());
    if exponent == 0 {
        return format!("{sign}{digits}");
    }
    let scale = 10_u64.pow(u32::from(currency.exponent()));
    format!("{sign}{}.{:0exponent$}", digits / scale, digits % scale)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn currency(code: &str) -> Currency {
        Currency::parse(code).unwrap()
    }

    #[test]
    fn major_units_follow_the_exponent() {
        assert_eq!(to_major(5000, currency("USD")), "50.00");
        assert_eq!(to_major(5000, currency("JPY")), "5000");
        assert_eq!(to_major(-5, currency("KWD")), "-0.005");
        assert_eq!(to_major(1, currency("CLF")), "0.0001");
        assert_eq!(to_major(i64::MIN, currency("USD")), "-92233720368547758.08");
        assert_eq!(to_major(i64::MAX, currency("JPY")), "9223372036854775807");
    }

    #[test]
    fn an_amount_is_positive_and_exact_in_json() {
        assert!(AmountMinor::new(0).is_none());
        assert!(AmountMinor::new(-1).is_none());
        assert!(AmountMinor::new(AMOUNT_MINOR_MAX).is_some());
        assert!(AmountMinor::new(AMOUNT_MINOR_MAX + 1).is_none());
    }

    proptest! {
        #[test]
        fn major_units_lose_nothing(minor: i64, code in "USD|JPY|KWD|CLF") {
            let currency = currency(&code);
            let text = to_major(minor, currency);
            let digits: String = text.chars().filter(|c| *c != '.').collect();
            prop_assert_eq!(digits.parse::<i64>().unwrap(), minor);
            let behind = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
            prop_assert_eq!(behind, usize::from(currency.exponent()));
        }
    }
}
