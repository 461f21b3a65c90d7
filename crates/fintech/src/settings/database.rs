//! Where the data is, as a person writes it.

use std::path::PathBuf;

/// `sqlite:PATH`, `postgres://…` or `postgresql://…`. Its `Debug` is the masked text.
#[derive(Clone, PartialEq, Eq)]
pub struct Database {
    location: store::Location,
    masked: String,
}

impl Database {
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("sqlite:") {
            // In memory each connection would have a database of its own, gone with it.
            let in_file = !path.is_empty() && !path.contains(":memory:") && !path.contains('\0');
            let location = store::Location::Sqlite(PathBuf::from(path));
            return in_file.then(|| Self { location, masked: text.to_owned() });
        }
        let rest = text.strip_prefix("postgres://").or_else(|| text.strip_prefix("postgresql://"))?;
        if rest.is_empty() || rest.contains(char::is_whitespace) {
            return None;
        }
        Some(Self { location: store::Location::Postgres(text.to_owned()), masked: masked(text) })
    }

    pub fn location(&self) -> &store::Location {
        &self.location
    }

    /// The text with `***` for every password in it.
    pub fn masked(&self) -> &str {
        &self.masked
    }
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.masked)
    }
}

/// Rather too much is hidden than too little: a password that was written plainly may hold any character.
fn masked(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let hidden = match rest.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{name}:***@{host}"),
            None => rest.to_owned(),
        },
        None => rest.to_owned(),
    };
    let Some((place, query)) = hidden.split_once('?') else {
        return format!("{scheme}://{hidden}");
    };
    let options: Vec<String> = query.split('&').map(masked_option).collect();
    format!("{scheme}://{place}?{}", options.join("&"))
}

fn masked_option(option: &str) -> String {
    match option.split_once('=') {
        Some((name, _)) if name.to_ascii_lowercase().contains("password") => format!("{name}=***"),
        _ => option.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (written, shown) in [
            ("postgres://u:p@h:1/d", "postgres://u:***@h:1/d"),
            ("postgres://u:p@ss:w/rd@h/d", "postgres://u:***@h/d"),
            ("postgres://u@h/d?password=p&sslmode=disable", "postgres://u@h/d?password=***&sslmode=disable"),
            ("postgres://u:p?w@h/d", "postgres://u:***@h/d"),
            (
                "postgres://u@h/d?password=p&application_name=a:b@c",
                "postgres://u@h/d?password=***&application_name=a:***@c",
            ),
            ("postgresql:///d?host=/run&PASSWORD=p", "postgresql:///d?host=/run&PASSWORD=***"),
            ("postgres://h/d", "postgres://h/d"),
        ] {
            let database = Database::parse(written).unwrap();
            assert_eq!(database.masked(), shown);
            assert_eq!(format!("{database:?}"), shown);
        }
    }

    #[test]
    fn what_is_not_a_place_for_data_is_refused() {
        for bad in
            ["", "sqlite:", "sqlite::memory:", "mysql://h/d", "data.db", "Host=h;Password=p", "postgres://"]
        {
            assert!(Database::parse(bad).is_none(), "{bad}");
        }
    }
}
