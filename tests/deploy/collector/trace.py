"""Sends a payment's trace through the OpenTelemetry collector, as deploy/otel-collector sets it up: trace.py COLLECTOR PROGRAM

The program gives its spans to a collector with that configuration, where only the addresses are others; that one hands them on
to a second one, in Jaeger's place, which prints what it gets. Ends with 1 when the trace has not come whole.
"""

import json
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

CONFIG = "deploy/otel-collector/config.yaml"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPANS = ["POST /api/merchants/{merchantId}/payments", "create_payment", "batch", "process payment-events"]
PATIENCE = 60
NO_METRICS = "yaml:service::telemetry::metrics::level: none"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(what, look):
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = look()
        if found:
            return found
        time.sleep(0.1)
    raise SystemExit(f"{what}: not after {PATIENCE} s")


def post(url, body, **headers):
    content = {"Content-Type": "application/json", **headers}
    with urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), content)) as answer:
        return json.load(answer)["id"]


def names(printed):
    """The spans of the trace, as the collector's debug exporter prints them."""
    spans = (re.search(r"Trace ID +: (\S+).*?Name +: ([^\n]+)\n", span, re.DOTALL) for span in printed.split("\nSpan #")[1:])
    return {span[2] for span in spans if span and span[1] == TRACE}


def main(collector, program):
    folder = pathlib.Path(tempfile.mkdtemp())
    http, grpc = free_port(), free_port()
    sink = {
        "receivers": {"otlp": {"protocols": {"grpc": {"endpoint": f"127.0.0.1:{grpc}"}}}},
        "exporters": {"debug": {"verbosity": "detailed"}},
        "service": {"telemetry": {"metrics": {"level": "none"}},
                    "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["debug"]}}},
    }
    (folder / "sink.json").write_text(json.dumps(sink))
    commands = {
        "sink": [collector, f"--config={folder}/sink.json"],
        "collector": [collector, f"--config={pathlib.Path(CONFIG).resolve()}",
                      f"--config=yaml:receivers::otlp::protocols::http::endpoint: 127.0.0.1:{http}",
                      f"--config=yaml:exporters::otlp/jaeger::endpoint: 127.0.0.1:{grpc}", f"--config={NO_METRICS}"],
        "program": [program, "serve", "--listen", "127.0.0.1:0", "--operations", "127.0.0.1:0", "--registry", "127.0.0.1:0"],
    }
    environment = {"Telemetry__OtlpEndpoint": f"http://127.0.0.1:{http}"}
    started = []
    try:
        for name, command in commands.items():
            with open(folder / name, "wb") as log:
                started.append(subprocess.Popen([str(pathlib.Path(command[0]).resolve()), *command[1:]], cwd=folder,
                                                env=environment, stdout=log, stderr=log))
        said = lambda name: (folder / name).read_text(errors="replace")  # noqa: E731
        url = wait_for("the program", lambda: re.search(r"^Listening on (\S+)\n", said("program"), re.MULTILINE))[1]
        merchant = post(f"{url}/api/merchants", {"name": "Traced", "email": "traced@example.com"})
        post(f"{url}/api/merchants/{merchant}/payments", {"amountInMinorUnits": 100, "currency": "USD"},
             traceparent=f"00-{TRACE}-00f067aa0ba902b7-01")
        wait_for(f"the spans {SPANS}", lambda: names(said("sink")) >= set(SPANS))
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(PATIENCE)


main(*sys.argv[1:])
