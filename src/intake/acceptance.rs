//! What becomes of a call event, in the order that keeps the promise: seen before? then the journal, then the ledger,
//! and only then is the request answered.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::call::{CallEvent, record};
use crate::journal::Journal;
use crate::ledger::Ledger;

use super::seen::SeenSids;

/// What became of a call event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is stored and in the totals.
    Accepted,
    /// Its sid was seen before; nothing was stored or counted.
    Duplicate,
}

/// Accepts call events, each call once.
#[derive(Debug)]
pub struct Acceptance {
    state: Mutex<State>,
    journal: Arc<Journal>,
}

#[derive(Debug)]
struct State {
    seen: SeenSids,
    ledger: Ledger,
}

impl Acceptance {
    /// Accepts into `journal` and `ledger` what is not in the window `seen`.
    pub fn new(seen: SeenSids, journal: Arc<Journal>, ledger: Ledger) -> Acceptance {
        Acceptance { state: Mutex::new(State { seen, ledger }), journal }
    }

    /// Stores and counts an event, unless its sid was seen before.
    pub fn accept(&self, event: &CallEvent<'_>, query: &[u8]) -> Outcome {
        let mut state = self.state();
        if state.seen.contains(event.sid, event.received_at) {
            return Outcome::Duplicate;
        }
        self.journal.append(record::encode(event.received_at, query));
        state.seen.insert(event.sid, event.received_at);
        state.ledger.apply(event);
        Outcome::Accepted
    }

    /// The totals at this moment. A copy, so that whoever renders it does not hold up intake.
    pub fn ledger(&self) -> Ledger {
        self.state().ledger.clone()
    }

    /// How many sids are in the window at `now`.
    pub fn seen_sids(&self, now: SystemTime) -> usize {
        self.state().seen.len_at(now)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held would be a bug in the fold; the totals up to it are still the best there are.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
