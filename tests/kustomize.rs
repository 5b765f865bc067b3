//! The promise: whoever changes the sidecar of the Kustomize component by a patch changes what the patch names, and
//! nothing else.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};
use support::Scratch;
use support::call::DOCUMENTED_SAMPLE;
use support::charts::{self, path};
use support::exporter::{Exporter, command};

/// The sidecar of the example, with what is patched of it.
fn patched(patch: Value) -> Value {
    let scratch = Scratch::new("kustomize");
    // Kustomize takes relative paths only, and resolves links before.
    let (here, example) = (scratch.0.canonicalize(), path("helm/examples/kustomize").canonicalize());
    let (here, example) = (here.expect("a directory"), example.expect("the example"));
    let example =
        "../".repeat(here.components().count() - 1) + example.to_string_lossy().trim_start_matches('/');
    let mut sidecar = patch;
    sidecar["name"] = json!("planet-call-exporter");
    let patch = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "any"},
        "spec": {"template": {"spec": {"initContainers": [sidecar]}}},
    });
    let patches = json!([{"target": {"kind": "Deployment"}, "patch": patch.to_string()}]);
    let kustomization = json!({"resources": [example], "patches": patches});
    fs::write(scratch.0.join("kustomization.yaml"), kustomization.to_string()).expect("a file");
    let built = charts::kustomize(&scratch.0);
    let deployment = built.iter().find(|object| object["kind"] == "Deployment").expect("a deployment");
    deployment["spec"]["template"]["spec"]["initContainers"][0].clone()
}

/// The variables with a value of their own.
fn variables(container: &Value) -> BTreeMap<&str, &str> {
    let variables = container["env"].as_array().expect("variables").iter();
    variables.filter_map(|variable| Some((variable["name"].as_str()?, variable["value"].as_str()?))).collect()
}

#[test]
fn a_patch_of_one_flag_leaves_the_others() {
    let before = patched(json!({}));
    let flag = json!({"name": "PLANET_FORWARD_TO", "value": "http://127.0.0.1:9000"});
    let after = patched(json!({"env": [flag]}));
    let (mut expected, after) = (variables(&before), variables(&after));
    assert_eq!(expected.insert("PLANET_FORWARD_TO", "http://127.0.0.1:9000"), Some("http://127.0.0.1:8080"));
    assert_eq!(after, expected);
}

#[test]
fn a_patch_of_the_arguments_takes_no_flag_away() {
    let container = patched(json!({"args": ["--call-log=stdout"]}));
    assert_eq!(container["args"], json!(["--call-log=stdout"]));
    let scratch = Scratch::new("kustomize-state");
    let state = scratch.0.join("state").to_string_lossy().into_owned();
    let mut variables = variables(&container);
    // This machine's in place of the container's.
    for (name, container, ours) in [
        ("PLANET_LISTEN", ":20200", "127.0.0.1:0"),
        ("PLANET_ADMIN_LISTEN", ":9464", "127.0.0.1:0"),
        ("PLANET_STATE_DIR", "/var/lib/planet-call-exporter", &state),
    ] {
        assert_eq!(variables.insert(name, ours), Some(container), "{name}");
    }
    let exporter = Exporter::launch_as_it_is(command().envs(variables).arg("--call-log=stdout"));
    assert_eq!(exporter.get(&format!("/call_event?{DOCUMENTED_SAMPLE}")).status, 200);
    assert!(scratch.0.join("state/planet-call-exporter.lock").exists());

    // The hook finds the exporter by the same variable.
    let hook = container["lifecycle"]["preStop"]["exec"]["command"].as_array().expect("a command");
    let hook = hook.iter().skip(1).map(|word| word.as_str().expect("a word"));
    let drained = command().args(hook).env("PLANET_ADMIN_LISTEN", exporter.admin.to_string()).output();
    let drained = drained.expect("it runs");
    assert!(drained.status.success(), "{drained:?}");
    exporter.process.stderr.wait_for("draining");
}
