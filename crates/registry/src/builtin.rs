//! The built-in registry, in the platform's database.
//!
//! Whatever changes it does so in one transaction that holds the lock of its one row, so that of two that register at once
//! one sees the other's. An answer is given when it is on the disk: an id that went lost with a power cut would be given to
//! another schema, and records that were written meanwhile would be read by that one.

use domain::event::Stream;
use schema::{
    catalogue::CATALOGUE,
    compatibility::{self, Incompatibility, Level},
    frame::SchemaId,
};
use store::{
    Store,
    sql::{Reads, Row, Rows, Transaction, Value},
};

use crate::{
    RegistryError, SUBJECT_CHARS_MAX, SUBJECTS_MAX, VERSIONS_A_SUBJECT_MAX,
    source::{Asking, Source, subject},
    text::Text,
};

#[derive(Clone)]
pub struct Builtin {
    store: Store,
}

/// A version of a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registered {
    pub subject: String,
    pub version: i64,
    pub id: SchemaId,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    Latest,
    Number(i64),
}

/// Which versions count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Among {
    Alive,
    All,
    Deleted,
}

const ALIVE: &str = "select version, schema_id from schema_versions where subject = $1 and is_deleted = 0 \
     order by version desc";

impl Version {
    pub fn parse(text: &str) -> Result<Self, RegistryError> {
        match text {
            "latest" | "-1" => Ok(Self::Latest),
            _ => match text.parse::<i32>() {
                Ok(number) if number > 0 => Ok(Self::Number(number.into())),
                _ => Err(RegistryError::InvalidVersion(text.to_owned())),
            },
        }
    }
}

impl Among {
    const fn condition(self) -> &'static str {
        match self {
            Self::Alive => "is_deleted = 0",
            Self::All => "is_deleted >= 0",
            Self::Deleted => "is_deleted = 1",
        }
    }
}

impl Builtin {
    pub const fn new(store: Store) -> Self {
        Self { store }
    }

    async fn query(&self, sql: &str, params: Vec<Value>) -> Result<Rows, RegistryError> {
        Ok(self.store.reads().query(sql, params).await?)
    }

    /// Nobody else changes anything until the transaction ends.
    async fn lock(&self) -> Result<Box<dyn Transaction>, RegistryError> {
        let mut transaction = self.store.begin_durable().await?;
        let sql = "update schema_registry set last_schema_id = last_schema_id where id = 1";
        transaction.execute(sql, Vec::new()).await?;
        Ok(transaction)
    }

    /// In alphabetical order.
    pub async fn subjects(&self, among: Among) -> Result<Vec<String>, RegistryError> {
        // A subject is deleted when all of its versions are.
        let having = match among {
            Among::All => "",
            Among::Alive => "having min(is_deleted) = 0",
            Among::Deleted => "having min(is_deleted) = 1",
        };
        let sql = format!("select subject from schema_versions group by subject {having} order by subject");
        let rows = self.query(&sql, Vec::new()).await?;
        rows.iter().map(|row| Ok(row.text(0)?.to_owned())).collect()
    }

    pub async fn versions(&self, subject: &str, among: Among) -> Result<Vec<i64>, RegistryError> {
        let condition = among.condition();
        let sql = format!(
            "select version from schema_versions where subject = $1 and {condition} order by version"
        );
        let rows = self.query(&sql, vec![subject.into()]).await?;
        if rows.is_empty() {
            return Err(RegistryError::SubjectNotFound(subject.to_owned()));
        }
        rows.iter().map(|row| Ok(row.int(0)?)).collect()
    }

    pub async fn version(
        &self,
        subject: &str,
        version: Version,
        among: Among,
    ) -> Result<Registered, RegistryError> {
        let (condition, mut params) = (among.condition(), vec![subject.into()]);
        let which = match version {
            Version::Latest => "",
            Version::Number(number) => {
                params.push(number.into());
                "and version = $2"
            }
        };
        let sql = format!(
            "select version, schema_id, text from schema_versions join schemas on schemas.id = schema_id \
             where subject = $1 and {condition} {which} order by version desc limit 1"
        );
        match self.query(&sql, params).await?.first() {
            Some(row) => registered(subject, row),
            None => Err(self.no_version(subject, version).await?),
        }
    }

    /// Why there is no such version: there is no such subject, or it has no such version.
    async fn no_version(&self, subject: &str, version: Version) -> Result<RegistryError, RegistryError> {
        self.versions(subject, Among::All).await?;
        Ok(match version {
            Version::Number(number) => RegistryError::VersionNotFound(number.to_string()),
            // All are deleted.
            Version::Latest => RegistryError::SubjectNotFound(subject.to_owned()),
        })
    }

    /// Found also when all versions with it are deleted: what was written with it is to be read for ever.
    pub async fn schema(&self, id: SchemaId) -> Result<Option<String>, RegistryError> {
        let rows = self.query("select text from schemas where id = $1", vec![i64::from(id).into()]).await?;
        rows.first().map(|row| Ok(row.text(0)?.to_owned())).transpose()
    }

    /// The subjects and versions that have a schema.
    pub async fn places(&self, id: SchemaId, among: Among) -> Result<Vec<(String, i64)>, RegistryError> {
        if self.schema(id).await?.is_none() {
            return Err(RegistryError::SchemaNotFound);
        }
        let condition = among.condition();
        let sql = format!(
            "select subject, version from schema_versions where schema_id = $1 and {condition} \
             order by subject, version"
        );
        let rows = self.query(&sql, vec![i64::from(id).into()]).await?;
        rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.int(1)?))).collect()
    }

    /// Where a schema is registered in a subject.
    pub async fn lookup(&self, subject: &str, text: &str, among: Among) -> Result<Registered, RegistryError> {
        let text = Text::parse(text).await?;
        if let Some(found) = self.find(subject, &text, among).await? {
            return Ok(found);
        }
        self.versions(subject, Among::All).await?;
        Err(RegistryError::SchemaNotFound)
    }

    async fn find(
        &self,
        subject: &str,
        text: &Text,
        among: Among,
    ) -> Result<Option<Registered>, RegistryError> {
        let condition = among.condition();
        let sql = format!(
            "select version, schema_id, text from schemas join schema_versions on schema_id = schemas.id \
             where fingerprint = $1 and subject = $2 and {condition} order by version desc limit 1"
        );
        let rows = self.query(&sql, vec![text.fingerprint.to_vec().into(), subject.into()]).await?;
        rows.first().map(|row| registered(subject, row)).transpose()
    }

    /// Registers a schema; when it is registered in the subject already, nothing changes.
    pub async fn register(&self, subject: &str, text: &str) -> Result<SchemaId, RegistryError> {
        check_subject(subject)?;
        let text = Text::parse(text).await?;
        if let Some(found) = self.find(subject, &text, Among::Alive).await? {
            return Ok(found.id);
        }
        let mut held = self.lock().await?;
        let id = register(&mut *held, subject, &text).await?;
        held.commit().await?;
        Ok(id)
    }

    /// Registers the schemas of this program, all or none, and has what is new under [`Level::FullTransitive`]: the log is
    /// replayed to readers of any age. Gives how many were new.
    pub async fn register_catalogue(&self, topic: impl Fn(Stream) -> String) -> Result<usize, RegistryError> {
        let mut unknown = Vec::new();
        for entry in CATALOGUE {
            let (subject, text) = (subject(&topic(entry.stream), entry), Text::parse(entry.avro).await?);
            if self.find(&subject, &text, Among::Alive).await?.is_none() {
                unknown.push((subject, text));
            }
        }
        if unknown.is_empty() {
            return Ok(0);
        }
        let mut held = self.lock().await?;
        for (subject, text) in &unknown {
            if held.query(ALIVE, vec![subject.as_str().into()]).await?.is_empty() {
                let sql = "insert into schema_levels (subject, compatibility) values ($1, $2) \
                     on conflict (subject) do nothing";
                let level = Level::FullTransitive.name();
                held.execute(sql, vec![subject.as_str().into(), level.into()]).await?;
            }
            register(&mut *held, subject, text).await?;
        }
        held.commit().await?;
        Ok(unknown.len())
    }

    /// What would be incompatible about a schema: with a version, or with those that the subject's level asks for.
    pub async fn check(
        &self,
        subject: &str,
        text: &str,
        with: Option<Version>,
    ) -> Result<Vec<Incompatibility>, RegistryError> {
        let text = Text::parse(text).await?;
        let with = match with {
            Some(Version::Number(number)) => {
                Some(self.version(subject, Version::Number(number), Among::Alive).await?)
            }
            Some(Version::Latest) => match self.version(subject, Version::Latest, Among::Alive).await {
                // The first version of a subject is compatible with all that there are.
                Err(RegistryError::SubjectNotFound(_)) => return Ok(Vec::new()),
                found => Some(found?),
            },
            None => None,
        };
        let asked = Asked::Reads(self.store.reads());
        incompatibilities(asked, subject, &text, with.as_ref()).await
    }

    /// Deletes a subject, softly or what was softly deleted for good; gives the versions that it had.
    pub async fn delete_subject(&self, subject: &str, permanent: bool) -> Result<Vec<i64>, RegistryError> {
        let all = self.versions(subject, Among::All).await?;
        let alive = self.versions(subject, Among::Alive).await;
        match (alive, permanent) {
            (Ok(alive), false) => {
                let sql = "update schema_versions set is_deleted = 1 where subject = $1";
                self.change(&[(sql, vec![subject.into()])]).await?;
                Ok(alive)
            }
            (Err(RegistryError::SubjectNotFound(_)), true) => {
                let subject: Value = subject.into();
                self.change(&[
                    (
                        "delete from schema_versions where subject = $1 and is_deleted = 1",
                        vec![subject.clone()],
                    ),
                    ("delete from schema_levels where subject = $1", vec![subject]),
                ])
                .await?;
                Ok(all)
            }
            (Ok(_), true) => Err(RegistryError::SubjectNotSoftDeleted(subject.to_owned())),
            (Err(RegistryError::SubjectNotFound(_)), false) => {
                Err(RegistryError::SubjectSoftDeleted(subject.to_owned()))
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Deletes a version, softly or what was softly deleted for good; gives its number.
    pub async fn delete_version(
        &self,
        subject: &str,
        version: Version,
        permanent: bool,
    ) -> Result<i64, RegistryError> {
        let among = if version == Version::Latest { Among::Alive } else { Among::All };
        let version = self.version(subject, version, among).await?.version;
        let is_alive = self.versions(subject, Among::Alive).await.is_ok_and(|alive| alive.contains(&version));
        let subject = subject.to_owned();
        let params = vec![subject.as_str().into(), version.into()];
        let sql = match (is_alive, permanent) {
            (true, false) => "update schema_versions set is_deleted = 1 where subject = $1 and version = $2",
            (false, true) => {
                "delete from schema_versions where subject = $1 and version = $2 and is_deleted = 1"
            }
            (true, true) => return Err(RegistryError::VersionNotSoftDeleted { subject, version }),
            (false, false) => return Err(RegistryError::VersionSoftDeleted { subject, version }),
        };
        self.change(&[(sql, params)]).await?;
        Ok(version)
    }

    pub async fn level(&self) -> Result<Level, RegistryError> {
        let rows = self.query("select compatibility from schema_registry where id = 1", Vec::new()).await?;
        level(rows.first())?.ok_or_else(|| RegistryError::Broken("the registry has no level".to_owned()))
    }

    pub async fn set_level(&self, level: Level) -> Result<(), RegistryError> {
        let sql = "update schema_registry set compatibility = $1 where id = 1";
        self.change(&[(sql, vec![level.name().into()])]).await
    }

    /// A subject's own level.
    pub async fn subject_level(&self, subject: &str) -> Result<Level, RegistryError> {
        let sql = "select compatibility from schema_levels where subject = $1";
        let rows = self.query(sql, vec![subject.into()]).await?;
        level(rows.first())?.ok_or_else(|| RegistryError::NoLevel(subject.to_owned()))
    }

    pub async fn set_subject_level(&self, subject: &str, level: Level) -> Result<(), RegistryError> {
        check_subject(subject)?;
        let count = self.query("select count(*) from schema_levels", Vec::new()).await?;
        if count.first().is_some_and(|row| row.int(0).unwrap_or(0) >= SUBJECTS_MAX) {
            return Err(RegistryError::Full);
        }
        let sql = "insert into schema_levels (subject, compatibility) values ($1, $2) \
             on conflict (subject) do update set compatibility = excluded.compatibility";
        self.change(&[(sql, vec![subject.into(), level.name().into()])]).await
    }

    /// Afterwards the global level holds for it; gives the one that it had.
    pub async fn delete_subject_level(&self, subject: &str) -> Result<Level, RegistryError> {
        let level = match self.subject_level(subject).await {
            Err(RegistryError::NoLevel(subject)) => return Err(RegistryError::SubjectNotFound(subject)),
            level => level?,
        };
        self.change(&[("delete from schema_levels where subject = $1", vec![subject.into()])]).await?;
        Ok(level)
    }

    async fn change(&self, statements: &[(&str, Vec<Value>)]) -> Result<(), RegistryError> {
        let mut held = self.lock().await?;
        for (sql, params) in statements {
            held.execute(sql, params.clone()).await?;
        }
        Ok(held.commit().await?)
    }
}

impl Source for Builtin {
    fn schema(&self, id: SchemaId) -> Asking<'_, Option<String>> {
        Box::pin(self.schema(id))
    }

    fn id<'a>(&'a self, subject: &'a str, text: &'a str) -> Asking<'a, Option<SchemaId>> {
        Box::pin(async move {
            let text = Text::parse(text).await?;
            Ok(self.find(subject, &text, Among::Alive).await?.map(|found| found.id))
        })
    }

    fn check<'a>(&'a self, subject: &'a str, text: &'a str) -> Asking<'a, Vec<String>> {
        Box::pin(async move {
            let found = self.check(subject, text, None).await?;
            Ok(found.iter().map(ToString::to_string).collect())
        })
    }

    fn register<'a>(&'a self, subject: &'a str, text: &'a str) -> Asking<'a, SchemaId> {
        Box::pin(self.register(subject, text))
    }

    fn set_level<'a>(&'a self, subject: &'a str, level: Level) -> Asking<'a, ()> {
        Box::pin(self.set_subject_level(subject, level))
    }
}

fn check_subject(subject: &str) -> Result<(), RegistryError> {
    let fits = (1..=SUBJECT_CHARS_MAX).contains(&subject.chars().count());
    if fits && !subject.contains(char::is_control) { Ok(()) } else { Err(RegistryError::InvalidSubject) }
}

async fn register(held: &mut dyn Transaction, subject: &str, text: &Text) -> Result<SchemaId, RegistryError> {
    let sql = "select schema_id from schema_versions join schemas on schemas.id = schema_id \
         where subject = $1 and fingerprint = $2 and is_deleted = 0";
    let fingerprint: Value = text.fingerprint.to_vec().into();
    let rows = held.query(sql, vec![subject.into(), fingerprint.clone()]).await?;
    if let Some(row) = rows.first() {
        return schema_id(row.int(0)?);
    }
    let details = incompatibilities(Asked::Held(held), subject, text, None).await?;
    if !details.is_empty() {
        return Err(RegistryError::Incompatible { subject: subject.to_owned(), details });
    }
    let version = next_version(held, subject).await?;
    let known = held.query("select id from schemas where fingerprint = $1", vec![fingerprint]).await?;
    let id = match known.first() {
        Some(row) => row.int(0)?,
        None => insert_schema(held, text).await?,
    };
    let sql = "insert into schema_versions (subject, version, schema_id, is_deleted) values ($1, $2, $3, 0)";
    held.execute(sql, vec![subject.into(), version.into(), id.into()]).await?;
    schema_id(id)
}

/// Where to read: what is committed, or what a transaction sees that holds the lock.
enum Asked<'a> {
    Reads(&'a dyn Reads),
    Held(&'a mut dyn Transaction),
}

impl Asked<'_> {
    async fn query(&mut self, sql: &str, params: Vec<Value>) -> Result<Rows, RegistryError> {
        Ok(match self {
            Self::Reads(reads) => reads.query(sql, params).await?,
            Self::Held(transaction) => transaction.query(sql, params).await?,
        })
    }
}

/// Compares with one version after the other, so that one of them at most is in memory.
async fn incompatibilities(
    mut asked: Asked<'_>,
    subject: &str,
    text: &Text,
    with: Option<&Registered>,
) -> Result<Vec<Incompatibility>, RegistryError> {
    let sql = "select compatibility from schema_levels where subject = $1 union all \
         select compatibility from schema_registry where not exists \
         (select 1 from schema_levels where subject = $1)";
    let rows = asked.query(sql, vec![subject.into()]).await?;
    let level = level(rows.first())?.unwrap_or(Level::Backward);
    if let Some(with) = with {
        return compared(level, text, with.version, &with.text);
    }
    let versions = asked.query(ALIVE, vec![subject.into()]).await?;
    for row in versions.iter().take(if level.is_transitive() { usize::MAX } else { 1 }) {
        let rows = asked.query("select text from schemas where id = $1", vec![row.int(1)?.into()]).await?;
        let earlier = rows.first().ok_or(RegistryError::SchemaNotFound)?;
        let found = compared(level, text, row.int(0)?, earlier.text(0)?)?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

fn compared(
    level: Level,
    new: &Text,
    version: i64,
    earlier: &str,
) -> Result<Vec<Incompatibility>, RegistryError> {
    let earlier = compatibility::parse(earlier).map_err(|error| {
        RegistryError::Broken(format!("version {version} cannot be read any more: {error}"))
    })?;
    Ok(compatibility::check(level, &new.schema, &[(version, &earlier)]))
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
    let id = rows.first().ok_or_else(|| RegistryError::Broken("the registry's row is gone".to_owned()))?;
    let id = id.int(0)?;
    let params = vec![id.into(), text.fingerprint.to_vec().into(), text.json.as_str().into()];
    held.execute("insert into schemas (id, fingerprint, text) values ($1, $2, $3)", params).await?;
    Ok(id)
}

fn registered(subject: &str, row: Row<'_>) -> Result<Registered, RegistryError> {
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

fn level(row: Option<Row<'_>>) -> Result<Option<Level>, RegistryError> {
    let Some(row) = row else { return Ok(None) };
    let name = row.text(0)?;
    let level = Level::parse(name);
    level.map(Some).ok_or_else(|| RegistryError::Broken(format!("{name} is no compatibility level")))
}
