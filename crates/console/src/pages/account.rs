//! `/ledger/accounts/{owner}/{kind}/{currency}`: an account's entries, its balance as of a moment, and the proof that the one
//! is the sum of the others.

use access::Permission;
use askama::Template;
use axum::{
    extract::{Path, State},
    response::Response,
};
use domain::{
    currency::Currency,
    ledger::{AccountKey, AccountKind, Entry, Owner},
    time::Timestamp,
};
use store::{
    statement::{self, EntryKey, Proof},
    tables,
};
use uuid::Uuid;

use super::{Pager, Visit};
use crate::{
    fault::{Fault, render},
    layout::{Frame, Section},
    list::{Params, ROWS},
    pulse::owner_name,
    show::{Badge, Clock, IdLink, Money, When},
    state::Console,
};

/// An account with more entries is not summed up while somebody waits.
const PROOF_ENTRIES_MAX: i64 = 10_000;

#[derive(Template)]
#[template(path = "account.html")]
struct AccountPage {
    frame: Frame,
    params: Params,
    kind: &'static str,
    owner: String,
    /// `None`: the platform's.
    merchant: Option<IdLink>,
    balance: Money,
    entries: i64,
    updated: When,
    as_of: Option<AsOf>,
    proof: Option<ProofShown>,
    rows: Vec<EntryRow>,
    page: Pager,
}

/// The balance at a moment that was asked for.
struct AsOf {
    at: When,
    /// `None`: nothing was booked yet.
    balance: Option<(Money, i64)>,
}

struct ProofShown {
    verdict: Badge,
    sum: Money,
    entries: i64,
}

struct EntryRow {
    number: i64,
    event: IdLink,
    at: When,
    name: &'static str,
    amount: Money,
    after: Money,
    subject: Option<IdLink>,
}

/// `GET /ledger/accounts/{owner}/{kind}/{currency}`
pub async fn show(
    State(console): State<Console>,
    visit: Visit,
    Path((owner, kind, currency)): Path<(Uuid, String, String)>,
    mut params: Params,
) -> Result<Response, Fault> {
    visit.must(Permission::View)?;
    let key = account_key(owner, &kind, &currency)?;
    let none = || Fault::not_found("There is no such account: nothing was ever booked in it.");
    let account = console.read(tables::account(console.db(), &key)).await?.ok_or_else(none)?;
    let clock = visit.clock;
    let as_of = match params.moment("as_of", true) {
        Some(moment) => Some(as_of(&console, &key, moment, clock).await?),
        None => None,
    };
    let after = params.read("after", "the link of a page", entry_key);
    let mut entries = if params.is_wrong() {
        Vec::new()
    } else {
        console.read(statement::entries(console.db(), &key, after, ROWS + 1)).await?
    };
    let page = pager(&params, &mut entries);
    let proof = if account.entries <= PROOF_ENTRIES_MAX {
        let proof = console.read(statement::proof(console.db(), &key)).await?;
        Some(shown(proof, key.currency))
    } else {
        None
    };
    let title = format!("{} {} of {}", key.kind.name(), key.currency.code(), owner_name(key.owner));
    render(&AccountPage {
        frame: visit.frame(Section::Ledger, title),
        params,
        kind: key.kind.name(),
        owner: owner_name(key.owner),
        merchant: match key.owner {
            Owner::Merchant(merchant) => Some(IdLink::to(merchant.0, "merchants")),
            Owner::Platform(_) => None,
        },
        balance: Money::new(account.balance_minor, key.currency),
        entries: account.entries,
        updated: clock.when(account.updated_at),
        as_of,
        proof,
        rows: entries.iter().map(|entry| entry_row(entry, clock)).collect(),
        page,
    })
}

fn account_key(owner: Uuid, kind: &str, currency: &str) -> Result<AccountKey, Fault> {
    let unknown = |what| Fault::not_found(format!("There is no such {what}."));
    let kind: AccountKind = kind.parse().map_err(|()| unknown("kind of account"))?;
    let currency = Currency::parse(currency).ok_or_else(|| unknown("currency"))?;
    Ok(AccountKey { owner: Owner::from_uuid(owner), kind, currency })
}

async fn as_of(console: &Console, key: &AccountKey, moment: Timestamp, clock: Clock) -> Result<AsOf, Fault> {
    let entry = console.read(statement::as_of(console.db(), key, moment)).await?;
    let balance = entry.map(|entry| (Money::new(entry.balance_after_minor, key.currency), entry.number));
    Ok(AsOf { at: clock.when(moment), balance })
}

fn shown(proof: Proof, currency: Currency) -> ProofShown {
    ProofShown {
        verdict: Badge::of(if proof.holds() { "ok" } else { "broken" }),
        sum: Money::sum(proof.entries_minor, currency),
        entries: proof.entries,
    }
}

/// Takes away the one that only tells whether there is more.
fn pager(params: &Params, entries: &mut Vec<Entry>) -> Pager {
    let is_more = entries.len() > ROWS;
    entries.truncate(ROWS);
    let last = entries.last().filter(|_| is_more);
    let next = last.map(|entry| format!("{}.{}", entry.created_at.as_micros(), entry.number));
    Pager {
        is_behind_first: params.get("after").is_some(),
        first: params.first_page(),
        next: next.map(|after| params.with("after", &after)).unwrap_or_default(),
        is_cut_short: false,
    }
}

fn entry_key(text: &str) -> Option<EntryKey> {
    let (micros, number) = text.split_once('.')?;
    Some(EntryKey { created_at: Timestamp::from_micros(micros.parse().ok()?), number: number.parse().ok()? })
}

fn entry_row(entry: &Entry, clock: Clock) -> EntryRow {
    let currency = entry.account.currency;
    let payment = entry.payment_id.map(|id| IdLink::to(id.0, "payments"));
    let withdrawal = entry.withdrawal_id.map(|id| IdLink::to(id.0, "withdrawals"));
    EntryRow {
        number: entry.number,
        event: IdLink::to(entry.transaction_id.0, "events/id"),
        at: clock.when(entry.created_at),
        name: entry.entry_type.name(),
        amount: Money::new(entry.amount_minor, currency),
        after: Money::new(entry.balance_after_minor, currency),
        subject: payment.or(withdrawal),
    }
}
