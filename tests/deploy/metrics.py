"""Judges the rules, dashboards and runbooks by what the program has: metrics.py, from the root of the clone.

Every metric and label of a query stands in docs/metrics.md, or recorded by a rule; every alert has its runbook and
every runbook its alert; a runbook names only commands and console pages that there are. Says what is wrong and ends
with 1.
"""

import json
import pathlib
import re
import subprocess
import sys

import yaml

CATALOGUE = "docs/metrics.md"
# Prometheus' own, and those that deploy/prometheus/prometheus.yml puts on everything of the program.
OF_PROMETHEUS = {"up": set(), "ALERTS": {"alertname", "alertstate", "severity"}}
EVERYWHERE = {"job", "instance", "role"}
WORDS = {"and", "or", "unless", "bool", "offset", "on", "ignoring", "by", "without", "group_left", "group_right", "inf", "nan"}
DURATION = r"\[[^\]]*\]"

faults = []


def text(path):
    return pathlib.Path(path).read_text(encoding="utf-8")


def of_catalogue():
    """Names as Prometheus shows them, with their labels; a test of the program holds the page and the catalogue together."""
    known = {}
    for row in re.findall(r"^\| `.*$", text(CATALOGUE), re.MULTILINE):
        name, kind, labels = (cell.strip() for cell in row.strip("| ").split(" | ")[:3])
        name, labels = name.strip("`"), set(re.findall(r"\w+", labels)) if "`" in labels else set()
        if kind.startswith("histogram"):
            known |= {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
        else:
            known[name] = labels
    if not known:
        faults.append(f"{CATALOGUE}: no metric could be read")
    return known


def names_and_labels(expr):
    """Each metric with the labels of its matchers, and the labels that series are joined or grouped by."""
    bare = re.sub(r'"(?:[^"\\]|\\.)*"', '""', expr)
    grouped, metrics = set(), []

    def grouping(found):
        grouped.update(re.findall(r"\w+", found[1]))
        return " "

    bare = re.sub(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", grouping, bare)
    bare = re.sub(DURATION, " ", bare)
    for name, opens, matchers in re.findall(r"(?<![\w:.])([a-zA-Z_:][\w:]*)\s*(?:(\()|\{([^}]*)\})?", bare):
        if not opens and name.lower() not in WORDS:
            metrics.append((name, set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers))))
    return metrics, grouped


def queries_are_known(known):
    printed = subprocess.run([sys.executable, "scripts/dashboard-queries"], check=True, capture_output=True, text=True).stdout
    queries = [json.loads(line) for line in printed.splitlines()]
    used = set()
    for query in queries:
        metrics, grouped = names_and_labels(query["expr"])
        labels = set(EVERYWHERE)
        for name, matched in metrics:
            used.add(name)
            if name not in known:
                faults.append(f"{query['from']}: there is no metric {name}")
                continue
            labels |= known[name]
            for label in matched - known[name] - EVERYWHERE:
                faults.append(f"{query['from']}: {name} has no label {label}")
        for label in grouped - labels:
            faults.append(f"{query['from']}: nothing in it has a label {label}")
        if not metrics and not re.fullmatch(r"vector\([\d.]+\)", query["expr"]):
            faults.append(f"{query['from']}: no metric is found in {query['expr']}")
    return len(queries), used


def rules():
    for file in sorted(pathlib.Path("deploy/prometheus/rules").glob("*.yml")):
        for group in yaml.safe_load(text(file))["groups"]:
            for rule in group["rules"]:
                yield file, rule


def alerts_have_runbooks():
    alerts = set()
    tested = "\n".join(text(file) for file in pathlib.Path("deploy/prometheus/tests").glob("*.yml"))
    for file, rule in rules():
        if "alert" not in rule:
            continue
        name = rule["alert"]
        alerts.add(name)
        if rule["labels"].get("severity") not in ("page", "ticket"):
            faults.append(f"{file}: {name}: the severity is neither page nor ticket")
        for annotation in ("summary", "description", "runbook_url"):
            if not rule["annotations"].get(annotation):
                faults.append(f"{file}: {name} has no {annotation}")
        if rule["annotations"].get("runbook_url") != f"docs/runbooks/{name}.md":
            faults.append(f"{file}: {name}: its runbook is docs/runbooks/{name}.md")
        if f'alertname="{name}",severity="{rule["labels"].get("severity")}"' not in tested:
            faults.append(f"deploy/prometheus/tests: {name} ({rule['labels'].get('severity')}) never fires")
    pages = {file.stem for file in pathlib.Path("docs/runbooks").glob("*.md")} - {"README"}
    faults.extend(f"docs/runbooks/{name}.md is missing" for name in sorted(alerts - pages))
    faults.extend(f"docs/runbooks/{name}.md: there is no such alert" for name in sorted(pages - alerts))
    boards = "\n".join(text(file) for file in pathlib.Path("deploy/grafana/dashboards").glob("*.json"))
    for name in sorted(set(re.findall(r"docs/runbooks/(\w+)\.md", boards)) - alerts):
        faults.append(f"deploy/grafana/dashboards: there is no runbook {name}")
    return alerts


def runbooks_name_what_there_is(known):
    commands = {
        re.sub(r"(?<!^)(?=[A-Z])", "-", variant).lower()
        for variant in re.findall(
            r"^    (\w+)(?:\(| \{|,)",
            re.search(r"^enum Command \{\n(.*?)^\}", text("crates/fintech/src/cli/mod.rs"), re.MULTILINE | re.DOTALL)[1],
            re.MULTILINE,
        )
    }
    pages = set(re.findall(r'\.route\("(/[^"]*)"', text("crates/console/src/router.rs")))
    patterns = [re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(page))) for page in pages]
    settings = set(re.findall(r'"([A-Z]\w+:[A-Z]\w+)"', text("crates/fintech/src/settings/table.rs")))
    metrics = set(known) | {re.sub(r"_(bucket|sum|count)$", "", name) for name in known}
    for file in sorted(pathlib.Path("docs/runbooks").glob("*.md")):
        page = text(file)
        for command in re.findall(r"\bfintech ([a-z][a-z-]*)", "\n".join(code(page))):
            if command not in commands:
                faults.append(f"{file}: there is no command fintech {command}")
        for path in re.findall(r"http://localhost:8080(/[^\s`)>?]*)", page):
            if not any(pattern.fullmatch(path) for pattern in patterns):
                faults.append(f"{file}: the console has no page {path}")
        for setting in re.findall(r"`([A-Z][A-Za-z]+:[A-Z][A-Za-z]+)`", page):
            if setting not in settings:
                faults.append(f"{file}: there is no setting {setting}")
        for name in re.findall(r"`((?:fintech|process|tokio|payments?|slo)[_:][\w:]+)`", page):
            if name not in metrics:
                faults.append(f"{file}: there is no metric {name}")


def code(page):
    """What stands between backticks, in blocks and in lines."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL)
    return blocks + re.findall(r"`([^`]+)`", rest)


def main():
    known = of_catalogue() | OF_PROMETHEUS
    for _, rule in rules():
        if "record" in rule:
            known[rule["record"]] = set(rule.get("labels", {}))
    number, used = queries_are_known(known)
    alerts = alerts_have_runbooks()
    runbooks_name_what_there_is(known)
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"{number} queries name {len(used)} of {len(known)} series; {len(alerts)} alerts have runbooks")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
