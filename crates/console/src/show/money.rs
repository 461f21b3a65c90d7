//! Money: exact, grouped, with its currency, and in minor units for who looks closer.

use domain::{currency::Currency, money::to_major};

#[derive(Clone, Debug)]
pub struct Money {
    /// `1,234.50`
    pub text: String,
    pub currency: String,
    /// `123450`
    pub minor: String,
}

impl Money {
    pub fn new(minor: i64, currency: Currency) -> Self {
        Self {
            text: grouped(&to_major(minor, currency)),
            currency: currency.code().to_owned(),
            minor: minor.to_string(),
        }
    }

    /// A sum, which may be beyond 64 bits.
    pub fn sum(minor: i128, currency: Currency) -> Self {
        let exponent = usize::from(currency.exponent());
        let (sign, digits) = if minor < 0 { ("-", minor.unsigned_abs()) } else { ("", minor.unsigned_abs()) };
        let mut text = format!("{digits:0>width$}", width = exponent + 1);
        if exponent > 0 {
            text.insert(text.len() - exponent, '.');
        }
        Self {
            text: grouped(&format!("{sign}{text}")),
            currency: currency.code().to_owned(),
            minor: minor.to_string(),
        }
    }
}

/// A decimal number with a comma between each three digits before the point.
fn grouped(number: &str) -> String {
    let (sign, digits) = number.strip_prefix('-').map_or(("", number), |digits| ("-", digits));
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut text = String::with_capacity(number.len() + number.len() / 3 + 1);
    text.push_str(sign);
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if !fraction.is_empty() {
        text.push('.');
        text.push_str(fraction);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_digit_stays_and_thousands_are_parted() {
        let usd = Currency::parse("USD").unwrap();
        let jpy = Currency::parse("JPY").unwrap();
        for (minor, currency, text) in [
            (0, usd, "0.00"),
            (-5, usd, "-0.05"),
            (123_456, usd, "1,234.56"),
            (99_999, usd, "999.99"),
            (i64::MAX, usd, "92,233,720,368,547,758.07"),
            (i64::MIN, jpy, "-9,223,372,036,854,775,808"),
            (1000, jpy, "1,000"),
        ] {
            let money = Money::new(minor, currency);
            assert_eq!((money.text.as_str(), money.minor), (text, minor.to_string()));
            assert_eq!(Money::sum(minor.into(), currency).text, text);
        }
        assert_eq!(Money::sum(i128::from(i64::MAX) * 10, jpy).text, "92,233,720,368,547,758,070");
    }
}
