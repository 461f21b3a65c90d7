//! The ledger: each account by itself, and all of it against what the events book.

use domain::{
    lane::{Lane, lane_of},
    ledger::{AccountKey, Entry, Owner, posting},
};
use store::{
    batch::LogEvent,
    error::ReadError,
    log,
    sql::Reads,
    tables::{self, AccountEnd},
};

use crate::{
    Kind, PAGE, Report, Watermark,
    sums::{self, Sums},
};

pub async fn walk(
    db: &dyn Reads,
    watermark: &Watermark,
    booked: &Sums,
    report: &mut Report<'_>,
) -> Result<(), ReadError> {
    let found = entries(db, watermark, report).await?;
    accounts(db, report).await?;
    let differing = booked.differing(&found);
    if !differing.is_empty() {
        book_again(db, watermark, &differing, report).await?;
        justify(db, watermark, &differing, report).await?;
    }
    Ok(())
}

/// Numbers without gaps, each balance the one before and the amount; and the sums of what was booked before the
/// watermark.
async fn entries(db: &dyn Reads, watermark: &Watermark, report: &mut Report<'_>) -> Result<Sums, ReadError> {
    let mut found = Sums::new();
    let mut last: Option<Entry> = None;
    loop {
        let page = tables::entries(db, last.as_ref(), PAGE).await?;
        if page.is_empty() {
            return Ok(found);
        }
        report.summary.entries += page.len() as u64;
        for entry in page {
            if is_covered(db, watermark, &entry).await? {
                found.add(&sums::of_entry(&entry));
            }
            let before = last.as_ref().filter(|last| last.account == entry.account);
            if before.is_none() && tables::account(db, &entry.account).await?.is_none() {
                let place = format!("accounts {}", describe(&entry.account));
                report.tell(Kind::Missing, place, "an account".to_owned(), "no row".to_owned());
            }
            follows(before, &entry, report);
            last = Some(entry);
        }
    }
}

fn follows(before: Option<&Entry>, entry: &Entry, report: &mut Report<'_>) {
    let (number, balance) = before.map_or((0, 0), |before| (before.number, before.balance_after_minor));
    let place = || format!("ledger_entries {} number {}", describe(&entry.account), entry.number);
    if entry.number != number + 1 {
        let kind = if entry.number > number { Kind::Missing } else { Kind::Duplicate };
        report.tell(kind, place(), format!("number {}", number + 1), entry.number.to_string());
        return;
    }
    let expected = i128::from(balance) + i128::from(entry.amount_minor);
    if i128::from(entry.balance_after_minor) != expected {
        let found = format!("{} after {}", entry.balance_after_minor, entry.amount_minor);
        report.tell(Kind::DriftedBalance, place(), format!("{expected} after {balance}"), found);
    }
}

/// Each account stands where its last entry stands.
async fn accounts(db: &dyn Reads, report: &mut Report<'_>) -> Result<(), ReadError> {
    let mut last: Option<AccountKey> = None;
    loop {
        let page = tables::accounts(db, last.as_ref(), PAGE).await?;
        let Some(end) = page.last() else { return Ok(()) };
        last = Some(end.key);
        report.summary.accounts += page.len() as u64;
        for AccountEnd { key, account, last_entry } in page {
            let (number, balance) = last_entry.unwrap_or_default();
            let place = || format!("accounts {}", describe(&key));
            if account.balance_minor != balance {
                report.tell(
                    Kind::DriftedBalance,
                    place(),
                    balance.to_string(),
                    account.balance_minor.to_string(),
                );
            }
            if account.entries != number {
                let found = format!("{} entries", account.entries);
                report.tell(Kind::Altered, place(), format!("{number} entries"), found);
            }
        }
    }
}

/// Walks the log again for the buckets that differ, and looks for the entries that its events book.
async fn book_again(
    db: &dyn Reads,
    watermark: &Watermark,
    buckets: &[usize],
    report: &mut Report<'_>,
) -> Result<(), ReadError> {
    for head in &watermark.heads {
        let lane = head.lane;
        let mut sequence = 0;
        'lane: loop {
            let page = log::behind_sequence(db, lane, sequence, PAGE).await?;
            let Some(last) = page.last() else { break };
            sequence = last.sequence;
            for event in &page {
                if event.sequence > head.sequence {
                    break 'lane;
                }
                event_is_booked(db, lane, event, buckets, report).await?;
            }
        }
    }
    Ok(())
}

async fn event_is_booked(
    db: &dyn Reads,
    lane: Lane,
    event: &LogEvent,
    buckets: &[usize],
    report: &mut Report<'_>,
) -> Result<(), ReadError> {
    // What is no event has been told already.
    let Ok(parsed) = event.parse() else { return Ok(()) };
    let Some(posting) = posting(&parsed, lane) else { return Ok(()) };
    let legs = sums::legs(&posting);
    if !legs
        .iter()
        .any(|(leg, amount)| buckets.contains(&sums::of_leg(event, &posting, *leg, *amount).bucket))
    {
        return Ok(());
    }
    let mut sum = Some(0_i128);
    for (leg, amount_minor) in legs {
        let expected = sums::of_leg(event, &posting, leg, amount_minor);
        let at = tables::entries_at(db, &leg.account, event.occurred_at.as_micros()).await?;
        let own: Vec<&Entry> = at.iter().filter(|entry| entry.id == leg.entry_id).collect();
        let place = format!("ledger_entries {} {}", describe(&leg.account), leg.entry_id);
        let said = format!("{amount_minor} by event {}", event.event_id);
        match own.as_slice() {
            [] => {
                report.tell(Kind::Missing, place, said, "no entry".to_owned());
                sum = None;
            }
            [entry] => {
                sum = sum.map(|sum| sum + i128::from(entry.amount_minor));
                if sums::of_entry(entry).hash != expected.hash {
                    let found = format!("{} by event {}", entry.amount_minor, entry.transaction_id);
                    report.tell(Kind::Altered, place, said, found);
                }
            }
            several => {
                report.tell(Kind::Duplicate, place, said, format!("{} entries", several.len()));
                sum = None;
            }
        }
    }
    if let Some(sum) = sum.filter(|sum| *sum != 0) {
        let place = format!("ledger_entries of event {}", event.event_id);
        report.tell(Kind::UnbalancedTransaction, place, "a sum of 0".to_owned(), sum.to_string());
    }
    Ok(())
}

/// Walks the entries of the buckets that differ, and looks for the events that book them.
async fn justify(
    db: &dyn Reads,
    watermark: &Watermark,
    buckets: &[usize],
    report: &mut Report<'_>,
) -> Result<(), ReadError> {
    let mut last: Option<Entry> = None;
    loop {
        let page = tables::entries(db, last.as_ref(), PAGE).await?;
        for entry in &page {
            let hash = sums::of_entry(entry);
            if !buckets.contains(&hash.bucket) || !is_covered(db, watermark, entry).await? {
                continue;
            }
            let event = log::by_event_id(db, entry.transaction_id).await?;
            let books = event.is_some_and(|event| {
                let Ok(parsed) = event.parse() else { return false };
                posting(&parsed, event.lane).is_some_and(|posting| {
                    sums::legs(&posting)
                        .iter()
                        .any(|(leg, _)| leg.entry_id == entry.id && leg.account == entry.account)
                })
            });
            if !books {
                let place = format!("ledger_entries {} number {}", describe(&entry.account), entry.number);
                let found = format!("{} by event {}", entry.amount_minor, entry.transaction_id);
                report.tell(Kind::Foreign, place, "an entry that its event books".to_owned(), found);
            }
        }
        let Some(entry) = page.into_iter().last() else { return Ok(()) };
        last = Some(entry);
    }
}

/// Whether an entry lies before the watermark, or speaks of an event that is not there. An entry and its event are
/// committed together, so who sees the entry sees its event afterwards.
async fn is_covered(db: &dyn Reads, watermark: &Watermark, entry: &Entry) -> Result<bool, ReadError> {
    let lane = match entry.account.owner {
        Owner::Merchant(merchant) => lane_of(merchant, watermark.lanes),
        Owner::Platform(lane) => lane,
    };
    if let Some(covers) = watermark.covers(lane, entry.created_at) {
        return Ok(covers);
    }
    let event = log::by_event_id(db, entry.transaction_id).await?;
    Ok(event.is_none_or(|event| !watermark.is_behind(&event)))
}

fn describe(key: &AccountKey) -> String {
    let owner = match key.owner {
        Owner::Merchant(merchant) => format!("merchant {merchant}"),
        Owner::Platform(lane) => format!("platform lane {lane}"),
    };
    format!("{owner} {} {}", key.kind.name(), key.currency)
}
