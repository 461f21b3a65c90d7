//! `/withdrawals`: money on its way out, filtered by the address.

use access::Permission;
use askama::Template;
use axum::{extract::State, response::Response};
use domain::withdrawal::{Withdrawal, WithdrawalStatus};
use store::browse::{self, WithdrawalsWanted};

use super::{Pager, Visit, listed};
use crate::{
    fault::{Fault, render},
    layout::{Frame, Section},
    list::{Params, ROWS},
    show::{Badge, Clock, IdLink, Money, When},
    state::Console,
};

#[derive(Template)]
#[template(path = "withdrawals.html")]
struct WithdrawalsPage {
    frame: Frame,
    params: Params,
    statuses: Vec<&'static str>,
    is_filtered: bool,
    rows: Vec<WithdrawalRow>,
    page: Pager,
}

/// What is shown of bank numbers is their mask; nothing else is stored in the clear.
pub struct WithdrawalRow {
    pub id: IdLink,
    pub status: Badge,
    pub amount: Money,
    pub merchant: IdLink,
    pub account: String,
    pub created: When,
}

impl WithdrawalRow {
    pub fn new(withdrawal: &Withdrawal, clock: Clock) -> Self {
        Self {
            id: IdLink::to(withdrawal.id.0, "withdrawals"),
            status: Badge::of(withdrawal.status.name()),
            amount: Money::new(withdrawal.amount.get(), withdrawal.currency),
            merchant: IdLink::to(withdrawal.merchant_id.0, "merchants"),
            account: withdrawal.bank_account_masked.clone(),
            created: clock.when(withdrawal.created_at),
        }
    }
}

/// `GET /withdrawals`
pub async fn list(
    State(console): State<Console>,
    visit: Visit,
    mut params: Params,
) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let wanted = wanted(&mut params);
    let after = params.after();
    let page = listed(&console, &params, browse::withdrawals(console.db(), &wanted, after, ROWS)).await?;
    let clock = visit.clock;
    let WithdrawalsWanted { merchant, currency, statuses } = &wanted;
    let is_filtered = merchant.is_some() || currency.is_some() || !statuses.is_empty() || params.is_wrong();
    render(&WithdrawalsPage {
        frame: visit.frame(Section::Withdrawals, "Withdrawals"),
        statuses: WithdrawalStatus::ALL.iter().map(|status| status.name()).collect(),
        is_filtered,
        rows: page.rows.iter().map(|withdrawal| WithdrawalRow::new(withdrawal, clock)).collect(),
        page: Pager::of(&params, &page),
        params,
    })
}

fn wanted(params: &mut Params) -> WithdrawalsWanted {
    let statuses: Vec<Option<WithdrawalStatus>> =
        params.all("status").map(|name| name.parse().ok()).collect();
    if statuses.contains(&None) {
        params.errors.push(("status", "one of the states of a withdrawal"));
    }
    WithdrawalsWanted {
        merchant: params.merchant(),
        currency: params.currency(),
        statuses: statuses.into_iter().flatten().collect(),
    }
}
