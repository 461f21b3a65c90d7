//! What a list's URL says: filters, and where the page begins. All of it lives in the URL, so a list can be copied,
//! bookmarked and gone back to.

use axum::{extract::FromRequestParts, http::request::Parts};
use domain::{currency::Currency, id::MerchantId, money::AMOUNT_MINOR_MAX, time::Timestamp};
use form_urlencoded::Serializer;
use store::queries::PageKey;
use uuid::Uuid;

use crate::fault::Fault;

/// Rows of a page.
pub const ROWS: usize = 50;
const QUERY_BYTES_MAX: usize = 8192;

/// The query string, decoded, with what is wrong in it.
#[derive(Clone, Debug, Default)]
pub struct Params {
    path: String,
    pairs: Vec<(String, String)>,
    /// The field, and what to write instead.
    pub errors: Vec<(&'static str, &'static str)>,
}

impl<S: Sync> FromRequestParts<S> for Params {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Fault> {
        let query = parts.uri.query().unwrap_or_default();
        if query.len() > QUERY_BYTES_MAX {
            return Err(Fault::bad_request("The address is too long."));
        }
        let pairs = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Ok(Self { path: parts.uri.path().to_owned(), pairs, errors: Vec::new() })
    }
}

impl Params {
    /// Of an address that was kept.
    pub fn of_query(query: &str) -> Self {
        let pairs = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Self { path: String::new(), pairs, errors: Vec::new() }
    }

    /// A value that is not empty; a form sends its empty fields too.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.pairs
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.trim())
            .filter(|value| !value.is_empty())
    }

    /// As it was sent, for the field of the form.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    pub fn is(&self, name: &str, value: &str) -> bool {
        self.pairs.iter().any(|(n, v)| n == name && v == value)
    }

    /// All values of a name, as check boxes send them.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.pairs.iter().filter(move |(n, v)| n == name && !v.is_empty()).map(|(_, value)| value.as_str())
    }

    pub fn read<T>(
        &mut self,
        name: &'static str,
        wanted: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let value = read(self.get(name)?);
        if value.is_none() {
            self.errors.push((name, wanted));
        }
        value
    }

    pub fn uuid(&mut self, name: &'static str) -> Option<Uuid> {
        self.read(name, "an id such as 019a0000-0000-7000-8000-000000000001", |text| {
            Uuid::parse_str(text).ok()
        })
    }

    pub fn merchant(&mut self) -> Option<MerchantId> {
        self.uuid("merchant").map(MerchantId)
    }

    pub fn currency(&mut self) -> Option<Currency> {
        self.read("currency", "a code of ISO 4217 such as USD", |text| Currency::parse(&text.to_uppercase()))
    }

    pub fn minor(&mut self, name: &'static str) -> Option<i64> {
        self.read(name, "a whole number of minor units", |text| {
            text.parse().ok().filter(|minor| (0..=AMOUNT_MINOR_MAX).contains(minor))
        })
    }

    /// A date, or a moment with or without its zone (UTC without), as `<input type=datetime-local>` sends it.
    pub fn moment(&mut self, name: &'static str, is_end: bool) -> Option<Timestamp> {
        self.read(name, "a time such as 2026-11-26 or 2026-11-26T10:00", |text| moment(text, is_end))
    }

    pub fn number(&mut self, name: &'static str, wanted: &'static str) -> Option<i64> {
        self.read(name, wanted, |text| text.parse().ok())
    }

    /// Where the page begins.
    pub fn after(&mut self) -> Option<PageKey> {
        self.read("after", "the link of a page", page_key)
    }

    pub fn is_wrong(&self) -> bool {
        !self.errors.is_empty()
    }

    /// The same list with another value for a name, from its first page.
    pub fn with(&self, name: &str, value: &str) -> String {
        self.link(&[(name, value)], &[name, "after"])
    }

    /// The same list without its page.
    pub fn first_page(&self) -> String {
        self.link(&[], &["after"])
    }

    pub fn page(&self, key: PageKey) -> String {
        self.link(&[("after", &page_text(key))], &["after"])
    }

    /// The same filter at another path, such as an export.
    pub fn at(&self, path: &str) -> String {
        Self { path: path.to_owned(), ..self.clone() }.first_page()
    }

    /// The same filter at another path, with these values for their names.
    pub fn at_with(&self, path: &str, values: &[(&str, &str)]) -> String {
        let mut without: Vec<&str> = values.iter().map(|(name, _)| *name).collect();
        without.push("after");
        Self { path: path.to_owned(), ..self.clone() }.link(values, &without)
    }

    fn link(&self, added: &[(&str, &str)], without: &[&str]) -> String {
        let mut query = Serializer::new(String::new());
        for (name, value) in &self.pairs {
            if !value.is_empty() && !without.contains(&name.as_str()) {
                query.append_pair(name, value);
            }
        }
        for (name, value) in added.iter().filter(|(_, value)| !value.is_empty()) {
            query.append_pair(name, value);
        }
        let query = query.finish();
        if query.is_empty() { self.path.clone() } else { format!("{}?{query}", self.path) }
    }
}

pub fn page_text(key: PageKey) -> String {
    format!("{}.{}", key.created_at.as_micros(), key.id.simple())
}

fn page_key(text: &str) -> Option<PageKey> {
    let (micros, id) = text.split_once('.')?;
    Some(PageKey { created_at: Timestamp::from_micros(micros.parse().ok()?), id: Uuid::parse_str(id).ok()? })
}

fn moment(text: &str, is_end: bool) -> Option<Timestamp> {
    let text = text.replace(' ', "T");
    match text.len() {
        10 if is_end => Timestamp::parse(&format!("{text}T23:59:59.999999Z")),
        10 => Timestamp::parse(&format!("{text}T00:00:00Z")),
        16 => Timestamp::parse(&format!("{text}:00Z")),
        19 => Timestamp::parse(&format!("{text}Z")),
        _ => Timestamp::parse(&text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Params {
        let pairs = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
        Params { path: "/payments".to_owned(), pairs, errors: Vec::new() }
    }

    #[test]
    fn a_list_keeps_its_filter_from_page_to_page() {
        let mut list =
            params("status=Failed&status=Pending&currency=&after=1.019a00000000700080000000000000aa");
        let after = list.after().unwrap();
        assert_eq!(
            list.page(after),
            "/payments?status=Failed&status=Pending&after=1.019a00000000700080000000000000aa"
        );
        assert_eq!(list.first_page(), "/payments?status=Failed&status=Pending");
        assert_eq!(list.with("currency", "usd&x"), "/payments?status=Failed&status=Pending&currency=usd%26x");
        assert!(!list.is_wrong());
    }

    #[test]
    fn a_wrong_filter_is_named_and_filters_nothing() {
        let mut list = params("merchant=abc&min=-1&from=yesterday&currency=XXXX");
        assert!(list.merchant().is_none() && list.minor("min").is_none() && list.currency().is_none());
        assert!(list.moment("from", false).is_none());
        assert_eq!(list.errors.len(), 4);
    }

    #[test]
    fn a_date_is_its_first_or_its_last_moment() {
        let mut list = params("from=2026-11-26&to=2026-11-26&at=2026-11-26T10:00");
        assert_eq!(list.moment("from", false).unwrap().to_string(), "2026-11-26T00:00:00.000000Z");
        assert_eq!(list.moment("to", true).unwrap().to_string(), "2026-11-26T23:59:59.999999Z");
        assert_eq!(list.moment("at", true).unwrap().to_string(), "2026-11-26T10:00:00.000000Z");
    }
}
