//! The audit log: who changed what by hand, when and why. A line is written in the transaction of the change.

use domain::time::Timestamp;
use serde_json::Value as Json;
use store::{error::ReadError, sql::Transaction};
use uuid::Uuid;

/// Who acts, and why.
#[derive(Clone, Debug)]
pub struct Actor {
    pub name: String,
    pub why: String,
}

pub async fn write(
    transaction: &mut dyn Transaction,
    actor: &Actor,
    action: &str,
    subject: &str,
    detail: &Json,
    now: Timestamp,
) -> Result<(), ReadError> {
    let sql = "insert into audit_log (id, at, actor, action, subject, detail, reason) \
         values ($1, $2, $3, $4, $5, $6, $7)";
    let params = vec![
        Uuid::now_v7().into(),
        now.as_micros().into(),
        actor.name.as_str().into(),
        action.into(),
        subject.into(),
        detail.to_string().into(),
        actor.why.as_str().into(),
    ];
    transaction.execute(sql, params).await.map(|_| ())
}
