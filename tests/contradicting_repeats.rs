//! The promise: a repeat that says something else than what was counted changes no total, and leaves a trace for people.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs;

use support::call::CallEventQuery;
use support::exporter::{Exporter, command};
use support::scrape::Page;
use support::{Scratch, eventually};

fn contradicting(page: &Page) -> f64 {
    page.value("planet_exporter_anomalies_total", &[("kind", "contradicting_repeat")])
}

fn call(number: usize) -> CallEventQuery {
    CallEventQuery::new(number)
}

#[test]
fn a_repeat_that_contradicts_is_counted_and_kept_and_never_sent_again() {
    let scratch = Scratch::new("contradicts");
    let state = scratch.0.join("state");
    let exporter = Exporter::with(&["--state-dir", state.to_str().expect("a path in UTF-8")]);
    assert_eq!(contradicting(&exporter.metrics()), 0.0);
    assert_eq!(exporter.send(&call(1).encode()).status, 200);
    let before = exporter.metrics().beginning_with("planet_call");
    for same in [call(1), call(1).with("terminate", " 16 "), call(1).with("app_svr_data", "again")] {
        assert_eq!(exporter.send(&same.encode()).status, 200);
    }
    assert_eq!(contradicting(&exporter.metrics()), 0.0);
    for (name, value) in [("terminate", "17"), ("duration", "3"), ("disconnect_reason", "1301")] {
        assert_eq!(exporter.send(&call(1).with(name, value).encode()).status, 200);
    }
    let page = exporter.metrics();
    assert_eq!(page.beginning_with("planet_call"), before);
    // Once a call, or whoever repeats one would push out what else is kept.
    assert_eq!(contradicting(&page), 1.0);
    assert_eq!(page.value("planet_exporter_events_total", &[("result", "duplicate")]), 6.0);
    assert_eq!(page.value("planet_exporter_events_total", &[("result", "refused")]), 0.0);
    let kept = String::from_utf8(exporter.admin("/refused").body).expect("text");
    assert_eq!(kept.lines().count(), 1);
    for line in kept.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert!(
            line["reason"].as_str().is_some_and(|reason| reason.starts_with("contradicting_repeat")),
            "{line}"
        );
    }

    let file = state.join("refused.jsonl");
    eventually("the lines are in the file", || {
        fs::read_to_string(&file).ok().filter(|lines| lines.lines().count() == 1)
    });
    let to = format!("http://{}/call_event", exporter.call_events);
    let replayed =
        command().arg("replay").arg(&file).args(["--to", &to]).output().expect("the exporter runs");
    assert_eq!(String::from_utf8_lossy(&replayed.stdout).trim(), "0 taken, 0 known already, 0 refused");
}

#[test]
fn what_was_counted_before_a_start_is_compared_as_soon_as_it_is_known() {
    let scratch = Scratch::new("contradicts-later");
    let state = scratch.0.join("state");
    let arguments = ["--state-dir", state.to_str().expect("a path in UTF-8")];
    let exporter = Exporter::with(&arguments);
    (0..300).for_each(|number| assert_eq!(exporter.send(&call(number).encode()).status, 200));
    exporter.kill();
    let exporter = Exporter::with(&arguments);
    // The last of them is the last to be known.
    let other = call(299).with("disconnect_reason", "1301").encode();
    eventually("a contradiction is noticed", || {
        assert_eq!(exporter.send(&other).status, 200);
        (contradicting(&exporter.metrics()) > 0.0).then_some(())
    });
    (0..300).for_each(|number| assert_eq!(exporter.send(&call(number).encode()).status, 200));
    let page = exporter.metrics();
    assert_eq!((page.sum("planet_calls_total"), contradicting(&page)), (300.0, 1.0));
}
