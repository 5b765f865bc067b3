//! The dashboards, rules and alerts are right: on the real Prometheus and Alertmanager, with the real exporter's numbers.

#![cfg(feature = "simulator")]
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use planet_call_exporter::callback::Anomaly;
use serde_json::Value;
use support::backend::Backend;
use support::exporter::{Exporter, command};
use support::process::Process;
use support::prometheus::Prometheus;
use support::service::Service;
use support::{Scratch, eventually, free_address, http, simulator};

fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn assert_runs(command: &mut Command) {
    let output = command.output().expect("it runs");
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {text}");
}

fn dashboards() -> Vec<Value> {
    let files = fs::read_dir(path("dashboards")).expect("the dashboards").flatten().map(|file| file.path());
    let files = files.filter(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.map(|file| serde_json::from_slice(&fs::read(file).expect("a file")).expect("JSON")).collect()
}

/// Every panel but rows, with the name of its dashboard.
fn panels() -> Vec<(String, Value)> {
    let of_dashboard = |dashboard: Value| {
        let title = dashboard["title"].as_str().expect("a title").to_owned();
        let panels = dashboard["panels"].as_array().expect("panels").clone();
        panels.into_iter().map(move |panel| (title.clone(), panel))
    };
    let panels = dashboards().into_iter().flat_map(of_dashboard);
    panels.filter(|(_, panel)| panel["type"] != "row").collect()
}

fn expressions(panel: &Value) -> Vec<String> {
    let targets = panel["targets"].as_array().expect("targets").iter();
    targets.map(|target| target["expr"].as_str().expect("an expression").to_owned()).collect()
}

fn rule_files() -> [PathBuf; 2] {
    ["recording", "alerts"].map(|name| path(&format!("dashboards/rules/{name}.rules.yml")))
}

/// The expressions of the rules that are recorded or alert, by name. Rules are plain enough to be read line by line.
fn rules() -> Vec<(String, String)> {
    let mut rules: Vec<(String, String)> = Vec::new();
    let mut indent = None;
    for line in rule_files().iter().flat_map(|file| {
        fs::read_to_string(file).expect("a file").lines().map(str::to_owned).collect::<Vec<_>>()
    }) {
        let text = line.trim_start();
        let depth = line.len() - text.len();
        if let Some((_, name)) = text.strip_prefix("- ").and_then(|rule| rule.split_once(": "))
            && (text.starts_with("- record: ") || text.starts_with("- alert: "))
        {
            rules.push((name.to_owned(), String::new()));
            indent = None;
        } else if let Some(expression) = text.strip_prefix("expr: ") {
            indent = Some(depth);
            let expression = expression.trim_start_matches("|-");
            rules.last_mut().expect("a rule before its expression").1.push_str(expression);
        } else if indent.is_some_and(|indent| depth > indent) {
            let rule = rules.last_mut().expect("a rule before its expression");
            rule.1 += &format!("{text}\n");
        } else {
            indent = None;
        }
    }
    rules
}

#[test]
fn dashboards_are_what_their_generator_writes() {
    assert_runs(Command::new("python3").arg(path("dashboards/generate.py")).arg("--check"));
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
fn a_week_of_rules_is_what_its_tests_say() {
    assert_rules_hold("week");
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
    let sections: BTreeSet<_> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let uids: BTreeSet<_> = dashboards()
        .iter()
        .map(|dashboard| dashboard["uid"].as_str().unwrap_or_default().to_owned())
        .collect();
    let alerts: Vec<_> = text.split("- alert: ").skip(1).collect();
    let names: BTreeSet<_> = alerts.iter().map(|alert| alert.lines().next().expect("a name")).collect();
    assert_eq!(names, sections);
    let tests = fs::read_to_string(path("tests/rules/alerts.test.yml")).expect("the tests");
    for (name, alert) in names.iter().zip(&alerts) {
        assert!(tests.contains(&format!("alertname=\"{name}\"")), "a test in which {name} fires");
        let value = |key: &str| {
            alert.lines().find_map(|line| line.trim().strip_prefix(&format!("{key}: "))).unwrap_or_default()
        };
        let own = alert.lines().next().expect("a name");
        assert!(["page", "ticket"].contains(&value("severity")), "{own} has a severity");
        assert!(value("summary").len() > 20, "{own} has a summary");
        assert!(alert.contains("description: >-") && alert.contains("$labels"), "{own} has a description");
        assert!(uids.contains(value("dashboard").trim_start_matches("/d/")), "{own} has a dashboard");
        let anchor = format!("dashboards/RUNBOOK.md#{}", own.to_lowercase());
        assert_eq!(value("runbook_url"), anchor);
        let section = runbook.split("## ").find(|section| section.starts_with(&format!("{own}\n")));
        for part in ["*Run:* `", "*For callers:*", "*Confirm:*", "*Do:*", "*Call LINE Planet"] {
            assert!(section.is_some_and(|section| section.contains(part)), "{own}: {part}");
        }
    }
}

/// What the users of such dashboards complain of must not be.
#[test]
fn dashboards_keep_the_rules_of_dashboards() {
    for dashboard in dashboards() {
        let title = dashboard["title"].as_str().expect("a title");
        assert_eq!(dashboard["schemaVersion"], 39, "{title}");
        assert!(dashboard["uid"].as_str().is_some_and(|uid| uid.starts_with("planet-")), "{title}");
        assert_eq!(dashboard["links"][0]["tags"], dashboard["tags"], "{title} leads to the others");
        let alerts = dashboard["annotations"]["list"][0]["expr"].as_str();
        assert!(alerts.is_some_and(|alerts| alerts.contains("ALERTS{")), "{title} shows when alerts fired");
        let variables = dashboard["templating"]["list"].as_array().expect("variables");
        let names: Vec<_> =
            variables.iter().map(|variable| variable["name"].as_str().expect("a name")).collect();
        assert!(names.starts_with(&["datasource", "job", "instance"]), "{title}: {names:?}");
        for variable in variables.iter().filter(|variable| variable["type"] == "query") {
            assert_eq!(
                (&variable["refresh"], &variable["multi"], &variable["allValue"]),
                (&2.into(), &true.into(), &".+".into()),
                "{title}: {variable}"
            );
        }
        let mut places = BTreeSet::new();
        for panel in dashboard["panels"].as_array().expect("panels") {
            let place = &panel["gridPos"];
            let number = |key: &str| place[key].as_u64().expect("a number");
            assert!(number("x") + number("w") <= 24, "{title}: {panel}");
            for x in number("x")..number("x") + number("w") {
                for y in number("y")..number("y") + number("h") {
                    assert!(places.insert((x, y)), "{title}: two panels at {x}, {y}");
                }
            }
        }
        let bottom = places.iter().map(|(_, y)| y + 1).max().expect("panels");
        assert_eq!(places.len() as u64, 24 * bottom, "{title} has no holes");
    }
    for (dashboard, panel) in panels() {
        let name = format!("{dashboard}, {}", panel["title"]);
        for text in ["title", "description"] {
            assert!(panel[text].as_str().is_some_and(|text| !text.is_empty()), "{name} has a {text}");
        }
        assert!(panel["fieldConfig"]["defaults"]["noValue"].is_string(), "{name} says when it is empty");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}");
        assert_units_and_colours(&name, &panel);
        for target in panel["targets"].as_array().expect("targets") {
            assert_windows(&name, &panel, target);
        }
        for expression in expressions(&panel) {
            assert_heeds_the_variables(&name, &expression);
        }
    }
}

/// A colour means a fault domain or a state: everything else has that of text, or shades of grey.
fn assert_units_and_colours(name: &str, panel: &Value) {
    let units = ["percentunit", "s", "dthms", "short", "none", "bytes", "dateTimeAsIsoNoDateIfToday"];
    let defaults = &panel["fieldConfig"]["defaults"];
    let unit = defaults["unit"].as_str().unwrap_or_default();
    assert!(units.contains(&unit), "{name} has the unit {unit:?}");
    let colour = &defaults["color"];
    match colour["mode"].as_str() {
        Some("thresholds") => {}
        Some("fixed") => assert_eq!(colour["fixedColor"], "text", "{name}"),
        Some("shades") => assert_eq!(colour["fixedColor"], "#B4BAC4", "{name}"),
        mode => panic!("{name} has the colours {mode:?}"),
    }
    let overrides = panel["fieldConfig"]["overrides"].as_array().expect("overrides");
    if panel["type"] == "timeseries" {
        for domain in ["none", "user", "client", "network", "platform", "application", "unknown"] {
            let colours = overrides.iter().filter(|matcher| matcher["matcher"]["options"] == domain).count();
            assert_eq!(colours, 1, "{name} has one colour for {domain}");
        }
    }
}

/// A headline is of a fixed window, which its title or a column names, or of the time that is shown; a share in a graph is of a window that does not depend on the width of
/// a screen.
fn assert_windows(name: &str, panel: &Value, target: &Value) {
    let is_number = panel["type"] == "stat" || panel["type"] == "table";
    assert_eq!(target["instant"], is_number, "{name}");
    let expression = target["expr"].as_str().expect("an expression");
    let is_share = panel["fieldConfig"]["defaults"]["unit"] == "percentunit";
    for call in ["rate(", "increase(", "changes(", "resets("] {
        for rest in expression.split(call).skip(1) {
            let window = rest.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
            let window = window.map(|(window, _)| window).unwrap_or_default();
            let of_alerts = ["5m", "10m", "20m", "90m", "1h", "7d"];
            let is_allowed = of_alerts.contains(&window)
                || match window {
                    "$__range" => is_number,
                    "$window" => !is_number,
                    "$__rate_interval" => !is_number && !is_share,
                    _ => false,
                };
            assert!(is_allowed, "{name}: the window {window:?} in {expression}");
        }
    }
}

fn assert_heeds_the_variables(name: &str, expression: &str) {
    // Alerts and settings are of no exporter.
    let is_of_none = expression.contains("ALERTS") || expression.contains("\"setting\"");
    for variable in ["job=~\"$job", "instance=~\"$instance\""] {
        assert!(is_of_none || expression.contains(variable), "{name} heeds {variable}: {expression}");
    }
}

/// Whoever is woken up by an alert finds what it looked at.
#[test]
fn every_metric_of_an_alert_is_in_a_panel() {
    let shown: BTreeSet<_> = panels()
        .iter()
        .flat_map(|(_, panel)| expressions(panel))
        .flat_map(|expression| metric_names(&expression))
        .collect();
    for (name, expression) in rules() {
        for metric in metric_names(&expression) {
            // What rules record is made of metrics that are looked for themselves.
            assert!(shown.contains(&metric) || metric.contains(':'), "{name} looks at {metric}");
        }
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

/// The expression as Grafana would send it, without leaving zeros out. What lies a week back lies a second back here, so that there is something.
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

/// The names of metrics in an expression.
fn metric_names(expression: &str) -> BTreeSet<String> {
    let is_of_name = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | ':');
    let words = expression.split(|character| !is_of_name(character));
    let is_metric = |word: &&str| word.starts_with("planet_") || word.starts_with("process_");
    words.filter(is_metric).map(str::to_owned).collect()
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
            // No alert need fire here, and no share is over its limit for long.
            if expression.contains("ALERTS") && panel["type"] == "table" {
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
            let is_of_process = metric.starts_with("process_");
            let is_pushed = pushed.contains(&metric) || pushed.contains(&format!("{metric}_bucket"));
            assert!(is_of_process || is_pushed, "{dashboard}: {metric} does not come over OTLP");
        }
    }
    let recorded: BTreeSet<_> = self::rules().into_iter().map(|(name, _)| name).collect();
    for (name, expression) in self::rules() {
        prometheus.samples(&expression).unwrap_or_else(|error| panic!("{name}: {expression}: {error}"));
        for metric in metric_names(&expression) {
            let is_recorded = metric.starts_with("planet_calls:") || recorded.contains(&metric);
            assert!(known(&metric) || is_recorded, "{name} asks for {metric}, which is not exported");
        }
        // What holds only in an incident, or after a day, is empty here.
        let is_rare = ["failing", "decaying", "missing", "expected"].iter().any(|rare| name.contains(rare));
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
        ("Answered (ASR), 10 min", sum(&is_answered) / all),
        ("Delivered (NER), 10 minutes", 1.0 - sum(&is_abnormal) / all),
        (
            "Cut off, 10 minutes",
            sum(&|labels| is_answered(labels) && is_abnormal(labels)) / sum(&is_answered),
        ),
    ];
    for (title, expected) in expected {
        let (_, panel) = panels().into_iter().find(|(_, panel)| panel["title"] == title).expect("the panel");
        let shown =
            prometheus.query(&as_sent(&expressions(&panel)[0])).into_values().next().expect("a value");
        // A label set that is first seen with its first call has lost that one to the rate.
        assert!((shown - expected).abs() < 0.03, "{title} is {expected} and shown as {shown}");
    }
}

/// A real Alertmanager, which tells nobody.
struct Alertmanager {
    process: Process,
    address: SocketAddr,
    _scratch: Scratch,
}

impl Alertmanager {
    fn start() -> Alertmanager {
        let (scratch, address) = (Scratch::new("alertmanager"), free_address());
        let configuration = scratch.0.join("alertmanager.yml");
        fs::write(&configuration, "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
            .expect("a file");
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
    let mut alertmanager = Alertmanager::start();
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
