//! The types of the domain in the OpenAPI document.

use domain::{
    bank::{BANK_NUMBER_CHARS_MAX, BANK_NUMBER_CHARS_MIN},
    ledger::{AccountKind, EntryType},
    money::AMOUNT_MINOR_MAX,
    payment::{CompletedBy, PaymentStatus},
    withdrawal::WithdrawalStatus,
};
use utoipa::openapi::{
    KnownFormat, Object, ObjectBuilder, SchemaFormat,
    schema::{SchemaType, Type},
};

pub fn id() -> Object {
    text().format(Some(SchemaFormat::KnownFormat(KnownFormat::Uuid))).build()
}

pub fn optional_id() -> Object {
    ObjectBuilder::from(id()).schema_type(SchemaType::from_iter([Type::String, Type::Null])).build()
}

pub fn moment() -> Object {
    text()
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .description(Some("RFC 3339 in UTC, with microseconds"))
        .examples(["2026-11-23T12:00:00.000000Z"])
        .build()
}

/// `null` until it has happened.
pub fn optional_moment() -> Object {
    ObjectBuilder::from(moment()).schema_type(SchemaType::from_iter([Type::String, Type::Null])).build()
}

pub fn currency() -> Object {
    text()
        .pattern(Some("^[A-Za-z]{3}$"))
        .description(Some("A code of ISO 4217 that has a minor unit"))
        .examples(["USD"])
        .build()
}

/// `null` when there is nothing to speak of.
pub fn optional_currency() -> Object {
    ObjectBuilder::from(currency()).schema_type(SchemaType::from_iter([Type::String, Type::Null])).build()
}

/// What one payment, refund or withdrawal may move.
pub fn amount_minor() -> Object {
    integer()
        .minimum(Some(1))
        .maximum(Some(AMOUNT_MINOR_MAX))
        .description(Some("In minor units: 5000 is 50.00 USD, 5000 JPY or 5.000 KWD"))
        .examples([5000])
        .build()
}

/// A balance, a sum or an entry: any 64-bit integer.
pub fn minor() -> Object {
    integer().description(Some("In minor units")).build()
}

pub fn decimal() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Number)
        .description(Some("An exact decimal in major units, with as many digits as the currency has"))
        .build()
}

pub fn percentage() -> Object {
    ObjectBuilder::new()
        .schema_type(Type::Number)
        .minimum(Some(0))
        .maximum(Some(100))
        .description(Some("With at most two decimals"))
        .build()
}

pub fn date() -> Object {
    text().format(Some(SchemaFormat::KnownFormat(KnownFormat::Date))).examples(["2026-11-23"]).build()
}

pub fn bank_number() -> Object {
    text()
        .pattern(Some(format!("^[A-Za-z0-9 -]{{{BANK_NUMBER_CHARS_MIN},}}$")))
        .description(Some(format!(
            "{BANK_NUMBER_CHARS_MIN} to {BANK_NUMBER_CHARS_MAX} letters and digits; spaces and hyphens between \
             them are ignored. Answers show the last four only."
        )))
        .build()
}

pub fn payment_status() -> Object {
    names(PaymentStatus::ALL.iter().map(|status| status.name()))
}

pub fn withdrawal_status() -> Object {
    names(WithdrawalStatus::ALL.iter().map(|status| status.name()))
}

/// `null` until it is completed.
pub fn completed_by() -> Object {
    let names = CompletedBy::ALL.iter().map(|by| Some(by.name())).chain([None]);
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .enum_values(Some(names))
        .build()
}

pub fn entry_type() -> Object {
    names(EntryType::ALL.iter().map(|entry_type| entry_type.name()))
}

/// The accounts that a merchant owns.
pub fn account() -> Object {
    names([AccountKind::Available, AccountKind::Pending].iter().map(|kind| kind.name()))
}

fn names(names: impl Iterator<Item = &'static str>) -> Object {
    text().enum_values(Some(names)).build()
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn integer() -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int64)))
}
