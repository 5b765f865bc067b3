//! The promise: who answers without being a receiver is told from one, gets nothing more for a minute, and costs
//! nothing; and what an exporter says of itself tells it from others.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::time::Duration;

use support::backend::labels;
use support::call::CallEventQuery;
use support::exporter::{Exporter, command};
use support::otlp_receiver::OtlpReceiver;
use support::service::{self, Service};
use support::{eventually, http};

fn send(exporter: &Exporter, numbers: std::ops::Range<usize>) {
    for number in numbers {
        assert_eq!(exporter.send(&CallEventQuery::new(number).encode()).status, 200);
    }
}

#[test]
fn an_answer_that_does_not_come_from_a_receiver_gives_nothing_up() {
    for (status, headers, body) in [
        (200, "content-type: text/html\r\n", "<html>Welcome</html>"),
        (308, "location: https://collector/v1/traces\r\n", ""),
        (401, "", "token expired"),
        (403, "content-type: text/html\r\n", "<html>Blocked</html>"),
        (404, "", "404 page not found"),
        (500, "content-type: text/html\r\n", "<html>Internal Server Error</html>"),
    ] {
        let receiver = Service::start();
        receiver.answer(move |_| service::Answer::Send(status, headers, body.into()));
        let exporter = Exporter::launch(command().envs([
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("{}/v1/traces", receiver.url()).as_str()),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ]));
        send(&exporter, 0..8);
        let line = exporter.process.stderr.wait_for("seems to be configured wrongly");
        assert!(line.contains(&receiver.url()), "{line}");
        // The others do not make it try again.
        send(&exporter, 8..16);
        std::thread::sleep(Duration::from_secs(1));
        let page = exporter.metrics();
        assert_eq!(page.value("planet_exporter_backlog", &[("sink", "spans")]), 16.0, "{status}");
        assert_eq!(page.value("planet_exporter_misconfigured", &[("signal", "traces")]), 1.0);
        assert_eq!(page.sum("planet_exporter_dropped_events_total"), 0.0);
        assert_eq!(receiver.requests().len(), 1, "{status}");
        let ready = exporter.admin("/readyz?verbose");
        assert_eq!(ready.status, 200);
        assert!(ready.text().contains("otlp_traces: not ready (does not count)"), "{}", ready.text());
    }
}

#[test]
fn two_exporters_on_one_host_are_two_instances() {
    let receiver = OtlpReceiver::start([]);
    let start = || {
        let mut command = command();
        command
            .env("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", receiver.endpoint())
            .env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
            .env("OTEL_METRIC_EXPORT_INTERVAL", "100");
        Exporter::launch(&mut command)
    };
    let exporters = [start(), start()];
    let instances = || -> BTreeSet<String> {
        let requests = receiver.metrics();
        let resources = requests.iter().flat_map(|request| &request.resource_metrics);
        let resources = resources.filter_map(|metrics| metrics.resource.as_ref());
        resources.filter_map(|resource| labels(&resource.attributes).remove("service.instance.id")).collect()
    };
    let instances = eventually("both", || Some(instances()).filter(|instances| instances.len() == 2));
    for exporter in exporters {
        let port = format!(":{}", exporter.call_events.port());
        assert!(instances.iter().any(|instance| instance.ends_with(&port)), "{instances:?}");
    }
}

#[test]
fn who_pushes_metrics_and_is_scraped_too_says_so_once() {
    let receiver = Service::start();
    let scrapes = |exporter: &Exporter| {
        let header = [("X-Prometheus-Scrape-Timeout-Seconds", "10")];
        assert_eq!(http::request(exporter.admin, "GET", "/metrics", &header).status, 200);
    };
    let said = |exporter: &Exporter| {
        let lines = exporter.process.stderr.all();
        lines.into_iter().filter(|line| line.contains("metrics are scraped and pushed")).collect::<Vec<_>>()
    };
    let exporter = pushing_metrics_to(&receiver);
    // A person is no path to a Prometheus.
    exporter.metrics();
    for _ in 0..3 {
        scrapes(&exporter);
    }
    let line = exporter.process.stderr.wait_for("metrics are scraped and pushed");
    assert!(line.contains("INFO") && line.contains(&receiver.url()), "{line}");
    exporter.process.signal("TERM");
    exporter.process.stderr.wait_for("stopped");
    assert_eq!(said(&exporter), [line]);

    let spans_only =
        Exporter::launch(command().envs([
            ("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url().as_str()),
            ("OTEL_METRICS_EXPORTER", "none"),
        ]));
    scrapes(&spans_only);
    spans_only.process.signal("TERM");
    spans_only.process.stderr.wait_for("stopped");
    assert_eq!(said(&spans_only), Vec::<String>::new());
}

/// The exporter with metrics pushed over HTTP, often.
fn pushing_metrics_to(receiver: &Service) -> Exporter {
    let mut command = command();
    command
        .env("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", format!("{}/api/v1/otlp/v1/metrics", receiver.url()))
        .env("OTEL_METRIC_EXPORT_INTERVAL", "200");
    Exporter::launch(&mut command)
}

fn metrics_pushes(exporter: &Exporter, result: &str) -> f64 {
    let labels = [("signal", "metrics"), ("result", result)];
    exporter.metrics().value("planet_exporter_deliveries_total", &labels)
}

#[test]
fn a_push_of_metrics_that_is_refused_is_dropped_and_the_next_goes() {
    let receiver = Service::start();
    static PUSHES: Mutex<usize> = Mutex::new(0);
    receiver.answer(|_| {
        let mut pushes = PUSHES.lock().expect("no panic");
        *pushes += 1;
        match *pushes {
            // As Prometheus answers to samples that are out of order.
            2 => service::Answer::Send(400, "content-type: text/plain\r\n", b"out of order sample".to_vec()),
            _ => service::Answer::status(200),
        }
    });
    let exporter = pushing_metrics_to(&receiver);
    eventually("pushes after it", || (metrics_pushes(&exporter, "success") >= 4.0).then_some(()));
    assert_eq!((metrics_pushes(&exporter, "refused"), metrics_pushes(&exporter, "retry")), (1.0, 0.0));
    let wrong = exporter.metrics().value("planet_exporter_misconfigured", &[("signal", "metrics")]);
    assert_eq!(wrong, 0.0);
    assert!(exporter.admin("/readyz?verbose").text().contains("otlp_metrics: ok"));
}

#[test]
fn a_destination_of_metrics_that_is_configured_wrongly_is_shown_and_left_alone() {
    for (status, body) in
        [(404, "404 page not found"), (400, "Client sent an HTTP request to an HTTPS server.")]
    {
        let receiver = Service::start();
        receiver.answer(move |_| service::Answer::Send(status, "content-type: text/plain\r\n", body.into()));
        let exporter = pushing_metrics_to(&receiver);
        let line = exporter.process.stderr.wait_for("seems to be configured wrongly");
        assert!(line.contains(body) && line.contains(&receiver.url()), "{line}");
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(receiver.requests().len(), 1);
        assert!(
            exporter.admin("/readyz?verbose").text().contains("otlp_metrics: not ready (does not count)")
        );
        let wrong = exporter.metrics().value("planet_exporter_misconfigured", &[("signal", "metrics")]);
        assert_eq!(wrong, 1.0);
    }
}
