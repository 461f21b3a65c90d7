#!/usr/bin/env python3
"""Reads a topic with Confluent's own deserializer and prints each message as a line of JSON.

    read_avro.py --bootstrap SERVERS --registry URL --topic NAME --count N
                 [--reader-schema FILE.avsc] [--timeout SECONDS]

A reader schema is used for the records of its name; all others are read by the schema they were written with.
Lines of one partition are in order.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaException, Message, TopicPartition
from confluent_kafka.schema_registry import SchemaRegistryClient, topic_record_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.serialization import MessageField, SerializationContext
from fastavro.schema import fullname

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Failure(Exception):
    """What the caller is told, without a traceback."""


def messages(bootstrap: str, topic: str, count: int, timeout: float) -> Iterator[Message]:
    """The first `count` messages that are committed, from the beginning of each partition."""
    deadline = time.monotonic() + timeout
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": f"reader-{uuid.uuid4()}",  # demanded; nothing joins it and nothing is committed
            "enable.auto.commit": False,
            "auto.offset.reset": "error",  # what is skipped silently would look like what was never sent
            "isolation.level": "read_committed",
            "allow.auto.create.topics": False,
        }
    )
    try:
        partitions = consumer.list_topics(topic, timeout=timeout).topics[topic]
        if partitions.error is not None:
            raise Failure(f"topic {topic}: {partitions.error.str()}")
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions.partitions])
        read = 0
        while read < count:
            message = consumer.poll(max(0.0, deadline - time.monotonic()))
            if message is None:
                raise Failure(f"only {read} of {count} messages came within {timeout:g} seconds")
            if message.error() is not None:
                raise Failure(f"topic {topic}: {message.error().str()}")
            read += 1
            yield message
    except KafkaException as error:
        raise Failure(f"Kafka at {bootstrap}: {error}") from error
    finally:
        consumer.close()


def text(value: bytes | str | None) -> str | None:
    return value.decode("utf-8", "backslashreplace") if isinstance(value, bytes) else value


def headers(message: Message) -> dict[str, str | None]:
    return {name: text(value) for name, value in message.headers() or []}


def plain(value: Any) -> Any:
    """What JSON has no type for."""
    if isinstance(value, datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=timezone.utc)
        return (aware - EPOCH) // timedelta(microseconds=1)
    if isinstance(value, (uuid.UUID, Decimal)):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    raise TypeError(f"there is no JSON for {type(value).__name__}")


class Reader:
    def __init__(self, registry: str, reader_schema: str | None) -> None:
        self.registry = SchemaRegistryClient({"url": registry, "timeout": 30})
        # Several record types lie in a topic, so the subject is known only when the record is.
        self.conf = {"subject.name.strategy": topic_record_subject_name_strategy}
        self.by_writer = AvroDeserializer(self.registry, conf=self.conf)
        self.by_reader: dict[str, AvroDeserializer] = {}
        if reader_schema is not None:
            self.by_reader[self.name_in(reader_schema)] = AvroDeserializer(self.registry, reader_schema, conf=self.conf)

    @staticmethod
    def name_in(schema: str) -> str:
        return fullname(json.loads(schema))

    def read(self, message: Message) -> dict[str, Any]:
        value = message.value()
        record = None
        if value is None:
            decoded, form = None, "null"
        elif value[:1] == b"\0":
            form = "avro"
            schema = self.registry.get_schema(int.from_bytes(value[1:5], "big"))
            record = self.name_in(schema.schema_str or "")
            deserializer = self.by_reader.get(record, self.by_writer)
            context = SerializationContext(message.topic(), MessageField.VALUE, message.headers())
            decoded = deserializer(value, context)
        else:
            decoded, form = json.loads(value), "json"
        return {
            "partition": message.partition(),
            "offset": message.offset(),
            "key": text(message.key()),
            "headers": headers(message),
            "value": decoded,
            "record": record,
            "format": form,
        }


def print_line(line: dict[str, Any]) -> None:
    print(json.dumps(line, default=plain, ensure_ascii=False, separators=(",", ":")), flush=True)


def common_arguments(description: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--bootstrap", required=True, metavar="SERVERS")
    parser.add_argument("--topic", required=True, metavar="NAME")
    parser.add_argument("--count", required=True, type=int, metavar="N")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS")
    return parser


def main() -> int:
    parser = common_arguments(__doc__)
    parser.add_argument("--registry", required=True, metavar="URL")
    parser.add_argument("--reader-schema", type=Path, metavar="FILE.avsc")
    arguments = parser.parse_args()
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    place = "start"
    try:
        schema = arguments.reader_schema.read_text("utf-8") if arguments.reader_schema else None
        reader = Reader(arguments.registry, schema)
        for message in messages(arguments.bootstrap, arguments.topic, arguments.count, arguments.timeout):
            place = f"partition {message.partition()}, offset {message.offset()}"
            print_line(reader.read(message))
    except Failure as failure:
        print(f"read_avro: {failure}", file=sys.stderr)
        return 1
    except Exception as error:  # the clients' own, of which there are many
        print(f"read_avro: {place}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
