//! The promise: values that the program would die on, or that a cluster would refuse or overlook, are refused by the
//! charts, with what to change.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs;

use serde_json::{Value, json};
use support::Scratch;
use support::charts::{self, of_kind, path};
use support::exporter::command;

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
    let of_exporter = |values: Value| json!({ "exporter": values });
    let of_flags = |flags: Value| json!({"exporter": {"flags": flags}});
    let limits = |limits: Value| json!({"resources": {"limits": limits}});
    let env = |names: &[&str]| {
        let variables = names.iter().map(|name| json!({"name": name, "value": "1"}));
        json!({"exporter": {"extraEnv": variables.collect::<Vec<_>>()}})
    };
    let wrong = [
        (json!({"fullnameOverride": "1calls"}), "/fullnameOverride"),
        (json!({"terminationGracePeriodSeconds": 5}), "would be killed before it is told to end"),
        (json!({"service": {"port": 9464}}), "service.port and exporter.ports.metrics are both 9464"),
        (
            json!({"autoscaling": {"enabled": true}, "verticalPodAutoscaler": {"enabled": true, "updateMode": "Recreate"}}),
            "verticalPodAutoscaler.updateMode Recreate: both would act on CPU",
        ),
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
        (json!({"nameOverride": "a.b"}), "/nameOverride"),
        (of_exporter(json!({"livenessProbe": {"successThreshold": 2}})), "/livenessProbe/successThreshold"),
        (json!({"podLabels": {"team": "voice of KR"}}), "/podLabels/team"),
        (json!({"podLabels": {"the team": "voice"}}), "invalid propertyName 'the team'"),
        (
            json!({"podLabels": {"app.kubernetes.io/name": "calls"}}),
            "podLabels has app.kubernetes.io/name, which the chart sets",
        ),
        (json!({"commonLabels": {"helm.sh/chart": "a"}}), "commonLabels has helm.sh/chart"),
        (of_exporter(limits(json!({"memory": "lots"}))), "/resources/limits/memory"),
        (of_exporter(limits(json!({"memory": "512MB"}))), "/resources/limits/memory"),
        (of_exporter(limits(json!({"memory": "512m"}))), "/resources/limits/memory"),
        (of_exporter(limits(json!({"cpu": "0"}))), "/resources/limits/cpu"),
        (
            of_exporter(json!({"resources": {"requests": {"memory": "1Gi"}}})),
            "resources.requests.memory is 1Gi and resources.limits.memory 512Mi",
        ),
        (
            of_exporter(json!({"resources": {"requests": {"cpu": 2}, "limits": {"cpu": "500m"}}})),
            "resources.requests.cpu is 2 and resources.limits.cpu 500m",
        ),
        (
            of_flags(json!({"maxConnections": 4096})),
            "resources.limits.memory is 512Mi, and the flags allow 794 MiB",
        ),
        (
            of_flags(json!({"stateMaxBytes": "4GiB"})),
            "state.claimTemplate.size is 2Gi, and the state takes up to 4128 MiB",
        ),
        (
            of_exporter(
                json!({"state": {"claimTemplate": {"enabled": false}, "emptyDir": {"sizeLimit": "1Gi"}}}),
            ),
            "state.emptyDir.sizeLimit is 1Gi, and the state takes up to 1056 MiB",
        ),
        (
            of_exporter(
                json!({"state": {"claimTemplate": {"enabled": false}, "emptyDir": {"medium": "Memory"}}}),
            ),
            "resources.limits.memory is 512Mi, and the flags allow 1318 MiB",
        ),
        (of_exporter(json!({"state": {"claimTemplate": {"size": "0"}}})), "/state/claimTemplate/size"),
        (of_exporter(json!({"state": {"claimTemplate": {"size": "0.0Gi"}}})), "/state/claimTemplate/size"),
        (
            of_exporter(
                json!({"state": {"claimTemplate": {"accessModes": ["ReadWriteOncePod", "ReadWriteOnce"]}}}),
            ),
            "ReadWriteOncePod has to be the only one",
        ),
        (
            of_exporter(json!({"image": {"repository": "registry.example.com/Voice/exporter"}})),
            "/image/repository",
        ),
        (
            env(&["PLANET_WORKER_THREADS"]),
            "extraEnv has PLANET_WORKER_THREADS, and the argument --worker-threads",
        ),
        (env(&["A", "A"]), "extraEnv has A, which is there already"),
        (env(&["PLANET_LISTEN"]), "extraEnv has PLANET_LISTEN, and the argument --listen"),
        (json!({"ingress": {"hosts": ["a..b"]}}), "/ingress/hosts/0"),
        (json!({"ingress": {"hosts": ["10.0.0.1"]}}), "/ingress/hosts/0"),
        (json!({"ingress": {"path": "/a//b"}}), "/ingress/path"),
        (json!({"httpRoute": {"path": "/a//b"}}), "/httpRoute/path"),
        (
            json!({"networkPolicy": {"callEventsFrom": [{"ipBlock": {"cidr": "10.0.0.0"}}]}}),
            "/networkPolicy/callEventsFrom/0/ipBlock/cidr",
        ),
        (
            json!({"networkPolicy": {"egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.0.0.0/33"]}}]}]}}),
            "/networkPolicy/egress/0/to/0/ipBlock/except/0",
        ),
        (
            json!({"service": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["10.0.0.256/8"]}}),
            "/service/loadBalancerSourceRanges/0",
        ),
        (json!({"serviceMonitor": {"interval": "30s1m"}}), "/serviceMonitor/interval"),
        (
            json!({"podMonitor": {"interval": "1m", "scrapeTimeout": "1m30s"}}),
            "podMonitor.scrapeTimeout is 1m30s and interval 1m",
        ),
        (json!({"podDisruptionBudget": {"maxUnavailable": "200%"}}), "/podDisruptionBudget/maxUnavailable"),
        (
            json!({"service": {"type": "NodePort", "clusterIP": "None"}}),
            "only a service of the type ClusterIP",
        ),
        (json!({"service": {"loadBalancerSourceRanges": ["10.0.0.0/8"]}}), "it is for the type LoadBalancer"),
        (
            json!({"service": {"externalTrafficPolicy": "Local"}}),
            "it is for the types NodePort and LoadBalancer",
        ),
        (json!({"workload": {"strategy": {"type": "Recreate"}}}), "set workload.updateStrategy"),
        (json!({"workload": {"updateStrategy": {"type": "Recreate"}}}), "/workload/updateStrategy/type"),
        (json!({"dnsPolicy": "None"}), "name the servers to ask"),
        (
            json!({"podSecurityContext": {"seccompProfile": {"type": "runtime/default"}}}),
            "/seccompProfile/type",
        ),
        (json!({"tolerations": [{"effect": "NoSchedul"}]}), "/tolerations/0/effect"),
        (
            json!({
                "workload": {"kind": "Deployment", "strategy": {"type": "RollingUpdate"}},
                "exporter": {"state": {"existingClaim": "a", "claimTemplate": {"enabled": false}}},
            }),
            "workload.strategy has another type than Recreate",
        ),
    ];
    for (rendered, (values, expected)) in
        charts::render_all(wrong.iter().map(|(values, _)| (&chart, values))).into_iter().zip(&wrong)
    {
        let error = rendered.map(|_| ()).expect_err(&values.to_string());
        assert!(error.contains(expected), "{values}: {error}");
    }
}

/// The chart adds up what docs/operations.md has in a table.
#[test]
fn the_memory_that_a_limit_has_to_have_is_that_of_the_documentation() {
    let page = fs::read_to_string(path("docs/operations.md")).expect("a page");
    let sentence = page.split_once("With the defaults and a state directory that is ").expect("the sum").1;
    let numbers: Vec<_> = sentence.split(" MiB").take(3).collect();
    let number = |text: &str| text.rsplit(' ').next().expect("a number").parse::<u32>().expect("a number");
    let (alone, forwarding, in_memory) = (number(numbers[0]), number(numbers[1]), number(numbers[2]));
    let refused = |flags: Value, state: bool| {
        let mut exporter = json!({
            "flags": flags,
            "state": {"enabled": state},
            "resources": {"requests": {"memory": "1Mi"}, "limits": {"memory": "1Mi"}},
        });
        exporter["flags"]["maxConnections"] = json!(1024);
        charts::render_all([(&charts::gateway(), &json!({ "exporter": exporter }))])
            .remove(0)
            .map(|_| ())
            .expect_err("too little")
    };
    let forward = || json!({"forwardTo": "http://voice:8080"});
    for (error, expected) in [
        (refused(json!({}), true), alone),
        (refused(forward(), true), forwarding),
        (refused(forward(), false), forwarding + in_memory),
    ] {
        assert!(error.contains(&format!("allow {expected} MiB")), "{expected}: {error}");
    }
}

/// However an amount is written, it is compared with what is needed.
#[test]
fn amounts_are_taken_in_every_unit() {
    let chart = charts::gateway();
    let memory = |amount: Value| json!({"exporter": {"resources": {"limits": {"memory": amount}}}});
    let enough =
        [json!("0.5Gi"), json!("600M"), json!("600e6"), json!(600_000_000), json!("600000000"), json!("1Ti")];
    let too_little = [json!("0.1Gi"), json!("200M"), json!("200e6"), json!(200_000_000), json!("200000k")];
    let values: Vec<_> = enough.iter().chain(&too_little).cloned().map(memory).collect();
    let rendered = charts::render_all(values.iter().map(|values| (&chart, values)));
    for (number, (rendered, values)) in rendered.into_iter().zip(&values).enumerate() {
        match rendered.map(|_| ()) {
            Ok(()) => assert!(number < enough.len(), "{values}"),
            Err(error) => {
                assert!(number >= enough.len(), "{values}: {error}");
                assert!(error.contains("resources.limits.memory is"), "{values}: {error}");
            }
        }
    }
}

/// Helm 3 drops what Kubernetes does not know, and what was meant never comes to be.
#[test]
fn a_misspelt_key_is_named() {
    let of_exporter = |values: Value| json!({ "exporter": values });
    let wrong = [
        (of_exporter(json!({"resources": {"limit": {"memory": "1Gi"}}})), "/exporter/resources", "limit"),
        (
            of_exporter(json!({"securityContext": {"runAsNonroot": true}})),
            "/exporter/securityContext",
            "runAsNonroot",
        ),
        (
            of_exporter(json!({"extraEnv": [{"name": "A", "valueFrom": {"secretkeyref": {}}}]})),
            "/exporter/extraEnv/0/valueFrom",
            "secretkeyref",
        ),
        (of_exporter(json!({"extraEnvFrom": [{"secret": {}}]})), "/exporter/extraEnvFrom/0", "secret"),
        (
            of_exporter(json!({"extraVolumes": [{"name": "a", "configmap": {"name": "a"}}]})),
            "/exporter/extraVolumes/0",
            "configmap",
        ),
        (
            of_exporter(json!({"extraVolumeMounts": [{"name": "a", "mountpath": "/a", "mountPath": "/a"}]})),
            "/exporter/extraVolumeMounts/0",
            "mountpath",
        ),
        (of_exporter(json!({"readinessProbe": {"period": 5}})), "/exporter/readinessProbe", "period"),
        (json!({"affinity": {"nodeAfinity": {}}}), "/affinity", "nodeAfinity"),
        (json!({"tolerations": [{"keys": "a"}]}), "/tolerations/0", "keys"),
        (
            json!({"podSecurityContext": {"readOnlyRootFilesystem": true}}),
            "/podSecurityContext",
            "readOnlyRootFilesystem",
        ),
        (
            json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "a", "whenUnsatisfiable": "ScheduleAnyway", "minDomain": 1}]}),
            "/topologySpreadConstraints/0",
            "minDomain",
        ),
        (json!({"dnsConfig": {"nameserver": ["10.0.0.1"]}}), "/dnsConfig", "nameserver"),
        (json!({"hostAliases": [{"ip": "10.0.0.1", "hostname": "a"}]}), "/hostAliases/0", "hostname"),
        (json!({"extraContainers": [{"name": "a", "img": "b"}]}), "/extraContainers/0", "img"),
        (json!({"workload": {"updateStrategy": {"rolling": {}}}}), "/workload/updateStrategy", "rolling"),
        (
            json!({"serviceMonitor": {"relabelings": [{"source_labels": ["a"]}]}}),
            "/serviceMonitor/relabelings/0",
            "source_labels",
        ),
        (
            json!({"podMonitor": {"metricRelabelings": [{"target": "a"}]}}),
            "/podMonitor/metricRelabelings/0",
            "target",
        ),
        (
            json!({"serviceMonitor": {"tlsConfig": {"servername": "a"}}}),
            "/serviceMonitor/tlsConfig",
            "servername",
        ),
        (json!({"podMonitor": {"tlsConfig": {"caFile": "a"}}}), "/podMonitor/tlsConfig", "caFile"),
        (json!({"podMonitor": {"basicAuth": {"user": {}}}}), "/podMonitor/basicAuth", "user"),
        (json!({"podMonitor": {"authorization": {"token": {}}}}), "/podMonitor/authorization", "token"),
        (
            json!({"httpRoute": {"parentRefs": [{"name": "a", "sectionname": "b"}]}}),
            "/httpRoute/parentRefs/0",
            "sectionname",
        ),
        (json!({"autoscaling": {"behavior": {"scaledown": {}}}}), "/autoscaling/behavior", "scaledown"),
        (
            json!({"networkPolicy": {"metricsFrom": [{"podselector": {}}]}}),
            "/networkPolicy/metricsFrom/0",
            "podselector",
        ),
        (json!({"networkPolicy": {"egress": [{"from": []}]}}), "/networkPolicy/egress/0", "from"),
        (
            json!({"dashboards": {"grafanaOperator": {"instanceSelector": {"labels": {}}}}}),
            "/dashboards/grafanaOperator/instanceSelector",
            "labels",
        ),
    ];
    let chart = charts::gateway();
    let with_helm_4 = charts::render_all(wrong.iter().map(|(values, ..)| (&chart, values)));
    for (with_helm_4, (values, place, key)) in with_helm_4.into_iter().zip(&wrong) {
        let place = place.trim_start_matches("/exporter");
        let error = with_helm_4.map(|_| ()).expect_err(&values.to_string());
        assert!(error.contains(&format!("{place}': additional properties '{key}' not allowed")), "{error}");
        let place = place.trim_start_matches('/').replace('/', ".");
        let error = charts::render_values_with_helm_3(&chart, values).expect_err(&values.to_string());
        assert!(error.contains(&format!("{place}: Additional property {key} is not allowed")), "{error}");
    }
}
