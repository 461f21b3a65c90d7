//! Whatever lies on a topic as a value: a frame, and a body read by the schema that its id says. It is read or refused, and
//! what is read is written to what is read again as the same.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use schema::{catalogue::CATALOGUE, codec::Codec, frame};

static CODECS: LazyLock<Vec<Codec>> = LazyLock::new(|| {
    CATALOGUE.iter().map(|entry| Codec::parse(entry.avro).expect("the catalogue is tested")).collect()
});

fuzz_target!(|value: &[u8]| {
    let Ok((id, body)) = frame::open(value) else { return };
    let codec = &CODECS[id as usize % CODECS.len()];
    let Ok(json) = codec.read(body) else { return };
    serde_json::from_str::<serde_json::Value>(&json).expect("what is read is JSON");
    let mut written = Vec::new();
    codec.write(&json, &mut written).expect("what is read can be written");
    assert_eq!(codec.read(&written).as_ref(), Ok(&json));
});
