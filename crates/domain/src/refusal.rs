//! Why a command was refused. A refusal changes nothing.

use crate::{
    currency::Currency,
    id::{MerchantId, PaymentId, WithdrawalId},
    payment::PaymentStatus,
    withdrawal::WithdrawalStatus,
};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("There is no merchant {0}.")]
    MerchantNotFound(MerchantId),
    #[error("There is no payment {0} of this merchant.")]
    PaymentNotFound(PaymentId),
    #[error("There is no withdrawal {0} of this merchant.")]
    WithdrawalNotFound(WithdrawalId),
    #[error("A merchant with this email exists already.")]
    EmailTaken,
    #[error("The merchant is inactive: it takes no new payments or withdrawals.")]
    MerchantInactive,
    #[error("The payment is {status}; only a Pending payment can be {wanted}.")]
    PaymentNotPending { status: PaymentStatus, wanted: &'static str },
    #[error("The payment is {status}; only a Completed or PartiallyRefunded payment can be refunded.")]
    PaymentNotRefundable { status: PaymentStatus },
    #[error(
        "The refund of {requested_minor} is more than the {refundable_minor} {currency} minor units that are left of the payment."
    )]
    RefundAbovePayment { requested_minor: i64, refundable_minor: i64, currency: Currency },
    #[error(
        "The available balance of {available_minor} {currency} minor units does not cover {requested_minor}."
    )]
    InsufficientFunds { available_minor: i64, requested_minor: i64, currency: Currency },
    #[error("The withdrawal is {status}; only a {required} withdrawal can be {wanted}.")]
    WithdrawalInWrongState { status: WithdrawalStatus, required: WithdrawalStatus, wanted: &'static str },
    #[error("The balance would leave the range of a 64-bit integer.")]
    BalanceOutOfRange,
}

impl Refusal {
    /// Stable; clients may switch on it.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::MerchantNotFound(_) => "merchant_not_found",
            Self::PaymentNotFound(_) => "payment_not_found",
            Self::WithdrawalNotFound(_) => "withdrawal_not_found",
            Self::EmailTaken => "email_taken",
            Self::MerchantInactive => "merchant_inactive",
            Self::PaymentNotPending { .. } => "payment_not_pending",
            Self::PaymentNotRefundable { .. } => "payment_not_refundable",
            Self::RefundAbovePayment { .. } => "refund_above_payment",
            Self::InsufficientFunds { .. } => "insufficient_funds",
            Self::WithdrawalInWrongState { .. } => "withdrawal_in_wrong_state",
            Self::BalanceOutOfRange => "balance_out_of_range",
        }
    }
}
