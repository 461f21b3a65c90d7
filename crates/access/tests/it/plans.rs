//! Lists that grow for ever find their page by an index, in its order: nothing is read whole, and nothing is sorted.

use access::{approvals, keys};
use domain::{id::MerchantId, time::Timestamp};
use futures_util::future::BoxFuture;
use store::{
    Store,
    audit::{self, Filter},
    error::ReadError,
    queries::PageKey,
    sql::{Dialect, Reads, Rows, Value},
};
use uuid::Uuid;

use crate::backend::{Bench, on_both_backends};

on_both_backends!(lists_go_by_an_index);

/// Explains each query before it is asked.
struct Explaining(Store);

impl Reads for Explaining {
    fn dialect(&self) -> Dialect {
        self.0.reads().dialect()
    }

    fn query<'a>(&'a self, sql: &'a str, params: Vec<Value>) -> BoxFuture<'a, Result<Rows, ReadError>> {
        Box::pin(async move {
            let prefix = match self.dialect() {
                Dialect::Sqlite => "explain query plan",
                Dialect::Postgres => "explain",
            };
            let plan = self.0.reads().query(&format!("{prefix} {sql}"), params.clone()).await?;
            assert!(!plan.is_empty());
            for row in &plan {
                let line = (0..row.columns()).rev().find_map(|column| row.text(column).ok()).unwrap();
                let reads_all =
                    line.contains("Seq Scan") || (line.contains("SCAN") && !line.contains("INDEX"));
                let sorts = line.contains("TEMP B-TREE") || line.contains("Sort");
                assert!(!reads_all && !sorts, "{line}: {sql}");
            }
            self.0.reads().query(sql, params).await
        })
    }
}

/// PostgreSQL judges by what it knows of a table, and sorts what is small.
async fn fill(store: &Store) {
    let mut transaction = store.begin().await.unwrap();
    let statements = [
        "insert into audit_log (id, at, actor, action, subject, detail, reason) \
         select gen_random_uuid(), n, 'a' || n % 5, 'x', 's' || n % 5, '{}', '' from generate_series(1, 20000) n",
        "insert into api_keys (id, hash, prefix, last4, name, is_live, merchant_id, role, created_at, created_by) \
         select gen_random_uuid(), decode(md5(n::text), 'hex'), '', '', '', 1, md5((n % 5)::text)::uuid, 1, n, '' \
         from generate_series(1, 20000) n",
        "insert into approvals (id, kind, subject, detail, requested_by, requested_at, reason, state) \
         select gen_random_uuid(), '', '', '{}', '', n, '', 2 from generate_series(1, 20000) n",
        "analyze",
    ];
    for statement in statements {
        transaction.execute(statement, Vec::new()).await.unwrap();
    }
    transaction.commit().await.unwrap();
}

async fn lists_go_by_an_index(bench: Bench) {
    if bench.store.reads().dialect() == Dialect::Postgres {
        fill(&bench.store).await;
    }
    let db = Explaining(bench.store.clone());
    let (id, moment) = (Uuid::from_u128(1), Timestamp::from_micros(1_000_000));
    let after = Some(PageKey { created_at: moment, id });
    let some = |is_some: bool| is_some.then(|| "x".to_owned());
    for asked in 0..32 {
        let filter = Filter {
            actor: some(asked & 1 > 0),
            action_prefix: some(asked & 2 > 0),
            subject: some(asked & 4 > 0),
            from: (asked & 8 > 0).then_some(moment),
            to: (asked & 8 > 0).then_some(moment),
            request_id: some(asked & 16 > 0),
        };
        audit::list(&db, &filter, None, 10).await.unwrap();
        audit::list(&db, &filter, after, 10).await.unwrap();
    }
    keys::by_prefix(&db, "fk_live_ab12", 10).await.unwrap();
    for behind in [None, Some(id)] {
        keys::list(&db, None, behind, 10).await.unwrap();
        keys::list(&db, Some(MerchantId(id)), behind, 10).await.unwrap();
        approvals::list(&db, behind, 10).await.unwrap();
    }
}
