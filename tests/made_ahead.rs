//! The promise: who takes much has segments made ahead of zeros, where the file system gains by it, and whoever reads the state
//! directory, beside the exporter or after it was killed, finds every call in them and no damage.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::call::CallEventQuery;
use support::exporter::{Exporter, command};
use support::{Scratch, eventually};

/// More calls than it takes until the next segment is made ahead.
const MANY: usize = 200;
const SEGMENT: u64 = 64 * 1024;

struct Site {
    scratch: Scratch,
    sent: usize,
}

impl Site {
    fn state(&self) -> PathBuf {
        self.scratch.0.join("state")
    }

    fn start(&self) -> Exporter {
        Exporter::launch(command().args(["--state-max-bytes", "1MiB", "--state-dir"]).arg(self.state()))
    }

    fn send(&mut self, exporter: &Exporter) {
        assert_eq!(exporter.send(&CallEventQuery::new(self.sent).encode()).status, 200);
        self.sent += 1;
    }

    /// The sizes of the segments, in order.
    fn sizes(&self) -> Vec<u64> {
        let entries = fs::read_dir(self.state()).expect("a directory").map(|entry| entry.expect("an entry"));
        let mut segments: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        segments.retain(|path| path.extension().is_some_and(|extension| extension == "segment"));
        segments.sort();
        segments.iter().map(|path| path.metadata().expect("a segment").len()).collect()
    }

    fn next(&self) -> PathBuf {
        self.state().join("next.segment.new")
    }

    /// Checks that `state` finds every call that was sent, and nothing that is damaged or torn.
    fn verify(&self) {
        let look = |flag| {
            let output =
                command().arg("state").arg(self.state()).arg(flag).output().expect("the exporter runs");
            let shown = String::from_utf8(output.stdout).expect("text");
            assert!(output.status.success(), "{shown}");
            shown
        };
        let shown = look("--verify");
        assert!(shown.contains(&format!("records: {} sound, 0 damaged", self.sent)), "{shown}");
        assert!(!shown.contains("torn"), "{shown}");
        assert_eq!(look("--calls").lines().count(), self.sent);
    }
}

/// Whether the file system writes what takes the place of something where that was.
fn overwrites_in_place(path: &Path) -> bool {
    let output = Command::new("stat").args(["-f", "-c", "%T"]).arg(path).output().expect("stat of coreutils");
    let kind = String::from_utf8(output.stdout).expect("text");
    ["ext2/ext3", "xfs"].contains(&kind.trim())
}

#[test]
fn a_segment_that_was_made_ahead_is_read_as_any_other() {
    let mut site = Site { scratch: Scratch::new("made-ahead"), sent: 0 };
    let exporter = site.start();
    (0..MANY).for_each(|_| site.send(&exporter));
    if !overwrites_in_place(&site.state()) {
        assert!(!site.next().exists() && !site.sizes().contains(&SEGMENT), "{:?}", site.sizes());
        return;
    }
    eventually("a segment that was made ahead", || {
        site.send(&exporter);
        (site.sizes().last() == Some(&SEGMENT)).then_some(())
    });
    site.send(&exporter);
    site.verify();
    let page = exporter.metrics();
    assert_eq!(page.sum("planet_calls_total"), site.sent as f64);
    assert!(page.sum("planet_exporter_journal_size_bytes") >= SEGMENT as f64);
    exporter.kill();
    site.verify();

    fs::write(site.next(), [7; 100]).expect("what an exporter was making when it was killed");
    site.verify();
    let exporter = site.start();
    let page = exporter.metrics();
    assert_eq!(page.sum("planet_calls_total"), site.sent as f64);
    assert_eq!(page.sum("planet_exporter_journal_damaged_records"), 0.0);
    for said in ["torn", "damaged"] {
        assert_eq!(exporter.process.stderr.find(said), None);
    }
    assert!(!site.next().exists());
    assert!(!site.sizes().contains(&SEGMENT), "a start gives back what it does not need: {:?}", site.sizes());
    site.send(&exporter);
    site.verify();
}
