//! The promise: the first lines of the log say where calls come in, with a command to try it, where to look, and what is kept.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use support::Scratch;
use support::exporter::{Exporter, command};

/// The message of the first line with this in it, in either format.
fn message(exporter: &Exporter, text: &str) -> String {
    let line = exporter.process.stderr.wait_for(text);
    match serde_json::from_str::<serde_json::Value>(&line) {
        Ok(line) => line["message"].as_str().expect("a message").to_owned(),
        Err(_) => line,
    }
}

/// The path and query that a shell gives to curl.
fn target(command: &str) -> String {
    let script = format!("curl() {{ for last; do :; done; printf %s \"$last\"; }}; {command}");
    let output = Command::new("sh").args(["-c", &script]).output().expect("a shell");
    assert!(output.status.success(), "{command}");
    let url = String::from_utf8(output.stdout).expect("text");
    let (_, behind) = url.split_once("://").expect("a URL");
    behind[behind.find('/').expect("a path")..].to_owned()
}

#[test]
fn the_command_to_try_it_sends_a_call_that_counts_once() {
    for flags in [
        &["--log-format", "text"][..],
        &["--log-format", "json", "--call-event-path", "/it's/a?b=c&d={e,f}[1]"],
    ] {
        let exporter = Exporter::with(flags);
        let message = message(&exporter, "calls come in here");
        let command = &message[message.find("curl ").expect("a command")..];
        assert!(command.contains(&format!("http://{}", exporter.call_events)), "{command}");
        for _ in 0..2 {
            assert_eq!(exporter.get(&target(command)).status, 200, "{command}");
        }
        let page = exporter.metrics();
        assert_eq!(page.sum("planet_calls_total"), 1.0);
        assert_eq!(page.sum("planet_exporter_anomalies_total"), 0.0, "nothing is odd about it");
    }
}

#[test]
fn where_to_look_is_said_as_urls() {
    let exporter = Exporter::start();
    let message = message(&exporter, "look at ");
    let urls: Vec<_> = message.split(' ').filter_map(|word| word.strip_prefix("http://")).collect();
    let paths: Vec<_> = urls.iter().filter_map(|url| url.strip_prefix(&exporter.admin.to_string())).collect();
    assert_eq!(paths, ["/metrics", "/"], "{message}");
    assert!(paths.iter().all(|path| exporter.admin(path).status == 200));
}

/// What the log says of a state directory here.
fn kept(directory: &Path) -> serde_json::Value {
    let exporter = Exporter::launch(command().arg("--state-dir").arg(directory));
    let line = exporter.process.stderr.wait_for("\"totals survive");
    serde_json::from_str(&line).expect("a line of JSON")
}

#[test]
fn what_is_kept_and_for_how_long_is_said() {
    let none = Exporter::start();
    let message = message(&none, "no state directory");
    assert!(message.contains("in memory") && message.contains("--state-dir"), "{message}");

    let scratch = Scratch::new("kept");
    let line = kept(&scratch.0.join("state"));
    assert!(line["state_dir"].as_str().is_some_and(|shown| shown.ends_with("/state")), "{line}");
    assert!(line["file_system"].as_str().is_some_and(|kind| !kind.is_empty()), "{line}");

    // In memory, on every Linux.
    let shared = Path::new("/dev/shm");
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    if mounts.lines().any(|line| line.contains(" /dev/shm ") && line.contains(" - tmpfs ")) {
        let directory = shared.join(format!("planet-call-exporter-test-{}", std::process::id()));
        let line = kept(&directory);
        // What is left over does not harm.
        let _ = fs::remove_dir_all(&directory);
        assert_eq!((line["level"].as_str(), line["file_system"].as_str()), (Some("WARN"), Some("tmpfs")));
        let message = line["message"].as_str().expect("a message");
        assert!(message.contains("go with the container") && message.contains("mount a volume"), "{message}");
    }
}
