//! The promise: an error at the start names what led to it, what came, what is expected, and the page to read.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::net::TcpListener;

use support::exporter::{Exporter, command};
use support::{Scratch, free_address};

const FLAGS: &str = "docs/configuration.md";
const STATE: &str = "docs/operations.md, State directory";

/// The exit code of a start that fails, and what it says.
fn failed(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String) {
    let has = |flag: &str| {
        let variable = format!("PLANET_{}", flag.trim_start_matches('-').to_uppercase().replace('-', "_"));
        arguments.contains(&flag) || variables.iter().any(|(name, _)| *name == variable)
    };
    let ports = ["--listen", "--admin-listen"].into_iter().filter(|flag| !has(flag));
    let ports = ports.flat_map(|flag| [flag, "127.0.0.1:0"]);
    let mut command = command();
    let output = command.args(arguments).args(ports).envs(variables.iter().copied()).output();
    let output = output.expect("the exporter runs");
    (output.status.code(), String::from_utf8(output.stderr).expect("text"))
}

/// A flag with this value, given as a flag and as a variable: both are named, with everything in `said`.
fn is_refused(flag: &str, value: &str, others: &[&str], code: i32, said: &[&str]) {
    let variable = format!("PLANET_{}", flag.trim_start_matches('-').to_uppercase().replace('-', "_"));
    let by_flag = failed(&[&[flag, value], others].concat(), &[]);
    let by_variable = failed(others, &[(&variable, value)]);
    for ((actual, text), name) in [(by_flag, flag), (by_variable, variable.as_str())] {
        assert_eq!(actual, Some(code), "{text}");
        for part in said.iter().chain(&[name]) {
            assert!(text.contains(part), "{part:?} in {text}");
        }
    }
}

#[test]
fn values_that_cannot_be_read_are_refused_with_what_is_expected() {
    for (flag, value, expected) in [
        ("--listen", "20200", "expected a port such as :20200"),
        ("--drain-time", "abc", "expected a duration such as 500ms, 10s, 5m or 24h, or 0s"),
        ("--series-zero-for", "5", "expected a duration such as 500ms, 10s, 5m or 24h, or 0s"),
        ("--seen-age", "0s", "expected a duration above zero"),
        ("--identity", "some", "possible values: drop, hash, keep"),
        ("--forward-to", "localhost:8080", "expected a URL such as http://127.0.0.1:8080"),
        ("--trusted-proxies", "lan", "expected networks or addresses, such as 10.0.0.0/8,::1"),
        ("--state-max-bytes", "1", "expected a size of at least 1MiB"),
    ] {
        is_refused(flag, value, &[], 2, &[&format!("'{value}'"), expected, FLAGS]);
    }
}

#[test]
fn what_needs_a_flag_that_is_missing_is_said() {
    is_needed("--identity", "hash", "--identity-key-file", "PLANET_IDENTITY_KEY_FILE");
    is_needed("--proxy-protocol", "required", "--trusted-proxies", "PLANET_TRUSTED_PROXIES");
}

fn is_needed(flag: &str, value: &str, missing: &str, variable: &str) {
    let by = format!("PLANET_{}", flag.trim_start_matches('-').to_uppercase().replace('-', "_"));
    for (code, said) in [failed(&[flag, value], &[]), failed(&[], &[(&by, value)])] {
        assert_eq!(code, Some(2), "{said}");
        let needs = format!("{flag} {value} needs {missing} or {variable}");
        assert!(said.contains(&needs) && said.contains(FLAGS), "{said}");
    }
}

#[test]
fn ports_that_cannot_be_had_are_named() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().expect("an address").to_string();
    for flag in ["--listen", "--admin-listen"] {
        is_refused(flag, &taken, &[], 1, &[&taken, "in use", "choose another", FLAGS]);
        is_refused(flag, "192.0.2.1:1", &[], 1, &["192.0.2.1:1", "this host has no such address", FLAGS]);
        is_refused(flag, "nohost.invalid:1", &[], 1, &["nohost.invalid:1", FLAGS]);
    }
}

#[test]
fn flags_that_contradict_each_other_are_both_named() {
    let free = free_address().to_string();
    is_refused("--listen", &free, &["--admin-listen", &free], 1, &["--admin-listen", "the same port", FLAGS]);
    let url = format!("http://{free}");
    is_refused("--forward-to", &url, &["--listen", &free], 1, &[&url, "--listen", "expected the URL", FLAGS]);
    is_refused("--readiness-path", "/call_event", &[], 1, &["/call_event", "expected another path", FLAGS]);
}

#[test]
fn files_and_directories_that_cannot_be_used_are_named() {
    let scratch = Scratch::new("start-errors");
    let path = |name: &str| scratch.0.join(name).to_str().expect("text").to_owned();
    let (none, short, file, foreign) = (path("none"), path("short"), path("file"), path("foreign"));
    fs::write(&short, "short").expect("written");
    fs::write(&file, "").expect("written");
    fs::create_dir(&foreign).expect("a directory");
    fs::write(format!("{foreign}/letter"), "").expect("written");

    let hash = ["--identity", "hash"];
    is_refused("--identity-key-file", &none, &hash, 1, &[&none, "No such file", FLAGS]);
    is_refused("--identity-key-file", &short, &hash, 1, &[&short, "at least 16 bytes, got 5", FLAGS]);
    is_refused("--state-dir", &file, &[], 1, &[&file, "expected one that this process may make", STATE]);
    is_refused("--state-dir", &foreign, &[], 1, &["letter", "expected an empty directory", STATE]);
    let held = path("held");
    let exporter = Exporter::with(&["--state-dir", &held]);
    let holder = format!("is held by process {}", exporter.process.id());
    is_refused("--state-dir", &held, &[], 1, &[&held, &holder, STATE]);
}

#[test]
fn variables_of_opentelemetry_stop_nothing_and_name_their_page() {
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "nohost"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "30s"),
        ("OTEL_EXPORTER_OTLP_ENDPONT", "http://c"),
        ("PLANET_IDC", "KR"),
    ];
    let exporter = Exporter::launch(command().envs(variables));
    for (begin, level, said, page) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT=nohost", "ERROR", "expected a URL", "docs/otlp.md"),
        ("OTEL_METRIC_EXPORT_INTERVAL=30s", "WARN", "expected a whole number", "docs/otlp.md"),
        ("OTEL_EXPORTER_OTLP_ENDPONT ", "WARN", "did you mean OTEL_EXPORTER_OTLP_ENDPOINT?", "docs/otlp.md"),
        ("PLANET_IDC ", "WARN", "did you mean PLANET_IDCS?", FLAGS),
    ] {
        let line = exporter.process.stderr.wait_for(begin);
        assert!(line.contains(level) && line.contains(said) && line.contains(page), "{line}");
    }
}
