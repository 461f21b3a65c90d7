//! Bytes that are not what a schema says: a reason each, never a panic.

use proptest::prelude::*;
use schema::{
    catalogue::{CATALOGUE, find},
    codec::{BodyError, Codec, CodecError},
    frame,
};

const FLAGGED: &str = r#"{"eventId":"019a0000-0000-7000-8000-000000000001","occurredAt":"2026-11-23T12:00:00.000001Z","eventType":"PaymentFlagged","paymentId":"019a0000-0000-7000-8000-000000000002","merchantId":"019a0000-0000-7000-8000-000000000003","amountInMinorUnits":100,"currency":"EUR","flagReason":"odd","externalReference":"r"}"#;

fn codec() -> Codec {
    Codec::parse(find("PaymentFlagged", 1).unwrap().avro).unwrap()
}

fn written() -> Vec<u8> {
    let mut avro = Vec::new();
    codec().write(FLAGGED, &mut avro).unwrap();
    avro
}

/// Failure mode 79: cut off anywhere, or too long.
#[test]
fn a_body_that_is_cut_off_or_too_long_is_refused() {
    let (codec, whole) = (codec(), written());
    assert_eq!(codec.read(&whole).unwrap(), FLAGGED);
    for length in 0..whole.len() {
        assert!(matches!(codec.read(&whole[..length]), Err(BodyError::Truncated(_))), "{length}");
    }
    let longer = [&whole[..], b"xyz"].concat();
    assert_eq!(codec.read(&longer), Err(BodyError::Surplus(3)));
}

/// Failure mode 80: what a field cannot be.
#[test]
fn a_value_that_its_field_cannot_have_is_refused() {
    let (codec, whole) = (codec(), written());
    // The event's id begins with its length.
    for (at, byte, said) in [
        (0, 1, "a length below zero"),
        (1, b'Z', "a uuid"),
        (1, 0xff, "UTF-8"),
        (whole.len() - 1, 4, "a branch"),
    ] {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        let told = codec.read(&bytes).unwrap_err().to_string();
        assert!(told.contains(said), "{told}");
    }
}

#[test]
fn json_that_is_not_the_schemas_is_refused() {
    let codec = codec();
    let long = FLAGGED.replace("100", "9223372036854775808");
    for (json, said) in [
        (FLAGGED.replace("\"currency\":\"EUR\",", ""), "currency is missing"),
        (FLAGGED.replace("\"EUR\"", "null"), "currency"),
        (FLAGGED.replace("\"EUR\"", "1"), "currency"),
        (FLAGGED.replace("100", "1.5"), "amountInMinorUnits"),
        (FLAGGED.replace("PaymentFlagged", "PaymentCreated"), "eventType"),
        (FLAGGED.replace("\"r\"}", "\"r\",\"more\":1}"), "more is no field"),
        (FLAGGED.replace('}', "} "), ""),
        (long, "amountInMinorUnits"),
        ("[]".to_owned(), ""),
        (String::new(), ""),
    ] {
        match codec.write(&json, &mut Vec::new()) {
            Err(error) => assert!(error.to_string().contains(said), "{error}"),
            // What is written differently is not told by writing it, but by reading it back.
            Ok(()) => assert!(json.ends_with(' '), "{json}"),
        }
    }
}

#[test]
fn a_schema_that_no_event_can_have_is_refused() {
    let recursive = r#"{"type":"record","name":"N","fields":[{"name":"next","type":["null","N"]}]}"#;
    let decimal = r#"{"type":"record","name":"N","fields":[{"name":"a","type":{"type":"bytes","logicalType":"decimal","precision":4}}]}"#;
    assert_eq!(Codec::parse(recursive).err(), Some(CodecError::ForeignType("next".to_owned())));
    assert_eq!(Codec::parse(decimal).err(), Some(CodecError::ForeignType("a".to_owned())));
    assert_eq!(Codec::parse("\"string\"").err(), Some(CodecError::NotARecord));
    let nested = format!("{}\"int\"{}", "{\"type\":\"array\",\"items\":".repeat(5000), "}".repeat(5000));
    for unreadable in ["", "{", r#"{"type":"record"}"#, &nested] {
        assert!(matches!(Codec::parse(unreadable), Err(CodecError::Unreadable(_))), "{unreadable:.40}");
    }
}

proptest! {
    /// Failure mode 79. Whatever the bytes are: JSON, or a reason; and what is read can be written as it was read.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0..CATALOGUE.len()) {
        let codec = Codec::parse(CATALOGUE[at].avro).unwrap();
        let _ = frame::open(&bytes);
        if let Ok(json) = codec.read(&bytes) {
            let mut again = Vec::new();
            codec.write(&json, &mut again).unwrap();
            prop_assert_eq!(codec.read(&again).unwrap(), json);
        }
    }

    /// The same near a body that is right.
    #[test]
    fn a_body_with_a_changed_byte_is_read_or_refused(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = written();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(json) = codec().read(&bytes) {
            let mut again = Vec::new();
            codec().write(&json, &mut again).unwrap();
            prop_assert_eq!(codec().read(&again).unwrap(), json);
        }
    }
}
