#!/usr/bin/env python3
"""Reads a topic with the CloudEvents SDK of the CNCF and prints each event as a line of JSON.

    cloud_events.py --bootstrap SERVERS --topic NAME --count N [--timeout SECONDS]

Every message must be an event in the binary mode of the Kafka protocol binding; the SDK judges that.
"""

from __future__ import annotations

import sys
from typing import Any

from cloudevents.core.base import BaseCloudEvent
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event
from cloudevents.core.exceptions import BaseCloudEventException
from confluent_kafka import Message

sys.dont_write_bytecode = True  # nothing but sources lies in this folder
from read_avro import Failure, common_arguments, messages, print_line  # noqa: E402

REQUIRED = ("id", "source", "type", "specversion")
ATTRIBUTES = (*REQUIRED, "subject", "time", "dataschema", "datacontenttype")


def headers(message: Message) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for name, value in message.headers() or []:
        # The SDK's message is a dictionary, in which a doubled attribute would not be seen.
        if name in found:
            raise Failure(f"header {name} is there twice")
        if value is None:
            raise Failure(f"header {name} has no value")
        found[name] = value if isinstance(value, bytes) else value.encode()
    # The SDK makes up an id and a specversion where there are none.
    for name in REQUIRED:
        if f"ce_{name}" not in found:
            raise Failure(f"header ce_{name} is missing")
    return found


def attributes_of(event: BaseCloudEvent, headers: dict[str, bytes]) -> dict[str, Any]:
    found = event.get_attributes()
    line = {name: found.get(name) for name in ATTRIBUTES}
    # It makes up the time, too.
    line["time"] = line["time"].isoformat() if "ce_time" in headers else None
    return line


def read(message: Message) -> dict[str, Any]:
    raw = KafkaMessage(headers=headers(message), key=message.key(), value=message.value() or b"")
    event = from_binary_event(raw)
    data = event.get_data()
    return {
        "partition": message.partition(),
        "offset": message.offset(),
        **attributes_of(event, raw.headers),
        "extensions": {name: value for name, value in sorted(event.get_attributes().items()) if name not in ATTRIBUTES},
        # The SDK hands over what is no JSON as it is, as text when it happens to be UTF-8.
        "data": "none" if data is None else "opaque" if isinstance(data, (str, bytes)) else "parsed",
    }


def main() -> int:
    arguments = common_arguments(__doc__).parse_args()
    sys.stdout.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    place = "start"
    try:
        for message in messages(arguments.bootstrap, arguments.topic, arguments.count, arguments.timeout):
            place = f"partition {message.partition()}, offset {message.offset()}"
            print_line(read(message))
    except (Failure, BaseCloudEventException, ValueError) as error:
        print(f"cloud_events: {place}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
