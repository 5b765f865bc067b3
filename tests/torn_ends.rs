//! The promise: what is cut at the end of the journal is said, with its bytes, and told apart from damage wherever something
//! proves that it had been acknowledged; and zeros behind the end are neither.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use support::call::CallEventQuery;
use support::exporter::{Exporter, command};
use support::{Scratch, eventually};

const CALLS: usize = 10;

/// The state directory of an exporter that took ten calls, one after another, and was killed.
struct Killed {
    path: PathBuf,
    _scratch: Scratch,
}

/// What proves that the calls were acknowledged.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Proof {
    None,
    Position,
    Checkpoint,
}

fn start(state: &Path) -> Exporter {
    Exporter::with(&["--state-dir", state.to_str().expect("a path in UTF-8")])
}

impl Killed {
    fn new(name: &str, proof: Proof) -> Killed {
        let scratch = Scratch::new(name);
        let path = scratch.0.join("state");
        let mut start = command();
        start.arg("--state-dir").arg(&path);
        if proof == Proof::Position {
            start.args(["--call-log", "stdout"]);
        }
        let mut exporter = Exporter::launch(&mut start);
        for number in 0..CALLS {
            assert_eq!(exporter.send(&CallEventQuery::new(number).encode()).status, 200);
        }
        match proof {
            Proof::None => exporter.kill(),
            Proof::Position => {
                let position = path.join("call_log.position");
                let next = format!("\nnext {CALLS}\n");
                eventually("a position", || {
                    fs::read_to_string(&position).ok().filter(|text| text.contains(&next))
                });
                exporter.kill();
            }
            Proof::Checkpoint => {
                exporter.process.signal("TERM");
                assert!(exporter.process.wait().success());
                // So that the totals have to come from the journal, as far as it goes.
                fs::remove_file(path.join("ledger.checkpoint.previous")).expect("the checkpoint before");
            }
        }
        Killed { path, _scratch: scratch }
    }

    /// Changes the last segment, whose frames begin at these places.
    fn change(&self, change: impl FnOnce(&mut Vec<u8>, &[usize])) {
        let entries =
            fs::read_dir(&self.path).expect("a directory").map(|entry| entry.expect("an entry").path());
        let segment = entries.filter(|path| path.to_string_lossy().ends_with(".segment")).max();
        let segment = segment.expect("a segment");
        let mut bytes = fs::read(&segment).expect("a segment");
        let (mut starts, mut at) = (Vec::new(), 44);
        while at < bytes.len() {
            starts.push(at);
            let length = bytes[at + 4..at + 8].try_into().expect("four bytes");
            at += 20 + u32::from_le_bytes(length) as usize;
        }
        assert_eq!(starts.len(), CALLS);
        change(&mut bytes, &starts);
        fs::write(&segment, bytes).expect("written");
    }

    /// What `state --verify` says, and whether all is sound.
    fn verify(&self) -> (bool, String) {
        let output =
            command().arg("state").arg(&self.path).arg("--verify").output().expect("the exporter runs");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Asserts that so many calls are left in the journal and so many damaged, and that so many bytes are said to be torn.
    fn assert(&self, sound: usize, damaged: usize, torn: Option<&str>) {
        let (is_sound, shown) = self.verify();
        assert_eq!(is_sound, damaged == 0, "{shown}");
        assert!(shown.contains(&format!("records: {sound} sound, {damaged} damaged")), "{shown}");
        match torn {
            None => assert!(!shown.contains("torn"), "{shown}"),
            Some(torn) => assert!(shown.contains(&format!("torn end: {torn}\n")), "{shown}"),
        }
        let exporter = start(&self.path);
        let page = exporter.metrics();
        assert_eq!(page.sum("planet_exporter_journal_damaged_records"), damaged as f64);
        if damaged > 0 {
            exporter.process.stderr.wait_for("a segment of the journal is damaged");
        }
        if torn.is_some() {
            exporter.process.stderr.wait_for("the journal has a torn end");
        }
        // It goes on, and what is lost can be sent again.
        for number in 0..CALLS {
            assert_eq!(exporter.send(&CallEventQuery::new(number).encode()).status, 200);
        }
    }
}

#[test]
fn zeros_behind_the_end_are_neither_torn_nor_damaged() {
    for proof in [Proof::None, Proof::Position, Proof::Checkpoint] {
        let killed = Killed::new("zeros", proof);
        killed.change(|bytes, _| bytes.extend([0; 10_000]));
        killed.assert(CALLS, 0, None);
    }
}

#[test]
fn what_was_never_acknowledged_is_cut_and_said() {
    for proof in [Proof::None, Proof::Position, Proof::Checkpoint] {
        let killed = Killed::new("never", proof);
        killed.change(|bytes, _| bytes.extend(vec![7; 123]));
        killed.assert(CALLS, 0, Some("123 bytes"));
    }
}

#[test]
fn a_damaged_last_record_is_torn_unless_something_proves_that_it_was_acknowledged() {
    for proof in [Proof::None, Proof::Position, Proof::Checkpoint] {
        let killed = Killed::new("last", proof);
        let mut size = 0;
        killed.change(|bytes, starts| {
            size = bytes.len() - starts[CALLS - 1];
            bytes[starts[CALLS - 1] + 50] ^= 1;
        });
        match proof {
            Proof::None => killed.assert(CALLS - 1, 0, Some(&format!("{size} bytes"))),
            Proof::Position | Proof::Checkpoint => killed.assert(CALLS - 1, 1, None),
        }
    }
}

#[test]
fn an_end_that_is_zeroed_or_cut_is_damage_where_something_proves_what_was_there() {
    for is_zeroed in [true, false] {
        for proof in [Proof::None, Proof::Position, Proof::Checkpoint] {
            let killed = Killed::new("zeroed", proof);
            killed.change(|bytes, starts| match is_zeroed {
                true => bytes[starts[CALLS - 4]..].fill(0),
                false => bytes.truncate(starts[CALLS - 4]),
            });
            killed.assert(CALLS - 4, if proof == Proof::None { 0 } else { 4 }, None);
        }
    }
}

#[test]
fn damage_before_a_later_batch_is_damage_whether_or_not_anything_proves_it() {
    for proof in [Proof::None, Proof::Position, Proof::Checkpoint] {
        for record in [0, CALLS / 2, CALLS - 2] {
            let killed = Killed::new("before", proof);
            killed.change(|bytes, starts| bytes[starts[record] + 10] ^= 1);
            killed.assert(CALLS - 1, 1, None);
        }
    }
}
