//! Where settings are written: files, the environment, flags. Each source gives what it holds as
//! (key, value) and judges nothing but its own form.

use std::{
    ffi::OsString,
    fmt, fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value as Json;

use super::{kind::Raw, table::SETTINGS};

pub const FILE: &str = "appsettings.json";
pub const ENVIRONMENT_VARIABLE: &str = "FINTECH_ENVIRONMENT";

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    Default,
    File(String),
    Variable(String),
    Flag(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(name) => f.write_str(name),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// One value as somebody wrote it.
#[derive(Debug)]
pub struct Given {
    /// Sections and name with colons between them, as written.
    pub key: String,
    pub raw: Raw,
    pub source: Source,
}

/// What the command line says of settings.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    pub config: Option<PathBuf>,
    pub listen: Option<String>,
    pub operations: Option<String>,
    pub registry: Option<String>,
    pub database: Option<String>,
    pub roles: Option<String>,
}

impl Flags {
    pub fn given(&self) -> Vec<Given> {
        let flag = |key: &str, name: &'static str, value: &Option<String>| {
            value.clone().map(|text| Given {
                key: key.to_owned(),
                raw: Raw::Text(text),
                source: Source::Flag(name),
            })
        };
        let listen = flag(super::table::API_ADDRESS, "--listen", &self.listen);
        let operations = flag(super::table::OPERATIONS_ADDRESS, "--operations", &self.operations);
        let registry = flag(super::table::REGISTRY_ADDRESS, "--registry", &self.registry);
        let database = flag(super::table::DATABASE, "--database", &self.database);
        let roles = flag(super::table::ROLES, "--roles", &self.roles);
        [listen, operations, registry, database, roles].into_iter().flatten().collect()
    }
}

/// The files that count, in order: `appsettings.json` or the one of `--config`, and beside it the one of
/// the environment's name. A file that somebody asked for by name must exist.
pub fn files(config: Option<&Path>, environment: Option<&str>) -> anyhow::Result<Vec<Vec<Given>>> {
    let path = config.unwrap_or_else(|| Path::new(FILE));
    let mut layers = Vec::new();
    match fs::read_to_string(path) {
        Ok(text) => layers.push(file(path, &text)?),
        Err(error) if error.kind() == ErrorKind::NotFound && config.is_none() => {}
        Err(error) => bail!("cannot read {}: {error}", path.display()),
    }
    if let Some(environment) = environment.filter(|name| !name.is_empty()) {
        let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if !environment.chars().all(named) {
            bail!("{ENVIRONMENT_VARIABLE} must be a name such as Staging, of letters, digits, - and _");
        }
        let path = path.with_file_name(format!("appsettings.{environment}.json"));
        let text = fs::read_to_string(&path).map_err(|error| {
            anyhow::anyhow!(
                "{ENVIRONMENT_VARIABLE} is {environment}, but {} cannot be read ({error}); \
                 create the file or unset {ENVIRONMENT_VARIABLE}",
                path.display()
            )
        })?;
        layers.push(file(&path, &text)?);
    }
    Ok(layers)
}

fn file(path: &Path, text: &str) -> anyhow::Result<Vec<Given>> {
    let name = path.display().to_string();
    // .NET's tools write a byte order mark, which RFC 8259 §8.1 allows to be ignored.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut leaves = Vec::new();
    let mut json = serde_json::Deserializer::from_str(text);
    Walk { key: String::new(), leaves: &mut leaves }
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .with_context(|| {
            format!("{name} is not a JSON object as RFC 8259 has it (comments are not allowed)")
        })?;
    let given = |(key, json)| Given { key, raw: Raw::Json(json), source: Source::File(name.clone()) };
    Ok(leaves.into_iter().map(given).collect())
}

/// Collects everything that is not an object, with the path to it. Unlike a map, it keeps a key that is
/// written twice.
struct Walk<'a> {
    key: String,
    leaves: &'a mut Vec<(String, Json)>,
}

impl Walk<'_> {
    fn leaf<E: serde::de::Error>(self, json: Json) -> Result<(), E> {
        if self.key.is_empty() {
            return Err(E::custom("expected an object with sections, such as {\"Server\": {…}}"));
        }
        self.leaves.push((self.key, json));
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key::<String>()? {
            let key = if self.key.is_empty() { name } else { format!("{}:{name}", self.key) };
            map.next_value_seed(Walk { key, leaves: &mut *self.leaves })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element::<Json>()? {
            items.push(item);
        }
        self.leaf(Json::Array(items))
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<(), E> {
        self.leaf(Json::from(value))
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<(), E> {
        self.leaf(Json::from(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<(), E> {
        self.leaf(Json::from(value))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<(), E> {
        self.leaf(Json::from(value))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.leaf(Json::from(value))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.leaf(Json::Null)
    }
}

/// The variables whose first segment is a known section; all others are somebody else's.
pub fn environment(variables: impl Iterator<Item = (OsString, OsString)>) -> anyhow::Result<Vec<Given>> {
    let mut given = Vec::new();
    for (name, value) in variables {
        let Some(name) = name.to_str() else { continue };
        let Some((section, _)) = name.split_once("__") else { continue };
        let is_known = SETTINGS
            .iter()
            .filter_map(|setting| setting.key.split_once(':'))
            .any(|(known, _)| known.eq_ignore_ascii_case(section));
        if !is_known {
            continue;
        }
        let Some(value) = value.to_str() else {
            bail!("environment variable {name} is not UTF-8: write it anew");
        };
        given.push(Given {
            key: name.replace("__", ":"),
            raw: Raw::Text(value.to_owned()),
            source: Source::Variable(name.to_owned()),
        });
    }
    // The order of the environment is nobody's promise; that of the messages should be.
    given.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(text: &str) -> anyhow::Result<Vec<String>> {
        file(Path::new(FILE), text).map(|given| given.into_iter().map(|given| given.key).collect())
    }

    #[test]
    fn a_file_is_flattened_and_a_repeated_key_is_kept() {
        let text = "\u{feff}{\"A\": {\"B\": 1, \"C\": [\"x\"], \"B\": null}, \"D:E\": true, \"F\": {}}";
        assert_eq!(keys(text).unwrap(), ["A:B", "A:C", "A:B", "D:E"]);
    }

    #[test]
    fn broken_json_is_told_with_its_place() {
        for (text, place) in [
            ("{\"A\": {\n  \"B\": 1,\n}}", "line 3 column 1"),
            ("{} {}", "line 1 column 4"),
            ("[1]", "line 1 column 3"),
            ("", "line 1 column 0"),
            ("{\n// a comment\n}", "line 2 column 1"),
        ] {
            let error = format!("{:#}", keys(text).unwrap_err());
            assert!(error.starts_with("appsettings.json is not") && error.contains(place), "{text}: {error}");
        }
    }

    #[test]
    fn only_variables_of_known_sections_are_looked_at() {
        let variables =
            [("PATH", "x"), ("OTHER__KEY", "x"), ("SERVER__API", "x"), ("Server", "x"), ("kafka__A__0", "")];
        let variables = variables.map(|(name, value)| (name.into(), value.into()));
        let given = environment(variables.into_iter()).unwrap();
        let keys: Vec<&str> = given.iter().map(|given| given.key.as_str()).collect();
        assert_eq!(keys, ["SERVER:API", "kafka:A:0"]);
    }
}
