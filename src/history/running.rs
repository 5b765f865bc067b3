//! Looking back in the process that takes the calls.
//!
//! It reads the journal beside everybody else and takes part of a processor only: it rests a little now and then.

use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};

use super::Past;
use crate::journal::Journal;
use crate::journal::past::Place;
use crate::state::known::SharedKnown;

/// How many records are read before a pause.
const RECORDS_AT_ONCE: usize = 4 * 1_024;

/// How long it is.
const PAUSE: Duration = Duration::from_millis(1);

/// What this process has stored.
#[derive(Clone)]
pub struct Running {
    pub(super) journal: Journal,
    pub(super) known: SharedKnown,
}

impl Running {
    /// What is in this journal, whose latest keys are in the window of `known`.
    pub fn new(journal: Journal, known: SharedKnown) -> Running {
        Running { journal, known }
    }

    /// Reads from a place on, as [`Journal::visit`] does, and rests now and then.
    pub(super) fn visit(
        &self,
        from: Place,
        since: Option<SystemTime>,
        mut visit: impl FnMut(Place, &[u8]) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let mut records = 0usize;
        self.journal.visit(from, since, |place, record| {
            records += 1;
            if records.is_multiple_of(RECORDS_AT_ONCE) {
                std::thread::sleep(PAUSE);
            }
            visit(place, record)
        })
    }
}

impl Past for Running {
    type Error = io::Error;

    fn gather<T>(
        &self,
        since: SystemTime,
        most: u64,
        begin: impl Fn() -> T,
        mut take: impl FnMut(&mut T, u64, &[u8]),
    ) -> io::Result<T> {
        let mut gathered = begin();
        let from = Place::at(self.journal.kept().end.saturating_sub(most));
        self.visit(from, Some(since), |place, record| {
            take(&mut gathered, place.sequence, record);
            ControlFlow::Continue(())
        })?;
        Ok(gathered)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::sync::Arc;
    use std::time::Instant;

    use tempfile::tempdir;

    use super::*;
    use crate::callback::{Key, Kind, Record};
    use crate::history::{Span, gather};
    use crate::journal::disk::DiskJournal;
    use crate::journal::storage::Directory;
    use crate::state::window::Window;

    #[test]
    fn nothing_is_missing_of_a_time_that_begins_between_two_segments() {
        let scratch = tempdir().expect("a directory");
        let storage = Directory::new(scratch.path()).expect("a directory");
        let journal = Arc::new(DiskJournal::open(storage, 1 << 30, 0, |_, _| {}).expect("a journal"));
        let (now, minute) = (SystemTime::now(), Duration::from_secs(60));
        for (number, minutes) in [(0, 60), (1, 1)] {
            let received_at = now - minutes * minute;
            let (key, query) = (Key::from_bytes([number; 16]), &b"sid=1&duration=1"[..]);
            let record = Record { kind: Kind::CallEvent, received_at, key, envelope: b"", query };
            journal.append(&[record.encode()]).expect("appended");
            let path = scratch.path().join(format!("{number:020}.segment"));
            let segment = File::options().append(true).open(path).expect("a segment");
            segment.set_modified(received_at).expect("another time");
            journal.close_older_than(Duration::ZERO, Instant::now()).expect("closed");
        }
        let known = SharedKnown::new(Window::new(1, Duration::ZERO), 0);
        let past = Running::new(Journal::Disk(Arc::clone(&journal)), known);
        let span = Span { since: now - 30 * minute, until: now, most: 100 };
        let look = || gather(&past, span, || 0, |calls, _| *calls += 1).expect("a journal that can be read");
        let gathered = look();
        assert_eq!((gathered.of, gathered.since), (1, span.since));
        journal.drop_before(1);
        let gathered = look();
        assert_eq!(
            (gathered.of, gathered.since > span.since),
            (1, true),
            "an earlier one may have been there"
        );
    }
}
