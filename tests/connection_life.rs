//! The promise: no request is lost because a connection ends. An answer comes after the body has been read, places are made by
//! closing what has been idle longest, and stopping announces itself before it refuses.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::thread;

use support::call::CallEventQuery;
use support::exporter::{Exporter, command};
use support::http::Connection;
use support::service::Service;
use support::{Scratch, eventually};

fn call_event(number: usize) -> String {
    format!("/call_event?{}", CallEventQuery::new(number).encode())
}

fn request(number: usize) -> String {
    format!("GET {} HTTP/1.1\r\nhost: test\r\n\r\n", call_event(number))
}

fn of_call_events(exporter: &Exporter, metric: &str) -> f64 {
    exporter.metrics().value(metric, &[("listener", "call_events")])
}

/// Sends a POST with a body of so many bytes as a proxy does, all of it whatever comes back meanwhile, and answers the status.
fn post(address: SocketAddr, path: &str, bytes: usize, is_chunked: bool) -> u16 {
    let mut connection = Connection::open(address);
    let length = match is_chunked {
        true => "transfer-encoding: chunked".to_owned(),
        false => format!("content-length: {bytes}"),
    };
    connection.send(format!("POST {path} HTTP/1.1\r\nhost: test\r\n{length}\r\n\r\n"));
    let part = vec![b'x'; 10_000];
    for _ in 0..bytes / part.len() {
        let part = match is_chunked {
            true => [b"2710\r\n", &part[..], b"\r\n"].concat(),
            false => part.clone(),
        };
        connection.try_send(part).expect("the whole body is taken");
        // The answer may come meanwhile, as it does at a proxy.
        thread::yield_now();
    }
    if is_chunked {
        connection.try_send("0\r\n\r\n").expect("the end is taken");
    }
    connection.receive().status
}

#[test]
fn a_body_that_nobody_wants_is_read_and_its_answer_arrives() {
    let exporter = Exporter::start();
    let service = Service::start();
    let behind = Exporter::with(&["--forward-to", &service.url()]);
    drop(service);
    for bytes in [300_000, 10_000_000] {
        for is_chunked in [false, true] {
            for (address, path, expected) in [
                (exporter.call_events, "/elsewhere", 404),
                (exporter.call_events, "/call_event", 405),
                (exporter.admin, "/metrics", 405),
                (behind.call_events, "/elsewhere", 502),
            ] {
                let status = post(address, path, bytes, is_chunked);
                assert_eq!(status, expected, "{bytes} bytes to {path}, chunked: {is_chunked}");
            }
        }
    }
}

#[test]
fn a_small_body_that_nobody_wants_costs_no_connection() {
    let exporter = Exporter::start();
    let mut connection = Connection::open(exporter.call_events);
    for number in 0..3 {
        let body = "x".repeat(300_000);
        let length = body.len();
        connection.send(format!(
            "POST /elsewhere HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n\r\n{body}"
        ));
        assert_eq!(connection.receive().status, 404);
        assert_eq!(connection.get(&call_event(number)).status, 200);
    }
}

#[test]
fn a_connection_that_was_opened_ahead_has_as_long_as_an_idle_one() {
    let exporter = Exporter::with(&["--header-timeout", "200ms", "--idle-timeout", "1h"]);
    let mut ahead = Connection::open(exporter.call_events);
    let mut late = Connection::open(exporter.call_events);
    late.send("GET /");
    assert_eq!(late.receive_until_closed(), b"", "a head that has begun has its own deadline");
    assert_eq!(ahead.get(&call_event(1)).status, 200);
}

#[test]
fn an_idle_connection_makes_place_for_a_new_one() {
    let exporter = Exporter::with(&["--max-connections", "3"]);
    let mut open: Vec<_> = (0..3).map(|_| Connection::open(exporter.call_events)).collect();
    for (number, connection) in open.iter_mut().enumerate() {
        assert_eq!(connection.get(&call_event(number)).status, 200);
    }
    let mut newcomer = Connection::open(exporter.call_events);
    assert_eq!(newcomer.get(&call_event(4)).status, 200);
    // The others stay.
    let answers = (5..).zip(&mut open).map(|(number, connection)| {
        connection
            .try_send(request(number))
            .and_then(|()| connection.try_receive())
            .map(|answer| answer.status)
    });
    assert_eq!(answers.filter(|status| matches!(status, Ok(200))).count(), 2);
    assert_eq!(of_call_events(&exporter, "planet_exporter_evicted_connections_total"), 1.0);
    assert_eq!(of_call_events(&exporter, "planet_exporter_rejected_connections_total"), 0.0);
    exporter.process.stderr.wait_for("no place is left for a connection");
    // Many more than there are places, one after another: each is served.
    for number in 10..200 {
        let mut newcomer = Connection::open(exporter.call_events);
        assert_eq!(newcomer.get(&call_event(number)).status, 200);
        open.push(newcomer);
    }
    assert_eq!(exporter.accepted(), 196.0);
}

#[test]
fn connections_that_do_not_end_take_no_place_from_others() {
    let exporter = Exporter::with(&["--max-connections", "3"]);
    let beginnings = [
        // Answered, and never closed by the peer.
        "POST /elsewhere HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: 1\r\n\r\nx"
            .to_owned(),
        "GARBAGE\r\n\r\n".to_owned(),
        // Idle, after a body.
        "POST /elsewhere HTTP/1.1\r\nhost: test\r\ncontent-length: 1\r\n\r\nx".to_owned(),
    ];
    for (number, beginning) in beginnings.iter().enumerate() {
        let mut open = Vec::new();
        for _ in 0..3 {
            let mut connection = Connection::open(exporter.call_events);
            connection.send(beginning);
            assert!([400, 404].contains(&connection.receive().status));
            open.push(connection);
        }
        for newcomer in 0..5 {
            assert_eq!(exporter.get(&call_event(10 * number + newcomer)).status, 200, "{beginning}");
        }
    }
    assert_eq!(of_call_events(&exporter, "planet_exporter_rejected_connections_total"), 0.0);
}

#[test]
fn the_beginning_of_a_head_behind_a_request_has_the_time_of_a_head() {
    let exporter = Exporter::with(&["--header-timeout", "200ms", "--idle-timeout", "1h"]);
    for begun in ["GET /call", "GET /call_event?a=b c"] {
        let mut connection = Connection::open(exporter.call_events);
        connection.send(format!("{}{begun}", request(1)));
        assert_eq!(connection.receive().status, 200);
        let last = connection.receive_until_closed();
        assert!(last.is_empty() || last.starts_with(b"HTTP/1.1 400"), "{begun}");
    }
}

#[test]
fn what_has_arrived_whole_is_stored_and_answered_though_the_client_has_stopped_sending_or_gone() {
    let scratch = Scratch::new("half-closed");
    let state = scratch.0.join("state");
    let exporter = Exporter::launch(command().arg("--state-dir").arg(&state));
    for number in 0..200 {
        let mut connection = Connection::open(exporter.call_events);
        connection.send(request(number));
        connection.finish_sending();
        assert_eq!(connection.receive().status, 200, "{number}");
        assert_eq!(connection.receive_until_closed(), b"");
    }
    assert_eq!(exporter.accepted(), 200.0);
    for number in 200..500 {
        let mut stream = TcpStream::connect(exporter.call_events).expect("a connection");
        stream.write_all(request(number).as_bytes()).expect("taken");
        // Closed without a look at the answer.
    }
    eventually("all are stored", || (exporter.accepted() == 500.0).then_some(()));
    assert_eq!(exporter.metrics().sum("planet_calls_total"), 500.0);
    eventually("no connection is left", || {
        (of_call_events(&exporter, "planet_exporter_connections") == 0.0).then_some(())
    });
}

#[test]
fn an_idle_client_that_stops_sending_is_let_go_at_once() {
    let exporter = Exporter::with(&["--idle-timeout", "1h"]);
    for is_fresh in [true, false] {
        let mut connection = Connection::open(exporter.call_events);
        if !is_fresh {
            assert_eq!(connection.get(&call_event(1)).status, 200);
        }
        connection.finish_sending();
        assert_eq!(connection.receive_until_closed(), b"");
    }
}

#[test]
fn a_drain_is_announced_and_serves_everybody_meanwhile() {
    let exporter = Exporter::with(&["--drain-time", "1h"]);
    let mut idle = Connection::open(exporter.call_events);
    assert_eq!(idle.get(&call_event(0)).status, 200);
    exporter.process.signal("TERM");
    eventually("it is not ready", || {
        let answer = exporter.admin("/readyz");
        (answer.status == 503 && answer.text().contains("stopping")).then_some(())
    });
    for number in 1..4 {
        let mut newcomer = Connection::open(exporter.call_events);
        let answer = newcomer.get(&call_event(number));
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
        assert_eq!(newcomer.receive_until_closed(), b"");
    }
    let answer = idle.get(&call_event(4));
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    assert_eq!(exporter.accepted(), 5.0);
}

#[test]
fn a_drain_ends_in_an_orderly_shutdown() {
    let mut exporter = Exporter::with(&["--drain-time", "100ms"]);
    exporter.process.signal("TERM");
    assert!(exporter.process.wait().success());
}

#[test]
fn what_was_sent_before_a_stop_is_answered() {
    for round in 0..5 {
        let mut exporter = Exporter::start();
        let mut connections: Vec<_> = (0..40).map(|_| Connection::open(exporter.call_events)).collect();
        for (number, connection) in connections.iter_mut().enumerate() {
            assert_eq!(connection.get(&call_event(number)).status, 200);
        }
        // Those that stand in the backlog are among them, since nobody waits for their being accepted.
        connections.extend((0..40).map(|_| Connection::open(exporter.call_events)));
        for (number, connection) in (40..).zip(&mut connections) {
            connection.send(request(number));
        }
        exporter.process.signal("TERM");
        let answered = connections.iter_mut().filter_map(|connection| connection.try_receive().ok());
        assert_eq!(answered.filter(|answer| answer.status == 200).count(), 80, "round {round}");
        assert!(exporter.process.wait().success());
    }
}

#[test]
fn two_hundred_and_fifty_headers_are_read() {
    let exporter = Exporter::start();
    let mut connection = Connection::open(exporter.call_events);
    let headers: String = (0..250).map(|number| format!("x-{number}: y\r\n")).collect();
    connection.send(format!("GET {} HTTP/1.1\r\nhost: test\r\n{headers}\r\n", call_event(1)));
    assert_eq!(connection.receive().status, 200);
}

#[test]
fn http_2_by_prior_knowledge_is_refused_at_once_and_said() {
    let exporter = Exporter::start();
    let mut connection = Connection::open(exporter.call_events);
    connection.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(connection.receive_until_closed(), b"");
    exporter.process.stderr.wait_for("HTTP/2");
}
