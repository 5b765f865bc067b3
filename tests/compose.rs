//! The promise of examples/compose: one command shows calls in a real Prometheus, an alert in a real Alertmanager, and
//! spans in a real collector, and leaves nothing; and the files with which containers do the same are right, as far as
//! that can be said without them.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::process::Process;
use support::{Scratch, eventually, http, prometheus};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/compose").join(name)
}

fn read(name: &str) -> String {
    fs::read_to_string(example(name)).expect("a file of text")
}

/// The script, with this place for temporary files.
fn script(temporary: &Path) -> Command {
    let mut command = Command::new(example("run"));
    command.env("TMPDIR", temporary).env("PLANET_CALL_EXPORTER", env!("CARGO_BIN_EXE_planet-call-exporter"));
    command
}

/// What the programs say of their configurations, all of which they take.
fn checked() -> String {
    let temporary = Scratch::new("compose-check");
    let output = script(&temporary.0).arg("--check").output().expect("a shell");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
fn prometheus_and_alertmanager_take_their_configurations() {
    let said = checked();
    for expected in ["2 rule files found", "prometheus.yaml is valid", "5 inhibit rules"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
#[ignore = "needs the collector that tests/run --peers builds"]
fn the_collector_takes_its_configuration() {
    let said = checked();
    assert!(said.contains("the collector takes"), "{said}");
}

/// Alertmanager includes no files, so its configuration has a copy.
#[test]
fn alertmanager_has_the_inhibitions_that_belong_to_the_alerts() {
    let inhibitions =
        fs::read_to_string(example("../../dashboards/inhibit_rules.yml")).expect("the original");
    assert!(
        read("alertmanager.yaml").ends_with(&inhibitions),
        "copy dashboards/inhibit_rules.yml to its end"
    );
}

#[test]
fn every_file_that_is_mounted_is_there_and_every_dashboard_is_mounted() {
    let text = read("compose.yaml");
    let entries = text.lines().filter_map(|line| line.trim().strip_prefix("- ."));
    let mounted: BTreeSet<String> =
        entries.map(|entry| format!(".{}", entry.split(':').next().expect("a path"))).collect();
    assert!(mounted.len() > 5, "{mounted:?}");
    for file in &mounted {
        assert!(example(file).exists(), "{file}");
    }
    let dashboards = fs::read_dir(example("../../dashboards")).expect("the dashboards");
    let names = dashboards.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"));
    for name in names.filter(|name| name.ends_with(".json")) {
        assert!(mounted.contains(&format!("../../dashboards/{name}")), "{name} is not mounted");
    }
}

#[test]
fn only_this_machine_reaches_the_ports() {
    let text = read("compose.yaml");
    let ports: Vec<_> = text.lines().filter(|line| line.trim().starts_with("ports:")).collect();
    assert!(!ports.is_empty());
    for line in ports {
        assert_eq!(line.matches("'127.0.0.1:").count(), line.matches('\'').count() / 2, "{line}");
    }
}

/// What it started ends with it, whatever becomes of the test.
struct Demonstration(Process);

impl Drop for Demonstration {
    fn drop(&mut self) {
        if self.0.ended().is_none() {
            self.0.signal("TERM");
            self.0.wait();
        }
    }
}

#[test]
fn the_script_shows_calls_the_alert_and_spans_and_leaves_nothing() {
    let temporary = Scratch::new("compose");
    let mut demonstration = Demonstration(Process::start("examples/compose/run", &mut script(&temporary.0)));
    let process = &mut demonstration.0;
    let mut address = |what: &str| -> SocketAddr {
        let line = process.eventually(what, |process| process.stdout.find(what));
        let url = line.trim().strip_prefix("http://").and_then(|url| url.split('/').next());
        url.expect("a URL").parse().expect("an address")
    };
    let metrics = address("alerts in Prometheus");
    let alertmanager = address("the same in Alertmanager");

    let sum = |query| prometheus::query(metrics, query).into_values().next().filter(|sum| *sum > 0.0);
    let calls = eventually("calls in Prometheus", || sum("sum(planet_call_results_total)"));
    assert!(calls >= 14_400.0, "{calls}");
    eventually("spans at the collector", || {
        sum("sum(planet_exporter_delivered_events_total{sink=\"spans\"})")
    });
    let alert = eventually("a page in Alertmanager", || {
        let alerts = http::get(alertmanager, "/api/v2/alerts").json();
        let alerts = alerts.as_array().cloned().unwrap_or_default();
        alerts.into_iter().find(|alert| alert["labels"]["severity"] == "page")
    });
    assert_eq!(alert["labels"]["alertname"], "PlanetIdcAbnormalFast", "{alert}");
    assert_eq!(alert["labels"]["idc"], "JP", "{alert}");

    process.signal("TERM");
    process.wait();
    assert_eq!(fs::read_dir(&temporary.0).expect("a directory").count(), 0);
}
