//! The record of requests: its filters, its groups of errors, what is not in it, and its end.

use domain::{id::MerchantId, time::Timestamp};
use store::{
    Store,
    browse::ROWS_LOOKED_AT_MAX,
    request_log::{self, ApiRequest, LeftOut, RequestsWanted},
};
use uuid::Uuid;

use crate::backend::{Backend, on_both};

on_both!(
    requests_are_listed_newest_first_and_by_every_filter,
    a_page_looks_at_a_bounded_number_of_rows,
    errors_stand_together_by_what_went_wrong,
    what_was_not_kept_is_summed_between_two_places,
    what_is_old_goes_in_steps,
);

const MICROS_A_SECOND: i64 = 1_000_000;
const BEGIN: i64 = 1_790_000_000_000_000;

/// A request of the given second.
fn request(second: i64) -> ApiRequest {
    let at = Timestamp::from_micros(BEGIN + second * MICROS_A_SECOND);
    ApiRequest {
        id: request_log::id_of(at),
        at,
        method: "GET".to_owned(),
        route: "/api/merchants".to_owned(),
        path: "/api/merchants".to_owned(),
        status: 200,
        micros: 9_223_372_036_854_775_807,
        caller: "open access".to_owned(),
        merchant_id: None,
        request_id: format!("r-{second}"),
        problem: None,
    }
}

fn refused(second: i64, status: u16, problem: &str) -> ApiRequest {
    ApiRequest { status, problem: Some(problem.to_owned()), ..request(second) }
}

async fn found(store: &Store, wanted: &RequestsWanted) -> Vec<ApiRequest> {
    let page = request_log::list(store.reads(), wanted, None, 100).await.unwrap();
    assert!(page.next.is_none() && !page.is_cut_short);
    page.rows
}

async fn requests_are_listed_newest_first_and_by_every_filter(backend: Backend) {
    let database = backend.create().await;
    let store = database.open(4).await;
    let merchant = MerchantId(Uuid::now_v7());
    // As many as take several statements.
    let mut all: Vec<ApiRequest> = (0..40).map(request).collect();
    "POST".clone_into(&mut all[3].method);
    "/api/other".clone_into(&mut all[5].route);
    "key fk_live_ab12".clone_into(&mut all[7].caller);
    all[9].merchant_id = Some(merchant);
    all[11] = refused(11, 404, "merchant_not_found");
    all[13] = refused(13, 503, "unavailable");
    "r-7".clone_into(&mut all[15].request_id);
    request_log::append(&store, &all, &[]).await.unwrap();
    // What may have been written is written again, and changes nothing.
    request_log::append(&store, &all[..20], &[]).await.unwrap();
    all.reverse();
    assert_eq!(found(&store, &RequestsWanted::default()).await, all);

    let first = request_log::list(store.reads(), &RequestsWanted::default(), None, 30).await.unwrap();
    let after = first.next.map(|key| key.id);
    let rest = request_log::list(store.reads(), &RequestsWanted::default(), after, 30).await.unwrap();
    assert_eq!([first.rows, rest.rows].concat(), all);

    let any = RequestsWanted::default;
    let text = |text: &str| Some(text.to_owned());
    let at = |second: i64| Some(Timestamp::from_micros(BEGIN + second * MICROS_A_SECOND));
    for (wanted, seconds) in [
        (RequestsWanted { method: text("POST"), ..any() }, vec![3]),
        (RequestsWanted { route: text("/api/other"), ..any() }, vec![5]),
        (RequestsWanted { caller: text("key fk_live_ab12"), ..any() }, vec![7]),
        (RequestsWanted { merchant: Some(merchant), ..any() }, vec![9]),
        (RequestsWanted { problem: text("unavailable"), ..any() }, vec![13]),
        (RequestsWanted { status: Some(400..=499), ..any() }, vec![11]),
        (RequestsWanted { status: Some(400..=599), ..any() }, vec![13, 11]),
        (RequestsWanted { request_id: text("r-7"), ..any() }, vec![15, 7]),
        (RequestsWanted { request_id: text("r-7"), caller: text("open access"), ..any() }, vec![15]),
        (RequestsWanted { from: at(10), to: at(12), ..any() }, vec![12, 11, 10]),
        (RequestsWanted { from: at(10), to: at(12), status: Some(404..=404), ..any() }, vec![11]),
        (RequestsWanted { problem: text("' or 1 = 1 --"), ..any() }, vec![]),
    ] {
        let moments: Vec<Timestamp> = found(&store, &wanted).await.iter().map(|request| request.at).collect();
        let expected: Vec<Timestamp> = seconds.into_iter().filter_map(at).collect();
        assert_eq!(moments, expected, "{wanted:?}");
    }
}

async fn a_page_looks_at_a_bounded_number_of_rows(backend: Backend) {
    let database = backend.create().await;
    let store = database.open(4).await;
    let rows = i64::try_from(ROWS_LOOKED_AT_MAX).unwrap() + 10;
    let mut all: Vec<ApiRequest> = (0..rows).map(request).collect();
    all[4] = refused(4, 500, "internal_error");
    request_log::append(&store, &all, &[]).await.unwrap();
    let wanted = RequestsWanted { status: Some(500..=500), ..RequestsWanted::default() };
    let first = request_log::list(store.reads(), &wanted, None, 50).await.unwrap();
    assert!(first.rows.is_empty() && first.is_cut_short);
    let next = first.next.map(|key| key.id);
    let second = request_log::list(store.reads(), &wanted, next, 50).await.unwrap();
    assert_eq!(second.rows, all[4..5]);
    assert!(second.next.is_none() && !second.is_cut_short);
    let errors = request_log::errors(store.reads(), &RequestsWanted::default(), None).await.unwrap();
    assert!(errors.groups.is_empty() && errors.next.map(|key| key.id) == next);
    let errors = request_log::errors(store.reads(), &RequestsWanted::default(), next).await.unwrap();
    assert!(errors.groups.len() == 1 && errors.next.is_none());
}

async fn errors_stand_together_by_what_went_wrong(backend: Backend) {
    let database = backend.create().await;
    let store = database.open(4).await;
    let of_other =
        ApiRequest { caller: "key fk_live_ab12".to_owned(), ..refused(5, 404, "merchant_not_found") };
    let all = [
        request(0),
        refused(1, 404, "merchant_not_found"),
        refused(2, 400, "validation_failed"),
        refused(3, 404, "merchant_not_found"),
        ApiRequest { route: String::new(), ..refused(4, 404, "route_not_found") },
        of_other,
    ];
    request_log::append(&store, &all, &[]).await.unwrap();
    let errors = request_log::errors(store.reads(), &RequestsWanted::default(), None).await.unwrap();
    let told: Vec<_> = errors
        .groups
        .iter()
        .map(|group| (group.problem.as_deref().unwrap(), group.status, group.requests))
        .collect();
    assert_eq!(
        told,
        [("merchant_not_found", 404, 3), ("route_not_found", 404, 1), ("validation_failed", 400, 1)]
    );
    let most = &errors.groups[0];
    assert_eq!((most.first_at, most.last_at, most.request_id.as_str()), (all[1].at, all[5].at, "r-5"));
    let wanted = RequestsWanted { caller: Some("open access".to_owned()), ..RequestsWanted::default() };
    let errors = request_log::errors(store.reads(), &wanted, None).await.unwrap();
    assert_eq!((errors.groups[0].requests, errors.groups[0].request_id.as_str()), (2, "r-3"));
}

async fn what_was_not_kept_is_summed_between_two_places(backend: Backend) {
    let database = backend.create().await;
    let store = database.open(4).await;
    let second = |number: i64| Timestamp::from_micros(BEGIN + number * MICROS_A_SECOND);
    let of =
        |number| LeftOut { id: request_log::id_of(second(number)), errors: 1, changes: 10, reads: number };
    let all: Vec<LeftOut> = (0..5).map(of).collect();
    assert_eq!(request_log::left_out(store.reads(), None, None).await.unwrap(), (LeftOut::default(), false));
    request_log::append(&store, &[], &all).await.unwrap();
    let sum = |from, before| {
        let store = store.clone();
        async move { request_log::left_out(store.reads(), from, before).await.unwrap().0 }
    };
    let whole = sum(None, None).await;
    assert_eq!((whole.errors, whole.changes, whole.reads, whole.total()), (5, 50, 10, 65));
    assert_eq!(sum(Some(all[3].id), None).await.reads, 7);
    assert_eq!(sum(None, Some(all[3].id)).await.reads, 3);
    assert_eq!(sum(Some(all[1].id), Some(all[3].id)).await.reads, 3);
}

async fn what_is_old_goes_in_steps(backend: Backend) {
    let database = backend.create().await;
    let store = database.open(4).await;
    let all: Vec<ApiRequest> = (0..10).map(request).collect();
    let left_out = LeftOut { id: all[0].id, errors: 1, changes: 0, reads: 0 };
    request_log::append(&store, &all, &[left_out]).await.unwrap();
    let before = Timestamp::from_micros(BEGIN + 7 * MICROS_A_SECOND);
    for swept in [5, 2, 0] {
        assert_eq!(request_log::sweep(&store, before, 5).await.unwrap(), swept);
    }
    let kept = found(&store, &RequestsWanted::default()).await;
    assert_eq!(kept, all[7..].iter().rev().cloned().collect::<Vec<_>>());
    assert_eq!(request_log::left_out(store.reads(), None, None).await.unwrap().0.total(), 0);
}
