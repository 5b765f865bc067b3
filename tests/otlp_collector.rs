//! The promise: what a collector receives is what /metrics shows, and every call is one span whose trace ID is its sid,
//! over either protocol and even if the collector comes late.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode};
use support::backend::{Backend, Received, labels};
use support::call::{CallEventQuery, DOCUMENTED_SAMPLE};
use support::exporter::{Exporter, command};
use support::rotel::{Addresses, Rotel};
use support::scrape::{Page, Series};
use support::{Scratch, eventually, simulator};

/// An exporter that pushes to a collector often.
fn pushing(protocol: &str, addresses: Addresses) -> Exporter {
    let address = if protocol == "grpc" { addresses.grpc } else { addresses.http };
    Exporter::launch(command().envs([
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{address}")),
        ("OTEL_METRIC_EXPORT_INTERVAL", "300"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_SERVICE_NAME", "calls-of-a-test"),
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test"),
    ]))
}

/// Sends a busy second and answers the sids of its calls.
fn send_calls(exporter: &Exporter) -> BTreeSet<String> {
    let scratch = Scratch::new("sids");
    let file = scratch.0.join("sids");
    let arguments = [
        "--seed",
        "1",
        "--calls",
        "2000",
        "--rate",
        "0",
        "--odd-share",
        "0.05",
        "--repeat-share",
        "0.05",
        "--sids",
    ];
    let file_argument = file.display().to_string();
    let report = simulator::send(exporter, &[&arguments[..], &[&file_argument]].concat());
    assert_eq!(report.acknowledged, 2_000);
    simulator::assert_same(&simulator::series_of_calls(&exporter.metrics()), &report.series);
    let sids = std::fs::read_to_string(file).expect("the sids");
    sids.lines().map(|sid| sid.replace('-', "")).collect()
}

/// Everything that does not change while nothing is sent.
fn settled(series: BTreeMap<Series, f64>) -> BTreeMap<Series, f64> {
    let of_exporter = [
        "planet_exporter_events_total",
        "planet_exporter_anomalies_total",
        "planet_exporter_label_overflows_total",
        "planet_exporter_requests_total",
        "planet_exporter_request_duration_seconds_bucket",
        "planet_exporter_request_duration_seconds_count",
        "planet_exporter_seen_sids",
        "planet_exporter_build_info",
        "planet_exporter_delivered_events_total",
        "planet_exporter_backlog",
    ];
    let is_settled = |name: &str| name.starts_with("planet_call") || of_exporter.contains(&name);
    series.into_iter().filter(|((name, _), _)| is_settled(name)).collect()
}

/// Waits until everything has arrived, and asserts that it is what was sent and what the page shows.
fn assert_everything_arrives(backend: &Backend, exporter: &Exporter, sids: &BTreeSet<String>) {
    eventually("the span of every call", || (backend.received().spans.len() >= sids.len()).then_some(()));
    eventually("a backlog of 0 in the metrics", || {
        let backlog = exporter.metrics().value("planet_exporter_backlog", &[("sink", "spans")]);
        (backlog == 0.0).then_some(())
    });
    let page = settled(exporter.metrics().beginning_with("planet"));
    // The push after the last change brings the same.
    eventually("a push of the latest totals", || {
        (settled(backend.received().series.clone()) == page).then_some(())
    });
    let received: Received = backend.received().clone();
    assert_eq!(received.complaints, Vec::<String>::new());
    let trace_ids: BTreeSet<String> = received.spans.iter().map(|span| hexadecimal(&span.trace_id)).collect();
    assert!(trace_ids == *sids, "trace IDs are not the sids");
    assert_eq!(received.spans.len(), sids.len(), "each span came once");
    let span_ids: BTreeSet<_> = received.spans.iter().map(|span| span.span_id.clone()).collect();
    assert_eq!(span_ids.len(), sids.len());
    assert_eq!(received.resource["service.name"], "calls-of-a-test");
    assert_eq!(received.resource["deployment.environment.name"], "test");

    let page = exporter.metrics();
    let reader = [("sink", "spans")];
    assert_eq!(page.value("planet_exporter_delivered_events_total", &reader), sids.len() as f64);
    assert_eq!(page.sum("planet_exporter_dropped_events_total"), 0.0);
    assert_errors_are_the_abnormal_releases(&received.spans, &page);
}

fn assert_errors_are_the_abnormal_releases(spans: &[Span], page: &Page) {
    let is_error =
        |span: &&Span| span.status.as_ref().is_some_and(|status| status.code() == StatusCode::Error);
    let errors = spans.iter().filter(is_error).count();
    assert!(errors > 0);
    assert_eq!(errors as f64, page.sum("planet_call_abnormal_releases_total"));
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn a_collector_receives_everything_over_grpc() {
    let (backend, addresses) = (Backend::start(), Addresses::free());
    let _collector = Rotel::start(addresses, &backend);
    let exporter = pushing("grpc", addresses);
    let sids = send_calls(&exporter);
    assert_everything_arrives(&backend, &exporter, &sids);
}

#[test]
fn a_collector_receives_everything_over_http() {
    let (backend, addresses) = (Backend::start(), Addresses::free());
    let _collector = Rotel::start(addresses, &backend);
    let exporter = pushing("http/protobuf", addresses);
    let sids = send_calls(&exporter);
    assert_everything_arrives(&backend, &exporter, &sids);
}

#[test]
fn a_collector_that_comes_late_receives_everything() {
    let (backend, addresses) = (Backend::start(), Addresses::free());
    let exporter = pushing("grpc", addresses);
    let sids = send_calls(&exporter);
    exporter.process.stderr.wait_for("the OTLP receiver is away");
    let waiting = exporter.metrics().value("planet_exporter_backlog", &[("sink", "spans")]);
    assert_eq!(waiting, sids.len() as f64);
    assert_eq!(exporter.admin("/readyz").status, 200, "a collector that is down stops nothing");

    let _collector = Rotel::start(addresses, &backend);
    assert_everything_arrives(&backend, &exporter, &sids);
    exporter.process.stderr.wait_for("the OTLP receiver is back");
}

#[test]
fn what_is_not_yet_pushed_is_pushed_before_the_end() {
    let (backend, addresses) = (Backend::start(), Addresses::free());
    let _collector = Rotel::start(addresses, &backend);
    let mut exporter = Exporter::launch(command().envs([
        ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", addresses.http).as_str()),
        ("OTEL_METRIC_EXPORT_INTERVAL", "3600000"),
        ("OTEL_BSP_SCHEDULE_DELAY", "3600000"),
    ]));
    let calls = 100;
    for number in 0..calls {
        assert_eq!(exporter.send(&CallEventQuery::new(number).encode()).status, 200);
    }
    let shown = exporter.metrics().beginning_with("planet_call");
    assert_eq!(backend.received().spans.len(), 0);
    exporter.process.signal("TERM");
    assert_eq!(exporter.process.wait().code(), Some(0));
    eventually("spans and totals", || {
        let mut received = backend.received().series.clone();
        received.retain(|(name, _), _| name.starts_with("planet_call"));
        (backend.received().spans.len() == calls && received == shown).then_some(())
    });
}

#[test]
fn the_span_of_the_documented_sample_tells_what_was_sent_but_not_who() {
    let (backend, addresses) = (Backend::start(), Addresses::free());
    let _collector = Rotel::start(addresses, &backend);
    let exporter = pushing("http/protobuf", addresses);
    assert_eq!(exporter.send(DOCUMENTED_SAMPLE).status, 200);
    let span = eventually("its span", || backend.received().spans.first().cloned());
    assert_eq!(hexadecimal(&span.trace_id), "6364e8b3bdac436e96310bce2498ce0c");
    assert_eq!(span.name, "call");
    let seconds = |nanoseconds: u64| nanoseconds as f64 / 1e9;
    assert_eq!(
        (seconds(span.start_time_unix_nano), seconds(span.end_time_unix_nano)),
        (1582527400.0, 1582527434.0)
    );
    let events: Vec<_> =
        span.events.iter().map(|event| (event.name.as_str(), seconds(event.time_unix_nano))).collect();
    assert_eq!(events, [("answered", 1582527404.0), ("released", 1582527434.0)]);
    let attributes = labels(&span.attributes);
    for (name, value) in DOCUMENTED_SAMPLE.split('&').filter_map(|pair| pair.split_once('=')) {
        let told = attributes.get(&format!("planet.{name}")).map(String::as_str);
        let is_identity = ["from_user_id", "to_user_id", "srcip", "dstip"].contains(&name);
        assert_eq!(told, (!is_identity).then_some(value), "{name}");
    }
    assert!(!attributes.contains_key("error.type"));
}
