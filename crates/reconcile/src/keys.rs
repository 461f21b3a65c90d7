//! Idempotency keys: the log holds what each one answers with.

use domain::lane::Lane;
use store::{
    batch::StoredAnswer,
    tables::{self, KeyCursor, KeyInLog},
};

use crate::{Area, Error, Kind, PAGE, run::Run};

/// A key is committed together with what it speaks of, so a key that is seen can be answered.
pub async fn check(run: &mut Run<'_>) -> Result<(), Error> {
    let mut cursor = KeyCursor::default();
    loop {
        let page = tables::keys(run.db, &mut cursor, PAGE).await?;
        if page.is_empty() {
            return Ok(());
        }
        run.summary.keys += page.len() as u64;
        for (key_hash, key) in page {
            let place = || Area::Keys.at(key_hash);
            match key {
                Ok(KeyInLog { is_in_log: true, .. }) => {}
                Ok(KeyInLog { answer, is_in_log: false }) => {
                    let StoredAnswer { kind, subject_id, lane: Lane(lane), sequence, size, .. } = answer;
                    run.tell(
                        Kind::Altered,
                        place(),
                        "an answer that the log has".to_owned(),
                        format!("{kind:?} {subject_id}, {size} up to sequence {sequence} of lane {lane}"),
                    );
                }
                Err(error) => {
                    run.tell(Kind::Altered, place(), "a key".to_owned(), error.to_string());
                }
            }
        }
        run.breathe().await?;
    }
}
