//! Many dead letters at once: handled again or given up one by one, at a pace, with what became of each.
//!
//! A run lives in the process that began it, and so does what is known of it; what it has done is in the table and in the
//! audit log. Cut off, it is begun again: a letter that was ended is passed over.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use domain::time::Timestamp;
use store::{audit::Actor, error::ReadError};
use stream::redrive::{self, Letter};
use tokio::time::{MissedTickBehavior, interval};
use uuid::Uuid;

use crate::state::Console;

/// Letters of one run.
pub const LETTERS_MAX: usize = 1_000;
/// Runs that are remembered, the one that goes on among them.
const RUNS_KEPT_MAX: usize = 20;
/// Letters a second, as people may choose; the first one unless they do.
pub const PACES: [u32; 3] = [50, 10, 200];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Redrive,
    Discard,
}

impl Action {
    pub fn of_name(name: &str) -> Option<Self> {
        match name {
            "redrive" => Some(Self::Redrive),
            "discard" => Some(Self::Discard),
            _ => None,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Redrive => "redrive",
            Self::Discard => "discard",
        }
    }
}

/// What became of a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Handled, with so many of the same subject.
    Handled(usize),
    /// It failed again and stays, for this reason.
    Failed(String),
    /// A letter of the same subject came before it in this run.
    WithAnother,
    Discarded,
    /// It was ended meanwhile.
    NotOpen,
    /// The run stopped before it.
    NotTried,
}

/// Many letters on their way.
#[derive(Debug)]
pub struct Run {
    pub id: Uuid,
    pub action: Action,
    pub begun_at: Timestamp,
    pub by: String,
    pub reason: String,
    pub letters: Vec<Letter>,
    progress: Mutex<Progress>,
}

#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// Of the letters, in their order, as far as the run has come.
    pub outcomes: Vec<Outcome>,
    pub ended_at: Option<Timestamp>,
    /// Why it ended before its end.
    pub trouble: Option<String>,
}

impl Run {
    pub fn progress(&self) -> Progress {
        self.held().clone()
    }

    fn held(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The runs of this process.
#[derive(Default)]
pub struct Runs(Mutex<VecDeque<Arc<Run>>>);

/// What a run is begun with.
pub struct Plan {
    /// Of the form, so that it runs once however often the form is sent.
    pub id: Uuid,
    pub action: Action,
    pub letters: Vec<Letter>,
    pub letters_a_second: u32,
}

impl Runs {
    pub fn find(&self, id: Uuid) -> Option<Arc<Run>> {
        self.held().iter().find(|run| run.id == id).cloned()
    }

    /// The newest first.
    pub fn latest(&self) -> Vec<Arc<Run>> {
        self.held().iter().rev().cloned().collect()
    }

    fn held(&self) -> MutexGuard<'_, VecDeque<Arc<Run>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Begins a run, unless another one is under way: it is given back then. The same one again is the one that runs.
pub fn begin(console: &Console, plan: Plan, actor: Actor) -> Result<(), Uuid> {
    let mut runs = console.runs().held();
    if runs.iter().any(|run| run.id == plan.id) {
        return Ok(());
    }
    if let Some(busy) = runs.iter().find(|run| run.held().ended_at.is_none()) {
        return Err(busy.id);
    }
    let run = Arc::new(Run {
        id: plan.id,
        action: plan.action,
        begun_at: console.now(),
        by: actor.name.clone(),
        reason: actor.why.clone(),
        letters: plan.letters,
        progress: Mutex::default(),
    });
    if runs.len() >= RUNS_KEPT_MAX {
        runs.pop_front();
    }
    runs.push_back(run.clone());
    let pace = Duration::from_secs(1) / plan.letters_a_second.max(1);
    tokio::spawn(carry_out(console.clone(), run, actor, pace));
    Ok(())
}

async fn carry_out(console: Console, run: Arc<Run>, actor: Actor, pace: Duration) {
    let mut ticks = interval(pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = HashSet::new();
    for letter in &run.letters {
        // What failed once for a subject fails for all of its letters.
        let subject = letter.subject_id.map(|subject| (letter.consumer.clone(), subject));
        let is_first = subject.is_none_or(|subject| seen.insert(subject));
        let outcome = match run.action {
            Action::Redrive if !is_first => Ok(Outcome::WithAnother),
            Action::Redrive => {
                ticks.tick().await;
                redrive_one(&console, letter, &actor).await
            }
            Action::Discard => {
                ticks.tick().await;
                discard_one(&console, letter, &actor).await
            }
        };
        match outcome {
            Ok(outcome) => run.held().outcomes.push(outcome),
            Err(error) => {
                tracing::warn!(%error, run = %run.id, "a run over dead letters stopped");
                run.held().trouble = Some(error.to_string());
                break;
            }
        }
    }
    let mut progress = run.held();
    progress.outcomes.resize(run.letters.len(), Outcome::NotTried);
    progress.ended_at = Some(console.now());
}

async fn redrive_one(console: &Console, letter: &Letter, actor: &Actor) -> Result<Outcome, ReadError> {
    let Some(consumer) = console.consumer(&letter.consumer) else {
        return Ok(Outcome::Failed("this program has no such consumer".to_owned()));
    };
    let redriven = redrive::redrive(console.store(), consumer, letter, actor).await?;
    Ok(match redriven.failed {
        Some(reason) => Outcome::Failed(reason),
        None if redriven.handled == 0 => Outcome::NotOpen,
        None => Outcome::Handled(redriven.handled),
    })
}

async fn discard_one(console: &Console, letter: &Letter, actor: &Actor) -> Result<Outcome, ReadError> {
    let was_open = redrive::discard(console.store(), letter, actor).await?;
    Ok(if was_open { Outcome::Discarded } else { Outcome::NotOpen })
}
