//! The log as an operator sees it: what happened, in order, sealed; and the consumers that read it.

use serde_json::Value;

use crate::support::{eventually, on_both_backends, program::Ended, server::Server};

on_both_backends!(
    the_log_tells_a_payments_life,
    a_consumer_goes_on_where_it_was,
    an_altered_event_is_noticed,
    a_removed_event_is_noticed,
    a_poison_event_is_set_aside_with_what_follows_of_its_payment,
);

fn all_events(server: &Server) -> Vec<Value> {
    let Ended { code, stdout, stderr } = server.run(&["events", "tail", "--all"]);
    assert_eq!(code, Some(0), "{stderr}");
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn lines(server: &Server, sentence: &str) -> usize {
    server.log().lines().filter(|line| line.contains(sentence)).count()
}

/// Until the consumers have handled all there is.
fn caught_up(server: &Server) {
    eventually("consumers without lag", || {
        let Ended { stdout, .. } = server.run(&["consumers"]);
        let lags: Vec<&str> =
            stdout.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
        (lags.len() == 3 && lags.iter().all(|lag| *lag == "0")).then_some(())
    });
}

/// The contract's events and fields, one line of the consumer for each, and a log that verifies.
fn the_log_tells_a_payments_life(server: &mut Server) {
    let merchant = server.merchant();
    let payment = server.completed_payment(&merchant, 5000);
    server.post_empty(&format!("{payment}/refund")).expect(200);
    let events = all_events(server);
    let types: Vec<&str> = events.iter().map(|event| event["event"]["eventType"].as_str().unwrap()).collect();
    assert_eq!(types, ["MerchantCreated", "PaymentCreated", "PaymentCompleted", "PaymentRefunded"]);
    for (event, sequence) in events.iter().zip(1..) {
        assert_eq!(event["sequence"], sequence);
        assert_eq!(event["event"]["merchantId"], merchant.as_str());
        assert_eq!(event["lane"], events[0]["lane"]);
    }
    let (_, payment_id) = payment.rsplit_once('/').unwrap();
    let completed = &events[2]["event"];
    assert_eq!(completed["paymentId"], payment_id);
    assert_eq!(completed["amountInMinorUnits"], 5000);
    assert_eq!(completed["newBalanceInMinorUnits"], 5000);
    assert_eq!(completed["currency"], "USD");
    for member in ["eventId", "occurredAt", "ledgerEntryId", "completedAt"] {
        assert!(completed[member].is_string(), "{member} is missing in {completed}");
    }
    assert_eq!(events[3]["event"]["newBalanceInMinorUnits"], 0);

    let id = completed["eventId"].as_str().unwrap();
    let shown = server.run(&["events", "show", id]);
    assert_eq!(serde_json::from_str::<Value>(&shown.stdout).unwrap(), events[2]);
    let place = format!("payment-events/{}/2", events[2]["lane"]);
    assert_eq!(server.run(&["events", "show", &place]).stdout, shown.stdout);

    caught_up(server);
    assert_eq!(lines(server, "Processing payment event"), 3);
    let Ended { code, stdout, .. } = server.run(&["events", "verify"]);
    assert_eq!(code, Some(0));
    assert!(stdout.starts_with("4 events in 16 lanes"), "{stdout}");
}

/// A restart handles nothing twice.
fn a_consumer_goes_on_where_it_was(server: &mut Server) {
    let merchant = server.merchant();
    server.completed_payment(&merchant, 100);
    caught_up(server);
    server.restart();
    server.completed_payment(&merchant, 100);
    caught_up(server);
    assert_eq!(lines(server, "Processing payment event"), 4);
}

/// Failure mode 110.
fn an_altered_event_is_noticed(server: &mut Server) {
    let merchant = server.merchant();
    server.completed_payment(&merchant, 5000);
    server.alter(
        "update events set payload = replace(payload, '5000', '9000') where position = 2 and stream = 1",
    );
    let Ended { code, stdout, stderr } = server.run(&["events", "verify"]);
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.contains("position 2: the event is not the one that was sealed"), "{stdout}");
    assert!(stderr.contains("1 flaws"), "{stderr}");
}

/// Failure mode 110.
fn a_removed_event_is_noticed(server: &mut Server) {
    let merchant = server.merchant();
    server.completed_payment(&merchant, 5000);
    server.alter("delete from events where position = 1 and stream = 1");
    let Ended { code, stdout, .. } = server.run(&["events", "verify"]);
    assert_eq!(code, Some(1), "{stdout}");
    assert!(stdout.contains("is missing"), "{stdout}");
}

/// Failure modes 12 and 70: what cannot be read is kept verbatim, with the later events of the same
/// payment behind it; other payments go on.
fn a_poison_event_is_set_aside_with_what_follows_of_its_payment(server: &mut Server) {
    let merchant = server.merchant();
    server.completed_payment(&merchant, 1111);
    server.completed_payment(&merchant, 2222);
    caught_up(server);
    server.stop();
    server.alter("update events set payload = 'not an event' where stream = 1 and position = 1");
    server.alter("update consumer_positions set position = 0 where consumer = 'payment_log'");
    let before = lines(server, "Processing payment event");
    server.restart();
    let dead_letters = eventually("dead letters", || {
        let Ended { stdout, .. } = server.run(&["consumers"]);
        let line = stdout.lines().find(|line| line.starts_with("payment_log"))?.to_owned();
        let columns: Vec<&str> = line.split_whitespace().collect();
        (columns[1] == "0").then(|| columns[3].to_owned())
    });
    assert_eq!(dead_letters, "2");
    assert_eq!(lines(server, "Processing payment event") - before, 2);
    assert_eq!(lines(server, "becomes a dead letter"), 1);
    let listed = server.run(&["dead-letters", "list"]).stdout;
    let poison = listed.lines().find(|line| line.contains("poison")).unwrap();
    let shown = server.run(&["dead-letters", "show", poison.split_whitespace().next().unwrap()]).stdout;
    assert!(shown.contains("\"payload\": \"not an event\""), "verbatim: {shown}");
}
