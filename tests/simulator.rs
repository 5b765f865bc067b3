//! The promise: the simulator says what it did and what is wrong, and tells what it repeated itself from what was known before.

#![cfg(feature = "simulator")]
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::process::{Command, Stdio};

use serde_json::Value;
use support::exporter::{CALL_EVENT_PATH, Exporter};
use support::{Scratch, free_address};

/// Runs the simulator to its end: its exit code, its output and its errors.
fn run(target: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_call-simulator"))
        .args(["--target", target])
        .args(arguments)
        .output()
        .expect("the simulator runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Calls as fast as possible, of which every second one is repeated.
const FAST: [&str; 6] = ["--rate", "0", "--calls", "200", "--repeat-share", "0.5"];

fn target(exporter: &Exporter) -> String {
    format!("http://{}{CALL_EVENT_PATH}", exporter.call_events)
}

fn report(exporter: &Exporter, arguments: &[&str]) -> Value {
    let (code, output, errors) = run(&target(exporter), &[&FAST[..], &["--json"], arguments].concat());
    assert_eq!(code, Some(0), "{errors}");
    serde_json::from_str(&output).expect("a report in JSON")
}

#[test]
fn each_run_has_calls_of_its_own_and_the_printed_seed_repeats_them() {
    let exporter = Exporter::start();
    let first = report(&exporter, &[]);
    let second = report(&exporter, &[]);
    assert_ne!(first["seed"], second["seed"]);
    assert_eq!(exporter.accepted(), 400.0);

    let seed = first["seed"].to_string();
    let again = report(&exporter, &["--seed", &seed]);
    assert_eq!(exporter.accepted(), 400.0, "the same calls again");
    assert_eq!((&again["acknowledged"], &again["known"]), (&0.into(), &200.into()), "{again}");
    assert_eq!(again["duplicates"], first["duplicates"], "its own repeats are told apart");
    assert_eq!((&first["known"], &first["acknowledged"]), (&0.into(), &200.into()), "{first}");
    assert!(again["metrics"].as_object().is_some_and(serde_json::Map::is_empty), "nothing was added");
    // Whoever saw a call first is not who is asked now.
    assert_eq!(report(&Exporter::start(), &["--seed", &seed])["known"], 0);
}

#[test]
fn people_get_a_summary_of_a_few_lines() {
    let exporter = Exporter::start();
    let incident = "JP:SERVER_INTERNAL_ERROR:0s:1m";
    let arguments = [&FAST[..], &["--seed", "7", "--incident", incident]].concat();
    let (code, summary, errors) = run(&target(&exporter), &arguments);
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    assert!((8..=12).contains(&summary.lines().count()), "{summary}");
    for said in ["--seed 7", "200 calls", &target(&exporter), incident, "known already"] {
        assert!(summary.contains(said), "{said}:\n{summary}");
    }
    let again = run(&target(&exporter), &arguments).1;
    let known = again.lines().find(|line| line.starts_with("known already")).expect("a line");
    assert!(known.contains("200"), "{again}");
}

#[test]
fn a_wrong_path_is_said_and_ends_it_with_no_more_calls() {
    let exporter = Exporter::start();
    let wrong = format!("http://{}/calls", exporter.call_events);
    let (code, output, errors) = run(&wrong, &["--rate", "0", "--calls", "5000"]);
    assert_eq!((code, output.as_str()), (Some(1), ""));
    for said in [&wrong, "404", "--call-event-path", "--target"] {
        assert!(errors.contains(said), "{said}: {errors}");
    }
    assert!(!errors.contains("sid="), "{errors}");
    let refused = exporter.admin("/refused").text().lines().count();
    assert!(refused < 20, "{refused} calls were sent nevertheless");
}

#[test]
fn a_target_may_have_the_query_that_it_was_registered_with() {
    let exporter = Exporter::with(&["--call-event-path", "/callback?action=call"]);
    let target = format!("http://{}/callback?action=call", exporter.call_events);
    let (code, _, errors) = run(&target, &["--rate", "0", "--calls", "10"]);
    assert_eq!((code, exporter.accepted()), (Some(0), 10.0), "{errors}");
}

#[test]
fn what_is_wrong_is_named_before_anything_is_sent() {
    let exporter = Exporter::start();
    let right = target(&exporter);
    let away = format!("http://{}/call_event?sid=secret", free_address());
    let scratch = Scratch::new("sids-of-a-simulator");
    let nowhere = scratch.0.join("no directory").join("sids").display().to_string();
    for (target, arguments, code, said) in [
        (away.as_str(), vec![], 1, "cannot connect to http://127.0.0.1:"),
        ("127.0.0.1:20200", vec![], 2, "such as http://127.0.0.1:20200/call_event"),
        (&right, vec!["--sids", &nowhere], 1, nowhere.as_str()),
        (&right, vec!["--incident", "FR:BUSY:0s:1s"], 1, "FR:BUSY:0s:1s"),
        (&right, vec!["--incident", "FR:BUSY:0s:1s"], 1, "KR, JP, TW"),
        (&right, vec!["--rate", "10", "--for", "20s", "--incident", "JP:BUSY:30s:40s"], 1, "JP:BUSY:30s:40s"),
        (&right, vec!["--rate", "0", "--calls", "10", "--incident", "JP:BUSY:1s:2s"], 1, "JP:BUSY:1s:2s"),
        (&right, vec!["--incident", "JP:BUSY:0s:1s:0"], 2, "JP:BUSY:0s:1s:0"),
        (&right, vec!["--incident", "JP:TYPO:0s:1s"], 2, "TYPO is no disconnect reason"),
    ] {
        let (ended, output, errors) = run(target, &arguments);
        assert_eq!((ended, output.as_str()), (Some(code), ""), "{arguments:?}: {errors}");
        assert!(errors.contains(said) && !errors.contains("secret"), "{said}: {errors}");
    }
    assert_eq!(exporter.accepted(), 0.0);
}

#[test]
fn an_incident_that_hit_no_call_by_chance_is_an_error_beside_the_summary() {
    let exporter = Exporter::start();
    let arguments = [
        "--rate",
        "0",
        "--calls",
        "20",
        "--idcs",
        "KR:100000,JP:1",
        "--incident",
        "JP:BUSY:0s:1s",
        "--seed",
        "1",
    ];
    let (code, output, errors) = run(&target(&exporter), &arguments);
    assert_eq!(code, Some(1));
    assert!(output.contains("20 calls") && errors.contains("JP:BUSY:0s:1s hit no call"), "{output}{errors}");
}

#[test]
fn nobody_who_reads_the_report_is_no_failure() {
    let exporter = Exporter::start();
    for format in [&[][..], &["--json"]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = Command::new(env!("CARGO_BIN_EXE_call-simulator"))
            .args(["--target", &target(&exporter), "--rate", "0", "--calls", "10"])
            .args(format)
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .expect("the simulator runs");
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    }
}
