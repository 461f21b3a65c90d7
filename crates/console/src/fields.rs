//! The fields of a form that makes something, by the API's own rules; all that is wrong is told at once.

use std::borrow::Cow;

use api::text::{self, TextRule};
use domain::{
    bank::{BANK_NUMBER_CHARS_MAX, BANK_NUMBER_CHARS_MIN, BankNumber},
    currency::Currency,
    money::{AMOUNT_MINOR_MAX, AmountMinor},
};

use crate::{change::Form, fault::Fault};

/// Reads field after field; `None` where one was wrong, which [`Fields::finish`] tells.
pub struct Fields<'f> {
    form: &'f Form,
    wrong: Vec<String>,
}

impl<'f> Fields<'f> {
    pub const fn of(form: &'f Form) -> Self {
        Self { form, wrong: Vec::new() }
    }

    /// What was read of all fields; refuses the form when anything was wrong. No value is repeated: it may be a bank
    /// number.
    pub fn finish<T>(self, read: Option<T>) -> Result<T, Fault> {
        read.filter(|_| self.wrong.is_empty())
            .ok_or_else(|| Fault::bad_request(format!("{} Nothing was changed.", self.wrong.join(" "))))
    }

    pub fn text(&mut self, name: &str, rule: TextRule) -> Option<String> {
        let text = self.lines(name);
        self.keep(name, rule.check(&text).map(|()| text))
    }

    pub fn optional_text(&mut self, name: &str, rule: TextRule) -> Option<String> {
        self.form.get(name)?;
        self.text(name, rule)
    }

    pub fn email(&mut self, name: &str) -> Option<String> {
        let text = self.lines(name);
        self.keep(name, text::check_email(&text).map(|()| text))
    }

    /// Digits only: what a person may have meant by a sign, a point or an exponent is not guessed.
    pub fn amount(&mut self, name: &str) -> Option<AmountMinor> {
        let text = self.form.get(name).unwrap_or_default();
        let is_whole = text.bytes().all(|byte| byte.is_ascii_digit());
        let amount = text.parse().ok().filter(|_| is_whole).and_then(AmountMinor::new);
        let wanted = format!("Send a whole number of minor units from 1 to {AMOUNT_MINOR_MAX}.");
        self.keep(name, amount.ok_or(wanted))
    }

    pub fn currency(&mut self, name: &str) -> Option<Currency> {
        let currency = Currency::parse(&self.form.get(name).unwrap_or_default().to_uppercase());
        self.keep(name, currency.ok_or("Send a code of ISO 4217 such as USD."))
    }

    pub fn bank_number(&mut self, name: &str) -> Option<BankNumber> {
        let number = BankNumber::parse(self.form.get(name).unwrap_or_default());
        let wanted = format!("Send {BANK_NUMBER_CHARS_MIN} to {BANK_NUMBER_CHARS_MAX} letters and digits.");
        self.keep(name, number.ok_or(wanted))
    }

    /// A browser ends lines as HTTP does.
    fn lines(&self, name: &str) -> String {
        self.form.get(name).unwrap_or_default().replace("\r\n", "\n")
    }

    fn keep<T>(&mut self, name: &str, read: Result<T, impl Into<Cow<'static, str>>>) -> Option<T> {
        read.map_err(|wanted| self.wrong.push(format!("“{}”: {}", label(name), wanted.into()))).ok()
    }
}

/// As the field is called on the page.
fn label(name: &str) -> &str {
    match name {
        "name" => "Name",
        "email" => "Email",
        "amount" => "Amount in minor units",
        "currency" => "Currency",
        "reference" => "Reference",
        "description" => "Description",
        "account" => "Bank account number",
        "routing" => "Bank routing number",
        "external" => "The bank’s id of the transfer",
        "reason" => "Reason",
        other => other,
    }
}
