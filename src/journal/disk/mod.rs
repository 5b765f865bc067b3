//! The journal on disk: segments that are appended to and synced, a batch at a time.
//!
//! An append answers once the batch is on disk. After a failed write or sync nothing is known of the segment's end, and
//! trying again proves nothing; so the segment is abandoned at its last good batch, and the next append begins a new
//! one with the next sequence number. Whatever the failed batch left behind lies beyond the new segment's first record,
//! and counts for nothing. A restart begins a new segment as well, which is how a torn end is cut (`open`). So does
//! age, since a segment goes as a whole, and what is in it is to leave in time. What becomes the next segment is made
//! ahead (`ahead`).

mod ahead;
mod limit;
mod open;
mod visit;

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;
use tracing::warn;

use super::position::Position;
use super::reader_state::ReaderState;
use super::recovery::{Segment, file_name};
use super::segment::{self, FRAME_HEAD, LONGEST_RECORD, Next};
use super::storage::{Storage, StorageFile, is_full};
use super::{JournalError, ReaderStatus, head};
use crate::http::pace::{LeftOut, Pace};
use crate::release::Release;
use ahead::Next as NextSegment;
pub(super) use limit::frames_size;

/// How large a segment grows before the next one begins, at most.
const LARGEST_SEGMENT: u64 = 16 * 1024 * 1024;

/// How much memory a batch may leave behind for the next.
const LARGEST_KEPT_BUFFER: usize = 1024 * 1024;

/// The journal on disk.
pub struct DiskJournal<S: Storage> {
    pub(super) storage: S,
    writer: Mutex<Writer<S::File>>,
    state: Mutex<State>,
    /// To whoever makes segments ahead, if somebody does.
    wishes: OnceLock<SyncSender<()>>,
    pub(super) appended: Notify,
    max_bytes: u64,
    /// Bytes of other files, such as waiting journals, that count towards `max_bytes`.
    beside: AtomicU64,
    /// What was said of segments that cannot be removed.
    logged: Pace,
}

struct Writer<F> {
    /// The segment that is written to; none after a start and after a failure.
    active: Option<F>,
    buffer: Vec<u8>,
    /// When the first record was appended to it.
    since: Option<Instant>,
}

#[derive(Debug)]
struct State {
    /// In order; the last is the active one, if any is.
    segments: Vec<Segment>,
    /// Every record before this sequence number is on disk.
    end: u64,
    readers: Vec<ReaderState>,
    damaged: u64,
    drops_logged: Pace,
    /// The size of the last segment's file if it was made ahead: so far there are zeros behind the records. 0 if it grows.
    zeroed: u64,
    /// How often the last segment was appended to.
    batches: u32,
    next: NextSegment,
}

impl<S: Storage> DiskJournal<S> {
    /// Appends a batch and answers the sequence number of its first record once all of it is on disk. An empty batch
    /// tells whether the journal can be written.
    ///
    /// # Errors
    /// The disk refused the write or the sync; nothing of the batch is in the journal.
    pub fn append(&self, records: &[Bytes]) -> Result<u64, JournalError> {
        self.append_with(records, frames_size(records)).map(|(first, _)| first)
    }

    /// Appends a batch to a segment that has room for this many bytes, as far as a segment can, and answers also where
    /// the first frame begins in it. With less room than the batch takes, the segment may become larger by the batch
    /// than segments do.
    pub(super) fn append_with(&self, records: &[Bytes], room: u64) -> Result<(u64, u64), JournalError> {
        if let Some(record) = records.iter().find(|record| record.len() > LONGEST_RECORD) {
            return Err(JournalError::RecordTooLong(record.len()));
        }
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let first = self.state().end;
        if writer.active.is_none() || self.is_segment_due(room) {
            self.begin_segment(&mut writer, first)?;
        }
        let Writer { active, buffer, since } = &mut *writer;
        for (place, record) in records.iter().enumerate() {
            segment::write_frame(buffer, first + place as u64, place as u32, record);
        }
        let written = match active {
            Some(file) => {
                let written = self.write(file, buffer);
                written.inspect_err(|error| self.abandon(file, error))
            }
            None => Ok(()),
        };
        let bytes = buffer.len() as u64;
        buffer.clear();
        buffer.shrink_to(LARGEST_KEPT_BUFFER);
        if let Err(error) = written {
            *active = None;
            if is_full(&error) {
                self.give_next_back();
            }
            return Err(JournalError::Disk(error));
        }
        if !records.is_empty() {
            since.get_or_insert_with(Instant::now);
        }
        let mut state = self.state();
        state.end += records.len() as u64;
        let mut offset = 0;
        if let Some(last) = state.segments.last_mut() {
            offset = last.bytes;
            last.bytes += bytes;
        }
        state.batches += u32::from(!records.is_empty());
        let is_next_wanted = state.wants_next();
        drop(state);
        if is_next_wanted {
            self.wish();
        }
        if !records.is_empty() {
            self.appended.notify_waiters();
        }
        Ok((first, offset))
    }

    /// Counts what a failed append left in the last segment, of which nothing counts as a record. A full disk gets its
    /// room back, which a checkpoint or a position may need, and zeros are of no use any more. A segment without
    /// records stays all the same: what a failed append left in the one before it is void only as long as this one is
    /// there.
    fn abandon(&self, file: &mut S::File, error: &io::Error) {
        let (last, zeros) = {
            let state = self.state();
            let Some(last) = state.segments.last().copied() else { return };
            (last, state.zeros())
        };
        let is_cut = (is_full(error) || zeros > 0) && file.cut(last.bytes).is_ok();
        let size = if is_cut { Ok(last.bytes) } else { self.storage.size(&file_name(last.first)) };
        let mut state = self.state();
        state.zeroed = 0;
        if let Some(last) = state.segments.last_mut() {
            last.bytes = last.bytes.max(size.unwrap_or(last.bytes + zeros));
        }
    }

    /// Writes frames to the segment that is written to. What is on disk and not in its file is not in the journal.
    fn write(&self, file: &mut S::File, frames: &[u8]) -> io::Result<()> {
        if !frames.is_empty() {
            file.append(frames)?;
            file.sync()?;
        }
        let name = self.state().segments.last().map(|last| file_name(last.first));
        name.map_or(Ok(()), |name| self.storage.check_file(&name, file))
    }

    /// Closes the segment that is written to if its first record is older than `age` at `now`, so that it can be dropped. One
    /// that an earlier process left behind is closed in any case.
    ///
    /// # Errors
    /// The disk refuses to begin the next one; the next append tries again.
    pub fn close_older_than(&self, age: Duration, now: Instant) -> io::Result<()> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let end = self.state().end;
        let is_young = writer.since.is_some_and(|since| now.saturating_duration_since(since) < age);
        if is_young || !self.has_open_segment() {
            return Ok(());
        }
        self.begin_segment(&mut writer, end)
    }

    /// Whether the last segment has records, so that it is to be closed in time.
    pub fn has_open_segment(&self) -> bool {
        let state = self.state();
        state.segments.last().is_some_and(|last| last.first < state.end)
    }

    /// The record with this sequence number and length, whose frame begins at `offset` in its segment.
    ///
    /// # Errors
    /// The disk fails, or there is no such record.
    pub(super) fn read(&self, sequence: u64, offset: u64, length: usize) -> io::Result<Bytes> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "the record is not there any more");
        let (segment, _) = self.segment_of(sequence).ok_or_else(missing)?;
        let mut frame = vec![0; FRAME_HEAD + length];
        let read = self.storage.read_at(&file_name(segment.first), offset, &mut frame)?;
        frame.truncate(read);
        let frame = Bytes::from(frame);
        match segment::read_frame(&frame) {
            Next::Frame(found) if found.sequence == sequence => Ok(frame.slice_ref(found.record)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the record is damaged")),
        }
    }

    /// The segments in order: the first sequence number of each, and where that of the next one begins.
    pub(super) fn segments(&self) -> Vec<(u64, u64)> {
        let state = self.state();
        let ends = state.segments.iter().skip(1).map(|segment| segment.first).chain([state.end]);
        state.segments.iter().map(|segment| segment.first).zip(ends).collect()
    }

    /// Where the files are.
    pub fn storage(&self) -> &S {
        &self.storage
    }

    /// Where the records of a segment begin.
    pub(super) fn records_at(&self, first: u64) -> u64 {
        let state = self.state();
        let segment = state.segments.iter().find(|segment| segment.first == first);
        segment.map_or(0, |segment| segment.records_at)
    }

    /// Closes the segment that is written to, and begins the one whose first record has this number. Until that stands,
    /// none does.
    fn begin_segment(&self, writer: &mut Writer<S::File>, first: u64) -> io::Result<()> {
        self.storage.check()?;
        self.cut_zeros(&mut writer.active);
        writer.active = None;
        let name = file_name(first);
        // One of this name has no record that counts: it was abandoned before its first batch, or torn at it.
        if self.state().count_zeros().is_some_and(|last| last == first) {
            self.storage.remove(&name)?;
            self.state().segments.pop();
        }
        let head = head::encode(first);
        let (file, zeroed) = match self.take_next(&name, &head) {
            Some(taken) => taken,
            None => (self.begin_growing(&name, &head)?, 0),
        };
        let (bytes, release) = (head.len() as u64, Some(Release::THIS));
        let mut state = self.state();
        state.segments.push(Segment { first, bytes, damaged: 0, writer: release, records_at: bytes });
        (state.zeroed, state.batches) = (zeroed, 0);
        (writer.active, writer.since) = (Some(file), None);
        Ok(())
    }

    /// A new file of this name with this head, to which records are appended.
    fn begin_growing(&self, name: &str, head: &[u8]) -> io::Result<S::File> {
        if self.storage.size(name).is_ok() {
            self.storage.remove(name)?;
        }
        let mut file = self.storage.create(name)?;
        file.append(head)?;
        file.sync()?;
        self.storage.sync_directory()?;
        Ok(file)
    }

    /// How every reader stands.
    pub fn readers(&self) -> Vec<ReaderStatus> {
        let state = self.state();
        state.readers.iter().map(|reader| reader.status(state.end)).collect()
    }

    /// Bytes of all segments, with what is filled with zeros for records to come.
    pub fn bytes(&self) -> u64 {
        self.state().bytes()
    }

    /// The sequence number of the oldest record that is kept, or of the next one if none is.
    pub fn first(&self) -> u64 {
        self.state().first()
    }

    /// Every record before this sequence number is on disk.
    pub fn end(&self) -> u64 {
        self.state().end
    }

    /// Acknowledged records that were found damaged when the journal was opened.
    pub fn damaged(&self) -> u64 {
        self.state().damaged
    }

    /// Registers a reader that goes on at `position`, and answers its index.
    pub(super) fn register(&self, name: &'static str, position: Position) -> usize {
        let mut state = self.state();
        let reader = ReaderState::resume(name, position, state.first()..state.end);
        reader.check(state.end);
        state.readers.push(reader);
        state.readers.len() - 1
    }

    /// Looks at a reader, or changes it, with the sequence number where the journal ends.
    pub(super) fn with_reader<T>(&self, index: usize, act: impl FnOnce(&mut ReaderState, u64) -> T) -> T {
        let mut state = self.state();
        let end = state.end;
        let reader = &mut state.readers[index];
        let answer = act(reader, end);
        reader.check(end);
        answer
    }

    /// The segment that holds a record, or else the first one behind it, and the sequence number where that ends.
    pub(super) fn segment_of(&self, sequence: u64) -> Option<(Segment, u64)> {
        let state = self.state();
        if sequence >= state.end {
            return None;
        }
        let index = state.segments.partition_point(|segment| segment.first <= sequence).saturating_sub(1);
        let segment = *state.segments.get(index)?;
        let end = state.segments.get(index + 1).map_or(state.end, |following| following.first.min(state.end));
        Some((segment, end))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The sequence number of the oldest record that is kept, or of the next one if none is.
    fn first(&self) -> u64 {
        self.segments.first().map_or(self.end, |segment| segment.first)
    }

    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum::<u64>() + self.zeros() + self.next.bytes()
    }

    /// Counts zeros that could not be cut as a part of the last segment, which is not written to any more. Answers its
    /// first number.
    fn count_zeros(&mut self) -> Option<u64> {
        let zeros = self.zeros();
        self.zeroed = 0;
        let last = self.segments.last_mut()?;
        last.bytes += zeros;
        Some(last.first)
    }

    /// The first record that some reader has not finished, of those that are kept; `u64::MAX` without readers.
    fn unfinished_from(&self) -> u64 {
        let first = self.first();
        self.readers.iter().map(|reader| reader.unfinished_from(first)).min().unwrap_or(u64::MAX)
    }

    /// Moves readers on to `bound`, before which there is nothing any more.
    fn drop_before(&mut self, bound: u64) {
        for reader in &mut self.readers {
            let dropped = reader.drop_before(bound);
            reader.check(self.end);
            if dropped > 0
                && let Some(LeftOut { number, times }) = self.drops_logged.note(reader.name(), dropped)
            {
                warn!(
                    reader = reader.name(),
                    events = dropped + number,
                    left_out = times,
                    "the journal has taken more than it may, or somebody removed a part of it; events that waited are dropped"
                );
            }
        }
    }
}
