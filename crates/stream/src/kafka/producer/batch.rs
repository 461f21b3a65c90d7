//! Record batches, format 2 (KIP-98): what a producer sends for one partition.

use std::io::Write as _;

use crate::kafka::record::Outgoing;

/// From the base offset to the number of records.
const HEADER_BYTES: usize = 61;
/// The checksum covers what lies behind it.
const CHECKSUM_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const LENGTH_AT: usize = 8;
const FORMAT: u8 = 2;
const TRANSACTIONAL: i16 = 0x10;
const ZSTD_LEVEL: i32 = 3;
/// The framing that Java's snappy streams have: a magic, two versions, then blocks with their lengths.
const SNAPPY_MAGIC: &[u8] = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
const SNAPPY_BLOCK_BYTES: usize = 32 * 1024;
/// Key, value, headers: what the varints of a record may take beside them.
const RECORD_FRAMING_BYTES: usize = 32;
const HEADER_FRAMING_BYTES: usize = 6;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl Compression {
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "none" => Self::None,
            "gzip" => Self::Gzip,
            "snappy" => Self::Snappy,
            "lz4" => Self::Lz4,
            "zstd" => Self::Zstd,
            _ => return None,
        })
    }

    const fn number(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }

    fn compress(self, bytes: &[u8], into: &mut Vec<u8>) -> std::io::Result<()> {
        match self {
            Self::None => into.extend_from_slice(bytes),
            Self::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(into, flate2::Compression::default());
                encoder.write_all(bytes)?;
                encoder.finish()?;
            }
            Self::Snappy => {
                into.extend_from_slice(SNAPPY_MAGIC);
                let mut encoder = snap::raw::Encoder::new();
                for block in bytes.chunks(SNAPPY_BLOCK_BYTES) {
                    let at = into.len();
                    into.resize(at + 4 + snap::raw::max_compress_len(block.len()), 0);
                    let length = encoder.compress(block, &mut into[at + 4..])?;
                    into[at..at + 4]
                        .copy_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
                    into.truncate(at + 4 + length);
                }
            }
            Self::Lz4 => {
                let mut encoder = lz4_flex::frame::FrameEncoder::new(into);
                encoder.write_all(bytes)?;
                encoder.finish()?;
            }
            Self::Zstd => zstd::stream::copy_encode(bytes, into, ZSTD_LEVEL)?,
        }
        Ok(())
    }
}

/// Who produces, as the broker knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerId {
    pub id: i64,
    pub epoch: i16,
}

/// Records of one partition that are not sealed yet.
#[derive(Default)]
pub struct Building {
    records: Vec<u8>,
    count: i32,
    base_timestamp: i64,
    last_timestamp: i64,
}

impl Building {
    pub const fn bytes(&self) -> usize {
        self.records.len()
    }

    /// The room that a record takes at most.
    pub fn room_for(record: &Outgoing) -> usize {
        let headers: usize =
            record.headers.iter().map(|(key, value)| key.len() + value.len() + HEADER_FRAMING_BYTES).sum();
        record.key.len() + record.value.as_ref().map_or(0, Vec::len) + headers + RECORD_FRAMING_BYTES
    }

    /// Adds a record. `now` is in milliseconds since 1970.
    pub fn push(&mut self, record: &Outgoing, now: i64) {
        if self.count == 0 {
            self.base_timestamp = now;
        }
        let delta = now - self.base_timestamp;
        self.last_timestamp = self.last_timestamp.max(now);
        let mut length = 1 + size(delta) + size(self.count.into());
        length += sized(Some(record.key.len())) + sized(record.value.as_ref().map(Vec::len));
        length += size(int(record.headers.len()));
        for (key, value) in &record.headers {
            length += sized(Some(key.len())) + sized(Some(value.len()));
        }
        let out = &mut self.records;
        out.reserve(length + 5);
        varint(out, int(length));
        // No attributes.
        out.push(0);
        varint(out, delta);
        varint(out, self.count.into());
        bytes(out, Some(&record.key));
        bytes(out, record.value.as_deref());
        varint(out, int(record.headers.len()));
        for (key, value) in &record.headers {
            bytes(out, Some(key.as_bytes()));
            bytes(out, Some(value.as_bytes()));
        }
        self.count += 1;
    }

    /// The batch as it is sent, and the number of its records.
    pub fn seal(
        self,
        compression: Compression,
        producer: ProducerId,
        sequence: i32,
    ) -> std::io::Result<(Vec<u8>, i32)> {
        let mut batch = vec![0; HEADER_BYTES];
        compression.compress(&self.records, &mut batch)?;
        let mut compression = compression;
        if batch.len() > HEADER_BYTES + self.records.len() {
            batch.truncate(HEADER_BYTES);
            batch.extend_from_slice(&self.records);
            compression = Compression::None;
        }
        let length = i32::try_from(batch.len() - LENGTH_AT - 4).map_err(std::io::Error::other)?;
        let mut header = Vec::with_capacity(HEADER_BYTES);
        // The base offset is the broker's to fill in.
        header.extend_from_slice(&0_i64.to_be_bytes());
        header.extend_from_slice(&length.to_be_bytes());
        // So is the epoch of the leader.
        header.extend_from_slice(&(-1_i32).to_be_bytes());
        header.push(FORMAT);
        // The checksum, when the rest is there.
        header.extend_from_slice(&[0; 4]);
        header.extend_from_slice(&(compression.number() | TRANSACTIONAL).to_be_bytes());
        header.extend_from_slice(&(self.count - 1).to_be_bytes());
        header.extend_from_slice(&self.base_timestamp.to_be_bytes());
        header.extend_from_slice(&self.last_timestamp.to_be_bytes());
        header.extend_from_slice(&producer.id.to_be_bytes());
        header.extend_from_slice(&producer.epoch.to_be_bytes());
        header.extend_from_slice(&sequence.to_be_bytes());
        header.extend_from_slice(&self.count.to_be_bytes());
        batch[..HEADER_BYTES].copy_from_slice(&header);
        let checksum = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
        batch[CHECKSUM_AT..ATTRIBUTES_AT].copy_from_slice(&checksum.to_be_bytes());
        Ok((batch, self.count))
    }
}

fn int(length: usize) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

const fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn size(value: i64) -> usize {
    let bits = 64 - zigzag(value).leading_zeros() as usize;
    bits.div_ceil(7).max(1)
}

/// A length and what it counts.
fn sized(length: Option<usize>) -> usize {
    length.map_or_else(|| size(-1), |length| size(int(length)) + length)
}

fn varint(out: &mut Vec<u8>, value: i64) {
    let mut rest = zigzag(value);
    loop {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            return out.push(low & 0x7f);
        }
        out.push(low | 0x80);
    }
}

fn bytes(out: &mut Vec<u8>, value: Option<&[u8]>) {
    varint(out, value.map_or(-1, |value| int(value.len())));
    out.extend_from_slice(value.unwrap_or_default());
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use bytes::Bytes;
    use kafka_protocol::records::{self, RecordBatchDecoder};

    use super::*;
    use crate::kafka::record::Topic;

    fn record(value: Option<Vec<u8>>) -> Outgoing {
        Outgoing {
            topic: Topic::DeadLetters,
            partition: 3,
            key: b"key".to_vec(),
            value,
            headers: vec![("one", "1".to_owned()), ("empty", String::new())],
        }
    }

    /// What the other implementation leaves to libraries. Real consumers read real topics in other tests.
    fn decompress(bytes: &mut Bytes, compression: records::Compression) -> anyhow::Result<Bytes> {
        let mut out = Vec::new();
        match compression {
            records::Compression::None => return Ok(bytes.clone()),
            records::Compression::Gzip => {
                flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut out)?;
            }
            records::Compression::Snappy => {
                let mut rest = bytes.strip_prefix(SNAPPY_MAGIC).expect("the framing");
                while let Some((length, behind)) = rest.split_first_chunk() {
                    let (block, next) = behind.split_at(u32::from_be_bytes(*length) as usize);
                    out.extend(snap::raw::Decoder::new().decompress_vec(block)?);
                    rest = next;
                }
            }
            records::Compression::Lz4 => {
                lz4_flex::frame::FrameDecoder::new(&bytes[..]).read_to_end(&mut out)?;
            }
            records::Compression::Zstd => zstd::stream::copy_decode(&bytes[..], &mut out)?,
        }
        Ok(out.into())
    }

    #[test]
    fn another_implementation_reads_what_is_encoded() {
        for compression in
            [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd]
        {
            for (count, length) in [(1, 0), (1, 5), (3, 127), (130, 1000), (2, 70_000)] {
                let mut building = Building::default();
                for number in 0..count {
                    let record = record((number != 2).then(|| vec![b'a'; length]));
                    let before = building.bytes();
                    building.push(&record, 1_700_000_000_000 + i64::from(number));
                    assert!(building.bytes() - before <= Building::room_for(&record));
                }
                let producer = ProducerId { id: 77, epoch: 5 };
                let (batch, counted) = building.seal(compression, producer, 40).expect("sealed");
                assert_eq!(counted, count);
                let mut bytes = Bytes::from(batch);
                let decoded =
                    RecordBatchDecoder::decode_with_custom_compression(&mut bytes, Some(decompress));
                let decoded = decoded.expect("a batch").records;
                assert_eq!(decoded.len(), usize::try_from(count).expect("a count"));
                for (number, found) in decoded.iter().enumerate() {
                    assert_eq!(found.offset, i64::try_from(number).expect("small"));
                    assert_eq!(found.sequence, 40 + i32::try_from(number).expect("small"));
                    assert_eq!((found.producer_id, found.producer_epoch), (77, 5));
                    assert!(found.transactional && !found.control);
                    assert_eq!(found.timestamp, 1_700_000_000_000 + found.offset);
                    assert_eq!(found.key.as_deref(), Some(b"key".as_slice()));
                    let value = (number != 2).then(|| vec![b'a'; length]);
                    assert_eq!(found.value.as_deref(), value.as_deref());
                    let headers: Vec<_> = found
                        .headers
                        .iter()
                        .map(|(key, value)| (key.as_str(), value.as_deref().unwrap_or_default()))
                        .collect();
                    assert_eq!(headers, [("one", b"1".as_slice()), ("empty", b"")]);
                }
            }
        }
    }
}
