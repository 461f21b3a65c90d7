//! What a relay finds out before it publishes anything: what the topics really hold.

use std::collections::BTreeMap;

use domain::lane::Lane;
use store::{
    Store,
    batch::LaneHead,
    fault::{self, Fault},
    log,
};

use super::{
    Trouble,
    broker::Broker,
    cursor::{self, Ends},
    dead_letters,
};
use crate::{
    kafka::{
        ends::{End, Noted, Published},
        record::Topic,
    },
    position::Place,
};

/// How far the topics are filled, and how far the log was read.
pub(super) struct Progress {
    /// Read from the log, and perhaps not published yet.
    pub(super) read: BTreeMap<Place, i64>,
    pub(super) ends: Ends,
    /// Offsets that the next records of a partition must lie behind.
    pub(super) offsets: BTreeMap<(Topic, i32), i64>,
    pub(super) is_noted: bool,
}

/// What was really published, by the topics; checked against the log.
pub(super) async fn find_out<B: Broker>(store: &Store, broker: &B) -> Result<Progress, Trouble> {
    let lanes = store.lanes();
    let db = store.reads();
    let noted = cursor::load(db).await?;
    let found = if fault::is_on(Fault::TrustNote) || fault::is_on(Fault::NoteBeforePublish) {
        as_noted(&noted)
    } else {
        broker.ends(lanes, noted.clone()).await?
    };
    // Read after the topics, so that no topic is ahead of a log that merely went on.
    let heads: BTreeMap<Lane, LaneHead> =
        log::heads(db).await?.into_iter().map(|head| (head.lane, head)).collect();
    let mut progress =
        Progress { read: BTreeMap::new(), ends: Ends::new(), offsets: BTreeMap::new(), is_noted: true };
    for (place, end) in found {
        let note = noted.get(&place);
        let position = check(store, place, end, note, &heads).await?;
        progress.read.insert(place, position);
        let offset = match (end, note) {
            (End::Last(last), _) => Some(last.offset),
            (End::Expired, Some(note)) => Some(note.offset),
            _ => None,
        };
        if let Some(offset) = offset {
            progress.ends.insert(place, (position, offset));
            progress.offsets.insert((Topic::Stream(place.0), i32::from(place.1.0)), offset);
            progress.is_noted &= note.is_some_and(|note| note.offset == offset);
        }
    }
    let letters = dead_letters::cursors(db).await?;
    let (published, last) = broker.letters(lanes, letters).await?;
    for (partition, offset) in &last {
        progress.offsets.insert((Topic::DeadLetters, *partition), *offset);
    }
    dead_letters::mark(store, &published, &last, store.now()).await?;
    Ok(progress)
}

/// The ends by the notes alone: [`Fault::TrustNote`].
fn as_noted(noted: &BTreeMap<Place, Noted>) -> BTreeMap<Place, End> {
    let last =
        |note: &Noted| End::Last(Published { position: note.position, offset: note.offset, hash: note.hash });
    noted.iter().map(|(place, note)| (*place, last(note))).collect()
}

/// The position that a partition is filled to.
async fn check(
    store: &Store,
    (stream, lane): Place,
    end: End,
    note: Option<&Noted>,
    heads: &BTreeMap<Lane, LaneHead>,
) -> Result<i64, Trouble> {
    let head = heads.get(&lane).map_or(0, |head| head.streams[stream.index()].0);
    match end {
        End::Last(last) => {
            if last.position > head {
                return Err(Trouble::TopicAhead { stream, lane, published: last.position, head });
            }
            let event = log::behind(store.reads(), stream, lane, last.position - 1, 1).await?;
            if event.first().map(|event| event.hash) != Some(last.hash) {
                return Err(Trouble::AnotherLog { stream, lane, position: last.position });
            }
            if let Some(note) = note.filter(|note| note.position > last.position) {
                tracing::warn!(
                    stream = stream.name(),
                    lane = lane.0,
                    noted = note.position,
                    found = last.position,
                    "the topic holds less than was published; the rest is published again"
                );
            }
            Ok(last.position)
        }
        End::Expired => Ok(note.map_or(0, |note| note.position)),
        End::Empty => Ok(0),
        End::MadeAnew => {
            tracing::warn!(
                stream = stream.name(),
                lane = lane.0,
                events = head,
                "the topic was made anew; it is filled again from the log's beginning"
            );
            Ok(0)
        }
    }
}
