//! The dashboards, rules and alerts are right: on the real Prometheus and Alertmanager, with the real exporter's numbers.

#![cfg(feature = "simulator")]
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::process::Command;
use std::time::SystemTime;

use planet_call_exporter::callback::Anomaly;
use serde_json::json;
use support::backend::Backend;
use support::dashboards::{dashboards, expressions, metric_names, panels, path, rule_files};
use support::exporter::{Exporter, command};
use support::process::Process;
use support::prometheus::Prometheus;
use support::service::Service;
use support::{Scratch, eventually, free_address, http, simulator};

fn assert_runs(command: &mut Command) {
    let output = command.output().expect("it runs");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
}

#[test]
fn dashboards_and_rules_are_what_their_generators_write() {
    assert_runs(Command::new("python3").arg(path("dashboards/generate.py")).arg("--check"));
    assert_runs(Command::new("python3").arg(path("dashboards/rules/generate.py")).arg("--check"));
}

/// Runs the tests of the rules that stand in this file.
fn assert_rules_hold(tests: &str) {
    let file = path(&format!("tests/rules/{tests}.test.yml"));
    assert_runs(Command::new("promtool").args(["test", "rules"]).arg(file));
}

#[test]
fn rules_are_sound() {
    assert_runs(Command::new("promtool").args(["check", "rules"]).args(rule_files()));
}

#[test]
fn alerts_hold_what_their_tests_say() {
    assert_rules_hold("alerts");
}

#[test]
fn days_of_alerts_are_what_their_tests_say() {
    assert_rules_hold("days");
}

#[test]
fn a_week_of_rules_is_what_its_tests_say() {
    assert_rules_hold("week");
}

#[test]
fn silence_of_a_small_service_is_what_its_tests_say() {
    assert_rules_hold("silence");
}

#[test]
fn the_runbook_says_what_every_oddity_is() {
    let runbook = fs::read_to_string(path("dashboards/RUNBOOK.md")).expect("the runbook");
    for kind in Anomaly::ALL.map(Anomaly::as_str) {
        assert!(runbook.contains(&format!("`{kind}`")), "{kind}");
    }
}

#[test]
fn every_alert_is_complete_and_its_runbook_has_a_section_for_it() {
    let text = fs::read_to_string(path("dashboards/rules/alerts.rules.yml")).expect("the alerts");
    let runbook = fs::read_to_string(path("dashboards/RUNBOOK.md")).expect("the runbook");
    let sections: BTreeSet<_> = runbook
        .lines()
        .filter_map(|line| line.strip_prefix("## ").filter(|name| name.starts_with("Planet")))
        .collect();
    let uids: BTreeSet<_> = dashboards()
        .iter()
        .map(|dashboard| dashboard["uid"].as_str().unwrap_or_default().to_owned())
        .collect();
    let alerts: Vec<_> = text.split("- alert: ").skip(1).collect();
    let names: BTreeSet<_> = alerts.iter().map(|alert| alert.lines().next().expect("a name")).collect();
    assert_eq!(names, sections);
    let tests = ["alerts", "days"]
        .map(|name| fs::read_to_string(path(&format!("tests/rules/{name}.test.yml"))).expect("the tests"))
        .concat();
    for (name, alert) in names.iter().zip(&alerts) {
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "a test in which {name} fires");
        let value = |key: &str| {
            alert.lines().find_map(|line| line.trim().strip_prefix(&format!("{key}: "))).unwrap_or_default()
        };
        let own = alert.lines().next().expect("a name");
        assert!(["page", "ticket"].contains(&value("severity")), "{own} has a severity");
        assert!(value("summary").len() > 20, "{own} has a summary");
        assert!(alert.contains("description: >-") && alert.contains("$labels"), "{own} has a description");
        // What the text names first is what the runbook says to run first.
        let next = alert.split(" Next: ").nth(1).and_then(|next| next.split(' ').next());
        assert!(uids.contains(value("dashboard").trim_start_matches("/d/")), "{own} has a dashboard");
        let anchor = format!("dashboards/RUNBOOK.md#{}", own.to_lowercase());
        assert_eq!(value("runbook_url"), anchor);
        let section = runbook.split("## ").find(|section| section.starts_with(&format!("{own}\n")));
        for part in ["*Run:* `", "*For callers:*", "*Confirm:*", "*Do:*", "*Call LINE Planet"] {
            assert!(section.is_some_and(|section| section.contains(part)), "{own}: {part}");
        }
        let first = section.and_then(|section| section.split("*Run:* `").nth(1)?.split('`').next());
        let leads_on = next.is_none_or(|next| {
            // Where there is a question mark, a shell takes an unquoted word for a pattern.
            let quote = if next.contains('?') { "'" } else { "" };
            let curl = format!("curl -s {quote}localhost:9464{next}{quote}");
            first.is_some_and(|first| first.starts_with(&curl))
        });
        assert!(leads_on, "{own}: {next:?}, and {first:?}");
    }
}

/// An exporter in which everything has happened that a panel can show.
struct Scene {
    exporter: Exporter,
    _directory: Scratch,
    backend: Backend,
    _service: Service,
}

impl Scene {
    fn new() -> Scene {
        let (directory, backend, service) = (Scratch::new("dashboards"), Backend::start(), Service::start());
        let state = directory.0.join("state");
        let exporter = Exporter::launch(
            command()
                .args(["--state-dir", state.to_str().expect("a path in UTF-8"), "--idcs", "KR,JP,TW"])
                .args(["--forward-to", &service.url(), "--canary-url", "http://127.0.0.1:9/call_event"])
                // So that there is a metric of what is turned away.
                .args(["--max-rate", "1000000"])
                .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("http://{}/v1/traces", backend.address()))
                .env("OTEL_BSP_SCHEDULE_DELAY", "100")
                .env(
                    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
                    format!("http://{}/v1/metrics", backend.address()),
                )
                .env("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
        );
        Scene { exporter, _directory: directory, backend, _service: service }
    }
}

/// The expression as Grafana would send it, without leaving zeros out. What lies a week back lies a second back here,
/// so that there is something.
fn as_sent(expression: &str) -> String {
    expression
        .trim_end_matches(" > 0")
        .replace("$__rate_interval", "10m")
        .replace("$__range", "10m")
        .replace("$window", "10m")
        .replace("offset 1w", "offset 1s")
        .replace("$job", "planet")
        .replace("$instance", ".+")
        .replace("$media_type", ".+")
        .replace("$idc", ".+")
        .replace("$reason", ".+")
}

#[test]
fn every_expression_has_an_answer_and_indicators_are_what_was_sent() {
    let scene = Scene::new();
    let rules =
        format!("rule_files: ['{}']", rule_files().map(|file| file.display().to_string()).join("', '"));
    let mut prometheus = Prometheus::start(&[("planet", scene.exporter.admin)], &rules);
    prometheus.wait_until("count(planet_exporter_build_info)", |count| count == 1.0);
    // It is no call event, so the service answers it.
    assert_eq!(scene.exporter.send("no=call").status, 200);
    let arguments =
        ["--rate", "200", "--for", "15s", "--abnormal-share", "0.3", "--odd-share", "0.05", "--seed", "5"];
    let report = simulator::send(&scene.exporter, &arguments);
    prometheus.wait_until("sum(planet_calls_total)", |calls| calls == report.acknowledged as f64);

    let page = http::get(scene.exporter.admin, "/metrics").text();
    // A selector of either form of a histogram has the name of the native one.
    let known = |name: &str| {
        // No listener has a certificate here, since the simulator speaks plain HTTP.
        if name == "planet_exporter_certificate_expiry_time_seconds" {
            return true;
        }
        let classic = format!("{name}_bucket");
        page.lines()
            .any(|line| line.split(['{', ' ']).next().is_some_and(|line| line == name || line == classic))
    };
    for (dashboard, panel) in panels() {
        for expression in expressions(&panel) {
            let (name, sent) = (format!("{dashboard}, {}", panel["title"]), as_sent(&expression));
            for metric in metric_names(&expression) {
                assert!(known(&metric), "{name} asks for {metric}, which is not exported");
            }
            // No alert need fire here, and calls fail from the first on, so nobody knows for how long.
            let is_of_alerts = expression.contains("ALERTS") && panel["type"] == "table";
            let is_since =
                panel["title"] == "Failing since, local time" && expression != expressions(&panel)[0];
            if is_of_alerts || is_since {
                prometheus.samples(&sent).unwrap_or_else(|error| panic!("{name}: {sent}: {error}"));
                continue;
            }
            eventually(&format!("data for {name}: {sent}"), || match prometheus.samples(&sent) {
                Ok(samples) => (samples > 0).then_some(()),
                Err(error) => panic!("{name}: {sent}: {error}"),
            });
        }
    }
    // Over OTLP the same expressions find the same metrics, with the same names and values of labels.
    let scraped = simulator::series_of_calls(&scene.exporter.metrics());
    eventually("the same series over OTLP", || {
        let pushed = &scene.backend.received().series;
        scraped.keys().all(|series| pushed.contains_key(series)).then_some(())
    });
    let pushed: BTreeSet<_> = scene.backend.received().series.keys().map(|(name, _)| name.clone()).collect();
    for (dashboard, panel) in panels() {
        for metric in expressions(&panel).iter().flat_map(|expression| metric_names(expression)) {
            let is_of_process = metric.starts_with("process_") || metric.contains("_certificate_");
            let is_pushed = pushed.contains(&metric) || pushed.contains(&format!("{metric}_bucket"));
            assert!(is_of_process || is_pushed, "{dashboard}: {metric} does not come over OTLP");
        }
    }
    let recorded: BTreeSet<_> = support::dashboards::rules().into_iter().map(|(name, _)| name).collect();
    for (name, expression) in support::dashboards::rules() {
        prometheus.samples(&expression).unwrap_or_else(|error| panic!("{name}: {expression}: {error}"));
        for metric in metric_names(&expression) {
            let is_recorded = metric.starts_with("planet_calls:") || recorded.contains(&metric);
            assert!(known(&metric) || is_recorded, "{name} asks for {metric}, which is not exported");
        }
        // What holds only in an incident, or never in one, or after a day, is empty here.
        let is_rare = [
            "failing",
            "decaying",
            "calm",
            "missing",
            "expected",
            "usual",
            "few",
            "starts",
            "surge",
            "not_storing",
            "max1d",
        ]
        .iter()
        .any(|rare| name.contains(rare));
        if name.contains(':') && !is_rare {
            eventually(&format!("a value of {name}"), || {
                (prometheus.samples(&name).expect("a query") > 0).then_some(())
            });
        }
    }

    // Every label set of the report, added up by hand, beside what the panel shows for the whole time.
    let calls: Vec<_> = report.series.iter().filter(|((name, _), _)| name == "planet_calls_total").collect();
    let sum = |is_wanted: &dyn Fn(&BTreeMap<String, String>) -> bool| -> f64 {
        calls.iter().filter(|((_, labels), _)| is_wanted(labels)).map(|(_, value)| **value).sum()
    };
    let is_answered = |labels: &BTreeMap<String, String>| labels["answered"] == "true";
    let is_abnormal =
        |labels: &BTreeMap<String, String>| !["none", "user"].contains(&labels["fault_domain"].as_str());
    let all = sum(&|_| true);
    let expected = [
        ("Answered, 10 min", sum(&is_answered) / all),
        ("Delivered, 10 min", 1.0 - sum(&is_abnormal) / all),
        ("Cut off, 10 min", sum(&|labels| is_answered(labels) && is_abnormal(labels)) / sum(&is_answered)),
    ];
    for (title, expected) in expected {
        let (_, panel) = panels().into_iter().find(|(_, panel)| panel["title"] == title).expect("the panel");
        let shown =
            prometheus.query(&as_sent(&expressions(&panel)[0])).into_values().next().expect("a value");
        // A label set that is first seen with its first call has lost that one to the rate.
        assert!((shown - expected).abs() < 0.03, "{title} is {expected} and shown as {shown}");
    }
}

/// Runs what each section of the runbook says to run first, as somebody without Grafana does in an incident.
fn assert_runbook_runs(prometheus: &Prometheus, exporter: &Exporter) {
    let runbook = fs::read_to_string(path("dashboards/RUNBOOK.md")).expect("the runbook");
    let query = runbook.lines().find(|line| line.trim().starts_with("q() {")).expect("what q is");
    let script = |command: &str| {
        format!("set -e\nPROMETHEUS={}\n{query}\n{command}", prometheus.url())
            .replace("localhost:9464", &exporter.admin.to_string())
    };
    let mut sections = 0;
    for section in runbook.split("\n## ").skip(1) {
        let Some(line) = section.lines().find_map(|line| line.strip_prefix("*Run:* `")) else { continue };
        for command in line.split("`; `").filter_map(|command| command.split('`').next()) {
            let output = Command::new("bash")
                .args(["-euo", "pipefail", "-c", &script(command)])
                .output()
                .expect("bash runs");
            let text = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{command}: {output:?}");
            if command.starts_with("q '") {
                assert!(text.starts_with(r#"{"status":"success""#), "{command}: {text}");
            }
            // The incident: calls of one IDC fail by the fault of the platform.
            let of_calls =
                command.starts_with("q 'sum by (job, idc, fault_domain) (increase(planet_call_results");
            if of_calls && !command.contains("answered") {
                assert!(text.contains(r#""fault_domain":"platform","idc":"JP""#), "{command}: {text}");
            }
            if command.contains("/why") {
                assert!(text.contains(" failing calls have rc_idc=JP"), "{command}: {text}");
            }
        }
        sections += 1;
    }
    let alerts = runbook.matches("\n## Planet").count();
    assert!(alerts > 0 && sections == alerts, "{sections} of {alerts} sections say what to run");
}

/// A real Alertmanager, which tells nobody.
struct Alertmanager {
    process: Process,
    address: SocketAddr,
    _scratch: Scratch,
}

impl Alertmanager {
    /// Starts it with more lines in its configuration.
    fn start(more: &str) -> Alertmanager {
        let (scratch, address) = (Scratch::new("alertmanager"), free_address());
        let configuration = scratch.0.join("alertmanager.yml");
        let text = format!("route: {{receiver: nobody}}\nreceivers: [{{name: nobody}}]\n{more}");
        fs::write(&configuration, text).expect("a file");
        let mut process = Process::start(
            "prometheus-alertmanager",
            Command::new("prometheus-alertmanager")
                .arg(format!("--config.file={}", configuration.display()))
                .arg(format!("--storage.path={}", scratch.0.display()))
                .arg(format!("--web.listen-address={address}"))
                .arg("--cluster.listen-address="),
        );
        process.eventually("its readiness", |_| {
            let answer = http::try_request(address, "GET", "/-/ready", &[]).ok()?;
            (answer.status == 200).then_some(())
        });
        Alertmanager { process, address, _scratch: scratch }
    }

    /// The labels of every alert that it was told of.
    fn alerts(&mut self) -> Vec<BTreeMap<String, String>> {
        assert_eq!(self.process.ended(), None, "Alertmanager ended");
        let alerts = http::get(self.address, "/api/v2/alerts").json();
        let alerts = alerts.as_array().expect("alerts").iter();
        alerts.map(|alert| serde_json::from_value(alert["labels"].clone()).expect("labels")).collect()
    }
}

#[test]
fn an_incident_reaches_the_alertmanager_and_a_normal_run_does_not() {
    let mut alertmanager = Alertmanager::start("");
    let (normal, incident) =
        (Exporter::with(&["--idcs", "KR,JP,TW"]), Exporter::with(&["--idcs", "KR,JP,TW"]));
    let more = format!(
        "rule_files: ['{}']\nalerting: {{alertmanagers: [{{static_configs: [{{targets: ['{}']}}]}}]}}",
        rule_files().map(|file| file.display().to_string()).join("', '"),
        alertmanager.address
    );
    let mut prometheus = Prometheus::start(&[("normal", normal.admin), ("incident", incident.admin)], &more);
    prometheus.wait_until("count(planet_exporter_build_info)", |count| count == 2.0);
    let common =
        ["--seed", "1", "--rate", "100", "--for", "20s", "--abnormal-share", "0", "--odd-share", "0"];
    let of_normal = simulator::start(normal.call_events, &common);
    let with_incident = [&common[..], &["--incident", "JP:SERVER_INTERNAL_ERROR:4s:20s"]].concat();
    let of_incident = simulator::start(incident.call_events, &with_incident);
    // One fault, one page.
    let expected: BTreeSet<(&str, &str)> = [("PlanetIdcAbnormalFast", "JP")].into();
    let mut seen = Vec::new();
    eventually("the alerts of the incident", || {
        seen = alertmanager.alerts();
        let names: BTreeSet<(&str, &str)> = seen
            .iter()
            .map(|labels| (labels["alertname"].as_str(), labels.get("idc").map_or("", String::as_str)))
            .collect();
        expected.is_subset(&names).then_some(())
    });
    assert_runbook_runs(&prometheus, &incident);
    simulator::report(of_normal);
    simulator::report(of_incident);
    // What the end of the run brings about has been evaluated, too, and was told.
    let ended = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a clock").as_secs_f64();
    prometheus.wait_until("min(timestamp(planet:objective:ratio))", |evaluated| evaluated > ended + 3.0);
    for labels in alertmanager.alerts() {
        assert_eq!(labels["job"], "incident", "{labels:?}");
        assert!(labels.get("idc").is_none_or(|idc| idc == "JP"), "{labels:?}");
        if let Some(reason) = labels.get("disconnect_reason") {
            assert_eq!(
                (reason.as_str(), labels["fault_domain"].as_str()),
                ("SERVER_INTERNAL_ERROR", "platform")
            );
        }
    }
}

#[test]
fn what_explains_an_alert_silences_it_at_the_alertmanager() {
    let rules = fs::read_to_string(path("dashboards/inhibit_rules.yml")).expect("a file");
    let mut alertmanager = Alertmanager::start(&rules);
    let fires = [
        ("all", "PlanetCredentials", "page"),
        ("all", "PlanetIdcAbnormalFast", "page"),
        ("all", "PlanetCallsAbnormalSlow", "ticket"),
        ("all", "PlanetOtlpMisconfigured", "ticket"),
        ("idc", "PlanetIdcAbnormalFast", "page"),
        ("idc", "PlanetCallsAbnormalFast", "page"),
        ("gone", "PlanetExporterDown", "page"),
        ("gone", "PlanetNoCalls", "page"),
        ("alone", "PlanetCallsAbnormalSlow", "ticket"),
    ];
    let alerts = fires.map(|(job, name, severity)| {
        json!({"labels": {"job": job, "alertname": name, "severity": severity, "instance": job}})
    });
    let body = serde_json::to_string(&alerts).expect("JSON");
    let mut connection = http::Connection::open(alertmanager.address);
    let head = format!("content-type: application/json\r\ncontent-length: {}", body.len());
    connection.send(format!("POST /api/v2/alerts HTTP/1.1\r\nhost: test\r\n{head}\r\n\r\n{body}"));
    assert_eq!(connection.receive().status, 200);

    let expected = [
        ("all", "PlanetCredentials"),
        ("all", "PlanetOtlpMisconfigured"),
        ("alone", "PlanetCallsAbnormalSlow"),
        ("gone", "PlanetExporterDown"),
        ("idc", "PlanetIdcAbnormalFast"),
    ];
    let expected: BTreeSet<_> = expected.map(|(job, name)| (job.to_owned(), name.to_owned())).into();
    eventually("what is not silenced", || {
        assert_eq!(alertmanager.alerts().len(), fires.len(), "every alert is known");
        let loud = http::get(alertmanager.address, "/api/v2/alerts?inhibited=false").json();
        let text = |alert: &serde_json::Value, label: &str| {
            alert["labels"][label].as_str().unwrap_or_default().to_owned()
        };
        let loud: BTreeSet<_> =
            loud.as_array()?.iter().map(|alert| (text(alert, "job"), text(alert, "alertname"))).collect();
        (loud == expected).then_some(())
    });
}
