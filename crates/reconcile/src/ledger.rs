//! The ledger: each account by itself, and all of it against what the events book.

use std::collections::HashSet;

use domain::{
    id::EventId,
    lane::Lane,
    ledger::{AccountKey, AccountKind, Entry, Owner, posting},
};
use store::{
    batch::{LaneHead, LogEvent},
    error::ReadError,
    log,
    tables::{self, AccountEnd, AccountPlace, EntryPlace, FoundEntry},
};

use crate::{
    Area, Error, Kind, PAGE, Place,
    progress::{AccountCursor, EntryCursor, Last, Phase},
    run::Run,
    sums,
};

/// Numbers without gaps, each balance the one before and the amount; and the sums of what was booked before the
/// watermark.
pub async fn entries(run: &mut Run<'_>, after: Option<EntryCursor>) -> Result<(), Error> {
    let db = run.db;
    let mut last = after.as_ref().and_then(|cursor| cursor.last.as_ref()).and_then(Last::read);
    let mut page = tables::entries(db, after.as_ref().map(EntryCursor::place).as_ref(), PAGE).await?;
    while let Some(end) = &page.end {
        // The next page is read while this one is compared.
        let (next, compared) =
            tokio::join!(tables::entries(db, Some(end), PAGE), compare(&page.found, &mut last, run));
        compared?;
        run.advanced(page.found.len());
        run.reached(|| Phase::Entries { after: Some(EntryCursor::new(end, last.map(Last::new))) }).await?;
        page = next?;
    }
    Ok(())
}

/// The last entry of an account so far: number and balance.
type Before = (AccountKey, i64, i64);

async fn compare(page: &[FoundEntry], last: &mut Option<Before>, run: &mut Run<'_>) -> Result<(), Error> {
    run.summary.entries += page.len() as u64;
    let uncovered = uncovered(run, page).await?;
    for entry in page {
        let entry = match entry {
            Ok(entry) => entry,
            Err((place, error)) => {
                let place = entry_at(in_words(&place.account), place.number);
                run.tell(Kind::Altered, place, "an entry".to_owned(), error.to_string());
                continue;
            }
        };
        if !uncovered.contains(&entry.transaction_id) {
            run.found.add(&sums::of_entry(entry));
        }
        let before = last.filter(|(account, ..)| *account == entry.account);
        if before.is_none() && tables::account(run.db, &entry.account).await?.is_none() {
            let place = Area::Accounts.at(describe(&entry.account));
            run.tell(Kind::Missing, place, "an account".to_owned(), "no row".to_owned());
        }
        follows(before, entry, run);
        *last = Some((entry.account, entry.number, entry.balance_after_minor));
    }
    Ok(())
}

fn follows(before: Option<Before>, entry: &Entry, run: &mut Run<'_>) {
    let (number, balance) = before.map_or((0, 0), |(_, number, balance)| (number, balance));
    let place = || entry_at(describe(&entry.account), entry.number);
    if entry.number != number + 1 {
        let kind = if entry.number > number { Kind::Missing } else { Kind::Duplicate };
        run.tell(kind, place(), format!("number {}", number + 1), entry.number.to_string());
        return;
    }
    let expected = i128::from(balance) + i128::from(entry.amount_minor);
    if i128::from(entry.balance_after_minor) != expected {
        let found = format!("{} after {}", entry.balance_after_minor, entry.amount_minor);
        run.tell(Kind::DriftedBalance, place(), format!("{expected} after {balance}"), found);
    }
}

/// Each account stands where its last entry stands.
pub async fn accounts(run: &mut Run<'_>, after: Option<AccountCursor>) -> Result<(), Error> {
    let mut last = after.as_ref().map(AccountCursor::place);
    loop {
        let page = tables::accounts(run.db, last.as_ref(), PAGE).await?;
        let Some((end, _)) = page.last() else { return Ok(()) };
        last = Some(end.clone());
        run.summary.accounts += page.len() as u64;
        for (key, end) in page {
            let place = || Area::Accounts.at(in_words(&key));
            let AccountEnd { account, last_entry, .. } = match end {
                Ok(end) => end,
                Err(error) => {
                    run.tell(Kind::Altered, place(), "an account".to_owned(), error.to_string());
                    continue;
                }
            };
            let (number, balance) = last_entry.unwrap_or_default();
            if account.balance_minor != balance {
                run.tell(
                    Kind::DriftedBalance,
                    place(),
                    balance.to_string(),
                    account.balance_minor.to_string(),
                );
            }
            if account.entries != number {
                let found = format!("{} entries", account.entries);
                run.tell(Kind::Altered, place(), format!("{number} entries"), found);
            }
        }
        run.reached(|| Phase::Accounts { after: last.as_ref().map(AccountCursor::new) }).await?;
    }
}

/// Looks for what differs, where the sums do.
pub async fn differing(run: &mut Run<'_>) -> Result<(), Error> {
    let buckets = run.booked.differing(&run.found);
    if !buckets.is_empty() {
        book_again(run, &buckets).await?;
        justify(run, &buckets).await?;
    }
    Ok(())
}

/// Walks the log again for the buckets that differ, and looks for the entries that its events book.
async fn book_again(run: &mut Run<'_>, buckets: &[usize]) -> Result<(), Error> {
    for number in 0..run.watermark.heads.len() {
        let LaneHead { lane, sequence: end, .. } = run.watermark.heads[number];
        let mut sequence = 0;
        loop {
            let page = log::found_behind_sequence(run.db, lane, sequence, PAGE).await?;
            let Some((last, _)) = page.last().filter(|_| sequence < end) else { break };
            sequence = *last;
            for (_, event) in page.iter().filter(|(sequence, _)| *sequence <= end) {
                // What cannot be read has been told already.
                let Ok(event) = event else { continue };
                event_is_booked(run, lane, event, buckets).await?;
            }
            run.breathe().await?;
        }
    }
    Ok(())
}

async fn event_is_booked(
    run: &mut Run<'_>,
    lane: Lane,
    event: &LogEvent,
    buckets: &[usize],
) -> Result<(), Error> {
    // What is no event has been told already.
    let Ok(parsed) = event.parse() else { return Ok(()) };
    let Some(posting) = posting(&parsed, lane) else { return Ok(()) };
    let legs = sums::legs(&posting);
    if !legs
        .iter()
        .any(|(leg, amount)| buckets.contains(&sums::of_leg(&parsed, &posting, *leg, *amount).bucket))
    {
        return Ok(());
    }
    let mut sum = Some(0_i128);
    for (leg, amount_minor) in legs {
        let expected = sums::of_leg(&parsed, &posting, leg, amount_minor);
        let at = tables::entries_at(run.db, &leg.account, event.occurred_at.as_micros()).await?;
        let own: Vec<&Entry> = at.iter().filter(|entry| entry.id == leg.entry_id).collect();
        let place = Area::Entries.at(format_args!("{} {}", describe(&leg.account), leg.entry_id));
        let said = format!("{amount_minor} by event {}", event.event_id);
        match own.as_slice() {
            [] => {
                run.tell(Kind::Missing, place, said, "no entry".to_owned());
                sum = None;
            }
            [entry] => {
                sum = sum.map(|sum| sum + i128::from(entry.amount_minor));
                if sums::of_entry(entry).hash != expected.hash {
                    let found = format!("{} by event {}", entry.amount_minor, entry.transaction_id);
                    run.tell(Kind::Altered, place, said, found);
                }
            }
            several => {
                run.tell(Kind::Duplicate, place, said, format!("{} entries", several.len()));
                sum = None;
            }
        }
    }
    if let Some(sum) = sum.filter(|sum| *sum != 0) {
        let place = Area::Entries.at(format_args!("of event {}", event.event_id));
        run.tell(Kind::UnbalancedTransaction, place, "a sum of 0".to_owned(), sum.to_string());
    }
    Ok(())
}

/// Walks the entries of the buckets that differ, and looks for the events that book them.
async fn justify(run: &mut Run<'_>, buckets: &[usize]) -> Result<(), Error> {
    let mut place: Option<EntryPlace> = None;
    loop {
        let page = tables::entries(run.db, place.as_ref(), PAGE).await?;
        if page.end.is_none() {
            return Ok(());
        }
        place = page.end;
        let uncovered = uncovered(run, &page.found).await?;
        // What cannot be read has been told already.
        for entry in page.found.iter().filter_map(|entry| entry.as_ref().ok()) {
            let hash = sums::of_entry(entry);
            if !buckets.contains(&hash.bucket) || uncovered.contains(&entry.transaction_id) {
                continue;
            }
            let event = match log::by_event_id(run.db, entry.transaction_id).await {
                // It has been told that the event cannot be read.
                Err(ReadError::Invalid(_)) => continue,
                event => event?,
            };
            let books = event.is_some_and(|event| {
                let Ok(parsed) = event.parse() else { return false };
                posting(&parsed, event.lane).is_some_and(|posting| {
                    sums::legs(&posting)
                        .iter()
                        .any(|(leg, _)| leg.entry_id == entry.id && leg.account == entry.account)
                })
            });
            if !books {
                let place = entry_at(describe(&entry.account), entry.number);
                let found = format!("{} by event {}", entry.amount_minor, entry.transaction_id);
                run.tell(Kind::Foreign, place, "an entry that its event books".to_owned(), found);
            }
        }
        run.breathe().await?;
    }
}

/// The events behind the watermark by which entries of a page were booked: what they book is left to the next run. An
/// entry and its event are committed together, so who sees the entry sees its event afterwards; an entry whose event is
/// not there, or lies before the watermark, is not excused by its date.
async fn uncovered(run: &Run<'_>, page: &[FoundEntry]) -> Result<HashSet<EventId>, ReadError> {
    let watermark = &run.watermark;
    let mut late = HashSet::new();
    for entry in page.iter().filter_map(|entry| entry.as_ref().ok()) {
        if !watermark.covers(entry.account.owner, entry.created_at) {
            late.insert(entry.transaction_id);
        }
    }
    let late: Vec<EventId> = late.into_iter().collect();
    let found = log::places(run.db, &late).await?;
    Ok(found
        .into_iter()
        .filter(|(_, (lane, sequence))| watermark.is_behind(*lane, *sequence))
        .map(|(id, _)| id)
        .collect())
}

fn entry_at(account: String, number: i64) -> Place {
    Area::Entries.at(format_args!("{account} number {number}"))
}

fn in_words(place: &AccountPlace) -> String {
    let kind = AccountKind::from_number(place.kind)
        .map_or_else(|| format!("kind {}", place.kind), |kind| kind.name().to_owned());
    format!("{} {kind} {}", owner(Owner::from_uuid(place.owner)), place.currency)
}

fn describe(key: &AccountKey) -> String {
    format!("{} {} {}", owner(key.owner), key.kind.name(), key.currency)
}

fn owner(owner: Owner) -> String {
    match owner {
        Owner::Merchant(merchant) => format!("merchant {merchant}"),
        Owner::Platform(lane) => format!("platform lane {lane}"),
    }
}
