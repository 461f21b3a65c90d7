//! What comes while somebody looks.

use std::{collections::BTreeSet, time::Instant};

use rdkafka::{
    message::OwnedHeaders,
    producer::{BaseProducer, Producer as _},
};
use stream::kafka::browse::{BrowseError, Filter};

use super::{Kafka, PATIENCE, keys, numbered, send};

/// What is published after the tail was begun comes, what is not wanted does not, and who is slow is told what was lost.
#[tokio::test(flavor = "multi_thread")]
async fn a_tail_gives_what_comes_and_counts_what_it_drops() {
    let kafka = Kafka::new().await;
    let topic = kafka.make_topic().await;
    let producer: BaseProducer = kafka.client().create().unwrap();
    send(&producer, &topic, 0, "earlier", b"", OwnedHeaders::new());
    producer.flush(PATIENCE).unwrap();
    let filter = Filter { header_value: Some("even".to_owned()), ..Filter::default() };
    let mut tail = kafka.browser.tail(&topic, None, filter).await.unwrap();
    for number in 0..10 {
        send(
            &producer,
            &topic,
            i32::try_from(number % 3).unwrap(),
            &format!("key-{number}"),
            b"",
            numbered(number),
        );
    }
    producer.flush(PATIENCE).unwrap();
    let mut found = BTreeSet::new();
    for _ in 0..5 {
        let next = tokio::time::timeout(PATIENCE, tail.next()).await.unwrap().unwrap().unwrap();
        found.extend(keys(&[next]));
    }
    assert_eq!(found, ["key-0", "key-2", "key-4", "key-6", "key-8"].map(str::to_owned).into());
    assert_eq!(tail.dropped(), 0);
    // Nobody takes what comes: a bounded number is kept.
    let sent = 2000;
    for number in 0..sent {
        send(&producer, &topic, 0, "flood", b"", numbered(number));
    }
    producer.flush(PATIENCE).unwrap();
    let wanted = u64::try_from(sent / 2).unwrap();
    let deadline = Instant::now() + PATIENCE;
    while tail.dropped() + 256 < wanted {
        assert!(Instant::now() < deadline, "{} dropped", tail.dropped());
        tokio::task::yield_now().await;
    }
    let mut kept = 0;
    while kept + tail.dropped() < wanted {
        tokio::time::timeout(PATIENCE, tail.next()).await.unwrap().unwrap().unwrap();
        kept += 1;
    }
    assert_eq!(kept, 256);
    // It is as large as the buffer has room for, and there is no room for another one.
    let large = vec![1_u8; 3_000_000];
    for number in [0, 2, 4, 6] {
        send(&producer, &topic, 0, "large", &large, numbered(number));
    }
    producer.flush(PATIENCE).unwrap();
    while tail.dropped() + kept < wanted + 2 {
        assert!(Instant::now() < deadline + PATIENCE, "{} dropped", tail.dropped());
        tokio::task::yield_now().await;
    }
    for _ in 0..2 {
        let next = tokio::time::timeout(PATIENCE, tail.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(next.value.unwrap().len(), large.len());
    }
}

/// More tails than one process may have are refused at once, and one that is dropped makes room.
#[tokio::test(flavor = "multi_thread")]
async fn tails_are_few() {
    let kafka = Kafka::new().await;
    let topic = kafka.make_topic().await;
    let mut tails = Vec::new();
    let refused = loop {
        match kafka.browser.tail(&topic, Some(0), Filter::default()).await {
            Ok(tail) => tails.push(tail),
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, BrowseError::Busy), "{refused:?}");
    assert_eq!(tails.len(), 8);
    tails.pop();
    let deadline = Instant::now() + PATIENCE;
    while kafka.browser.tail(&topic, Some(0), Filter::default()).await.is_err() {
        assert!(Instant::now() < deadline, "a tail that was dropped goes on");
    }
}
