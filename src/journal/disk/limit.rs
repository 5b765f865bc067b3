//! How much a journal on disk may take, and what it drops: whole segments, the oldest first.

use std::io;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use tracing::{error, warn};

use super::{DiskJournal, LARGEST_SEGMENT, State};
use crate::http::pace::LeftOut;
use crate::journal::head;
use crate::journal::recovery::{Segment, file_name};
use crate::journal::segment::FRAME_HEAD;
use crate::journal::storage::Storage;

impl<S: Storage> DiskJournal<S> {
    /// Notes that something else that counts towards the limit of this journal takes `now` bytes, and took `before`.
    pub fn note_beside(&self, before: u64, now: u64) {
        self.beside.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
    }

    /// The bytes that the segments may take, and what counts towards the same limit.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// The bytes that the segments may take.
    pub fn limit(&self) -> u64 {
        self.max_bytes.saturating_sub(self.beside.load(Ordering::Relaxed))
    }

    /// How large a segment becomes, unless a single batch is larger.
    pub fn segment_bytes(&self) -> u64 {
        (self.max_bytes / 16).clamp(1, LARGEST_SEGMENT)
    }

    /// Whether the last segment has no room for this many bytes, or a better one is ready. A segment has one batch at least.
    pub(super) fn is_segment_due(&self, bytes: u64) -> bool {
        let state = self.state();
        let fits = |last: &Segment| {
            last.bytes == last.records_at || last.bytes.saturating_add(bytes) <= self.segment_bytes()
        };
        state.has_better() || !state.segments.last().is_some_and(fits)
    }

    /// Whether the next append begins a segment if it has these records.
    pub fn begins_segment(&self, records: &[Bytes]) -> bool {
        let has_active = self.writer.lock().unwrap_or_else(PoisonError::into_inner).active.is_some();
        !has_active || self.is_segment_due(frames_size(records))
    }

    /// How many of the first records, of which these are the bytes, are to be appended at once: no more than a segment takes,
    /// and one at least.
    pub fn batch(&self, records: impl IntoIterator<Item = usize>) -> usize {
        let mut bytes = head::SIZE as u64;
        let fits = |record: &usize| {
            bytes += (FRAME_HEAD + record) as u64;
            bytes <= self.segment_bytes()
        };
        records.into_iter().take_while(fits).count().max(1)
    }

    /// Does something while nothing is appended.
    pub fn without_appends<T>(&self, act: impl FnOnce() -> T) -> T {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        act()
    }

    /// Drops segments of which every reader is done with all records, and that lie before `keep_from`.
    pub fn drop_before(&self, keep_from: u64) {
        let bound = keep_from.min(self.state().unfinished_from());
        self.drop_segments(|state| state.segments[1].first <= bound);
    }

    /// Drops the oldest segments while all take more than the journal may, whether or not readers are done with them.
    /// Nothing at or beyond `keep_from` is dropped, which is not in the ledger's checkpoint yet. Before anything else
    /// goes what is filled with zeros.
    pub fn drop_beyond_limit(&self, keep_from: u64) {
        self.give_zeros_back();
        self.drop_segments(|state| state.bytes() > self.limit() && state.segments[1].first <= keep_from);
    }

    /// Whether there is a segment beside the last one, which is never dropped.
    pub fn has_several_segments(&self) -> bool {
        self.state().segments.len() > 1
    }

    /// Drops the oldest segments as long as somebody removed their files: readers would wait for them for ever.
    pub fn drop_removed(&self) {
        let mut before = None;
        while let [(oldest, _), _, ..] = self.segments()[..]
            && before.replace(oldest) != Some(oldest)
            && self
                .storage
                .size(&file_name(oldest))
                .is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        {
            self.drop_segments(|state| state.segments[0].first == oldest);
        }
    }

    /// Whether the segments take more than they may.
    pub fn is_beyond_limit(&self) -> bool {
        self.bytes() > self.limit()
    }

    /// Drops the oldest segment as long as there is another and `is_due` says so.
    fn drop_segments(&self, is_due: impl Fn(&State) -> bool) {
        // Held so that the active segment cannot change meanwhile.
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut dropped = false;
        while let Some((name, end)) = self.segment_to_drop(&is_due) {
            // Without the lock on the state, for which intake and metrics would wait while the disk hangs.
            match self.storage.remove(&name) {
                // Somebody may have removed it to make room.
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    if let Some(LeftOut { times, .. }) = self.logged.note("cannot be removed", 1) {
                        let segment = self.storage.full_name(&name);
                        error!(%error, segment, left_out = times, "a segment of the journal cannot be removed");
                    }
                    break;
                }
                _ => {}
            }
            let mut state = self.state();
            state.segments.remove(0);
            state.drop_before(end);
            dropped = true;
        }
        if dropped
            && let Err(error) = self.storage.sync_directory()
            && let Some(LeftOut { times, .. }) = self.logged.note("may not last", 1)
        {
            warn!(%error, left_out = times, "the removal of segments may not last");
        }
    }

    /// The file of the oldest segment and the sequence number where it ends, if there is another and `is_due` says so.
    fn segment_to_drop(&self, is_due: impl Fn(&State) -> bool) -> Option<(String, u64)> {
        let state = self.state();
        let [oldest, next, ..] = state.segments.as_slice() else { return None };
        is_due(&state).then(|| (file_name(oldest.first), next.first))
    }
}

/// Bytes of the frames of these records.
pub(in crate::journal) fn frames_size(records: &[Bytes]) -> u64 {
    records.iter().map(|record| (FRAME_HEAD + record.len()) as u64).sum()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::journal::disk_reader::DiskReader;
    use crate::journal::position;
    use crate::journal::simulated_disk::SimulatedDisk;
    use crate::journal::storage::{StorageFile, replace};

    const MOST_BYTES: u64 = 1_000;

    /// A journal with more than it may have, in many segments.
    fn beyond_limit(disk: &SimulatedDisk) -> Arc<DiskJournal<SimulatedDisk>> {
        let journal = DiskJournal::open(disk.clone(), MOST_BYTES, 0, |_, _| {}).expect("a journal");
        while journal.bytes() < 2 * MOST_BYTES {
            journal.append(&[Bytes::from_static(b"record")]).expect("appended");
        }
        Arc::new(journal)
    }

    #[test]
    fn a_segment_that_somebody_removed_keeps_no_other_from_being_dropped() {
        let disk = SimulatedDisk::default();
        let journal = beyond_limit(&disk);
        disk.remove(&file_name(0)).expect("removed");
        journal.drop_beyond_limit(journal.end());
        assert!((1..=MOST_BYTES).contains(&journal.bytes()));
    }

    #[test]
    fn a_full_disk_gets_the_room_of_a_torn_end_back() {
        let disk = SimulatedDisk::default();
        let open = || DiskJournal::open(disk.clone(), MOST_BYTES, 0, |_, _| {}).expect("a journal");
        open().append(&[Bytes::from_static(b"record")]).expect("appended");
        let sound = disk.size(&file_name(0)).expect("a size");
        disk.open(&file_name(0)).expect("a segment").append(&[7; 1_000]).expect("appended");
        disk.limit(Some(0));
        let journal = open();
        assert_eq!((journal.bytes(), disk.size(&file_name(0)).expect("a size")), (sound, sound));
        journal.append(&[Bytes::from_static(b"another")]).expect("appended");
        assert_eq!((journal.end(), journal.damaged()), (2, 0));
    }

    #[test]
    fn a_failed_append_on_a_full_disk_keeps_no_more_room_than_a_head() {
        let disk = SimulatedDisk::default();
        let journal = DiskJournal::open(disk.clone(), MOST_BYTES * 1_000, 0, |_, _| {}).expect("a journal");
        journal.append(&[Bytes::from_static(b"record")]).expect("appended");
        let before = journal.bytes();
        disk.limit(Some(100));
        // Beside a segment without records from the second time on.
        let head = head::SIZE as u64;
        for kept in [0, head, head] {
            journal.append(&[Bytes::from(vec![1; 500])]).expect_err("no room");
            assert_eq!(disk.space().expect("a disk").map(|space| space.free), Some(100 - kept));
            assert_eq!(journal.bytes(), before + kept);
        }
    }

    /// Where the committer cuts what waits.
    #[test]
    fn a_batch_is_no_larger_than_a_segment_and_one_record_at_least() {
        let journal = DiskJournal::open(SimulatedDisk::default(), 16_000, 0, |_, _| {}).expect("a journal");
        assert_eq!(journal.segment_bytes(), 1_000);
        assert_eq!(journal.batch([]), 1);
        assert_eq!(journal.batch([5_000, 1]), 1);
        assert_eq!(journal.batch([300; 10]), 2);
        let records = [Bytes::from(vec![1; 300]), Bytes::from(vec![1; 300])];
        journal.append(&records).expect("appended");
        assert!(journal.begins_segment(&records) && !journal.begins_segment(&[]));
    }

    #[test]
    fn with_a_damaged_position_nothing_counts_as_dropped() {
        let disk = SimulatedDisk::default();
        let journal = beyond_limit(&disk);
        journal.drop_beyond_limit(journal.end());
        replace(&disk, &position::file_name("spans"), b"damaged").expect("written");
        let mut reader = DiskReader::new(&journal, "spans").expect("a reader");
        assert_eq!(reader.take(1).expect("taken")[0].0, journal.first());
        let status = journal.readers().remove(0);
        assert_eq!((status.backlog, status.dropped), (journal.end() - journal.first(), 0));
    }
}
