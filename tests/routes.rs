//! The promise: a call event is taken however its URL was registered or is spelled; one that comes to a wrong place is kept,
//! said and counted; and whoever tests the URL or the port is answered 200.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use support::call::{CallEventQuery, DOCUMENTED_SAMPLE, sid};
use support::eventually;
use support::exporter::{Exporter, command};
use support::http::{self, Response};
use support::scrape::Page;
use support::service::{Answer, Service};

fn query(number: usize) -> String {
    CallEventQuery::new(number).encode()
}

fn events(page: &Page, result: &str) -> f64 {
    page.value("planet_exporter_events_total", &[("result", result)])
}

fn anomalies(page: &Page, kind: &str) -> f64 {
    page.value("planet_exporter_anomalies_total", &[("kind", kind)])
}

/// The refused requests that are kept: reason and query.
fn kept(exporter: &Exporter) -> Vec<(String, String)> {
    let lines = exporter.admin("/refused").text();
    let field = |line: &serde_json::Value, name: &str| line[name].as_str().expect("a text").to_owned();
    let lines = lines.lines().map(|line| serde_json::from_str(line).expect("a line of JSON"));
    lines.map(|line: serde_json::Value| (field(&line, "reason"), field(&line, "query"))).collect()
}

/// The lines of the log that have this text.
fn logged(exporter: &Exporter, text: &str) -> Vec<String> {
    exporter.process.stderr.all().into_iter().filter(|line| line.contains(text)).collect()
}

fn assert_no_store(answer: &Response) {
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")));
}

#[test]
fn a_url_that_was_registered_with_a_query_of_its_own_is_the_callback() {
    for (registered, separator) in
        [("/callback?action=call", "&"), ("/callback?action=x", "?"), ("/callback?action=call&", "")]
    {
        let service = Service::start();
        let exporter = Exporter::with(&["--call-event-path", registered, "--forward-to", &service.url()]);
        let target = format!("{registered}{separator}{}", query(1));
        assert_no_store(&exporter.get(&target));
        assert_no_store(&exporter.get(&target));
        let page = exporter.metrics();
        assert_eq!((events(&page, "accepted"), events(&page, "duplicate")), (1.0, 1.0), "{target}");
        assert_eq!(page.sum("planet_exporter_anomalies_total"), 0.0, "{target}");
        assert_eq!(page.sum("planet_calls_total"), 1.0, "{target}");
        eventually("the call event at the service", || (!service.requests().is_empty()).then_some(()));
        let arrived: Vec<_> = service.requests().into_iter().map(|request| request.target).collect();
        assert_eq!(arrived, [target], "byte for byte what came");
    }
}

#[test]
fn the_registered_path_without_its_query_is_another_path() {
    let exporter = Exporter::with(&["--call-event-path", "/callback?action=call"]);
    for (number, query) in ["", "action=calls&", "action=cal&", "x=1&action=call&"].into_iter().enumerate() {
        let target = format!("/callback?{query}{}", self::query(number));
        assert_eq!(exporter.get(&target).status, 404, "{target}");
    }
    let page = exporter.metrics();
    assert_eq!((events(&page, "accepted"), events(&page, "wrong_path")), (0.0, 4.0));
    let kept = kept(&exporter);
    assert!(kept.iter().all(|(reason, _)| reason.contains("/callback?action=call")), "{kept:?}");
}

#[test]
fn the_log_says_which_unknown_parameters_came() {
    let exporter = Exporter::start();
    let unknown = "new_one=secret&new%0Atwo=secret&";
    for number in 0..5 {
        assert_eq!(exporter.send(&format!("{unknown}{}", query(number))).status, 200);
    }
    assert_eq!(anomalies(&exporter.metrics(), "unknown_parameter"), 5.0);
    exporter.process.stderr.wait_for("new_one");
    let lines = logged(&exporter, "new_one");
    assert!(lines.len() <= 2, "at most one a minute: {lines:?}");
    // What does not look like a name may be a piece of a value.
    assert!(!lines[0].contains("two"), "{lines:?}");
    assert!(!lines[0].contains("secret") && !lines[0].contains("rc_idc"), "names only: {lines:?}");
}

#[test]
fn names_in_the_log_are_few_and_short() {
    let exporter = Exporter::start();
    let unknown: String = (0..100).map(|number| format!("n{number}{}=1&", "x".repeat(60))).collect();
    assert_eq!(exporter.send(&format!("{unknown}{}", query(1))).status, 200);
    let line = exporter.process.stderr.wait_for("n0xxx");
    assert!(line.len() < 1_000, "{line}");
}

#[test]
fn other_spellings_of_the_registered_path_are_the_registered_path() {
    let service = Service::start();
    let exporter =
        Exporter::with(&["--call-event-path", "/planet/call_event", "--forward-to", &service.url()]);
    let spellings = [
        "/planet/call_event/",
        "//planet/call_event",
        "/planet//call_event",
        "/./planet/./call_event",
        "/planet/call_event/.",
        "/planet/call%5Fevent",
        "/pl%61net/call%5fevent",
        "/planet/%2e/call_event//",
    ];
    for (number, path) in spellings.iter().enumerate() {
        assert_no_store(&exporter.get(&format!("{path}?{}", query(number))));
    }
    let others = [
        "/planet%2Fcall_event",
        "/planet/x/../call_event",
        "/planet/Call_event",
        "/planet/call_event;v=1",
        "/planet",
    ];
    for path in others {
        exporter.get(&format!("{path}?{}", query(99)));
    }
    let page = exporter.metrics();
    assert_eq!((events(&page, "accepted"), events(&page, "wrong_path")), (8.0, 5.0));
    eventually("all at the service", || (service.requests().len() == 13).then_some(()));
    let arrived: Vec<_> = service.requests().into_iter().map(|request| request.target).collect();
    for (number, path) in spellings.iter().enumerate() {
        let target = format!("{path}?{}", query(number));
        assert!(arrived.contains(&target), "{target} in {arrived:?}");
    }
}

#[test]
fn how_the_flag_is_spelled_does_not_matter_either() {
    let exporter = Exporter::with(&["--call-event-path", "//call%5Fevent/"]);
    assert_eq!(exporter.send(DOCUMENTED_SAMPLE).status, 200);
    assert_eq!(exporter.accepted(), 1.0);
}

#[test]
fn a_call_event_at_a_wrong_place_is_kept_said_counted_and_can_be_sent_again() {
    let scratch = support::Scratch::new("wrong-path");
    let state = scratch.0.join("state");
    let mut exporter = Exporter::launch(command().arg("--state-dir").arg(&state));
    assert_eq!(events(&exporter.metrics(), "wrong_path"), 0.0, "it stands at 0 from the start");
    assert!(
        exporter
            .metrics()
            .named("planet_exporter_events_total")
            .keys()
            .any(|labels| labels["result"] == "wrong_path")
    );

    let long = format!("/{}", "x".repeat(5_000));
    for (number, path) in ["/CALL_EVENT", "/callevent", &long].into_iter().enumerate() {
        assert_eq!(exporter.get(&format!("{path}?{}", query(number))).status, 404, "{path}");
    }
    for (number, method) in ["POST", "PUT", "DELETE", "OPTIONS", "HEAD", "PATCH"].into_iter().enumerate() {
        let target = format!("/call_event?{}", query(10 + number));
        let answer = http::request(exporter.call_events, method, &target, &[]);
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET")), "{method}");
    }
    let page = exporter.metrics();
    assert_eq!((events(&page, "wrong_path"), events(&page, "refused")), (9.0, 0.0));
    assert_eq!(page.sum("planet_calls_total"), 0.0);
    let kept = kept(&exporter);
    assert_eq!(kept.len(), 9);
    assert!(kept[0].0.contains("wrong_path") && kept[0].0.contains("/CALL_EVENT"), "{kept:?}");
    assert!(kept[0].0.contains("/call_event"), "{kept:?}");
    assert_eq!(kept[0].1, query(0));
    assert!(kept[2].0.len() < 1_000, "{kept:?}");
    assert!(kept[3].0.contains("wrong_method") && kept[3].0.contains("POST /call_event"), "{kept:?}");
    let line = exporter.process.stderr.wait_for("/CALL_EVENT");
    assert!(line.contains("/call_event"), "both paths: {line}");
    assert!(logged(&exporter, "wrong place").len() <= 2, "at most one a minute");

    exporter.process.signal("TERM");
    assert!(exporter.process.wait().success());
    let again = Exporter::launch(command().arg("--state-dir").arg(&state));
    let to = format!("http://{}/call_event", again.call_events);
    let output = command().arg("replay").arg(state.join("refused.jsonl")).args(["--to", &to]).output();
    assert!(output.expect("it runs").status.success());
    assert_eq!(again.accepted(), 9.0);
}

#[test]
fn the_beginning_is_kept_of_what_is_too_large_at_a_wrong_place() {
    let exporter = Exporter::start();
    let large = format!("{}&app_svr_data={}", query(7), "x".repeat(33_000));
    assert_eq!(exporter.get(&format!("/callevent?{large}")).status, 404);
    let post = http::request(exporter.call_events, "POST", &format!("/call_event?{large}"), &[]);
    assert_eq!(post.status, 405);
    let page = exporter.metrics();
    assert_eq!((events(&page, "wrong_path"), events(&page, "refused")), (2.0, 0.0));
    for (line, slip) in kept(&exporter).into_iter().zip(["wrong_path: ", "wrong_method: "]) {
        assert!(line.0.starts_with(slip) && large.starts_with(&line.1) && line.1.len() == 1024, "{line:?}");
    }
    assert_eq!(kept(&exporter).len(), 2);
    assert_eq!(exporter.admin("/refused").text().matches("\"replay\":false").count(), 2);
}

#[test]
fn what_is_kept_can_be_sent_to_a_url_with_a_query_of_its_own() {
    let scratch = support::Scratch::new("replay-to-a-query");
    let state = scratch.0.join("state");
    let registered = "/callback?action=call";
    let launch =
        || Exporter::launch(command().args(["--call-event-path", registered]).arg("--state-dir").arg(&state));
    let mut exporter = launch();
    assert_eq!(exporter.get(&format!("/Callback?action=call&{}", query(1))).status, 404);
    assert_eq!(exporter.get(&format!("/callback?{}", query(2))).status, 404);
    exporter.process.signal("TERM");
    assert!(exporter.process.wait().success());
    let again = launch();
    let to = format!("http://{}{registered}", again.call_events);
    let output = command().arg("replay").arg(state.join("refused.jsonl")).args(["--to", &to]).output();
    assert!(output.expect("it runs").status.success());
    assert_eq!(again.accepted(), 2.0);
    assert_eq!(again.metrics().sum("planet_exporter_anomalies_total"), 0.0);
}

#[test]
fn only_what_is_a_call_event_without_doubt_is_kept_from_another_place() {
    let service = Service::start();
    service.answer(|_| Answer::status(204));
    let exporter = Exporter::with(&["--forward-to", &service.url()]);
    let group_call = format!(
        "sid={}&svc_id=s&id=room&user_svc_id=s&user_id=u&host_svc_id=s&host_id=h&sc=E&setup_time=1582527400\
         &start_time=1582527404&end_time=1582527434&online=0&media_type=A&msc=D&rel_code=1&disconnect_reason=1001\
         &releaser_type=3",
        sid(1)
    );
    let others = [
        "/other?sid=1&duration=5".to_owned(),
        format!("/group?{group_call}"),
        "/other?sid=session&page=2".to_owned(),
        format!("/notify?sid={}&from_user_id=1&to_user_id=2&type=A&param=x", sid(2)),
        "/other".to_owned(),
    ];
    for target in others {
        assert_eq!(exporter.get(&target).status, 204, "{target}");
    }
    assert_eq!(events(&exporter.metrics(), "wrong_path"), 0.0);
    let target = format!("/other?{}", query(3));
    assert_eq!(exporter.get(&target).status, 204);
    let answer = http::request(exporter.call_events, "POST", &format!("/call_event?{}", query(4)), &[]);
    assert_eq!(answer.status, 204);
    assert_eq!(events(&exporter.metrics(), "wrong_path"), 2.0);
    assert_eq!(kept(&exporter).len(), 2);
    assert_eq!(service.requests().len(), 7, "all are passed on");
    assert_eq!(service.requests()[5].target, target);
}

#[test]
fn a_request_without_parameters_is_a_probe() {
    for path in ["/call_event", "/callback?action=call"] {
        let exporter = Exporter::with(&["--call-event-path", path]);
        assert_eq!(events(&exporter.metrics(), "probe"), 0.0);
        let separator = if path.contains('?') { "&" } else { "?" };
        assert_no_store(&exporter.get(path));
        assert_no_store(&exporter.get(&format!("{path}{separator}")));
        assert_no_store(&http::request(exporter.call_events, "HEAD", path, &[]));
        assert_eq!(http::request(exporter.call_events, "POST", path, &[]).status, 405);
        let page = exporter.metrics();
        assert_eq!((events(&page, "probe"), events(&page, "refused")), (3.0, 0.0), "{path}");
        assert_eq!((events(&page, "accepted"), events(&page, "wrong_path")), (0.0, 0.0));
        assert_eq!(kept(&exporter), []);
        assert!(logged(&exporter, "refused a call event").is_empty());
    }
}

#[test]
fn a_probe_can_be_refused_instead() {
    let exporter = Exporter::with(&["--probe-status", "400"]);
    assert_eq!(exporter.get("/call_event").status, 400);
    assert_eq!(exporter.send("").status, 400);
    assert_eq!(http::request(exporter.call_events, "HEAD", "/call_event", &[]).status, 405);
    let page = exporter.metrics();
    assert_eq!((events(&page, "probe"), events(&page, "refused")), (0.0, 2.0));
    assert_eq!(kept(&exporter).len(), 2);
}

#[test]
fn with_a_service_behind_a_probe_is_answered_like_a_call_event() {
    let service = Service::start();
    service.answer(|_| Answer::status(204));
    let url = service.url();
    let stored = Exporter::with(&["--forward-to", &url]);
    assert_no_store(&stored.get("/call_event"));
    assert_eq!(service.requests().len(), 0);
    assert_eq!(stored.get("/").status, 204, "the service's own");
    let inline = Exporter::with(&["--forward-to", &url, "--forward-mode", "inline"]);
    assert_eq!(inline.get("/call_event").status, 204);
    for exporter in [stored, inline] {
        assert_eq!(events(&exporter.metrics(), "probe"), 1.0);
    }
}

#[test]
fn a_load_balancer_that_checks_the_port_is_answered() {
    let exporter = Exporter::start();
    let answer = exporter.get("/");
    assert_no_store(&answer);
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert!(answer.text().contains("/call_event"), "{answer:?}");
    assert_no_store(&http::request(exporter.call_events, "HEAD", "/", &[]));
    for target in ["/", "*"] {
        let options = http::request(exporter.call_events, "OPTIONS", target, &[]);
        assert_no_store(&options);
        assert_eq!(options.header("allow"), Some("GET, HEAD, OPTIONS"), "{target}");
    }
    for path in ["/livez", "/readyz", "/readyz?verbose"] {
        let (here, admin) = (exporter.get(path), exporter.admin(path));
        assert_no_store(&here);
        assert_eq!((here.status, here.text()), (admin.status, admin.text()), "{path}");
    }
    assert_eq!(exporter.get("/?x=1").status, 404);
    assert_eq!(http::request(exporter.call_events, "POST", "/", &[]).status, 404);
    let page = exporter.metrics();
    for result in ["probe", "refused", "wrong_path"] {
        assert_eq!(events(&page, result), 0.0);
    }
    assert_eq!(page.value("planet_exporter_requests_total", &[("code", "404")]), 2.0);
    assert_eq!(kept(&exporter), []);
}

#[test]
fn readiness_on_the_port_of_call_events_is_that_of_the_admin_port() {
    let scratch = support::Scratch::new("readiness");
    let state = scratch.0.join("state");
    let exporter =
        Exporter::launch(command().args(["--readiness-path", "/ready"]).arg("--state-dir").arg(&state));
    assert_no_store(&exporter.get("/ready"));
    std::fs::remove_dir_all(&state).expect("a directory to remove");
    for path in ["/readyz", "/ready"] {
        let answer = eventually("no readiness", || {
            let answer = exporter.get(path);
            (answer.status == 503).then_some(answer)
        });
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.text(), exporter.admin("/readyz").text());
        assert_eq!(exporter.get(&format!("{path}?exclude=storage")).status, 200);
    }
    assert_eq!(exporter.get("/livez").status, 200);
}

#[test]
fn a_balancer_sees_on_the_port_of_call_events_that_the_exporter_is_about_to_stop() {
    let service = Service::start();
    for arguments in [&["--drain-time", "30s"][..], &["--drain-time", "30s", "--forward-to", &service.url()]]
    {
        let exporter = Exporter::with(&[arguments, &["--readiness-path", "/ready"]].concat());
        assert_no_store(&exporter.get("/ready"));
        exporter.process.signal("TERM");
        let answer = eventually("no readiness", || {
            let answer = exporter.get("/ready");
            (answer.status == 503).then_some(answer)
        });
        assert_eq!(answer.text(), "not ready: stopping\n");
        assert_eq!(exporter.send(DOCUMENTED_SAMPLE).status, 200, "calls are taken meanwhile");
    }
}

#[test]
fn with_a_service_behind_checks_are_its_own_but_for_the_path_of_readiness() {
    let service = Service::start();
    service.answer(|_| Answer::status(204));
    let exporter = Exporter::with(&["--forward-to", &service.url(), "--readiness-path", "/-/ready"]);
    let passed_on = ["/", "/livez", "/readyz"];
    for path in passed_on {
        assert_eq!(exporter.get(path).status, 204, "{path}");
    }
    assert_eq!(http::request(exporter.call_events, "OPTIONS", "/", &[]).status, 204);
    assert_no_store(&exporter.get("/-/ready"));
    assert_no_store(&exporter.get("//-/ready?verbose"));
    assert_eq!(http::request(exporter.call_events, "POST", "/-/ready", &[]).status, 405);
    assert_eq!(service.requests().len(), 4);
}

#[test]
fn the_path_of_readiness_is_not_that_of_the_callback() {
    let output = command().args(["--readiness-path", "//call_event"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("--readiness-path //call_event"), "{error}");
}
