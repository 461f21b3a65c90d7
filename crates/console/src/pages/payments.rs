//! `/payments`: all payments, filtered by the address; and the same as a file.

use askama::Template;
use axum::{extract::State, response::Response};
use domain::payment::{Payment, PaymentStatus};
use store::{
    browse::{self, PaymentsWanted},
    queries::PaymentFilter,
};

use super::{Pager, Visit, listed};
use crate::{
    fault::{Fault, render},
    layout::{Frame, Section},
    list::{Params, ROWS},
    show::{Badge, Clock, IdLink, Money, When},
    state::Console,
};

#[derive(Template)]
#[template(path = "payments.html")]
struct PaymentsPage {
    frame: Frame,
    params: Params,
    statuses: Vec<&'static str>,
    is_filtered: bool,
    rows: Vec<PaymentRow>,
    page: Pager,
    api: String,
}

pub struct PaymentRow {
    pub id: IdLink,
    pub status: Badge,
    pub is_flagged: bool,
    pub amount: Money,
    pub refunded: Option<Money>,
    pub merchant: IdLink,
    pub reference: String,
    pub created: When,
}

impl PaymentRow {
    pub fn new(payment: &Payment, clock: Clock) -> Self {
        let Payment { currency, refunded_minor, .. } = *payment;
        Self {
            id: IdLink::to(payment.id.0, "payments"),
            status: Badge::of(payment.status.name()),
            is_flagged: payment.flag_reason.is_some(),
            amount: Money::new(payment.amount.get(), currency),
            refunded: (refunded_minor > 0).then(|| Money::new(refunded_minor, currency)),
            merchant: IdLink::to(payment.merchant_id.0, "merchants"),
            reference: payment.external_reference.clone().unwrap_or_default(),
            created: clock.when(payment.created_at),
        }
    }
}

/// `GET /payments`
pub async fn list(
    State(console): State<Console>,
    visit: Visit,
    mut params: Params,
) -> Result<Response, Fault> {
    let wanted = wanted(&mut params);
    let after = params.after();
    let page = listed(&console, &params, browse::payments(console.db(), &wanted, after, ROWS)).await?;
    let clock = visit.clock;
    render(&PaymentsPage {
        frame: visit.frame(Section::Payments, "Payments"),
        statuses: PaymentStatus::ALL.iter().map(|status| status.name()).collect(),
        is_filtered: params.first_page() != "/payments",
        rows: page.rows.iter().map(|payment| PaymentRow::new(payment, clock)).collect(),
        page: Pager::of(&params, &page),
        params,
        api: console.api_url(),
    })
}

/// The filter of a list's address.
pub fn wanted(params: &mut Params) -> PaymentsWanted {
    let statuses: Vec<String> = params.all("status").map(str::to_owned).collect();
    let parsed: Vec<PaymentStatus> = statuses.iter().filter_map(|name| name.parse().ok()).collect();
    if parsed.len() != statuses.len() {
        params.errors.push(("status", "one of the states of a payment"));
    }
    PaymentsWanted {
        merchant: params.merchant(),
        currency: params.currency(),
        is_flagged: params.is("flagged", "yes"),
        filter: PaymentFilter {
            date_from: params.moment("from", false),
            date_to: params.moment("to", true),
            amount_minor_min: params.minor("min"),
            amount_minor_max: params.minor("max"),
            statuses: parsed,
            search: params.get("search").map(str::to_owned),
        },
    }
}
