//! The promise: while the receiver is away the backlog waits on disk, across restarts, in flat memory; then every span is
//! delivered. PLANET_TEST_BACKLOG says how many calls come meanwhile.

#![cfg(feature = "simulator")]
#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;

use support::exporter::{Exporter, command};
use support::otlp_receiver::OtlpReceiver;
use support::{Scratch, free_address, simulator};

fn start(state: &Path, receiver: SocketAddr, arguments: &[&str]) -> Exporter {
    Exporter::launch(
        command()
            .args(["--state-dir", state.to_str().expect("a path in UTF-8")])
            .args(arguments)
            .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("http://{receiver}"))
            .env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")
            .env("OTEL_BSP_SCHEDULE_DELAY", "50"),
    )
}

fn send(exporter: &Exporter, calls: u64, seed: u64) -> u64 {
    let (calls, seed) = (calls.to_string(), seed.to_string());
    let arguments =
        ["--calls", &calls, "--seed", &seed, "--rate", "0", "--connections", "64", "--odd-share", "0"];
    simulator::send(exporter, &arguments).acknowledged
}

fn resident_bytes(exporter: &Exporter) -> f64 {
    exporter.metrics().sum("process_resident_memory_bytes")
}

#[test]
fn a_receiver_that_was_away_gets_every_span_once() {
    let calls = std::env::var("PLANET_TEST_BACKLOG").map_or(5_000, |calls| calls.parse().expect("a number"));
    let scratch = Scratch::new("backlog");
    let state = scratch.0.join("state");
    let address = free_address();
    let mut exporter = start(&state, address, &[]);
    let before = resident_bytes(&exporter);
    send(&exporter, calls / 2, 1);
    exporter.process.signal("TERM");
    assert!(exporter.process.wait().success());

    let exporter = start(&state, address, &[]);
    let restarted = resident_bytes(&exporter);
    send(&exporter, calls - calls / 2, 2);
    let backlog = exporter.metrics().value("planet_exporter_backlog", &[("sink", "spans")]);
    assert_eq!(backlog, calls as f64);
    // What a session ID takes in the window of seen ones, and the pages that a process touches sooner or later.
    let allowed = 100.0 * calls as f64 + 32.0 * 1024.0 * 1024.0;
    let grown = resident_bytes(&exporter) - before.min(restarted);
    assert!(grown < allowed, "{grown} bytes more, {allowed} allowed");

    let receiver = OtlpReceiver::start_at(address, []);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(600);
    while exporter.metrics().value("planet_exporter_backlog", &[("sink", "spans")]) > 0.0 {
        assert!(std::time::Instant::now() < deadline, "the backlog does not end");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let traces: Vec<_> = receiver.taken().into_iter().map(|span| span.trace_id).collect();
    assert_eq!(traces.len() as u64, calls);
    assert_eq!(traces.iter().collect::<BTreeSet<_>>().len() as u64, calls);
}

#[test]
fn a_state_directory_stays_within_its_bound_and_totals_stay_right() {
    let scratch = Scratch::new("state-bound");
    let state = scratch.0.join("state");
    let exporter = start(&state, free_address(), &["--state-max-bytes", "1MiB"]);
    let sent = send(&exporter, 6_000, 1);
    let bytes = "planet_exporter_journal_size_bytes";
    // The journal is looked after once a second, and keeps what the checkpoint before the latest may need.
    let mut seed = 2;
    let mut total = sent;
    support::eventually("a journal within its bound", || {
        total += send(&exporter, 10, seed);
        seed += 1;
        (exporter.metrics().sum(bytes) <= 1_048_576.0).then_some(())
    });
    let page = exporter.metrics();
    let backlog = page.value("planet_exporter_backlog", &[("sink", "spans")]);
    let given_up =
        page.value("planet_exporter_dropped_events_total", &[("sink", "spans"), ("cause", "backlog")]);
    assert!(given_up > 0.0);
    exporter.process.stderr.wait_for("events that waited are dropped");
    assert_eq!(page.sum("planet_calls_total"), total as f64);
    assert!(
        backlog + given_up <= total as f64 && backlog + given_up >= total as f64 - 1_024.0,
        "{backlog} and {given_up}"
    );
    drop(exporter);
    let page = start(&state, free_address(), &["--state-max-bytes", "1MiB"]).metrics();
    assert_eq!(page.sum("planet_calls_total"), total as f64);
}
