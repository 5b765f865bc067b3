//! The promise: a call event whose query has raw bytes that no URI may have is a call event like any other, here and at the
//! service behind, which gets it byte for byte; and no head that is wrong in another way is let through with it.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::time::Duration;

use support::call::{CallEventQuery, sid};
use support::exporter::{Exporter, command};
use support::http::{Connection, Response};
use support::scrape::Page;
use support::service::{Answer, Service};
use support::{Scratch, eventually, free_address};

/// What senders leave raw.
const RAW: [&[u8]; 6] = [
    b"\"quoted\"",
    b"<tag>",
    b"{\"a\":\"b\"}",
    b"with some spaces",
    "통화 \"끝\"".as_bytes(),
    b"not \xff\xfe UTF-8",
];

/// A call event of a caller of its own with a raw value at its end.
fn query(number: usize, value: &[u8]) -> Vec<u8> {
    let event = CallEventQuery::new(number).with("from_user_id", &number.to_string());
    [event.without("app_svr_data").encode().as_bytes(), b"&app_svr_data=", value].concat()
}

fn request(query: &[u8]) -> Vec<u8> {
    [b"GET /call_event?", query, b" HTTP/1.1\r\nhost: test\r\n\r\n"].concat()
}

/// Sends bytes on a connection of their own, and takes the one answer after which it is closed.
fn send(exporter: &Exporter, bytes: &[u8]) -> Response {
    let mut connection = Connection::open(exporter.call_events);
    connection.send(bytes);
    let answer = connection.receive();
    assert_eq!(connection.receive_until_closed(), b"", "nothing follows");
    answer
}

fn result(page: &Page, result: &str) -> f64 {
    page.value("planet_exporter_events_total", &[("result", result)])
}

fn invalid(page: &Page) -> f64 {
    page.value("planet_exporter_invalid_requests_total", &[("listener", "call_events")])
}

/// They are counted when their connections are gone.
fn eventually_invalid(exporter: &Exporter, count: usize) {
    eventually("a count of invalid requests", || {
        (invalid(&exporter.metrics()) == count as f64).then_some(())
    });
}

fn targets(service: &Service) -> Vec<Vec<u8>> {
    service.requests().into_iter().map(|request| request.raw_target).collect()
}

fn target(query: &[u8]) -> Vec<u8> {
    [b"/call_event?", query].concat()
}

#[test]
fn a_call_event_with_raw_bytes_is_accepted_and_the_connection_closed() {
    let exporter = Exporter::start();
    for (number, value) in RAW.iter().enumerate() {
        let answer = send(&exporter, &request(&query(number, value)));
        assert_eq!((answer.status, answer.header("connection")), (200, Some("close")), "{number}");
        assert!(answer.header("date").is_some(), "{number}");
    }
    let label = "통화 \"끝\" <b>";
    let named = CallEventQuery::new(50).without("rel_code_str").encode();
    let named = [named.as_bytes(), b"&rel_code_str=", label.as_bytes()].concat();
    assert_eq!(send(&exporter, &request(&named)).status, 200);
    let labels = [("terminate", "16"), ("rel_code", "1"), ("rel_code_str", label)];
    assert_eq!(exporter.metrics().value("planet_call_releases_total", &labels), 1.0);
    let repeat = send(&exporter, &request(&query(0, RAW[0])));
    assert_eq!(repeat.status, 200);
    let page = exporter.metrics();
    let calls = RAW.len() as f64 + 1.0;
    assert_eq!(page.sum("planet_calls_total"), calls);
    assert_eq!((result(&page, "accepted"), result(&page, "duplicate")), (calls, 1.0));
    assert_eq!(invalid(&page), 0.0);
    assert_eq!(page.value("planet_exporter_anomalies_total", &[("kind", "not_utf8")]), 1.0);
    let answered = page.value("planet_exporter_requests_total", &[("code", "200")]);
    assert_eq!(answered, calls + 1.0);
}

#[test]
fn it_may_come_in_pieces_and_behind_other_requests() {
    let exporter = Exporter::start();
    for (number, value) in RAW.iter().enumerate() {
        let mut connection = Connection::open(exporter.call_events);
        for byte in request(&query(number, value)) {
            connection.send([byte]);
        }
        assert_eq!(connection.receive().status, 200, "byte by byte: {number}");
        assert_eq!(connection.receive_until_closed(), b"");

        // With a pause behind the first raw byte, at which the HTTP library gives up if it is a space.
        let mut connection = Connection::open(exporter.call_events);
        let bytes = request(&query(100 + number, value));
        let (first, rest) = bytes.split_at(bytes.len() - 35);
        connection.send(first);
        std::thread::sleep(Duration::from_millis(50));
        connection.send(rest);
        assert_eq!(connection.receive().status, 200, "in two pieces: {number}");

        let mut connection = Connection::open(exporter.call_events);
        for ordinary in 0..3 {
            connection.send(request(CallEventQuery::new(1_000 + 10 * number + ordinary).encode().as_bytes()));
            assert_eq!(connection.receive().status, 200);
        }
        connection.send("POST /elsewhere HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nGET /b?\" ");
        assert_eq!(connection.receive().status, 404);
        connection.send(request(&query(200 + number, value)));
        assert_eq!(connection.receive().status, 200, "after others: {number}");
        assert_eq!(connection.receive_until_closed(), b"");

        let mut connection = Connection::open(exporter.call_events);
        let ordinary = request(CallEventQuery::new(2_000 + number).encode().as_bytes());
        // What comes behind it is never read.
        let behind = request(CallEventQuery::new(3_000 + number).encode().as_bytes());
        connection.send([ordinary, request(&query(300 + number, value)), behind].concat());
        assert_eq!(connection.receive().status, 200);
        assert_eq!(connection.receive().status, 200, "pipelined: {number}");
        assert_eq!(connection.receive_until_closed(), b"");
    }
    let page = exporter.metrics();
    assert_eq!(result(&page, "accepted"), 8.0 * RAW.len() as f64);
    assert_eq!((result(&page, "duplicate"), invalid(&page)), (0.0, 0.0));
}

#[test]
fn what_cannot_be_a_call_is_kept_and_counted() {
    let exporter = Exporter::start();
    let queries: [(&[u8], &str); 4] = [
        (b"type=\"V\"", "type=\"V\""),
        (b"sid=&a=<b> c", "sid=&a=<b> c"),
        ("note=\"통화\"".as_bytes(), "note=\"통화\""),
        (b"type=V&a=\xff\xc3\xa9%FF+", "type=V&a=%FF\u{e9}%FF+"),
    ];
    for (query, _) in queries {
        let answer = send(&exporter, &request(query));
        assert_eq!((answer.status, answer.json()["parameter"].as_str()), (400, Some("sid")));
    }
    let kept = exporter.admin("/refused").text();
    let kept: Vec<serde_json::Value> =
        kept.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect();
    let kept: Vec<_> = kept.iter().filter_map(|line| line["query"].as_str()).collect();
    assert_eq!(kept, queries.map(|(_, kept)| kept));
    let page = exporter.metrics();
    assert_eq!((result(&page, "refused"), invalid(&page)), (4.0, 0.0));
    // Its path alone makes no call of a request.
    let elsewhere = send(&exporter, b"GET /elsewhere?a=\"<> HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(elsewhere.status, 404);
    let long = [&b"a=\""[..], &[b'x'; 40_000]].concat();
    assert_eq!(send(&exporter, &request(&long)).status, 414);
}

#[test]
fn heads_that_are_wrong_in_another_way_stay_400_and_are_counted_as_invalid() {
    let exporter = Exporter::start();
    let (sid, host) = (sid(1), "host: test\r\n");
    let good = format!("sid={sid}&duration=1&a=\"<>");
    let bad = [
        format!("GE(T /call_event?{good} HTTP/1.1\r\n{host}\r\n"),
        format!("POST /call_event?{good} HTTP/1.1\r\n{host}\r\n"),
        format!("GET  /call_event?{good} HTTP/1.1\r\n{host}\r\n"),
        format!("GET call_event?{good} HTTP/1.1\r\n{host}\r\n"),
        format!("GET /call event?{good} HTTP/1.1\r\n{host}\r\n"),
        format!("GET /call_event?{good} HTTP/9.9\r\n{host}\r\n"),
        format!("GET /call_event?{good} HTTP/1.1 HTTP/1.1\r\n{host}\r\n"),
        format!("GET /call_event?{good}\r\n{host}\r\n"),
        format!("GET /call_event?{good}\0 HTTP/1.1\r\n{host}\r\n"),
        format!("GET /call_event?{good}\t HTTP/1.1\r\n{host}\r\n"),
        format!("GET /call_event?{good}\u{7f} HTTP/1.1\r\n{host}\r\n"),
        format!("GET /call_event?{good}\rx HTTP/1.1\r\n{host}\r\n"),
        format!("GET /call_event?{good} HTTP/1.1\n{host}\n"),
        format!("GET /call_event?{good} HTTP/1.1\r\n{host}a: b\rc: d\r\n\r\n"),
        format!("GET /call_event?{good} HTTP/1.1\r\n{host}a: b\nc: d\r\n\r\n"),
        format!("GET /call_event?{good} HTTP/1.1\r\n{host}no header\r\n\r\n"),
        format!("GET /call_event?{good} HTTP/1.1\r\n{host}a : b\r\n\r\n"),
        format!("GET /call_event?{good} HTTP/1.1\r\n{host}a: b\r\n folded\r\n\r\n"),
        format!("GET /call_event?{good} HTTP/1.1\r\n{host}content-length: 1\r\n\r\nx"),
        format!("GET /call_event?{good} HTTP/1.1\r\n{host}content-length: 0\r\ncontent-length: 1\r\n\r\n"),
        format!("GET /call_event?{good} HTTP/1.1\r\n{host}transfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("GET /call_event?{good} HTTP/1.1\r\n{host}transfer-encoding: x\r\n\r\n"),
    ];
    for bad in &bad {
        assert_eq!(send(&exporter, bad.as_bytes()).status, 400, "{bad:?}");
    }
    eventually_invalid(&exporter, bad.len());
    let page = exporter.metrics();
    assert_eq!((page.sum("planet_calls_total"), result(&page, "refused")), (0.0, 0.0));
    // The admin port takes none.
    let mut connection = Connection::open(exporter.admin);
    connection.send("GET /metrics?\" HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(connection.receive().status, 400);
}

#[test]
fn a_head_that_is_never_whole_is_cut_off() {
    let exporter = Exporter::with(&["--header-timeout", "1s"]);
    let mut connection = Connection::open(exporter.call_events);
    connection.send("GET /call_event?sid=1&duration=1 2");
    assert_eq!(connection.receive().status, 400);
    assert_eq!(connection.receive_until_closed(), b"");
    eventually_invalid(&exporter, 1);
}

#[test]
fn the_service_behind_gets_it_byte_for_byte() {
    let service = Service::start();
    let url = service.url();
    let exporter = Exporter::with(&["--forward-to", &url]);
    for (number, value) in RAW.iter().enumerate() {
        assert_eq!(send(&exporter, &request(&query(number, value))).status, 200);
        let expected = target(&query(number, value));
        eventually("the call event at the service", || targets(&service).contains(&expected).then_some(()));
    }
    let requests = service.requests();
    assert_eq!(requests.len(), RAW.len());
    for (number, request) in requests.iter().enumerate() {
        let key = format!("\"{}\"", sid(number));
        assert_eq!(request.header("idempotency-key"), Some(key.as_str()));
        assert_eq!(request.header("host"), Some("test"));
    }
    // What cannot be a call, and what is for another path, goes through at once, and its answer comes back.
    service.answer(|_| Answer::Send(418, "x-of-service: 1\r\n", b"short and stout".to_vec()));
    for bytes in [&b"/call_event?type=\"V\" \xff"[..], b"/elsewhere?a=<b>&c=#d\""] {
        let answer = send(&exporter, &[b"GET ", bytes, b" HTTP/1.1\r\nhost: test\r\n\r\n"].concat());
        assert_eq!((answer.status, answer.text().as_str()), (418, "short and stout"));
        assert_eq!((answer.header("x-of-service"), answer.header("connection")), (Some("1"), Some("close")));
        assert_eq!(targets(&service).last().map(Vec::as_slice), Some(bytes));
    }
    let page = exporter.metrics();
    assert_eq!((result(&page, "refused"), invalid(&page)), (1.0, 0.0));
    assert_eq!(exporter.admin("/refused").text().lines().count(), 1);
}

#[test]
fn inline_the_answer_is_that_of_the_service() {
    let service = Service::start();
    service.answer(|_| Answer::Send(202, "", vec![b'x'; 200_000]));
    let url = service.url();
    let exporter = Exporter::with(&["--forward-to", &url, "--forward-mode", "inline"]);
    let sent = query(1, b"\"<> \xff");
    let answer = send(&exporter, &request(&sent));
    assert_eq!((answer.status, answer.body.len()), (202, 200_000));
    assert_eq!(targets(&service), [target(&sent)]);
    assert_eq!(exporter.accepted(), 1.0);
}

#[test]
fn what_is_stored_survives_a_kill_and_is_delivered_with_the_same_bytes() {
    let (scratch, address) = (Scratch::new("raw"), free_address());
    let state = scratch.0.join("state");
    let url = format!("http://{address}");
    let start = || Exporter::launch(command().args(["--forward-to", &url]).arg("--state-dir").arg(&state));
    let exporter = start();
    let queries: Vec<_> = (0..).zip(RAW).map(|(number, value)| query(number, value)).collect();
    for query in &queries {
        assert_eq!(send(&exporter, &request(query)).status, 200);
    }
    exporter.kill();
    let exporter = start();
    assert_eq!(exporter.metrics().sum("planet_calls_total"), RAW.len() as f64);
    let service = Service::start_at(address);
    for query in &queries {
        eventually("the call event", || targets(&service).contains(&target(query)).then_some(()));
    }
    assert_eq!(service.requests().len(), RAW.len());
}

#[test]
fn replay_sends_it_again() {
    let exporter = Exporter::start();
    let scratch = Scratch::new("raw-replay");
    let state = scratch.0.join("state");
    let first = Exporter::launch(command().arg("--state-dir").arg(&state));
    assert_eq!(send(&first, &request(b"type=\"V\" \xff")).status, 400);
    let queries: Vec<_> = (0..).zip(RAW).map(|(number, value)| query(number, value)).collect();
    for query in &queries {
        assert_eq!(send(&first, &request(query)).status, 200);
    }
    let refused = state.join("refused.jsonl");
    eventually("the refused request in its file", || {
        std::fs::read_to_string(&refused).ok().filter(|text| text.lines().count() > 0)
    });
    first.kill();
    let to = format!("http://{}/call_event", exporter.call_events);
    let replay = |file: &std::path::Path| {
        command().arg("replay").arg(file).args(["--to", &to]).output().expect("an end of replay")
    };
    let mut files = std::fs::read_dir(&state).expect("a directory").flatten().map(|entry| entry.path());
    let segment = files.find(|path| path.extension().is_some_and(|name| name == "segment"));
    let replayed = replay(&segment.expect("a segment"));
    assert!(replayed.status.success(), "{replayed:?}");
    assert_eq!(exporter.metrics().sum("planet_calls_total"), RAW.len() as f64);
    // It cannot be a call the second time either, and is kept in a form that decodes to the same bytes.
    assert!(!replay(&refused).status.success());
    assert!(exporter.admin("/refused").text().contains("type=%22V%22%20%FF"));
}

#[test]
fn what_stands_behind_a_number_sign_is_a_part_of_the_query() {
    let service = Service::start();
    let exporter = Exporter::with(&["--forward-to", &service.url()]);
    let mut connection = Connection::open(exporter.call_events);
    let with_sign = |number| {
        let event = CallEventQuery::new(number).without("app_svr_data").encode();
        format!("app_svr_data=a#b&{event}").into_bytes()
    };
    for number in 0..3 {
        connection.send(request(&with_sign(number)));
        assert_eq!(connection.receive().status, 200, "the connection goes on");
    }
    let page = exporter.metrics();
    assert_eq!((result(&page, "accepted"), page.sum("planet_exporter_anomalies_total")), (3.0, 0.0));
    eventually("the service has them byte for byte", || {
        let mut targets = targets(&service);
        targets.sort();
        (targets == (0..3).map(|number| target(&with_sign(number))).collect::<Vec<_>>()).then_some(())
    });
    // At the place of the question mark it is one.
    let event = CallEventQuery::new(9).encode();
    for target in [format!("/call_event#{event}"), format!("/call_event#?{event}")] {
        connection.send(format!("GET {target} HTTP/1.1\r\nhost: test\r\n\r\n"));
        assert_eq!(connection.receive().status, 200);
    }
    let page = exporter.metrics();
    assert_eq!(
        (result(&page, "accepted"), result(&page, "duplicate"), result(&page, "probe")),
        (4.0, 1.0, 0.0)
    );
}

#[test]
fn a_chunked_body_in_front_takes_no_raw_call_away() {
    let exporter = Exporter::start();
    let mut connection = Connection::open(exporter.call_events);
    connection.send(
        "POST /elsewhere HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    );
    assert_eq!(connection.receive().status, 404);
    connection.send(request(CallEventQuery::new(1).encode().as_bytes()));
    assert_eq!(connection.receive().status, 200);
    connection.send(request(&query(2, b"\"quoted\"")));
    assert_eq!(connection.receive().status, 200);
    assert_eq!(result(&exporter.metrics(), "accepted"), 2.0);
}
