//! Every metric, once. `docs/metrics.md` is made of this file.

use prometheus_client::registry::Registry;

use super::{
    Answered, Build, Command, CommandName, Consumer, Counter, Counters, Currency, DeadLetter, Declared,
    Durations, DurationsOf, Event, Gauge, Gauges, GroupTopic, Handled, KindOf, Lane, LateGauge, Metric,
    Moment, Moments, Outcome, PaymentsOf, PlatformAccount, Reason, Route, Sizes, Stream, process, register,
    tasks,
};

macro_rules! catalogue {
    ($($group:literal { $($field:ident: $type:ty = $name:literal $(in $unit:literal)?, $help:literal;)* })*) => {
        /// The values of one process, which clones share.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            $($(pub $field: $type,)*)*
        }

        impl Metrics {
            pub(super) fn new() -> Self {
                let mut registry = Registry::default();
                $($(let $field = register(&mut registry, $name, catalogue!(@unit $($unit)?), $help);)*)*
                process::register(&mut registry);
                tasks::register(&mut registry);
                Self { registry, $($($field,)*)* }
            }

            pub(super) const fn registry(&self) -> &Registry {
                &self.registry
            }
        }

        /// In the order in which they are shown.
        pub const ALL: &[Metric] = &[$($(Metric {
            group: $group,
            name: $name,
            unit: catalogue!(@unit $($unit)?),
            kind: <$type as Declared>::KIND,
            labels: <$type as Declared>::LABELS,
            help: $help,
        },)*)*];
    };
    (@unit) => { None };
    (@unit $unit:literal) => { Some($unit) };
}

catalogue! {
    "API" {
        http_requests: Counters<Answered> = "fintech_http_requests",
            "Requests that were answered, of the API and the console, by the router's route";
        http_request_duration: DurationsOf<Route> = "fintech_http_request_duration" in "seconds",
            "From a request's head to its answer's, with the trace of one of them";
        http_requests_in_flight: Gauge = "fintech_http_requests_in_flight",
            "Requests that are being answered";
        access_refused: Counters<Reason> = "fintech_access_refused",
            "Requests that were refused for who asked: no_key, malformed, unknown, expired, revoked, not_yours, role, rate";
        requests_not_kept: Counter = "fintech_requests_not_kept",
            "Requests that the record of requests only counted";
    }
    "Commands and batches" {
        commands: Counters<Command> = "fintech_commands",
            "Commands that were decided, by what became of them: done, refused, replayed, failed";
        command_duration: DurationsOf<CommandName> = "fintech_command_duration" in "seconds",
            "From the queue to the durable answer, with the trace of one of them";
        commands_waiting: Gauge = "fintech_commands_waiting",
            "Commands in the queues of the writers";
        commands_waiting_max: Gauge = "fintech_commands_waiting_max",
            "How many may wait; one more is turned away";
        batches: Counters<Outcome> = "fintech_batches",
            "Transactions of the writers: committed, empty (nothing to write), failed, unknown (the answer to COMMIT was lost)";
        batch_commands: Sizes = "fintech_batch_commands",
            "Commands in a transaction";
        batch_duration: Durations = "fintech_batch_duration" in "seconds",
            "From locking the lanes to the end of COMMIT";
        idempotency: Counters<Outcome> = "fintech_idempotency_keys",
            "Commands with an idempotency key: first, replayed (the stored answer was given), reused (with another request, refused)";
    }
    "Ledger" {
        payments: Counters<PaymentsOf> = "fintech_payments",
            "Payments that entered a state, in this process";
        payments_volume: Counters<Currency> = "fintech_payments_completed_volume" in "minor_units",
            "Amounts of completed payments, in minor units of their currency";
        refunds_volume: Counters<Currency> = "fintech_refunds_volume" in "minor_units",
            "Refunded amounts, in minor units of their currency";
        withdrawals: Counters<PaymentsOf> = "fintech_withdrawals",
            "Withdrawals that entered a state, in this process";
        platform_balance: Gauges<PlatformAccount> = "fintech_platform_balance" in "minor_units",
            "Balances of the platform's own accounts over all lanes; of the whole platform";
        balances_looked_at: Moment = "fintech_balances_looked_at_timestamp" in "seconds",
            "When the balances were looked at";
    }
    "Events and lanes" {
        events: Counters<Event> = "fintech_events_committed",
            "Events that this process committed";
        lane_events: Counters<Lane> = "fintech_lane_events",
            "Events that this process committed, by lane";
    }
    "Relay" {
        relay_leads: Gauge = "fintech_relay_leads",
            "1 while this process publishes, 0 while it stands by";
        events_published: Counters<Stream> = "fintech_events_published",
            "Events that Kafka has acknowledged within a committed transaction";
        publish_duration: Durations = "fintech_publish_duration" in "seconds",
            "A Kafka transaction, from its first record to the acknowledged commit";
        publish_transactions: Counters<Outcome> = "fintech_publish_transactions",
            "Kafka transactions of the relay: committed, failed";
        events_unpublished: Gauges<Stream> = "fintech_events_unpublished",
            "Events of the log that are not known to be in Kafka yet; of the whole platform";
        oldest_unpublished: Moments<Stream> = "fintech_oldest_unpublished_event_timestamp" in "seconds",
            "When the oldest event occurred that is not published, the time of the look while there is none; of the whole platform";
    }
    "Consumers" {
        consumer_events: Counters<Handled> = "fintech_consumer_events",
            "Events of this process's consumers: handled, retried (its handling failed), dead (set aside), parked (waits behind a dead letter of its subject), foreign (not of the log)";
        consumer_duration: DurationsOf<Consumer> = "fintech_consumer_duration" in "seconds",
            "A consumer's transaction, effects and position together, with the trace of one of its events";
        consumer_lag_events: Gauges<Consumer> = "fintech_consumer_lag" in "events",
            "Events of the log that a consumer has not handled; of the whole platform";
        consumer_lag_seconds: Moments<Consumer> = "fintech_consumer_lag" in "seconds",
            "Age of the oldest event that a consumer has not handled, 0 while there is none; of the whole platform";
        consumer_paused: Gauges<Consumer> = "fintech_consumer_paused",
            "1 while somebody has paused it; of the whole platform";
        dead_letters: Counters<DeadLetter> = "fintech_dead_letters",
            "Dead letters that this process stored";
        dead_letters_open: Gauges<Consumer> = "fintech_dead_letters_open",
            "Dead letters that wait to be redriven or resolved; of the whole platform";
        dead_letters_redriven: Counters<Handled> = "fintech_dead_letters_redriven",
            "Redrives: handled, failed";
    }
    "Reconciliation" {
        reconciliation_breaks: Gauges<KindOf> = "fintech_reconciliation_breaks",
            "Breaks that the last complete run found; of the whole platform";
        reconciliation_runs: Counters<Outcome> = "fintech_reconciliation_runs",
            "Runs of this process: clean, broken, or failed to find out";
        reconciliation_events: Counter = "fintech_reconciliation_events",
            "Events of the log, rows and records that were looked at";
        reconciliation_last_run: Moment = "fintech_reconciliation_last_run_timestamp" in "seconds",
            "When the last complete run ended; of the whole platform";
        reconciliation_duration: Moment = "fintech_reconciliation_last_run_duration" in "seconds",
            "How long the last complete run of this process took";
    }
    "Database and Kafka client" {
        database_up: Gauge = "fintech_database_up",
            "1 when the last look at the database, every fifteen seconds, was answered";
        database_errors: Counters<KindOf> = "fintech_database_errors",
            "Times that the database was not there for: a write, a read of the API, an effect of a consumer, a look";
        database_look_duration: Durations = "fintech_database_look_duration" in "seconds",
            "The look itself";
        kafka_up: LateGauge = "fintech_kafka_up",
            "1 when a broker answered the last look, 0 when none did; absent without Kafka";
        kafka_client_errors: Counters<KindOf> = "fintech_kafka_client_errors",
            "Errors that the Kafka clients reported, of the relay (producer) and the consumers (consumer)";
    }
    "Names of the first platform" {
        payments_processed: Counters<PaymentsOf> = "payments_processed",
            "The same as fintech_payments_total";
        payment_processing_duration: Durations = "payment_processing_duration" in "seconds",
            "The same as fintech_command_duration_seconds, of commands about payments";
        dlq_messages: Counters<Consumer> = "dlq_messages",
            "The same as fintech_dead_letters_total, of all kinds";
        kafka_consumer_lag: Gauges<GroupTopic> = "kafka_consumer_lag",
            "Events of a topic that a consumer has not handled, of the whole platform; consumer_group is the consumer's name";
    }
    "Traces and log lines" {
        spans_exported: Counter = "fintech_spans_exported",
            "Spans that a collector took";
        spans_lost: Counter = "fintech_spans_lost",
            "Spans that no collector took";
        traces_not_kept: Counter = "fintech_traces_not_kept",
            "Traces that were not begun while more than half of the queue waited";
        log_lines_lost: Counter = "fintech_log_lines_lost",
            "Lines of the log that found the queue to standard output full, or could not be written";
    }
    "Process" {
        build_info: Gauges<Build> = "fintech_build_info",
            "1, with the version in its labels";
    }
}
