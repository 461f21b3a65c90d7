//! Runs over many dead letters, beside each other's processes.

use serde_json::json;

use super::{Visitor, led_to};
use crate::{
    dead_letters::{POISON, with_dead_letters},
    support::{backend::Kind, client::Client, eventually, server::Server},
};

/// Poisoned payments beside the first.
const FURTHER: usize = 60;
const LINK: &str = "<td><span class=\"id\"><a href=\"/dead-letters/";
const OPERATIONS: &str = "Console, metrics and probes on ";

/// Dead letters of one reason, whose consumer is mended; gives one of them, too.
fn mended(kind: Kind) -> (Server, String) {
    let (mut server, _) = with_dead_letters(None, kind);
    let merchant = server.merchant();
    let payment = json!({"amountInMinorUnits": 100, "currency": "USD", "description": POISON});
    for _ in 0..FURTHER {
        server.post(&format!("/api/merchants/{merchant}/payments"), &payment).expect(201);
    }
    let all = (FURTHER + 1).to_string();
    let of_probe = "select count(*) from dead_letters where state = 1 and kind = 1 and consumer = 'probe'";
    eventually("their dead letters", || (server.query(of_probe)[0] == all).then_some(()));
    server.set("FINTECH_FAIL", "");
    server.restart();
    let page = Visitor::new(&server).page("/dead-letters?consumer=probe&kind=poison");
    let id = super::between(&page, LINK, "\"").unwrap().to_owned();
    (server, id)
}

impl Visitor {
    /// Begins a run over all letters like one, at ten a second; gives its page.
    #[track_caller]
    fn run_over_all_like(&self, id: &str) -> String {
        let dry = format!("/dead-letters/bulk?action=redrive&like={id}");
        let number = (FURTHER + 1).to_string();
        let fields = [("number", number.as_str()), ("reason", "mended"), ("pace", "10")];
        led_to(&self.send(&dry, "/dead-letters/bulk", &fields))
    }
}

fn handled(server: &Server) -> usize {
    let sql = "select count(*) from dead_letters where state = 2 and kind = 1 and consumer = 'probe'";
    server.query(sql)[0].parse().unwrap()
}

/// Each letter of the run was ended once, and all of them.
#[track_caller]
fn each_was_redriven_once(server: &Server) {
    let lines = "select subject from audit_log where action = 'dead-letter.redrive' order by subject";
    let mut subjects = server.query(lines);
    let count = subjects.len();
    subjects.dedup();
    // With the one that was parked behind the first.
    assert_eq!((count, subjects.len()), (FURTHER + 2, FURTHER + 2));
    assert_eq!(handled(server), FURTHER + 1);
}

/// Failure mode: the process that works on a run is killed, and nobody knows of it or can go on.
#[test]
fn a_run_is_seen_by_every_process_and_goes_on_when_its_own_is_gone() {
    let (mut server, id) = mended(Kind::Postgres);
    let beside = server.beside("api");
    let log = beside.log();
    let url = log.lines().find_map(|line| line.strip_prefix(OPERATIONS)).unwrap();
    let other = Visitor { client: Client::new(url), cookie: String::new() };

    let run = Visitor::new(&server).run_over_all_like(&id);
    eventually("its progress, in another process", || {
        let answer = other.get(&run).expect(200);
        let is_seen = answer.text.contains("running") && answer.text.contains(">handled<");
        assert!(!answer.text.contains("Go on with it"));
        (is_seen && answer.header("refresh") == Some("2")).then_some(())
    });
    assert!(other.page("/dead-letters").contains(&run));
    // Of another reason, and meanwhile.
    let page = other.page("/dead-letters?consumer=probe&kind=parked");
    let parked = super::between(&page, LINK, "\"").unwrap();
    let dry = format!("/dead-letters/bulk?action=discard&id={parked}");
    let fields = [("number", "1"), ("reason", "the rest"), ("pace", "200")];
    let refused = other.send(&dry, "/dead-letters/bulk", &fields).expect(409);
    assert!(refused.text.contains("is under way: let it end first"), "{}", refused.text);

    server.kill();
    let before = handled(&server);
    assert!((1..=FURTHER).contains(&before), "{before} were handled");
    eventually("that it is known to be cut off", || {
        other.page(&run).contains("It was cut off").then_some(())
    });
    assert!(other.page("/dead-letters").contains("cut off"));
    assert_eq!(handled(&server), before, "nobody goes on by himself");

    let go_on = format!("{run}/go-on");
    other.send(&run, &go_on, &[]).expect(400);
    let led = led_to(&other.send(&run, &go_on, &[("reason", "its process was killed")]));
    assert_eq!(led, run);
    let ended = format!("{0} of {0}", FURTHER + 1);
    let page = eventually("the end of the run", || {
        let page = other.page(&run);
        (page.contains(&ended) && page.contains(">done<")).then_some(page)
    });
    assert!(!page.contains("not tried") && !page.contains(&go_on), "{page}");
    each_was_redriven_once(&server);
    let runs = server.query("select reason from audit_log where action = 'dead-letter.run' order by at");
    assert_eq!(runs, ["mended", "its process was killed"]);
    let by_id = format!("/search?q={}", run.rsplit('/').next().unwrap());
    assert_eq!(led_to(&other.get(&by_id)), run);
}

/// On one file there is one process at a time; what it left is known to the next.
#[test]
fn a_run_outlives_a_restart_on_sqlite() {
    let (mut server, id) = mended(Kind::Sqlite);
    let visitor = Visitor::new(&server);
    let run = visitor.run_over_all_like(&id);
    eventually("its begin", || (handled(&server) > 0).then_some(()));
    server.kill();
    server.restart();
    let visitor = Visitor::new(&server);
    let go_on = format!("{run}/go-on");
    eventually("that it is known to be cut off", || visitor.page(&run).contains(&go_on).then_some(()));
    led_to(&visitor.send(&run, &go_on, &[("reason", "a restart")]));
    eventually("the end of the run", || visitor.page(&run).contains(">done<").then_some(()));
    each_was_redriven_once(&server);
}
