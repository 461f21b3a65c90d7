//! SIGKILL in the middle of writing: what was acknowledged is there, what was not is whole or absent.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{
    client::{Client, Content},
    on_both_backends,
    server::Server,
};

on_both_backends!(twenty_kills_lose_and_double_nothing, money_and_balance_agree_after_kills);

const KILLS: usize = 20;
const WRITERS: usize = 8;
const ACKNOWLEDGED_A_ROUND: usize = 40;

/// One thread's share of a round: the keys that were acknowledged with their payments, and the key whose
/// answer never came.
#[derive(Default)]
struct Sent {
    acknowledged: Vec<(String, String)>,
    unanswered: Option<String>,
}

/// Failure modes 1, 2, 85, 86 and 107: each key that was ever sent stands for exactly one payment in the end.
fn twenty_kills_lose_and_double_nothing(server: &mut Server) {
    let merchant = server.merchant();
    let path = format!("/api/merchants/{merchant}/payments");
    let mut keys = BTreeSet::new();
    for round in 0..KILLS {
        let all_sent = load_until_killed(server, &path, round);
        server.restart();
        for sent in all_sent {
            for (key, payment) in sent.acknowledged {
                let found = server.get(&format!("{path}/{payment}")).expect(200);
                assert_eq!(found.json["externalReference"], key.as_str());
                keys.insert(key);
            }
            if let Some(key) = sent.unanswered {
                server.post_with_key(&path, &key, &new_payment(&key)).expect(201);
                keys.insert(key);
            }
        }
    }
    let stored = server.all_pages(&format!("{path}?limit=100"));
    let references: Vec<&str> =
        stored.iter().map(|payment| payment["externalReference"].as_str().unwrap()).collect();
    assert_eq!(references.len(), keys.len(), "no payment twice");
    assert_eq!(references.into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), keys);
    server.verify_log();
}

fn new_payment(key: &str) -> Value {
    json!({"amountInMinorUnits": 100, "currency": "USD", "externalReference": key})
}

fn load_until_killed(server: &mut Server, path: &str, round: usize) -> Vec<Sent> {
    let client: Client = (*server).clone();
    let (acknowledge, acknowledged) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (client, acknowledge) = (client.clone(), acknowledge.clone());
                scope.spawn(move || {
                    let mut sent = Sent::default();
                    for number in 0.. {
                        let key = format!("{round}-{writer}-{number}");
                        let body = new_payment(&key);
                        let headers = [("Idempotency-Key", key.as_str())];
                        let Ok(answer) = client.try_send("POST", path, &headers, &Content::Json(&body))
                        else {
                            sent.unanswered = Some(key);
                            break;
                        };
                        let id = answer.expect(201).id();
                        sent.acknowledged.push((key, id));
                        acknowledge.send(()).unwrap();
                    }
                    sent
                })
            })
            .collect();
        for _ in 0..ACKNOWLEDGED_A_ROUND {
            acknowledged.recv().unwrap();
        }
        server.kill();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    })
}

/// Failure modes 91 and 99: a payment is completed and its money is booked, or neither.
fn money_and_balance_agree_after_kills(server: &mut Server) {
    let merchant = server.merchant();
    let path = format!("/api/merchants/{merchant}/payments");
    for _ in 0..3 {
        let client: Client = (*server).clone();
        let (acknowledge, acknowledged) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            for _ in 0..WRITERS {
                let (client, path, acknowledge) = (client.clone(), path.as_str(), acknowledge.clone());
                scope.spawn(move || {
                    let payment = json!({"amountInMinorUnits": 100, "currency": "USD"});
                    while let Ok(created) = client.try_send("POST", path, &[], &Content::Json(&payment)) {
                        let complete = format!("{path}/{}/complete", created.expect(201).id());
                        if client.try_send("POST", &complete, &[], &Content::Nothing).is_err() {
                            break;
                        }
                        acknowledge.send(()).unwrap();
                    }
                });
            }
            for _ in 0..ACKNOWLEDGED_A_ROUND {
                acknowledged.recv().unwrap();
            }
            server.kill();
        });
        server.restart();
        let completed = server.all_pages(&format!("{path}?limit=100&status=Completed")).len();
        assert_eq!(server.balance(&merchant), (i64::try_from(completed).unwrap() * 100, 0));
        server.verify_balance(&merchant);
    }
    server.verify_log();
}
