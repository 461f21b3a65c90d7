//! What an event costs in Avro, on one core, and how large it is: examples of every version of every event, in turn. Beside
//! it stands the library's way, over values in between.

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use apache_avro::{
    Schema, reader::datum::GenericDatumReader, types::Value, writer::datum::GenericDatumWriter,
};
use schema::{catalogue::CATALOGUE, codec::Codec, documents::Example, frame::HEADER_BYTES};

use super::{
    CompareError, Context,
    row::{Figure, Sample, Spec, Target},
};

const MICROSECONDS_MAX: f64 = 2.0;
/// Of the size in JSON.
const SIZE_MAX: f64 = 0.5;

const TESTED: &str = "the catalogue and its examples are tested";
const LIBRARY: &str = "apache-avro, its values alone";

/// An event in all the forms that are measured.
struct Event<'s> {
    codec: Codec,
    writer: GenericDatumWriter<'s>,
    reader: GenericDatumReader<'s>,
    json: String,
    body: Vec<u8>,
    value: Value,
}

pub async fn codec(context: &Context) -> Result<Vec<Sample>, CompareError> {
    let seconds = Duration::from_secs(context.settings.seconds);
    Ok(tokio::task::spawn_blocking(move || measure(seconds)).await?)
}

fn measure(seconds: Duration) -> Vec<Sample> {
    let schemas: Vec<Schema> =
        CATALOGUE.iter().map(|entry| Schema::parse_str(entry.avro).expect(TESTED)).collect();
    let events: Vec<Event<'_>> = CATALOGUE
        .iter()
        .zip(&schemas)
        .map(|(entry, schema)| {
            let codec = Codec::parse(entry.avro).expect(TESTED);
            let reader = GenericDatumReader::builder(schema).build().expect(TESTED);
            let writer = GenericDatumWriter::builder(schema).build().expect(TESTED);
            let json = Example::parse(entry.example).json();
            let mut body = Vec::new();
            codec.write(&json, &mut body).expect(TESTED);
            let value = reader.read_value(&mut body.as_slice()).expect(TESTED);
            Event { codec, writer, reader, json, body, value }
        })
        .collect();
    let each = seconds / 4;
    let mut into = Vec::new();
    let write = microseconds(&events, each, |event| {
        into.clear();
        event.codec.write(&event.json, &mut into).is_ok()
    });
    let library_writes = microseconds(&events, each, |event| {
        into.clear();
        event.writer.write_value_ref(&mut into, &event.value).is_ok()
    });
    let read = microseconds(&events, each, |event| event.codec.read(&event.body).is_ok());
    let library_reads =
        microseconds(&events, each, |event| event.reader.read_value(&mut event.body.as_slice()).is_ok());
    #[allow(clippy::cast_precision_loss, reason = "some thousand bytes")]
    let mean =
        |size: fn(&Event<'_>) -> usize| events.iter().map(size).sum::<usize>() as f64 / events.len() as f64;
    let speed =
        |name| Spec { name, baseline: LIBRARY, unit: "µs", target: Target::ValueMax(MICROSECONDS_MAX) };
    let size =
        Spec { name: "avro-size", baseline: "JSON", unit: "bytes", target: Target::RatioMax(SIZE_MAX) };
    let sample = |spec, baseline, candidate| Sample {
        spec,
        baseline: Some(Figure::of(baseline)),
        candidate: Figure::of(candidate),
    };
    vec![
        sample(speed("avro-write"), library_writes, write),
        sample(speed("avro-read"), library_reads, read),
        sample(size, mean(|event| event.json.len()), mean(|event| HEADER_BYTES + event.body.len())),
    ]
}

/// A call's time, over all events in turn.
fn microseconds(events: &[Event<'_>], time: Duration, mut call: impl FnMut(&Event<'_>) -> bool) -> f64 {
    let mut calls = 0_u32;
    let begun_at = Instant::now();
    while begun_at.elapsed() < time {
        for event in events {
            assert!(black_box(call(black_box(event))), "{TESTED}");
            calls += 1;
        }
    }
    begun_at.elapsed().as_secs_f64() * 1e6 / f64::from(calls)
}
