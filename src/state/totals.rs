//! The totals, the window of seen sids, and the events on their way to the disk: one owner for what must agree.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use tokio::sync::oneshot;

use crate::callback::record::UnreadableRecord;
use crate::callback::{Record, Sid};
use crate::ledger::Ledger;

use super::window::SeenSids;

/// Why an event was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotStored {
    /// The disk refused.
    #[error("the event could not be stored; send it again")]
    Storage,
    /// The disk did not say in time whether it has it.
    #[error("the disk takes too long; the event may still be stored, so send it again")]
    Slow,
    /// Too many events wait to be stored.
    #[error("too many events wait to be stored; send it again")]
    Busy,
}

/// The answer to a request that waited for its event to be stored.
pub(crate) type Answer = oneshot::Sender<Result<(), NotStored>>;

/// What must agree: which calls were seen, and what they add up to.
#[derive(Debug)]
pub struct Totals {
    /// The window of seen sids.
    pub seen: SeenSids,
    /// The totals.
    pub ledger: Ledger,
    /// The sequence number of the first record of the journal that is not in the ledger.
    pub position: u64,
    /// Repeats that wait for the event which is on its way.
    pub(crate) pending: HashMap<Sid, Vec<Answer>>,
}

impl Totals {
    /// Totals that begin with these.
    pub fn new(seen: SeenSids, ledger: Ledger, position: u64) -> Totals {
        Totals { seen, ledger, position, pending: HashMap::new() }
    }

    /// Takes a record of the journal into the totals and the window.
    ///
    /// # Errors
    /// It cannot be read, and is not counted.
    pub fn fold(&mut self, sequence: u64, bytes: &[u8]) -> Result<(), UnreadableRecord> {
        self.position = sequence + 1;
        let record = Record::decode(bytes)?;
        let event = record.event()?;
        self.seen.insert(record.sid, sequence, record.received_at);
        self.ledger.apply(&event);
        Ok(())
    }

    /// Takes a record that the totals have already into the window only.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn remember(&mut self, sequence: u64, bytes: &[u8]) -> Result<(), UnreadableRecord> {
        let record = Record::decode(bytes)?;
        self.seen.insert(record.sid, sequence, record.received_at);
        Ok(())
    }
}

/// Totals that several parts share.
#[derive(Debug, Clone)]
pub struct SharedTotals(Arc<Mutex<Totals>>);

impl SharedTotals {
    /// Shares these totals.
    pub fn new(totals: Totals) -> SharedTotals {
        SharedTotals(Arc::new(Mutex::new(totals)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Totals> {
        // A panic while the lock was held would be a bug in the fold; the totals up to it are still the best there are.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
