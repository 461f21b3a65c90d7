//! The double-entry ledger: accounts, and transactions of entries that sum to zero.
//!
//! A balance is the sum of its account's entries. Money that moves to an account is positive there
//! and negative where it came from; `clearing` is money at the processor and therefore usually
//! negative, while what a merchant may take out is positive in `available`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    currency::Currency,
    event::{Event, EventBody},
    id::{EntryId, EventId, MerchantId, PaymentId, WithdrawalId},
    lane::Lane,
    payment::named,
    time::Timestamp,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    Merchant(MerchantId),
    /// The platform's own accounts have a sub-account a lane, so that none is hot.
    Platform(Lane),
}

/// A `UUIDv8` of zeros: no `UUIDv7` of our time has its first 48 bits zero.
const PLATFORM_PREFIX: u128 = 0x0000_0000_0000_8000_8000_0000_0000_0000;

impl Owner {
    /// The owner as the tables store it; the platform's sub-accounts count their lanes in the last
    /// 16 bits of an otherwise empty id.
    pub fn to_uuid(self) -> Uuid {
        match self {
            Self::Merchant(merchant) => merchant.0,
            Self::Platform(lane) => Uuid::from_u128(PLATFORM_PREFIX | u128::from(lane.0)),
        }
    }

    pub fn from_uuid(id: Uuid) -> Self {
        let bits = id.as_u128();
        if bits & !0xffff == PLATFORM_PREFIX {
            Self::Platform(Lane((bits & 0xffff) as u16))
        } else {
            Self::Merchant(MerchantId(id))
        }
    }
}

named!(AccountKind { Available = 1, Pending = 2, Clearing = 3, Payouts = 4 });

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountKey {
    pub owner: Owner,
    pub kind: AccountKind,
    pub currency: Currency,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Account {
    pub balance_minor: i64,
    /// How many entries it has; they are numbered 1, 2, 3 … within the account.
    pub entries: i64,
    pub updated_at: Timestamp,
}

named!(EntryType {
    PaymentReceived = 1,
    PaymentRefunded = 2,
    WithdrawalRequested = 3,
    WithdrawalCompleted = 4,
    WithdrawalFailed = 5,
    WithdrawalCancelled = 6,
});

/// One line in one account. All entries with the same `transaction_id` sum to zero per currency.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub id: EntryId,
    pub transaction_id: EventId,
    pub account: AccountKey,
    /// 1, 2, 3 … within the account.
    pub number: i64,
    /// Signed: positive where the money arrives.
    pub amount_minor: i64,
    pub balance_after_minor: i64,
    pub entry_type: EntryType,
    pub payment_id: Option<PaymentId>,
    pub withdrawal_id: Option<WithdrawalId>,
    pub created_at: Timestamp,
}

/// What an event books: `amount_minor` from one account to another.
#[derive(Clone, Copy, Debug)]
pub struct Posting {
    pub entry_type: EntryType,
    pub amount_minor: i64,
    pub from: Leg,
    pub to: Leg,
    pub payment_id: Option<PaymentId>,
    pub withdrawal_id: Option<WithdrawalId>,
    /// What the event says that the merchant's account holds afterwards.
    pub new_balance_minor: i64,
    /// The entry that `new_balance_minor` speaks of.
    pub new_balance_of: EntryId,
}

#[derive(Clone, Copy, Debug)]
pub struct Leg {
    pub account: AccountKey,
    pub entry_id: EntryId,
}

/// The ids and the balance that every event carries which moves money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booking {
    /// The merchant's balance after the event, in the account of `ledger_entry_id`.
    #[serde(rename = "newBalanceInMinorUnits")]
    pub new_balance_minor: i64,
    #[serde(rename = "ledgerEntryId")]
    pub ledger_entry_id: EntryId,
    /// The other side of the same ledger transaction.
    #[serde(rename = "counterEntryId")]
    pub counter_entry_id: EntryId,
}

/// The one place that says which event moves money between which accounts; design: clearing →
/// available → (refund) clearing; available → pending → payouts or back.
pub fn posting(event: &Event, lane: Lane) -> Option<Posting> {
    use AccountKind::{Available, Clearing, Payouts, Pending};
    let merchant = Owner::Merchant(event.merchant_id());
    let platform = Owner::Platform(lane);
    let (entry_type, minor, currency, booking, from, to, own_is_from) = match &event.body {
        EventBody::PaymentCompleted(e) => (
            EntryType::PaymentReceived,
            e.amount.get(),
            e.currency,
            e.booking,
            (platform, Clearing),
            (merchant, Available),
            false,
        ),
        EventBody::PaymentRefunded(e) => (
            EntryType::PaymentRefunded,
            e.refunded_amount.get(),
            e.currency,
            e.booking,
            (merchant, Available),
            (platform, Clearing),
            true,
        ),
        EventBody::WithdrawalRequested(e) => (
            EntryType::WithdrawalRequested,
            e.amount.get(),
            e.currency,
            e.booking,
            (merchant, Available),
            (merchant, Pending),
            true,
        ),
        EventBody::WithdrawalCompleted(e) => (
            EntryType::WithdrawalCompleted,
            e.amount.get(),
            e.currency,
            e.booking,
            (merchant, Pending),
            (platform, Payouts),
            true,
        ),
        EventBody::WithdrawalFailed(e) => (
            EntryType::WithdrawalFailed,
            e.amount.get(),
            e.currency,
            e.booking,
            (merchant, Pending),
            (merchant, Available),
            false,
        ),
        EventBody::WithdrawalCancelled(e) => (
            EntryType::WithdrawalCancelled,
            e.amount.get(),
            e.currency,
            e.booking,
            (merchant, Pending),
            (merchant, Available),
            false,
        ),
        EventBody::MerchantCreated(_)
        | EventBody::MerchantUpdated(_)
        | EventBody::PaymentCreated(_)
        | EventBody::PaymentCancelled(_)
        | EventBody::PaymentFlagged(_)
        | EventBody::WithdrawalProcessing(_) => return None,
    };
    let account = |(owner, kind)| AccountKey { owner, kind, currency };
    let (from_entry, to_entry) = if own_is_from {
        (booking.ledger_entry_id, booking.counter_entry_id)
    } else {
        (booking.counter_entry_id, booking.ledger_entry_id)
    };
    Some(Posting {
        entry_type,
        amount_minor: minor,
        from: Leg { account: account(from), entry_id: from_entry },
        to: Leg { account: account(to), entry_id: to_entry },
        payment_id: event.body.payment_id(),
        withdrawal_id: event.body.withdrawal_id(),
        new_balance_minor: booking.new_balance_minor,
        new_balance_of: booking.ledger_entry_id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_survives_the_way_through_a_table() {
        let merchant =
            Owner::Merchant(MerchantId(Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_0001)));
        for owner in [merchant, Owner::Platform(Lane(0)), Owner::Platform(Lane(1023))] {
            assert_eq!(Owner::from_uuid(owner.to_uuid()), owner);
        }
    }
}
