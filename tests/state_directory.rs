//! The promise: with a state directory, totals, session IDs and positions survive crashes, restarts and what happens to
//! files; and a directory that cannot be used is refused with a message that helps.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Output;

use support::call::CallEventQuery;
use support::exporter::{Exporter, command};
use support::scrape::Page;
use support::service::{Answer, Service};
use support::{Scratch, eventually, free_address};

fn start(state: &Path) -> Exporter {
    Exporter::with(&["--state-dir", state.to_str().expect("a path in UTF-8")])
}

/// Sends calls with these numbers, each acknowledged.
fn send(exporter: &Exporter, numbers: std::ops::Range<usize>) {
    for number in numbers {
        assert_eq!(exporter.send(&CallEventQuery::new(number).encode()).status, 200);
    }
}

fn end(mut exporter: Exporter) {
    exporter.process.signal("TERM");
    assert!(exporter.process.wait().success());
}

/// What the exporter says when it cannot start.
fn refusal(state: &Path) -> String {
    let Output { status, stderr, .. } = command()
        .args([
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--log-format",
            "json",
            "--state-dir",
        ])
        .arg(state)
        .output()
        .expect("the exporter runs");
    let said = String::from_utf8_lossy(&stderr).into_owned();
    assert_eq!(status.code(), Some(1), "{said}");
    said
}

fn calls(page: &Page) -> f64 {
    page.sum("planet_calls_total")
}

/// The files in a directory whose names end so, in order.
fn files(state: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(state).expect("a directory").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<_> = entries.filter(|path| path.to_string_lossy().ends_with(ending)).collect();
    files.sort();
    files
}

/// The time from which on the totals count, as the checkpoint has it.
fn started_at(state: &Path) -> serde_json::Value {
    let checkpoint = fs::read_to_string(state.join("ledger.checkpoint")).expect("a checkpoint");
    let json = checkpoint.split_once('\n').expect("two lines").1;
    serde_json::from_str::<serde_json::Value>(json).expect("JSON")["ledger"]["started_at"].clone()
}

#[test]
fn totals_and_session_ids_survive_kills_and_restarts() {
    let scratch = Scratch::new("survive");
    let state = scratch.0.join("state");
    let exporter = start(&state);
    let since = started_at(&state);
    send(&exporter, 0..20);
    let before = exporter.metrics().beginning_with("planet_call");
    exporter.kill();

    let exporter = start(&state);
    assert_eq!(exporter.metrics().beginning_with("planet_call"), before);
    send(&exporter, 10..30);
    let page = exporter.metrics();
    assert_eq!(calls(&page), 30.0);
    assert_eq!(page.value("planet_exporter_events_total", &[("result", "duplicate")]), 10.0);
    end(exporter);

    let exporter = start(&state);
    send(&exporter, 0..30);
    let page = exporter.metrics();
    assert_eq!(calls(&page), 30.0);
    assert_eq!(page.value("planet_exporter_events_total", &[("result", "duplicate")]), 30.0);
    assert_eq!(started_at(&state), since);
    for file in files(&state, "") {
        let mode = fs::metadata(&file).expect("a file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
}

#[test]
fn a_second_process_is_told_who_holds_the_directory() {
    let scratch = Scratch::new("held");
    let state = scratch.0.join("state");
    let exporter = start(&state);
    let said = refusal(&state);
    let holder = fs::read_to_string(state.join("planet-call-exporter.lock")).expect("the holder");
    assert!(holder.starts_with("process "), "{holder}");
    assert!(said.contains("is held by") && said.contains(holder.trim()), "{said}");
    // The first one goes on.
    send(&exporter, 0..1);
}

#[test]
fn a_directory_that_cannot_be_used_is_refused_with_the_reason() {
    let scratch = Scratch::new("unusable");
    let file = scratch.0.join("file");
    fs::write(&file, "").expect("a file");
    assert!(refusal(&file).contains("cannot use the state directory"));
    assert!(refusal(Path::new("/proc/state")).contains("cannot use the state directory /proc/state"));
    let said = refusal(&scratch.0);
    assert!(
        said.contains("holds other files, such as file") && said.contains("expected an empty directory"),
        "{said}"
    );
}

#[test]
fn a_torn_end_is_cut_and_costs_nothing_that_was_acknowledged() {
    let scratch = Scratch::new("torn");
    let state = scratch.0.join("state");
    let exporter = start(&state);
    send(&exporter, 0..10);
    exporter.kill();
    let segment = files(&state, ".segment").pop().expect("a segment");
    let mut bytes = fs::read(&segment).expect("a segment");
    let half_a_record = bytes[20..200].to_vec();
    bytes.extend(half_a_record);
    fs::write(&segment, bytes).expect("written");

    let exporter = start(&state);
    send(&exporter, 5..15);
    exporter.kill();
    let page = start(&state).metrics();
    assert_eq!((calls(&page), page.sum("planet_exporter_journal_damaged_records")), (15.0, 0.0));
}

/// The state directory of an exporter that took ten calls and was killed, in whose segment a bit flipped at this byte.
fn killed_and_damaged(name: &str, byte: usize) -> (Scratch, PathBuf) {
    let scratch = Scratch::new(name);
    let state = scratch.0.join("state");
    let exporter = start(&state);
    send(&exporter, 0..10);
    exporter.kill();
    let segment = files(&state, ".segment").pop().expect("a segment");
    let mut bytes = fs::read(&segment).expect("a segment");
    bytes[byte] ^= 1;
    fs::write(&segment, bytes).expect("written");
    (scratch, state)
}

#[test]
fn a_damaged_head_costs_no_call() {
    let (_scratch, state) = killed_and_damaged("head", 8);
    let exporter = start(&state);
    exporter.process.stderr.wait_for("is damaged");
    send(&exporter, 0..10);
    let page = exporter.metrics();
    assert_eq!((calls(&page), page.sum("planet_exporter_journal_damaged_records")), (10.0, 1.0));
}

#[test]
fn damage_is_reported_counted_and_stepped_over() {
    let (_scratch, state) = killed_and_damaged("damage", 300);
    let exporter = start(&state);
    let page = exporter.metrics();
    assert_eq!((calls(&page), page.sum("planet_exporter_journal_damaged_records")), (9.0, 1.0));
    exporter.process.stderr.wait_for("is damaged");
    send(&exporter, 0..10);
    assert_eq!(calls(&exporter.metrics()), 10.0, "the lost one was sent again");
}

#[test]
fn a_damaged_checkpoint_is_made_good_by_the_one_before_it() {
    let scratch = Scratch::new("checkpoint");
    let state = scratch.0.join("state");
    let exporter = start(&state);
    let since = started_at(&state);
    send(&exporter, 0..10);
    end(exporter);
    let checkpoint = state.join("ledger.checkpoint");
    let mut bytes = fs::read(&checkpoint).expect("a checkpoint");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&checkpoint, bytes).expect("written");

    let exporter = start(&state);
    assert_eq!(calls(&exporter.metrics()), 10.0);
    exporter.process.stderr.wait_for("a checkpoint of the ledger cannot be used");
    exporter.kill();
    assert_eq!(started_at(&state), since);
    // It is set aside, and took the place of no good one.
    assert!(state.join("ledger.checkpoint.damaged").exists());
    fs::remove_file(&checkpoint).expect("a new checkpoint");
    let exporter = start(&state);
    assert_eq!(calls(&exporter.metrics()), 10.0);
    end(exporter);
    assert_eq!(started_at(&state), since);
}

#[test]
fn a_damaged_checkpoint_that_nobody_needs_is_no_reason_not_to_start() {
    let scratch = Scratch::new("previous");
    let state = scratch.0.join("state");
    let exporter = start(&state);
    send(&exporter, 0..10);
    end(exporter);
    let previous = state.join("ledger.checkpoint.previous");
    fs::remove_file(&previous).expect("a checkpoint before the latest");
    // What cannot even be read.
    fs::create_dir(&previous).expect("a directory");
    let exporter = start(&state);
    assert_eq!(calls(&exporter.metrics()), 10.0);
    exporter.process.stderr.wait_for("a checkpoint of the ledger cannot be used");
}

#[test]
fn a_damaged_position_is_reported_and_the_reader_begins_with_the_oldest_record() {
    let scratch = Scratch::new("position");
    let state = scratch.0.join("state");
    let start = || Exporter::launch(command().args(["--call-log", "stdout", "--state-dir"]).arg(&state));
    let exporter = start();
    send(&exporter, 0..3);
    eventually("three lines", || (exporter.process.stdout.all().len() == 3).then_some(()));
    end(exporter);
    let position = state.join("call_log.position");
    let text = fs::read_to_string(&position).expect("a position");
    assert!(text.contains("\nnext 3\n"), "{text}");
    fs::write(&position, text.replace("next 3", "next 2")).expect("written");
    let looked_at =
        || command().arg("state").arg(&state).arg("--verify").output().expect("the exporter runs");
    let Output { status, stdout, .. } = looked_at();
    let shown = String::from_utf8_lossy(&stdout).into_owned();
    assert!(!status.success() && shown.contains("reader call_log: its position is damaged"), "{shown}");

    let exporter = start();
    exporter.process.stderr.wait_for("begins with the oldest record");
    eventually("three lines again", || (exporter.process.stdout.all().len() == 3).then_some(()));
    end(exporter);
    assert!(looked_at().status.success());
}

#[test]
fn what_a_newer_version_wrote_is_refused_as_such() {
    let scratch = Scratch::new("newer");
    let state = scratch.0.join("state");
    let exporter = start(&state);
    send(&exporter, 0..2);
    end(exporter);
    let checkpoint = state.join("ledger.checkpoint");
    let text = fs::read_to_string(&checkpoint).expect("a checkpoint");
    let (line, contents) = text.split_once('\n').expect("two lines");
    let (line, _) = line.split_once(", crc32 ").expect("a checksum");
    let refusal_of = |line: &str, contents: &str| {
        let checksum = crc32fast::hash(format!("{line}{contents}").as_bytes());
        fs::write(&checkpoint, format!("{line}, crc32 {checksum:08x}\n{contents}")).expect("written");
        refusal(&state)
    };
    let said = refusal_of(&line.replace("version 3", "version 4"), contents);
    assert!(said.contains("format 4") && said.contains("or a newer one"), "{said}");
    let asks_for_more = contents.replacen("\"oldest_reader\":\"0.2.0\"", "\"oldest_reader\":\"9.1.0\"", 1);
    let said = refusal_of(line, &asks_for_more);
    assert!(said.contains("use version 9.1.0 or a newer one"), "{said}");
    // What is whole is not damaged, though this version cannot make sense of it.
    let said = refusal_of(line, &contents.replacen("\"position\":2", "\"position\":\"two\"", 1));
    assert!(said.contains("which cannot read it"), "{said}");
    assert!(files(&state, ".damaged").is_empty());
    fs::write(&checkpoint, text).expect("written");

    let segment = files(&state, ".segment").remove(0);
    let mut bytes = fs::read(&segment).expect("a segment");
    bytes[8] = 3;
    let checksum = crc32fast::hash(&bytes[..20]);
    bytes[20..24].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&segment, bytes).expect("written");
    let said = refusal(&state);
    assert!(said.contains("version 3") && said.contains("use the newer program"), "{said}");
}

#[test]
fn a_state_directory_can_be_looked_at_and_its_events_sent_again() {
    let scratch = Scratch::new("look");
    let (state, other) = (scratch.0.join("state"), scratch.0.join("other"));
    let exporter = start(&state);
    send(&exporter, 0..7);
    assert_eq!(exporter.send("sid=&duration=1").status, 400);
    end(exporter);
    let run = |arguments: &[&str]| {
        let output = command().args(arguments).output().expect("the exporter runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let path = state.to_str().expect("a path in UTF-8");
    let (is_sound, shown) = run(&["state", path, "--verify"]);
    assert!(is_sound && shown.contains("7 sound, 0 damaged") && shown.contains("7 calls"), "{shown}");

    let (is_sound, calls_shown) = run(&["state", path, "--calls"]);
    assert!(is_sound && calls_shown.lines().count() == 7, "{calls_shown}");
    for line in calls_shown.lines() {
        let call: serde_json::Value = serde_json::from_str(line).expect("JSON");
        assert!(
            call["parameters"]["sid"].is_string() && call["parameters"]["from_user_id"].is_null(),
            "{call}"
        );
    }

    let exporter = start(&other);
    let to = format!("http://{}/call_event", exporter.call_events);
    let segment = files(&state, ".segment").remove(0);
    let copy = scratch.0.join("a copy of a segment");
    fs::copy(&segment, &copy).expect("copied");
    let (all_taken, said) = run(&["replay", copy.to_str().expect("a path in UTF-8"), "--to", &to]);
    assert_eq!((all_taken, said.trim()), (true, "7 taken, 0 known already, 0 refused"));
    let refused = state.join("refused.jsonl");
    let (all_taken, said) = run(&["replay", refused.to_str().expect("a path in UTF-8"), "--to", &to]);
    assert_eq!((all_taken, said.trim()), (false, "0 taken, 0 known already, 1 refused"));
    assert_eq!(calls(&exporter.metrics()), 7.0);

    let whole = fs::read(&segment).expect("a segment");
    let mut bytes = whole.clone();
    bytes[300] ^= 1;
    fs::write(&segment, bytes).expect("written");
    let (is_sound, shown) = run(&["state", path, "--verify"]);
    assert!(!is_sound && shown.contains("bytes  1 damaged"), "{shown}");

    // Records that the checkpoint has and the journal has not any more are no torn end.
    fs::write(&segment, &whole[..whole.len() - 20]).expect("written");
    let (is_sound, shown) = run(&["state", path, "--verify"]);
    assert!(!is_sound && shown.contains("6 sound, 1 damaged; the next is 7"), "{shown}");

    fs::remove_file(&segment).expect("removed");
    let (is_sound, shown) = run(&["state", path, "--verify"]);
    assert!(!is_sound && shown.contains("up to record 7, which the journal does not have"), "{shown}");

    let elsewhere = scratch.0.to_str().expect("a path in UTF-8");
    assert!(!run(&["state", elsewhere]).0, "it is no state directory");
}

#[test]
fn what_a_part_cannot_read_is_set_aside_and_shown() {
    let scratch = Scratch::new("quarantine");
    let state = scratch.0.join("state");
    let exporter = start(&state);
    send(&exporter, 0..2);
    exporter.kill();
    // A record of a kind of callback that only a later release knows.
    let record = [&[3, 200, 0, 28][..], &[0; 28], b"sid=1"].concat();
    let rest = [&(record.len() as u32).to_le_bytes(), &2u64.to_le_bytes()[..], &[0; 4], &record].concat();
    let segment = files(&state, ".segment").pop().expect("a segment");
    let bytes = fs::read(&segment).expect("a segment");
    fs::write(&segment, [&bytes, &crc32fast::hash(&rest).to_le_bytes()[..], &rest].concat())
        .expect("written");

    let exporter = start(&state);
    let page = exporter.metrics();
    assert_eq!((calls(&page), page.sum("planet_exporter_journal_damaged_records")), (2.0, 0.0));
    assert_eq!(page.value("planet_exporter_quarantined_events_total", &[("by", "fold")]), 1.0);
    send(&exporter, 2..3);
    assert_eq!(calls(&exporter.metrics()), 3.0);
    end(exporter);
    let line = fs::read_to_string(state.join("quarantined.jsonl")).expect("the quarantine");
    fs::write(state.join("quarantined.jsonl"), format!("{line}{{\"torn")).expect("written");
    let Output { stdout, .. } = command().arg("state").arg(&state).output().expect("the exporter runs");
    let shown = String::from_utf8(stdout).expect("text");
    let record: serde_json::Value = serde_json::from_str(&line).expect("one line of JSON");
    let time = record["time"].as_str().expect("a time");
    let expected =
        format!("quarantined: record 2 by fold at {time}: the record is of a kind of callback that");
    assert!(
        shown.contains(&expected) && shown.contains("quarantined: a line that cannot be read"),
        "{shown}"
    );
    assert!(!shown.contains(record["record"].as_str().expect("base64")), "{shown}");
}

#[test]
fn what_is_missing_is_said() {
    let scratch = Scratch::new("missing");
    let state = scratch.0.join("state");
    let forwarding = || {
        let away = format!("http://{}", free_address());
        Exporter::launch(command().args(["--forward-to", &away, "--state-dir"]).arg(&state))
    };
    for numbers in [0..7, 7..10] {
        let exporter = forwarding();
        send(&exporter, numbers);
        exporter.kill();
    }
    let verify = || {
        let output = command().arg("state").arg(&state).arg("--verify").output().expect("the exporter runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (is_sound, shown) = verify();
    assert!(is_sound && !shown.contains("missing"), "{shown}");

    // Neither a checkpoint nor the journal has them.
    for checkpoint in ["ledger.checkpoint", "ledger.checkpoint.previous"] {
        let _ = fs::remove_file(state.join(checkpoint));
    }
    fs::remove_file(files(&state, ".segment").remove(0)).expect("removed");
    let (is_sound, shown) = verify();
    assert!(!is_sound && shown.contains("missing: 7 records"), "{shown}");
}

#[test]
fn what_waited_and_is_missing_is_said() {
    let scratch = Scratch::new("missing-set-aside");
    let state = scratch.0.join("state");
    let service = Service::start();
    service.answer(|_| Answer::status(500));
    let start =
        || Exporter::launch(command().args(["--forward-to", &service.url(), "--state-dir"]).arg(&state));
    let exporter = start();
    send(&exporter, 0..3);
    let of_waiting =
        || files(&state, ".segment").into_iter().find(|file| file.to_string_lossy().contains(".waiting."));
    let segment = eventually("what waits", of_waiting);
    eventually("a position that knows of it", || {
        let position = fs::read_to_string(state.join("service.position")).unwrap_or_default();
        position.contains("waiting").then_some(())
    });
    exporter.kill();
    fs::remove_file(&segment).expect("removed");
    let output = command().arg("state").arg(&state).arg("--verify").output().expect("the exporter runs");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!output.status.success() && shown.contains("waiting for service: nothing is left"), "{shown}");
    let exporter = start();
    exporter.process.stderr.wait_for("nothing is left of what waited");
}

#[test]
fn the_next_process_waits_for_one_that_is_about_to_end() {
    let scratch = Scratch::new("lock-wait");
    let state = scratch.0.join("state");
    let holder = Exporter::launch(command().arg("--state-dir").arg(&state));
    send(&holder, 0..2);
    let waiting = |wait: &str| {
        let mut command = command();
        command.args(["--state-lock-wait", wait, "--state-dir"]).arg(&state);
        Exporter::launch_at_once(&mut command, None)
    };

    let mut impatient = waiting("300ms");
    assert_eq!(impatient.process.wait().code(), Some(1));
    let said = impatient.process.stderr.wait_for("give each process a directory of its own");
    assert!(said.contains("--state-lock-wait"), "{said}");

    let mut next = waiting("10m");
    let by = format!("process {} on ", holder.process.id());
    let line = next.process.stderr.wait_for("waiting for the state directory");
    assert!(line.contains(&by) && line.contains(" since 20"), "{line}");
    let ready = next.admin("/readyz");
    assert!(ready.status == 503 && ready.text().contains(&by), "{}", ready.text());
    assert_eq!(next.admin("/livez").status, 200);

    let mut interrupted = waiting("10m");
    interrupted.process.stderr.wait_for("waiting for the state directory");
    interrupted.process.signal("TERM");
    assert_eq!(interrupted.process.wait().code(), Some(0), "it can be ended while it waits");

    holder.kill();
    next.wait_until_ready();
    assert_eq!(next.metrics().sum("planet_calls_total"), 2.0);
    assert_eq!(next.admin("/readyz").text(), "ok\n");
}
