//! The promise: `check` says what a run would do, where each value comes from and whether it could, and changes nothing.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use support::authority::Authority;
use support::call::CallEventQuery;
use support::exporter::{Exporter, command};
use support::otlp_receiver::OtlpReceiver;
use support::service::{self, Service};
use support::{Scratch, free_address};

/// What `check` says, and whether it says that it would run.
struct Said {
    text: String,
    code: Option<i32>,
}

fn check(arguments: &[&str], variables: &[(&str, &str)]) -> Said {
    let ports = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    let ports = ports.iter().filter(|_| !arguments.contains(&"--listen"));
    let mut command = command();
    command.arg("check").args(ports).args(arguments).envs(variables.iter().copied());
    let output = command.output().expect("the exporter runs");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    Said { text: String::from_utf8(output.stdout).expect("text"), code: output.status.code() }
}

impl Said {
    /// The words of the line whose first words are these.
    fn line(&self, beginning: &str) -> String {
        let words = self.text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        let found = words.into_iter().find(|line| line.starts_with(beginning));
        found.unwrap_or_else(|| panic!("{beginning} in\n{}", self.text))
    }

    #[track_caller]
    fn is_wrong(&self, what: &str, reason: &str) {
        let line = self.line(&format!("WRONG {what}"));
        assert!(line.contains(reason), "{reason}: {line}");
        assert_eq!(self.code, Some(1), "{}", self.text);
    }

    #[track_caller]
    fn is_fine(&self) {
        assert_eq!(self.code, Some(0), "{}", self.text);
        assert!(!self.text.contains("WRONG") && self.text.ends_with("It would run.\n"), "{}", self.text);
    }
}

/// Everything in a directory, with contents and times.
fn everything(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry"));
    let mut all: Vec<String> = entries
        .map(|entry| {
            let modified = entry.metadata().and_then(|metadata| metadata.modified()).expect("a time");
            format!("{:?} {modified:?} {:?}", entry.file_name(), fs::read(entry.path()).expect("a file"))
        })
        .collect();
    all.sort();
    all
}

#[test]
fn every_value_is_shown_with_where_it_comes_from() {
    let said = check(
        &["--seen-max", "7", "--idcs", "KR,JP", "--segment-age", "1h"],
        &[
            ("PLANET_CALL_LOG", "stdout"),
            ("PLANET_IDC", "hidden7Qx"),
            ("PLANET_CANARY_URL", "https://calls.example.com/call_event?token=hidden7Qx"),
            ("OTEL_PROPAGATORS", "hidden7Qx"),
        ],
    );
    said.is_fine();
    assert_eq!(said.line("--seen-max"), "--seen-max 7 flag");
    assert_eq!(said.line("--idcs"), "--idcs KR,JP flag");
    assert_eq!(said.line("--call-log"), "--call-log stdout PLANET_CALL_LOG");
    assert_eq!(said.line("--seen-age"), "--seen-age 24h default");
    assert_eq!(said.line("--forward-to"), "--forward-to none default");
    assert_eq!(said.line("call log"), "call log standard output");
    assert!(said.line("OTLP metrics off").contains("no endpoint is set"));
    assert!(said.line("PLANET_IDC ").contains("did you mean PLANET_IDCS?"));
    said.line("OTEL_PROPAGATORS has no effect");
    said.line("--segment-age has no effect: nothing is on disk");
    assert!(!said.text.contains("hidden7Qx"), "{}", said.text);
    // The last column, aligned.
    let lines = said.text.lines().take_while(|line| *line != "what it would do:");
    let flags = lines.filter(|line| line.starts_with("  --"));
    let columns: BTreeSet<_> = flags.map(|line| line.rfind("  ")).collect();
    assert_eq!(columns.len(), 1, "{}", said.text);
}

#[test]
fn where_the_call_log_goes_over_otlp_is_shown() {
    let said = check(&["--call-log", "otlp"], &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318")]);
    said.is_fine();
    let expected = "call log http://c:4318/v1/logs by http/protobuf, up to 512 at once after 1s at most, 10s for an attempt";
    assert_eq!(said.line("call log"), expected);
    said.line("ok OTLP logs not tried");
    let off = check(&["--call-log", "otlp"], &[("OTEL_LOGS_EXPORTER", "none")]);
    assert_eq!(off.line("call log"), "call log off, since OTEL_LOGS_EXPORTER is none");
    off.line("--call-log has no effect");
}

#[test]
fn a_wrong_value_ends_with_2_as_it_does_for_a_run() {
    for (arguments, variable) in [(&["--seen-max", "x"][..], "1"), (&[], "x"), (&["--no"], "1")] {
        let output = command().arg("check").args(arguments).env("PLANET_SEEN_MAX", variable).output();
        let output = output.expect("the exporter runs");
        assert_eq!(output.status.code(), Some(2), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_port_in_use_is_said_and_by_whom_if_it_is_an_exporter() {
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = other.local_addr().expect("an address").to_string();
    std::thread::spawn(move || other.incoming().for_each(drop));
    let said = check(&["--listen", &address, "--admin-listen", "127.0.0.1:0"], &[]);
    said.is_wrong("--listen", "in use");
    assert!(!said.text.contains("by an exporter"), "{}", said.text);
    let exporter = Exporter::start();
    let (listen, admin) = (exporter.call_events.to_string(), exporter.admin.to_string());
    let said = check(&["--listen", &listen, "--admin-listen", &admin], &[]);
    said.is_wrong("--listen", "is in use by an exporter");
    said.is_wrong("--admin-listen", "is in use by an exporter");
    let free = free_address().to_string();
    check(&["--listen", &free, "--admin-listen", &free], &[]).is_wrong("--admin-listen", "another port");
    check(&["--listen", "192.0.2.1:1", "--admin-listen", "127.0.0.1:0"], &[])
        .is_wrong("--listen", "this host has no such address");
}

#[test]
fn a_state_directory_is_looked_at_and_left_as_it_is() {
    let scratch = Scratch::new("check");
    let state = scratch.0.join("deep/state");
    let directory = state.to_str().expect("text");
    let check = |directory: &str| check(&["--state-dir", directory], &[]);
    let said = check(directory);
    said.is_fine();
    assert!(said.line("ok --state-dir").contains("can be made"));
    // Where that is decides how long it lasts.
    assert!(said.line("totals").contains(" survive "), "{}", said.text);
    assert!(!scratch.0.join("deep").exists(), "it was not made");

    let mut exporter = Exporter::with(&["--state-dir", directory]);
    assert_eq!(exporter.send(&CallEventQuery::new(1).encode()).status, 200);
    check(directory).is_wrong("--state-dir", &format!("is held by process {}", exporter.process.id()));
    fs::remove_file(state.join("planet-call-exporter.lock")).expect("removed");
    check(directory).is_wrong("--state-dir", "is held by");
    exporter.process.signal("TERM");
    assert!(exporter.process.wait().success());

    let before = everything(&state);
    let said = check(directory);
    said.is_fine();
    assert!(said.line("ok --state-dir").contains("nobody holds it"));
    assert_eq!(everything(&state), before);

    let checkpoint = state.join("ledger.checkpoint");
    let text = fs::read_to_string(&checkpoint).expect("a checkpoint");
    let (_, contents) = text.split_once('\n').expect("two lines");
    let newer = "planet-call-exporter ledger checkpoint, version 99";
    fs::write(
        &checkpoint,
        format!(
            "{newer}, crc32 {:08x}\n{contents}",
            crc32fast::hash(format!("{newer}{contents}").as_bytes())
        ),
    )
    .expect("written");
    check(directory).is_wrong("--state-dir", "ledger.checkpoint");

    let foreign = scratch.0.join("foreign");
    fs::create_dir(&foreign).expect("a directory");
    check(foreign.to_str().expect("text")).is_fine();
    fs::write(foreign.join("letter"), "").expect("a file");
    check(foreign.to_str().expect("text")).is_wrong("--state-dir", "letter");
    check(foreign.join("letter/state").to_str().expect("text")).is_wrong("--state-dir", "letter");
    let read_only = scratch.0.join("read-only");
    fs::create_dir(&read_only).expect("a directory");
    fs::set_permissions(&read_only, fs::Permissions::from_mode(0o500)).expect("permissions");
    let may_write = fs::write(read_only.join("x"), "").is_ok();
    let said = check(read_only.join("state").to_str().expect("text"));
    // Root may write everywhere.
    if may_write { said.is_fine() } else { said.is_wrong("--state-dir", "Permission denied") }
}

#[test]
fn files_are_looked_at_and_flags_that_contradict_each_other_named() {
    let authority = Authority::new("check");
    let short = authority.file("key", "short");
    let short = short.to_str().expect("text");
    check(&["--identity", "hash", "--identity-key-file", short], &[])
        .is_wrong("--identity-key-file", "at least 16 bytes");
    let certificate = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://localhost:1/v1/traces"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", short),
    ];
    check(&[], &certificate).is_wrong("OTLP traces", short);
    let headers = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c"), ("OTEL_EXPORTER_OTLP_HEADERS", "hidden7Qx")];
    let said = check(&[], &headers);
    said.is_wrong("OTLP metrics", "OTEL_EXPORTER_OTLP_HEADERS=(not shown)");
    assert!(!said.text.contains("hidden7Qx"), "{}", said.text);
    let free = free_address().to_string();
    let to_self = format!("http://{free}");
    check(&["--listen", &free, "--admin-listen", "127.0.0.1:0", "--forward-to", &to_self], &[])
        .is_wrong("flags", "--forward-to");
    check(&["--readiness-path", "/call_event"], &[]).is_wrong("flags", "--readiness-path");
}

#[test]
fn peers_are_tried_if_asked_for_and_nothing_secret_is_shown() {
    let receiver = OtlpReceiver::start([]);
    let service = Service::start();
    let endpoint = receiver.endpoint().replace("http://", "http://user:hidden7Qx@");
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=hidden7Qx"),
    ];
    let untried = check(&["--forward-to", &service.url()], &variables);
    untried.is_fine();
    assert!(untried.line("ok OTLP metrics").contains("--connect"));
    assert!(receiver.metrics().is_empty());
    let said = check(&["--connect", "--forward-to", &service.url()], &variables);
    said.is_fine();
    assert!(said.line("ok OTLP metrics").contains("takes an empty push"));
    assert!(said.line("ok OTLP traces").contains("takes an empty push"));
    assert!(said.line("ok --forward-to").contains("takes connections"));
    assert!(said.line("OTLP metrics http://").contains("api-key"));
    assert!(!said.text.contains("hidden7Qx"), "{}", said.text);
    assert_eq!(receiver.metrics().len(), 1);
    assert!(service.requests().is_empty());

    let nobody = format!("http://{}", free_address());
    let said = check(&["--connect", "--forward-to", &nobody], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &nobody)]);
    said.is_wrong("OTLP metrics", "refused");
    said.is_wrong("--forward-to", "refused");
    service.answer(|_| service::Answer::status(404));
    check(&["--connect"], &[("OTEL_EXPORTER_OTLP_ENDPOINT", &service.url())]).is_wrong("OTLP traces", "404");
}
