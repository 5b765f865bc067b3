//! The promise: from the calls themselves it is told what failing ones have in common, which they are, and what LINE
//! Planet's support needs to know, whatever died in between, with a damaged journal as well; and nobody is named.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use support::Scratch;
use support::call::{CallEventQuery, sid};
use support::exporter::{Exporter, command};
use support::http::{self, Connection, Response};

/// What the calls of these tests say of people.
const PERSONAL: [&str; 4] = ["caller7Qx", "callee7Qx", "203.0.113.77", "198.51.100.78"];

/// Calls of which 40 go to the service pay and fail, and the others end as they should.
const CALLS: usize = 200;
const FAILING: usize = 40;

fn call(number: usize) -> CallEventQuery {
    let [caller, callee, from, to] = PERSONAL;
    let call = CallEventQuery::new(number)
        .with("from_user_id", &format!("{caller}-{}", number % 37))
        .with("to_user_id", &format!("{callee}-{}", number % 31))
        .with("srcip", from)
        .with("dstip", to)
        .with("rc_idc", ["KR", "JP"][number % 2])
        .with("app_svr_data", &format!("{{\"sdk\":\"5.{}\"}}", number % 3));
    match number % (CALLS / FAILING) {
        0 => call
            .with("to_service_id", "pay")
            .with("disconnect_reason", "1305")
            .with("duration", "0")
            .with("start_time", "0")
            .with("billing_sec", "0")
            .with("terminate", "127")
            .with("releaser_type", "4")
            .with("rel_code", "5003")
            .with("rel_code_str", "DB"),
        _ => call.with("to_service_id", "food"),
    }
}

fn send(exporter: &Exporter, numbers: std::ops::Range<usize>) {
    let mut connection = Connection::open(exporter.call_events);
    for number in numbers {
        assert_eq!(connection.get(&format!("/call_event?{}", call(number).encode())).status, 200);
    }
}

fn start(state: &Path) -> Exporter {
    Exporter::launch(command().arg("--state-dir").arg(state))
}

/// A state directory with the calls, half of them from before it was killed, and the exporter on it.
fn killed_and_started(name: &str) -> (Scratch, PathBuf, Exporter) {
    let scratch = Scratch::new(name);
    let state = scratch.0.join("state");
    let exporter = start(&state);
    send(&exporter, 0..CALLS / 2);
    exporter.kill();
    let exporter = start(&state);
    send(&exporter, CALLS / 2..CALLS);
    (scratch, state, exporter)
}

fn names_nobody(text: &str) {
    PERSONAL.iter().for_each(|personal| assert!(!text.contains(personal), "{personal} in {text}"));
}

/// What the program says on standard output when it is run to its end, with success.
fn said(arguments: &[&str]) -> String {
    let output = command().args(arguments).output().expect("the exporter runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

const SUMMARY: &str = "100 % of 40 failing calls have to_service_id=pay, and 0 % of the 160 others";

/// That this is the answer, by what the calls are.
fn is_the_answer(why: &str) {
    names_nobody(why);
    let why: Value = serde_json::from_str(why).expect("JSON");
    assert_eq!(
        (&why["calls"], &why["failing"], &why["is_complete"]),
        (&200.into(), &40.into(), &true.into())
    );
    assert_eq!(why["summary"], SUMMARY);
    assert_eq!(why["findings"].as_array().map(Vec::len), Some(1), "{why}");
    let first = &why["findings"][0];
    assert_eq!((&first["parameter"], &first["value"]), (&"to_service_id".into(), &"pay".into()));
    assert_eq!((&first["failing"], &first["others"]), (&40.into(), &0.into()));
    let how = why["how_they_failed"].as_array().expect("how they failed");
    let reason = how.iter().find(|how| how["name"] == "disconnect_reason").expect("the reason");
    assert_eq!(reason["values"][0], serde_json::json!({ "value": "SERVER_INTERNAL_ERROR", "calls": 40 }));
}

#[test]
fn what_failing_calls_have_in_common_is_told_across_a_crash() {
    let (_scratch, state, exporter) = killed_and_started("why");
    is_the_answer(&exporter.admin("/why.json").text());
    let page = exporter.admin("/why?minutes=60").text();
    names_nobody(&page);
    assert!(page.contains(&format!("- {SUMMARY}")) && page.contains("rel_code_str: DB 100 %"), "{page}");
    let admin = exporter.admin.to_string();
    is_the_answer(&said(&["why", "--json", "--admin-listen", &admin]));
    assert!(said(&["why", "--admin-listen", &admin]).starts_with(&format!("The exporter on {admin}:\n\n20")));
    is_the_answer(&said(&["why", text(&state), "--json"]));
    assert!(said(&["why", text(&state), "--minutes", "60"]).contains(SUMMARY));
    exporter.kill();
    is_the_answer(&said(&["why", text(&state), "--json"]));
}

#[test]
fn without_a_state_directory_there_are_the_latest_calls() {
    let exporter = Exporter::start();
    assert_eq!(exporter.admin("/why.json").json()["summary"], "No calls.");
    assert_eq!(exporter.admin("/calls").text(), "");
    send(&exporter, 0..CALLS);
    is_the_answer(&exporter.admin("/why.json").text());
    assert_eq!(exporter.admin("/calls?limit=10000").text().lines().count(), CALLS);
    // More than memory is for: the latest stay, and it is said from when on.
    let long = "x".repeat(10_000);
    let mut connection = Connection::open(exporter.call_events);
    for number in CALLS..CALLS + 300 {
        let call = call(number).with("app_svr_data", &long).encode();
        assert_eq!(connection.get(&format!("/call_event?{call}")).status, 200);
    }
    let why = exporter.admin("/why.json").json();
    assert_eq!(why["is_complete"], false, "{why}");
    let kept = why["calls"].as_u64().expect("a number");
    assert!((150..250).contains(&kept), "{kept}");
    assert_eq!(exporter.admin("/calls?limit=10000").text().lines().count() as u64, kept);
}

/// The sids of the calls that are shown.
fn sids(answer: &Response) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("content-type"), Some("application/jsonl; charset=utf-8"));
    names_nobody(&answer.text());
    let sid = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("JSON");
        line["parameters"]["sid"].as_str().expect("a sid").to_owned()
    };
    answer.text().lines().map(sid).collect()
}

#[test]
fn calls_are_found_on_the_admin_port_and_by_the_command_alike() {
    let (_scratch, state, exporter) = killed_and_started("calls");
    let of = |numbers: &mut dyn Iterator<Item = usize>| numbers.map(sid).collect::<Vec<_>>();
    let latest = of(&mut (CALLS - 100..CALLS));
    assert_eq!(sids(&exporter.admin("/calls")), latest, "the latest hundred, as they came");
    let failing = of(&mut (0..CALLS).step_by(5));
    let dashless = sid(7).replace('-', "").to_uppercase();
    for (parameters, expected) in [
        (vec![("sid", sid(7))], vec![sid(7)]),
        (vec![("sid", dashless)], vec![sid(7)]),
        (vec![("sid", sid(CALLS + 1))], vec![]),
        (vec![("reason", "1305".to_owned())], failing.clone()),
        (
            vec![("reason", "SERVER_INTERNAL_ERROR".to_owned()), ("limit", "3".to_owned())],
            failing[37..].to_vec(),
        ),
        (vec![("idc", "JP".to_owned()), ("reason", "1305".to_owned())], of(&mut (5..CALLS).step_by(10))),
        (vec![("since", "2h".to_owned()), ("limit", "1000".to_owned())], of(&mut (0..CALLS))),
        (vec![("until", "2h".to_owned())], vec![]),
    ] {
        let query: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(sids(&exporter.admin(&format!("/calls?{}", query.join("&")))), expected, "{parameters:?}");
        let flags = parameters.iter().flat_map(|(name, value)| [format!("--{name}"), value.clone()]);
        let arguments: Vec<_> =
            ["state", text(&state), "--calls"].map(str::to_owned).into_iter().chain(flags).collect();
        let lines = said(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(lines.lines().count(), expected.len(), "{parameters:?}");
        assert!(
            lines.lines().zip(&expected).all(|(line, sid)| line.contains(sid)),
            "{parameters:?}: {lines}"
        );
    }
}

#[test]
fn what_cannot_be_asked_is_answered_400_with_what_is_expected() {
    let exporter = Exporter::start();
    for (path, parameter, expected) in [
        ("/why?minutes=0", "minutes", "from 1 to 1440"),
        ("/why.json?minutes=soon", "minutes", "from 1 to 1440"),
        ("/why?minute=5", "minute", "expected minutes"),
        ("/why?minutes=5&minutes=6", "minutes", "once"),
        ("/calls?limit=10001", "limit", "from 1 to 10000"),
        ("/calls?limit=-1", "limit", "from 1 to 10000"),
        ("/calls?reason=BUSSY", "reason", "such as SERVER_INTERNAL_ERROR"),
        ("/calls?idc=K%20R", "idc", "such as KR"),
        ("/calls?since=yesterday", "since", "such as 2h"),
        ("/calls?follow=yes", "follow", "expected 0 or 1"),
        ("/calls?from_user_id=9286", "from_user_id", "expected sid, reason, idc, failing, since"),
        ("/calls?%1b%5b31m=1", "\u{1b}[31m", "there is no parameter"),
        ("/report", "since", "such as 2h"),
        ("/report?since=2026-01-31", "since", "such as 2h"),
        ("/report?since=2h&limit=5", "limit", "expected since, until, reason and idc"),
    ] {
        let answer = exporter.admin(path);
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (400, Some("application/problem+json")),
            "{path}"
        );
        let problem = answer.json();
        assert_eq!(problem["parameter"], parameter, "{path}");
        assert!(
            problem["detail"].as_str().is_some_and(|detail| detail.contains(expected)),
            "{path}: {problem}"
        );
        assert!(!answer.text().contains('\u{1b}'), "{path}");
    }
    assert_eq!(http::request(exporter.admin, "POST", "/calls", &[]).status, 405);
    for arguments in [&["why", "--minutes", "0"][..], &["report"], &["report", "--since", "soon"]] {
        let output = command().args(arguments).output().expect("the exporter runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    let nobody = support::free_address().to_string();
    let output = command().args(["why", "--admin-listen", &nobody]).output().expect("the exporter runs");
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.code() == Some(1) && errors.contains("with the path of a state directory"),
        "{errors}"
    );
}

#[test]
fn only_this_host_or_whoever_has_credentials_looks_back() {
    let exporter = Exporter::start();
    let scratch = Scratch::new("look-back-access");
    let token = scratch.0.join("token");
    fs::write(&token, "4f1c9a0e5d7b4f1c9a0e5d7b\n").expect("written");
    let guarded = Exporter::with(&["--admin-bearer-token-file", text(&token)]);
    for path in ["/why", "/why.json", "/calls", "/report?since=2h"] {
        assert_eq!(exporter.admin(path).status, 200, "{path}");
        let forwarded = http::request(exporter.admin, "GET", path, &[("x-forwarded-for", "127.0.0.1")]);
        assert_eq!(forwarded.status, 403, "{path}");
        assert_eq!(guarded.admin(path).status, 401, "{path}");
        let authorization =
            [("authorization", "Bearer 4f1c9a0e5d7b4f1c9a0e5d7b"), ("x-forwarded-for", "192.0.2.1")];
        assert_eq!(http::request(guarded.admin, "GET", path, &authorization).status, 200, "{path}");
    }
}

#[test]
fn the_report_is_for_line_planets_support() {
    let (_scratch, state, exporter) = killed_and_started("report");
    let admin = exporter.admin.to_string();
    let of_port = exporter.admin("/report?since=1h");
    assert_eq!(of_port.header("content-type"), Some("text/plain; charset=utf-8"));
    let reports = [
        of_port.text(),
        said(&["report", "--since", "1h", "--admin-listen", &admin]),
        said(&["report", text(&state), "--since", "1h"]),
    ];
    for report in reports {
        names_nobody(&report);
        for expected in [
            "failed: 40 of 200 calls (20 %)",
            "  JP: 20 of 100 calls (20 %)\n  KR: 20 of 100 calls (20 %)\n",
            "  1305 SERVER_INTERNAL_ERROR: 40 (100 %)",
            "  terminate=127 rel_code=5003 rel_code_str=DB: 40 (100 %)",
            "Session IDs (20 of 40)",
            &sid(0),
            &sid(CALLS - 5),
        ] {
            assert!(report.contains(expected), "{expected} in\n{report}");
        }
    }
    let before = said(&["report", text(&state), "--since", "2h", "--until", "1h"]);
    assert!(before.contains("failed: 0 of 0 calls"), "{before}");
}

#[test]
fn a_torn_and_damaged_journal_tells_what_is_left() {
    let (_scratch, state, exporter) = killed_and_started("damaged");
    exporter.kill();
    let segments = || {
        let files = fs::read_dir(&state).expect("a directory").map(|entry| entry.expect("an entry").path());
        let mut segments: Vec<_> = files.filter(|file| text(file).ends_with(".segment")).collect();
        segments.sort();
        segments
    };
    let [.., damaged, last] = &segments()[..] else { panic!("two segments") };
    let mut bytes = fs::read(damaged).expect("a segment");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(damaged, bytes).expect("written");
    let mut bytes = fs::read(last).expect("a segment");
    bytes.truncate(bytes.len() - 10);
    fs::write(last, bytes).expect("written");

    let exporter = start(&state);
    // One was damaged, and one was torn.
    let left = CALLS - 2;
    assert_eq!(exporter.admin("/why.json").json()["calls"], left);
    let answer = exporter.admin("/calls?limit=1000");
    let shown = sids(&answer);
    assert_eq!((shown.len(), shown.first(), shown.last()), (left, Some(&sid(0)), Some(&sid(CALLS - 2))));
    assert!(exporter.admin("/report?since=1h").text().contains(" of 198 calls"));
    for sid in [sid(0), sid(CALLS - 2)] {
        assert_eq!(sids(&exporter.admin(&format!("/calls?sid={sid}"))), [sid]);
    }
    assert_eq!(said(&["state", text(&state), "--calls"]).lines().count(), left);
    let why: Value = serde_json::from_str(&said(&["why", text(&state), "--json"])).expect("JSON");
    assert_eq!(why["calls"], left);
}

#[test]
fn who_looks_back_holds_up_nobody_and_one_does_at_a_time() {
    let scratch = Scratch::new("crowd");
    let exporter = start(&scratch.0.join("state"));
    send(&exporter, 0..2_000);
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        let ask = || {
            let mut answered = 0;
            while !ends.load(Ordering::SeqCst) {
                let answer = http::get(exporter.admin, "/why.json?minutes=60");
                match answer.status {
                    200 => answered += 1,
                    status => assert_eq!((status, answer.header("retry-after")), (503, Some("2"))),
                }
            }
            answered
        };
        let askers: Vec<_> = (0..30).map(|_| scope.spawn(ask)).collect();
        for number in 2_000..2_050 {
            let begin = Instant::now();
            assert_eq!(exporter.send(&call(number).encode()).status, 200);
            for path in ["/livez", "/metrics"] {
                assert_eq!(exporter.admin(path).status, 200, "{path}");
            }
            assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
        }
        ends.store(true, Ordering::SeqCst);
        let answered: usize = askers.into_iter().map(|asker| asker.join().expect("an asker")).sum();
        assert!(answered > 0);
    });
    assert_eq!(exporter.admin("/why.json?minutes=60").json()["calls"], 2_050);
}
