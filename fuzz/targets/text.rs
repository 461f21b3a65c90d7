//! Whatever is sent to the registry as a schema: it is taken or refused, it is compatible with itself, and where it can be an
//! event's, any body is read by it or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;
use schema::{
    codec::Codec,
    compatibility::{Level, check, parse},
};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(schema) = parse(text) else { return };
    let found = check(Level::FullTransitive, &schema, &[(1, &schema)]);
    assert!(found.is_empty(), "{found:?}");
    if let Ok(codec) = Codec::new(&schema) {
        let _ = codec.read(bytes);
    }
});
