//! The promise: the admin port answers at once, whatever everything else is doing: while much is read at the start, and while
//! others take their pages slowly.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use planet_call_exporter::callback::idc::assigned_code;
use support::call::CallEventQuery;
use support::exporter::{Exporter, command};
use support::http::{self, Connection};
use support::state::journal_of;
use support::{Scratch, eventually};

/// Makes a state directory whose journal has this many calls and that has no checkpoint.
fn state_with(calls: usize, directory: &Path) {
    let now = SystemTime::now();
    journal_of(directory, (0..calls).map(|number| (now, CallEventQuery::new(number).encode())));
}

#[test]
fn while_a_large_journal_is_read_it_lives_says_what_it_waits_for_and_can_be_ended() {
    let scratch = Scratch::new("large-journal");
    let state = scratch.0.join("state");
    let calls = 200_000;
    state_with(calls, &state);
    let start = || Exporter::launch_at_once(command().arg("--state-dir").arg(&state), None);

    let mut exporter = start();
    let first = eventually("an answer", || http::try_request(exporter.admin, "GET", "/readyz", &[]).ok());
    assert_eq!((first.status, first.text().as_str()), (503, "not ready: starting\n"));
    assert_eq!(exporter.admin("/livez").status, 200);
    let page = exporter.metrics();
    assert_eq!(page.sum("planet_exporter_build_info"), 1.0);
    assert_eq!(page.named("planet_calls_total").len(), 0, "no totals are better than wrong ones");
    exporter.process.signal("TERM");
    assert_eq!(exporter.process.wait().code(), Some(0));
    exporter.process.stderr.wait_for("stopped before the state was open");

    let mut exporter = start();
    let mut looks = 0;
    exporter.process.eventually("readiness", |_| {
        let begin = Instant::now();
        let answer = http::try_request(exporter.admin, "GET", "/readyz", &[]).ok()?;
        assert!(begin.elapsed() < Duration::from_secs(5), "it answers at once");
        if answer.status == 200 {
            return Some(());
        }
        looks += 1;
        assert_eq!(http::get(exporter.admin, "/livez").status, 200);
        let waits_for = answer.text();
        assert!(
            waits_for.starts_with("not ready: starting") || waits_for == "not ready: storage\n",
            "{waits_for}"
        );
        None
    });
    assert!(looks > 1, "it was looked at while it read");
    assert_eq!(exporter.metrics().sum("planet_calls_total"), calls as f64);
    assert_eq!(exporter.accepted(), calls as f64);
}

/// Bytes that the buffers of a connection do not take.
const TOO_LARGE: usize = 7_000_000;

const IDCS: usize = 60;
const CALLS: usize = IDCS * 60;

/// Codes that are assigned, so that each has a label of its own.
fn idcs() -> impl Iterator<Item = String> {
    let letters = || 'A'..='Z';
    let codes = letters().flat_map(move |first| letters().map(move |second| format!("{first}{second}")));
    codes.filter(|code| assigned_code(code).is_some()).take(IDCS)
}

/// With this many series of calls, their durations have one for each reason as well.
const MANY_SERIES: [&str; 2] = ["--max-series", "100000"];

/// Sends calls of many IDCs with many reasons, so that the page becomes too large for the buffers of a connection.
fn make_page_large(exporter: &Exporter) {
    let mut connection = Connection::open(exporter.call_events);
    let mut number = 0;
    for idc in idcs() {
        for reason in 9_000..9_060 {
            number += 1;
            let event = CallEventQuery::new(number)
                .with("rc_idc", &idc)
                .with("disconnect_reason", &reason.to_string());
            assert_eq!(connection.get(&format!("/call_event?{}", event.encode())).status, 200);
        }
    }
}

#[test]
fn readers_that_take_their_page_slowly_hold_up_nobody() {
    let exporter = Exporter::with(&MANY_SERIES);
    make_page_large(&exporter);
    let page = exporter.admin("/metrics");
    assert!(page.body.len() > TOO_LARGE, "{} bytes", page.body.len());
    let mut slow: Vec<Connection> = (0..12).map(|_| Connection::open(exporter.admin)).collect();
    for connection in &mut slow {
        connection.send("GET /metrics HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
        // One after another, so that they get different pages.
        connection.receive_exactly(&mut [0; 100]);
    }
    for compressed in [false, true] {
        let encoding: &[(&str, &str)] = if compressed { &[("accept-encoding", "gzip")] } else { &[] };
        let answer = http::request(exporter.admin, "GET", "/metrics", encoding);
        assert_eq!((answer.status, answer.header("content-encoding").is_some()), (200, compressed));
    }
    let page = exporter.metrics();
    assert_eq!(page.sum("planet_calls_total"), CALLS as f64);
    // The first of those that were too slow has lost its page, and can tell.
    let rest = slow.remove(0).receive_until_closed().len();
    assert!(rest < TOO_LARGE, "{rest} bytes");
}

#[test]
fn many_who_ask_at_once_share_a_page() {
    let exporter = Exporter::with(&MANY_SERIES);
    make_page_large(&exporter);
    let address = exporter.admin;
    let ask = move || http::get(address, "/metrics");
    let asking: Vec<_> = (0..100).map(|_| thread::spawn(ask)).collect();
    for answer in asking {
        let answer = answer.join().expect("no panic");
        assert_eq!(answer.status, 200);
        assert!(answer.text().contains("\nplanet_calls_total{"));
    }
}

/// Longer than an answer may take on the admin port.
const LONGER_THAN_AN_ANSWER_MAY_TAKE: Duration = Duration::from_secs(40);

#[test]
fn readers_that_take_a_byte_a_second_hold_up_nobody_and_lose_their_connection() {
    let exporter = Exporter::with(&[&MANY_SERIES[..], &["--idle-timeout", "1h"]].concat());
    make_page_large(&exporter);
    let begun = Instant::now();
    let readers: Vec<_> = (0..8)
        .map(|_| {
            let mut connection = Connection::open(exporter.admin);
            connection.send("GET /metrics HTTP/1.1\r\nhost: test\r\n\r\n");
            thread::spawn(move || {
                while begun.elapsed() < LONGER_THAN_AN_ANSWER_MAY_TAKE {
                    connection.receive_exactly(&mut [0; 1]);
                    thread::sleep(Duration::from_secs(1));
                }
                connection
            })
        })
        .collect();
    let open =
        |page: &support::scrape::Page| page.value("planet_exporter_connections", &[("listener", "admin")]);
    assert!(open(&exporter.metrics()) > 1.0, "they read");
    for _ in 0..10 {
        let begin = Instant::now();
        let page = exporter.metrics();
        assert!(begin.elapsed() < Duration::from_secs(10), "a scrape takes {:?}", begin.elapsed());
        assert_eq!(page.sum("planet_calls_total"), CALLS as f64);
    }
    // They are kept, so that it is not they who close.
    let readers = readers.into_iter().map(|reader| reader.join().expect("there was something to read"));
    let _readers: Vec<Connection> = readers.collect();
    let page = exporter.metrics();
    assert_eq!(open(&page), 1.0, "those that were too slow are gone");
}
