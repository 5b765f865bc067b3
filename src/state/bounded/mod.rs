//! The journal of a state directory, kept within its limit.
//!
//! Who appends waits until there is room: before a segment is begun, all that are there take no more than they may, so that
//! they take at most one segment more at any moment. The oldest go first, whether or not readers are done with them, but
//! nothing of which the totals are in no checkpoint. So where the limit forces it, whoever appends writes the checkpoint.
//! And the keeper drops what need not be kept, limit or not.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::{info, warn};

use super::checkpoints::Checkpoints;
use super::fold::Fold;
use super::readers::Readers;
use crate::http::pace::{LeftOut, Pace};
use crate::journal::JournalError;
use crate::journal::disk::DiskJournal;
use crate::journal::storage::{Storage, is_full};
use crate::ledger::checkpoint::Checkpoint;

/// What is said when a checkpoint cannot be written.
const NO_CHECKPOINT: &str = "the checkpoint of the ledger cannot be written; the journal keeps what it needs";

/// The most room that is left on a disk for files other than the journal's. On a small disk it is a quarter of the disk.
const MOST_BESIDE: u64 = 16 * 1024 * 1024;

/// A journal and the checkpoints on which it depends what can be dropped.
pub struct BoundedJournal<S: Storage> {
    journal: Arc<DiskJournal<S>>,
    fold: Arc<Fold>,
    readers: Arc<Readers>,
    checkpoints: Mutex<Checkpoints<S>>,
    /// Whether the disk had no room for an append, and nothing was done about it yet.
    is_disk_full: AtomicBool,
    logged: Pace,
}

impl<S: Storage> BoundedJournal<S> {
    /// Keeps `journal`, whose records `fold` takes into the totals, of which `readers` know what they were shown.
    pub fn new(
        journal: Arc<DiskJournal<S>>,
        fold: Arc<Fold>,
        readers: Arc<Readers>,
        checkpoints: Checkpoints<S>,
    ) -> BoundedJournal<S> {
        BoundedJournal {
            journal,
            fold,
            readers,
            checkpoints: Mutex::new(checkpoints),
            is_disk_full: AtomicBool::new(false),
            logged: Pace::default(),
        }
    }

    /// Writes a checkpoint before any reader is there. On a full disk with more in the journal than it may have, the oldest
    /// segments make room for it. These are in the latest checkpoint, which was read a moment ago. The one before it cannot
    /// stand in any more until the new one is written, so a latest one that is damaged in between costs totals.
    ///
    /// # Errors
    /// The disk refuses, and there was no checkpoint before.
    pub fn keep_at_start(&self, has_checkpoint: bool) -> io::Result<()> {
        let mut checkpoints = self.checkpoints();
        let checkpoint = self.checkpoint();
        let mut written = self.write(&mut checkpoints, &checkpoint);
        if has_checkpoint && written.as_ref().is_err_and(is_full) && self.journal.is_beyond_limit() {
            self.journal.drop_beyond_limit(checkpoints.position());
            written = self.write(&mut checkpoints, &checkpoint);
        }
        match written {
            // A full disk is no reason not to start: it may be the journal itself that can make room.
            Err(error) if has_checkpoint => {
                warn!(%error, "{NO_CHECKPOINT}");
                Ok(())
            }
            written => written,
        }
    }

    /// Appends a batch as the journal does, once there is room for it within the limit.
    ///
    /// # Errors
    /// Those of [`DiskJournal::append`]; or no room can be made, since a checkpoint cannot be written.
    pub fn append(&self, records: &[Bytes]) -> Result<u64, JournalError> {
        if self.journal.begins_segment(records) && self.journal.is_beyond_limit() {
            self.make_room()?;
        }
        let appended = self.journal.append(records);
        if let Err(JournalError::Disk(error)) = &appended
            && is_full(error)
        {
            self.is_disk_full.store(true, Ordering::Relaxed);
        }
        appended
    }

    /// How many of the first records, of which these are the bytes, are to be appended at once.
    pub fn batch(&self, records: impl IntoIterator<Item = usize>) -> usize {
        self.journal.batch(records)
    }

    /// Drops what is beyond the limit, the oldest first, with a checkpoint if there is none to do it by.
    fn make_room(&self) -> Result<(), JournalError> {
        let mut checkpoints = self.checkpoints();
        self.journal.drop_beyond_limit(checkpoints.needed_from());
        if !self.is_to_shrink() {
            return Ok(());
        }
        let written = self.write_both(&mut checkpoints);
        self.journal.drop_beyond_limit(checkpoints.needed_from());
        if !self.is_to_shrink() {
            return Ok(());
        }
        written?;
        Err(JournalError::Full { bytes: self.journal.bytes(), limit: self.journal.limit() })
    }

    /// Whether there is more than may be, and something that could go.
    fn is_to_shrink(&self) -> bool {
        self.journal.is_beyond_limit() && self.journal.has_several_segments()
    }

    /// Whether the keeper has something to do at once.
    pub fn is_pressed(&self) -> bool {
        self.journal.is_beyond_limit() || self.is_disk_full.load(Ordering::Relaxed)
    }

    /// The journal.
    pub fn journal(&self) -> &Arc<DiskJournal<S>> {
        &self.journal
    }

    /// The fold of what the journal has.
    #[cfg(test)]
    pub(super) fn fold(&self) -> &Arc<Fold> {
        &self.fold
    }

    /// Closes a segment whose first record is older than `segment_age` at `now`, drops what need not be kept any more,
    /// and writes a checkpoint if there is something new. Session IDs are known from the records from `window_start`
    /// on. To be called only when all readers are there.
    pub fn keep(&self, window_start: Option<u64>, segment_age: Duration, now: Instant) {
        if let Err(error) = self.journal.close_older_than(segment_age, now) {
            self.warn(&error, "a segment of the journal cannot be closed; it stays until it can");
        }
        self.journal.drop_removed();
        self.journal.give_back_on_full_disk();
        let mut checkpoints = self.checkpoints();
        let drop_before = |needed_from: u64| {
            self.journal.drop_before(needed_from.min(window_start.unwrap_or(u64::MAX)));
            self.journal.drop_beyond_limit(needed_from);
        };
        // Before the checkpoint, for which a full disk may need the room.
        drop_before(checkpoints.needed_from());
        let written = if self.is_disk_full.swap(false, Ordering::Relaxed) {
            // Who appends would take the room that was set aside for the checkpoint.
            let written = self.journal.without_appends(|| self.write_both(&mut checkpoints));
            drop_before(checkpoints.needed_from());
            written
        } else {
            // Both are brought up to the end, or a quiet journal would have to keep its last records for the older one.
            let position = self.fold.position();
            let is_up_to_date = position == checkpoints.position() && position == checkpoints.needed_from();
            match is_up_to_date && !self.readers.has_unkept() {
                true => Ok(()),
                false => self
                    .write(&mut checkpoints, &self.checkpoint())
                    .inspect(|()| drop_before(checkpoints.needed_from())),
            }
        };
        if let Err(error) = written {
            self.warn(&error, NO_CHECKPOINT);
        }
    }

    fn warn(&self, error: &io::Error, what: &'static str) {
        if let Some(LeftOut { times, .. }) = self.logged.note(what, 1) {
            warn!(%error, left_out = times, "{what}");
        }
    }

    /// Writes what is new as both checkpoints, so that the journal can drop all that they have, and either can still stand in
    /// for the other.
    fn write_both(&self, checkpoints: &mut Checkpoints<S>) -> io::Result<()> {
        let checkpoint = self.checkpoint();
        while checkpoints.needed_from() < checkpoint.position {
            self.write(checkpoints, &checkpoint)?;
        }
        Ok(())
    }

    fn write(&self, checkpoints: &mut Checkpoints<S>, checkpoint: &Checkpoint) -> io::Result<()> {
        checkpoints.write(checkpoint)?;
        if let Some(marks) = &checkpoint.marks {
            self.readers.note_kept(marks);
        }
        Ok(())
    }

    /// The totals as they are, with what readers were shown of them.
    fn checkpoint(&self) -> Checkpoint {
        let checkpoint = self.fold.checkpoint();
        let marks = Some(self.readers.marks(checkpoint.ledger.births()));
        Checkpoint { marks, ..checkpoint }
    }

    fn checkpoints(&self) -> MutexGuard<'_, Checkpoints<S>> {
        // Positions change last, so a panic leaves them behind what is on disk, which is safe.
        self.checkpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a journal in `storage`, which people know as `path`, may take of `max_bytes`: all of it, unless the disk is too small
/// for that. Then it is said.
pub fn limit_on(storage: &impl Storage, path: &Path, max_bytes: u64) -> u64 {
    let total = match storage.space() {
        Ok(Some(space)) => space.total,
        Ok(None) => return max_bytes,
        Err(error) => {
            info!(%error, path = %path.display(), "the size of the disk cannot be told");
            return max_bytes;
        }
    };
    let limit = most_on(total);
    if limit >= max_bytes {
        return max_bytes;
    }
    warn!(
        path = %path.display(),
        disk_bytes = total,
        state_max_bytes = max_bytes,
        limit,
        "the disk is too small for --state-max-bytes; the journal keeps to a lower limit"
    );
    limit
}

/// What a journal may take of a disk with `total` bytes, so that a segment more than that, checkpoints and all else fit in.
fn most_on(total: u64) -> u64 {
    total - total / 16 - MOST_BESIDE.min(total / 4)
}

#[cfg(test)]
mod tests;
