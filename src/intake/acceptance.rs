//! What becomes of an event, in the order that keeps the promise: seen before? then the journal, and only then is the request
//! answered. The fold takes it from there.
//!
//! Acceptance knows the key of an event, when it was received, and bytes. With a journal on disk the way goes through the
//! [`committer`](crate::state::committer), which stores what waits as one batch; in memory it is short enough to go at once.
//! An event that the disk does not take is for the service behind to answer, if there is one; see
//! [`undurable`](crate::state::undurable).

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use hyper::StatusCode;
use metrics::{Counter, counter};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::callback::{Fingerprint, Key};
use crate::journal::memory::MemoryJournal;
use crate::metrics::catalog;
use crate::state::committer::{CommitterHandle, Submission};
use crate::state::fold::Fold;
use crate::state::known::{NotStored, Pending, SharedKnown};
use crate::state::undurable::{Passage, Passages, Uncounted, UndurableMetrics};

/// What became of an event.
#[derive(Debug)]
pub enum Outcome {
    /// It is stored, and in the totals for whoever looks.
    Accepted,
    /// Its key was seen before; nothing was stored or counted.
    Duplicate,
    /// It is held until it can be stored, and is to be passed on now.
    Undurable(Passage),
    /// It is a repeat of one that is held, which the service answered so.
    Answered(StatusCode),
    /// There is no room to hold it; it is to be passed on now.
    Uncounted(Uncounted),
}

/// What became of an event, and what it says beside the one that was first.
#[derive(Debug)]
pub struct Accepted {
    /// What became of it.
    pub outcome: Outcome,
    /// Whether it is the first repeat that says something else.
    pub contradicts: bool,
}

impl From<Outcome> for Accepted {
    fn from(outcome: Outcome) -> Accepted {
        Accepted { outcome, contradicts: false }
    }
}

/// Where accepted events go.
#[derive(Debug)]
pub enum Store {
    /// A journal in memory, and the fold.
    Memory(Arc<MemoryJournal>, Arc<Fold>),
    /// A committer, which hands over to the fold.
    Disk(Arc<CommitterHandle>),
}

/// Accepts events, each once.
#[derive(Debug)]
pub struct Acceptance {
    known: SharedKnown,
    store: Store,
    duplicate: Counter,
    unavailable: Counter,
    not_taken: Counter,
    undurable: UndurableMetrics,
}

impl Acceptance {
    /// Accepts into `store` what is not in the window of `known`.
    pub fn new(known: SharedKnown, store: Store) -> Acceptance {
        let event = |result: &'static str| counter!(catalog::EXPORTER_EVENTS.name, "result" => result);
        let [duplicate, unavailable, not_taken] = ["duplicate", "unavailable", "not_taken"].map(event);
        Acceptance { known, store, duplicate, unavailable, not_taken, undurable: UndurableMetrics::default() }
    }

    /// Stores an event, unless its key was seen before. A repeat of an event that is on its way waits for it.
    ///
    /// Whether the client still waits makes no difference to what is counted: an accepted event counts where it is folded,
    /// any other where it is decided.
    ///
    /// # Errors
    /// The event is not stored, and the request must not be acknowledged.
    pub async fn accept(
        &self,
        key: Key,
        fingerprint: Fingerprint,
        received_at: SystemTime,
        record: Bytes,
    ) -> Result<Accepted, NotStored> {
        let accepted = match &self.store {
            Store::Memory(journal, fold) => {
                Ok(self.accept_in_memory(journal, fold, key, fingerprint, received_at, record))
            }
            Store::Disk(committer) => {
                self.accept_on_disk(committer, key, fingerprint, received_at, record).await
            }
        };
        accepted.inspect_err(|_| self.unavailable.increment(1))
    }

    fn accept_in_memory(
        &self,
        journal: &MemoryJournal,
        fold: &Fold,
        key: Key,
        fingerprint: Fingerprint,
        received_at: SystemTime,
        record: Bytes,
    ) -> Accepted {
        let mut known = self.known.lock();
        if let Some(contradicts) = known.window.compare(key, fingerprint, received_at) {
            self.duplicate.increment(1);
            return Accepted { outcome: Outcome::Duplicate, contradicts };
        }
        let sequence = known.next;
        known.next += 1;
        known.window.insert(key, fingerprint, sequence, received_at);
        journal.append(record.clone());
        fold.push(sequence, vec![record]);
        // Not before the lock on what is known is gone, which everybody needs.
        drop(known);
        fold.keep_up();
        Outcome::Accepted.into()
    }

    async fn accept_on_disk(
        &self,
        committer: &CommitterHandle,
        key: Key,
        fingerprint: Fingerprint,
        received_at: SystemTime,
        record: Bytes,
    ) -> Result<Accepted, NotStored> {
        let (arrival, stored) = match self.submit(committer, key, fingerprint, received_at, record)? {
            Submitted::Done(accepted) => return Ok(accepted),
            Submitted::OnItsWay(arrival, stored) => (arrival, stored),
            Submitted::NotInTime(arrival, passages) => {
                return self.pass_on(passages, key, received_at, arrival).await;
            }
        };
        let outcome = match timeout(committer.patience(), stored).await {
            // A committer that is gone ends the process.
            Ok(answer) => answer.unwrap_or(Err(NotStored::Storage)),
            Err(_) => Err(NotStored::Slow),
        };
        match (outcome, committer.passages()) {
            (Ok(()), _) => Ok(arrival.stored()),
            (Err(reason), None) => Err(reason),
            (Err(reason), Some(passages)) => {
                if reason == NotStored::Slow {
                    // So that those who come next need not wait.
                    committer.watch(Instant::now());
                }
                self.pass_on(passages, key, received_at, arrival).await
            }
        }
    }

    fn submit<'a>(
        &self,
        committer: &'a CommitterHandle,
        key: Key,
        fingerprint: Fingerprint,
        received_at: SystemTime,
        record: Bytes,
    ) -> Result<Submitted<'a>, NotStored> {
        let mut known = self.known.lock();
        if let Some(contradicts) = known.window.compare(key, fingerprint, received_at) {
            self.duplicate.increment(1);
            return Ok(Submitted::Done(Accepted { outcome: Outcome::Duplicate, contradicts }));
        }
        // It would be in vain to wait.
        let in_vain = committer.passages().filter(|_| committer.is_failing());
        let (answer, stored) = oneshot::channel();
        if let Some(pending) = known.pending.get_mut(&key) {
            let arrival = Arrival::Repeat { contradicts: fingerprint.contradicts(pending.fingerprint) };
            let in_vain = in_vain.or(committer.passages().filter(|_| pending.is_undurable));
            if let Some(passages) = in_vain {
                self.duplicate.increment(1);
                return Ok(Submitted::NotInTime(arrival, passages));
            }
            self.duplicate.increment(pending.forget_gone());
            pending.repeats.push(answer);
            return Ok(Submitted::OnItsWay(arrival, stored));
        }
        match committer.submit(Submission { key, fingerprint, received_at, record, answer }) {
            Ok(()) => drop(known.pending.insert(key, Pending { fingerprint, ..Pending::default() })),
            Err(_) if committer.passages().is_some() => {
                let uncounted = Uncounted::new(key, &self.undurable);
                return Ok(Submitted::Done(Outcome::Uncounted(uncounted).into()));
            }
            Err(reason) => return Err(reason),
        }
        Ok(match in_vain {
            Some(passages) => Submitted::NotInTime(Arrival::First, passages),
            None => Submitted::OnItsWay(Arrival::First, stored),
        })
    }

    /// Lets an event be passed on that was not stored in time, unless somebody else does so or it is stored meanwhile.
    async fn pass_on(
        &self,
        passages: &Passages,
        key: Key,
        received_at: SystemTime,
        arrival: Arrival,
    ) -> Result<Accepted, NotStored> {
        let begun = {
            let mut known = self.known.lock();
            let Some(pending) = known.pending.get_mut(&key) else {
                let is_stored = known.window.contains(key, received_at);
                return is_stored.then(|| arrival.stored()).ok_or(NotStored::Storage);
            };
            pending.note_undurable(&self.undurable);
            // This one may be among them.
            self.duplicate.increment(pending.forget_gone());
            passages.begin(key)
        };
        let outcome = match begun {
            Ok(passage) => Outcome::Undurable(passage),
            Err(other) => Outcome::Answered(other.status().await.ok_or(NotStored::Storage)?),
        };
        Ok(Accepted { outcome, contradicts: arrival.contradicts() })
    }

    /// Whether an event with this key was stored, or is on its way.
    pub fn knows(&self, key: Key, received_at: SystemTime) -> bool {
        let mut known = self.known.lock();
        known.window.contains(key, received_at) || known.pending.contains_key(&key)
    }

    /// Why an event that comes now would be answered 503, as far as is known without trying.
    pub fn refuses(&self) -> Option<NotStored> {
        match &self.store {
            Store::Memory(..) => None,
            Store::Disk(committer) => committer.refuses(),
        }
    }

    /// Counts an event that the service behind did not take before it was to be stored.
    pub fn note_not_taken(&self) {
        self.not_taken.increment(1);
    }

    /// Counts an event that could not be passed on either, and is answered 503.
    pub fn note_unavailable(&self) {
        self.unavailable.increment(1);
    }
}

/// What became of an event so far.
enum Submitted<'a> {
    /// That is decided.
    Done(Accepted),
    /// That is decided once the event is stored.
    OnItsWay(Arrival, oneshot::Receiver<Result<(), NotStored>>),
    /// It is on its way, and would not be stored in time.
    NotInTime(Arrival, &'a Passages),
}

/// Whether an event arrives for the first time.
#[derive(Debug, Clone, Copy)]
enum Arrival {
    /// It does.
    First,
    /// It is on its way already.
    Repeat {
        /// Whether it says something else.
        contradicts: bool,
    },
}

impl Arrival {
    /// What becomes of it once the event is stored.
    fn stored(self) -> Accepted {
        let outcome = match self {
            Arrival::First => Outcome::Accepted,
            Arrival::Repeat { .. } => Outcome::Duplicate,
        };
        Accepted { outcome, contradicts: self.contradicts() }
    }

    fn contradicts(self) -> bool {
        matches!(self, Arrival::Repeat { contradicts: true })
    }
}
