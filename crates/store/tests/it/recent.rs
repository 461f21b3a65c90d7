//! The log from its end, an account's statement, and one idempotency key: what pages for people ask for.

use std::collections::HashSet;

use domain::{
    event::Stream,
    id::MerchantId,
    lane::Lane,
    ledger::{AccountKey, AccountKind, Owner},
    state::Outcome,
    time::Timestamp,
};
use store::{
    Store,
    batch::LogEvent,
    log,
    recent::{self, Brief, EVENTS_LOOKED_AT_MAX, EventsWanted},
    request::Claim,
    statement, tables,
};
use uuid::Uuid;

use crate::{
    backend::{Backend, on_both},
    calls::{complete, merchant, paid, pay, submit},
};

on_both!(
    pages_over_all_lanes_hold_each_event_once_newest_first,
    a_filter_chooses_and_keeps_the_order,
    an_account_states_its_entries_and_proves_its_balance,
    an_idempotency_key_is_found_by_its_scope_alone,
);

const LANES: u16 = 5;

/// Three merchants, of whom the first is paid most.
async fn filled(store: &Store) -> Vec<MerchantId> {
    let mut merchants = Vec::new();
    for _ in 0..3 {
        merchants.push(merchant(store).await);
    }
    for number in 0..90 {
        let of = merchants[if number % 3 == 0 { number % 9 / 3 } else { 0 }];
        let payment = paid(store, of, &number.to_string()).await;
        if number % 4 == 0 {
            submit(store, of, complete(payment)).await;
        }
    }
    merchants
}

/// Every event, by lane and sequence.
async fn all(store: &Store) -> Vec<LogEvent> {
    let mut events = Vec::new();
    for lane in 0..LANES {
        events.extend(log::behind_sequence(store.reads(), Lane(lane), 0, 1000).await.unwrap());
    }
    events
}

/// All pages; each but the last one is full.
async fn pages(store: &Store, wanted: &EventsWanted, limit: usize) -> Vec<Brief> {
    let mut after = None;
    let mut found = Vec::new();
    loop {
        let page = recent::events(store.reads(), wanted, after.as_ref(), limit).await.unwrap();
        assert!(!page.is_cut_short, "fewer than {EVENTS_LOOKED_AT_MAX} events");
        assert!(page.events.len() == limit || page.next.is_none());
        found.extend(page.events);
        match page.next {
            Some(next) => after = Some(next),
            None => return found,
        }
    }
}

/// The pages hold exactly the events that pass, and time does not run forwards in them.
async fn assert_chosen(store: &Store, wanted: &EventsWanted, passes: impl Fn(&LogEvent) -> bool) {
    let found = pages(store, wanted, 7).await;
    let expected: HashSet<Uuid> =
        all(store).await.iter().filter(|event| passes(event)).map(|event| event.event_id.0).collect();
    assert!(!expected.is_empty(), "{wanted:?} chooses nothing");
    assert_eq!(found.len(), expected.len(), "{wanted:?}");
    assert_eq!(found.iter().map(|event| event.event_id.0).collect::<HashSet<_>>(), expected, "{wanted:?}");
    assert!(found.is_sorted_by(|a, b| a.occurred_at >= b.occurred_at), "{wanted:?}");
    let of_a_lane = |lane| found.iter().filter(move |event| event.lane == Lane(lane));
    for lane in 0..LANES {
        assert!(of_a_lane(lane).is_sorted_by(|a, b| a.sequence > b.sequence), "{wanted:?}");
    }
}

async fn pages_over_all_lanes_hold_each_event_once_newest_first(backend: Backend) {
    let database = backend.create().await;
    let store = database.open(LANES).await;
    let nothing = recent::events(store.reads(), &EventsWanted::default(), None, 10).await.unwrap();
    assert!(nothing.events.is_empty() && nothing.next.is_none());
    let merchants = filled(&store).await;
    assert_chosen(&store, &EventsWanted::default(), |_| true).await;
    // What is appended while somebody turns the pages moves nothing.
    let first = recent::events(store.reads(), &EventsWanted::default(), None, 20).await.unwrap();
    paid(&store, merchants[0], "meanwhile").await;
    let second =
        recent::events(store.reads(), &EventsWanted::default(), first.next.as_ref(), 20).await.unwrap();
    assert!(second.events.iter().all(|event| first.events.iter().all(|seen| seen != event)));
    let oldest = first.events.last().unwrap().occurred_at;
    assert!(second.events.iter().all(|event| event.occurred_at <= oldest));
}

async fn a_filter_chooses_and_keeps_the_order(backend: Backend) {
    let database = backend.create().await;
    let store = database.open(LANES).await;
    let merchants = filled(&store).await;
    let events = all(&store).await;
    let mut times: Vec<Timestamp> = events.iter().map(|event| event.occurred_at).collect();
    times.sort_unstable();
    let (from, to) = (times[times.len() / 4], times[times.len() / 2]);
    let any = EventsWanted::default();

    let wanted = EventsWanted { stream: Some(Stream::Merchants), ..any.clone() };
    assert_chosen(&store, &wanted, |event| event.stream == Stream::Merchants).await;
    let wanted = EventsWanted { event_type: Some("PaymentCompleted".to_owned()), ..any.clone() };
    assert_chosen(&store, &wanted, |event| event.event_type == "PaymentCompleted").await;
    let wanted = EventsWanted { merchant: Some(merchants[1]), ..any.clone() };
    assert_chosen(&store, &wanted, |event| event.merchant_id == merchants[1]).await;
    let lane = events[0].lane;
    let wanted = EventsWanted { lane: Some(lane), ..any.clone() };
    assert_chosen(&store, &wanted, |event| event.lane == lane).await;
    let wanted = EventsWanted { from: Some(from), ..any.clone() };
    assert_chosen(&store, &wanted, |event| event.occurred_at >= from).await;
    let wanted = EventsWanted { to: Some(to), ..any.clone() };
    assert_chosen(&store, &wanted, |event| event.occurred_at <= to).await;
    let wanted =
        EventsWanted { stream: Some(Stream::Payments), from: Some(from), to: Some(to), ..any.clone() };
    assert_chosen(&store, &wanted, |event| {
        event.stream == Stream::Payments && (from..=to).contains(&event.occurred_at)
    })
    .await;
    let completed = events.iter().find(|event| event.event_type == "PaymentCompleted").unwrap();
    let wanted = EventsWanted { subject: Some(completed.subject_id), ..any.clone() };
    assert_chosen(&store, &wanted, |event| event.subject_id == completed.subject_id).await;
    let (stream, lane) = (Some(Stream::Payments), Some(completed.lane));
    let wanted = EventsWanted { subject: Some(completed.subject_id), stream, lane, ..any.clone() };
    assert_chosen(&store, &wanted, |event| event.subject_id == completed.subject_id).await;
    let nobody = EventsWanted { merchant: Some(MerchantId(Uuid::now_v7())), ..any };
    assert!(pages(&store, &nobody, 7).await.is_empty());
}

async fn an_account_states_its_entries_and_proves_its_balance(backend: Backend) {
    let database = backend.create().await;
    let store = database.open(LANES).await;
    let merchant = merchant(&store).await;
    for number in 0..5 {
        let payment = paid(&store, merchant, &number.to_string()).await;
        submit(&store, merchant, complete(payment)).await;
    }
    let db = store.reads();
    let accounts = statement::accounts_of(db, Owner::Merchant(merchant), 10).await.unwrap();
    let [(key, account)] = accounts[..] else { panic!("{accounts:?}") };
    assert_eq!((key.kind, account.balance_minor, account.entries), (AccountKind::Available, 25_000, 5));
    let platform = statement::accounts_of_platform(db, 10).await.unwrap();
    let [(clearing, of_platform)] = platform[..] else { panic!("{platform:?}") };
    assert_eq!((clearing.kind, of_platform.balance_minor), (AccountKind::Clearing, -25_000));

    let mut after = None;
    let mut numbers = Vec::new();
    loop {
        let page = statement::entries(db, &key, after, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(statement::EntryKey { created_at: last.created_at, number: last.number });
        numbers.extend(page.iter().map(|entry| (entry.number, entry.balance_after_minor)));
    }
    assert_eq!(numbers, [(5, 25_000), (4, 20_000), (3, 15_000), (2, 10_000), (1, 5000)]);
    let third = statement::entries(db, &key, None, 3).await.unwrap()[2].created_at;
    let then = statement::as_of(db, &key, third).await.unwrap().unwrap();
    assert_eq!((then.number, then.balance_after_minor), (3, 15_000));
    assert!(statement::as_of(db, &key, Timestamp::from_micros(1)).await.unwrap().is_none());
    let proof = statement::proof(db, &key).await.unwrap();
    assert!(proof.holds() && proof.entries == 5 && proof.entries_minor == 25_000, "{proof:?}");
    let nobody = AccountKey { kind: AccountKind::Payouts, ..key };
    let proof = statement::proof(db, &nobody).await.unwrap();
    assert!(proof.holds() && proof.entries == 0);
}

async fn an_idempotency_key_is_found_by_its_scope_alone(backend: Backend) {
    let database = backend.create().await;
    let store = database.open(LANES).await;
    let merchant = merchant(&store).await;
    let Outcome::Payments(made) = pay(&store, merchant, "first").await.unwrap().outcome else { panic!() };
    let hash = |caller, key| Claim::new(caller, &merchant.to_string(), key, &[]).key_hash;
    let found = tables::key(store.reads(), hash("caller", "first")).await.unwrap().unwrap();
    assert_eq!((found.size, found.created_at), (1, made[0].created_at));
    let Outcome::Payments(again) = log::replay(store.reads(), &found).await.unwrap() else { panic!() };
    assert_eq!(again, made);
    assert!(tables::key(store.reads(), hash("another", "first")).await.unwrap().is_none());
    assert!(tables::key(store.reads(), hash("caller", "second")).await.unwrap().is_none());
}
