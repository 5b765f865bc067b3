"""What people do with the charts. Each check answers what is wrong, or nothing."""

import functools
import itertools
import json
import pathlib
import re
import shutil

import yaml

from cluster import Failed

RELEASE = "calls"
HELMS = ("3", "4")
HERE = pathlib.Path(__file__).parent
NUMBER = itertools.count(1)


def all_checks(cluster, charts, project, table):
    """The name of each check, and what makes it."""
    for values in sorted((project / "tests/charts").glob("*/*.values.yaml")):
        chart = charts / values.parent.name
        if not chart.exists():
            chart = charts / "examples" / values.parent.name
        case = f"{values.parent.name}/{values.name.removesuffix('.values.yaml')}"
        for helm in HELMS:
            yield f"install {case} with Helm {helm}", functools.partial(install, cluster, helm, chart, values)
        for way in ((), ("--server-side",)):
            name = f"apply {' '.join(way)} {case}".replace("  ", " ")
            yield name, functools.partial(apply, cluster, way, chart, values)
    for way in ((), ("--server-side",)):
        name = f"apply {' '.join(way)} -k helm/examples/kustomize".replace("  ", " ")
        yield name, functools.partial(apply_kustomization, cluster, way, project / "helm/examples/kustomize")
    gateway = charts / "planet-call-exporter"
    for helm in HELMS:
        for upgrade in yaml.safe_load((HERE / "upgrades.yaml").read_text()):
            yield f"upgrade with Helm {helm}: {upgrade['name']}", functools.partial(upgraded, cluster, helm, gateway, upgrade)
        yield f"upgrade with Helm {helm}: scaled by hand", functools.partial(scaled, cluster, helm, gateway)
        yield f"upgrade with Helm {helm}: autoscaled", functools.partial(autoscaled, cluster, helm, gateway)
        for release in ("calls.v1", "c" * 53, "1calls"):
            yield f"release {release} with Helm {helm}", functools.partial(named, cluster, helm, gateway, release)
    bare = without_rules(gateway, charts / "without-rules/planet-call-exporter")
    for values in yaml.safe_load((HERE / "wrong.yaml").read_text()):
        yield f"wrong {json.dumps(values, ensure_ascii=False)}", functools.partial(refused, cluster, gateway, bare, values, table)


def fresh(cluster):
    return cluster.namespace(f"n{next(NUMBER)}")


def rendered(cluster, helm, chart, namespace, values, *more):
    """What Helm makes of values, which are a file or data."""
    file, text = (values, "") if isinstance(values, pathlib.Path) else ("-", json.dumps(values))
    answer = cluster.helm(helm, "template", RELEASE, chart, "-n", namespace, "--kube-version=1.36.3", "--values", file, *more, input=text)
    return cluster.must(answer).stdout


def helm(cluster, version, verb, chart, namespace, values, *more):
    if verb == "upgrade":
        # Otherwise no values are those from before.
        more = ("--reset-values", *more)
    file, text = (values, "") if isinstance(values, pathlib.Path) else ("-", json.dumps(values))
    return cluster.helm(version, verb, RELEASE, chart, "-n", namespace, "--values", file, *more, input=text)


def warned(answer):
    """What the server only warns of. A Helm of another version than the server's says so of itself."""
    said = (answer.stdout + answer.stderr).splitlines()
    return "\n".join(line for line in said if re.search(r"warning|would violate", line, re.IGNORECASE))


def difference(cluster, namespace, manifests, *way):
    """What an apply would change, if anything."""
    answer = cluster.kubectl("diff", "-n", namespace, *way, "-f", "-", input=manifests)
    return answer.stdout + answer.stderr if answer.returncode != 0 else ""


def workload(cluster, namespace):
    """The workload of the release."""
    listed = cluster.get(namespace, "statefulsets,deployments") or {"items": []}
    return listed["items"][0] if listed["items"] else None


def install(cluster, version, chart, values):
    namespace = fresh(cluster)
    # Helm installs no hooks.
    manifests = rendered(cluster, version, chart, namespace, values, "--no-hooks")
    dry = cluster.must(cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", input=manifests))
    cluster.must(helm(cluster, version, "install", chart, namespace, values, "--dry-run=server"))
    installed = cluster.must(helm(cluster, version, "install", chart, namespace, values))
    problem = warned(dry) or warned(installed)
    problem = problem or difference(cluster, namespace, manifests) or difference(cluster, namespace, manifests, "--server-side")
    before = workload(cluster, namespace)
    # Somebody who goes over from Helm to server-side apply, and who does the same once more.
    cluster.must(cluster.kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", input=manifests))
    again = cluster.must(helm(cluster, version, "upgrade", chart, namespace, values))
    after = workload(cluster, namespace)
    if before and before["metadata"]["generation"] != after["metadata"]["generation"]:
        problem = problem or "the same once more changes the workload"
    cluster.must(cluster.helm(version, "uninstall", RELEASE, "-n", namespace))
    return problem or warned(again)


def apply(cluster, way, chart, values):
    namespace = fresh(cluster)
    manifests = rendered(cluster, "4", chart, namespace, values)
    applied = cluster.must(cluster.kubectl("apply", *way, "--validate=strict", "-n", namespace, "-f", "-", input=manifests))
    return warned(applied) or difference(cluster, namespace, manifests, *way)


def apply_kustomization(cluster, way, directory):
    namespace = fresh(cluster)
    manifests = cluster.must(cluster.kubectl("kustomize", directory)).stdout
    cluster.must(cluster.kubectl("apply", *way, "--validate=strict", "-n", namespace, "-f", "-", input=manifests))
    # Somebody who goes over to server-side apply.
    cluster.must(cluster.kubectl("apply", "--server-side", "--dry-run=server", "-n", namespace, "-f", "-", input=manifests))
    return difference(cluster, namespace, manifests, *way)


def first_pod(cluster, namespace):
    """The identity of the first pod, when it is there."""
    name = f"{RELEASE}-planet-call-exporter-0"
    cluster.wait_for(f"the pod {name}", lambda: cluster.kubectl("get", "-n", namespace, f"pod/{name}"))
    return cluster.get(namespace, f"pod/{name}")["metadata"]["uid"]


def upgraded(cluster, version, chart, case):
    """Upgrades, by the recipe if there is one, and once more without the comparison."""
    before, after = case.get("from", {}), case["to"]
    namespace = fresh(cluster)
    cluster.must(helm(cluster, version, "install", chart, namespace, before))
    answer = helm(cluster, version, "upgrade", chart, namespace, after)
    if "refused" not in case:
        return difference(cluster, namespace, rendered(cluster, version, chart, namespace, after, "--no-hooks")) if answer.returncode == 0 else answer.stderr
    expected = case["refused"].replace("NAMESPACE", namespace)
    if answer.returncode == 0 or expected not in answer.stderr:
        return f"expected it to be refused with {expected}: {answer.stdout}{answer.stderr}"
    pod = first_pod(cluster, namespace) if case.get("pods") == "stay" else None
    told = re.search(r"`kubectl ([^`]* delete [^`]*)`", answer.stderr)
    if not told:
        return f"no command in {answer.stderr}"
    cluster.must(cluster.kubectl(*told[1].split()))
    cluster.must(helm(cluster, version, "upgrade", chart, namespace, after))
    if pod and first_pod(cluster, namespace) != pod:
        return f"kubectl {told[1]} did not leave the pod running"
    problem = difference(cluster, namespace, rendered(cluster, version, chart, namespace, after, "--no-hooks"))

    namespace = fresh(cluster)
    cluster.must(helm(cluster, version, "install", chart, namespace, before))
    answer = helm(cluster, version, "upgrade", chart, namespace, {**after, "compareWithInstalled": False})
    came = "takes" if answer.returncode == 0 else "refuses"
    if came != case["server"]:
        problem = problem or f"expected that without the comparison the server {case['server']} it: {answer.stdout}{answer.stderr}"
    return problem


def replicas(cluster, namespace):
    return workload(cluster, namespace)["spec"]["replicas"]


def scaled(cluster, version, chart):
    """Somebody scales it by hand, and hands the number over by null."""
    namespace = fresh(cluster)
    cluster.must(helm(cluster, version, "install", chart, namespace, {}))
    cluster.must(cluster.kubectl("scale", "-n", namespace, f"statefulset/{RELEASE}-planet-call-exporter", "--replicas=4"))
    for annotations in ({}, {"a": "b"}):
        values = {"workload": {"replicas": None}, "podAnnotations": annotations}
        cluster.must(helm(cluster, version, "upgrade", chart, namespace, values))
        if replicas(cluster, namespace) != 4:
            return f"expected 4 replicas, and there are {replicas(cluster, namespace)}"
    return ""


def autoscaled(cluster, version, chart):
    """An autoscaler takes three replicas over, and makes them four."""
    namespace = fresh(cluster)
    cluster.must(helm(cluster, version, "install", chart, namespace, {"workload": {"replicas": 3}}))
    for expected in (3, 4):
        values = {"autoscaling": {"enabled": True}, "podAnnotations": {"a": str(expected)}}
        cluster.must(helm(cluster, version, "upgrade", chart, namespace, values))
        if replicas(cluster, namespace) != expected:
            return f"expected {expected} replicas, and there are {replicas(cluster, namespace)}"
        cluster.must(cluster.kubectl("scale", "-n", namespace, f"statefulset/{RELEASE}-planet-call-exporter", "--replicas=4"))
    return ""


def named(cluster, version, chart, release):
    """The names of a release and of an object are not alike: what Helm takes, either the server takes as well or the chart refuses."""
    answer = cluster.helm(version, "template", release, chart, "--kube-version=1.36.3")
    if answer.returncode != 0:
        return "" if "fullnameOverride" in answer.stderr else answer.stderr
    created = cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", input=answer.stdout)
    return created.stderr if created.returncode != 0 else ""


def without_rules(chart, copy):
    """The chart without what it refuses by itself, to see what a server says."""
    shutil.copytree(chart, copy)
    for schema in copy.rglob("values.schema.json"):
        schema.unlink()
    for template in itertools.chain(copy.rglob("*.tpl"), copy.rglob("*.yaml")):
        text = template.read_text()
        template.write_text(re.sub(r"{{-? fail ", "{{- $_ := ", text))
    return copy


def refused(cluster, chart, bare, values, table):
    """The chart refuses it with either Helm; what the server would say is only shown."""
    taken = []
    for version in HELMS:
        try:
            rendered(cluster, version, chart, "default", values)
            taken.append(f"Helm {version}")
        except Failed as error:
            said = last_line(str(error))
    if table or taken:
        try:
            manifests = rendered(cluster, "4", bare, "default", values)
            server = cluster.kubectl("create", "--dry-run=server", "--validate=strict", "-f", "-", input=manifests)
            verdict = "takes it" if server.returncode == 0 else last_line(server.stderr)
        except Failed as error:
            verdict = f"not asked: {last_line(str(error))}"
        print(f"      chart:  {'takes it' if taken else said}\n      server: {verdict}")
    return f"the chart takes it with {' and '.join(taken)}" if taken else ""


def last_line(text):
    """The last line that says something, without Helm's advice."""
    said = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("Use --debug")]
    return said[-1].rsplit("Error: ", 1)[-1] if said else "nothing"
