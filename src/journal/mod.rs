//! The journal: accepted events in the order of their acceptance, and readers with positions.
//!
//! It knows bytes and positions, not calls. With a state directory it is on disk ([`disk`], in [`segment`]s, read again
//! at a start by `recovery`, taken from by [`disk_reader`]s at their [`position`], over [`storage`]); without one it is
//! in memory ([`memory`]). How a reader stands is kept in the same way for both (`reader_state`). Who looks back reads
//! what was stored again ([`past`]). Before any of them changes a file, [`check()`] refuses what asks for a newer
//! release. FORMAT.md describes every file to the byte, and which release can read which.

mod check;
pub mod disk;
pub mod disk_reader;
#[cfg(test)]
mod format;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod head;
#[cfg(test)]
mod histories;
pub mod memory;
pub mod past;
pub mod position;
pub mod prefixed;
mod reader_state;
mod recovery;
pub mod segment;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod simulated_disk;
pub mod storage;
pub mod waiting;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::sync::Notify;
use tokio::task::block_in_place;
use tokio::time::{Instant, sleep_until};
use tracing::error;

use crate::http::pace::Pace;
use disk::DiskJournal;
use disk_reader::DiskReader;
use memory::{MemoryJournal, MemoryReader};
use position::BadPosition;
use segment::LONGEST_RECORD;
use storage::{Directory, Storage};

pub use check::check;
pub use head::BadHead;
pub use recovery::{Found, Segment, Stored, Torn};

/// The largest sequence number that a file is believed. No journal gets that far, and what is counted on from it must
/// not overflow.
pub const LAST: u64 = u64::MAX / 2;

/// The bytes of records after which a reader takes no more at once, so that a batch of the longest records is no larger in
/// memory than one of the usual.
const BYTES_AT_ONCE: usize = 1024 * 1024;

/// The pause before the journal on disk is read again where nothing could be read.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// Why the journal cannot be used.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The disk refused.
    #[error("the disk refused: {0}")]
    Disk(#[from] io::Error),
    /// A segment cannot be read at all.
    #[error("segment {name} of the journal cannot be used: {reason}")]
    Segment {
        /// Its file.
        name: String,
        /// Why not.
        reason: BadHead,
    },
    /// A newer release of this program wrote the position of a reader.
    #[error("reader {reader} cannot go on: {reason}")]
    Position {
        /// Its name.
        reader: String,
        /// Why not.
        reason: BadPosition,
    },
    /// It takes all that it may, and nothing can be dropped.
    #[error(
        "the journal takes {bytes} bytes of {limit} that it may, and what it has is in no checkpoint yet"
    )]
    Full {
        /// Bytes of its segments.
        bytes: u64,
        /// What they may take.
        limit: u64,
    },
    /// A record that no segment takes.
    #[error("a record of {0} bytes is longer than {LONGEST_RECORD}")]
    RecordTooLong(usize),
}

/// How a reader stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReaderStatus {
    /// The reader's name, the value of the label `reader`.
    pub name: &'static str,
    /// Records that it has not finished.
    pub backlog: u64,
    /// Records that were dropped before it took them.
    pub dropped: u64,
}

/// Looks at the journal in `storage` without changing anything, and hands every sound record to `visit`. Those before `known`
/// are known to have been acknowledged, beside those that a reader's position proves.
///
/// # Errors
/// The disk fails, or a newer version of this program wrote it.
pub fn inspect(
    storage: &impl Storage,
    known: u64,
    mut visit: impl FnMut(u64, &[u8]),
) -> Result<Found, JournalError> {
    recovery::read_segments(storage, known, |stored| visit(stored.sequence, stored.record))
}

/// Whether a file with these bytes is a segment, by its first bytes.
pub fn is_segment(bytes: &[u8]) -> bool {
    bytes.starts_with(&head::MAGIC)
}

/// Looks at one segment, whose file has these bytes, and hands every sound record to `visit`.
///
/// # Errors
/// It is no segment, or of a newer version of this program.
pub fn inspect_segment(path: &Path, bytes: &[u8], visit: impl FnMut(u64, &[u8])) -> Result<(), JournalError> {
    let name = path.display().to_string();
    recovery::read_segment(bytes, visit).map_err(|reason| JournalError::Segment { name, reason })
}

/// Waits until something holds that can begin to hold only before `changed` notifies all who wait.
pub async fn until(changed: &Notify, holds: impl Fn() -> bool) {
    loop {
        // Made before the look, so that no change in between is missed.
        let next = changed.notified();
        if holds() {
            return;
        }
        next.await;
    }
}

/// The journal, wherever it is kept.
#[derive(Clone)]
pub enum Journal {
    /// In memory.
    Memory(Arc<MemoryJournal>),
    /// On disk.
    Disk(Arc<DiskJournal<Directory>>),
}

impl Journal {
    /// A reader of this name. In memory it reads what is appended from now on; on disk it goes on where it was.
    ///
    /// # Errors
    /// Its position on disk cannot be read or kept, or is for a newer release.
    pub fn reader(&self, name: &'static str) -> Result<Reader, JournalError> {
        match self {
            Journal::Memory(journal) => Ok(Reader::Memory(journal.reader(name))),
            Journal::Disk(journal) => {
                let reader = Box::new(DiskReader::new(journal, name)?);
                Ok(Reader::Disk { reader, readable_at: None, is_unkept: false, said: Pace::default() })
            }
        }
    }

    /// How every reader stands.
    pub fn readers(&self) -> Vec<ReaderStatus> {
        match self {
            Journal::Memory(journal) => journal.readers(),
            Journal::Disk(journal) => journal.readers(),
        }
    }

    /// Acknowledged records that were found damaged when the journal was opened.
    pub fn damaged(&self) -> u64 {
        match self {
            Journal::Memory(_) => 0,
            Journal::Disk(journal) => journal.damaged(),
        }
    }

    /// The bytes that are kept.
    pub fn bytes(&self) -> u64 {
        match self {
            Journal::Memory(journal) => journal.bytes() as u64,
            Journal::Disk(journal) => journal.bytes(),
        }
    }
}

/// A reader of the journal: it takes records, and says when it is done with them.
pub enum Reader {
    /// Of a journal in memory.
    Memory(MemoryReader),
    /// Of a journal on disk.
    Disk {
        /// What reads.
        reader: Box<DiskReader<Directory>>,
        /// When it may read again, after it could not.
        readable_at: Option<Instant>,
        /// Whether its position could not be kept the last time.
        is_unkept: bool,
        /// What was said of a disk that cannot be read.
        said: Pace,
    },
}

impl Reader {
    /// Takes the next records with their sequence numbers, at most `max` and about a megabyte; none if there are none, or if
    /// the disk cannot be read now.
    pub fn take(&mut self, max: usize) -> Vec<(u64, Bytes)> {
        match self {
            Reader::Memory(reader) => reader.take(max),
            Reader::Disk { reader, readable_at, said, .. } => {
                let records = block_in_place(|| reader.take(max)).unwrap_or_else(|error| {
                    if let Some(left_out) = said.due() {
                        let reader = reader.name();
                        error!(reader, %error, left_out, "the journal cannot be read; trying again");
                    }
                    Vec::new()
                });
                *readable_at = records.is_empty().then(|| Instant::now() + READ_PAUSE);
                records
            }
        }
    }

    /// Finishes everything that was taken except the records with these sequence numbers, in ascending order, which its
    /// user still holds. On disk the waiting journal of its sink ends at `waiting_end`. Returns whether the position
    /// was kept; on disk, one that cannot be kept now is kept the next time.
    pub fn done_except(&mut self, unfinished: &[u64], waiting_end: u64) -> bool {
        match self {
            Reader::Memory(reader) => {
                reader.done_except(unfinished);
                true
            }
            Reader::Disk { reader, is_unkept, .. } => {
                let kept = block_in_place(|| reader.done_except(unfinished, waiting_end));
                let was_unkept = std::mem::replace(is_unkept, kept.is_err());
                if let Err(error) = &kept
                    && !was_unkept
                {
                    let reader = reader.name();
                    error!(reader, %error, "the position of a reader cannot be kept; after a restart it would deliver again");
                }
                kept.is_ok()
            }
        }
    }

    /// Where the waiting journal of its sink ended when the position was kept.
    pub fn waiting_end(&self) -> u64 {
        match self {
            Reader::Memory(_) => 0,
            Reader::Disk { reader, .. } => reader.waiting_end(),
        }
    }

    /// Everything before this sequence number is finished.
    pub fn unfinished_from(&self) -> u64 {
        match self {
            Reader::Memory(_) => 0,
            Reader::Disk { reader, .. } => reader.unfinished_from(),
        }
    }

    /// How many records wait to be taken again, since they had been taken and not finished before the start. They come before
    /// all others.
    pub fn to_take_again(&self) -> usize {
        match self {
            Reader::Memory(_) => 0,
            Reader::Disk { reader, .. } => reader.to_take_again(),
        }
    }

    /// How many records wait to be taken.
    pub fn waiting(&self) -> u64 {
        match self {
            Reader::Memory(reader) => reader.waiting(),
            Reader::Disk { reader, .. } => reader.waiting(),
        }
    }

    /// How many records were dropped before it took them.
    pub fn dropped(&self) -> u64 {
        match self {
            Reader::Memory(reader) => reader.dropped(),
            Reader::Disk { reader, .. } => reader.dropped(),
        }
    }

    /// Whether a record can be taken: one waits, and the disk did not fail a moment ago.
    pub fn is_readable(&self) -> bool {
        let is_paused = matches!(self, Reader::Disk { readable_at: Some(at), .. } if *at > Instant::now());
        !is_paused && self.waiting() > 0
    }

    /// Waits until at least this many records can be taken, and for a pause after the disk failed.
    pub async fn readable(&self, records: u64) {
        match self {
            Reader::Memory(reader) => reader.readable(records).await,
            Reader::Disk { reader, readable_at, .. } => {
                if let Some(at) = *readable_at {
                    sleep_until(at).await;
                }
                reader.readable(records).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::tempdir;

    use super::simulated_disk::SimulatedDisk;
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_disk_that_cannot_be_read_is_given_a_pause_and_then_read() {
        let scratch = tempdir().expect("a directory");
        let directory = scratch.path();
        let storage = Directory::new(directory).expect("a directory");
        let disk = Arc::new(DiskJournal::open(storage, 1_000_000, 0, |_, _| {}).expect("a journal"));
        let mut reader = Journal::Disk(Arc::clone(&disk)).reader("spans").expect("a reader");
        disk.append(&[Bytes::from_static(b"record")]).expect("appended");
        let segment = directory.join(recovery::file_name(0));
        let elsewhere = directory.join("elsewhere");

        fs::rename(&segment, &elsewhere).expect("renamed");
        fs::create_dir(&segment).expect("something that cannot be read");
        let begin = Instant::now();
        assert!(reader.is_readable());
        assert!(reader.take(1).is_empty());
        fs::remove_dir(&segment).expect("removed");
        fs::rename(&elsewhere, &segment).expect("renamed");

        reader.readable(1).await;
        assert!(begin.elapsed() >= READ_PAUSE);
        assert!(reader.is_readable());
        assert_eq!(reader.take(1), [(0, Bytes::from_static(b"record"))]);
    }

    #[test]
    fn what_is_old_can_be_dropped_though_nothing_comes_after_it() {
        const AGE: Duration = Duration::from_secs(1_800);
        let disk = SimulatedDisk::default();
        let open = || DiskJournal::open(disk.clone(), 1 << 20, 0, |_, _| {}).expect("a journal");
        let (journal, begin) = (open(), std::time::Instant::now());
        journal.append(&[Bytes::from_static(b"record")]).expect("appended");
        journal.close_older_than(AGE, begin).expect("a look");
        journal.drop_before(1);
        assert_eq!(journal.segments(), [(0, 1)], "it is young");
        journal.close_older_than(AGE, std::time::Instant::now() + AGE).expect("closed");
        assert_eq!(journal.segments(), [(0, 1), (1, 1)]);
        journal.drop_before(1);
        journal.close_older_than(AGE, begin + 9 * AGE).expect("a look");
        assert_eq!(
            (journal.segments(), journal.end()),
            (vec![(1, 1)], 1),
            "an empty one is as good as a new one"
        );
        drop(journal);

        let journal = open();
        assert_eq!((journal.first(), journal.end()), (1, 1));
        journal.append(&[Bytes::from_static(b"record")]).expect("appended");
        drop(journal);
        let journal = open();
        journal.close_older_than(AGE, begin).expect("closed");
        journal.drop_before(2);
        assert_eq!(journal.segments(), [(2, 2)], "what an earlier process left behind");
    }

    #[test]
    fn readers_go_on_behind_segments_that_somebody_removed() {
        let disk = SimulatedDisk::default();
        let journal = Arc::new(DiskJournal::open(disk.clone(), 1 << 20, 0, |_, _| {}).expect("a journal"));
        let mut reader = DiskReader::new(&journal, "spans").expect("a reader");
        for _ in 0..3 {
            journal.append(&[Bytes::from_static(b"record")]).expect("appended");
            journal.close_older_than(Duration::ZERO, std::time::Instant::now()).expect("closed");
        }
        for first in [0, 1] {
            disk.remove(&recovery::file_name(first)).expect("removed");
        }
        assert!(reader.take(9).expect("a look").is_empty());
        journal.drop_removed();
        assert_eq!(reader.take(9).expect("taken"), [(2, Bytes::from_static(b"record"))]);
        let status = journal.readers().remove(0);
        assert_eq!((status.backlog, status.dropped, journal.first()), (1, 2, 2));
    }

    #[test]
    fn what_was_not_finished_comes_first_though_some_of_it_is_damaged() {
        let disk = SimulatedDisk::default();
        let open =
            |known| Arc::new(DiskJournal::open(disk.clone(), 1 << 20, known, |_, _| {}).expect("a journal"));
        let records = vec![Bytes::from_static(b"record"); 6];
        open(0).append(&records).expect("appended");
        storage::replace(&disk, "spans.position", b"5 1 3").expect("written");
        let frame = segment::FRAME_HEAD + b"record".len();
        disk.flip_bit(&recovery::file_name(0), head::SIZE + 2 * frame - 1, 0);
        let journal = open(6);
        let mut reader = DiskReader::new(&journal, "spans").expect("a reader");
        let mut taken = || reader.take(2).expect("taken").iter().map(|(at, _)| *at).collect::<Vec<_>>();
        assert_eq!((taken(), taken(), taken()), (vec![3], vec![5], vec![]));
    }

    #[test]
    fn what_comes_after_damage_at_the_end_is_taken() {
        let disk = SimulatedDisk::default();
        let journal = Arc::new(DiskJournal::open(disk.clone(), 1 << 20, 0, |_, _| {}).expect("a journal"));
        let mut reader = DiskReader::new(&journal, "spans").expect("a reader");
        let record = Bytes::from_static(b"record");
        journal.append(&[record.clone(), record.clone()]).expect("appended");
        let frame = segment::FRAME_HEAD + record.len();
        disk.flip_bit(&recovery::file_name(0), head::SIZE + 2 * frame - 1, 0);
        assert_eq!(reader.take(9).expect("taken"), [(0, record.clone())]);
        for number in 2..4 {
            journal.append(std::slice::from_ref(&record)).expect("appended");
            assert_eq!(reader.take(9).expect("taken"), [(number, record.clone())]);
        }
        assert_eq!(reader.waiting(), 0);
    }

    #[test]
    fn what_is_written_to_a_file_that_was_removed_is_not_in_the_journal() {
        let scratch = tempdir().expect("a directory");
        let path = scratch.path();
        let journal =
            || DiskJournal::open(Directory::new(path).expect("a directory"), 1_000_000, 0, |_, _| {});
        let records = [Bytes::from_static(b"record")];
        let disk = journal().expect("a journal");
        disk.append(&records).expect("appended");
        disk.append(&[]).expect("a look");
        fs::remove_file(path.join(recovery::file_name(0))).expect("removed");
        let error = disk.append(&records).expect_err("it is not there").to_string();
        assert!(error.contains("was removed or replaced"), "{error}");
        assert_eq!((disk.append(&records).expect("appended"), disk.end()), (1, 2));
        assert!(path.join(recovery::file_name(1)).exists());
        fs::remove_dir_all(path).expect("removed");
        for _ in 0..2 {
            let error = disk.append(&[]).expect_err("it is not there").to_string();
            assert!(error.contains("was removed or moved away"), "{error}");
        }
    }
}
