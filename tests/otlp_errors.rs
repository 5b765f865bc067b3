//! The promise: where a delivery fails, one line of the log says where it was to go, what is the matter with who is
//! there, and what is likely to help; and none says a secret.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::net::TcpListener;
use std::process::Command;

use support::authority::Authority;
use support::backend::Backend;
use support::call::CallEventQuery;
use support::exporter::{Exporter, command};
use support::otlp_receiver::OtlpReceiver;
use support::rotel::{Addresses, Rotel};
use support::service::{self, Service};
use support::{eventually, free_address};

/// The exporter with both signals pushed there, soon.
fn pushing_to(endpoint: &str, protocol: &str) -> Command {
    let mut command = command();
    command
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
        .env("OTEL_METRIC_EXPORT_INTERVAL", "300")
        .env("OTEL_BSP_SCHEDULE_DELAY", "50");
    command
}

/// How it is treated that a delivery failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Treated {
    Misconfigured,
    Away,
}

/// Both signals say what is expected, and nothing is given up.
fn assert_said(command: &mut Command, treated: Treated, expected: &[&str]) {
    let exporter = Exporter::launch(command);
    assert_eq!(exporter.send(&CallEventQuery::new(1).encode()).status, 200);
    let (words, is_wrong) = match treated {
        Treated::Misconfigured => ("seems to be configured wrongly", 1.0),
        Treated::Away => ("the OTLP receiver is away", 0.0),
    };
    for signal in ["metrics", "traces"] {
        let labels = format!("\"signal\":\"{signal}\"");
        let line = eventually(&format!("a line about {signal}"), || {
            let lines = exporter.process.stderr.all().into_iter();
            lines.filter(|line| line.contains(&labels)).find(|line| line.contains(words))
        });
        for text in expected {
            assert!(line.contains(text), "{text:?} is not in {line}");
        }
        let wrong = || exporter.metrics().value("planet_exporter_misconfigured", &[("signal", signal)]);
        assert_eq!(wrong(), is_wrong, "{signal}");
    }
    let page = exporter.metrics();
    assert_eq!(page.value("planet_exporter_backlog", &[("sink", "spans")]), 1.0);
    assert_eq!(page.sum("planet_exporter_dropped_events_total"), 0.0);
}

#[test]
fn a_peer_of_another_protocol_is_told_by_what_it_says() {
    let plain = OtlpReceiver::start([]);
    let http = Service::start();
    let authority = Authority::new("errors");
    let secure = OtlpReceiver::start_with_tls(authority.server());
    let secure_port = secure.address().port();
    let trusted = authority.file("ca.pem", &authority.issuer.pem());
    let http_protobuf = "http/protobuf";
    for (scheme, port, protocol, expected) in [
        (
            "http",
            plain.address().port(),
            http_protobuf,
            "looks like a gRPC port: set OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
        ),
        ("https", secure_port, http_protobuf, "looks like a gRPC port: set OTEL_EXPORTER_OTLP_PROTOCOL=grpc"),
        (
            "http",
            http.address.port(),
            "grpc",
            "looks like an HTTP port: set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
        ),
        ("http", secure_port, http_protobuf, "this is a TLS port: use https://"),
        ("http", secure_port, "grpc", "this is a TLS port: use https://"),
        ("https", plain.address().port(), "grpc", "this port does not speak TLS: use http://"),
        ("https", plain.address().port(), http_protobuf, "this port does not speak TLS: use http://"),
    ] {
        let endpoint = format!("{scheme}://localhost:{port}");
        let mut command = pushing_to(&endpoint, protocol);
        command.env("OTEL_EXPORTER_OTLP_CERTIFICATE", &trusted);
        assert_said(&mut command, Treated::Misconfigured, &[&endpoint, expected]);
    }
    assert!(plain.traces().is_empty() && secure.traces().is_empty());
}

#[test]
fn a_port_that_answers_a_handshake_in_http_does_not_speak_tls() {
    // Text that is no TLS comes back at once, before the handshake is over.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("https://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut client in listener.incoming().flatten() {
            // Who does not read it loses nothing.
            let _ = std::io::Write::write_all(&mut client, b"HTTP/1.1 400 Bad Request\r\n\r\n");
            let _ = std::io::copy(&mut client, &mut std::io::sink());
        }
    });
    let expected = [endpoint.as_str(), "this port does not speak TLS: use http://"];
    let authority = Authority::new("errors-text");
    let trusted = authority.file("ca.pem", &authority.issuer.pem());
    for protocol in ["grpc", "http/protobuf"] {
        let mut command = pushing_to(&endpoint, protocol);
        command.env("OTEL_EXPORTER_OTLP_CERTIFICATE", &trusted);
        assert_said(&mut command, Treated::Misconfigured, &expected);
    }
}

#[test]
fn who_cannot_be_reached_is_told_from_who_does_not_answer() {
    let nobody = format!("http://{}", free_address());
    // The kernel takes connections, and nobody else does.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let hanging = format!("http://{}", silent.local_addr().expect("an address"));
    let unknown = "http://collector.invalid:4317";
    for protocol in ["grpc", "http/protobuf"] {
        for (endpoint, expected) in [
            (nobody.as_str(), ["unreachable: nobody listens there", "the receiver may not be running"]),
            (unknown, ["unreachable: its name does not resolve", "may be misspelt"]),
            (&hanging, ["no answer within 1s", "OTEL_EXPORTER_OTLP_TIMEOUT"]),
        ] {
            let mut command = pushing_to(endpoint, protocol);
            command.env("OTEL_EXPORTER_OTLP_TIMEOUT", if endpoint == hanging { "1000" } else { "60000" });
            assert_said(&mut command, Treated::Away, &[endpoint, expected[0], expected[1]]);
        }
    }
}

#[test]
fn a_certificate_that_does_not_do_is_told_with_what_does() {
    let (authority, other) = (Authority::new("errors-one"), Authority::new("errors-other"));
    let localhost = OtlpReceiver::start_with_tls(authority.server());
    let elsewhere = OtlpReceiver::start_with_tls(authority.server_at("collector.example"));
    let trusted = authority.file("ca.pem", &authority.issuer.pem());
    let untrusted = other.file("ca.pem", &other.issuer.pem());
    for (receiver, certificate, expected) in [
        (
            &localhost,
            &untrusted,
            ["its certificate is not trusted", "OTEL_EXPORTER_OTLP_CERTIFICATE names the file"],
        ),
        (&elsewhere, &trusted, ["its certificate is for another name", "a name that is in its certificate"]),
    ] {
        let endpoint = format!("https://localhost:{}", receiver.address().port());
        let mut command = pushing_to(&endpoint, "grpc");
        command.env("OTEL_EXPORTER_OTLP_CERTIFICATE", certificate);
        assert_said(&mut command, Treated::Away, &[&endpoint, expected[0], expected[1]]);
    }
}

#[test]
fn an_answer_that_refuses_is_told_without_its_markup() {
    let receiver = Service::start();
    receiver.answer(|_| {
        let page = b"<html>\r\n<head><title>403 Forbidden</title></head>\r\n<body><hr>nginx</body></html>";
        service::Answer::Send(403, "content-type: text/html\r\n", page.to_vec())
    });
    let expected = ["it answered 403: 403 Forbidden; the credentials in OTEL_EXPORTER_OTLP_HEADERS"];
    assert_said(&mut pushing_to(&receiver.url(), "http/protobuf"), Treated::Misconfigured, &expected);
    receiver.answer(|_| service::Answer::status(404));
    let doubled = format!("{}/v1/traces", receiver.url());
    let expected = "drop the path";
    let expected = [&format!("{doubled}/v1/"), expected, "_ENDPOINT, or "];
    assert_said(&mut pushing_to(&doubled, "http/protobuf"), Treated::Misconfigured, &expected);
}

#[test]
fn a_proxy_that_lets_nobody_through_is_told_from_the_receiver() {
    let proxy = Service::start();
    proxy.answer(|_| service::Answer::status(403));
    for (proxy, expected) in [
        (proxy.url(), "the proxy on the way makes no connection"),
        (
            format!("http://{}", free_address()),
            "leads through the proxy that HTTPS_PROXY or HTTP_PROXY names",
        ),
    ] {
        let mut command = pushing_to("https://collector.example:4317", "grpc");
        let authority = Authority::new("errors-proxy");
        let trusted = authority.file("ca.pem", &authority.issuer.pem());
        command.env("HTTPS_PROXY", &proxy).env("OTEL_EXPORTER_OTLP_CERTIFICATE", trusted);
        let endpoint = "https://collector.example:4317/opentelemetry";
        assert_said(&mut command, Treated::Away, &[endpoint, &format!("through {proxy}"), expected]);
    }
}

#[test]
fn credentials_in_an_endpoint_arrive_and_are_shown_nowhere() {
    let receiver = Service::start();
    receiver.answer(|_| service::Answer::status(401));
    let endpoint = |path: &str| format!("http://user:s3cret@{}{path}?token=t0ken", receiver.address);
    let exporter = Exporter::launch(
        command()
            .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint("/v1/traces"))
            .env("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", endpoint("/v1/metrics"))
            .env("OTEL_METRIC_EXPORT_INTERVAL", "300")
            .env("OTEL_BSP_SCHEDULE_DELAY", "50")
            .args(["--log-level", "trace"]),
    );
    assert_eq!(exporter.send(&CallEventQuery::new(1).encode()).status, 200);
    let requests = eventually("both signals", || Some(receiver.requests()).filter(|all| all.len() == 2));
    for request in requests {
        assert_eq!(request.header("authorization"), Some("Basic dXNlcjpzM2NyZXQ="));
        assert_eq!(request.header("host"), Some(receiver.address.to_string().as_str()));
        assert!(request.target.ends_with("?token=t0ken"), "{}", request.target);
    }
    eventually("both in the log", || {
        let wrong = |line: &&String| line.contains("seems to be configured wrongly");
        (exporter.process.stderr.all().iter().filter(wrong).count() == 2).then_some(())
    });
    let pages = ["/", "/readyz?verbose", "/metrics", "/livez"].map(|path| exporter.admin(path).text());
    let shown = pages.join("\n") + &exporter.process.stderr.all().join("\n");
    assert!(shown.contains(&format!("\"otlp_traces\":\"http://{}/v1/traces\"", receiver.address)), "{shown}");
    for secret in ["s3cret", "t0ken", "dXNl"] {
        assert!(!shown.contains(secret), "{secret} is in {shown}");
    }
}

#[test]
fn what_a_receiver_says_again_and_again_is_in_the_log_once() {
    let receiver = Service::start();
    let partial = |reason: &'static str| {
        move |_: &service::Request| {
            let said = format!(
                "{{\"partialSuccess\":{{\"rejectedDataPoints\":\"2\",\"errorMessage\":\"{reason}\"}}}}"
            );
            service::Answer::Send(200, "content-type: application/json\r\n", said.into_bytes())
        }
    };
    receiver.answer(partial("out of order"));
    let exporter = Exporter::launch(
        command()
            .env("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", receiver.url())
            .env("OTEL_METRIC_EXPORT_INTERVAL", "100"),
    );
    let wait_for_pushes = |pushes: usize| {
        let before = receiver.requests().len();
        eventually("pushes", || (receiver.requests().len() >= before + pushes).then_some(()));
    };
    wait_for_pushes(10);
    receiver.answer(partial("too far in the past"));
    exporter.process.stderr.wait_for("too far in the past");
    receiver.answer(partial("out of order"));
    wait_for_pushes(10);
    let lines = exporter.process.stderr.all();
    let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert_eq!((count("out of order"), count("too far in the past")), (1, 1), "{lines:?}");
    assert_eq!(count("the OTLP receiver refused some of the metrics"), 2);
}

#[test]
fn the_other_port_of_a_collector_is_told_from_its_own() {
    let addresses = Addresses::free();
    let _collector = Rotel::start(addresses, &Backend::start());
    for (address, protocol, expected) in [
        (addresses.grpc, "http/protobuf", "set OTEL_EXPORTER_OTLP_PROTOCOL=grpc"),
        (addresses.http, "grpc", "set OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf"),
    ] {
        let endpoint = format!("http://{address}");
        assert_said(&mut pushing_to(&endpoint, protocol), Treated::Misconfigured, &[&endpoint, expected]);
    }
}
