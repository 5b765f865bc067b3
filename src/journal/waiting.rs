//! A waiting journal: copies of the events that a sink has set aside, in the journal's own format.
//!
//! It is a [`DiskJournal`] of its own, in segments whose names begin with the sink's. A record of it is an entry: a copy with
//! the event's number in the journal (its origin), its order, and the number of the copy that it replaces, if it does; or the
//! numbers of copies that are finished. `FORMAT.md` has the bytes.
//!
//! Copies are read at random, finished in any order, and dropped a segment at a time, the oldest first. A segment goes when
//! none of its copies waits any more. When most of what is kept does not wait any more, the oldest segment's last copies move
//! to the end, each in one frame that replaces the old one.

use std::collections::BTreeMap;
use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use tracing::warn;

use super::JournalError;
use super::disk::DiskJournal;
use super::prefixed::Prefixed;
use super::recovery::{file_name, read_segments};
use super::segment::{self, FRAME_HEAD, Next};
use super::storage::{Storage, read_all};

/// The kinds of entries.
const COPY: u8 = 1;
const FINISHED: u8 = 2;

/// Bytes of a copy beside the record: kind, flags, origin, order, number of the replaced copy.
const COPY_HEAD: usize = 1 + 1 + 8 + 8 + 8;

/// The flags of a copy: whether it has an order, and whether it replaces another.
const HAS_ORDER: u8 = 1;
const REPLACES: u8 = 2;

/// Numbers in one entry of finished copies, at most.
const FINISHED_AT_ONCE: usize = 8 * 1024;

/// Copies that are kept before it is worth while to move any.
const FEW: u64 = 4 * 1024;

/// Where a copy is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ticket {
    /// Its number.
    number: u64,
    /// Where its frame begins in its segment, and the length of its entry.
    offset: u32,
    length: u32,
}

impl Ticket {
    fn new(number: u64, offset: u64, length: usize) -> Ticket {
        // A segment is far smaller than 4 GiB.
        Ticket { number, offset: offset as u32, length: length as u32 }
    }

    /// The ticket of a copy that is kept elsewhere, under this number.
    pub fn of_number(number: u64) -> Ticket {
        Ticket { number, ..Ticket::default() }
    }

    /// The number of the copy.
    pub fn number(self) -> u64 {
        self.number
    }
}

/// An event that is to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    /// Its sequence number in the journal.
    pub origin: u64,
    /// What it has to be delivered in the order of.
    pub order: Option<u64>,
    /// Its record.
    pub record: Bytes,
}

/// A copy that waits, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Where it is.
    pub ticket: Ticket,
    /// The event.
    pub copy: Copy,
}

/// How many copies a segment has, and how many of them wait.
#[derive(Debug, Clone, Copy, Default)]
struct Count {
    copies: u64,
    waiting: u64,
}

/// A waiting journal.
pub struct WaitingJournal<S: Storage> {
    journal: DiskJournal<Prefixed<S>>,
    /// By the first number of the segment.
    counts: BTreeMap<u64, Count>,
    /// Copies that are finished, and are not noted so on disk.
    unnoted: Vec<u64>,
    /// Copies that are finished or replaced, of those that are not indexed yet.
    finished: Numbers,
    /// From where on copies wait that nobody has in memory, if there are any, and how many.
    unindexed_from: Option<u64>,
    unindexed: u64,
}

impl<S: Storage> WaitingJournal<S> {
    /// Opens the waiting journal of this sink in `storage`, which may take `max_bytes`. Hands up to `most` waiting copies to
    /// `visit`, the oldest first; the others stay on disk only. `origin` is told the origin of every copy, finished or not.
    ///
    /// # Errors
    /// Those of [`DiskJournal::open`].
    pub fn open(
        storage: S,
        sink: &str,
        max_bytes: u64,
        most: usize,
        mut visit: impl FnMut(Waiting),
        mut origin: impl FnMut(u64),
    ) -> Result<WaitingJournal<S>, JournalError> {
        let storage = Prefixed::new(storage, prefix(sink));
        let mut finished = Numbers::default();
        read_segments(&storage, 0, |stored| {
            finished.begin_at(stored.segment);
            match Entry::read(stored.record) {
                Some(Entry::Finished(numbers)) => {
                    numbers.into_iter().for_each(|number| finished.insert(number))
                }
                Some(Entry::Copy { replaces: Some(number), .. }) => finished.insert(number),
                Some(Entry::Copy { .. }) | None => {}
            }
        })?;
        let mut counts: BTreeMap<u64, Count> = BTreeMap::new();
        let (mut indexed, mut unindexed_from, mut unindexed) = (0, None, 0);
        let journal = DiskJournal::open_with_places(storage, max_bytes, 0, |stored| {
            let Some(Entry::Copy { origin: of, order, record, .. }) = Entry::read(stored.record) else {
                return;
            };
            origin(of);
            let waits = !finished.contains(stored.sequence);
            let count = counts.entry(stored.segment).or_default();
            count.copies += 1;
            if !waits {
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
        if unindexed_from.is_none() {
            finished = Numbers::default();
        }
        Ok(WaitingJournal { journal, counts, unnoted: Vec::new(), finished, unindexed_from, unindexed })
    }

    /// Appends copies, and notes on disk what is finished. Answers where each copy is.
    ///
    /// # Errors
    /// The disk refuses; nothing was appended, and what is finished is noted the next time.
    pub fn append(&mut self, copies: &[Copy]) -> Result<Vec<Ticket>, JournalError> {
        let entries: Vec<Bytes> = copies.iter().map(|copy| encode(copy, None)).collect();
        self.append_entries(entries)
    }

    fn append_entries(&mut self, mut entries: Vec<Bytes>) -> Result<Vec<Ticket>, JournalError> {
        if entries.is_empty() && self.unnoted.is_empty() {
            return Ok(Vec::new());
        }
        let copies = entries.len();
        entries.extend(self.unnoted.chunks(FINISHED_AT_ONCE).map(encode_finished));
        let (first, mut offset) = self.journal.append_at(&entries)?;
        self.unnoted.clear();
        let mut tickets = Vec::with_capacity(copies);
        for (number, entry) in (first..).zip(&entries[..copies]) {
            tickets.push(Ticket::new(number, offset, entry.len()));
            offset += (FRAME_HEAD + entry.len()) as u64;
            self.count(number, |count| {
                count.copies += 1;
                count.waiting += 1;
            });
        }
        Ok(tickets)
    }

    /// Leaves the copies from `first` on, which are the last `number` ones, on disk only: nobody has them in memory.
    pub fn leave_unindexed(&mut self, first: Ticket, number: u64) {
        self.unindexed_from.get_or_insert(first.number);
        self.unindexed += number;
    }

    /// How many copies wait that nobody has in memory.
    pub fn unindexed(&self) -> u64 {
        self.unindexed
    }

    /// The next waiting copies that nobody has in memory, up to `most`, the oldest first. From now on, the caller has them.
    ///
    /// # Errors
    /// The disk fails; nothing was taken.
    pub fn index(&mut self, most: usize) -> io::Result<Vec<Waiting>> {
        let mut waiting = Vec::new();
        while waiting.len() < most
            && let Some(from) = self.unindexed_from
        {
            let Some((segment, end)) = self.segment(from) else {
                self.end_of_unindexed();
                break;
            };
            let mut next = end;
            self.scan(segment, end, |copy| {
                let number = copy.ticket.number;
                if number < from || self.finished.contains(number) {
                    return true;
                }
                if waiting.len() >= most {
                    next = number;
                    return false;
                }
                waiting.push(copy);
                true
            })?;
            self.unindexed_from = Some(next).filter(|next| *next < self.journal.end());
        }
        self.unindexed = self.unindexed.saturating_sub(waiting.len() as u64);
        if self.unindexed_from.is_none() {
            self.end_of_unindexed();
        }
        Ok(waiting)
    }

    fn end_of_unindexed(&mut self) {
        self.unindexed_from = None;
        self.unindexed = 0;
        self.finished = Numbers::default();
    }

    /// Notes that a copy waits no more: at once in memory, and on disk with the next append.
    pub fn finish(&mut self, ticket: Ticket) {
        self.unnoted.push(ticket.number);
        self.count(ticket.number, |count| count.waiting = count.waiting.saturating_sub(1));
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

    /// The copies of the oldest segment, finished or not, if it is worth while to move what waits of them: more than half of
    /// all copies are finished, and nothing of the segment is in `held`.
    ///
    /// # Errors
    /// The disk fails.
    pub fn to_move(&self, held: impl IntoIterator<Item = Ticket>) -> io::Result<Vec<Waiting>> {
        let (copies, waiting) = self
            .counts
            .values()
            .fold((0, 0), |(copies, waiting), count| (copies + count.copies, waiting + count.waiting));
        let Some((oldest, end)) = self.oldest_of_several() else { return Ok(Vec::new()) };
        let is_held = held.into_iter().any(|ticket| ticket.number < end);
        let is_unindexed = self.unindexed_from.is_some_and(|from| from < end);
        if copies < FEW || copies < 2 * waiting || is_held || is_unindexed {
            return Ok(Vec::new());
        }
        self.copies_of(oldest, end)
    }

    /// Moves copies of the oldest segment to the end, and drops the segment. What is not among them does not wait any more.
    /// Answers where each is now.
    ///
    /// # Errors
    /// The disk fails; nothing was moved.
    pub fn move_to_end(&mut self, copies: &[Waiting]) -> Result<Vec<Ticket>, JournalError> {
        let Some((oldest, _)) = self.oldest_of_several() else { return Ok(Vec::new()) };
        let entries = copies.iter().map(|waiting| encode(&waiting.copy, Some(waiting.ticket.number)));
        let tickets = self.append_entries(entries.collect())?;
        if let Some(count) = self.counts.get_mut(&oldest) {
            count.waiting = 0;
        }
        self.drop_finished();
        Ok(tickets)
    }

    /// The copies of the oldest segment that somebody has in memory, finished or not, if the journal takes more than it may.
    pub fn to_drop(&self) -> Option<Vec<Waiting>> {
        let (oldest, end) = self.oldest_of_several().filter(|_| self.journal.is_beyond_limit())?;
        let mut copies = self.copies_of(oldest, end).unwrap_or_else(|error| {
            warn!(%error, "what waits in a segment that is dropped cannot be told");
            Vec::new()
        });
        let from = self.unindexed_from.unwrap_or(u64::MAX);
        copies.retain(|waiting| waiting.ticket.number < from);
        Some(copies)
    }

    /// Drops the oldest segment. Answers how many events in it waited that nobody had in memory.
    pub fn drop_oldest(&mut self) -> u64 {
        let Some((oldest, end)) = self.oldest_of_several() else { return 0 };
        let mut unindexed = 0;
        if let Some(from) = self.unindexed_from.filter(|from| *from < end) {
            let copies = self.copies_of(oldest, end).unwrap_or_default();
            let numbers = copies.iter().map(|waiting| waiting.ticket.number);
            unindexed =
                numbers.filter(|number| *number >= from && !self.finished.contains(*number)).count() as u64;
            self.unindexed_from = Some(end);
            self.unindexed = self.unindexed.saturating_sub(unindexed);
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

    fn count(&mut self, number: u64, change: impl FnOnce(&mut Count)) {
        if let Some((segment, _)) = self.segment(number) {
            change(self.counts.entry(segment).or_default());
        }
    }

    /// Hands the copies of a segment that ends at `end` to `visit`, as long as that answers so. Damaged ones are passed over.
    fn scan(&self, first: u64, end: u64, mut visit: impl FnMut(Waiting) -> bool) -> io::Result<()> {
        let bytes = Bytes::from(read_all(self.journal.storage(), &file_name(first))?);
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

/// How the names of a sink's segments begin.
pub fn prefix(sink: &str) -> String {
    format!("{sink}.waiting.")
}

/// A set of numbers, a bit each.
#[derive(Debug, Default)]
struct Numbers {
    first: Option<u64>,
    bits: Vec<u64>,
}

impl Numbers {
    /// Says that no number before `first` matters, unless an earlier one was said to.
    fn begin_at(&mut self, first: u64) {
        self.first.get_or_insert(first);
    }

    fn insert(&mut self, number: u64) {
        let Some(place) = self.place(number) else { return };
        let (word, bit) = (place / 64, place % 64);
        if self.bits.len() <= word {
            self.bits.resize(word + 1, 0);
        }
        self.bits[word] |= 1 << bit;
    }

    fn contains(&self, number: u64) -> bool {
        let word = self.place(number).and_then(|place| Some(self.bits.get(place / 64)? >> (place % 64)));
        word.is_some_and(|word| word & 1 == 1)
    }

    fn place(&self, number: u64) -> Option<usize> {
        usize::try_from(number.checked_sub(self.first?)?).ok()
    }
}

/// A record of a waiting journal.
enum Entry<'a> {
    Copy { origin: u64, order: Option<u64>, replaces: Option<u64>, record: &'a [u8] },
    Finished(Vec<u64>),
}

impl<'a> Entry<'a> {
    fn read(bytes: &'a [u8]) -> Option<Entry<'a>> {
        let (&kind, rest) = bytes.split_first()?;
        match kind {
            COPY => {
                let (&flags, rest) = rest.split_first()?;
                let (&origin, rest) = rest.split_first_chunk()?;
                let (&order, rest) = rest.split_first_chunk()?;
                let (&replaces, record) = rest.split_first_chunk()?;
                let given = |flag, number| (flags & flag != 0).then(|| u64::from_le_bytes(number));
                Some(Entry::Copy {
                    origin: u64::from_le_bytes(origin),
                    order: given(HAS_ORDER, order),
                    replaces: given(REPLACES, replaces),
                    record,
                })
            }
            FINISHED => {
                let (numbers, _) = rest.as_chunks();
                Some(Entry::Finished(numbers.iter().map(|number| u64::from_le_bytes(*number)).collect()))
            }
            _ => None,
        }
    }
}

fn encode(copy: &Copy, replaces: Option<u64>) -> Bytes {
    let mut entry = BytesMut::with_capacity(COPY_HEAD + copy.record.len());
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    entry.put_u8(COPY);
    entry.put_u8(flag(copy.order.is_some(), HAS_ORDER) | flag(replaces.is_some(), REPLACES));
    entry.put_u64_le(copy.origin);
    entry.put_u64_le(copy.order.unwrap_or_default());
    entry.put_u64_le(replaces.unwrap_or_default());
    entry.put_slice(&copy.record);
    entry.freeze()
}

fn encode_finished(numbers: &[u64]) -> Bytes {
    let mut entry = BytesMut::with_capacity(1 + 8 * numbers.len());
    entry.put_u8(FINISHED);
    numbers.iter().for_each(|number| entry.put_u64_le(*number));
    entry.freeze()
}
