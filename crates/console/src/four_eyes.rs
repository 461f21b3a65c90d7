//! What nobody does alone: one operator asks for it, another one approves it, and then it is done. With open access
//! there are no two persons to tell apart, so it is done at once.

use access::{
    Mode, Permission,
    approvals::{self, Approval, Wanted},
};
use domain::{command::Action, id::WithdrawalId};
use serde_json::{Value as Json, json};
use store::browse;
use uuid::Uuid;

use crate::{
    change::Form,
    fault::Fault,
    pages::{dead_letters_bulk, keys::refused, restart},
    state::Console,
};

/// A change that needs two operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sensitive {
    /// Paying out a withdrawal above the limit of the settings.
    ProcessWithdrawal(WithdrawalId),
    /// A consumer, and where it is to begin again, as its plan's address says.
    RestartConsumer(String, String),
    /// All dead letters that went wrong in one way.
    DeadLettersAlike(dead_letters_bulk::Wanted),
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// Another operator has to approve it.
    Asked,
}

const PROCESS_WITHDRAWAL: &str = "withdrawal.process";
const RESTART_CONSUMER: &str = "consumer.restart";
const DEAD_LETTERS_ALIKE: &str = "dead-letters.alike";

impl Sensitive {
    fn wanted(&self) -> Wanted {
        match self {
            Self::ProcessWithdrawal(id) => {
                Wanted { kind: PROCESS_WITHDRAWAL.to_owned(), subject: id.to_string(), detail: json!({}) }
            }
            Self::RestartConsumer(name, query) => Wanted {
                kind: RESTART_CONSUMER.to_owned(),
                subject: name.clone(),
                detail: json!({"where": query}),
            },
            Self::DeadLettersAlike(wanted) => Wanted {
                kind: DEAD_LETTERS_ALIKE.to_owned(),
                subject: wanted.subject(),
                detail: wanted.detail(),
            },
        }
    }

    /// `None`: it was asked for by a program that knows more than this one.
    pub fn of(approval: &Approval) -> Option<Self> {
        let Approval { kind, subject, detail, .. } = approval;
        match (kind.as_str(), detail) {
            (PROCESS_WITHDRAWAL, Json::Object(_)) => Some(Self::ProcessWithdrawal(subject.parse().ok()?)),
            (RESTART_CONSUMER, Json::Object(detail)) => {
                Some(Self::RestartConsumer(subject.clone(), detail.get("where")?.as_str()?.to_owned()))
            }
            (DEAD_LETTERS_ALIKE, detail) => {
                dead_letters_bulk::Wanted::of_detail(subject, detail).map(Self::DeadLettersAlike)
            }
            _ => None,
        }
    }

    /// What whoever asks for it, and whoever approves it, must be allowed to do.
    pub const fn permission(&self) -> Permission {
        match self {
            Self::ProcessWithdrawal(_) => Permission::ChangeWithdrawals,
            Self::RestartConsumer(..) => Permission::ControlConsumers,
            Self::DeadLettersAlike(_) => Permission::Redrive,
        }
    }

    /// For people.
    pub fn sentence(&self) -> String {
        match self {
            Self::ProcessWithdrawal(id) => format!("Pay out withdrawal {id}"),
            Self::RestartConsumer(name, _) => format!("Restart the consumer {name}"),
            Self::DeadLettersAlike(wanted) => wanted.sentence(),
        }
    }

    /// Where it is looked at before it is decided.
    pub fn href(&self) -> String {
        match self {
            Self::ProcessWithdrawal(id) => format!("/withdrawals/{id}"),
            Self::RestartConsumer(name, query) => format!("/consumers/{name}/restart?{query}"),
            Self::DeadLettersAlike(wanted) => wanted.href(),
        }
    }

    /// Does it. What it takes for granted is decided anew: a withdrawal that was cancelled meanwhile is refused.
    pub async fn carry_out(&self, console: &Console, form: &Form) -> Result<(), Fault> {
        match self {
            Self::ProcessWithdrawal(id) => {
                let found = console.read(browse::withdrawal(console.db(), *id)).await?;
                let found = found.ok_or_else(|| Fault::not_found(format!("There is no withdrawal {id}.")))?;
                let action = Action::ProcessWithdrawal { withdrawal_id: *id };
                form.submit(console, found.merchant_id, action).await.map(|_| ())
            }
            Self::RestartConsumer(name, query) => restart::carry_out(console, form, name, query).await,
            Self::DeadLettersAlike(wanted) => wanted.carry_out(console, form).await,
        }
    }
}

/// Does it where one person is enough, and asks for a second one otherwise.
pub async fn do_or_ask(console: &Console, form: &Form, sensitive: Sensitive) -> Result<Outcome, Fault> {
    form.viewer.must(sensitive.permission())?;
    if console.access().mode() == Mode::Open {
        sensitive.carry_out(console, form).await?;
        return Ok(Outcome::Done);
    }
    let asked = approvals::request(console.store(), &sensitive.wanted(), &form.actor()?).await;
    asked.map_err(refused)?;
    Ok(Outcome::Asked)
}

/// Approves what another operator asked for, and does it.
pub async fn approve(console: &Console, form: &Form, id: Uuid) -> Result<(), Fault> {
    let sensitive = find(console, form, id).await?;
    // Decided before it is done: of two who approve at once, one does it. Whoever stops in between leaves something
    // that is approved and not done, which is seen, and can be asked for again.
    let decided = approvals::decide(console.store(), id, approvals::Decision::Approve, &form.actor()?).await;
    decided.map_err(refused)?;
    sensitive.carry_out(console, form).await
}

pub async fn refuse(console: &Console, form: &Form, id: Uuid) -> Result<(), Fault> {
    find(console, form, id).await?;
    let decided = approvals::decide(console.store(), id, approvals::Decision::Refuse, &form.actor()?).await;
    decided.map(|_| ()).map_err(refused)
}

async fn find(console: &Console, form: &Form, id: Uuid) -> Result<Sensitive, Fault> {
    let approval = console.read(approvals::get(console.db(), id)).await?;
    let approval = approval.ok_or_else(|| Fault::not_found(format!("Nobody asked for {id}.")))?;
    let sensitive = Sensitive::of(&approval).ok_or_else(|| {
        Fault::bad_request("This program does not know what was asked for: use a newer one.")
    })?;
    form.viewer.must(sensitive.permission())?;
    Ok(sensitive)
}
