//! A withdrawal: `Pending → Processing → Completed` or `Failed`, or `Pending → Cancelled`.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{
    currency::Currency,
    id::{MerchantId, WithdrawalId},
    money::AmountMinor,
    payment::named,
    time::Timestamp,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withdrawal {
    pub id: WithdrawalId,
    pub merchant_id: MerchantId,
    pub amount: AmountMinor,
    pub currency: Currency,
    pub status: WithdrawalStatus,
    pub bank_account_masked: String,
    pub bank_routing_masked: String,
    pub external_transaction_id: Option<String>,
    pub failure_reason: Option<String>,
    pub created_at: Timestamp,
    /// When it was taken up for payment.
    pub processed_at: Option<Timestamp>,
    /// When it ended: completed, failed or cancelled.
    pub completed_at: Option<Timestamp>,
}

named!(WithdrawalStatus { Pending = 1, Processing = 2, Completed = 3, Failed = 4, Cancelled = 5 });
