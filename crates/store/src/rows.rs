//! Rows of what a batch loads, the same from both back ends.

use domain::{
    lane::Lane,
    ledger::{Account, AccountKey, Owner},
};

use crate::{
    batch::{LaneHead, StoredAnswer, SubjectKind},
    error::ReadError,
    queries::{account_kind, currency, moment},
    request::Claim,
    sql::Row,
};

pub(crate) const HEAD: &str = "select lane, sequence, clock, payments_position, payments_hash, \
     withdrawals_position, withdrawals_hash, merchants_position, merchants_hash from lane_heads";
pub(crate) const ACCOUNT: &str = "select owner, kind, currency, balance, entries, updated_at from accounts";
pub(crate) const KEY: &str = "select key_hash, fingerprint, subject_kind, subject_id, lane, sequence, size, \
     created_at from idempotency_keys";

pub(crate) fn head_from(row: Row<'_>) -> Result<LaneHead, ReadError> {
    let stream = |column: usize| -> Result<(i64, [u8; 32]), ReadError> {
        let hash = row.bytes(column + 1)?.try_into();
        let hash = hash.map_err(|_| ReadError::Invalid("a hash does not have 32 bytes".to_owned()))?;
        Ok((row.int(column)?, hash))
    };
    let lane = u16::try_from(row.int(0)?).map_err(|_| ReadError::Invalid("a lane below zero".to_owned()))?;
    Ok(LaneHead {
        lane: Lane(lane),
        sequence: row.int(1)?,
        clock: moment(row.int(2)?),
        streams: [stream(3)?, stream(5)?, stream(7)?],
    })
}

pub(crate) fn stored_answer_from(row: Row<'_>) -> Result<StoredAnswer, ReadError> {
    let kind = SubjectKind::from_number(row.int(2)?);
    let lane = u16::try_from(row.int(4)?).map_err(|_| ReadError::Invalid("a lane below zero".to_owned()))?;
    Ok(StoredAnswer {
        claim: Claim { key_hash: row.uuid(0)?, fingerprint: row.uuid(1)? },
        kind: kind.ok_or_else(|| ReadError::Invalid("an unknown kind of subject".to_owned()))?,
        subject_id: row.uuid(3)?,
        lane: Lane(lane),
        sequence: row.int(5)?,
        size: row.int(6)?,
        created_at: moment(row.int(7)?),
    })
}

pub(crate) fn account_from(row: Row<'_>) -> Result<(AccountKey, Account), ReadError> {
    let key = AccountKey {
        owner: Owner::from_uuid(row.uuid(0)?),
        kind: account_kind(row.int(1)?)?,
        currency: currency(row.text(2)?)?,
    };
    let account =
        Account { balance_minor: row.int(3)?, entries: row.int(4)?, updated_at: moment(row.int(5)?) };
    Ok((key, account))
}
