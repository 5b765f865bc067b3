//! The promise: what people write in the charts' values does what it says, or is refused with what to change.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use support::Scratch;
use support::charts::{self, path};
use support::exporter::command;

fn of_kind(objects: &[Value], kind: &str) -> Value {
    objects.iter().find(|object| object["kind"] == kind).unwrap_or_else(|| panic!("a {kind}")).clone()
}

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
        let values = charts::objects(&values).remove(0);
        let is_block = |(name, value): (&String, &Value)| value.is_object().then(|| name.clone());
        values.as_object().expect("blocks").iter().filter_map(is_block).collect::<Vec<_>>()
    };
    let empty = |name: &str| Value::Object([(name.to_owned(), Value::Null)].into_iter().collect());
    let of_gateway = blocks("helm/planet-call-exporter").into_iter().map(|name| (empty(&name), name));
    let of_exporter = blocks("helm/planet-call-exporter-sidecar").into_iter();
    let of_exporter = of_exporter.map(|name| (json!({"exporter": empty(&name)}), name));
    let values: Vec<_> = of_gateway.chain(of_exporter).collect();
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

/// A package that was made without following the links.
#[test]
fn rules_and_dashboards_that_are_missing_are_said() {
    let scratch = Scratch::new("without-links");
    let chart = parent(&scratch, "").join("charts/planet-call-exporter");
    fs::remove_dir_all(chart.join("files")).expect("removed");
    for values in [json!({"prometheusRule": {"enabled": true}}), json!({"dashboards": {"enabled": true}})] {
        let error =
            charts::render_all([(&chart, &values)]).remove(0).expect_err("nothing would be installed");
        assert!(error.contains("files/") && error.contains("links"), "{error}");
    }
}

/// Values that the program would not start with, or not as they look.
#[test]
fn what_the_program_refuses_the_chart_refuses() {
    let chart = charts::gateway();
    let of_flag = |name: &str, value: Value| {
        let mut flags = json!({});
        flags[name] = value;
        json!({"flags": flags})
    };
    let wrong = [
        (of_flag("stateMaxBytes", json!("1")), "/flags/stateMaxBytes", "--state-max-bytes=1"),
        (of_flag("stateMaxBytes", json!("1023KiB")), "/flags/stateMaxBytes", "--state-max-bytes=1023KiB"),
        (of_flag("maxUriBytes", json!("1TiB")), "/flags/maxUriBytes", "--max-uri-bytes=1TiB"),
        (of_flag("maxUriBytes", json!("64KiB")), "/flags/maxUriBytes", "--max-uri-bytes=64KiB"),
        (of_flag("logLevel", json!("lots")), "/flags/logLevel", "--log-level=lots"),
        (of_flag("logLevel", json!("info,lots")), "/flags/logLevel", "--log-level=info,lots"),
        (
            of_flag("durationBuckets", json!([5, 1])),
            "flags.durationBuckets has 1 after 5",
            "--duration-buckets=5,1",
        ),
        (of_flag("setupBuckets", json!([1, 1])), "flags.setupBuckets has 1 after 1", "--setup-buckets=1,1"),
        (of_flag("callEventPath", json!("/한글")), "/flags/callEventPath", "--call-event-path=/한글"),
        (json!({"listenAddress": "999.1.1.1"}), "/listenAddress", "--listen=999.1.1.1:20200"),
        (
            of_flag("forwardTo", json!("http://127.0.0.1:20200")),
            "which is the exporter itself",
            "--forward-to=http://127.0.0.1:20200",
        ),
        (
            of_flag("forwardTo", json!("http://localhost:9464")),
            "which is the exporter itself",
            "--forward-to=http://localhost:9464",
        ),
        (
            json!({"extraArgs": ["--max-connections=9"]}),
            "extraArgs has --max-connections",
            "--max-connections=1 --max-connections=2",
        ),
        (json!({"ports": {"callEvents": 9464}}), "are both 9464", "--listen=:9464"),
    ];
    let values: Vec<_> = wrong.iter().map(|(exporter, ..)| json!({"exporter": exporter})).collect();
    for (rendered, (values, expected, arguments)) in
        charts::render_all(values.iter().map(|values| (&chart, values))).into_iter().zip(&wrong)
    {
        let error = rendered.map(|_| ()).expect_err(&values.to_string());
        assert!(error.contains(expected), "{values}: {error}");
        let checked = command().arg("check").args(arguments.split(' ')).output().expect("it runs");
        assert!(!checked.status.success(), "{arguments}: the program takes it");
    }
    let right = [
        of_flag("stateMaxBytes", json!("1MiB")),
        of_flag("stateMaxBytes", json!(1_048_576)),
        of_flag("maxUriBytes", json!("63KiB")),
        of_flag("logLevel", json!("info,planet_call_exporter=debug")),
        of_flag("durationBuckets", json!([0.5, 1, 5])),
        of_flag("callEventPath", json!("/a/b?x=1")),
        of_flag("idcs", json!([])),
        json!({"listenAddress": "0.0.0.0"}),
        json!({"listenAddress": "[::]"}),
        json!({"extraArgs": ["--call-log=off"]}),
    ];
    let values: Vec<_> = right.iter().map(|exporter| json!({"exporter": exporter})).collect();
    for (rendered, values) in
        charts::render_all(values.iter().map(|values| (&chart, values))).into_iter().zip(&right)
    {
        let rendered = rendered.unwrap_or_else(|error| panic!("{values}: {error}"));
        let container =
            of_kind(&rendered.objects, "StatefulSet")["spec"]["template"]["spec"]["containers"][0].clone();
        let scratch = Scratch::new("chart-values");
        let arguments = container["args"].as_array().expect("arguments").iter().map(|argument| {
            let argument = argument.as_str().expect("text");
            let state = scratch.0.join("state");
            let argument = argument.replace("/var/lib/planet-call-exporter", &state.to_string_lossy());
            argument.replace(":20200", ":0").replace(":9464", ":0")
        });
        let checked = command().arg("check").args(arguments).output().expect("it runs");
        assert!(checked.status.success(), "{values}: {}", String::from_utf8_lossy(&checked.stderr));
    }
}

/// Values that a cluster would refuse, or that would do nothing there.
#[test]
fn what_a_cluster_has_no_use_for_is_refused() {
    let chart = charts::gateway();
    let wrong = [
        (json!({"fullnameOverride": "1calls"}), "/fullnameOverride"),
        (json!({"terminationGracePeriodSeconds": 5}), "would be killed before it is told to end"),
        (json!({"service": {"port": 9464}}), "service.port and exporter.ports.metrics are both 9464"),
        (
            json!({"autoscaling": {"enabled": true, "minReplicas": 5}}),
            "expected a maximum that is not below the minimum",
        ),
        (
            json!({"autoscaling": {"enabled": true}, "exporter": {"resources": {"requests": {"cpu": null}}}}),
            "needs exporter.resources.requests.cpu",
        ),
        (json!({"exporter": {"listenAddress": "127.0.0.1"}}), "neither probes nor the service reach the pod"),
        (
            json!({"exporter": {"extraEnv": [{"name": "OTEL_METRIC_EXPORT_INTERVAL", "value": "30s"}]}}),
            "/extraEnv/0/value",
        ),
    ];
    for (rendered, (values, expected)) in
        charts::render_all(wrong.iter().map(|(values, _)| (&chart, values))).into_iter().zip(&wrong)
    {
        let error = rendered.map(|_| ()).expect_err(&values.to_string());
        assert!(error.contains(expected), "{values}: {error}");
    }
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
