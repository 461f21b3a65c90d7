//! Released schemas in a file that is kept with the sources, so that a change of one of them is seen before a deployment.

use std::{
    fs,
    io::ErrorKind,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use anyhow::Context as _;
use registry::{Asking, Level, RegistryError, Source};
use schema::{
    catalogue::{CATALOGUE, Entry},
    compatibility,
    frame::SchemaId,
};
use serde_json::{Map, Value, json};

/// By subject the texts of its versions, in their order. The place in all of the file is the id.
type Subjects = Map<String, Value>;

pub struct Released {
    path: PathBuf,
    subjects: Mutex<Subjects>,
    before: Subjects,
}

impl Released {
    pub fn open(path: PathBuf) -> anyhow::Result<Self> {
        let subjects = match fs::read_to_string(&path) {
            Ok(text) => {
                serde_json::from_str(&text).with_context(|| format!("{} cannot be read", path.display()))?
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Subjects::new(),
            Err(error) => return Err(error).with_context(|| format!("{} cannot be read", path.display())),
        };
        Ok(Self { path, before: subjects.clone(), subjects: Mutex::new(subjects) })
    }

    /// Writes what was registered.
    pub fn save(&self) -> anyhow::Result<()> {
        let subjects = self.lock();
        if *subjects == self.before {
            return Ok(());
        }
        let text = serde_json::to_string_pretty(&*subjects).context("schemas are JSON")?;
        fs::write(&self.path, text + "\n")
            .with_context(|| format!("{} cannot be written", self.path.display()))
    }

    fn lock(&self) -> MutexGuard<'_, Subjects> {
        self.subjects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, subject: &str, text: &str) -> Result<Option<SchemaId>, RegistryError> {
        let wanted = parsed(text)?;
        let mut id: SchemaId = 0;
        for (known, versions) in self.lock().iter() {
            for version in versions.as_array().into_iter().flatten() {
                id += 1;
                if known == subject && *version == wanted {
                    return Ok(Some(id));
                }
            }
        }
        Ok(None)
    }

    fn count(&self, subject: &str) -> usize {
        self.lock().get(subject).and_then(Value::as_array).map_or(0, Vec::len)
    }

    /// What to say of an event that differs from what was released under its version.
    pub fn changed(&self, subject: &str, entry: &Entry) -> Option<String> {
        let Entry { event_type, version, .. } = entry;
        let released = self.count(subject);
        (usize::from(*version) <= released).then(|| {
            format!(
                "{event_type}.v{version} was released, and events were written by it: put it back as it was, and make \
                 the change as {event_type}.v{}.",
                released + 1
            )
        })
    }

    /// What to say of each version that was released and is not there any more.
    pub fn gone(&self, subject: impl Fn(&Entry) -> String) -> Vec<String> {
        let subjects: Vec<(String, usize)> = self
            .lock()
            .iter()
            .map(|(s, versions)| (s.clone(), versions.as_array().map_or(0, Vec::len)))
            .collect();
        let mut gone = Vec::new();
        for (released, count) in subjects {
            let there = CATALOGUE.iter().filter(|entry| subject(entry) == released).count();
            gone.extend((there + 1..=count).map(|version| {
                format!(
                    "Version {version} of {released} was released and is gone: events were written by it, which must \
                     be read for ever; put it back."
                )
            }));
        }
        gone
    }

    /// Against all earlier ones: the log is replayed to readers of any age.
    fn incompatible(&self, subject: &str, text: &str) -> Result<Vec<String>, RegistryError> {
        let refused = |error: &dyn ToString| RegistryError::InvalidSchema(error.to_string());
        let new = compatibility::parse(text).map_err(|error| refused(&error))?;
        let mut sentences = Vec::new();
        for (number, version) in
            (1..).zip(self.lock().get(subject).and_then(Value::as_array).into_iter().flatten())
        {
            let earlier = compatibility::parse(&version.to_string()).map_err(|error| refused(&error))?;
            let found = compatibility::check(Level::FullTransitive, &new, &[(number, &earlier)]);
            sentences.extend(found.iter().map(ToString::to_string));
        }
        Ok(sentences)
    }
}

fn parsed(text: &str) -> Result<Value, RegistryError> {
    serde_json::from_str(text).map_err(|error| RegistryError::InvalidSchema(error.to_string()))
}

impl Source for Released {
    fn schema(&self, id: SchemaId) -> Asking<'_, Option<String>> {
        let subjects = self.lock();
        let mut texts = subjects.values().filter_map(Value::as_array).flatten();
        let text = usize::try_from(id).ok().and_then(|id| texts.nth(id.checked_sub(1)?));
        Box::pin(std::future::ready(Ok(text.map(Value::to_string))))
    }

    fn id<'a>(&'a self, subject: &'a str, text: &'a str) -> Asking<'a, Option<SchemaId>> {
        Box::pin(async move { self.find(subject, text) })
    }

    fn check<'a>(&'a self, subject: &'a str, text: &'a str) -> Asking<'a, Vec<String>> {
        Box::pin(async move { self.incompatible(subject, text) })
    }

    fn register<'a>(&'a self, subject: &'a str, text: &'a str) -> Asking<'a, SchemaId> {
        Box::pin(async move {
            let text_value = parsed(text)?;
            let mut subjects = self.lock();
            let versions = subjects.entry(subject).or_insert_with(|| json!([]));
            versions.as_array_mut().expect("a subject is a list of versions").push(text_value);
            drop(subjects);
            self.find(subject, text)?.ok_or(RegistryError::SchemaNotFound)
        })
    }

    fn set_level<'a>(&'a self, _: &'a str, _: Level) -> Asking<'a, ()> {
        Box::pin(std::future::ready(Ok(())))
    }
}
