//! W3C Trace Context (Recommendation of 2021): which trace something belongs to, and which of its spans.

use std::fmt::{self, Display};

use uuid::Uuid;

/// Of `traceparent`; what a vendor puts into `tracestate` is not carried on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceContext {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    is_sampled: bool,
}

const SAMPLED: u8 = 1;
/// `00-`, 32 digits, `-`, 16 digits, `-`, 2 digits.
const CHARS: usize = 55;

impl TraceContext {
    /// As it is stored: trace, span, flags.
    pub const BYTES: usize = 25;

    /// `None` when one of the ids is nothing but zeros, which no trace and no span has.
    pub fn new(trace_id: [u8; 16], span_id: [u8; 8], is_sampled: bool) -> Option<Self> {
        let is_valid = trace_id != [0; 16] && span_id != [0; 8];
        is_valid.then_some(Self { trace_id, span_id, is_sampled })
    }

    /// Reads a header. What cannot be read restarts the trace, as the Recommendation has it; a later version is read as far as
    /// this one goes.
    pub fn parse(traceparent: &str) -> Option<Self> {
        let bytes = traceparent.as_bytes();
        let (version, is_longer) = (bytes.get(..2)?, bytes.len() > CHARS);
        let is_of_later_version = version != b"00" && version != b"ff";
        if bytes.len() < CHARS
            || is_longer && !(is_of_later_version && bytes[CHARS] == b'-')
            || version == b"ff"
        {
            return None;
        }
        if [2, 35, 52].iter().any(|dash| bytes[*dash] != b'-') {
            return None;
        }
        let (mut trace_id, mut span_id) = ([0; 16], [0; 8]);
        digits(version)?;
        read(&bytes[3..35], &mut trace_id)?;
        read(&bytes[36..52], &mut span_id)?;
        let flags = digits(&bytes[53..55])?;
        Self::new(trace_id, span_id, flags & SAMPLED != 0)
    }

    pub const fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    pub const fn span_id(&self) -> [u8; 8] {
        self.span_id
    }

    /// Whether its spans are kept somewhere.
    pub const fn is_sampled(&self) -> bool {
        self.is_sampled
    }

    /// The same, kept nowhere from here on.
    #[must_use]
    pub const fn not_sampled(self) -> Self {
        Self { is_sampled: false, ..self }
    }

    /// As logs and exemplars name it.
    pub fn trace_id_text(&self) -> String {
        Uuid::from_bytes(self.trace_id).simple().to_string()
    }

    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..16].copy_from_slice(&self.trace_id);
        bytes[16..24].copy_from_slice(&self.span_id);
        bytes[24] = u8::from(self.is_sampled);
        bytes
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let (trace_id, rest) = bytes.split_first_chunk()?;
        let (span_id, flags) = rest.split_first_chunk()?;
        Self::new(*trace_id, *span_id, flags == [SAMPLED])
    }
}

/// As `traceparent`.
impl Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (u128::from_be_bytes(self.trace_id), u64::from_be_bytes(self.span_id));
        write!(f, "00-{trace:032x}-{span:016x}-{:02x}", u8::from(self.is_sampled))
    }
}

fn read(text: &[u8], into: &mut [u8]) -> Option<()> {
    for (byte, pair) in into.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digits(pair)?;
    }
    Some(())
}

/// Two hexadecimal digits, which are lower case.
fn digits(pair: &[u8]) -> Option<u8> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Recommendation.
    const EXAMPLE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_header_is_read_and_written_as_it_was() {
        let context = TraceContext::parse(EXAMPLE).unwrap();
        assert!(context.is_sampled());
        assert_eq!(context.to_string(), EXAMPLE);
        assert_eq!(context.trace_id_text(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(TraceContext::from_bytes(&context.to_bytes()), Some(context));
        let not_sampled = EXAMPLE.replace("-01", "-00");
        assert_eq!(TraceContext::parse(&not_sampled).unwrap().to_string(), not_sampled);
    }

    #[test]
    fn flags_of_others_are_not_carried_on_and_later_versions_are_read() {
        let later = EXAMPLE.replacen("00-", "cc-", 1) + "-what.the-future.will-be";
        for (header, written) in [(EXAMPLE.replace("-01", "-ff"), EXAMPLE), (later, EXAMPLE)] {
            assert_eq!(
                TraceContext::parse(&header).map(|read| read.to_string()).as_deref(),
                Some(written),
                "{header}"
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_no_context() {
        for wrong in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "0x-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(wrong), None, "{wrong}");
        }
    }
}
