//! All records of the streams' topics, partition by partition, for whoever compares them with the log.

use std::{
    str,
    time::{Duration, Instant},
};

use domain::{chain::Hash, event::Stream, lane::Lane};
use rdkafka::{
    Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions, ResourceSpecifier},
    consumer::{BaseConsumer, Consumer as _},
    error::KafkaError,
    message::{BorrowedMessage, Message as _},
};
use schema::headers::CONTENT_TYPE_AVRO;
use store::batch::LogEvent;
use tokio::sync::mpsc;

use super::{
    Context, REQUEST_TIMEOUT, Settings,
    ends::EndsError,
    headers,
    record::{self, Outgoing, header},
    values::{Format, ValueError, Values},
};

const POLL_STEP: Duration = Duration::from_millis(100);
const SILENCE_MAX: Duration = Duration::from_secs(20);
/// Records that are handed over at once, and such pages that wait.
const PAGE_RECORDS: usize = 500;
const PAGES_WAITING_MAX: usize = 4;

/// What is found, in the order of streams, lanes and offsets.
pub enum Found {
    Partition(Partition),
    Records(Vec<Record>),
    /// The partition has been read to where it ended when it was begun.
    End,
}

#[derive(Clone, Copy, Debug)]
pub struct Partition {
    pub stream: Stream,
    pub lane: Lane,
    /// The first offset that is there: above 0 when records were deleted.
    pub low: i64,
    /// Whether records are kept for ever, so that none may have been deleted.
    pub is_kept: bool,
}

/// A record as it lies on a topic.
#[derive(Clone, Debug)]
pub struct Record {
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Record {
    fn new(message: &BorrowedMessage<'_>) -> Self {
        let headers = message.headers().into_iter().flat_map(headers::each);
        Self {
            offset: message.offset(),
            key: message.key().map(<[u8]>::to_vec),
            value: message.payload().map(<[u8]>::to_vec),
            headers: headers.map(|h| (h.name.to_owned(), h.value.map(<[u8]>::to_vec))).collect(),
        }
    }

    /// The first header of this name, where it is a text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(key, _)| key == name)?;
        value.as_deref().and_then(|value| str::from_utf8(value).ok())
    }

    /// Whether it says that its event is sealed with this hash.
    pub fn has_hash(&self, hash: &Hash) -> bool {
        self.header(header::CHAIN_HASH) == Some(&hex::encode(hash))
    }

    /// What of this record is not what is published of an event: its name, what it should be, and what it is. An error,
    /// where a registry has to say what the value is, and does not.
    pub async fn difference(
        &self,
        event: &LogEvent,
        values: &Values,
    ) -> Result<Option<Difference>, ValueError> {
        let key = event.merchant_id.to_string().into_bytes();
        if self.key.as_ref() != Some(&key) {
            return Ok(Some(("key".to_owned(), text(Some(&key)), text(self.key.as_deref()))));
        }
        let is_avro = self.header(header::CONTENT_TYPE) == Some(CONTENT_TYPE_AVRO);
        let expected = if is_avro {
            if let Some((expected, found)) = self.difference_in_avro(event, values).await? {
                return Ok(Some(("value".to_owned(), expected, found)));
            }
            record::headers(event, CONTENT_TYPE_AVRO)
        } else {
            let is_claim_check = self.header(header::CLAIM_CHECK).is_some();
            let bytes_max = if is_claim_check { 0 } else { usize::MAX };
            let Outgoing { value, headers, .. } = record::encode(event, &Format::Json, bytes_max);
            if value != self.value {
                return Ok(Some(("value".to_owned(), text(value.as_deref()), text(self.value.as_deref()))));
            }
            headers
        };
        // Records that were published before there were documents of the schemas have no such header; none of them is Avro.
        let is_earlier = !is_avro && self.header(header::CE_DATASCHEMA).is_none();
        Ok(self.difference_in_headers(expected, is_earlier))
    }

    async fn difference_in_avro(
        &self,
        event: &LogEvent,
        values: &Values,
    ) -> Result<Option<(String, String)>, ValueError> {
        let found = match values.read(event, self.value.as_deref().unwrap_or_default()).await {
            Ok(read) if read.payload == event.payload => return Ok(None),
            Ok(read) => read.payload,
            Err(error) if error.may_pass() => return Err(error),
            Err(error) => error.to_string(),
        };
        Ok(Some((event.payload.clone(), found)))
    }

    fn difference_in_headers(
        &self,
        expected: Vec<(&'static str, String)>,
        is_earlier: bool,
    ) -> Option<Difference> {
        let mut found = self.headers.iter();
        for (name, value) in expected {
            if is_earlier && name == header::CE_DATASCHEMA {
                continue;
            }
            match found.next() {
                Some((key, found)) if key == name && found.as_deref() == Some(value.as_bytes()) => {}
                Some((key, found)) if key == name => {
                    return Some((format!("header {name}"), value, text(found.as_deref())));
                }
                Some((key, _)) => {
                    return Some((format!("header {name}"), value, format!("the header {key}")));
                }
                None => return Some((format!("header {name}"), value, "none".to_owned())),
            }
        }
        let (key, value) = found.next()?;
        Some((format!("header {key}"), "no such header".to_owned(), text(value.as_deref())))
    }
}

/// A name, what it should be, and what it is.
type Difference = (String, String, String);

fn text(bytes: Option<&[u8]>) -> String {
    bytes.map_or_else(|| "none".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned())
}

/// Reads each partition from its beginning to where it ends now, what is committed of it, without the first `skipped`
/// partitions. Ends early when nobody takes what is found any more.
pub async fn read(
    settings: &Settings,
    lanes: u16,
    skipped: usize,
) -> Result<mpsc::Receiver<Result<Found, EndsError>>, EndsError> {
    let mut kept = Vec::new();
    for stream in Stream::ALL {
        kept.push(is_kept(settings, &settings.topic(stream)).await?);
    }
    let (found, finds) = mpsc::channel(PAGES_WAITING_MAX);
    let settings = settings.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(error) = read_all(&settings, lanes, skipped, &kept, &found) {
            // Nobody may be listening any more.
            let _ = found.blocking_send(Err(error));
        }
    });
    Ok(finds)
}

/// Whether a topic keeps its records for ever.
async fn is_kept(settings: &Settings, topic: &str) -> Result<bool, EndsError> {
    let client: AdminClient<Context> = settings.admin_client().create_with_context(Context)?;
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIMEOUT));
    let described = client.describe_configs([&ResourceSpecifier::Topic(topic)], &options).await?;
    super::topics::drop_in_background(client);
    let config = described.into_iter().next().and_then(Result::ok);
    let value = |key: &str| config.as_ref().and_then(|config| config.get(key)?.value.clone());
    let is_unlimited = |key: &str| value(key).as_deref() == Some("-1");
    let is_only_deleted = value("cleanup.policy").as_deref() == Some("delete");
    Ok(is_unlimited("retention.ms") && is_unlimited("retention.bytes") && is_only_deleted)
}

fn read_all(
    settings: &Settings,
    lanes: u16,
    mut skipped: usize,
    kept: &[bool],
    found: &mpsc::Sender<Result<Found, EndsError>>,
) -> Result<(), EndsError> {
    let reader: BaseConsumer<Context> = settings.reader().create_with_context(Context)?;
    for (stream, is_kept) in Stream::ALL.into_iter().zip(kept) {
        let topic = settings.topic(stream);
        let metadata = reader.fetch_metadata(Some(&topic), REQUEST_TIMEOUT)?;
        let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        let partitions = u16::try_from(partitions).unwrap_or(u16::MAX);
        // What lies beyond the lanes is read as well: nothing of the log belongs there.
        for lane in (0..lanes.max(partitions)).map(Lane) {
            if skipped > 0 {
                skipped -= 1;
                continue;
            }
            // A topic that is gone holds nothing.
            let (low, high) = if lane.0 < partitions {
                reader.fetch_watermarks(&topic, i32::from(lane.0), REQUEST_TIMEOUT)?
            } else {
                (0, 0)
            };
            let begun = Found::Partition(Partition { stream, lane, low, is_kept: *is_kept });
            if found.blocking_send(Ok(begun)).is_err() {
                return Ok(());
            }
            let mut page = Vec::with_capacity(PAGE_RECORDS);
            let mut is_wanted = true;
            partition(&reader, &topic, lane, (low, high), |message| {
                page.push(Record::new(message));
                if page.len() == PAGE_RECORDS {
                    is_wanted = found.blocking_send(Ok(Found::Records(std::mem::take(&mut page)))).is_ok();
                }
                is_wanted
            })?;
            if !is_wanted
                || [Found::Records(page), Found::End].into_iter().any(|f| found.blocking_send(Ok(f)).is_err())
            {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Calls `each` for the records of a partition until it says that it has enough.
fn partition(
    reader: &BaseConsumer<Context>,
    topic: &str,
    lane: Lane,
    (low, high): (i64, i64),
    mut each: impl FnMut(&BorrowedMessage<'_>) -> bool,
) -> Result<(), EndsError> {
    if low >= high {
        return Ok(());
    }
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, i32::from(lane.0), Offset::Offset(low))?;
    reader.assign(&list)?;
    let mut heard_at = Instant::now();
    loop {
        match reader.poll(POLL_STEP) {
            // Of the partition before: it was left before all that had been read ahead was taken.
            Some(Ok(message)) if message.partition() != i32::from(lane.0) || message.topic() != topic => {}
            Some(Ok(message)) => {
                heard_at = Instant::now();
                if message.offset() >= high || !each(&message) {
                    break;
                }
            }
            Some(Err(KafkaError::PartitionEOF(partition))) if partition == i32::from(lane.0) => break,
            Some(Err(error)) if heard_at.elapsed() > SILENCE_MAX => return Err(error.into()),
            Some(Err(_)) | None if heard_at.elapsed() > SILENCE_MAX => {
                return Err(EndsError::Unavailable("the broker is silent".to_owned()));
            }
            Some(Err(_)) | None => {}
        }
    }
    reader.unassign()?;
    Ok(())
}
