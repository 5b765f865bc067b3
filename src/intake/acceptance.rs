//! What becomes of a call event, in the order that keeps the promise: seen before? then the journal, then the ledger,
//! and only then is the request answered.
//!
//! With a journal on disk the way goes through the [`committer`](crate::state::committer), which stores what waits as one batch;
//! in memory it is short enough to go at once.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::callback::{CallEvent, record};
use crate::journal::memory::MemoryJournal;
use crate::ledger::Ledger;
use crate::ledger::checkpoint::Checkpoint;

use crate::state::committer::{CommitterHandle, LONGEST_WAIT};
use crate::state::totals::{NotStored, SharedTotals};

/// What became of a call event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored and in the totals.
    Accepted,
    /// Its sid was seen before; nothing was stored or counted.
    Duplicate,
}

/// Where accepted events go.
#[derive(Debug)]
enum Store {
    Memory(Arc<MemoryJournal>),
    Committer(CommitterHandle),
}

/// Accepts call events, each call once.
#[derive(Debug)]
pub struct Acceptance {
    totals: SharedTotals,
    store: Store,
}

impl Acceptance {
    /// Accepts into a journal in memory.
    pub fn in_memory(totals: SharedTotals, journal: Arc<MemoryJournal>) -> Acceptance {
        Acceptance { totals, store: Store::Memory(journal) }
    }

    /// Accepts through a committer that folds into the same totals.
    pub fn durable(totals: SharedTotals, committer: CommitterHandle) -> Acceptance {
        Acceptance { totals, store: Store::Committer(committer) }
    }

    /// Stores and counts an event, unless its sid was seen before. A repeat of an event that is on its way waits for it.
    /// `envelope` is stored along for whoever passes the event on.
    ///
    /// # Errors
    /// The event is not stored, and the request must not be acknowledged.
    pub async fn accept(
        &self,
        event: &CallEvent<'_>,
        envelope: &[u8],
        query: &[u8],
    ) -> Result<Outcome, NotStored> {
        let (outcome, stored) = {
            let mut totals = self.totals.lock();
            if totals.seen.contains(event.sid, event.received_at) {
                return Ok(Outcome::Duplicate);
            }
            let committer = match &self.store {
                Store::Committer(committer) => committer,
                Store::Memory(journal) => {
                    journal.append(record::encode(event, envelope, query));
                    let sequence = totals.position;
                    totals.seen.insert(event.sid, sequence, event.received_at);
                    totals.position += 1;
                    totals.ledger.apply(event);
                    return Ok(Outcome::Accepted);
                }
            };
            let (answer, stored) = oneshot::channel();
            match totals.pending.get_mut(&event.sid) {
                Some(repeats) => {
                    // Those whose clients have gone away, which may be many while the disk hangs.
                    repeats.retain(|repeat| !repeat.is_closed());
                    repeats.push(answer);
                    (Outcome::Duplicate, stored)
                }
                None => {
                    committer.submit(event.sid, record::encode(event, envelope, query), answer)?;
                    totals.pending.insert(event.sid, Vec::new());
                    (Outcome::Accepted, stored)
                }
            }
        };
        match timeout(LONGEST_WAIT, stored).await {
            // A committer that is gone is a bug of its own, and nothing is stored any more.
            Ok(answer) => answer.unwrap_or(Err(NotStored::Storage)).map(|()| outcome),
            Err(_) => Err(NotStored::Slow),
        }
    }

    /// Has the committer find out whether the journal can be written.
    pub fn probe_storage(&self) {
        if let Store::Committer(committer) = &self.store {
            committer.probe();
        }
    }

    /// Says so if the disk hangs at `now`, and finds out whether a journal that could not be written can be again.
    pub fn watch_storage(&self, now: Instant) {
        if let Store::Committer(committer) = &self.store {
            committer.watch(now);
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

    /// The sequence number of the oldest record whose sid is in the window at `now`, or of the next record if none is.
    pub fn window_start(&self, now: SystemTime) -> u64 {
        let totals = self.totals.lock();
        totals.seen.first_at(now).unwrap_or(totals.position)
    }

    /// How many sids are in the window at `now`.
    pub fn seen_sids(&self, now: SystemTime) -> usize {
        self.totals.lock().seen.len_at(now)
    }
}
