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

/// What people write elsewhere in Kubernetes.
#[test]
fn usual_values_are_taken() {
    let of_exporter = |values: Value| json!({ "exporter": values });
    let usual = [
        of_exporter(json!({"extraVolumes": [
            {"name": "a", "csi": {"driver": "secrets-store.csi.k8s.io", "readOnly": true, "volumeAttributes": {"secretProviderClass": "voice"}}},
            {"name": "b", "projected": {"defaultMode": 288, "sources": [
                {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600, "audience": "vault"}},
                {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            ]}},
            {"name": "c", "secret": {"secretName": "c", "defaultMode": 256, "items": [{"key": "a", "path": "b"}]}},
            {"name": "d", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
            {"name": "e", "hostPath": {"path": "/etc/ssl", "type": "Directory"}},
            {"name": "f", "nfs": {"server": "10.0.0.1", "path": "/"}},
        ]})),
        of_exporter(
            json!({"extraVolumeMounts": [{"name": "a", "mountPath": "/a", "subPath": "b", "readOnly": true}]}),
        ),
        of_exporter(json!({"extraEnv": [
            {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "b", "optional": true}}},
            {"name": "B", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "C", "valueFrom": {"secretKeyRef": {"name": "a", "key": "b"}}},
        ]})),
        of_exporter(json!({"extraEnvFrom": [{"prefix": "A_", "configMapRef": {"name": "a"}}]})),
        of_exporter(json!({"resources": {
            "requests": {"cpu": 0.25, "memory": "1.5Gi", "ephemeral-storage": "3Gi", "example.com/device": 1},
            "limits": {"cpu": "1500m", "memory": "2Gi", "ephemeral-storage": "4Gi", "example.com/device": 1},
        }})),
        of_exporter(json!({"resources": {"limits": null, "requests": null}})),
        of_exporter(
            json!({"image": {"repository": "1234.dkr.ecr.eu-west-1.amazonaws.com/voice/planet__call-exporter.v2", "tag": "0.2.0-rc.1"}}),
        ),
        of_exporter(json!({"image": {"repository": "localhost:5000/exporter"}})),
        of_exporter(
            json!({"securityContext": {"seccompProfile": {"type": "Localhost", "localhostProfile": "a.json"}}}),
        ),
        json!({"affinity": {
            "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100, "podAffinityTerm": {
                "topologyKey": "topology.kubernetes.io/zone",
                "labelSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": ["a"]}]},
            }}]},
            "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
                {"matchExpressions": [{"key": "karpenter.sh/capacity-type", "operator": "NotIn", "values": ["spot"]}]},
            ]}},
        }}),
        json!({"tolerations": [
            {"key": "a", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            {"operator": "Exists"},
        ]}),
        json!({"podSecurityContext": {"supplementalGroups": [1000], "seLinuxOptions": {"level": "s0:c123,c456"}, "sysctls": [{"name": "net.ipv4.ip_local_port_range", "value": "1024 65535"}]}}),
        json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "minDomains": 2, "nodeTaintsPolicy": "Honor", "matchLabelKeys": ["pod-template-hash"]}]}),
        json!({"networkPolicy": {"enabled": true,
            "callEventsFrom": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}, {"ipBlock": {"cidr": "2001:db8::/32"}}],
            "metricsFrom": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}}}],
            "egress": [{"ports": [{"port": 32000, "endPort": 32768, "protocol": "TCP"}, {"port": "dns", "protocol": "UDP"}]}, {"to": [{"podSelector": {}}]}],
        }}),
        json!({"autoscaling": {"enabled": true, "behavior": {"scaleUp": {"selectPolicy": "Max", "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}}}}),
        json!({"podDisruptionBudget": {"enabled": true, "maxUnavailable": "100%"}}),
        json!({"ingress": {"enabled": true, "hosts": ["calls.xn--3e0b707e", "*.example.com", "localhost"], "path": "/voice/"}}),
        json!({"podLabels": {"example.com/team": "voice_of.KR-1", "empty": ""}, "podAnnotations": {"example.com/a": "any text: at all"}}),
        json!({"nodeSelector": {"kubernetes.io/os": "linux", "node-role.kubernetes.io/edge": ""}}),
        json!({"service": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["203.0.113.7/32", "::/0"]}}),
        json!({"global": {"storageClass": "own", "imageRegistry": ""}}),
        json!({"global": null}),
    ];
    let chart = charts::gateway();
    let mut objects = Vec::new();
    for (rendered, values) in
        charts::render_all(usual.iter().map(|values| (&chart, values))).into_iter().zip(&usual)
    {
        let rendered = rendered.unwrap_or_else(|error| panic!("{values}: {error}"));
        let is_touched = |object: &Value| object["kind"] != "ServiceAccount" && object["kind"] != "Service";
        objects.extend(rendered.objects.into_iter().filter(is_touched));
    }
    assert_eq!(charts::validate(&objects, &["1.37"]), Vec::<String>::new());

    let of_operator = json!({
        "serviceMonitor": {
            "enabled": true,
            "interval": "1m30s",
            "scrapeTimeout": "90s",
            "relabelings": [{"action": "hashmod", "sourceLabels": ["__address__"], "modulus": 4, "targetLabel": "__tmp_hash"}],
            "metricRelabelings": [{"action": "drop", "sourceLabels": ["__name__"], "regex": "planet_call_duration_.*"}],
            "authorization": {"type": "Bearer", "credentials": {"name": "a", "key": "b"}},
            "tlsConfig": {"caFile": "/etc/ca.crt", "minVersion": "TLS12"},
        },
        "httpRoute": {"enabled": true, "parentRefs": [{"group": "", "kind": "Service", "name": "voice", "port": 80}]},
    });
    let mut custom = charts::render(&chart, &of_operator).objects;
    custom.retain(|object| object["kind"] == "ServiceMonitor" || object["kind"] == "HTTPRoute");
    charts::validate_custom_resources(&custom).expect("valid custom resources");
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
