//! The promise: SIGHUP has files read again that may have been renewed, says what came of it, and never ends the exporter.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::authority::Authority;
use support::call::{CallEventQuery, DOCUMENTED_SAMPLE};
use support::eventually;
use support::exporter::{Exporter, command};
use support::otlp_receiver::OtlpReceiver;

/// What came of the latest reading of files, the `number`th in the log.
fn reread(exporter: &Exporter, number: usize) -> serde_json::Value {
    let line = eventually("a line on reading again", || {
        let lines = exporter.process.stderr.all();
        lines.into_iter().filter(|line| line.contains("SIGHUP: ")).nth(number - 1)
    });
    serde_json::from_str(&line).expect("a line of JSON")
}

#[test]
fn a_hangup_ends_nothing_and_is_answered_in_the_log() {
    let mut exporter = Exporter::start();
    for number in 1..=2 {
        exporter.process.signal("HUP");
        let line = reread(&exporter, number);
        assert_eq!(line["level"], "INFO");
        let message = line["message"].as_str().expect("a message");
        assert!(message.contains("nothing to read again"), "{message}");
    }
    assert_eq!(exporter.send(DOCUMENTED_SAMPLE).status, 200);
    exporter.process.signal("TERM");
    assert_eq!(exporter.process.wait().code(), Some(0));
}

fn pushing_to(receiver: &OtlpReceiver, certificate: &Path) -> Command {
    let mut command = command();
    command
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("https://localhost:{}", receiver.address().port()))
        .env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")
        .env("OTEL_EXPORTER_OTLP_CERTIFICATE", certificate)
        .env("OTEL_BSP_SCHEDULE_DELAY", "50");
    command
}

#[test]
fn certificates_are_read_again_and_unusable_ones_are_said_and_not_taken() {
    let (authority, other) = (Authority::new("reload"), Authority::new("reload-other"));
    let receiver = OtlpReceiver::start_with_tls(authority.server());
    let trusted = authority.file("ca.pem", &authority.issuer.pem());
    let mut exporter = Exporter::launch(&mut pushing_to(&receiver, &trusted));
    let mut spans = 0;
    let mut send = |exporter: &Exporter| {
        spans += 1;
        assert_eq!(exporter.send(&CallEventQuery::new(spans).encode()).status, 200);
        spans
    };
    let number = send(&exporter);
    eventually("the span", || (receiver.taken().len() == number).then_some(()));

    let hang_up = |number: usize, level: &str| {
        exporter.process.signal("HUP");
        let line = reread(&exporter, number);
        let what = line["what"].as_str().expect("what is read");
        assert!(what.contains(trusted.to_str().expect("text")) && what.contains("traces"), "{line}");
        assert_eq!(line["level"], level, "{line}");
        line
    };
    assert_eq!(hang_up(1, "INFO")["changed"], false);
    fs::write(&trusted, "half of a fi").expect("written");
    let error = hang_up(2, "ERROR")["error"].as_str().expect("an error").to_owned();
    assert!(error.contains("ca.pem"), "{error}");
    fs::write(&trusted, other.issuer.pem()).expect("written");
    assert_eq!(hang_up(3, "INFO")["changed"], true);

    // An open connection was made with the certificates of before. The next span goes over a new one, which is refused now.
    let number = send(&exporter);
    exporter.process.stderr.wait_for("the OTLP receiver is away");
    assert_eq!(receiver.taken().len(), number - 1);
    exporter.process.signal("TERM");
    assert_eq!(exporter.process.wait().code(), Some(0));
}

#[test]
fn a_hangup_while_it_starts_is_kept() {
    let scratch = support::Scratch::new("hangup-at-start");
    let state = scratch.0.join("state");
    let mut command = command();
    command.arg("--state-dir").arg(&state);
    let mut exporter = Exporter::launch_at_once(&mut command, None);
    // Its handlers are there before anything listens.
    eventually("something that listens", || {
        support::http::try_request(exporter.admin, "GET", "/livez", &[]).ok()
    });
    exporter.process.signal("HUP");
    exporter.wait_until_ready();
    reread(&exporter, 1);
}
