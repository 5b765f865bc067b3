//! The keeper of a state directory: writes checkpoints of the totals, and drops what the journal need not keep.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;

use crate::journal::storage::Directory;

use super::bounded::BoundedJournal;
use super::directory::StateDirectory;
use super::known::SharedKnown;

/// How often the state is kept.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);

/// How often it is looked whether the journal takes too much, or the disk is full.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Keeps a state directory.
pub struct Keeper {
    /// Held as long as the journal is kept.
    _directory: StateDirectory,
    journal: Arc<BoundedJournal<Directory>>,
    known: SharedKnown,
}

impl Keeper {
    /// Keeps `directory`, in which `journal` is, with the window of `known`.
    pub(super) fn new(
        directory: StateDirectory,
        journal: Arc<BoundedJournal<Directory>>,
        known: SharedKnown,
    ) -> Keeper {
        Keeper { _directory: directory, journal, known }
    }

    /// Keeps the state until `stop`, and once more then. To be run when all readers of the journal are there.
    pub async fn run(self, stop: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        let mut kept_at = Instant::now();
        while stop.run_until_cancelled(looks.tick()).await.is_some() {
            if kept_at.elapsed() >= CHECKPOINT_INTERVAL || self.journal.is_pressed() {
                // Writing waits for the disk, which the other tasks must not.
                block_in_place(|| self.keep());
                kept_at = Instant::now();
            }
        }
        block_in_place(|| self.keep());
    }

    fn keep(&self) {
        let window_start = self.known.lock().window.first_at(SystemTime::now());
        self.journal.keep(window_start);
    }
}
