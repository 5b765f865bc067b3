//! The promise: `state` and `replay` tell people how it is now, what is wrong and what to do, show no call's parameters where
//! something is wrong, and end quietly where nobody reads on.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::Value;
use support::call::{CallEventQuery, sid};
use support::exporter::{Exporter, command};
use support::service::{Answer, Service};
use support::{Scratch, free_address};

fn start(state: &Path, more: &[&str]) -> Exporter {
    Exporter::launch(command().arg("--state-dir").arg(state).args(more))
}

/// Runs the program to its end: its exit code, its output and its errors.
fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command().args(arguments).output().expect("the exporter runs");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (status.code(), text(stdout), text(stderr))
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

fn send(exporter: &Exporter, numbers: std::ops::Range<usize>) {
    for number in numbers {
        assert_eq!(exporter.send(&CallEventQuery::new(number).encode()).status, 200);
    }
}

/// A file of requests like those that are refused.
fn requests(scratch: &Scratch, queries: &[String]) -> PathBuf {
    let file = scratch.0.join("requests.jsonl");
    let line = |query: &String| format!("{}\n", serde_json::json!({ "query": query }));
    fs::write(&file, queries.iter().map(line).collect::<String>()).expect("written");
    file
}

/// What marks the answer to a repeat.
const MARK: &str = "planet-exporter-result";

#[test]
fn the_answer_to_a_repeat_says_that_it_is_one() {
    let service = Service::start();
    let scratch = Scratch::new("repeats");
    let url = service.url();
    for (directory, arguments) in [
        (None, vec![]),
        (Some("alone"), vec![]),
        (Some("stored"), vec!["--forward-to", &url]),
        (Some("inline"), vec!["--forward-to", &url, "--forward-mode", "inline"]),
    ] {
        let exporter = match directory {
            Some(name) => start(&scratch.0.join(name), &arguments),
            None => Exporter::start(),
        };
        let query = CallEventQuery::new(1).encode();
        let (first, repeat) = (exporter.send(&query), exporter.send(&query));
        assert_eq!((first.status, first.header(MARK)), (200, None), "{directory:?}");
        assert_eq!((repeat.status, repeat.header(MARK)), (200, Some("duplicate")), "{directory:?}");
        if directory != Some("inline") {
            assert_eq!(repeat.header("cache-control"), Some("no-store"), "{directory:?}");
        }
        assert_eq!(exporter.send("sid=&duration=1").header(MARK), None);
    }
}

#[test]
fn what_a_service_says_of_repeats_is_not_taken_for_the_exporters_own() {
    let service = Service::start();
    let behind = Exporter::start();
    send(&behind, 1..2);
    let inline = |url: &str| Exporter::with(&["--forward-to", url, "--forward-mode", "inline"]);
    let exporter = inline(&format!("http://{}", behind.call_events));
    let query = CallEventQuery::new(1).encode();
    assert_eq!(exporter.send(&query).header(MARK), None, "it is the first of this exporter's");
    assert_eq!(exporter.send(&query).header(MARK), Some("duplicate"));
    // Whatever the service answers, and as it does.
    service.answer(|_| Answer::status(418));
    let exporter = inline(&service.url());
    assert_eq!(exporter.send(&query).header(MARK), None);
    let repeat = exporter.send(&query);
    assert_eq!((repeat.status, repeat.header(MARK)), (418, Some("duplicate")));
}

#[test]
fn replay_tells_what_is_new_from_what_was_known() {
    let scratch = Scratch::new("replay-known");
    let exporter = Exporter::start();
    send(&exporter, 0..3);
    let mut queries: Vec<String> = (0..5).map(|number| CallEventQuery::new(number).encode()).collect();
    queries.push("sid=&duration=1".to_owned());
    let file = requests(&scratch, &queries);
    let to = format!("http://{}/call_event", exporter.call_events);
    let (code, said, errors) = run(&["replay", text(&file), "--to", &to]);
    assert_eq!((code, said.trim()), (Some(1), "2 taken, 3 known already, 1 refused"), "{errors}");
    let (code, said, _) = run(&["replay", text(&requests(&scratch, &queries[..5])), "--to", &to]);
    assert_eq!((code, said.trim()), (Some(0), "0 taken, 5 known already, 0 refused"));
    assert_eq!(exporter.accepted(), 5.0);
}

#[test]
fn replay_says_what_is_wrong_and_never_what_is_in_a_call() {
    let scratch = Scratch::new("replay-wrong");
    let secret = CallEventQuery::new(0).with("from_user_id", "secret").encode();
    let file = requests(&scratch, &[secret.clone(), secret.clone()]);
    let exporter = Exporter::start();
    let right = format!("http://{}/call_event", exporter.call_events);
    let wrong_path = format!("http://{}/calls", exporter.call_events);
    let away = format!("http://{}/call_event?{secret}", free_address());
    let missing = scratch.0.join("no such file");
    let write = |name: &str, contents: &str| {
        let file = scratch.0.join(name);
        fs::write(&file, contents).expect("written");
        file
    };
    let plain = write("plain", &format!("{secret}\n"));
    let quoted = write("quoted", &format!("\"{secret}\"\n"));
    let wrong_field = write("wrong field", &format!("{{\"query\":\"a\",\"replay\":\"{secret}\"}}\n"));
    let too_long = requests_too_long(&scratch, &secret);
    let cases: [(&Path, &str, i32, &[&str]); 10] = [
        (&file, "127.0.0.1:20200/call_event", 2, &["--to", "such as http://127.0.0.1:20200/call_event"]),
        (&file, "https://127.0.0.1/call_event", 2, &["--to", "such as http://127.0.0.1:20200/call_event"]),
        (&file, "not a URL", 2, &["--to", "such as http://127.0.0.1:20200/call_event"]),
        (&file, &away, 1, &["cannot connect to http://127.0.0.1:", "refused", "0 taken"]),
        (&file, &wrong_path, 1, &[&wrong_path, "404", "--call-event-path"]),
        (&missing, &right, 1, &["no such file"]),
        (&plain, &right, 1, &["line 1 of", "expected JSON with a query"]),
        (&quoted, &right, 1, &["line 1 of", "expected JSON with a query"]),
        (&wrong_field, &right, 1, &["line 1 of", "expected JSON with a query"]),
        (&too_long, &right, 1, &["request 1 of", "65534"]),
    ];
    for (file, to, code, expected) in cases {
        let (ended, _, errors) = run(&["replay", text(file), "--to", to]);
        assert_eq!(ended, Some(code), "{}: {errors}", file.display());
        for said in expected {
            assert!(errors.contains(said), "{said}: {errors}");
        }
        assert!(!errors.contains("secret") && !errors.contains(&sid(0)), "{errors}");
    }
    // The first answer tells that the path is wrong, and no more calls are sent there.
    assert_eq!(exporter.admin("/refused").text().lines().count(), 1);
}

fn requests_too_long(scratch: &Scratch, query: &str) -> PathBuf {
    let file = scratch.0.join("too long");
    let query = format!("{query}&app_svr_data={}", "x".repeat(70_000));
    fs::write(&file, format!("{}\n", serde_json::json!({ "query": query }))).expect("written");
    file
}

#[test]
fn one_call_that_a_service_does_not_know_is_no_wrong_path() {
    let service = Service::start();
    service.answer(|request| Answer::status(if request.sid() == sid(1) { 404 } else { 204 }));
    let scratch = Scratch::new("replay-to-a-service");
    let queries: Vec<String> = (0..3).map(|number| CallEventQuery::new(number).encode()).collect();
    let file = requests(&scratch, &queries);
    let (code, said, _) = run(&["replay", text(&file), "--to", &format!("{}/call_event", service.url())]);
    assert_eq!((code, said.trim()), (Some(1), "2 taken, 0 known already, 1 refused"));
}

/// The calls in the line of the totals.
fn calls_now(shown: &str) -> Option<u64> {
    shown.lines().find_map(|line| line.strip_prefix("totals now: ")?.split(' ').next()?.parse().ok())
}

#[test]
fn state_shows_the_totals_as_of_now_and_how_old_the_checkpoint_is() {
    let scratch = Scratch::new("state-now");
    let state = scratch.0.join("state");
    let exporter = start(&state, &[]);
    send(&exporter, 0..7);
    let abnormal = CallEventQuery::new(7).with("disconnect_reason", "1305").with("releaser_type", "4");
    assert_eq!(exporter.send(&abnormal.encode()).status, 200);
    let (code, shown, errors) = run(&["state", text(&state), "--verify"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(
        shown.contains("totals now: 8 calls, 8 answered, 1 released abnormally"),
        "no checkpoint is written within seconds of the first:\n{shown}"
    );
    let checkpoint =
        shown.lines().find(|line| line.starts_with("ledger.checkpoint: ")).expect("a checkpoint");
    assert!(checkpoint.contains("written") && checkpoint.contains(" ago"), "{shown}");

    let checkpoint = state.join("ledger.checkpoint");
    exporter.kill();
    let hours_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(2 * 3_600 + 5 * 60);
    fs::File::options()
        .append(true)
        .open(checkpoint)
        .and_then(|file| file.set_modified(hours_ago))
        .expect("set");
    let (_, shown, _) = run(&["state", text(&state)]);
    assert!(shown.contains("written 2h 5m") && shown.contains("totals now: 8 calls"), "{shown}");
    let page = start(&state, &[]).metrics();
    assert_eq!(page.sum("planet_calls_total"), 8.0, "the next start has what was shown");
}

#[test]
fn state_is_right_and_sound_while_an_exporter_writes_and_drops() {
    let scratch = Scratch::new("state-meanwhile");
    let state = scratch.0.join("state");
    // Segments are dropped again and again, each with a checkpoint before it.
    let exporter = start(&state, &["--state-max-bytes", "1MiB", "--seen-age", "1ms", "--segment-age", "1ms"]);
    let (sent, acknowledged, is_over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let long = "x".repeat(8_000);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut connection = support::http::Connection::open(exporter.call_events);
            for number in 0.. {
                if is_over.load(Ordering::SeqCst) {
                    break;
                }
                let query = CallEventQuery::new(number).with("app_svr_data", &long).encode();
                sent.fetch_add(1, Ordering::SeqCst);
                assert_eq!(connection.get(&format!("/call_event?{query}")).status, 200);
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
        });
        // Ends the thread whatever becomes of the assertions.
        let _end = End(&is_over);
        while acknowledged.load(Ordering::SeqCst) < 1_000 {
            let least = acknowledged.load(Ordering::SeqCst);
            let (code, shown, errors) = run(&["state", text(&state), "--verify"]);
            let most = sent.load(Ordering::SeqCst);
            assert_eq!(code, Some(0), "{errors}{shown}");
            let calls = calls_now(&shown).unwrap_or_else(|| panic!("no totals in {shown}"));
            assert!((least..=most).contains(&calls), "{least} {calls} {most}\n{shown}");
            let (code, _, errors) = run(&["state", text(&state), "--calls"]);
            assert_eq!((code, errors.as_str()), (Some(0), ""));
        }
    });
    let first = fs::read_dir(&state)
        .expect("a directory")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let first = first.filter(|name| name.ends_with(".segment")).min().expect("a segment");
    assert_ne!(first, format!("{:020}.segment", 0), "segments were dropped meanwhile");
}

struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// A directory with three calls: KR and normal; JP with a server's error; one with an odd sid and an unknown reason.
fn three_calls(name: &str) -> (Scratch, PathBuf) {
    let scratch = Scratch::new(name);
    let state = scratch.0.join("state");
    let exporter = start(&state, &[]);
    let calls = [
        CallEventQuery::new(0),
        CallEventQuery::new(1).with("rc_idc", "JP").with("disconnect_reason", "1305"),
        CallEventQuery::new(2).with("sid", "An odd one").with("rc_idc", "").with("disconnect_reason", "1999"),
    ];
    for call in calls {
        assert_eq!(exporter.send(&call.encode()).status, 200);
    }
    exporter.kill();
    (scratch, state)
}

#[test]
fn calls_are_found_by_sid_reason_idc_and_time() {
    let (_scratch, state) = three_calls("filters");
    let shown = |arguments: &[&str]| {
        let (code, shown, errors) = run(&[&["state", text(&state), "--calls"], arguments].concat());
        assert_eq!(code, Some(0), "{arguments:?}: {errors}");
        let line = |line: &str| serde_json::from_str::<Value>(line).expect("JSON");
        let sids =
            shown.lines().map(|shown| line(shown)["parameters"]["sid"].as_str().expect("a sid").to_owned());
        sids.collect::<Vec<_>>()
    };
    let odd = "An odd one".to_owned();
    let all = vec![sid(0), sid(1), odd.clone()];
    let without_dashes = sid(1).replace('-', "").to_uppercase();
    for (arguments, expected) in [
        (&[][..], all.clone()),
        (&["--sid", &sid(1)], vec![sid(1)]),
        (&["--sid", &without_dashes], vec![sid(1)]),
        (&["--sid", "An odd one"], vec![odd.clone()]),
        (&["--sid", &sid(9)], vec![]),
        (&["--reason", "SERVER_INTERNAL_ERROR"], vec![sid(1)]),
        (&["--reason", "1305"], vec![sid(1)]),
        (&["--reason", "1999"], vec![odd.clone()]),
        (&["--idc", "KR"], vec![sid(0)]),
        (&["--idc", "other"], vec![odd.clone()]),
        (&["--idc", "JP", "--reason", "NORMAL"], vec![]),
        (&["--since", "2h"], all.clone()),
        (&["--since", "2000-01-01T00:00:00Z", "--idc", "JP"], vec![sid(1)]),
        (&["--since", "2999-01-01T00:00:00+09:00"], vec![]),
    ] {
        assert_eq!(shown(arguments), expected, "{arguments:?}");
    }
    let times = run(&["state", text(&state), "--calls"]).1;
    let last: Value = serde_json::from_str(times.lines().last().expect("a line")).expect("JSON");
    assert_eq!(
        shown(&["--since", last["time"].as_str().expect("a time")]).last(),
        Some(&odd),
        "from that time on"
    );
}

#[test]
fn a_filter_that_cannot_be_is_refused_with_what_is_expected() {
    let (_scratch, state) = three_calls("wrong-filters");
    for (arguments, expected) in [
        (&["--sid", "1"][..], "--calls"),
        (&["--reason", "NORMAL"], "--calls"),
        (&["--idc", "KR"], "--calls"),
        (&["--since", "2h"], "--calls"),
        (&["--verify", "--since", "2h"], "--verify"),
        (&["--verify", "--calls"], "--verify"),
        (&["--calls", "--reason", "SERVER_INTERNAL_EROR"], "such as SERVER_INTERNAL_ERROR"),
        (&["--calls", "--idc", "K R"], "such as KR"),
        (&["--calls", "--since", "yesterday"], "such as 2h or 2026-01-31T09:00:00Z"),
        (&["--calls", "--since", "2026-01-31"], "such as 2h or 2026-01-31T09:00:00Z"),
    ] {
        let (code, shown, errors) = run(&[&["state", text(&state)], arguments].concat());
        assert_eq!((code, shown.as_str()), (Some(2), ""), "{arguments:?}: {errors}");
        assert!(errors.contains(expected), "{arguments:?}: {errors}");
    }
}

#[test]
fn whoever_reads_no_further_is_no_failure() {
    let (scratch, state) = three_calls("closed");
    let exporter = Exporter::start();
    let to = format!("http://{}/call_event", exporter.call_events);
    let file = requests(&scratch, &[CallEventQuery::new(1).encode()]);
    let refused = requests_refused(&scratch);
    let damaged = scratch.0.join("damaged");
    fs::create_dir(&damaged).expect("made");
    for entry in fs::read_dir(&state).expect("a directory").map(|entry| entry.expect("an entry")) {
        fs::copy(entry.path(), damaged.join(entry.file_name())).expect("copied");
    }
    let segment = damaged.join(format!("{:020}.segment", 0));
    let mut bytes = fs::read(&segment).expect("a segment");
    bytes[300] ^= 1;
    fs::write(&segment, bytes).expect("written");
    for (arguments, code, said) in [
        (&["state", text(&state)][..], 0, ""),
        (&["state", text(&state), "--verify"], 0, ""),
        (&["state", text(&damaged), "--verify"], 1, "damaged"),
        (&["state", text(&state), "--calls"], 0, ""),
        (&["check", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"], 0, ""),
        (&["check", "--listen", "127.0.0.1:0", "--admin-listen", "192.0.2.1:0"], 1, ""),
        (&["replay", text(&file), "--to", &to], 0, ""),
        (&["replay", text(&refused), "--to", &to], 1, "not every request was taken"),
        (&["--help"], 0, ""),
        (&["state", "--help"], 0, ""),
        (&["--version"], 0, ""),
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = command().args(arguments).stdout(writer).output().expect("the exporter runs");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {errors}");
        assert!(errors.is_empty() == said.is_empty() && errors.contains(said), "{arguments:?}: {errors}");
    }
    // Any other failure is one.
    for arguments in [&["state", text(&state)][..], &["state", text(&state), "--calls"], &["check"]] {
        let full = fs::File::options().write(true).open("/dev/full").expect("a full device");
        let output = command().args(arguments).stdout(full).output().expect("the exporter runs");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {errors}");
        assert!(errors.contains("cannot write"), "{errors}");
    }
}

fn requests_refused(scratch: &Scratch) -> PathBuf {
    let file = scratch.0.join("refused");
    fs::write(&file, "{\"query\":\"sid=&duration=1\"}\n").expect("written");
    file
}
