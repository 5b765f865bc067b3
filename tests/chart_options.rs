//! The promise: each of the charts' options renders to what Kubernetes calls so, and to something that Kubernetes takes.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};
use support::charts::{self, NAMESPACE, Rendered, of_kind};
use support::service::{Answer, Service};

fn gateway(values: &Value) -> Rendered {
    charts::render(&charts::gateway(), values)
}

/// The options that are passed on: values, the kind of object, where it is in there, and what is there.
#[test]
fn options_render_to_what_kubernetes_calls_so() {
    let pod = "/spec/template/spec";
    let of_pod = |name: &str, value: Value| {
        let mut values = json!({});
        values[name] = value.clone();
        (values, "StatefulSet", format!("{pod}/{name}"), value)
    };
    let of_service = |kind: &str, name: &str, value: Value| {
        let mut values = json!({"service": {"type": kind}});
        values["service"][name] = value.clone();
        (values, "Service", format!("/spec/{name}"), value)
    };
    let of_workload = |name: &str, value: Value| {
        let mut values = json!({"workload": {}});
        values["workload"][name] = value.clone();
        (values, "StatefulSet", format!("/spec/{name}"), value)
    };
    let container = json!({"name": "proxy", "image": "registry.example.com/proxy:1", "args": ["--verbose"]});
    let mut deployment = json!({"kind": "Deployment"});
    deployment["strategy"] = json!({"rollingUpdate": {"maxSurge": 2}, "type": "RollingUpdate"});
    let claim = |class: Value| json!({"exporter": {"state": {"claimTemplate": {"storageClassName": class}}}});
    let class = "/spec/volumeClaimTemplates/0/spec/storageClassName".to_owned();
    let monitor = |name: &str, value: Value| {
        let mut values = json!({"serviceMonitor": {"enabled": true}});
        values["serviceMonitor"][name] = value;
        values
    };
    let options = [
        of_pod("priorityClassName", json!("important")),
        of_pod("runtimeClassName", json!("gvisor")),
        of_pod("schedulerName", json!("own")),
        of_pod("dnsPolicy", json!("Default")),
        of_pod(
            "dnsConfig",
            json!({"nameservers": ["10.0.0.10"], "options": [{"name": "ndots", "value": "1"}]}),
        ),
        of_pod("hostAliases", json!([{"ip": "10.0.0.1", "hostnames": ["voice.example.com"]}])),
        (
            json!({"extraInitContainers": [container]}),
            "StatefulSet",
            format!("{pod}/initContainers"),
            json!([container]),
        ),
        (
            json!({"extraContainers": [container]}),
            "StatefulSet",
            format!("{pod}/containers/1"),
            container.clone(),
        ),
        of_workload("revisionHistoryLimit", json!(0)),
        of_workload("updateStrategy", json!({"type": "OnDelete"})),
        (
            json!({"workload": deployment, "exporter": {"state": {"claimTemplate": {"enabled": false}}}}),
            "Deployment",
            "/spec/strategy".to_owned(),
            deployment["strategy"].clone(),
        ),
        (claim(json!("")), "StatefulSet", class.clone(), json!("")),
        (claim(json!("fast")), "StatefulSet", class, json!("fast")),
        of_service("ClusterIP", "clusterIP", json!("None")),
        of_service("ClusterIP", "ipFamilyPolicy", json!("PreferDualStack")),
        of_service("ClusterIP", "ipFamilies", json!(["IPv6", "IPv4"])),
        of_service("ClusterIP", "trafficDistribution", json!("PreferClose")),
        of_service("LoadBalancer", "externalTrafficPolicy", json!("Local")),
        of_service("LoadBalancer", "loadBalancerClass", json!("example.com/internal")),
        of_service("LoadBalancer", "loadBalancerSourceRanges", json!(["203.0.113.0/24"])),
        (
            json!({"service": {"type": "NodePort", "nodePort": 30200}}),
            "Service",
            "/spec/ports/0/nodePort".to_owned(),
            json!(30200),
        ),
        (
            json!({"service": {"labels": {"team": "voice"}}}),
            "Service",
            "/metadata/labels/team".to_owned(),
            json!("voice"),
        ),
        (
            monitor("sampleLimit", json!(50_000)),
            "ServiceMonitor",
            "/spec/sampleLimit".to_owned(),
            json!(50_000),
        ),
        (monitor("jobLabel", json!("team")), "ServiceMonitor", "/spec/jobLabel".to_owned(), json!("team")),
        (
            monitor("annotations", json!({"a": "b"})),
            "ServiceMonitor",
            "/metadata/annotations".to_owned(),
            json!({"a": "b"}),
        ),
        (
            monitor("namespace", json!("monitoring")),
            "ServiceMonitor",
            "/metadata/namespace".to_owned(),
            json!("monitoring"),
        ),
        (
            monitor("namespace", json!("monitoring")),
            "ServiceMonitor",
            "/spec/namespaceSelector/matchNames".to_owned(),
            json!([NAMESPACE]),
        ),
        (
            json!({"global": {"imagePullSecrets": ["one", {"name": "two"}]}, "imagePullSecrets": [{"name": "two"}]}),
            "StatefulSet",
            format!("{pod}/imagePullSecrets"),
            json!([{"name": "two"}, {"name": "one"}]),
        ),
        // The pod of the test pulls the same image.
        (
            json!({"global": {"imagePullSecrets": ["one", {"name": "two"}]}, "imagePullSecrets": [{"name": "two"}]}),
            "Pod",
            "/spec/imagePullSecrets".to_owned(),
            json!([{"name": "two"}, {"name": "one"}]),
        ),
    ];
    let chart = charts::gateway();
    let rendered = charts::render_all(options.iter().map(|(values, ..)| (&chart, values)));
    let (mut monitors, mut others) = (Vec::new(), Vec::new());
    for (rendered, (values, kind, place, expected)) in rendered.into_iter().zip(&options) {
        let rendered = rendered.unwrap_or_else(|error| panic!("{values}: {error}"));
        let object = of_kind(&rendered.objects, kind);
        assert_eq!(object.pointer(place), Some(expected), "{values}");
        match *kind {
            "ServiceMonitor" => monitors.push(object),
            _ => others.push(object),
        }
    }
    assert_eq!(charts::validate(&others, &["1.37"]), Vec::<String>::new());
    charts::validate_custom_resources(&monitors).expect("valid monitors");
    // What nobody asked for is not there.
    let defaults = gateway(&json!({}));
    let set = of_kind(&defaults.objects, "StatefulSet");
    for absent in ["/spec/revisionHistoryLimit", "/spec/updateStrategy", "/spec/template/spec/dnsPolicy"] {
        assert_eq!(set.pointer(absent), None, "{absent}");
    }
    assert_eq!(set.pointer("/spec/volumeClaimTemplates/0/spec/storageClassName"), None);
}

/// Lists that the API server takes as a whole have its defaults in them: an apply would otherwise conflict with an install.
#[test]
fn what_the_server_would_fill_in_is_spelled_out() {
    let objects = gateway(&json!({
        "exporter": {"extraEnv": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]},
        "networkPolicy": {"enabled": true, "egress": [{"ports": [{"port": 443}, {"port": 53, "protocol": "UDP"}]}]},
    }))
    .objects;
    let set = of_kind(&objects, "StatefulSet");
    let variables = set["spec"]["template"]["spec"]["containers"][0]["env"].as_array().expect("variables");
    let field = json!({"apiVersion": "v1", "fieldPath": "spec.nodeName"});
    assert!(variables.iter().any(|variable| variable["valueFrom"]["fieldRef"] == field), "{variables:?}");
    let claim = &set["spec"]["volumeClaimTemplates"][0];
    assert_eq!(
        (&claim["spec"]["volumeMode"], &claim["status"]),
        (&json!("Filesystem"), &json!({"phase": "Pending"}))
    );
    let ports = of_kind(&objects, "NetworkPolicy")["spec"]["egress"][0]["ports"].clone();
    assert_eq!(ports, json!([{"port": 443, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}]));
}

#[test]
fn common_labels_are_on_every_object_and_on_the_pods() {
    let values = json!({
        "commonLabels": {"team": "voice", "tier": "edge"},
        "podLabels": {"tier": "pod"},
        "serviceMonitor": {"enabled": true},
        "networkPolicy": {"enabled": true},
        "podDisruptionBudget": {"enabled": true},
        "prometheusRule": {"enabled": true},
        "dashboards": {"enabled": true},
        "ingress": {"enabled": true, "hosts": ["calls.example.com"]},
    });
    let objects = gateway(&values).objects;
    assert!(objects.len() > 8);
    for object in &objects {
        assert_eq!(object["metadata"]["labels"]["team"], "voice", "{object}");
    }
    let set = of_kind(&objects, "StatefulSet");
    let pods = &set["spec"]["template"]["metadata"]["labels"];
    assert_eq!((&pods["team"], &pods["tier"]), (&json!("voice"), &json!("pod")));
    // They may change, and selectors may not.
    assert_eq!(set["spec"]["selector"]["matchLabels"]["team"], Value::Null);
}

#[test]
fn another_namespace_is_that_of_every_object() {
    let rendered = gateway(&json!({"namespaceOverride": "calls", "podMonitor": {"enabled": true}}));
    for object in &rendered.objects {
        assert_eq!(object["metadata"]["namespace"], "calls", "{object}");
    }
    assert!(rendered.notes.contains("kubectl -n calls"), "{}", rendered.notes);
}

/// Clients of a headless service connect to the pods, whose port is another.
#[test]
fn notes_of_a_headless_service_have_the_port_of_the_pods() {
    let notes = gateway(&json!({"service": {"clusterIP": "None"}})).notes;
    assert!(notes.contains("live-planet-call-exporter.voice:20200/call_event"), "{notes}");
}

#[test]
fn more_objects_may_be_yaml_or_text_with_templates() {
    let text = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: '{{ .Release.Name }}-text'";
    let yaml = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "{{ include \"planet-call-exporter.fullname\" . }}-yaml"},
    });
    let objects = gateway(&json!({"extraManifests": [text, yaml]})).objects;
    assert_eq!(of_kind(&objects, "ConfigMap")["metadata"]["name"], "live-text");
    assert_eq!(of_kind(&objects, "Secret")["metadata"]["name"], "live-planet-call-exporter-yaml");
}

#[test]
fn the_registry_of_all_charts_takes_the_place_of_the_repositorys_own() {
    for (repository, expected) in [
        ("planet-call-exporter", "mirror.example.com/planet-call-exporter:0.2.0"),
        ("voice/planet-call-exporter", "mirror.example.com/voice/planet-call-exporter:0.2.0"),
        ("registry.example.com:5000/voice/exporter", "mirror.example.com/voice/exporter:0.2.0"),
        ("localhost/exporter", "mirror.example.com/exporter:0.2.0"),
    ] {
        let values = json!({
            "global": {"imageRegistry": "mirror.example.com"},
            "exporter": {"image": {"repository": repository}},
        });
        let set = of_kind(&gateway(&values).objects, "StatefulSet");
        assert_eq!(set["spec"]["template"]["spec"]["containers"][0]["image"], expected);
    }
}

#[test]
fn probes_can_be_switched_off() {
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let mut exporter = json!({});
        exporter[probe] = json!({"enabled": false});
        let set = of_kind(&gateway(&json!({ "exporter": exporter })).objects, "StatefulSet");
        let container = &set["spec"]["template"]["spec"]["containers"][0];
        for other in ["startupProbe", "livenessProbe", "readinessProbe"] {
            assert_eq!(container[other].is_object(), other != probe, "{other}");
            assert_eq!(container[other]["enabled"], Value::Null);
        }
    }
}

/// Those that are re-read need no new pods.
#[test]
fn a_changed_secret_replaces_the_pods_if_that_is_asked_for() {
    let version = Arc::new(AtomicU64::new(1));
    let api_server = Service::start();
    let of_server = Arc::clone(&version);
    api_server.answer(move |request| {
        let version = of_server.load(Ordering::Relaxed).to_string();
        let path = request.target.split('?').next().unwrap_or_default();
        let body = match path.strip_prefix("/api/v1/namespaces/voice/secrets/") {
            Some(name) if ["identity", "collector", "more"].contains(&name) => json!({
                "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "resourceVersion": version},
            }),
            None if path == "/api/v1" => json!({
                "kind": "APIResourceList",
                "groupVersion": "v1",
                "resources": [{"name": "secrets", "namespaced": true, "kind": "Secret", "verbs": ["get"]}],
            }),
            _ => return Answer::status(404),
        };
        Answer::Send(200, "content-type: application/json\r\n", body.to_string().into_bytes())
    });
    let exporter = |asked: bool| {
        json!({
            "rollOutOnSecretChange": asked,
            "flags": {"identity": "hash"},
            "identityKeySecret": {"name": "identity"},
            "callEventSecret": {"name": "callback"},
            "otlp": {"endpoint": "http://collector:4318", "headersSecret": {"name": "collector"}},
            "extraEnvFrom": [{"secretRef": {"name": "more"}}, {"secretRef": {"name": "absent", "optional": true}}],
        })
    };
    let looked_up =
        || api_server.requests().iter().filter(|request| request.target.contains("/secrets/")).count();
    let checksum = |chart: &Path, values: Value| {
        let rendered = charts::render_with_cluster(chart, &values, &api_server.url()).expect("it renders");
        let workload =
            rendered.iter().find(|object| object["spec"]["template"].is_object()).expect("a workload");
        workload["spec"]["template"]["metadata"]["annotations"]["checksum/secrets"].clone()
    };
    assert_eq!(checksum(&charts::gateway(), json!({"exporter": exporter(false)})), Value::Null);
    assert_eq!(looked_up(), 0);
    for (chart, values) in [
        (charts::gateway(), json!({"exporter": exporter(true)})),
        (charts::example(), json!({"callExporter": exporter(true)})),
    ] {
        let before = checksum(&chart, values.clone());
        assert_eq!(before.as_str().map(str::len), Some(64), "{before}");
        assert_eq!(checksum(&chart, values.clone()), before);
        version.fetch_add(1, Ordering::Relaxed);
        assert_ne!(checksum(&chart, values), before);
    }
    checksum(&charts::gateway(), json!({"namespaceOverride": "calls", "exporter": exporter(true)}));
    let elsewhere = "/api/v1/namespaces/calls/secrets/identity";
    assert!(api_server.requests().iter().any(|request| request.target == elsewhere));
}

/// There, each namespace has its own range of users.
#[test]
fn openshift_chooses_users_and_groups() {
    let set = of_kind(&gateway(&json!({"exporter": {"openshift": true}})).objects, "StatefulSet");
    let pod = &set["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["fsGroup"], Value::Null);
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!((&container["runAsUser"], &container["runAsGroup"]), (&Value::Null, &Value::Null));
    assert_eq!(
        (&container["runAsNonRoot"], &pod["securityContext"]["runAsNonRoot"]),
        (&json!(true), &json!(true))
    );
}

#[test]
fn alerts_have_the_severities_and_labels_that_are_asked_for() {
    let severities = |values: Value| {
        let mut values = json!({ "prometheusRule": values });
        values["prometheusRule"]["enabled"] = json!(true);
        let rule = of_kind(&gateway(&values).objects, "PrometheusRule");
        let groups = rule["spec"]["groups"].as_array().expect("groups").clone();
        let rules = groups.into_iter().flat_map(|group| group["rules"].as_array().expect("rules").clone());
        let alerts = rules.filter(|rule| rule["alert"].is_string());
        let mut found: Vec<_> = alerts
            .map(|alert| alert["labels"]["severity"].as_str().expect("a severity").to_owned())
            .collect();
        found.sort();
        found.dedup();
        found
    };
    assert_eq!(severities(json!({})), ["page", "ticket"]);
    assert_eq!(severities(json!({"severities": {"page": "critical"}})), ["critical", "ticket"]);
    assert_eq!(severities(json!({"alertLabels": {"severity": "info"}})), ["info"]);
}

/// What the Pod Security Standard asks for, of every container.
#[test]
fn the_example_is_what_restricted_takes() {
    let rendered = charts::render(&charts::example(), &json!({"job": {"enabled": true}}));
    for kind in ["Deployment", "Job"] {
        let pod = of_kind(&rendered.objects, kind)["spec"]["template"]["spec"].clone();
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        let containers =
            pod["initContainers"].as_array().into_iter().chain(pod["containers"].as_array()).flatten();
        for container in containers {
            let security = &container["securityContext"];
            assert_eq!(security["allowPrivilegeEscalation"], false, "{container}");
            assert_eq!(security["capabilities"]["drop"], json!(["ALL"]), "{container}");
            assert!(container["resources"]["limits"]["memory"].is_string(), "{container}");
        }
    }
    let error = charts::render_all([(
        &charts::example(),
        &json!({"job": {"enabled": true}, "callExporter": {"nativeSidecar": false}}),
    )])
    .remove(0)
    .map(|_| ())
    .expect_err("it would never be complete");
    assert!(error.contains("a job needs a native sidecar"), "{error}");
}
