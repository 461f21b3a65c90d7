//! The audit log as people read it.

use std::time::Duration;

use domain::time::Timestamp;
use serde_json::json;
use store::{
    audit::{self, Actor, Filter, Line},
    browse::ROWS_LOOKED_AT_MAX,
    queries::PageKey,
};

use crate::backend::{Bench, on_both_backends};

on_both_backends!(
    lines_are_listed_newest_first_by_every_filter,
    a_page_looks_at_so_many_rows_and_says_how_far_it_came,
    a_line_and_its_change_are_one,
);

/// Three lines in each of ten seconds.
async fn fill(bench: &Bench) {
    for number in 0..10 {
        let mut transaction = bench.store.begin().await.unwrap();
        for (who, action) in [("anna", "key.create"), ("otto", "key.revoke"), ("otto", "keyring.open")] {
            let actor = Actor::new(who, "why").of_request(format!("r{number}"));
            let subject = format!("s{}", number % 2);
            let now = bench.store.now();
            audit::write(transaction.as_mut(), &actor, action, &subject, &json!({"n": number}), now)
                .await
                .unwrap();
        }
        transaction.commit().await.unwrap();
        bench.turn(Duration::from_secs(1));
    }
}

async fn all(bench: &Bench, filter: &Filter, limit: usize) -> Vec<Line> {
    let (mut lines, mut after) = (Vec::new(), None);
    loop {
        let page = audit::list(bench.store.reads(), filter, after, limit).await.unwrap();
        assert!(page.rows.len() <= limit && !page.is_cut_short);
        lines.extend(page.rows);
        match page.next {
            Some(next) => after = Some(next),
            None => return lines,
        }
    }
}

async fn lines_are_listed_newest_first_by_every_filter(bench: Bench) {
    let begin = bench.store.now();
    fill(&bench).await;
    let everything = all(&bench, &Filter::default(), 4).await;
    assert_eq!(everything.len(), 30);
    assert!(everything.is_sorted_by_key(|line| std::cmp::Reverse((line.at, line.id))));
    assert_eq!(everything[0].detail, json!({"n": 9}));
    assert_eq!(everything[0].request_id.as_deref(), Some("r9"));
    let at = |seconds: i64| Some(Timestamp::from_micros(begin.as_micros() + seconds * 1_000_000));
    let some = |text: &str| Some(text.to_owned());
    let cases = [
        (Filter { actor: some("anna"), ..Filter::default() }, 10),
        (Filter { action_prefix: some("key."), ..Filter::default() }, 20),
        (Filter { action_prefix: some("key%"), ..Filter::default() }, 0),
        (Filter { subject: some("s1"), ..Filter::default() }, 15),
        (Filter { from: at(3), to: at(5), ..Filter::default() }, 9),
        (
            Filter {
                actor: some("otto"),
                subject: some("s0"),
                action_prefix: some("key."),
                from: at(2),
                to: at(9),
                request_id: None,
            },
            4,
        ),
        (Filter { actor: some("nobody"), ..Filter::default() }, 0),
    ];
    for (filter, expected) in cases {
        let lines = all(&bench, &filter, 3).await;
        assert_eq!(lines.len(), expected, "{filter:?}");
        assert!(lines.iter().all(|line| everything.contains(line)));
        assert!(lines.is_sorted_by_key(|line| std::cmp::Reverse((line.at, line.id))));
    }
}

/// A filter that nothing passes must not read a year of lines for one page.
async fn a_page_looks_at_so_many_rows_and_says_how_far_it_came(bench: Bench) {
    let mut transaction = bench.store.begin().await.unwrap();
    let actor = Actor::new("anna", "");
    let wanted = ROWS_LOOKED_AT_MAX + 5;
    for number in 0..wanted {
        let now = Timestamp::from_micros(1_000_000 + i64::try_from(number).unwrap());
        let action = if number == 2 { "rare" } else { "usual" };
        audit::write(transaction.as_mut(), &actor, action, "s", &json!({}), now).await.unwrap();
    }
    transaction.commit().await.unwrap();
    let filter = Filter { action_prefix: Some("rare".to_owned()), ..Filter::default() };
    let db = bench.store.reads();
    let first = audit::list(db, &filter, None, 10).await.unwrap();
    assert!(first.rows.is_empty() && first.is_cut_short);
    let next: PageKey = first.next.unwrap();
    let second = audit::list(db, &filter, Some(next), 10).await.unwrap();
    assert_eq!(second.rows.len(), 1);
    assert!(second.next.is_none() && !second.is_cut_short);
}

async fn a_line_and_its_change_are_one(bench: Bench) {
    let mut transaction = bench.store.begin().await.unwrap();
    let now = bench.store.now();
    audit::write(transaction.as_mut(), &Actor::new("anna", ""), "a", "s", &json!({}), now).await.unwrap();
    drop(transaction);
    assert!(all(&bench, &Filter::default(), 10).await.is_empty());
}
