//! `/ledger`: whether the books balance, in each currency, and the way to every account.

use std::time::Duration;

use access::Permission;
use askama::Template;
use axum::{extract::State, response::Response};
use domain::{
    currency::Currency,
    id::MerchantId,
    ledger::{Account, AccountKey, AccountKind, Owner},
};
use store::statement;
use uuid::Uuid;

use super::{Visit, payment::account_href};
use crate::{
    fault::{Fault, render},
    layout::{Frame, Section},
    list::Params,
    pulse::{Sum, owner_name},
    show::{Badge, Clock, IdLink, Money, When},
    state::Console,
};

/// Accounts that are listed: of a merchant one a kind and currency, of the platform one a lane more.
const ACCOUNTS_MAX: usize = 500;

/// For the sums of all accounts.
const SUMS_WAITED_FOR: Duration = Duration::from_secs(4);

#[derive(Template)]
#[template(path = "ledger.html")]
struct LedgerPage {
    frame: Frame,
    params: Params,
    measured: When,
    kinds: Vec<&'static str>,
    currencies: Vec<CurrencyRow>,
    /// Of the merchant that was asked for.
    merchant: Option<MerchantAccounts>,
    platform: Vec<AccountRow>,
    is_platform_cut: bool,
}

/// A currency's line of the trial balance.
struct CurrencyRow {
    currency: String,
    /// By kind; `None`: there is no such account.
    sums: Vec<Option<Money>>,
    total: Money,
    verdict: Badge,
}

struct MerchantAccounts {
    merchant: IdLink,
    accounts: Vec<AccountRow>,
}

struct AccountRow {
    href: String,
    owner: String,
    kind: &'static str,
    balance: Money,
    entries: i64,
    updated: When,
}

/// `GET /ledger`
pub async fn show(
    State(console): State<Console>,
    visit: Visit,
    mut params: Params,
) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let clock = visit.clock;
    // Says that the database is away, if it is, before it is waited for.
    console.read(console.store().ping()).await?;
    let balances = console.pulses().balances(SUMS_WAITED_FOR).await.ok_or_else(Fault::late)?;
    let merchant = match params.merchant() {
        Some(MerchantId(id)) => Some(accounts_of(&console, id, clock).await?),
        None => None,
    };
    let mut platform = console.read(statement::accounts_of_platform(console.db(), ACCOUNTS_MAX + 1)).await?;
    let is_platform_cut = platform.len() > ACCOUNTS_MAX;
    platform.truncate(ACCOUNTS_MAX);
    render(&LedgerPage {
        frame: visit.frame(Section::Ledger, "Ledger"),
        params,
        measured: clock.when(balances.at),
        kinds: AccountKind::ALL.iter().map(|kind| kind.name()).collect(),
        currencies: trial_balance(&balances.sums),
        merchant,
        platform: platform.iter().map(|account| account_row(account, clock)).collect(),
        is_platform_cut,
    })
}

async fn accounts_of(console: &Console, id: Uuid, clock: Clock) -> Result<MerchantAccounts, Fault> {
    let owner = Owner::from_uuid(id);
    let accounts = console.read(statement::accounts_of(console.db(), owner, ACCOUNTS_MAX)).await?;
    Ok(MerchantAccounts {
        merchant: IdLink::to(id, "merchants"),
        accounts: accounts.iter().map(|account| account_row(account, clock)).collect(),
    })
}

/// All entries of a currency sum to zero, and so do all balances.
fn trial_balance(sums: &[Sum]) -> Vec<CurrencyRow> {
    let mut currencies: Vec<Currency> = sums.iter().map(|sum| sum.currency).collect();
    currencies.dedup();
    currencies
        .into_iter()
        .map(|currency| {
            let of = |kind: AccountKind| {
                sums.iter().find(|sum| sum.currency == currency && sum.kind == kind).map(|sum| sum.minor)
            };
            let total: i128 = AccountKind::ALL.iter().filter_map(|kind| of(*kind)).sum();
            CurrencyRow {
                currency: currency.code().to_owned(),
                sums: AccountKind::ALL
                    .iter()
                    .map(|kind| of(*kind).map(|minor| Money::sum(minor, currency)))
                    .collect(),
                total: Money::sum(total, currency),
                verdict: Badge::of(if total == 0 { "ok" } else { "broken" }),
            }
        })
        .collect()
}

fn account_row((key, account): &(AccountKey, Account), clock: Clock) -> AccountRow {
    AccountRow {
        href: account_href(key),
        owner: owner_name(key.owner),
        kind: key.kind.name(),
        balance: Money::new(account.balance_minor, key.currency),
        entries: account.entries,
        updated: clock.when(account.updated_at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_that_do_not_balance_are_called_broken() {
        let sum = |code, kind, minor| Sum { currency: Currency::parse(code).unwrap(), kind, minor };
        let rows = trial_balance(&[
            sum("EUR", AccountKind::Available, 70),
            sum("EUR", AccountKind::Pending, 30),
            sum("EUR", AccountKind::Clearing, -100),
            sum("USD", AccountKind::Available, i128::from(i64::MAX) * 2),
            sum("USD", AccountKind::Clearing, i128::from(i64::MIN) * 2),
        ]);
        let told: Vec<_> = rows
            .iter()
            .map(|row| (row.currency.as_str(), row.total.text.as_str(), row.verdict.name))
            .collect();
        assert_eq!(told, [("EUR", "0.00", "ok"), ("USD", "-0.02", "broken")]);
        assert!(rows[1].sums[1].is_none() && rows[0].sums[3].is_none());
    }
}
