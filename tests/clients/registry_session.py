#!/usr/bin/env python3
"""A whole session of Confluent's own client with a schema registry, every answer checked.

    registry_session.py --registry URL --subject NAME

The subject must not exist yet, and is gone again afterwards. The codes are those of Confluent Schema Registry.
"""

from __future__ import annotations

import argparse
import json
import sys
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from typing import Any

from confluent_kafka.schema_registry import (
    Schema,
    SchemaRegistryClient,
    topic_record_subject_name_strategy,
)
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

LEVELS = (
    "BACKWARD",
    "BACKWARD_TRANSITIVE",
    "FORWARD",
    "FORWARD_TRANSITIVE",
    "FULL",
    "FULL_TRANSITIVE",
    "NONE",
)

NAMESPACE = "com.fintechplatform.session"


def record(name: str, *fields: dict[str, Any]) -> Schema:
    definition = {"type": "record", "name": name, "namespace": NAMESPACE, "fields": list(fields)}
    return Schema(json.dumps(definition), "AVRO")


ID = {"name": "id", "type": "string"}
NOTE = {"name": "note", "type": ["null", "string"], "default": None}
AMOUNT = {"name": "amount", "type": "long"}  # without a default: old data cannot be read

FIRST = record("Visit", ID)
SECOND = record("Visit", ID, NOTE)
INCOMPATIBLE = record("Visit", ID, AMOUNT)
NEVER_REGISTERED = record("Visit", ID, {"name": "other", "type": "string", "default": ""})

STAY = record(
    "Stay",
    {"name": "id", "type": {"type": "string", "logicalType": "uuid"}},
    {"name": "since", "type": {"type": "long", "logicalType": "timestamp-micros"}},
    NOTE,
)


class WrongAnswer(Exception):
    """The registry did not answer as Confluent's does."""


class Session:
    def __init__(self, url: str, subject: str) -> None:
        self.url = url
        self.subject = subject

    def client(self) -> SchemaRegistryClient:
        # A new one each time: a client answers out of its cache what it once asked.
        return SchemaRegistryClient({"url": self.url, "timeout": 30, "max.retries": 0})

    def ask(self, step: str, call: Callable[[SchemaRegistryClient], Any]) -> Any:
        try:
            with self.client() as client:
                return call(client)
        except SchemaRegistryError as error:
            raise WrongAnswer(f"{step}: was refused: {error}") from error

    def expect(self, step: str, wanted: Any, call: Callable[[SchemaRegistryClient], Any]) -> None:
        self.same(step, wanted, self.ask(step, call))

    def same(self, step: str, wanted: Any, got: Any) -> None:
        if got != wanted:
            raise WrongAnswer(f"{step}: expected {wanted!r}, got {got!r}")
        print(f"ok {step}: {got!r}", flush=True)

    def refused(
        self,
        step: str,
        status: int,
        codes: int | Sequence[int],
        call: Callable[[SchemaRegistryClient], Any],
    ) -> None:
        wanted = (codes,) if isinstance(codes, int) else codes
        try:
            with self.client() as client:
                answer = call(client)
        except SchemaRegistryError as error:
            got = (error.http_status_code, error.error_code)
            if got[0] != status or got[1] not in wanted:
                raise WrongAnswer(
                    f"{step}: expected HTTP {status} and code {wanted}, got {got}: {error.error_message}"
                ) from error
            if not error.error_message:
                raise WrongAnswer(f"{step}: the error has no message") from error
            print(f"ok {step}: {status} {got[1]} {error.error_message}", flush=True)
            return
        raise WrongAnswer(f"{step}: expected HTTP {status} and code {wanted}, got the answer {answer!r}")

    def schema(self, step: str, wanted: Schema, call: Callable[[SchemaRegistryClient], Schema]) -> None:
        # A registry may lay a schema out anew, so it is compared as JSON.
        got = self.ask(step, call)
        self.same(step, json.loads(wanted.schema_str or ""), json.loads(got.schema_str or ""))

    def run(self) -> None:
        self.an_unknown_subject()
        first, second = self.registration()
        self.reading(first, second)
        self.levels()
        self.compatibility()
        self.nonsense()
        self.deleting_versions(second)
        self.deleting_the_subject()
        self.round_trip()

    def an_unknown_subject(self) -> None:
        subject = self.subject
        for step, call in (
            ("its latest version", lambda c: c.get_latest_version(subject)),
            ("its versions", lambda c: c.get_versions(subject)),
            ("its version 1", lambda c: c.get_version(subject, 1)),
            ("a schema under it", lambda c: c.lookup_schema(subject, FIRST)),
            ("deleting it", lambda c: c.delete_subject(subject)),
            ("deleting it permanently", lambda c: c.delete_subject(subject, permanent=True)),
            ("deleting its version 1", lambda c: c.delete_version(subject, 1)),
        ):
            self.refused(f"unknown subject, {step}", 404, 40401, call)
        self.expect("unknown subject, not listed", False, lambda c: subject in c.get_subjects())
        self.expect("unknown subject, compatible with anything", True, lambda c: c.test_compatibility(subject, FIRST))

    def registration(self) -> tuple[int, int]:
        subject = self.subject
        first = self.ask("register v1", lambda c: c.register_schema(subject, FIRST))
        self.same("register v1, a positive id", True, isinstance(first, int) and first > 0)
        self.expect("register v1 again, the same id", first, lambda c: c.register_schema(subject, FIRST))
        self.expect("register v1 again, one version", [1], lambda c: c.get_versions(subject))
        # Whatever the global level is, the rest is about this one.
        self.refused("no level of its own yet", 404, 40408, lambda c: c.get_compatibility(subject))
        self.expect(
            "set BACKWARD",
            {"compatibility": "BACKWARD"},
            lambda c: c.set_compatibility(subject, "BACKWARD"),
        )
        second = self.ask("register v2", lambda c: c.register_schema(subject, SECOND))
        self.same("register v2, a new id", True, isinstance(second, int) and 0 < second != first)
        self.expect("register v2, two versions", [1, 2], lambda c: c.get_versions(subject))
        return first, second

    def reading(self, first: int, second: int) -> None:
        subject = self.subject
        self.schema("schema by id", FIRST, lambda c: c.get_schema(first))
        self.refused("unknown schema id", 404, 40403, lambda c: c.get_schema(2_000_000_000))
        for step, version, schema_id, schema, call in (
            ("version 1", 1, first, FIRST, lambda c: c.get_version(subject, 1)),
            ("version 2", 2, second, SECOND, lambda c: c.get_version(subject, 2)),
            ("latest version", 2, second, SECOND, lambda c: c.get_latest_version(subject)),
            ("lookup of v1", 1, first, FIRST, lambda c: c.lookup_schema(subject, FIRST)),
            ("lookup of v2", 2, second, SECOND, lambda c: c.lookup_schema(subject, SECOND)),
        ):
            found = self.ask(step, call)
            self.same(
                step,
                (subject, version, schema_id),
                (found.subject, found.version, found.schema_id),
            )
            self.schema(f"{step}, its schema", schema, lambda _, found=found: found.schema)
        self.refused(
            "lookup of what was not registered", 404, 40403, lambda c: c.lookup_schema(subject, NEVER_REGISTERED)
        )
        self.refused("version 99", 404, 40402, lambda c: c.get_version(subject, 99))
        self.refused("deleting version 99", 404, 40402, lambda c: c.delete_version(subject, 99))
        self.expect("listed", True, lambda c: subject in c.get_subjects())

    def levels(self) -> None:
        subject = self.subject
        for level in LEVELS:
            self.expect(
                f"set {level}",
                {"compatibility": level},
                lambda c, level=level: c.set_compatibility(subject, level),
            )
            self.expect(f"get {level}", level, lambda c: c.get_compatibility(subject))
        self.refused("set nonsense", 422, 42203, lambda c: c.set_compatibility(subject, "SOMETIMES"))
        self.refused("set nonsense globally", 422, 42203, lambda c: c.set_compatibility(level="SOMETIMES"))

        before = self.ask("global level", lambda c: c.get_compatibility())
        self.same("global level, a known one", True, before in LEVELS)
        for level in ("FULL_TRANSITIVE", before):
            self.expect(
                f"set {level} globally",
                {"compatibility": level},
                lambda c, level=level: c.set_compatibility(level=level),
            )
            self.expect(f"get {level} globally", level, lambda c: c.get_compatibility())

        self.expect(
            "drop the level of its own, which was",
            "NONE",
            lambda c: c.delete_config(subject).compatibility_level,
        )
        self.refused("no level of its own any more", 404, 40408, lambda c: c.get_compatibility(subject))

    def compatibility(self) -> None:
        subject = self.subject

        def level(name: str) -> None:
            self.expect(f"set {name}", {"compatibility": name}, lambda c: c.set_compatibility(subject, name))

        level("BACKWARD")
        self.expect("a new field with a default", True, lambda c: c.test_compatibility(subject, NEVER_REGISTERED))
        self.expect("a new field without one", False, lambda c: c.test_compatibility(subject, INCOMPATIBLE))
        self.expect(
            "a new field without one, and why",
            False,
            lambda c: c.test_compatibility(subject, INCOMPATIBLE, verbose=True),
        )
        self.expect(
            "a new field without one, against version 1",
            False,
            lambda c: c.test_compatibility(subject, INCOMPATIBLE, version=1),
        )
        self.expect(
            "a new field without one, against all versions",
            False,
            lambda c: c.test_compatibility_all_versions(subject, INCOMPATIBLE),
        )
        self.refused("against version 99", 404, 40402, lambda c: c.test_compatibility(subject, FIRST, version=99))
        # 40901 since registries know associations, 409 before.
        self.refused("register it", 409, (409, 40901), lambda c: c.register_schema(subject, INCOMPATIBLE))
        level("FORWARD")
        self.expect("forward, a new field without one", True, lambda c: c.test_compatibility(subject, INCOMPATIBLE))
        level("FULL_TRANSITIVE")
        self.refused("register it, fully", 409, (409, 40901), lambda c: c.register_schema(subject, INCOMPATIBLE))
        level("NONE")
        self.expect("with NONE", True, lambda c: c.test_compatibility(subject, INCOMPATIBLE))
        self.expect("nothing came of it", [1, 2], lambda c: c.get_versions(subject))

    def nonsense(self) -> None:
        subject = self.subject
        for text in (
            "this is no schema",
            '{"type": "record", "name": "NoFields"}',
            '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "unheard_of"}]}',
        ):
            schema = Schema(text, "AVRO")
            self.refused(f"register {text}", 422, 42201, lambda c, schema=schema: c.register_schema(subject, schema))
        for version in (0, -7, "garbage"):
            self.refused(
                f"version {version}",
                422,
                42202,
                lambda c, version=version: c.get_version(subject, version),
            )
            self.refused(
                f"deleting version {version}",
                422,
                42202,
                lambda c, version=version: c.delete_version(subject, version),
            )

    def deleting_versions(self, second: int) -> None:
        subject = self.subject
        self.refused(
            "version 2, permanently, at once",
            404,
            40407,
            lambda c: c.delete_version(subject, 2, permanent=True),
        )
        self.expect("version 2, softly", 2, lambda c: c.delete_version(subject, 2))
        self.refused("version 2, softly, again", 404, 40406, lambda c: c.delete_version(subject, 2))
        self.expect("what is left", [1], lambda c: c.get_versions(subject))
        self.expect("with the deleted", [1, 2], lambda c: c.get_versions(subject, deleted=True))
        self.refused("version 2 is gone", 404, 40402, lambda c: c.get_version(subject, 2))
        self.expect("version 2 among the deleted", second, lambda c: c.get_version(subject, 2, deleted=True).schema_id)
        self.expect("latest is version 1", 1, lambda c: c.get_latest_version(subject).version)
        # Or what lies in a topic could not be read any more.
        self.schema("its schema is kept", SECOND, lambda c: c.get_schema(second))
        self.expect("version 2, permanently", 2, lambda c: c.delete_version(subject, 2, permanent=True))
        self.expect("with the deleted", [1], lambda c: c.get_versions(subject, deleted=True))
        self.refused("version 2 does not exist", 404, 40402, lambda c: c.delete_version(subject, 2))

    def deleting_the_subject(self) -> None:
        subject = self.subject
        self.refused(
            "the subject, permanently, at once",
            404,
            40405,
            lambda c: c.delete_subject(subject, permanent=True),
        )
        self.expect("the subject, softly", [1], lambda c: c.delete_subject(subject))
        self.expect("not listed", False, lambda c: subject in c.get_subjects())
        self.expect("listed with the deleted", True, lambda c: subject in c.get_subjects(deleted=True))
        self.refused("its versions", 404, 40401, lambda c: c.get_versions(subject))
        self.refused("the subject, softly, again", 404, 40404, lambda c: c.delete_subject(subject))
        self.expect("the subject, permanently", [1], lambda c: c.delete_subject(subject, permanent=True))
        self.expect("not listed with the deleted", False, lambda c: subject in c.get_subjects(deleted=True))
        self.refused("it does not exist", 404, 40401, lambda c: c.delete_subject(subject))

    def round_trip(self) -> None:
        """Serializer and deserializer of the same maker, with nothing but this registry between them."""
        topic = self.subject
        subject = f"{topic}-{NAMESPACE}.Stay"
        context = SerializationContext(topic, MessageField.VALUE)
        stay = {
            "id": uuid.UUID("01a20b06-1499-7072-8859-ece7a96df695"),
            "since": datetime(2026, 11, 24, 0, 47, 57, 593486, tzinfo=timezone.utc),
            "note": "Grüße",
        }
        strategy = {"subject.name.strategy": topic_record_subject_name_strategy}

        def serialize(client: SchemaRegistryClient, more: dict[str, Any]) -> bytes:
            return AvroSerializer(client, STAY, conf=strategy | more)(stay, context) or b""

        written = self.ask("serialize", lambda c: serialize(c, {"auto.register.schemas": True}))
        registered = self.ask("its subject", lambda c: c.get_latest_version(subject))
        self.same("serialize, registered as", (subject, 1), (registered.subject, registered.version))
        self.same("serialize, magic byte and id", b"\0" + registered.schema_id.to_bytes(4, "big"), written[:5])
        self.expect(
            "serialize without registering",
            written,
            lambda c: serialize(c, {"auto.register.schemas": False}),
        )
        self.expect(
            "serialize by the latest version",
            written,
            lambda c: serialize(c, {"auto.register.schemas": False, "use.latest.version": True}),
        )
        self.expect("deserialize", stay, lambda c: AvroDeserializer(c, conf=strategy)(written, context))
        # Asks for an association of the topic, then for the id under a subject that does not exist.
        self.expect("deserialize with the defaults", stay, lambda c: AvroDeserializer(c)(written, context))
        self.expect("its subject, softly", [1], lambda c: c.delete_subject(subject))
        self.expect(
            "deserialize what was deleted softly",
            stay,
            lambda c: AvroDeserializer(c, conf=strategy)(written, context),
        )
        self.expect("its subject, permanently", [1], lambda c: c.delete_subject(subject, permanent=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--registry", required=True, metavar="URL")
    parser.add_argument("--subject", required=True, metavar="NAME")
    arguments = parser.parse_args()
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    try:
        Session(arguments.registry, arguments.subject).run()
    except WrongAnswer as wrong:
        print(f"registry_session: {wrong}", file=sys.stderr)
        return 1
    except Exception as error:  # the client's own: no connection, an answer it cannot read
        print(f"registry_session: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print("session ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
