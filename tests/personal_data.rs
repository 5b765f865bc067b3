//! The promise: what names people leaves the state directory by itself, at a quiet exporter as well, and totals stay right.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use support::call::{CallEventQuery, sid};
use support::exporter::{Exporter, command};
use support::service::{Answer, Service};
use support::{Scratch, eventually, free_address};

/// What the calls of these tests say of people.
const PERSONAL: [&str; 5] = ["caller7Qx", "callee7Qx", "203.0.113.77", "203.0.113.78", "appData7Qx"];

fn query(number: usize) -> String {
    let [from, to, source, destination, data] = PERSONAL;
    let query = CallEventQuery::new(number).with("from_user_id", from).with("to_user_id", to);
    let query = query.with("srcip", source).with("dstip", destination).with("app_svr_data", data);
    // As LINE Planet sends it: dots are not encoded.
    query.encode().replace("%2E", ".")
}

/// The files in a directory that name people.
fn naming_people(state: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(state).expect("a directory").map(|entry| entry.expect("an entry").path());
    let names = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    let is_naming = |file: &PathBuf| {
        // It may go meanwhile.
        let bytes = fs::read(file).unwrap_or_default();
        PERSONAL.iter().any(|text| names(&bytes, text))
    };
    files.filter(is_naming).collect()
}

/// An exporter with small ages.
fn start(state: &Path, arguments: &[&str]) -> Exporter {
    let ages = ["--identity", "drop", "--seen-age", "2s", "--segment-age", "1s", "--refused-age", "3s"];
    Exporter::launch(command().args(ages).args(arguments).arg("--state-dir").arg(state))
}

fn until_nobody_is_named(state: &Path) {
    let mut naming = naming_people(state);
    eventually(&format!("nobody is named in {naming:?}"), || {
        naming = naming_people(state);
        naming.is_empty().then_some(())
    });
}

#[test]
fn five_calls_and_a_refused_one_leave_a_quiet_exporter() {
    let scratch = Scratch::new("quiet");
    let state = scratch.0.join("state");
    let exporter = start(&state, &["--call-log", "stdout"]);
    for number in [0, 1, 2, 3, 4, 0, 1] {
        assert_eq!(exporter.send(&query(number)).status, 200);
    }
    // It names the same people, and no call.
    assert_eq!(exporter.send(&query(5).replace("sid=", "id=")).status, 400);
    assert!(exporter.admin("/refused").text().contains(PERSONAL[0]));
    eventually("the refused request in its file", || state.join("refused.jsonl").exists().then_some(()));
    assert!(naming_people(&state).len() >= 2);

    until_nobody_is_named(&state);
    assert!(!exporter.admin("/refused").text().contains(PERSONAL[0]));
    let page = exporter.metrics();
    assert_eq!(page.sum("planet_calls_total"), 5.0);
    let events = |result| page.value("planet_exporter_events_total", &[("result", result)]);
    assert_eq!((events("accepted"), events("duplicate"), events("refused")), (5.0, 2.0, 1.0));
    assert_eq!(exporter.process.stdout.all().len(), 5);
    exporter.kill();
    let exporter = start(&state, &["--call-log", "stdout"]);
    assert_eq!(exporter.send(&query(6)).status, 200);
    assert_eq!(exporter.metrics().sum("planet_calls_total"), 6.0);
    until_nobody_is_named(&state);
}

#[test]
fn what_waited_for_the_service_leaves_when_it_has_it() {
    let scratch = Scratch::new("waited");
    let state = scratch.0.join("state");
    let service = Service::start();
    let failing = sid(3).replace('-', "%2D");
    service.answer(move |request| Answer::status(if request.target.contains(&failing) { 500 } else { 200 }));
    let exporter = start(&state, &["--forward-to", &service.url()]);
    for number in 0..5 {
        assert_eq!(exporter.send(&query(number)).status, 200);
    }
    eventually("a waiting journal", || {
        naming_people(&state).iter().any(|file| file.to_string_lossy().contains(".waiting.")).then_some(())
    });
    service.answer(|_| Answer::status(200));
    until_nobody_is_named(&state);
    let mut sids: Vec<_> = service.requests().iter().map(|request| request.sid()).collect();
    sids.sort_unstable();
    sids.dedup();
    assert_eq!(sids, (0..5).map(sid).collect::<Vec<_>>());
    assert_eq!(exporter.metrics().sum("planet_calls_total"), 5.0);
}

#[test]
fn what_nobody_takes_is_given_up_when_it_is_old() {
    let scratch = Scratch::new("given-up");
    let state = scratch.0.join("state");
    let nobody = format!("http://{}", free_address());
    let arguments = ["--forward-to", &nobody, "--call-log", "stdout", "--state-max-age", "4s"];
    let exporter = start(&state, &arguments);
    for number in 0..5 {
        assert_eq!(exporter.send(&query(number)).status, 200);
    }
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(exporter.metrics().value("planet_exporter_backlog", &[("sink", "service")]), 5.0);
    until_nobody_is_named(&state);
    let page = exporter.metrics();
    let dropped =
        |sink, cause| page.value("planet_exporter_dropped_events_total", &[("sink", sink), ("cause", cause)]);
    assert_eq!((dropped("service", "age"), dropped("service", "backlog")), (5.0, 0.0));
    assert_eq!(dropped("call_log", "age"), 0.0);
    assert_eq!(page.value("planet_exporter_backlog", &[("sink", "service")]), 0.0);
    assert_eq!((page.sum("planet_calls_total"), exporter.process.stdout.all().len()), (5.0, 5));
}
