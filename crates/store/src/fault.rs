//! Deliberate faults, for the simulator to find: what would happen if a rule that the design rests on were not kept.
//!
//! A fault is on for one thread, and in debug builds only; elsewhere [`is_on`] is `false`, and the compiler drops what
//! would follow from it.

/// A rule that is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A batch begins without the locks of its lanes.
    SkipLaneLock,
    /// A batch whose COMMIT went unanswered is decided again without a look into the log.
    SkipLookUp,
    /// Callers are answered although COMMIT failed.
    AnswerBeforeCommit,
    /// Events are published when they are decided, not when they are committed.
    PublishBeforeCommit,
    /// An idempotency key is the same key for every merchant.
    ForgetIdempotencyScope,
    /// A repeated request is decided again.
    ForgetIdempotencyKey,
    /// Events take the wall clock's time, even when it has gone back.
    LetClockRunBack,
    /// The log is written in one transaction and the tables in another.
    SplitBatch,
    /// A consumer stores its position in one transaction and its effect in the next.
    PositionBeforeEffect,
    /// A consumer stores its effect in one transaction and its position in the next.
    EffectBeforePosition,
    /// A consumer stores the offset of the record that it handled, and not the one behind it.
    StoreOffsetItself,
    /// A consumer stores the end of what it has read, and not of what it has handled.
    StoreOffsetRead,
    /// A consumer does not look whether another one has moved its position.
    SkipPositionCheck,
    /// Events of a subject that has a dead letter are handled all the same.
    SkipParking,
    /// A dead letter is stored behind the position that moved past it.
    DeadLetterAfterPosition,
    /// A consumer takes what comes next for what follows.
    SkipGapCheck,
    /// A relay goes on from what it noted, without a look at the topics.
    TrustNote,
    /// A relay notes what it is about to publish.
    NoteBeforePublish,
    /// A relay that may have been deposed publishes, and Kafka lets it.
    DropFencing,
    /// The ends of topics are read with what was never committed.
    ReadUncommitted,
}

impl Fault {
    pub const ALL: [Self; 20] = [
        Self::SkipLaneLock,
        Self::SkipLookUp,
        Self::AnswerBeforeCommit,
        Self::PublishBeforeCommit,
        Self::ForgetIdempotencyScope,
        Self::ForgetIdempotencyKey,
        Self::LetClockRunBack,
        Self::SplitBatch,
        Self::PositionBeforeEffect,
        Self::EffectBeforePosition,
        Self::StoreOffsetItself,
        Self::StoreOffsetRead,
        Self::SkipPositionCheck,
        Self::SkipParking,
        Self::DeadLetterAfterPosition,
        Self::SkipGapCheck,
        Self::TrustNote,
        Self::NoteBeforePublish,
        Self::DropFencing,
        Self::ReadUncommitted,
    ];
}

#[cfg(debug_assertions)]
mod switch {
    use std::cell::{Cell, RefCell};

    use super::Fault;
    use crate::batch::LogEvent;

    type Publish = Box<dyn Fn(&[LogEvent])>;

    thread_local! {
        static ON: Cell<Option<Fault>> = const { Cell::new(None) };
        static PUBLISH: RefCell<Option<Publish>> = const { RefCell::new(None) };
    }

    /// Switches a fault on, or off, for this thread.
    pub fn switch(fault: Option<Fault>) {
        ON.set(fault);
    }

    pub fn is_on(fault: Fault) -> bool {
        ON.get() == Some(fault)
    }

    /// Who takes the events of [`Fault::PublishBeforeCommit`].
    pub fn publish_to(publish: Option<Publish>) {
        PUBLISH.with(|place| *place.borrow_mut() = publish);
    }

    pub(crate) fn publish(events: &[LogEvent]) {
        PUBLISH.with(|publish| {
            if let Some(publish) = &*publish.borrow() {
                publish(events);
            }
        });
    }
}

#[cfg(debug_assertions)]
pub(crate) use switch::publish;
#[cfg(debug_assertions)]
pub use switch::{is_on, publish_to, switch};

#[cfg(not(debug_assertions))]
pub const fn is_on(_: Fault) -> bool {
    false
}
