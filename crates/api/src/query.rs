//! Reads the query string and collects all that is wrong with it, as [`crate::parse`] does for a body.
//!
//! A parameter with an empty value counts as absent: a form sends its empty fields too.

use axum::{
    extract::{FromRequestParts, Query as Pairs},
    http::{Uri, request::Parts},
};
use domain::{currency::Currency, time::Timestamp};

use crate::{
    parse::{CURRENCY_WANTED, Errors, unknown},
    problem::Problem,
    problem_kind::BAD_REQUEST,
    text::TextRule,
};

pub struct Query {
    uri: Uri,
    pairs: Vec<(String, String)>,
    known: Vec<&'static str>,
    pub errors: Errors,
}

/// Which end of the day a plain date such as `2026-11-23` stands for, in UTC.
#[derive(Clone, Copy, Debug)]
pub enum DayEnd {
    First,
    Last,
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Self::of(&parts.uri)
    }
}

impl Query {
    pub fn of(uri: &Uri) -> Result<Self, Problem> {
        let pairs = if uri.query().is_none_or(str::is_empty) {
            Vec::new()
        } else {
            let Pairs(pairs) = Pairs::try_from_uri(uri).map_err(|_| {
                Problem::new(BAD_REQUEST, "The query is not of the form name=value&name=value.")
            })?;
            pairs
        };
        Ok(Self { uri: uri.clone(), pairs, known: Vec::new(), errors: Errors::default() })
    }

    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// As they were sent, decoded.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.pairs
    }

    pub fn value(&mut self, name: &'static str) -> Option<String> {
        self.known.push(name);
        let mut values = self.pairs.iter().filter(|(pair, _)| pair == name);
        let value = values.next().map(|(_, value)| value);
        if values.next().is_some() {
            self.errors.at_parameter(name, "Send this parameter once.");
        }
        value.filter(|value| !value.is_empty()).cloned()
    }

    /// RFC 3339 or a plain date.
    pub fn moment(&mut self, name: &'static str, end: DayEnd) -> Option<Timestamp> {
        let text = self.value(name)?;
        let moment = moment(&text, end);
        if moment.is_none() {
            self.errors.at_parameter(
                name,
                "Send a time of RFC 3339 such as 2026-11-23T12:00:00Z, or a date such as 2026-11-23, between \
                 the years 1970 and 9999; the + of an offset is written %2B in a URL.",
            );
        }
        moment
    }

    /// A whole number between the bounds, both inclusive.
    pub fn integer(&mut self, name: &'static str, min: i64, max: i64) -> Option<i64> {
        let text = self.value(name)?;
        let number = text.parse().ok().filter(|number| (min..=max).contains(number));
        if number.is_none() {
            self.errors.at_parameter(name, format!("Send a whole number from {min} to {max}."));
        }
        number
    }

    pub fn text(&mut self, name: &'static str, rule: TextRule) -> Option<String> {
        let text = self.value(name)?;
        rule.check(&text).map_err(|detail| self.errors.at_parameter(name, detail)).ok()?;
        Some(text)
    }

    pub fn currency(&mut self, name: &'static str) -> Option<Currency> {
        let text = self.value(name)?;
        let currency = Currency::parse(&text);
        if currency.is_none() {
            self.errors.at_parameter(name, CURRENCY_WANTED);
        }
        currency
    }

    /// Refuses what was not asked for; gives an error when anything was wrong.
    pub fn finish(&mut self) -> Result<(), Problem> {
        for (name, _) in &self.pairs {
            if !self.known.contains(&name.as_str()) {
                self.errors.at_parameter(name, unknown("parameter", name, &self.known));
            }
        }
        std::mem::take(&mut self.errors).into_result()
    }
}

fn moment(text: &str, end: DayEnd) -> Option<Timestamp> {
    let is_date = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    match (is_date, end) {
        (false, _) => Timestamp::parse(text),
        (true, DayEnd::First) => Timestamp::parse(&format!("{text}T00:00:00Z")),
        (true, DayEnd::Last) => Timestamp::parse(&format!("{text}T23:59:59.999999Z")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(text: &str) -> Query {
        Query::of(&format!("/api/merchants?{text}").parse().unwrap()).unwrap()
    }

    fn refused(mut query: Query) -> String {
        let problem = query.finish().unwrap_err();
        String::from_utf8(problem.body("/", "id").to_vec()).unwrap()
    }

    #[test]
    fn a_plain_date_is_the_start_or_the_end_of_the_day() {
        let mut query = query("dateFrom=2026-11-23&dateTo=2026-11-23");
        let from = query.moment("dateFrom", DayEnd::First).unwrap();
        let to = query.moment("dateTo", DayEnd::Last).unwrap();
        assert_eq!(from.to_string(), "2026-11-23T00:00:00.000000Z");
        assert_eq!(to.to_string(), "2026-11-23T23:59:59.999999Z");
        assert!(query.finish().is_ok());
    }

    #[test]
    fn a_moment_may_have_an_offset_but_not_a_bare_plus() {
        let mut good = query("dateFrom=2026-11-23T12:00:00%2B01:00");
        assert_eq!(
            good.moment("dateFrom", DayEnd::First).map(|moment| moment.to_string()).as_deref(),
            Some("2026-11-23T11:00:00.000000Z")
        );
        for bad in ["2026-11-23T12:00:00+01:00", "2026-13-01", "2026-02-30", "1969-12-31", "yesterday", "5"] {
            let mut query = query(&format!("dateFrom={bad}"));
            assert_eq!(query.moment("dateFrom", DayEnd::First), None, "{bad}");
            assert!(refused(query).contains("dateFrom"));
        }
    }

    #[test]
    fn unknown_and_repeated_parameters_are_refused_and_empty_ones_absent() {
        let mut empty = query("status=&minAmount=");
        assert_eq!((empty.value("status"), empty.integer("minAmount", 0, 9)), (None, None));
        assert!(empty.finish().is_ok());

        let mut twice = query("search=a&search=b&serach=c");
        twice.value("search");
        let body = refused(twice);
        assert!(body.contains("once") && body.contains("did you mean search?"), "{body}");
    }

    #[test]
    fn numbers_keep_to_their_bounds() {
        for bad in ["0", "101", "-1", "1.5", "x", "99999999999999999999", "%31%00"] {
            let mut query = query(&format!("limit={bad}"));
            assert_eq!(query.integer("limit", 1, 100), None, "{bad}");
            assert!(query.finish().is_err());
        }
    }
}
