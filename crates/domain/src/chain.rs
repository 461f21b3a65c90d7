//! The hash chain over a (stream, lane): each event seals the one before it.

use sha2::{Digest, Sha256};

use crate::{event::Stream, lane::Lane, time::Timestamp};

/// SHA-256 (FIPS 180-4).
pub type Hash = [u8; 32];

/// What stands before position 1.
pub const GENESIS: Hash = [0; 32];

/// What is sealed of an event, exactly as it stands in the log.
#[derive(Clone, Copy, Debug)]
pub struct Link<'a> {
    pub stream: Stream,
    pub lane: Lane,
    pub position: i64,
    pub sequence: i64,
    pub event_type: &'a str,
    pub version: u16,
    pub occurred_at: Timestamp,
    pub payload: &'a [u8],
}

/// SHA-256 over the previous hash and the link. Integers are big-endian and of fixed width; texts
/// are preceded by their length in eight bytes, so that no two links have the same bytes.
pub fn seal(previous: &Hash, link: &Link<'_>) -> Hash {
    let mut hasher = Sha256::new();
    hasher.update(previous);
    hasher.update(length(link.stream.name().as_bytes()));
    hasher.update(link.stream.name());
    hasher.update(link.lane.0.to_be_bytes());
    hasher.update(link.position.to_be_bytes());
    hasher.update(link.sequence.to_be_bytes());
    hasher.update(length(link.event_type.as_bytes()));
    hasher.update(link.event_type);
    hasher.update(link.version.to_be_bytes());
    hasher.update(link.occurred_at.as_micros().to_be_bytes());
    hasher.update(length(link.payload));
    hasher.update(link.payload);
    hasher.finalize().into()
}

fn length(bytes: &[u8]) -> [u8; 8] {
    (bytes.len() as u64).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: Link<'_> = Link {
        stream: Stream::Payments,
        lane: Lane(3),
        position: 1,
        sequence: 2,
        event_type: "PaymentCreated",
        version: 1,
        occurred_at: Timestamp::from_micros(1_000_000),
        payload: b"{}",
    };

    #[test]
    fn every_field_is_sealed() {
        let sealed = seal(&GENESIS, &LINK);
        let changed = [
            seal(&[1; 32], &LINK),
            seal(&GENESIS, &Link { stream: Stream::Withdrawals, ..LINK }),
            seal(&GENESIS, &Link { lane: Lane(4), ..LINK }),
            seal(&GENESIS, &Link { position: 2, ..LINK }),
            seal(&GENESIS, &Link { sequence: 3, ..LINK }),
            seal(&GENESIS, &Link { event_type: "PaymentCreate", ..LINK }),
            seal(&GENESIS, &Link { version: 2, ..LINK }),
            seal(&GENESIS, &Link { occurred_at: Timestamp::from_micros(1_000_001), ..LINK }),
            seal(&GENESIS, &Link { payload: b"{ }", ..LINK }),
        ];
        for other in changed {
            assert_ne!(sealed, other);
        }
        assert_eq!(sealed, seal(&GENESIS, &LINK));
    }
}
