//! The messages of Kafka's topics, through [`stream::kafka::browse`].

use axum::http::StatusCode;
use stream::kafka::{
    browse::{BrowseError, Browser, Cursor, Ended, Filter, Message, Order, Wanted as Asked},
    record::header,
};

use super::{Found, Wanted};
use crate::fault::Fault;

/// Records that are looked at to come near a position, before the rest is read.
const STEPS_MAX: usize = 12;
/// Records that hold a position's digits, of which one is it.
const CANDIDATES_MAX: usize = 200;

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

/// The record of a position of the log in a partition. A record takes one offset at least, so a record that is seen tells
/// where the one that is looked for lies at the earliest.
pub async fn at_position(
    browser: &Browser,
    topic: &str,
    partition: u16,
    position: i64,
) -> Result<Option<Message>, Fault> {
    let asked = |from_offset: i64, filter: Filter, messages_max| Asked {
        topic: topic.to_owned(),
        partition: Some(partition.into()),
        order: Order::Oldest,
        from_offset: Some(from_offset),
        since: None,
        until: None,
        filter,
        messages_max,
        cursor: None,
    };
    let mut from = position.saturating_sub(1).max(0);
    for _ in 0..STEPS_MAX {
        let page = browser.page(asked(from, Filter::default(), 1)).await.map_err(fault)?;
        let Some(message) = page.messages.into_iter().next() else { return Ok(None) };
        match position_of(&message) {
            Some(found) if found == position => return Ok(Some(message)),
            Some(found) if found < position => from = message.offset.saturating_add(position - found),
            // A record of others, or of a later event: what is before it was deleted.
            Some(_) => return Ok(None),
            None => from = message.offset + 1,
        }
    }
    let filter = Filter {
        header_name: Some(header::POSITION.to_owned()),
        header_value: Some(position.to_string()),
        ..Filter::default()
    };
    let page = browser.page(asked(from, filter, CANDIDATES_MAX)).await.map_err(fault)?;
    Ok(page.messages.into_iter().find(|message| position_of(message) == Some(position)))
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
