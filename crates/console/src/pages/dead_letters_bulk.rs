//! `/dead-letters/bulk`: many dead letters at once. First which and how many, then, when the number was typed, the run
//! ([`super::dead_letters_run`]).

use access::Permission;
use askama::Template;
use axum::{
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use serde_json::{Value as Json, json};
use stream::{
    dead_letter::State as Standing,
    letter_runs::{self, Action, Plan},
    letters,
    redrive::{self, Letter, Selection},
};
use uuid::Uuid;

use super::{
    Visit, dead_letter,
    dead_letters::LetterRow,
    dead_letters_run::{refused, run_path},
};
use crate::{
    bulk::{self, LETTERS_MAX, PACES},
    change::{Form, done},
    fault::{Fault, render},
    four_eyes::{self, Sensitive},
    layout::{Frame, Section},
    list::Params,
    state::Console,
};

/// Letters that are chosen one by one.
const CHOSEN_MAX: usize = 200;
/// Of the letters that are meant, those that a dry run shows.
const SHOWN_MAX: usize = 50;

#[derive(Template)]
#[template(path = "dead_letters_bulk.html")]
struct DryRunPage {
    frame: Frame,
    action: &'static str,
    title: &'static str,
    /// Of one letter that stands for all; empty for a selection.
    like: String,
    ids: Vec<Uuid>,
    reason: String,
    count: usize,
    is_full: bool,
    subjects: usize,
    rows: Vec<LetterRow>,
    hidden: usize,
    paces: [u32; 3],
    needs_second: bool,
    once: String,
}

/// Which letters are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Meant {
    /// All open ones that went wrong as this one did.
    Like(Uuid),
    These(Vec<Uuid>),
}

impl Meant {
    fn read(like: Option<&str>, ids: Vec<&str>) -> Option<Self> {
        match like {
            Some(like) => Uuid::parse_str(like).ok().map(Self::Like),
            None if ids.is_empty() || ids.len() > CHOSEN_MAX => None,
            None => {
                ids.into_iter().map(|id| Uuid::parse_str(id).ok()).collect::<Option<_>>().map(Self::These)
            }
        }
    }

    /// At most [`LETTERS_MAX`], and whether there are more.
    async fn letters(&self, console: &Console) -> Result<(Vec<Letter>, bool), Fault> {
        let mut letters = match self {
            Self::Like(id) => {
                let one = dead_letter::find(console, *id).await?;
                console.read(letters::like(console.db(), &one, LETTERS_MAX + 1)).await?
            }
            Self::These(ids) => {
                let selection =
                    Selection { ids: ids.clone(), state: Some(Standing::Open), ..Selection::default() };
                console.read(redrive::select(console.db(), &selection, CHOSEN_MAX)).await?
            }
        };
        let is_full = letters.len() > LETTERS_MAX;
        letters.truncate(LETTERS_MAX);
        Ok((letters, is_full))
    }
}

pub const fn title(action: Action) -> &'static str {
    match action {
        Action::Redrive => "Redrive",
        Action::Discard => "Discard",
    }
}

/// `GET /dead-letters/bulk`: what would be done; nothing is.
pub async fn dry_run(
    State(console): State<Console>,
    visit: Visit,
    params: Params,
) -> Result<Response, Fault> {
    visit.must(Permission::Redrive)?;
    let action = Action::of_name(params.text("action"));
    let action = action.ok_or_else(|| Fault::bad_request("Say what to do: redrive or discard."))?;
    let meant = Meant::read(params.get("like"), params.all("id").collect())
        .ok_or_else(|| Fault::bad_request("Select some dead letters first. Nothing was changed."))?;
    let (letters, is_full) = meant.letters(&console).await?;
    let subjects: std::collections::HashSet<_> =
        letters.iter().map(|letter| (&letter.consumer, letter.subject_id)).collect();
    let clock = visit.clock;
    let (like, ids) = match meant {
        Meant::Like(id) => (id.to_string(), Vec::new()),
        Meant::These(_) => (String::new(), letters.iter().map(|letter| letter.id).collect()),
    };
    render(&DryRunPage {
        action: action.name(),
        title: title(action),
        needs_second: !like.is_empty() && !visit.viewer.is_open(),
        reason: letters
            .first()
            .filter(|_| !like.is_empty())
            .map(|one| one.reason.clone())
            .unwrap_or_default(),
        like,
        ids,
        count: letters.len(),
        is_full,
        subjects: subjects.len(),
        rows: letters.iter().take(SHOWN_MAX).map(|letter| LetterRow::new(letter, clock)).collect(),
        hidden: letters.len().saturating_sub(SHOWN_MAX),
        paces: PACES,
        once: Uuid::new_v4().simple().to_string(),
        frame: visit.frame(Section::DeadLetters, format!("{} {} dead letters", title(action), letters.len())),
    })
}

/// `POST /dead-letters/bulk`: begins the run, where the typed number is that of the letters that are meant.
pub async fn begin(State(console): State<Console>, form: Form) -> Result<Response, Fault> {
    form.viewer.must(Permission::Redrive)?;
    let wanted = Wanted::of_form(&form)?;
    let once = once(&form)?;
    // Sent again, the form leads to the run that it began.
    if console.read(letter_runs::find(console.db(), once, console.now())).await?.is_some() {
        return Ok(Redirect::to(&run_path(once)).into_response());
    }
    let (letters, _) = wanted.meant.letters(&console).await?;
    let typed: Option<usize> = form.get("number").and_then(|text| text.parse().ok());
    if typed != Some(letters.len()) || letters.is_empty() {
        return Err(Fault::bad_request(format!(
            "Type the number of dead letters: it is {} now. Nothing was changed.",
            letters.len()
        )));
    }
    form.reason()?;
    if let Meant::Like(_) = wanted.meant {
        let outcome = four_eyes::do_or_ask(&console, &form, Sensitive::DeadLettersAlike(wanted)).await?;
        if outcome == four_eyes::Outcome::Asked {
            return Ok(done("/dead-letters", "asked"));
        }
    } else {
        start(&console, &form, &wanted, letters).await?;
    }
    Ok(Redirect::to(&run_path(once)).into_response())
}

/// What is to be done with which letters, and how fast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub action: Action,
    pub meant: Meant,
    pub letters_a_second: u32,
}

impl Wanted {
    fn of_form(form: &Form) -> Result<Self, Fault> {
        let action = form.get("action").and_then(Action::of_name);
        let meant = Meant::read(form.get("like"), form.all("id").collect());
        let pace = form.get("pace").and_then(|text| text.parse().ok()).filter(|pace| PACES.contains(pace));
        match (action, meant, pace) {
            (Some(action), Some(meant), Some(letters_a_second)) => {
                Ok(Self { action, meant, letters_a_second })
            }
            _ => Err(Fault::bad_request("The form is not whole. Nothing was changed.")),
        }
    }

    /// What it is asked for about: one letter, and what is to be done with all that went wrong as it did.
    pub fn subject(&self) -> String {
        let like = match &self.meant {
            Meant::Like(id) => id.to_string(),
            Meant::These(ids) => ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        };
        format!("{} {like}", self.action.name())
    }

    pub fn detail(&self) -> Json {
        json!({"lettersASecond": self.letters_a_second})
    }

    /// Read back; `None`: it is not understood.
    pub fn of_detail(subject: &str, detail: &Json) -> Option<Self> {
        let (action, like) = subject.split_once(' ')?;
        let pace = detail.get("lettersASecond")?.as_u64()?;
        let letters_a_second = PACES.into_iter().find(|known| u64::from(*known) == pace)?;
        let meant = Meant::Like(Uuid::parse_str(like).ok()?);
        Some(Self { action: Action::of_name(action)?, meant, letters_a_second })
    }

    /// For people.
    pub fn sentence(&self) -> String {
        format!("{} all dead letters of one reason", title(self.action))
    }

    pub fn href(&self) -> String {
        match &self.meant {
            Meant::Like(id) => format!("/dead-letters/bulk?action={}&like={id}", self.action.name()),
            Meant::These(_) => "/dead-letters".to_owned(),
        }
    }

    /// Begins it, for whoever has approved it.
    pub async fn carry_out(&self, console: &Console, form: &Form) -> Result<(), Fault> {
        let (letters, _) = self.meant.letters(console).await?;
        start(console, form, self, letters).await
    }
}

/// The form's own id: that of the run.
fn once(form: &Form) -> Result<Uuid, Fault> {
    let once = form.get("once").and_then(|text| Uuid::parse_str(text).ok());
    once.ok_or_else(|| Fault::bad_request("The form is not whole. Nothing was changed."))
}

async fn start(console: &Console, form: &Form, wanted: &Wanted, letters: Vec<Letter>) -> Result<(), Fault> {
    let Wanted { action, letters_a_second, .. } = *wanted;
    let plan = Plan { id: once(form)?, action, letters_a_second };
    bulk::begin(console, plan, letters, form.actor()?).await.map_err(refused)
}
