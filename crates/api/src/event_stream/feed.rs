//! What one listener is sent: first the log, from where it was, a page at a time and only as fast as it is taken; then
//! what the follower hands out. Each event of the merchant once, in the order of its lane.

use std::sync::atomic::Ordering;

use axum::body::Bytes;
use domain::{id::MerchantId, lane::Lane};
use store::merchant_log;
use tokio::{
    sync::mpsc::error::TryRecvError,
    time::{Instant, sleep_until},
};

use super::{
    HEARTBEAT, KEY_CHECK_INTERVAL, Streams,
    follower::{self, Chunk, Joined},
    frame::{self, Frame},
    seats::Seat,
};
use crate::{access::credentials::Presented, problem::Problem, state::App};

/// Events that are read and held at a time.
const PAGE_EVENTS: usize = 200;
/// How much of the lane a page looks through, at most, for events of the merchant.
const SEQUENCES_A_PAGE_MAX: i64 = 5_000;

pub struct Feed {
    app: App,
    lane: Lane,
    merchant: MerchantId,
    /// All that the merchant has up to here was sent.
    sequence: i64,
    stage: Stage,
    heartbeat_at: Instant,
    /// With which the stream was opened; none where access is open.
    key: Option<Presented>,
    key_checked_at: Instant,
    _seat: Seat,
}

enum Stage {
    /// Reading the log; up to where the follower will go on, once that was joined.
    Log(Option<Joined>),
    Live(Joined),
}

/// What a page of the log had.
struct Page {
    text: String,
    /// All that the merchant has up to here is in it, or was before it.
    reached: i64,
    /// There is nothing behind it, as far as was asked for.
    is_last: bool,
}

impl Feed {
    /// Behind a sequence that the lane has.
    pub fn behind(
        app: App,
        (lane, merchant): (Lane, MerchantId),
        sequence: i64,
        key: Option<Presented>,
        seat: Seat,
    ) -> Self {
        let now = Instant::now();
        let (stage, heartbeat_at) = (Stage::Log(None), now + HEARTBEAT);
        Self { app, lane, merchant, sequence, stage, heartbeat_at, key, key_checked_at: now, _seat: seat }
    }

    /// The next bytes; `None` when the stream ends: because the program stops, the log cannot be read, or the key lets
    /// in no more. The client comes back and goes on behind the last event that it got.
    pub async fn next(mut self) -> Option<(Bytes, Self)> {
        loop {
            let text = match &self.stage {
                Stage::Log(_) if self.streams().joins.are_closed() => return None,
                Stage::Log(_) => self.read_log().await.ok()?,
                Stage::Live(_) => self.live().await,
            };
            if !text.is_empty() {
                if !self.may_go_on().await {
                    return None;
                }
                self.heartbeat_at = Instant::now() + HEARTBEAT;
                return Some((text.into(), self));
            }
        }
    }

    async fn may_go_on(&mut self) -> bool {
        let Some(key) = self.key.as_ref().filter(|_| self.key_checked_at.elapsed() >= KEY_CHECK_INTERVAL)
        else {
            return true;
        };
        self.key_checked_at = Instant::now();
        self.streams().still_lets_in(key).await
    }

    async fn read_log(&mut self) -> Result<String, Problem> {
        let Stage::Log(joined) = &mut self.stage else { return Ok(String::new()) };
        let joined = joined.take();
        let page = self.page(joined.as_ref().map(|joined| joined.behind)).await?;
        self.sequence = page.reached;
        self.stage = match joined {
            Some(joined) if page.is_last => Stage::Live(joined),
            None if page.is_last => {
                let joins = &self.streams().joins;
                Stage::Log(Some(self.app.read(joins.join(self.lane, self.merchant)).await?))
            }
            joined => Stage::Log(joined),
        };
        if page.text.is_empty() && Instant::now() >= self.heartbeat_at {
            return Ok(frame::heartbeat(self.sequence));
        }
        Ok(page.text)
    }

    /// The next page of the log, up to a sequence or the lane's end.
    async fn page(&self, until: Option<i64>) -> Result<Page, Problem> {
        // Whoever comes back after long must not keep the readers from everybody else.
        let _turn = self.streams().catch_ups.acquire().await;
        let reads = self.app.reads();
        let end = match until {
            Some(until) => until,
            None => self.app.read(merchant_log::lane_end(reads, self.lane)).await?,
        };
        let until = end.min(self.sequence.saturating_add(SEQUENCES_A_PAGE_MAX));
        let mut text = String::new();
        if until <= self.sequence {
            return Ok(Page { text, reached: self.sequence, is_last: true });
        }
        let events =
            merchant_log::events(reads, (self.lane, self.merchant), self.sequence, until, PAGE_EVENTS);
        let found = self.app.read(events).await?;
        let is_full = found.len() == PAGE_EVENTS;
        let reached = found.last().filter(|_| is_full).map_or(until, |(last, _)| *last);
        for (sequence, found) in found {
            match found {
                Ok(event) => text.push_str(&Frame::of(&event).text),
                Err(error) => follower::unreadable(self.lane, sequence, &error),
            }
        }
        Ok(Page { text, reached, is_last: reached == end })
    }

    async fn live(&mut self) -> String {
        let Stage::Live(joined) = &mut self.stage else { return String::new() };
        let chunk = tokio::select! {
            biased;
            chunk = joined.chunks.recv() => chunk,
            () = sleep_until(self.heartbeat_at) => {
                // In this order: what was handed out up to there lies in the queue, so an empty one was sent whole.
                let reached = joined.reached.load(Ordering::Acquire);
                match joined.chunks.try_recv() {
                    Ok(chunk) => Some(chunk),
                    Err(TryRecvError::Empty) => {
                        self.sequence = self.sequence.max(reached);
                        return frame::heartbeat(self.sequence);
                    }
                    Err(TryRecvError::Disconnected) => None,
                }
            }
        };
        let Some(chunk) = chunk else {
            self.stage = Stage::Log(None);
            return String::new();
        };
        self.take(&chunk)
    }

    /// Without what the log had already.
    fn take(&mut self, chunk: &Chunk) -> String {
        let new: Vec<&Frame> = chunk.iter().filter(|frame| frame.sequence > self.sequence).collect();
        let Some(last) = new.last() else { return String::new() };
        self.sequence = last.sequence;
        new.iter().map(|frame| frame.text.as_str()).collect()
    }

    fn streams(&self) -> &Streams {
        self.app.streams()
    }
}
