//! Currencies of ISO 4217 that have a minor unit.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Three upper-case ASCII letters of ISO 4217 whose exponent is known (0 to 4). `XXX`, `XAU`, `XDR`
/// and the like have none and are not currencies here.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency {
    code: [u8; 3],
    exponent: u8,
}

impl Currency {
    /// Letters of either case; `None` for what is not in ISO 4217 or has no minor unit.
    pub fn parse(text: &str) -> Option<Self> {
        let upper = text.to_ascii_uppercase();
        let listed = iso_currency::Currency::from_code(&upper)?;
        let exponent = u8::try_from(listed.exponent()?).ok()?;
        let code = upper.as_bytes().try_into().ok()?;
        Some(Self { code, exponent })
    }

    pub fn code(&self) -> &str {
        str::from_utf8(&self.code).expect("a currency code is three ASCII letters")
    }

    /// Digits behind the decimal point: 2 for USD, 0 for JPY, 3 for KWD, 4 for CLF.
    pub const fn exponent(self) -> u8 {
        self.exponent
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Currency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| serde::de::Error::custom("not a currency of ISO 4217 with a minor unit"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponents_are_those_of_iso_4217() {
        let expected = [
            (0, "JPY KRW VND CLP ISK UGX XAF XOF XPF BIF DJF GNF KMF PYG RWF VUV"),
            (2, "USD EUR GBP CHF MXN INR CNY BRL"),
            (3, "BHD IQD JOD KWD LYD OMR TND"),
            (4, "CLF UYW"),
        ];
        for (exponent, codes) in expected {
            for code in codes.split(' ') {
                let currency = Currency::parse(code).unwrap_or_else(|| panic!("{code} is missing"));
                assert_eq!(currency.exponent(), exponent, "{code}");
                assert_eq!(currency.code(), code);
            }
        }
    }

    #[test]
    fn what_has_no_minor_unit_or_is_not_listed_is_refused() {
        for code in ["XXX", "XAU", "XDR", "XAG", "XTS", "ABC", "US", "USDT", "", "U$D", "ÜSD"] {
            assert_eq!(Currency::parse(code), None, "{code}");
        }
    }

    #[test]
    fn lower_case_is_understood() {
        assert_eq!(Currency::parse("usd"), Currency::parse("USD"));
    }
}
