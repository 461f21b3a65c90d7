//! Consumers are looked at lane by lane, paused, let go on, and begun again elsewhere.

use super::{Visitor, led_to};
use crate::support::{eventually, on_both_backends, server::Server};

on_both_backends!(a_consumer_is_paused_and_goes_on, a_consumer_begins_again_where_it_is_told);

const LOGGED: &str = "Processing payment event";

fn row<'a>(page: &'a str, name: &str) -> &'a str {
    let begin = page.find(&format!("<td><a href=\"/consumers/{name}\">")).unwrap();
    let row = &page[begin..];
    &row[..row.find("</tr>").unwrap()]
}

fn handled(server: &Server) -> usize {
    server.log().matches(LOGGED).count()
}

fn pause(visitor: &Visitor) {
    let path = "/consumers/payment_log";
    let paused = led_to(&visitor.send(path, &format!("{path}/pause"), &[("reason", "a look at it")]));
    assert!(visitor.page(&paused).contains("Paused."));
}

fn a_consumer_is_paused_and_goes_on(server: &mut Server) {
    let visitor = Visitor::new(server);
    let path = "/consumers/payment_log";
    let merchant = server.merchant();
    server.completed_payment(&merchant, 100);
    eventually("no lag", || {
        row(&visitor.page("/consumers"), "payment_log").contains(">0</td>").then_some(())
    });
    assert!(row(&visitor.page("/consumers"), "payment_log").contains("running"));
    assert!(visitor.get("/consumers/nobody").expect(404).text.contains("there are payment_log"));
    visitor.post(&format!("{path}/pause"), &[("reason".to_owned(), "x".to_owned())]).expect(403);
    pause(&visitor);
    // A batch that had begun ends: what is paid until nothing is handled any more is not counted on.
    eventually("the pause", || {
        let before = handled(server);
        server.payment(&merchant, 100);
        let page = visitor.page(path);
        let is_behind = !page.contains("0 events");
        (is_behind && handled(server) == before).then_some(())
    });
    let page = visitor.page(path);
    assert!(
        page.contains("paused") && page.contains("open access") && page.contains("payment-events"),
        "{page}"
    );
    eventually("the lag in the list", || {
        let page = visitor.page("/consumers");
        let row = row(&page, "payment_log");
        (row.contains("paused") && !row.contains(">0</td>")).then_some(())
    });
    let resumed = led_to(&visitor.send(path, &format!("{path}/resume"), &[("reason", "seen")]));
    assert!(visitor.page(&resumed).contains("Resumed."));
    eventually("the rest", || visitor.page(path).contains("0 events").then_some(()));
    let audit = server
        .query("select action || ' ' || reason from audit_log where request_id is not null order by id");
    assert_eq!(audit, ["consumer.pause a look at it", "consumer.resume seen"]);
}

fn a_consumer_begins_again_where_it_is_told(server: &mut Server) {
    let visitor = Visitor::new(server);
    let (path, plan) = ("/consumers/payment_log", "/consumers/payment_log/restart?position=1");
    let merchant = server.merchant();
    for _ in 0..3 {
        server.payment(&merchant, 100);
    }
    eventually("three events", || (handled(server) == 3).then_some(()));
    eventually("the position", || {
        visitor.page(plan).contains("<b>3</b> events are handled again").then_some(())
    });
    assert!(visitor.page(plan).contains("pause it</a> first"), "it runs");
    let wrong = visitor.page("/consumers/payment_log/restart?lane=1&position=0");
    assert!(wrong.contains("<b>position</b> is a position, from 1"), "{wrong}");
    pause(&visitor);
    let fields = [("name", "payment_lag"), ("reason", "a gap in a report")];
    let refused = visitor.send(plan, &format!("{path}/restart"), &fields).expect(400);
    assert!(refused.text.contains("Type payment_log to restart it"), "{}", refused.text);
    let fields = [("name", "payment_log"), ("reason", "a gap in a report")];
    let done = led_to(&visitor.send(plan, &format!("{path}/restart"), &fields));
    assert!(visitor.page(&done).contains("The position was set."));
    assert_eq!(handled(server), 3, "it is paused");
    led_to(&visitor.send(path, &format!("{path}/resume"), &[("reason", "go")]));
    eventually("each once more", || (handled(server) == 6).then_some(()));
    let audit = server.query("select count(*) from audit_log where action = 'consumer.restart'");
    assert_eq!(audit, ["1"]);
}
