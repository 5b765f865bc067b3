//! The promise: the collector that people run gets every span once and every total, whatever stands in the way for a while: one
//! that hangs, a setting that is wrong, a message that is too large.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::authority::Authority;
use support::call::CallEventQuery;
use support::exporter::{Exporter, command};
use support::otel_collector::{Options, OtelCollector};
use support::rotel::Addresses;
use support::{Scratch, eventually};

/// The exporter, which pushes soon.
fn pushing(protocol: &str, url: &str) -> Command {
    let mut command = command();
    command.envs([
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", url),
        ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
    ]);
    command
}

fn address_of(protocol: &str, addresses: Addresses) -> SocketAddr {
    if protocol == "grpc" { addresses.grpc } else { addresses.http }
}

fn send(exporter: &Exporter, numbers: std::ops::Range<usize>) {
    for number in numbers {
        assert_eq!(exporter.send(&CallEventQuery::new(number).encode()).status, 200);
    }
}

fn dropped_spans(exporter: &Exporter) -> f64 {
    let causes = ["refused", "age", "backlog"];
    let page = exporter.metrics();
    let dropped =
        |cause| page.value("planet_exporter_dropped_events_total", &[("sink", "spans"), ("cause", cause)]);
    causes.into_iter().map(dropped).sum()
}

/// Waits until this many spans are there, each once, and the exporter knows it.
fn assert_spans_arrive(exporter: &Exporter, collector: &OtelCollector, spans: usize) {
    assert_spans_arrive_after(exporter, collector, spans, 0);
}

/// The same, after others went elsewhere.
fn assert_spans_arrive_after(exporter: &Exporter, collector: &OtelCollector, spans: usize, others: usize) {
    // What the collector wrote is read when it can be all, since it may be much.
    eventually("a delivery of everything", || {
        let delivered =
            exporter.metrics().value("planet_exporter_delivered_events_total", &[("sink", "spans")]);
        (delivered >= (spans + others) as f64).then_some(())
    });
    let once = eventually("every span", || {
        let received = collector.spans();
        (received.len() >= spans).then_some(received)
    });
    assert_eq!(once.len(), spans);
    assert!(once.values().all(|times| *times == 1), "each once");
    eventually("an end of the backlog", || {
        let backlog = exporter.metrics().value("planet_exporter_backlog", &[("sink", "spans")]);
        (backlog == 0.0).then_some(())
    });
    assert_eq!(dropped_spans(exporter), 0.0);
}

#[test]
#[ignore = "needs the collector that tests/run --peers builds"]
fn everything_arrives_once_over_each_protocol_compressed_or_not() {
    for (protocol, compression) in
        [("grpc", "gzip"), ("grpc", "none"), ("http/protobuf", "gzip"), ("http/protobuf", "none")]
    {
        let addresses = Addresses::free();
        let collector = OtelCollector::start(addresses, &Options::default());
        let url = format!("http://{}", address_of(protocol, addresses));
        let exporter =
            Exporter::launch(pushing(protocol, &url).env("OTEL_EXPORTER_OTLP_COMPRESSION", compression));
        send(&exporter, 0..60);
        assert_spans_arrive(&exporter, &collector, 60);
        eventually("the totals", || collector.points().contains_key("planet.calls").then_some(()));
        let failed = exporter
            .metrics()
            .value("planet_exporter_deliveries_total", &[("signal", "traces"), ("result", "retry")]);
        assert_eq!(failed, 0.0, "{protocol} {compression}");
    }
}

#[test]
#[ignore = "needs the collector that tests/run --peers builds"]
fn the_call_log_arrives_once_over_each_protocol_and_leads_to_the_spans() {
    for protocol in ["grpc", "http/protobuf"] {
        let addresses = Addresses::free();
        let url = format!("http://{}", address_of(protocol, addresses));
        let mut command = pushing(protocol, &url);
        command.args(["--call-log", "otlp"]).env("OTEL_BLRP_SCHEDULE_DELAY", "100");
        let exporter = Exporter::launch(&mut command);
        send(&exporter, 0..60);
        exporter.process.stderr.wait_for("the OTLP receiver of logs is away");
        let collector = OtelCollector::start(addresses, &Options::default());
        assert_spans_arrive(&exporter, &collector, 60);
        let logs = eventually("every record", || Some(collector.logs()).filter(|logs| logs.len() >= 60));
        let ids = |items: &[Value]| -> BTreeSet<(String, String)> {
            let id = |item: &Value, name: &str| item[name].as_str().expect("an ID").to_owned();
            items.iter().map(|item| (id(item, "traceId"), id(item, "spanId"))).collect()
        };
        assert_eq!(logs.len(), 60, "each once");
        assert_eq!(ids(&logs), ids(&collector.whole_spans()), "{protocol}");
        for record in &logs {
            assert_eq!(record["eventName"], "planet.call", "{record}");
            assert_eq!((&record["severityText"], &record["severityNumber"]), (&"INFO".into(), &9.into()));
            assert_eq!(record["body"]["stringValue"], "video call in KR ended after 30s: NORMAL", "{record}");
        }
        let delivered =
            exporter.metrics().value("planet_exporter_delivered_events_total", &[("sink", "otlp_logs")]);
        assert_eq!(delivered, 60.0, "{protocol}");
    }
}

/// What a Kubernetes Service is to a client: each new connection goes to the back end that is named now, and those that
/// are open stay where they are.
struct Switch {
    address: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
}

impl Switch {
    fn to(target: SocketAddr) -> Switch {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let target = Arc::new(Mutex::new(target));
        let named = Arc::clone(&target);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let target = *named.lock().expect("no panic");
                let Ok(server) = TcpStream::connect(target) else { continue };
                let back = (server.try_clone().expect("a handle"), client.try_clone().expect("a handle"));
                thread::spawn(move || carry(client, server));
                thread::spawn(move || carry(back.0, back.1));
            }
        });
        Switch { address, target }
    }

    fn switch_to(&self, target: SocketAddr) {
        *self.target.lock().expect("no panic") = target;
    }
}

fn carry(mut from: TcpStream, mut to: TcpStream) {
    // However it ends, both ends are to know.
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Both);
}

#[test]
#[ignore = "needs the collector that tests/run --peers builds"]
fn a_collector_that_hangs_is_left_for_one_that_does_not() {
    let authority = Authority::new("hangs");
    let (certificate, key) = authority.issue("localhost");
    let (certificate, key) = (authority.file("server.pem", &certificate), authority.file("server.key", &key));
    let tls = format!(
        "        tls: {{cert_file: \"{}\", key_file: \"{}\"}}\n",
        certificate.display(),
        key.display()
    );
    let trusted = authority.file("ca.pem", &authority.issuer.pem());
    let secure = Options { http: tls, ..Options::default() };
    // Over https it is HTTP/2 as well, by ALPN.
    for (protocol, scheme, options) in [
        ("grpc", "http", Options::default()),
        ("http/protobuf", "http", Options::default()),
        ("http/protobuf", "https", secure),
    ] {
        let (first, second) = (Addresses::free(), Addresses::free());
        let hanging = OtelCollector::start(first, &options);
        let healthy = OtelCollector::start(second, &options);
        let switch = Switch::to(address_of(protocol, first));
        let exporter = Exporter::launch(
            pushing(protocol, &format!("{scheme}://localhost:{}", switch.address.port()))
                .env("OTEL_EXPORTER_OTLP_CERTIFICATE", &trusted)
                .env("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"),
        );
        send(&exporter, 0..20);
        assert_spans_arrive(&exporter, &hanging, 20);
        hanging.process.signal("STOP");
        switch.switch_to(address_of(protocol, second));
        let began = Instant::now();
        send(&exporter, 20..120);
        assert_spans_arrive_after(&exporter, &healthy, 100, 20);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(15), "{protocol} over {scheme}: {took:?}");
    }
}

/// How an exporter is configured wrongly, and what the collector is like.
struct Wrong {
    protocol: &'static str,
    /// The endpoint of spans, after scheme and address.
    scheme: &'static str,
    path: &'static str,
    token: &'static str,
    options: Options,
    /// What the log says.
    said: &'static str,
}

#[test]
#[ignore = "needs the collector that tests/run --peers builds"]
fn a_setting_that_is_wrong_costs_no_span() {
    let token = || Options { token: Some("right".to_owned()), ..Options::default() };
    let without_traces = || Options { without_traces: true, ..Options::default() };
    let usual = Wrong {
        protocol: "http/protobuf",
        scheme: "http",
        path: "/v1/traces",
        token: "",
        options: Options::default(),
        said: "404",
    };
    let wrongs = [
        Wrong { path: "/v1/traces/v1/traces", options: Options::default(), ..usual },
        Wrong { path: "/", options: Options::default(), ..usual },
        Wrong { options: without_traces(), ..usual },
        Wrong { protocol: "grpc", options: without_traces(), said: "Unimplemented", ..usual },
        Wrong { token: "wrong", options: token(), said: "401", ..usual },
        Wrong { protocol: "grpc", token: "wrong", options: token(), said: "Unauthenticated", ..usual },
    ];
    for wrong in wrongs {
        let (addresses, scratch) = (Addresses::free(), Scratch::new("wrong"));
        let collector = OtelCollector::start(addresses, &wrong.options);
        let url = format!("{}://{}", wrong.scheme, address_of(wrong.protocol, addresses));
        let state = scratch.0.join("state").display().to_string();
        let exporter_with = |endpoint: String, token: &str| {
            let mut command = pushing(wrong.protocol, &url);
            command.env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint);
            command.env("OTEL_EXPORTER_OTLP_HEADERS", format!("authorization=Bearer%20{token}"));
            Exporter::launch(command.args(["--state-dir", &state]))
        };
        let mut exporter = exporter_with(format!("{url}{}", wrong.path), wrong.token);
        send(&exporter, 0..30);
        let line = exporter.process.stderr.wait_for("seems to be configured wrongly");
        assert!(line.contains(&url) && line.contains(wrong.said), "{line}");
        let ready = exporter.admin("/readyz?verbose");
        assert_eq!(ready.status, 200, "a sidecar of telemetry makes no pod unready");
        assert!(ready.text().contains("otlp_traces: not ready (does not count)"), "{}", ready.text());
        let page = exporter.metrics();
        assert_eq!(page.value("planet_exporter_misconfigured", &[("signal", "traces")]), 1.0);
        assert_eq!(page.value("planet_exporter_backlog", &[("sink", "spans")]), 30.0);
        assert_eq!(dropped_spans(&exporter), 0.0);
        exporter.process.signal("TERM");
        assert!(exporter.process.wait().success());
        drop(collector);

        // Somebody puts it right, at either end.
        let collector =
            OtelCollector::start(addresses, &Options { without_traces: false, ..wrong.options.clone() });
        let path = if wrong.protocol == "grpc" { "" } else { "/v1/traces" };
        let exporter = exporter_with(format!("{url}{path}"), "right");
        assert_spans_arrive(&exporter, &collector, 30);
        assert!(exporter.admin("/readyz?verbose").text().contains("otlp_traces: ok"));
    }
}

#[test]
#[ignore = "needs the collector that tests/run --peers builds"]
fn a_port_of_tls_that_is_taken_for_a_plain_one_costs_no_span() {
    let authority = Authority::new("plain");
    let (certificate, key) = authority.issue("localhost");
    let (certificate, key) = (authority.file("server.pem", &certificate), authority.file("server.key", &key));
    let http = format!(
        "        tls: {{cert_file: \"{}\", key_file: \"{}\"}}\n",
        certificate.display(),
        key.display()
    );
    let addresses = Addresses::free();
    let _collector = OtelCollector::start(addresses, &Options { http, ..Options::default() });
    let exporter = Exporter::launch(&mut pushing("http/protobuf", &format!("http://{}", addresses.http)));
    send(&exporter, 0..5);
    let line = exporter.process.stderr.wait_for("seems to be configured wrongly");
    assert!(line.contains("Client sent an HTTP request to an HTTPS server"), "{line}");
    assert_eq!(exporter.metrics().value("planet_exporter_backlog", &[("sink", "spans")]), 5.0);
    assert_eq!(dropped_spans(&exporter), 0.0);
}

#[test]
#[ignore = "needs the collector that tests/run --peers builds"]
fn what_is_larger_than_the_collector_takes_arrives_in_parts() {
    let small_http = "        max_request_body_size: 100000\n".to_owned();
    let small_grpc = "        max_recv_msg_size_mib: 1\n".to_owned();
    let long = "x".repeat(5_000);
    for (protocol, options, is_small) in [
        ("grpc", Options::default(), false),
        ("grpc", Options { grpc: small_grpc, ..Options::default() }, true),
        ("http/protobuf", Options { http: small_http, ..Options::default() }, true),
    ] {
        let addresses = Addresses::free();
        let collector = OtelCollector::start(addresses, &options);
        let mut command = pushing(protocol, &format!("http://{}", address_of(protocol, addresses)));
        command
            .env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1000")
            .env("OTEL_BSP_SCHEDULE_DELAY", "300")
            .env("OTEL_METRIC_EXPORT_INTERVAL", "3000");
        let exporter = Exporter::launch(&mut command);
        for number in 0..1_000 {
            // Series of their own as well.
            let reason = format!("{:0>40}", number % 60);
            let call = CallEventQuery::new(number).with("app_svr_data", &long).with("rel_code_str", &reason);
            assert_eq!(exporter.send(&call.encode()).status, 200);
        }
        assert_spans_arrive(&exporter, &collector, 1_000);
        let page = exporter.metrics();
        let split =
            page.value("planet_exporter_deliveries_total", &[("signal", "traces"), ("result", "retry")]);
        assert_eq!(split > 0.0, is_small, "{protocol}");
        let series = page.beginning_with("planet_call_releases_total").len();
        eventually("all series of a metric", || {
            (collector.points().get("planet.call.releases").copied().unwrap_or(0) >= series).then_some(())
        });
    }
}

#[test]
#[ignore = "needs the collector that tests/run --peers builds"]
fn a_collector_that_is_killed_again_and_again_gets_each_span_once() {
    let addresses = Addresses::free();
    let exporter = Exporter::launch(
        pushing("grpc", &format!("http://{}", addresses.grpc)).env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    );
    let mut spans: BTreeMap<String, usize> = BTreeMap::new();
    for round in 0..3 {
        let collector = OtelCollector::start(addresses, &Options::default());
        send(&exporter, 40 * round..40 * (round + 1));
        eventually("the spans of this round", || (collector.spans().len() >= 40).then_some(()));
        eventually("an end of the backlog", || {
            let backlog = exporter.metrics().value("planet_exporter_backlog", &[("sink", "spans")]);
            (backlog == 0.0).then_some(())
        });
        collector.spans().into_iter().for_each(|(id, times)| *spans.entry(id).or_default() += times);
    }
    assert_eq!(spans.len(), 120);
    assert!(spans.values().all(|times| *times == 1));
}

#[test]
#[ignore = "needs the collector that tests/run --peers builds"]
fn a_port_of_another_protocol_costs_no_span_and_is_told() {
    let authority = Authority::new("other-port");
    let (certificate, key) = authority.issue("localhost");
    let (certificate, key) = (authority.file("server.pem", &certificate), authority.file("server.key", &key));
    let trusted = authority.file("ca.pem", &authority.issuer.pem());
    let tls = format!(
        "        tls: {{cert_file: \"{}\", key_file: \"{}\"}}\n",
        certificate.display(),
        key.display()
    );
    let (plain, secure) = (Addresses::free(), Addresses::free());
    let _plain = OtelCollector::start(plain, &Options::default());
    let options = Options { grpc: tls.clone(), http: tls, ..Options::default() };
    let _secure = OtelCollector::start(secure, &options);
    let (wrong, away) = ("seems to be configured wrongly", "the OTLP receiver is away");
    for (scheme, address, protocol, treated, expected) in [
        ("http", plain.grpc, "http/protobuf", wrong, "set OTEL_EXPORTER_OTLP_PROTOCOL=grpc"),
        ("http", plain.http, "grpc", wrong, "set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"),
        ("https", plain.grpc, "grpc", wrong, "use http://"),
        ("https", plain.http, "http/protobuf", wrong, "use http://"),
        ("http", secure.http, "http/protobuf", wrong, "use https://"),
        // These close the connection without a word.
        ("http", secure.http, "grpc", away, "use https://"),
        ("http", secure.grpc, "grpc", away, "use https://"),
        ("http", secure.grpc, "http/protobuf", away, "use https://"),
        ("https", secure.grpc, "http/protobuf", wrong, "set OTEL_EXPORTER_OTLP_PROTOCOL=grpc"),
    ] {
        let mut command = pushing(protocol, &format!("{scheme}://localhost:{}", address.port()));
        let exporter = Exporter::launch(command.env("OTEL_EXPORTER_OTLP_CERTIFICATE", &trusted));
        send(&exporter, 0..5);
        let line = exporter.process.stderr.wait_for(treated);
        assert!(line.contains(expected), "{scheme} {protocol}: {expected:?} is not in {line}");
        assert_eq!(exporter.metrics().value("planet_exporter_backlog", &[("sink", "spans")]), 5.0);
        assert_eq!(dropped_spans(&exporter), 0.0);
    }
}
