//! The promise: no request and no stored record ends the process or its next start. What this program fails on is caught, set
//! aside, counted and kept, and everything else goes on.
//!
//! A text in a query brings about a panic in a part of a program that was built with the feature `fault-injection`.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use planet_call_exporter::callback::Record;
use planet_call_exporter::state::quarantine::Quarantined;
use support::call::{CallEventQuery, sid};
use support::exporter::{CALL_EVENT_PATH, Exporter, command};
use support::http::Connection;
use support::otlp_receiver::OtlpReceiver;
use support::scrape::Page;
use support::service::{Answer, Request, Service};
use support::{Scratch, eventually};

fn call(number: usize) -> String {
    CallEventQuery::new(number).encode()
}

/// A call on which a part panics. The text is not encoded, since parts look for it as it is.
fn panics_in(part: &str, number: usize) -> String {
    format!("{}&note=panic-in-{part}", call(number))
}

fn with_state(directory: &Path) -> Command {
    let mut command = command();
    command.arg("--state-dir").arg(directory);
    command
}

fn result(page: &Page, result: &str) -> f64 {
    page.value("planet_exporter_events_total", &[("result", result)])
}

fn quarantined(page: &Page, by: &str) -> f64 {
    page.value("planet_exporter_quarantined_events_total", &[("by", by)])
}

/// The lines of the file in a state directory, once there are as many.
fn lines(directory: &Path, number: usize) -> Vec<Quarantined> {
    eventually(&format!("{number} quarantined records"), || {
        let lines = fs::read_to_string(directory.join("quarantined.jsonl")).ok()?;
        (lines.lines().count() >= number).then_some(())?;
        assert_eq!(lines.lines().count(), number);
        Some(lines.lines().map(|line| serde_json::from_str(line).expect("a quarantined record")).collect())
    })
}

/// The query of a quarantined record.
fn query(line: &Quarantined) -> String {
    let record = STANDARD.decode(&line.record).expect("base64");
    String::from_utf8(Record::decode(&record).expect("a record").query.to_vec()).expect("a text")
}

#[test]
fn a_request_that_panics_is_kept_and_counted_and_others_are_served() {
    let exporter = Exporter::start();
    assert_eq!(result(&exporter.metrics(), "panicked"), 0.0);
    let mut connection = Connection::open(exporter.call_events);
    for number in 0..20 {
        let answer = connection.get(&format!("{CALL_EVENT_PATH}?{}", panics_in("intake", number)));
        assert_eq!(answer.status, 500);
        assert_eq!(connection.get(&format!("{CALL_EVENT_PATH}?{}", call(100 + number))).status, 200);
    }
    let page = exporter.metrics();
    assert_eq!((result(&page, "panicked"), result(&page, "accepted")), (20.0, 20.0));
    assert_eq!(page.sum("planet_calls_total"), 20.0);
    let refused = exporter.admin("/refused").text();
    assert_eq!(refused.lines().count(), 20);
    for (number, line) in refused.lines().enumerate() {
        let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert_eq!(line["query"], panics_in("intake", number));
        assert!(line["reason"].as_str().is_some_and(|reason| reason.contains("bug")), "{line}");
    }
    exporter.process.stderr.wait_for("it is kept among the refused");
}

#[test]
fn with_a_service_behind_its_answer_goes_back_for_a_request_that_panics() {
    let service = Service::start();
    service.answer(|_| Answer::Send(202, "", b"taken".to_vec()));
    let exporter = Exporter::with(&["--forward-to", &service.url()]);
    let answer = exporter.send(&panics_in("intake", 1));
    assert_eq!((answer.status, answer.text().as_str()), (202, "taken"));
    assert_eq!(service.requests()[0].target, format!("{CALL_EVENT_PATH}?{}", panics_in("intake", 1)));
    assert_eq!(result(&exporter.metrics(), "panicked"), 1.0);
}

#[test]
fn a_stored_record_on_which_the_fold_panics_is_set_aside_at_run_time_and_at_the_next_start() {
    let scratch = Scratch::new("fold-panics");
    let state = scratch.0.join("state");
    let exporter = Exporter::launch(&mut with_state(&state));
    assert_eq!(quarantined(&exporter.metrics(), "fold"), 0.0, "it stands at 0 before the first");
    // More at once than a batch of the fold.
    let bad = 300;
    let mut connection = Connection::open(exporter.call_events);
    for number in 0..bad {
        let answers = [panics_in("fold", number), call(1_000 + number)]
            .map(|query| connection.get(&format!("{CALL_EVENT_PATH}?{query}")).status);
        assert_eq!(answers, [200, 200], "what is stored is acknowledged");
    }
    let check = |exporter: &Exporter, good: usize, quarantined_now: usize| {
        let page = exporter.metrics();
        assert_eq!(page.sum("planet_calls_total"), good as f64);
        assert_eq!(result(&page, "accepted"), good as f64);
        assert_eq!(quarantined(&page, "fold"), quarantined_now as f64);
    };
    check(&exporter, bad, bad);
    let of_lines = |lines: &[Quarantined]| lines.iter().map(query).collect::<BTreeSet<_>>();
    let expected: BTreeSet<_> = (0..bad).map(|number| panics_in("fold", number)).collect();
    let found = lines(&state, bad);
    assert!(found.iter().all(|line| line.by == "fold" && line.reason.contains("panic in fold")));
    assert_eq!(of_lines(&found), expected);
    assert_eq!(found[1].sequence, 2);
    exporter.kill();

    // No checkpoint is past them, so the next start meets them again. It writes them down before its checkpoint is.
    fs::remove_file(state.join("quarantined.jsonl")).expect("it was there");
    let exporter = Exporter::launch(&mut with_state(&state));
    check(&exporter, bad, bad);
    assert_eq!(of_lines(&lines(&state, bad)), expected);
    assert_eq!(exporter.send(&panics_in("fold", 0)).status, 200);
    assert_eq!(result(&exporter.metrics(), "duplicate"), 1.0);
    assert_eq!(exporter.send(&call(5_000)).status, 200);
    check(&exporter, bad + 1, bad);
    exporter.kill();

    // And with the checkpoint of that start it has done with them.
    let exporter = Exporter::launch(&mut with_state(&state));
    check(&exporter, bad + 1, 0);
    assert_eq!(lines(&state, bad).len(), bad);
}

#[test]
fn of_a_batch_of_spans_with_records_that_panic_all_others_are_delivered() {
    let scratch = Scratch::new("spans-panic");
    let state = scratch.0.join("state");
    let receiver = OtlpReceiver::start([]);
    let exporter = Exporter::launch(
        with_state(&state)
            .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", receiver.endpoint())
            .env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")
            .env("OTEL_BSP_SCHEDULE_DELAY", "1000"),
    );
    assert_eq!(quarantined(&exporter.metrics(), "spans"), 0.0);
    let mut connection = Connection::open(exporter.call_events);
    for number in 0..200 {
        let query = if number % 50 == 7 { panics_in("spans", number) } else { call(number) };
        assert_eq!(connection.get(&format!("{CALL_EVENT_PATH}?{query}")).status, 200);
    }
    eventually("every other span", || (receiver.taken().len() >= 196).then_some(()));
    let arrived: BTreeSet<String> = receiver
        .taken()
        .iter()
        .map(|span| span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect())
        .collect();
    let expected = (0..200).filter(|number| number % 50 != 7).map(|number| sid(number).replace('-', ""));
    assert_eq!(arrived, expected.collect());
    assert!(receiver.traces().iter().any(|request| request.spans.len() > 10), "in batches");
    eventually("an end of the backlog", || {
        let page = exporter.metrics();
        (page.value("planet_exporter_backlog", &[("sink", "spans")]) == 0.0).then_some(())
    });
    let page = exporter.metrics();
    assert_eq!(quarantined(&page, "spans"), 4.0);
    assert_eq!(page.value("planet_exporter_delivered_events_total", &[("sink", "spans")]), 196.0);
    assert_eq!(page.sum("planet_calls_total"), 200.0, "the totals have them all");
    let found = lines(&state, 4);
    assert!(found.iter().all(|line| line.by == "spans"));
    assert_eq!(query(&found[0]), panics_in("spans", 7));
}

#[test]
fn a_call_on_which_the_sink_of_the_service_panics_holds_up_no_other() {
    let service = Service::start();
    let exporter = Exporter::with(&["--forward-to", &service.url()]);
    for number in 0..100 {
        let query = if number % 25 == 3 { panics_in("service", number) } else { call(number) };
        assert_eq!(exporter.send(&query).status, 200);
    }
    eventually("every other call at the service", || (service.requests().len() >= 96).then_some(()));
    eventually("what was set aside", || (quarantined(&exporter.metrics(), "service") == 4.0).then_some(()));
    let arrived: BTreeSet<String> = service.requests().iter().map(Request::sid).collect();
    assert_eq!(arrived, (0..100).filter(|number| number % 25 != 3).map(sid).collect());
    assert_eq!(exporter.accepted(), 100.0);
}

#[test]
fn a_call_on_which_the_call_log_panics_holds_up_no_other() {
    let exporter = Exporter::with(&["--call-log", "stdout"]);
    for number in 0..100 {
        let query = if number % 25 == 3 { panics_in("call_log", number) } else { call(number) };
        assert_eq!(exporter.send(&query).status, 200);
    }
    eventually("every other line", || (exporter.process.stdout.all().len() >= 96).then_some(()));
    eventually("what was set aside", || (quarantined(&exporter.metrics(), "call_log") == 4.0).then_some(()));
    assert_eq!(exporter.process.stdout.all().len(), 96);
}

#[test]
fn a_call_on_which_the_push_of_logs_panics_holds_up_no_other() {
    let receiver = OtlpReceiver::start([]);
    let mut command = command();
    command.args(["--call-log", "otlp"]).env("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", receiver.endpoint());
    let exporter = Exporter::launch(command.env("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc"));
    for number in 0..100 {
        let query = if number % 25 == 3 { panics_in("otlp_logs", number) } else { call(number) };
        assert_eq!(exporter.send(&query).status, 200);
    }
    eventually("every other record", || (receiver.logs().len() >= 96).then_some(()));
    eventually("what was set aside", || (quarantined(&exporter.metrics(), "otlp_logs") == 4.0).then_some(()));
    assert_eq!(receiver.logs().len(), 96);
}
