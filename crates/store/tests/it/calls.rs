//! Commands as a caller makes them.

use domain::{
    command::{Action, Command, NewPayment},
    currency::Currency,
    id::{CommandId, MerchantId, PaymentId},
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

/// What takes effect; gives the command's id, too.
pub async fn submit(store: &Store, merchant_id: MerchantId, action: Action) -> (CommandId, Outcome) {
    let id = CommandId(Uuid::now_v7());
    let command = Command { id, merchant_id, action };
    let answer = store.submit(Request { command, claim: None, origin: None, trace: None }).await.unwrap();
    (id, answer.outcome)
}

pub async fn merchant(store: &Store) -> MerchantId {
    named(store, "Test", &format!("{}@example.com", Uuid::now_v7())).await
}

pub async fn named(store: &Store, name: &str, email: &str) -> MerchantId {
    let id = MerchantId(Uuid::now_v7());
    submit(store, id, Action::CreateMerchant { name: name.to_owned(), email: email.to_owned() }).await;
    id
}

/// 50.00 USD.
pub fn new_payment(reference: &str) -> NewPayment {
    NewPayment {
        amount: AmountMinor::new(5000).unwrap(),
        currency: Currency::parse("USD").unwrap(),
        external_reference: Some(reference.to_owned()),
        description: None,
    }
}

/// A payment whose idempotency key is `key`.
pub fn payment(merchant: MerchantId, key: &str) -> Request {
    let new = new_payment(key);
    let command = Command {
        id: CommandId(Uuid::now_v7()),
        merchant_id: merchant,
        action: Action::CreatePayments(vec![new]),
    };
    let claim = Claim::new("caller", &merchant.to_string(), key, &[key.as_bytes()]);
    Request { command, claim: Some(claim), origin: None, trace: None }
}

pub async fn pay(store: &Store, merchant: MerchantId, key: &str) -> Result<Answer, SubmitError> {
    store.submit(payment(merchant, key)).await
}

/// As [`pay`]; gives the payment.
pub async fn paid(store: &Store, merchant: MerchantId, key: &str) -> PaymentId {
    first_payment(&pay(store, merchant, key).await.unwrap().outcome)
}

/// The first payment that was made.
pub fn first_payment(outcome: &Outcome) -> PaymentId {
    match outcome {
        Outcome::Payments(made) => made[0].id,
        other => panic!("{other:?}"),
    }
}

pub fn complete(payment_id: PaymentId) -> Action {
    Action::CompletePayment { payment_id, completed_by: CompletedBy::Manual }
}
