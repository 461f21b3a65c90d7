//! The tenant: owns payments, withdrawals and balances.

use crate::{id::MerchantId, time::Timestamp};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merchant {
    pub id: MerchantId,
    pub name: String,
    pub email: String,
    /// An inactive merchant takes no new payment or withdrawal; what it has goes on.
    pub is_active: bool,
    pub created_at: Timestamp,
}

/// What an email is unique by: its lower-case form.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EmailKey(String);

impl EmailKey {
    pub fn of(email: &str) -> Self {
        Self(email.to_lowercase())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}
