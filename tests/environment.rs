//! The promise: no variable of telemetry stops intake, and none is silently ignored.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs;

use support::authority::Authority;
use support::call::CallEventQuery;
use support::eventually;
use support::exporter::{Exporter, command};
use support::otlp_receiver::OtlpReceiver;

const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

fn with(variables: &[(&str, &str)]) -> Exporter {
    Exporter::launch(command().envs(variables.iter().copied()))
}

fn send(exporter: &Exporter, number: usize) {
    assert_eq!(exporter.send(&CallEventQuery::new(number).encode()).status, 200);
}

/// The line that begins what is said of a variable, with its level.
fn said(exporter: &Exporter, variable: &str) -> (String, String) {
    let line = exporter.process.stderr.wait_for(&format!("\"message\":\"{variable}"));
    let line: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
    let text = |name: &str| line[name].as_str().expect("a text").to_owned();
    (text("level"), text("message"))
}

/// The field of the line that says what leaves.
fn leaves(exporter: &Exporter, name: &str) -> String {
    let line = exporter.process.stderr.wait_for("what leaves beside /metrics");
    let line: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
    line[name].as_str().expect("a text").to_owned()
}

#[test]
fn a_value_that_cannot_be_read_is_said_and_the_default_holds() {
    let receiver = OtlpReceiver::start([]);
    let endpoint = receiver.endpoint();
    for (variable, value, expected) in [
        ("OTEL_METRIC_EXPORT_INTERVAL", "30s", "a whole number"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0", "a whole number"),
        ("OTEL_BSP_SCHEDULE_DELAY", "-1", "a whole number"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "a whole number"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", "gzip or none"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "grpc or http/protobuf"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "otlp or none"),
        ("OTEL_TRACES_EXPORTER", "console", "otlp or none"),
        ("OTEL_METRICS_EXPORTER", "otlp,console", "otlp, prometheus or none"),
        ("OTEL_TRACES_SAMPLER", "jaeger_remote", "always_on"),
        ("OTEL_LOG_LEVEL", "loud", "info"),
        ("OTEL_SDK_DISABLED", "yes", "true or false"),
        ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta", "cumulativetodelta"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=b,c", "name=value"),
    ] {
        let exporter = with(&[
            (ENDPOINT, &endpoint),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "60000"),
            (variable, value),
        ]);
        let (level, line) = said(&exporter, &format!("{variable}={value}"));
        assert_eq!(level, "WARN", "{line}");
        assert!(line.contains(expected), "{expected} is named: {line}");
        send(&exporter, 1);
        assert_ne!((leaves(&exporter, "otlp_metrics"), leaves(&exporter, "otlp_traces")).0, "off", "{line}");
    }
}

#[test]
fn a_value_that_cannot_be_read_stops_nothing_without_an_endpoint_either() {
    let exporter = with(&[("OTEL_METRIC_EXPORT_INTERVAL", "30s"), ("OTEL_METRICS_EXPORTER", "prometheus")]);
    assert_eq!(said(&exporter, "OTEL_METRIC_EXPORT_INTERVAL=30s").0, "WARN");
    assert_eq!(exporter.process.stderr.find("OTEL_METRICS_EXPORTER"), None, "it is followed");
    send(&exporter, 1);
    assert_eq!(exporter.accepted(), 1.0);
    assert_eq!(leaves(&exporter, "otlp_metrics"), "off");
}

#[test]
fn a_destination_that_cannot_be_used_is_shown_as_misconfigured_and_intake_goes_on() {
    let authority = Authority::new("environment");
    let certificate = authority.file("client.pem", &authority.issuer.pem());
    let certificate = certificate.to_str().expect("text");
    for (variable, value, shown, expected) in [
        (ENDPOINT, "collector:4318", "collector:4318", "a URL such as http://collector:4318"),
        (ENDPOINT, "ftp://collector", "ftp://collector", "a URL such as http://collector:4318"),
        (ENDPOINT, "user:secret@collector:4318", "collector:4318", "a URL such as http://collector:4318"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret", "(not shown)", "name=value"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=\u{1}secret", "(not shown)", "name=value"),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificate, certificate, "OTEL_EXPORTER_OTLP_CLIENT_KEY"),
    ] {
        let exporter = with(&[(ENDPOINT, "https://localhost:1"), (variable, value)]);
        let (level, line) = said(&exporter, &format!("{variable}={shown}"));
        assert_eq!(level, "ERROR", "{line}");
        assert!(line.contains(expected) && !line.contains("secret"), "{line}");
        assert!(line.contains("nothing is pushed"), "it says what happens instead: {line}");
        send(&exporter, 1);
        assert_eq!(exporter.accepted(), 1.0);
        for signal in ["metrics", "traces"] {
            let ready = exporter.admin("/readyz?verbose");
            assert_eq!(ready.status, 200);
            assert!(ready.text().contains(&format!("otlp_{signal}: not ready (does not count)")));
            let wrong = exporter.metrics().value("planet_exporter_misconfigured", &[("signal", signal)]);
            assert_eq!(wrong, 1.0, "{variable} {signal}");
            assert_eq!(leaves(&exporter, &format!("otlp_{signal}")), "off, misconfigured");
        }
    }
}

#[test]
fn a_certificate_may_come_later() {
    let authority = Authority::new("environment-later");
    let receiver = OtlpReceiver::start_with_tls(authority.server());
    let file = authority.file("ca.pem", "");
    for before in [None, Some("no certificate")] {
        match before {
            None => fs::remove_file(&file).expect("removed"),
            Some(text) => fs::write(&file, text).expect("written"),
        }
        let mut command = command();
        command
            .env(
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                format!("https://localhost:{}", receiver.address().port()),
            )
            .env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")
            .env("OTEL_EXPORTER_OTLP_CERTIFICATE", &file)
            .env("OTEL_BSP_SCHEDULE_DELAY", "50");
        let exporter = Exporter::launch(&mut command);
        let line = exporter.process.stderr.wait_for("seems to be configured wrongly");
        for named in [file.to_str().expect("text"), "OTEL_EXPORTER_OTLP_CERTIFICATE"] {
            assert!(line.contains(named), "{line}");
        }
        let shown = || exporter.admin("/readyz?verbose").text();
        assert!(shown().contains("otlp_traces: not ready (does not count)"), "{}", shown());
        fs::write(&file, authority.issuer.pem()).expect("written");
        let taken = receiver.taken().len();
        send(&exporter, taken);
        eventually("the span", || (receiver.taken().len() == taken + 1).then_some(()));
        eventually("that it is right", || shown().contains("otlp_traces: ok").then_some(()));
    }
}

#[test]
fn what_is_set_and_not_used_is_said_once_and_its_value_is_not_shown() {
    let exporter = with(&[
        ("PLANET_IDC", "secret-1"),
        ("PLANET_ENTIRELY_ELSEWHERE_42", "secret-2"),
        ("OTEL_EXPORTER_OTLP_ENDPONT", "secret-3"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "secret-4"),
        ("OTEL_CONFIG_FILE", "secret-5"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret-6"),
        ("PLANET_CALL_EXPORTER_SERVICE_HOST", "10.0.0.1"),
        ("PLANET_CALL_EXPORTER_SERVICE_PORT", "9464"),
        ("PLANET_CALL_EXPORTER_SERVICE_PORT_HTTP", "9464"),
        ("PLANET_CALL_EXPORTER_PORT", "tcp://10.0.0.1:9464"),
        ("PLANET_X_PORT_9464_TCP_ADDR", "10.0.0.1"),
        ("PLANET_X_PORT_9464_TCP", "tcp://10.0.0.1:9464"),
        ("OTEL_COLLECTOR_SERVICE_HOST", "10.0.0.1"),
        ("OTEL_COLLECTOR_PORT", "tcp://10.0.0.1:4317"),
        ("OTEL_COLLECTOR_PORT_4317_TCP_PORT", "4317"),
    ]);
    exporter.process.stderr.wait_for("what leaves beside /metrics");
    for (variable, level, reason) in [
        ("PLANET_IDC ", "WARN", "PLANET_IDCS"),
        ("PLANET_ENTIRELY_ELSEWHERE_42 ", "WARN", "is not known"),
        ("OTEL_EXPORTER_OTLP_ENDPONT ", "WARN", "OTEL_EXPORTER_OTLP_ENDPOINT"),
        ("OTEL_BSP_MAX_QUEUE_SIZE ", "INFO", "--state-max-bytes"),
        ("OTEL_CONFIG_FILE ", "INFO", "not read"),
        ("OTEL_BSP_SCHEDULE_DELAY ", "INFO", "no endpoint is set"),
        ("OTEL_EXPORTER_OTLP_HEADERS ", "INFO", "no endpoint is set"),
    ] {
        let (was, line) = said(&exporter, variable);
        assert_eq!(was, level, "{line}");
        assert!(line.contains(reason), "{line}");
        let times = exporter.process.stderr.all().iter().filter(|line| line.contains(variable)).count();
        assert_eq!(times, 1, "{variable}");
    }
    let log = exporter.process.stderr.all().join("\n");
    assert!(!log.contains("secret"), "{log}");
    for link in ["PLANET_CALL_EXPORTER_", "PLANET_X_", "OTEL_COLLECTOR_"] {
        assert!(!log.contains(link), "{link}: {log}");
    }
}

#[test]
fn a_wrong_variable_of_ours_is_named_with_its_flag() {
    for (variable, flag, value) in [
        ("PLANET_LISTEN", "--listen", "20200"),
        ("PLANET_CALL_LOG", "--call-log", "stderr"),
        ("PLANET_IDCS", "--idcs", "J P"),
    ] {
        let output = command().env(variable, value).output().expect("the exporter runs");
        let message = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains(variable) && message.contains(flag), "{message}");
        let output = command().arg(format!("{flag}={value}")).output().expect("the exporter runs");
        let message = String::from_utf8(output.stderr).expect("text");
        assert!(!message.contains(variable) && message.contains(flag), "{message}");
    }
}

#[test]
fn otlp_asked_for_without_an_endpoint_goes_to_that_of_the_specification() {
    let exporter = with(&[("OTEL_METRICS_EXPORTER", "OTLP, prometheus"), ("OTEL_TRACES_EXPORTER", "otlp")]);
    assert_eq!(leaves(&exporter, "otlp_metrics"), "http://localhost:4318/v1/metrics");
    assert_eq!(leaves(&exporter, "otlp_traces"), "http://localhost:4318/v1/traces");
    let grpc = with(&[("OTEL_TRACES_EXPORTER", "otlp"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "GRPC")]);
    assert_eq!(leaves(&grpc, "otlp_metrics"), "off");
    assert!(leaves(&grpc, "otlp_traces").starts_with("http://localhost:4317/"));
}

#[test]
fn the_sampler_decides_which_spans_go() {
    let receiver = OtlpReceiver::start([]);
    let with_sampler = |sampler: &str, argument: &str| {
        let exporter = with(&[
            (ENDPOINT, &receiver.endpoint()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_BSP_SCHEDULE_DELAY", "50"),
            ("OTEL_TRACES_SAMPLER", sampler),
            ("OTEL_TRACES_SAMPLER_ARG", argument),
        ]);
        for number in 0..64_u64 {
            // Evenly spread over what a sampler looks at, as sids are.
            let sid = format!("6364e8b3-bdac-436e-96{:02x}-0bce2498ce0c", number * 4);
            let query = CallEventQuery::new(0).with("sid", &sid).encode();
            assert_eq!(exporter.send(&query).status, 200);
        }
        exporter
    };
    let off = with_sampler("always_off", "1");
    assert_eq!(leaves(&off, "otlp_traces"), "off");
    assert!(said(&off, "OTEL_TRACES_SAMPLER_ARG ").1.contains("OTEL_TRACES_SAMPLER"));
    let half = with_sampler("ParentBased_TraceIdRatio", "0.5");
    eventually("an end of the backlog", || {
        let done = half.metrics().value("planet_exporter_delivered_events_total", &[("sink", "spans")]);
        (done == 64.0).then_some(())
    });
    assert_eq!(receiver.taken().len(), 32);
    assert_eq!(half.metrics().sum("planet_exporter_dropped_events_total"), 0.0);
    assert_eq!(said(&with_sampler("traceidratio", "2"), "OTEL_TRACES_SAMPLER_ARG=2").0, "WARN");
}

#[test]
fn the_level_of_the_log_is_that_of_opentelemetry_unless_ours_is_given() {
    let debug = with(&[("OTEL_LOG_LEVEL", "DEBUG")]);
    assert_eq!(debug.send("wrong").status, 400);
    assert_eq!(debug.send("wrong").status, 400);
    debug.process.stderr.wait_for("\"DEBUG\"");
    let ours = with(&[("OTEL_LOG_LEVEL", "error"), ("PLANET_LOG_LEVEL", "info")]);
    assert!(said(&ours, "OTEL_LOG_LEVEL ").1.contains("--log-level"));
}

#[test]
fn a_push_ends_after_the_time_of_its_own_variable() {
    let hangs = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let exporter = with(&[
        (ENDPOINT, &format!("http://{}", hangs.local_addr().expect("an address"))),
        ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
        ("OTEL_METRIC_EXPORT_TIMEOUT", "200"),
        ("OTEL_BSP_SCHEDULE_DELAY", "100"),
        ("OTEL_BSP_EXPORT_TIMEOUT", "300"),
    ]);
    send(&exporter, 1);
    exporter.process.stderr.wait_for("no answer within 200ms");
    exporter.process.stderr.wait_for("no answer within 300ms");
}

#[test]
fn resource_attributes_are_decoded_and_the_service_name_has_a_variable_of_its_own() {
    let receiver = OtlpReceiver::start([]);
    let _exporter = with(&[
        (ENDPOINT, &receiver.endpoint()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "100"),
        ("OTEL_RESOURCE_ATTRIBUTES", "service.name=not%20this,team=voice%20%26%20video%2C%3D, a%2Eb = c ,"),
        ("OTEL_SERVICE_NAME", "calls"),
    ]);
    let labels = eventually("a push", || {
        let requests = receiver.metrics();
        let resource = requests.first()?.resource_metrics.first()?.resource.clone()?;
        Some(support::backend::labels(&resource.attributes))
    });
    let value = |name: &str| labels.get(name).map(String::as_str);
    assert_eq!(value("service.name"), Some("calls"));
    assert_eq!(value("team"), Some("voice & video,="));
    assert_eq!(value("a.b"), Some("c"));
    assert_eq!(value("telemetry.sdk.language"), Some("rust"));
}
