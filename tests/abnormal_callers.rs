//! The promise: one bot is told from an outage by how many different callers had an abnormal call, after a crash as
//! before it, and nothing but the journal knows who they are.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use support::backend::Backend;
use support::call::CallEventQuery;
use support::exporter::{Exporter, command};
use support::http;
use support::scrape::Page;
use support::{Scratch, eventually};

const METRIC: &str = "planet_call_abnormal_callers";

/// Who calls, and what nothing but the journal may have.
const CALLER: &str = "caller7Qx";

/// A call of this number in an IDC, by this user of this service, with this reason.
fn call(number: usize, idc: &str, user: &str, service: &str, reason: &str) -> String {
    let call = CallEventQuery::new(number).with("from_user_id", user).with("from_service_id", service);
    call.with("rc_idc", idc).with("disconnect_reason", reason).encode()
}

fn start(state: &Path, arguments: &[&str]) -> Exporter {
    let mut command = command();
    let command = command.args(["--idcs", "JP,dc-1", "--log-level", "trace"]).args(arguments);
    Exporter::launch(command.arg("--state-dir").arg(state))
}

/// How many callers there are by IDC and window.
fn callers(page: &Page) -> BTreeMap<(String, String), f64> {
    let series = page.named(METRIC).into_iter();
    series.map(|(labels, value)| ((labels["idc"].clone(), labels["window"].clone()), value)).collect()
}

/// So many callers of each IDC, in both windows.
fn counts(expected: &[(&str, f64)]) -> BTreeMap<(String, String), f64> {
    let both = expected.iter().flat_map(|(idc, count)| {
        ["5m", "60m"].map(|window| (((*idc).to_owned(), window.to_owned()), *count))
    });
    both.collect()
}

/// The files of a state directory that hold this text, without the journal's.
fn files_with(state: &Path, text: &str) -> Vec<String> {
    let files = fs::read_dir(state).expect("a directory").map(|entry| entry.expect("an entry"));
    let holds = |bytes: &[u8]| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    let files = files.filter(|file| holds(&fs::read(file.path()).unwrap_or_default()));
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    names.filter(|name| !name.ends_with(".segment")).collect()
}

#[test]
fn a_bot_is_one_caller_and_an_outage_is_many_and_a_crash_changes_nothing() {
    let scratch = Scratch::new("callers");
    let state = scratch.0.join("state");
    let mut exporter = start(&state, &[]);
    assert_eq!(callers(&exporter.metrics()), counts(&[("JP", 0.0), ("dc-1", 0.0)]));
    let mut numbers = 0..;
    let mut send = |exporter: &Exporter, idc: &str, user: &str, service: &str, reason: &str| {
        let query = call(numbers.next().expect("a number"), idc, user, service, reason);
        assert_eq!(exporter.send(&query).status, 200);
    };
    // A bot in KR, an outage in JP, and the same user ID of another service; calls that end well are nobody's.
    for number in 0..12 {
        send(&exporter, "KR", CALLER, "shop", "1301");
        send(&exporter, "JP", &format!("{CALLER}{number}"), "shop", "1401");
        send(&exporter, "dc-1", CALLER, "shop", "1001");
    }
    send(&exporter, "KR", CALLER, "chat", "1301");
    let expected = counts(&[("JP", 12.0), ("KR", 2.0), ("dc-1", 0.0)]);
    assert_eq!(callers(&exporter.metrics()), expected);

    // Some are in a checkpoint, by now or after the next start, and some are not.
    for _ in 0..2 {
        send(&exporter, "KR", CALLER, "chat", "1301");
        exporter.kill();
        assert!(state.join("ledger.checkpoint").exists());
        exporter = start(&state, &[]);
        assert_eq!(callers(&exporter.metrics()), expected);
    }
    // Old callers come again, and are no new ones.
    (0..12).for_each(|number| send(&exporter, "JP", &format!("{CALLER}{number}"), "shop", "1401"));
    assert_eq!(callers(&exporter.metrics()), expected);

    // With all calls in the checkpoint, too.
    exporter.process.signal("TERM");
    exporter.process.wait();
    exporter = start(&state, &[]);
    assert_eq!(callers(&exporter.metrics()), expected);
    assert_eq!(exporter.metrics().sum("planet_calls_total"), 51.0);

    // They are in the journal, or this would show nothing.
    assert!(fs::read_dir(&state).expect("a directory").flatten().any(|file| {
        let bytes = fs::read(file.path()).unwrap_or_default();
        bytes.windows(CALLER.len()).any(|window| window == CALLER.as_bytes())
    }));
    assert_eq!(files_with(&state, CALLER), Vec::<String>::new());
    assert_eq!(files_with(&state, "abnormal_callers"), Vec::<String>::new());
    assert!(!exporter.admin("/metrics").text().contains(CALLER));
    exporter.process.signal("TERM");
    exporter.process.wait();
    let lines = [exporter.process.stderr.all(), exporter.process.stdout.all()].concat();
    assert!(lines.len() > 2, "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains(CALLER)), "{lines:?}");
}

#[test]
fn what_the_journal_has_no_more_is_nobodys_after_a_restart() {
    let scratch = Scratch::new("callers-gone");
    let state = scratch.0.join("state");
    let ages = ["--seen-age", "1s", "--segment-age", "1s"];
    let exporter = start(&state, &ages);
    assert_eq!(exporter.send(&call(0, "KR", CALLER, "shop", "1301")).status, 200);
    let of_kr = |exporter: &Exporter| exporter.metrics().value(METRIC, &[("idc", "KR"), ("window", "60m")]);
    let names_caller = || {
        let files = fs::read_dir(&state).expect("a directory").flatten();
        let mut bytes = files.map(|file| fs::read(file.path()).unwrap_or_default());
        bytes.any(|bytes| bytes.windows(CALLER.len()).any(|window| window == CALLER.as_bytes()))
    };
    assert!(names_caller());
    eventually("the journal forgets the caller", || (!names_caller()).then_some(()));
    assert_eq!(of_kr(&exporter), 1.0);
    exporter.kill();
    let exporter = start(&state, &ages);
    assert_eq!((of_kr(&exporter), exporter.metrics().sum("planet_calls_total")), (0.0, 1.0));
}

#[test]
fn every_way_has_the_same() {
    let backend = Backend::start();
    let endpoint = format!("http://{}/v1/metrics", backend.address());
    let exporter = Exporter::launch(
        command()
            .env("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", endpoint)
            .env("OTEL_METRIC_EXPORT_INTERVAL", "100"),
    );
    for number in 0..7 {
        let query = call(number, "KR", &format!("{CALLER}{number}"), "shop", "1301");
        assert_eq!(exporter.send(&query).status, 200);
    }
    let scraped = exporter.metrics();
    assert_eq!(callers(&scraped), counts(&[("KR", 7.0)]));
    let headers = [("accept", "application/openmetrics-text")];
    let openmetrics = http::request(exporter.admin, "GET", "/metrics", &headers).text();
    for window in ["5m", "60m"] {
        let sample = format!("\n{METRIC}{{idc=\"KR\",window=\"{window}\"}} 7");
        assert!(openmetrics.contains(&sample), "{sample} is not in {openmetrics}");
    }
    assert!(openmetrics.contains(&format!("# TYPE {METRIC} gauge\n")) && openmetrics.ends_with("# EOF\n"));
    let scraped = scraped.beginning_with(METRIC);
    eventually("the same over OTLP", || {
        let mut pushed = backend.received().series.clone();
        pushed.retain(|(name, _), _| name == METRIC);
        (pushed == scraped).then_some(())
    });
}
