//! The promise: flags that decide how a call is counted may change at any start, after a crash as well, and no counter falls.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;

use support::Scratch;
use support::call::CallEventQuery;
use support::exporter::{Exporter, command};

fn start(state: &Path, flags: &[&str]) -> Exporter {
    Exporter::launch(command().arg("--state-dir").arg(state).args(flags))
}

/// A call of one of three services, IDCs and lengths.
fn call(number: usize) -> String {
    let at = number % 3;
    CallEventQuery::new(number)
        .with("from_service_id", ["shop", "chat", "game"][at])
        .with("rc_idc", ["KR", "lab-1", "lab-2"][at])
        .with("duration", ["30", "300", "3000"][at])
        .with("end_time", ["1582527434", "1582527704", "1582530404"][at])
        .encode()
}

#[test]
fn no_counter_falls_when_flags_change_after_a_kill() {
    for (before, after) in [
        (&["--services", "shop"][..], &["--services", "shop,chat"][..]),
        (&["--services", "shop,chat"], &["--services", "game"]),
        (&["--idcs", "lab-1"], &["--idcs", "lab-2"]),
        (&["--longest-call", "1m"], &["--longest-call", "24h"]),
        (&["--longest-call", "24h"], &["--longest-call", "1m"]),
        (&["--max-series", "1"], &["--max-series", "100"]),
        (&["--max-series", "100"], &["--max-series", "1"]),
    ] {
        let scratch = Scratch::new("changed-flags");
        let state = scratch.0.join("state");
        let exporter = start(&state, before);
        for number in 0..30 {
            assert_eq!(exporter.send(&call(number)).status, 200);
        }
        let seen = exporter.metrics().beginning_with("planet_call");
        exporter.kill();
        let exporter = start(&state, after);
        let now = exporter.metrics().beginning_with("planet_call");
        for (series, value) in &seen {
            assert!(
                now.get(series).is_some_and(|now| now == value),
                "{series:?} was {value} with {before:?}"
            );
        }
        // From here on the new ones hold.
        for number in 30..60 {
            assert_eq!(exporter.send(&call(number)).status, 200);
        }
        assert_eq!(exporter.metrics().sum("planet_calls_total"), 60.0);
    }
}

#[test]
fn services_may_be_told_apart_and_not_any_more() {
    let scratch = Scratch::new("services-on-and-off");
    let state = scratch.0.join("state");
    for (round, flags) in
        [&[][..], &["--services", "shop"], &[], &["--services", "shop,game"]].iter().enumerate()
    {
        let exporter = start(&state, flags);
        for number in 30 * round..30 * (round + 1) {
            assert_eq!(exporter.send(&call(number)).status, 200);
        }
        let calls = 30.0 * (round + 1) as f64;
        let page = exporter.metrics();
        assert_eq!(
            (page.sum("planet_calls_total"), page.sum("planet_call_duration_seconds_count")),
            (calls, calls)
        );
        let shop: f64 = page
            .named("planet_calls_total")
            .iter()
            .filter(|(labels, _)| labels.get("service").is_some_and(|service| service == "shop"))
            .map(|(_, calls)| calls)
            .sum();
        assert_eq!(shop, [0.0, 10.0, 0.0, 10.0][round]);
        exporter.kill();
    }
}
