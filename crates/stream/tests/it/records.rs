//! Records, by the examples that the documents show: what the program once published, read and written again.

use domain::lane::Lane;
use rdkafka::message::{Header, OwnedHeaders};
use schema::{
    catalogue::CATALOGUE,
    documents::Example,
    headers::{CONTENT_TYPE_AVRO, EVENT_HEADERS},
};
use stream::kafka::{
    record::{self, Incoming, Outgoing},
    values::Format,
};

/// Each comes back as it was, to the byte, with the headers that are documented, in their order.
#[test]
fn an_example_is_read_and_written_again_as_it_was() {
    let documented: Vec<&str> =
        EVENT_HEADERS.iter().filter(|header| !header.is_optional).map(|header| header.name).collect();
    for entry in CATALOGUE {
        let example = Example::parse(entry.example);
        let (key, value) = (example.key.as_bytes(), example.json());
        let headers = headers(&example, None);
        let read = record::decode(entry.stream, Lane(0), Some(key), Some(value.as_bytes()), Some(&headers));
        let Incoming::Event(event) = read else { panic!("{} is no event", entry.name()) };
        assert_eq!(event.version, entry.version);
        let Outgoing { key: written_key, value: written, headers, .. } =
            record::encode(&event, &Format::Json, usize::MAX);
        assert_eq!((written_key.as_slice(), written), (key, Some(value.into_bytes())));
        let names: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, documented);
        for (name, value) in &headers {
            assert_eq!(example.header(name), value, "{} {name}", entry.name());
        }
        assert_eq!(headers.len(), example.headers.len());
    }
}

/// What says that it is Avro, by the header or the magic byte, is not taken for JSON.
#[test]
fn the_content_type_or_the_magic_byte_decides_how_a_value_is_read() {
    for entry in CATALOGUE {
        let example = Example::parse(entry.example);
        let (key, value) = (example.key.as_bytes(), example.json());
        let avro = headers(&example, Some(CONTENT_TYPE_AVRO));
        let read = record::decode(entry.stream, Lane(0), Some(key), Some(value.as_bytes()), Some(&avro));
        assert!(matches!(read, Incoming::Avro(_, bytes) if bytes == value.as_bytes()));
        let read = record::decode(entry.stream, Lane(0), Some(key), None, Some(&avro));
        assert!(matches!(read, Incoming::Avro(_, bytes) if bytes.is_empty()));
        let json = headers(&example, None);
        let read = record::decode(entry.stream, Lane(0), Some(key), Some(b"\0\0\0\0\x01\xff"), Some(&json));
        assert!(matches!(read, Incoming::Avro(..)), "by the magic byte, whatever the header says");
        let read = record::decode(entry.stream, Lane(0), Some(key), None, Some(&json));
        assert!(matches!(read, Incoming::Foreign(_)));
    }
}

fn headers(example: &Example, content_type: Option<&str>) -> OwnedHeaders {
    example.headers.keys().fold(OwnedHeaders::new(), |headers, key| {
        let value = match content_type {
            Some(content_type) if key == "content-type" => content_type,
            _ => example.header(key),
        };
        headers.insert(Header { key, value: Some(value) })
    })
}
