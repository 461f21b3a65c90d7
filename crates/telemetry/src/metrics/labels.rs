//! The labels of metrics. Values are constants, or numbers that settings limit.

use std::fmt::{Error, Write as _};

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

use super::Labels;

/// A currency by ISO 4217.
#[derive(Clone, Copy, Debug, Hash, PartialEq, Eq)]
pub struct Letters([u8; 3]);

impl Letters {
    /// Of three letters; `XXX`, which is no currency, of anything else.
    pub fn of(code: &str) -> Self {
        Self(code.as_bytes().try_into().unwrap_or(*b"XXX"))
    }
}

impl EncodeLabelValue for Letters {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), Error> {
        self.0.iter().try_for_each(|letter| encoder.write_char(char::from(*letter)))
    }
}

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty),* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
        pub struct $name {
            $(pub $field: $type),*
        }

        impl Labels for $name {
            const NAMES: &'static [&'static str] = &[$(stringify!($field)),*];
        }
    )*};
}

labels! {
    /// As the router has it, never the path itself.
    Route { method: &'static str, route: &'static str }
    Answered { method: &'static str, route: &'static str, status: u16 }
    Command { command: &'static str, outcome: &'static str }
    CommandName { command: &'static str }
    Outcome { outcome: &'static str }
    Reason { reason: &'static str }
    /// A stream of the log: payments, withdrawals or merchants.
    Stream { stream: &'static str }
    Event { event_type: &'static str }
    Lane { lane: u16 }
    Currency { currency: Letters }
    PaymentsOf { status: &'static str, currency: Letters }
    PlatformAccount { account: &'static str, currency: Letters }
    Consumer { consumer: &'static str }
    Handled { consumer: &'static str, outcome: &'static str }
    DeadLetter { consumer: &'static str, kind: &'static str }
    /// As the first platform named it.
    GroupTopic { consumer_group: &'static str, topic: &'static str }
    KindOf { kind: &'static str }
    /// A task that has a name.
    TaskOf { task: &'static str }
    Build { version: &'static str, revision: &'static str, rust_version: &'static str }
}
