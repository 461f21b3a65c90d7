//! Dead letters on their way to the dead-letter topic. The table is their outbox: what is not marked as published
//! is published, in order of arrival, and what a crash left unmarked is found on the topic.

use std::collections::{BTreeMap, BTreeSet};

use domain::time::Timestamp;
use store::{
    Store,
    error::ReadError,
    sql::{Reads, Row, Value},
};
use uuid::Uuid;

use crate::{
    kafka::record::{Outgoing, Topic, header},
    position,
};

/// Dead letters in one batch.
const LETTERS_A_BATCH_MAX: usize = 100;

/// The names of the groups by consumer, as the header has them.
pub type Groups = BTreeMap<&'static str, String>;

pub struct Letter {
    pub id: Uuid,
    pub record: Outgoing,
}

/// The oldest that are not published yet.
pub async fn unpublished(
    db: &dyn Reads,
    groups: &Groups,
    bytes_max: usize,
) -> Result<Vec<Letter>, ReadError> {
    let sql = format!(
        "select id, consumer, stream, lane, event_type, key, payload, reason, attempts, created_at \
         from dead_letters where published_at is null order by id limit {LETTERS_A_BATCH_MAX}"
    );
    let rows = db.query(&sql, Vec::new()).await?;
    rows.iter().map(|row| letter(row, groups, bytes_max)).collect()
}

fn letter(row: Row<'_>, groups: &Groups, bytes_max: usize) -> Result<Letter, ReadError> {
    let id = row.uuid(0)?;
    let consumer = row.text(1)?;
    let (stream, lane) = position::place(row, 2)?;
    let group = groups.get(consumer).map_or(consumer, String::as_str);
    let time = Timestamp::from_micros(row.int(9)?).to_string();
    let payload = row.opt_bytes(6)?;
    let mut headers = vec![
        (header::ORIGINAL_TOPIC, stream.name().to_owned()),
        (header::ORIGINAL_EVENT_TYPE, row.opt_text(4)?.unwrap_or("unknown").to_owned()),
        (header::FAILURE_REASON, row.text(7)?.to_owned()),
        (header::RETRY_COUNT, row.int(8)?.to_string()),
        (header::CONSUMER_GROUP, group.to_owned()),
        (header::DLQ_TIMESTAMP, time),
        (header::CONSUMER, consumer.to_owned()),
        (header::ORIGINAL_PARTITION, lane.to_string()),
        (header::DEAD_LETTER_ID, id.to_string()),
    ];
    let fits = payload.is_none_or(|payload| payload.len() <= bytes_max);
    if !fits {
        // The bytes stay in the table, under the id.
        headers.push((header::CLAIM_CHECK, "dead_letters".to_owned()));
    }
    let record = Outgoing {
        topic: Topic::DeadLetters,
        partition: i32::from(lane.0),
        key: row.opt_bytes(5)?.unwrap_or_default().to_vec(),
        value: payload.filter(|_| fits).map(<[u8]>::to_vec),
        headers,
    };
    Ok(Letter { id, record })
}

/// The offsets from which a crash may have left dead letters published but unmarked.
pub async fn cursors(db: &dyn Reads) -> Result<BTreeMap<i32, i64>, ReadError> {
    let rows = db.query("select lane, kafka_offset from relay_dead_letter_cursors", Vec::new()).await?;
    rows.iter().map(|row| Ok((i32::try_from(row.int(0)?).unwrap_or(i32::MAX), row.int(1)?))).collect()
}

/// Marks what was published, and notes up to where the topic is accounted for.
pub async fn mark(
    store: &Store,
    published: &BTreeSet<Uuid>,
    last: &BTreeMap<i32, i64>,
    now: Timestamp,
) -> Result<(), ReadError> {
    if published.is_empty() && last.is_empty() {
        return Ok(());
    }
    let mut transaction = store.begin().await?;
    for id in published {
        let sql = "update dead_letters set published_at = $2 where id = $1 and published_at is null";
        transaction.execute(sql, vec![Value::from(*id), now.as_micros().into()]).await?;
    }
    for (lane, offset) in last {
        let sql = "insert into relay_dead_letter_cursors (lane, kafka_offset) values ($1, $2) \
             on conflict (lane) do update set kafka_offset = excluded.kafka_offset";
        transaction.execute(sql, vec![i64::from(*lane).into(), (*offset).into()]).await?;
    }
    transaction.commit().await
}
