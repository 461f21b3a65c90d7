//! Lays the sources over each other: what is known, what is right, and which source wins.

use std::collections::BTreeMap;

use anyhow::bail;

use super::{
    kind::{Kind, Raw, Value},
    sources::{Given, Source},
    table::{ALIASES, DATABASE, SETTINGS, Setting, WITHOUT_EFFECT},
};

/// Values are shown in messages up to this length.
const SHOWN_CHARS_MAX: usize = 80;
/// A key further away than this is not what somebody meant to write.
const DISTANCE_MAX: usize = 10;

/// One setting with the value that counts.
#[derive(Debug)]
pub struct Resolved {
    pub setting: &'static Setting,
    pub value: Value,
    pub source: Source,
}

/// All settings, in the order of the table.
#[derive(Debug)]
pub struct Layers {
    pub resolved: Vec<Resolved>,
    /// Keys that were given, are allowed and do nothing.
    pub without_effect: Vec<(String, Source)>,
}

impl Layers {
    pub fn defaults() -> Self {
        let resolve = |setting: &'static Setting| {
            let value = setting.default.map_or(Value::Absent, |text| {
                setting.kind.parse(&Raw::Text(text.to_owned())).expect("a test reads every default")
            });
            Resolved { setting, value, source: Source::Default }
        };
        Self { resolved: SETTINGS.iter().map(resolve).collect(), without_effect: Vec::new() }
    }

    /// Puts one more source over those before it.
    pub fn add(&mut self, layer: Vec<Given>) -> anyhow::Result<()> {
        let mut seen: BTreeMap<&'static str, Source> = BTreeMap::new();
        for given in join_items(layer)? {
            let setting = match find(&given.key) {
                Found::Setting(setting) => setting,
                Found::WithoutEffect => {
                    self.without_effect.push((given.key, given.source));
                    continue;
                }
                Found::Nothing => bail!("{}", unknown(&given)),
            };
            if let Some(before) = seen.insert(setting.key, given.source.clone()) {
                bail!(
                    "{} is set twice, by {before} and by {}: remove one of them",
                    setting.key,
                    given.source
                );
            }
            let value =
                setting.kind.parse(&given.raw).map_err(|expected| wrong(setting, &given, &expected))?;
            let place = self.resolved.iter_mut().find(|resolved| resolved.setting.key == setting.key);
            let place = place.expect("the layers begin with every setting's default");
            (place.value, place.source) = (value, given.source);
        }
        Ok(())
    }

    pub fn of(&self, key: &str) -> &Resolved {
        let found = self.resolved.iter().find(|resolved| resolved.setting.key == key);
        found.expect("only keys of the table are asked for")
    }
}

enum Found {
    Setting(&'static Setting),
    WithoutEffect,
    Nothing,
}

fn find(key: &str) -> Found {
    let alias = ALIASES.iter().find(|(alias, _)| alias.eq_ignore_ascii_case(key));
    let key = alias.map_or(key, |(_, name)| name);
    if let Some(setting) = SETTINGS.iter().find(|setting| setting.key.eq_ignore_ascii_case(key)) {
        return Found::Setting(setting);
    }
    let lower = key.to_ascii_lowercase();
    let inert = WITHOUT_EFFECT.iter().any(|name| {
        let name = name.to_ascii_lowercase();
        lower == name || (name.ends_with(':') && lower.starts_with(&name))
    });
    if inert { Found::WithoutEffect } else { Found::Nothing }
}

/// Joins `Cors__AllowedOrigins__0`, `…__1` … to the one list that they are.
fn join_items(layer: Vec<Given>) -> anyhow::Result<Vec<Given>> {
    let mut joined = Vec::new();
    let mut lists: BTreeMap<&'static str, BTreeMap<usize, (String, Source)>> = BTreeMap::new();
    for given in layer {
        let item = match (given.key.rsplit_once(':'), &given.raw) {
            (Some((list, index)), Raw::Text(text)) => match (find(list), index.parse::<usize>()) {
                (Found::Setting(setting), Ok(index)) if matches!(setting.kind, Kind::Origins) => {
                    Some((setting.key, index, text.clone()))
                }
                _ => None,
            },
            _ => None,
        };
        match item {
            Some((key, index, text)) => {
                let source = given.source.clone();
                if lists.entry(key).or_default().insert(index, (text, source)).is_some() {
                    bail!("{} sets number {index} of {key} a second time: remove it", given.source);
                }
            }
            None => joined.push(given),
        }
    }
    for (key, items) in lists {
        for (expected, (index, (_, source))) in items.iter().enumerate() {
            if expected != *index {
                bail!("{source} is number {index} of {key}, but there is no number {expected}: count from 0");
            }
        }
        let Some((_, source)) = items.get(&0).cloned() else { continue };
        let texts: Vec<String> = items.into_values().map(|(text, _)| text).collect();
        joined.push(Given { key: key.to_owned(), raw: Raw::Text(texts.join(",")), source });
    }
    Ok(joined)
}

/// The sentence about a key that nobody knows, with the nearest one that somebody does.
fn unknown(given: &Given) -> String {
    let Given { key, source, .. } = given;
    let in_source = |name: &str| match source {
        Source::Variable(_) => name.replace(':', "__"),
        Source::Default | Source::File(_) | Source::Flag(_) => name.to_owned(),
    };
    let told = match source {
        Source::Variable(_) => format!("{source} is not a setting"),
        Source::Default | Source::File(_) | Source::Flag(_) => format!("{key} in {source} is not a setting"),
    };
    let is_section = SETTINGS.iter().any(|setting| {
        setting.key.split_once(':').is_some_and(|(section, _)| section.eq_ignore_ascii_case(key))
    });
    if is_section {
        return format!("{told} but a section: write an object with settings, such as {{\"{key}\": {{…}}}}");
    }
    let lower = key.to_ascii_lowercase();
    let nearest = SETTINGS
        .iter()
        .map(|setting| (strsim::levenshtein(&lower, &setting.key.to_ascii_lowercase()), setting.key))
        .min();
    match nearest {
        Some((distance, name)) if distance <= DISTANCE_MAX => {
            format!("{told}; did you mean {}?", in_source(name))
        }
        _ => format!("{told}; remove it, or see all settings with `fintech config show`"),
    }
}

fn wrong(setting: &Setting, given: &Given, expected: &str) -> anyhow::Error {
    let Setting { key, .. } = setting;
    let by = match &given.source {
        Source::File(name) => format!("in {name}"),
        source @ (Source::Default | Source::Variable(_) | Source::Flag(_)) => format!("set by {source}"),
    };
    // A connection string that cannot be read may hold a password anywhere.
    let is = if setting.is_secret || *key == DATABASE {
        "has a value that cannot be used".to_owned()
    } else {
        format!("is {}", shown(&given.raw))
    };
    anyhow::anyhow!("{key}, {by}, {is}; it must be {expected}")
}

fn shown(raw: &Raw) -> String {
    let text = match raw {
        Raw::Text(text) => format!("{text:?}"),
        Raw::Json(json) => json.to_string(),
    };
    if text.chars().count() <= SHOWN_CHARS_MAX {
        return text;
    }
    let beginning: String = text.chars().take(SHOWN_CHARS_MAX).collect();
    format!("{beginning}…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(key: &str, text: &str) -> Given {
        let source = Source::Variable(key.replace(':', "__"));
        Given { key: key.to_owned(), raw: Raw::Text(text.to_owned()), source }
    }

    fn add(layer: Vec<Given>) -> Result<Layers, String> {
        let mut layers = Layers::defaults();
        layers.add(layer).map(|()| layers).map_err(|error| error.to_string())
    }

    #[test]
    fn every_default_is_a_value_of_its_kind() {
        assert_eq!(Layers::defaults().resolved.len(), SETTINGS.len());
    }

    #[test]
    fn an_unknown_key_names_the_nearest_known_one() {
        let told = add(vec![given("Server:ApiAdress", "x")]).unwrap_err();
        assert_eq!(
            told,
            "environment variable Server__ApiAdress is not a setting; did you mean Server__ApiAddress?"
        );
        let told = add(vec![given("Kafka:SomethingElseAltogether", "x")]).unwrap_err();
        assert!(told.ends_with("see all settings with `fintech config show`"), "{told}");
        let told = add(vec![given("server", "x")]).unwrap_err();
        assert!(told.contains("but a section"), "{told}");
    }

    #[test]
    fn a_wrong_value_is_told_with_its_source_and_what_to_write() {
        let told = add(vec![given("Ledger:Lanes", "1025")]).unwrap_err();
        assert_eq!(
            told,
            "Ledger:Lanes, set by environment variable Ledger__Lanes, is \"1025\"; \
             it must be a whole number from 1 to 1024"
        );
    }

    #[test]
    fn a_wrong_secret_is_not_repeated() {
        for key in ["Security:BankDetailsKey", "ConnectionStrings:DefaultConnection"] {
            let told = add(vec![given(key, "hunter2")]).unwrap_err();
            assert!(!told.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn a_key_in_two_spellings_is_told() {
        let told = add(vec![given("Store:Readers", "1"), given("STORE:READERS", "2")]).unwrap_err();
        assert!(told.starts_with("Store:Readers is set twice"), "{told}");
        let told = add(vec![given("Logging:Level", "info"), given("Logging:LogLevel:Default", "Debug")]);
        assert!(told.unwrap_err().starts_with("Logging:Level is set twice"));
    }

    #[test]
    fn numbered_variables_are_one_list() {
        let layers =
            add(vec![given("Cors:AllowedOrigins:0", "http://a"), given("cors:allowedorigins:1", "http://b")]);
        let layers = layers.unwrap();
        let expected = Value::Origins(vec!["http://a".to_owned(), "http://b".to_owned()]);
        assert_eq!(layers.of("Cors:AllowedOrigins").value, expected);
        let told = add(vec![given("Cors:AllowedOrigins:1", "http://a")]).unwrap_err();
        assert!(told.contains("there is no number 0"), "{told}");
    }

    #[test]
    fn what_only_the_first_platform_knew_is_allowed_and_told() {
        let layers =
            add(vec![given("Logging:LogLevel:Microsoft", "Warning"), given("AllowedHosts", "*")]).unwrap();
        assert_eq!(layers.without_effect.len(), 2);
    }
}
