//! Who asked for a command is kept with what it did, exactly when it took effect.

use domain::{
    command::{Action, Command, NewPayment},
    currency::Currency,
    id::{CommandId, MerchantId, PaymentId},
    money::AmountMinor,
    state::Outcome,
};
use store::{
    Store,
    error::SubmitError,
    origins::{self, EVENTS_SHOWN_MAX, Line, OriginFilter, OriginPage},
    request::{Claim, ORIGIN_ACTOR_CHARS_MAX, ORIGIN_REQUEST_ID_CHARS_MAX, Origin, Request},
};
use uuid::Uuid;

use crate::{
    backend::{Backend, on_both},
    calls::{complete, first_payment, merchant},
};

const ANNA: &str = "operator anna";
const KEY: &str = "key fk_live_ab12";

on_both!(
    what_took_effect_has_a_line_and_nothing_else_has,
    a_bulk_request_is_one_line_that_shows_its_first_events,
    the_list_is_newest_first_by_keyset_and_can_be_narrowed,
    a_name_that_is_too_long_is_cut_and_harms_nobody,
);

fn request(merchant_id: MerchantId, action: Action, actor: &str, request_id: &str) -> Request {
    let command = Command { id: CommandId(Uuid::now_v7()), merchant_id, action };
    Request { command, claim: None, origin: Some(Origin::new(actor, request_id)), trace: None }
}

fn payments(count: usize) -> Action {
    let new = NewPayment {
        amount: AmountMinor::new(5000).unwrap(),
        currency: Currency::parse("USD").unwrap(),
        external_reference: None,
        description: None,
    };
    Action::CreatePayments(vec![new; count])
}

async fn pay(store: &Store, merchant: MerchantId, actor: &str, request_id: &str) -> PaymentId {
    first_payment(&store.submit(request(merchant, payments(1), actor, request_id)).await.unwrap().outcome)
}

async fn all(store: &Store, filter: &OriginFilter) -> Vec<Line> {
    origins::list(store.reads(), filter, None, 100).await.unwrap().lines
}

fn shape(lines: &[Line]) -> Vec<(&str, &str, Vec<&str>)> {
    lines
        .iter()
        .map(|line| {
            let types = line.deeds.iter().map(|deed| deed.event_type.as_str()).collect();
            (line.command.origin.actor(), line.command.origin.request_id(), types)
        })
        .collect()
}

/// Not a refusal, not an answer that is given again, not what changed nothing, not a caller without a name.
async fn what_took_effect_has_a_line_and_nothing_else_has(backend: Backend) {
    let database = backend.create().await;
    let store = database.open(4).await;
    let id = merchant(&store).await;
    let payment = pay(&store, id, KEY, "made").await;
    store.submit(request(id, complete(payment), ANNA, "completed")).await.unwrap();
    store.submit(request(id, complete(payment), ANNA, "completed already")).await.unwrap();
    let refused =
        store.submit(request(id, Action::CancelPayment { payment_id: payment }, ANNA, "refused")).await;
    assert!(matches!(refused, Err(SubmitError::Refused(_))), "{refused:?}");
    let claim = Some(Claim::new(KEY, &id.to_string(), "once", &[b"body"]));
    for (request_id, is_replayed) in [("first", false), ("again", true)] {
        let request = Request { claim, ..request(id, payments(1), KEY, request_id) };
        assert_eq!(store.submit(request).await.unwrap().replayed, is_replayed);
    }
    let nobody = Request { origin: None, ..request(id, payments(1), "", "") };
    store.submit(nobody).await.unwrap();

    let lines = all(&store, &OriginFilter::default()).await;
    assert_eq!(
        shape(&lines),
        [
            (KEY, "first", vec!["PaymentCreated"]),
            (ANNA, "completed", vec!["PaymentCompleted"]),
            (KEY, "made", vec!["PaymentCreated"]),
        ]
    );
    assert_eq!(lines[1].deeds[0].subject_id, payment.0);
    assert!(lines.iter().all(|line| line.command.merchant_id == id && line.command.events == 1));

    let ids = [lines[1].command.command_id, CommandId(Uuid::now_v7())];
    let known = origins::origins_of(store.reads(), &ids).await.unwrap();
    assert_eq!(known.len(), 1);
    assert_eq!(known[&ids[0]], lines[1].command);
    store.close().await;
}

async fn a_bulk_request_is_one_line_that_shows_its_first_events(backend: Backend) {
    let database = backend.create().await;
    let store = database.open(1).await;
    let id = merchant(&store).await;
    let bulk = request(id, payments(12), KEY, "bulk");
    let Outcome::Payments(made) = store.submit(bulk).await.unwrap().outcome else { panic!() };
    pay(&store, id, KEY, "behind it").await;

    let lines =
        all(&store, &OriginFilter { request_id: Some("bulk".to_owned()), ..OriginFilter::default() }).await;
    let [line] = lines.as_slice() else { panic!("{lines:?}") };
    assert_eq!((line.command.events, line.command.sequence), (12, 2));
    let shown: Vec<Uuid> = line.deeds.iter().map(|deed| deed.subject_id).collect();
    let first: Vec<Uuid> = made.iter().map(|payment| payment.id.0).take(shown.len()).collect();
    assert_eq!(i64::try_from(shown.len()).unwrap(), EVENTS_SHOWN_MAX);
    assert_eq!(shown, first);
    store.close().await;
}

async fn the_list_is_newest_first_by_keyset_and_can_be_narrowed(backend: Backend) {
    let database = backend.create().await;
    let store = database.open(4).await;
    let (one, other) = (merchant(&store).await, merchant(&store).await);
    for number in 0..7 {
        let (actor, id) = if number % 2 == 0 { (KEY, one) } else { (ANNA, other) };
        pay(&store, id, actor, &format!("r{number}")).await;
    }
    pay(&store, one, ANNA, "r7").await;

    let mut found = Vec::new();
    let mut after = None;
    loop {
        let OriginPage { lines, next, is_cut_short } =
            origins::list(store.reads(), &OriginFilter::default(), after, 3).await.unwrap();
        assert!(lines.len() <= 3 && !is_cut_short);
        found.extend(lines.into_iter().map(|line| line.command.origin.request_id().to_owned()));
        match next {
            Some(next) => after = Some(next),
            None => break,
        }
    }
    assert_eq!(found, ["r7", "r6", "r5", "r4", "r3", "r2", "r1", "r0"]);

    let narrowed = async |actor: Option<&str>, request_id: Option<&str>, merchant: Option<MerchantId>| {
        let (actor, request_id) = (actor.map(str::to_owned), request_id.map(str::to_owned));
        let lines = all(&store, &OriginFilter { actor, request_id, merchant }).await;
        lines.iter().map(|line| line.command.origin.request_id().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(narrowed(Some(ANNA), None, None).await, ["r7", "r5", "r3", "r1"]);
    assert_eq!(narrowed(None, None, Some(one)).await, ["r7", "r6", "r4", "r2", "r0"]);
    assert_eq!(narrowed(Some(ANNA), None, Some(one)).await, ["r7"]);
    assert_eq!(narrowed(None, Some("r3"), None).await, ["r3"]);
    assert!(narrowed(Some(KEY), Some("r3"), None).await.is_empty());
    assert!(narrowed(Some("operator ann"), None, None).await.is_empty());
    store.close().await;
}

async fn a_name_that_is_too_long_is_cut_and_harms_nobody(backend: Backend) {
    let database = backend.create().await;
    let store = database.open(4).await;
    let id = merchant(&store).await;
    pay(&store, id, &"ä".repeat(1000), &"ö".repeat(1000)).await;
    let lines = all(&store, &OriginFilter::default()).await;
    let origin = &lines[0].command.origin;
    assert_eq!(origin.actor(), "ä".repeat(ORIGIN_ACTOR_CHARS_MAX));
    assert_eq!(origin.request_id(), "ö".repeat(ORIGIN_REQUEST_ID_CHARS_MAX));
    store.close().await;
}
