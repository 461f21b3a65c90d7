//! What a command does: events, or a refusal. A pure function of values.

use crate::{
    command::{Action, Command, NewPayment, NewWithdrawal},
    currency::Currency,
    event::{
        Event, EventBody, MerchantCreated, MerchantUpdated, PaymentCancelled, PaymentCompleted,
        PaymentCreated, PaymentFlagged, PaymentRefunded, WithdrawalCancelled, WithdrawalCompleted,
        WithdrawalFailed, WithdrawalProcessing, WithdrawalRequested,
    },
    id::{EntryId, EventId, IdSource, MerchantId, PaymentId, WithdrawalId},
    lane::Lane,
    ledger::{AccountKey, AccountKind, Booking, Owner},
    merchant::{EmailKey, Merchant},
    money::AmountMinor,
    payment::{CompletedBy, Payment, PaymentStatus},
    refusal::Refusal,
    state::{State, Subject},
    time::Timestamp,
    withdrawal::{Withdrawal, WithdrawalStatus},
};

/// What came of a command that was not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Empty when the command asks for what is so already.
    pub events: Vec<Event>,
    /// What the answer shows, once the events are applied.
    pub subject: Subject,
}

/// Decides one command against the state, at a moment that the caller names, in the merchant's lane.
pub fn decide(state: &State, command: &Command, lane: Lane, now: Timestamp) -> Result<Decision, Refusal> {
    let mut context = Context { state, command, lane, now, ids: IdSource::new(command.id) };
    match &command.action {
        Action::CreateMerchant { name, email } => context.create_merchant(name, email),
        Action::UpdateMerchant { name, is_active } => context.update_merchant(name.as_deref(), *is_active),
        Action::CreatePayments(payments) => context.create_payments(payments),
        Action::CompletePayment { payment_id, completed_by } => {
            context.complete_payment(*payment_id, *completed_by)
        }
        Action::CancelPayment { payment_id } => context.cancel_payment(*payment_id),
        Action::RefundPayment { payment_id, amount, reason } => {
            context.refund_payment(*payment_id, *amount, reason.clone())
        }
        Action::FlagPayment { payment_id, reason } => context.flag_payment(*payment_id, reason),
        Action::RequestWithdrawal(request) => context.request_withdrawal(request),
        Action::ProcessWithdrawal { withdrawal_id } => context.process_withdrawal(*withdrawal_id),
        Action::CompleteWithdrawal { withdrawal_id, external_transaction_id } => {
            context.complete_withdrawal(*withdrawal_id, external_transaction_id.clone())
        }
        Action::FailWithdrawal { withdrawal_id, reason } => context.fail_withdrawal(*withdrawal_id, reason),
        Action::CancelWithdrawal { withdrawal_id } => context.cancel_withdrawal(*withdrawal_id),
    }
}

struct Context<'a> {
    state: &'a State,
    command: &'a Command,
    lane: Lane,
    now: Timestamp,
    ids: IdSource,
}

impl Context<'_> {
    fn create_merchant(&mut self, name: &str, email: &str) -> Result<Decision, Refusal> {
        if self.state.emails.contains_key(&EmailKey::of(email)) {
            return Err(Refusal::EmailTaken);
        }
        let merchant_id = self.command.merchant_id;
        let body = MerchantCreated { merchant_id, name: name.to_owned(), email: email.to_owned() };
        let event = self.event(EventBody::MerchantCreated(body));
        Ok(Decision { events: vec![event], subject: Subject::Merchant(merchant_id) })
    }

    fn update_merchant(&mut self, name: Option<&str>, is_active: Option<bool>) -> Result<Decision, Refusal> {
        let merchant = self.merchant()?;
        let subject = Subject::Merchant(merchant.id);
        let name = name.filter(|name| *name != merchant.name);
        let is_active = is_active.filter(|is_active| *is_active != merchant.is_active);
        if name.is_none() && is_active.is_none() {
            return Ok(Decision { events: Vec::new(), subject });
        }
        let body = MerchantUpdated { merchant_id: merchant.id, name: name.map(str::to_owned), is_active };
        let event = self.event(EventBody::MerchantUpdated(body));
        Ok(Decision { events: vec![event], subject })
    }

    fn create_payments(&mut self, payments: &[NewPayment]) -> Result<Decision, Refusal> {
        let merchant_id = self.active_merchant()?;
        let mut events = Vec::with_capacity(payments.len());
        let mut created = Vec::with_capacity(payments.len());
        let bulk_id = (payments.len() > 1).then_some(self.command.id);
        for payment in payments {
            let payment_id = PaymentId(self.ids.next_id());
            created.push(payment_id);
            let body = PaymentCreated {
                payment_id,
                merchant_id,
                amount: payment.amount,
                currency: payment.currency,
                external_reference: payment.external_reference.clone(),
                description: payment.description.clone(),
                bulk_id,
            };
            events.push(self.event(EventBody::PaymentCreated(body)));
        }
        Ok(Decision { events, subject: Subject::Payments(created) })
    }

    fn complete_payment(&mut self, id: PaymentId, completed_by: CompletedBy) -> Result<Decision, Refusal> {
        let payment = self.payment(id)?;
        let subject = Subject::Payment(id);
        match payment.status {
            PaymentStatus::Pending => {}
            PaymentStatus::Completed => {
                return Ok(Decision { events: Vec::new(), subject });
            }
            status @ (PaymentStatus::PartiallyRefunded | PaymentStatus::Refunded | PaymentStatus::Failed) => {
                return Err(Refusal::PaymentNotPending { status, wanted: "completed" });
            }
        }
        let minor = payment.amount.get();
        self.check_platform(AccountKind::Clearing, payment.currency, -minor)?;
        let booking = self.book(AccountKind::Available, payment.currency, minor)?;
        let event = self.event(EventBody::PaymentCompleted(PaymentCompleted {
            payment_id: id,
            merchant_id: payment.merchant_id,
            amount: payment.amount,
            currency: payment.currency,
            booking,
            completed_at: self.now,
            completed_by,
        }));
        Ok(Decision { events: vec![event], subject })
    }

    fn cancel_payment(&mut self, id: PaymentId) -> Result<Decision, Refusal> {
        let payment = self.payment(id)?;
        match payment.status {
            PaymentStatus::Pending => {}
            status @ (PaymentStatus::Completed
            | PaymentStatus::PartiallyRefunded
            | PaymentStatus::Refunded
            | PaymentStatus::Failed) => {
                return Err(Refusal::PaymentNotPending { status, wanted: "cancelled" });
            }
        }
        let event = self.event(EventBody::PaymentCancelled(PaymentCancelled {
            payment_id: id,
            merchant_id: payment.merchant_id,
            amount: payment.amount,
            currency: payment.currency,
        }));
        Ok(Decision { events: vec![event], subject: Subject::Payment(id) })
    }

    fn refund_payment(
        &mut self,
        id: PaymentId,
        amount: Option<AmountMinor>,
        reason: Option<String>,
    ) -> Result<Decision, Refusal> {
        let payment = self.payment(id)?;
        match payment.status {
            PaymentStatus::Completed | PaymentStatus::PartiallyRefunded => {}
            status @ (PaymentStatus::Pending | PaymentStatus::Refunded | PaymentStatus::Failed) => {
                return Err(Refusal::PaymentNotRefundable { status });
            }
        }
        let refundable_minor = payment.refundable_minor();
        let requested_minor = amount.map_or(refundable_minor, AmountMinor::get);
        let above =
            Refusal::RefundAbovePayment { requested_minor, refundable_minor, currency: payment.currency };
        let refunded_amount = AmountMinor::new(requested_minor)
            .filter(|amount| amount.get() <= refundable_minor)
            .ok_or(above)?;
        let booking = self.take_available(payment.currency, refunded_amount)?;
        self.check_platform(AccountKind::Clearing, payment.currency, requested_minor)?;
        let event = self.event(EventBody::PaymentRefunded(PaymentRefunded {
            payment_id: id,
            merchant_id: payment.merchant_id,
            refunded_amount,
            currency: payment.currency,
            booking,
            refund_reason: reason,
            refunded_at: self.now,
        }));
        Ok(Decision { events: vec![event], subject: Subject::Payment(id) })
    }

    fn flag_payment(&mut self, id: PaymentId, reason: &str) -> Result<Decision, Refusal> {
        let payment = self.payment(id)?;
        let subject = Subject::Payment(id);
        if payment.flag_reason.is_some() {
            return Ok(Decision { events: Vec::new(), subject });
        }
        let event = self.event(EventBody::PaymentFlagged(PaymentFlagged {
            payment_id: id,
            merchant_id: payment.merchant_id,
            amount: payment.amount,
            currency: payment.currency,
            flag_reason: reason.to_owned(),
            external_reference: payment.external_reference.clone(),
            description: payment.description.clone(),
        }));
        Ok(Decision { events: vec![event], subject })
    }

    fn request_withdrawal(&mut self, request: &NewWithdrawal) -> Result<Decision, Refusal> {
        let merchant_id = self.active_merchant()?;
        let withdrawal_id = WithdrawalId(self.ids.next_id());
        let booking = self.take_available(request.currency, request.amount)?;
        self.check(self.merchant_account(AccountKind::Pending, request.currency), request.amount.get())?;
        let event = self.event(EventBody::WithdrawalRequested(WithdrawalRequested {
            withdrawal_id,
            merchant_id,
            amount: request.amount,
            currency: request.currency,
            bank_account_number: request.bank_account.masked(),
            bank_routing_number: request.bank_routing.masked(),
            booking,
        }));
        Ok(Decision { events: vec![event], subject: Subject::Withdrawal(withdrawal_id) })
    }

    fn process_withdrawal(&mut self, id: WithdrawalId) -> Result<Decision, Refusal> {
        let withdrawal = self.withdrawal(id, WithdrawalStatus::Pending, "processed")?;
        let event = self.event(EventBody::WithdrawalProcessing(WithdrawalProcessing {
            withdrawal_id: id,
            merchant_id: withdrawal.merchant_id,
            amount: withdrawal.amount,
            currency: withdrawal.currency,
        }));
        Ok(Decision { events: vec![event], subject: Subject::Withdrawal(id) })
    }

    fn complete_withdrawal(
        &mut self,
        id: WithdrawalId,
        external_transaction_id: Option<String>,
    ) -> Result<Decision, Refusal> {
        let withdrawal = self.withdrawal(id, WithdrawalStatus::Processing, "completed")?;
        let minor = withdrawal.amount.get();
        self.check_platform(AccountKind::Payouts, withdrawal.currency, minor)?;
        let booking = self.book(AccountKind::Pending, withdrawal.currency, -minor)?;
        let event = self.event(EventBody::WithdrawalCompleted(WithdrawalCompleted {
            withdrawal_id: id,
            merchant_id: withdrawal.merchant_id,
            amount: withdrawal.amount,
            currency: withdrawal.currency,
            external_transaction_id,
            booking,
        }));
        Ok(Decision { events: vec![event], subject: Subject::Withdrawal(id) })
    }

    fn fail_withdrawal(&mut self, id: WithdrawalId, reason: &str) -> Result<Decision, Refusal> {
        let withdrawal = self.withdrawal(id, WithdrawalStatus::Processing, "failed")?;
        let booking = self.book(AccountKind::Available, withdrawal.currency, withdrawal.amount.get())?;
        let event = self.event(EventBody::WithdrawalFailed(WithdrawalFailed {
            withdrawal_id: id,
            merchant_id: withdrawal.merchant_id,
            amount: withdrawal.amount,
            currency: withdrawal.currency,
            failure_reason: reason.to_owned(),
            booking,
        }));
        Ok(Decision { events: vec![event], subject: Subject::Withdrawal(id) })
    }

    fn cancel_withdrawal(&mut self, id: WithdrawalId) -> Result<Decision, Refusal> {
        let withdrawal = self.withdrawal(id, WithdrawalStatus::Pending, "cancelled")?;
        let booking = self.book(AccountKind::Available, withdrawal.currency, withdrawal.amount.get())?;
        let event = self.event(EventBody::WithdrawalCancelled(WithdrawalCancelled {
            withdrawal_id: id,
            merchant_id: withdrawal.merchant_id,
            amount: withdrawal.amount,
            currency: withdrawal.currency,
            booking,
        }));
        Ok(Decision { events: vec![event], subject: Subject::Withdrawal(id) })
    }

    fn event(&mut self, body: EventBody) -> Event {
        Event { id: EventId(self.ids.next_id()), command_id: self.command.id, occurred_at: self.now, body }
    }

    fn merchant(&self) -> Result<Merchant, Refusal> {
        let id = self.command.merchant_id;
        self.state.merchants.get(&id).cloned().ok_or(Refusal::MerchantNotFound(id))
    }

    fn active_merchant(&self) -> Result<MerchantId, Refusal> {
        let merchant = self.merchant()?;
        if merchant.is_active { Ok(merchant.id) } else { Err(Refusal::MerchantInactive) }
    }

    /// The payment, if it is this merchant's: another merchant's does not exist for the caller.
    fn payment(&self, id: PaymentId) -> Result<Payment, Refusal> {
        let merchant_id = self.merchant()?.id;
        self.state
            .payments
            .get(&id)
            .filter(|payment| payment.merchant_id == merchant_id)
            .cloned()
            .ok_or(Refusal::PaymentNotFound(id))
    }

    fn withdrawal(
        &self,
        id: WithdrawalId,
        required: WithdrawalStatus,
        wanted: &'static str,
    ) -> Result<Withdrawal, Refusal> {
        let merchant_id = self.merchant()?.id;
        let withdrawal = self
            .state
            .withdrawals
            .get(&id)
            .filter(|withdrawal| withdrawal.merchant_id == merchant_id)
            .cloned()
            .ok_or(Refusal::WithdrawalNotFound(id))?;
        if withdrawal.status == required {
            Ok(withdrawal)
        } else {
            Err(Refusal::WithdrawalInWrongState { status: withdrawal.status, required, wanted })
        }
    }

    fn merchant_account(&self, kind: AccountKind, currency: Currency) -> AccountKey {
        AccountKey { owner: Owner::Merchant(self.command.merchant_id), kind, currency }
    }

    fn balance(&self, account: AccountKey) -> i64 {
        self.state.accounts.get(&account).map_or(0, |account| account.balance_minor)
    }

    /// What an account would hold after a change.
    fn check(&self, account: AccountKey, change_minor: i64) -> Result<i64, Refusal> {
        self.balance(account).checked_add(change_minor).ok_or(Refusal::BalanceOutOfRange)
    }

    fn check_platform(
        &self,
        kind: AccountKind,
        currency: Currency,
        change_minor: i64,
    ) -> Result<i64, Refusal> {
        self.check(AccountKey { owner: Owner::Platform(self.lane), kind, currency }, change_minor)
    }

    fn book(&mut self, kind: AccountKind, currency: Currency, change_minor: i64) -> Result<Booking, Refusal> {
        let new_balance_minor = self.check(self.merchant_account(kind, currency), change_minor)?;
        Ok(Booking {
            new_balance_minor,
            ledger_entry_id: EntryId(self.ids.next_id()),
            counter_entry_id: EntryId(self.ids.next_id()),
        })
    }

    /// Takes money out of the merchant's available balance, which never goes below zero.
    fn take_available(&mut self, currency: Currency, amount: AmountMinor) -> Result<Booking, Refusal> {
        let available_minor = self.balance(self.merchant_account(AccountKind::Available, currency));
        let requested_minor = amount.get();
        if available_minor < requested_minor {
            return Err(Refusal::InsufficientFunds { available_minor, requested_minor, currency });
        }
        self.book(AccountKind::Available, currency, -requested_minor)
    }
}
