//! What a sink has set aside: in a waiting journal in the state directory, or in memory without one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use thiserror::Error;
use tokio::task::block_in_place;
use tokio::time::Instant;
use tracing::{error, warn};

use super::queue::{Aside, Event, Place, Queue, Refusals};
use crate::callback::Record;
use crate::http::pace::{LeftOut, Pace};
use crate::journal::disk::DiskJournal;
use crate::journal::storage::Directory;
use crate::journal::waiting::{Copy, LONGEST_COPY, Waiting as WaitingCopy, WaitingJournal};
use crate::journal::{Journal, JournalError, Reader};

pub use crate::journal::waiting::Ticket;

/// Why what waits for a sink cannot be read.
#[derive(Debug, Error)]
#[error("cannot read what waits for the sink {sink} in the state directory: {source}")]
pub struct OpenWaitingError {
    sink: &'static str,
    source: JournalError,
}

/// What a sink has set aside.
pub struct Waiting {
    store: Store,
    /// What was found at the start, to be queued.
    found: Vec<Event>,
    /// Origins of copies at or beyond the sink's position at the start: the journal hands these out once more. Nothing
    /// when it is past them.
    known: HashSet<u64>,
    /// The last of them.
    last_known: u64,
    /// Events that have an entry in memory, at most.
    most: usize,
    /// When what has none may be read again, after it could not.
    readable_at: Option<Instant>,
    /// Events that were dropped for want of room, and those that cannot be read.
    dropped: u64,
    unreadable: u64,
    said: Said,
}

/// What was said of what waits for a sink.
struct Said {
    sink: &'static str,
    pace: Pace,
}

/// The pause before what waits is read again where it could not be.
pub(super) const READ_PAUSE: Duration = Duration::from_secs(1);

/// Segments that may be cleaned at once.
const CLEANED_AT_ONCE: usize = 16;

enum Store {
    Memory(Memory),
    Disk(Box<Disk>),
}

/// A waiting journal, and the journal to whose limit it counts.
struct Disk {
    waiting: WaitingJournal<Directory>,
    journal: Arc<DiskJournal<Directory>>,
    /// Its bytes as the journal knows them.
    bytes: u64,
}

/// What waits in memory.
#[derive(Debug, Default)]
struct Memory {
    copies: BTreeMap<u64, Copy>,
    next: u64,
    bytes: u64,
    max_bytes: u64,
}

impl Waiting {
    /// What the sink of this name has set aside beside `journal`, from which `reader` reads for it. Up to `most` events get an
    /// entry in memory.
    ///
    /// # Errors
    /// The waiting journal cannot be read, or a newer release wrote it.
    pub fn open(
        journal: &Journal,
        reader: &Reader,
        sink: &'static str,
        most: usize,
    ) -> Result<Waiting, OpenWaitingError> {
        let said = Said { sink, pace: Pace::default() };
        let journal = match journal {
            Journal::Disk(journal) => journal,
            Journal::Memory(journal) => {
                let memory = Memory { max_bytes: journal.max_bytes() / 2, ..Memory::default() };
                return Ok(Waiting::new(said, Store::Memory(memory), Vec::new(), HashSet::new(), most));
            }
        };
        let floor = reader.unfinished_from();
        let (mut found, mut unreadable, mut known) = (Vec::new(), Vec::new(), HashSet::new());
        let storage = journal.storage().clone();
        let waiting = WaitingJournal::open(
            storage,
            sink,
            journal.max_bytes() / 2,
            reader.waiting_end(),
            most,
            |copy| match said.event(copy) {
                Ok(event) => found.push(event),
                Err(ticket) => unreadable.push(ticket),
            },
            |origin| {
                if origin >= floor {
                    known.insert(origin);
                }
            },
        );
        let waiting = waiting.map_err(|source| OpenWaitingError { sink, source })?;
        // Copies that were moved stand behind younger ones.
        found.sort_by_key(|event| event.origin);
        let mut disk = Disk { waiting, journal: Arc::clone(journal), bytes: 0 };
        disk.note_bytes();
        let mut waiting = Waiting::new(said, Store::Disk(Box::new(disk)), found, known, most);
        unreadable.into_iter().for_each(|ticket| waiting.lose(ticket));
        Ok(waiting)
    }

    fn new(said: Said, store: Store, found: Vec<Event>, known: HashSet<u64>, most: usize) -> Waiting {
        let last_known = known.iter().copied().max().unwrap_or(0);
        Waiting { store, found, known, last_known, most, readable_at: None, dropped: 0, unreadable: 0, said }
    }

    /// Takes what was found at the start.
    pub(super) fn take_found(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.found)
    }

    /// Whether the event with this number in the journal was set aside before the start. To be asked in the order of numbers.
    pub(super) fn knows(&mut self, origin: u64) -> bool {
        if origin > self.last_known {
            self.known = HashSet::new();
        }
        self.known.contains(&origin)
    }

    /// The record of an event that waits.
    ///
    /// # Errors
    /// The disk fails, or the record is damaged or gone.
    pub(super) fn read(&self, ticket: Ticket) -> io::Result<Bytes> {
        match &self.store {
            Store::Memory(memory) => {
                let copy = memory.copies.get(&ticket.number());
                copy.map(|copy| copy.record.clone()).ok_or_else(|| io::ErrorKind::NotFound.into())
            }
            Store::Disk(disk) => block_in_place(|| disk.waiting.read(ticket)),
        }
    }

    /// Notes that an event waits no more; on disk with the next [`Waiting::set_aside`].
    pub(super) fn finish(&mut self, ticket: Ticket) {
        match &mut self.store {
            Store::Memory(memory) => memory.remove(ticket.number()),
            Store::Disk(disk) => disk.waiting.finish(ticket),
        }
    }

    /// Notes that what waits under this ticket cannot be read and never will be.
    pub(super) fn lose(&mut self, ticket: Ticket) {
        self.finish(ticket);
        self.unreadable += 1;
    }

    /// Sets aside what in `queue` has to wait, and notes what is finished. Past the bound of entries in memory, events
    /// wait without one; answers how many of these have an order, which they may lose.
    ///
    /// # Errors
    /// The disk fails; everything stays in hand.
    pub(super) fn set_aside(&mut self, queue: &mut Queue, which: Aside) -> Result<u64, JournalError> {
        let copies: Vec<Copy> = queue.to_set_aside(which).filter_map(copy).collect();
        let disk = match &mut self.store {
            Store::Memory(memory) => {
                for copy in copies {
                    let origin = copy.origin;
                    queue.set_aside(origin, memory.insert(copy));
                }
                return Ok(0);
            }
            Store::Disk(disk) => disk,
        };
        let tickets = block_in_place(|| disk.waiting.append(&copies))?;
        let is_full = disk.waiting.unindexed() > 0;
        let room = if is_full { 0 } else { self.most.saturating_sub(queue.waiting()).min(copies.len()) };
        for (copy, ticket) in copies.iter().zip(&tickets).take(room) {
            queue.set_aside(copy.origin, *ticket);
        }
        let left = &copies[room..];
        if let Some(first) = tickets.get(room) {
            queue.leave(&left.iter().map(|copy| copy.origin).collect::<Vec<_>>());
            disk.waiting.leave_unindexed(*first, left.len() as u64);
        }
        disk.note_bytes();
        Ok(left.iter().filter(|copy| copy.order.is_some()).count() as u64)
    }

    /// Gives entries in memory to events that wait without one, once there is room for many.
    pub(super) fn bring_in(&mut self, queue: &mut Queue) {
        while self.brings_in_at(queue).is_some_and(|at| at <= Instant::now()) {
            let Store::Disk(disk) = &mut self.store else { return };
            match block_in_place(|| disk.waiting.index(self.most - queue.waiting())) {
                Ok(copies) => {
                    for copy in copies {
                        match self.said.event(copy) {
                            Ok(event) => queue.push(event),
                            Err(ticket) => self.lose(ticket),
                        }
                    }
                }
                Err(error) => {
                    if let Some(LeftOut { times, .. }) = self.said.pace.note("cannot be read", 1) {
                        let sink = self.said.sink;
                        error!(sink, %error, left_out = times, "what waits cannot be read; trying again");
                    }
                    self.readable_at = Some(Instant::now() + READ_PAUSE);
                }
            }
        }
    }

    /// When entries in memory can be given to events that wait without one, if there are such and there is room.
    pub(super) fn brings_in_at(&self, queue: &Queue) -> Option<Instant> {
        let has_room = self.unindexed() > 0 && queue.waiting() <= self.most / 2;
        has_room.then(|| self.readable_at.unwrap_or_else(Instant::now))
    }

    /// How many events wait that have no entry in memory.
    pub(super) fn unindexed(&self) -> u64 {
        match &self.store {
            Store::Memory(_) => 0,
            Store::Disk(disk) => disk.waiting.unindexed(),
        }
    }

    /// Whether a segment is open that has something in it, and is to be closed in time.
    pub(super) fn has_open_segment(&self) -> bool {
        matches!(&self.store, Store::Disk(disk) if disk.waiting.has_open_segment())
    }

    /// Drops what need not be kept, and what takes more than it may. To be called when the position is on disk. Events
    /// that wait and are on their way may get another ticket. A segment is closed when it is older than `segment_age`.
    pub(super) fn clean_up<'a>(
        &mut self,
        queue: &mut Queue,
        on_their_way: impl Iterator<Item = &'a mut Event>,
        segment_age: Duration,
    ) {
        let (before, said) = (self.dropped, &self.said);
        match &mut self.store {
            Store::Memory(memory) => {
                let mut dropped = Vec::new();
                while memory.bytes > memory.max_bytes
                    && let Some((number, copy)) = memory.pop_first()
                {
                    dropped.push((copy.order, copy.origin, Ticket::of_number(number)));
                }
                self.dropped += queue.drop_waiting(dropped);
            }
            Store::Disk(disk) => {
                let mut on_their_way: HashMap<Ticket, &mut Event> = on_their_way
                    .filter_map(|event| match event.place {
                        Place::Waiting(ticket) => Some((ticket, event)),
                        Place::Hand(_) => None,
                    })
                    .collect();
                self.dropped += block_in_place(|| disk.clean_up(queue, &mut on_their_way, segment_age, said));
            }
        }
        let dropped = self.dropped - before;
        if dropped > 0
            && let Some(LeftOut { number, times }) = self.said.pace.note("no room", dropped)
        {
            warn!(
                sink = self.said.sink,
                events = dropped + number,
                left_out = times,
                "more events wait for a sink than there is room for; the oldest are dropped"
            );
        }
    }

    /// The number after the last entry that is on disk.
    pub(super) fn end(&self) -> u64 {
        match &self.store {
            Store::Memory(_) => 0,
            Store::Disk(disk) => disk.waiting.end(),
        }
    }

    /// Entries that were found damaged at the start.
    pub(super) fn damaged(&self) -> u64 {
        match &self.store {
            Store::Memory(_) => 0,
            Store::Disk(disk) => disk.waiting.damaged(),
        }
    }

    /// How many events were dropped since the start for want of room.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How many events were dropped since the start because they cannot be read or found any more.
    pub(super) fn unreadable(&self) -> u64 {
        match &self.store {
            Store::Memory(_) => self.unreadable,
            Store::Disk(disk) => self.unreadable + disk.waiting.lost(),
        }
    }

    /// Bytes that what waits takes.
    pub(super) fn bytes(&self) -> u64 {
        match &self.store {
            Store::Memory(memory) => memory.bytes,
            Store::Disk(disk) => disk.bytes,
        }
    }
}

/// Events that wait and are on their way, by their tickets.
type OnTheirWay<'a> = HashMap<Ticket, &'a mut Event>;

impl Disk {
    /// Drops what is finished, and what takes more than it may; answers how many events that were.
    fn clean_up(
        &mut self,
        queue: &mut Queue,
        on_their_way: &mut OnTheirWay<'_>,
        age: Duration,
        said: &Said,
    ) -> u64 {
        if let Err(error) = self.waiting.close_older_than(age) {
            said.warn(&error, "a segment of what waits cannot be closed; it stays until it can");
        }
        self.waiting.drop_finished();
        for _ in 0..CLEANED_AT_ONCE {
            match self.clean(queue, on_their_way, age) {
                // More is moved than needs be only to make room; what is old goes with the next save.
                Ok(true) if self.waiting.is_beyond_limit() => {}
                Ok(_) => break,
                Err(error) => {
                    said.warn(&error, "what waits cannot be moved to make room");
                    break;
                }
            }
        }
        let mut dropped = 0;
        while let Some(copies) = self.waiting.to_drop() {
            let before = self.waiting.bytes();
            let waiting =
                copies.iter().map(|WaitingCopy { ticket, copy }| (copy.order, copy.origin, *ticket));
            dropped += queue.drop_waiting(waiting) + self.waiting.drop_oldest(&copies);
            if self.waiting.bytes() == before {
                // The disk refuses; the next save tries again.
                break;
            }
        }
        self.note_bytes();
        dropped
    }

    /// Moves what waits in the oldest segment to the end, if that is worth while, or something finished is older than `age`;
    /// answers whether it was.
    fn clean(
        &mut self,
        queue: &mut Queue,
        on_their_way: &mut OnTheirWay<'_>,
        age: Duration,
    ) -> Result<bool, JournalError> {
        let to_move = match self.waiting.to_move()? {
            None => self.waiting.to_move_for_age(age, std::time::Instant::now())?,
            to_move => to_move,
        };
        let Some(mut copies) = to_move else { return Ok(false) };
        copies.retain(|WaitingCopy { ticket, copy }| {
            on_their_way.contains_key(ticket) || queue.waits(copy.order, copy.origin, *ticket)
        });
        let tickets = self.waiting.move_to_end(&copies)?;
        for (WaitingCopy { ticket: before, copy }, ticket) in copies.into_iter().zip(tickets) {
            match on_their_way.remove(&before) {
                Some(event) => {
                    event.place = Place::Waiting(ticket);
                    on_their_way.insert(ticket, event);
                }
                None => queue.move_waiting(copy.order, copy.origin, ticket),
            }
        }
        Ok(true)
    }

    fn note_bytes(&mut self) {
        let now = self.waiting.bytes();
        self.journal.note_beside(self.bytes, now);
        self.bytes = now;
    }
}

impl Memory {
    fn insert(&mut self, copy: Copy) -> Ticket {
        let number = self.next;
        self.next += 1;
        self.bytes += size(&copy);
        self.copies.insert(number, copy);
        Ticket::of_number(number)
    }

    fn remove(&mut self, number: u64) {
        if let Some(copy) = self.copies.remove(&number) {
            self.bytes -= size(&copy);
        }
    }

    fn pop_first(&mut self) -> Option<(u64, Copy)> {
        let (number, copy) = self.copies.pop_first()?;
        self.bytes -= size(&copy);
        Some((number, copy))
    }
}

/// What an event that waits in memory costs beside its record, about: its places in the store and in the queue.
const EVENT_OVERHEAD: usize = 400;

/// Bytes of memory that an event which waits takes.
fn size(copy: &Copy) -> u64 {
    (copy.record.len() + EVENT_OVERHEAD) as u64
}

/// What is to be set aside of an event in hand. One that is too long for a copy stays there.
fn copy(event: &Event) -> Option<Copy> {
    let Place::Hand(record) = &event.place else { return None };
    let copy = Copy { origin: event.origin, order: event.order, record: record.clone() };
    (record.len() <= LONGEST_COPY).then_some(copy)
}

impl Said {
    fn warn(&self, error: &dyn Display, what: &'static str) {
        if let Some(LeftOut { times, .. }) = self.pace.note(what, 1) {
            warn!(sink = self.sink, %error, left_out = times, "{what}");
        }
    }

    /// A copy as an event that waits; the ticket of one that cannot be read, which is reported.
    fn event(&self, WaitingCopy { ticket, copy }: WaitingCopy) -> Result<Event, Ticket> {
        match Record::decode(&copy.record) {
            Ok(Record { received_at, .. }) => {
                let Copy { origin, order, .. } = copy;
                // It failed before, or it is behind one that did.
                Ok(Event {
                    origin,
                    order,
                    received_at,
                    failures: 1,
                    refusals: Refusals::default(),
                    place: Place::Waiting(ticket),
                })
            }
            Err(error) => {
                if let Some(LeftOut { times, .. }) = self.pace.note("an event cannot be read", 1) {
                    let (sink, origin) = (self.sink, copy.origin);
                    error!(sink, origin, %error, left_out = times, "an event that waits cannot be read; it is dropped");
                }
                Err(ticket)
            }
        }
    }
}
