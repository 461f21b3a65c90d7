//! Dead letters are found newest first, in groups, and by an index however many there are.

use domain::{event::Stream, id::MerchantId, lane::lane_of};
use futures_util::future::BoxFuture;
use store::audit::Actor;
use store::{
    Store,
    error::ReadError,
    log,
    queries::PageKey,
    sql::{Dialect, Reads, Rows, Value},
};
use stream::{
    dead_letter::{self, Cause, Kind, State},
    lag,
    letters::{self, Wanted},
    redrive::{self, Letter, Selection},
    relay::status,
};
use uuid::Uuid;

use crate::{
    backend::{Backend, Database},
    calls::{merchant, pay},
};

const CONSUMERS: [&str; 2] = ["one", "other"];
const PAYMENTS: usize = 6;

/// For each of two consumers a poisoned letter of each of six payments, the last of each skipped.
async fn prepare(backend: Backend) -> (Store, Database, MerchantId) {
    let database = backend.create().await;
    let store = database.open(4).await;
    let id = merchant(&store).await;
    for _ in 0..PAYMENTS {
        pay(&store, id, &Uuid::now_v7().to_string()).await.unwrap();
    }
    let lane = lane_of(id, store.lanes());
    let events = log::behind(store.reads(), Stream::Payments, lane, 0, PAYMENTS).await.unwrap();
    for event in &events {
        for consumer in CONSUMERS {
            let reason = format!("100% odd_{}", event.position % 2);
            let cause = if event.position == 6 {
                Cause::Skipped { reason: &reason }
            } else {
                Cause::Poison { reason: &reason, attempts: 3 }
            };
            let mut transaction = store.begin().await.unwrap();
            dead_letter::park(transaction.as_mut(), consumer, event, &cause, store.now()).await.unwrap();
            transaction.commit().await.unwrap();
        }
    }
    (store, database, id)
}

fn open() -> Wanted {
    Wanted { state: Some(State::Open), ..Wanted::default() }
}

fn ids(letters: &[Letter]) -> Vec<Uuid> {
    letters.iter().map(|letter| letter.id).collect()
}

async fn all(db: &dyn Reads, wanted: &Wanted, limit: usize) -> Vec<Letter> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = letters::list(db, wanted, after, limit).await.unwrap();
        assert!(page.rows.len() <= limit && !page.is_cut_short);
        found.extend(page.rows);
        after = page.next;
        if after.is_none() {
            return found;
        }
    }
}

async fn letters_are_listed_newest_first(backend: Backend) {
    let (store, _database, _) = prepare(backend).await;
    let db = store.reads();
    let found = all(db, &open(), 3).await;
    assert_eq!(found.len(), 10);
    assert!(ids(&found).is_sorted_by(|a, b| a > b));
    assert_eq!(ids(&all(db, &open(), 100).await), ids(&found));
    assert!(found.iter().all(|letter| letter.payload.is_none()), "what they hold is left in the table");
    let everything = all(db, &Wanted::default(), 5).await;
    assert_eq!(everything.len(), 12);
    let skipped = Wanted { kind: Some(Kind::Skipped), ..Wanted::default() };
    assert_eq!(all(db, &skipped, 5).await.len(), 2);
    let of_one = Wanted { consumer: Some("one".to_owned()), ..open() };
    assert_eq!(all(db, &of_one, 2).await.len(), 5);
    // Signs of patterns stand for themselves, and the case does not count.
    for (part, count) in [("0% ODD_1", 6), ("ODD_", 10), ("0_ odd", 0), ("odd%", 0)] {
        let wanted = Wanted { reason: Some(part.to_owned()), ..open() };
        assert_eq!(all(db, &wanted, 4).await.len(), count, "{part}");
    }
}

async fn what_went_wrong_in_one_way_is_a_group(backend: Backend) {
    let (store, _database, _) = prepare(backend).await;
    let db = store.reads();
    let (groups, is_more) = letters::groups(db).await.unwrap();
    assert!(!is_more);
    let told: Vec<(&str, &str, i64)> =
        groups.iter().map(|g| (g.consumer.as_str(), g.reason.as_str(), g.letters)).collect();
    let mut expected = [
        ("one", "100% odd_1", 3),
        ("other", "100% odd_1", 3),
        ("one", "100% odd_0", 2),
        ("other", "100% odd_0", 2),
    ];
    expected.sort_unstable();
    let mut sorted = told.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, expected);
    assert!(told.is_sorted_by(|a, b| a.2 >= b.2), "the largest first");
    let group = groups.iter().find(|group| group.consumer == "one" && group.letters == 3).unwrap();
    let one = letter(&store, group.newest).await;
    let alike = letters::like(db, &one, 100).await.unwrap();
    assert_eq!(alike.len(), 3);
    assert_eq!(alike[0].id, group.newest);
    assert_eq!(letters::like(db, &one, 2).await.unwrap().len(), 2);
    redrive::discard(&store, &one, &Actor::new("operator anna", "a test")).await.unwrap();
    assert_eq!(letters::like(db, &one, 100).await.unwrap().len(), 2, "what was ended is not meant");
}

async fn letter(store: &Store, id: Uuid) -> Letter {
    let selection = Selection { ids: vec![id], ..Selection::default() };
    redrive::select(store.reads(), &selection, 1).await.unwrap().remove(0)
}

async fn places_tell_what_is_behind(backend: Backend) {
    let (store, _database, id) = prepare(backend).await;
    let lane = lane_of(id, store.lanes());
    let now = store.now();
    let places = lag::places(store.reads(), "one", &[Stream::Payments], now).await.unwrap();
    assert_eq!(places.len(), 4);
    let place = places.iter().find(|place| place.place.1 == lane).unwrap();
    assert_eq!((place.position, place.head, place.events()), (None, 6, 6));
    assert!(place.micros > 0 && places.iter().filter(|place| place.events() > 0).count() == 1);
    let published = status::places(store.reads(), now).await.unwrap();
    assert_eq!(published.len(), 12);
    let unpublished: i64 = published.iter().map(|place| place.unpublished()).sum();
    assert_eq!(unpublished, status::status(store.reads(), now).await.unwrap().unpublished);
    let place = published.iter().find(|place| place.place == (Stream::Payments, lane)).unwrap();
    assert_eq!((place.noted, place.unpublished()), (None, 6));
}

/// Explains each query before it is asked, and fails on one that reads a whole big table.
struct Explaining(Store);

impl Reads for Explaining {
    fn dialect(&self) -> Dialect {
        self.0.reads().dialect()
    }

    fn query<'a>(&'a self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<Rows, ReadError>> {
        Box::pin(async move {
            let (prefix, scan) = match self.dialect() {
                Dialect::Sqlite => ("explain query plan", "SCAN"),
                Dialect::Postgres => ("explain", "Seq Scan"),
            };
            let plan = self.0.reads().query(&format!("{prefix} {sql}"), params.clone()).await?;
            for row in &plan {
                let line =
                    (0..row.columns()).rev().find_map(|column| row.text(column).ok()).unwrap_or_default();
                // Read whole: what an inner query has bounded, a row a lane or a consumer, and a list that the query
                // brings with it.
                let is_small = [
                    "looked",
                    "grouped",
                    "counted",
                    "subquery",
                    "lane_heads",
                    "relay",
                    "consumer_positions",
                    "consumer_controls",
                    "SCAN span",
                    "CONSTANT ROW",
                ]
                .iter()
                .any(|name| line.contains(name));
                assert!(!line.contains(scan) || is_small, "{line}: {sql}");
            }
            self.0.reads().query(sql, params).await
        })
    }
}

/// At a hundred thousand dead letters, most of them ended.
async fn a_page_uses_an_index(backend: Backend) {
    let (store, database, _) = prepare(backend).await;
    fill(&store, &database).await;
    let db = Explaining(store.clone());
    let after = Some(PageKey { created_at: store.now(), id: Uuid::max() });
    for consumer in [None, Some("one".to_owned())] {
        for state in [None, Some(State::Open), Some(State::Discarded)] {
            let wanted = Wanted {
                consumer: consumer.clone(),
                state,
                kind: Some(Kind::Poison),
                reason: Some("odd".to_owned()),
            };
            letters::list(&db, &wanted, after, 50).await.unwrap();
            letters::list(&db, &Wanted { consumer: consumer.clone(), state, ..Wanted::default() }, None, 50)
                .await
                .unwrap();
        }
    }
    let (groups, _) = letters::groups(&db).await.unwrap();
    let one = letter(&store, groups[0].newest).await;
    letters::like(&db, &one, 100).await.unwrap();
    let of_subject = Selection { subject: one.subject_id, ..Selection::default() };
    assert_eq!(redrive::select(&db, &of_subject, 50).await.unwrap().len(), CONSUMERS.len());
    lag::places(&db, "one", &Stream::ALL, store.now()).await.unwrap();
    lag::lags(&db, store.now()).await.unwrap();
    status::status(&db, store.now()).await.unwrap();
    status::places(&db, store.now()).await.unwrap();
    let cut =
        letters::list(&db, &Wanted { reason: Some("nowhere".to_owned()), ..Wanted::default() }, None, 50)
            .await;
    let cut = cut.unwrap();
    assert!(cut.is_cut_short && cut.next.is_some() && cut.rows.is_empty(), "it says how far it came");
}

async fn fill(store: &Store, database: &Database) {
    let id = match store.reads().dialect() {
        Dialect::Sqlite => "randomblob(16)",
        Dialect::Postgres => "gen_random_uuid()",
    };
    let rows =
        "with recursive numbers (n) as (select 1 union all select n + 1 from numbers where n < 100000)";
    let sql = format!(
        "{rows} insert into dead_letters (id, consumer, stream, lane, kind, reason, attempts, state, created_at, ended_at, published_at) \
         select {id}, 'one', 1, 0, 1, 'old', 1, 3, n, n, n from numbers"
    );
    let sql = match store.reads().dialect() {
        // A WITH stands behind INSERT there.
        Dialect::Sqlite => sql,
        Dialect::Postgres => sql
            .replace(&format!("{rows} "), "")
            .replace(" from numbers", " from generate_series(1, 100000) n"),
    };
    let mut transaction = store.begin().await.unwrap();
    transaction.execute(&sql, Vec::new()).await.unwrap();
    transaction.commit().await.unwrap();
    let mut transaction = store.begin().await.unwrap();
    transaction.execute("analyze", Vec::new()).await.unwrap();
    transaction.commit().await.unwrap();
    drop(database.location());
}

macro_rules! on_both {
    ($($test:ident),+ $(,)?) => {
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() { super::$test($crate::backend::Backend::Sqlite).await; })+
        }
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() { super::$test($crate::backend::Backend::Postgres).await; })+
        }
    };
}

on_both!(
    letters_are_listed_newest_first,
    what_went_wrong_in_one_way_is_a_group,
    places_tell_what_is_behind,
    a_page_uses_an_index,
);
