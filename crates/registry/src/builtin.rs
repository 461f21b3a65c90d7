//! The built-in registry, in the platform's database.
//!
//! Whatever changes it does so in one transaction that holds the lock of its one row, so that of two that register at once
//! one sees the other's. An answer is given when it is on the disk: an id that went lost with a power cut would be given to
//! another schema, and records that were written meanwhile would be read by that one.

use domain::event::Stream;
use schema::{
    catalogue::CATALOGUE,
    compatibility::{Incompatibility, Level},
    frame::SchemaId,
};
use store::{
    Store,
    sql::{Rows, Transaction, Value},
};

use crate::{
    RegistryError, SUBJECT_CHARS_MAX, SUBJECTS_MAX,
    rows::{ALIVE, Asked, DELETE_LEVEL, alive, insert, level, numbers, registered, versions_of},
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

/// A registration is judged, and when another one came between, judged again.
const REGISTRATIONS_TRIED_MAX: u32 = 50;

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
            None => Err(self.no_version(subject, version, among).await?),
        }
    }

    /// Why there is no such version: there is no such subject, or it has no such version.
    async fn no_version(
        &self,
        subject: &str,
        version: Version,
        among: Among,
    ) -> Result<RegistryError, RegistryError> {
        self.versions(subject, among).await?;
        Ok(match version {
            Version::Number(number) => RegistryError::VersionNotFound(number.to_string()),
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
        self.versions(subject, among).await?;
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
        // Comparing may take long, so it is done before the lock is taken: payments wait for it, too.
        for _ in 0..REGISTRATIONS_TRIED_MAX {
            let mut asked = Asked::Reads(self.store.reads());
            let basis = asked.basis(subject).await?;
            let details = asked.incompatibilities(&basis, &text).await?;
            let mut held = self.lock().await?;
            if let Some(id) = alive(&mut *held, subject, &text).await? {
                return Ok(id);
            }
            if Asked::Held(&mut *held).basis(subject).await? != basis {
                continue;
            }
            if !details.is_empty() {
                return Err(RegistryError::Incompatible { subject: subject.to_owned(), details });
            }
            let id = insert(&mut *held, subject, &text).await?;
            held.commit().await?;
            return Ok(id);
        }
        Err(RegistryError::Unavailable("others register in this subject all the time".to_owned()))
    }

    /// Registers the schemas of this program, all or none, and has what is new under [`Level::FullTransitive`]: the log is
    /// replayed to readers of any age. Gives how many were new.
    pub async fn register_catalogue(&self, topic: impl Fn(Stream) -> String) -> Result<usize, RegistryError> {
        let mut unknown = Vec::new();
        for entry in CATALOGUE {
            let (subject, text) = (subject(&topic(entry.stream), entry), Text::parse(entry.avro).await?);
            // What somebody has deleted stays deleted.
            if self.find(&subject, &text, Among::All).await?.is_none() {
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
            if alive(&mut *held, subject, text).await?.is_some() {
                continue;
            }
            let mut asked = Asked::Held(&mut *held);
            let basis = asked.basis(subject).await?;
            let details = asked.incompatibilities(&basis, text).await?;
            if !details.is_empty() {
                return Err(RegistryError::Incompatible { subject: subject.clone(), details });
            }
            insert(&mut *held, subject, text).await?;
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
        let mut asked = Asked::Reads(self.store.reads());
        let mut basis = asked.basis(subject).await?;
        if let Some(version) = with {
            let found = self.version(subject, version, Among::Alive).await;
            basis.versions = match (found, version) {
                // The first version of a subject is compatible with all that there are.
                (Err(RegistryError::SubjectNotFound(_)), Version::Latest) => Vec::new(),
                (Err(RegistryError::SubjectNotFound(_)), Version::Number(number)) => {
                    return Err(RegistryError::VersionNotFound(number.to_string()));
                }
                (found, _) => found.map(|found| vec![(found.version, i64::from(found.id))])?,
            };
        }
        asked.incompatibilities(&basis, &text).await
    }

    /// Deletes a subject, softly or what was softly deleted for good; gives the versions that it had.
    pub async fn delete_subject(&self, subject: &str, permanent: bool) -> Result<Vec<i64>, RegistryError> {
        let mut held = self.lock().await?;
        let versions = versions_of(&mut *held, subject).await?;
        let alive: Vec<i64> = numbers(&versions, |is_deleted| !is_deleted);
        match (alive.is_empty(), permanent) {
            (false, false) => {
                let sql = "update schema_versions set is_deleted = 1 where subject = $1";
                held.execute(sql, vec![subject.into()]).await?;
                held.commit().await?;
                Ok(alive)
            }
            (true, true) => {
                held.execute("delete from schema_versions where subject = $1", vec![subject.into()]).await?;
                held.execute(DELETE_LEVEL, vec![subject.into()]).await?;
                held.commit().await?;
                Ok(numbers(&versions, |_| true))
            }
            (false, true) => Err(RegistryError::SubjectNotSoftDeleted(subject.to_owned())),
            (true, false) => Err(RegistryError::SubjectSoftDeleted(subject.to_owned())),
        }
    }

    /// Deletes a version, softly or what was softly deleted for good; gives its number.
    pub async fn delete_version(
        &self,
        subject: &str,
        version: Version,
        permanent: bool,
    ) -> Result<i64, RegistryError> {
        let mut held = self.lock().await?;
        let versions = versions_of(&mut *held, subject).await?;
        let version = match version {
            Version::Latest => numbers(&versions, |is_deleted| !is_deleted)
                .pop()
                .ok_or_else(|| RegistryError::SubjectNotFound(subject.to_owned()))?,
            Version::Number(number) => number,
        };
        let found = versions.iter().find(|(number, _)| *number == version);
        let (_, is_deleted) = found.ok_or_else(|| RegistryError::VersionNotFound(version.to_string()))?;
        let sql = match (is_deleted, permanent) {
            (false, false) => "update schema_versions set is_deleted = 1 where subject = $1 and version = $2",
            (true, true) => "delete from schema_versions where subject = $1 and version = $2",
            (false, true) => {
                return Err(RegistryError::VersionNotSoftDeleted { subject: subject.to_owned(), version });
            }
            (true, false) => {
                return Err(RegistryError::VersionSoftDeleted { subject: subject.to_owned(), version });
            }
        };
        held.execute(sql, vec![subject.into(), version.into()]).await?;
        if permanent && versions.len() == 1 {
            held.execute(DELETE_LEVEL, vec![subject.into()]).await?;
        }
        held.commit().await?;
        Ok(version)
    }

    pub async fn level(&self) -> Result<Level, RegistryError> {
        let rows = self.query("select compatibility from schema_registry where id = 1", Vec::new()).await?;
        level(rows.first())?.ok_or_else(|| RegistryError::Broken("the registry has no level".to_owned()))
    }

    pub async fn set_level(&self, level: Level) -> Result<(), RegistryError> {
        let mut held = self.lock().await?;
        let sql = "update schema_registry set compatibility = $1 where id = 1";
        held.execute(sql, vec![level.name().into()]).await?;
        Ok(held.commit().await?)
    }

    /// A subject's own level.
    pub async fn subject_level(&self, subject: &str) -> Result<Level, RegistryError> {
        let sql = "select compatibility from schema_levels where subject = $1";
        let rows = self.query(sql, vec![subject.into()]).await?;
        level(rows.first())?.ok_or_else(|| RegistryError::NoLevel(subject.to_owned()))
    }

    pub async fn set_subject_level(&self, subject: &str, level: Level) -> Result<(), RegistryError> {
        check_subject(subject)?;
        let mut held = self.lock().await?;
        let sql = "select count(*) from schema_levels where subject <> $1";
        let count = held.query(sql, vec![subject.into()]).await?;
        if count.first().is_some_and(|row| row.int(0).unwrap_or(0) >= SUBJECTS_MAX) {
            return Err(RegistryError::Full);
        }
        let sql = "insert into schema_levels (subject, compatibility) values ($1, $2) \
             on conflict (subject) do update set compatibility = excluded.compatibility";
        held.execute(sql, vec![subject.into(), level.name().into()]).await?;
        Ok(held.commit().await?)
    }

    /// Afterwards the global level holds for it; gives the one that it had.
    pub async fn delete_subject_level(&self, subject: &str) -> Result<Level, RegistryError> {
        let level = match self.subject_level(subject).await {
            Err(RegistryError::NoLevel(subject)) => return Err(RegistryError::SubjectNotFound(subject)),
            level => level?,
        };
        let mut held = self.lock().await?;
        held.execute(DELETE_LEVEL, vec![subject.into()]).await?;
        held.commit().await?;
        Ok(level)
    }
}

impl Source for Builtin {
    fn schema(&self, id: SchemaId) -> Asking<'_, Option<String>> {
        Box::pin(self.schema(id))
    }

    fn id<'a>(&'a self, subject: &'a str, text: &'a str) -> Asking<'a, Option<SchemaId>> {
        Box::pin(async move {
            let text = Text::parse(text).await?;
            // What was deleted since may still be written: its id stays what it is.
            Ok(self.find(subject, &text, Among::All).await?.map(|found| found.id))
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
