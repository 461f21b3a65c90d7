"""Judges what `helm template` made of the chart (standard input): by Kubernetes' own schemas, strictly, and by what this
repository asks of its pods. Says what is wrong and ends with 1.

Kinds that are not Kubernetes' own (KEDA's, the Prometheus operator's) have no schema here and are counted only.
"""

import pathlib
import re
import sys

import kubernetes_validate
import yaml

FOREIGN = ("keda.sh/", "monitoring.coreos.com/")
# Of the chart's Chart.yaml, and the newest there is.
VERSIONS = ("1.30.0", kubernetes_validate.latest_version())


def pod_of(document):
    """The pod that a document makes, if it makes one."""
    template = document.get("spec", {}).get("template")
    return template["spec"] if document["kind"] in ("Deployment", "Job") else None


def faults_of_schema(document):
    for version in VERSIONS:
        try:
            kubernetes_validate.validate(document, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message}"


def faults_of_pod(pod):
    security = pod.get("securityContext", {})
    if not security.get("runAsNonRoot") or security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "the pod is not restricted"
    if pod.get("automountServiceAccountToken") is not False:
        yield "the pod gets a token that it does not need"
    for container in pod["containers"]:
        own = container.get("securityContext", {})
        is_tight = own.get("readOnlyRootFilesystem") and own.get("allowPrivilegeEscalation") is False
        if not is_tight or own.get("capabilities", {}).get("drop") != ["ALL"]:
            yield f"the container {container['name']} may do more than it needs"
        if "memory" not in container.get("resources", {}).get("limits", {}):
            yield f"the container {container['name']} has no limit of memory"
        names = [variable["name"] for variable in container.get("env", [])]
        for name in {name for name in names if names.count(name) > 1}:
            yield f"the container {container['name']} has {name} twice"
        if "readinessProbe" not in container:
            continue
        values = {variable["name"]: variable.get("value") for variable in container["env"]}
        needed = container["lifecycle"]["preStop"]["sleep"]["seconds"] + int(values["Server__DrainTimeoutSeconds"]) + 2
        if pod["terminationGracePeriodSeconds"] <= needed:
            yield f"the pod is killed after {pod['terminationGracePeriodSeconds']} s and may need {needed}"


def faults_of_rules(documents):
    """Either none of the rules of deploy/prometheus, or all of them, with an address for each page."""
    made = [group for document in documents if document["kind"] == "PrometheusRule" for group in document["spec"]["groups"]]
    if not made:
        return
    files = sorted(pathlib.Path("deploy/prometheus/rules").glob("*.yml"))
    wanted = [group for file in files for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]]
    for group in made + wanted:
        for rule in group["rules"]:
            page = rule.get("annotations", {}).get("runbook_url", "")
            if page and group in made and not re.match("https://.+/[A-Za-z]+\\.md$", page):
                yield f"{rule['alert']}: {page} is no address"
            rule.get("annotations", {}).pop("runbook_url", None)
    if made != wanted:
        yield "the rules are not those of deploy/prometheus/rules"


def main():
    documents = [document for document in yaml.safe_load_all(sys.stdin) if document]
    faults, foreign = [], 0
    for document in documents:
        name = f"{document['kind']} {document['metadata']['name']}"
        if document["apiVersion"].startswith(FOREIGN):
            foreign += 1
        else:
            faults += [f"{name}: {fault}" for fault in faults_of_schema(document)]
        pod = pod_of(document)
        if pod:
            faults += [f"{name}: {fault}" for fault in faults_of_pod(pod)]
    names = [(document["kind"], document["metadata"]["name"]) for document in documents]
    faults += [f"{kind} {name} is there twice" for kind, name in set(names) if names.count((kind, name)) > 1]
    faults += faults_of_rules(documents)
    if not documents:
        faults.append("there is nothing")
    for fault in faults:
        print(fault, file=sys.stderr)
    if faults:
        sys.exit(1)
    print(f"{len(documents)} resources are in order, {foreign} of them of kinds without a schema here")


main()
