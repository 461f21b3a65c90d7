//! What someone asks for.

use crate::{
    bank::BankNumber,
    currency::Currency,
    id::{CommandId, MerchantId, PaymentId, WithdrawalId},
    money::AmountMinor,
    payment::CompletedBy,
};

/// Most payments in one bulk command.
pub const BULK_PAYMENTS_MAX: usize = 1000;

#[derive(Clone, Debug)]
pub struct Command {
    pub id: CommandId,
    pub merchant_id: MerchantId,
    pub action: Action,
}

#[derive(Clone, Debug)]
pub enum Action {
    CreateMerchant {
        name: String,
        email: String,
    },
    UpdateMerchant {
        name: Option<String>,
        is_active: Option<bool>,
    },
    /// One to [`BULK_PAYMENTS_MAX`], all or nothing.
    CreatePayments(Vec<NewPayment>),
    CompletePayment {
        payment_id: PaymentId,
        completed_by: CompletedBy,
    },
    CancelPayment {
        payment_id: PaymentId,
    },
    /// All that is left when there is no amount.
    RefundPayment {
        payment_id: PaymentId,
        amount: Option<AmountMinor>,
        reason: Option<String>,
    },
    FlagPayment {
        payment_id: PaymentId,
        reason: String,
    },
    RequestWithdrawal(NewWithdrawal),
    ProcessWithdrawal {
        withdrawal_id: WithdrawalId,
    },
    CompleteWithdrawal {
        withdrawal_id: WithdrawalId,
        external_transaction_id: Option<String>,
    },
    FailWithdrawal {
        withdrawal_id: WithdrawalId,
        reason: String,
    },
    CancelWithdrawal {
        withdrawal_id: WithdrawalId,
    },
}

#[derive(Clone, Debug)]
pub struct NewPayment {
    pub amount: AmountMinor,
    pub currency: Currency,
    pub external_reference: Option<String>,
    pub description: Option<String>,
}

#[derive(Clone, Debug)]
pub struct NewWithdrawal {
    pub amount: AmountMinor,
    pub currency: Currency,
    pub bank_account: BankNumber,
    pub bank_routing: BankNumber,
}

impl Action {
    /// The payment that must be loaded before deciding.
    pub const fn payment_id(&self) -> Option<PaymentId> {
        match self {
            Self::CompletePayment { payment_id, .. }
            | Self::CancelPayment { payment_id }
            | Self::RefundPayment { payment_id, .. }
            | Self::FlagPayment { payment_id, .. } => Some(*payment_id),
            Self::CreateMerchant { .. }
            | Self::UpdateMerchant { .. }
            | Self::CreatePayments(_)
            | Self::RequestWithdrawal(_)
            | Self::ProcessWithdrawal { .. }
            | Self::CompleteWithdrawal { .. }
            | Self::FailWithdrawal { .. }
            | Self::CancelWithdrawal { .. } => None,
        }
    }

    /// The withdrawal that must be loaded before deciding.
    pub const fn withdrawal_id(&self) -> Option<WithdrawalId> {
        match self {
            Self::ProcessWithdrawal { withdrawal_id }
            | Self::CompleteWithdrawal { withdrawal_id, .. }
            | Self::FailWithdrawal { withdrawal_id, .. }
            | Self::CancelWithdrawal { withdrawal_id } => Some(*withdrawal_id),
            Self::CreateMerchant { .. }
            | Self::UpdateMerchant { .. }
            | Self::CreatePayments(_)
            | Self::CompletePayment { .. }
            | Self::CancelPayment { .. }
            | Self::RefundPayment { .. }
            | Self::FlagPayment { .. }
            | Self::RequestWithdrawal(_) => None,
        }
    }

    /// Whether deciding needs the merchant's and the lane's accounts.
    pub const fn moves_money(&self) -> bool {
        match self {
            Self::CompletePayment { .. }
            | Self::RefundPayment { .. }
            | Self::RequestWithdrawal(_)
            | Self::CompleteWithdrawal { .. }
            | Self::FailWithdrawal { .. }
            | Self::CancelWithdrawal { .. } => true,
            Self::CreateMerchant { .. }
            | Self::UpdateMerchant { .. }
            | Self::CreatePayments(_)
            | Self::CancelPayment { .. }
            | Self::FlagPayment { .. }
            | Self::ProcessWithdrawal { .. } => false,
        }
    }
}
