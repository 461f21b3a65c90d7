"""Makes the dashboards of deploy/grafana/dashboards:

    python3 deploy/grafana/make            writes them
    python3 deploy/grafana/make --check    ends with 1 when they are not what it would write

A dashboard is a file here with rows of panels; what panels have in common is in panel.py. Grafana's own form has some
fifty lines for each, of which three say something.
"""

import json
import pathlib
import sys

import events
import health
import ledger
import panel
import payments
import slo

TARGET = pathlib.Path(__file__).resolve().parent.parent / "dashboards"
BOARDS = {"payments": payments, "events": events, "ledger": ledger, "health": health, "slo": slo}


def main(arguments):
    if arguments not in ([], ["--check"]):
        sys.exit("deploy/grafana/make: say --check, or nothing")
    for name, board in BOARDS.items():
        made = panel.dashboard(name, board.TITLE, board.DESCRIPTION, board.ROWS, list(BOARDS))
        text = json.dumps(made, indent=2, ensure_ascii=False) + "\n"
        file = TARGET / f"{name}.json"
        if not arguments:
            TARGET.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        elif not file.exists() or file.read_text(encoding="utf-8") != text:
            sys.exit(f"{file} is not what is made of {board.__file__}: run python3 deploy/grafana/make")


main(sys.argv[1:])
