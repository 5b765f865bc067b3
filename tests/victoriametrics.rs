//! The promise: VictoriaMetrics, vmagent and vmalert, set up as docs/victoriametrics.md says, hold every call and show
//! it to the same dashboards and rules as Prometheus does.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use support::call::CallEventQuery;
use support::exporter::{Exporter, command};
use support::victoriametrics::{Program, command_line, program, pushing_to};
use support::{Scratch, eventually, free_address, prometheus};

/// The metrics that count each call once.
const OF_CALLS: [&str; 4] = [
    "planet_calls_total",
    "planet_call_results_total",
    "planet_call_releases_total",
    "planet_call_setup_duration_seconds_count",
];

fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// Sends calls of three IDCs that end for these reasons, in turn.
fn send(exporter: &Exporter, numbers: std::ops::Range<usize>, reasons: &[&str]) {
    for number in numbers {
        let call = CallEventQuery::new(number)
            .with("rc_idc", ["KR", "JP", "TW"][number % 3])
            .with("disconnect_reason", reasons[number % reasons.len()])
            .with("type", if number.is_multiple_of(7) { "V" } else { "A" })
            .with("rel_code", &(number % 7).to_string());
        assert_eq!(exporter.send(&call.encode()).status, 200);
    }
}

fn scraping(admin: SocketAddr) -> Program {
    Program::start("victoria-metrics -promscrape", &[("planet-host:9464", &admin.to_string())], &[])
}

/// An exporter that starts again and again, on the same addresses and with the same state.
struct Again {
    state: Scratch,
    call_events: SocketAddr,
    admin: SocketAddr,
}

impl Again {
    fn new() -> Again {
        Again { state: Scratch::new("state"), call_events: free_address(), admin: free_address() }
    }

    fn start(&self) -> Exporter {
        Exporter::launch_as_it_is(
            command()
                .args(["--listen", &self.call_events.to_string(), "--admin-listen", &self.admin.to_string()])
                .args(["--state-dir", &self.state.0.to_string_lossy()]),
        )
    }
}

/// What holds the calls of an exporter with this admin port, as it scrapes or is written to.
type Holder = fn(SocketAddr) -> (Program, Option<Program>);

fn by_scraping(admin: SocketAddr) -> (Program, Option<Program>) {
    (scraping(admin), None)
}

fn by_vmagent(admin: SocketAddr) -> (Program, Option<Program>) {
    let written_to = Program::start("victoria-metrics -opentelemetry", &[], &[]);
    let names =
        [("planet-host:9464", &*admin.to_string()), ("http://victoria-metrics:8428", &*written_to.url())];
    let agent = Program::start("vmagent", &names, &[]);
    (written_to, Some(agent))
}

/// Each with an exporter of its own.
#[test]
#[ignore = "needs the VictoriaMetrics that tests/run --peers builds"]
fn every_call_is_held_whether_victoria_metrics_scrapes_or_vmagent() {
    every_call_is_held(by_scraping);
    every_call_is_held(by_vmagent);
}

/// They have one address and one User-Agent. So a restart leaves it open which of them asks, until both have.
#[test]
#[ignore = "needs the VictoriaMetrics that tests/run --peers builds"]
fn both_on_one_host_hold_every_call_if_both_scrape_between_restarts() {
    let again = Again::new();
    let (admin, mut exporter) = (again.admin, again.start());
    let holders = [by_scraping(admin), by_vmagent(admin)];
    let mut sent = 0;
    for (burst, reasons) in [(100, ["1001", "1301"]), (7, ["1302", "1101"]), (60, ["1203", "1399"])] {
        let started = exporter.metrics().value("process_start_time_seconds", &[]);
        holders.iter().for_each(|(holder, _)| holder.wait_until("process_start_time_seconds", started));
        send(&exporter, sent..sent + burst, &reasons);
        sent += burst;
        for (holder, _) in &holders {
            for metric in OF_CALLS {
                eventually("all calls", || {
                    holder.flush();
                    (holder.growth(metric) >= sent as f64).then_some(())
                });
                assert_eq!(holder.growth(metric), sent as f64, "{metric}");
            }
        }
        exporter.kill();
        exporter = again.start();
    }
}

fn every_call_is_held(holder: Holder) {
    let again = Again::new();
    let (admin, mut exporter) = (again.admin, again.start());
    let (holder, _agent) = holder(admin);
    holder.wait_until("up", 1.0);
    let reasons = ["1001", "1301", "1302", "1101", "1203", "1399", "1202", "1201", "1403", "1002", "1102"];
    let mut sent = 0;
    for burst in [100, 7, 60, 1, 132] {
        send(&exporter, sent..sent + burst, &reasons);
        sent += burst;
        match burst {
            60 => {
                exporter.process.signal("TERM");
                exporter.process.wait();
            }
            100 | 132 => exporter.kill(),
            _ => continue,
        }
        exporter = again.start();
    }
    assert_eq!(exporter.metrics().sum(OF_CALLS[0]), sent as f64);
    let abnormal = exporter.metrics().sum("planet_call_abnormal_releases_total");
    for metric in OF_CALLS {
        eventually("all calls", || {
            holder.flush();
            (holder.growth(metric) >= sent as f64).then_some(())
        });
        assert_eq!(holder.growth(metric), sent as f64, "{metric}");
    }
    assert_eq!(holder.growth("planet_call_abnormal_releases_total"), abnormal);
    // Unlike Prometheus it does not extrapolate.
    holder.wait_until("sum(increase(planet_calls_total[5m]))", sent as f64);
}

#[test]
#[ignore = "needs the VictoriaMetrics that tests/run --peers builds"]
fn what_is_pushed_has_the_names_and_labels_of_the_page_with_job_and_instance() {
    let holder = Program::start("victoria-metrics -opentelemetry", &[], &[]);
    let mut exporters = Vec::new();
    for compression in ["gzip", "none"] {
        let attributes =
            format!("service.namespace=voice,service.instance.id={compression},k8s.pod.uid=4711");
        let mut command = command();
        command.envs(pushing_to(&holder)).env("OTEL_METRIC_EXPORT_INTERVAL", "300");
        command
            .env("OTEL_EXPORTER_OTLP_COMPRESSION", compression)
            .env("OTEL_RESOURCE_ATTRIBUTES", attributes);
        let exporter = Exporter::launch(&mut command);
        let of_this = format!("job='voice/planet-call-exporter',instance='{compression}'");
        holder.wait_until(&format!("count(planet_exporter_build_info{{{of_this}}})"), 1.0);
        send(&exporter, 0..60, &["1001", "1301"]);
        let page = exporter.metrics().beginning_with("planet_call");
        let query = format!("{{__name__=~'planet_call.*',{of_this}}}");
        eventually("what the page shows", || {
            holder.flush();
            (prometheus::query(holder.address, &query) == page).then_some(())
        });
        assert_eq!(holder.growth(&format!("planet_calls_total{{{of_this}}}")), 60.0);
        exporters.push(exporter);
    }
    // The rules find it.
    let vmalert = Program::vmalert(&holder);
    let of_calls = eventually("rules that were evaluated", || {
        holder.flush();
        let rules = rules(&vmalert);
        assert!(rules.iter().all(|rule| rule["health"] != "err"), "{rules:#?}");
        let query = |rule: &serde_json::Value| rule["query"].as_str().expect("a query").to_owned();
        let of_calls: Vec<_> = rules
            .into_iter()
            .filter(|rule| rule["type"] == "recording" && query(rule).contains("increase(planet_call"))
            .collect();
        of_calls.iter().all(|rule| rule["lastSamples"].as_u64() > Some(0)).then_some(of_calls.len())
    });
    assert!(of_calls > 5, "only {of_calls} rules record increases of calls");
}

/// The rules of a vmalert, with what became of their latest evaluation.
fn rules(vmalert: &Program) -> Vec<serde_json::Value> {
    let groups = vmalert.rule_groups();
    assert!(!groups.is_empty());
    groups.iter().flat_map(|group| group["rules"].as_array().expect("rules").clone()).collect()
}

/// Waits until each group has been evaluated so often from now on, and has found what was recorded before.
fn wait_for_evaluations(vmalert: &Program, holder: &Program, often: usize) {
    let mut seen: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    eventually("evaluations", || {
        for group in vmalert.rule_groups() {
            let text = |field: &str| group[field].as_str().expect("a text").to_owned();
            seen.entry(text("name")).or_default().insert(text("lastEvaluation"));
        }
        holder.flush();
        std::thread::sleep(Duration::from_millis(200));
        seen.values().all(|times| times.len() > often).then_some(())
    });
}

/// The names of the alerts that are pending or firing, but for that of settings, which are not there at first.
fn alerts(vmalert: &Program) -> Vec<String> {
    let alerts = vmalert.alerts().into_iter().filter(|alert| alert["name"] != "PlanetSettings");
    alerts.map(|alert| format!("{} {}", alert["name"], alert["state"])).collect()
}

#[test]
#[ignore = "needs the VictoriaMetrics that tests/run --peers builds"]
fn old_totals_alert_nobody_and_new_calls_that_fail_do() {
    let exporter = Exporter::with(&["--series-zero-for", "1ms"]);
    // So few abnormal ones in each series that VictoriaMetrics's increase() takes them for new, and so many others that
    // it does not.
    send(&exporter, 0..60, &["1301", "1001", "1001", "1001", "1001"]);
    // They have been there for a while when it comes.
    assert_eq!(exporter.metrics().sum("planet_calls_total"), 60.0);
    let holder = scraping(exporter.admin);
    holder.wait_until("sum(planet_calls_total)", 60.0);
    assert_eq!(holder.growth("planet_calls_total"), 0.0);
    let taken_for_new =
        prometheus::query(holder.address, "sum(increase(planet_call_results_total[10m])) > 0");
    assert_eq!(taken_for_new.len(), 1, "otherwise this proves nothing");
    let vmalert = Program::vmalert(&holder);
    // An alert reads what is recorded in four steps, each of which the next one sees an evaluation later, or two.
    wait_for_evaluations(&vmalert, &holder, 8);
    assert_eq!(alerts(&vmalert), Vec::<String>::new());
    // A fault that there was not before: its series began at 0.
    send(&exporter, 60..120, &["1305"]);
    eventually("a page", || {
        holder.flush();
        let pages = vmalert.alerts().into_iter().filter(|alert| alert["labels"]["severity"] == "page");
        pages.filter(|alert| alert["state"] == "firing").count().gt(&0).then_some(())
    });
}

#[test]
#[ignore = "needs the VictoriaMetrics that tests/run --peers builds"]
fn vmalert_takes_the_rule_files() {
    let directory = path("dashboards/rules").display().to_string();
    let check = |rules: &str| {
        let flags = command_line("vmalert", &[("dashboards/rules", rules)]);
        let mut vmalert = Command::new(program("vmalert"));
        vmalert.args(&flags[1..]).arg("-dryRun").output().expect("vmalert, which tests/run --peers builds")
    };
    let output = check(&directory);
    assert!(output.status.success(), "{}", said(&output));
    // What is wrong is found to be so, that is: it looked.
    let scratch = Scratch::new("rules");
    let wrong = "groups: [{name: g, rules: [{record: r, expr: 'sum(('}]}]";
    fs::write(scratch.0.join("wrong.yml"), wrong).expect("a file");
    assert!(!check(&scratch.0.display().to_string()).status.success());
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

const INCIDENT: &str = "tests/rules/incident.test.yml";

#[test]
fn prometheus_judges_the_incident_as_its_test_says() {
    let output = Command::new("promtool").args(["test", "rules"]).arg(path(INCIDENT)).output();
    let output = output.expect("promtool, which tests/run installs");
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
#[ignore = "needs the VictoriaMetrics that tests/run --peers builds"]
fn victoria_metrics_judges_the_incident_as_prometheus_does() {
    let scratch = Scratch::new("incident");
    let rules = path("dashboards/rules").display().to_string();
    let test = fs::read_to_string(path(INCIDENT)).expect("a file");
    let test =
        test.replace("../../dashboards/rules", &rules).replace("promql_expr_test", "metricsql_expr_test");
    let file = scratch.0.join("incident.yml");
    fs::write(&file, test).expect("a file");
    let output = Command::new(program("vmalert-tool")).arg("unittest").arg("--files").arg(&file).output();
    let output = output.expect("vmalert-tool, which tests/run --peers builds");
    assert!(output.status.success(), "{}", said(&output));
}
