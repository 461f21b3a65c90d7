//! What people look for is found, however it is called: merchants, what waits for review, commands.

use domain::{
    command::{Action, NewWithdrawal},
    currency::Currency,
    id::{CommandId, MerchantId, PaymentId},
    money::AmountMinor,
    state::Outcome,
};
use store::{
    Store, find,
    merchants::{self, MerchantsWanted},
    reviews::{self, History},
};
use uuid::Uuid;

use crate::{
    backend::{Backend, on_both},
    calls::{complete, first_payment, merchant, named, paid, submit},
};

on_both!(
    the_first_event_of_every_command_is_found_by_the_command,
    a_flagged_payment_waits_until_it_is_decided,
    merchants_are_found_by_what_their_names_begin_with,
);

async fn payment(store: &Store, id: MerchantId) -> PaymentId {
    paid(store, id, &Uuid::now_v7().to_string()).await
}

async fn flag(store: &Store, id: MerchantId, payment_id: PaymentId) {
    submit(store, id, Action::FlagPayment { payment_id, reason: "odd".to_owned() }).await;
}

/// Every kind of command: none numbers so many things before its first event that it is not found.
async fn the_first_event_of_every_command_is_found_by_the_command(backend: Backend) {
    let database = backend.create().await;
    let store = database.open(4).await;
    let id = MerchantId(Uuid::now_v7());
    let withdrawal_id = |outcome: &Outcome| match outcome {
        Outcome::Withdrawal(withdrawal) => withdrawal.id,
        other => panic!("{other:?}"),
    };
    let mut commands = Vec::new();
    let mut carry_out = async |action: Action, first: &'static str| {
        let (command, outcome) = submit(&store, id, action).await;
        commands.push((command, first));
        outcome
    };
    let new = Action::CreateMerchant { name: "M".to_owned(), email: "m@example.com".to_owned() };
    carry_out(new, "MerchantCreated").await;
    carry_out(Action::UpdateMerchant { name: Some("N".to_owned()), is_active: None }, "MerchantUpdated")
        .await;
    let pay = || Action::CreatePayments(vec![crate::calls::new_payment("a"), crate::calls::new_payment("b")]);
    let first = first_payment(&carry_out(pay(), "PaymentCreated").await);
    let second = first_payment(&carry_out(pay(), "PaymentCreated").await);
    carry_out(Action::FlagPayment { payment_id: second, reason: "odd".to_owned() }, "PaymentFlagged").await;
    carry_out(Action::CancelPayment { payment_id: second }, "PaymentCancelled").await;
    carry_out(complete(first), "PaymentCompleted").await;
    let refund = Action::RefundPayment { payment_id: first, amount: AmountMinor::new(1), reason: None };
    carry_out(refund, "PaymentRefunded").await;
    let request = || {
        Action::RequestWithdrawal(NewWithdrawal {
            amount: AmountMinor::new(10).unwrap(),
            currency: Currency::parse("USD").unwrap(),
            bank_account: domain::bank::BankNumber::parse("99887766554433221100").unwrap(),
            bank_routing: domain::bank::BankNumber::parse("021000021").unwrap(),
        })
    };
    for end in ["complete", "fail", "cancel"] {
        let withdrawal_id = withdrawal_id(&carry_out(request(), "WithdrawalRequested").await);
        if end == "cancel" {
            carry_out(Action::CancelWithdrawal { withdrawal_id }, "WithdrawalCancelled").await;
            continue;
        }
        carry_out(Action::ProcessWithdrawal { withdrawal_id }, "WithdrawalProcessing").await;
        if end == "complete" {
            let paid = Action::CompleteWithdrawal { withdrawal_id, external_transaction_id: None };
            carry_out(paid, "WithdrawalCompleted").await;
        } else {
            let failed = Action::FailWithdrawal { withdrawal_id, reason: "no".to_owned() };
            carry_out(failed, "WithdrawalFailed").await;
        }
    }
    for (command, first) in commands {
        let event = find::first_event(store.reads(), command).await.unwrap();
        let event = event.unwrap_or_else(|| panic!("{first} of {command} was not found"));
        assert_eq!((event.command_id, event.event_type.as_str()), (command, first));
    }
    assert_eq!(find::first_event(store.reads(), CommandId(Uuid::now_v7())).await.unwrap(), None);
    store.close().await;
}

async fn a_flagged_payment_waits_until_it_is_decided(backend: Backend) {
    let database = backend.create().await;
    let store = database.open(4).await;
    let (one, other) = (merchant(&store).await, merchant(&store).await);
    let mut flagged = Vec::new();
    for id in [one, other, one, other, one] {
        payment(&store, id).await;
        let payment_id = payment(&store, id).await;
        flag(&store, id, payment_id).await;
        flagged.push(payment_id);
    }
    let page = reviews::queue(store.reads(), None, 3).await.unwrap();
    assert_eq!(page.rows.iter().map(|payment| payment.id).collect::<Vec<_>>(), flagged[..3]);
    assert!(page.rows.iter().all(|payment| payment.flag_reason.as_deref() == Some("odd")));
    let next = PaymentId(page.next.unwrap().id);
    let rest = reviews::queue(store.reads(), Some(next), 3).await.unwrap();
    assert_eq!(rest.rows.iter().map(|payment| payment.id).collect::<Vec<_>>(), flagged[3..]);
    assert!(rest.next.is_none());

    let histories = reviews::histories(store.reads(), &[one, other]).await.unwrap();
    assert_eq!(histories[&one], History { payments: 6, pending: 6, flagged: 3, ..History::default() });

    submit(&store, one, complete(flagged[0])).await;
    submit(&store, other, Action::CancelPayment { payment_id: flagged[1] }).await;
    // What was completed before it is flagged does not wait; what is flagged again waits once.
    let completed = payment(&store, one).await;
    submit(&store, one, complete(completed)).await;
    flag(&store, one, completed).await;
    flag(&store, one, flagged[2]).await;
    let page = reviews::queue(store.reads(), None, 10).await.unwrap();
    assert_eq!(page.rows.iter().map(|payment| payment.id).collect::<Vec<_>>(), flagged[2..]);
    let histories = reviews::histories(store.reads(), &[one]).await.unwrap();
    let expected = History { payments: 7, completed: 2, pending: 5, flagged: 4, ..History::default() };
    assert_eq!(histories[&one], expected);
    store.close().await;
}

async fn merchants_are_found_by_what_their_names_begin_with(backend: Backend) {
    let database = backend.create().await;
    let store = database.open(4).await;
    let shop = named(&store, "Shoe Shop", "Sales@Shoes.example").await;
    let hats = named(&store, "Hats_100%", "hats@example.com").await;
    let cafe = named(&store, "Édith", "edith@example.com").await;
    submit(&store, hats, Action::UpdateMerchant { name: None, is_active: Some(false) }).await;
    let found = async |search: &str, is_active: Option<bool>| {
        let search = (!search.is_empty()).then(|| search.to_owned());
        let wanted = MerchantsWanted { search, is_active };
        let page = merchants::list(store.reads(), &wanted, None, 10).await.unwrap();
        assert!(page.next.is_none() && !page.is_cut_short);
        page.rows.into_iter().map(|merchant| merchant.id).collect::<Vec<_>>()
    };
    assert_eq!(found("", None).await, [cafe, hats, shop]);
    assert_eq!(found("shoe", None).await, [shop]);
    assert_eq!(found("SALES@", None).await, [shop]);
    assert_eq!(found("sales@shoes.EXAMPLE", None).await, [shop]);
    assert_eq!(found("Édi", None).await, [cafe]);
    assert_eq!(found(&hats.to_string(), None).await, [hats]);
    assert_eq!(found("hats_100%", None).await, [hats]);
    assert_eq!(found("", Some(true)).await, [cafe, shop]);
    assert_eq!(found("", Some(false)).await, [hats]);
    // Neither a part from the middle, nor a wildcard.
    assert!(found("shop", None).await.is_empty() && found("%", None).await.is_empty());
    assert!(found("_", None).await.is_empty() && found(&hats.to_string(), Some(true)).await.is_empty());

    let first = merchants::list(store.reads(), &MerchantsWanted::default(), None, 2).await.unwrap();
    let rest = merchants::list(store.reads(), &MerchantsWanted::default(), first.next, 2).await.unwrap();
    assert_eq!((rest.rows.len(), rest.rows[0].id, rest.next), (1, shop, None));
    store.close().await;
}
