//! The promise: where the call log is on, standard output has one line of JSON for each call, which says of people only
//! what was allowed.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;

use serde_json::Value;
use support::call::{CallEventQuery, DOCUMENTED_SAMPLE, sid};
use support::exporter::{Exporter, command};
use support::{Scratch, eventually};

/// The lines of a call log, once there are as many as were waited for.
fn lines(exporter: &Exporter, number: usize) -> Vec<Value> {
    let output = &exporter.process.stdout;
    eventually(&format!("{number} lines"), || (output.all().len() >= number).then_some(()));
    output.all().iter().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

#[test]
fn each_call_is_one_line_however_often_it_comes() {
    let mut exporter = Exporter::with(&["--call-log", "stdout"]);
    let calls = 500;
    for number in (0..calls).chain(0..calls / 10) {
        let event = CallEventQuery::new(number).with("app_svr_data", "two\nlines \"quoted\" 통화");
        assert_eq!(exporter.send(&event.encode()).status, 200);
    }
    assert_eq!(exporter.send("no call").status, 400);
    // What waits at the end is written before it.
    exporter.process.signal("TERM");
    assert_eq!(exporter.process.wait().code(), Some(0));
    let lines = lines(&exporter, calls);
    assert_eq!(lines.len(), calls);
    let texts = lines.iter().map(|line| line.to_string()).collect::<Vec<_>>();
    for number in 0..calls {
        assert!(texts.iter().any(|line| line.contains(&sid(number))), "call {number} has its line");
    }
}

/// Everything that a log says of the documented sample.
fn log_of_sample(arguments: &[&str]) -> String {
    let exporter = Exporter::launch(command().args(["--call-log", "stdout"]).args(arguments));
    assert_eq!(exporter.send(DOCUMENTED_SAMPLE).status, 200);
    lines(&exporter, 1).iter().map(Value::to_string).collect()
}

#[test]
fn a_line_says_of_people_only_what_was_allowed() {
    let identities = ["\"9286\"", "\"2809\"", "1.2.3.4", "1.2.3.5"];
    let said = |line: &str| identities.iter().filter(|identity| line.contains(**identity)).count();
    assert_eq!(said(&log_of_sample(&[])), 0);
    assert_eq!(said(&log_of_sample(&["--identity", "keep"])), 4);

    let scratch = Scratch::new("key");
    let key = scratch.0.join("key");
    std::fs::write(&key, "a key of at least 16 bytes\n").expect("a key");
    let arguments = ["--identity", "hash", "--identity-key-file", &key.display().to_string()];
    let hashed = log_of_sample(&arguments);
    assert_eq!(said(&hashed), 0);
    let hashes = |line: &str| -> BTreeSet<String> {
        let is_hash = |text: &&str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        line.split('"').filter(is_hash).map(str::to_owned).collect()
    };
    assert_eq!(hashes(&hashed).len(), 4, "{hashed}");
    assert_eq!(hashes(&log_of_sample(&arguments)), hashes(&hashed), "the same user is the same text");
    std::fs::write(&key, "another key of 16 bytes").expect("a key");
    assert!(hashes(&log_of_sample(&arguments)).is_disjoint(&hashes(&hashed)));
}

#[test]
fn a_key_that_cannot_be_used_ends_with_1_and_is_named() {
    let scratch = Scratch::new("keys");
    let (missing, short) = (scratch.0.join("missing"), scratch.0.join("short"));
    std::fs::write(&short, "123456789012345\n").expect("a key");
    for (path, reason) in [(missing, "No such file"), (short, "at least 16 bytes")] {
        let mut command = command();
        let output = command.args(["--identity", "hash", "--identity-key-file"]).arg(&path).output();
        let output = output.expect("the exporter runs");
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.contains(&path.display().to_string()) && message.contains(reason), "{message}");
    }
}
