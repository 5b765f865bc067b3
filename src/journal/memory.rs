//! The journal in memory: it keeps a record until every reader is past it, within a limit of bytes; beyond that the
//! oldest is given up and counted for each reader that had not taken it. Without readers it keeps nothing.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use tracing::warn;

use super::{BYTES_AT_ONCE, ReaderStatus};

/// What one record costs beside its own bytes, about: its place in the queue and its allocation.
const RECORD_OVERHEAD: usize = 64;

/// The journal in memory. Appending never waits for a reader.
#[derive(Debug)]
pub struct MemoryJournal {
    state: Mutex<State>,
    appended: Notify,
}

#[derive(Debug)]
struct State {
    records: VecDeque<Bytes>,
    /// The position of the first record in `records`.
    first: u64,
    bytes: usize,
    max_bytes: usize,
    readers: Vec<ReaderState>,
    /// Whether events were given up since it was last empty; said once.
    is_giving_up: bool,
}

#[derive(Debug)]
struct ReaderState {
    name: &'static str,
    /// Everything before this position need not be kept for this reader.
    done: u64,
    /// Everything before this position has been handed out.
    taken: u64,
    given_up: u64,
    /// How many records before `done` it holds itself and has not finished, and the first of them.
    held: u64,
    oldest: Option<Bytes>,
}

impl MemoryJournal {
    /// An empty journal that keeps at most `max_bytes` for its readers.
    pub fn new(max_bytes: usize) -> MemoryJournal {
        let records = VecDeque::new();
        let state =
            State { records, first: 0, bytes: 0, max_bytes, readers: Vec::new(), is_giving_up: false };
        MemoryJournal { state: Mutex::new(state), appended: Notify::new() }
    }

    /// Appends a record.
    pub fn append(&self, record: Bytes) {
        let mut state = self.state();
        if state.readers.is_empty() {
            state.first += 1;
            return;
        }
        state.bytes += record.len() + RECORD_OVERHEAD;
        state.records.push_back(record);
        while state.bytes > state.max_bytes {
            state.give_up_oldest();
        }
        drop(state);
        self.appended.notify_waiters();
    }

    /// A new reader, which reads what is appended from now on.
    pub fn reader(self: &Arc<MemoryJournal>, name: &'static str) -> MemoryReader {
        let mut state = self.state();
        let end = state.end();
        let reader = ReaderState { name, done: end, taken: end, given_up: 0, held: 0, oldest: None };
        state.readers.push(reader);
        MemoryReader { journal: Arc::clone(self), index: state.readers.len() - 1 }
    }

    /// How every reader stands.
    pub fn readers(&self) -> Vec<ReaderStatus> {
        let state = self.state();
        let end = state.end();
        let status = |reader: &ReaderState| ReaderStatus {
            name: reader.name,
            backlog: end - reader.done + reader.held,
            given_up: reader.given_up,
            oldest: reader.oldest.clone().or_else(|| state.record(reader.done).cloned()),
        };
        state.readers.iter().map(status).collect()
    }

    /// The bytes that are kept for readers.
    pub fn bytes(&self) -> usize {
        self.state().bytes
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics between two changes that belong together.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&self) -> u64 {
        self.first + self.records.len() as u64
    }

    /// The record at a position, or else the first.
    fn record(&self, position: u64) -> Option<&Bytes> {
        self.records.get(position.saturating_sub(self.first) as usize)
    }

    fn drop_oldest(&mut self) {
        if let Some(record) = self.records.pop_front() {
            self.bytes -= record.len() + RECORD_OVERHEAD;
            self.first += 1;
        }
    }

    fn give_up_oldest(&mut self) {
        let position = self.first;
        for reader in &mut self.readers {
            if reader.taken <= position {
                if !std::mem::replace(&mut self.is_giving_up, true) {
                    warn!(
                        reader = reader.name,
                        "the backlog in memory takes more than it may; the oldest events are given up"
                    );
                }
                reader.given_up += 1;
                reader.taken = position + 1;
                reader.done = position + 1;
            }
        }
        self.drop_oldest();
    }

    fn drop_what_all_have_done(&mut self) {
        let done = self.readers.iter().map(|reader| reader.done).min().unwrap_or(u64::MAX);
        while self.first < done && !self.records.is_empty() {
            self.drop_oldest();
        }
        self.is_giving_up &= !self.records.is_empty();
    }
}

/// A reader of the journal: it takes records, and says when it is done with them. What it takes and does not finish
/// stays its own; the journal hands out each record once.
#[derive(Debug)]
pub struct MemoryReader {
    journal: Arc<MemoryJournal>,
    index: usize,
}

impl MemoryReader {
    /// Takes the next records with their sequence numbers, at most `max` and about a megabyte; none if there are
    /// none.
    pub fn take(&mut self, max: usize) -> Vec<(u64, Bytes)> {
        let mut state = self.journal.state();
        let start = state.readers[self.index].taken.max(state.first);
        let skip = (start - state.first) as usize;
        let mut bytes = 0;
        let has_room = |record: &&Bytes| {
            let has_room = bytes < BYTES_AT_ONCE;
            bytes += record.len();
            has_room
        };
        let records = state.records.iter().skip(skip).take(max).take_while(has_room).cloned();
        let taken: Vec<_> = (start..).zip(records).collect();
        state.readers[self.index].taken = start + taken.len() as u64;
        taken
    }

    /// Finishes everything that was taken except these records, in their order, which the reader goes on holding itself.
    pub fn done_except(&mut self, unfinished: &[(u64, Bytes)]) {
        let mut state = self.journal.state();
        let reader = &mut state.readers[self.index];
        reader.done = reader.taken;
        reader.held = unfinished.len() as u64;
        reader.oldest = unfinished.first().map(|(_, record)| record.clone());
        state.drop_what_all_have_done();
    }

    /// How many records wait to be taken.
    pub fn waiting(&self) -> u64 {
        let state = self.journal.state();
        state.end() - state.readers[self.index].taken.max(state.first)
    }

    /// Waits until at least this many records can be taken.
    pub async fn readable(&self, records: u64) {
        super::until(&self.journal.appended, || self.waiting() >= records).await;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(number: u8) -> Bytes {
        Bytes::from(vec![number])
    }

    #[test]
    fn without_readers_nothing_is_kept() {
        let journal = MemoryJournal::new(1_000);
        journal.append(record(1));
        assert_eq!(journal.bytes(), 0);
    }

    #[tokio::test]
    async fn a_reader_waits_for_the_next_record() {
        let journal = Arc::new(MemoryJournal::new(1_000));
        let mut reader = journal.reader("spans");
        let append = async { journal.append(record(7)) };
        tokio::join!(reader.readable(1), append);
        assert_eq!(reader.take(10), [(0, record(7))]);
    }

    #[test]
    fn what_is_taken_at_once_has_a_limit_of_bytes_and_is_never_nothing() {
        let journal = Arc::new(MemoryJournal::new(usize::MAX));
        let mut reader = journal.reader("spans");
        let lengths = [BYTES_AT_ONCE + 1, BYTES_AT_ONCE / 2, BYTES_AT_ONCE / 2, 1];
        lengths.iter().for_each(|length| journal.append(vec![0; *length].into()));
        let numbers = [(); 4].map(|()| reader.take(10).len());
        assert_eq!(numbers, [1, 2, 1, 0]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Append,
        Take(usize),
        Done,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![4 => Just(Step::Append), 1 => (1usize..4).prop_map(Step::Take), 1 => Just(Step::Done)];
        prop::collection::vec(step, 0..200)
    }

    #[test]
    fn what_a_reader_holds_is_its_backlog_and_nobody_elses_burden() {
        let journal = Arc::new(MemoryJournal::new(1_000));
        let mut reader = journal.reader("service");
        (0..4).for_each(|number| journal.append(record(number)));
        let taken = reader.take(3);
        reader.done_except(&taken[1..2]);
        let status = &journal.readers()[0];
        assert_eq!((status.backlog, status.oldest.clone()), (2, Some(record(1))));
        assert_eq!(journal.bytes(), RECORD_OVERHEAD + 1);
    }

    proptest! {
        /// What was appended is taken once and in order, waits, or is counted as given up; and bytes are bounded.
        #[test]
        fn every_record_is_taken_waiting_or_given_up(steps in steps()) {
            let limit = 10 * (RECORD_OVERHEAD + 1);
            let journal = Arc::new(MemoryJournal::new(limit));
            let mut reader = journal.reader("spans");
            let (mut appended, mut taken) = (0u64, Vec::new());
            for step in steps {
                match step {
                    Step::Append => {
                        journal.append(Bytes::from(vec![appended as u8]));
                        appended += 1;
                    }
                    Step::Take(most) => taken.extend(reader.take(most)),
                    Step::Done => reader.done_except(&[]),
                }
                prop_assert!(journal.bytes() <= limit);
                let status = &journal.readers()[0];
                prop_assert_eq!(taken.len() as u64 + reader.waiting() + status.given_up, appended);
                prop_assert!(status.backlog >= reader.waiting());
            }
            prop_assert!(taken.is_sorted());
            reader.take(usize::MAX);
            reader.done_except(&[]);
            prop_assert_eq!(journal.bytes(), 0);
            prop_assert_eq!(journal.readers()[0].backlog, 0);
        }
    }
}
