//! Reads the fields of a body and collects *all* that is wrong with them, each under its JSON pointer.
//!
//! A sentence says what to send instead and never repeats what was sent: a bank number may stand in any
//! field by mistake.

use std::borrow::Cow;

use domain::{
    bank::{BANK_NUMBER_CHARS_MAX, BANK_NUMBER_CHARS_MIN, BankNumber},
    currency::Currency,
    money::{AMOUNT_MINOR_MAX, AmountMinor},
};

use crate::{
    json::{self, Node},
    problem::{FieldError, Problem},
    problem_kind::MALFORMED_BODY,
    suggest,
    text::{self, TextRule},
};

/// More wrong fields than this are counted, not listed.
const ERRORS_MAX: usize = 100;
/// Of a name that the sender made up.
const NAME_CHARS_MAX: usize = 64;

pub const CURRENCY_WANTED: &str =
    "Send a currency code of ISO 4217 that has a minor unit, such as USD, EUR or JPY.";

type Sentence = Cow<'static, str>;

/// What is wrong with a request so far.
#[derive(Default)]
pub struct Errors {
    listed: Vec<FieldError>,
    unlisted: usize,
}

impl Errors {
    pub fn at_pointer(&mut self, pointer: String, detail: impl Into<Sentence>) {
        self.push(FieldError { pointer: Some(pointer), parameter: None, detail: detail.into() });
    }

    pub fn at_parameter(&mut self, name: &str, detail: impl Into<Sentence>) {
        let name = name.chars().take(NAME_CHARS_MAX).collect();
        self.push(FieldError { pointer: None, parameter: Some(name), detail: detail.into() });
    }

    fn push(&mut self, error: FieldError) {
        if self.listed.len() < ERRORS_MAX {
            self.listed.push(error);
        } else {
            self.unlisted += 1;
        }
    }

    pub fn into_result(mut self) -> Result<(), Problem> {
        if self.listed.is_empty() {
            return Ok(());
        }
        if self.unlisted > 0 {
            let detail = format!("{} more fields are wrong.", self.unlisted);
            self.listed.push(FieldError {
                pointer: Some(String::new()),
                parameter: None,
                detail: detail.into(),
            });
        }
        Err(Problem::validation(self.listed))
    }
}

/// Reads a body that must be a JSON object. `read` gives `None` only when it has met a wrong field.
pub fn object<T>(body: &[u8], read: impl FnOnce(&mut Fields<'_, '_>) -> Option<T>) -> Result<T, Problem> {
    if body.is_empty() {
        return Err(Problem::new(MALFORMED_BODY, "The body is empty; send a JSON object."));
    }
    match json::parse(body)? {
        Node::Object(members) => members_of(&members, read),
        _ => Err(Problem::new(MALFORMED_BODY, "The body is JSON, but not an object; send {…}.")),
    }
}

/// As [`object`], but without a body all fields are absent.
pub fn optional_object<T>(
    body: &[u8],
    read: impl FnOnce(&mut Fields<'_, '_>) -> Option<T>,
) -> Result<T, Problem> {
    if body.is_empty() { members_of(&[], read) } else { object(body, read) }
}

/// For an operation that takes no body; an empty object does no harm.
pub fn nothing(body: &[u8]) -> Result<(), Problem> {
    optional_object(body, |_| Some(()))
}

fn members_of<T>(
    members: &[(Cow<'_, str>, Node<'_>)],
    read: impl FnOnce(&mut Fields<'_, '_>) -> Option<T>,
) -> Result<T, Problem> {
    let mut errors = Errors::default();
    let mut fields = Fields::new("", members, &mut errors);
    let value = read(&mut fields);
    fields.finish();
    errors.into_result()?;
    value.ok_or_else(|| Problem::internal("a body was refused without naming a field"))
}

/// The fields of one object, taken by name. What was not asked for is unknown.
pub struct Fields<'n, 'e> {
    /// The pointer to the object.
    prefix: &'e str,
    members: &'n [(Cow<'n, str>, Node<'n>)],
    known: Vec<&'static str>,
    errors: &'e mut Errors,
}

impl<'n, 'e> Fields<'n, 'e> {
    fn new(prefix: &'e str, members: &'n [(Cow<'n, str>, Node<'n>)], errors: &'e mut Errors) -> Self {
        Self { prefix, members, known: Vec::with_capacity(4), errors }
    }

    pub fn text(&mut self, name: &'static str, rule: TextRule) -> Option<String> {
        self.required(name, |node| text(node, rule))
    }

    pub fn optional_text(&mut self, name: &'static str, rule: TextRule) -> Option<String> {
        self.optional(name, |node| text(node, rule))
    }

    pub fn email(&mut self, name: &'static str) -> Option<String> {
        self.required(name, |node| {
            let text = as_text(node)?;
            text::check_email(text)?;
            Ok(text.to_owned())
        })
    }

    pub fn optional_flag(&mut self, name: &'static str) -> Option<bool> {
        self.optional(name, |node| match node {
            Node::Bool(flag) => Ok(*flag),
            _ => Err("Send true or false, without quotes.".into()),
        })
    }

    pub fn amount(&mut self, name: &'static str) -> Option<AmountMinor> {
        self.required(name, amount)
    }

    pub fn optional_amount(&mut self, name: &'static str) -> Option<AmountMinor> {
        self.optional(name, amount)
    }

    pub fn currency(&mut self, name: &'static str) -> Option<Currency> {
        self.required(name, |node| Currency::parse(as_text(node)?).ok_or_else(|| CURRENCY_WANTED.into()))
    }

    pub fn bank_number(&mut self, name: &'static str) -> Option<BankNumber> {
        self.required(name, |node| {
            BankNumber::parse(as_text(node)?).ok_or_else(|| {
                format!(
                    "Send {BANK_NUMBER_CHARS_MIN} to {BANK_NUMBER_CHARS_MAX} letters and digits; \
                     spaces and hyphens between them are ignored."
                )
                .into()
            })
        })
    }

    /// A list of objects, each read on its own.
    pub fn objects<T>(
        &mut self,
        name: &'static str,
        items_max: usize,
        read: impl Fn(&mut Fields<'_, '_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let nodes = self.required(name, |node| match node {
            Node::List(nodes) if (1..=items_max).contains(&nodes.len()) => Ok(nodes),
            Node::List(nodes) => {
                Err(format!("Send a list of 1 to {items_max} objects; this one has {}.", nodes.len()).into())
            }
            _ => Err(format!("Send a list of 1 to {items_max} objects.").into()),
        })?;
        let mut items = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.iter().enumerate() {
            let prefix = format!("{}/{name}/{index}", self.prefix);
            let Node::Object(members) = node else {
                self.errors.at_pointer(prefix, "Send an object.");
                continue;
            };
            let mut fields = Fields::new(&prefix, members, self.errors);
            items.extend(read(&mut fields));
            fields.finish();
        }
        // Fewer than there were: some of them are named in the errors.
        (items.len() == nodes.len()).then_some(items)
    }

    /// Says something about the object as a whole.
    pub fn refuse(&mut self, detail: &'static str) {
        self.errors.at_pointer(self.prefix.to_owned(), detail);
    }

    fn required<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'n Node<'n>) -> Result<T, Sentence>,
    ) -> Option<T> {
        let read = match self.find(name) {
            None => Err("This field is required.".into()),
            Some(Node::Null) => Err("This field is required and cannot be null.".into()),
            Some(node) => read(node),
        };
        self.keep(name, read)
    }

    /// `null` is the same as no field.
    fn optional<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&'n Node<'n>) -> Result<T, Sentence>,
    ) -> Option<T> {
        match self.find(name) {
            None | Some(Node::Null) => None,
            Some(node) => self.keep(name, read(node)),
        }
    }

    fn find(&mut self, name: &'static str) -> Option<&'n Node<'n>> {
        self.known.push(name);
        self.members.iter().find(|(member, _)| member == name).map(|(_, node)| node)
    }

    fn keep<T>(&mut self, name: &str, read: Result<T, Sentence>) -> Option<T> {
        read.map_err(|detail| self.errors.at_pointer(format!("{}/{name}", self.prefix), detail)).ok()
    }

    /// Refuses what was not asked for, and what stands twice.
    fn finish(self) {
        for (index, (name, _)) in self.members.iter().enumerate() {
            let detail: Sentence = if self.members[..index].iter().any(|(earlier, _)| earlier == name) {
                "This field stands in the object more than once.".into()
            } else if self.known.contains(&name.as_ref()) {
                continue;
            } else {
                unknown("field", name, &self.known).into()
            };
            self.errors.at_pointer(format!("{}/{}", self.prefix, escaped(name)), detail);
        }
    }
}

/// Says that a name is not known, and what may have been meant.
pub fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    match suggest::nearest(name, known) {
        Some(near) => format!("There is no such {what}; did you mean {near}?"),
        None if known.is_empty() => format!("There is no such {what} here: this takes none."),
        None => format!("There is no such {what}; there are {}.", known.join(", ")),
    }
}

/// A name as a segment of a JSON pointer (RFC 6901 §3), cut if it is very long.
fn escaped(name: &str) -> String {
    let cut: String = name.chars().take(NAME_CHARS_MAX).collect();
    cut.replace('~', "~0").replace('/', "~1")
}

fn as_text<'n>(node: &'n Node<'n>) -> Result<&'n str, Sentence> {
    match node {
        Node::Text(text) => Ok(text),
        Node::Null | Node::Bool(_) | Node::Int(_) | Node::Huge | Node::Fraction => {
            Err("Send a text in double quotes.".into())
        }
        Node::List(_) | Node::Object(_) => Err("Send a text, not a list or an object.".into()),
    }
}

fn text(node: &Node<'_>, rule: TextRule) -> Result<String, Sentence> {
    let text = as_text(node)?;
    rule.check(text)?;
    Ok(text.to_owned())
}

fn amount(node: &Node<'_>) -> Result<AmountMinor, Sentence> {
    let detail = match node {
        Node::Int(minor) => match AmountMinor::new(*minor) {
            Some(amount) => return Ok(amount),
            None if *minor < 1 => format!("Send at least 1 and at most {AMOUNT_MINOR_MAX} minor units."),
            None => format!("Send at most {AMOUNT_MINOR_MAX} minor units."),
        },
        Node::Huge => {
            format!("Send a whole number of at least 1 and at most {AMOUNT_MINOR_MAX} minor units.")
        }
        Node::Fraction => "Send a whole number of minor units, without a decimal point or an exponent: 5000 \
                           rather than 50.00 USD."
            .to_owned(),
        Node::Text(_) => "Send a whole number without quotes.".to_owned(),
        Node::Null | Node::Bool(_) | Node::List(_) | Node::Object(_) => {
            "Send a whole number of minor units, such as 5000 for 50.00 USD.".to_owned()
        }
    };
    Err(detail.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pointer and the sentence of each wrong field.
    type Wrong = Vec<(String, String)>;

    fn read(body: &str) -> Result<(AmountMinor, Option<Currency>), Wrong> {
        object(body.as_bytes(), |fields| {
            let amount = fields.amount("amountInMinorUnits");
            let currency = fields.currency("currency");
            fields.optional_text("description", text::DESCRIPTION);
            Some((amount?, currency))
        })
        .map_err(|problem| pointers(&problem))
    }

    fn pointers(problem: &Problem) -> Wrong {
        let body: serde_json::Value = serde_json::from_slice(&problem.body("/", "id")).unwrap();
        let errors = body["errors"].as_array().cloned().unwrap_or_default();
        let member = |error: &serde_json::Value, name: &str| error[name].as_str().unwrap().to_owned();
        errors.iter().map(|error| (member(error, "pointer"), member(error, "detail"))).collect()
    }

    #[test]
    fn every_wrong_field_is_named_at_once() {
        let errors = read(r#"{"amountInMinorUnits": 1.5, "curency": "USD", "description": 7, "x/y": 1}"#);
        let errors = errors.unwrap_err();
        let found: Vec<&str> = errors.iter().map(|(pointer, _)| pointer.as_str()).collect();
        assert_eq!(found, ["/amountInMinorUnits", "/currency", "/description", "/curency", "/x~1y"]);
        assert!(errors[3].1.contains("currency"), "{}", errors[3].1);
    }

    #[test]
    fn amounts_are_whole_numbers_that_json_carries_exactly() {
        let bad = [
            "0",
            "-1",
            "1.0",
            "1e3",
            "9007199254740992",
            "9223372036854775808",
            "1e400",
            "\"5\"",
            "null",
            "true",
            "[]",
            "{}",
            "99999999999999999999999999",
        ];
        for amount in bad {
            let body = format!(r#"{{"amountInMinorUnits": {amount}, "currency": "USD"}}"#);
            assert!(read(&body).is_err(), "{amount}");
        }
        let (amount, currency) =
            read(r#"{"amountInMinorUnits": 9007199254740991, "currency": "usd", "description": null}"#)
                .unwrap();
        assert_eq!(amount.get(), AMOUNT_MINOR_MAX);
        assert_eq!(currency, Currency::parse("USD"));
    }

    #[test]
    fn a_name_that_stands_twice_is_refused() {
        let errors = read(r#"{"amountInMinorUnits": 1, "amountInMinorUnits": 2, "currency": "USD"}"#);
        assert_eq!(errors.unwrap_err()[0].0, "/amountInMinorUnits");
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        for body in ["", "[]", "5", "null", "\"{}\"", "{", "{\"a\": tru}"] {
            assert!(object(body.as_bytes(), |_| Some(())).is_err(), "{body}");
        }
        assert!(nothing(b"").is_ok());
        assert!(nothing(b"{}").is_ok());
        assert!(nothing(b"{\"reason\": 1}").is_err());
    }

    #[test]
    fn pointers_lead_into_lists_and_long_lists_of_errors_are_cut() {
        let items = vec!["{}"; 200].join(",");
        let result = object(format!("{{\"payments\": [{items}, 3]}}").as_bytes(), |fields| {
            fields.objects("payments", 1000, |payment| payment.currency("currency"))
        });
        let errors = pointers(&result.unwrap_err());
        assert_eq!(errors[3].0, "/payments/3/currency");
        assert_eq!(errors.len(), ERRORS_MAX + 1);
        assert!(errors[ERRORS_MAX].1.starts_with("101 more"), "{}", errors[ERRORS_MAX].1);
    }

    #[test]
    fn a_bank_number_is_never_repeated() {
        let canary = "CANARY;123456789";
        let body = format!(r#"{{"bankAccountNumber": "{canary}", "note": "{canary}"}}"#);
        let result = object(body.as_bytes(), |fields| fields.bank_number("bankAccountNumber"));
        let problem = result.unwrap_err();
        assert!(!format!("{problem:?}").contains("CANARY"));
        assert!(!String::from_utf8_lossy(&problem.body("/", "id")).contains("CANARY"));
    }
}
