//! What goes into the writer and what comes back.

use domain::{command::Command, state::Outcome};
use sha2::{Digest, Sha256};
use telemetry::trace::TraceContext;
use uuid::Uuid;

use crate::fault::{self, Fault};

/// A command, the claim that makes repeating it safe, and who asks for it.
#[derive(Clone, Debug)]
pub struct Request {
    pub command: Command,
    pub claim: Option<Claim>,
    /// `None`: nobody who could be named, as with open access. The log then says all that is known.
    pub origin: Option<Origin>,
    /// What its events are part of; `None`: of their command alone.
    pub trace: Option<TraceContext>,
}

/// Who asks for a command, and under which id of a request. It is kept with the events of a command that takes
/// effect; see [`crate::origins`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    actor: String,
    request_id: String,
}

/// Such as `key fk_live_ab12` or `operator anna`.
pub const ORIGIN_ACTOR_CHARS_MAX: usize = 100;
pub const ORIGIN_REQUEST_ID_CHARS_MAX: usize = 128;

impl Origin {
    /// What is longer than the limits is cut off: a name that is too long is no reason not to pay.
    pub fn new(actor: &str, request_id: &str) -> Self {
        let first = |text: &str, chars_max| text.chars().take(chars_max).collect();
        Self {
            actor: first(actor, ORIGIN_ACTOR_CHARS_MAX),
            request_id: first(request_id, ORIGIN_REQUEST_ID_CHARS_MAX),
        }
    }

    pub fn actor(&self) -> &str {
        &self.actor
    }

    pub fn request_id(&self) -> &str {
        &self.request_id
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub outcome: Outcome,
    /// The outcome is the one of an earlier request with the same idempotency key.
    pub replayed: bool,
}

/// A claim on an idempotency key: the first request with it takes effect, an equal one gets the same
/// answer, another one with the same key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// 128 bits of SHA-256 over scope and key.
    pub key_hash: Uuid,
    /// 128 bits of SHA-256 over method, path and body.
    pub fingerprint: Uuid,
}

/// An idempotency key has at most this many characters (IETF draft, Idempotency-Key).
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = 255;

impl Claim {
    /// `caller` and `merchant` are the scope: the same key of another caller or merchant is another
    /// key. `merchant` is empty for a request that concerns no merchant yet.
    pub fn new(caller: &str, merchant: &str, key: &str, request: &[&[u8]]) -> Self {
        let merchant = if fault::is_on(Fault::ForgetIdempotencyScope) { "" } else { merchant };
        let scope = [caller.as_bytes(), merchant.as_bytes(), key.as_bytes()];
        Self { key_hash: hash(&scope), fingerprint: hash(request) }
    }
}

/// Each part is preceded by its length, so that no two lists of parts have the same bytes.
fn hash(parts: &[&[u8]]) -> Uuid {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_be_bytes());
        hasher.update(part);
    }
    let digest: [u8; 32] = hasher.finalize().into();
    let (half, _) = digest.split_at(16);
    Uuid::from_slice(half).expect("half of a SHA-256 has sixteen bytes")
}
