//! The promise: a receiver that is down, busy, slow or picky never harms intake; what it can take arrives, what it refuses
//! is counted, and nothing blocks what is behind it.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use support::call::{CallEventQuery, sid};
use support::eventually;
use support::exporter::{Exporter, command};
use support::http::Connection;
use support::otlp_receiver::{Answer, OtlpReceiver};
use support::service::{self, Service};
use tonic::Code;

/// The exporter with spans pushed over gRPC, soon and in small batches.
fn pushing_to(endpoint: &str) -> Command {
    let mut command = command();
    command
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint)
        .env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
        .env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4");
    command
}

fn send(exporter: &Exporter, numbers: std::ops::Range<usize>) {
    for number in numbers {
        assert_eq!(exporter.send(&CallEventQuery::new(number).encode()).status, 200);
    }
}

/// Waits until the spans' reader has nothing left to do.
fn wait_until_done(exporter: &Exporter, calls: f64) -> BTreeMap<&'static str, f64> {
    let reader = [("sink", "spans")];
    eventually("an end of the backlog", || {
        let page = exporter.metrics();
        let given_up = |cause| {
            page.value("planet_exporter_dropped_events_total", &[("sink", "spans"), ("cause", cause)])
        };
        let delivered = page.value("planet_exporter_delivered_events_total", &reader);
        let refused = given_up("refused");
        let is_done = page.value("planet_exporter_backlog", &reader) == 0.0 && delivered + refused == calls;
        is_done.then(|| {
            let deliveries = |result| {
                page.value("planet_exporter_deliveries_total", &[("signal", "traces"), ("result", result)])
            };
            BTreeMap::from([
                ("delivered", delivered),
                ("refused", refused),
                ("partial", deliveries("partial")),
                ("retry", deliveries("retry")),
            ])
        })
    })
}

#[test]
fn a_busy_receiver_is_not_asked_again_before_the_time_it_gave() {
    let pause = Duration::from_secs(2);
    let receiver = OtlpReceiver::start([Answer::ComeAgain(pause), Answer::Status(Code::Unavailable)]);
    let exporter = Exporter::launch(&mut pushing_to(&receiver.endpoint()));
    send(&exporter, 0..3);
    let outcome = wait_until_done(&exporter, 3.0);
    assert_eq!((outcome["delivered"], outcome["retry"]), (3.0, 2.0));
    let requests = receiver.traces();
    assert!(requests[1].at - requests[0].at >= pause, "it came again too early");
    assert_eq!(receiver.taken().len(), 3);
    let log = exporter.process.stderr.all();
    let lines = |text: &str| log.iter().filter(|line| line.contains(text)).count();
    assert_eq!((lines("the OTLP receiver is away"), lines("the OTLP receiver is back")), (1, 1));
}

#[test]
fn an_event_that_is_refused_again_and_again_is_given_up_and_no_other() {
    let receiver = OtlpReceiver::start([]);
    receiver.refuse(hexadecimal(&sid(2)));
    let exporter = Exporter::launch(&mut pushing_to(&receiver.endpoint()));
    send(&exporter, 0..12);
    eventually("the others", || (receiver.taken().len() == 11).then_some(()));
    let refused = || {
        let refused = [("sink", "spans"), ("cause", "refused")];
        exporter.metrics().value("planet_exporter_dropped_events_total", &refused)
    };
    assert_eq!(refused(), 0.0, "not at once");
    let mut calls = 12;
    while refused() == 0.0 {
        send(&exporter, calls..calls + 1);
        calls += 1;
        assert!(calls < 200, "it is given up while others pass");
        std::thread::sleep(Duration::from_millis(500));
    }
    let outcome = wait_until_done(&exporter, calls as f64);
    assert_eq!((outcome["refused"], receiver.taken().len()), (1.0, calls - 1));
    let alone =
        receiver.traces().iter().filter(|request| !request.is_taken && request.spans.len() == 1).count();
    assert_eq!(alone, 5);
}

/// The bytes of a sid.
fn hexadecimal(sid: &str) -> Vec<u8> {
    let digits = sid.replace('-', "");
    let pairs = (0..digits.len()).step_by(2).map(|at| &digits[at..at + 2]);
    pairs.map(|pair| u8::from_str_radix(pair, 16).expect("hexadecimal")).collect()
}

#[test]
fn a_limit_of_rate_is_no_limit_of_size() {
    let exhausted = Answer::Status(Code::ResourceExhausted);
    let receiver = OtlpReceiver::start([exhausted.clone(), exhausted]);
    let exporter = Exporter::launch(pushing_to(&receiver.endpoint()).env("OTEL_BSP_SCHEDULE_DELAY", "60000"));
    send(&exporter, 0..4);
    let outcome = wait_until_done(&exporter, 4.0);
    assert_eq!((outcome["delivered"], outcome["retry"]), (4.0, 2.0));
    let sizes: Vec<_> = receiver.traces().iter().map(|request| request.spans.len()).collect();
    assert_eq!(sizes, [4, 4, 4]);
}

#[test]
fn a_batch_that_is_too_large_is_split() {
    let too_large = Answer::TooLarge;
    let receiver = OtlpReceiver::start([too_large.clone(), too_large]);
    let exporter = Exporter::launch(pushing_to(&receiver.endpoint()).env("OTEL_BSP_SCHEDULE_DELAY", "60000"));
    send(&exporter, 0..4);
    let outcome = wait_until_done(&exporter, 4.0);
    assert_eq!((outcome["delivered"], outcome["refused"]), (4.0, 0.0));
    let sizes: Vec<_> = receiver.traces().iter().map(|request| request.spans.len()).collect();
    assert_eq!(sizes, [4, 2, 1, 1, 2]);
    let sids: Vec<_> = receiver.taken().into_iter().map(|span| span.trace_id).collect();
    assert_eq!(sids.len(), 4);
}

#[test]
fn what_is_refused_of_a_batch_is_counted_and_not_sent_again() {
    let receiver = OtlpReceiver::start([Answer::Partial(1)]);
    let exporter = Exporter::launch(&mut pushing_to(&receiver.endpoint()));
    send(&exporter, 0..6);
    let outcome = wait_until_done(&exporter, 6.0);
    assert_eq!((outcome["delivered"], outcome["refused"], outcome["partial"]), (5.0, 1.0, 1.0));
    assert_eq!(receiver.taken().len(), 6);
    exporter.process.stderr.wait_for("some are too old");
}

#[test]
fn an_answer_that_comes_too_late_means_the_same_spans_again() {
    let receiver = OtlpReceiver::start([Answer::Slow(Duration::from_secs(3))]);
    let exporter =
        Exporter::launch(pushing_to(&receiver.endpoint()).env("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "300"));
    send(&exporter, 0..2);
    wait_until_done(&exporter, 2.0);
    let ids = |index: usize| -> Vec<_> {
        receiver.traces()[index]
            .spans
            .iter()
            .map(|span| (span.trace_id.clone(), span.span_id.clone()))
            .collect()
    };
    // Which of the two arrives first at the receiver's end is its own affair.
    if receiver.traces().len() > 1 {
        assert_eq!(ids(0), ids(1));
    }
    assert!(
        exporter
            .metrics()
            .value("planet_exporter_deliveries_total", &[("signal", "traces"), ("result", "retry")])
            >= 1.0
    );
}

#[test]
fn headers_and_compression_arrive_over_grpc() {
    let receiver = OtlpReceiver::start([]);
    let exporter = Exporter::launch(
        pushing_to(&receiver.endpoint())
            .env("OTEL_EXPORTER_OTLP_HEADERS", "api-key=se%20cret,x=1")
            .env("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    );
    send(&exporter, 0..1);
    wait_until_done(&exporter, 1.0);
    let metadata = &receiver.traces()[0].metadata;
    let value = |name: &str| metadata.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    assert_eq!((value("api-key"), value("x")), ("se cret", "1"));
    assert_eq!(value("grpc-encoding"), "gzip");
    assert!(value("user-agent").starts_with("planet-call-exporter/"));
}

#[test]
fn a_backlog_beyond_its_limit_gives_up_the_oldest_and_totals_stay_right() {
    // A port on which nobody listens until later.
    let address =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let exporter =
        Exporter::launch(pushing_to(&format!("http://{address}")).args(["--backlog-max-bytes", "20KB"]));
    send(&exporter, 0..200);
    let page = exporter.metrics();
    assert_eq!(page.sum("planet_calls_total"), 200.0);
    let backlog = [("sink", "spans"), ("cause", "backlog")];
    let given_up = page.value("planet_exporter_dropped_events_total", &backlog);
    assert!((100.0..200.0).contains(&given_up), "{given_up} given up");
    assert!(page.sum("planet_exporter_journal_size_bytes") <= 20_000.0);

    let receiver = OtlpReceiver::start_at(address, []);
    let reader = [("sink", "spans")];
    eventually("an end of the backlog", || {
        (exporter.metrics().value("planet_exporter_backlog", &reader) == 0.0).then_some(())
    });
    assert_eq!(receiver.taken().len() as f64, 200.0 - given_up);
}

#[test]
fn an_end_while_the_receiver_is_away_comes_in_time_and_says_what_is_lost() {
    let address =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let mut exporter =
        Exporter::launch(pushing_to(&format!("http://{address}")).args(["--shutdown-timeout", "20s"]));
    send(&exporter, 0..5);
    let started = Instant::now();
    exporter.process.signal("TERM");
    assert!(exporter.process.wait().success());
    assert!(started.elapsed() < Duration::from_secs(20));
    let line = exporter.process.stderr.wait_for("ended before all events were delivered");
    assert!(line.contains("\"events\":5"), "{line}");
}

#[test]
fn a_request_that_is_not_finished_does_not_hold_back_what_is_delivered_at_the_end() {
    let receiver = OtlpReceiver::start([]);
    let mut command = pushing_to(&receiver.endpoint());
    command.env("OTEL_BSP_SCHEDULE_DELAY", "3600000").env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "100");
    let mut exporter =
        Exporter::launch(command.args(["--header-timeout", "1h", "--shutdown-timeout", "10s"]));
    let mut unfinished = Connection::open(exporter.call_events);
    unfinished.send(format!("GET /call_event?{} HTTP/1.1\r\n", CallEventQuery::new(5).encode()));
    send(&exporter, 0..5);
    assert!(receiver.traces().is_empty());
    exporter.process.signal("TERM");
    eventually("the last spans", || (receiver.taken().len() == 5).then_some(()));
    assert_eq!(exporter.process.ended(), None);
    unfinished.send("host: test\r\n\r\n");
    assert_eq!(unfinished.receive().status, 200);
    assert!(exporter.process.wait().success());
    exporter.process.stderr.wait_for("\"stopped\"");
}

#[test]
fn over_http_answers_of_every_kind_are_heeded_and_block_nothing() {
    let receiver = Service::start();
    static ARRIVED: Mutex<Vec<Instant>> = Mutex::new(Vec::new());
    receiver.answer(|_| {
        let mut arrived = ARRIVED.lock().expect("no panic");
        arrived.push(Instant::now());
        match arrived.len() {
            1 => service::Answer::Send(429, "retry-after: 2\r\n", Vec::new()),
            // The connection was used before, so the request goes on a new one at once, which breaks as well.
            2 | 3 => service::Answer::HangUp,
            // An answer without end is cut off, and the batch is tried again.
            4 => service::Answer::Send(200, "", vec![0; 5 * 1024 * 1024]),
            // Something is wrong with the batch: it goes in parts.
            5 => service::Answer::Send(400, "content-type: application/json\r\n", br#"{"code":3}"#.to_vec()),
            _ => service::Answer::status(200),
        }
    });
    let mut command = pushing_to(&format!("{}/v1/traces", receiver.url()));
    // A batch leaves when it is full, and not before.
    command
        .env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")
        .env("OTEL_BSP_SCHEDULE_DELAY", "60000");
    let exporter = Exporter::launch(&mut command);
    send(&exporter, 0..4);
    let outcome = wait_until_done(&exporter, 4.0);
    assert_eq!((outcome["delivered"], outcome["refused"], outcome["retry"]), (4.0, 0.0, 4.0));
    let arrived = ARRIVED.lock().expect("no panic").clone();
    assert!(arrived[1] - arrived[0] >= Duration::from_secs(2), "it came again too early");
    assert!(receiver.requests().iter().all(|request| request.target == "/v1/traces"));
}

#[test]
fn a_success_without_a_body_is_one() {
    let receiver = Service::start();
    receiver.answer(|_| service::Answer::status(200));
    let mut command = pushing_to(&format!("{}/v1/traces", receiver.url()));
    command.env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf");
    let exporter = Exporter::launch(&mut command);
    send(&exporter, 0..4);
    assert_eq!(wait_until_done(&exporter, 4.0)["delivered"], 4.0);
}
