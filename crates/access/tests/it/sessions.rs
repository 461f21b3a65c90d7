//! Sessions: how they begin and all the ways in which they end.

use std::time::Duration;

use access::{
    OperatorRole,
    operators::{self, Operator},
    sessions::{self, SESSIONS_AN_OPERATOR_MAX},
};
use store::{Store, audit::Actor};

use crate::backend::{Bench, on_both_backends};

on_both_backends!(
    a_session_is_found_by_its_token_alone,
    a_session_ends_after_half_an_hour_without_a_request,
    a_session_ends_after_twelve_hours_whatever_happens,
    a_session_is_ended_alone_or_with_all_others,
    the_oldest_session_gives_way,
);

async fn operator(store: &Store) -> Operator {
    let actor = Actor::new("root", "");
    operators::create(store, "anna", OperatorRole::Support, "correct horse battery", &actor).await.unwrap()
}

async fn is_going_on(store: &Store, token: &str) -> bool {
    sessions::find(store, token).await.unwrap().is_some()
}

async fn a_session_is_found_by_its_token_alone(bench: Bench) {
    let store = &bench.store;
    let operator = operator(store).await;
    let (one, two) =
        (sessions::begin(store, &operator).await.unwrap(), sessions::begin(store, &operator).await.unwrap());
    assert_ne!(one.token, two.token, "a new one each time");
    let session = sessions::find(store, one.token.reveal()).await.unwrap().unwrap();
    assert_eq!((session.operator.as_str(), session.role), ("anna", OperatorRole::Support));
    assert_eq!(session.actor_name(), "operator anna");
    assert!(session.is_csrf(&one.csrf) && !session.is_csrf(&two.csrf) && !session.is_csrf(""));
    for other in ["", "x", &one.csrf, &one.token.reveal().to_lowercase()] {
        assert!(!is_going_on(store, other).await, "{other}");
    }
    // Whoever reads the table cannot go on with a session.
    let kept = bench.query("select csrf from operator_sessions").await;
    assert!(!kept.contains(&one.token.reveal().to_owned()));
    let hashes = match store.reads().query("select token_hash from operator_sessions", Vec::new()).await {
        Ok(rows) => rows.iter().map(|row| row.bytes(0).unwrap().to_vec()).collect::<Vec<_>>(),
        Err(error) => panic!("{error}"),
    };
    assert!(hashes.iter().all(|hash| hash.len() == 32 && hash != one.token.reveal().as_bytes()));
}

async fn a_session_ends_after_half_an_hour_without_a_request(bench: Bench) {
    let store = &bench.store;
    let begun = sessions::begin(store, &operator(store).await).await.unwrap();
    for _ in 0..4 {
        bench.turn(Duration::from_mins(29));
        assert!(is_going_on(store, begun.token.reveal()).await);
    }
    bench.turn(Duration::from_mins(30));
    assert!(!is_going_on(store, begun.token.reveal()).await);
}

async fn a_session_ends_after_twelve_hours_whatever_happens(bench: Bench) {
    let store = &bench.store;
    let begun = sessions::begin(store, &operator(store).await).await.unwrap();
    for _ in 0..47 {
        bench.turn(Duration::from_mins(15));
        assert!(is_going_on(store, begun.token.reveal()).await);
    }
    bench.turn(Duration::from_mins(15));
    assert_eq!(store.now(), begun.expires_at);
    assert!(!is_going_on(store, begun.token.reveal()).await);
}

async fn a_session_is_ended_alone_or_with_all_others(bench: Bench) {
    let store = &bench.store;
    let operator = operator(store).await;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        tokens.push(sessions::begin(store, &operator).await.unwrap().token);
    }
    sessions::end(store, tokens[0].reveal()).await.unwrap();
    sessions::end(store, "nobody's").await.unwrap();
    assert!(!is_going_on(store, tokens[0].reveal()).await);
    assert_eq!(sessions::count(store.reads(), operator.id, store.now()).await.unwrap(), 2);
    sessions::end_all_of(store, operator.id).await.unwrap();
    for token in &tokens {
        assert!(!is_going_on(store, token.reveal()).await);
    }
}

async fn the_oldest_session_gives_way(bench: Bench) {
    let store = &bench.store;
    let operator = operator(store).await;
    let mut tokens = Vec::new();
    for _ in 0..=SESSIONS_AN_OPERATOR_MAX {
        tokens.push(sessions::begin(store, &operator).await.unwrap().token);
        bench.turn(Duration::from_secs(1));
    }
    assert!(!is_going_on(store, tokens[0].reveal()).await);
    for token in &tokens[1..] {
        assert!(is_going_on(store, token.reveal()).await);
    }
}
