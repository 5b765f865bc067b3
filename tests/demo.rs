//! The promise: one command shows an exporter with calls coming in and an incident under way; what it says of the
//! incident is what the pages show; nobody else gets these calls, and nothing stays.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::exporter::command;
use support::process::Process;
use support::{Scratch, eventually, http};

/// A demonstration whose temporary files are there, and where its pages are.
fn start(temporary: &Path, environment: &[(&str, &str)], arguments: &[&str]) -> (Process, SocketAddr) {
    let mut command: Command = command();
    command.arg("demo").args(arguments).env("TMPDIR", temporary).envs(environment.iter().copied());
    let process = Process::start("the demonstration", &mut command);
    let line = process.stdout.wait_for("what is wrong, where and since when");
    let admin = line.trim().strip_prefix("http://").and_then(|url| url.split('/').next());
    let admin = admin.expect("a URL").parse().expect("an address");
    process.stdout.wait_for("nothing stays.");
    (process, admin)
}

fn status(admin: SocketAddr) -> Value {
    http::get(admin, "/status.json").json()
}

#[test]
fn the_pages_show_the_incident_that_it_tells_of_and_calls_come_in() {
    let temporary = Scratch::new("demo");
    let (process, admin) = start(&temporary.0, &[], &[]);
    let told = process.stdout.find("The incident").expect("what happens");
    let began = told.split("since ").nth(1).and_then(|rest| rest.get(..5)).expect("a time").to_owned();

    let finding = eventually("a finding", || status(admin)["findings"].get(0).cloned());
    let text = finding["text"].as_str().expect("a text");
    assert!(text.contains("only in JP") && text.contains("SERVER_INTERNAL_ERROR"), "{text}");
    // The latest minute with fewer failing calls may be the one before.
    let since = finding["since"].as_str().and_then(|since| since.get(11..16)).expect("a time");
    let minutes = |time: &str| -> i32 {
        let (hours, minutes) = time.split_once(':').expect("a time");
        hours.parse::<i32>().expect("hours") * 60 + minutes.parse::<i32>().expect("minutes")
    };
    let apart = (minutes(since) - minutes(&began)).rem_euclid(24 * 60);
    assert!([0, 1, 24 * 60 - 1].contains(&apart), "{since} and {told}");

    let why = http::get(admin, "/why").text();
    assert!(why.contains("rc_idc=JP"), "{why}");
    let counted = || status(admin)["counted_calls"].as_u64().expect("a number");
    let before = counted();
    assert!(before >= 14_400, "{before}");
    let (since, known) = (status(admin)["counted_since"].clone(), status(admin)["known_since"].clone());
    assert!(
        since.as_str().is_some_and(|since| since <= known.as_str().unwrap_or_default()),
        "{since} {known}"
    );
    eventually("further calls", || (counted() > before + 2).then_some(()));
    assert_eq!(process.stderr.all(), Vec::<String>::new());
}

#[test]
fn its_commands_work_and_a_call_of_ones_own_counts_once() {
    let temporary = Scratch::new("demo-commands");
    let (process, _) = start(&temporary.0, &[], &["--seed", "1"]);
    let lines = process.stdout.all();
    let curl = lines.iter().map(|line| line.trim()).filter(|line| line.starts_with("curl "));
    let run = |line: &str| {
        let line = line.replace("curl ", "curl --fail --max-time 3 ");
        let output = Command::new("sh").args(["-c", &line]).output().expect("a shell");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let mut run_lines = 0;
    for line in curl {
        let output = run(line);
        let expected = if line.contains("-i ") { "200 OK" } else { "JP" };
        assert!(output.contains(expected), "{line}: {output}");
        if line.contains("-i ") {
            assert!(run(line).to_lowercase().contains("duplicate"), "{line}");
        }
        run_lines += 1;
    }
    assert_eq!(run_lines, 5);
}

#[test]
fn nobody_else_gets_its_calls_and_nothing_stays() {
    let temporary = Scratch::new("demo-left");
    let elsewhere = TcpListener::bind("127.0.0.1:0").expect("a port");
    elsewhere.set_nonblocking(true).expect("set");
    let url = format!("http://{}", elsewhere.local_addr().expect("an address"));
    let state = temporary.0.join("state-of-a-service");
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url.as_str()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("PLANET_FORWARD_TO", &url),
        ("PLANET_CALL_LOG", "stdout"),
        ("PLANET_SEEN_AGE", "no duration"),
        ("PLANET_STATE_DIR", state.to_str().expect("UTF-8")),
    ];
    let (mut process, admin) = start(&temporary.0, &environment, &[]);
    let before = status(admin)["counted_calls"].as_u64();
    eventually("further calls", || (status(admin)["counted_calls"].as_u64() > before).then_some(()));
    assert_eq!(fs::read_dir(&temporary.0).expect("a directory").count(), 1, "its own directory");
    process.signal("INT");
    assert_eq!(process.wait().code(), Some(0));
    assert_eq!(fs::read_dir(&temporary.0).expect("a directory").count(), 0);
    assert!(elsewhere.accept().is_err(), "somebody was sent something");
    assert!(!process.stdout.all().iter().any(|line| line.starts_with('{')), "no call log");
}

#[test]
fn who_ends_it_before_it_is_ready_finds_nothing_left() {
    for signal in ["INT", "TERM", "HUP"] {
        let temporary = Scratch::new("demo-early");
        let mut command: Command = command();
        let mut process =
            Process::start("the demonstration", command.arg("demo").env("TMPDIR", &temporary.0));
        let made = || fs::read_dir(&temporary.0).expect("a directory").flatten().next();
        // It has begun to write calls, so signals are its own by now.
        let segments = || fs::read_dir(made()?.path()).ok()?.flatten().next();
        eventually("a file of the journal", segments);
        process.signal(signal);
        assert_eq!(process.wait().code(), Some(0), "{signal}");
        assert_eq!(fs::read_dir(&temporary.0).expect("a directory").count(), 0, "{signal}");
    }
}

#[test]
fn what_is_no_receiver_is_refused() {
    for url in ["localhost:4318", "ftp://collector", "collector", "http://"] {
        let output = command().args(["demo", "--otlp-endpoint", url]).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains("such as http://localhost:4318"), "{said}");
    }
}

#[test]
fn where_no_directory_can_be_made_it_says_so() {
    let output = command().arg("demo").env("TMPDIR", "/nonexistent").output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("/nonexistent") && said.contains("TMPDIR"), "{said}");
}
