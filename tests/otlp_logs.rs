//! The promise: with `--call-log otlp` each call is one log record over either protocol, which has the IDs of its span; none is
//! missing whatever dies, and variables turn it off as they turn off other signals.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::trace::v1::Span;
use support::backend::{Backend, Mood};
use support::call::{CallEventQuery, sid};
use support::exporter::{Exporter, command};
use support::otlp_receiver::OtlpReceiver;
use support::service::{self, Service};
use support::{Scratch, eventually, listen_address};

/// A receiver of one of the protocols.
enum Receiver {
    Grpc(OtlpReceiver),
    Http(Backend),
}

impl Receiver {
    fn both() -> [(&'static str, Receiver); 2] {
        [
            ("grpc", Receiver::Grpc(OtlpReceiver::start([]))),
            ("http/protobuf", Receiver::Http(Backend::start())),
        ]
    }

    fn address(&self) -> SocketAddr {
        match self {
            Receiver::Grpc(receiver) => receiver.address(),
            Receiver::Http(backend) => backend.address(),
        }
    }

    fn logs(&self) -> Vec<LogRecord> {
        match self {
            Receiver::Grpc(receiver) => receiver.logs(),
            Receiver::Http(backend) => backend.received().logs.clone(),
        }
    }

    fn spans(&self) -> Vec<Span> {
        match self {
            Receiver::Grpc(receiver) => receiver.taken(),
            Receiver::Http(backend) => backend.received().spans.clone(),
        }
    }
}

/// The command of an exporter that pushes spans and logs.
fn pushing(protocol: &str, address: SocketAddr) -> Command {
    let mut command = command();
    command.args(["--call-log", "otlp"]).envs([
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{address}")),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
        ("OTEL_BLRP_SCHEDULE_DELAY", "50"),
    ]);
    command
}

fn send(exporter: &Exporter, numbers: std::ops::Range<usize>) {
    for number in numbers {
        // One in four is abnormal.
        let reason = if number % 4 == 0 { "1305" } else { "1001" };
        let call = CallEventQuery::new(number).with("disconnect_reason", reason);
        assert_eq!(exporter.send(&call.encode()).status, 200);
    }
}

fn trace_ids(numbers: std::ops::Range<usize>) -> BTreeSet<String> {
    numbers.map(|number| sid(number).replace('-', "")).collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The records by their trace IDs. One that comes again is the same.
fn by_trace(records: Vec<LogRecord>) -> BTreeMap<String, LogRecord> {
    let mut by_trace = BTreeMap::new();
    for record in records {
        let id = hexadecimal(&record.trace_id);
        let before = by_trace.insert(id, record.clone());
        assert!(before.is_none_or(|before| before == record), "{record:?}");
    }
    by_trace
}

/// Waits until these calls have arrived, and asserts that no others have and that each is as its span is.
fn assert_logs_arrive(receiver: &Receiver, expected: &BTreeSet<String>) {
    eventually("the record of every call", || {
        (by_trace(receiver.logs()).len() >= expected.len()).then_some(())
    });
    // After a kill some come again.
    let of_spans =
        || receiver.spans().iter().map(|span| hexadecimal(&span.trace_id)).collect::<BTreeSet<_>>();
    eventually("the span of every call", || (of_spans().len() >= expected.len()).then_some(()));
    let records = by_trace(receiver.logs());
    assert_eq!(records.keys().cloned().collect::<BTreeSet<_>>(), *expected);
    assert_eq!(of_spans(), *expected);
    for span in receiver.spans() {
        let record = &records[&hexadecimal(&span.trace_id)];
        assert_eq!((&record.span_id, &record.attributes), (&span.span_id, &span.attributes));
        assert_eq!(record.time_unix_nano, span.end_time_unix_nano);
        let is_abnormal = span.attributes.iter().any(|attribute| attribute.key == "error.type");
        assert_eq!(record.severity_text, if is_abnormal { "WARN" } else { "INFO" });
        assert_eq!((record.event_name.as_str(), record.flags), ("planet.call", 1));
    }
}

#[test]
fn each_call_is_one_record_like_its_span_over_either_protocol() {
    for (protocol, receiver) in Receiver::both() {
        let mut exporter = Exporter::launch(&mut pushing(protocol, receiver.address()));
        send(&exporter, 0..200);
        // Neither a repeat nor what is no call is one.
        send(&exporter, 0..20);
        assert_eq!(exporter.send("no call").status, 400);
        assert_logs_arrive(&receiver, &trace_ids(0..200));
        eventually("an end of the backlog", || {
            let backlog = exporter.metrics().value("planet_exporter_backlog", &[("sink", "otlp_logs")]);
            (backlog == 0.0).then_some(())
        });
        let page = exporter.metrics();
        let delivered = page.value("planet_exporter_delivered_events_total", &[("sink", "otlp_logs")]);
        assert_eq!(delivered, 200.0, "{protocol}");
        let attempts = [("signal", "logs"), ("result", "success")];
        assert!(page.value("planet_exporter_deliveries_total", &attempts) > 0.0);
        assert!(exporter.admin("/readyz?verbose").text().contains("otlp_logs: ok"));
        // What waits at the end is pushed before it.
        send(&exporter, 200..210);
        exporter.process.signal("TERM");
        assert_eq!(exporter.process.wait().code(), Some(0));
        assert_logs_arrive(&receiver, &trace_ids(0..210));
        let logs = receiver.logs();
        assert_eq!(logs.len(), 210, "each once");
        assert!(!format!("{logs:?}").contains("9286"), "nobody is named");
    }
}

fn with_state(protocol: &str, address: SocketAddr, state: &Path) -> Exporter {
    Exporter::launch(pushing(protocol, address).arg("--state-dir").arg(state))
}

#[test]
fn a_receiver_that_is_away_gets_everything_over_http_though_the_exporter_is_killed() {
    let (scratch, backend) = (Scratch::new("logs-http"), Backend::start());
    let state = scratch.0.join("state");
    let (address, start) = (backend.address(), |address| with_state("http/protobuf", address, &state));
    backend.set_mood(Mood::Away);
    let exporter = start(address);
    send(&exporter, 0..100);
    exporter.process.stderr.wait_for("the OTLP receiver of logs is away");
    let backlog = exporter.metrics().value("planet_exporter_backlog", &[("sink", "otlp_logs")]);
    assert_eq!(backlog, 100.0);
    exporter.kill();
    // It takes what comes and is gone before it has answered, so the same comes again.
    backend.set_mood(Mood::Forgetful);
    let exporter = start(address);
    send(&exporter, 100..150);
    eventually("a record", || (!backend.received().logs.is_empty()).then_some(()));
    exporter.kill();
    backend.set_mood(Mood::Up);
    let exporter = start(address);
    send(&exporter, 150..200);
    assert_logs_arrive(&Receiver::Http(backend), &trace_ids(0..200));
    assert_eq!(exporter.metrics().sum("planet_exporter_dropped_events_total"), 0.0);
}

#[test]
fn a_receiver_that_is_away_gets_everything_over_grpc_though_the_exporter_is_killed() {
    let (scratch, address) = (Scratch::new("logs-grpc"), listen_address());
    let state = scratch.0.join("state");
    let exporter = with_state("grpc", address, &state);
    send(&exporter, 0..100);
    exporter.process.stderr.wait_for("the OTLP receiver of logs is away");
    exporter.kill();
    let exporter = with_state("grpc", address, &state);
    send(&exporter, 100..150);
    exporter.process.stderr.wait_for("the OTLP receiver of logs is away");
    let receiver = Receiver::Grpc(OtlpReceiver::start_at(address, []));
    assert_logs_arrive(&receiver, &trace_ids(0..150));
    exporter.process.stderr.wait_for("the OTLP receiver of logs is back");
    assert_eq!(exporter.metrics().sum("planet_exporter_dropped_events_total"), 0.0);
}

#[test]
fn logs_need_no_spans_and_no_sampler_leaves_one_out() {
    for off in [("OTEL_TRACES_EXPORTER", "none"), ("OTEL_TRACES_SAMPLER", "always_off")] {
        let backend = Backend::start();
        let exporter = Exporter::launch(pushing("http/protobuf", backend.address()).envs([off]));
        send(&exporter, 0..20);
        eventually("every record", || (backend.received().logs.len() >= 20).then_some(()));
        let received = backend.received().clone();
        assert_eq!(by_trace(received.logs.clone()).into_keys().collect::<BTreeSet<_>>(), trace_ids(0..20));
        assert!(received.spans.is_empty() && received.complaints.is_empty(), "{:?}", received.complaints);
        assert!(received.logs.iter().all(|record| record.span_id.len() == 8 && record.flags == 0));
    }
}

#[test]
fn a_destination_that_is_none_gives_nothing_up_and_is_told() {
    let receiver = Service::start();
    receiver.answer(|_| service::Answer::status(404));
    let mut command = command();
    command.args(["--call-log", "otlp"]);
    command.env("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", format!("{}/v1/logs", receiver.url()));
    let exporter = Exporter::launch(command.env("OTEL_BLRP_SCHEDULE_DELAY", "50"));
    send(&exporter, 0..5);
    let line = exporter.process.stderr.wait_for("seems to be configured wrongly");
    assert!(line.contains(&receiver.url()) && line.contains("takes no logs"), "{line}");
    let page = exporter.metrics();
    assert_eq!(page.value("planet_exporter_misconfigured", &[("signal", "logs")]), 1.0);
    assert_eq!(page.value("planet_exporter_backlog", &[("sink", "otlp_logs")]), 5.0);
    let ready = exporter.admin("/readyz?verbose");
    assert_eq!(ready.status, 200);
    assert!(ready.text().contains("otlp_logs: not ready (does not count)"), "{}", ready.text());
    let status: serde_json::Value =
        serde_json::from_str(&exporter.admin("/status.json").text()).expect("JSON");
    let parts = status["parts"].as_array().expect("parts");
    let part = parts.iter().find(|part| part["name"] == "otlp_logs").expect("a part");
    assert_eq!(part["what"], "the OTLP receiver of logs", "{part}");
}

#[test]
fn variables_turn_logs_off_as_they_do_other_signals_and_that_is_said() {
    for (variable, value) in [("OTEL_LOGS_EXPORTER", "none"), ("OTEL_SDK_DISABLED", "true")] {
        let backend = Backend::start();
        let endpoint = format!("http://{}/v1/logs", backend.address());
        let mut command = command();
        command.args(["--call-log", "otlp"]).env("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", endpoint);
        let mut exporter = Exporter::launch(command.env(variable, value));
        let line = exporter.process.stderr.wait_for("--call-log has no effect: no log is pushed, since");
        assert!(line.contains(variable) && line.contains("WARN"), "{line}");
        send(&exporter, 0..5);
        exporter.process.signal("TERM");
        assert_eq!(exporter.process.wait().code(), Some(0));
        assert!(backend.received().logs.is_empty());
    }
    let exporter = Exporter::launch(command().env("OTEL_LOGS_EXPORTER", "otlp"));
    exporter
        .process
        .stderr
        .wait_for("OTEL_LOGS_EXPORTER has no effect: logs are not pushed, since --call-log");
}
