//! A form that changes something: its fields, what it must prove, and the way its command takes.

use axum::{
    body::{Body, to_bytes},
    extract::FromRequest,
    http::{Request, header},
    response::{IntoResponse, Redirect, Response},
};
use domain::{
    command::{Action, Command},
    id::{CommandId, MerchantId},
    state::Outcome,
};
use store::{
    audit::Actor,
    error::SubmitError,
    request::{Claim, Origin, Request as Submitted},
};
use subtle::ConstantTimeEq as _;
use telemetry::trace;
use uuid::Uuid;

use crate::{fault::Fault, guard::Viewer, state::Console};

const BODY_BYTES_MAX: usize = 64 * 1024;
/// Whose idempotency keys they are.
const CALLER: &str = "console";
const REASON_CHARS_MAX: usize = 500;

/// The fields of a form whose token was right.
pub struct Form {
    pairs: Vec<(String, String)>,
    pub viewer: Viewer,
}

impl<S: Send + Sync> FromRequest<S> for Form {
    type Rejection = Fault;

    async fn from_request(request: Request<Body>, _: &S) -> Result<Self, Fault> {
        let viewer = request.extensions().get::<Viewer>().cloned();
        let viewer = viewer.ok_or_else(|| Fault::internal("a form without a viewer"))?;
        let is_form = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
        if !is_form {
            return Err(Fault::bad_request("This is not a form."));
        }
        let body = to_bytes(request.into_body(), BODY_BYTES_MAX).await;
        let body = body.map_err(|_| Fault::bad_request("The form is too long, or was broken off."))?;
        let form = Self { pairs: form_urlencoded::parse(&body).into_owned().collect(), viewer };
        let sent = form.get("csrf").unwrap_or_default();
        if !sent.is_empty() && bool::from(sent.as_bytes().ct_eq(form.viewer.csrf.as_bytes())) {
            Ok(form)
        } else {
            Err(Fault::forbidden("The form is out of date: load its page again. Nothing was changed."))
        }
    }
}

impl Form {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.trim())
            .filter(|value| !value.is_empty())
    }

    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(n, v)| n == name && !v.is_empty()).map(|(_, value)| value.as_str())
    }

    /// A field that must be there.
    pub fn text(&self, name: &str, chars_max: usize) -> Result<&str, Fault> {
        let text = self
            .get(name)
            .ok_or_else(|| Fault::bad_request(format!("Fill in “{name}”. Nothing was changed.")))?;
        if text.chars().count() > chars_max || text.chars().any(|c| c.is_control() && c != '\n' && c != '\r')
        {
            return Err(Fault::bad_request(format!(
                "“{name}” is at most {chars_max} printable characters. Nothing was changed."
            )));
        }
        Ok(text)
    }

    /// Why, for the audit.
    pub fn reason(&self) -> Result<&str, Fault> {
        self.text("reason", REASON_CHARS_MAX)
    }

    pub fn actor(&self) -> Result<Actor, Fault> {
        Ok(Actor::new(self.viewer.name.clone(), self.reason()?).of_request(self.viewer.request_id.clone()))
    }

    /// Has a command carried out, once, however often the form is sent.
    pub async fn submit(
        &self,
        console: &Console,
        merchant_id: MerchantId,
        action: Action,
    ) -> Result<Outcome, Fault> {
        self.send(console, merchant_id, &merchant_id.to_string(), action).await
    }

    /// As [`Self::submit`], for a merchant that there is not yet.
    pub async fn submit_new(&self, console: &Console, action: Action) -> Result<Outcome, Fault> {
        self.send(console, MerchantId(Uuid::now_v7()), "", action).await
    }

    async fn send(
        &self,
        console: &Console,
        merchant_id: MerchantId,
        scope: &str,
        action: Action,
    ) -> Result<Outcome, Fault> {
        let once = self
            .get("once")
            .ok_or_else(|| Fault::bad_request("The form is not whole. Nothing was changed."))?;
        let fingerprint = self.fingerprint(&action);
        let claim = Claim::new(CALLER, scope, once, &fingerprint.each_ref().map(Vec::as_slice));
        let trace = trace::current().map(|scope| scope.trace);
        let command = Command { id: CommandId(trace::command_id()), merchant_id, action };
        let Viewer { name, request_id, .. } = &self.viewer;
        let origin = (!self.viewer.is_open()).then(|| Origin::new(name, request_id));
        let request = Submitted { command, claim: Some(claim), origin, trace };
        match console.store().submit(request).await {
            Ok(answer) => Ok(answer.outcome),
            Err(error) => Err(refused(&error)),
        }
    }

    /// What is asked for, so that a form that was gone back to and changed, or another one of the same page, is refused
    /// rather than taken for the one that was carried out.
    fn fingerprint(&self, action: &Action) -> [Vec<u8>; 2] {
        let fields = self.pairs.iter().filter(|(name, _)| name != "csrf");
        let fields: Vec<_> = fields.map(|(name, value)| (name.as_str(), value.as_str())).collect();
        [format!("{action:?}").into_bytes(), format!("{fields:?}").into_bytes()]
    }
}

fn refused(error: &SubmitError) -> Fault {
    use axum::http::StatusCode as S;
    match error {
        SubmitError::Refused(refusal) => Fault::new(
            S::CONFLICT,
            "Refused",
            // A sentence of the domain, with its stop.
            format!("{refusal} Nothing was changed."),
        ),
        SubmitError::KeyReused => Fault::new(
            S::CONFLICT,
            "Refused",
            "This form was used before, for something else: load its page again. Nothing was changed.",
        ),
        SubmitError::Busy | SubmitError::Unavailable => Fault::new(
            S::SERVICE_UNAVAILABLE,
            "Not now",
            "The database is not available. Nothing was changed; try again.",
        ),
        SubmitError::OutcomeUnknown => Fault::new(
            S::SERVICE_UNAVAILABLE,
            "Not known",
            "The database went away in the middle: it may or may not have been done. Send the same form again; it takes \
             effect once.",
        ),
        SubmitError::Broken => Fault::internal("a command met a broken invariant"),
    }
}

pub fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Back to a page that says what was done; `notice` is one of [`notice`]'s codes.
pub fn done(path: &str, notice: &str) -> Response {
    let sign = if path.contains('?') { '&' } else { '?' };
    Redirect::to(&format!("{path}{sign}notice={notice}")).into_response()
}

/// The sentence of a code, so that nothing from the address is shown as if it were ours.
pub fn notice(code: &str) -> Option<&'static str> {
    Some(match code {
        "created" => "Created.",
        "completed" => "Completed: the money is available.",
        "cancelled" => "Cancelled.",
        "refunded" => "Refunded.",
        "flagged" => "Flagged for review.",
        "processing" => "Approved: it is being paid out.",
        "paid" => "Paid out.",
        "failed" => "Failed: the money is available again.",
        "changed" => "Changed.",
        "reviewed" => "Approved: the payment is completed.",
        "declined" => "Declined: the payment is cancelled.",
        "redriven" => "Handled again.",
        "still-failing" => "It failed again and stays; the reason stands below.",
        "discarded" => "Discarded: it is kept, and never handled.",
        "paused" => "Paused.",
        "resumed" => "Resumed.",
        "revoked" => "Revoked: it is refused from now on, in other processes within five seconds.",
        "kept" => "Kept: it stands among the views of this list.",
        "forgotten" => "Forgotten.",
        "asked" => "Asked for: another operator has to approve it.",
        "approved" => "Approved, and done.",
        "refused" => "Refused: nothing was done.",
        "restarted" => "The position was set.",
        "begun" => "A run begins: look again in a moment.",
        _ => return None,
    })
}
