//! The promise: the exporter's own log holds up no call and no end, whatever becomes of standard error; nothing that
//! comes from outside acts on who looks at it, or fills it.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::process::Stdio;

use support::call::CallEventQuery;
use support::exporter::{Exporter, command};
use support::http::Connection;
use support::service::{Answer, Service};
use support::{Scratch, eventually};

/// Has the exporter log to a pipe, and checks that it goes on all the same. At debug level, every wrong request is a line.
fn goes_on_with(standard_error: impl Into<Stdio>) {
    let mut command = command();
    command.args(["--log-level", "debug"]);
    let mut exporter = Exporter::launch_at_once(&mut command, Some(standard_error.into()));
    exporter.wait_until_ready();
    for number in 0..100 {
        assert_eq!(exporter.send("wrong").status, 400);
        assert_eq!(exporter.send(&CallEventQuery::new(number).encode()).status, 200);
    }
    assert_eq!(exporter.accepted(), 100.0);
    exporter.process.signal("TERM");
    assert_eq!(exporter.process.wait().code(), Some(0));
}

#[test]
fn a_standard_error_that_nobody_takes_from_holds_up_nothing() {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    // As much as a pipe takes.
    writer.write_all(&[b'\n'; 64 * 1024]).expect("room");
    goes_on_with(writer);
    drop(reader);
}

#[test]
fn a_standard_error_whose_reader_is_gone_takes_nothing_with_it() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    goes_on_with(writer);
}

#[test]
fn the_last_lines_are_there() {
    let mut exporter = Exporter::with(&["--log-level", "debug"]);
    for _ in 0..500 {
        assert_eq!(exporter.send("wrong").status, 400);
    }
    exporter.process.signal("TERM");
    assert_eq!(exporter.process.wait().code(), Some(0));
    exporter.process.stderr.wait_for("\"stopped\"");
    let log = exporter.process.stderr.all();
    assert_eq!(log.iter().filter(|line| line.contains("refused a call event")).count(), 500);
}

/// Text that a terminal would obey, or that would read otherwise than it is: ESC, BEL, CR, LF, DEL, a control character
/// of ISO 6429 and an override of direction, as a query has them.
const ACTING: &str = "a%1B%5B31m%07%0D%0A%7F%C2%9B%E2%80%AEb";

/// Whether anything in it is obeyed by a terminal.
fn acts(text: &str) -> bool {
    text.chars().any(|character| {
        (character.is_control() && character != '\n') || ('\u{202a}'..='\u{202e}').contains(&character)
    })
}

#[test]
fn nothing_that_a_request_says_acts_on_who_looks_at_log_metrics_or_state() {
    for format in ["text", "json"] {
        let scratch = Scratch::new("acting");
        let state = scratch.0.join("state");
        let mut exporter = Exporter::launch(
            command()
                .args(["--log-level", "debug", "--log-format", format, "--call-log", "stdout"])
                .arg("--state-dir")
                .arg(&state),
        );
        let call = format!(
            "sid=1&duration=3&rc_idc={ACTING}&terminate={ACTING}&rel_code_str={ACTING}&user_rel_code={ACTING}&type={ACTING}"
        );
        assert_eq!(exporter.send(&call).status, 200);
        assert_eq!(exporter.send(&format!("sid={ACTING}&duration={ACTING}")).status, 400);
        assert_eq!(exporter.get(&format!("/{ACTING}?{call}&setup_time=1")).status, 404);
        let page = exporter.admin("/metrics").text();
        assert!(
            page.contains("rel_code_str=\"a[31mb\"") && page.contains("user_rel_code=\"a[31mb\""),
            "{page}"
        );
        let refused = exporter.admin("/refused").text();
        exporter.process.stdout.wait_for("a\\u001b[31m\\u0007\\r\\n\\u007f\\u009b\\u202eb");
        exporter.process.signal("TERM");
        exporter.process.wait();
        let show = |arguments: &[&str]| {
            let output = command().arg("state").arg(&state).args(arguments).output().expect("it runs");
            String::from_utf8(output.stdout).expect("UTF-8")
        };
        let (logged, called) =
            (exporter.process.stderr.all().join("\n"), exporter.process.stdout.all().join("\n"));
        let kept = std::fs::read_to_string(state.join("refused.jsonl")).expect("refused requests");
        for text in [&page, &refused, &logged, &called, &kept, &show(&[]), &show(&["--calls"])] {
            assert!(!text.is_empty() && !acts(text), "{text:?}");
        }
    }
}

#[test]
fn a_service_that_refuses_every_event_is_said_once_a_minute_with_how_many_there_were() {
    let service = Service::start();
    service.answer(|request| Answer::Send(422, "", format!("no call {}", request.target).into_bytes()));
    let exporter = Exporter::with(&["--forward-to", &service.url()]);
    let events = 500;
    let mut connection = Connection::open(exporter.call_events);
    for number in 0..events {
        let query = CallEventQuery::new(number).encode();
        assert_eq!(connection.get(&format!("/call_event?{query}")).status, 200);
    }
    eventually("that all are refused", || {
        let refused = exporter
            .metrics()
            .value("planet_exporter_dropped_events_total", &[("sink", "service"), ("cause", "refused")]);
        (refused == events as f64).then_some(())
    });
    let lines = exporter.process.stderr.all();
    let warnings = lines.iter().filter(|line| line.contains("events were refused for good")).count();
    assert!((1..=16).contains(&warnings), "{warnings} lines");
}
