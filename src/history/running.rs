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
