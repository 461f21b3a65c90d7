//! Operators: who is let in, and who is kept out for how long.

use std::time::Duration;

use access::{
    AccessError, OperatorRole, SignInRefusal,
    operators::{self, Operator, SIGN_IN_FAILURES_MAX},
    sessions,
};
use store::{Store, audit::Actor};

use crate::backend::{Bench, on_both_backends};

on_both_backends!(
    the_right_password_lets_in_and_nothing_else_does,
    after_ten_failures_nobody_gets_in_for_a_quarter_of_an_hour,
    failures_at_once_are_counted_one_by_one,
    a_success_forgives_what_failed_before,
    a_new_password_ends_sessions_and_a_lock,
    who_is_disabled_is_out_at_once,
    the_last_admin_stays,
    of_two_admins_who_disable_each_other_one_stays,
    a_role_counts_at_once,
    names_are_unique_whatever_their_case,
);

const PASSWORD: &str = "correct horse battery";

fn root() -> Actor {
    Actor::new("root", "first day")
}

async fn anna(store: &Store) -> Operator {
    operators::create(store, "Anna", OperatorRole::Finance, PASSWORD, &root()).await.unwrap()
}

async fn is_let_in(store: &Store, name: &str, password: &str) -> bool {
    match operators::sign_in(store, name, password).await {
        Ok(_) => true,
        Err(SignInRefusal::Refused) => false,
        Err(other) => panic!("{other}"),
    }
}

async fn the_right_password_lets_in_and_nothing_else_does(bench: Bench) {
    let store = &bench.store;
    let made = anna(store).await;
    assert_eq!(made.name, "anna");
    let operator = operators::sign_in(store, "ANNA", PASSWORD).await.unwrap();
    assert_eq!(operator, made);
    for (name, password) in [("anna", "correct horse batterz"), ("anna", ""), ("otto", PASSWORD), ("", "")] {
        assert!(!is_let_in(store, name, password).await, "{name} {password}");
    }
    // The password is nowhere, and neither is one that was tried.
    let kept = bench
        .query(
            "select detail || reason || subject from audit_log union all select password_hash from operators",
        )
        .await;
    assert!(kept.iter().all(|text| !text.contains("correct")), "{kept:?}");
    let audit = bench.audit().await;
    assert_eq!(audit, ["root: operator.create anna: first day", "operator anna: operator.sign-in anna: "]);
}

async fn after_ten_failures_nobody_gets_in_for_a_quarter_of_an_hour(bench: Bench) {
    let store = &bench.store;
    anna(store).await;
    let longest_pause = Duration::from_secs(64);
    for _ in 0..SIGN_IN_FAILURES_MAX {
        assert!(!is_let_in(store, "anna", "wrong").await);
        bench.turn(longest_pause);
    }
    assert!(!is_let_in(store, "anna", PASSWORD).await, "locked");
    let locked = operators::get(store.reads(), "anna").await.unwrap().unwrap();
    assert!(locked.locked_until.unwrap() > store.now());
    let audit = bench.audit().await;
    assert_eq!(audit.last().unwrap(), "sign-in: operator.lock anna: too many failures");
    bench.turn(Duration::from_secs(15 * 60 - 65));
    assert!(!is_let_in(store, "anna", PASSWORD).await, "still locked");
    bench.turn(Duration::from_secs(1));
    // What was tried while it was locked has not made it longer, and counting begins anew.
    assert!(!is_let_in(store, "anna", "wrong").await);
    assert!(is_let_in(store, "anna", PASSWORD).await);
}

/// Whoever sends many at once gets no more tries than one who sends them one by one.
async fn failures_at_once_are_counted_one_by_one(bench: Bench) {
    let store = &bench.store;
    anna(store).await;
    let tries = (0..12).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { is_let_in(&store, "anna", "wrong").await })
    });
    for tried in tries.collect::<Vec<_>>() {
        assert!(!tried.await.unwrap());
    }
    // The third of them has set a pause, and the others were not looked at.
    assert_eq!(bench.query("select failures from operators").await, ["3"]);
    assert!(!is_let_in(store, "anna", PASSWORD).await, "within the pause");
    bench.turn(Duration::from_secs(1));
    assert!(is_let_in(store, "anna", PASSWORD).await);
}

async fn a_success_forgives_what_failed_before(bench: Bench) {
    let store = &bench.store;
    anna(store).await;
    for _ in 0..5 {
        assert!(!is_let_in(store, "anna", "wrong").await);
        assert!(!is_let_in(store, "anna", "wrong").await);
        assert!(is_let_in(store, "anna", PASSWORD).await);
    }
    assert_eq!(bench.query("select failures from operators").await, ["0"]);
}

async fn a_new_password_ends_sessions_and_a_lock(bench: Bench) {
    let store = &bench.store;
    let operator = anna(store).await;
    let session = sessions::begin(store, &operator).await.unwrap();
    for _ in 0..3 {
        assert!(!is_let_in(store, "anna", "wrong").await);
    }
    let short = operators::set_password(store, "anna", "eleven char", &root()).await;
    assert!(matches!(short, Err(AccessError::InvalidPassword)), "{short:?}");
    assert!(sessions::find(store, session.token.reveal()).await.unwrap().is_some());
    operators::set_password(store, "anna", "another one, long", &root()).await.unwrap();
    assert!(sessions::find(store, session.token.reveal()).await.unwrap().is_none());
    assert!(is_let_in(store, "anna", "another one, long").await, "and the pause is over");
    assert!(!is_let_in(store, "anna", PASSWORD).await);
}

async fn who_is_disabled_is_out_at_once(bench: Bench) {
    let store = &bench.store;
    let operator = anna(store).await;
    let session = sessions::begin(store, &operator).await.unwrap();
    let disabled = operators::disable(store, "Anna", &root()).await.unwrap();
    assert!(!disabled.is_active);
    assert!(sessions::find(store, session.token.reveal()).await.unwrap().is_none());
    assert!(!is_let_in(store, "anna", PASSWORD).await);
    operators::enable(store, "anna", &root()).await.unwrap();
    assert!(sessions::find(store, session.token.reveal()).await.unwrap().is_none(), "it has ended for good");
    assert!(is_let_in(store, "anna", PASSWORD).await);
    let nobody = operators::disable(store, "otto", &root()).await;
    assert!(matches!(&nobody, Err(AccessError::NoSuchOperator(name)) if name == "otto"), "{nobody:?}");
}

async fn the_last_admin_stays(bench: Bench) {
    let store = &bench.store;
    operators::create(store, "boss", OperatorRole::Admin, PASSWORD, &root()).await.unwrap();
    anna(store).await;
    for refused in [
        operators::disable(store, "boss", &root()).await,
        operators::set_role(store, "boss", OperatorRole::Viewer, &root()).await,
    ] {
        assert!(matches!(&refused, Err(AccessError::LastAdmin(name)) if name == "boss"), "{refused:?}");
    }
    operators::set_role(store, "anna", OperatorRole::Admin, &root()).await.unwrap();
    operators::disable(store, "boss", &root()).await.unwrap();
    let roles: Vec<_> = operators::list(store.reads()).await.unwrap();
    let roles: Vec<_> = roles.iter().map(|o| (o.name.as_str(), o.role, o.is_active)).collect();
    assert_eq!(roles, [("anna", OperatorRole::Admin, true), ("boss", OperatorRole::Admin, false)]);
}

async fn of_two_admins_who_disable_each_other_one_stays(bench: Bench) {
    let elsewhere = bench.beside().await;
    for round in 0..10 {
        let (one, two) = (format!("one{round}"), format!("two{round}"));
        for name in [&one, &two] {
            operators::create(&bench.store, name, OperatorRole::Admin, PASSWORD, &root()).await.unwrap();
        }
        if round > 0 {
            let before = operators::list(bench.store.reads()).await.unwrap();
            for operator in before.iter().filter(|o| o.is_active && !o.name.ends_with(&round.to_string())) {
                operators::disable(&bench.store, &operator.name, &root()).await.unwrap();
            }
        }
        let actor = root();
        let (first, second) = tokio::join!(
            operators::disable(&bench.store, &one, &actor),
            operators::disable(&elsewhere, &two, &actor),
        );
        assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
        let active = bench.query("select name from operators where is_active = 1").await;
        assert_eq!(active.len(), 1, "{active:?}");
    }
}

async fn a_role_counts_at_once(bench: Bench) {
    let store = &bench.store;
    let operator = anna(store).await;
    let session = sessions::begin(store, &operator).await.unwrap();
    operators::set_role(store, "anna", OperatorRole::Viewer, &root()).await.unwrap();
    let found = sessions::find(store, session.token.reveal()).await.unwrap().unwrap();
    assert_eq!(found.role, OperatorRole::Viewer);
    let details = bench.query("select detail from audit_log where action = 'operator.role'").await;
    assert_eq!(
        details,
        [
            r#"{"before":{"name":"anna","role":"finance","isActive":true},"after":{"name":"anna","role":"viewer","isActive":true}}"#
        ]
    );
}

async fn names_are_unique_whatever_their_case(bench: Bench) {
    let store = &bench.store;
    anna(store).await;
    let again = operators::create(store, "ANNA", OperatorRole::Viewer, PASSWORD, &root()).await;
    assert!(matches!(&again, Err(AccessError::NameTaken(name)) if name == "anna"), "{again:?}");
    for bad in ["", "an na", "anna\u{0430}", "<b>", &"x".repeat(41)] {
        let refused = operators::create(store, bad, OperatorRole::Viewer, PASSWORD, &root()).await;
        assert!(matches!(refused, Err(AccessError::InvalidOperatorName { .. })), "{bad}");
    }
    assert_eq!(bench.audit().await.len(), 1);
}
