//! Four eyes: who asks may not decide, and what is decided is decided once.

use access::{
    AccessError,
    approvals::{self, Approval, Decision, OPEN_APPROVALS_MAX, State, Wanted},
};
use serde_json::json;
use store::{Store, audit::Actor};
use uuid::Uuid;

use crate::backend::{Bench, on_both_backends};

on_both_backends!(
    another_one_decides_and_only_once,
    of_two_who_decide_at_once_one_has_decided,
    one_request_is_open_for_a_thing,
    open_requests_have_a_limit,
);

fn payout(subject: &str) -> Wanted {
    Wanted {
        kind: "withdrawal.process".to_owned(),
        subject: subject.to_owned(),
        detail: json!({"amountInMinorUnits": 9_223_372_036_854_775_807_i64}),
    }
}

fn of(name: &str) -> Actor {
    Actor::new(format!("operator {name}"), format!("because {name} says so"))
}

async fn ask(store: &Store, subject: &str) -> Approval {
    approvals::request(store, &payout(subject), &of("anna")).await.unwrap()
}

async fn another_one_decides_and_only_once(bench: Bench) {
    let store = &bench.store;
    let (asked, refused) = (ask(store, "w1").await, ask(store, "w2").await);
    assert_eq!(approvals::open(store.reads()).await.unwrap(), [asked.clone(), refused.clone()]);
    let own = approvals::decide(store, asked.id, Decision::Approve, &of("anna")).await;
    assert!(matches!(own, Err(AccessError::OwnRequest)), "{own:?}");
    assert_eq!(approvals::get(store.reads(), asked.id).await.unwrap(), Some(asked.clone()));
    let decided = approvals::decide(store, asked.id, Decision::Approve, &of("otto")).await.unwrap();
    assert_eq!((decided.state, decided.decided_by.as_deref()), (State::Approved, Some("operator otto")));
    assert_eq!(decided.detail, asked.detail, "to the last digit");
    for decision in [Decision::Approve, Decision::Refuse] {
        let again = approvals::decide(store, asked.id, decision, &of("emil")).await;
        assert!(matches!(again, Err(AccessError::AlreadyDecided)), "{again:?}");
    }
    let no = approvals::decide(store, refused.id, Decision::Refuse, &of("otto")).await.unwrap();
    assert_eq!(no.state, State::Refused);
    assert!(approvals::open(store.reads()).await.unwrap().is_empty());
    assert_eq!(approvals::list(store.reads(), None, 1).await.unwrap(), [no]);
    assert_eq!(approvals::list(store.reads(), Some(refused.id), 5).await.unwrap(), [decided]);
    let nobodys = Uuid::from_u128(5);
    let missing = approvals::decide(store, nobodys, Decision::Refuse, &of("otto")).await;
    assert!(matches!(missing, Err(AccessError::NoSuchApproval(id)) if id == nobodys));
    assert_eq!(
        bench.audit().await,
        [
            "operator anna: approval.request.withdrawal.process w1: because anna says so",
            "operator anna: approval.request.withdrawal.process w2: because anna says so",
            "operator otto: approval.approve w1: because otto says so",
            "operator otto: approval.refuse w2: because otto says so",
        ]
    );
}

async fn of_two_who_decide_at_once_one_has_decided(bench: Bench) {
    let elsewhere = bench.beside().await;
    for number in 0..20 {
        let asked = ask(&bench.store, &format!("w{number}")).await;
        let (otto, emil) = (of("otto"), of("emil"));
        let (yes, no) = tokio::join!(
            approvals::decide(&bench.store, asked.id, Decision::Approve, &otto),
            approvals::decide(&elsewhere, asked.id, Decision::Refuse, &emil),
        );
        let (decided, late) = if yes.is_ok() { (yes, no) } else { (no, yes) };
        assert!(matches!(late, Err(AccessError::AlreadyDecided)), "{late:?}");
        assert_eq!(approvals::get(bench.store.reads(), asked.id).await.unwrap(), Some(decided.unwrap()));
    }
}

async fn one_request_is_open_for_a_thing(bench: Bench) {
    let store = &bench.store;
    let asked = ask(store, "w1").await;
    let again = approvals::request(store, &payout("w1"), &of("otto")).await;
    assert!(matches!(again, Err(AccessError::AlreadyRequested(id)) if id == asked.id), "{again:?}");
    approvals::decide(store, asked.id, Decision::Refuse, &of("otto")).await.unwrap();
    ask(store, "w1").await;
    let odd = Wanted { subject: "w\n1".to_owned(), ..payout("") };
    assert!(matches!(
        approvals::request(store, &odd, &of("anna")).await,
        Err(AccessError::InvalidName { .. })
    ));
}

async fn open_requests_have_a_limit(bench: Bench) {
    let store = &bench.store;
    let mut transaction = store.begin().await.unwrap();
    for number in 1..OPEN_APPROVALS_MAX {
        let sql = "insert into approvals (id, kind, subject, detail, requested_by, requested_at, reason, state) \
             values ($1, 'k', $2, '{}', 'x', 1, '', 1)";
        transaction.execute(sql, vec![Uuid::now_v7().into(), number.to_string().into()]).await.unwrap();
    }
    transaction.commit().await.unwrap();
    let last = ask(store, "w1").await;
    let refused = approvals::request(store, &payout("w2"), &of("anna")).await;
    assert!(matches!(refused, Err(AccessError::TooManyApprovals)), "{refused:?}");
    approvals::decide(store, last.id, Decision::Approve, &of("otto")).await.unwrap();
    ask(store, "w2").await;
}
