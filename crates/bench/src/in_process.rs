//! A connection without HTTP: commands go to [`store::Store::submit`] as the API's handlers hand them over.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use domain::{
    bank::BankNumber,
    command::{self, Command, NewPayment, NewWithdrawal},
    currency::Currency,
    id::{CommandId, MerchantId, PaymentId},
    money::AmountMinor,
    payment::CompletedBy,
    state::Outcome,
    time::Timestamp,
};
use store::{
    Store,
    error::{ReadError, SubmitError},
    queries,
    request::{Claim, Request},
};
use uuid::Uuid;

use crate::{
    connection::{Answer, Connection, Holdings, Payments, Resource, Verdict},
    operation::{Action, BANK_ACCOUNT, BANK_ROUTING, CURRENCY, DESCRIPTION, EXTERNAL_REFERENCE, Operation},
};

/// As the API's, whose keys they share.
const CALLER: &str = "anonymous";

#[derive(Clone)]
pub struct InProcess(pub Store);

impl Connection for InProcess {
    async fn send(&mut self, operation: &Operation) -> Answer {
        let merchant = MerchantId(operation.merchant_id);
        match &operation.action {
            Action::Read { payment } => read(self.0.lookups().payment(merchant, PaymentId(*payment)).await),
            Action::Balance => read(self.0.lookups().balances(merchant).await),
            Action::Get { path } => {
                Answer::without(Verdict::Unsent, format!("there is no {path} without HTTP"))
            }
            _ => match request(operation) {
                Some(request) => answer(self.0.submit(request).await.map(|answer| answer.outcome)),
                None => Answer::without(Verdict::Unsent, "not a command of the domain"),
            },
        }
    }

    async fn holdings(&mut self, merchant: Uuid) -> Result<Holdings, String> {
        let (reads, id) = (self.0.reads(), MerchantId(merchant));
        let currency = Currency::parse(CURRENCY).ok_or("no currency")?;
        let text = |error: ReadError| error.to_string();
        let (_, balances) = self.0.lookups().balances(id).await.map_err(text)?.ok_or("no such merchant")?;
        let proof = queries::balance_proof(reads, id, currency).await.map_err(text)?;
        let (first, last) = (Timestamp::from_micros(0), Timestamp::from_micros(i64::MAX));
        let mut payments = Payments::default();
        for total in queries::day_totals(reads, id, first, last).await.map_err(text)? {
            if let Some(count) = payments.of(total.status.name()) {
                *count += u64::try_from(total.payments).unwrap_or(0);
            }
        }
        let balance = balances.into_iter().find(|balance| balance.currency == currency);
        Ok(Holdings {
            available_minor: balance.map_or(0, |balance| balance.available_minor),
            pending_minor: balance.map_or(0, |balance| balance.pending_minor),
            entries_minor: proof.entries_minor,
            payments,
        })
    }
}

fn request(operation: &Operation) -> Option<Request> {
    let currency = Currency::parse(CURRENCY)?;
    let action = match &operation.action {
        Action::CreateMerchant { email } => {
            command::Action::CreateMerchant { name: "Bench".to_owned(), email: email.clone() }
        }
        Action::Create { amounts_minor, .. } => {
            let payment = |minor: &i64| {
                Some(NewPayment {
                    amount: AmountMinor::new(*minor)?,
                    currency,
                    external_reference: Some(EXTERNAL_REFERENCE.to_owned()),
                    description: Some(DESCRIPTION.to_owned()),
                })
            };
            command::Action::CreatePayments(amounts_minor.iter().map(payment).collect::<Option<_>>()?)
        }
        Action::Complete { payment } => command::Action::CompletePayment {
            payment_id: PaymentId(*payment),
            completed_by: CompletedBy::Manual,
        },
        Action::Refund { payment, amount_minor } => command::Action::RefundPayment {
            payment_id: PaymentId(*payment),
            amount: Some(AmountMinor::new(*amount_minor)?),
            reason: None,
        },
        Action::Withdraw { amount_minor } => command::Action::RequestWithdrawal(NewWithdrawal {
            amount: AmountMinor::new(*amount_minor)?,
            currency,
            bank_account: BankNumber::parse(BANK_ACCOUNT)?,
            bank_routing: BankNumber::parse(BANK_ROUTING)?,
        }),
        Action::Read { .. } | Action::Balance | Action::Get { .. } => return None,
    };
    let (merchant, scope) = match operation.action {
        Action::CreateMerchant { .. } => (Uuid::now_v7(), String::new()),
        _ => (operation.merchant_id, operation.merchant_id.to_string()),
    };
    let (path, body) = (operation.path(), operation.body());
    let parts = [operation.method().as_bytes(), path.as_bytes(), body.as_bytes()];
    let claim = Claim::new(CALLER, &scope, &operation.key.to_string(), &parts);
    let command = Command { id: CommandId(Uuid::now_v7()), merchant_id: MerchantId(merchant), action };
    Some(Request { command, claim: Some(claim), origin: None, trace: None })
}

fn answer(submitted: Result<Outcome, SubmitError>) -> Answer {
    let outcome = match submitted {
        Ok(outcome) => outcome,
        Err(error) => {
            let verdict = match error {
                SubmitError::Refused(_) | SubmitError::KeyReused => Verdict::Refused,
                SubmitError::Busy => Verdict::Busy,
                SubmitError::Unavailable => Verdict::Unavailable,
                SubmitError::OutcomeUnknown | SubmitError::Broken => Verdict::Unknown,
            };
            return Answer::without(verdict, error.to_string());
        }
    };
    let mut hasher = DefaultHasher::new();
    format!("{outcome:?}").hash(&mut hasher);
    let payment = |payment: domain::payment::Payment| Resource {
        id: payment.id.0,
        amount_minor: payment.amount.get(),
        status: payment.status.name().to_owned(),
    };
    let resources = match outcome {
        Outcome::Merchant(merchant) => {
            vec![Resource { id: merchant.id.0, amount_minor: 0, status: String::new() }]
        }
        Outcome::Payment(one) => vec![payment(one)],
        Outcome::Payments(many) => many.into_iter().map(payment).collect(),
        Outcome::Withdrawal(withdrawal) => vec![Resource {
            id: withdrawal.id.0,
            amount_minor: withdrawal.amount.get(),
            status: withdrawal.status.name().to_owned(),
        }],
    };
    Answer { verdict: Verdict::Ok, status: Some(200), resources, digest: hasher.finish(), reason: None }
}

fn read<T>(found: Result<Option<T>, ReadError>) -> Answer {
    match found {
        Ok(Some(_)) => {
            Answer { verdict: Verdict::Ok, status: Some(200), resources: Vec::new(), digest: 0, reason: None }
        }
        Ok(None) => Answer::without(Verdict::Refused, "there is none"),
        Err(ReadError::Unavailable(reason)) => Answer::without(Verdict::Unavailable, reason),
        Err(ReadError::Invalid(reason)) => Answer::without(Verdict::Unknown, reason),
    }
}
