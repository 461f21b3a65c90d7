//! What is asked for, and in which shares: `create=60,complete=20,refund=5,withdraw=5,read=10`.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};

use crate::random::Random;

/// What one request asks for; latencies and counts are kept by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Create,
    Complete,
    Refund,
    Withdraw,
    /// One payment by its id.
    Read,
    /// A merchant's balances.
    Balance,
    /// A merchant, before the load begins.
    Merchant,
    /// A path that somebody named.
    Get,
}

impl Kind {
    /// What a mix may name.
    const MIXED: [Self; 6] =
        [Self::Create, Self::Complete, Self::Refund, Self::Withdraw, Self::Read, Self::Balance];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Complete => "complete",
            Self::Refund => "refund",
            Self::Withdraw => "withdraw",
            Self::Read => "read",
            Self::Balance => "balance",
            Self::Merchant => "merchant",
            Self::Get => "get",
        }
    }

    /// Whether it changes something, and so has an idempotency key.
    pub const fn is_change(self) -> bool {
        match self {
            Self::Create | Self::Complete | Self::Refund | Self::Withdraw | Self::Merchant => true,
            Self::Read | Self::Balance | Self::Get => false,
        }
    }
}

/// At least one kind, each with a share of at least 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mix(Vec<(Kind, u32)>);

/// A share above it is a slip of the keyboard.
const SHARE_MAX: u32 = 1_000_000;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MixError {
    #[error("say KIND=SHARE with commas between them, such as create=60,complete=40; \"{0}\" is not that")]
    NotAPair(String),
    #[error("there is no \"{0}\" to ask for: say create, complete, refund, withdraw, read or balance")]
    UnknownKind(String),
    #[error("\"{0}\" stands in the mix twice")]
    Twice(&'static str),
    #[error("the share of {kind} is a whole number up to {SHARE_MAX}, and \"{share}\" is not")]
    Share { kind: &'static str, share: String },
    #[error("all shares are zero")]
    Nothing,
}

impl Mix {
    pub fn only(kind: Kind) -> Self {
        Self(vec![(kind, 1)])
    }

    pub fn asks_for(&self, kind: Kind) -> bool {
        self.0.iter().any(|(known, _)| *known == kind)
    }

    pub fn draw(&self, random: &mut Random) -> Kind {
        let total = self.0.iter().map(|(_, share)| u64::from(*share)).sum();
        let mut at = random.below(total);
        for (kind, share) in &self.0 {
            match at.checked_sub(u64::from(*share)) {
                Some(left) => at = left,
                None => return *kind,
            }
        }
        unreachable!("what was drawn is below the sum of all shares")
    }
}

impl FromStr for Mix {
    type Err = MixError;

    fn from_str(text: &str) -> Result<Self, MixError> {
        let mut shares: Vec<(Kind, u32)> = Vec::new();
        for pair in text.split(',') {
            let (name, share) =
                pair.trim().split_once('=').ok_or_else(|| MixError::NotAPair(pair.to_owned()))?;
            let kind = Kind::MIXED.into_iter().find(|kind| kind.name() == name.trim());
            let kind = kind.ok_or_else(|| MixError::UnknownKind(name.to_owned()))?;
            if shares.iter().any(|(known, _)| *known == kind) {
                return Err(MixError::Twice(kind.name()));
            }
            let number = share.trim().parse().ok().filter(|share| *share <= SHARE_MAX);
            let number =
                number.ok_or_else(|| MixError::Share { kind: kind.name(), share: share.to_owned() })?;
            shares.push((kind, number));
        }
        shares.retain(|(_, share)| *share > 0);
        if shares.is_empty() { Err(MixError::Nothing) } else { Ok(Self(shares)) }
    }
}

impl fmt::Display for Mix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (kind, share)) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{}={share}", kind.name())?;
        }
        Ok(())
    }
}

impl Serialize for Mix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<Mix, MixError> {
        text.parse()
    }

    #[test]
    fn a_mix_is_said_in_shares() {
        let mix = parsed("create=60, complete=20,refund=5,withdraw=5,read=10").unwrap();
        assert_eq!(mix.to_string(), "create=60,complete=20,refund=5,withdraw=5,read=10");
        assert!(mix.asks_for(Kind::Read) && !mix.asks_for(Kind::Balance));
        assert!(!parsed("create=1,read=0").unwrap().asks_for(Kind::Read), "a share of nothing");
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(parsed(""), Err(MixError::NotAPair(String::new())));
        assert_eq!(parsed("create"), Err(MixError::NotAPair("create".to_owned())));
        assert_eq!(parsed("create=1,"), Err(MixError::NotAPair(String::new())));
        assert_eq!(parsed("pay=1"), Err(MixError::UnknownKind("pay".to_owned())));
        assert_eq!(parsed("merchant=1"), Err(MixError::UnknownKind("merchant".to_owned())));
        assert_eq!(parsed("create=1,create=2"), Err(MixError::Twice("create")));
        assert_eq!(parsed("create=0"), Err(MixError::Nothing));
        for share in ["", "-1", "1.5", "x", "1000001", "99999999999999999999"] {
            let wrong = parsed(&format!("create={share}"));
            assert_eq!(wrong, Err(MixError::Share { kind: "create", share: share.to_owned() }));
        }
    }

    proptest! {
        #[test]
        fn no_input_is_too_odd_to_be_refused(text in ".*") {
            drop(parsed(&text));
        }

        #[test]
        fn what_is_drawn_has_the_shares_that_were_said(seed: u64, create in 1_u32..100, read in 1_u32..100) {
            let mix = parsed(&format!("create={create},read={read}")).unwrap();
            let mut random = Random::new(seed, 0);
            let drawn = (0..20_000).filter(|_| mix.draw(&mut random) == Kind::Create).count();
            let wanted = f64::from(create) / f64::from(create + read);
            let found = f64::from(u32::try_from(drawn).unwrap()) / 20_000.0;
            prop_assert!((found - wanted).abs() < 0.025, "{found} instead of {wanted}");
        }
    }
}
