//! Commands as a caller makes them.

use domain::{
    command::{Action, Command, NewPayment},
    currency::Currency,
    id::{CommandId, MerchantId},
    money::AmountMinor,
    state::Outcome,
};
use store::{
    Store,
    error::SubmitError,
    request::{Answer, Claim, Request},
};
use uuid::Uuid;

pub async fn merchant(store: &Store) -> MerchantId {
    let id = Uuid::now_v7();
    let action = Action::CreateMerchant { name: "Test".to_owned(), email: format!("{id}@example.com") };
    let command = Command { id: CommandId(Uuid::now_v7()), merchant_id: MerchantId(id), action };
    match store.submit(Request { command, claim: None, origin: None, trace: None }).await.unwrap().outcome {
        Outcome::Merchant(merchant) => merchant.id,
        other => panic!("{other:?}"),
    }
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
