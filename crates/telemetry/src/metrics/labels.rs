//! The labels of metrics. Values are constants, or numbers that settings limit.

use prometheus_client::encoding::EncodeLabelSet;

use super::Labels;

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
    Currency { currency: &'static str }
    PaymentsOf { status: &'static str, currency: &'static str }
    PlatformAccount { account: &'static str, currency: String }
    Consumer { consumer: &'static str }
    Handled { consumer: &'static str, outcome: &'static str }
    DeadLetter { consumer: &'static str, kind: &'static str }
    /// As the first platform named it.
    GroupTopic { consumer_group: &'static str, topic: &'static str }
    KindOf { kind: &'static str }
    Build { version: &'static str, rust_version: &'static str }
}
