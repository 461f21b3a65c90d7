//! The state as the fold of the events. [`State::apply`] is the only way to change it.

use std::collections::HashMap;

use uuid::Uuid;

use crate::{
    event::{Event, EventBody},
    id::{MerchantId, PaymentId, WithdrawalId},
    lane::Lane,
    ledger::{Account, AccountKey, Entry, Leg, Posting, posting},
    merchant::{EmailKey, Merchant},
    payment::{Payment, PaymentStatus},
    withdrawal::{Withdrawal, WithdrawalStatus},
};

/// The merchants, payments, withdrawals and accounts that someone works with: all of a lane, or what
/// the commands of one batch name. What is not in it does not exist.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    pub merchants: HashMap<MerchantId, Merchant>,
    pub emails: HashMap<EmailKey, MerchantId>,
    pub payments: HashMap<PaymentId, Payment>,
    pub withdrawals: HashMap<WithdrawalId, Withdrawal>,
    pub accounts: HashMap<AccountKey, Account>,
}

/// An event that does not fit the state: the log or a table is not what it was. Never caused by a
/// caller, so whoever meets it stops and says so.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoldError {
    #[error("{event_type} speaks of {subject}, which no event created")]
    Unknown { event_type: &'static str, subject: Uuid },
    #[error("{event_type} creates {subject} a second time")]
    CreatedTwice { event_type: &'static str, subject: Uuid },
    #[error("{event_type} of {subject} says that the balance is {said}, but its entries sum to {summed}")]
    DriftedBalance { event_type: &'static str, subject: Uuid, said: i64, summed: i64 },
    #[error("{event_type} of {subject} takes a balance out of the range of a 64-bit integer")]
    OutOfRange { event_type: &'static str, subject: Uuid },
}

/// What a command's answer shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Merchant(Merchant),
    Payment(Payment),
    Payments(Vec<Payment>),
    Withdrawal(Withdrawal),
}

/// Which part of the state a command's answer shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Merchant(MerchantId),
    Payment(PaymentId),
    Payments(Vec<PaymentId>),
    Withdrawal(WithdrawalId),
}

impl State {
    /// Folds one event of a lane in; gives the ledger entries that it books.
    pub fn apply(&mut self, lane: Lane, event: &Event) -> Result<Vec<Entry>, FoldError> {
        let entries = match posting(event, lane) {
            Some(posting) => self.book(event, &posting)?,
            None => Vec::new(),
        };
        self.apply_resource(event)?;
        Ok(entries)
    }

    /// The part of [`State::apply`] that concerns merchants, payments and withdrawals, without the
    /// ledger: enough to say how one of them looked after any of its events.
    pub fn apply_resource(&mut self, event: &Event) -> Result<(), FoldError> {
        match &event.body {
            EventBody::MerchantCreated(_) | EventBody::MerchantUpdated(_) => self.apply_merchant(event),
            EventBody::PaymentCreated(_)
            | EventBody::PaymentCompleted(_)
            | EventBody::PaymentCancelled(_)
            | EventBody::PaymentRefunded(_)
            | EventBody::PaymentFlagged(_) => self.apply_payment(event),
            EventBody::WithdrawalRequested(_)
            | EventBody::WithdrawalProcessing(_)
            | EventBody::WithdrawalCompleted(_)
            | EventBody::WithdrawalFailed(_)
            | EventBody::WithdrawalCancelled(_) => self.apply_withdrawal(event),
        }
    }

    pub fn outcome(&self, subject: &Subject) -> Option<Outcome> {
        match subject {
            Subject::Merchant(id) => self.merchants.get(id).cloned().map(Outcome::Merchant),
            Subject::Payment(id) => self.payments.get(id).cloned().map(Outcome::Payment),
            Subject::Payments(ids) => {
                let payments: Option<Vec<_>> = ids.iter().map(|id| self.payments.get(id).cloned()).collect();
                payments.map(Outcome::Payments)
            }
            Subject::Withdrawal(id) => self.withdrawals.get(id).cloned().map(Outcome::Withdrawal),
        }
    }

    fn apply_merchant(&mut self, event: &Event) -> Result<(), FoldError> {
        match &event.body {
            EventBody::MerchantCreated(e) => {
                let merchant = Merchant {
                    id: e.merchant_id,
                    name: e.name.clone(),
                    email: e.email.clone(),
                    is_active: true,
                    created_at: event.occurred_at,
                };
                self.emails.insert(EmailKey::of(&e.email), e.merchant_id);
                created(event, self.merchants.insert(e.merchant_id, merchant).is_none())
            }
            EventBody::MerchantUpdated(e) => {
                let merchant = self.merchants.get_mut(&e.merchant_id).ok_or_else(|| unknown(event))?;
                if let Some(name) = &e.name {
                    merchant.name.clone_from(name);
                }
                if let Some(is_active) = e.is_active {
                    merchant.is_active = is_active;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn apply_payment(&mut self, event: &Event) -> Result<(), FoldError> {
        if let EventBody::PaymentCreated(e) = &event.body {
            let payment = Payment {
                id: e.payment_id,
                merchant_id: e.merchant_id,
                amount: e.amount,
                currency: e.currency,
                status: PaymentStatus::Pending,
                external_reference: e.external_reference.clone(),
                description: e.description.clone(),
                created_at: event.occurred_at,
                completed_at: None,
                completed_by: None,
                refunded_minor: 0,
                refunded_at: None,
                refund_reason: None,
                flag_reason: None,
            };
            return created(event, self.payments.insert(e.payment_id, payment).is_none());
        }
        let id = event.body.payment_id().ok_or_else(|| unknown(event))?;
        let payment = self.payments.get_mut(&id).ok_or_else(|| unknown(event))?;
        match &event.body {
            EventBody::PaymentCompleted(e) => {
                payment.status = PaymentStatus::Completed;
                payment.completed_at = Some(e.completed_at);
                payment.completed_by = Some(e.completed_by);
            }
            EventBody::PaymentCancelled(_) => payment.status = PaymentStatus::Failed,
            EventBody::PaymentRefunded(e) => {
                payment.refunded_minor += e.refunded_amount.get();
                payment.refunded_at = Some(e.refunded_at);
                payment.refund_reason.clone_from(&e.refund_reason);
                payment.status = if payment.refundable_minor() == 0 {
                    PaymentStatus::Refunded
                } else {
                    PaymentStatus::PartiallyRefunded
                };
            }
            EventBody::PaymentFlagged(e) => payment.flag_reason = Some(e.flag_reason.clone()),
            _ => {}
        }
        Ok(())
    }

    fn apply_withdrawal(&mut self, event: &Event) -> Result<(), FoldError> {
        if let EventBody::WithdrawalRequested(e) = &event.body {
            let withdrawal = Withdrawal {
                id: e.withdrawal_id,
                merchant_id: e.merchant_id,
                amount: e.amount,
                currency: e.currency,
                status: WithdrawalStatus::Pending,
                bank_account_masked: e.bank_account_number.clone(),
                bank_routing_masked: e.bank_routing_number.clone(),
                external_transaction_id: None,
                failure_reason: None,
                created_at: event.occurred_at,
                processed_at: None,
                completed_at: None,
            };
            return created(event, self.withdrawals.insert(e.withdrawal_id, withdrawal).is_none());
        }
        let id = event.body.withdrawal_id().ok_or_else(|| unknown(event))?;
        let withdrawal = self.withdrawals.get_mut(&id).ok_or_else(|| unknown(event))?;
        match &event.body {
            EventBody::WithdrawalProcessing(_) => {
                withdrawal.status = WithdrawalStatus::Processing;
                withdrawal.processed_at = Some(event.occurred_at);
            }
            EventBody::WithdrawalCompleted(e) => {
                withdrawal.status = WithdrawalStatus::Completed;
                withdrawal.external_transaction_id.clone_from(&e.external_transaction_id);
                withdrawal.completed_at = Some(event.occurred_at);
            }
            EventBody::WithdrawalFailed(e) => {
                withdrawal.status = WithdrawalStatus::Failed;
                withdrawal.failure_reason = Some(e.failure_reason.clone());
                withdrawal.completed_at = Some(event.occurred_at);
            }
            EventBody::WithdrawalCancelled(_) => {
                withdrawal.status = WithdrawalStatus::Cancelled;
                withdrawal.completed_at = Some(event.occurred_at);
            }
            _ => {}
        }
        Ok(())
    }

    /// Books both legs, or neither: the balances are checked before the first one is changed.
    fn book(&mut self, event: &Event, posting: &Posting) -> Result<Vec<Entry>, FoldError> {
        let legs = [(posting.from, -posting.amount_minor), (posting.to, posting.amount_minor)];
        let mut entries = Vec::with_capacity(legs.len());
        for (Leg { account, entry_id }, amount_minor) in legs {
            let before = self.accounts.get(&account).copied().unwrap_or_default();
            let after = before.balance_minor.checked_add(amount_minor).ok_or(FoldError::OutOfRange {
                event_type: event.body.event_type(),
                subject: event.body.subject(),
            })?;
            if entry_id == posting.new_balance_of && after != posting.new_balance_minor {
                return Err(FoldError::DriftedBalance {
                    event_type: event.body.event_type(),
                    subject: event.body.subject(),
                    said: posting.new_balance_minor,
                    summed: after,
                });
            }
            entries.push(Entry {
                id: entry_id,
                transaction_id: event.id,
                account,
                number: before.entries + 1,
                amount_minor,
                balance_after_minor: after,
                entry_type: posting.entry_type,
                payment_id: posting.payment_id,
                withdrawal_id: posting.withdrawal_id,
                created_at: event.occurred_at,
            });
        }
        for entry in &entries {
            self.accounts.insert(
                entry.account,
                Account {
                    balance_minor: entry.balance_after_minor,
                    entries: entry.number,
                    updated_at: entry.created_at,
                },
            );
        }
        Ok(entries)
    }
}

fn unknown(event: &Event) -> FoldError {
    FoldError::Unknown { event_type: event.body.event_type(), subject: event.body.subject() }
}

fn created(event: &Event, is_new: bool) -> Result<(), FoldError> {
    if is_new {
        return Ok(());
    }
    Err(FoldError::CreatedTwice { event_type: event.body.event_type(), subject: event.body.subject() })
}
