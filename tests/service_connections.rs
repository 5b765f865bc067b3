//! The promise: no request is lost because a connection to the service ends while nobody uses it, and an answer that
//! comes early is passed on.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use support::call::{CallEventQuery, sid};
use support::exporter::{Exporter, command};
use support::http::Connection;
use support::service::{Answer, Service};
use support::{Scratch, eventually};

fn exporter(service: &Service, arguments: &[&str]) -> Exporter {
    let url = service.url();
    Exporter::with(&[&["--forward-to", &url], arguments].concat())
}

fn call_event(number: usize) -> String {
    format!("GET /call_event?{} HTTP/1.1\r\nhost: a\r\n\r\n", CallEventQuery::new(number).encode())
}

fn post(number: usize) -> String {
    format!("POST /notify?sid={} HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody", sid(number))
}

/// Callers that each send a request to an address, wait, and send the next, and how many got which status.
fn statuses(
    address: SocketAddr,
    callers: Range<usize>,
    rounds: usize,
    pause: Duration,
    request: fn(usize) -> String,
) -> BTreeMap<u16, usize> {
    let all: Vec<u16> = thread::scope(|scope| {
        let threads: Vec<_> = callers
            .map(|caller| {
                scope.spawn(move || {
                    let mut connection = Connection::open(address);
                    let ask = |round| {
                        connection.send(request(1_000 * caller + round));
                        let status = connection.receive().status;
                        if round + 1 < rounds {
                            thread::sleep(pause);
                        }
                        status
                    };
                    (0..rounds).map(ask).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    let mut statuses = BTreeMap::new();
    for status in all {
        *statuses.entry(status).or_default() += 1;
    }
    statuses
}

/// How many requests arrived, and how often the one that arrived most.
fn arrivals(service: &Service) -> (usize, usize) {
    let mut arrivals: BTreeMap<String, usize> = BTreeMap::new();
    for request in service.requests() {
        *arrivals.entry(request.sid()).or_default() += 1;
    }
    (arrivals.len(), arrivals.values().copied().max().unwrap_or_default())
}

fn failures(exporter: &Exporter) -> f64 {
    exporter.metrics().value("planet_exporter_proxy_failures_total", &[("error", "unreachable")])
}

#[test]
fn a_call_event_is_sent_again_where_the_connection_ends_as_it_goes_out() {
    let service = Service::start();
    service.close_where(|arrival| arrival.position > 0);
    let exporter = exporter(&service, &["--forward-mode", "inline"]);
    let answered = statuses(exporter.call_events, 0..5, 40, Duration::from_millis(5), call_event);
    assert_eq!(answered, [(200, 200)].into());
    assert_eq!(arrivals(&service), (200, 1));
    assert!(service.closed() > 0, "connections are used again");
    assert_eq!(failures(&exporter), 0.0);
    let page = exporter.metrics();
    assert_eq!(page.value("planet_exporter_proxy_duration_seconds_count", &[]), 200.0, "each counts once");
}

#[test]
fn a_call_event_is_sent_again_where_the_service_has_read_it_and_goes_away() {
    let service = Service::start();
    service.answer(|request| if request.position > 0 { Answer::HangUp } else { Answer::status(200) });
    let exporter = exporter(&service, &["--forward-mode", "inline"]);
    let answered = statuses(exporter.call_events, 0..2, 20, Duration::from_millis(5), call_event);
    assert_eq!(answered, [(200, 40)].into());
    let (arrived, most) = arrivals(&service);
    assert_eq!((arrived, most), (40, 2), "at most once more");
    for request in service.requests() {
        assert_eq!(request.trace_id(), request.sid().replace('-', ""), "by which it is recognized");
    }
}

#[test]
fn a_post_that_the_service_may_have_read_is_not_sent_again() {
    let service = Service::start();
    service.answer(|request| if request.position > 0 { Answer::HangUp } else { Answer::status(200) });
    let exporter = exporter(&service, &[]);
    let answered = statuses(exporter.call_events, 0..2, 20, Duration::from_millis(5), post);
    assert!(answered.contains_key(&502), "connections are used again: {answered:?}");
    assert_eq!(arrivals(&service), (40, 1));
    assert_eq!(failures(&exporter), answered[&502] as f64);
}

#[test]
fn a_new_connection_that_breaks_is_a_failure() {
    let service = Service::start();
    service.close_where(|_| true);
    let exporter = exporter(&service, &["--forward-mode", "inline"]);
    assert_eq!(exporter.send(&CallEventQuery::new(1).encode()).status, 502);
    assert_eq!((service.closed(), failures(&exporter)), (1, 1.0));
}

#[test]
fn a_post_takes_no_connection_that_may_be_about_to_end() {
    let service = Service::start();
    service.close_where(|arrival| arrival.idle > Duration::from_millis(450));
    let exporter = exporter(&service, &[]);
    let answered = statuses(exporter.call_events, 0..20, 5, Duration::from_millis(500), post);
    assert_eq!(answered, [(200, 100)].into());
    assert_eq!(arrivals(&service), (100, 1));
    assert_eq!(failures(&exporter), 0.0);
    // Those that follow one another at once use connections again.
    let before = service.requests().len();
    let answered = statuses(exporter.call_events, 20..21, 50, Duration::from_millis(2), post);
    assert_eq!(answered, [(200, 50)].into());
    let again = service.requests()[before..].iter().filter(|request| request.position > 0).count();
    assert!(again > 25, "{again} of 50");
}

#[test]
fn what_the_service_says_of_keep_alive_is_heeded() {
    let service = Service::start();
    service.answer(|_| Answer::Send(200, "keep-alive: timeout=1, max=100\r\n", Vec::new()));
    service.close_where(|arrival| arrival.idle > Duration::from_millis(900));
    let exporter = exporter(&service, &["--forward-mode", "inline"]);
    let second = Duration::from_secs(1);
    let answered = thread::scope(|scope| {
        let posts = scope.spawn(|| statuses(exporter.call_events, 0..5, 4, second, post));
        let events = statuses(exporter.call_events, 5..10, 4, second, call_event);
        [events, posts.join().expect("no panic")]
    });
    assert_eq!(answered, [[(200, 20)].into(), [(200, 20)].into()]);
    assert_eq!(arrivals(&service), (40, 1));
    assert_eq!(service.closed(), 0, "none is used that the service may be closing");
}

#[test]
fn without_a_word_of_the_service_a_connection_is_idle_for_less_than_5_seconds() {
    let service = Service::start();
    // As Node and uvicorn have it.
    service.close_where(|arrival| arrival.idle > Duration::from_millis(4_900));
    let exporter = exporter(&service, &["--forward-mode", "inline"]);
    let ask = |callers| statuses(exporter.call_events, callers, 1, Duration::ZERO, call_event);
    assert_eq!(ask(0..20), [(200, 20)].into());
    let idle_since = Instant::now();
    assert!(service.open() > 0, "some are kept");
    eventually("the end of all connections", || (service.open() == 0).then_some(()));
    assert!(idle_since.elapsed() < Duration::from_secs(5), "closed after {:?}", idle_since.elapsed());
    thread::sleep(Duration::from_millis(4_950).saturating_sub(idle_since.elapsed()));
    assert_eq!(ask(20..40), [(200, 20)].into());
    assert_eq!((arrivals(&service), service.closed()), ((40, 1), 0));
}

#[test]
fn a_burst_leaves_few_connections() {
    let service = Service::start();
    service.answer(|_| Answer::SendAfter(Duration::from_millis(500), 200));
    let exporter = exporter(&service, &["--forward-mode", "inline"]);
    let answered = statuses(exporter.call_events, 0..200, 1, Duration::ZERO, call_event);
    assert_eq!(answered, [(200, 200)].into());
    eventually("no more than 64 connections", || (service.open() <= 64).then_some(()));
    assert!(service.open() > 0, "some are kept");
}

#[test]
fn a_stored_event_is_delivered_at_once_where_the_connection_ends_as_it_goes_out() {
    let (service, scratch) = (Service::start(), Scratch::new("service-connections"));
    service.close_where(|arrival| arrival.position > 0);
    let url = service.url();
    let exporter = Exporter::launch(
        command().args(["--forward-to", &url, "--forward-concurrency", "1", "--state-dir"]).arg(&scratch.0),
    );
    // All of one caller, so that each waits for the one before.
    let answered = statuses(exporter.call_events, 0..1, 100, Duration::from_millis(5), call_event);
    assert_eq!(answered, [(200, 100)].into());
    eventually("all at the service", || (arrivals(&service).0 == 100).then_some(()));
    let attempts = |result: &str| {
        let labels = [("signal", "call_events"), ("result", result)];
        exporter.metrics().value("planet_exporter_deliveries_total", &labels)
    };
    eventually("the last attempt in the metrics", || (attempts("success") == 100.0).then_some(()));
    assert_eq!((attempts("retry"), arrivals(&service).1), (0.0, 1));
    assert!(service.closed() > 0, "connections are used again");
    assert!(!exporter.process.stderr.all().iter().any(|line| line.contains("the service behind is away")));
}

/// What a service does that has answered before it has read the body.
#[derive(Debug, Clone, Copy)]
enum Then {
    /// Says that nothing more will come, and throws away what comes until the client closes.
    Linger,
    /// Closes, which resets the connection, since the body is on its way.
    Close,
    /// Reads on, and waits for the next request.
    ReadOn,
}

/// A service that answers 413 as soon as it has a head, and where it is.
fn hasty_service(then: Then) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || answer_early(stream, then));
        }
    });
    address
}

fn answer_early(stream: TcpStream, then: Then) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head)? == 0 {
                return Ok(());
            }
        }
        let close = if matches!(then, Then::ReadOn) { "" } else { "connection: close\r\n" };
        let answer = format!("HTTP/1.1 413 Content Too Large\r\n{close}content-length: 9\r\n\r\ntoo large");
        stream.get_mut().write_all(answer.as_bytes())?;
        match then {
            Then::Close => return Ok(()),
            Then::Linger => {
                stream.get_ref().shutdown(Shutdown::Write)?;
                return std::io::copy(&mut stream, &mut std::io::sink()).map(|_| ());
            }
            Then::ReadOn => {
                stream.skip_until(b'!')?;
                if head.contains("chunked") {
                    stream.read_exact(&mut [0; "\r\n0\r\n\r\n".len()])?;
                }
            }
        }
    }
}

/// Sends a body of this size, and answers the status of what comes back.
fn upload(address: SocketAddr, size: usize, is_chunked: bool) -> Option<u16> {
    let mut connection = Connection::open(address);
    let framing =
        if is_chunked { "transfer-encoding: chunked".to_owned() } else { format!("content-length: {size}") };
    connection.send(format!("POST /upload HTTP/1.1\r\nhost: a\r\n{framing}\r\n\r\n"));
    let mut writer = connection.writer();
    thread::spawn(move || {
        let mut block = vec![b'x'; 50_000];
        for left in (0..size / block.len()).rev() {
            if left == 0 {
                // By which the service knows the end.
                block.pop();
                block.push(b'!');
            }
            let sent = match is_chunked {
                true => write!(writer, "{:x}\r\n", block.len())
                    .and_then(|()| writer.write_all(&block))
                    .and_then(|()| writer.write_all(b"\r\n")),
                false => writer.write_all(&block),
            };
            // Nobody may be reading any more.
            if sent.is_err() {
                return;
            }
        }
        if is_chunked {
            let _ = writer.write_all(b"0\r\n\r\n");
        }
    });
    connection.try_receive().ok().map(|answer| answer.status)
}

#[test]
fn an_answer_that_comes_before_the_body_is_read_goes_back() {
    const TIMES: usize = 20;
    let mut outcomes = BTreeMap::new();
    for then in [Then::Linger, Then::Close, Then::ReadOn] {
        let url = format!("http://{}", hasty_service(then));
        let exporter = Exporter::with(&["--forward-to", &url]);
        for (size, is_chunked) in [(300_000, false), (300_000, true), (10_000_000, false), (10_000_000, true)]
        {
            for _ in 0..TIMES {
                let status = upload(exporter.call_events, size, is_chunked);
                let of = (format!("{then:?}"), size, is_chunked);
                *outcomes.entry(of).or_insert_with(BTreeMap::new).entry(status).or_insert(0) += 1;
            }
        }
    }
    for (of, outcome) in outcomes {
        assert_eq!(outcome, [(Some(413), TIMES)].into(), "{of:?}");
    }
}
