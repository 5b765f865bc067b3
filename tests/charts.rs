//! The charts, the Kustomize component and the plain YAML: what they render is valid in every version of Kubernetes, fits
//! together, and runs on the real binary.
//!
//! `PLANET_TEST_UPDATE=1 cargo test --test charts` writes the renderings that a reviewer compares; see `tests/charts/`.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use planet_call_exporter::http::ListenAddress;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};
use support::authority::Authority;
use support::call::DOCUMENTED_SAMPLE;
use support::charts::{self, Case, NAMESPACE, RELEASE, Rendered, path};
use support::exporter::{Exporter, command};
use support::otlp_receiver::OtlpReceiver;
use support::tls_client::{NAME, TlsClient};
use support::{Scratch, eventually};

/// Every version of Kubernetes that is supported, from the first with native sidecars on.
const KUBERNETES: [&str; 9] = ["1.29", "1.30", "1.31", "1.32", "1.33", "1.34", "1.35", "1.36", "1.37"];

#[test]
fn helm_finds_nothing_to_say_about_the_charts() {
    let library = path("helm/planet-call-exporter-sidecar");
    assert_eq!(charts::lint(&[charts::gateway(), charts::example(), library]), Vec::<String>::new());
}

#[test]
fn schemas_and_copies_are_what_their_generator_writes() {
    assert_succeeds(Command::new("python3").arg(path("helm/generate.py")).arg("--check"));
}

/// Archives of a checkout may leave links out, and other systems make files of them.
#[test]
fn the_charts_need_no_links() {
    let mut rest = vec![path("helm")];
    while let Some(path) = rest.pop() {
        assert!(!path.is_symlink(), "{}", path.display());
        if path.is_dir() {
            rest.extend(fs::read_dir(&path).expect("a folder").flatten().map(|entry| entry.path()));
        }
    }
}

/// A change of the charts shows as a change of these files. What is long and tested elsewhere is left out.
#[test]
fn renderings_are_those_that_were_reviewed() {
    let mut different = Vec::new();
    for (case, rendered) in charts::rendered_cases() {
        let documents = rendered.text.split("\n---\n").map(|document| {
            let is_long = document.contains("kind: PrometheusRule")
                || document.contains("-|\n")
                || document.contains(".json: |-");
            let end = ["\n  groups:\n", ".json: |-\n"]
                .iter()
                .find_map(|mark| Some(document.find(mark)? + mark.len()));
            match end.filter(|_| is_long) {
                Some(end) => format!("{}    # as in dashboards/", &document[..end]),
                None => document.trim_end().to_owned(),
            }
        });
        let text =
            documents.collect::<Vec<_>>().join("\n---\n") + "\n# NOTES.txt\n" + &commented(&rendered.notes);
        let golden = case.file.with_file_name(format!("{}.golden.yaml", case.name));
        if std::env::var_os("PLANET_TEST_UPDATE").is_some() {
            fs::write(&golden, &text).expect("a file");
        }
        if fs::read_to_string(&golden).unwrap_or_default() != text {
            different.push(golden);
        }
    }
    assert!(different.is_empty(), "see the changes with PLANET_TEST_UPDATE=1 and git diff: {different:#?}");
}

fn commented(text: &str) -> String {
    text.lines().map(|line| format!("# {line}").trim_end().to_owned() + "\n").collect()
}

#[test]
fn helm_3_and_helm_4_render_the_same() {
    for (case, rendered) in charts::rendered_cases() {
        let by_name = |objects: &[Value]| {
            objects.iter().map(|object| (name(object), object.clone())).collect::<BTreeMap<_, _>>()
        };
        let helm_3 = charts::render_with_helm_3(&case, "1.35.0");
        assert_eq!(by_name(&helm_3), by_name(&rendered.objects), "{}", case.file.display());
    }
}

#[test]
fn a_package_has_no_more_of_the_dashboards_than_a_cluster_uses() {
    let scratch = Scratch::new("package-content");
    let package = charts::package(&path("helm/planet-call-exporter"), &scratch.0);
    let listed = Command::new("tar").arg("tzf").arg(&package).output().expect("tar");
    let listed = String::from_utf8(listed.stdout).expect("names");
    let files = listed.lines().filter_map(|name| name.strip_prefix("planet-call-exporter/files/"));
    let is_used =
        |name: &&str| name.ends_with(".rules.yml") || name.ends_with(".json") && !name.contains('/');
    let (used, others): (Vec<_>, Vec<_>) = files.partition(is_used);
    assert!(used.len() > 4, "{used:?}");
    assert!(others.is_empty(), "{others:?}");
}

/// The copies of the container and of the dashboards are in it.
#[test]
fn a_package_for_a_registry_has_all_that_the_chart_has() {
    let scratch = Scratch::new("package");
    for mut case in
        charts::cases().into_iter().filter(|case| case.name == "everything" || case.name == "plain")
    {
        let from_directory = charts::render_with_helm_3(&case, "1.35.0");
        case.chart = charts::package(&case.chart, &scratch.0);
        assert_eq!(charts::render_with_helm_3(&case, "1.35.0"), from_directory);
    }
}

#[test]
fn every_object_is_valid_in_every_version_of_kubernetes() {
    for (case, rendered) in charts::rendered_cases() {
        let (core, custom): (Vec<_>, Vec<_>) = rendered.objects.into_iter().partition(is_core);
        assert!(!core.is_empty());
        assert_eq!(
            charts::validate(&core, &KUBERNETES[1..]),
            Vec::<String>::new(),
            "{}",
            case.file.display()
        );
        charts::validate_custom_resources(&custom)
            .unwrap_or_else(|error| panic!("{}: {error}", case.file.display()));
    }
}

#[test]
fn the_gateway_is_valid_in_the_oldest_kubernetes() {
    let case = charts::cases().into_iter().find(|case| case.name == "defaults").expect("a case");
    let oldest = charts::render_with_helm_3(&case, "1.29.0");
    assert_eq!(charts::validate(&oldest, &KUBERNETES[..1]), Vec::<String>::new());
}

#[test]
fn the_schemas_know_what_they_do_not_know() {
    let rendered = charts::render(
        &charts::gateway(),
        &json!({"serviceMonitor": {"enabled": true}, "dashboards": {"enabled": true, "grafanaOperator": {"enabled": true}}}),
    );
    for object in rendered.objects {
        let mut unknown = object.clone();
        let place = if object.get("spec").is_some() { "spec" } else { "metadata" };
        unknown[place]["surprise"] = json!(1);
        match is_core(&object) {
            true => assert!(!charts::validate(&[unknown], &["1.37"]).is_empty(), "{}", name(&object)),
            false => {
                let error = charts::validate_custom_resources(&[unknown]).expect_err("an unknown field");
                assert!(error.contains("surprise"), "{error}");
            }
        }
    }
}

#[test]
fn wrong_values_are_refused_with_what_is_accepted() {
    let of_exporter = |values: Value| json!({ "exporter": values });
    let wrong = [
        (of_exporter(json!({"flags": {"seenAge": 5}})), "/flags/seenAge': got number, want null or string"),
        (of_exporter(json!({"flags": {"seenAge": "a day"}})), "/flags/seenAge': 'a day' does not match"),
        (of_exporter(json!({"flags": {"seen-age": "5m"}})), "'seen-age' not allowed"),
        (
            of_exporter(json!({"flags": {"forwardTo": "127.0.0.1:8080"}})),
            "does not match pattern '^https?://",
        ),
        (of_exporter(json!({"flags": {"forwardMode": "later"}})), "one of 'stored', 'inline'"),
        (of_exporter(json!({"flags": {"idcs": "KR,JP"}})), "/flags/idcs': got string, want null or array"),
        (of_exporter(json!({"flags": {"maxSeries": 0}})), "/flags/maxSeries': minimum: got 0, want 1"),
        (
            of_exporter(json!({"flags": {"stateMaxBytes": "1Gi"}})),
            "'1Gi' does not match pattern '^([1-9][0-9]*[MGT]iB|[1-9][0-9]{4,}KiB)$'",
        ),
        (of_exporter(json!({"flags": {"maxRate": "fast"}})), "/flags/maxRate'"),
        (of_exporter(json!({"flags": {"allowFrom": ["everywhere"]}})), "/flags/allowFrom/0'"),
        (of_exporter(json!({"flags": {"identity": "hash"}})), "name a secret in identityKeySecret.name"),
        (of_exporter(json!({"image": {"digest": "sha256:12"}})), "/image/digest'"),
        (of_exporter(json!({"image": {"repository": "a/b:1"}})), "/image/repository'"),
        (of_exporter(json!({"ports": {"metrics": 80}})), "/ports/metrics': minimum: got 80, want 1,024"),
        (of_exporter(json!({"listenAddress": "localhost"})), "/listenAddress'"),
        (of_exporter(json!({"otlp": {"endpoint": "collector:4317"}})), "/otlp/endpoint'"),
        (of_exporter(json!({"otlp": {"protocol": "http/json"}})), "one of 'http/protobuf', 'grpc'"),
        (of_exporter(json!({"otlp": {"resourceAttributes": {"a": "b,c"}}})), "/otlp/resourceAttributes/a'"),
        (of_exporter(json!({"extraEnv": [{"value": "a"}]})), "missing property 'name'"),
        (of_exporter(json!({"livenessProbe": {"exec": {}}})), "'exec' not allowed"),
        (
            of_exporter(json!({"state": {"claimTemplate": {"accessModes": ["ReadOnlyMany"]}}})),
            "'ReadWriteOnce'",
        ),
        (of_exporter(json!({"state": {"existingClaim": "a"}})), "choose one claim, or one for each pod"),
        (of_exporter(json!({"nativeSidecar": true})), "come from the chart planet-call-exporter-sidecar"),
        (json!({"replicas": 2}), "'replicas' not allowed"),
        (json!({"workload": {"kind": "DaemonSet"}}), "one of 'StatefulSet', 'Deployment', 'None'"),
        (json!({"workload": {"kind": "Deployment"}}), "set exporter.state.claimTemplate.enabled=false"),
        (
            json!({"workload": {"replicas": 2}, "exporter": {"state": {"existingClaim": "a", "claimTemplate": {"enabled": false}}}}),
            "set workload.replicas=1",
        ),
        (json!({"ingress": {"enabled": true}}), "/ingress/hosts': minItems: got 0, want 1"),
        (json!({"ingress": {"hosts": ["https://a"]}}), "/ingress/hosts/0'"),
        (json!({"httpRoute": {"enabled": true}}), "/httpRoute/parentRefs': minItems: got 0, want 1"),
        (json!({"serviceMonitor": {"enabled": true}, "podMonitor": {"enabled": true}}), "choose one"),
        (
            json!({"serviceMonitor": {"enabled": true}, "service": {"type": "LoadBalancer"}}),
            "set podMonitor.enabled=true instead",
        ),
        (json!({"serviceMonitor": {"interval": 15}}), "/serviceMonitor/interval': got number, want string"),
        (json!({"podDisruptionBudget": {"maxUnavailable": 0}}), "/podDisruptionBudget/maxUnavailable'"),
        (json!({"prometheusRule": {"settings": {"objective": 99.9}}}), "exclusiveMaximum: got 99.9, want 1"),
        (
            json!({"prometheusRule": {"enabled": true, "disabledAlerts": ["PlanetCalls"]}}),
            "the alerts are PlanetPushError,",
        ),
        (
            json!({"dashboards": {"grafanaOperator": {"enabled": true}}}),
            "reads the ConfigMaps of dashboards.enabled",
        ),
        (json!({"podLabels": {"a": 1}}), "/podLabels/a': got number, want string"),
    ];
    let gateway = charts::gateway();
    let rendered = charts::render_all(wrong.iter().map(|(values, _)| (&gateway, values)));
    for ((values, expected), rendered) in wrong.iter().zip(rendered) {
        let error = rendered.map(|_| ()).expect_err(&values.to_string());
        assert!(error.contains(expected), "{values}: {error}");
    }
}

/// Selectors find the pods, ports are there, volumes are mounted: what the API server takes and a cluster then has no use for.
#[test]
fn the_objects_fit_together() {
    for (case, rendered) in charts::rendered_cases() {
        let file = case.file.display();
        let objects = &rendered.objects;
        let Some(workload) = workload(objects) else { continue };
        let pod = &workload["spec"]["template"];
        let ports: BTreeMap<_, _> = containers(workload)
            .flat_map(|container| list(&container["ports"]))
            .map(|port| (port["name"].as_str().expect("a name"), &port["containerPort"]))
            .collect();
        let service = objects.iter().find(|object| object["kind"] == "Service").expect("a service");
        let service_ports: BTreeMap<_, _> = list(&service["spec"]["ports"])
            .map(|port| (port["name"].as_str().expect("a name"), &port["port"]))
            .collect();
        let selects = |selector: &Value, labels: &Value| {
            let selector = selector.as_object().expect("labels");
            assert!(!selector.is_empty());
            selector.iter().all(|(name, value)| labels[name] == *value)
        };
        for object in objects {
            let (spec, name) = (&object["spec"], name(object));
            let labels = &pod["metadata"]["labels"];
            let fits = match object["kind"].as_str().expect("a kind") {
                "StatefulSet" => {
                    spec["serviceName"] == service["metadata"]["name"]
                        && selects(&spec["selector"]["matchLabels"], labels)
                }
                "Deployment" | "PodDisruptionBudget" => selects(&spec["selector"]["matchLabels"], labels),
                "NetworkPolicy" => {
                    let open: Vec<_> = list(&spec["ingress"]).flat_map(|rule| list(&rule["ports"])).collect();
                    selects(&spec["podSelector"]["matchLabels"], labels)
                        && open.iter().all(|port| ports.contains_key(text(&port["port"])))
                        && open.len() == ports.len()
                }
                "Service" => {
                    selects(&spec["selector"], labels)
                        && list(&spec["ports"]).all(|port| match &port["targetPort"] {
                            Value::String(name) => ports.contains_key(name.as_str()),
                            number => ports.values().any(|port| *port == number),
                        })
                }
                "ServiceMonitor" => {
                    selects(&spec["selector"]["matchLabels"], &service["metadata"]["labels"])
                        && list(&spec["endpoints"])
                            .all(|endpoint| service_ports.contains_key(text(&endpoint["port"])))
                }
                "PodMonitor" => {
                    selects(&spec["selector"]["matchLabels"], labels)
                        && list(&spec["podMetricsEndpoints"])
                            .all(|endpoint| ports.contains_key(text(&endpoint["port"])))
                }
                "HorizontalPodAutoscaler" => {
                    spec["scaleTargetRef"]["name"] == workload["metadata"]["name"]
                        && spec["scaleTargetRef"]["kind"] == workload["kind"]
                        && workload["spec"].get("replicas").is_none()
                }
                "VerticalPodAutoscaler" => {
                    let policy = &spec["resourcePolicy"]["containerPolicies"][0];
                    spec["targetRef"]["name"] == workload["metadata"]["name"]
                        && spec["targetRef"]["kind"] == workload["kind"]
                        && policy["containerName"] == exporter_container(objects)["name"]
                }
                "Ingress" => list(&spec["rules"]).all(|rule| {
                    let backend = &rule["http"]["paths"][0]["backend"]["service"];
                    backend["name"] == service["metadata"]["name"]
                        && service_ports.contains_key(text(&backend["port"]["name"]))
                }),
                "HTTPRoute" => {
                    let backend = &spec["rules"][0]["backendRefs"][0];
                    backend["name"] == service["metadata"]["name"]
                        && service_ports.values().any(|port| **port == backend["port"])
                }
                "ServiceAccount" => pod["spec"]["serviceAccountName"] == object["metadata"]["name"],
                // The test asks the Service, which must not lead to it.
                "Pod" => {
                    let service_name = text(&service["metadata"]["name"]);
                    let url = text(&spec["containers"][0]["args"][1]);
                    let selector = &service["spec"]["selector"];
                    url.starts_with(&format!("http://{service_name}."))
                        && !selects(selector, &object["metadata"]["labels"])
                }
                // Its sidecar ends with it.
                "Job" => {
                    let pod = &spec["template"]["spec"];
                    pod["restartPolicy"] == "Never"
                        && list(&pod["initContainers"]).all(|sidecar| {
                            sidecar["restartPolicy"] == "Always" && *sidecar == exporter_container(objects)
                        })
                }
                "ConfigMap" | "GrafanaDashboard" | "PrometheusRule" => true,
                other => panic!("{file}: what does a {other} fit to?"),
            };
            assert!(fits, "{file}: {name} fits the others: {object:#}");
        }

        let names = |values: &Value| {
            list(values).map(|value| text(&value["name"]).to_owned()).collect::<BTreeSet<_>>()
        };
        let claims = list(&workload["spec"]["volumeClaimTemplates"])
            .map(|claim| text(&claim["metadata"]["name"]).to_owned());
        let volumes: BTreeSet<_> = names(&pod["spec"]["volumes"]).into_iter().chain(claims).collect();
        assert_eq!(names(&exporter_container(objects)["volumeMounts"]), volumes, "{file}");
    }
}

#[test]
fn the_container_is_hardened_and_its_probes_ask_nobody_else() {
    for (case, rendered) in charts::rendered_cases() {
        let Some(workload) = workload(&rendered.objects) else { continue };
        let file = case.file.display();
        let container = exporter_container(&rendered.objects);
        let security = &container["securityContext"];
        assert_eq!(security["runAsNonRoot"], true, "{file}");
        assert_eq!(security["readOnlyRootFilesystem"], true, "{file}");
        assert_eq!(security["allowPrivilegeEscalation"], false, "{file}");
        assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}), "{file}");
        assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault", "{file}");
        assert!(container["resources"]["limits"]["memory"].is_string(), "{file}");
        assert_eq!(container["terminationMessagePolicy"], "FallbackToLogsOnError", "{file}");
        // A sick disk makes no pod of an application unready.
        let is_gateway = case.chart.ends_with("planet-call-exporter");
        let readyz = if is_gateway { "/readyz" } else { "/readyz?exclude=storage" };
        for (probe, path) in
            [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", readyz)]
        {
            assert_eq!(container[probe]["httpGet"]["path"], path, "{file}");
            assert_eq!(container[probe]["httpGet"]["port"], container["ports"][1]["containerPort"], "{file}");
        }
        let is_init =
            list(&workload["spec"]["template"]["spec"]["initContainers"]).any(|init| init == &container);
        assert_eq!(container["restartPolicy"] == "Always", is_init, "{file}");
    }
}

#[test]
fn the_rendered_container_runs() {
    for (case, rendered) in charts::rendered_cases() {
        if workload(&rendered.objects).is_none() {
            continue;
        }
        let scratch = Scratch::new("container");
        let container = exporter_container(&rendered.objects);
        if argument(&container, "--tls-cert-file").is_some() {
            // Its secrets hold other things.
            continue;
        }
        let exporter = Exporter::launch_as_it_is(&mut as_kubernetes_would(&container, &scratch));
        // A cluster may have one family or the other.
        let is_everywhere =
            exporter.admin.ip().is_unspecified() && exporter.call_events.ip().is_unspecified();
        let is_told = argument(&container, "--listen").is_some_and(|address| !address.starts_with(':'));
        assert_eq!(is_everywhere, !is_told, "{}", case.file.display());
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            assert_eq!(exporter.admin(text(&container[probe]["httpGet"]["path"])).status, 200);
        }
        let path = argument(&container, "--call-event-path").unwrap_or("/call_event");
        let has_secret = argument(&container, "--call-event-secret-file").is_some();
        let secret = if has_secret { format!("secret={CALL_EVENT_SECRET}&") } else { String::new() };
        let answer = exporter.get(&format!("{path}?{secret}{DOCUMENTED_SAMPLE}"));
        // There is no service behind which could answer in inline mode; the call is counted all the same.
        let is_inline = argument(&container, "--forward-mode") == Some("inline");
        assert_eq!(answer.status, if is_inline { 502 } else { 200 }, "{}", case.file.display());
        assert_eq!(exporter.metrics().sum("planet_calls_total"), 1.0, "{}", case.file.display());
        let writes = scratch.0.join("state/planet-call-exporter.lock").exists();
        assert_eq!(writes, argument(&container, "--state-dir").is_some(), "{}", case.file.display());
        let drains = run_hook(&container, &scratch, &exporter);
        assert!(drains.status.success(), "{}: {drains:?}", case.file.display());
        exporter.process.stderr.wait_for("draining");
    }
}

/// Runs what the kubelet does at the beginning of a pod's deletion.
fn run_hook(container: &Value, scratch: &Scratch, exporter: &Exporter) -> Output {
    let mut hook = list(&container["lifecycle"]["preStop"]["exec"]["command"]).map(text);
    assert_eq!(hook.next(), Some("/usr/local/bin/planet-call-exporter"));
    let mut run = command();
    for given in hook {
        match given.split_once('=') {
            Some(("--admin-listen", listen)) => {
                assert_eq!(Some(listen), argument(container, "--admin-listen"));
                run.arg(format!("--admin-listen={}", exporter.admin));
            }
            Some(("--wait", _)) => {
                assert_eq!(
                    container["restartPolicy"],
                    Value::Null,
                    "a native sidecar does not hold up the end"
                );
            }
            _ => drop(run.arg(given.replace("/etc/planet-call-exporter", &secrets(scratch)))),
        }
    }
    run.output().expect("it runs")
}

fn secrets(scratch: &Scratch) -> String {
    scratch.0.join("secrets").to_string_lossy().into_owned()
}

#[test]
fn a_rendered_container_with_tls_answers_its_probes_and_calls() {
    let (authority, scratch) = (Authority::new("container-tls"), Scratch::new("container"));
    let (certificate, key) = authority.issue(NAME);
    let web = "tls_server_config: {cert_file: tls.crt, key_file: tls.key}\n".to_owned();
    let folders = scratch.0.join("secrets");
    for (file, content) in [
        ("tls/tls.crt", &certificate),
        ("tls/tls.key", &key),
        ("tls/ca.crt", &authority.issuer.pem()),
        ("admin/tls.crt", &certificate),
        ("admin/tls.key", &key),
        ("admin/web-config.yml", &web),
    ] {
        let file = folders.join(file);
        fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
        fs::write(file, content).expect("a file");
    }
    let container = exporter_container(&rendered_case("tls").objects);
    let exporter = Exporter::launch_listening(&mut as_kubernetes_would(&container, &scratch));
    let client = TlsClient::showing(&authority, authority.issue("client"));
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        let probe = &container[probe]["httpGet"];
        assert_eq!(probe["scheme"], "HTTPS");
        eventually("a probe", || {
            let answer = client.get(at_home(exporter.admin), text(&probe["path"]), "").ok()?;
            (answer.status == 200).then_some(())
        });
    }
    let path = format!("/call_event?{DOCUMENTED_SAMPLE}");
    assert_eq!(client.get(at_home(exporter.call_events), &path, "").expect("an answer").status, 200);
    let drains = run_hook(&container, &scratch, &exporter);
    assert!(drains.status.success(), "{drains:?}");
    exporter.process.stderr.wait_for("draining");
}

/// Where a listener of every address is reached.
fn at_home(address: SocketAddr) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, address.port()).into()
}

/// What goes with the pod is told apart by the pod; what a claim keeps goes on under the same name. To a Prometheus
/// that scrapes it is the same instance.
#[test]
fn telemetry_says_where_it_comes_from() {
    let receiver = OtlpReceiver::start([]);
    let exporter = |state: Value| {
        json!({
            "otlp": {
                "endpoint": receiver.endpoint(),
                "protocol": "grpc",
                "metrics": true,
                "resourceAttributes": {"team": "voice"},
            },
            "extraEnv": [{"name": "OTEL_METRIC_EXPORT_INTERVAL", "value": "100"}],
            "state": state,
        })
    };
    let on_a_claim = json!({"existingClaim": "calls", "claimTemplate": {"enabled": false}});
    let all = ["team", "service.name", "service.instance.id", "k8s.namespace.name", "k8s.container.name"];
    let (of_pod, of_claim) = ("voice.live-0.planet-call-exporter", "voice.calls.planet-call-exporter");
    for (chart, values, instance, more) in [
        (
            charts::gateway(),
            json!({"exporter": exporter(json!({})), "serviceMonitor": {"enabled": true}}),
            of_pod,
            &["k8s.pod.name"][..],
        ),
        (
            charts::gateway(),
            json!({
                "exporter": exporter(on_a_claim.clone()),
                "workload": {"kind": "Deployment"},
                "podMonitor": {"enabled": true},
            }),
            of_claim,
            &[],
        ),
        (charts::example(), json!({"callExporter": exporter(on_a_claim)}), of_claim, &[]),
        (
            charts::example(),
            json!({"callExporter": exporter(json!({}))}),
            of_pod,
            &["k8s.pod.name", "k8s.pod.uid", "k8s.node.name"],
        ),
    ] {
        let objects = charts::render(&chart, &values).objects;
        assert_eq!(scraped_instance(&objects), instance);
        let container = exporter_container(&objects);
        let scratch = Scratch::new("container");
        let known = receiver.metrics().len();
        let _exporter = Exporter::launch_as_it_is(&mut as_kubernetes_would(&container, &scratch));
        let pushed = eventually("a push of metrics", || receiver.metrics().get(known).cloned());
        let resource = pushed.resource_metrics[0].resource.clone().expect("a resource");
        let value = |name: &str| {
            let attribute = resource.attributes.iter().find(|attribute| attribute.key == name);
            format!("{:?}", attribute.and_then(|attribute| attribute.value.clone()))
        };
        assert!(value("service.instance.id").contains(&format!("\"{instance}\"")), "{resource:?}");
        assert!(value("service.name").contains(RELEASE), "{resource:?}");
        let names: BTreeSet<_> = resource.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
        for name in all.iter().chain(more) {
            assert!(names.contains(name), "{name} in {names:?}");
        }
        let of_the_pod: Vec<_> = names
            .iter()
            .filter(|name| ["k8s.pod.name", "k8s.pod.uid", "k8s.node.name"].contains(*name))
            .collect();
        assert_eq!(of_the_pod.len(), more.len(), "{names:?}");
    }
}

/// What a Prometheus calls the pod `live-0` by the monitor among these objects.
fn scraped_instance(objects: &[Value]) -> String {
    let endpoints = objects.iter().flat_map(|object| {
        let spec = &object["spec"];
        list(&spec["endpoints"]).chain(list(&spec["podMetricsEndpoints"]))
    });
    let relabelings = endpoints.flat_map(|endpoint| list(&endpoint["relabelings"]));
    let of_instance: Vec<_> =
        relabelings.filter(|relabeling| relabeling["targetLabel"] == "instance").collect();
    let [relabeling] = of_instance[..] else { panic!("one relabeling of instance in {of_instance:?}") };
    let source = |label: &Value| match text(label) {
        "__meta_kubernetes_namespace" => NAMESPACE,
        "__meta_kubernetes_pod_name" => "live-0",
        "__meta_kubernetes_pod_container_name" => "planet-call-exporter",
        other => panic!("what is {other}?"),
    };
    let sources: Vec<_> = list(&relabeling["sourceLabels"]).map(source).collect();
    let joined = sources.join(relabeling["separator"].as_str().unwrap_or(";"));
    relabeling["replacement"].as_str().unwrap_or("$1").replace("$1", &joined)
}

/// Metrics go one way to one Prometheus: an endpoint is for spans, unless metrics are asked for, and the gateway says
/// what that means.
#[test]
fn metrics_are_pushed_only_if_that_is_asked_for() {
    let values = |metrics: &[bool]| {
        let mut otlp = json!({"endpoint": "http://collector:4318"});
        metrics.iter().for_each(|metrics| otlp["metrics"] = json!(metrics));
        json!({ "otlp": otlp })
    };
    let is_pushing = |objects: &[Value]| {
        let none = json!({"name": "OTEL_METRICS_EXPORTER", "value": "none"});
        !list(&exporter_container(objects)["env"]).any(|variable| *variable == none)
    };
    for (metrics, is_asked_for) in [(&[][..], false), (&[false], false), (&[true], true)] {
        let sidecar = charts::render(&charts::example(), &json!({"callExporter": values(metrics)}));
        assert_eq!(is_pushing(&sidecar.objects), is_asked_for);
        for is_scraped in [false, true] {
            let gateway = charts::render(
                &charts::gateway(),
                &json!({"exporter": values(metrics), "podMonitor": {"enabled": is_scraped}}),
            );
            assert_eq!(is_pushing(&gateway.objects), is_asked_for);
            assert_eq!(
                gateway.notes.contains("has every call twice"),
                is_asked_for && is_scraped,
                "{}",
                gateway.notes
            );
        }
    }
}

#[test]
fn dashboards_and_rules_are_those_of_the_project() {
    let values = json!({"prometheusRule": {"enabled": true}, "dashboards": {"enabled": true}});
    let rendered = charts::render(&charts::gateway(), &values);
    let shown: BTreeMap<_, _> = rendered
        .objects
        .iter()
        .filter(|object| {
            object["kind"] == "ConfigMap" && object["metadata"]["labels"]["grafana_dashboard"] == "1"
        })
        .flat_map(|object| object["data"].as_object().expect("data"))
        .map(|(name, text)| (name.clone(), text.as_str().expect("text").to_owned()))
        .collect();
    let files = fs::read_dir(path("dashboards")).expect("dashboards").flatten().map(|file| file.path());
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "json"));
    let written: BTreeMap<_, _> = files
        .map(|file| {
            let text = fs::read_to_string(&file).expect("a file");
            (file.file_name().expect("a name").to_string_lossy().into_owned(), text.trim_end().to_owned())
        })
        .collect();
    assert!(shown == written, "{:?} are those of dashboards/, {:?}", shown.keys(), written.keys());

    let rules = |rendered: &Rendered| {
        let rule = rendered.objects.iter().find(|object| object["kind"] == "PrometheusRule");
        rule.expect("rules")["spec"]["groups"].as_array().expect("groups").clone()
    };
    let files = ["recording", "alerts"].map(|name| path(&format!("dashboards/rules/{name}.rules.yml")));
    let mut written: Vec<Value> = Vec::new();
    for file in files {
        let document = charts::objects(&fs::read_to_string(file).expect("rules")).remove(0);
        written.extend(document["groups"].as_array().expect("groups").clone());
    }
    assert_eq!(rules(&rendered), written);

    // Other settings change what they say, and nothing else.
    let other = rendered_case("alerts-and-dashboards");
    for group in &mut written {
        let rules = group["rules"].as_array_mut().expect("rules");
        rules.retain(|rule| rule["alert"] != "PlanetTimeToAnswer" && rule["alert"] != "PlanetNoCalls");
        for rule in rules {
            match rule["record"].as_str() {
                Some("planet:objective:ratio") => rule["expr"] = json!("vector(0.995)"),
                Some("planet:expected_calls:count") => rule["expr"] = json!("vector(2e+06)"),
                _ => {}
            }
        }
    }
    assert_eq!(rules(&other), written);

    // With labels and addresses of a team's own, they are still rules to Prometheus.
    let scratch = Scratch::new("rules");
    let everything = rules(&rendered_case("everything"));
    let file = scratch.0.join("rules.yml");
    fs::write(&file, json!({ "groups": everything }).to_string()).expect("a file");
    assert_succeeds(Command::new("promtool").args(["check", "rules"]).arg(&file));
    for alert in
        everything.iter().flat_map(|group| list(&group["rules"])).filter(|rule| rule["alert"].is_string())
    {
        assert_eq!(alert["labels"]["team"], "voice");
        assert!(
            text(&alert["annotations"]["dashboard"]).starts_with("https://grafana.example.com/d/planet-")
        );
        let runbook = text(&alert["annotations"]["runbook_url"]);
        assert!(runbook.starts_with("https://git.example.com/planet-call-exporter/dashboards/RUNBOOK.md#"));
    }
}

#[test]
fn every_flag_of_the_program_has_a_value() {
    let schema = fs::read(path("helm/planet-call-exporter-sidecar/values.schema.json")).expect("a schema");
    let schema: Value = serde_json::from_slice(&schema).expect("JSON");
    let flags = schema["properties"]["flags"]["properties"].as_object().expect("flags");
    let values: BTreeSet<_> = flags.keys().map(|name| kebab_case(name)).collect();
    let help = command().arg("--help").output().expect("help").stdout;
    let help = String::from_utf8(help).expect("UTF-8");
    let named = help.lines().filter_map(|line| line.trim_start().strip_prefix("--"));
    let named = named.map(|line| line.split([' ', '=']).next().expect("a name").to_owned());
    // These come from other values.
    let elsewhere = [
        "listen",
        "admin-listen",
        "admin-web-config-file",
        "state-dir",
        "state-ephemeral",
        "state-lock-wait",
        "call-event-secret-file",
        "identity-key-file",
        "worker-threads",
        "tls-cert-file",
        "tls-key-file",
        "tls-client-ca-file",
    ];
    let named: BTreeSet<_> = named.filter(|flag| !elsewhere.contains(&flag.as_str())).collect();
    assert_eq!(values, named);
}

/// For those who don't use Helm.
#[test]
fn the_component_and_the_plain_sidecar_are_what_the_chart_renders() {
    let rendered = rendered_case("plain");
    let of_pod = |objects: &[Value]| {
        let pod = &workload(objects).expect("a workload")["spec"]["template"]["spec"];
        (pod["initContainers"].clone(), pod["volumes"].clone())
    };
    let plain = charts::objects(&fs::read_to_string(path("helm/kustomize/sidecar.yaml")).expect("a file"));
    let (mut containers, volumes) = of_pod(&rendered.objects);
    containers[0] = with_variables(containers[0].take());
    assert_eq!(of_pod(&plain), (containers.clone(), volumes.clone()));

    let built = charts::kustomize(&path("helm/examples/kustomize"));
    let (core, custom): (Vec<_>, Vec<_>) = built.iter().cloned().partition(is_core);
    assert_eq!(charts::validate(&core, &KUBERNETES), Vec::<String>::new());
    charts::validate_custom_resources(&custom).expect("a valid PodMonitor");
    containers[0]["image"] = json!("registry.example.com/planet-call-exporter:0.2.0");
    let mut of_built = of_pod(&built);
    // What a patch adds comes first.
    let variables = of_built.0[0]["env"].as_array_mut().expect("variables");
    let own = variables.split_off(6);
    let added = variables.clone();
    of_built.0[0]["env"] = Value::Array(own);
    assert_eq!(of_built, (containers, volumes));
    assert_eq!(added[0], json!({"name": "PLANET_IDCS", "value": "KR,JP"}));

    // It is scraped and sends spans, as the same instance.
    let mut known: BTreeMap<&str, String> = BTreeMap::new();
    for variable in &added {
        let value = match variable["value"].as_str() {
            Some(value) => value.to_owned(),
            None => from_elsewhere(&variable["valueFrom"]),
        };
        // Kubernetes knows those that stand before.
        let value =
            known.iter().fold(value, |text, (name, value)| text.replace(&format!("$({name})"), value));
        known.insert(text(&variable["name"]), value);
    }
    assert_eq!(
        known["OTEL_RESOURCE_ATTRIBUTES"],
        format!("service.instance.id={}", scraped_instance(&built))
    );
    assert_eq!(known["OTEL_METRICS_EXPORTER"], "none");
}

/// The container with its flags as variables, of which the hook has what it needs.
fn with_variables(mut container: Value) -> Value {
    let arguments = container.as_object_mut().and_then(|fields| fields.remove("args")).expect("arguments");
    let variable = |argument: &Value| {
        let (flag, value) = text(argument).split_once('=').expect("a flag with a value");
        let name = flag.trim_start_matches('-').replace('-', "_").to_ascii_uppercase();
        json!({"name": format!("PLANET_{name}"), "value": value})
    };
    let variables = list(&arguments).map(variable).chain(list(&container["env"]).cloned()).collect();
    container["env"] = variables;
    container["lifecycle"]["preStop"]["exec"]["command"].as_array_mut().expect("a command").truncate(2);
    container
}

/// A row of a README says what the value is called and its default, or that of all that is in it.
#[test]
fn the_readme_has_every_value() {
    for chart in ["helm/planet-call-exporter", "helm/planet-call-exporter-sidecar"] {
        let readme = fs::read_to_string(path(chart).join("README.md")).expect("a README");
        let values =
            charts::objects(&fs::read_to_string(path(chart).join("values.yaml")).expect("values")).remove(0);
        let missing = missing_rows(&readme, "", &values);
        assert!(missing.is_empty(), "{chart}/README.md has no row for {missing:#?}");
    }
}

fn missing_rows(readme: &str, name: &str, value: &Value) -> Vec<String> {
    let row = format!("| {name} | `{value}` |");
    match value.as_object().filter(|map| !map.is_empty()) {
        _ if readme.contains(&row) => Vec::new(),
        Some(map) => map
            .iter()
            .flat_map(|(key, value)| {
                missing_rows(readme, format!("{name}.{key}").trim_start_matches('.'), value)
            })
            .collect(),
        None => vec![row],
    }
}

/// The command that Kubernetes would run, with this machine's directories and ports in place of the container's.
fn as_kubernetes_would(container: &Value, scratch: &Scratch) -> Command {
    let directory = |name: &str| scratch.0.join(name);
    let secrets = PathBuf::from(secrets(scratch));
    for (file, content) in secret_files() {
        let file = secrets.join(file);
        fs::create_dir_all(file.parent().expect("a directory"))
            .and_then(|()| fs::write(file, content))
            .expect("a file");
    }
    let mut variables: BTreeMap<String, String> = BTreeMap::new();
    let mut run = command();
    for variable in list(&container["env"]) {
        let name = text(&variable["name"]);
        let given =
            variable["value"].as_str().map_or_else(|| from_elsewhere(&variable["valueFrom"]), str::to_owned);
        let expanded =
            variables.iter().fold(given, |text, (name, value)| text.replace(&format!("$({name})"), value));
        let value = expanded.replace("/etc/planet-call-exporter", &secrets.to_string_lossy());
        run.env(name, &value);
        variables.insert(name.to_owned(), value);
    }
    let mounted = list(&container["volumeMounts"]).map(|mount| text(&mount["mountPath"])).collect::<Vec<_>>();
    for argument in list(&container["args"]).map(text) {
        let (flag, value) = argument.split_once('=').expect("a flag with a value");
        let value = match flag {
            "--listen" | "--admin-listen" => {
                let address: ListenAddress = value.parse().expect("an address");
                match address {
                    ListenAddress::Everywhere(_) => ":0".to_owned(),
                    _ => "127.0.0.1:0".to_owned(),
                }
            }
            "--allow-from" => format!("{value},127.0.0.1,::1"),
            "--state-dir" => {
                assert!(mounted.contains(&value), "{value} is a volume");
                directory("state").to_string_lossy().into_owned()
            }
            "--call-event-secret-file"
            | "--identity-key-file"
            | "--tls-cert-file"
            | "--tls-key-file"
            | "--tls-client-ca-file"
            | "--admin-web-config-file" => {
                assert!(mounted.iter().any(|mount| value.starts_with(mount)), "{value} is in a volume");
                value.replace("/etc/planet-call-exporter", &secrets.to_string_lossy())
            }
            _ => value.to_owned(),
        };
        run.arg(format!("{flag}={value}"));
    }
    run
}

/// What call events carry where a case has a secret for it.
const CALL_EVENT_SECRET: &str = "0123456789abcdef";

/// What the secrets of the cases hold.
fn secret_files() -> [(PathBuf, String); 5] {
    let key = KeyPair::generate().expect("a key");
    let certificate = CertificateParams::new(Vec::new())
        .and_then(|params| params.self_signed(&key))
        .expect("a certificate");
    let file = |name: &str| Path::new(name).to_owned();
    [
        (file("call-events/secret"), format!("{CALL_EVENT_SECRET}\n")),
        (file("identity/identity-key"), "a key of at least 16 bytes".to_owned()),
        (file("otlp/ca.crt"), certificate.pem()),
        (file("otlp/tls.crt"), certificate.pem()),
        (file("otlp/tls.key"), key.serialize_pem()),
    ]
}

/// What Kubernetes would put in place of a field or the key of a secret.
fn from_elsewhere(source: &Value) -> String {
    match source["fieldRef"]["fieldPath"].as_str() {
        Some("metadata.namespace") => NAMESPACE.to_owned(),
        Some("metadata.name") => "live-0".to_owned(),
        Some("metadata.uid") => "1b4e28ba-2fa1-11d2-883f-0016d3cca427".to_owned(),
        Some("spec.nodeName") => "node-1".to_owned(),
        Some(other) => panic!("what is {other}?"),
        None => {
            assert!(source["secretKeyRef"]["key"].is_string(), "{source}");
            "authorization=Bearer%20token".to_owned()
        }
    }
}

fn rendered_case(name: &str) -> Rendered {
    let is_it = |(case, _): &(Case, Rendered)| case.name == name;
    charts::rendered_cases().into_iter().find(is_it).expect("a case").1
}

fn is_core(object: &Value) -> bool {
    let version = text(&object["apiVersion"]);
    !version.contains('.') || version.starts_with("networking.k8s.io/")
}

fn name(object: &Value) -> String {
    format!("{} {}", text(&object["kind"]), text(&object["metadata"]["name"]))
}

fn workload(objects: &[Value]) -> Option<&Value> {
    objects.iter().find(|object| object["kind"] == "StatefulSet" || object["kind"] == "Deployment")
}

fn containers(workload: &Value) -> impl Iterator<Item = &Value> {
    let pod = &workload["spec"]["template"]["spec"];
    list(&pod["initContainers"]).chain(list(&pod["containers"]))
}

/// The exporter's container: the one that says where it listens for administration.
fn exporter_container(objects: &[Value]) -> Value {
    let workload = workload(objects).expect("a workload");
    let is_exporter = |container: &&Value| argument(container, "--admin-listen").is_some();
    containers(workload).find(is_exporter).expect("the exporter").clone()
}

/// The value of a flag in a container's arguments.
fn argument<'a>(container: &'a Value, flag: &str) -> Option<&'a str> {
    list(&container["args"]).find_map(|argument| text(argument).strip_prefix(flag)?.strip_prefix('='))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}"))
}

fn kebab_case(name: &str) -> String {
    let character = |character: char| match character.is_ascii_uppercase() {
        true => format!("-{}", character.to_ascii_lowercase()),
        false => character.to_string(),
    };
    name.chars().map(character).collect()
}

fn assert_succeeds(command: &mut Command) {
    let output = command.output().expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&text));
}
