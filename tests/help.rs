//! The promise: the program says itself how it is used: at a glance, at length, to a shell, and as a manual page.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::process::{Command, Stdio};

use support::exporter::command;

/// What the program says on standard output.
fn said(arguments: &[&str]) -> String {
    let output = command().args(arguments).output().expect("the exporter runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_short_help_fits_a_screen_and_the_long_one_has_examples_that_are_read() {
    let short = said(&["-h"]);
    let lines = short.lines().count();
    assert!((24..=50).contains(&lines), "{lines} lines:\n{short}");
    assert!(short.lines().all(|line| line.chars().count() <= 100), "{short}");
    for common in ["--listen", "--state-dir", "--forward-to", "State:", "check", "--help"] {
        assert!(short.contains(common), "{common} in\n{short}");
    }
    assert!(!short.contains("--setup-buckets"), "what is rarely set is left to --help:\n{short}");

    let long = said(&["--help"]);
    assert!(long.contains("--setup-buckets") && long.contains("docs/configuration.md"), "{long}");
    let (_, examples) = long.split_once("Examples:").expect("examples");
    let examples = examples.lines().map(str::trim);
    let examples: Vec<_> = examples.filter_map(|line| line.split_once("planet-call-exporter")).collect();
    let runs = examples.iter().filter(|(before, _)| before.is_empty() || before.starts_with("OTEL_"));
    let runs: Vec<_> = runs.map(|(_, flags)| flags.split_whitespace().collect::<Vec<_>>()).collect();
    assert!(runs.len() >= 5, "{runs:?}");
    for flags in runs {
        // As help it is read, and nothing is run.
        let mut arguments = flags.clone();
        arguments.push("--help");
        said(&arguments);
        let flags = flags.iter().filter(|flag| flag.starts_with("--"));
        flags.for_each(|flag| assert!(long.contains(&format!("{flag} <")) || *flag == "--connect", "{flag}"));
    }
}

#[test]
fn a_command_has_both_helps_too() {
    let (short, long) = (said(&["check", "-h"]), said(&["check", "--help"]));
    assert!(short.lines().count() < long.lines().count());
    assert!(short.contains("--connect") && !short.contains("--setup-buckets"), "{short}");
    assert!(long.contains("--connect") && long.contains("--setup-buckets"), "{long}");
}

#[test]
fn every_command_says_in_short_how_it_is_used() {
    let short = said(&["-h"]);
    let (_, commands) = short.split_once("Commands:\n").expect("commands");
    let names: Vec<_> = commands.lines().map_while(|line| line.split_whitespace().next()).collect();
    assert!(names.contains(&"state") && names.contains(&"why") && names.contains(&"report"), "{names:?}");
    for name in names {
        assert!(said(&[name, "-h"]).contains(&format!("planet-call-exporter {name}")), "{name}");
    }
}

#[test]
fn a_shell_takes_the_completions_and_the_manual_is_a_page() {
    let bash = said(&["completions", "bash"]);
    assert!(bash.contains("--forward-to"));
    let mut check = Command::new("bash").arg("-n").stdin(Stdio::piped()).spawn().expect("bash");
    check.stdin.take().expect("a pipe").write_all(bash.as_bytes()).expect("taken");
    assert!(check.wait().expect("bash").success(), "{bash}");

    let page = said(&["man"]);
    assert!(page.contains(".TH planet-call-exporter 1") && page.contains("PLANET_LISTEN"), "{page}");
    assert!(said(&["man", "check"]).contains(".TH planet-call-exporter-check 1"));
    for wrong in [&["man", "sure"][..], &["completions", "sh"]] {
        let output = command().args(wrong).output().expect("the exporter runs");
        assert_eq!(output.status.code(), Some(2), "{wrong:?}");
    }
}
