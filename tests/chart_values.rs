//! The promise: what people write in the charts' values does what it says, or is refused with what to change.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use support::Scratch;
use support::charts::{self, of_kind, path};

fn gateway(values: Value) -> Vec<Value> {
    charts::render(&charts::gateway(), &values).objects
}

#[test]
fn a_setting_that_is_null_keeps_its_default() {
    let settings = |settings: Value| {
        let rendered = gateway(json!({"prometheusRule": {"enabled": true, "settings": settings}}));
        let rule = of_kind(&rendered, "PrometheusRule");
        let groups = rule["spec"]["groups"].as_array().expect("groups").clone();
        groups.into_iter().find(|group| group["name"] == "planet-settings").expect("the settings")["rules"]
            .clone()
    };
    let defaults = settings(json!({}));
    for name in [
        "objective",
        "minimumReleases",
        "dropRatioLimit",
        "timeToAnswerLimitSeconds",
        "growthLimit",
        "expectedCalls",
        "backlogAgeLimitSeconds",
    ] {
        let mut null = json!({});
        null[name] = Value::Null;
        assert_eq!(settings(null), defaults, "{name}");
    }
    assert_ne!(settings(json!({"objective": 0.9})), defaults);
}

/// A policy is applied before the pods are replaced: numbers would be those of the next pods.
#[test]
fn a_change_of_ports_cuts_no_traffic() {
    let ports = |exporter: Value| {
        let rendered = gateway(json!({"networkPolicy": {"enabled": true}, "exporter": exporter}));
        let rules = of_kind(&rendered, "NetworkPolicy")["spec"]["ingress"].clone();
        rules.as_array().expect("rules").iter().map(|rule| rule["ports"].clone()).collect::<Vec<_>>()
    };
    let named = |name: &str| json!([{"port": name, "protocol": "TCP"}]);
    let expected = [named("planet-calls"), named("planet-metrics")];
    assert_eq!(ports(json!({})), expected);
    assert_eq!(ports(json!({"ports": {"callEvents": 21000, "metrics": 9465}})), expected);
}

#[test]
fn everything_is_routed_where_everything_is_passed_on() {
    let types = |flags: Value| {
        let rendered = gateway(json!({
            "exporter": {"flags": flags},
            "ingress": {"enabled": true, "hosts": ["calls.example.com"]},
            "httpRoute": {"enabled": true, "parentRefs": [{"name": "public"}]},
        }));
        let ingress = &of_kind(&rendered, "Ingress")["spec"]["rules"][0]["http"]["paths"][0];
        let route = &of_kind(&rendered, "HTTPRoute")["spec"]["rules"][0]["matches"][0]["path"];
        [&ingress["path"], &ingress["pathType"], &route["value"], &route["type"]].map(Value::clone)
    };
    assert_eq!(types(json!({})), ["/call_event", "Exact", "/call_event", "Exact"]);
    assert_eq!(types(json!({"callEventPath": "/"})), ["/", "Exact", "/", "Exact"]);
    let service = "http://voice:8080";
    for path in ["/", "/call_event"] {
        let everything = types(json!({"callEventPath": path, "forwardTo": service}));
        assert_eq!(everything, ["/", "Prefix", "/", "PathPrefix"], "{path}");
    }
}

#[test]
fn the_number_of_replicas_can_be_left_to_somebody_else() {
    let replicas = |replicas: Value| {
        of_kind(&gateway(json!({"workload": {"replicas": replicas}})), "StatefulSet")["spec"]["replicas"]
            .clone()
    };
    assert_eq!(replicas(json!(0)), 0);
    assert_eq!(replicas(Value::Null), Value::Null);
}

/// A block whose children are all commented out.
#[test]
fn a_block_that_is_empty_is_named() {
    let blocks = |chart: &str| {
        let values = fs::read_to_string(path(chart).join("values.yaml")).expect("values");
        emptied(&charts::objects(&values).remove(0))
    };
    let of_exporter = blocks("helm/planet-call-exporter-sidecar").into_iter();
    let of_exporter = of_exporter.map(|(values, name)| (json!({ "exporter": values }), name));
    let values: Vec<_> = blocks("helm/planet-call-exporter").into_iter().chain(of_exporter).collect();
    let chart = charts::gateway();
    let rendered = charts::render_all(values.iter().map(|(values, _)| (&chart, values)));
    let refused =
        values.iter().zip(rendered).filter_map(|((_, name), rendered)| Some((name, rendered.err()?)));
    let refused: Vec<_> = refused.collect();
    assert!(refused.iter().any(|(name, _)| *name == "ingress"), "it is needed");
    for (name, error) in refused {
        // Without the block of the exporter it would be a native sidecar, which is refused as such.
        let is_named = error.contains(&format!("missing property '{name}'")) || name == "exporter";
        assert!(is_named && !error.contains("nil pointer"), "{name}: {error}");
    }
}

/// Values in which one of these blocks, or of those in them, is null, each with its name.
fn emptied(values: &Value) -> Vec<(Value, String)> {
    let within = |name: &String, value: Value| Value::Object([(name.clone(), value)].into_iter().collect());
    let blocks = values.as_object().expect("blocks").iter().filter(|(_, value)| value.is_object());
    let each = blocks.flat_map(|(name, value)| {
        let inner = emptied(value).into_iter().map(move |(value, inner)| (within(name, value), inner));
        [(within(name, Value::Null), name.clone())].into_iter().chain(inner)
    });
    each.collect()
}

/// A parent chart with this dependency on the gateway's chart.
fn parent(scratch: &Scratch, dependency: &str) -> PathBuf {
    let chart = scratch.0.join("parent");
    fs::create_dir_all(chart.join("charts")).expect("a folder");
    let text = format!(
        "apiVersion: v2\nname: voice\nversion: 1.0.0\ndependencies:\n  - name: planet-call-exporter\n    version: 0.2.0\n{dependency}"
    );
    fs::write(chart.join("Chart.yaml"), text).expect("a chart");
    let to = chart.join("charts/planet-call-exporter");
    let status = Command::new("cp").arg("-rL").arg(charts::gateway()).arg(&to).status().expect("cp");
    assert!(status.success());
    chart
}

#[test]
fn it_is_a_dependency_like_others() {
    let scratch = Scratch::new("parent-condition");
    let chart = parent(&scratch, "    condition: planet-call-exporter.enabled\n");
    for is_on in [true, false] {
        let rendered = charts::render(&chart, &json!({"planet-call-exporter": {"enabled": is_on}}));
        assert_eq!(rendered.objects.iter().any(|object| object["kind"] == "StatefulSet"), is_on);
    }
    let scratch = Scratch::new("parent-alias");
    let chart = parent(&scratch, "    alias: callExporter\n");
    for object in charts::render(&chart, &json!({})).objects {
        let name = object["metadata"]["name"].as_str().expect("a name");
        let is_valid = |character: char| matches!(character, 'a'..='z' | '0'..='9' | '-' | '.');
        assert!(name.chars().all(is_valid), "{name}");
    }
}

#[test]
fn a_parent_can_have_it_twice() {
    let scratch = Scratch::new("parent-twice");
    let again = "  - name: planet-call-exporter\n    version: 0.2.0\n    alias: second\n";
    let chart = parent(&scratch, &format!("    alias: first\n{again}"));
    let values = json!({
        "first": {"exporter": {"flags": {"idcs": ["KR"]}}},
        "second": {"exporter": {"flags": {"idcs": ["JP"]}, "state": {"enabled": false}}},
    });
    let idcs = |objects: &[Value]| {
        let of_pods = objects.iter().filter(|object| object["kind"] == "StatefulSet");
        let arguments = of_pods.flat_map(|object| {
            object["spec"]["template"]["spec"]["containers"][0]["args"].as_array().expect("arguments").clone()
        });
        let mut idcs: Vec<_> =
            arguments.filter(|argument| argument.to_string().contains("--idcs=")).collect();
        idcs.sort_by_key(ToString::to_string);
        idcs
    };
    let helm_3 = charts::render_values_with_helm_3(&chart, &values).expect("it renders");
    assert_eq!(idcs(&helm_3), ["--idcs=JP", "--idcs=KR"]);
    assert_eq!(idcs(&charts::render(&chart, &values).objects), idcs(&helm_3));
    // What the library refuses is refused in both.
    let wrong = json!({"second": {"exporter": {"flags": {"idc": ["JP"]}}}});
    let error = charts::render_values_with_helm_3(&chart, &wrong).expect_err("an unknown flag");
    assert!(error.contains("property idc is not allowed"), "{error}");
}

/// A copy of the chart that is not complete.
#[test]
fn rules_and_dashboards_that_are_missing_are_said() {
    let scratch = Scratch::new("without-links");
    let chart = parent(&scratch, "").join("charts/planet-call-exporter");
    fs::remove_dir_all(chart.join("files")).expect("removed");
    for values in [json!({"prometheusRule": {"enabled": true}}), json!({"dashboards": {"enabled": true}})] {
        let error =
            charts::render_all([(&chart, &values)]).remove(0).expect_err("nothing would be installed");
        assert!(error.contains("the chart has no files/"), "{error}");
    }
}

/// A release may be called what a service may not.
#[test]
fn names_are_those_of_services() {
    let name = |release: &str, values: Value| {
        let rendered = charts::render_as(release, &charts::gateway(), &values)?;
        Ok::<_, String>(of_kind(&rendered.objects, "Service")["metadata"]["name"].clone())
    };
    assert_eq!(name("calls.v1", json!({})).expect("a name"), "calls-v1-planet-call-exporter");
    let cut = format!("{}.{}", "a".repeat(51), "b");
    assert_eq!(name(&cut, json!({})).expect("a name"), "a".repeat(51));
    let error = name("1calls", json!({})).expect_err("a digit");
    assert!(error.contains("set fullnameOverride"), "{error}");
    assert_eq!(name("1calls", json!({"fullnameOverride": "calls"})).expect("a name"), "calls");
}

#[test]
fn the_notes_say_what_is_so() {
    let notes = |values: Value| charts::render(&charts::gateway(), &values).notes;
    let route = |hostnames: Value| json!({"httpRoute": {"enabled": true, "parentRefs": [{"name": "public"}], "hostnames": hostnames}});
    assert!(notes(route(json!([]))).contains("https://HOSTNAME-OF-THE-GATEWAY/call_event"));
    assert!(notes(route(json!(["calls.example.com"]))).contains("https://calls.example.com/call_event"));

    let monitored = |labels: Value| notes(json!({"serviceMonitor": {"enabled": true, "labels": labels}}));
    assert!(monitored(json!({})).contains("serviceMonitor.labels.release=NAME"));
    assert!(!monitored(json!({"release": "stack"})).contains("release=NAME"));

    let ingress = |path: &str| {
        notes(json!({"ingress": {"enabled": true, "hosts": ["calls.example.com"], "path": path}}))
    };
    let does_not_arrive = "which does not lead /call_event here";
    for (path, leads) in [("", true), ("/", true), ("/call_event", true), ("/other", false), ("/call", false)]
    {
        assert_eq!(!ingress(path).contains(does_not_arrive), leads, "{path}");
    }
}
