//! A payment: `Pending → Completed → PartiallyRefunded → Refunded`, or `Pending → Failed` by cancelling.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{
    currency::Currency,
    id::{MerchantId, PaymentId},
    money::AmountMinor,
    time::Timestamp,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    pub id: PaymentId,
    pub merchant_id: MerchantId,
    pub amount: AmountMinor,
    pub currency: Currency,
    pub status: PaymentStatus,
    pub external_reference: Option<String>,
    pub description: Option<String>,
    pub created_at: Timestamp,
    pub completed_at: Option<Timestamp>,
    pub completed_by: Option<CompletedBy>,
    /// The sum of all refunds; never above `amount`.
    pub refunded_minor: i64,
    /// When the last refund was made, and its reason.
    pub refunded_at: Option<Timestamp>,
    pub refund_reason: Option<String>,
    pub flag_reason: Option<String>,
}

impl Payment {
    /// What can still be refunded, in minor units.
    pub fn refundable_minor(&self) -> i64 {
        self.amount.get() - self.refunded_minor
    }
}

/// An enum that is stored by number and shown by name.
macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $number:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name { $($variant = $number),+ }

        impl $name {
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => stringify!($variant)),+ }
            }

            /// The number in the tables; it never changes its meaning.
            pub const fn number(self) -> i16 {
                self as i16
            }

            pub const fn from_number(number: i64) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }
        }

        impl FromStr for $name {
            type Err = ();
            fn from_str(text: &str) -> Result<Self, ()> {
                match text { $(stringify!($variant) => Ok(Self::$variant),)+ _ => Err(()) }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}
pub(crate) use named;

named!(PaymentStatus { Pending = 1, Completed = 2, PartiallyRefunded = 3, Refunded = 4, Failed = 5 });

named!(
    /// Who completed a payment.
    CompletedBy { Manual = 1, FraudDetection = 2 }
);
