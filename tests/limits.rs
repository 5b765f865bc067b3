//! The promise: what one peer or all of them can take of the exporter is limited, each limit is counted where it cuts,
//! and whoever keeps within the limits is served meanwhile and afterwards.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use support::call::{CallEventQuery, DOCUMENTED_SAMPLE};
use support::eventually;
use support::exporter::Exporter;
use support::http::Connection;
use support::scrape::Page;
use support::service::{Answer, Service};

fn call_event(number: usize) -> String {
    format!("/call_event?{}", CallEventQuery::new(number).encode())
}

fn of_call_events(exporter: &Exporter, metric: &str) -> f64 {
    exporter.metrics().value(metric, &[("listener", "call_events")])
}

#[test]
fn a_head_in_drops_is_cut_off_while_others_are_served() {
    let exporter = Exporter::with(&["--header-timeout", "2s", "--idle-timeout", "1h"]);
    let started = Instant::now();
    let mut slow = Connection::open(exporter.call_events);
    slow.send("GET /call_event?sid=");
    let mut dripping = slow.writer();
    let drip = thread::spawn(move || {
        while std::io::Write::write_all(&mut dripping, b"x").is_ok() {
            thread::sleep(Duration::from_millis(50));
        }
    });
    assert_eq!(exporter.get(&call_event(1)).status, 200);
    assert_eq!(slow.receive_until_closed(), b"");
    assert!(started.elapsed() >= Duration::from_secs(2), "cut off after {:?}", started.elapsed());
    drip.join().expect("no panic");
    eventually("its place is free", || {
        (of_call_events(&exporter, "planet_exporter_connections") == 0.0).then_some(())
    });
    assert_eq!(exporter.accepted(), 1.0);
}

#[test]
fn a_peer_that_says_nothing_is_cut_off() {
    let exporter = Exporter::with(&["--header-timeout", "1h", "--idle-timeout", "200ms"]);
    let mut silent = Connection::open(exporter.call_events);
    assert_eq!(silent.receive_until_closed(), b"");
    let mut silent_to_admin = Connection::open(exporter.admin);
    assert_eq!(silent_to_admin.receive_until_closed(), b"");
}

#[test]
fn an_idle_connection_is_closed_but_has_longer_than_a_head() {
    let exporter = Exporter::with(&["--header-timeout", "2s", "--idle-timeout", "4s"]);
    let mut connection = Connection::open(exporter.call_events);
    let started = Instant::now();
    assert_eq!(connection.get(&call_event(1)).status, 200);
    assert_eq!(connection.receive_until_closed(), b"");
    assert!(started.elapsed() >= Duration::from_secs(4), "closed after {:?}", started.elapsed());
}

#[test]
fn the_idle_timeout_does_not_wait_for_the_header_timeout() {
    let exporter = Exporter::with(&["--header-timeout", "1h", "--idle-timeout", "1s"]);
    let mut connection = Connection::open(exporter.call_events);
    for number in 0..2 {
        assert_eq!(connection.get(&call_event(number)).status, 200);
    }
    assert_eq!(connection.receive_until_closed(), b"");
}

#[test]
fn a_peer_that_takes_no_answer_is_cut_off() {
    let exporter = Exporter::with(&["--idle-timeout", "500ms"]);
    let mut deaf = Connection::open(exporter.call_events);
    let requests = "GET / HTTP/1.1\r\nhost: test\r\n\r\n".repeat(1_000);
    let error = loop {
        if let Err(error) = deaf.try_send(&requests) {
            break error.kind();
        }
    };
    // Not a time-out, which would be the test's own patience.
    assert!(matches!(error, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}");
    eventually("its place is free", || {
        (of_call_events(&exporter, "planet_exporter_connections") == 0.0).then_some(())
    });
    assert_eq!(exporter.get(&call_event(1)).status, 200);
}

#[test]
fn a_connection_too_many_is_answered_503_until_another_closes() {
    let service = Service::start();
    let go_on = Arc::new(AtomicBool::new(false));
    let answer = Arc::clone(&go_on);
    service.answer(move |request| match request.target.as_str() {
        "/slow" => Answer::Pieces(&["", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"], Arc::clone(&answer)),
        _ => Answer::status(200),
    });
    let exporter = Exporter::with(&["--max-connections", "3", "--forward-to", &service.url()]);
    let mut open: Vec<_> = (0..3).map(|_| Connection::open(exporter.call_events)).collect();
    for (number, connection) in open.iter_mut().enumerate() {
        assert_eq!(connection.get(&call_event(number)).status, 200);
        // Each is being served.
        connection.send("GET /slow HTTP/1.1\r\nhost: test\r\n\r\n");
    }
    eventually("three requests that are being served", || {
        let slow = service.requests().iter().filter(|request| request.target == "/slow").count();
        (slow == 3).then_some(())
    });
    for _ in 0..2 {
        let mut one_too_many = Connection::open(exporter.call_events);
        let answer = one_too_many.get(&call_event(10));
        assert_eq!(answer.status, 503);
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(answer.header("retry-after").is_some());
        assert_eq!(one_too_many.receive_until_closed(), b"");
    }
    assert_eq!(of_call_events(&exporter, "planet_exporter_rejected_connections_total"), 2.0);
    assert_eq!(of_call_events(&exporter, "planet_exporter_connections"), 3.0);
    go_on.store(true, Ordering::SeqCst);
    assert_eq!(open[0].receive().status, 200, "who was there is served on");
    assert_eq!(Connection::open(exporter.call_events).get(&call_event(11)).status, 200);
    assert_eq!(exporter.accepted(), 4.0);
}

#[test]
fn without_file_descriptors_accepting_waits_and_then_goes_on() {
    let exporter = Exporter::start();
    exporter.process.limit_descriptors(40);
    // Opened before the descriptors run out, since the admin port needs one, too.
    let mut admin = Connection::open(exporter.admin);
    let mut page = || Page::read(&admin.get("/metrics").text());
    let failures =
        |page: &Page| page.value("planet_exporter_accept_failures_total", &[("listener", "call_events")]);
    assert_eq!(failures(&page()), 0.0);

    let started = Instant::now();
    let mut connections = Vec::new();
    for number in 0..60 {
        let mut connection = Connection::open(exporter.call_events);
        // The last byte is to come. Once the call counts, the connection is known to be served, not to wait for its peer, so it
        // cannot go for another one.
        connection
            .send(format!("GET {} HTTP/1.1\r\nhost: test\r\ncontent-length: 1\r\n\r\n", call_event(number)));
        connections.push(connection);
        eventually("a call, or a connection too many", || {
            let page = page();
            let calls = page.value("planet_exporter_events_total", &[("result", "accepted")]);
            (calls > number as f64 || failures(&page) > 0.0).then_some(())
        });
    }
    exporter.process.stderr.wait_for("connections cannot be accepted");
    let after_some_tries =
        eventually("a few failures", || Some(failures(&page())).filter(|failures| *failures >= 5.0));
    // Pauses double from 5 ms to 1 s, so failures are few. Without pauses there would be thousands.
    let most = 10.0 + started.elapsed().as_secs_f64();
    assert!(after_some_tries <= most, "{after_some_tries} failures, expected at most {most}");

    // Every connection that was waited for gets its answer when those before it have gone.
    connections.iter_mut().for_each(|connection| connection.send("x"));
    for (number, mut connection) in connections.into_iter().enumerate() {
        assert_eq!(connection.receive().status, 200, "connection {number}");
    }
    assert_eq!(exporter.accepted(), 60.0);
}

#[test]
fn made_up_label_values_make_no_series_without_limit() {
    let exporter = Exporter::start();
    let mut connection = Connection::open(exporter.call_events);
    let events = 400;
    for number in 0..events {
        let query = CallEventQuery::new(number)
            .with("rc_idc", &format!("IDC-{number}"))
            .with("disconnect_reason", &format!("{}", 20_000 + number))
            .with("rel_code", &number.to_string())
            .with("rel_code_str", &format!("CODE {number}"))
            .with("type", &format!("T{number}"));
        assert_eq!(connection.get(&format!("/call_event?{}", query.encode())).status, 200);
    }
    let page = exporter.metrics();
    let values_of = |metric: &str, label: &str| {
        let labels = page.named(metric).into_keys();
        labels.map(|mut labels| labels.remove(label).expect("the label")).collect::<BTreeSet<_>>()
    };
    let idcs = values_of("planet_calls_total", "idc");
    assert!(idcs.len() == 1 && idcs.contains("other"));
    assert_eq!(values_of("planet_calls_total", "disconnect_reason").len(), 65, "64 and other");
    assert_eq!(page.named("planet_call_releases_total").len(), 257, "256 and other");
    for metric in ["planet_calls_total", "planet_call_releases_total", "planet_call_duration_seconds_count"] {
        assert_eq!(page.sum(metric), events as f64, "{metric} has every event");
    }
    let overflows = |limit| page.value("planet_exporter_label_overflows_total", &[("limit", limit)]);
    assert_eq!(overflows("disconnect_reason"), 336.0);
    assert_eq!(overflows("releases"), 144.0);
}

#[test]
fn the_number_of_series_of_calls_is_what_was_configured() {
    let exporter = Exporter::with(&["--max-series", "10"]);
    let reasons = ["1001", "1002", "1201", "1202", "1203"];
    let types = ["A", "V", "X"];
    let releasers = ["1", "2", "4"];
    let mut number = 0;
    for (reason, media, releaser) in
        reasons.iter().flat_map(|r| types.iter().flat_map(move |t| releasers.map(|l| (*r, *t, l))))
    {
        number += 1;
        let query = CallEventQuery::new(number)
            .with("disconnect_reason", reason)
            .with("type", media)
            .with("releaser_type", releaser);
        assert_eq!(exporter.send(&query.encode()).status, 200);
    }
    let page = exporter.metrics();
    assert_eq!(page.sum("planet_calls_total"), 45.0);
    let with_their_idc =
        page.named("planet_calls_total").into_keys().filter(|labels| labels["idc"] == "KR").count();
    assert_eq!(with_their_idc, 10);
    let overflows = page.value("planet_exporter_label_overflows_total", &[("limit", "calls")]);
    assert_eq!(overflows, 35.0);
}

#[test]
fn a_sid_is_forgotten_when_there_are_too_many_or_it_is_too_old() {
    let few = Exporter::with(&["--seen-max", "10"]);
    for number in 0..11 {
        assert_eq!(few.get(&call_event(number)).status, 200);
    }
    assert_eq!(few.metrics().value("planet_exporter_seen_sids", &[]), 10.0);
    assert_eq!(few.get(&call_event(10)).status, 200);
    assert_eq!(few.accepted(), 11.0, "the latest is a repeat");
    assert_eq!(few.get(&call_event(0)).status, 200);
    assert_eq!(few.accepted(), 12.0, "the oldest is forgotten");

    let young = Exporter::with(&["--seen-age", "1s"]);
    assert_eq!(young.send(DOCUMENTED_SAMPLE).status, 200);
    eventually("it is forgotten", || {
        assert_eq!(young.send(DOCUMENTED_SAMPLE).status, 200);
        (young.accepted() == 2.0).then_some(())
    });
}
