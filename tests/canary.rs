//! The promise of `--canary-url`: the exporter sends itself a request through its public URL, knows whether it arrived at an
//! exporter, and says why if it did not; the service behind and the totals never see it.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use support::authority::Authority;
use support::call::CallEventQuery;
use support::exporter::{CALL_EVENT_PATH, Exporter, command};
use support::http::{self, Response};
use support::proxy::NGINX;
use support::scrape::{Page, Series};
use support::service::{Answer, Service};
use support::tls_front::TlsFront;
use support::{Scratch, eventually, free_address, listen_address};

const NONCE: &str = "0123456789abcdef0123456789abcdef";

/// A canary by hand.
fn by_hand() -> String {
    format!("planet_exporter_canary={NONCE}")
}

/// The command of an exporter at this address that sends canaries to this URL, as often as it can.
fn sending(to: &str, address: SocketAddr) -> Command {
    let mut command = command();
    command.args(["--canary-url", to, "--canary-interval", "1s"]);
    command.args(["--listen", &address.to_string(), "--admin-listen", "127.0.0.1:0"]);
    command
}

/// One that sends them elsewhere.
fn sending_elsewhere(to: &str) -> Exporter {
    Exporter::launch_as_it_is(&mut sending(to, listen_address()))
}

fn trips(page: &Page, result: &str) -> f64 {
    page.value("planet_exporter_canary_round_trips_total", &[("result", result)])
}

fn events(page: &Page, result: &str) -> f64 {
    page.value("planet_exporter_events_total", &[("result", result)])
}

/// Waits until so many more canaries have had this result.
fn wait_for(exporter: &Exporter, result: &str, more: f64) {
    let before = trips(&exporter.metrics(), result);
    eventually(&format!("canaries with the result {result}"), || {
        (trips(&exporter.metrics(), result) >= before + more).then_some(())
    });
}

/// The lines that say that it does not come back, in their order: the reasons, and what is said.
fn said(exporter: &Exporter) -> Vec<(String, String)> {
    let lines = exporter.process.stderr.all();
    let lines = lines.iter().map(|line| serde_json::from_str(line).expect("a line of JSON"));
    let warnings = lines.filter(|line: &serde_json::Value| {
        line["message"].as_str().is_some_and(|message| message.contains("canary does not come back"))
    });
    let text = |value: &serde_json::Value| value.as_str().expect("a text").to_owned();
    warnings.map(|line| (text(&line["reason"]), text(&line["error"]))).collect()
}

/// Everything that is counted of calls and what is odd or refused, and in which nothing may be changed by a canary.
fn of_calls(page: &Page) -> BTreeMap<Series, f64> {
    let mut series = page.beginning_with("planet_call");
    for name in
        ["planet_exporter_anomalies_total", "planet_exporter_refused_requests", "planet_exporter_seen_sids"]
    {
        series.extend(page.beginning_with(name));
    }
    let results = page.beginning_with("planet_exporter_events_total").into_iter();
    series.extend(results.filter(|((_, labels), _)| labels["result"] != "canary"));
    series
}

#[test]
fn round_trips_are_counted_and_nobody_else_sees_them() {
    for (mode, registered) in
        [("stored", "/call_event"), ("inline", "/callback?action=call&"), ("none", "/call_event")]
    {
        let (service, directory, address) = (Service::start(), Scratch::new("canary"), listen_address());
        let mut command = sending(&format!("http://{address}{registered}"), address);
        command.args(["--call-event-path", registered]).arg("--state-dir").arg(directory.0.join("state"));
        if mode != "none" {
            command.args(["--forward-to", &service.url(), "--forward-mode", mode]);
        }
        let exporter = Exporter::launch_as_it_is(&mut command);
        let joint = if registered.contains('?') { "" } else { "?" };
        let call = format!("{registered}{joint}{}", CallEventQuery::new(1).encode());
        assert_eq!(exporter.get(&call).status, 200);
        eventually("the call at the service", || {
            (mode == "none" || service.requests().len() == 1).then_some(())
        });
        let before = exporter.metrics();

        wait_for(&exporter, "success", 2.0);
        let page = exporter.metrics();
        assert_eq!(of_calls(&page), of_calls(&before), "{mode}");
        assert!(events(&page, "canary") >= 2.0);
        assert_eq!(service.requests().len(), usize::from(mode != "none"), "{mode}");
        assert!(page.value("planet_exporter_canary_duration_seconds_count", &[]) >= 2.0);
        assert!(page.value("planet_exporter_canary_last_success_time_seconds", &[]) > 1.7e9);
        assert_eq!(page.sum("planet_exporter_canary_round_trips_total"), trips(&page, "success"));
        let verbose = exporter.admin("/readyz?verbose").text();
        assert!(verbose.contains("canary: ok (does not count)\n"), "{verbose}");
        assert_eq!(said(&exporter), []);
    }
}

#[test]
fn all_metrics_stand_at_0_from_the_start_where_a_canary_is_configured_and_only_there() {
    let mut command = command();
    let page = Exporter::launch(command.args(["--canary-url", "http://127.0.0.1:9/call_event"])).metrics();
    let results = page.named("planet_exporter_canary_round_trips_total");
    let names: Vec<_> = results.keys().map(|labels| labels["result"].as_str()).collect();
    let expected = ["no_echo", "refused", "status", "success", "timeout", "tls", "unreachable", "unresolved"];
    assert_eq!(names, expected);
    assert!(results.values().all(|value| *value == 0.0));
    assert_eq!(page.value("planet_exporter_canary_last_success_time_seconds", &[]), 0.0);
    assert_eq!(page.value("planet_exporter_canary_duration_seconds_count", &[]), 0.0);

    let exporter = Exporter::start();
    assert_eq!(exporter.metrics().beginning_with("planet_exporter_canary"), BTreeMap::new());
    assert!(!exporter.admin("/readyz?verbose").text().contains("canary"));
}

#[test]
fn the_answer_proves_an_exporter_and_nothing_but_a_nonce_is_echoed() {
    let exporter = Exporter::start();
    let answer = exporter.send(&by_hand());
    assert_eq!((answer.status, answer.header("planet-exporter-canary")), (200, Some(NONCE)));
    assert_eq!((answer.header("cache-control"), answer.body.as_slice()), (Some("no-store"), &b""[..]));
    let page = exporter.metrics();
    assert_eq!((events(&page, "canary"), events(&page, "refused")), (1.0, 0.0));
    assert_eq!(exporter.admin("/refused").text(), "", "none is kept");

    let others = [
        format!("{}&x=1", by_hand()),
        by_hand().to_uppercase(),
        format!("{}0", by_hand()),
        "planet_exporter_canary=<script>".to_owned(),
        "planet_exporter_canary=a%0d%0aset-cookie:%20b".to_owned(),
    ];
    for query in &others {
        let answer = exporter.send(query);
        assert_eq!((answer.status, answer.header("planet-exporter-canary")), (400, None), "{query}");
    }
    let page = exporter.metrics();
    assert_eq!((events(&page, "canary"), events(&page, "refused")), (1.0, others.len() as f64));
    let path = format!("{CALL_EVENT_PATH}?{}", by_hand());
    for (method, path, status) in [("POST", path.as_str(), 405), ("GET", &format!("/x?{}", by_hand()), 404)] {
        let answer = http::request(exporter.call_events, method, path, &[]);
        assert_eq!((answer.status, answer.header("planet-exporter-canary")), (status, None));
    }
}

#[test]
fn each_failure_has_its_reason_and_is_said_once_with_what_is_likely_to_help() {
    let service = Service::start();
    let address = service.address;
    let mut exporter = sending_elsewhere(&format!("{}/call_event?token=s3cret", service.url()));
    wait_for(&exporter, "no_echo", 2.0);
    let line = exporter.process.stderr.wait_for("canary does not come back");
    assert!(line.contains(&format!("http://{address}/call_event\"")) && !line.contains("s3cret"), "{line}");
    let verbose = exporter.admin("/readyz?verbose");
    assert!(verbose.text().contains("canary: not ready (does not count)\n"));
    assert_eq!(verbose.status, 200);

    service.answer(|_| Answer::status(404));
    wait_for(&exporter, "status", 1.0);
    service.answer(|_| Answer::Send(301, "location: https://other/call_event?token=s3cret\r\n", Vec::new()));
    wait_for(&exporter, "status", 2.0);
    service.answer(|_| Answer::HangUp);
    wait_for(&exporter, "unreachable", 1.0);
    drop(service);
    wait_for(&exporter, "unreachable", 3.0);
    // In its place an exporter that knows its own.
    let mut other = command();
    other.args(["--listen", &address.to_string(), "--admin-listen", "127.0.0.1:0"]);
    let other = Exporter::launch_as_it_is(other.args(["--call-event-path", "/call_event?token=s3cret"]));
    wait_for(&exporter, "success", 1.0);
    exporter.process.stderr.wait_for("canary comes back again");
    assert_eq!(events(&other.metrics(), "canary"), trips(&exporter.metrics(), "success"));
    drop(other);
    wait_for(&exporter, "unreachable", 1.0);

    let expected = [
        ("no_echo", "something else than an exporter"),
        ("status", "--call-event-path"),
        ("status", "301"),
        ("unreachable", "breaks connections off"),
        ("unreachable", "nobody listens"),
        // It has been back meanwhile.
        ("unreachable", "nobody listens"),
    ];
    let said = said(&exporter);
    assert_eq!(said.len(), expected.len(), "{said:#?}");
    for ((reason, error), (expected, part)) in said.iter().zip(expected) {
        assert!(reason == expected && error.contains(part), "{reason}, {error}: {part}");
    }
    assert!(exporter.process.stderr.all().iter().all(|line| !line.contains("s3cret")));
    exporter.process.signal("TERM");
    assert!(exporter.process.wait().success());
}

#[test]
fn a_name_without_an_address_is_named() {
    let exporter = sending_elsewhere("http://name.invalid/call_event");
    wait_for(&exporter, "unresolved", 1.0);
    exporter.process.stderr.wait_for("its name does not resolve");
}

#[test]
fn what_takes_the_connection_and_does_not_answer_is_given_up_after_10_seconds() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let exporter =
        sending_elsewhere(&format!("http://{}/call_event", silent.local_addr().expect("an address")));
    wait_for(&exporter, "timeout", 1.0);
    exporter.process.stderr.wait_for("no answer within 10s");
}

#[test]
fn a_certificate_that_becomes_wrong_is_noticed_at_the_next_round_trip() {
    let (authority, other) = (Authority::new("canary"), Authority::new("canary-other"));
    let trusted = authority.file("ca.pem", &authority.issuer.pem());
    let address = listen_address();
    let front = TlsFront::start(address, authority.issue("localhost"));
    let url = format!("https://localhost:{}/call_event", front.address.port());
    let exporter = Exporter::launch_as_it_is(sending(&url, address).env("SSL_CERT_FILE", trusted));
    wait_for(&exporter, "success", 2.0);
    assert_eq!(said(&exporter), []);
    for (identity, what) in [
        (other.issue("localhost"), "its certificate is not trusted"),
        (authority.issue("elsewhere"), "its certificate is for another name"),
    ] {
        front.show(identity);
        wait_for(&exporter, "tls", 2.0);
        exporter.process.stderr.wait_for(what);
    }
    front.show(authority.issue("localhost"));
    wait_for(&exporter, "success", 1.0);
}

/// Readiness is asked for by hand: a canary that fails makes nothing unready.
#[test]
fn while_nothing_can_be_stored_it_is_refused_as_a_call_would_be_and_with_a_service_behind_it_is_not() {
    let service = Service::start();
    for is_in_front in [false, true] {
        let (directory, address) = (Scratch::new("canary-disk"), listen_address());
        let state = directory.0.join("state");
        let mut command = sending(&format!("http://{address}{CALL_EVENT_PATH}"), address);
        command.arg("--state-dir").arg(&state);
        if is_in_front {
            command.args(["--forward-to", &service.url()]);
        }
        let exporter = Exporter::launch_as_it_is(&mut command);
        wait_for(&exporter, "success", 1.0);

        let aside = state.with_extension("aside");
        fs::rename(&state, &aside).expect("a directory that is moved away");
        let failing = || exporter.metrics().sum("planet_exporter_storage_failing");
        eventually("a disk that fails", || (failing() == 1.0).then_some(()));
        let before = exporter.metrics();
        let answer = exporter.send(&by_hand());
        assert_eq!(answer.header("planet-exporter-canary"), Some(NONCE));
        if is_in_front {
            assert_eq!(answer.status, 200);
            wait_for(&exporter, "success", 2.0);
            assert_eq!(trips(&exporter.metrics(), "refused"), 0.0);
            assert_eq!(service.requests(), []);
        } else {
            assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
            wait_for(&exporter, "refused", 2.0);
            let (reason, error) = said(&exporter).pop().expect("a line");
            assert!(reason == "refused" && error.contains("/readyz"), "{error}");
        }
        assert_eq!(of_calls(&exporter.metrics()), of_calls(&before), "no call was refused, held or counted");

        fs::rename(&aside, &state).expect("a directory that is back");
        eventually("a disk that works", || (failing() == 0.0).then_some(()));
        wait_for(&exporter, "success", 1.0);
        assert_eq!(exporter.metrics().sum("planet_calls_total"), 0.0);
    }
}

#[test]
fn while_it_drains_it_answers_canaries_and_sends_none() {
    let service = Service::start();
    let address = listen_address();
    let mut command = sending(&service.url(), address);
    let mut exporter =
        Exporter::launch_as_it_is(command.args(["--drain-time", "1h", "--shutdown-timeout", "1s"]));
    wait_for(&exporter, "no_echo", 1.0);
    exporter.process.signal("TERM");
    exporter.process.stderr.wait_for("draining");
    let answer: Response = exporter.send(&by_hand());
    assert_eq!((answer.status, answer.header("planet-exporter-canary")), (200, Some(NONCE)));
    assert_eq!(answer.header("connection"), Some("close"));
    // None is on its way any more, and none begins in the time in which another exporter sends three.
    let clock = sending_elsewhere(&Service::start().url());
    wait_for(&clock, "unreachable", 1.0);
    let sent = service.requests().len();
    wait_for(&clock, "unreachable", 3.0);
    assert_eq!((service.requests().len(), exporter.process.ended()), (sent, None));
}

#[test]
fn a_url_that_is_none_is_refused_and_an_interval_that_is_too_short() {
    for (arguments, expected) in [
        (["--canary-url", "calls.example.com"], "such as https://calls.example.com/call_event"),
        (["--canary-url", "https://user:s3cret@a/b"], "without user and fragment"),
        (["--canary-interval", "999ms"], "at least 1s"),
    ] {
        let output = command().args(arguments).output().expect("the exporter runs");
        let said = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(2));
        assert!(said.contains(expected) && !said.contains("s3cret"), "{said}");
    }
}

#[test]
#[ignore = "needs the proxies that tests/run --peers installs"]
fn behind_a_real_proxy_any_replica_may_take_it() {
    let (first, second) = (listen_address(), listen_address());
    let mut command = command();
    command.args(["--listen", &first.to_string(), "--admin-listen", &free_address().to_string()]);
    let one = Exporter::launch_as_it_is(&mut command);
    let proxy = NGINX.start([first, second]);
    let other = Exporter::launch_as_it_is(&mut sending(
        &format!("http://{}{CALL_EVENT_PATH}", proxy.address),
        second,
    ));
    wait_for(&other, "success", 3.0);
    let arrived = events(&one.metrics(), "canary") + events(&other.metrics(), "canary");
    assert!(arrived >= 3.0, "{arrived}");
    let page = other.metrics();
    assert_eq!(page.sum("planet_exporter_canary_round_trips_total"), trips(&page, "success"));
}

/// What `planet-call-exporter canary` says and whether it succeeds.
fn canary_command(arguments: &[&str]) -> (bool, String) {
    let output = command().arg("canary").args(arguments).output().expect("it runs");
    (output.status.success(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[test]
fn a_single_canary_tells_whether_call_events_get_to_an_exporter_from_here() {
    let exporter = Exporter::start();
    let url = format!("http://{}/call_event", exporter.call_events);
    let (has_succeeded, said) = canary_command(&[&url]);
    assert!(has_succeeded && said.contains("the canary came back") && said.contains(&url), "{said}");
    assert_eq!(exporter.metrics().value("planet_exporter_events_total", &[("result", "canary")]), 1.0);
    assert_eq!(exporter.accepted(), 0.0);
    // A path that is not the callback's, and nobody at all.
    let (has_succeeded, said) = canary_command(&[&url.replace("call_event", "calls")]);
    assert!(!has_succeeded && said.contains("404") && said.contains("--call-event-path"), "{said}");
    exporter.kill();
    let (has_succeeded, said) = canary_command(&[&url]);
    assert!(!has_succeeded && said.contains("does not come back from http://"), "{said}");
}

#[test]
fn a_single_canary_knows_the_secret_of_the_url() {
    let scratch = Scratch::new("canary-secret");
    std::fs::create_dir_all(&scratch.0).expect("a directory");
    let file = scratch.0.join("secret");
    std::fs::write(&file, "a-secret-of-this-test\n").expect("written");
    let file = file.to_str().expect("text");
    let exporter = Exporter::with(&["--call-event-secret-file", file]);
    let url = format!("http://{}/call_event", exporter.call_events);
    assert!(!canary_command(&[&url]).0);
    let (has_succeeded, said) = canary_command(&[&url, "--call-event-secret-file", file]);
    assert!(has_succeeded && !said.contains("a-secret-of"), "{said}");
}
