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

    /// Says so if the disk hangs at `now`, and finds out whether a journal that could not be written can be again.
    pub fn watch(&self, now: Instant) {
        let mut state = self.health.lock();
        match state.waits_since {
            Some(since) if now.duration_since(since) >= LONGEST_WAIT => {
                self.health.note_failing(&mut state, &NotStored::Slow);
            }
            None if state.is_failing => self.probe(),
            _ => {}
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
        self.metrics.sync.record(started.elapsed());
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
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::time::SystemTime;

    use super::*;
    use crate::callback::{Kind, Record};
    use crate::intake::acceptance::{Acceptance, Outcome, Store};
    use crate::journal::simulated_disk::SimulatedDisk;
    use crate::ledger::checkpoint::Checkpoint;
    use crate::ledger::{Ledger, Limits};
    use crate::state::quarantine::Quarantine;
    use crate::state::readiness::Readiness;
    use crate::state::window::Window;

    /// What a test opens on a simulated disk.
    struct Opened {
        acceptance: Acceptance,
        committer: Arc<CommitterHandle>,
        readiness: Readiness,
        known: SharedKnown,
        fold: Arc<Fold>,
    }

    impl Opened {
        fn calls(&self) -> u64 {
            self.fold.ledger().calls()
        }

        fn position(&self) -> u64 {
            self.fold.position()
        }

        async fn accept(&self, sid: u32) -> Result<Outcome, NotStored> {
            accept_with(&self.acceptance, sid, b"").await
        }
    }

    fn open(disk: &SimulatedDisk) -> Opened {
        let buckets = || "1,60".parse().expect("buckets");
        let ledger = Ledger::new(SystemTime::UNIX_EPOCH, Limits::default(), buckets(), buckets());
        let fold = Arc::new(Fold::new(Checkpoint { position: 0, ledger }, Quarantine::in_memory()));
        let mut window = Window::new(1_000, Duration::from_secs(3_600));
        let journal = DiskJournal::open(disk.clone(), 1 << 20, 0, |sequence, bytes| {
            let record = Record::decode(bytes).expect("a record");
            window.insert(record.key, sequence, record.received_at);
            fold.fold_at_start(sequence, bytes).expect("a call");
        });
        let readiness = Readiness::default();
        let journal = Arc::new(journal.expect("a journal"));
        let known = SharedKnown::new(window, journal.end());
        let (committer, _) =
            start(known.clone(), Arc::clone(&fold), journal, readiness.latch("storage")).expect("a thread");
        let committer = Arc::new(committer);
        let acceptance = Acceptance::new(known.clone(), Store::Disk(Arc::clone(&committer)));
        Opened { acceptance, committer, readiness, known, fold }
    }

    async fn accept_with(acceptance: &Acceptance, sid: u32, envelope: &[u8]) -> Result<Outcome, NotStored> {
        let query = format!("sid={sid}&duration=5&terminate=16&disconnect_reason=1001");
        let (received_at, query) = (SystemTime::UNIX_EPOCH, query.as_bytes());
        let key = Kind::CallEvent.key(query).expect("a call");
        let record = Record { kind: Kind::CallEvent, received_at, key, envelope, query };
        acceptance.accept(key, received_at, record.encode()).await
    }

    /// What comes of two requests with the same sid, the second of which arrives before the first is stored.
    async fn accept_twice(
        opened: &Opened,
        disk: &SimulatedDisk,
        sid: u32,
    ) -> [Result<Outcome, NotStored>; 2] {
        let held = disk.hold();
        let (one, two, ()) =
            tokio::join!(biased; opened.accept(sid), opened.accept(sid), async { drop(held) });
        [one, two]
    }

    /// What a client gets that does not wait.
    fn give_up_at_once<T>(answer: impl Future<Output = T>) -> Option<T> {
        match pin!(answer).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => Some(answer),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn of_concurrent_repeats_one_counts_and_all_wait_for_it() {
        let disk = SimulatedDisk::default();
        let opened = open(&disk);
        let both = accept_twice(&opened, &disk, 1).await;
        assert_eq!(both, [Ok(Outcome::Accepted), Ok(Outcome::Duplicate)]);
        assert_eq!(opened.accept(1).await, Ok(Outcome::Duplicate));
        assert_eq!((opened.calls(), opened.position()), (1, 1));
    }

    #[tokio::test]
    async fn what_waits_for_a_disk_that_hangs_is_bounded_though_clients_give_up() {
        let disk = SimulatedDisk::default();
        let opened = open(&disk);
        let held = disk.hold();
        let envelope = vec![b'x'; 100_000];
        let mut stored = 0;
        let most = MOST_WAITING_BYTES / envelope.len();
        for sid in 0..2 * most as u32 {
            let answer = give_up_at_once(accept_with(&opened.acceptance, sid, &envelope));
            stored += usize::from(answer.is_none());
            assert!(answer.is_none() || answer == Some(Err(NotStored::Busy)));
        }
        assert!((1..=most).contains(&stored), "{stored} of {most}");
        // Nor do repeats of one call pile up.
        for _ in 0..1_000 {
            assert_eq!(give_up_at_once(opened.accept(0)), None);
        }
        assert_eq!(opened.known.lock().pending.values().map(Vec::len).sum::<usize>(), 1);
        drop(held);
        assert_eq!(opened.accept(0).await, Ok(Outcome::Duplicate));
        // Room again.
        while opened.position() < stored as u64 {
            tokio::task::yield_now().await;
        }
        assert_eq!(opened.accept(u32::MAX).await, Ok(Outcome::Accepted));
        assert_eq!(opened.calls(), stored as u64 + 1);
    }

    #[tokio::test]
    async fn nobody_waits_forever_for_a_disk_that_hangs_and_what_it_stores_late_counts_once() {
        let disk = SimulatedDisk::default();
        let opened = open(&disk);
        let held = disk.hold();
        tokio::time::pause();
        // The one that is stored, and one that waits for it.
        let (one, two) = tokio::join!(opened.accept(1), opened.accept(1));
        assert_eq!([one, two], [Err(NotStored::Slow); 2]);
        tokio::time::resume();
        drop(held);
        assert_eq!(opened.accept(1).await, Ok(Outcome::Duplicate));
        assert_eq!(opened.calls(), 1);
    }

    #[tokio::test]
    async fn a_disk_that_hangs_is_noticed_though_clients_give_up() {
        let disk = SimulatedDisk::default();
        let opened = open(&disk);
        assert_eq!(opened.accept(1).await, Ok(Outcome::Accepted));
        let held = disk.hold();
        assert_eq!(give_up_at_once(opened.accept(2)), None);
        // Before the committer has taken it, nothing is to be seen.
        let mut seen_at = Instant::now();
        while opened.readiness.closed().is_empty() {
            tokio::task::yield_now().await;
            opened.committer.watch(seen_at);
            assert!(opened.readiness.closed().is_empty(), "too early");
            seen_at = Instant::now();
            opened.committer.watch(seen_at + LONGEST_WAIT);
        }
        assert_eq!(opened.readiness.closed(), ["storage"]);
        drop(held);
        assert_eq!(opened.accept(2).await, Ok(Outcome::Duplicate));
        assert!(opened.readiness.closed().is_empty());
    }

    #[tokio::test]
    async fn a_journal_that_could_not_be_written_is_tried_again_while_nobody_sends() {
        let disk = SimulatedDisk::default();
        let opened = open(&disk);
        disk.fail_sync();
        assert_eq!(opened.accept(1).await, Err(NotStored::Storage));
        assert_eq!(opened.readiness.closed(), ["storage"]);
        opened.committer.watch(Instant::now());
        while !opened.readiness.closed().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(opened.accept(1).await, Ok(Outcome::Accepted));
    }

    #[tokio::test]
    async fn what_could_not_be_stored_is_not_counted_and_can_be_sent_again() {
        let disk = SimulatedDisk::default();
        let opened = open(&disk);
        assert_eq!(opened.accept(1).await, Ok(Outcome::Accepted));
        assert!(opened.readiness.closed().is_empty());
        disk.fail_sync();
        assert_eq!(accept_twice(&opened, &disk, 2).await, [Err(NotStored::Storage); 2]);
        assert_eq!((opened.calls(), opened.readiness.closed()), (1, vec!["storage"]));
        assert_eq!(opened.accept(2).await, Ok(Outcome::Accepted));
        assert_eq!((opened.calls(), opened.readiness.closed()), (2, vec![]));
        // And so it is after the power was lost, whatever the failed sync left behind.
        for choice in 0..20 {
            let opened = open(&disk.after_power_loss(choice));
            assert_eq!((opened.calls(), opened.position()), (2, 2));
            assert_eq!(opened.accept(2).await, Ok(Outcome::Duplicate));
        }
    }
}
