//! What has happened: immutable, versioned, written once as JSON.
//!
//! The payload in the log is byte for byte what Kafka carries as JSON: camelCase, with `eventId`, `occurredAt` and
//! `eventType` before the fields of the event; what is absent is left out. `schemas/` says the same in Avro, every version
//! of every event, and tests hold the two together.
//!
//! A version differs from the one before it by further fields that may be absent, and by nothing else,
//! which a test compares. So an event of an earlier version is read as one of the newest in which they are absent: that
//! is the upcast, and nothing in the log is rewritten. One of a later version, which a newer program has written beside
//! this one, is read without what this one does not know. A change of another kind is another event type.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    currency::Currency,
    id::{CommandId, EventId, MerchantId, PaymentId, WithdrawalId},
    ledger::Booking,
    money::AmountMinor,
    payment::CompletedBy,
    time::Timestamp,
};

/// A named sequence of events, and the Kafka topic that it is copied to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stream {
    Payments = 1,
    Withdrawals = 2,
    Merchants = 3,
}

impl Stream {
    pub const ALL: [Self; 3] = [Self::Payments, Self::Withdrawals, Self::Merchants];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Payments => "payment-events",
            Self::Withdrawals => "withdrawal-events",
            Self::Merchants => "merchant-events",
        }
    }

    /// The number in the tables; it never changes its meaning.
    pub const fn number(self) -> i16 {
        self as i16
    }

    pub const fn from_number(number: i64) -> Option<Self> {
        match number {
            1 => Some(Self::Payments),
            2 => Some(Self::Withdrawals),
            3 => Some(Self::Merchants),
            _ => None,
        }
    }

    /// 0, 1, 2: the place in an array that holds something for each stream.
    pub const fn index(self) -> usize {
        self as usize - 1
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub id: EventId,
    pub command_id: CommandId,
    pub occurred_at: Timestamp,
    pub body: EventBody,
}

/// Why a payload could not be read back.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    #[error("event type {0} is not known")]
    UnknownType(String),
    #[error("the payload is not a {event_type}: {source}")]
    Payload { event_type: String, source: serde_json::Error },
}

macro_rules! events {
    ($($name:ident: $stream:ident, version $version:literal;)+) => {
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum EventBody { $($name($name)),+ }

        /// All events in the order of their declaration: the stream, the name, the version that is written.
        pub const EVENT_TYPES: &[(Stream, &str, u16)] = &[$((Stream::$stream, stringify!($name), $version)),+];

        impl EventBody {
            pub const fn event_type(&self) -> &'static str {
                match self { $(Self::$name(_) => stringify!($name)),+ }
            }

            pub const fn version(&self) -> u16 {
                match self { $(Self::$name(_) => $version),+ }
            }

            pub const fn stream(&self) -> Stream {
                match self { $(Self::$name(_) => Stream::$stream),+ }
            }

            pub const fn merchant_id(&self) -> MerchantId {
                match self { $(Self::$name(e) => e.merchant_id),+ }
            }

            fn parse(event_type: &str, payload: &str) -> Result<Self, EventError> {
                match event_type {
                    $(stringify!($name) => {
                        serde_json::from_str(payload).map(Self::$name).map_err(|source| {
                            EventError::Payload { event_type: event_type.to_owned(), source }
                        })
                    })+
                    _ => Err(EventError::UnknownType(event_type.to_owned())),
                }
            }
        }

        impl Event {
            /// The payload as it is stored, sealed and published.
            pub fn to_json(&self) -> String {
                let text = match &self.body { $(EventBody::$name(body) => serde_json::to_string(&Wire {
                    event_id: self.id,
                    occurred_at: self.occurred_at,
                    event_type: stringify!($name),
                    body,
                })),+ };
                text.expect("an event is strings, integers and times")
            }
        }
    };
}

events! {
    MerchantCreated: Merchants, version 1;
    MerchantUpdated: Merchants, version 1;
    PaymentCreated: Payments, version 2;
    PaymentCompleted: Payments, version 1;
    PaymentCancelled: Payments, version 1;
    PaymentRefunded: Payments, version 1;
    PaymentFlagged: Payments, version 1;
    WithdrawalRequested: Withdrawals, version 1;
    WithdrawalProcessing: Withdrawals, version 1;
    WithdrawalCompleted: Withdrawals, version 1;
    WithdrawalFailed: Withdrawals, version 1;
    WithdrawalCancelled: Withdrawals, version 1;
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a, T> {
    event_id: EventId,
    occurred_at: Timestamp,
    event_type: &'static str,
    #[serde(flatten)]
    body: &'a T,
}

impl Event {
    /// Reads an event back from the columns and the payload of the log.
    pub fn parse(
        id: EventId,
        command_id: CommandId,
        occurred_at: Timestamp,
        event_type: &str,
        payload: &str,
    ) -> Result<Self, EventError> {
        let body = EventBody::parse(event_type, payload)?;
        Ok(Self { id, command_id, occurred_at, body })
    }

    pub const fn merchant_id(&self) -> MerchantId {
        self.body.merchant_id()
    }
}

impl EventBody {
    pub const fn payment_id(&self) -> Option<PaymentId> {
        match self {
            Self::PaymentCreated(e) => Some(e.payment_id),
            Self::PaymentCompleted(e) => Some(e.payment_id),
            Self::PaymentCancelled(e) => Some(e.payment_id),
            Self::PaymentRefunded(e) => Some(e.payment_id),
            Self::PaymentFlagged(e) => Some(e.payment_id),
            Self::MerchantCreated(_)
            | Self::MerchantUpdated(_)
            | Self::WithdrawalRequested(_)
            | Self::WithdrawalProcessing(_)
            | Self::WithdrawalCompleted(_)
            | Self::WithdrawalFailed(_)
            | Self::WithdrawalCancelled(_) => None,
        }
    }

    pub const fn withdrawal_id(&self) -> Option<WithdrawalId> {
        match self {
            Self::WithdrawalRequested(e) => Some(e.withdrawal_id),
            Self::WithdrawalProcessing(e) => Some(e.withdrawal_id),
            Self::WithdrawalCompleted(e) => Some(e.withdrawal_id),
            Self::WithdrawalFailed(e) => Some(e.withdrawal_id),
            Self::WithdrawalCancelled(e) => Some(e.withdrawal_id),
            Self::MerchantCreated(_)
            | Self::MerchantUpdated(_)
            | Self::PaymentCreated(_)
            | Self::PaymentCompleted(_)
            | Self::PaymentCancelled(_)
            | Self::PaymentRefunded(_)
            | Self::PaymentFlagged(_) => None,
        }
    }

    /// The payment, withdrawal or merchant whose life this event belongs to: what is parked together.
    pub fn subject(&self) -> Uuid {
        match (self.payment_id(), self.withdrawal_id()) {
            (Some(payment), _) => payment.0,
            (None, Some(withdrawal)) => withdrawal.0,
            (None, None) => self.merchant_id().0,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MerchantCreated {
    pub merchant_id: MerchantId,
    pub name: String,
    pub email: String,
}

/// The fields that changed; an absent one kept its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MerchantUpdated {
    pub merchant_id: MerchantId,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_active: Option<bool>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentCreated {
    pub payment_id: PaymentId,
    pub merchant_id: MerchantId,
    #[serde(rename = "amountInMinorUnits")]
    pub amount: AmountMinor,
    pub currency: Currency,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// The bulk request that it came with, by its command. Since version 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bulk_id: Option<CommandId>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentCompleted {
    pub payment_id: PaymentId,
    pub merchant_id: MerchantId,
    #[serde(rename = "amountInMinorUnits")]
    pub amount: AmountMinor,
    pub currency: Currency,
    #[serde(flatten)]
    pub booking: Booking,
    pub completed_at: Timestamp,
    pub completed_by: CompletedBy,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentCancelled {
    pub payment_id: PaymentId,
    pub merchant_id: MerchantId,
    #[serde(rename = "amountInMinorUnits")]
    pub amount: AmountMinor,
    pub currency: Currency,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRefunded {
    pub payment_id: PaymentId,
    pub merchant_id: MerchantId,
    /// What this refund gave back; a payment may have several.
    #[serde(rename = "refundedAmountInMinorUnits")]
    pub refunded_amount: AmountMinor,
    pub currency: Currency,
    #[serde(flatten)]
    pub booking: Booking,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refund_reason: Option<String>,
    pub refunded_at: Timestamp,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentFlagged {
    pub payment_id: PaymentId,
    pub merchant_id: MerchantId,
    #[serde(rename = "amountInMinorUnits")]
    pub amount: AmountMinor,
    pub currency: Currency,
    pub flag_reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_reference: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WithdrawalRequested {
    pub withdrawal_id: WithdrawalId,
    pub merchant_id: MerchantId,
    #[serde(rename = "amountInMinorUnits")]
    pub amount: AmountMinor,
    pub currency: Currency,
    /// Masked to the last four characters, as is the routing number.
    pub bank_account_number: String,
    pub bank_routing_number: String,
    #[serde(flatten)]
    pub booking: Booking,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WithdrawalProcessing {
    pub withdrawal_id: WithdrawalId,
    pub merchant_id: MerchantId,
    #[serde(rename = "amountInMinorUnits")]
    pub amount: AmountMinor,
    pub currency: Currency,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WithdrawalCompleted {
    pub withdrawal_id: WithdrawalId,
    pub merchant_id: MerchantId,
    #[serde(rename = "amountInMinorUnits")]
    pub amount: AmountMinor,
    pub currency: Currency,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_transaction_id: Option<String>,
    #[serde(flatten)]
    pub booking: Booking,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WithdrawalFailed {
    pub withdrawal_id: WithdrawalId,
    pub merchant_id: MerchantId,
    #[serde(rename = "amountInMinorUnits")]
    pub amount: AmountMinor,
    pub currency: Currency,
    pub failure_reason: String,
    #[serde(flatten)]
    pub booking: Booking,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WithdrawalCancelled {
    pub withdrawal_id: WithdrawalId,
    pub merchant_id: MerchantId,
    #[serde(rename = "amountInMinorUnits")]
    pub amount: AmountMinor,
    pub currency: Currency,
    #[serde(flatten)]
    pub booking: Booking,
}
