//! What becomes of a call event, in the order that keeps the promise: seen before? then the journal, then the ledger,
//! and only then is the request answered.
//!
//! With a journal on disk the way goes through the [`committer`](super::committer), which stores what waits as one batch;
//! in memory it is short enough to go at once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::call::{CallEvent, Sid, record};
use crate::journal::memory::MemoryJournal;
use crate::ledger::Ledger;
use crate::ledger::checkpoint::Checkpoint;

use super::committer::Submission;
use super::seen::SeenSids;

/// What became of a call event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored and in the totals.
    Accepted,
    /// Its sid was seen before; nothing was stored or counted.
    Duplicate,
}

/// Why an event was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotStored {
    /// The disk refused.
    #[error("the event could not be stored; send it again")]
    Storage,
    /// Too many events wait to be stored.
    #[error("too many events wait to be stored; send it again")]
    Busy,
}

/// The answer to a request that waited for its event to be stored.
pub(super) type Answer = oneshot::Sender<Result<(), NotStored>>;

/// The totals, the window of seen sids, and the events on their way to the disk. One owner for what must agree.
#[derive(Debug)]
pub struct Totals {
    /// The window of seen sids.
    pub seen: SeenSids,
    /// The totals.
    pub ledger: Ledger,
    /// The sequence number of the first record of the journal that is not in the ledger.
    pub position: u64,
    /// Repeats that wait for the event which is on its way.
    pub(super) pending: HashMap<Sid, Vec<Answer>>,
}

impl Totals {
    /// Totals that begin with these.
    pub fn new(seen: SeenSids, ledger: Ledger, position: u64) -> Totals {
        Totals { seen, ledger, position, pending: HashMap::new() }
    }
}

/// Totals that several parts share.
#[derive(Debug, Clone)]
pub(super) struct SharedTotals(Arc<Mutex<Totals>>);

impl SharedTotals {
    pub(super) fn lock(&self) -> MutexGuard<'_, Totals> {
        // A panic while the lock was held would be a bug in the fold; the totals up to it are still the best there are.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where accepted events go.
#[derive(Debug)]
enum Store {
    Memory(Arc<MemoryJournal>),
    Committer(mpsc::Sender<Submission>),
}

/// Accepts call events, each call once.
#[derive(Debug)]
pub struct Acceptance {
    totals: SharedTotals,
    store: Store,
}

impl Acceptance {
    /// Accepts into a journal in memory.
    pub fn in_memory(totals: Totals, journal: Arc<MemoryJournal>) -> Acceptance {
        Acceptance { totals: SharedTotals(Arc::new(Mutex::new(totals))), store: Store::Memory(journal) }
    }

    /// Accepts into what a committer makes durable, which `start` starts with the totals and the events to come.
    pub(super) fn with_committer(
        totals: Totals,
        start: impl FnOnce(SharedTotals, mpsc::Receiver<Submission>),
    ) -> Acceptance {
        let totals = SharedTotals(Arc::new(Mutex::new(totals)));
        let (submissions, to_commit) = mpsc::channel(MOST_WAITING);
        start(totals.clone(), to_commit);
        Acceptance { totals, store: Store::Committer(submissions) }
    }

    /// Stores and counts an event, unless its sid was seen before. A repeat of an event that is on its way waits for it.
    ///
    /// # Errors
    /// The event is not stored, and the request must not be acknowledged.
    pub async fn accept(&self, event: &CallEvent<'_>, query: &[u8]) -> Result<Outcome, NotStored> {
        let (outcome, stored) = {
            let mut totals = self.totals.lock();
            if totals.seen.contains(event.sid, event.received_at) {
                return Ok(Outcome::Duplicate);
            }
            let submissions = match &self.store {
                Store::Committer(submissions) => submissions,
                Store::Memory(journal) => {
                    journal.append(record::encode(event, query));
                    totals.seen.insert(event.sid, event.received_at);
                    totals.ledger.apply(event);
                    return Ok(Outcome::Accepted);
                }
            };
            let (answer, stored) = oneshot::channel();
            match totals.pending.get_mut(&event.sid) {
                Some(repeats) => {
                    repeats.push(answer);
                    (Outcome::Duplicate, stored)
                }
                None => {
                    let submission =
                        Submission::Event { sid: event.sid, record: record::encode(event, query), answer };
                    submissions.try_send(submission).map_err(|_| NotStored::Busy)?;
                    totals.pending.insert(event.sid, Vec::new());
                    (Outcome::Accepted, stored)
                }
            }
        };
        // A committer that is gone is a bug of its own, and nothing is stored any more.
        stored.await.unwrap_or(Err(NotStored::Storage)).map(|()| outcome)
    }

    /// Has the committer find out whether the journal can be written again.
    pub fn probe_storage(&self) {
        if let Store::Committer(submissions) = &self.store {
            // One that is full is being written as it is.
            let _ = submissions.try_send(Submission::Probe);
        }
    }

    /// The totals at this moment. A copy, so that whoever renders it does not hold up intake.
    pub fn ledger(&self) -> Ledger {
        self.totals.lock().ledger.clone()
    }

    /// The totals with the position that they stand for.
    pub fn checkpoint(&self) -> Checkpoint {
        let totals = self.totals.lock();
        Checkpoint { position: totals.position, ledger: totals.ledger.clone() }
    }

    /// The sequence number of the first record of the journal that is not in the totals.
    pub fn position(&self) -> u64 {
        self.totals.lock().position
    }

    /// The sequence number of the oldest record whose sid is in the window at `now`. Each record has put one sid there.
    pub fn window_start(&self, now: SystemTime) -> u64 {
        let mut totals = self.totals.lock();
        totals.position.saturating_sub(totals.seen.len_at(now) as u64)
    }

    /// How many sids are in the window at `now`.
    pub fn seen_sids(&self, now: SystemTime) -> usize {
        self.totals.lock().seen.len_at(now)
    }
}

/// Events that may wait to be stored.
const MOST_WAITING: usize = 4096;
