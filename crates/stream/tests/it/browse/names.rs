//! A header whose name is no text, as only a client of one's own can send it.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Instant,
};

use domain::{event::Stream, lane::Lane};
use rdkafka::{
    Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer as _},
    message::Message as _,
};
use stream::kafka::{
    browse::Order,
    ends::{Content, Record},
    record::Topic,
    slot::Item,
};

use super::{Kafka, PATIENCE, wanted};

const PRODUCE: i16 = 0;
const PRODUCE_VERSION: i16 = 3;
const NAME: &[u8] = b"\xff\xfename";

/// Nobody is ended by it: neither who looks, nor a consumer, nor the relay that looks where its topics end.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_whose_name_is_no_text_ends_nobody() {
    let kafka = Kafka::new().await;
    let topic = kafka.make_topic().await;
    produce(&kafka.servers, &topic, &record());
    let page = kafka.page(wanted(&topic, Order::Newest, 5)).await;
    let [message] = page.messages.as_slice() else { panic!("{page:?}") };
    let names: Vec<&str> = message.headers.iter().map(|header| header.name.as_str()).collect();
    assert_eq!(names, ["(a name that is not UTF-8)", "position"]);
    assert_eq!(message.headers[1].value.as_deref(), Some(&b"7"[..]));
    assert_eq!(message.value.as_deref(), Some(&b"value"[..]));

    let consumer: BaseConsumer =
        kafka.client().set("group.id", format!("{}one", kafka.prefix)).create().unwrap();
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(&topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&list).unwrap();
    let deadline = Instant::now() + PATIENCE;
    let message = loop {
        assert!(Instant::now() < deadline, "the record does not come");
        if let Some(Ok(message)) = consumer.poll(std::time::Duration::from_millis(100)) {
            break message;
        }
    };
    let _ = Item::read((Stream::Payments, Lane(0)), &message);
    for topic in [Topic::Stream(Stream::Payments), Topic::DeadLetters] {
        let record = Record::new(topic, (0, message.offset()), message.key(), message.headers());
        assert!(matches!(record.content, Content::Foreign));
    }
}

/// A record with two headers, the name of one of which is no text.
fn record() -> Vec<u8> {
    let mut body = vec![0, 0, 0];
    bytes(&mut body, b"key");
    bytes(&mut body, b"value");
    varint(&mut body, 2);
    bytes(&mut body, NAME);
    bytes(&mut body, b"of no use");
    bytes(&mut body, b"position");
    bytes(&mut body, b"7");
    let mut record = Vec::new();
    varint(&mut record, body.len());
    record.extend(body);
    record
}

/// Sends one record to partition 0, by the wire format of Kafka, in a batch of format 2.
fn produce(servers: &str, topic: &str, record: &[u8]) {
    let mut checked = Vec::new();
    // Attributes, the last offset's delta, two times, no producer, one record.
    checked.extend([0_u8; 2 + 4 + 8 + 8]);
    checked.extend([0xff; 8 + 2 + 4]);
    checked.extend(1_i32.to_be_bytes());
    checked.extend(record);
    let mut batch = vec![0; 8];
    batch.extend(i32::try_from(4 + 1 + 4 + checked.len()).unwrap().to_be_bytes());
    batch.extend([0xff, 0xff, 0xff, 0xff, 2]);
    batch.extend(crc32c::crc32c(&checked).to_be_bytes());
    batch.extend(checked);

    let mut request = [PRODUCE, PRODUCE_VERSION].into_iter().flat_map(i16::to_be_bytes).collect::<Vec<u8>>();
    request.extend(1_i32.to_be_bytes());
    // No client id, no transactional id, all replicas, 10 seconds, one topic.
    request.extend([0xff; 2 + 2 + 2]);
    request.extend(10_000_i32.to_be_bytes());
    request.extend(1_i32.to_be_bytes());
    request.extend(i16::try_from(topic.len()).unwrap().to_be_bytes());
    request.extend(topic.as_bytes());
    // One partition, number 0.
    request.extend(1_i32.to_be_bytes());
    request.extend(0_i32.to_be_bytes());
    request.extend(i32::try_from(batch.len()).unwrap().to_be_bytes());
    request.extend(batch);

    let mut broker = TcpStream::connect(servers).unwrap();
    broker.set_read_timeout(Some(PATIENCE)).unwrap();
    broker.write_all(&i32::try_from(request.len()).unwrap().to_be_bytes()).unwrap();
    broker.write_all(&request).unwrap();
    let mut length = [0; 4];
    broker.read_exact(&mut length).unwrap();
    let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
    broker.read_exact(&mut answer).unwrap();
    // Correlation, one topic with its name, one partition with its number; then the error.
    let at = 4 + 4 + 2 + topic.len() + 4 + 4;
    assert_eq!(answer[at..at + 2], [0, 0], "the broker has taken it");
}

fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    varint(out, bytes.len());
    out.extend(bytes);
}

/// Of a number that is not negative, in zigzag.
fn varint(out: &mut Vec<u8>, number: usize) {
    let mut left = number << 1;
    while left >= 0x80 {
        out.push(u8::try_from(left & 0x7f).unwrap() | 0x80);
        left >>= 7;
    }
    out.push(u8::try_from(left).unwrap());
}
