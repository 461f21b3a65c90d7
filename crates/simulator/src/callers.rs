//! Those who call the API: what they ask for, and what they were answered.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::{
    bank::BankNumber,
    command::{Action, Command, NewPayment, NewWithdrawal},
    currency::Currency,
    id::{CommandId, MerchantId, PaymentId, WithdrawalId},
    money::AmountMinor,
    payment::CompletedBy,
    state::Outcome,
};
use store::{
    Store,
    error::SubmitError,
    request::{Answer, Claim, Request},
};
use uuid::Uuid;

use crate::schedule::{self, Call};

/// Longer than what a record of the simulation may hold.
const LONG_NAME_CHARS: usize = 900;

/// What a caller was told about one attempt.
#[derive(Clone, Debug)]
pub enum Told {
    /// Nothing, or with the truth that it is not known.
    Unknown,
    /// That nothing was changed.
    Nothing,
    Answer(Answer),
    /// What a sound system never says.
    Broken(String),
}

/// One request, with all its attempts.
#[derive(Clone, Debug)]
pub struct Asked {
    pub merchant: MerchantId,
    pub key: Option<u8>,
    pub action: Action,
    pub told: BTreeMap<CommandId, Told>,
}

#[derive(Default)]
struct State {
    next_id: u128,
    merchants: Vec<MerchantId>,
    payments: BTreeMap<MerchantId, Vec<PaymentId>>,
    withdrawals: BTreeMap<MerchantId, Vec<WithdrawalId>>,
    asked: Vec<Asked>,
    /// The request that a key of a merchant stands for; a caller uses it for nothing else.
    keys: BTreeMap<(MerchantId, u8), usize>,
}

#[derive(Clone, Default)]
pub struct Callers {
    state: Arc<Mutex<State>>,
}

impl Callers {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }

    /// Takes a call up and gives the number of its request. A key that the merchant has used repeats that request.
    pub fn prepare(&self, call: &Call) -> usize {
        let mut state = self.state();
        let merchant = state.merchant(call);
        let number = state.asked.len();
        let key = call.key.filter(|_| !matches!(call.action, schedule::Action::CreateMerchant));
        let known = key.map_or(number, |key| *state.keys.entry((merchant, key)).or_insert(number));
        if known == number {
            let action = state.action(merchant, &call.action);
            state.asked.push(Asked { merchant, key, action, told: BTreeMap::new() });
        }
        known
    }

    /// Sends a request once, to a node that may or may not be there; gives whether the caller knows what became of it.
    pub async fn send(&self, number: usize, store: Option<Store>) -> bool {
        let Some(store) = store else { return false };
        let (id, request) = {
            let mut state = self.state();
            let id = CommandId(state.id());
            let Asked { merchant, key, action, told } = &mut state.asked[number];
            told.insert(id, Told::Unknown);
            let claim = key.map(|key| {
                let what = format!("{merchant} {action:?}");
                Claim::new("caller", &merchant.to_string(), &format!("key-{key}"), &[what.as_bytes()])
            });
            let command = Command { id, merchant_id: *merchant, action: action.clone() };
            (id, Request { command, claim, origin: None, trace: None })
        };
        let told = match store.submit(request).await {
            Ok(answer) => Told::Answer(answer),
            Err(SubmitError::Refused(_) | SubmitError::Busy | SubmitError::Unavailable) => Told::Nothing,
            Err(SubmitError::OutcomeUnknown) => Told::Unknown,
            Err(error @ (SubmitError::KeyReused | SubmitError::Broken)) => Told::Broken(error.to_string()),
        };
        let is_known = !matches!(told, Told::Unknown);
        let mut state = self.state();
        if let Told::Answer(answer) = &told {
            state.learn(&answer.outcome);
        }
        state.asked[number].told.insert(id, told);
        is_known
    }
}

impl State {
    /// As `UUIDv7`, far enough apart that none runs into what another command numbers from its own.
    fn id(&mut self) -> Uuid {
        self.next_id += 1;
        Uuid::from_u128(0x019a_0000_0000_7000_8000_0000_0000_0000 | (self.next_id << 24))
    }

    fn merchant(&mut self, call: &Call) -> MerchantId {
        if matches!(call.action, schedule::Action::CreateMerchant) || self.merchants.is_empty() {
            return MerchantId(self.id());
        }
        self.merchants[call.merchant % self.merchants.len()]
    }

    fn action(&mut self, merchant: MerchantId, action: &schedule::Action) -> Action {
        if !self.merchants.contains(&merchant) {
            let email = format!("{merchant}@example.com");
            return Action::CreateMerchant { name: "Merchant".to_owned(), email };
        }
        let number = self.next_id;
        let payments = self.payments.get(&merchant).map_or(&[][..], Vec::as_slice);
        let withdrawals = self.withdrawals.get(&merchant).map_or(&[][..], Vec::as_slice);
        let payment = |at: usize| {
            let at = at.checked_rem(payments.len());
            at.and_then(|at| payments.get(at)).copied().unwrap_or(PaymentId(Uuid::from_u128(7)))
        };
        let withdrawal = |at: usize| {
            let at = at.checked_rem(withdrawals.len());
            at.and_then(|at| withdrawals.get(at)).copied().unwrap_or(WithdrawalId(Uuid::from_u128(7)))
        };
        match *action {
            schedule::Action::CreateMerchant | schedule::Action::Rename => Action::UpdateMerchant {
                name: Some(format!("{number} {}", "n".repeat(LONG_NAME_CHARS))),
                is_active: None,
            },
            schedule::Action::CreatePayments { count, amount } => {
                let new = |n: usize| NewPayment {
                    amount: minor(amount + i64::try_from(n).unwrap_or(0)),
                    currency: dollars(),
                    external_reference: None,
                    description: None,
                };
                Action::CreatePayments((0..count).map(new).collect())
            }
            schedule::Action::Complete { payment: at } => {
                Action::CompletePayment { payment_id: payment(at), completed_by: CompletedBy::Manual }
            }
            schedule::Action::Refund { payment: at, amount } => {
                Action::RefundPayment { payment_id: payment(at), amount: Some(minor(amount)), reason: None }
            }
            schedule::Action::Cancel { payment: at } => Action::CancelPayment { payment_id: payment(at) },
            schedule::Action::Withdraw { amount } => Action::RequestWithdrawal(NewWithdrawal {
                amount: minor(amount),
                currency: dollars(),
                bank_account: bank("99887766554433221100"),
                bank_routing: bank("021000021"),
            }),
            schedule::Action::Process { withdrawal: at } => {
                Action::ProcessWithdrawal { withdrawal_id: withdrawal(at) }
            }
            schedule::Action::Pay { withdrawal: at } => {
                Action::CompleteWithdrawal { withdrawal_id: withdrawal(at), external_transaction_id: None }
            }
            schedule::Action::Recall { withdrawal: at } => {
                Action::CancelWithdrawal { withdrawal_id: withdrawal(at) }
            }
        }
    }

    fn learn(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Merchant(merchant) if !self.merchants.contains(&merchant.id) => {
                self.merchants.push(merchant.id);
            }
            Outcome::Payments(payments) => {
                for payment in payments {
                    note(self.payments.entry(payment.merchant_id).or_default(), payment.id);
                }
            }
            Outcome::Withdrawal(withdrawal) => {
                note(self.withdrawals.entry(withdrawal.merchant_id).or_default(), withdrawal.id);
            }
            Outcome::Merchant(_) | Outcome::Payment(_) => {}
        }
    }
}

fn note<T: PartialEq>(known: &mut Vec<T>, new: T) {
    if !known.contains(&new) {
        known.push(new);
    }
}

fn minor(amount: i64) -> AmountMinor {
    AmountMinor::new(amount).expect("a schedule's amounts are small and positive")
}

fn dollars() -> Currency {
    Currency::parse("USD").expect("USD is a currency")
}

fn bank(number: &str) -> BankNumber {
    BankNumber::parse(number).expect("it is a number of a bank account")
}
