//! What becomes of an event, in the order that keeps the promise: seen before? then the journal, and only then is the request
//! answered. The fold takes it from there.
//!
//! Acceptance knows the key of an event, when it was received, and bytes. With a journal on disk the way goes through the
//! [`committer`](crate::state::committer), which stores what waits as one batch; in memory it is short enough to go at once.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use metrics::{Counter, counter};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::callback::Key;
use crate::journal::memory::MemoryJournal;
use crate::metrics::catalog;
use crate::state::committer::{CommitterHandle, LONGEST_WAIT, Submission};
use crate::state::fold::Fold;
use crate::state::known::{NotStored, SharedKnown};

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored, and in the totals for whoever looks.
    Accepted,
    /// Its key was seen before; nothing was stored or counted.
    Duplicate,
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
}

impl Acceptance {
    /// Accepts into `store` what is not in the window of `known`.
    pub fn new(known: SharedKnown, store: Store) -> Acceptance {
        let event = |result: &'static str| counter!(catalog::EXPORTER_EVENTS.name, "result" => result);
        Acceptance { known, store, duplicate: event("duplicate"), unavailable: event("unavailable") }
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
        received_at: SystemTime,
        record: Bytes,
    ) -> Result<Outcome, NotStored> {
        let (outcome, stored) = match self.submit(key, received_at, record) {
            Ok(Submitted::Done(outcome)) => {
                if let Store::Memory(_, fold) = &self.store {
                    // Not before the lock on what is known is gone, which everybody needs.
                    fold.keep_up();
                }
                return Ok(outcome);
            }
            Ok(Submitted::OnItsWay(outcome, stored)) => (outcome, stored),
            Err(reason) => {
                self.unavailable.increment(1);
                return Err(reason);
            }
        };
        match timeout(LONGEST_WAIT, stored).await {
            // A committer that is gone ends the process.
            Ok(answer) => answer.unwrap_or(Err(NotStored::Storage)).map(|()| outcome),
            Err(_) => {
                self.unavailable.increment(1);
                Err(NotStored::Slow)
            }
        }
    }

    fn submit(&self, key: Key, received_at: SystemTime, record: Bytes) -> Result<Submitted, NotStored> {
        let mut known = self.known.lock();
        if known.window.contains(key, received_at) {
            self.duplicate.increment(1);
            return Ok(Submitted::Done(Outcome::Duplicate));
        }
        let committer = match &self.store {
            Store::Disk(committer) => committer,
            Store::Memory(journal, fold) => {
                let sequence = known.next;
                known.next += 1;
                known.window.insert(key, sequence, received_at);
                journal.append(record.clone());
                fold.push(sequence, vec![record]);
                return Ok(Submitted::Done(Outcome::Accepted));
            }
        };
        let (answer, stored) = oneshot::channel();
        if let Some(repeats) = known.pending.get_mut(&key) {
            // Those whose clients have gone away, which may be many while the disk hangs.
            repeats.retain(|repeat| !repeat.is_closed());
            repeats.push(answer);
            return Ok(Submitted::OnItsWay(Outcome::Duplicate, stored));
        }
        committer.submit(Submission { key, received_at, record, answer })?;
        known.pending.insert(key, Vec::new());
        Ok(Submitted::OnItsWay(Outcome::Accepted, stored))
    }
}

/// What became of an event so far.
enum Submitted {
    /// That is decided.
    Done(Outcome),
    /// It is so once the event is stored.
    OnItsWay(Outcome, oneshot::Receiver<Result<(), NotStored>>),
}
