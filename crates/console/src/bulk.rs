//! Many dead letters at once: handled again or given up one by one, at a pace, with what became of each.
//!
//! A run is carried out by the process that began it, and stands in the database as far as it has come
//! ([`stream::letter_runs`]): any process shows it. One whose process is gone is cut off, and goes on when somebody takes it
//! up, in whichever process that is: where it was, with the letters that it was begun with.

use std::{collections::HashSet, time::Duration};

use store::{audit::Actor, error::ReadError};
use stream::{
    letter_runs::{self, Action, BEAT_INTERVAL, Held, Outcome, Plan, Run, Taken},
    redrive::{self, Letter},
};
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

use crate::{fault::Fault, state::Console};

/// Letters of one run.
pub const LETTERS_MAX: usize = 1_000;
/// Letters a second, as people may choose; the first one unless they do.
pub const PACES: [u32; 3] = [50, 10, 200];

/// Why nothing was begun.
pub enum Refused {
    /// Another run is under way.
    Busy(Uuid),
    /// There is no such run.
    Unknown,
    Fault(Fault),
}

/// A letter of a run, and what has become of it.
type Item = (Letter, Option<Outcome>);

/// Begins a run, unless another one is under way. The same one again is the one that runs.
pub async fn begin(console: &Console, plan: Plan, letters: Vec<Letter>, actor: Actor) -> Result<(), Refused> {
    let taken = console.read(letter_runs::begin(console.store(), &plan, &letters, &actor)).await;
    if let Some(held) = held(taken.map_err(Refused::Fault)?)? {
        let items = letters.into_iter().map(|letter| (letter, None)).collect();
        let pace = pace(plan.letters_a_second);
        tokio::spawn(Worker { console: console.clone(), held, actor, pace }.work(plan.action, items));
    }
    Ok(())
}

/// Goes on with a run that was left. One that goes on, or has come to its end, stays as it is.
pub async fn take_up(console: &Console, run: &Run, actor: Actor) -> Result<(), Refused> {
    let taken = console.read(letter_runs::take_up(console.store(), run.id, &actor)).await;
    if let Some(held) = held(taken.map_err(Refused::Fault)?)? {
        // Read when it is held: whoever worked on it before notes nothing any more.
        let items = console.read(letter_runs::letters(console.db(), run.id)).await.map_err(Refused::Fault)?;
        let pace = pace(run.letters_a_second);
        tokio::spawn(Worker { console: console.clone(), held, actor, pace }.work(run.action, items));
    }
    Ok(())
}

fn held(taken: Taken) -> Result<Option<Held>, Refused> {
    match taken {
        Taken::Held(held) => Ok(Some(held)),
        Taken::Already => Ok(None),
        Taken::Busy(other) => Err(Refused::Busy(other)),
        Taken::Unknown => Err(Refused::Unknown),
    }
}

fn pace(letters_a_second: u32) -> Duration {
    Duration::from_secs(1) / letters_a_second.max(1)
}

/// Whoever carries a run out.
struct Worker {
    console: Console,
    held: Held,
    actor: Actor,
    pace: Duration,
}

impl Worker {
    async fn work(self, action: Action, items: Vec<Item>) {
        let beats = tokio::spawn(beat(self.held.clone()));
        let worked = self.letters(action, items).await;
        beats.abort();
        let run = self.held.run();
        let trouble = match worked {
            Ok(true) => None,
            Ok(false) => {
                tracing::warn!(%run, "a run over dead letters was taken up by somebody else");
                return;
            }
            Err(error) => {
                tracing::warn!(%error, %run, "a run over dead letters stopped");
                Some(error.to_string())
            }
        };
        // In vain, it is cut off: others hear of it no more.
        if let Err(error) = self.held.end(trouble.as_deref()).await {
            tracing::warn!(%error, %run, "the end of a run over dead letters could not be noted");
        }
    }

    /// Gives whether the run was held to its end.
    async fn letters(&self, action: Action, items: Vec<Item>) -> Result<bool, ReadError> {
        let mut ticks = interval(self.pace);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = HashSet::new();
        for (number, (letter, before)) in items.iter().enumerate() {
            // What failed once for a subject fails for all of its letters.
            let subject = letter.subject_id.map(|subject| (letter.consumer.as_str(), subject));
            let is_first = subject.is_none_or(|subject| seen.insert(subject));
            if before.is_some() {
                continue;
            }
            let outcome = match action {
                Action::Redrive if !is_first => Outcome::WithAnother,
                Action::Redrive => {
                    ticks.tick().await;
                    self.redrive(letter).await?
                }
                Action::Discard => {
                    ticks.tick().await;
                    self.discard(letter).await?
                }
            };
            if !self.held.note(number, &outcome).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn redrive(&self, letter: &Letter) -> Result<Outcome, ReadError> {
        let Some(consumer) = self.console.consumer(&letter.consumer) else {
            return Ok(Outcome::Failed("this program has no such consumer".to_owned()));
        };
        let redriven = redrive::redrive(self.console.store(), consumer, letter, &self.actor).await?;
        Ok(match redriven.failed {
            Some(reason) => Outcome::Failed(reason),
            None if redriven.handled == 0 => Outcome::NotOpen,
            None => Outcome::Handled(redriven.handled),
        })
    }

    async fn discard(&self, letter: &Letter) -> Result<Outcome, ReadError> {
        let was_open = redrive::discard(self.console.store(), letter, &self.actor).await?;
        Ok(if was_open { Outcome::Discarded } else { Outcome::NotOpen })
    }
}

/// A letter may take longer than others wait for a sign of life.
async fn beat(held: Held) {
    let mut beats = interval(BEAT_INTERVAL);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beats.tick().await;
        match held.beat().await {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => tracing::debug!(%error, "a run over dead letters could not be heard of"),
        }
    }
}
