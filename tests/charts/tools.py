"""Helm 4, YAML and the schemas of Kubernetes for the tests of the charts: one command, JSON in and JSON out."""

import json
import sys

import helm_python
import kubernetes_validate
import yaml


class OnceOnly(yaml.CSafeLoader):
    """Reads YAML as Kubernetes does when it is strict: a key may stand once."""


def mapping(loader, node):
    keys = [loader.construct_object(key) for key, _ in node.value]
    if len(keys) != len(set(keys)):
        raise yaml.YAMLError(f"a key stands twice{node.start_mark}")
    return loader.construct_mapping(node, deep=True)


OnceOnly.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)


def objects(text):
    """The documents of a YAML stream."""
    return [document for document in yaml.load_all(text, OnceOnly) if document is not None]


def render(cases):
    """What each chart makes of its values, or why it refuses them."""
    rendered = []
    for case in cases:
        try:
            with helm_python.Chart.load(case["chart"]) as chart:
                files = chart.render(case["values"], name=case["release"], namespace="voice")
        except helm_python.HelmError as error:
            rendered.append({"error": str(error)})
            continue
        notes = "".join(text for path, text in files.items() if path.endswith("NOTES.txt"))
        manifests = [text.strip() for path, text in sorted(files.items()) if path.endswith(".yaml") and text.strip()]
        text = "\n---\n".join(manifest.removeprefix("---\n") for manifest in manifests) + "\n"
        rendered.append({"text": text, "objects": objects(text), "notes": notes})
    return rendered


def lint(charts):
    """The findings of Helm's own check about each chart; an icon is not among what we miss."""
    reports = {chart: helm_python.lint(chart, strict=True, with_subcharts=True) for chart in charts}
    return [
        f"{chart}: {finding['error']}"
        for chart, report in reports.items()
        for finding in report["messages"]
        if finding["error"] != "icon is recommended"
    ]


def validate(case):
    """What is wrong with the objects in these versions of Kubernetes."""
    findings = []
    for item in case["objects"]:
        name = f"{item['kind']} {item['metadata']['name']}"
        for version in case["versions"]:
            try:
                kubernetes_validate.validate(item, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                findings.append(f"{name} in {version}: {'.'.join(map(str, error.path))}: {error.message}")
    return findings


COMMANDS = {"objects": objects, "render": render, "lint": lint, "validate": validate}

if __name__ == "__main__":
    json.dump(COMMANDS[sys.argv[1]](json.load(sys.stdin)), sys.stdout)
