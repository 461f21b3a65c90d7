//! Which step is possible in which state, and by which name an impossible one is refused.

use domain::{
    command::Action,
    id::{MerchantId, PaymentId, WithdrawalId},
    ledger::AccountKind::{Available, Pending},
    payment::PaymentStatus,
    state::Outcome,
};
use uuid::Uuid;

use crate::{World, usd};

#[derive(Clone, Copy, Debug)]
enum Step {
    Complete,
    Cancel,
    Refund(Option<i64>),
}

fn step(
    world: &mut World,
    merchant: MerchantId,
    payment_id: PaymentId,
    step: Step,
) -> Result<PaymentStatus, &'static str> {
    let outcome = match step {
        Step::Complete => world.complete(merchant, payment_id),
        Step::Cancel => world.run(merchant, Action::CancelPayment { payment_id }),
        Step::Refund(minor) => world.refund(merchant, payment_id, minor),
    };
    match outcome {
        Ok(Outcome::Payment(payment)) => Ok(payment.status),
        Ok(other) => panic!("{other:?}"),
        Err(refusal) => Err(refusal.code()),
    }
}

/// Failure modes 97 and 98.
#[test]
fn a_payment_goes_only_where_it_may() {
    use PaymentStatus::{Completed, Failed, PartiallyRefunded, Refunded};
    use Step::{Cancel, Complete, Refund};
    let paths: &[(&[Step], Result<PaymentStatus, &str>)] = &[
        (&[Complete], Ok(Completed)),
        (&[Complete, Complete], Ok(Completed)),
        (&[Cancel], Ok(Failed)),
        (&[Cancel, Cancel], Err("payment_not_pending")),
        (&[Cancel, Complete], Err("payment_not_pending")),
        (&[Complete, Cancel], Err("payment_not_pending")),
        (&[Refund(None)], Err("payment_not_refundable")),
        (&[Cancel, Refund(None)], Err("payment_not_refundable")),
        (&[Complete, Refund(None)], Ok(Refunded)),
        (&[Complete, Refund(Some(100))], Ok(Refunded)),
        (&[Complete, Refund(Some(40))], Ok(PartiallyRefunded)),
        (&[Complete, Refund(Some(40)), Refund(Some(60))], Ok(Refunded)),
        (&[Complete, Refund(Some(40)), Refund(None)], Ok(Refunded)),
        (&[Complete, Refund(Some(40)), Refund(Some(61))], Err("refund_above_payment")),
        (&[Complete, Refund(Some(101))], Err("refund_above_payment")),
        (&[Complete, Refund(None), Refund(Some(1))], Err("payment_not_refundable")),
        (&[Complete, Refund(Some(40)), Complete], Err("payment_not_pending")),
        (&[Complete, Refund(Some(40)), Cancel], Err("payment_not_pending")),
    ];
    for (path, expected) in paths {
        let mut world = World::default();
        let merchant = world.merchant(1);
        let payment = world.pay(merchant, 100);
        let mut last = Err("nothing was done");
        for next in *path {
            last = step(&mut world, merchant, payment, *next);
        }
        assert_eq!(last, *expected, "{path:?}");
    }
}

#[test]
fn completing_twice_changes_nothing() {
    let mut world = World::default();
    let merchant = world.merchant(1);
    let payment = world.pay(merchant, 100);
    let first = world.complete(merchant, payment).unwrap();
    let (state, events) = (world.state.clone(), world.events.len());
    assert_eq!(world.complete(merchant, payment).unwrap(), first);
    assert_eq!((world.state, world.events.len()), (state, events));
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Process,
    Complete,
    Fail,
    Cancel,
}

fn action(of: Move, withdrawal_id: WithdrawalId) -> Action {
    match of {
        Move::Process => Action::ProcessWithdrawal { withdrawal_id },
        Move::Complete => {
            Action::CompleteWithdrawal { withdrawal_id, external_transaction_id: Some("tx".to_owned()) }
        }
        Move::Fail => Action::FailWithdrawal { withdrawal_id, reason: "returned".to_owned() },
        Move::Cancel => Action::CancelWithdrawal { withdrawal_id },
    }
}

/// Moves, how the last one ends, and what is available and pending then.
type Path<'a> = (&'a [Move], Result<(), &'a str>, (i64, i64));

/// Failure modes 97 and 98. What is available and pending afterwards of 100, of which 60 were asked for.
#[test]
fn a_withdrawal_goes_only_where_it_may_and_its_money_with_it() {
    use Move::{Cancel, Complete, Fail, Process};
    let wrong = "withdrawal_in_wrong_state";
    let paths: &[Path<'_>] = &[
        (&[], Ok(()), (40, 60)),
        (&[Process], Ok(()), (40, 60)),
        (&[Process, Complete], Ok(()), (40, 0)),
        (&[Process, Fail], Ok(()), (100, 0)),
        (&[Cancel], Ok(()), (100, 0)),
        (&[Complete], Err(wrong), (40, 60)),
        (&[Fail], Err(wrong), (40, 60)),
        (&[Process, Process], Err(wrong), (40, 60)),
        (&[Process, Cancel], Err(wrong), (40, 60)),
        (&[Process, Complete, Fail], Err(wrong), (40, 0)),
        (&[Process, Complete, Complete], Err(wrong), (40, 0)),
        (&[Process, Fail, Complete], Err(wrong), (100, 0)),
        (&[Cancel, Process], Err(wrong), (100, 0)),
        (&[Cancel, Cancel], Err(wrong), (100, 0)),
    ];
    for (path, expected, (available, pending)) in paths {
        let mut world = World::default();
        let merchant = world.merchant(1);
        let payment = world.pay(merchant, 100);
        world.complete(merchant, payment).unwrap();
        let withdrawal = world.withdraw(merchant, 60).unwrap();
        let mut last = Ok(());
        for next in *path {
            last =
                world.run(merchant, action(*next, withdrawal)).map(|_| ()).map_err(|refusal| refusal.code());
        }
        assert_eq!(last, *expected, "{path:?}");
        let held = |kind| crate::life::held(&world.state, merchant, kind, usd());
        assert_eq!((held(Available), held(Pending)), (*available, *pending), "{path:?}");
    }
}

#[test]
fn what_is_not_available_cannot_be_taken_out_or_given_back() {
    let mut world = World::default();
    let merchant = world.merchant(1);
    let payment = world.pay(merchant, 100);
    assert_eq!(world.withdraw(merchant, 1).unwrap_err().code(), "insufficient_funds");
    world.complete(merchant, payment).unwrap();
    world.withdraw(merchant, 70).unwrap();
    assert_eq!(world.withdraw(merchant, 31).unwrap_err().code(), "insufficient_funds");
    assert_eq!(world.refund(merchant, payment, None).unwrap_err().code(), "insufficient_funds");
    world.refund(merchant, payment, Some(30)).unwrap();
}

#[test]
fn another_merchants_payment_does_not_exist() {
    let mut world = World::default();
    let (owner, stranger) = (world.merchant(1), world.merchant(2));
    let payment = world.pay(owner, 100);
    assert_eq!(world.complete(stranger, payment).unwrap_err().code(), "payment_not_found");
    world.complete(owner, payment).unwrap();
    let withdrawal = world.withdraw(owner, 10).unwrap();
    let refused = world.run(stranger, action(Move::Cancel, withdrawal)).unwrap_err();
    assert_eq!(refused.code(), "withdrawal_not_found");
    let nobody = MerchantId(Uuid::from_u128(9));
    assert_eq!(world.complete(nobody, payment).unwrap_err().code(), "merchant_not_found");
}

#[test]
fn an_inactive_merchant_takes_nothing_new_but_ends_what_it_has() {
    let mut world = World::default();
    let merchant = world.merchant(1);
    let payment = world.pay(merchant, 100);
    world.run(merchant, Action::UpdateMerchant { name: None, is_active: Some(false) }).unwrap();
    let refused = world.run(merchant, Action::CreatePayments(Vec::new())).unwrap_err();
    assert_eq!(refused.code(), "merchant_inactive");
    assert_eq!(world.withdraw(merchant, 1).unwrap_err().code(), "merchant_inactive");
    world.complete(merchant, payment).unwrap();
    world.refund(merchant, payment, None).unwrap();
}

#[test]
fn an_email_is_unique_without_regard_to_case() {
    let mut world = World::default();
    world.merchant(1);
    let action = Action::CreateMerchant { name: "Other".to_owned(), email: "1@EXAMPLE.com".to_owned() };
    let refused = world.run(MerchantId(Uuid::from_u128(5)), action).unwrap_err();
    assert_eq!(refused.code(), "email_taken");
}

/// Failure mode 95: a balance at the end of the integers refuses what would take it further.
#[test]
fn a_balance_never_overflows() {
    let mut world = World::default();
    let merchant = world.merchant(1);
    let mut refused = None;
    for _ in 0..1100 {
        let payment = world.pay(merchant, domain::money::AMOUNT_MINOR_MAX);
        if let Err(refusal) = world.complete(merchant, payment) {
            refused = Some(refusal.code());
            break;
        }
    }
    assert_eq!(refused, Some("balance_out_of_range"));
}
