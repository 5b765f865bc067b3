//! The promise: whatever bytes a peer sends on the port of call events, it gets exactly the answers that HTTP/1.1 gives
//! them, and no bytes can harm the process, its log or its metrics.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::io::Write;
use std::net::TcpStream;
use std::thread;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use planet_call_exporter::journal;
use planet_call_exporter::journal::storage::Directory;
use support::call::{CallEventQuery, percent_encode};
use support::exporter::{Exporter, command};
use support::http::Connection;
use support::{Scratch, eventually};

fn request(number: usize) -> String {
    format!("GET /call_event?{} HTTP/1.1\r\nhost: test\r\n\r\n", CallEventQuery::new(number).encode())
}

#[test]
fn a_connection_serves_one_request_after_another() {
    let exporter = Exporter::start();
    let mut connection = Connection::open(exporter.call_events);
    for number in 0..100 {
        connection.send(request(number));
        assert_eq!(connection.receive().status, 200);
    }
    assert_eq!(connection.get("/elsewhere").status, 404);
    assert_eq!(connection.get("/call_event?nothing").status, 400);
    connection.send(request(100));
    assert_eq!(connection.receive().status, 200);
    assert_eq!(exporter.accepted(), 101.0);
}

#[test]
fn pipelined_requests_get_as_many_answers_in_their_order() {
    let exporter = Exporter::start();
    let mut connection = Connection::open(exporter.call_events);
    let requests = 1_000;
    let with_a_wrong_one_in_ten = |number: usize| match number % 10 {
        9 => "GET /elsewhere HTTP/1.1\r\nhost: test\r\n\r\n".to_owned(),
        _ => request(number),
    };
    let bytes: String = (0..requests).map(with_a_wrong_one_in_ten).collect();
    let mut writer = connection.writer();
    let writing = thread::spawn(move || writer.write_all(bytes.as_bytes()));
    for number in 0..requests {
        let expected = if number % 10 == 9 { 404 } else { 200 };
        assert_eq!(connection.receive().status, expected, "answer {number}");
    }
    writing.join().expect("no panic").expect("everything was taken");
    connection.finish_sending();
    assert_eq!(connection.receive_until_closed(), b"", "nothing follows the last answer");
    assert_eq!(exporter.accepted(), 900.0);
}

#[test]
fn an_answer_does_not_wait_for_what_comes_behind_the_request() {
    // With such a header timeout, an answer that waits for the rest of the next request comes too late for patience.
    let exporter = Exporter::with(&["--header-timeout", "1h"]);
    let mut connection = Connection::open(exporter.call_events);
    let (first, second) = (request(1), request(2));
    let (begun, rest) = second.split_at(30);
    connection.send(format!("{first}{begun}"));
    assert_eq!(connection.receive().status, 200);
    connection.send(format!("{rest}\r\n"));
    assert_eq!(connection.receive().status, 200);
    assert_eq!(exporter.accepted(), 2.0);
}

/// A connection that is reset when it is dropped, since it has an answer that nobody has read.
fn connection_to_be_reset(exporter: &Exporter, number: usize) -> TcpStream {
    let mut stream = TcpStream::connect(exporter.call_events).expect("a connection");
    stream.write_all(request(number).as_bytes()).expect("taken");
    stream.peek(&mut [0]).expect("an answer");
    stream
}

#[test]
fn calls_of_clients_that_reset_right_after_sending_count_once_or_not_at_all() {
    let scratch = Scratch::new("resets");
    let state = scratch.0.join("state");
    let start = || Exporter::launch(command().arg("--state-dir").arg(&state));
    let exporter = start();
    let clients = 500;
    thread::scope(|scope| {
        for client in 0..clients {
            let exporter = &exporter;
            scope.spawn(move || {
                let mut stream = connection_to_be_reset(exporter, 2 * client);
                stream.write_all(request(2 * client + 1).as_bytes()).expect("taken");
            });
        }
    });
    eventually("an end of all connections", || {
        let open = [("listener", "call_events")];
        (exporter.metrics().value("planet_exporter_connections", &open) == 0.0).then_some(())
    });
    let page = exporter.metrics();
    let calls = page.sum("planet_calls_total");
    assert!((clients as f64..=2.0 * clients as f64).contains(&calls), "{calls} calls");
    let result = |result| page.value("planet_exporter_events_total", &[("result", result)]);
    assert_eq!((result("accepted"), result("duplicate")), (calls, 0.0));
    assert_eq!(page.sum("planet_exporter_seen_sids"), calls);
    exporter.kill();
    let mut stored = 0.0;
    journal::inspect(&Directory::existing(&state).expect("a directory"), 0, |_, _| stored += 1.0)
        .expect("a journal");
    assert_eq!(stored, calls);

    // They send again what was not acknowledged.
    let exporter = start();
    assert_eq!(exporter.metrics().sum("planet_calls_total"), calls);
    let mut connection = Connection::open(exporter.call_events);
    for number in 0..2 * clients {
        connection.send(request(number));
        assert_eq!(connection.receive().status, 200);
    }
    assert_eq!(exporter.accepted(), 2.0 * clients as f64);
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let exporter = Exporter::start();
    let mut connection = Connection::open(exporter.call_events);
    for number in 0..2 {
        for byte in request(number).into_bytes() {
            connection.send([byte]);
        }
        assert_eq!(connection.receive().status, 200);
    }
    assert_eq!(exporter.accepted(), 2.0);
}

#[test]
fn an_unwanted_body_is_no_request() {
    let exporter = Exporter::start();
    let mut connection = Connection::open(exporter.call_events);
    let smuggled = request(2);
    let head = request(1);
    let head = head.trim_end();
    connection.send(format!("{head}\r\ncontent-length: {}\r\n\r\n{smuggled}", smuggled.len()));
    connection.send(request(3));
    assert_eq!(connection.receive().status, 200);
    assert_eq!(connection.receive().status, 200);
    connection.finish_sending();
    assert_eq!(connection.receive_until_closed(), b"");
    assert_eq!(exporter.accepted(), 2.0, "the body was read as a call event");
}

#[test]
fn what_is_no_http_is_answered_400_and_cut_off() {
    let exporter = Exporter::start();
    for bad in [
        "GARBAGE\r\n\r\n",
        "GET /call_event?sid=1&duration=1\r\n\r\n",
        "GET /call_event?sid=1&duration=1 HTTP/9.9\r\n\r\n",
        "GET /call_event?sid=1&duration=1 and=more HTTP/1.1\r\n\r\n",
        "GET /call_event?sid=\0&duration=1 HTTP/1.1\r\n\r\n",
        "GET /call_event?sid=1&duration=1 HTTP/1.1\r\nno header\r\n\r\n",
        "GET /call_event?sid=1&duration=1 HTTP/1.1\r\ncontent-length: x\r\n\r\n",
        "GET /call_event?sid=1&duration=1 HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
    ] {
        let mut connection = Connection::open(exporter.call_events);
        connection.send(bad);
        assert_eq!(connection.receive().status, 400, "{bad:?}");
        assert_eq!(connection.receive_until_closed(), b"", "{bad:?}");
    }
    let mut connection = Connection::open(exporter.call_events);
    let many_headers = "a: b\r\n".repeat(1_000);
    connection.send(format!("GET /call_event?sid=1&duration=1 HTTP/1.1\r\n{many_headers}\r\n"));
    assert_eq!(connection.receive().status, 431);
    assert_eq!(exporter.metrics().sum("planet_calls_total"), 0.0);
}

/// Sends a query as it is on a connection of its own, and answers the status, or `None` if the peer just closed.
fn status_of(exporter: &Exporter, query: &[u8]) -> Option<u16> {
    let mut connection = Connection::open(exporter.call_events);
    let request =
        [b"GET /call_event?", query, b" HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n"].concat();
    // The peer may have answered and closed before all is sent.
    let _ = connection.try_send(request);
    connection.try_receive().ok().map(|answer| answer.status)
}

fn run(cases: u32, strategy: impl Strategy<Value = Vec<u8>>, test: impl Fn(Vec<u8>) -> TestCaseResult) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    if let Err(error) = TestRunner::new(config).run(&strategy, test) {
        panic!("{error}");
    }
}

type TestCaseResult = Result<(), TestCaseError>;

#[test]
fn no_bytes_in_a_query_get_another_answer_than_200_400_414_or_431() {
    let exporter = Exporter::start();
    let bytes = prop::collection::vec(any::<u8>(), 0..2_000);
    run(300, bytes, |raw| {
        let status = status_of(&exporter, &raw);
        prop_assert!(matches!(status, Some(200 | 400 | 414 | 431)), "{status:?}");
        Ok(())
    });
    // Without any it would be a probe.
    run(300, prop::collection::vec(any::<u8>(), 1..2_000), |any| {
        let status = status_of(&exporter, percent_encode(&any).as_bytes());
        prop_assert_eq!(status, Some(400), "there is no = in it");
        Ok(())
    });
    let any_values = prop::collection::vec(any::<u8>(), 1..300);
    run(300, any_values, |value| {
        let value = percent_encode(&value);
        let names = ["rc_idc", "rel_code_str", "disconnect_reason", "type", "user_rel_code", "app_svr_data"];
        let rest: String = names.iter().map(|name| format!("&{name}={value}")).collect();
        let status = status_of(&exporter, format!("sid={value}&duration=1{rest}").as_bytes());
        prop_assert_eq!(status, Some(200));
        Ok(())
    });
    // The page can be read, so no value broke out of its label.
    assert!(exporter.metrics().sum("planet_calls_total") > 100.0);
    let log = exporter.process.stderr.all();
    let first_bad = log.iter().find(|line| serde_json::from_str::<serde_json::Value>(line).is_err());
    assert_eq!(first_bad, None, "a line of the log that is no JSON");
}

/// Control characters and the formatting characters of bidirectional text.
fn acts_on_terminals(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[test]
fn text_of_any_script_and_length_goes_through() {
    let exporter = Exporter::start();
    let is_short = |text: &str| text.len() <= 64;
    let texts = [
        "통화가 끝났습니다".to_owned(),
        "إنهاء المكالمة".to_owned(),
        "👩‍👩‍👧‍👦 ราชอาณาจักรไทย".to_owned(),
        "a=b&c=d#e?f+g%h\"i\\j\nk\r\nl\0m{n}".to_owned(),
        "x".repeat(30 * 1024),
        "\u{202e}\u{feff}\u{2028}".to_owned(),
    ];
    for (number, text) in texts.iter().enumerate() {
        let query = CallEventQuery::new(number).with("app_svr_data", text);
        let query = if is_short(text) { query.with("rel_code_str", text) } else { query };
        assert_eq!(exporter.send(&query.encode()).status, 200, "{number}");
    }
    let not_utf8 = format!("{}&stid=%ff%fe", CallEventQuery::new(100).without("stid").encode());
    assert_eq!(exporter.send(&not_utf8).status, 200);
    let page = exporter.metrics();
    assert_eq!(page.sum("planet_calls_total"), 7.0);
    assert_eq!(page.value("planet_exporter_anomalies_total", &[("kind", "not_utf8")]), 1.0);
    for text in texts.iter().filter(|text| is_short(text)) {
        let shown: String = text.chars().filter(|character| !acts_on_terminals(*character)).collect();
        let labels = [("terminate", "16"), ("rel_code", "1"), ("rel_code_str", shown.as_str())];
        assert_eq!(
            page.value("planet_call_releases_total", &labels),
            1.0,
            "the label is what was sent, but for these"
        );
    }
}

#[test]
fn no_request_can_forge_a_line_of_the_log() {
    let exporter = Exporter::with(&["--log-level", "debug"]);
    let forged = "{\"level\":\"INFO\",\"message\":\"forged\"}";
    let value = percent_encode(format!("\n{forged}\r\n{forged}\n\u{1b}[2J").as_bytes());
    assert_eq!(exporter.send(&format!("sid=&duration={value}&type={value}")).status, 400);
    assert_eq!(exporter.send(&format!("sid={value}&duration=1&rc_idc={value}")).status, 200);
    exporter.process.stderr.wait_for("refused a call event");
    for line in exporter.process.stderr.all() {
        let entry: serde_json::Value = serde_json::from_str(&line).expect("a line of JSON");
        assert_ne!(entry["message"], "forged");
    }
    let kept = exporter.admin("/refused").text();
    assert_eq!(kept.lines().count(), 1, "{kept}");
}
