//! The promise: what a newer version wrote for this one to read, it reads, passing over what it does not know; and what asks
//! for a newer version is refused, with the version to use, before anything in the directory is changed.
//!
//! Each file is one that the real exporter wrote, made that of a newer version.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use support::call::{CallEventQuery, sid};
use support::exporter::{Exporter, command};
use support::service::{Answer, Service};
use support::{Scratch, eventually};

/// The newer version that wrote a file, and what it asks for.
const WRITER: &str = "9.2.0";
const NEWER: &str = "9.1.0";
/// The oldest version that reads what this one writes.
const OLDER: &str = "0.2.0";

/// A call of a caller of its own.
fn query(number: usize) -> String {
    CallEventQuery::new(number).with("from_user_id", &number.to_string()).encode()
}

/// What delivers to this service from this state directory.
fn with_service(state: &Path, service: &Service) -> std::process::Command {
    let mut command = command();
    command.args(["--forward-to", &service.url(), "--forward-max-age", "100000h", "--state-dir"]).arg(state);
    command
}

fn end(mut exporter: Exporter) {
    exporter.process.signal("TERM");
    assert!(exporter.process.wait().success());
}

fn backlog(exporter: &Exporter) -> f64 {
    exporter.metrics().value("planet_exporter_backlog", &[("sink", "service")])
}

/// The state directory of an exporter that took three calls and delivered them.
fn written(name: &str) -> (Scratch, PathBuf) {
    let scratch = Scratch::new(name);
    let (state, service) = (scratch.0.join("state"), Service::start());
    let exporter = Exporter::launch(&mut with_service(&state, &service));
    for number in 0..3 {
        assert_eq!(exporter.send(&query(number)).status, 200);
    }
    eventually("no backlog", || (backlog(&exporter) == 0.0).then_some(()));
    end(exporter);
    (scratch, state)
}

/// The state directory of an exporter that took three calls, of which the service took the one in the middle.
fn written_with_waiting(name: &str) -> (Scratch, PathBuf) {
    let scratch = Scratch::new(name);
    let (state, service) = (scratch.0.join("state"), Service::start());
    service.answer(|request| Answer::status(if request.sid() == sid(1) { 200 } else { 500 }));
    let exporter = Exporter::launch(&mut with_service(&state, &service));
    for number in 0..3 {
        assert_eq!(exporter.send(&query(number)).status, 200);
    }
    eventually("a waiting journal", || shown(&state).contains("waiting for service: 2 events").then_some(()));
    end(exporter);
    (scratch, state)
}

/// What `state` says of a directory.
fn shown(state: &Path) -> String {
    let output = command().arg("state").arg(state).output().expect("the exporter runs");
    String::from_utf8(output.stdout).expect("text")
}

/// The oldest file whose name has this in it.
fn file(state: &Path, part: &str) -> PathBuf {
    let names = files(state).into_keys();
    let name = names.filter(|name| name.contains(part)).min();
    state.join(name.unwrap_or_else(|| panic!("no {part}")))
}

/// All files but the lock file, which says who looked last.
fn files(state: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(state).expect("a directory").map(|entry| entry.expect("an entry"));
    let files = entries.map(|entry| {
        let name = entry.file_name().into_string().expect("text");
        (name, fs::read(entry.path()).expect("a file"))
    });
    files.filter(|(name, _)| name != "planet-call-exporter.lock").collect()
}

/// Makes the checkpoint one of the newer version, with a field of its own, for this version and newer ones.
fn alter_checkpoint(state: &Path, oldest_reader: &str) {
    let file = state.join("ledger.checkpoint");
    let text = fs::read_to_string(&file).expect("a checkpoint");
    let (line, contents) = text.split_once('\n').expect("two lines");
    let (line, _) = line.split_once(", crc32 ").expect("a checksum");
    let (_, rest) = contents.split_once(r#","position""#).expect("a position");
    let releases =
        format!(r#"{{"writer":"{WRITER}","oldest_reader":"{oldest_reader}","later":{{"field":[1,"two"]}}"#);
    let contents = format!(r#"{releases},"position"{rest}"#);
    let checksum = crc32fast::hash(format!("{line}{contents}").as_bytes());
    fs::write(&file, format!("{line}, crc32 {checksum:08x}\n{contents}")).expect("written");
}

/// The same with the position of the service.
fn alter_position(state: &Path, oldest_reader: &str) {
    let file = state.join("service.position");
    let text = fs::read_to_string(&file).expect("a position");
    let next = text.lines().find(|line| line.starts_with("next ")).expect("the next record");
    let first = format!(
        "planet-call-exporter position, version 2, written by {WRITER}, readable from {oldest_reader}"
    );
    let lines = format!("{first}, and more\n{next}\nlater field 1\n");
    let checksum = crc32fast::hash(lines.as_bytes());
    fs::write(&file, format!("{lines}crc32 {checksum:08x}\n")).expect("written");
}

/// The same with a segment.
fn alter_segment(state: &Path, oldest_reader: &str) {
    alter_head(&file(state, ".segment"), oldest_reader);
}

fn alter_head(file: &Path, oldest_reader: &str) {
    let bytes = fs::read(file).expect("a segment");
    let (head, records) = split_head(&bytes);
    let later = b"a field";
    let mut rest = (4 + 2 * 6 + later.len() as u32).to_le_bytes().to_vec();
    for release in [WRITER, oldest_reader] {
        let numbers = release.split('.').map(|number| number.parse::<u16>().expect("a number"));
        rest.extend(numbers.flat_map(u16::to_le_bytes));
    }
    rest.extend(later);
    let checksum = crc32fast::hash(&rest);
    let altered = [&head[..24], &rest, &checksum.to_le_bytes(), records].concat();
    fs::write(file, altered).expect("written");
}

/// The head of a segment and what follows it.
fn split_head(segment: &[u8]) -> (&[u8], &[u8]) {
    let length = u32::from_le_bytes(segment[24..28].try_into().expect("four bytes"));
    segment.split_at(28 + length as usize)
}

type Alter = fn(&Path, &str);
const FILES: [(&str, Alter); 3] =
    [("checkpoint", alter_checkpoint), ("segment", alter_segment), ("position", alter_position)];

#[test]
fn what_a_newer_version_adds_is_passed_over() {
    for (name, alter) in FILES {
        let (_scratch, state) = written(name);
        alter(&state, OLDER);
        let service = Service::start();
        let exporter = Exporter::launch(&mut with_service(&state, &service));
        assert_eq!(exporter.metrics().sum("planet_calls_total"), 3.0, "{name}");
        assert_eq!(exporter.metrics().sum("planet_exporter_journal_damaged_records"), 0.0, "{name}");
        for number in 2..4 {
            assert_eq!(exporter.send(&query(number)).status, 200);
        }
        assert_eq!(exporter.metrics().sum("planet_calls_total"), 4.0, "{name}");
        eventually("no backlog", || (backlog(&exporter) == 0.0).then_some(()));
        let delivered: Vec<_> = service.requests().iter().map(|request| request.sid()).collect();
        assert_eq!(delivered, [sid(3)], "{name}");
        end(exporter);
    }
}

/// Checks that the exporter refuses this directory with the version to use, and changes nothing in it.
fn check_refusal(state: &Path, what: &str) {
    let before = files(state);
    let service = Service::start();
    let output = with_service(state, &service)
        .args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--call-log", "stdout"])
        .output()
        .expect("the exporter runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{what}: {said}");
    assert!(said.contains(&format!("version {WRITER} of this program wrote")), "{what}: {said}");
    assert!(said.contains(&format!("use version {NEWER} or a newer one")), "{what}: {said}");
    let after = files(state);
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&after), names(&before), "{what}");
    for (name, bytes) in after {
        assert!(bytes == before[&name], "{what}: {name} was changed");
    }
    assert_eq!((service.requests().len(), output.stdout.len()), (0, 0), "{what}: something was delivered");
}

#[test]
fn what_asks_for_a_newer_version_is_refused_and_nothing_is_changed() {
    for (name, alter) in FILES {
        let (_scratch, state) = written(name);
        // A torn end, which a start would cut.
        let segment = file(&state, ".segment");
        let torn = [fs::read(&segment).expect("a segment"), vec![0; 7]].concat();
        fs::write(&segment, torn).expect("written");
        alter(&state, NEWER);
        check_refusal(&state, name);
    }
}

#[test]
fn what_waits_and_asks_for_a_newer_version_is_refused_and_nothing_is_changed() {
    let (_scratch, state) = written_with_waiting("newer-waiting");
    alter_head(&file(&state, "service.waiting."), NEWER);
    check_refusal(&state, "what waits");
}

#[test]
fn what_waits_and_is_of_a_newer_version_for_this_one_is_delivered() {
    let (_scratch, state) = written_with_waiting("later-waiting");
    alter_head(&file(&state, "service.waiting."), OLDER);
    end(check_that_all_is_delivered(&state));
}

/// The records of the frames at these bytes.
fn records(mut frames: &[u8]) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    while !frames.is_empty() {
        let length = u32::from_le_bytes(frames[4..8].try_into().expect("four bytes")) as usize;
        records.push(frames[20..20 + length].to_vec());
        frames = &frames[20 + length..];
    }
    records
}

/// The frame of a record that is a batch of its own.
fn frame(sequence: u64, record: &[u8]) -> Vec<u8> {
    let length = (record.len() as u32).to_le_bytes();
    let rest = [&length, &sequence.to_le_bytes()[..], &[0; 4], record].concat();
    [&crc32fast::hash(&rest).to_le_bytes(), &rest[..]].concat()
}

/// Starts on a directory in which two calls wait for the service, which takes all now.
fn check_that_all_is_delivered(state: &Path) -> Exporter {
    let service = Service::start();
    let exporter = Exporter::launch(&mut with_service(state, &service));
    assert_eq!(exporter.metrics().sum("planet_calls_total"), 3.0);
    eventually("no backlog", || (backlog(&exporter) == 0.0).then_some(()));
    let mut delivered: Vec<_> = service.requests().iter().map(|request| request.sid()).collect();
    delivered.sort();
    assert_eq!(delivered, [sid(0), sid(2)]);
    exporter
}

/// Writes a segment anew with what `change` makes of its records, each a batch of its own.
fn rewrite(file: &Path, change: impl FnOnce(&mut Vec<Vec<u8>>)) {
    let segment = fs::read(file).expect("a segment");
    let (head, frames) = split_head(&segment);
    let first = u64::from_le_bytes(head[12..20].try_into().expect("eight bytes"));
    let mut records = records(frames);
    change(&mut records);
    let frames = (first..).zip(&records).flat_map(|(sequence, record)| frame(sequence, record));
    fs::write(file, head.iter().copied().chain(frames).collect::<Vec<_>>()).expect("written");
}

#[test]
fn an_entry_of_an_unknown_kind_is_passed_over_and_what_waits_is_delivered() {
    let (_scratch, state) = written_with_waiting("unknown-entry");
    rewrite(&file(&state, "service.waiting."), |entries| {
        entries.retain(|entry| entry[0] == 1);
        assert_eq!(entries.len(), 2);
        entries.insert(1, b"\x09what nobody knows yet".to_vec());
    });
    let shown = shown(&state);
    assert!(shown.contains("2 events") && shown.contains("1 of a newer release"), "{shown}");
    end(check_that_all_is_delivered(&state));
}

#[test]
fn damage_of_what_waits_is_shown() {
    let (_scratch, state) = written_with_waiting("damaged-waiting");
    let verify = || command().arg("state").arg(&state).arg("--verify").output().expect("the exporter runs");
    let waiting = file(&state, "service.waiting.");
    rewrite(&waiting, |_| {});
    assert!(verify().status.success());
    let mut bytes = fs::read(&waiting).expect("a segment");
    bytes[100] ^= 1;
    fs::write(&waiting, bytes).expect("written");
    let output = verify();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success() && shown.contains("1 events") && shown.contains("1 damaged"), "{shown}");
}
