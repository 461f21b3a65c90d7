//! Keys: made, checked, revoked.

use std::{sync::Arc, time::Duration};

use access::{
    Access, AccessError, KeyRefusal, Mode, Role, Scope,
    keys::{self, Created, KEYS_A_SCOPE_MAX, KeyState, NewKey},
};
use domain::{
    command::{Action, Command},
    id::{CommandId, MerchantId},
    time::Timestamp,
};
use store::{Store, audit::Actor, request::Request};
use uuid::Uuid;

use crate::backend::{Bench, eventually, on_both_backends};

on_both_backends!(
    a_key_lets_in_whoever_it_was_made_for,
    nothing_of_a_key_is_kept_but_its_hash_and_its_ends,
    a_revocation_counts_at_once_here_and_in_five_seconds_elsewhere,
    a_key_ends_at_its_moment,
    the_last_use_is_noted_once_a_minute,
    what_cannot_be_is_refused,
    a_scope_has_a_limited_number_of_keys,
    keys_are_listed_newest_first_behind_each_other,
    many_requests_with_a_key_that_nobody_remembers_are_all_answered,
);

type IsExpected = fn(&AccessError) -> bool;

fn wanted() -> NewKey {
    NewKey {
        name: "the shop".to_owned(),
        is_live: true,
        scope: Scope::Platform,
        role: Role::Write,
        requests_per_second: None,
        expires_at: None,
    }
}

fn anna() -> Actor {
    Actor::new("operator anna", "a new shop").of_request("req-1")
}

async fn make(store: &Store, new: &NewKey) -> Created {
    keys::create(store, new, &anna()).await.unwrap()
}

async fn merchant(store: &Store) -> MerchantId {
    let id = Uuid::now_v7();
    let action = Action::CreateMerchant { name: "Shop".to_owned(), email: format!("{id}@example.com") };
    let command = Command { id: CommandId(Uuid::now_v7()), merchant_id: MerchantId(id), action };
    store.submit(Request { command, claim: None, origin: None, trace: None }).await.unwrap();
    MerchantId(id)
}

async fn a_key_lets_in_whoever_it_was_made_for(bench: Bench) {
    let access = Access::new(bench.store.clone(), Mode::Required);
    let id = merchant(&bench.store).await;
    let new = NewKey {
        scope: Scope::Merchant(id),
        role: Role::Read,
        requests_per_second: Some(25),
        is_live: false,
        ..wanted()
    };
    let created = make(&bench.store, &new).await;
    let verified = access.key(created.secret.reveal()).await.unwrap();
    assert_eq!(verified.id, created.key.id);
    assert_eq!(verified.caller.scope, Scope::Merchant(id));
    assert_eq!(verified.caller.role, Role::Read);
    assert_eq!(verified.requests_per_second, Some(25));
    assert_eq!(verified.caller.name, format!("key {}", &created.secret.reveal()[..12]));
    assert!(created.secret.reveal().starts_with("fk_test_"));
    // From memory it is the same one.
    let again = access.key(created.secret.reveal()).await.unwrap();
    assert!(Arc::ptr_eq(&verified, &again));
    // One that has the right form, and was never made.
    let other = Bench::new(crate::backend::Backend::Sqlite).await;
    let forged = make(&other.store, &wanted()).await;
    for bad in [forged.secret.reveal(), "fk_live_", "", "fk_live_\u{e9}", &created.secret.reveal()[1..]] {
        assert!(matches!(access.key(bad).await, Err(KeyRefusal::Unknown)), "{bad}");
    }
}

/// Who has read the database has no key.
async fn nothing_of_a_key_is_kept_but_its_hash_and_its_ends(bench: Bench) {
    let created = make(&bench.store, &wanted()).await;
    let middle = &created.secret.reveal()[12..43];
    let kept = bench
        .query(
            "select prefix || last4 || name || created_by from api_keys \
             union all select actor || action || subject || detail || reason from audit_log",
        )
        .await;
    assert_eq!(kept.len(), 2);
    assert!(kept.iter().all(|text| !text.contains(middle)), "{kept:?}");
    assert!(kept[0].starts_with(&created.secret.reveal()[..12]));
    let audit = bench.audit().await;
    assert_eq!(audit, [format!("operator anna: key.create {}: a new shop", created.key.id)]);
    assert_eq!(bench.query("select request_id from audit_log").await, ["req-1"]);
}

async fn a_revocation_counts_at_once_here_and_in_five_seconds_elsewhere(bench: Bench) {
    let elsewhere = bench.beside().await;
    let (here, there) =
        (Access::new(bench.store.clone(), Mode::Required), Access::new(elsewhere, Mode::Required));
    let created = make(&bench.store, &wanted()).await;
    let secret = created.secret.reveal();
    here.key(secret).await.unwrap();
    there.key(secret).await.unwrap();
    let revoked = keys::revoke(&here, created.key.id, &anna()).await.unwrap();
    assert_eq!(revoked.state(bench.store.now()), KeyState::Revoked);
    assert!(matches!(here.key(secret).await, Err(KeyRefusal::Revoked)));
    assert!(there.key(secret).await.is_ok(), "from memory");
    bench.turn(Duration::from_secs(5));
    assert!(matches!(there.key(secret).await, Err(KeyRefusal::Revoked)));
    // Once is for good, and noted once.
    let again = keys::revoke(&there, created.key.id, &anna()).await.unwrap();
    assert_eq!(again.revoked_at, revoked.revoked_at);
    assert_eq!(bench.audit().await.iter().filter(|line| line.contains("key.revoke")).count(), 1);
    let nobodys = Uuid::from_u128(1);
    assert!(
        matches!(keys::revoke(&here, nobodys, &anna()).await, Err(AccessError::NoSuchKey(id)) if id == nobodys)
    );
}

async fn a_key_ends_at_its_moment(bench: Bench) {
    let access = Access::new(bench.store.clone(), Mode::Required);
    let end = Timestamp::from_micros(bench.store.now().as_micros() + 2_000_000);
    let created = make(&bench.store, &NewKey { expires_at: Some(end), ..wanted() }).await;
    assert!(access.key(created.secret.reveal()).await.is_ok());
    bench.turn(Duration::from_micros(1_999_999));
    assert!(access.key(created.secret.reveal()).await.is_ok());
    bench.turn(Duration::from_micros(1));
    let remembered = access.key(created.secret.reveal()).await;
    assert!(matches!(remembered, Err(KeyRefusal::Expired)), "{remembered:?}");
    assert_eq!(created.key.state(bench.store.now()), KeyState::Expired);
}

async fn the_last_use_is_noted_once_a_minute(bench: Bench) {
    let access = Access::new(bench.store.clone(), Mode::Required);
    let created = make(&bench.store, &wanted()).await;
    assert_eq!(created.key.last_used_at, None);
    let noted = async |at: Timestamp| {
        eventually("the use to be noted", || async {
            let key = keys::get(bench.store.reads(), created.key.id).await.unwrap().unwrap();
            key.last_used_at == Some(at)
        })
        .await;
    };
    let first = bench.store.now();
    access.key(created.secret.reveal()).await.unwrap();
    noted(first).await;
    // Within the minute nothing is written: the next that is written is the later one.
    bench.turn(Duration::from_secs(59));
    access.key(created.secret.reveal()).await.unwrap();
    bench.turn(Duration::from_secs(1));
    let second = bench.store.now();
    access.key(created.secret.reveal()).await.unwrap();
    noted(second).await;
}

async fn what_cannot_be_is_refused(bench: Bench) {
    let now = bench.store.now();
    let nobodys = MerchantId(Uuid::from_u128(9));
    let cases: [(NewKey, IsExpected); 6] = [
        (NewKey { name: String::new(), ..wanted() }, |e| matches!(e, AccessError::InvalidName { .. })),
        (NewKey { name: "a\u{1b}[31m".to_owned(), ..wanted() }, |e| {
            matches!(e, AccessError::InvalidName { .. })
        }),
        (NewKey { name: "x".repeat(101), ..wanted() }, |e| matches!(e, AccessError::InvalidName { .. })),
        (NewKey { expires_at: Some(now), ..wanted() }, |e| matches!(e, AccessError::InvalidExpiry)),
        (NewKey { requests_per_second: Some(0), ..wanted() }, |e| matches!(e, AccessError::InvalidRate)),
        (NewKey { scope: Scope::Merchant(nobodys), ..wanted() }, |e| {
            matches!(e, AccessError::NoSuchMerchant(_))
        }),
    ];
    for (new, is_expected) in cases {
        let error = keys::create(&bench.store, &new, &anna()).await.unwrap_err();
        assert!(is_expected(&error), "{error}");
    }
    assert_eq!(bench.query("select count(*) from api_keys").await, ["0"]);
    assert!(bench.audit().await.is_empty());
}

async fn a_scope_has_a_limited_number_of_keys(bench: Bench) {
    let access = Access::new(bench.store.clone(), Mode::Required);
    let id = merchant(&bench.store).await;
    let of_merchant = NewKey { scope: Scope::Merchant(id), ..wanted() };
    let first = make(&bench.store, &of_merchant).await;
    for _ in 1..KEYS_A_SCOPE_MAX {
        make(&bench.store, &of_merchant).await;
    }
    let refused = keys::create(&bench.store, &of_merchant, &anna()).await;
    assert!(matches!(refused, Err(AccessError::TooManyKeys)), "{refused:?}");
    // Neither another scope nor one that is revoked counts.
    make(&bench.store, &wanted()).await;
    keys::revoke(&access, first.key.id, &anna()).await.unwrap();
    make(&bench.store, &of_merchant).await;
}

async fn keys_are_listed_newest_first_behind_each_other(bench: Bench) {
    let id = merchant(&bench.store).await;
    let mut ids = Vec::new();
    for number in 0..5 {
        let scope = if number == 2 { Scope::Platform } else { Scope::Merchant(id) };
        ids.push(make(&bench.store, &NewKey { scope, ..wanted() }).await.key.id);
    }
    ids.reverse();
    let db = bench.store.reads();
    let mut listed = Vec::new();
    while let page = keys::list(db, None, listed.last().copied(), 2).await.unwrap()
        && !page.is_empty()
    {
        listed.extend(page.iter().map(|key| key.id));
    }
    assert_eq!(listed, ids);
    let of_merchant = keys::list(db, Some(id), None, 10).await.unwrap();
    assert_eq!(of_merchant.len(), 4);
    assert!(of_merchant.iter().all(|key| key.scope == Scope::Merchant(id)));
    let behind = keys::list(db, Some(id), Some(of_merchant[1].id), 10).await.unwrap();
    assert_eq!(behind, of_merchant[2..]);
}

/// They come at once after a start, when nothing is remembered.
async fn many_requests_with_a_key_that_nobody_remembers_are_all_answered(bench: Bench) {
    let created = make(&bench.store, &wanted()).await;
    let access = Access::new(bench.store.clone(), Mode::Required);
    let tasks: Vec<_> = (0..500)
        .map(|_| {
            let (access, secret) = (access.clone(), created.secret.clone());
            tokio::spawn(async move { access.key(secret.reveal()).await.map(|key| key.id) })
        })
        .collect();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap(), created.key.id);
    }
}
