//! The journal in memory: it keeps a record until every reader has finished it, within a limit of bytes. Beyond the
//! limit it drops the oldest record, and counts that for each reader that had not taken it. Without readers it keeps
//! nothing for them.
//!
//! Beside that it keeps the latest records for who looks [back](super::past), whatever readers do.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use tracing::warn;

use super::reader_state::ReaderState;
use super::{BYTES_AT_ONCE, ReaderStatus};
use crate::http::pace::{LeftOut, Pace};

/// What one record costs beside its own bytes, about: its place in the queue and its allocation.
const RECORD_OVERHEAD: usize = 64;

/// The bytes of the latest records that are kept for who looks back: some minutes of a busy service.
const RECENT_BYTES: usize = 2 * 1024 * 1024;

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
    /// The latest records, for who looks back, and their bytes.
    recent: VecDeque<Bytes>,
    recent_bytes: usize,
    /// What was said of records that were dropped before a reader took them.
    drops_logged: Pace,
}

impl MemoryJournal {
    /// An empty journal that keeps at most `max_bytes` for its readers.
    pub fn new(max_bytes: usize) -> MemoryJournal {
        let state = State {
            records: VecDeque::new(),
            first: 0,
            bytes: 0,
            max_bytes,
            readers: Vec::new(),
            recent: VecDeque::new(),
            recent_bytes: 0,
            drops_logged: Pace::default(),
        };
        MemoryJournal { state: Mutex::new(state), appended: Notify::new() }
    }

    /// Appends a record.
    pub fn append(&self, record: Bytes) {
        let mut state = self.state();
        state.note_recent(record.clone());
        if state.readers.is_empty() {
            state.first += 1;
            return;
        }
        state.bytes += record.len() + RECORD_OVERHEAD;
        state.records.push_back(record);
        while state.bytes > state.max_bytes {
            state.drop_first();
        }
        drop(state);
        self.appended.notify_waiters();
    }

    /// A new reader, which reads what is appended from now on.
    pub fn reader(self: &Arc<MemoryJournal>, name: &'static str) -> MemoryReader {
        let mut state = self.state();
        let end = state.end();
        state.readers.push(ReaderState::new(name, end));
        MemoryReader { journal: Arc::clone(self), index: state.readers.len() - 1 }
    }

    /// How every reader stands.
    pub fn readers(&self) -> Vec<ReaderStatus> {
        let state = self.state();
        let end = state.end();
        state.readers.iter().map(|reader| reader.status(end)).collect()
    }

    /// The latest records from this sequence number on, with theirs.
    pub(super) fn recent(&self, from: u64) -> Vec<(u64, Bytes)> {
        let state = self.state();
        let kept = state.kept();
        let skip = from.saturating_sub(kept.start).min(state.recent.len() as u64);
        (kept.start + skip..).zip(state.recent.iter().skip(skip as usize).cloned()).collect()
    }

    /// The sequence numbers of the latest records that are kept for who looks back.
    pub(super) fn kept(&self) -> Range<u64> {
        self.state().kept()
    }

    /// The bytes that may be kept for readers.
    pub fn max_bytes(&self) -> u64 {
        self.state().max_bytes as u64
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

    fn kept(&self) -> Range<u64> {
        self.end() - self.recent.len() as u64..self.end()
    }

    /// Keeps a record that is about to be appended for who looks back.
    fn note_recent(&mut self, record: Bytes) {
        self.recent_bytes += record.len() + RECORD_OVERHEAD;
        self.recent.push_back(record);
        while self.recent_bytes > RECENT_BYTES {
            let Some(oldest) = self.recent.pop_front() else { break };
            self.recent_bytes -= oldest.len() + RECORD_OVERHEAD;
        }
    }

    /// Looks at a reader, or changes it.
    fn with_reader<T>(&mut self, index: usize, act: impl FnOnce(&mut ReaderState) -> T) -> T {
        let end = self.end();
        let reader = &mut self.readers[index];
        let answer = act(reader);
        reader.check(end);
        answer
    }

    /// Drops the first record, whether or not readers have taken it.
    fn drop_first(&mut self) {
        let Some(record) = self.records.pop_front() else { return };
        self.bytes -= record.len() + RECORD_OVERHEAD;
        self.first += 1;
        let end = self.end();
        for reader in &mut self.readers {
            let dropped = reader.drop_before(self.first);
            reader.check(end);
            if dropped > 0
                && let Some(LeftOut { number, times }) = self.drops_logged.note(reader.name(), dropped)
            {
                warn!(
                    reader = reader.name(),
                    events = dropped + number,
                    left_out = times,
                    "the backlog in memory takes more than it may; the oldest events are dropped"
                );
            }
        }
    }

    fn drop_what_all_have_done(&mut self) {
        let done = self.readers.iter().map(ReaderState::done).min().unwrap_or(u64::MAX);
        while self.first < done && !self.records.is_empty() {
            self.drop_first();
        }
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
        let start = state.with_reader(self.index, |reader| reader.taken());
        let skip = (start - state.first) as usize;
        let mut bytes = 0;
        let has_room = |record: &&Bytes| {
            let has_room = bytes < BYTES_AT_ONCE;
            bytes += record.len();
            has_room
        };
        let records = state.records.iter().skip(skip).take(max).take_while(has_room).cloned();
        let taken: Vec<_> = (start..).zip(records).collect();
        let next = start + taken.len() as u64;
        state.with_reader(self.index, |reader| reader.take(start, next));
        taken
    }

    /// Finishes everything that was taken except the records with these sequence numbers, in ascending order, which the
    /// reader goes on holding itself.
    pub fn done_except(&mut self, unfinished: &[u64]) {
        let mut state = self.journal.state();
        state.with_reader(self.index, |reader| reader.finish(reader.taken(), unfinished));
        state.drop_what_all_have_done();
    }

    /// How many records wait to be taken.
    pub fn waiting(&self) -> u64 {
        let mut state = self.journal.state();
        let end = state.end();
        state.with_reader(self.index, |reader| reader.waiting(end))
    }

    /// How many records were dropped before it took them.
    pub fn dropped(&self) -> u64 {
        self.journal.state().readers[self.index].dropped()
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

    #[test]
    fn the_latest_records_are_kept_for_who_looks_back_whether_or_not_there_are_readers() {
        for has_reader in [false, true] {
            let journal = Arc::new(MemoryJournal::new(1_000));
            let mut reader = has_reader.then(|| journal.reader("spans"));
            let appended = 3 * (RECENT_BYTES / 1_000) as u64;
            for number in 0..appended {
                journal.append(Bytes::from(vec![number as u8; 1_000]));
                reader.iter_mut().for_each(|reader| {
                    reader.take(1);
                    reader.done_except(&[]);
                });
            }
            let kept = journal.kept();
            assert_eq!(kept.end, appended);
            assert_eq!((kept.end - kept.start) as usize, RECENT_BYTES / (1_000 + RECORD_OVERHEAD));
            let recent = journal.recent(0);
            assert!(recent.iter().map(|(sequence, _)| *sequence).eq(kept.clone()));
            assert!(recent.iter().all(|(sequence, record)| record[0] == *sequence as u8));
            assert_eq!(journal.recent(appended - 2), recent[recent.len() - 2..]);
            assert_eq!(journal.recent(appended + 2), []);
        }
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
        reader.done_except(&[taken[1].0]);
        assert_eq!(journal.readers()[0].backlog, 2);
        assert_eq!(journal.bytes(), RECORD_OVERHEAD + 1);
    }

    proptest! {
        /// What was appended is taken once and in order, waits, or is counted as dropped; and bytes are bounded.
        #[test]
        fn every_record_is_taken_waiting_or_dropped(steps in steps()) {
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
                prop_assert_eq!(taken.len() as u64 + reader.waiting() + status.dropped, appended);
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
