//! Call events reach the service behind, whatever happens to it or to the exporter, and only as often as they must.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use support::authority::Authority;
use support::call::{CallEventQuery, sid};
use support::exporter::{Exporter, command};
use support::http::request;
use support::otlp_receiver::OtlpReceiver;
use support::service::{Answer, Service};
use support::{Scratch, eventually, free_address};

fn exporter(service: &Service, arguments: &[&str]) -> Exporter {
    let url = service.url();
    Exporter::with(&[&["--forward-to", &url], arguments].concat())
}

/// A call event of a caller of its own.
fn query(number: usize) -> String {
    CallEventQuery::new(number).with("from_user_id", &number.to_string()).encode()
}

fn send(exporter: &Exporter, numbers: std::ops::Range<usize>) {
    for number in numbers {
        assert_eq!(exporter.send(&query(number)).status, 200);
    }
}

/// How often each sid arrived.
fn arrivals(service: &Service) -> BTreeMap<String, usize> {
    let mut arrivals = BTreeMap::new();
    for request in service.requests() {
        *arrivals.entry(request.sid()).or_default() += 1;
    }
    arrivals
}

fn sids(numbers: std::ops::Range<usize>) -> BTreeSet<String> {
    numbers.map(sid).collect()
}

fn eventually_all(service: &Service, numbers: std::ops::Range<usize>) {
    let expected = sids(numbers);
    eventually("all call events at the service", || {
        let arrived: BTreeSet<_> = arrivals(service).into_keys().collect();
        expected.is_subset(&arrived).then_some(())
    });
}

fn of_service(exporter: &Exporter, metric: &str) -> f64 {
    let page = exporter.metrics();
    page.value(metric, &[("sink", "service")])
}

fn given_up(exporter: &Exporter, cause: &str) -> f64 {
    let labels = &[("sink", "service"), ("cause", cause)];
    exporter.metrics().value("planet_exporter_dropped_events_total", labels)
}

fn eventually_no_backlog(exporter: &Exporter) {
    eventually("no backlog", || (of_service(exporter, "planet_exporter_backlog") == 0.0).then_some(()));
}

#[test]
fn a_call_event_arrives_as_it_was_sent_with_a_key_of_its_own() {
    let service = Service::start();
    let exporter = exporter(&service, &[]);
    let target = format!("/call_event?{}", query(1));
    let headers = [("authorization", "Bearer token"), ("x-forwarded-for", "1.2.3.4")];
    assert_eq!(request(exporter.call_events, "GET", &target, &headers).status, 200);
    // A repeat is known already, and the service is not told again.
    assert_eq!(request(exporter.call_events, "GET", &target, &headers).status, 200);
    eventually_all(&service, 1..2);
    eventually_no_backlog(&exporter);
    assert_eq!(service.requests().len(), 1);
    let arrived = &service.requests()[0];
    assert_eq!((arrived.method.as_str(), arrived.target.as_str()), ("GET", target.as_str()));
    let host = exporter.call_events.to_string();
    for (name, value) in [
        ("host", Some(host.as_str())),
        ("authorization", Some("Bearer token")),
        ("idempotency-key", Some("\"00000001-bdac-436e-9631-0bce2498ce0c\"")),
        ("x-forwarded-for", Some("1.2.3.4, 127.0.0.1")),
        ("x-forwarded-proto", Some("http")),
        ("via", Some("1.1 planet-call-exporter")),
        ("connection", None),
        ("content-length", None),
    ] {
        assert_eq!(arrived.header(name), value, "{name}");
    }
    assert_eq!(of_service(&exporter, "planet_exporter_delivered_events_total"), 1.0);
}

#[test]
fn events_wait_for_a_service_that_is_down_and_each_arrives_once() {
    let service = Service::start();
    let address = service.address;
    drop(service);
    let url = format!("http://{address}");
    let mut exporter = Exporter::with(&["--forward-to", &url]);
    send(&exporter, 0..300);
    assert_eq!(of_service(&exporter, "planet_exporter_backlog"), 300.0);
    assert_eq!(exporter.admin("/readyz").status, 200);
    let service = Service::start_at(address);
    eventually_all(&service, 0..300);
    eventually_no_backlog(&exporter);
    assert!(arrivals(&service).values().all(|times| *times == 1));
    assert_eq!(of_service(&exporter, "planet_exporter_backlog_age_seconds"), 0.0);
    let lines = exporter.process.stderr.all();
    let count = |text: &str| lines.iter().filter(|line| line.contains(text)).count();
    assert_eq!((count("the service behind is away"), count("the service behind is back")), (1, 1));
    exporter.process.signal("TERM");
    assert!(exporter.process.wait().success());
}

#[test]
fn an_event_that_fails_is_tried_again_and_holds_up_its_caller_only() {
    let service = Service::start();
    // The event fails the first time, which may come late, and until the other caller's last one has come, which
    // therefore cannot have waited for it.
    static HAS_FAILED: AtomicBool = AtomicBool::new(false);
    static HAS_OTHER_COME: AtomicBool = AtomicBool::new(false);
    service.answer(|request| {
        HAS_OTHER_COME.fetch_or(request.sid() == sid(4), Ordering::SeqCst);
        let is_failing = request.sid() == sid(0)
            && (!HAS_FAILED.swap(true, Ordering::SeqCst) || !HAS_OTHER_COME.load(Ordering::SeqCst));
        Answer::status(if is_failing { 500 } else { 200 })
    });
    let exporter = exporter(&service, &[]);
    let of_caller =
        |number: usize, caller: &str| CallEventQuery::new(number).with("from_user_id", caller).encode();
    for (number, caller) in [(0, "held"), (1, "held"), (2, "free"), (3, "held"), (4, "free")] {
        assert_eq!(exporter.send(&of_caller(number, caller)).status, 200);
    }
    eventually_all(&service, 0..5);
    eventually_no_backlog(&exporter);
    let arrived: Vec<_> = service.requests().iter().map(|request| request.sid()).collect();
    let mut of_held: Vec<_> =
        arrived.into_iter().filter(|known| [sid(0), sid(1), sid(3)].contains(known)).collect();
    assert!(of_held.len() > 3, "it failed at least once");
    of_held.dedup();
    assert_eq!(of_held, [sid(0), sid(1), sid(3)]);
}

#[test]
fn what_the_service_refuses_for_good_is_kept_with_its_answer() {
    let service = Service::start();
    service.answer(|request| match request.sid() == sid(1) {
        true => Answer::Send(422, "", b"no such user".to_vec()),
        false => Answer::status(200),
    });
    let exporter = exporter(&service, &[]);
    send(&exporter, 0..3);
    eventually_all(&service, 0..3);
    eventually_no_backlog(&exporter);
    assert_eq!((given_up(&exporter, "refused"), given_up(&exporter, "age")), (1.0, 0.0));
    let refused = exporter.admin("/refused").text();
    assert!(
        refused.contains("422") && refused.contains("no such user") && refused.contains(&query(1)),
        "{refused}"
    );
    assert_eq!(arrivals(&service)[&sid(1)], 1);
    assert_eq!(exporter.metrics().sum("planet_calls_total"), 3.0);
}

#[test]
fn what_fails_for_too_long_is_given_up_and_kept() {
    let service = Service::start();
    service.answer(|_| Answer::status(500));
    let exporter = exporter(&service, &["--forward-max-age", "1s"]);
    send(&exporter, 0..1);
    eventually("the end of patience", || (given_up(&exporter, "age") == 1.0).then_some(()));
    assert!(exporter.admin("/refused").text().contains("not delivered within 1s"));
    assert!(service.requests().len() > 1);
    eventually_no_backlog(&exporter);
}

#[test]
fn a_busy_service_says_itself_when_to_come_again() {
    let service = Service::start();
    static ARRIVED: Mutex<Vec<Instant>> = Mutex::new(Vec::new());
    service.answer(|_| {
        let mut arrived = ARRIVED.lock().expect("no panic");
        arrived.push(Instant::now());
        match arrived.len() {
            1 => Answer::Send(429, "retry-after: 2\r\n", Vec::new()),
            _ => Answer::status(200),
        }
    });
    let exporter = exporter(&service, &["--forward-concurrency", "1"]);
    send(&exporter, 0..3);
    eventually_all(&service, 0..3);
    let arrived = ARRIVED.lock().expect("no panic").clone();
    assert!(arrived[1] - arrived[0] >= Duration::from_millis(1_900), "{arrived:?}");
    assert_eq!(arrived.len(), 4);
}

#[test]
fn no_more_than_configured_are_on_their_way_at_once() {
    let service = Service::start();
    static AT_ONCE: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    service.answer(|_| {
        let at_once = AT_ONCE.fetch_add(1, Ordering::SeqCst) + 1;
        MOST.fetch_max(at_once, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(100));
        AT_ONCE.fetch_sub(1, Ordering::SeqCst);
        Answer::status(200)
    });
    let exporter = exporter(&service, &["--forward-concurrency", "3"]);
    send(&exporter, 0..30);
    eventually_all(&service, 0..30);
    assert_eq!(MOST.load(Ordering::SeqCst), 3);
}

#[test]
fn what_was_not_taken_is_delivered_after_a_restart_and_only_that() {
    let scratch = Scratch::new("passing-on");
    let state = scratch.0.join("state");
    let state = state.to_str().expect("a path in UTF-8");
    let service = Service::start();
    service.answer(|request| match request.sid() == sid(2) {
        true => Answer::status(500),
        false => Answer::status(200),
    });
    let mut exporter = exporter(&service, &["--state-dir", state]);
    send(&exporter, 0..50);
    eventually("the others", || (of_service(&exporter, "planet_exporter_backlog") == 1.0).then_some(()));
    exporter.process.signal("TERM");
    assert!(exporter.process.wait().success());
    exporter.process.stderr.wait_for(
        "ended before all events were delivered; they are on disk, and delivered after the next start",
    );
    assert_eq!(given_up(&self::exporter(&service, &["--state-dir", state]), "shutdown"), 0.0);

    let before = arrivals(&service);
    assert!(before.iter().all(|(known, times)| *times == 1 || *known == sid(2)), "{before:?}");
    service.answer(|_| Answer::status(200));
    let exporter = self::exporter(&service, &["--state-dir", state]);
    eventually_no_backlog(&exporter);
    let after = arrivals(&service);
    assert!(after.iter().all(|(known, times)| *times == before[known] || *known == sid(2)), "{after:?}");
    assert!(after[&sid(2)] > before[&sid(2)]);
    let shown = command().args(["state", state]).output().expect("it runs");
    let shown = String::from_utf8(shown.stdout).expect("text");
    assert!(shown.contains("reader service: record 50\n"), "{shown}");
}

#[test]
fn forwarding_to_itself_and_headers_without_end_are_refused() {
    let address = free_address().to_string();
    let itself = format!("http://{address}");
    let listen = ["--listen", &address, "--admin-listen", "127.0.0.1:0", "--forward-to", &itself];
    let output = command().args(listen).output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains(&format!("--forward-to {itself}")), "{errors}");

    let service = Service::start();
    let exporter = exporter(&service, &[]);
    let large = "x".repeat(40_000);
    let target = format!("/call_event?{}", query(1));
    assert_eq!(request(exporter.call_events, "GET", &target, &[("x-large", &large)]).status, 431);
    send(&exporter, 1..2);
    eventually_all(&service, 1..2);
}

#[test]
fn a_service_that_cannot_be_reached_is_said_with_what_is_the_matter() {
    let authority = Authority::new("passing-on");
    let secure = OtlpReceiver::start_with_tls(authority.server());
    let plain = TcpListener::bind("127.0.0.1:0").expect("a port");
    let plain_url = format!("https://{}", plain.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for mut client in plain.incoming().flatten() {
            // Who does not read it loses nothing.
            let _ = std::io::Write::write_all(&mut client, b"HTTP/1.1 400 Bad Request\r\n\r\n");
            let _ = std::io::copy(&mut client, &mut std::io::sink());
        }
    });
    let trusted = authority.file("ca.pem", &authority.issuer.pem());
    for (url, expected) in [
        (format!("http://{}", free_address()), "nobody listens there"),
        ("http://service.invalid".to_owned(), "its name does not resolve"),
        (secure.endpoint(), "use https:// in --forward-to"),
        (plain_url, "use http:// in --forward-to"),
    ] {
        for mode in ["stored", "inline"] {
            let mut command = command();
            command.env("SSL_CERT_FILE", &trusted).args(["--forward-to", &url, "--forward-mode", mode]);
            let exporter = Exporter::launch(&mut command);
            exporter.send(&CallEventQuery::new(1).encode());
            let line = exporter.process.stderr.wait_for("the service behind is away");
            assert!(line.contains(&url) && line.contains(expected), "{expected:?} is not in {line}");
        }
    }
}

#[test]
fn refusals_in_the_same_words_are_said_once_a_minute() {
    let service = Service::start();
    service.answer(|_| {
        Answer::Send(422, "content-type: text/html\r\n", b"<html><title>No</title></html>".to_vec())
    });
    let exporter = exporter(&service, &[]);
    send(&exporter, 0..20);
    eventually("all refused", || (given_up(&exporter, "refused") == 20.0).then_some(()));
    let lines = exporter.process.stderr.all();
    let lines: Vec<_> = lines.iter().filter(|line| line.contains("refused for good")).collect();
    assert!(
        lines.len() == 1 && lines[0].contains(&format!("{}: it answered 422: No", service.url())),
        "{lines:?}"
    );
}
