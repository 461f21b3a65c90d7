"""Judges what is written twice, and files that nobody else reads before they are used: texts.py, from the root of the clone.

Versions are those of the workspace; settings exist; Grafana's files can be read and are provisioned. Says what is wrong and
ends with 1.
"""

import json
import pathlib
import re
import sys

import yaml

faults = []


def text(path):
    return pathlib.Path(path).read_text(encoding="utf-8")


def first(pattern, path):
    found = re.search(pattern, text(path), re.MULTILINE)
    if not found:
        faults.append(f"{path}: nothing looks like {pattern}")
        return None
    return found.group(1)


def same(what, *places):
    values = {place: first(pattern, place) for place, pattern in places}
    if len(set(values.values())) != 1:
        faults.append(f"{what} differs: {values}")


def settings_exist():
    """A variable of a section that the program knows must be a setting: otherwise it does not start."""
    known = set(re.findall(r'"([A-Z]\w+:[A-Z]\w+)"', text("crates/fintech/src/settings/table.rs")))
    sections = {name.split(":")[0] for name in known}
    files = ["compose.yaml", "Dockerfile", "docs/operations.md", "deploy/systemd/fintech.service", "deploy/debian/fintech.env"]
    files += sorted(map(str, pathlib.Path("deploy/helm").rglob("*.*")))
    files += sorted(map(str, pathlib.Path("tests/deploy/chart").glob("*.yaml")))
    for file in files:
        for section, name in re.findall(r"\b([A-Z]\w+?)__([A-Z]\w+)\b", text(file)):
            if section in sections and f"{section}:{name}" not in known:
                faults.append(f"{file}: {section}__{name} is not a setting")


def grafana_finds_its_files():
    root = pathlib.Path("deploy/grafana")
    sources = yaml.safe_load(text(root / "provisioning/datasources/fintech.yml"))["datasources"]
    uids = {source["uid"] for source in sources} | {"-- Grafana --", "grafana"}
    for provider in yaml.safe_load(text(root / "provisioning/dashboards/fintech.yml"))["providers"]:
        if f"./deploy/grafana/dashboards:{provider['options']['path']}" not in text("compose.yaml"):
            faults.append(f"deploy/grafana: nothing is mounted at {provider['options']['path']}")
    seen = {}
    for file in sorted((root / "dashboards").glob("*.json")):
        try:
            board = json.loads(text(file))
        except ValueError as error:
            faults.append(f"{file}: {error}")
            continue
        if seen.setdefault(board.get("uid"), file) != file:
            faults.append(f"{file}: {seen[board['uid']]} has the same uid")
        for uid in re.findall(r'"datasource":\s*{[^}]*"uid":\s*"([^"]*)"', json.dumps(board)):
            if uid not in uids and not uid.startswith("$"):
                faults.append(f"{file}: there is no datasource {uid}")


def crates_have_the_version_of_the_workspace():
    for file in sorted(pathlib.Path("crates").glob("*/Cargo.toml")):
        first(r"^(version\.workspace = true)$", file)


same("the version of Rust", ("rust-toolchain.toml", r'^channel = "(.*)"'), ("Dockerfile", r"^ARG RUST_VERSION=(.+)$"))
same(
    "the version of the program",
    ("Cargo.toml", r'^version = "(.*)"'),
    ("Dockerfile", r"^ARG FINTECH_VERSION=(.+)$"),
    ("compose.yaml", r"fintech:\$\{FINTECH_VERSION:-(.+)\}"),
    ("deploy/helm/fintech/Chart.yaml", r"^appVersion: (.+)$"),
    ("docs/asyncapi.json", r'^    "version": "(.+)",$'),
    ("README.md", r"^FintechPlatform (\d.*)$"),
)
same(
    "the version of Kafka",
    ("scripts/services.d/kafka.pom.xml", r"<kafka.version>(.*)</kafka.version>"),
    ("compose.yaml", r"image: apache/kafka:(.+)$"),
)
crates_have_the_version_of_the_workspace()
settings_exist()
grafana_finds_its_files()
for fault in faults:
    print(fault, file=sys.stderr)
sys.exit(1 if faults else 0)
