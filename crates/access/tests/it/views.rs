//! Saved views: an operator's own, and so many.

use access::{
    AccessError,
    views::{self, QUERY_CHARS_MAX, VIEWS_A_PAGE_MAX, View},
};

use crate::backend::{Bench, on_both_backends};

on_both_backends!(views_are_kept_for_their_operator_and_page, views_have_limits);

fn view(name: &str, query: &str) -> View {
    View { name: name.to_owned(), query: query.to_owned() }
}

async fn views_are_kept_for_their_operator_and_page(bench: Bench) {
    let store = &bench.store;
    views::save(store, "anna", "payments", &view("big", "min=1")).await.unwrap();
    views::save(store, "anna", "payments", &view("big", "min=2")).await.unwrap();
    views::save(store, "anna", "payments", &view("all", "")).await.unwrap();
    views::save(store, "otto", "payments", &view("his", "x=1")).await.unwrap();
    let annas = views::list(store.reads(), "anna", "payments").await.unwrap();
    assert_eq!(annas, [view("all", ""), view("big", "min=2")]);
    assert!(views::list(store.reads(), "anna", "audit").await.unwrap().is_empty());
    views::delete(store, "otto", "payments", "big").await.unwrap();
    assert_eq!(views::list(store.reads(), "anna", "payments").await.unwrap(), annas);
    views::delete(store, "anna", "payments", "big").await.unwrap();
    assert_eq!(views::list(store.reads(), "anna", "payments").await.unwrap(), [view("all", "")]);
}

async fn views_have_limits(bench: Bench) {
    let store = &bench.store;
    for number in 0..VIEWS_A_PAGE_MAX {
        views::save(store, "anna", "payments", &view(&number.to_string(), "")).await.unwrap();
    }
    let refused = views::save(store, "anna", "payments", &view("more", "")).await;
    assert!(matches!(refused, Err(AccessError::TooManyViews)), "{refused:?}");
    views::save(store, "anna", "payments", &view("0", "changed")).await.unwrap();
    views::save(store, "anna", "audit", &view("more", "")).await.unwrap();
    for bad in [view("", ""), view("a\nb", ""), view("x", &"q".repeat(QUERY_CHARS_MAX + 1))] {
        let refused = views::save(store, "anna", "merchants", &bad).await;
        assert!(matches!(refused, Err(AccessError::InvalidName { .. })), "{bad:?}");
    }
}
