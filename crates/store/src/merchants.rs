//! Merchants as people look for them: newest first, by keyset, and bounded in what is looked at.

use domain::merchant::{EmailKey, Merchant};
use uuid::Uuid;

use crate::{
    browse::{Page, ROWS_LOOKED_AT_MAX},
    error::ReadError,
    queries::{MERCHANT, PageKey, Query, merchant_from, moment},
    sql::Reads,
};

/// Which merchants are wanted.
#[derive(Clone, Debug, Default)]
pub struct MerchantsWanted {
    /// What the name or the email begins with, in any case; a whole email or id finds its merchant wherever it stands.
    pub search: Option<String>,
    pub is_active: Option<bool>,
}

const ORDER: &str = " order by created_at desc, id desc limit ";

/// Merchants, newest first. A page looks at [`ROWS_LOOKED_AT_MAX`] rows at most.
pub async fn list(
    db: &dyn Reads,
    wanted: &MerchantsWanted,
    after: Option<PageKey>,
    limit: usize,
) -> Result<Page<Merchant>, ReadError> {
    if let Some(found) = at_once(db, wanted).await? {
        return Ok(Page { rows: vec![found], next: None, is_cut_short: false });
    }
    let is_filtered = wanted.search.is_some() || wanted.is_active.is_some();
    let floor = if is_filtered { floor(db, after).await? } else { None };
    let mut query = Query::new(MERCHANT);
    if let Some(after) = after {
        bound(&mut query, "<", after);
    }
    if let Some(floor) = floor {
        bound(&mut query, ">=", floor);
    }
    if let Some(is_active) = wanted.is_active {
        query.condition(if is_active { "is_active = 1" } else { "is_active = 0" });
    }
    if let Some(search) = &wanted.search {
        begins_with(&mut query, search);
    }
    // One more than is shown tells whether there is more.
    query.sql.push_str(ORDER);
    query.sql.push_str(&(limit + 1).to_string());
    let found = db.query(&query.sql, query.params).await?;
    let mut rows = found.iter().map(merchant_from).collect::<Result<Vec<_>, _>>()?;
    let is_full = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().map(|merchant| PageKey { created_at: merchant.created_at, id: merchant.id.0 });
    let next = if is_full { last } else { floor };
    Ok(Page { rows, next, is_cut_short: !is_full && floor.is_some() })
}

/// The one merchant that has this email.
pub async fn by_email(db: &dyn Reads, email: &str) -> Result<Option<Merchant>, ReadError> {
    let key = EmailKey::of(email);
    let rows = db.query(&format!("{MERCHANT} where email_key = $1"), vec![key.as_str().into()]).await?;
    rows.first().map(merchant_from).transpose()
}

/// What an index finds without looking at others.
async fn at_once(db: &dyn Reads, wanted: &MerchantsWanted) -> Result<Option<Merchant>, ReadError> {
    let Some(search) = &wanted.search else { return Ok(None) };
    let found = if let Ok(id) = Uuid::parse_str(search) {
        let rows = db.query(&format!("{MERCHANT} where id = $1"), vec![id.into()]).await?;
        rows.first().map(merchant_from).transpose()?
    } else if search.contains('@') {
        by_email(db, search).await?
    } else {
        None
    };
    Ok(found.filter(|merchant| wanted.is_active.is_none_or(|is_active| is_active == merchant.is_active)))
}

/// The last row that a page may look at; `None`: the list ends before.
async fn floor(db: &dyn Reads, after: Option<PageKey>) -> Result<Option<PageKey>, ReadError> {
    let mut query = Query::new("select created_at, id from merchants");
    if let Some(after) = after {
        bound(&mut query, "<", after);
    }
    query.sql.push_str(ORDER);
    query.sql.push_str("1 offset ");
    query.sql.push_str(&(ROWS_LOOKED_AT_MAX - 1).to_string());
    let rows = db.query(&query.sql, query.params).await?;
    rows.first().map(|row| Ok(PageKey { created_at: moment(row.int(0)?), id: row.uuid(1)? })).transpose()
}

fn bound(query: &mut Query, comparison: &str, key: PageKey) {
    let (created_at, id) = (query.param(key.created_at.as_micros()), query.param(key.id));
    query.condition(&format!("(created_at, id) {comparison} ({created_at}, {id})"));
}

/// SQLite lowers ASCII only, so the name is compared as it was typed, too.
fn begins_with(query: &mut Query, search: &str) {
    let lower = search.to_lowercase();
    let (chars, lower_chars) = (search.chars().count(), lower.chars().count());
    let (typed, lower) = (query.param(search), query.param(lower));
    query.condition(&format!(
        "(substr(lower(name), 1, {lower_chars}) = {lower} or substr(name, 1, {chars}) = {typed} \
         or substr(email_key, 1, {lower_chars}) = {lower})"
    ));
}
