//! What is refused, by what whoever asked can do about it.

use store::error::ReadError;
use uuid::Uuid;

use crate::{
    approvals::OPEN_APPROVALS_MAX,
    keys::KEYS_A_SCOPE_MAX,
    operators::OPERATORS_MAX,
    password::{PASSWORD_CHARS_MAX, PASSWORD_CHARS_MIN},
    views::VIEWS_A_PAGE_MAX,
};

/// Why something was not changed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AccessError {
    #[error("there is no key {0}")]
    NoSuchKey(Uuid),
    #[error("there is no merchant {0}")]
    NoSuchMerchant(Uuid),
    #[error("there is no operator {0}")]
    NoSuchOperator(String),
    #[error("there is no request for an approval {0}")]
    NoSuchApproval(Uuid),
    #[error("there is an operator {0} already")]
    NameTaken(String),
    /// What a name may be, by the limits of the thing that it names.
    #[error("a name has 1 to {chars_max} characters, none of them a control character")]
    InvalidName { chars_max: usize },
    #[error("an operator's name has 1 to {chars_max} letters a to z, digits, dots, hyphens and underscores")]
    InvalidOperatorName { chars_max: usize },
    #[error("a password has {PASSWORD_CHARS_MIN} to {PASSWORD_CHARS_MAX} characters")]
    InvalidPassword,
    #[error("a key ends in the future, if it ends")]
    InvalidExpiry,
    #[error("a rate is at least 1 request a second")]
    InvalidRate,
    #[error("a scope has at most {KEYS_A_SCOPE_MAX} keys that work: revoke one that is not used any more")]
    TooManyKeys,
    #[error("there are at most {OPERATORS_MAX} operators")]
    TooManyOperators,
    #[error("at most {OPEN_APPROVALS_MAX} requests for an approval may be open: decide some")]
    TooManyApprovals,
    #[error("at most {VIEWS_A_PAGE_MAX} views can be saved for a page: delete one")]
    TooManyViews,
    /// Without an active one, nobody could let anybody in.
    #[error("{0} is the last active operator who is an admin")]
    LastAdmin(String),
    #[error("this has been asked for already and is not decided: {0}")]
    AlreadyRequested(Uuid),
    #[error("this has been decided already")]
    AlreadyDecided,
    /// Four eyes.
    #[error("who asked for it may not decide it")]
    OwnRequest,
    /// Passwords are hashed a few at a time; try again in a moment.
    #[error("too many passwords are being checked")]
    Busy,
    #[error("{0}")]
    Store(#[from] ReadError),
}

/// Why a key lets nobody in.
#[derive(Clone, Debug, thiserror::Error)]
pub enum KeyRefusal {
    /// No such key, or not a key at all: which of them is nobody's business.
    #[error("there is no such key")]
    Unknown,
    #[error("this key has expired")]
    Expired,
    #[error("this key was revoked")]
    Revoked,
    #[error("it cannot be found out whose key this is: {0}")]
    Unavailable(ReadError),
}

/// Why a name and a password let nobody in.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SignInRefusal {
    /// A wrong name, a wrong password, an account that is disabled, paused or locked: all look alike, in what is said and
    /// in how long it takes, so that nobody learns which names exist.
    #[error(
        "the name or the password is wrong, or the account is locked for a while after too many failures"
    )]
    Refused,
    /// Passwords are hashed a few at a time; try again in a moment.
    #[error("too many passwords are being checked")]
    Busy,
    #[error("it cannot be found out who signs in: {0}")]
    Unavailable(#[from] ReadError),
}

/// A name for people, of whatever has one.
pub(crate) fn check_name(name: &str, chars_max: usize) -> Result<(), AccessError> {
    let fits = (1..=chars_max).contains(&name.chars().count());
    let is_readable = !name.contains(char::is_control) && !name.trim().is_empty();
    if fits && is_readable { Ok(()) } else { Err(AccessError::InvalidName { chars_max }) }
}
