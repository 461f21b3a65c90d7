//! Currencies of ISO 4217 that have a minor unit.

use std::{
    fmt,
    sync::atomic::{AtomicU8, Ordering},
};

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
        let mut code: [u8; 3] = text.as_bytes().try_into().ok()?;
        code.make_ascii_uppercase();
        let number = number(code)?;
        let known = match KNOWN[number].load(Ordering::Relaxed) {
            0 => {
                let known = listed_exponent(code).map_or(NOT_LISTED, |exponent| exponent + 2);
                KNOWN[number].store(known, Ordering::Relaxed);
                known
            }
            known => known,
        };
        (known != NOT_LISTED).then(|| Self { code, exponent: known - 2 })
    }

    pub fn code(&self) -> &str {
        str::from_utf8(&self.code).expect("a currency code is three ASCII letters")
    }

    /// Digits behind the decimal point: 2 for USD, 0 for JPY, 3 for KWD, 4 for CLF.
    pub const fn exponent(self) -> u8 {
        self.exponent
    }
}

/// What was found out about each three letters: 0 is nothing yet, otherwise the exponent and two. A currency is read with
/// every row and every event, and looking it up in the list takes longer than all the rest of it.
static KNOWN: [AtomicU8; 26 * 26 * 26] = [const { AtomicU8::new(0) }; 26 * 26 * 26];
const NOT_LISTED: u8 = 1;

/// Three upper-case letters as a number in base 26.
fn number(code: [u8; 3]) -> Option<usize> {
    code.iter().try_fold(0, |number, letter| {
        letter.is_ascii_uppercase().then(|| number * 26 + usize::from(letter - b'A'))
    })
}

fn listed_exponent(code: [u8; 3]) -> Option<u8> {
    let listed = iso_currency::Currency::from_code(str::from_utf8(&code).ok()?)?;
    u8::try_from(listed.exponent()?).ok()
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
