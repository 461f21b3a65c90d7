//! Every statement on a hot path finds its rows by an index when the tables are big.

use std::sync::Arc;

use domain::{
    command::{Action, Command},
    currency::Currency,
    event::Stream,
    id::{CommandId, EventId, MerchantId, PaymentId, WithdrawalId},
    lane::Lane,
    ledger::{AccountKey, AccountKind, Owner},
    state::Outcome,
    time::Timestamp,
};
use futures_util::future::{BoxFuture, join_all};
use store::{
    Location, Store, browse, daily_totals,
    error::ReadError,
    find,
    log::{self, Span},
    lookup::Lookups,
    merchant_log,
    merchants::{self, MerchantsWanted},
    origins::{self, OriginFilter},
    queries::{self, PageKey, PaymentFilter},
    recent::{self, Below, EventsWanted},
    request::{Origin, Request},
    request_log::{self, RequestsWanted},
    reviews,
    sql::{Dialect, Reads, Rows, Value},
    statement::{self, EntryKey},
    tables::{self, AccountPlace, EntryPlace, Ids},
};
use uuid::Uuid;

use crate::{
    backend::{Backend, Database},
    calls::{merchant, pay, payment},
};

/// Explains each query before it is asked, and fails on one that reads a whole big table.
struct Explaining {
    store: Store,
    prefix: &'static str,
    scan: &'static str,
}

impl Reads for Explaining {
    fn dialect(&self) -> Dialect {
        self.store.reads().dialect()
    }

    fn query<'a>(&'a self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<Rows, ReadError>> {
        Box::pin(async move {
            let plan = self.store.reads().query(&format!("{} {sql}", self.prefix), params.clone()).await?;
            for row in &plan {
                let line = (0..row.columns()).rev().find_map(|column| row.text(column).ok());
                let line = line.unwrap_or_default();
                // Read whole: a row a lane, and the list of spans that the query brings with it.
                let is_small = ["lane_heads", "SCAN newest", "SCAN made", "SCAN span", "CONSTANT ROW"]
                    .iter()
                    .any(|name| line.contains(name));
                let is_scan = line.contains(self.scan) && !is_small;
                assert!(!is_scan, "{line}: {sql}");
            }
            self.store.reads().query(sql, params).await
        })
    }
}

async fn ask_everything(db: Explaining) {
    let db: Arc<dyn Reads> = Arc::new(db);
    look_up_everything(Lookups::new(db.clone())).await;
    let db = db.as_ref();
    let (merchant, id) = (MerchantId(Uuid::from_u128(1)), Uuid::from_u128(2));
    let moment = Timestamp::from_micros(1_000_000);
    let after = Some(PageKey { created_at: moment, id });
    let filter = PaymentFilter {
        date_from: Some(moment),
        date_to: Some(moment),
        amount_minor_min: Some(1),
        amount_minor_max: Some(2),
        statuses: vec![domain::payment::PaymentStatus::Pending],
        search: Some("word".to_owned()),
    };
    queries::merchants(db, after, 10).await.unwrap();
    queries::payments(db, merchant, &PaymentFilter::default(), after, 10).await.unwrap();
    queries::payments(db, merchant, &filter, after, 10).await.unwrap();
    queries::withdrawal(db, merchant, WithdrawalId(id)).await.unwrap();
    queries::withdrawals(db, merchant, after, 10).await.unwrap();
    queries::balances_as_of(db, merchant, moment).await.unwrap();
    queries::balance_proof(db, merchant, Currency::parse("USD").unwrap()).await.unwrap();
    queries::ledger_history(db, merchant, 10).await.unwrap();
    queries::day_totals(db, merchant, moment, moment).await.unwrap();
    log::behind(db, Stream::Payments, Lane(1), 5, 10).await.unwrap();
    let span = |lane| Span { stream: Stream::Payments, lane: Lane(lane), behind: 5, until: 9 };
    log::spans(db, &[span(0), span(1), span(2)]).await.unwrap();
    log::behind_sequence(db, Lane(1), 5, 10).await.unwrap();
    log::sealed(db, Lane(1), 5, 10).await.unwrap();
    if db.dialect() == Dialect::Sqlite {
        log::sealed_as_appended(db, 5, 10).await.unwrap();
    }
    log::found_behind(db, Stream::Payments, Lane(1), 5, 10).await.unwrap();
    log::behind_subject(db, id, 5, 10).await.unwrap();
    merchant_log::lane_ends(db).await.unwrap();
    merchant_log::lane_end(db, Lane(1)).await.unwrap();
    merchant_log::events(db, (Lane(15), merchant), 5, 5000, 10).await.unwrap();
    log::places(db, &[EventId(id)]).await.unwrap();
    let account = AccountPlace { owner: id, kind: 1, currency: "USD".to_owned() };
    tables::accounts(db, Some(&account), 10).await.unwrap();
    tables::entries(db, Some(&EntryPlace { account, created_at: 5, number: 5 }), 10).await.unwrap();
    tables::payments(db, Ids { after: Some(id), until: Some(id), limit: 10 }).await.unwrap();
    log::by_event_id(db, EventId(id)).await.unwrap();
    log::by_subject(db, id, 10).await.unwrap();
    log::heads(db).await.unwrap();
    ask_for_origins(db).await;
    find_everything(db).await;
    ask_for_requests(db, moment).await;
    ask_for_the_newest(db, moment).await;
    ask_for_statements(db, moment).await;
    tables::key(db, id).await.unwrap();
    daily_totals::since(db, 5).await.unwrap();
}

/// The log from its end, by each way to narrow it and behind a page.
async fn ask_for_the_newest(db: &dyn Reads, moment: Timestamp) {
    let any = EventsWanted { from: Some(moment), to: Some(moment), ..EventsWanted::default() };
    let wanted = [
        EventsWanted::default(),
        EventsWanted { stream: Some(Stream::Payments), ..EventsWanted::default() },
        EventsWanted { event_type: Some("PaymentCreated".to_owned()), ..any.clone() },
        EventsWanted { merchant: Some(MerchantId(Uuid::from_u128(1))), ..any.clone() },
        EventsWanted { subject: Some(Uuid::from_u128(2)), stream: Some(Stream::Payments), ..any.clone() },
    ];
    for wanted in wanted {
        let page = recent::events(db, &wanted, None, 10).await.unwrap();
        let after = page.next.unwrap_or(Below(vec![9; 16]));
        recent::events(db, &wanted, Some(&after), 10).await.unwrap();
        recent::events(db, &wanted, Some(&Below(vec![9])), 10).await.unwrap();
    }
    let heads = log::heads(db).await.unwrap();
    recent::since(db, &heads, Stream::Payments, moment).await.unwrap();
    browse::payments_since(db, moment, 10).await.unwrap();
}

async fn ask_for_statements(db: &dyn Reads, moment: Timestamp) {
    let owner = Owner::Merchant(MerchantId(Uuid::from_u128(1)));
    let account =
        AccountKey { owner, kind: AccountKind::Available, currency: Currency::parse("USD").unwrap() };
    let after = Some(EntryKey { created_at: moment, number: 5 });
    statement::entries(db, &account, None, 10).await.unwrap();
    statement::entries(db, &account, after, 10).await.unwrap();
    statement::as_of(db, &account, moment).await.unwrap();
    statement::accounts_of(db, owner, 10).await.unwrap();
    statement::accounts_of_platform(db, 10).await.unwrap();
    statement::platform_balances(db).await.unwrap();
    statement::proof(db, &account).await.unwrap();
}

/// Every way to narrow the list; one command at least, so that what it did is asked for, too.
async fn ask_for_origins(db: &dyn Reads) {
    let actor = Some("operator anna".to_owned());
    let filters = [
        OriginFilter::default(),
        OriginFilter { actor: actor.clone(), ..OriginFilter::default() },
        OriginFilter { request_id: Some("r".to_owned()), ..OriginFilter::default() },
        OriginFilter { merchant: Some(MerchantId(Uuid::from_u128(1))), actor, ..OriginFilter::default() },
    ];
    for filter in filters {
        let page = origins::list(db, &filter, Some(CommandId(Uuid::max())), 10).await.unwrap();
        let ids: Vec<CommandId> = page.lines.iter().map(|line| line.command.command_id).collect();
        origins::origins_of(db, &ids).await.unwrap();
    }
}

/// The record of requests, by each way to narrow it.
async fn ask_for_requests(db: &dyn Reads, moment: Timestamp) {
    let any = RequestsWanted { from: Some(moment), to: Some(moment), ..RequestsWanted::default() };
    let wanted = [
        RequestsWanted::default(),
        RequestsWanted { status: Some(400..=499), method: Some("GET".to_owned()), ..any.clone() },
        RequestsWanted { request_id: Some("r".to_owned()), caller: Some("key".to_owned()), ..any },
    ];
    for wanted in wanted {
        request_log::list(db, &wanted, Some(Uuid::max()), 10).await.unwrap();
        request_log::errors(db, &wanted, Some(Uuid::max())).await.unwrap();
    }
    request_log::left_out(db, None, None).await.unwrap();
    request_log::tally(db, moment).await.unwrap();
}

/// What the console looks for.
async fn find_everything(db: &dyn Reads) {
    let after = Some(PageKey { created_at: Timestamp::from_micros(1_000_000_000), id: Uuid::max() });
    for search in [None, Some("word"), Some("a@example.com"), Some("019a0000-0000-7000-8000-000000000001")] {
        let wanted = MerchantsWanted { search: search.map(str::to_owned), is_active: Some(true) };
        merchants::list(db, &wanted, after, 10).await.unwrap();
    }
    merchants::list(db, &MerchantsWanted::default(), after, 10).await.unwrap();
    let queue = reviews::queue(db, Some(PaymentId(Uuid::nil())), 10).await.unwrap();
    assert!(!queue.rows.is_empty(), "the payments of the queue are asked for, too");
    let merchants: Vec<MerchantId> = (0..12).map(|n| MerchantId(Uuid::from_u128(n))).collect();
    reviews::histories(db, &merchants).await.unwrap();
    find::first_event(db, CommandId(Uuid::from_u128(1))).await.unwrap();
    find::audit_lines(db, "r", 10).await.unwrap();
}

/// With one key a query, and with as many as it may have.
async fn look_up_everything(lookups: Lookups) {
    let look_up = |number| {
        let (merchant, id) = (MerchantId(Uuid::from_u128(number)), PaymentId(Uuid::from_u128(number)));
        let lookups = &lookups;
        async move {
            lookups.merchant(merchant).await.unwrap();
            lookups.payment(merchant, id).await.unwrap();
            lookups.balances(merchant).await.unwrap();
        }
    };
    join_all((0..200).map(look_up)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reads_use_an_index_on_sqlite() {
    let database = Backend::Sqlite.create().await;
    let store = database.open(16).await;
    pay_by_name(&store).await;
    ask_everything(Explaining { store: store.clone(), prefix: "explain query plan", scan: "SCAN" }).await;
}

/// The writers' statements were prepared while the tables were empty. At a million rows none of them,
/// and no read, may read a whole table.
#[tokio::test(flavor = "multi_thread")]
async fn statements_use_an_index_on_postgres_at_a_million_rows() {
    let database = Backend::Postgres.create().await;
    let store = database.open(16).await;
    let id = merchant(&store).await;
    pay(&store, id, "prepared while the tables are empty").await.unwrap();
    pay_by_name(&store).await;
    let admin = fill(&database).await;
    ask_everything(Explaining { store: store.clone(), prefix: "explain", scan: "Seq Scan" }).await;
    let before = sequential_scans(&admin).await;
    write_everything(&store, id).await;
    assert_eq!(sequential_scans(&admin).await, before);
}

/// A command whose caller is known, and a payment that waits for review.
async fn pay_by_name(store: &Store) {
    let origin = Some(Origin::new("operator anna", "r"));
    let id = merchant(store).await;
    let answer = store.submit(Request { origin, ..payment(id, "by name") }).await.unwrap();
    let Outcome::Payments(made) = answer.outcome else { panic!("{answer:?}") };
    let action = Action::FlagPayment { payment_id: made[0].id, reason: "odd".to_owned() };
    let command = Command { id: CommandId(Uuid::now_v7()), merchant_id: id, action };
    store.submit(Request { command, claim: None, origin: None, trace: None }).await.unwrap();
}

async fn write_everything(store: &Store, id: MerchantId) {
    use domain::{command::NewWithdrawal, payment::CompletedBy};
    let submit = |action: Action| async move {
        let command = Command { id: CommandId(Uuid::now_v7()), merchant_id: id, action };
        store.submit(Request { command, claim: None, origin: None, trace: None }).await.unwrap().outcome
    };
    let Outcome::Payments(made) = pay(store, id, "new").await.unwrap().outcome else { panic!() };
    let payment_id = made[0].id;
    pay(store, id, "new").await.unwrap();
    submit(Action::CompletePayment { payment_id, completed_by: CompletedBy::Manual }).await;
    submit(Action::RefundPayment { payment_id, amount: domain::money::AmountMinor::new(1), reason: None })
        .await;
    submit(Action::FlagPayment { payment_id, reason: "odd".to_owned() }).await;
    submit(Action::UpdateMerchant { name: Some("New".to_owned()), is_active: None }).await;
    merchant(store).await;
    let request = NewWithdrawal {
        amount: domain::money::AmountMinor::new(10).unwrap(),
        currency: Currency::parse("USD").unwrap(),
        bank_account: domain::bank::BankNumber::parse("99887766554433221100").unwrap(),
        bank_routing: domain::bank::BankNumber::parse("021000021").unwrap(),
    };
    let Outcome::Withdrawal(withdrawal) = submit(Action::RequestWithdrawal(request)).await else { panic!() };
    let withdrawal_id = withdrawal.id;
    submit(Action::ProcessWithdrawal { withdrawal_id }).await;
    submit(Action::CompleteWithdrawal { withdrawal_id, external_transaction_id: None }).await;
    store.sweep(10).await.unwrap();
    request_log::sweep(store, Timestamp::from_micros(2_000_000_000_000_000), 10).await.unwrap();
}

/// A million payments, keys and events of other merchants, and what belongs to them.
async fn fill(database: &Database) -> tokio_postgres::Client {
    let Location::Postgres(url) = database.location() else { panic!("not PostgreSQL") };
    let (admin, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    let rows = 1_000_000;
    let one_in_ten = rows / 10;
    let statements = [
        "set synchronous_commit = off".to_owned(),
        format!(
            "insert into payments (id, merchant_id, amount, currency, status, created_at, refunded) \
             select gen_random_uuid(), md5((n % 1000)::text)::uuid, 1, 'USD', 1, n, 0 from generate_series(1, {rows}) n"
        ),
        format!(
            "insert into idempotency_keys (key_hash, fingerprint, subject_kind, subject_id, lane, sequence, size, created_at) \
             select gen_random_uuid(), md5('f')::uuid, 3, md5('s')::uuid, 0, n, 1, 4000000000000000 + n from generate_series(1, {rows}) n"
        ),
        format!(
            "insert into events (lane, sequence, stream, position, event_id, command_id, event_type, version, occurred_at, \
             merchant_id, subject_id, payload, hash) \
             select 15, 1000 + n, 1, 1000 + n, gen_random_uuid(), md5('c')::uuid, 'PaymentCreated', 1, n, md5('m')::uuid, \
             md5(n::text)::uuid, '{{}}', '\\x00' from generate_series(1, {rows}) n"
        ),
        format!(
            "insert into merchants (id, name, email, email_key, is_active, created_at) \
             select gen_random_uuid(), 'M', 'e' || n, 'e' || n, 1, n from generate_series(1, {one_in_ten}) n"
        ),
        format!(
            "insert into withdrawals (id, merchant_id, amount, currency, status, bank_account_masked, bank_routing_masked, \
             bank_details_sealed, created_at) \
             select gen_random_uuid(), md5((n % 1000)::text)::uuid, 1, 'USD', 1, '*', '*', '\\x00', n from generate_series(1, {one_in_ten}) n"
        ),
        format!(
            "insert into accounts (owner, kind, currency, balance, entries, updated_at) \
             select gen_random_uuid(), 1, 'USD', 0, 0, n from generate_series(1, {one_in_ten}) n"
        ),
        format!(
            "insert into ledger_entries (id, transaction_id, owner, kind, currency, number, amount, balance_after, entry_type, created_at) \
             select gen_random_uuid(), gen_random_uuid(), md5((n % 1000)::text)::uuid, 1, 'USD', n, 1, n, 1, n from generate_series(1, {one_in_ten}) n"
        ),
        format!(
            "insert into audit_log (id, at, actor, action, subject, detail, reason, request_id) \
             select gen_random_uuid(), n, 'a', 'a', 's', '{{}}', '', 'r' || n from generate_series(1, {one_in_ten}) n"
        ),
        format!(
            "insert into command_origins (command_id, at, actor, request_id, merchant_id, lane, sequence, events) \
             select md5(n::text)::uuid, n, 'key ' || n % 100, 'r' || n, md5((n % 1000)::text)::uuid, 15, 1000 + n, 1 \
             from generate_series(1, {one_in_ten}) n"
        ),
        format!(
            "insert into api_requests (id, at, method, route, path, status, micros, caller, request_id) \
             select md5(n::text)::uuid, n, 'GET', '/r', '/r', 200 + n % 300, 1, 'key ' || n % 100, 'r' || n \
             from generate_series(1, {one_in_ten}) n"
        ),
        format!(
            "insert into api_requests_left_out (id, errors, changes, reads) \
             select md5(n::text)::uuid, 1, 1, 1 from generate_series(1, {one_in_ten}) n"
        ),
        "analyze".to_owned(),
    ];
    for statement in &statements {
        admin.batch_execute(statement).await.unwrap();
    }
    admin
}

/// Of all tables but that with a row a lane; the statistics are flushed when their session is idle.
async fn sequential_scans(admin: &tokio_postgres::Client) -> i64 {
    let mut last = -1;
    loop {
        admin
            .batch_execute("select pg_stat_force_next_flush(); select pg_stat_clear_snapshot()")
            .await
            .unwrap();
        let sql = "select sum(seq_scan)::bigint from pg_stat_user_tables \
             where relname in ('payments', 'idempotency_keys', 'events', 'merchants', 'withdrawals', 'accounts', 'ledger_entries', 'command_origins', 'audit_log', \
             'api_requests', 'api_requests_left_out')";
        let now: i64 = admin.query_one(sql, &[]).await.unwrap().get(0);
        if now == last {
            return now;
        }
        last = now;
    }
}
