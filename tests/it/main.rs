//! Black-box tests: the real program, over HTTP, on both databases.

// Everything here is a test, helpers included: an unwrap that fails is a test that fails.
#![allow(clippy::unwrap_used)]

mod support;

mod access;
mod access_commands;
mod bad_input;
mod bench;
mod command_origins;
mod concurrency;
mod console_access;
mod console_browser;
mod console_events;
mod console_money;
mod console_proof;
mod console_requests;
mod console_search;
mod consumer_controls;
mod crash;
mod dead_letters;
mod documents;
mod e2e_seed_session;
mod event_log;
mod event_stream;
mod event_versions;
mod faults;
mod guide;
mod health;
mod idempotency;
mod kafka_avro;
mod kafka_cluster;
mod kafka_consumers;
mod kafka_relay;
mod limits;
mod lists;
mod metrics;
mod migrations;
mod profiles;
mod reconcile;
mod reconcile_runs;
mod reconcile_topics;
mod release;
mod restore;
mod schema_registry;
mod schemas_command;
mod settings;
mod shutdown;
mod tls;
mod traces;
mod watchers;
mod withdrawals;
