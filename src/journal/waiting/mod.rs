//! A waiting journal: copies of the events that a sink has set aside, in the journal's own format.
//!
//! It is a [`DiskJournal`] of its own, in segments whose names begin with the sink's. A record of it is an entry: a copy with
//! the event's number in the journal (its origin), its order, and the number of the copy that it replaces, if it does; or the
//! numbers of copies that are finished. `FORMAT.md` has the bytes.
//!
//! Copies are read at random, finished in any order, and dropped a segment at a time, the oldest first. A segment goes when
//! none of its copies waits any more. When most of what is kept does not wait any more, the oldest segment's last copies move
//! to the end, each in one frame that replaces the old one.

mod entry;
pub mod look;

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::{error, warn};

use super::JournalError;
use super::disk::{DiskJournal, frames_size};
use super::prefixed::Prefixed;
use super::recovery::{file_name, read_segments};
use super::segment::{self, FRAME_HEAD, LONGEST_RECORD, Next};
use super::storage::{Storage, read_all};
use crate::http::pace::{LeftOut, Pace};
use entry::{COPY_HEAD, Entry, Numbers, encode, encode_finished};

pub use entry::{Copy, Ticket, Waiting};

/// Numbers in one entry of finished copies, at most.
const FINISHED_AT_ONCE: usize = 8 * 1024;

/// The longest record that can be copied.
pub const LONGEST_COPY: usize = LONGEST_RECORD - COPY_HEAD;

/// How many copies a segment has, and how many of them wait.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    copies: u64,
    waiting: u64,
    /// Since when it has one that waits no more, as far as this process knows.
    finished_since: Option<Instant>,
}

/// A waiting journal.
pub struct WaitingJournal<S: Storage> {
    sink: String,
    journal: DiskJournal<Prefixed<S>>,
    /// By the first number of the segment.
    counts: BTreeMap<u64, Count>,
    /// Copies that are finished, and are not noted so on disk.
    unnoted: Vec<u64>,
    /// Whether an append failed, and none has succeeded since. What it left behind would count after a crash.
    is_end_uncertain: bool,
    /// From where on copies wait that nobody has in memory, if there are any, and how many.
    unindexed_from: Option<u64>,
    unindexed: u64,
    /// Copies from there on that are finished or replaced, or that somebody has in memory.
    passed_over: Numbers,
    lost: u64,
    /// What was said of what cannot be found or read.
    said: Pace,
}

impl<S: Storage> WaitingJournal<S> {
    /// Opens the waiting journal of this sink in `storage`, which may take `max_bytes`. Entries before `known` are
    /// known to have been on disk. Hands up to `most` waiting copies to `visit`, the oldest first; the others stay on
    /// disk only. `origin` is told the origin of every copy, finished or not.
    ///
    /// # Errors
    /// Those of [`DiskJournal::open`].
    pub fn open(
        storage: S,
        sink: &str,
        max_bytes: u64,
        known: u64,
        most: usize,
        mut visit: impl FnMut(Waiting),
        mut origin: impl FnMut(u64),
    ) -> Result<WaitingJournal<S>, JournalError> {
        let storage = Prefixed::new(storage, prefix(sink));
        let finished = read_finished(&storage, known)?;
        let mut counts: BTreeMap<u64, Count> = BTreeMap::new();
        let (mut indexed, mut unindexed_from, mut unindexed, mut unknown) = (0, None, 0, 0u64);
        let journal = DiskJournal::open_with_places(storage, max_bytes, known, |stored| {
            let (of, order, record) = match Entry::read(stored.record) {
                Some(Entry::Copy { origin, order, record, .. }) => (origin, order, record),
                Some(Entry::Finished(_)) => return,
                None => return unknown += 1,
            };
            origin(of);
            let waits = !finished.contains(stored.sequence);
            let count = counts.entry(stored.segment).or_default();
            count.copies += 1;
            if !waits {
                count.finished_since.get_or_insert_with(Instant::now);
                return;
            }
            count.waiting += 1;
            if indexed >= most {
                unindexed_from.get_or_insert(stored.sequence);
                unindexed += 1;
                return;
            }
            indexed += 1;
            let copy = Copy { origin: of, order, record: Bytes::copy_from_slice(record) };
            let ticket = Ticket::new(stored.sequence, stored.offset, stored.record.len());
            visit(Waiting { ticket, copy });
        })?;
        if known > 0 && journal.segments().is_empty() {
            error!(sink, "nothing is left of what waited: its files were removed");
        }
        if unknown > 0 {
            warn!(
                sink,
                entries = unknown,
                "what waits has entries of a kind that this release does not know"
            );
        }
        let passed_over = if unindexed_from.is_some() { finished } else { Numbers::default() };
        Ok(WaitingJournal {
            sink: sink.to_owned(),
            journal,
            counts,
            unnoted: Vec::new(),
            is_end_uncertain: false,
            unindexed_from,
            unindexed,
            passed_over,
            lost: 0,
            said: Pace::default(),
        })
    }

    /// Appends copies, of records up to [`LONGEST_COPY`], and notes on disk what is finished. Returns where each copy is.
    ///
    /// # Errors
    /// The disk refuses, or a record is too long; nothing was appended, and what is finished is noted the next time. Until
    /// another append succeeds, even an empty one, a crash may bring back what was not appended.
    pub fn append(&mut self, copies: &[Copy]) -> Result<Vec<Ticket>, JournalError> {
        let entries: Vec<Bytes> = copies.iter().map(|copy| encode(copy, None)).collect();
        // Batches are small here, and many small segments would take more: a segment may become larger by one.
        self.append_entries(entries, 1)
    }

    /// Appends entries, and what is finished, to a segment that has room for this many bytes.
    fn append_entries(&mut self, mut entries: Vec<Bytes>, room: u64) -> Result<Vec<Ticket>, JournalError> {
        if entries.is_empty() && self.unnoted.is_empty() && !self.is_end_uncertain {
            return Ok(Vec::new());
        }
        let copies = entries.len();
        entries.extend(self.unnoted.chunks(FINISHED_AT_ONCE).map(encode_finished));
        // After a failure this begins a new segment, even without entries; what the failed append left behind is void then.
        let appended = self.journal.append_with(&entries, room);
        self.is_end_uncertain = appended.is_err();
        let (first, mut offset) = appended?;
        self.unnoted.clear();
        let mut tickets = Vec::with_capacity(copies);
        for (number, entry) in (first..).zip(&entries[..copies]) {
            tickets.push(Ticket::new(number, offset, entry.len()));
            offset += (FRAME_HEAD + entry.len()) as u64;
        }
        if let Some((segment, _)) = self.segment(first).filter(|_| copies > 0) {
            let count = self.counts.entry(segment).or_default();
            count.copies += copies as u64;
            count.waiting += copies as u64;
        }
        Ok(tickets)
    }

    /// Leaves the copies from `first` on, which are the last `number` ones, on disk only: nobody has them in memory. Once it
    /// was called, it has to be called for whatever is appended, as long as something is unindexed.
    pub fn leave_unindexed(&mut self, first: Ticket, number: u64) {
        if self.unindexed_from.is_none() {
            self.unindexed_from = Some(first.number);
            self.passed_over = Numbers::default();
        }
        self.unindexed += number;
    }

    /// How many copies wait that nobody has in memory.
    pub fn unindexed(&self) -> u64 {
        self.unindexed
    }

    /// How many copies waited that nobody had in memory, and cannot be found any more.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Waiting copies that nobody has in memory, up to `most`, the oldest first, from one segment, so that their bytes are
    /// bounded. From now on, the caller has them. There may be none although some are unindexed; then the next call goes on.
    ///
    /// # Errors
    /// The disk fails; nothing was taken.
    pub fn index(&mut self, most: usize) -> io::Result<Vec<Waiting>> {
        let Some(from) = self.unindexed_from else { return Ok(Vec::new()) };
        // Segments in which nothing waits may have gone meanwhile.
        let from = from.max(self.journal.first());
        let Some((segment, end)) = self.segment(from) else {
            self.end_of_unindexed();
            return Ok(Vec::new());
        };
        let (mut waiting, mut next) = (Vec::new(), end);
        self.scan(segment, end, |copy| {
            let number = copy.ticket.number;
            if !self.is_unindexed(number) {
                return true;
            }
            if waiting.len() >= most {
                next = number;
                return false;
            }
            waiting.push(copy);
            true
        })?;
        self.unindexed_from = Some(next);
        self.unindexed = self.unindexed.saturating_sub(waiting.len() as u64);
        if self.unindexed == 0 || next >= self.journal.end() {
            self.end_of_unindexed();
        }
        Ok(waiting)
    }

    /// Whether nobody has this copy in memory, which waits.
    fn is_unindexed(&self, number: u64) -> bool {
        self.unindexed_from.is_some_and(|from| number >= from) && !self.passed_over.contains(number)
    }

    fn end_of_unindexed(&mut self) {
        self.lost += self.unindexed;
        if self.unindexed > 0
            && let Some(LeftOut { number, times }) = self.said.note("cannot be found", self.unindexed)
        {
            let events = self.unindexed + number;
            warn!(sink = self.sink, events, left_out = times, "events that waited cannot be found any more");
        }
        self.unindexed_from = None;
        self.unindexed = 0;
        self.passed_over = Numbers::default();
    }

    /// Notes that a copy waits no more: at once in memory, and on disk with the next append.
    pub fn finish(&mut self, ticket: Ticket) {
        self.unnoted.push(ticket.number);
        // Of a segment that was dropped nothing counts any more.
        if let Some((_, count)) = self.counts.range_mut(..=ticket.number).next_back() {
            count.waiting = count.waiting.saturating_sub(1);
            count.finished_since.get_or_insert_with(Instant::now);
        }
    }

    /// The record of a copy.
    ///
    /// # Errors
    /// The disk fails, or the copy is not there any more.
    pub fn read(&self, ticket: Ticket) -> io::Result<Bytes> {
        let entry = self.journal.read(ticket.number, ticket.offset.into(), ticket.length as usize)?;
        match Entry::read(&entry) {
            Some(Entry::Copy { record, .. }) => Ok(entry.slice_ref(record)),
            _ => Err(io::Error::new(io::ErrorKind::InvalidData, "it is not a copy of an event")),
        }
    }

    /// Closes the segment that is written to if it is older than `age`, so that it can be dropped when nothing in it waits.
    ///
    /// # Errors
    /// The disk refuses; the next append tries again.
    pub fn close_older_than(&self, age: Duration) -> io::Result<()> {
        self.journal.close_older_than(age, Instant::now())
    }

    /// Whether the segment that is written to has something in it.
    pub fn has_open_segment(&self) -> bool {
        self.journal.has_open_segment()
    }

    /// Drops the oldest segments as long as nothing in them waits.
    pub fn drop_finished(&mut self) {
        let waits_from = self.counts.iter().find(|(_, count)| count.waiting > 0).map(|(first, _)| *first);
        self.drop_before(waits_from.unwrap_or_else(|| self.journal.end()));
    }

    fn drop_before(&mut self, bound: u64) {
        self.journal.drop_before(bound);
        let first = self.journal.first();
        self.counts.retain(|segment, _| *segment >= first);
    }

    /// The copies of the oldest segment, finished or not, if it is worth while to move what waits of them: as many copies are
    /// finished as wait, so that on the whole no more is moved than is won.
    ///
    /// # Errors
    /// The disk fails.
    pub fn to_move(&self) -> io::Result<Option<Vec<Waiting>>> {
        let Some((oldest, end)) = self.oldest_of_several() else { return Ok(None) };
        let sum = |of: fn(&Count) -> u64| self.counts.values().map(of).sum::<u64>();
        let (copies, waiting) = (sum(|count| count.copies), sum(|count| count.waiting));
        let is_unindexed = self.unindexed_from.is_some_and(|from| from < end);
        if waiting == 0 || copies < 2 * waiting || is_unindexed {
            return Ok(None);
        }
        self.copies_of(oldest, end).map(Some)
    }

    /// The copies of the oldest segment, finished or not, if a copy that waits no more has been in some segment for longer than
    /// `age` at `now`: segments go from the oldest on, so that what still waits there keeps it on disk.
    ///
    /// # Errors
    /// The disk fails.
    pub fn to_move_for_age(&self, age: Duration, now: Instant) -> io::Result<Option<Vec<Waiting>>> {
        let Some((oldest, end)) = self.oldest_of_several() else { return Ok(None) };
        let is_old = |since: Instant| now.saturating_duration_since(since) >= age;
        let is_unindexed = self.unindexed_from.is_some_and(|from| from < end);
        // Of the segment that is written to nothing can go yet.
        let mut closed = self.counts.range(..self.journal.segments().last().map_or(0, |(first, _)| *first));
        if is_unindexed || !closed.any(|(_, count)| count.finished_since.is_some_and(is_old)) {
            return Ok(None);
        }
        self.copies_of(oldest, end).map(Some)
    }

    /// Moves these copies of the oldest segment to the end, and drops the segment. What is not among them does not wait any
    /// more. Returns where each is now.
    ///
    /// # Errors
    /// The disk fails; nothing was moved.
    pub fn move_to_end(&mut self, copies: &[Waiting]) -> Result<Vec<Ticket>, JournalError> {
        let Some((oldest, _)) = self.oldest_of_several() else { return Ok(Vec::new()) };
        let entry = |waiting: &Waiting| encode(&waiting.copy, Some(waiting.ticket.number));
        let entries: Vec<Bytes> = copies.iter().map(entry).collect();
        // They may be nearly a segment, which a segment with some copies in it has no room for: it would grow with each
        // rotation.
        let room = frames_size(&entries);
        let tickets = self.append_entries(entries, room)?;
        if self.unindexed_from.is_some() {
            tickets.iter().for_each(|ticket| self.passed_over.insert(ticket.number));
        }
        if let Some(count) = self.counts.get_mut(&oldest) {
            count.waiting = 0;
        }
        self.drop_finished();
        Ok(tickets)
    }

    /// Whether it takes more than it may.
    pub fn is_beyond_limit(&self) -> bool {
        self.journal.is_beyond_limit()
    }

    /// The copies of the oldest segment, finished or not, if the journal takes more than it may.
    pub fn to_drop(&self) -> Option<Vec<Waiting>> {
        let (oldest, end) = self.oldest_of_several().filter(|_| self.journal.is_beyond_limit())?;
        let copies = self.copies_of(oldest, end).unwrap_or_else(|error| {
            if let Some(LeftOut { times, .. }) = self.said.note("cannot be told", 1) {
                let sink = &self.sink;
                warn!(sink, %error, left_out = times, "what waits in a segment that is dropped cannot be told");
            }
            Vec::new()
        });
        Some(copies)
    }

    /// Drops the oldest segment, which has these copies. Returns how many of them waited and nobody had in memory.
    pub fn drop_oldest(&mut self, copies: &[Waiting]) -> u64 {
        let Some((_, end)) = self.oldest_of_several() else { return 0 };
        let mut unindexed = 0;
        if self.unindexed_from.is_some_and(|from| from < end) {
            unindexed =
                copies.iter().filter(|waiting| self.is_unindexed(waiting.ticket.number)).count() as u64;
            self.unindexed_from = Some(end);
            self.unindexed = self.unindexed.saturating_sub(unindexed);
            if self.unindexed == 0 {
                self.end_of_unindexed();
            }
        }
        self.drop_before(end);
        unindexed
    }

    /// The oldest segment and where it ends, if it is not the only one.
    fn oldest_of_several(&self) -> Option<(u64, u64)> {
        let segments = self.journal.segments();
        segments.first().copied().filter(|_| segments.len() > 1)
    }

    /// The copies of a segment, finished or not.
    fn copies_of(&self, segment: u64, end: u64) -> io::Result<Vec<Waiting>> {
        let mut copies = Vec::new();
        self.scan(segment, end, |waiting| {
            copies.push(waiting);
            true
        })?;
        Ok(copies)
    }

    /// The number after the last entry.
    pub fn end(&self) -> u64 {
        self.journal.end()
    }

    /// Entries that were found damaged when it was opened.
    pub fn damaged(&self) -> u64 {
        self.journal.damaged()
    }

    /// Bytes of all segments.
    pub fn bytes(&self) -> u64 {
        self.journal.bytes()
    }

    /// The segment with this number, and where it ends.
    fn segment(&self, number: u64) -> Option<(u64, u64)> {
        self.journal
            .segments()
            .into_iter()
            .rfind(|(first, _)| *first <= number)
            .filter(|(_, end)| number < *end)
    }

    /// Hands the copies of a segment that ends at `end` to `visit`, as long as that answers so. Damaged ones are passed
    /// over, and so is a segment that somebody removed.
    fn scan(&self, first: u64, end: u64, mut visit: impl FnMut(Waiting) -> bool) -> io::Result<()> {
        let bytes = match read_all(self.journal.storage(), &file_name(first)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            bytes => Bytes::from(bytes?),
        };
        let mut offset = self.journal.records_at(first) as usize;
        let mut expected = first;
        while expected < end {
            let rest = bytes.get(offset..).unwrap_or_default();
            let frame = match segment::read_frame(rest) {
                Next::Frame(frame) if frame.sequence == expected => frame,
                _ => {
                    let Some(skip) = segment::find_frame(rest, expected + 1..end) else { return Ok(()) };
                    offset += skip;
                    let Next::Frame(frame) = segment::read_frame(&rest[skip..]) else { return Ok(()) };
                    frame
                }
            };
            if let Some(Entry::Copy { origin, order, record, .. }) = Entry::read(frame.record) {
                let ticket = Ticket::new(frame.sequence, offset as u64, frame.record.len());
                let copy = Copy { origin, order, record: bytes.slice_ref(record) };
                if !visit(Waiting { ticket, copy }) {
                    return Ok(());
                }
            }
            offset += frame.size();
            expected = frame.sequence + 1;
        }
        Ok(())
    }
}

/// The numbers of all copies that are finished or replaced.
fn read_finished(storage: &impl Storage, known: u64) -> Result<Numbers, JournalError> {
    let mut finished = Numbers::default();
    read_segments(storage, known, |stored| {
        // An entry is about earlier ones. One that says otherwise is not ours, and is not to cost memory without end.
        let mut insert = |number: u64| {
            if number < stored.sequence {
                finished.insert(number);
            }
        };
        match Entry::read(stored.record) {
            Some(Entry::Finished(numbers)) => numbers.into_iter().for_each(insert),
            Some(Entry::Copy { replaces: Some(number), .. }) => insert(number),
            Some(Entry::Copy { .. }) | None => {}
        }
    })?;
    Ok(finished)
}

/// How the names of a sink's segments begin.
pub fn prefix(sink: &str) -> String {
    format!("{sink}.waiting.")
}

#[cfg(test)]
mod tests;
