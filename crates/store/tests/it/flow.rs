//! What went on since a moment: events by positions, payments by their ids, requests by the record and what it left out.

use domain::{event::Stream, lane::Lane, time::Timestamp};
use store::{
    Store, browse, log, recent,
    request_log::{self, ApiRequest, LeftOut, Tally},
};

use crate::{
    backend::{Backend, on_both},
    calls::{merchant, pay},
};

on_both!(
    events_are_counted_from_every_moment,
    payments_are_counted_as_far_as_is_wanted,
    requests_are_counted_with_those_that_were_left_out,
);

const LANES: u16 = 5;
const MICROS_A_SECOND: i64 = 1_000_000;
const BEGIN: i64 = 1_790_000_000_000_000;

/// Some merchants with some payments each.
async fn fill(store: &Store) {
    for number in 0..12 {
        let id = merchant(store).await;
        for payment in 0..number {
            pay(store, id, &format!("{number} {payment}")).await.unwrap();
        }
    }
}

async fn events_are_counted_from_every_moment(backend: Backend) {
    let database = backend.create().await;
    let store = database.open(LANES).await;
    let nothing = log::heads(store.reads()).await.unwrap();
    let none = recent::since(store.reads(), &nothing, Stream::Payments, Timestamp::from_micros(0)).await;
    assert_eq!(none.unwrap(), 0);
    fill(&store).await;
    let mut times: Vec<Timestamp> = Vec::new();
    for lane in 0..LANES {
        let events = log::behind_sequence(store.reads(), Lane(lane), 0, 1000).await.unwrap();
        times.extend(
            events.iter().filter(|event| event.stream == Stream::Payments).map(|event| event.occurred_at),
        );
    }
    assert_eq!(times.len(), 66);
    let heads = log::heads(store.reads()).await.unwrap();
    let beyond = [Timestamp::from_micros(0), Timestamp::from_micros(i64::MAX)];
    for from in times.iter().copied().chain(beyond) {
        let expected = times.iter().filter(|time| **time >= from).count();
        let counted = recent::since(store.reads(), &heads, Stream::Payments, from).await.unwrap();
        assert_eq!(usize::try_from(counted).unwrap(), expected, "since {from}");
    }
    store.close().await;
}

async fn payments_are_counted_as_far_as_is_wanted(backend: Backend) {
    let database = backend.create().await;
    let store = database.open(LANES).await;
    fill(&store).await;
    let count = async |from, limit| browse::payments_since(store.reads(), from, limit).await.unwrap();
    let begin = Timestamp::from_micros(0);
    assert_eq!((count(begin, 100).await, count(begin, 10).await), (66, 10));
    let later = Timestamp::from_micros(store.now().as_micros() + 60 * MICROS_A_SECOND);
    assert_eq!(count(later, 100).await, 0);
    store.close().await;
}

fn request(second: i64, status: u16) -> ApiRequest {
    let at = Timestamp::from_micros(BEGIN + second * MICROS_A_SECOND);
    ApiRequest {
        id: request_log::id_of(at),
        at,
        method: "GET".to_owned(),
        route: "/api/merchants".to_owned(),
        path: "/api/merchants".to_owned(),
        status,
        micros: 1,
        caller: "open access".to_owned(),
        merchant_id: None,
        request_id: format!("r-{second}"),
        problem: None,
    }
}

async fn requests_are_counted_with_those_that_were_left_out(backend: Backend) {
    let database = backend.create().await;
    let store = database.open(LANES).await;
    let since = |second: i64| Timestamp::from_micros(BEGIN + second * MICROS_A_SECOND);
    let none = Tally { since: since(0), requests: 0, errors: 0, server_errors: 0 };
    assert_eq!(request_log::tally(store.reads(), since(0)).await.unwrap(), none);
    let kept: Vec<ApiRequest> =
        [200, 404, 201, 503, 399, 500].into_iter().zip(0..).map(|(status, at)| request(at, status)).collect();
    let left_out = |second: i64, errors, changes, reads| LeftOut {
        id: request_log::id_of(since(second)),
        errors,
        changes,
        reads,
    };
    let more = [left_out(0, 100, 100, 100), left_out(3, 4, 10, 100)];
    request_log::append(&store, &kept, &more).await.unwrap();
    let told = Tally { since: since(0), requests: 420, errors: 107, server_errors: 2 };
    assert_eq!(request_log::tally(store.reads(), since(0)).await.unwrap(), told);
    let told = Tally { since: since(3), requests: 117, errors: 6, server_errors: 2 };
    assert_eq!(request_log::tally(store.reads(), since(3)).await.unwrap(), told);
    store.close().await;
}
