//! Edits that somebody might make to an event of ours: what is told, where, and how to do it instead.

use schema::{
    catalogue::find,
    compatibility::{Kind, Level, check},
};

use super::schema;

struct Edit {
    what: &'static str,
    old: &'static str,
    new: &'static str,
    /// What is told at FULL, with what the message says of it.
    told: &'static [(Kind, &'static str, &'static str)],
}

const UUID: &str = r#"{"type": "string", "logicalType": "uuid"}"#;
const BACKWARD: &str = "The new schema cannot read version 2: ";
const FORWARD: &str = "Version 2 cannot read the new schema: ";

const EDITS: &[Edit] = &[
    Edit {
        what: "a required field is removed",
        old: r#"{"name": "currency", "type": "string", "doc": "ISO 4217, three capital letters."},"#,
        new: "",
        told: &[(
            Kind::ReaderFieldMissingDefaultValue,
            "/fields/6",
            "Version 2 cannot read the new schema: The reader's field currency has no default, and the writer has no such \
             field. Give it a default when it is added, such as null first in a union, and remove no field that has none.",
        )],
    },
    Edit {
        what: "a required field is added",
        old: r#"{"name": "externalReference""#,
        new: r#"{"name": "channel", "type": "string"}, {"name": "externalReference""#,
        told: &[(
            Kind::ReaderFieldMissingDefaultValue,
            "/fields/7",
            "The new schema cannot read version 2: The reader's field channel has no default, and the writer has no such \
             field. Give it a default when it is added, such as null first in a union, and remove no field that has none.",
        )],
    },
    Edit {
        what: "a field is renamed",
        old: r#""name": "amountInMinorUnits""#,
        new: r#""name": "amount""#,
        told: &[
            (Kind::ReaderFieldMissingDefaultValue, "/fields/5", "The reader's field amount has no default"),
            (
                Kind::ReaderFieldMissingDefaultValue,
                "/fields/5",
                "The reader's field amountInMinorUnits has no default",
            ),
        ],
    },
    Edit {
        what: "a field is renamed and keeps its old name as an alias, which helps new readers alone",
        old: r#""name": "amountInMinorUnits""#,
        new: r#""name": "amount", "aliases": ["amountInMinorUnits"]"#,
        told: &[(
            Kind::ReaderFieldMissingDefaultValue,
            "/fields/5",
            "Version 2 cannot read the new schema: ",
        )],
    },
    Edit {
        what: "a long becomes a string",
        old: r#""name": "amountInMinorUnits", "type": "long""#,
        new: r#""name": "amountInMinorUnits", "type": "string""#,
        told: &[
            (
                Kind::TypeMismatch,
                "/fields/5/type",
                "The reader's string cannot read the writer's long. Keep the type, or leave the field and add another with \
                 a default.",
            ),
            (
                Kind::TypeMismatch,
                "/fields/5/type",
                "The reader's long cannot read the writer's string. Keep the type",
            ),
        ],
    },
    Edit {
        what: "a long becomes an int",
        old: r#""name": "amountInMinorUnits", "type": "long""#,
        new: r#""name": "amountInMinorUnits", "type": "int""#,
        told: &[(
            Kind::TypeMismatch,
            "/fields/5/type",
            "The reader's int cannot read the writer's long. Keep the type",
        )],
    },
    Edit {
        what: "a field may be null from now on",
        old: r#""name": "currency", "type": "string""#,
        new: r#""name": "currency", "type": ["null", "string"]"#,
        told: &[(
            Kind::TypeMismatch,
            "/fields/6/type",
            "The reader's string cannot read the writer's null. Keep the type",
        )],
    },
    Edit {
        what: "a field may not be null any more",
        old: r#""name": "description", "type": ["null", "string"], "default": null"#,
        new: r#""name": "description", "type": "string", "default": """#,
        told: &[(
            Kind::TypeMismatch,
            "/fields/8/type",
            "The new schema cannot read version 2: The reader's string cannot",
        )],
    },
    Edit {
        what: "an optional field becomes one of another type",
        old: r#""name": "description", "type": ["null", "string"]"#,
        new: r#""name": "description", "type": ["null", "long"]"#,
        told: &[
            (
                Kind::MissingUnionBranch,
                "/fields/8/type",
                "The reader's union of null and long has no branch that reads the writer's string. Keep the branch, or \
                 leave the field and add another with a default.",
            ),
            (
                Kind::MissingUnionBranch,
                "/fields/8/type",
                "union of null and string has no branch that reads the writer's long",
            ),
        ],
    },
    Edit {
        what: "a moment gets another unit",
        old: "timestamp-micros",
        new: "timestamp-millis",
        told: &[
            (
                Kind::LogicalTypeMismatch,
                "/fields/1/type",
                "The reader would take the writer's timestamp-micros for timestamp-millis, and get other values. Keep the \
                 logical type, or leave the field and add another with a default.",
            ),
            (
                Kind::LogicalTypeMismatch,
                "/fields/1/type",
                "the writer's timestamp-millis for timestamp-micros",
            ),
        ],
    },
    Edit {
        what: "a default goes while the last version has the field",
        old: r#""default": null, "doc": "The bulk"#,
        new: r#""doc": "The bulk"#,
        told: &[],
    },
    Edit {
        what: "the type of an enum is renamed",
        old: "PaymentCreatedType",
        new: "PaymentEventType",
        told: &[
            (
                Kind::NameMismatch,
                "/fields/2/type/name",
                "The reader's enum is com.fintechplatform.PaymentEventType and the writer's is \
                 com.fintechplatform.PaymentCreatedType. Keep the name, or list the writer's among the reader's aliases.",
            ),
            (Kind::NameMismatch, "/fields/2/type/name", "Version 2 cannot read the new schema: "),
        ],
    },
    Edit {
        what: "a symbol is replaced by another",
        old: r#""symbols": ["PaymentCreated"]"#,
        new: r#""symbols": ["PaymentTaken"]"#,
        told: &[
            (
                Kind::MissingEnumSymbols,
                "/fields/2/type/symbols",
                "does not have the writer's symbol PaymentCreated. Keep what was there, and give the enum a default before \
                 symbols are added.",
            ),
            (
                Kind::MissingEnumSymbols,
                "/fields/2/type/symbols",
                "does not have the writer's symbol PaymentTaken.",
            ),
        ],
    },
    Edit {
        what: "a symbol is added to an enum without a default",
        old: r#""symbols": ["PaymentCreated"]"#,
        new: r#""symbols": ["PaymentCreated", "PaymentTaken"]"#,
        told: &[(
            Kind::MissingEnumSymbols,
            "/fields/2/type/symbols",
            "Version 2 cannot read the new schema: ",
        )],
    },
    Edit {
        what: "the event is renamed",
        old: r#""name": "PaymentCreated","#,
        new: r#""name": "PaymentTaken","#,
        told: &[
            (
                Kind::NameMismatch,
                "/name",
                "The reader's record is com.fintechplatform.PaymentTaken and the writer's is",
            ),
            (Kind::NameMismatch, "/name", "Keep the name, or list the writer's among the reader's aliases."),
        ],
    },
    Edit {
        what: "its namespace is changed, which no reader looks at",
        old: r#""namespace": "com.fintechplatform""#,
        new: r#""namespace": "com.fintechplatform.payments""#,
        told: &[],
    },
    Edit {
        what: "an optional field is added",
        old: r#"{"name": "externalReference""#,
        new: r#"{"name": "channel", "type": ["null", "string"], "default": null}, {"name": "externalReference""#,
        told: &[],
    },
];

#[test]
fn an_edit_that_breaks_a_reader_is_told_with_its_place_and_how_to_do_it_instead() {
    let text = find("PaymentCreated", 2).unwrap().avro;
    let before = schema(text);
    for edit in EDITS {
        assert!(text.contains(edit.old), "{}: {}", edit.what, edit.old);
        let new = schema(&text.replacen(edit.old, edit.new, 1));
        let found = check(Level::Full, &new, &[(2, &before)]);
        let told: Vec<_> = found.iter().map(|what| (what.kind, what.place.as_str())).collect();
        let expected: Vec<_> = edit.told.iter().map(|(kind, place, _)| (*kind, *place)).collect();
        assert_eq!(told, expected, "{}: {found:#?}", edit.what);
        for (found, (_, _, message)) in found.iter().zip(edit.told) {
            assert!(found.message.contains(message), "{}: {}", edit.what, found.message);
            let so = [BACKWARD, FORWARD].into_iter().find(|so| found.message.starts_with(so));
            let sentences = &found.message[so.expect("it says who reads whom").len()..];
            assert!(sentences.starts_with("The reader"), "{sentences}");
            assert_eq!(sentences.matches(". ").count(), 1, "one sentence says what, one how: {sentences}");
        }
    }
}

#[test]
fn an_id_that_becomes_sixteen_bytes_is_another_type() {
    let text = find("PaymentCreated", 2).unwrap().avro;
    let fixed = r#"{"type": "fixed", "name": "Id", "size": 16, "logicalType": "uuid"}"#;
    let (before, new) = (schema(text), schema(&text.replacen(UUID, fixed, 1)));
    let found = check(Level::Backward, &new, &[(2, &before)]);
    assert_eq!(
        (found.len(), found[0].kind, found[0].place.as_str()),
        (1, Kind::TypeMismatch, "/fields/0/type")
    );
    assert!(found[0].message.contains("The reader's uuid as bytes cannot read the writer's uuid as string."));
}
