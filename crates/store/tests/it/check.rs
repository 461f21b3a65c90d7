//! The log is verified and folded from nothing, and compared with every table.

use std::collections::{BTreeMap, HashMap};

use domain::{
    event::EventBody,
    lane::lane_of,
    ledger::{AccountKey, AccountKind, Owner},
    payment::{Payment, PaymentStatus},
    state::{Outcome, State},
};
use store::{
    Store,
    log::{self, Verifier},
    queries::{self, PaymentFilter},
    reviews,
};

use crate::invariants::Seen;

const PAGE: usize = 7;

pub async fn everything(store: &Store, seen: &Seen) {
    let mut folded = State::default();
    let mut commands = HashMap::new();
    for head in log::heads(store.reads()).await.unwrap() {
        let mut verifier = Verifier::new(head.lane);
        loop {
            let events =
                log::behind_sequence(store.reads(), head.lane, verifier.sequence(), PAGE).await.unwrap();
            if events.is_empty() {
                break;
            }
            for event in &events {
                verifier.next(event).unwrap();
                let parsed = event.parse().unwrap();
                assert_eq!(event.payload, parsed.to_json(), "an event is written as it is read");
                assert_eq!(lane_of(event.merchant_id, store.lanes()), head.lane);
                let entries = folded.apply(head.lane, &parsed).unwrap();
                // Invariant 2: every ledger transaction sums to zero.
                assert_eq!(entries.iter().map(|entry| i128::from(entry.amount_minor)).sum::<i128>(), 0);
                commands.entry(event.command_id).or_insert_with(Vec::new).push(parsed.body);
            }
        }
        verifier.end(&head).unwrap();
    }
    tables(store, &folded).await;
    balances(store, &folded).await;
    answers(seen, &folded, &commands);
}

/// Invariant 6: folding the log from nothing gives the tables. Invariant 7: nobody sees another's.
async fn tables(store: &Store, folded: &State) {
    let reads = store.reads();
    let merchants = queries::merchants(reads, None, 1000).await.unwrap();
    assert_eq!(merchants.len(), folded.merchants.len());
    let (mut payments, mut withdrawals) = (0, 0);
    for merchant in &merchants {
        assert_eq!(Some(merchant), folded.merchants.get(&merchant.id));
        let page =
            queries::payments(reads, merchant.id, &PaymentFilter::default(), None, 1000).await.unwrap();
        for payment in &page {
            assert_eq!(Some(payment), folded.payments.get(&payment.id));
            assert_eq!(payment.merchant_id, merchant.id);
            assert!(payment.refunded_minor <= payment.amount.get());
        }
        payments += page.len();
        let page = queries::withdrawals(reads, merchant.id, None, 1000).await.unwrap();
        for withdrawal in &page {
            assert_eq!(Some(withdrawal), folded.withdrawals.get(&withdrawal.id));
            assert_eq!(withdrawal.merchant_id, merchant.id);
        }
        withdrawals += page.len();
    }
    let queue = reviews::queue(reads, None, 10_000).await.unwrap().rows;
    let waits =
        |payment: &&Payment| payment.flag_reason.is_some() && payment.status == PaymentStatus::Pending;
    assert!(queue.iter().all(|payment| folded.payments.get(&payment.id) == Some(payment)));
    assert_eq!(queue.len(), folded.payments.values().filter(waits).count());
    assert!(queue.iter().all(|payment| waits(&payment)));
    assert_eq!(payments, folded.payments.len());
    assert_eq!(withdrawals, folded.withdrawals.len());
}

/// Every balance is the sum of its entries, and what the log folds to; none available is negative; all
/// accounts of a currency together are zero.
async fn balances(store: &Store, folded: &State) {
    let sql = "select owner, kind, currency, balance, entries, \
         (select coalesce(cast(sum(amount) as bigint), 0) from ledger_entries e where e.owner = a.owner \
          and e.kind = a.kind and e.currency = a.currency), \
         (select count(*) from ledger_entries e where e.owner = a.owner and e.kind = a.kind \
          and e.currency = a.currency) from accounts a";
    let mut totals: BTreeMap<String, i128> = BTreeMap::new();
    let rows = store.reads().query(sql, Vec::new()).await.unwrap();
    assert_eq!(rows.len(), folded.accounts.len());
    for row in &rows {
        let key = AccountKey {
            owner: Owner::from_uuid(row.uuid(0).unwrap()),
            kind: AccountKind::from_number(row.int(1).unwrap()).unwrap(),
            currency: domain::currency::Currency::parse(row.text(2).unwrap()).unwrap(),
        };
        let (balance, entries) = (row.int(3).unwrap(), row.int(4).unwrap());
        let account = folded.accounts[&key];
        assert_eq!((account.balance_minor, account.entries), (balance, entries), "{key:?}");
        assert_eq!((row.int(5).unwrap(), row.int(6).unwrap()), (balance, entries), "{key:?}");
        if matches!(key.owner, Owner::Merchant(_)) {
            assert!(balance >= 0, "{key:?} is {balance}");
        }
        *totals.entry(key.currency.code().to_owned()).or_default() += i128::from(balance);
    }
    assert!(totals.values().all(|total| *total == 0), "{totals:?}");
}

/// Invariant 1: what was acknowledged is there, and each command's events are there once.
fn answers(seen: &Seen, folded: &State, commands: &HashMap<domain::id::CommandId, Vec<EventBody>>) {
    for (_, answer) in &seen.answers {
        match &answer.outcome {
            Outcome::Merchant(merchant) => assert!(folded.merchants.contains_key(&merchant.id)),
            Outcome::Payment(payment) => assert!(folded.payments.contains_key(&payment.id)),
            Outcome::Payments(payments) => {
                assert!(payments.iter().all(|payment| folded.payments.contains_key(&payment.id)));
            }
            Outcome::Withdrawal(withdrawal) => assert!(folded.withdrawals.contains_key(&withdrawal.id)),
        }
    }
    let created: usize = seen
        .answers
        .iter()
        .map(|(_, answer)| if let Outcome::Payments(payments) = &answer.outcome { payments.len() } else { 0 })
        .sum();
    assert_eq!(created, folded.payments.len(), "every payment was acknowledged to somebody");
    assert!(commands.values().all(|events| !events.is_empty()));
}
