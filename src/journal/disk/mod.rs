//! The journal on disk: segments that are appended to and synced, a batch at a time.
//!
//! An append answers once the batch is on disk. After a failed write or sync nothing is known of the segment's end, and
//! trying again proves nothing; so the segment is abandoned at its last good batch, and the next append begins a new one
//! with the next sequence number. Whatever the failed batch left behind lies beyond the new segment's first record, and
//! counts for nothing. A restart begins a new segment as well, which is how a torn end is cut. So does age, since a segment
//! goes as a whole, and what is in it is to leave in time.

mod limit;
mod visit;

use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::Notify;
use tracing::{error, warn};

use super::position::Position;
use super::reader_state::ReaderState;
use super::recovery::{Found, Segment, Stored, file_name, read_segments};
use super::segment::{self, FRAME_HEAD, LONGEST_RECORD, Next};
use super::storage::{Storage, StorageFile, is_full, replace};
use super::{JournalError, ReaderStatus, head};
use crate::http::pace::{LeftOut, Pace};
use crate::release::Release;
use limit::frames_size;

/// How large a segment grows before the next one begins, at most.
const LARGEST_SEGMENT: u64 = 16 * 1024 * 1024;

/// How much memory a batch may leave behind for the next.
const LARGEST_KEPT_BUFFER: usize = 1024 * 1024;

/// The journal on disk.
pub struct DiskJournal<S: Storage> {
    pub(super) storage: S,
    writer: Mutex<Writer<S::File>>,
    state: Mutex<State>,
    pub(super) appended: Notify,
    max_bytes: u64,
    /// What else takes of `max_bytes`.
    beside: AtomicU64,
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
}

impl<S: Storage> DiskJournal<S> {
    /// Opens the journal in `storage` and hands every record to `visit`, in order, with its sequence number. Those before
    /// `known` are known to have been acknowledged; the next record gets at least that number. Segments may take `max_bytes`.
    ///
    /// # Errors
    /// The disk fails, or a newer version of this program wrote it. Damage is no error: it is reported, counted and stepped
    /// over.
    pub fn open(
        storage: S,
        max_bytes: u64,
        known: u64,
        mut visit: impl FnMut(u64, &[u8]),
    ) -> Result<DiskJournal<S>, JournalError> {
        DiskJournal::open_with_places(storage, max_bytes, known, |stored| {
            visit(stored.sequence, stored.record);
        })
    }

    /// The same, for who wants to know where each record is.
    ///
    /// # Errors
    /// Those of [`DiskJournal::open`].
    pub(super) fn open_with_places(
        storage: S,
        max_bytes: u64,
        known: u64,
        visit: impl FnMut(Stored<'_>),
    ) -> Result<DiskJournal<S>, JournalError> {
        let mut found = read_segments(&storage, known, visit)?;
        report(&storage, &found);
        if let Some(last) = found.segments.last_mut() {
            let name = file_name(last.first);
            secure(&storage, &name, found.last.as_deref())?;
            last.bytes = storage.size(&name)?;
        }
        let state = State {
            end: found.end.max(found.known),
            segments: found.segments,
            readers: Vec::new(),
            damaged: found.damaged,
            drops_logged: Pace::default(),
        };
        Ok(DiskJournal {
            storage,
            writer: Mutex::new(Writer { active: None, buffer: Vec::new(), since: None }),
            state: Mutex::new(state),
            appended: Notify::new(),
            max_bytes,
            beside: AtomicU64::new(0),
        })
    }

    /// Appends a batch and answers the sequence number of its first record once all of it is on disk. An empty batch
    /// tells whether the journal can be written.
    ///
    /// # Errors
    /// The disk refused the write or the sync; nothing of the batch is in the journal.
    pub fn append(&self, records: &[Bytes]) -> Result<u64, JournalError> {
        self.append_with(records, frames_size(records)).map(|(first, _)| first)
    }

    /// The same, and answers also where the first frame begins in its segment, which may become larger by this batch than
    /// segments do: batches are small here, and many small segments would take more.
    pub(super) fn append_at(&self, records: &[Bytes]) -> Result<(u64, u64), JournalError> {
        self.append_with(records, 1)
    }

    /// Appends a batch to a segment that has room for this many bytes.
    fn append_with(&self, records: &[Bytes], room: u64) -> Result<(u64, u64), JournalError> {
        if let Some(record) = records.iter().find(|record| record.len() > LONGEST_RECORD) {
            return Err(JournalError::RecordTooLong(record.len()));
        }
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.storage.check()?;
        let first = self.state().end;
        if writer.active.is_none() || self.is_segment_due(room) {
            // Until the new one stands, none does.
            writer.active = None;
            writer.active = Some(self.begin_segment(first)?);
            writer.since = None;
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
        drop(state);
        if !records.is_empty() {
            self.appended.notify_waiters();
        }
        Ok((first, offset))
    }

    /// Counts what a failed append left in the last segment, of which nothing counts as a record. A full disk gets its room back,
    /// which a checkpoint or a position may need. A segment without records stays all the same: what a failed append left in
    /// the one before it is void only as long as this one is there.
    fn abandon(&self, file: &mut S::File, error: &io::Error) {
        let Some(last) = self.state().segments.last().copied() else { return };
        if is_full(error) && file.cut(last.bytes).is_ok() {
            return;
        }
        let size = self.storage.size(&file_name(last.first)).unwrap_or(last.bytes);
        if let Some(last) = self.state().segments.last_mut() {
            last.bytes = last.bytes.max(size);
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
        self.storage.check()?;
        // As in an append: until the new one stands, none does.
        writer.active = None;
        writer.active = Some(self.begin_segment(end)?);
        writer.since = None;
        Ok(())
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

    fn begin_segment(&self, first: u64) -> io::Result<S::File> {
        let name = file_name(first);
        // One of this name has no record that counts: it was abandoned before its first batch, or torn at it.
        if self.state().segments.last().is_some_and(|last| last.first == first) {
            self.storage.remove(&name)?;
            self.state().segments.pop();
        } else if self.storage.size(&name).is_ok() {
            self.storage.remove(&name)?;
        }
        let mut file = self.storage.create(&name)?;
        let head = head::encode(first);
        file.append(&head)?;
        file.sync()?;
        self.storage.sync_directory()?;
        let (bytes, writer) = (head.len() as u64, Some(Release::THIS));
        self.state().segments.push(Segment { first, bytes, damaged: 0, writer, records_at: bytes });
        Ok(file)
    }

    /// How every reader stands.
    pub fn readers(&self) -> Vec<ReaderStatus> {
        let state = self.state();
        state.readers.iter().map(|reader| reader.status(state.end)).collect()
    }

    /// Bytes of all segments.
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

/// Says what was found damaged or torn.
fn report(storage: &impl Storage, found: &Found) {
    for Segment { first, damaged, .. } in found.segments.iter().filter(|segment| segment.damaged > 0) {
        error!(
            segment = storage.full_name(&file_name(*first)),
            records = damaged,
            "a segment of the journal is damaged; its sound records are used"
        );
    }
    if let Some(last) = found.segments.last().filter(|_| found.torn.bytes > 0) {
        warn!(
            segment = storage.full_name(&file_name(last.first)),
            bytes = found.torn.bytes,
            sound_records = found.torn.sound,
            "the journal has a torn end, which is cut: what was being written and was never acknowledged, as far as \
             checkpoints and positions tell"
        );
    }
}

/// Makes durable what was read of the last segment. What a killed process had written and not synced can be read now, and
/// must stay, since it is in the totals now. Syncing the file is not enough: where a sync failed before, another may
/// succeed without anything having been written. So the segment is written anew, without its torn end.
fn secure(storage: &impl Storage, name: &str, sound: Option<&[u8]>) -> io::Result<()> {
    match sound.map(|bytes| replace(storage, name, bytes)) {
        Some(Ok(())) => Ok(()),
        // A damaged segment is left as it is for people to look at, and a full disk is no reason not to start.
        Some(Err(_)) | None => {
            let mut file = storage.open(name)?;
            if let Some(sound) = sound {
                // A full disk needs the room of the torn end.
                let _ = file.cut(sound.len() as u64);
            }
            file.sync()?;
            // That it is there makes void what lies beyond its first record in the one before it.
            storage.sync_directory()
        }
    }
}

impl State {
    /// The sequence number of the oldest record that is kept, or of the next one if none is.
    fn first(&self) -> u64 {
        self.segments.first().map_or(self.end, |segment| segment.first)
    }

    fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.bytes).sum()
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
