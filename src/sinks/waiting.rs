//! What a sink has set aside: in a waiting journal in the state directory, or in memory without one.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;
use tokio::task::block_in_place;
use tracing::{error, warn};

use super::queue::{Event, Place, Queue};
use crate::callback::Record;
use crate::journal::disk::DiskJournal;
use crate::journal::storage::Directory;
use crate::journal::waiting::{Copy, Waiting as WaitingCopy, WaitingJournal};
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
    /// Origins of copies at or beyond the sink's position at the start: the journal hands these out once more.
    known: HashSet<u64>,
    dropped: u64,
}

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
        let journal = match journal {
            Journal::Disk(journal) => journal,
            Journal::Memory(journal) => {
                let memory = Memory { max_bytes: journal.max_bytes() / 2, ..Memory::default() };
                let store = Store::Memory(memory);
                return Ok(Waiting { store, found: Vec::new(), known: HashSet::new(), dropped: 0 });
            }
        };
        let floor = reader.unfinished_from();
        let (mut found, mut known) = (Vec::new(), HashSet::new());
        let storage = journal.storage().clone();
        let waiting = WaitingJournal::open(
            storage,
            sink,
            journal.max_bytes() / 2,
            most,
            |copy| found.extend(event(sink, copy)),
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
        Ok(Waiting { store: Store::Disk(Box::new(disk)), found, known, dropped: 0 })
    }

    /// Takes what was found at the start.
    pub(super) fn take_found(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.found)
    }

    /// Whether the event with this number in the journal was set aside before the start.
    pub(super) fn knows(&self, origin: u64) -> bool {
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

    /// Sets aside what in `queue` has to wait, if more than `crowd` events are in hand also what is behind another; and notes
    /// what is finished. Past `most` entries in memory, events wait without one; answers how many of these have an order,
    /// which they may lose.
    ///
    /// # Errors
    /// The disk fails; everything stays in hand.
    pub(super) fn set_aside(
        &mut self,
        queue: &mut Queue,
        crowd: usize,
        most: usize,
    ) -> Result<u64, JournalError> {
        let copies: Vec<Copy> = queue.to_set_aside(crowd).into_iter().filter_map(copy).collect();
        let tickets = match &mut self.store {
            Store::Memory(memory) => copies.iter().map(|copy| memory.insert(copy.clone())).collect(),
            Store::Disk(disk) => block_in_place(|| disk.waiting.append(&copies))?,
        };
        let mut unordered = 0;
        let mut left: Option<(Ticket, u64)> = None;
        for (copy, ticket) in copies.iter().zip(tickets) {
            let is_full = self.unindexed() > 0 || left.is_some() || queue.waiting() >= most;
            if is_full && matches!(self.store, Store::Disk(_)) {
                queue.leave(copy.origin);
                left = Some(left.map_or((ticket, 1), |(first, number)| (first, number + 1)));
                unordered += u64::from(copy.order.is_some());
            } else {
                queue.set_aside(copy.origin, ticket);
            }
        }
        if let (Some((first, number)), Store::Disk(disk)) = (left, &mut self.store) {
            disk.waiting.leave_unindexed(first, number);
        }
        if let Store::Disk(disk) = &mut self.store {
            disk.note_bytes();
        }
        Ok(unordered)
    }

    /// Gives entries in memory to events that wait without one, once there is room for many.
    pub(super) fn bring_in(&mut self, queue: &mut Queue, sink: &'static str, most: usize) {
        let Store::Disk(disk) = &mut self.store else { return };
        if disk.waiting.unindexed() == 0 || queue.waiting() > most / 2 {
            return;
        }
        match block_in_place(|| disk.waiting.index(most - queue.waiting())) {
            Ok(copies) => {
                copies.into_iter().filter_map(|copy| event(sink, copy)).for_each(|event| queue.push(event))
            }
            Err(error) => error!(sink, %error, "what waits cannot be read; trying again"),
        }
    }

    /// How many events wait that have no entry in memory.
    pub(super) fn unindexed(&self) -> u64 {
        match &self.store {
            Store::Memory(_) => 0,
            Store::Disk(disk) => disk.waiting.unindexed(),
        }
    }

    /// Drops what need not be kept, and what takes more than it may. To be called when the position is on disk.
    pub(super) fn clean_up<'a>(&mut self, queue: &mut Queue, on_their_way: impl Iterator<Item = &'a Place>) {
        let before = self.dropped;
        match &mut self.store {
            Store::Memory(memory) => {
                while memory.bytes > memory.max_bytes
                    && let Some((_, copy)) = memory.pop_first()
                {
                    self.dropped += u64::from(queue.drop_waiting(copy.order, copy.origin));
                }
            }
            Store::Disk(disk) => {
                let held = on_their_way.filter_map(|place| match place {
                    Place::Waiting(ticket) => Some(*ticket),
                    Place::Hand(_) => None,
                });
                self.dropped += block_in_place(|| disk.clean_up(queue, held));
            }
        }
        if self.dropped > before && before == 0 {
            warn!("more events wait for a sink than there is room for; the oldest are dropped");
        }
    }

    /// How many events were dropped since the start, for want of room.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Bytes that what waits takes.
    pub(super) fn bytes(&self) -> u64 {
        match &self.store {
            Store::Memory(memory) => memory.bytes,
            Store::Disk(disk) => disk.bytes,
        }
    }
}

impl Disk {
    /// Drops what is finished, and what takes more than it may; answers how many events that were.
    fn clean_up(&mut self, queue: &mut Queue, held: impl Iterator<Item = Ticket>) -> u64 {
        self.waiting.drop_finished();
        let mut dropped = 0;
        while let Some(copies) = self.waiting.to_drop() {
            let before = self.waiting.bytes();
            for WaitingCopy { ticket, copy } in &copies {
                let is_there = queue.waits(copy.order, copy.origin, *ticket);
                dropped += u64::from(is_there && queue.drop_waiting(copy.order, copy.origin));
            }
            dropped += self.waiting.drop_oldest();
            if self.waiting.bytes() == before {
                // The disk refuses; the next save tries again.
                break;
            }
        }
        if let Err(error) = self.clean(queue, held) {
            warn!(%error, "what waits cannot be moved to make room");
        }
        self.note_bytes();
        dropped
    }

    /// Moves what waits in the oldest segment to the end, if that is worth while.
    fn clean(&mut self, queue: &mut Queue, held: impl Iterator<Item = Ticket>) -> Result<(), JournalError> {
        let _ = held;
        let Some(mut copies) = self.waiting.to_move()? else { return Ok(()) };
        copies.retain(|WaitingCopy { ticket, copy }| queue.waits(copy.order, copy.origin, *ticket));
        let tickets = self.waiting.move_to_end(&copies)?;
        for (WaitingCopy { copy, .. }, ticket) in copies.iter().zip(tickets) {
            queue.move_waiting(copy.order, copy.origin, ticket);
        }
        Ok(())
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

/// What is to be set aside of an event in hand.
fn copy(event: &Event) -> Option<Copy> {
    let Place::Hand(record) = &event.place else { return None };
    Some(Copy { origin: event.origin, order: event.order, record: record.clone() })
}

/// A copy as an event that waits; one that cannot be read is reported, and left behind.
fn event(sink: &'static str, WaitingCopy { ticket, copy }: WaitingCopy) -> Option<Event> {
    match Record::decode(&copy.record) {
        Ok(Record { received_at, .. }) => {
            let Copy { origin, order, .. } = copy;
            // It failed before, or it is behind one that did.
            Some(Event { origin, order, received_at, failures: 1, place: Place::Waiting(ticket) })
        }
        Err(error) => {
            error!(sink, origin = copy.origin, %error, "an event that waits cannot be read");
            None
        }
    }
}
