//! The rows of the built-in registry, read beside others or under its lock.

use schema::{
    compatibility::{self, Incompatibility, Level},
    frame::SchemaId,
};
use store::sql::{Reads, Row, Rows, Transaction, Value};

use crate::{
    RegistryError, SCHEMAS_MAX, SUBJECTS_MAX, VERSIONS_A_SUBJECT_MAX, builtin::Registered, text::Text,
};

pub(crate) const ALIVE: &str = "select version, schema_id from schema_versions \
     where subject = $1 and is_deleted = 0 order by version desc";
pub(crate) const DELETE_LEVEL: &str = "delete from schema_levels where subject = $1";

/// Where to read: what is committed, or what a transaction sees that holds the lock.
pub(crate) enum Asked<'a> {
    Reads(&'a dyn Reads),
    Held(&'a mut dyn Transaction),
}

/// What a new schema is judged by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Basis {
    pub level: Level,
    /// Those that count, with the ids of their schemas, the last one first.
    pub versions: Vec<(i64, i64)>,
}

impl Asked<'_> {
    async fn query(&mut self, sql: &str, params: Vec<Value>) -> Result<Rows, RegistryError> {
        Ok(match self {
            Self::Reads(reads) => reads.query(sql, params).await?,
            Self::Held(transaction) => transaction.query(sql, params).await?,
        })
    }

    pub(crate) async fn basis(&mut self, subject: &str) -> Result<Basis, RegistryError> {
        let sql = "select compatibility from schema_levels where subject = $1 union all \
             select compatibility from schema_registry where not exists \
             (select 1 from schema_levels where subject = $1)";
        let rows = self.query(sql, vec![subject.into()]).await?;
        let level = level(rows.first())?.unwrap_or(Level::Backward);
        let count = match level {
            Level::None => 0,
            _ if level.is_transitive() => usize::MAX,
            _ => 1,
        };
        let rows = self.query(ALIVE, vec![subject.into()]).await?;
        let versions = rows.iter().take(count).map(|row| Ok((row.int(0)?, row.int(1)?)));
        Ok(Basis { level, versions: versions.collect::<Result<_, RegistryError>>()? })
    }

    /// What is wrong with the first version that does not fit. One version at most is in memory, and is compared on a
    /// thread that may be kept busy.
    pub(crate) async fn incompatibilities(
        &mut self,
        basis: &Basis,
        new: &Text,
    ) -> Result<Vec<Incompatibility>, RegistryError> {
        for (version, id) in &basis.versions {
            let rows = self.query("select text from schemas where id = $1", vec![(*id).into()]).await?;
            let earlier = rows.first().ok_or(RegistryError::SchemaNotFound)?.text(0)?.to_owned();
            let (level, version, new) = (basis.level, *version, new.schema.clone());
            let compared = tokio::task::spawn_blocking(move || {
                let earlier = compatibility::parse(&earlier)?;
                Ok(compatibility::check(level, &new, &[(version, &earlier)]))
            });
            let unreadable = |error: compatibility::SchemaError| {
                RegistryError::Broken(format!("version {version} cannot be read any more: {error}"))
            };
            let found = compared.await.map_err(|error| RegistryError::Broken(error.to_string()))?;
            let found = found.map_err(unreadable)?;
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(Vec::new())
    }
}

/// Numbers, and whether they are deleted, in their order.
pub(crate) async fn versions_of(
    held: &mut dyn Transaction,
    subject: &str,
) -> Result<Vec<(i64, bool)>, RegistryError> {
    let sql = "select version, is_deleted from schema_versions where subject = $1 order by version";
    let rows = held.query(sql, vec![subject.into()]).await?;
    if rows.is_empty() {
        return Err(RegistryError::SubjectNotFound(subject.to_owned()));
    }
    rows.iter().map(|row| Ok((row.int(0)?, row.int(1)? == 1))).collect()
}

pub(crate) fn numbers(versions: &[(i64, bool)], wanted: impl Fn(bool) -> bool) -> Vec<i64> {
    versions.iter().filter(|(_, is_deleted)| wanted(*is_deleted)).map(|(number, _)| *number).collect()
}

/// The id of a schema that is registered in a subject already.
pub(crate) async fn alive(
    held: &mut dyn Transaction,
    subject: &str,
    text: &Text,
) -> Result<Option<SchemaId>, RegistryError> {
    let sql = "select schema_id from schema_versions join schemas on schemas.id = schema_id \
         where subject = $1 and fingerprint = $2 and is_deleted = 0";
    let rows = held.query(sql, vec![subject.into(), text.fingerprint.to_vec().into()]).await?;
    rows.first().map(|row| schema_id(row.int(0)?)).transpose()
}

/// Makes a schema the next version of a subject.
pub(crate) async fn insert(
    held: &mut dyn Transaction,
    subject: &str,
    text: &Text,
) -> Result<SchemaId, RegistryError> {
    let version = next_version(held, subject).await?;
    let fingerprint = text.fingerprint.to_vec();
    let known = held.query("select id from schemas where fingerprint = $1", vec![fingerprint.into()]).await?;
    let id = match known.first() {
        Some(row) => row.int(0)?,
        None => insert_schema(held, text).await?,
    };
    let sql = "insert into schema_versions (subject, version, schema_id, is_deleted) values ($1, $2, $3, 0)";
    held.execute(sql, vec![subject.into(), version.into(), id.into()]).await?;
    schema_id(id)
}

async fn next_version(held: &mut dyn Transaction, subject: &str) -> Result<i64, RegistryError> {
    let sql = "select count(*), coalesce(max(version), 0) from schema_versions where subject = $1";
    let rows = held.query(sql, vec![subject.into()]).await?;
    let (count, last) = match rows.first() {
        Some(row) => (row.int(0)?, row.int(1)?),
        None => (0, 0),
    };
    let is_full = if count == 0 {
        let rows = held.query("select count(distinct subject) from schema_versions", Vec::new()).await?;
        rows.first().is_some_and(|row| row.int(0).unwrap_or(0) >= SUBJECTS_MAX)
    } else {
        count >= VERSIONS_A_SUBJECT_MAX
    };
    if is_full { Err(RegistryError::Full) } else { Ok(last + 1) }
}

async fn insert_schema(held: &mut dyn Transaction, text: &Text) -> Result<i64, RegistryError> {
    let sql = "update schema_registry set last_schema_id = last_schema_id + 1 where id = 1";
    held.execute(sql, Vec::new()).await?;
    let rows = held.query("select last_schema_id from schema_registry where id = 1", Vec::new()).await?;
    let row = rows.first().ok_or_else(|| RegistryError::Broken("the registry's row is gone".to_owned()))?;
    let id = row.int(0)?;
    if id > SCHEMAS_MAX {
        return Err(RegistryError::Full);
    }
    let params = vec![id.into(), text.fingerprint.to_vec().into(), text.json.as_str().into()];
    held.execute("insert into schemas (id, fingerprint, text) values ($1, $2, $3)", params).await?;
    Ok(id)
}

pub(crate) fn registered(subject: &str, row: Row<'_>) -> Result<Registered, RegistryError> {
    Ok(Registered {
        subject: subject.to_owned(),
        version: row.int(0)?,
        id: schema_id(row.int(1)?)?,
        text: row.text(2)?.to_owned(),
    })
}

fn schema_id(id: i64) -> Result<SchemaId, RegistryError> {
    SchemaId::try_from(id).map_err(|_| RegistryError::Broken(format!("{id} is no id of a schema")))
}

pub(crate) fn level(row: Option<Row<'_>>) -> Result<Option<Level>, RegistryError> {
    let Some(row) = row else { return Ok(None) };
    let name = row.text(0)?;
    let level = Level::parse(name);
    level.map(Some).ok_or_else(|| RegistryError::Broken(format!("{name} is no compatibility level")))
}
