//! The promise: an upgrade of the gateway's chart keeps what it does not mention, and what Kubernetes does not let
//! change, or what would leave the state behind, is refused with what to do.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::charts::{self, NAMESPACE, RELEASE, Rendered, path};
use support::cluster::Cluster;

/// What an upgrade to these values makes of a cluster with these objects, or why it does not.
fn upgrade_of(installed: &[Value], values: &Value) -> Result<String, String> {
    let cluster = Cluster::with(installed);
    let mut helm = Command::new(path(".tools/charts/programs/helm/helm"));
    helm.args(["template", RELEASE, "--namespace", NAMESPACE, "--is-upgrade", "--dry-run=server"]);
    helm.args(["--kube-apiserver", &cluster.url(), "--values", "-"]).arg(charts::gateway());
    helm.env("KUBECONFIG", "/dev/null").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = helm.spawn().expect("tests/run installs it");
    serde_json::to_writer(child.stdin.take().expect("a pipe"), values).expect("written");
    let output = child.wait_with_output().expect("output");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match output.status.success() {
        true => Ok(text(&output.stdout)),
        false => Err(text(&output.stderr)),
    }
}

/// What each upgrade makes of the values before, or why it does not.
fn upgrades<'a>(cases: impl Iterator<Item = (&'a Value, &'a Value)> + Clone) -> Vec<Result<String, String>> {
    let chart = charts::gateway();
    let before = charts::render_all(cases.clone().map(|(from, _)| (&chart, from)));
    let upgrade = |((_, to), before): ((_, &Value), Result<Rendered, String>)| {
        upgrade_of(&before.expect("it can be installed").objects, to)
    };
    cases.zip(before).map(upgrade).collect()
}

/// The replicas of the workload among these objects, if they have a number.
fn replicas(objects: &str) -> Option<&str> {
    objects.lines().find_map(|line| line.strip_prefix("  replicas: "))
}

#[test]
fn the_number_of_replicas_stays_what_somebody_else_made_it() {
    let installed = charts::render(&charts::gateway(), &json!({})).objects;
    let scaled = |replicas: u64| {
        let mut objects = installed.clone();
        let set = objects.iter_mut().find(|object| object["kind"] == "StatefulSet").expect("a workload");
        set["spec"]["replicas"] = json!(replicas);
        objects
    };
    let left_alone = json!({"workload": {"replicas": null}});
    let autoscaled = json!({"autoscaling": {"enabled": true}});
    for (number, values, expected) in [
        (4, &left_alone, Some("4")),
        (0, &left_alone, Some("0")),
        (3, &autoscaled, Some("3")),
        // An autoscaler does nothing at 0.
        (0, &autoscaled, None),
        (4, &json!({}), Some("1")),
        (4, &json!({"workload": {"replicas": null}, "compareWithInstalled": false}), None),
    ] {
        let upgraded = upgrade_of(&scaled(number), values).expect("it can be upgraded");
        assert_eq!(replicas(&upgraded), expected, "{number} {values}");
    }
    assert_eq!(replicas(&upgrade_of(&[], &left_alone).expect("it can be upgraded")), None);

    // An upgrade that failed half-way may have left two.
    let other = json!({
        "fullnameOverride": "other",
        "workload": {"kind": "Deployment", "replicas": 3},
        "exporter": {"state": {"claimTemplate": {"enabled": false}}},
    });
    let other = charts::render(&charts::gateway(), &other).objects;
    let both = upgrade_of(&[scaled(4), other.clone()].concat(), &left_alone).expect("it can be upgraded");
    assert_eq!(replicas(&both), Some("4"));
    let moved = upgrade_of(&other, &left_alone).expect("it can be upgraded");
    assert_eq!(replicas(&moved), Some("3"));
}

fn claim_template(template: Value) -> Value {
    json!({"exporter": {"state": {"claimTemplate": template}}})
}

fn existing_claim(kind: &str, claim: &str) -> Value {
    json!({
        "workload": {"kind": kind},
        "exporter": {"state": {"existingClaim": claim, "claimTemplate": {"enabled": false}}},
    })
}

fn on_emptydir(kind: &str) -> Value {
    let mut values = claim_template(json!({"enabled": false}));
    values["workload"] = json!({"kind": kind});
    values
}

const NAME: &str = "live-planet-call-exporter";

#[test]
fn what_cannot_change_is_refused_with_what_to_do() {
    let default = json!({});
    let in_memory = json!({"exporter": {"state": {"enabled": false, "claimTemplate": {"enabled": false}}}});
    let (on_claim, set) = (existing_claim("Deployment", "calls"), on_emptydir("StatefulSet"));
    let commands = [
        format!("kubectl -n voice delete statefulset/{NAME} --cascade=orphan"),
        format!("kubectl -n voice delete statefulset/{NAME}`"),
        format!("kubectl -n voice patch pvc planet-call-exporter-state-{NAME}-0"),
        format!("exporter.state.existingClaim=planet-call-exporter-state-{NAME}-0"),
        format!("fullnameOverride={NAME}"),
    ];
    let [orphan, delete, patch, go_on, keep_name] = commands.each_ref().map(String::as_str);
    let cases = [
        (&default, claim_template(json!({"size": "5Gi"})), [orphan, patch]),
        (&default, claim_template(json!({"storageClassName": "fast"})), [orphan, "the cluster's default"]),
        (&default, claim_template(json!({"accessModes": ["ReadWriteOncePod"]})), [orphan, "accessModes"]),
        (&default, claim_template(json!({"annotations": {"a": "b"}})), [orphan, "annotations"]),
        (&default, in_memory.clone(), [orphan, "exporter.state.enabled"]),
        (&default, on_emptydir("StatefulSet"), [orphan, go_on]),
        (&default, existing_claim("StatefulSet", "other"), [orphan, go_on]),
        (&in_memory, default.clone(), [delete, "exporter.state.enabled"]),
        (&set, default.clone(), [delete, "exporter.state.claimTemplate.enabled"]),
        (&default, json!({"nameOverride": "calls", "fullnameOverride": NAME}), [delete, "nameOverride"]),
        // Where another workload would begin without the state.
        (&default, json!({"nameOverride": "calls"}), [keep_name, go_on]),
        (&default, json!({"fullnameOverride": "calls"}), [keep_name, delete]),
        (&default, on_emptydir("Deployment"), ["workload.kind", go_on]),
        (&default, existing_claim("Deployment", "other"), ["workload.kind", go_on]),
        (&on_claim, default.clone(), ["workload.kind", "existingClaim=calls"]),
    ];
    let upgraded = upgrades(cases.iter().map(|(from, to, _)| (*from, to)));
    for ((from, to, expected), upgraded) in cases.iter().zip(upgraded) {
        let error = upgraded.map(|_| ()).expect_err(&format!("{from} to {to}"));
        for expected in expected {
            assert!(error.contains(expected), "{from} to {to}: expected {expected} in {error}");
        }
    }
}

#[test]
fn without_the_comparison_it_is_for_kubernetes_to_refuse() {
    let to = json!({"nameOverride": "calls", "compareWithInstalled": false});
    let before = charts::render(&charts::gateway(), &json!({})).objects;
    upgrade_of(&before, &to).expect("it is not compared");
}

#[test]
fn what_can_change_is_taken() {
    let default = json!({});
    let first = format!("planet-call-exporter-state-{NAME}-0");
    let in_mebibytes = claim_template(json!({"size": "2048Mi"}));
    let on_claim = existing_claim("Deployment", "calls");
    let (set, deployment) = (on_emptydir("StatefulSet"), on_emptydir("Deployment"));
    let cases = [
        (&default, default.clone()),
        // The same size, as the API server writes it.
        (&in_mebibytes, default.clone()),
        (&default, claim_template(json!({"size": "2048Mi"}))),
        (&default, json!({"workload": {"claimRetentionPolicy": {"whenDeleted": "Delete"}}})),
        (&default, json!({"podLabels": {"a": "b"}, "exporter": {"ports": {"metrics": 9465}}})),
        // The state is taken along.
        (&default, existing_claim("Deployment", &first)),
        (&on_claim, existing_claim("StatefulSet", "calls")),
        (&on_claim, existing_claim("Deployment", "others")),
        // Nothing is kept.
        (&deployment, default.clone()),
        (&set, on_emptydir("Deployment")),
        (&set, json!({"fullnameOverride": "calls"})),
        (&default, json!({"workload": {"kind": "None"}})),
    ];
    let upgraded = upgrades(cases.iter().map(|(from, to)| (*from, to)));
    for ((from, to), upgraded) in cases.iter().zip(upgraded) {
        upgraded.unwrap_or_else(|error| panic!("{from} to {to}: {error}"));
    }
}

#[test]
fn claims_that_go_with_their_workload_are_not_taken_along() {
    let to = existing_claim("Deployment", &format!("planet-call-exporter-state-{NAME}-0"));
    let from = json!({"workload": {"claimRetentionPolicy": {"whenDeleted": "Delete"}}});
    let error = upgrades([(&from, &to)].into_iter()).remove(0).map(|_| ()).expect_err("the claim would go");
    assert!(error.contains("workload.claimRetentionPolicy.whenDeleted=Retain"), "{error}");
}

/// Beside the gateway there may be others, of the same release too.
#[test]
fn other_workloads_are_nobodys_business() {
    let mut other = charts::render(&charts::gateway(), &json!({"fullnameOverride": "database"})).objects;
    for object in &mut other {
        object["metadata"]["labels"]["helm.sh/chart"] = json!("planet-call-exporter-database-1.0.0");
    }
    upgrade_of(&other, &json!({})).expect("it can be upgraded");
}

/// A dependency may have had another alias.
#[test]
fn a_workload_of_the_same_name_is_compared_whatever_its_chart_was_called() {
    let mut before = charts::render(&charts::gateway(), &json!({})).objects;
    for object in &mut before {
        object["metadata"]["labels"]["helm.sh/chart"] = json!("calls-0.2.0");
    }
    let to = json!({"nameOverride": "calls", "fullnameOverride": NAME});
    let error = upgrade_of(&before, &to).expect_err("its pods could not be found");
    assert!(error.contains("nameOverride"), "{error}");
}
