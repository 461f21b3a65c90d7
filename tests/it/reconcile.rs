//! `fintech reconcile` names what somebody else did to the tables or the log, and nothing where nobody did.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::{
    kafka_relay::pay,
    support::{
        backend::Kind, eventually, fixtures::new_withdrawal, on_both_backends, program::Ended, server::Server,
    },
};

on_both_backends!(
    a_clean_system_has_no_breaks,
    every_corruption_is_named,
    payments_that_go_on_meanwhile_are_no_breaks,
    what_cannot_be_found_out_is_told_apart,
);

/// Some of everything.
pub fn live(server: &Server) -> String {
    let merchant = server.merchant();
    let payment = server.completed_payment(&merchant, 5000);
    server.post_empty(&format!("{payment}/refund")).expect(200);
    for _ in 0..3 {
        server.completed_payment(&merchant, 7000);
    }
    let once = new_withdrawal(1000);
    let withdrawals = format!("/api/merchants/{merchant}/withdrawals");
    for _ in 0..2 {
        server.post_with_key(&withdrawals, &format!("of-{merchant}"), &once).expect(201);
    }
    let cancelled = server.withdrawal(&merchant, 500);
    server.post_empty(&format!("{cancelled}/cancel")).expect(200);
    merchant
}

fn a_clean_system_has_no_breaks(server: &mut Server) {
    live(server);
    live(server);
    let Ended { code, stdout, stderr } = server.run(&["reconcile"]);
    assert_eq!(code, Some(0), "{stdout}{stderr}");
    assert!(stdout.contains("nothing is missing, nothing is doubled, nothing was altered"), "{stdout}");
    assert!(stdout.contains("16 lanes"), "{stdout}");
}

/// What is being written while it is read is not wrong. Failure mode 109.
fn payments_that_go_on_meanwhile_are_no_breaks(server: &mut Server) {
    let merchants: Vec<String> = (0..4).map(|_| live(server)).collect();
    let done = AtomicBool::new(false);
    let server = &*server;
    std::thread::scope(|scope| {
        let payer = scope.spawn(|| pay(server, &merchants, &done));
        let refunder = scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                live(server);
            }
        });
        for _ in 0..10 {
            let Ended { code, stdout, stderr } = server.run(&["reconcile"]);
            assert_eq!(code, Some(0), "{stdout}{stderr}");
        }
        done.store(true, Ordering::Release);
        assert!(payer.join().unwrap() > 0);
        refunder.join().unwrap();
    });
}

fn what_cannot_be_found_out_is_told_apart(server: &mut Server) {
    live(server);
    server.alter("alter table accounts rename to accounts_away");
    let Ended { code, stdout, .. } = server.run(&["reconcile"]);
    assert_eq!(code, Some(2), "{stdout}");
    server.alter("alter table accounts_away rename to accounts");
    assert_eq!(server.run(&["reconcile"]).code, Some(0));
}

/// What is done, how it is undone, and what must be said of it.
struct Corruption {
    done: String,
    undone: String,
    kind: &'static str,
    table: &'static str,
}

/// Another value in one column of one row.
fn change(table: &'static str, column: &str, value: &str, which: &str, kind: &'static str) -> Corruption {
    Corruption {
        done: format!(
            "create table kept as select * from {table} where {which}; \
             update {table} set {column} = {value} where {which}"
        ),
        undone: format!(
            "update {table} set {column} = (select {column} from kept) where {which}; drop table kept"
        ),
        kind,
        table,
    }
}

fn delete(table: &'static str, which: &str) -> Corruption {
    Corruption {
        done: format!(
            "create table kept as select * from {table} where {which}; delete from {table} where {which}"
        ),
        undone: format!("insert into {table} select * from kept; drop table kept"),
        kind: "missing",
        table,
    }
}

/// A copy of a row with some columns changed, for a table whose rows have an `id`.
fn copy(table: &'static str, set: &str, which: &str, kind: &'static str) -> Corruption {
    let other = if table == "ledger_entries" { "number > 90" } else { "id in (select id from kept)" };
    Corruption {
        done: format!(
            "create table kept as select * from {table} where {which}; update kept set {set}; \
             insert into {table} select * from kept"
        ),
        undone: format!("delete from {table} where {other}; drop table kept"),
        kind,
        table,
    }
}

// One of each, whichever it is: the database itself says which is the first.

const A_MERCHANT: &str = "(select id from merchants limit 1)";
const OTHER_ID: &str = "(select event_id from events order by sequence limit 1)";

fn of_rows(new_number: &str) -> Vec<Corruption> {
    let payment = "id = (select subject_id from events where event_type = 'PaymentRefunded')";
    let withdrawal = "id = (select subject_id from events where event_type = 'WithdrawalCancelled')";
    vec![
        change("payments", "amount", "amount + 1", payment, "altered"),
        change("payments", "status", "1", payment, "altered"),
        change("payments", "status", "9", payment, "altered"),
        change("payments", "refunded", "0", payment, "altered"),
        delete("payments", payment),
        copy("payments", &format!("{new_number}id = {OTHER_ID}"), payment, "foreign"),
        change("merchants", "name", "'Mallory'", "true", "altered"),
        delete("merchants", "true"),
        change("withdrawals", "status", "3", withdrawal, "altered"),
        delete("withdrawals", withdrawal),
    ]
}

fn of_the_ledger(new_number: &str) -> Vec<Corruption> {
    let account = "kind = 1";
    let entry = "kind = 1 and number = 2";
    let last_entry = "kind = 1 and number = (select max(number) from ledger_entries where kind = 1)";
    vec![
        change("accounts", "balance", "balance + 1", account, "drifted balance"),
        change("accounts", "entries", "entries + 1", account, "altered"),
        delete("accounts", account),
        change("ledger_entries", "amount", "amount + 1", entry, "unbalanced transaction"),
        change("ledger_entries", "amount", "amount + 1", entry, "altered"),
        change("ledger_entries", "balance_after", "balance_after + 1", entry, "drifted balance"),
        Corruption {
            done: format!("update ledger_entries set number = number + 50 where {last_entry}"),
            undone: "update ledger_entries set number = number - 50 where number > 50".to_owned(),
            kind: "missing",
            table: "ledger_entries",
        },
        change("ledger_entries", "entry_type", "99", last_entry, "altered"),
        change("accounts", "currency", "'???'", account, "altered"),
        delete("ledger_entries", last_entry),
        delete("ledger_entries", entry),
        copy("ledger_entries", &format!("{new_number}number = number + 90"), last_entry, "duplicate"),
        copy(
            "ledger_entries",
            &format!(
                "{new_number}number = number + 90, created_at = created_at + 3600000000, \
                 transaction_id = {A_MERCHANT}"
            ),
            last_entry,
            "foreign",
        ),
        copy(
            "ledger_entries",
            &format!("{new_number}number = number + 90, id = {OTHER_ID}, transaction_id = {OTHER_ID}"),
            last_entry,
            "foreign",
        ),
        // Dated after the watermark: neither an event that is not there nor an old one excuses it.
        copy(
            "ledger_entries",
            &format!(
                "{new_number}number = number + 90, created_at = created_at + 3600000000, id = {OTHER_ID}"
            ),
            last_entry,
            "foreign",
        ),
        Corruption {
            done: format!(
                "update ledger_entries set created_at = created_at + 3600000000 where {last_entry}"
            ),
            undone: format!(
                "update ledger_entries set created_at = created_at - 3600000000 where {last_entry}"
            ),
            kind: "missing",
            table: "ledger_entries",
        },
    ]
}

fn of_the_log() -> Vec<Corruption> {
    let event = "stream = 1 and position = 2";
    vec![
        change("events", "payload", "replace(payload, '5000', '9000')", event, "altered"),
        change("events", "payload", "'{}'", event, "altered"),
        change("events", "event_type", "'PaymentCancelled'", event, "altered"),
        change("events", "version", "99", event, "altered"),
        change("events", "event_id", A_MERCHANT, event, "altered"),
        change("events", "merchant_id", OTHER_ID, event, "altered"),
        change("events", "subject_id", OTHER_ID, event, "altered"),
        change("events", "occurred_at", "occurred_at + 60000000", event, "out of order"),
        delete("events", event),
        change(
            "consumer_positions",
            "position",
            "position + 50",
            "consumer = 'payment_log' and stream = 1 and position > 0",
            "altered",
        ),
        Corruption {
            done: "insert into relay_cursors (stream, lane, position, kafka_offset, updated_at) \
                   values (1, 99, 5, 5, 0)"
                .to_owned(),
            undone: "delete from relay_cursors".to_owned(),
            kind: "foreign",
            table: "relay_cursors",
        },
        change("lane_heads", "sequence", "sequence + 1", "sequence > 0", "missing"),
        Corruption {
            done: format!("update events set stream = 9 where {event}"),
            undone: "update events set stream = 1 where stream = 9".to_owned(),
            kind: "altered",
            table: "events",
        },
        change("idempotency_keys", "sequence", "sequence + 500", "true", "altered"),
        change("idempotency_keys", "subject_id", OTHER_ID, "true", "altered"),
        change("idempotency_keys", "subject_kind", "9", "true", "altered"),
    ]
}

/// Failure mode 110.
fn every_corruption_is_named(server: &mut Server) {
    live(server);
    eventually("the consumers", || {
        let handled = "select sum(position) from consumer_positions where consumer = 'payment_log'";
        (server.query(handled) == server.query("select count(*) from events where stream = 1")).then_some(())
    });
    // The number by which SQLite keeps its rows, and which is made for a new row.
    let new_number = if server.kind() == Kind::Sqlite { "no = null, " } else { "" };
    let corruptions = of_rows(new_number).into_iter().chain(of_the_ledger(new_number)).chain(of_the_log());
    for Corruption { done, undone, kind, table } in corruptions {
        server.alter(&done);
        let Ended { code, stdout, stderr } = server.run(&["reconcile"]);
        assert_eq!(code, Some(1), "{done}\n{stdout}{stderr}");
        let wanted = format!("{kind}: {table} ");
        assert!(stdout.lines().any(|line| line.starts_with(&wanted)), "{done}\nwanted: {wanted}\n{stdout}");
        server.alter(&undone);
        let Ended { code, stdout, .. } = server.run(&["reconcile"]);
        assert_eq!(code, Some(0), "after {undone}\n{stdout}");
    }
}
