//! Which lane a merchant lies in, computed as Kafka's Java client places a keyed record.

use std::fmt;

use crate::id::MerchantId;

/// The unit of order, of locking and of parallelism; equal to the Kafka partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane(pub u16);

/// What is unique over all lanes (a merchant's email) is claimed here.
pub const LANE_OF_CLAIMS: Lane = Lane(0);

pub const LANES_DEFAULT: u16 = 16;
pub const LANES_MAX: u16 = 1024;

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `toPositive(murmur2(key)) mod lanes` over the lower-case hyphenated id, as
/// `org.apache.kafka.clients.producer.internals.BuiltInPartitioner#partitionForKey` does.
pub fn lane_of(merchant: MerchantId, lanes: u16) -> Lane {
    let mut buffer = uuid::Uuid::encode_buffer();
    let key = merchant.0.hyphenated().encode_lower(&mut buffer);
    let lane = (murmur2(key.as_bytes()) & 0x7fff_ffff) % u32::from(lanes);
    Lane(u16::try_from(lane).expect("a remainder of a u16 fits into a u16"))
}

/// The 32-bit murmur2 of `org.apache.kafka.common.utils.Utils#murmur2`, seed 0x9747b28c.
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    const R: u32 = 24;
    let length = u32::try_from(data.len()).expect("a key is short");
    let mut h = 0x9747_b28c ^ length;
    let mut words = data.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes(word.try_into().expect("a chunk has four bytes"));
        k = k.wrapping_mul(M);
        k ^= k >> R;
        k = k.wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    let rest = words.remainder();
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            h ^= u32::from(*byte) << (8 * index);
        }
        h = h.wrapping_mul(M);
    }
    h ^= h >> 13;
    h = h.wrapping_mul(M);
    h ^ (h >> 15)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of Kafka's own `UtilsTest#testMurmur2`. Failure mode 38.
    #[test]
    fn murmur2_is_the_one_of_the_java_client() {
        let vectors: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            ("abc", 479_470_107),
        ];
        for (key, expected) in vectors {
            assert_eq!(murmur2(key.as_bytes()).cast_signed(), expected, "{key}");
        }
    }

    #[test]
    fn a_lane_is_below_the_number_of_lanes() {
        for n in 0..2000_u128 {
            let merchant = MerchantId(uuid::Uuid::from_u128(n << 40));
            assert!(lane_of(merchant, 16).0 < 16);
            assert_eq!(lane_of(merchant, 1), Lane(0));
        }
    }
}
