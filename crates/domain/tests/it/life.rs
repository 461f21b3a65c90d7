//! Any life of two merchants: folding their events gives exactly the state that the commands gave, every
//! transaction sums to zero, and every balance is the sum of its entries.

use std::collections::HashMap;

use domain::{
    command::Action,
    currency::Currency,
    event::Event,
    id::MerchantId,
    ledger::{AccountKey, AccountKind, Owner},
    state::State,
};
use proptest::prelude::*;

use crate::{LANE, World};

pub fn held(state: &State, merchant: MerchantId, kind: AccountKind, currency: Currency) -> i64 {
    let key = AccountKey { owner: Owner::Merchant(merchant), kind, currency };
    state.accounts.get(&key).map_or(0, |account| account.balance_minor)
}

/// A step: which merchant, what, on which of its things, how much.
type Choice = (usize, u8, usize, i64);

fn live(world: &mut World, choices: &[Choice]) {
    let merchants = [world.merchant(1), world.merchant(2)];
    let (mut payments, mut withdrawals) = (Vec::new(), Vec::new());
    for (merchant, what, which, minor) in choices {
        let merchant = merchants[*merchant];
        let payment = payments.get(which % payments.len().max(1)).copied();
        let withdrawal_id = withdrawals.get(which % withdrawals.len().max(1)).copied();
        // What is refused is part of the life too.
        let _ = match (what % 9, payment, withdrawal_id) {
            (0 | 1, ..) => {
                payments.push(world.pay(merchant, *minor));
                continue;
            }
            (2 | 3, Some(payment), _) => world.complete(merchant, payment),
            (4, Some(payment), _) => world.refund(merchant, payment, Some(*minor)),
            (5, Some(payment_id), _) => world.run(merchant, Action::CancelPayment { payment_id }),
            (6, ..) => {
                withdrawals.extend(world.withdraw(merchant, *minor));
                continue;
            }
            (7, _, Some(withdrawal_id)) => world.run(merchant, Action::ProcessWithdrawal { withdrawal_id }),
            (8, _, Some(withdrawal_id)) => {
                let action = match minor % 3 {
                    0 => Action::CompleteWithdrawal { withdrawal_id, external_transaction_id: None },
                    1 => Action::FailWithdrawal { withdrawal_id, reason: "returned".to_owned() },
                    _ => Action::CancelWithdrawal { withdrawal_id },
                };
                world.run(merchant, action)
            }
            _ => continue,
        };
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Failure mode 99, invariants 2 and 6.
    #[test]
    fn folding_the_events_gives_the_state(
        choices in prop::collection::vec((0..2_usize, any::<u8>(), 0..8_usize, 1..100_i64), 0..120)
    ) {
        let mut world = World::default();
        live(&mut world, &choices);
        let mut folded = State::default();
        for event in &world.events {
            let json = event.to_json();
            let read = Event::parse(
                event.id, event.command_id, event.occurred_at, event.body.event_type(), &json,
            ).unwrap();
            prop_assert_eq!(&read, event);
            folded.apply(LANE, &read).unwrap();
        }
        prop_assert_eq!(&folded, &world.state);
        let mut sums: HashMap<AccountKey, i64> = HashMap::new();
        let mut transactions: HashMap<_, i64> = HashMap::new();
        for entry in &world.entries {
            let sum = sums.entry(entry.account).or_default();
            *sum += entry.amount_minor;
            prop_assert_eq!(*sum, entry.balance_after_minor);
            *transactions.entry((entry.transaction_id, entry.account.currency)).or_default() += entry.amount_minor;
        }
        prop_assert!(transactions.values().all(|sum| *sum == 0));
        for (key, account) in &folded.accounts {
            prop_assert_eq!(sums[key], account.balance_minor);
            prop_assert!(matches!(key.owner, Owner::Platform(_)) || account.balance_minor >= 0);
        }
    }
}
