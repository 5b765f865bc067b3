//! Reading again what was stored: for who looks back, beside those who append and take.
//!
//! On disk that is everything that is kept. In memory it is the latest of it, which is kept for this alone.

use std::io;
use std::ops::ControlFlow;
use std::time::SystemTime;

use super::Journal;

/// Where a reading begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Place {
    /// The sequence number of the first record that is read.
    pub sequence: u64,
    /// The segment in which that is.
    pub(super) segment: u64,
    /// The byte of the segment at which its frame begins; 0 if that is not known.
    pub(super) offset: u64,
}

impl Place {
    /// At the record with this sequence number, wherever that is.
    pub fn at(sequence: u64) -> Place {
        Place { sequence, segment: 0, offset: 0 }
    }
}

impl Journal {
    /// Hands the records from `from` on that are stored now to `visit`, in order and each with its place, until that
    /// breaks off. With `since`, what was stored before that time may be left out.
    ///
    /// # Errors
    /// The disk fails. What is damaged is passed over, and so is what is dropped meanwhile.
    pub fn visit(
        &self,
        from: Place,
        since: Option<SystemTime>,
        mut visit: impl FnMut(Place, &[u8]) -> ControlFlow<()>,
    ) -> io::Result<()> {
        match self {
            Journal::Memory(journal) => {
                let _ = journal
                    .recent(from.sequence)
                    .into_iter()
                    .try_for_each(|(sequence, record)| visit(Place::at(sequence), &record));
                Ok(())
            }
            Journal::Disk(journal) => journal.visit(from, since, visit),
        }
    }

    /// The sequence numbers of the oldest record that can be read again, and of the next one that is stored.
    pub fn kept(&self) -> std::ops::Range<u64> {
        match self {
            Journal::Memory(journal) => journal.kept(),
            Journal::Disk(journal) => journal.first()..journal.end(),
        }
    }
}
