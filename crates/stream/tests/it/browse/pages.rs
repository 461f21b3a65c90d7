//! Lists of messages.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use domain::{event::Stream, time::Timestamp};
use rdkafka::{
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use registry::{Builtin, Codecs};
use store::log;
use stream::kafka::browse::{Ended, Filter, Message, Order, Wanted};

use super::{Kafka, PATIENCE, keys, publish, send, wanted};
use crate::calls::merchant;

/// Whatever the order and the size of the pages: each message once, each partition in its order, all in the order of
/// their times; what was not committed is not there.
#[tokio::test(flavor = "multi_thread")]
async fn pages_hold_every_message_once_in_order() {
    let kafka = Kafka::new().await;
    let topic = kafka.make_topic().await;
    let published = publish(&kafka, &topic, 50, 4);
    let every: BTreeSet<String> = (0..published).map(|number| format!("key-{number}")).collect();
    for (order, size) in [(Order::Newest, 7), (Order::Newest, 200), (Order::Oldest, 7), (Order::Oldest, 200)]
    {
        let pages = kafka.all(wanted(&topic, order, size)).await;
        let messages: Vec<Message> = pages.iter().flat_map(|page| page.messages.clone()).collect();
        assert_eq!(messages.len(), published, "{order:?} {size}");
        assert_eq!(keys(&messages).into_iter().collect::<BTreeSet<_>>(), every);
        let mut in_time = messages.clone();
        in_time.sort_by_key(|message| message.timestamp);
        if order == Order::Newest {
            in_time.reverse();
        }
        let times = |messages: &[Message]| messages.iter().map(|m| m.timestamp.unwrap()).collect::<Vec<_>>();
        assert_eq!(times(&messages), times(&in_time), "{order:?} {size}");
        let mut last: BTreeMap<i32, i64> = BTreeMap::new();
        for message in &messages {
            let before = last.insert(message.partition, message.offset);
            let follows = |before| (message.offset > before) == (order == Order::Oldest);
            assert!(before.is_none_or(follows), "{order:?} {size}");
        }
        let (end, full) = pages.split_last().unwrap();
        assert_eq!(end.ended, Ended::AtEnd);
        assert!(full.iter().all(|page| page.ended == Ended::Full && page.messages.len() == size));
    }
}

/// Where people begin: at an offset, at a time, in one partition.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_begins_and_ends_where_it_is_told() {
    let kafka = Kafka::new().await;
    let topic = kafka.make_topic().await;
    publish(&kafka, &topic, 12, 4);
    let all = kafka.page(wanted(&topic, Order::Oldest, 200)).await.messages;
    let one = Wanted { partition: Some(1), ..wanted(&topic, Order::Oldest, 200) };
    let of_one: Vec<_> = all.iter().filter(|message| message.partition == 1).cloned().collect();
    assert_eq!(kafka.page(one.clone()).await.messages, of_one);
    let third = Wanted { from_offset: Some(of_one[2].offset), ..one.clone() };
    assert_eq!(kafka.page(third).await.messages, of_one[2..]);
    let middle = all[all.len() / 2].timestamp.unwrap();
    let (before, after): (Vec<_>, Vec<_>) = all.iter().cloned().partition(|m| m.timestamp < Some(middle));
    let since = Wanted { since: Some(middle), ..wanted(&topic, Order::Oldest, 200) };
    assert_eq!(kafka.page(since.clone()).await.messages, after);
    let day = 86_400_000_000;
    let later = Wanted { since: Some(Timestamp::from_micros(middle.as_micros() + day)), ..since };
    assert!(kafka.page(later).await.messages.is_empty());
    let until = Timestamp::from_micros(middle.as_micros() - 1000);
    let until = Wanted { until: Some(until), ..wanted(&topic, Order::Newest, 200) };
    let mut found = kafka.page(until).await.messages;
    found.reverse();
    assert_eq!(
        found.iter().map(|m| m.timestamp).collect::<Vec<_>>(),
        before.iter().map(|m| m.timestamp).collect::<Vec<_>>()
    );
    let found = kafka.browser.message(&topic, 1, of_one[3].offset).await.unwrap();
    assert_eq!(found.as_ref(), Some(&of_one[3]));
    // A marker of a transaction lies there, or nothing yet.
    let end = of_one.last().unwrap().offset + 1;
    assert_eq!(kafka.browser.message(&topic, 1, end).await.unwrap(), None);
    assert_eq!(kafka.browser.message(&topic, 1, 1_000_000).await.unwrap(), None);
}

/// A few among many: found from either end, whatever is asked for.
#[tokio::test(flavor = "multi_thread")]
async fn a_filter_finds_all_that_fits_and_nothing_else() {
    let kafka = Kafka::new().await;
    let topic = kafka.make_topic().await;
    let published = publish(&kafka, &topic, 50, 100);
    assert_eq!(published, 4000);
    let cases: [(&str, Filter, usize); 7] = [
        ("key", Filter { key: Some("EY-77".to_owned()), ..Filter::default() }, 11),
        ("value", Filter { value: Some("\"number\":123".to_owned()), ..Filter::default() }, 11),
        (
            "header",
            Filter {
                header_name: Some("number".to_owned()),
                header_value: Some("3999".to_owned()),
                ..Filter::default()
            },
            1,
        ),
        ("any header", Filter { header_value: Some("3999".to_owned()), ..Filter::default() }, 1),
        (
            "a header that is not there",
            Filter { header_name: Some("numbe".to_owned()), ..Filter::default() },
            0,
        ),
        ("anywhere", Filter { anywhere: Some("399".to_owned()), ..Filter::default() }, 14),
        (
            "both",
            Filter { key: Some("77".to_owned()), header_value: Some("odd".to_owned()), ..Filter::default() },
            0,
        ),
    ];
    for (name, filter, count) in cases {
        let count = if name == "both" {
            (0..published).filter(|n| n.to_string().contains("77") && n % 2 == 1).count()
        } else if name == "anywhere" {
            (0..published).filter(|n| n.to_string().contains("399")).count()
        } else {
            count
        };
        for order in [Order::Newest, Order::Oldest] {
            let pages = kafka.all(Wanted { filter: filter.clone(), ..wanted(&topic, order, 5) }).await;
            let found: Vec<String> = pages.iter().flat_map(|page| keys(&page.messages)).collect();
            assert_eq!(found.len(), count, "{name} {order:?}: {found:?}");
            assert_eq!(found.iter().collect::<BTreeSet<_>>().len(), count, "{name} {order:?}");
        }
    }
}

/// A message of 1 MB, bytes that are no text, ten thousand headers, no key and no value.
#[tokio::test(flavor = "multi_thread")]
async fn whatever_lies_there_is_shown_as_it_is() {
    let kafka = Kafka::new().await;
    let topic = kafka.make_topic().await;
    let producer: BaseProducer = kafka.client().create().unwrap();
    let large: Vec<u8> = (0..1_000_000_u32).map(|n| u8::try_from(n % 251 + 1).unwrap()).collect();
    let binary = [0xff, 0x00, 0xfe, 0x80];
    let mut many = OwnedHeaders::new();
    for number in 0..10_000 {
        many = many.insert(Header { key: "again", value: Some(&number.to_string()) });
    }
    let odd = OwnedHeaders::new()
        .insert(Header { key: "none", value: None::<&[u8]> })
        .insert(Header { key: "", value: Some(&binary[..]) });
    let hostile = "<script>alert(1)</script>";
    let records = [
        BaseRecord::to(&topic).partition(0).key(hostile.as_bytes()).payload(&large[..]).headers(odd),
        BaseRecord::to(&topic).partition(0).key(&binary[..]).payload(hostile.as_bytes()).headers(many),
    ];
    for record in records {
        producer.send(record).map_err(|(error, _)| error).unwrap();
    }
    producer.send(BaseRecord::<[u8], [u8]>::to(&topic).partition(0)).map_err(|(error, _)| error).unwrap();
    // It looks like Avro, and no registry knows it.
    producer
        .send(BaseRecord::<[u8], [u8]>::to(&topic).partition(0).payload(&[0, 0, 0, 0, 9, 1]))
        .map_err(|(error, _)| error)
        .unwrap();
    producer.flush(PATIENCE).unwrap();
    let found = kafka.page(wanted(&topic, Order::Oldest, 50)).await.messages;
    assert_eq!(found.len(), 4);
    assert_eq!(found[0].value.as_ref(), Some(&large));
    assert_eq!(found[0].key.as_deref(), Some(hostile.as_bytes()));
    let headers: Vec<_> = found[0].headers.iter().map(|h| (h.name.as_str(), h.value.clone())).collect();
    assert_eq!(headers, [("none", None), ("", Some(binary.to_vec()))]);
    assert_eq!(found[1].key.as_deref(), Some(&binary[..]));
    assert_eq!(found[1].headers.len(), 10_000);
    assert_eq!(found[1].headers[9_999].value.as_deref(), Some(&b"9999"[..]));
    assert_eq!((&found[2].key, &found[2].value), (&None, &None));
    let avro = found[3].avro.as_ref().unwrap();
    assert_eq!(avro.schema_id, 9);
    assert!(avro.event.as_ref().is_err_and(|reason| reason.contains("no schema with the id 9")), "{avro:?}");
    assert!(found[..3].iter().all(|message| message.avro.is_none()));
    let filter = Filter { header_value: Some("9998".to_owned()), ..Filter::default() };
    let found = kafka.page(Wanted { filter, ..wanted(&topic, Order::Newest, 50) }).await.messages;
    assert_eq!(found.len(), 1);
}

/// More than one page keeps in memory: it says so, and goes on where it was.
#[tokio::test(flavor = "multi_thread")]
async fn large_messages_fill_a_page_before_its_number_does() {
    let kafka = Kafka::new().await;
    let topic = kafka.make_topic().await;
    let producer: BaseProducer = kafka.client().create().unwrap();
    let large = vec![7_u8; 1_000_000];
    for number in 0..40 {
        send(&producer, &topic, number % 2, &format!("key-{number}"), &large, OwnedHeaders::new());
        producer.flush(PATIENCE).unwrap();
    }
    for order in [Order::Newest, Order::Oldest] {
        let pages = kafka.all(wanted(&topic, order, 200)).await;
        assert!(pages.len() > 2, "{order:?}");
        assert_eq!(pages[0].ended, Ended::Bytes, "{order:?}");
        let kept: Vec<usize> = pages.iter().map(|page| page.messages.len()).collect();
        assert!(kept.iter().all(|count| (1..=18).contains(count)), "{order:?} {kept:?}");
        let found: BTreeSet<String> = pages.iter().flat_map(|page| keys(&page.messages)).collect();
        assert_eq!((found.len(), kept.iter().sum::<usize>()), (40, 40), "{order:?}");
    }
}

/// The JSON of an event that was written in Avro is shown, and searched.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_in_avro_is_read_by_its_schema() {
    let kafka = Kafka::new().await;
    let topic = kafka.make_topic().await;
    merchant(&kafka.store).await;
    let builtin = Builtin::new(kafka.store.clone());
    builtin.register_catalogue(|stream| stream.name().to_owned()).await.unwrap();
    let writers = Codecs::new(Arc::new(builtin)).writers(|stream| stream.name().to_owned()).await.unwrap();
    let heads = log::heads(kafka.store.reads()).await.unwrap();
    let lane = heads.iter().find(|head| head.streams[Stream::Merchants.index()].0 > 0).unwrap().lane;
    let event = log::behind(kafka.store.reads(), Stream::Merchants, lane, 0, 1).await.unwrap().remove(0);
    let value = writers.write(&event.event_type, event.version, &event.payload).unwrap();
    let producer: BaseProducer = kafka.client().create().unwrap();
    send(&producer, &topic, 0, "in avro", &value, OwnedHeaders::new());
    send(&producer, &topic, 0, "in json", event.payload.as_bytes(), OwnedHeaders::new());
    producer.flush(PATIENCE).unwrap();
    let filter = Filter { value: Some("\"eventtype\":\"merchantcreated\"".to_owned()), ..Filter::default() };
    let found = kafka.page(Wanted { filter, ..wanted(&topic, Order::Oldest, 50) }).await.messages;
    assert_eq!(keys(&found), ["in avro", "in json"], "{}", event.payload);
    let avro = found[0].avro.as_ref().unwrap();
    assert_eq!(avro.event, Ok((event.event_type.clone(), event.payload.clone())));
    assert_eq!(found[0].value.as_ref(), Some(&value), "and the bytes as they lie there");
    assert_eq!(found[1].avro, None);
}
