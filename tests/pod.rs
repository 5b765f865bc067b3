//! The life and death of the exporter in a pod: what the kubelet does to a container, with real signals and limits.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use bytesize::ByteSize;
use serde_json::Value;
use support::backend::Backend;
use support::call::{CallEventQuery, sid};
use support::exporter::{Exporter, command};
use support::http::Connection;
use support::service::{Answer, Service};
use support::{Scratch, charts, eventually, free_address};

/// What a sidecar has after its SIGTERM if the application used up the pod's time to end (Kubernetes: sidecar containers).
const GRACE_OF_A_SIDECAR: Duration = Duration::from_secs(2);

fn send(exporter: &Exporter, numbers: std::ops::Range<usize>) {
    let mut connection = Connection::open(exporter.call_events);
    for number in numbers {
        let query = CallEventQuery::new(number).with("from_user_id", &number.to_string()).encode();
        assert_eq!(connection.get(&format!("/call_event?{query}")).status, 200);
    }
}

#[test]
fn nothing_that_the_volume_keeps_is_lost_by_a_kill_two_seconds_after_the_signal() {
    let scratch = Scratch::new("pod");
    let (collector, service) = (free_address(), free_address());
    let start = |collector: &str| {
        Exporter::launch(
            command()
                .arg("--state-dir")
                .arg(scratch.0.join("state"))
                .args(["--forward-to", &format!("http://{service}")])
                .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector)
                .env("OTEL_BSP_SCHEDULE_DELAY", "50"),
        )
    };
    let mut exporter = start(&format!("http://{collector}"));
    send(&exporter, 0..500);
    for probe in ["/livez", "/readyz"] {
        assert_eq!(exporter.admin(probe).status, 200, "{probe} asks neither the collector nor the service");
    }
    let page = exporter.metrics();
    for reader in ["spans", "service"] {
        assert_eq!(page.value("planet_exporter_backlog", &[("sink", reader)]), 500.0, "{reader}");
    }

    // A request that does not come to its end keeps the exporter from ending by itself within two seconds.
    let mut unfinished = Connection::open(exporter.call_events);
    unfinished.send(format!("GET /call_event?{} HTTP/1.1\r\n", CallEventQuery::new(500).encode()));
    send(&exporter, 501..502);
    exporter.process.signal("TERM");
    std::thread::sleep(GRACE_OF_A_SIDECAR);
    assert_eq!(exporter.process.ended(), None);
    exporter.kill();

    let backend = Backend::start();
    let service = Service::start_at(service);
    let exporter = start(&format!("http://{}", backend.address()));
    let sent = || (0..500).chain(501..502).map(sid);
    assert_eq!(exporter.metrics().sum("planet_calls_total"), sent().count() as f64);
    eventually("every call event at the service", || {
        let arrived: BTreeSet<_> = service.requests().iter().map(|request| request.sid()).collect();
        (arrived == sent().collect()).then_some(())
    });
    let expected: BTreeSet<_> = sent().map(|sid| sid.replace('-', "")).collect();
    eventually("the span of every call", || {
        let received = backend.received();
        let traces = received.spans.iter().map(|span| &span.trace_id);
        let traces: BTreeSet<String> =
            traces.map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
        (traces == expected).then_some(())
    });
    // LINE Planet sends again what was not answered, and perhaps what was.
    send(&exporter, 400..502);
    assert_eq!(exporter.metrics().sum("planet_calls_total"), sent().count() as f64 + 1.0);
}

/// Kubernetes shows the last 2048 bytes or 80 lines of the log of a container that failed
/// (terminationMessagePolicy: FallbackToLogsOnError).
#[test]
fn the_end_of_the_log_says_why_a_start_failed() {
    let scratch = Scratch::new("termination");
    let state = scratch.0.join("state");
    let holder = Exporter::launch(command().arg("--state-dir").arg(&state));
    let taken = holder.call_events.to_string();
    let not_a_directory = scratch.0.join("file");
    std::fs::write(&not_a_directory, "").expect("a file");
    for (arguments, cause) in [
        (["--state-dir", path(&state)], format!("process {}", holder.process.id())),
        (["--state-dir", path(&not_a_directory)], "File exists".to_owned()),
        (["--listen", &taken], format!("cannot listen on {taken}")),
        (["--seen-age", "a day"], "--seen-age".to_owned()),
        (["--identity", "hash"], "--identity-key-file".to_owned()),
        (["--forward-to", "127.0.0.1:8080"], "expected a URL such as http://127.0.0.1:8080".to_owned()),
    ] {
        let output = command().args(arguments).output().expect("it runs");
        assert!(!output.status.success(), "{arguments:?}");
        let log = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
        let lines: Vec<_> = log.lines().collect();
        let last_lines = lines[lines.len().saturating_sub(80)..].join("\n");
        let message = &last_lines[last_lines.len().saturating_sub(2048)..];
        assert!(message.contains(&cause), "{cause:?} in {message}");
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// What bounds memory; docs/operations.md says the same.
struct Bounds {
    seen_max: u64,
    max_series: u64,
    max_connections: u64,
    /// With --forward-to.
    passes_on: bool,
    /// Without a state directory.
    backlog_max_bytes: u64,
}

impl Bounds {
    fn memory_bytes(&self) -> u64 {
        let connection = if self.passes_on { 400 * 1024 } else { 80 * 1024 };
        16 * 1024 * 1024
            + 150 * self.seen_max
            + 8 * 1024 * self.max_series
            + connection * self.max_connections
            + self.backlog_max_bytes * 3 / 2
    }
}

#[test]
fn memory_stays_within_what_bounds_it_under_a_hard_limit() {
    let bounds = Bounds {
        seen_max: 10_000,
        max_series: 500,
        max_connections: 64,
        passes_on: true,
        backlog_max_bytes: 4 * 1024 * 1024,
    };
    let header = "x".repeat(30_000);
    let large_answer = format!("x-large: {header}\r\n").leak();
    let service = Service::start();
    service.answer(|request| match request.target.starts_with("/large") {
        true => Answer::Send(200, large_answer, vec![b'x'; 4 * 1024 * 1024]),
        // The backlog stays.
        false => Answer::status(500),
    });
    let exporter = Exporter::launch_as_it_is(
        limited(bounds.memory_bytes())
            .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
            .args(["--seen-max", &bounds.seen_max.to_string()])
            .args(["--max-series", &bounds.max_series.to_string()])
            .args(["--max-connections", &bounds.max_connections.to_string()])
            .args(["--backlog-max-bytes", &bounds.backlog_max_bytes.to_string()])
            .args(["--header-timeout", "1h", "--forward-to", &service.url(), "--worker-threads", "2"])
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", free_address())),
    );

    // More calls than are remembered or may wait, with more label sets than there may be.
    let calls = 12_000;
    let mut connection = Connection::open(exporter.call_events);
    for number in 0..calls {
        let event = CallEventQuery::new(number)
            .with("rc_idc", &format!("IDC{}", number % 60))
            .with("disconnect_reason", &format!("{}", 1000 + number % 700))
            .with("rel_code", &number.to_string());
        assert_eq!(connection.get(&format!("/call_event?{}", event.encode())).status, 200);
    }
    let backlog = exporter.metrics().sum("planet_exporter_dropped_events_total");
    assert!(backlog > 0.0, "more came than may wait");
    drop(connection);

    // Then every connection that there may be: heads without end, and answers that nobody takes.
    let mut open = Vec::new();
    for number in 0..bounds.max_connections - 1 {
        let mut connection = Connection::open(exporter.call_events);
        let end = if number % 2 == 0 { "\r\n" } else { "" };
        connection.send(format!("GET /large HTTP/1.1\r\nhost: a\r\nx-large: {header}\r\n{end}"));
        open.push(connection);
    }
    for number in 0..bounds.max_connections - 2 {
        let mut connection = Connection::open(exporter.admin);
        connection.send(match number % 2 {
            0 => "GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n".to_owned(),
            _ => format!("GET /metrics HTTP/1.1\r\nhost: a\r\nx-large: {}\r\n", "x".repeat(15_000)),
        });
        open.push(connection);
    }
    eventually("all that was asked for", || {
        let large = service.requests().iter().filter(|request| request.target == "/large").count();
        (large as u64 == bounds.max_connections / 2).then_some(())
    });
    assert_eq!(exporter.admin("/livez").status, 200);
    assert_eq!(exporter.send(&CallEventQuery::new(calls).encode()).status, 200);
    drop(open);
    let counted = || Some(exporter.metrics().sum("planet_calls_total")).filter(|calls| *calls > 0.0);
    assert_eq!(eventually("the metrics", counted), calls as f64 + 1.0);
}

/// The exporter with a limit of what it may allocate, which is fatal when it is passed.
fn limited(bytes: u64) -> Command {
    let exporter = command();
    let mut prlimit = Command::new("prlimit");
    prlimit.arg(format!("--data={bytes}")).arg(exporter.get_program());
    prlimit.env_clear().envs(std::env::vars().filter(|(name, _)| name == "PATH"));
    prlimit
}

#[test]
fn the_charts_memory_limit_is_enough_for_its_bounds() {
    let values = std::fs::read_to_string(charts::path("helm/planet-call-exporter-sidecar/values.yaml"));
    let values = charts::objects(&values.expect("values")).remove(0);
    let help = command().arg("--help").output().expect("help").stdout;
    let help = String::from_utf8(help).expect("UTF-8");
    let default = |flag: &str| {
        let help = help.split(&format!("--{flag} ")).nth(1).expect("a flag");
        help.split("[default: ").nth(1).and_then(|text| text.split(']').next()).expect("a default")
    };
    let number = |name: &str, flag: &str| {
        values["flags"][name].as_u64().unwrap_or_else(|| default(flag).parse().expect("a number"))
    };
    let bounds = Bounds {
        seen_max: number("seenMax", "seen-max"),
        max_series: number("maxSeries", "max-series"),
        max_connections: number("maxConnections", "max-connections"),
        passes_on: true,
        // Its values may say that there is no state directory.
        backlog_max_bytes: default("backlog-max-bytes").parse::<ByteSize>().expect("a size").as_u64(),
    };
    let Value::String(limit) = &values["resources"]["limits"]["memory"] else { panic!("a limit") };
    let limit: ByteSize = format!("{limit}B").parse().expect("a size");
    assert!(limit.as_u64() >= bounds.memory_bytes(), "{limit} of {}", ByteSize(bounds.memory_bytes()));
}
