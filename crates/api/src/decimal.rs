//! An exact decimal as a JSON number. It never goes through a float.

use domain::{currency::Currency, money::to_major};
use serde::{Serialize, Serializer, ser::Error};
use serde_json::value::RawValue;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decimal(String);

impl Decimal {
    /// An amount in major units.
    pub fn major(minor: i64, currency: Currency) -> Self {
        Self(to_major(minor, currency))
    }

    /// `units` of 10^-`exponent`: the sum of many amounts, or a percentage.
    pub fn scaled(units: i128, exponent: u8) -> Self {
        let sign = if units < 0 { "-" } else { "" };
        let digits = units.unsigned_abs();
        let width = usize::from(exponent);
        if width == 0 {
            return Self(format!("{sign}{digits}"));
        }
        let scale = 10_u128.pow(u32::from(exponent));
        Self(format!("{sign}{}.{:0width$}", digits / scale, digits % scale))
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let number: &RawValue = serde_json::from_str(&self.0).map_err(S::Error::custom)?;
        number.serialize(serializer)
    }
}

/// Rounded to the nearest whole number, a half to the even one (IEEE 754 roundTiesToEven), so that
/// rounding favours nobody. `divisor` is above zero.
pub fn divide_half_even(dividend: i128, divisor: i128) -> i128 {
    let (quotient, rest) = (dividend.div_euclid(divisor), dividend.rem_euclid(divisor));
    // Compared without doubling, which might overflow.
    match rest.cmp(&(divisor - rest)) {
        std::cmp::Ordering::Less => quotient,
        std::cmp::Ordering::Equal => quotient + (quotient & 1),
        std::cmp::Ordering::Greater => quotient + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_is_written_as_a_number_with_all_its_digits() {
        let usd = Currency::parse("USD").unwrap();
        let shown = [
            Decimal::major(i64::MAX, usd),
            Decimal::scaled(-5, 3),
            Decimal::scaled(i128::from(i64::MAX) * 1000, 4),
            Decimal::scaled(7, 0),
        ];
        assert_eq!(
            serde_json::to_string(&shown).unwrap(),
            "[92233720368547758.07,-0.005,922337203685477580.7000,7]"
        );
    }

    #[test]
    fn halves_go_to_the_even_neighbour() {
        let cases =
            [(5, 2, 2), (7, 2, 4), (1, 2, 0), (3, 2, 2), (-1, 2, 0), (-3, 2, -2), (2, 3, 1), (1, 3, 0)];
        for (dividend, divisor, expected) in cases {
            assert_eq!(divide_half_even(dividend, divisor), expected, "{dividend}/{divisor}");
        }
    }
}
