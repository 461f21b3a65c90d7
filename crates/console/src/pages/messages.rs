//! `/topics/{name}/messages`: the messages of a topic, with key, value and headers, filtered by the address; and one of them
//! whole.

use access::Permission;
use askama::Template;
use axum::{
    extract::{Path, State},
    http::{HeaderValue, header as http},
    response::{IntoResponse, Redirect, Response},
};
use domain::{event::Stream, id::MerchantId, lane::lane_of, time::Timestamp};
use stream::kafka::{
    browse::{Avro, Filter, Message, Order},
    record::header as names,
};
use uuid::Uuid;

use super::Visit;
use crate::{
    early,
    fault::{Fault, render},
    layout::{Frame, Section},
    list::{Params, ROWS},
    messages::{Found, Wanted, header, kafka::position_of, log::Places, source::Source},
    show::{
        Clock, Content, When,
        content::{LISTED_BYTES_MAX, WHOLE_BYTES_MAX, line},
    },
    state::Console,
};

const KEY_CHARS_MAX: usize = 120;
/// Headers of a message in a list, and on its own page.
const HEADERS_LISTED_MAX: usize = 40;
const HEADERS_WHOLE_MAX: usize = 1_000;
const HEADER_CHARS_LISTED_MAX: usize = 200;
const HEADER_CHARS_WHOLE_MAX: usize = 4_000;
/// A partition as numbers have it: an `i32` that is not below zero; lanes and our topics have fewer.
const PARTITION_WANTED: &str = "the number of a partition";

#[derive(Template)]
#[template(path = "messages.html")]
struct MessagesPage {
    frame: Frame,
    params: Params,
    topic: String,
    rows: Vec<MessageRow>,
    is_filtered: bool,
    is_live: bool,
    may_export: bool,
    tail: String,
    export: String,
    look: Look,
    unavailable: String,
    /// Why nothing could be looked for, where the page was begun before.
    trouble: String,
    api: String,
}

/// How far a page has come, and where to go on.
struct Look {
    /// Empty: this is the first page.
    first: String,
    /// Empty: there is nothing more.
    next: String,
    looked_at: usize,
    is_cut_short: bool,
}

#[derive(Template)]
#[template(path = "message.html")]
struct MessagePage {
    frame: Frame,
    topic: String,
    row: MessageRow,
    before: String,
    after: String,
}

/// One row alone, as it is sent to who follows.
#[derive(Template)]
#[template(path = "message_row.html")]
pub struct LiveRow {
    row: MessageRow,
}

pub struct MessageRow {
    pub partition: i32,
    pub offset: i64,
    pub href: String,
    /// When the broker appended it.
    pub at: Option<When>,
    /// When it occurred, by its header.
    pub occurred: Option<When>,
    pub key: String,
    pub key_href: String,
    pub event_type: String,
    pub event_href: String,
    pub value: Content,
    pub whole: String,
    /// The schema of a value in Avro.
    pub schema: String,
    /// Why it could not be read.
    pub unreadable: String,
    pub headers: Vec<(String, String)>,
    pub headers_count: usize,
    pub headers_hidden: usize,
}

/// How much of a message is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    Listed,
    Whole,
}

impl MessageRow {
    pub fn new(topic: &str, stream: Option<Stream>, message: &Message, extent: Extent, clock: Clock) -> Self {
        let Message { partition, offset, timestamp, key, value, headers, avro } = message;
        let (bytes_max, headers_max, chars_max) = match extent {
            Extent::Listed => (LISTED_BYTES_MAX, HEADERS_LISTED_MAX, HEADER_CHARS_LISTED_MAX),
            Extent::Whole => (WHOLE_BYTES_MAX, HEADERS_WHOLE_MAX, HEADER_CHARS_WHOLE_MAX),
        };
        let (schema, read, unreadable) = match avro {
            None => (String::new(), None, String::new()),
            Some(Avro { schema_id, event: Ok((name, json)) }) => {
                (format!("{schema_id}, {name}"), Some(json), String::new())
            }
            Some(Avro { schema_id, event: Err(reason) }) => (schema_id.to_string(), None, reason.clone()),
        };
        let bytes = read.map(|json| json.as_bytes()).or(value.as_deref());
        let shown = headers.iter().take(headers_max).map(|header| {
            let value =
                header.value.as_deref().map_or_else(|| "–".to_owned(), |value| line(value, chars_max));
            (line(header.name.as_bytes(), chars_max), value)
        });
        let merchant = key.as_deref().and_then(|key| Uuid::try_parse_ascii(key).ok());
        let href = format!("/topics/{topic}/messages/{partition}/{offset}");
        let occurred = header(message, names::OCCURRED_AT).and_then(Timestamp::parse);
        Self {
            partition: *partition,
            offset: *offset,
            at: timestamp.map(|at| clock.when(at)),
            occurred: occurred.map(|at| clock.when(at)),
            key: key.as_deref().map(|key| line(key, KEY_CHARS_MAX)).unwrap_or_default(),
            key_href: merchant
                .filter(|_| stream.is_some())
                .map(|id| format!("/merchants/{id}"))
                .unwrap_or_default(),
            event_type: header(message, names::EVENT_TYPE)
                .map(|name| line(name.as_bytes(), KEY_CHARS_MAX))
                .unwrap_or_default(),
            event_href: stream
                .zip(position_of(message))
                .map(|(stream, position)| format!("/events/{}/{partition}/{position}", stream.name()))
                .unwrap_or_default(),
            value: Content::new(bytes, bytes_max),
            whole: format!("{href}/value"),
            href,
            schema,
            unreadable,
            headers: shown.collect(),
            headers_count: headers.len(),
            headers_hidden: headers.len().saturating_sub(headers_max),
        }
    }
}

impl LiveRow {
    pub const fn new(row: MessageRow) -> Self {
        Self { row }
    }
}

/// `GET /topics/{name}/messages`; with `?position=` to the message of that position of the log.
pub async fn list(
    State(console): State<Console>,
    visit: Visit,
    Path(name): Path<String>,
    mut params: Params,
) -> Result<Response, Fault> {
    visit.must(Permission::ReadMessages)?;
    let source = Source::of(&console, &name)?;
    let wanted = wanted(&console, &source, &mut params);
    let position = params.read("position", "the position of an event", |text| text.parse::<i64>().ok());
    if let (Some(position), Some(partition), false) = (position, wanted.partition, params.is_wrong()) {
        return to_position(&console, &source, partition, position).await;
    }
    let is_live = params.is("live", "yes");
    let is_asked = !params.is_wrong() && !is_live;
    let shown = Shown {
        is_filtered: params.first_page() != format!("/topics/{name}/messages"),
        is_live,
        may_export: visit.viewer.may(Permission::Export),
        stream: source.stream(&console),
        topic: source.name().to_owned(),
        api: console.api_url(),
        clock: visit.clock,
        frame: visit.frame(Section::Topics, format!("{} messages", source.name())),
        params,
    };
    let look = async move {
        if is_asked {
            Source::of(&console, &name)?.look(&console, &wanted, ROWS).await
        } else {
            Ok(Found::default())
        }
    };
    early::show(look, move |found| shown.page(found)).await
}

/// What a list shows whatever is found.
struct Shown {
    frame: Frame,
    params: Params,
    clock: Clock,
    stream: Option<Stream>,
    topic: String,
    is_filtered: bool,
    is_live: bool,
    may_export: bool,
    api: String,
}

impl Shown {
    fn page(&self, found: Result<Found, Fault>) -> MessagesPage {
        let Self { frame, params, clock, stream, topic, is_filtered, is_live, may_export, api } = self;
        let (found, trouble) = match found {
            Ok(found) => (found, String::new()),
            Err(fault) => (Found::default(), format!("{}: {}", fault.title, fault.detail)),
        };
        let row = |message: &Message| MessageRow::new(topic, *stream, message, Extent::Listed, *clock);
        let unavailable: Vec<String> = found.unavailable.iter().map(ToString::to_string).collect();
        let at = |path: &str| params.at(&format!("/topics/{topic}/{path}"));
        MessagesPage {
            rows: found.messages.iter().map(row).collect(),
            look: Look {
                first: params.get("after").map(|_| params.first_page()).unwrap_or_default(),
                next: found.next.as_ref().map(|next| params.with("after", next)).unwrap_or_default(),
                looked_at: found.looked_at,
                is_cut_short: found.is_cut_short,
            },
            unavailable: unavailable.join(", "),
            trouble,
            tail: at("tail"),
            export: at("messages.jsonl"),
            is_filtered: *is_filtered,
            is_live: *is_live,
            may_export: *may_export,
            api: api.clone(),
            params: params.clone(),
            frame: frame.clone(),
            topic: topic.clone(),
        }
    }
}

async fn to_position(
    console: &Console,
    source: &Source<'_>,
    partition: u16,
    position: i64,
) -> Result<Response, Fault> {
    let found = source.at_position(console, partition, position).await?;
    let message = found.ok_or_else(|| {
        Fault::not_found(format!(
            "There is no message of position {position} in partition {partition}: it is not published yet, or was deleted."
        ))
    })?;
    let (topic, offset) = (source.name(), message.offset);
    Ok(Redirect::to(&format!("/topics/{topic}/messages/{partition}/{offset}")).into_response())
}

/// What an address asks for.
pub fn wanted(console: &Console, source: &Source<'_>, params: &mut Params) -> Wanted {
    let filter = Filter {
        key: params.get("key").map(str::to_owned),
        value: params.get("value").map(str::to_owned),
        header_name: params.get("header").map(str::to_owned),
        header_value: params.get("holds").map(str::to_owned),
        anywhere: params.get("anywhere").map(str::to_owned),
    };
    let mut partition = params.read("partition", PARTITION_WANTED, |text| text.parse::<u16>().ok());
    // All messages of a merchant lie in one partition, so the others need not be looked at.
    let merchant = filter.key.as_deref().and_then(|key| Uuid::try_parse(key).ok());
    if let (Some(merchant), true) = (merchant, partition.is_none() && source.stream(console).is_some()) {
        partition = Some(lane_of(MerchantId(merchant), console.store().lanes()).0);
    }
    let order = params.read("order", "newest or oldest", |text| text.parse::<Order>().ok());
    let after = params.get("after").map(str::to_owned);
    if let (Source::Log(_), Some(after)) = (source, &after)
        && Places::parse(after).is_none()
    {
        params.errors.push(("after", "the link of a page"));
    }
    Wanted {
        partition,
        order: order.unwrap_or(Order::Newest),
        from_offset: params
            .read("offset", "an offset", |text| text.parse().ok().filter(|offset| *offset >= 0)),
        since: params.moment("since", false),
        until: params.moment("until", true),
        filter,
        after,
    }
}

/// `GET /topics/{name}/messages/{partition}/{offset}`
pub async fn show(
    State(console): State<Console>,
    visit: Visit,
    Path((name, partition, offset)): Path<(String, u16, i64)>,
) -> Result<Response, Fault> {
    visit.must(Permission::ReadMessages)?;
    let source = Source::of(&console, &name)?;
    let message = find(&console, &source, partition, offset).await?;
    let topic = source.name().to_owned();
    let row = MessageRow::new(&topic, source.stream(&console), &message, Extent::Whole, visit.clock);
    let beside = |order: &str, offset: i64| {
        format!("/topics/{topic}/messages?partition={partition}&order={order}&offset={offset}")
    };
    render(&MessagePage {
        row,
        before: format!("/topics/{topic}/messages?partition={partition}"),
        after: beside("oldest", offset.saturating_add(1)),
        frame: visit.frame(Section::Topics, format!("{partition}/{offset} message of {topic}")),
        topic,
    })
}

/// `GET /topics/{name}/messages/{partition}/{offset}/value`: the bytes as they are, as a file.
pub async fn value(
    State(console): State<Console>,
    visit: Visit,
    Path((name, partition, offset)): Path<(String, u16, i64)>,
) -> Result<Response, Fault> {
    visit.must(Permission::ReadMessages)?;
    let source = Source::of(&console, &name)?;
    let message = find(&console, &source, partition, offset).await?;
    let disposition =
        HeaderValue::from_str(&format!("attachment; filename=\"message-{partition}-{offset}\""));
    let disposition = disposition.map_err(|error| Fault::internal(&error.to_string()))?;
    let headers = [
        (http::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (http::CONTENT_DISPOSITION, disposition),
    ];
    Ok((headers, message.value.unwrap_or_default()).into_response())
}

async fn find(console: &Console, source: &Source<'_>, partition: u16, offset: i64) -> Result<Message, Fault> {
    let found = source.message(console, partition, offset).await?;
    found.ok_or_else(|| {
        Fault::not_found(format!(
            "There is no message at offset {offset} of partition {partition} of {}.",
            source.name()
        ))
    })
}
