//! What intake has to know at once: which keys were seen, and which events are on their way to the disk.
//!
//! This is the only lock that intake takes, and it is held for a look and a note. Reading records, folding them and showing
//! the totals goes on elsewhere ([`fold`](super::fold)).

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thiserror::Error;
use tokio::sync::oneshot;

use crate::callback::{Fingerprint, Key};

use super::undurable::UndurableMetrics;
use super::window::Window;

/// How many keys of the window are looked at while intake waits: some tens of microseconds.
const LOOKED_AT_ONCE: usize = 8 * 1024;

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

/// The answer to a request that waits for its event to be stored.
pub type Answer = oneshot::Sender<Result<(), NotStored>>;

/// What intake knows.
#[derive(Debug)]
pub struct Known {
    /// The window of keys.
    pub window: Window,
    /// The sequence number of the next record of a journal in memory.
    pub next: u64,
    /// The events that are on their way to the disk.
    pub pending: HashMap<Key, Pending>,
}

/// An event that is on its way to the disk.
#[derive(Debug, Default)]
pub struct Pending {
    /// What is known of it.
    pub fingerprint: Fingerprint,
    /// Who waits for it to be stored: repeats.
    pub repeats: Vec<Answer>,
    /// Whether it was not stored in time, so that nobody waits for that any more; see [`undurable`](super::undurable).
    pub is_undurable: bool,
}

impl Pending {
    /// Notes that the event was not stored in time, and counts it unless it is known to be so.
    pub fn note_undurable(&mut self, metrics: &UndurableMetrics) {
        if !std::mem::replace(&mut self.is_undurable, true) {
            metrics.undurable.increment(1);
        }
    }

    /// Takes out the repeats whose clients do not wait any more, which may be many while the disk hangs, and returns
    /// how many. A repeat that waits counts when it is taken out.
    pub fn forget_gone(&mut self) -> u64 {
        self.repeats.extract_if(.., |repeat| repeat.is_closed()).count() as u64
    }
}

impl Known {
    /// How many events are held in memory since they could not be stored in time.
    pub fn undurable(&self) -> usize {
        self.pending.values().filter(|pending| pending.is_undurable).count()
    }
}

/// What intake knows, shared with the committer.
#[derive(Debug, Clone)]
pub struct SharedKnown(Arc<Mutex<Known>>);

impl SharedKnown {
    /// Shares a window with nothing on its way. `next` is the sequence number of the next record.
    pub fn new(window: Window, next: u64) -> SharedKnown {
        SharedKnown(Arc::new(Mutex::new(Known { window, next, pending: HashMap::new() })))
    }

    /// The sequence number of the record with this key, if its key is in the window. Nobody else waits for longer than
    /// for a part of the look.
    pub fn sequence_of(&self, key: Key) -> Option<u64> {
        let mut before = u64::MAX;
        loop {
            let found = self.lock().window.find(key, before, LOOKED_AT_ONCE);
            match found {
                ControlFlow::Break(sequence) => return sequence,
                ControlFlow::Continue(earlier) => before = earlier,
            }
        }
    }

    /// Holds it, for a look or a note.
    pub fn lock(&self) -> MutexGuard<'_, Known> {
        // Nothing in here panics between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
