//! Every version of every event, as `schemas/` has it.

use domain::event::Stream;

/// A version of an event.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub stream: Stream,
    pub event_type: &'static str,
    pub version: u16,
    /// The Avro schema, as it stands in its file.
    pub avro: &'static str,
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
