#!/usr/bin/env python3
"""Writes what the charts have from elsewhere: `python3 helm/generate.py`, or with --check says whether it agrees.

- The definitions `k8s.*`, `monitoring.*` and `gateway.*` in both values.schema.json: the keys of the blocks that are passed to Kubernetes as
  they are, from the schemas of Kubernetes and of the custom resources.
- The chart `exporter` within the gateway's chart: the library chart under another name. It has no alias, since Helm 3 gives a dependency that
  has one to the first of two aliases of its parent only (https://github.com/helm/helm/issues/9150).
- The library chart within the example, and the gateway's dashboards and rules, which are those of dashboards/.

They are copies, since archives of a checkout may leave out links.

Needs what tests/run installs into .tools/charts.
"""

import json
import pathlib
import re
import sys

HELM = pathlib.Path(__file__).resolve().parent
ROOT = HELM.parent
TOOLS = ROOT / ".tools/charts"
# The newest Kubernetes: older ones know a part of its keys.
KUBERNETES = TOOLS / "python/kubernetes_validate/kubernetes-json-schema/v1.37.0-local-strict/_definitions.json"
MODELS = TOOLS / "node_modules/@kubernetes-models"
LIBRARY, GATEWAY = HELM / "planet-call-exporter-sidecar", HELM / "planet-call-exporter"
EXAMPLE = HELM / "examples/voice-service"

# Where the types of each prefix are declared.
CUSTOM_RESOURCES = {
    "monitoring": MODELS / "prometheus-operator/monitoring.coreos.com/v1",
    "gateway": MODELS / "gateway-api/gateway.networking.k8s.io/v1",
}

# What the API server asks for beyond its schemas, from pkg/apis/*/validation of Kubernetes.
OCTET = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
CIDR = {"pattern": rf"^({OCTET}(\.{OCTET}){{3}}/(3[0-2]|[12]?[0-9])|[0-9a-fA-F]*:[0-9a-fA-F:.]*/(12[0-8]|1[01][0-9]|[1-9]?[0-9]))$"}
REFINEMENTS = {
    ("IPBlock", "cidr"): CIDR,
    ("IPBlock", "except"): {"items": {"type": "string"} | CIDR},
    ("Toleration", "effect"): {"enum": ["NoSchedule", "PreferNoSchedule", "NoExecute", "", None]},
    ("Toleration", "operator"): {"enum": ["Exists", "Equal", "Lt", "Gt", "", None]},
    ("TopologySpreadConstraint", "whenUnsatisfiable"): {"enum": ["DoNotSchedule", "ScheduleAnyway"]},
    ("NodeSelectorRequirement", "operator"): {"enum": ["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"]},
    ("LabelSelectorRequirement", "operator"): {"enum": ["In", "NotIn", "Exists", "DoesNotExist"]},
    ("StatefulSetUpdateStrategy", "type"): {"enum": ["RollingUpdate", "OnDelete", None]},
    ("DeploymentStrategy", "type"): {"enum": ["RollingUpdate", "Recreate", None]},
    ("HPAScalingPolicy", "type"): {"enum": ["Pods", "Percent"]},
    ("HPAScalingRules", "selectPolicy"): {"enum": ["Max", "Min", "Disabled", None]},
    ("NetworkPolicyPort", "protocol"): {"enum": ["TCP", "UDP", "SCTP", None]},
    ("PodSecurityContext", "fsGroupChangePolicy"): {"enum": ["Always", "OnRootMismatch", None]},
    ("SeccompProfile", "type"): {"enum": ["RuntimeDefault", "Localhost", "Unconfined"]},
}
WHOLE = {
    "Quantity": {"type": ["string", "number", "null"], "pattern": r"^[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?$"},
    "IntOrString": {"type": ["integer", "string", "null"]},
}


class Kubernetes:
    """The definitions of Kubernetes by the last part of their names."""

    def __init__(self):
        definitions = json.loads(KUBERNETES.read_text())["$defs"]
        self.full_names = {}
        # Of several versions of an API, the stable one; core/v1 before what has the same name elsewhere.
        for name in sorted(definitions, key=self.rank):
            self.full_names.setdefault(name.rsplit(".", 1)[1], name)
        self.definitions = definitions

    @staticmethod
    def rank(name):
        return ("alpha" in name or "beta" in name, not name.startswith("io.k8s.api.core.v1."), name)

    def definition(self, name):
        if name in WHOLE:
            return WHOLE[name]
        return self.simplified(name, self.definitions[self.full_names[name]])

    def simplified(self, name, schema):
        """The types and keys of a schema, without its prose."""
        if "$ref" in schema:
            full = schema["$ref"].rsplit("/", 1)[1]
            short = full.rsplit(".", 1)[1]
            assert self.full_names[short] == full, f"{short} is {self.full_names[short]} and {full}"
            return {"$ref": f"#/definitions/k8s.{short}"}
        made = {key: schema[key] for key in ("type", "additionalProperties", "required") if key in schema}
        if "items" in schema:
            made["items"] = self.simplified(name, schema["items"])
        if isinstance(schema.get("additionalProperties"), dict):
            made["additionalProperties"] = self.simplified(name, schema["additionalProperties"])
        if "properties" in schema:
            properties = {key: self.simplified(name, value) for key, value in schema["properties"].items()}
            made["properties"] = {key: value | REFINEMENTS.get((name, key), {}) for key, value in properties.items()}
        return made


class CustomResources:
    """The types of a group of custom resources, as they are declared for TypeScript."""

    def __init__(self, prefix):
        self.prefix, self.directory = prefix, CUSTOM_RESOURCES[prefix]

    def definition(self, name):
        text = re.sub(r"/\*\*.*?\*/", "", (self.directory / f"{name}.d.ts").read_text(), flags=re.S)
        alias = re.search(r"export type I\w+ = (.+?);", text)
        if alias:
            return self.of_type(alias[1])
        # The class has the fields of what it extends, too.
        body = re.search(rf"export declare class {name} .*?\{{(.*)constructor\(", text, flags=re.S)[1]
        fields = re.findall(r'^    "(\w+)"(\??): (.+?);$', body, flags=re.S | re.M)
        made = {
            "type": ["object", "null"],
            "additionalProperties": False,
            "properties": {field: self.of_type(kind) for field, _, kind in fields},
        }
        required = [field for field, optional, _ in fields if not optional]
        return made | ({"required": required} if required else {})

    def of_type(self, kind):
        kind = " ".join(kind.split())
        if kind in ("string", "boolean"):
            return {"type": [kind, "null"]}
        if kind == "number":
            # The conventions of Kubernetes' APIs know no fractions.
            return {"type": ["integer", "null"]}
        if re.fullmatch(r'"[^"]*"( \| "[^"]*")*', kind):
            return {"enum": [*re.findall(r'"([^"]*)"', kind), None]}
        if array := re.fullmatch(r"Array<(.+)>", kind):
            return {"type": ["array", "null"], "items": self.of_type(array[1])}
        if mapping := re.fullmatch(r"\{ \[key: string\]: (.+); \}", kind):
            return {"type": ["object", "null"], "additionalProperties": self.of_type(mapping[1])}
        if core := re.fullmatch(r"IIoK8sApi(?:machinery)?[A-Z]\w*?(?:V1|Intstr|Resource)([A-Z]\w+)", kind):
            return {"$ref": f"#/definitions/k8s.{core[1]}"}
        own = re.fullmatch(r"I\w+?V1([A-Z]\w+)", kind)
        return {"$ref": f"#/definitions/{self.prefix}.{own[1]}"}


def with_definitions(text, sources):
    """A schema with the definitions that it refers to, a line each at the end of the file."""
    is_generated = re.compile(rf'    "({"|".join(sources)})\.')
    lines = [line for line in text.splitlines() if not is_generated.match(line)]
    referred = re.compile(r"#/definitions/((\w+)\.(\w+))")
    made, waiting = {}, set(referred.findall("\n".join(lines)))
    while waiting:
        name, prefix, short = waiting.pop()
        if name not in made:
            made[name] = json.dumps(sources[prefix].definition(short))
            waiting |= set(referred.findall(made[name]))
    at = lines.index('  "definitions": {') + 1
    return "\n".join([*lines[:at], *(f'    "{name}": {made[name]},' for name in sorted(made)), *lines[at:]]) + "\n"


def wanted():
    """Every file with what should be in it."""
    sources = {"k8s": Kubernetes()} | {prefix: CustomResources(prefix) for prefix in CUSTOM_RESOURCES}
    files = {
        chart / "values.schema.json": with_definitions((chart / "values.schema.json").read_text(), sources)
        for chart in (LIBRARY, GATEWAY)
    }
    for copy in (GATEWAY / "charts/exporter", EXAMPLE / "charts" / LIBRARY.name):
        chart = (LIBRARY / "Chart.yaml").read_text().replace(f"name: {LIBRARY.name}\n", f"name: {copy.name}\n")
        files[copy / "Chart.yaml"] = f"# A copy of helm/{LIBRARY.name}, which helm/generate.py writes.\n{chart}"
        files[copy / "values.yaml"] = (LIBRARY / "values.yaml").read_text()
        files[copy / "values.schema.json"] = files[LIBRARY / "values.schema.json"]
        for template in (LIBRARY / "templates").iterdir():
            files[copy / "templates" / template.name] = template.read_text()
    dashboards = ROOT / "dashboards"
    for file in [*dashboards.glob("*.json"), *dashboards.glob("rules/*.rules.yml")]:
        files[GATEWAY / "files" / file.relative_to(dashboards)] = file.read_text()
    return files


def main():
    files = wanted()
    copies = [GATEWAY / "charts", GATEWAY / "files", EXAMPLE / "charts"]
    found = {path for directory in copies for path in directory.rglob("*") if path.is_file()}
    stale = sorted(found - files.keys())
    if sys.argv[1:] == ["--check"]:
        differing = [path for path, text in files.items() if not path.is_file() or path.read_text() != text]
        if differing or stale:
            names = ", ".join(str(path.relative_to(HELM)) for path in [*differing, *stale])
            sys.exit(f"not what generate.py writes: {names}; run python3 helm/generate.py")
        return
    for path in stale:
        path.unlink()
    for path, text in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
