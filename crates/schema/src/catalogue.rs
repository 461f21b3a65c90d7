//! Every version of every event, as `schemas/` has it.

use domain::event::Stream;

/// Of the records of all events.
pub const NAMESPACE: &str = "com.fintechplatform";

/// A version of an event.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub stream: Stream,
    pub event_type: &'static str,
    pub version: u16,
    /// The Avro schema, as it stands in its file.
    pub avro: &'static str,
    /// A record of it that the program once published, as it stands in its file: key, headers and value.
    pub example: &'static str,
}

impl Entry {
    /// `PaymentCreated.v2`: what its files are named after.
    pub fn name(&self) -> String {
        format!("{}.v{}", self.event_type, self.version)
    }

    /// What its JSON Schema is known by.
    pub fn urn(&self) -> String {
        urn(self.event_type, self.version)
    }
}

/// The name of an event's schema (RFC 8141), the same for JSON and Avro: the attribute `dataschema` of `CloudEvents`.
pub fn urn(event_type: &str, version: u16) -> String {
    format!("urn:fintechplatform:event:{event_type}:v{version}")
}

macro_rules! catalogue {
    ($($stream:ident $folder:literal $name:ident $version:literal;)+) => {
        /// In the order of their streams' first events, the versions of each in theirs.
        pub const CATALOGUE: &[Entry] = &[$(Entry {
            stream: Stream::$stream,
            event_type: stringify!($name),
            version: $version,
            avro: include_str!(concat!(
                "../../../schemas/", $folder, "/", stringify!($name), ".v", stringify!($version), ".avsc"
            )),
            example: include_str!(concat!(
                "../../../schemas/examples/", stringify!($name), ".v", stringify!($version), ".json"
            )),
        }),+];
    };
}

catalogue! {
    Merchants "merchant-events" MerchantCreated 1;
    Merchants "merchant-events" MerchantUpdated 1;
    Payments "payment-events" PaymentCreated 1;
    Payments "payment-events" PaymentCreated 2;
    Payments "payment-events" PaymentCompleted 1;
    Payments "payment-events" PaymentCancelled 1;
    Payments "payment-events" PaymentRefunded 1;
    Payments "payment-events" PaymentFlagged 1;
    Withdrawals "withdrawal-events" WithdrawalRequested 1;
    Withdrawals "withdrawal-events" WithdrawalProcessing 1;
    Withdrawals "withdrawal-events" WithdrawalCompleted 1;
    Withdrawals "withdrawal-events" WithdrawalFailed 1;
    Withdrawals "withdrawal-events" WithdrawalCancelled 1;
}

/// A version of an event, when there is one.
pub fn find(event_type: &str, version: u16) -> Option<&'static Entry> {
    CATALOGUE.iter().find(|entry| entry.event_type == event_type && entry.version == version)
}
