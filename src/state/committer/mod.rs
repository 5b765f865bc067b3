//! The committer: stores events that wait, as one batch with one sync, hands them to the fold, and acknowledges them.
//!
//! One thread, because a disk has one end to write at. While it waits for a sync, the next batch gathers. It knows keys and
//! bytes, not calls.
//!
//! What the disk refuses is refused, or with a service behind held and stored later; see [`undurable`](super::undurable). While
//! the disk is known to fail, a probe tries again, once a second.

mod health;

use std::collections::VecDeque;
use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use metrics::{Counter, Histogram, counter, histogram};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use crate::callback::{Fingerprint, Key, record};
use crate::journal::storage::Storage;
use crate::metrics::catalog;

use super::bounded::BoundedJournal;
use super::fold::Fold;
use super::known::{Answer, NotStored, SharedKnown};
use super::readiness::Latch;
use super::thread::Thread;
use super::undurable::{Passages, UndurableMetrics};
use health::Health;

/// Events that are stored at once, at most, and bytes of their records beyond which no more are.
const LARGEST_BATCH: usize = 1024;
const LARGEST_BATCH_BYTES: usize = 1024 * 1024;

/// Events that may wait to be stored or are held, and what they may take in memory. Events whose clients have gone away count
/// too, which may be many while the disk hangs.
pub(super) const MOST_WAITING: usize = 16 * 1024;
const MOST_WAITING_BYTES: usize = 12 * 1024 * 1024;

/// What an event takes beside its record: its places in queues and tables.
const EVENT_OVERHEAD: usize = 768;

/// What the record of an ordinary call event takes at most.
const ORDINARY_RECORD: usize = 2 * 1024;

/// An event that is to be stored.
#[derive(Debug)]
pub struct Submission {
    /// What makes it the same event when it comes again.
    pub key: Key,
    /// What is known of it.
    pub fingerprint: Fingerprint,
    /// When it was received.
    pub received_at: SystemTime,
    /// What the journal is to keep.
    pub record: Bytes,
    /// Who is told when it is stored.
    pub answer: Answer,
}

/// What the committer is asked to do.
#[derive(Debug)]
enum Task {
    /// To store an event.
    Store(Waiting),
    /// To find out whether the journal can be written, and to say when that is done.
    Probe(oneshot::Sender<()>),
}

/// An event that waits or is held.
#[derive(Debug)]
struct Waiting {
    key: Key,
    fingerprint: Fingerprint,
    received_at: SystemTime,
    record: Bytes,
    /// Who is told, unless that has been done.
    answer: Option<Answer>,
    /// For what may wait.
    _permit: OwnedSemaphorePermit,
}

/// Hands events to a committer.
#[derive(Debug)]
pub struct CommitterHandle {
    tasks: mpsc::Sender<Task>,
    /// A permit for each byte that may wait.
    bytes: Arc<Semaphore>,
    health: Arc<Health>,
    passages: Option<Passages>,
}

impl CommitterHandle {
    /// Has an event stored.
    ///
    /// # Errors
    /// Too many events wait.
    pub fn submit(&self, submission: Submission) -> Result<(), NotStored> {
        let Submission { key, fingerprint, received_at, record, answer } = submission;
        let bytes = u32::try_from(record.len() + EVENT_OVERHEAD).map_err(|_| NotStored::Busy)?;
        let permit = Arc::clone(&self.bytes).try_acquire_many_owned(bytes).map_err(|_| NotStored::Busy)?;
        let waiting =
            Waiting { key, fingerprint, received_at, record, answer: Some(answer), _permit: permit };
        self.tasks.try_send(Task::Store(waiting)).map_err(|_| NotStored::Busy)
    }

    /// The passages of events that are held, if events are held.
    pub fn passages(&self) -> Option<&Passages> {
        self.passages.as_ref()
    }

    /// How long a request waits for the disk.
    pub fn patience(&self) -> Duration {
        self.health.patience()
    }

    /// Whether the journal is known to be unwritable.
    pub fn is_failing(&self) -> bool {
        self.health.is_failing()
    }

    /// Why an event that is submitted now would be refused, as far as is known without trying. Where events are held, none is.
    pub fn refuses(&self) -> Option<NotStored> {
        let is_room = self.bytes.available_permits() >= EVENT_OVERHEAD + ORDINARY_RECORD;
        let has_room = is_room && self.tasks.capacity() > 0;
        match (&self.passages, self.is_failing(), has_room) {
            (None, true, _) => Some(NotStored::Storage),
            (None, false, false) => Some(NotStored::Busy),
            (None, false, true) | (Some(_), _, _) => None,
        }
    }

    /// Has the committer find out whether the journal can be written, and store what it holds if it can. Completes when that is
    /// done.
    pub fn probe(&self) -> oneshot::Receiver<()> {
        let (done, is_done) = oneshot::channel();
        // A committer with much to do finds out as it is.
        let _ = self.tasks.try_send(Task::Probe(done));
        is_done
    }

    /// Says so if the disk hangs at `now`, and finds out whether the journal can be written: again, or still, since the
    /// directory may have gone.
    pub fn watch(&self, now: Instant) {
        if self.health.look(now) {
            drop(self.probe());
        }
    }
}

/// Starts a committer that stores in `journal` and then hands over to `fold`. `storage` is open as long as the journal can be
/// written. With `passages` there is a service behind: what the disk does not take is held until it does. The thread ends when
/// the last handle is dropped.
///
/// # Errors
/// The thread cannot be started.
pub fn start<S: Storage>(
    known: SharedKnown,
    fold: Arc<Fold>,
    journal: Arc<BoundedJournal<S>>,
    storage: Latch,
    passages: Option<Passages>,
) -> io::Result<(CommitterHandle, Thread)> {
    let (tasks, to_do) = mpsc::channel(MOST_WAITING);
    let health = Arc::new(Health::new(storage, passages.is_some()));
    let committer = Committer {
        known,
        fold,
        journal,
        health: Arc::clone(&health),
        passages: passages.clone(),
        waiting: VecDeque::new(),
        metrics: CommitterMetrics::new(),
    };
    let thread = Thread::start("committer", move || committer.run(to_do))?;
    let bytes = Arc::new(Semaphore::new(MOST_WAITING_BYTES));
    Ok((CommitterHandle { tasks, bytes, health, passages }, thread))
}

/// The metrics of the committer.
struct CommitterMetrics {
    sync: Histogram,
    duplicate: Counter,
    undurable: UndurableMetrics,
}

impl CommitterMetrics {
    fn new() -> CommitterMetrics {
        CommitterMetrics {
            sync: histogram!(catalog::EXPORTER_JOURNAL_SYNC_DURATION.name),
            duplicate: counter!(catalog::EXPORTER_EVENTS.name, "result" => "duplicate"),
            undurable: UndurableMetrics::default(),
        }
    }
}

struct Committer<S: Storage> {
    known: SharedKnown,
    fold: Arc<Fold>,
    journal: Arc<BoundedJournal<S>>,
    health: Arc<Health>,
    /// If what the disk does not take is held.
    passages: Option<Passages>,
    /// What is to be stored next, and what is held.
    waiting: VecDeque<Waiting>,
    metrics: CommitterMetrics,
}

impl<S: Storage> Committer<S> {
    fn run(mut self, mut tasks: mpsc::Receiver<Task>) {
        let mut taken = Vec::with_capacity(LARGEST_BATCH);
        while tasks.blocking_recv_many(&mut taken, LARGEST_BATCH) > 0 {
            let mut probes = Vec::new();
            for task in taken.drain(..) {
                match task {
                    Task::Store(waiting) => self.waiting.push_back(waiting),
                    Task::Probe(done) => probes.push(done),
                }
            }
            if self.passages.is_some() && self.health.is_failing() && probes.is_empty() {
                self.hold();
            } else {
                self.commit_all();
            }
            // Whoever asked may have gone away.
            for done in probes {
                let _ = done.send(());
            }
        }
    }

    /// Stores everything that waits, a batch at a time. An empty batch tells whether the journal can be written.
    fn commit_all(&mut self) {
        while self.commit() && !self.waiting.is_empty() {}
    }

    /// Stores the next batch, and returns whether another one may follow.
    fn commit(&mut self) -> bool {
        let mut bytes = 0;
        let has_room = |waiting: &&Waiting| {
            let has_room = bytes < LARGEST_BATCH_BYTES;
            bytes += waiting.record.len();
            has_room
        };
        let waiting = self.waiting.iter().take(LARGEST_BATCH).take_while(has_room);
        let most = self.journal.batch(waiting.map(|waiting| waiting.record.len()));
        let batch = self.waiting.iter().take(most);
        let (records, answered): (Vec<Bytes>, Vec<bool>) = batch.map(|waiting| self.record(waiting)).unzip();
        let started = Instant::now();
        self.health.begin(started);
        let outcome = self.journal.append(&records);
        self.health.end(outcome.as_ref().err().map(|error| error as &dyn Display));
        if !records.is_empty() {
            self.metrics.sync.record(started.elapsed());
        }
        match outcome {
            Ok(first) => self.acknowledge(first, records, &answered),
            Err(_) if self.passages.is_some() => {
                self.hold();
                return false;
            }
            Err(_) => self.refuse(records.len()),
        }
        true
    }

    /// What is stored of an event, and whether the service's final answer is with it.
    fn record(&self, waiting: &Waiting) -> (Bytes, bool) {
        let answer = self.passages.as_ref().and_then(|passages| passages.known_answer(waiting.key));
        match answer {
            Some(status) => (record::with_answer(&waiting.record, status.as_u16()), true),
            // The service may have been asked before the event came here.
            None => (waiting.record.clone(), record::answer(&waiting.record).is_some()),
        }
    }

    fn acknowledge(&mut self, first: u64, records: Vec<Bytes>, answered: &[bool]) {
        let stored: Vec<Waiting> = self.waiting.drain(..records.len()).collect();
        let mut repeats = Vec::new();
        {
            let mut known = self.known.lock();
            for (sequence, (waiting, has_answer)) in (first..).zip(stored.iter().zip(answered)) {
                repeats.extend(known.pending.remove(&waiting.key).unwrap_or_default().repeats);
                known.window.insert(waiting.key, waiting.fingerprint, sequence, waiting.received_at);
                if let Some(passages) = &self.passages {
                    passages.note_stored(waiting.key, *has_answer);
                }
            }
        }
        // Before the answers: who has one finds its event in the totals.
        self.fold.push(first, records);
        self.fold.keep_up();
        self.metrics.duplicate.increment(repeats.len() as u64);
        // Who has gone away meanwhile needs no answer, and was told nothing that would have to be counted.
        for answer in stored.into_iter().filter_map(|waiting| waiting.answer).chain(repeats) {
            let _ = answer.send(Ok(()));
        }
    }

    /// Gives up the first so many events that wait.
    fn refuse(&mut self, events: usize) {
        let refused: Vec<Waiting> = self.waiting.drain(..events).collect();
        let mut repeats = Vec::new();
        {
            let mut known = self.known.lock();
            for waiting in &refused {
                repeats.extend(known.pending.remove(&waiting.key).unwrap_or_default().repeats);
            }
        }
        for answer in refused.into_iter().filter_map(|waiting| waiting.answer).chain(repeats) {
            // Who has gone away needs no answer.
            let _ = answer.send(Err(NotStored::Storage));
        }
    }

    /// Holds everything that waits, and tells whoever waits for it.
    fn hold(&mut self) {
        let mut answers = Vec::new();
        {
            let mut known = self.known.lock();
            // Those that are held already have nobody left to tell.
            for waiting in self.waiting.iter_mut().rev().take_while(|waiting| waiting.answer.is_some()) {
                answers.extend(waiting.answer.take());
                if let Some(pending) = known.pending.get_mut(&waiting.key) {
                    pending.note_undurable(&self.metrics.undurable);
                    // They count as they are taken out.
                    self.metrics.duplicate.increment(pending.repeats.len() as u64);
                    answers.append(&mut pending.repeats);
                }
            }
        }
        // Who has gone away passes nothing on; it is delivered when it is stored.
        for answer in answers {
            let _ = answer.send(Err(NotStored::Storage));
        }
    }
}

#[cfg(test)]
mod tests;
