//! The kinds of values: how each is read from a text or from JSON, and what to write instead when it
//! cannot be.

use std::{fmt, net::SocketAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::Value as Json;
use tracing_subscriber::EnvFilter;

use super::database::Database;

#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Database,
    /// An empty text is none.
    Address {
        empty: bool,
    },
    /// Origins (RFC 6454) of web pages.
    Origins,
    Integer {
        min: u64,
        max: u64,
    },
    Switch,
    Text {
        chars_max: usize,
    },
    /// One of these words, in letters of either case.
    Choice(&'static [&'static str]),
    /// Some of these words, at least one, with commas between them.
    Words(&'static [&'static str]),
    /// What a topic or group may be called.
    KafkaName {
        empty: bool,
    },
    /// 32 bytes in base64 (RFC 4648 §4).
    Key,
    LogLevel,
}

/// As it stands in its source.
#[derive(Clone, Debug)]
pub enum Raw {
    Text(String),
    Json(Json),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Absent,
    Database(Database),
    Address(SocketAddr),
    Origins(Vec<String>),
    Integer(u64),
    Switch(bool),
    Text(String),
    Words(Vec<&'static str>),
    Key(SecretKey),
    LogLevel(String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SecretKey(pub [u8; 32]);

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The levels of .NET, as the first platform's files have them, and what they are called here.
const DOTNET_LEVELS: &[(&str, &str)] = &[
    ("trace", "trace"),
    ("debug", "debug"),
    ("information", "info"),
    ("warning", "warn"),
    ("error", "error"),
    ("critical", "error"),
    ("none", "off"),
];
const LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];

/// Kafka takes names of up to 249 characters; a prefix and the name of a topic share them.
const KAFKA_NAME_CHARS_MAX: usize = 200;

impl Kind {
    /// The value, or what should have been written: the end of "… must be ".
    pub fn parse(self, raw: &Raw) -> Result<Value, String> {
        let parsed = match (self, raw) {
            (Self::Origins, Raw::Json(Json::Array(items))) => {
                let texts: Option<Vec<&str>> = items.iter().map(Json::as_str).collect();
                texts.and_then(|texts| origins(texts.into_iter()))
            }
            (Self::Words(words), Raw::Json(Json::Array(items))) => {
                let texts: Option<Vec<&str>> = items.iter().map(Json::as_str).collect();
                texts.and_then(|texts| chosen(words, texts.into_iter()))
            }
            (Self::Origins, Raw::Text(text)) => origins(text.split(',').map(str::trim)),
            (Self::Integer { min, max }, Raw::Json(Json::Number(number))) => {
                number.as_u64().and_then(|number| integer(number, min, max))
            }
            (Self::Switch, Raw::Json(Json::Bool(value))) => Some(Value::Switch(*value)),
            // A JSON text is not a number or a truth value, whatever stands in it.
            (Self::Origins | Self::Integer { .. } | Self::Switch, Raw::Json(_)) => None,
            (_, Raw::Text(text) | Raw::Json(Json::String(text))) => self.parse_text(text),
            (_, Raw::Json(_)) => None,
        };
        parsed.ok_or_else(|| self.expected())
    }

    fn parse_text(self, text: &str) -> Option<Value> {
        match self {
            Self::Database => Database::parse(text).map(Value::Database),
            Self::Address { empty: true } if text.is_empty() => Some(Value::Absent),
            Self::Address { .. } => text.parse().ok().map(Value::Address),
            Self::Origins => origins(text.split(',')),
            Self::Integer { min, max } => text.parse().ok().and_then(|number| integer(number, min, max)),
            Self::Switch => match text.to_ascii_lowercase().as_str() {
                "true" => Some(Value::Switch(true)),
                "false" => Some(Value::Switch(false)),
                _ => None,
            },
            Self::Text { chars_max } => {
                let fits = text.chars().count() <= chars_max && !text.contains(char::is_control);
                fits.then(|| Value::Text(text.to_owned()))
            }
            Self::Choice(words) => words
                .iter()
                .find(|word| word.eq_ignore_ascii_case(text))
                .map(|word| Value::Text((*word).to_owned())),
            Self::Words(words) => chosen(words, text.split(',').map(str::trim)),
            Self::KafkaName { empty } => {
                let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
                let fits = text.len() <= KAFKA_NAME_CHARS_MAX && text.chars().all(allowed);
                (fits && (empty || !text.is_empty())).then(|| Value::Text(text.to_owned()))
            }
            Self::Key => STANDARD.decode(text).ok()?.try_into().ok().map(SecretKey).map(Value::Key),
            Self::LogLevel => log_level(text).map(Value::LogLevel),
        }
    }

    fn expected(self) -> String {
        match self {
            Self::Database => "sqlite:PATH, such as sqlite:data/fintech.db, or \
                 postgres://USER:PASSWORD@HOST:PORT/DATABASE"
                .to_owned(),
            Self::Address { .. } => {
                "an IP address and a port, such as 127.0.0.1:5153 or [::1]:5153".to_owned()
            }
            Self::Origins => {
                "a list of origins, each a scheme, a host and perhaps a port, such as http://localhost:5173"
                    .to_owned()
            }
            Self::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Self::Switch => "true or false".to_owned(),
            Self::Text { chars_max } => {
                format!("a text of at most {chars_max} characters without control characters")
            }
            Self::Choice(words) => format!("one of {}", words.join(", ")),
            Self::Words(words) => format!("some of {}, with commas between them", words.join(", ")),
            Self::KafkaName { .. } => {
                format!("at most {KAFKA_NAME_CHARS_MAX} letters, digits, dots, underscores and hyphens")
            }
            Self::Key => {
                "32 bytes in base64, such as the output of `head -c 32 /dev/urandom | base64`".to_owned()
            }
            Self::LogLevel => {
                "off, error, warn, info, debug or trace, or directives such as info,store=debug".to_owned()
            }
        }
    }
}

/// In the order of the words, each once.
fn chosen<'a>(words: &'static [&'static str], texts: impl Iterator<Item = &'a str>) -> Option<Value> {
    let texts: Vec<&str> = texts.collect();
    let known = |text: &&str| words.iter().any(|word| word.eq_ignore_ascii_case(text));
    let given = |word: &&&str| texts.iter().any(|text| word.eq_ignore_ascii_case(text));
    (!texts.is_empty() && texts.iter().all(known))
        .then(|| Value::Words(words.iter().filter(given).copied().collect()))
}

fn integer(number: u64, min: u64, max: u64) -> Option<Value> {
    (min..=max).contains(&number).then_some(Value::Integer(number))
}

fn origins<'a>(texts: impl Iterator<Item = &'a str>) -> Option<Value> {
    let texts: Vec<&str> = texts.collect();
    // An empty text is how the environment writes an empty list.
    if texts == [""] {
        return Some(Value::Origins(Vec::new()));
    }
    let all = texts.iter().all(|text| is_origin(text));
    all.then(|| Value::Origins(texts.into_iter().map(str::to_owned).collect()))
}

/// As a browser sends it (RFC 6454 §6.2): compared letter by letter, so a slash at the end or a letter in
/// upper case would never match.
fn is_origin(text: &str) -> bool {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let allowed = |c: char| {
        c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']')
    };
    rest.is_some_and(|host| !host.is_empty() && !host.starts_with(':') && host.chars().all(allowed))
}

/// The filter's directives. A word alone must be a level: the filter itself would take a misspelt level
/// for the name of a module and log nothing.
fn log_level(text: &str) -> Option<String> {
    let dotnet = DOTNET_LEVELS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    if let Some((_, level)) = dotnet {
        return Some((*level).to_owned());
    }
    let is_directive =
        |part: &str| part.contains('=') || LEVELS.iter().any(|level| level.eq_ignore_ascii_case(part));
    let directives = text.split(',').map(str::trim).all(is_directive);
    (directives && EnvFilter::try_new(text).is_ok()).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(kind: Kind, text: &str) -> Option<Value> {
        kind.parse(&Raw::Text(text.to_owned())).ok()
    }

    fn json(kind: Kind, json: Json) -> Option<Value> {
        kind.parse(&Raw::Json(json)).ok()
    }

    #[test]
    fn levels_of_dotnet_are_understood_and_misspelt_ones_are_not_modules() {
        for (written, read) in [
            ("Information", "info"),
            ("Warning", "warn"),
            ("None", "off"),
            ("info,store=debug", "info,store=debug"),
        ] {
            assert_eq!(text(Kind::LogLevel, written), Some(Value::LogLevel(read.to_owned())));
        }
        for bad in ["inof", "", "info,stoer", "store=loud"] {
            assert_eq!(text(Kind::LogLevel, bad), None, "{bad}");
        }
    }

    #[test]
    fn a_json_text_is_not_a_number() {
        let kind = Kind::Integer { min: 1, max: 10 };
        assert_eq!(json(kind, Json::from(5)), Some(Value::Integer(5)));
        for bad in
            [Json::from("5"), Json::from(5.0), Json::from(0), Json::from(11), Json::from(-1), Json::Null]
        {
            assert_eq!(json(kind, bad.clone()), None, "{bad}");
        }
        assert_eq!(json(Kind::Switch, Json::from("true")), None);
        assert_eq!(text(Kind::Switch, "True"), Some(Value::Switch(true)));
    }

    #[test]
    fn an_origin_is_written_as_a_browser_sends_it() {
        let list = |items: &[&str]| Some(Value::Origins(items.iter().map(|&item| item.to_owned()).collect()));
        assert_eq!(text(Kind::Origins, "http://a:1, https://b"), list(&["http://a:1", "https://b"]));
        assert_eq!(text(Kind::Origins, ""), list(&[]));
        assert_eq!(json(Kind::Origins, serde_json::json!([])), list(&[]));
        for bad in
            ["*", "localhost:5173", "http://a/", "http://A", "http://", "ftp://a", "http://a,,http://b"]
        {
            assert_eq!(text(Kind::Origins, bad), None, "{bad}");
        }
    }
}
