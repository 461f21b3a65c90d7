//! Saved views: filters of a page that an operator has given a name. They are the operator's own, so there is no audit line.

use store::{Store, error::ReadError, sql::Reads};

use crate::{AccessError, error::check_name};

/// Of one operator.
pub const VIEWS_A_PAGE_MAX: i64 = 50;
pub const VIEW_NAME_CHARS_MAX: usize = 60;
pub const QUERY_CHARS_MAX: usize = 2000;

/// A filter that has a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct View {
    pub name: String,
    /// As it stands in the page's address behind the question mark.
    pub query: String,
}

/// Keeps a filter, in place of the one that has its name.
pub async fn save(store: &Store, operator: &str, page: &str, view: &View) -> Result<(), AccessError> {
    check_name(&view.name, VIEW_NAME_CHARS_MAX)?;
    if view.query.chars().count() > QUERY_CHARS_MAX {
        return Err(AccessError::InvalidName { chars_max: QUERY_CHARS_MAX });
    }
    let mut transaction = store.begin().await?;
    let sql = "select count(*) from saved_views where operator = $1 and page = $2 and name <> $3";
    let params = vec![operator.into(), page.into(), view.name.as_str().into()];
    let rows = transaction.query(sql, params.clone()).await?;
    if rows.first().map_or(Ok(0), |row| row.int(0))? >= VIEWS_A_PAGE_MAX {
        return Err(AccessError::TooManyViews);
    }
    let sql = "insert into saved_views (operator, page, name, query) values ($1, $2, $3, $4) \
         on conflict (operator, page, name) do update set query = excluded.query";
    let params = params.into_iter().chain([view.query.as_str().into()]).collect();
    transaction.execute(sql, params).await?;
    Ok(transaction.commit().await?)
}

/// By name.
pub async fn list(db: &dyn Reads, operator: &str, page: &str) -> Result<Vec<View>, ReadError> {
    let sql = format!(
        "select name, query from saved_views where operator = $1 and page = $2 order by name limit {VIEWS_A_PAGE_MAX}"
    );
    let rows = db.query(&sql, vec![operator.into(), page.into()]).await?;
    rows.iter()
        .map(|row| Ok(View { name: row.text(0)?.to_owned(), query: row.text(1)?.to_owned() }))
        .collect()
}

/// Deletes a view, if there is one.
pub async fn delete(store: &Store, operator: &str, page: &str, name: &str) -> Result<(), ReadError> {
    let mut transaction = store.begin().await?;
    let sql = "delete from saved_views where operator = $1 and page = $2 and name = $3";
    transaction.execute(sql, vec![operator.into(), page.into(), name.into()]).await?;
    transaction.commit().await
}
