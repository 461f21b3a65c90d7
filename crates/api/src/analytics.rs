//! `/api/merchants/{merchantId}/analytics`

use axum::{Json, extract::State};
use domain::{currency::Currency, payment::PaymentStatus, time::Timestamp};
use serde::Serialize;
use store::queries;
use utoipa::ToSchema;

use crate::{
    decimal::Decimal,
    path::OfMerchant,
    problem::Problem,
    query::{DayEnd, Query},
    revenue::{self, Figures, PERCENT_SCALE},
    schema,
    state::App,
};

const DAYS_DEFAULT: i64 = 30;
/// A longer span is refused: what is added up would have no bound.
const DAYS_MAX: i64 = 366;
const MICROS_A_DAY: i64 = 86_400_000_000;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Analytics)]
pub struct AnalyticsBody {
    /// All figures speak of payments in this currency; `null` when there are none.
    #[schema(schema_with = schema::optional_currency)]
    currency: Option<Currency>,
    /// The currencies of the payments in the span, the most used first.
    #[schema(value_type = Vec<String>)]
    currencies: Vec<Currency>,
    /// What was paid and not refunded, in major units.
    #[schema(schema_with = schema::decimal)]
    total_revenue: Decimal,
    total_payments: i64,
    /// Completed and not wholly refunded.
    completed_payments: i64,
    pending_payments: i64,
    /// Wholly refunded.
    refunded_payments: i64,
    /// Of the payments that were completed, in major units.
    #[schema(schema_with = schema::decimal)]
    average_payment_amount: Decimal,
    /// How many of all payments were completed.
    #[schema(schema_with = schema::percentage)]
    success_rate: Decimal,
    /// Days with payments, in UTC.
    daily_revenue: Vec<DayBody>,
    status_distribution: Vec<StatusBody>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DailyRevenue)]
pub struct DayBody {
    #[schema(schema_with = schema::date)]
    date: String,
    #[schema(schema_with = schema::decimal)]
    revenue: Decimal,
    count: i64,
}

#[derive(Serialize, ToSchema)]
#[schema(as = StatusShare)]
pub struct StatusBody {
    #[schema(schema_with = schema::payment_status)]
    status: PaymentStatus,
    count: i64,
    #[schema(schema_with = schema::percentage)]
    percentage: Decimal,
}

/// Figures about the payments created in a span of time
///
/// Amounts of different currencies are never added: without `currency` the figures are those of the
/// currency with most payments.
#[utoipa::path(get, path = "/api/merchants/{merchantId}/analytics", tag = "Analytics",
    operation_id = "showAnalytics",
    params(("fromDate" = Option<String>, Query, description = "Without it, 30 days before toDate"),
        ("toDate" = Option<String>, Query, description = "Without it, now"),
        ("currency" = Option<String>, Query)),
    responses((status = 200, description = "The figures", body = AnalyticsBody)))]
pub async fn show(
    State(app): State<App>,
    OfMerchant(merchant_id): OfMerchant,
    mut query: Query,
) -> Result<Json<AnalyticsBody>, Problem> {
    let (from, to) = span(&mut query, app.now());
    let asked = query.currency("currency");
    query.finish()?;
    app.merchant(merchant_id).await?;
    let totals = app.read(queries::day_totals(app.reads(), merchant_id, from, to)).await?;
    let currencies = revenue::currencies(&totals);
    let currency = asked.or_else(|| currencies.first().copied());
    let figures = currency.map(|currency| revenue::figures(&totals, currency)).unwrap_or_default();
    Ok(Json(body(currency, currencies, figures)))
}

fn span(query: &mut Query, now: Timestamp) -> (Timestamp, Timestamp) {
    let from = query.moment("fromDate", DayEnd::First);
    let to = query.moment("toDate", DayEnd::Last).unwrap_or(now);
    let from = from.unwrap_or_else(|| Timestamp::from_micros(to.as_micros() - DAYS_DEFAULT * MICROS_A_DAY));
    if from > to {
        query.errors.at_parameter("fromDate", "Send a fromDate that is not after toDate.");
    } else if to.as_micros() - from.as_micros() > DAYS_MAX * MICROS_A_DAY {
        query
            .errors
            .at_parameter("fromDate", format!("Send a fromDate at most {DAYS_MAX} days before toDate."));
    }
    (from, to)
}

fn body(currency: Option<Currency>, currencies: Vec<Currency>, figures: Figures) -> AnalyticsBody {
    let exponent = currency.map_or(0, Currency::exponent);
    let money = |minor| Decimal::scaled(minor, exponent);
    let percent = |share| Decimal::scaled(share, PERCENT_SCALE);
    let daily_revenue = figures.days.into_iter().map(|day| DayBody {
        date: day.begin.date_utc(),
        revenue: money(day.revenue_minor),
        count: day.payments,
    });
    let status_distribution = figures.statuses.into_iter().map(|share| StatusBody {
        status: share.status,
        count: share.payments,
        percentage: percent(share.share),
    });
    AnalyticsBody {
        currency,
        currencies,
        total_revenue: money(figures.revenue_minor),
        total_payments: figures.payments,
        completed_payments: figures.completed,
        pending_payments: figures.pending,
        refunded_payments: figures.refunded,
        average_payment_amount: money(figures.average_minor),
        success_rate: percent(figures.success_rate),
        daily_revenue: daily_revenue.collect(),
        status_distribution: status_distribution.collect(),
    }
}
