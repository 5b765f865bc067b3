//! The promise: the exporter's own log holds up no call and no end, whatever becomes of standard error.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::process::Stdio;

use support::call::CallEventQuery;
use support::exporter::{Exporter, command};

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
