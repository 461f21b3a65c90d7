//! The messages of Kafka's topics, through [`stream::kafka::browse`].

use axum::http::StatusCode;
use stream::kafka::{
    browse::{BrowseError, Browser, Cursor, Ended, Message, Wanted as Asked},
    record::header,
};

use super::{Found, Wanted};
use crate::fault::Fault;

pub async fn look(browser: &Browser, topic: &str, wanted: &Wanted, limit: usize) -> Result<Found, Fault> {
    let cursor: Option<Cursor> = match &wanted.after {
        Some(text) => Some(text.parse().map_err(|_| Fault::bad_request("This is not the link of a page."))?),
        None => None,
    };
    let asked = Asked {
        topic: topic.to_owned(),
        partition: wanted.partition.map(i32::from),
        order: wanted.order,
        from_offset: wanted.from_offset,
        since: wanted.since,
        until: wanted.until,
        filter: wanted.filter.clone(),
        messages_max: limit,
        cursor,
    };
    let page = browser.page(asked).await.map_err(fault)?;
    Ok(Found {
        messages: page.messages,
        next: page.next.map(|cursor| cursor.to_string()),
        looked_at: page.records_scanned,
        is_cut_short: matches!(page.ended, Ended::Records | Ended::Bytes | Ended::Time),
        unavailable: page.unavailable,
    })
}

/// The record of a position of the log in a partition.
pub async fn at_position(
    browser: &Browser,
    topic: &str,
    partition: u16,
    position: i64,
) -> Result<Option<Message>, Fault> {
    let partition = i32::from(partition);
    let found = browser.offsets(topic, partition, vec![position]).await.map_err(fault)?;
    match found.offsets.first() {
        Some(Some(offset)) => browser.message(topic, partition, *offset).await.map_err(fault),
        _ if !found.is_whole => Err(Fault::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Not now",
            "The message was not found in time. Try again.",
        )),
        _ => Ok(None),
    }
}

pub fn position_of(message: &Message) -> Option<i64> {
    super::header(message, header::POSITION)?.parse().ok()
}

pub fn fault(error: BrowseError) -> Fault {
    match error {
        BrowseError::Unavailable { .. } => {
            tracing::warn!(%error, "the console could not look into Kafka");
            let detail = format!("{error}. Events wait in the log until it answers; nothing is lost.");
            Fault::new(StatusCode::SERVICE_UNAVAILABLE, "Kafka is not available", detail)
        }
        BrowseError::UnknownTopic(_) | BrowseError::UnknownPartition { .. } => {
            Fault::not_found(format!("{}.", crate::change::capitalised(&error.to_string())))
        }
        BrowseError::NotAllowed(_) => Fault::forbidden(format!("{error}.")),
        BrowseError::OtherOrder => Fault::bad_request("This is the link of a page in the other order."),
        BrowseError::Busy => Fault::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "Not now",
            "Too many look into Kafka at this moment. Try again.",
        ),
        BrowseError::Cut(_) => Fault::internal(&error.to_string()),
    }
}
