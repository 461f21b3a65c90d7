//! What the domain writes the schema can say, to the byte; what the schema can say the domain reads, to the byte.

use apache_avro::{
    Schema, reader::datum::GenericDatumReader, types::Value, writer::datum::GenericDatumWriter,
};
use domain::{
    currency::Currency,
    event::{
        Event, EventBody, MerchantCreated, MerchantUpdated, PaymentCancelled, PaymentCompleted,
        PaymentCreated, PaymentFlagged, PaymentRefunded, WithdrawalCancelled, WithdrawalCompleted,
        WithdrawalFailed, WithdrawalProcessing, WithdrawalRequested,
    },
    id::{CommandId, EntryId, EventId, MerchantId, PaymentId, WithdrawalId},
    ledger::Booking,
    money::{AMOUNT_MINOR_MAX, AmountMinor},
    payment::CompletedBy,
    time::Timestamp,
};
use proptest::{option, prelude::*, strategy::ValueTree as _, test_runner::TestRunner};
use schema::{
    catalogue::{CATALOGUE, find},
    codec::Codec,
};
use uuid::Uuid;

const ENVELOPE: [&str; 3] = ["eventId", "occurredAt", "eventType"];

/// What is drawn for an event, of any type.
#[derive(Clone, Debug)]
pub struct Drawn {
    ids: [u128; 6],
    moment: i64,
    minor: i64,
    balance: i64,
    currency: Currency,
    texts: [String; 2],
    options: [Option<String>; 2],
    is_active: Option<bool>,
    is_bulk: bool,
    by_hand: bool,
}

pub fn drawn() -> impl Strategy<Value = Drawn> {
    let currency = prop::sample::select(vec!["EUR", "JPY", "KWD"]);
    let texts = [".{0,40}", "[\\PC\\n\\t\"\\\\\u{0}]{0,20}"];
    (
        any::<[u128; 6]>(),
        0..253_402_214_400_000_000_i64,
        1..=AMOUNT_MINOR_MAX,
        any::<i64>(),
        currency,
        texts,
        (option::of(".{0,30}"), option::of(".{0,30}")),
        (any::<Option<bool>>(), any::<bool>(), any::<bool>()),
    )
        .prop_map(
            |(ids, moment, minor, balance, currency, texts, options, (is_active, is_bulk, by_hand))| Drawn {
                ids,
                moment,
                minor,
                balance,
                currency: Currency::parse(currency).unwrap(),
                texts,
                options: [options.0, options.1],
                is_active,
                is_bulk,
                by_hand,
            },
        )
}

/// One event of each type.
pub fn events(drawn: &Drawn) -> Vec<Event> {
    let Drawn { texts: [text, other], options: [option, further], currency, is_active, .. } = drawn.clone();
    let id = |number: usize| Uuid::from_u128(drawn.ids[number]);
    let (merchant_id, payment_id, withdrawal_id) = (MerchantId(id(1)), PaymentId(id(2)), WithdrawalId(id(2)));
    let amount = AmountMinor::new(drawn.minor).unwrap();
    let occurred_at = Timestamp::from_micros(drawn.moment);
    let booking = Booking {
        new_balance_minor: drawn.balance,
        ledger_entry_id: EntryId(id(3)),
        counter_entry_id: EntryId(id(4)),
    };
    let completed_by = if drawn.by_hand { CompletedBy::Manual } else { CompletedBy::FraudDetection };
    let bodies = vec![
        EventBody::MerchantCreated(MerchantCreated { merchant_id, name: text.clone(), email: other.clone() }),
        EventBody::MerchantUpdated(MerchantUpdated { merchant_id, name: option.clone(), is_active }),
        EventBody::PaymentCreated(PaymentCreated {
            payment_id,
            merchant_id,
            amount,
            currency,
            external_reference: option.clone(),
            description: further.clone(),
            bulk_id: drawn.is_bulk.then_some(CommandId(id(5))),
        }),
        EventBody::PaymentCompleted(PaymentCompleted {
            payment_id,
            merchant_id,
            amount,
            currency,
            booking,
            completed_at: occurred_at,
            completed_by,
        }),
        EventBody::PaymentCancelled(PaymentCancelled { payment_id, merchant_id, amount, currency }),
        EventBody::PaymentRefunded(PaymentRefunded {
            payment_id,
            merchant_id,
            refunded_amount: amount,
            currency,
            booking,
            refund_reason: option.clone(),
            refunded_at: occurred_at,
        }),
        EventBody::PaymentFlagged(PaymentFlagged {
            payment_id,
            merchant_id,
            amount,
            currency,
            flag_reason: text.clone(),
            external_reference: option.clone(),
            description: further.clone(),
        }),
        EventBody::WithdrawalRequested(WithdrawalRequested {
            withdrawal_id,
            merchant_id,
            amount,
            currency,
            bank_account_number: text.clone(),
            bank_routing_number: other,
            booking,
        }),
        EventBody::WithdrawalProcessing(WithdrawalProcessing {
            withdrawal_id,
            merchant_id,
            amount,
            currency,
        }),
        EventBody::WithdrawalCompleted(WithdrawalCompleted {
            withdrawal_id,
            merchant_id,
            amount,
            currency,
            external_transaction_id: option,
            booking,
        }),
        EventBody::WithdrawalFailed(WithdrawalFailed {
            withdrawal_id,
            merchant_id,
            amount,
            currency,
            failure_reason: text,
            booking,
        }),
        EventBody::WithdrawalCancelled(WithdrawalCancelled {
            withdrawal_id,
            merchant_id,
            amount,
            currency,
            booking,
        }),
    ];
    let (id, command_id) = (EventId(id(0)), CommandId(id(5)));
    bodies.into_iter().map(|body| Event { id, command_id, occurred_at, body }).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// From the types to the schemas and back: the same bytes, so the chain that is sealed over them holds; and the
    /// library reads from the Avro what the JSON says. Failure mode 18.
    #[test]
    fn what_the_domain_writes_the_schema_says_to_the_byte(drawn in drawn()) {
        for event in events(&drawn) {
            let entry = find(event.body.event_type(), event.body.version()).unwrap();
            let codec = Codec::parse(entry.avro).unwrap();
            let json = event.to_json();
            let mut avro = Vec::new();
            codec.write(&json, &mut avro).unwrap();
            prop_assert_eq!(&codec.read(&avro).unwrap(), &json);

            let schema = Schema::parse_str(entry.avro).unwrap();
            let mut rest = &avro[..];
            let value = GenericDatumReader::builder(&schema).build().unwrap().read_value(&mut rest).unwrap();
            prop_assert!(rest.is_empty());
            let theirs = GenericDatumWriter::builder(&schema).build().unwrap().write_value_to_vec(value).unwrap();
            prop_assert_eq!(theirs, avro);
        }
    }

    /// From the schemas to the types: of an event that has every field, the types can do without just those that the
    /// schema lets be absent, and know all of them.
    #[test]
    fn what_the_schema_says_the_domain_reads(drawn in drawn()) {
        let whole = Drawn {
            options: ["a", "b"].map(|text| Some(text.to_owned())),
            is_active: Some(true),
            is_bulk: true,
            ..drawn
        };
        for event in events(&whole) {
            let (name, version) = (event.body.event_type(), event.body.version());
            let parse = |json: &str| Event::parse(event.id, event.command_id, event.occurred_at, name, json);
            let json = event.to_json();
            prop_assert_eq!(&parse(&json).unwrap(), &event);
            let avro = find(name, version).unwrap().avro;
            let codec = Codec::parse(avro).unwrap();
            let fields: serde_json::Value = serde_json::from_str(avro).unwrap();
            for field in fields["fields"].as_array().unwrap() {
                let field = field["name"].as_str().unwrap();
                let mut without: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&json).unwrap();
                prop_assert!(without.shift_remove(field).is_some(), "{} has no {}", name, field);
                // These are columns of the log.
                if ENVELOPE.contains(&field) {
                    continue;
                }
                let without = serde_json::to_string(&without).unwrap();
                let may_be_absent = codec.write(&without, &mut Vec::new()).is_ok();
                prop_assert_eq!(parse(&without).is_ok(), may_be_absent, "{} without {}", name, field);
            }
        }
    }
}

/// An event of every version there has been is read as one of the newest. Failure modes 77 and 108.
#[test]
fn an_event_of_an_old_version_is_read_as_one_of_the_newest() {
    let mut runner = TestRunner::deterministic();
    let drawn = drawn().new_tree(&mut runner).unwrap().current();
    let newest = events(&Drawn { is_bulk: false, ..drawn });
    for entry in CATALOGUE {
        let event = newest.iter().find(|event| event.body.event_type() == entry.event_type).unwrap();
        // Without what later versions added, the JSON of all versions is the same.
        let codec = Codec::parse(entry.avro).unwrap();
        let mut avro = Vec::new();
        codec.write(&event.to_json(), &mut avro).unwrap();
        let json = codec.read(&avro).unwrap();
        let read = Event::parse(event.id, event.command_id, event.occurred_at, entry.event_type, &json);
        assert_eq!(&read.unwrap(), event, "{} {}", entry.event_type, entry.version);
    }
}

/// Old code and new events run side by side: what an old reader does not know it passes over, in JSON as in Avro. Failure
/// mode 108.
#[test]
fn a_reader_of_the_first_version_reads_the_second() {
    let mut runner = TestRunner::deterministic();
    let drawn = drawn().new_tree(&mut runner).unwrap().current();
    let events = events(&Drawn { is_bulk: true, ..drawn });
    let event = events.iter().find(|event| event.body.event_type() == "PaymentCreated").unwrap();
    let json = event.to_json();
    assert!(json.contains("\"bulkId\""));
    let (old, new) = (find("PaymentCreated", 1).unwrap(), find("PaymentCreated", 2).unwrap());
    let mut avro = Vec::new();
    Codec::parse(new.avro).unwrap().write(&json, &mut avro).unwrap();
    let schema = |avro| Schema::parse_str(avro).unwrap();
    let (writer, reader) = (schema(new.avro), schema(old.avro));
    let resolving = GenericDatumReader::builder(&writer).reader_schema(&reader).build().unwrap();
    let value = resolving.read_value(&mut &avro[..]).unwrap();
    let Value::Record(fields) = value else { panic!("{value:?}") };
    assert_eq!(fields.len(), 9, "{fields:?}");
    // A later version still, with a field that this program does not know.
    let later = json.replace("\"bulkId\"", "\"channel\":\"web\",\"bulkId\"");
    let read = Event::parse(event.id, event.command_id, event.occurred_at, "PaymentCreated", &later);
    assert_eq!(&read.unwrap(), event);
}
