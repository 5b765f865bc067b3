//! What is no call event goes to the service behind and its answer comes back, as if nothing stood between.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use support::call::CallEventQuery;
use support::eventually;
use support::exporter::Exporter;
use support::http::{Connection, request};
use support::service::{Answer, Service};

fn exporter(service: &Service, arguments: &[&str]) -> Exporter {
    let url = service.url();
    Exporter::with(&[&["--forward-to", &url], arguments].concat())
}

#[test]
fn a_request_arrives_as_it_was_sent_and_the_answer_as_well() {
    let service = Service::start();
    service.answer(|_| {
        Answer::Send(418, "x-of-service: 1\r\nconnection: x-hop\r\nx-hop: 2\r\n", b"short and stout".to_vec())
    });
    let exporter = exporter(&service, &[]);
    let target = "/notify/%2e%2e//a?sid=1&param=a+b%00%zz&&=";
    let answer = request(exporter.call_events, "DELETE", target, &[("x-of-client", "1"), ("te", "trailers")]);
    assert_eq!((answer.status, answer.text().as_str()), (418, "short and stout"));
    assert_eq!((answer.header("x-of-service"), answer.header("x-hop")), (Some("1"), None));
    let arrived = &service.requests()[0];
    assert_eq!((arrived.method.as_str(), arrived.target.as_str()), ("DELETE", target));
    let host = exporter.call_events.to_string();
    for (name, value) in [
        ("host", Some(host.as_str())),
        ("x-of-client", Some("1")),
        ("te", None),
        ("connection", None),
        ("x-forwarded-for", Some("127.0.0.1")),
        ("x-forwarded-host", Some(host.as_str())),
        ("x-forwarded-proto", Some("http")),
        ("via", Some("1.1 planet-call-exporter")),
    ] {
        assert_eq!(arrived.header(name), value, "{name}");
    }
    assert_eq!(exporter.accepted(), 0.0);
}

#[test]
fn bodies_of_any_framing_go_through() {
    let service = Service::start();
    service.answer(|request| Answer::Send(200, "", request.body.clone()));
    let exporter = exporter(&service, &[]);
    let mut connection = Connection::open(exporter.call_events);
    connection.send("POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!(connection.receive().text(), "hello");
    connection.send(
        "PUT /b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
    );
    assert_eq!(connection.receive().text(), "hello");
    let large = "x".repeat(3_000_000);
    let mut writer = connection.writer();
    let head = format!(
        "POST /c HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        large.len()
    );
    connection.send(head);
    assert_eq!(connection.receive_head().status, 100);
    let sender = std::thread::spawn({
        let large = large.clone();
        move || std::io::Write::write_all(&mut writer, large.as_bytes())
    });
    assert_eq!(connection.receive().text(), large);
    sender.join().expect("no panic").expect("a body that can be sent");
    let requests = service.requests();
    assert_eq!(requests.iter().map(|request| request.body.len()).collect::<Vec<_>>(), [5, 5, 3_000_000]);
    assert_eq!(requests[1].header("content-length"), None);
}

#[test]
fn connections_to_the_service_are_used_again() {
    let service = Service::start();
    let exporter = exporter(&service, &[]);
    for _ in 0..100 {
        assert_eq!(exporter.get("/health").status, 200);
    }
    let connections: BTreeSet<_> = service.requests().iter().map(|request| request.connection).collect();
    // One that is not yet known to be idle when the next request comes may be followed by another.
    assert!(connections.len() < 50, "{connections:?}");
}

#[test]
fn head_and_answers_without_a_body_stay_without_one() {
    let service = Service::start();
    service.answer(|request| match request.target.as_str() {
        "/none" => Answer::Send(204, "", Vec::new()),
        _ => Answer::Send(200, "", b"four".to_vec()),
    });
    let exporter = exporter(&service, &[]);
    let mut connection = Connection::open(exporter.call_events);
    connection.send("HEAD /x HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(connection.receive_head().header("content-length"), Some("4"));
    connection.send("GET /none HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(connection.receive_head().status, 204);
    assert_eq!(connection.get("/x").text(), "four");
}

#[test]
fn an_answer_is_streamed_and_one_that_breaks_off_is_cut_off() {
    let service = Service::start();
    let go_on = Arc::new(AtomicBool::new(false));
    let pieces = ["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n", "6\r\nsecond\r\n"];
    let pieces: &'static [&'static str] = Box::leak(Box::new(pieces));
    let signal = Arc::clone(&go_on);
    service.answer(move |_| Answer::Pieces(pieces, Arc::clone(&signal)));
    let exporter = exporter(&service, &[]);
    let mut connection = Connection::open(exporter.call_events);
    connection.send("GET /stream HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(connection.receive_head().header("transfer-encoding"), Some("chunked"));
    let mut first = [0; 10];
    connection.receive_exactly(&mut first);
    assert_eq!(&first, b"5\r\nfirst\r\n");
    go_on.store(true, Ordering::SeqCst);
    // The service closes without the last chunk, and so the client is not told that this was all.
    assert_eq!(connection.receive_until_closed(), b"6\r\nsecond\r\n");
    let failures =
        || exporter.metrics().value("planet_exporter_proxy_failures_total", &[("error", "aborted")]);
    eventually("the failure in the metrics", || (failures() == 1.0).then_some(()));
}

#[test]
fn a_service_that_is_down_or_slow_is_a_clear_answer() {
    let service = Service::start();
    let exporter = exporter(&service, &["--forward-timeout", "300ms"]);
    let failures =
        |error: &str| exporter.metrics().value("planet_exporter_proxy_failures_total", &[("error", error)]);
    assert_eq!((failures("timeout"), failures("unreachable")), (0.0, 0.0));

    service.answer(|_| Answer::SendAfter(Duration::from_secs(5), 200));
    let slow = exporter.get("/slow");
    assert_eq!((slow.status, failures("timeout")), (504, 1.0));
    assert_eq!(slow.header("content-type"), Some("application/problem+json"));
    assert!(slow.json()["detail"].as_str().is_some_and(|detail| detail.contains("300ms")), "{}", slow.text());
    let away = exporter.process.stderr.wait_for("the service behind is away");
    assert!(away.contains("no answer within 300ms"), "{away}");

    let mut connection = Connection::open(exporter.call_events);
    connection.send("POST /upload HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\nhalf");
    assert_eq!((connection.receive().status, failures("request_timeout")), (408, 1.0));

    service.answer(|_| Answer::HangUp);
    assert_eq!(exporter.get("/gone").status, 502);
    let address = service.address;
    drop(service);
    let down = exporter.get("/down");
    assert_eq!((down.status, failures("unreachable")), (502, 2.0));
    exporter.process.stderr.wait_for("the service behind is away");
    assert!(
        down.json()["detail"].as_str().is_some_and(|detail| detail.contains("refused")),
        "{}",
        down.text()
    );

    let _service = Service::start_at(address);
    assert_eq!(exporter.get("/up").status, 200);
    assert_eq!(exporter.admin("/readyz").status, 200);
}

#[test]
fn a_client_that_goes_away_does_not_hold_the_service() {
    let service = Service::start();
    let go_on = Arc::new(AtomicBool::new(false));
    let signal = Arc::clone(&go_on);
    service.answer(move |_| Answer::Pieces(&["HTTP/1.1 200 OK\r\n\r\n", "x"], Arc::clone(&signal)));
    let exporter = exporter(&service, &[]);
    let mut connection = Connection::open(exporter.call_events);
    connection.send("GET /stream HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(connection.receive_head().status, 200);
    drop(connection);
    let open = || exporter.metrics().value("planet_exporter_connections", &[("listener", "call_events")]);
    eventually("the end of the connection", || (open() == 0.0).then_some(()));
    go_on.store(true, Ordering::SeqCst);
}

#[test]
fn inline_the_service_answers_call_events_and_they_count_whatever_it_says() {
    let service = Service::start();
    service.answer(|_| Answer::Send(500, "x-of-service: 1\r\n", b"no".to_vec()));
    let exporter = exporter(&service, &["--forward-mode", "inline"]);
    let query = CallEventQuery::new(1).encode();
    let answer = exporter.send(&query);
    assert_eq!(
        (answer.status, answer.text().as_str(), answer.header("x-of-service")),
        (500, "no", Some("1"))
    );
    assert_eq!(exporter.accepted(), 1.0);
    assert_eq!(service.requests()[0].target, format!("/call_event?{query}"));
    // A repeat reaches the service, since it may be the answer to its failure, and counts for nothing.
    service.answer(|_| Answer::status(200));
    assert_eq!(exporter.send(&query).status, 200);
    assert_eq!((service.requests().len(), exporter.accepted()), (2, 1.0));
    drop(service);
    assert_eq!(exporter.send(&CallEventQuery::new(2).encode()).status, 502);
    assert_eq!(exporter.metrics().sum("planet_calls_total"), 2.0);
}

#[test]
fn what_cannot_be_a_call_is_left_to_the_service() {
    let service = Service::start();
    service.answer(|_| Answer::status(202));
    let exporter = exporter(&service, &[]);
    assert_eq!(exporter.send("no=call").status, 202);
    let post = request(exporter.call_events, "POST", "/call_event?sid=1", &[]);
    assert_eq!(post.status, 202);
    assert_eq!(service.requests().len(), 2);
    let refused = &[("result", "refused")];
    assert_eq!(exporter.metrics().value("planet_exporter_events_total", refused), 1.0);
    assert!(exporter.admin("/refused").text().contains("no=call"));
}

/// Sends a head, and answers the status of what comes back.
fn status_of(exporter: &Exporter, head: &str) -> u16 {
    let mut connection = Connection::open(exporter.call_events);
    connection.send(format!("{head}\r\n"));
    connection.receive().status
}

#[test]
fn host_is_whom_the_request_is_for_and_there_is_one() {
    let service = Service::start();
    let (with, without) = (exporter(&service, &[]), Exporter::start());
    let query = CallEventQuery::new(1).encode();
    let absolute = "GET http://right.example:81/x HTTP/1.1\r\nhost: wrong.example\r\n";
    assert_eq!(status_of(&with, absolute), 200);
    assert_eq!(
        status_of(
            &with,
            &format!("GET http://right.example/call_event?{query} HTTP/1.1\r\nhost: wrong.example\r\n")
        ),
        200
    );
    eventually("the call event at the service", || (service.requests().len() == 2).then_some(()));
    for (request, host) in service.requests().iter().zip(["right.example:81", "right.example"]) {
        assert_eq!(request.header("host"), Some(host));
        assert_eq!(request.header("x-forwarded-host"), Some(host));
    }
    for exporter in [&with, &without] {
        for hosts in ["", "host: a\r\nhost: a\r\n", "host: a\r\nhost: b\r\n"] {
            assert_eq!(status_of(exporter, &format!("GET /x HTTP/1.1\r\n{hosts}")), 400, "{hosts}");
            assert_eq!(
                status_of(exporter, &format!("GET /call_event?{query} HTTP/1.1\r\n{hosts}")),
                400,
                "{hosts}"
            );
        }
        // The query is not lost.
        let kept = exporter.admin("/refused").text();
        assert_eq!((kept.lines().count(), kept.matches(&query).count()), (3, 3), "{kept}");
        assert_eq!(exporter.metrics().value("planet_exporter_events_total", &[("result", "refused")]), 3.0);
    }
    assert_eq!(service.requests().len(), 2);
    assert_eq!(status_of(&with, "GET /x HTTP/1.0\r\n"), 200);
}

#[test]
fn options_of_the_server_as_a_whole_stay_that() {
    let service = Service::start();
    for prefix in ["", "/base"] {
        let url = service.url() + prefix;
        let exporter = Exporter::with(&["--forward-to", &url]);
        assert_eq!(status_of(&exporter, "OPTIONS * HTTP/1.1\r\nhost: a\r\n"), 200);
    }
    let requests = service.requests();
    let lines: Vec<_> =
        requests.iter().map(|request| (request.method.as_str(), request.target.as_str())).collect();
    assert_eq!(lines, [("OPTIONS", "*"), ("OPTIONS", "*")]);
}

#[test]
fn connection_cannot_take_away_what_those_behind_rely_on() {
    let service = Service::start();
    let exporter = exporter(&service, &[]);
    let named =
        "x-forwarded-for, via, idempotency-key, host, forwarded, x-forwarded-host, x-forwarded-proto, x-mine";
    let headers = [
        ("connection", named),
        ("x-forwarded-for", "1.2.3.4"),
        ("forwarded", "for=1.2.3.4"),
        ("via", "1.1 edge"),
        ("x-mine", "1"),
    ];
    let event = format!("/call_event?{}", CallEventQuery::new(1).encode());
    for (number, target) in ["/x", &event].into_iter().enumerate() {
        assert_eq!(request(exporter.call_events, "GET", target, &headers).status, 200);
        eventually("the request at the service", || (service.requests().len() > number).then_some(()));
        let arrived = &service.requests()[number];
        let host = exporter.call_events.to_string();
        for (name, value) in [
            ("host", Some(host.as_str())),
            ("x-forwarded-for", Some("1.2.3.4, 127.0.0.1")),
            ("x-forwarded-host", Some(host.as_str())),
            ("x-forwarded-proto", Some("http")),
            ("forwarded", Some("for=1.2.3.4")),
            ("via", Some("1.1 edge, 1.1 planet-call-exporter")),
            ("x-mine", None),
            ("connection", None),
        ] {
            assert_eq!(arrived.header(name), value, "{target}: {name}");
        }
        assert_eq!(arrived.header("idempotency-key").is_some(), number == 1);
    }
}
