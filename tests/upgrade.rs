//! The promise: what an older version wrote, this one goes on with. Each directory in tests/data/kept was written by the
//! program that its README names; the real exporter starts on a copy of it.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use support::call::CallEventQuery;
use support::charts::path;
use support::exporter::{Exporter, command};
use support::prometheus::Prometheus;
use support::scrape::Page;
use support::service::{Request, Service};
use support::{Scratch, eventually};

/// Longer ago than this nobody received a call, so that every session ID is in the window and no event is too old.
const LONG_AGO: &str = "100000h";

/// A kept directory: a copy of it, and what is known of it.
struct Kept {
    scratch: Scratch,
    expected: Value,
}

impl Kept {
    fn copy(name: &str) -> Kept {
        let kept = path("tests/data/kept").join(name);
        let expected =
            fs::read_to_string(kept.with_added_extension("expected.json")).expect("what to expect");
        let scratch = Scratch::new(name);
        let copy = scratch.0.join("state");
        fs::create_dir(&copy).expect("a directory");
        for entry in fs::read_dir(&kept).expect("a directory") {
            let file = entry.expect("an entry");
            fs::copy(file.path(), copy.join(file.file_name())).expect("copied");
        }
        Kept { scratch, expected: serde_json::from_str(&expected).expect("JSON") }
    }

    fn state(&self) -> PathBuf {
        self.scratch.0.join("state")
    }

    fn start(&self, service: Option<&Service>) -> Exporter {
        let mut command = command();
        command
            .args([
                "--seen-age",
                LONG_AGO,
                "--forward-max-age",
                LONG_AGO,
                "--state-max-age",
                LONG_AGO,
                "--state-dir",
            ])
            .arg(self.state());
        if let Some(service) = service {
            command.args(["--forward-to", &service.url()]);
        }
        Exporter::launch(&mut command)
    }

    /// What `state` says of it, with this flag.
    fn look(&self, flag: &str) -> String {
        let output = command().arg("state").arg(self.state()).arg(flag).output().expect("the exporter runs");
        let shown = String::from_utf8(output.stdout).expect("text");
        assert!(output.status.success(), "{shown}{}", String::from_utf8_lossy(&output.stderr));
        shown
    }

    fn calls(&self) -> f64 {
        self.expected["calls"].as_f64().expect("a number")
    }

    /// What the service has to get, in the order of the journal.
    fn to_deliver(&self) -> Vec<&str> {
        let sids = self.expected["service_must_deliver"]["sids"].as_array().expect("a list");
        sids.iter().map(|sid| sid.as_str().expect("text")).collect()
    }

    /// Checks that the page has every sample that the older version's had, with its value.
    fn check(&self, page: &Page) {
        for sample in self.expected["series"].as_array().expect("a list") {
            let labels = sample["labels"].as_object().expect("labels").iter();
            // It showed control characters.
            let cleaned =
                |value: &str| value.chars().filter(|character| !character.is_control()).collect::<String>();
            let labels: Vec<(&str, String)> =
                labels.map(|(name, value)| (name.as_str(), cleaned(value.as_str().expect("text")))).collect();
            let labels: Vec<_> = labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let name = sample["name"].as_str().expect("a name");
            let value = match name {
                // It did not know of which IDC they were, and what is counted since has one.
                "planet_call_abnormal_releases_total" => of_all_idcs(page, name, &labels),
                "planet_call_last_event_time_seconds" => page.named(name).into_values().reduce(f64::max),
                _ => page.find(name, &labels),
            };
            assert_eq!(
                value.unwrap_or(0.0),
                sample["value"].as_f64().expect("a number"),
                "{name} {labels:?}"
            );
        }
        assert_eq!(page.sum("planet_calls_total"), self.calls());
        assert_eq!(page.sum("planet_call_results_total"), self.calls());
        assert_eq!(page.sum("planet_exporter_journal_damaged_records"), 0.0);
        let result = |result| page.value("planet_exporter_events_total", &[("result", result)]);
        assert_eq!(result("accepted"), self.calls());
    }

    /// Checks that the service got what it has to, each once, and that of each caller in the order of the journal.
    fn check_delivered(&self, requests: &[Request]) {
        let expected = self.to_deliver();
        let mut places: Vec<_> = Vec::new();
        let mut last_of_caller = BTreeMap::new();
        for request in requests {
            let key = request.header("idempotency-key").expect("a key").trim_matches('"');
            let place = expected.iter().position(|sid| *sid == key);
            let place = place.unwrap_or_else(|| panic!("it had {key} already"));
            let before = last_of_caller.insert(caller(request), place);
            assert!(before < Some(place), "{key} was overtaken by a later call of its caller");
            places.push(place);
        }
        places.sort_unstable();
        assert_eq!(places, (0..expected.len()).collect::<Vec<_>>());
    }
}

/// The sum of the series with these labels, whatever their IDC.
fn of_all_idcs(page: &Page, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let series = page.named(name);
    let has_all =
        |of_series: &BTreeMap<String, String>| labels.iter().all(|(name, value)| of_series[*name] == *value);
    Some(series.iter().filter(|(of_series, _)| has_all(of_series)).map(|(_, value)| value).sum())
}

/// Who called: the parameters that say so.
fn caller(request: &Request) -> Vec<String> {
    let parameters = request.target.split(['?', '&']);
    let of_caller =
        parameters.filter(|pair| pair.starts_with("from_user_id=") || pair.starts_with("from_service_id="));
    of_caller.map(str::to_owned).collect()
}

fn end(mut exporter: Exporter) {
    exporter.process.signal("TERM");
    assert!(exporter.process.wait().success());
}

fn eventually_no_backlog(exporter: &Exporter) {
    eventually("no backlog", || {
        (exporter.metrics().value("planet_exporter_backlog", &[("sink", "service")]) == 0.0).then_some(())
    });
}

/// A query with each sid that the journal has.
fn repeats(kept: &Kept) -> Vec<String> {
    let calls = kept.look("--calls");
    let sids = calls.lines().map(|line| {
        let call: Value = serde_json::from_str(line).expect("JSON");
        call["parameters"]["sid"].as_str().expect("a sid").to_owned()
    });
    sids.map(|sid| CallEventQuery::new(0).with("sid", &sid).encode()).collect()
}

/// Starts on a copy of a kept directory, and again on what that start left behind.
fn is_gone_on_with(name: &str) {
    let kept = Kept::copy(name);
    assert!(kept.look("--verify").contains("bytes  written by 0.1.0"));
    let repeats = repeats(&kept);
    assert_eq!(repeats.len() as f64, kept.calls());
    let service = kept.state().join("service.position").exists().then(Service::start);
    let delivered = || service.iter().flat_map(Service::requests).collect::<Vec<_>>();

    let exporter = kept.start(service.as_ref());
    kept.check(&exporter.metrics());
    if service.is_some() {
        eventually_no_backlog(&exporter);
    }
    kept.check_delivered(&delivered());
    check_what_0_1_0_finds(&kept.state());
    for query in &repeats {
        assert_eq!(exporter.send(query).status, 200);
    }
    let page = exporter.metrics();
    kept.check(&page);
    assert_eq!(page.value("planet_exporter_events_total", &[("result", "duplicate")]), kept.calls());
    end(exporter);
    kept.check_delivered(&delivered());
    let shown = kept.look("--verify");
    assert!(shown.contains(concat!("bytes  written by ", env!("CARGO_PKG_VERSION"))), "{shown}");

    let exporter = kept.start(service.as_ref());
    kept.check(&exporter.metrics());
    assert_eq!(exporter.send(&CallEventQuery::new(1).encode()).status, 200);
    let page = exporter.metrics();
    // What has been unused for a day gives its place back with the next call.
    let departed = page.value("planet_exporter_departed_calls", &[("metric", "planet_calls_total")]);
    assert_eq!(page.sum("planet_calls_total") + departed, kept.calls() + 1.0);
    if service.is_some() {
        eventually_no_backlog(&exporter);
        let mut delivered = delivered();
        assert_eq!(delivered.pop().expect("the new call").sid(), support::call::sid(1));
        kept.check_delivered(&delivered);
    }
    end(exporter);
    kept.look("--verify");
}

#[test]
fn what_0_1_0_left_after_a_regular_end_is_gone_on_with() {
    is_gone_on_with("0.1.0-clean");
}

#[test]
fn what_0_1_0_left_when_it_was_killed_is_gone_on_with() {
    is_gone_on_with("0.1.0-killed");
}

#[test]
fn checkpoints_from_before_0_1_0_are_gone_on_with() {
    is_gone_on_with("before-0.1.0-checkpoint");
}

#[test]
fn positions_from_before_0_1_0_are_gone_on_with() {
    is_gone_on_with("before-0.1.0-position");
}

#[test]
fn every_kept_directory_is_tested() {
    let entries =
        fs::read_dir(path("tests/data/kept")).expect("a directory").map(|entry| entry.expect("an entry"));
    let directories = entries.filter(|entry| entry.path().is_dir());
    let mut names: Vec<_> = directories.map(|entry| entry.file_name().into_string().expect("text")).collect();
    names.sort();
    let tested = ["0.1.0-clean", "0.1.0-killed", "before-0.1.0-checkpoint", "before-0.1.0-position"];
    assert_eq!(names, tested);
}

/// By the rules of 0.1.0, what this version left behind is sound and of a newer version: it refuses that, and takes none of it
/// for damaged.
fn check_what_0_1_0_finds(state: &Path) {
    let text = fs::read_to_string(state.join("ledger.checkpoint")).expect("a checkpoint");
    let (line, contents) = text.split_once('\n').expect("two lines");
    let (line, checksum) = line.split_once(", crc32 ").expect("a checksum");
    assert_eq!(line, "planet-call-exporter ledger checkpoint, version 3");
    let sum = crc32fast::hash(format!("{line}{contents}").as_bytes());
    assert_eq!(u32::from_str_radix(checksum, 16), Ok(sum));
    let entries = fs::read_dir(state).expect("a directory").map(|entry| entry.expect("an entry").path());
    let newest = entries.filter(|path| path.extension().is_some_and(|ending| ending == "segment")).max();
    let segment = fs::read(newest.expect("a segment")).expect("a segment");
    assert_eq!(&segment[..8], b"PLANETJ\n");
    assert_eq!(segment[8..12], 2u32.to_le_bytes());
    assert_eq!(segment[20..24], crc32fast::hash(&segment[..20]).to_le_bytes());
}

#[test]
fn an_upgrade_is_no_call() {
    for name in ["0.1.0-clean", "0.1.0-killed"] {
        let kept = Kept::copy(name);
        let exporter = kept.start(None);
        let mut prometheus = Prometheus::scraping(exporter.admin);
        let held = |prometheus: &Prometheus, metric: &str| prometheus.growth(metric).values().sum::<f64>();
        // What has been unused for a day gives its place back with the next call.
        let all =
            r#"sum(planet_calls_total) + sum(planet_exporter_departed_calls{metric="planet_calls_total"})"#;
        prometheus.wait_until(all, |calls| calls == kept.calls());
        // Whatever has grown so far, it was not calls.
        let metrics =
            ["planet_calls_total", "planet_call_results_total", "planet_call_abnormal_releases_total"];
        assert_eq!(metrics.map(|metric| held(&prometheus, metric)), [0.0; 3], "{name}");
        let call = CallEventQuery::new(7_000).with("rc_idc", "KR").with("disconnect_reason", "1301");
        assert_eq!(exporter.send(&call.encode()).status, 200);
        prometheus.wait_until(all, |calls| calls == kept.calls() + 1.0);
        assert_eq!(metrics.map(|metric| held(&prometheus, metric)), [1.0; 3], "{name}");
    }
}
