//! The committer: stores events that wait, as one batch with one sync, hands them to the fold, and acknowledges them.
//!
//! One thread, because a disk has one end to write at. While it waits for a sync, the next batch gathers. It knows keys and
//! bytes, not calls.

use std::fmt::Display;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use metrics::{Counter, Histogram, counter, histogram};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::{error, info};

use crate::callback::Key;
use crate::journal::disk::DiskJournal;
use crate::journal::storage::Storage;
use crate::metrics::catalog;

use super::fold::Fold;
use super::known::{Answer, NotStored, SharedKnown};
use super::readiness::Latch;
use super::thread::Thread;

/// Events that are stored at once, at most.
const LARGEST_BATCH: usize = 1024;

/// Events that may wait to be stored, and bytes of their records. Events whose clients have gone away count too, which may
/// be many while the disk hangs.
const MOST_WAITING: usize = 4096;
const MOST_WAITING_BYTES: usize = 8 * 1024 * 1024;

/// How long a request waits for the disk. A disk that takes longer hangs, which a person has to know.
pub const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// An event that is to be stored.
#[derive(Debug)]
pub struct Submission {
    /// What makes it the same event when it comes again.
    pub key: Key,
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
    /// To store an event. The permit is for the bytes of its record that may wait.
    Store(Submission, OwnedSemaphorePermit),
    /// To find out whether the journal can be written.
    Probe,
}

/// Hands events to a committer.
#[derive(Debug)]
pub struct CommitterHandle {
    tasks: mpsc::Sender<Task>,
    /// A permit for each byte that may wait.
    bytes: Arc<Semaphore>,
    health: Arc<Health>,
}

impl CommitterHandle {
    /// Has an event stored.
    ///
    /// # Errors
    /// Too many events wait.
    pub fn submit(&self, submission: Submission) -> Result<(), NotStored> {
        let bytes = u32::try_from(submission.record.len()).map_err(|_| NotStored::Busy)?;
        let permit = Arc::clone(&self.bytes).try_acquire_many_owned(bytes).map_err(|_| NotStored::Busy)?;
        self.tasks.try_send(Task::Store(submission, permit)).map_err(|_| NotStored::Busy)
    }

    /// Has the committer find out whether the journal can be written.
    pub fn probe(&self) {
        // A committer with much to do finds out as it is.
        let _ = self.tasks.try_send(Task::Probe);
    }

    /// Says so if the disk hangs at `now`, and finds out whether the journal can be written: again, or still, since the directory
    /// may have gone.
    pub fn watch(&self, now: Instant) {
        let mut state = self.health.lock();
        match state.waits_since {
            Some(since) if now.duration_since(since) >= LONGEST_WAIT => {
                self.health.note_failing(&mut state, &NotStored::Slow);
            }
            Some(_) => {}
            None => self.probe(),
        }
    }
}

/// Starts a committer that stores in `journal` and then hands over to `fold`. `storage` is open as long as the journal can be
/// written. The thread ends when the last handle is dropped.
///
/// # Errors
/// The thread cannot be started.
pub fn start<S: Storage>(
    known: SharedKnown,
    fold: Arc<Fold>,
    journal: Arc<DiskJournal<S>>,
    storage: Latch,
) -> io::Result<(CommitterHandle, Thread)> {
    let (tasks, to_do) = mpsc::channel(MOST_WAITING);
    let health = Arc::new(Health { storage, state: Mutex::default() });
    let committer =
        Committer { known, fold, journal, health: Arc::clone(&health), metrics: CommitterMetrics::new() };
    let thread = Thread::start("committer", move || committer.run(to_do))?;
    let handle = CommitterHandle { tasks, bytes: Arc::new(Semaphore::new(MOST_WAITING_BYTES)), health };
    Ok((handle, thread))
}

/// The metrics of the committer.
struct CommitterMetrics {
    sync: Histogram,
    duplicate: Counter,
    unavailable: Counter,
}

impl CommitterMetrics {
    fn new() -> CommitterMetrics {
        let event = |result: &'static str| counter!(catalog::EXPORTER_EVENTS.name, "result" => result);
        CommitterMetrics {
            sync: histogram!(catalog::EXPORTER_JOURNAL_SYNC_DURATION.name),
            duplicate: event("duplicate"),
            unavailable: event("unavailable"),
        }
    }
}

/// Whether the journal can be written.
#[derive(Debug)]
struct Health {
    storage: Latch,
    state: Mutex<HealthState>,
}

#[derive(Debug, Default)]
struct HealthState {
    /// Since when the committer waits for the disk, if it does.
    waits_since: Option<Instant>,
    is_failing: bool,
}

impl Health {
    fn lock(&self) -> MutexGuard<'_, HealthState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, now: Instant) {
        self.lock().waits_since = Some(now);
    }

    fn end(&self, error: Option<&dyn Display>) {
        let mut state = self.lock();
        state.waits_since = None;
        match error {
            None => self.note_working(&mut state),
            Some(error) => self.note_failing(&mut state, error),
        }
    }

    fn note_working(&self, state: &mut HealthState) {
        if std::mem::replace(&mut state.is_failing, false) {
            info!("the journal can be written again");
        }
        self.storage.open();
    }

    fn note_failing(&self, state: &mut HealthState, error: &dyn Display) {
        self.storage.close();
        if !std::mem::replace(&mut state.is_failing, true) {
            error!(%error, "the journal cannot be written; call events are answered 503 until it can");
        }
    }
}

struct Committer<S: Storage> {
    known: SharedKnown,
    fold: Arc<Fold>,
    journal: Arc<DiskJournal<S>>,
    health: Arc<Health>,
    metrics: CommitterMetrics,
}

impl<S: Storage> Committer<S> {
    fn run(mut self, mut tasks: mpsc::Receiver<Task>) {
        let mut waiting = Vec::with_capacity(LARGEST_BATCH);
        while tasks.blocking_recv_many(&mut waiting, LARGEST_BATCH) > 0 {
            self.commit(&mut waiting);
        }
    }

    fn commit(&mut self, waiting: &mut Vec<Task>) {
        let stores = waiting.drain(..).filter_map(|task| match task {
            Task::Store(submission, permit) => Some((submission, permit)),
            Task::Probe => None,
        });
        // The permits are given back when the batch is done with.
        let (submissions, _permits): (Vec<_>, Vec<_>) = stores.unzip();
        let records: Vec<Bytes> = submissions.iter().map(|submission| submission.record.clone()).collect();
        let started = Instant::now();
        self.health.begin(started);
        let outcome = self.journal.append(&records);
        self.health.end(outcome.as_ref().err().map(|error| error as &dyn Display));
        if !records.is_empty() {
            self.metrics.sync.record(started.elapsed());
        }
        let first = outcome.map_err(|_| NotStored::Storage);
        let mut repeats = Vec::new();
        {
            let mut known = self.known.lock();
            for (place, submission) in (0..).zip(&submissions) {
                repeats.extend(known.pending.remove(&submission.key).unwrap_or_default());
                if let Ok(first) = first {
                    known.window.insert(submission.key, first + place, submission.received_at);
                }
            }
        }
        if let Ok(first) = first {
            // Before the answers: who has one finds its event in the totals.
            self.fold.push(first, records);
            self.fold.keep_up();
            self.metrics.duplicate.increment(repeats.len() as u64);
        }
        // Who has gone away meanwhile needs no answer, and was told nothing that would have to be counted.
        for answer in submissions.into_iter().map(|submission| submission.answer).chain(repeats) {
            if answer.send(first.map(|_| ())).is_ok() && first.is_err() {
                self.metrics.unavailable.increment(1);
            }
        }
    }
}

#[cfg(test)]
mod tests;
