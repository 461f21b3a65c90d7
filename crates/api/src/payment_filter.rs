//! Which payments a list or an export shows.

use domain::payment::PaymentStatus;
use store::queries::PaymentFilter;
use utoipa::IntoParams;

use crate::{
    problem::Problem,
    query::{DayEnd, Query},
    schema, text,
};

/// For the OpenAPI document.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
#[expect(dead_code, reason = "nothing is ever made of it: it describes")]
pub struct PaymentFilterParams {
    /// Created at or after this moment, or the start of this day in UTC.
    #[param(schema_with = schema::moment)]
    date_from: Option<String>,
    /// Created at or before this moment, or the end of this day in UTC.
    #[param(schema_with = schema::moment)]
    date_to: Option<String>,
    /// In minor units.
    #[param(minimum = 0)]
    min_amount: Option<i64>,
    /// In minor units.
    #[param(minimum = 0)]
    max_amount: Option<i64>,
    /// One or several, separated by commas.
    #[param(example = "Completed,Refunded")]
    status: Option<String>,
    /// Part of the external reference or the description, or the whole id.
    #[param(max_length = 255)]
    search: Option<String>,
}

/// The filter, when the whole query is right; whatever else the query may hold is read before.
pub fn read(query: &mut Query) -> Result<PaymentFilter, Problem> {
    let filter = PaymentFilter {
        date_from: query.moment("dateFrom", DayEnd::First),
        date_to: query.moment("dateTo", DayEnd::Last),
        amount_minor_min: query.integer("minAmount", 0, i64::MAX),
        amount_minor_max: query.integer("maxAmount", 0, i64::MAX),
        statuses: statuses(query),
        search: query.text("search", text::SEARCH),
    };
    query.finish()?;
    Ok(filter)
}

fn statuses(query: &mut Query) -> Vec<PaymentStatus> {
    let Some(text) = query.value("status") else { return Vec::new() };
    let named = |name: &str| {
        PaymentStatus::ALL.iter().copied().find(|status| status.name().eq_ignore_ascii_case(name.trim()))
    };
    let statuses: Option<Vec<PaymentStatus>> = text.split(',').map(named).collect();
    statuses.unwrap_or_else(|| {
        let names: Vec<&str> = PaymentStatus::ALL.iter().map(|status| status.name()).collect();
        query.errors.at_parameter(
            "status",
            format!("Send one or several of {}, separated by commas.", names.join(", ")),
        );
        Vec::new()
    })
}
