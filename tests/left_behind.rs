//! The promise: who ends while a collector or a service hangs says in time what it leaves behind, and whether that is lost.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::net::TcpListener;
use std::process::Command;
use std::time::{Duration, Instant};

use support::call::CallEventQuery;
use support::exporter::{Exporter, command};
use support::otlp_receiver::OtlpReceiver;
use support::service::Service;
use support::{Scratch, eventually};

/// An address at which the kernel takes connections and nobody answers.
fn silent() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    (listener, url)
}

/// The exporter with everything delivered to who hangs for longer than it may take to end.
fn delivering_to(hanging: &str) -> Command {
    let mut command = command();
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", hanging)
        .env("OTEL_EXPORTER_OTLP_TIMEOUT", "600000")
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .args(["--forward-to", hanging, "--forward-timeout", "10m", "--shutdown-timeout", "3s"]);
    command
}

/// Ends an exporter after three calls, and answers the lines of what it leaves behind: of spans, the service and metrics.
fn left_behind(mut exporter: Exporter) -> [String; 3] {
    for number in 0..3 {
        assert_eq!(exporter.send(&CallEventQuery::new(number).encode()).status, 200);
    }
    let backlog = |sink| exporter.metrics().value("planet_exporter_backlog", &[("sink", sink)]);
    eventually("both backlogs", || (backlog("spans") == 3.0 && backlog("service") == 3.0).then_some(()));
    let signalled = Instant::now();
    exporter.process.signal("TERM");
    assert_eq!(exporter.process.wait().code(), Some(0));
    assert!(signalled.elapsed() < Duration::from_secs(6), "{:?}", signalled.elapsed());
    exporter.process.stderr.wait_for("stopped before everything was finished");
    let of_sink = |sink: &str| {
        let lines = exporter.process.stderr.all().into_iter();
        let mut lines = lines.filter(|line| line.contains("ended before all events were delivered"));
        lines.find(|line| line.contains(&format!("\"sink\":\"{sink}\""))).expect("a line of the sink")
    };
    let metrics = exporter.process.stderr.find("ended before the last metrics were pushed");
    [of_sink("spans"), of_sink("service"), metrics.expect("a line of metrics")]
}

#[test]
fn what_is_in_memory_is_lost_and_that_is_said() {
    let (_listener, hanging) = silent();
    let [spans, service, metrics] = left_behind(Exporter::launch(&mut delivering_to(&hanging)));
    for line in [spans, service] {
        assert!(
            line.contains("\"events\":3") && line.contains("they were in memory, and are lost"),
            "{line}"
        );
    }
    assert!(metrics.contains(&hanging) && metrics.contains("is lost"), "{metrics}");
}

#[test]
fn what_is_on_disk_is_delivered_after_the_next_start_and_that_is_said() {
    let scratch = Scratch::new("left-behind");
    let state = scratch.0.join("state").display().to_string();
    let (_listener, hanging) = silent();
    let [spans, service, metrics] =
        left_behind(Exporter::launch(delivering_to(&hanging).args(["--state-dir", &state])));
    for line in [spans, service] {
        assert!(line.contains("\"events\":3") && line.contains("delivered after the next start"), "{line}");
    }
    assert!(metrics.contains("the totals are on disk"), "{metrics}");

    let (receiver, behind) = (OtlpReceiver::start([]), Service::start());
    let mut command = command();
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint())
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
        .env("OTEL_BSP_SCHEDULE_DELAY", "50")
        .args(["--forward-to", &behind.url(), "--state-dir", &state]);
    let _exporter = Exporter::launch(&mut command);
    eventually("what was left", || {
        (receiver.taken().len() == 3 && behind.requests().len() == 3).then_some(())
    });
}
