//! The framing of Confluent's serializers: a zero byte, the schema's id in four bytes (big-endian), the body.

/// A registry's number of a schema.
pub type SchemaId = u32;

const MAGIC: u8 = 0;
pub const HEADER_BYTES: usize = 5;

/// What stands before the body.
pub const fn header(id: SchemaId) -> [u8; HEADER_BYTES] {
    let [a, b, c, d] = id.to_be_bytes();
    [MAGIC, a, b, c, d]
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("it is {0} bytes long and the header alone takes {HEADER_BYTES}")]
    Truncated(usize),
    #[error("it begins with the byte {0:#04x} and not with the magic byte 0x00")]
    NoMagicByte(u8),
}

/// The schema's id and the body.
pub fn open(value: &[u8]) -> Result<(SchemaId, &[u8]), FrameError> {
    match value {
        [MAGIC, a, b, c, d, body @ ..] => Ok((u32::from_be_bytes([*a, *b, *c, *d]), body)),
        [first, ..] if *first != MAGIC => Err(FrameError::NoMagicByte(*first)),
        _ => Err(FrameError::Truncated(value.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Failure mode 79.
    #[test]
    fn what_is_no_frame_is_told_apart() {
        assert_eq!(open(b"\x00\x00\x00\x01\x02body"), Ok((258, &b"body"[..])));
        assert_eq!(open(b"\x00\x00\x00\x01\x02"), Ok((258, &b""[..])));
        assert_eq!(open(b""), Err(FrameError::Truncated(0)));
        assert_eq!(open(b"\x00\x00\x00\x01"), Err(FrameError::Truncated(4)));
        assert_eq!(open(b"{}"), Err(FrameError::NoMagicByte(b'{')));
        assert_eq!(header(258), [0, 0, 0, 1, 2]);
    }
}
