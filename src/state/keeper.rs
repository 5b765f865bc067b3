//! The keeper of a state directory: writes checkpoints of the totals, and drops what the journal need not keep.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::journal::disk::DiskJournal;
use crate::journal::storage::Directory;

use super::directory::StateDirectory;
use super::fold::Fold;
use super::known::SharedKnown;

/// How often the state is kept.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);

/// How often it is looked whether the journal takes too much.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What is said when a checkpoint cannot be written.
pub(super) const NO_CHECKPOINT: &str =
    "the checkpoint of the ledger cannot be written; the journal keeps what it needs";

/// Keeps a state directory.
pub struct Keeper {
    directory: StateDirectory,
    journal: Arc<DiskJournal<Directory>>,
    fold: Arc<Fold>,
    known: SharedKnown,
}

impl Keeper {
    /// Keeps `directory`, in which `journal` is, with the totals of `fold` and the window of `known`.
    pub(super) fn new(
        directory: StateDirectory,
        journal: Arc<DiskJournal<Directory>>,
        fold: Arc<Fold>,
        known: SharedKnown,
    ) -> Keeper {
        Keeper { directory, journal, fold, known }
    }

    /// Keeps the state until `stop`, and once more then.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK_INTERVAL);
        let mut kept_at = Instant::now();
        while stop.run_until_cancelled(looks.tick()).await.is_some() {
            if kept_at.elapsed() >= CHECKPOINT_INTERVAL || self.journal.is_beyond_limit() {
                // Writing waits for the disk, which the other tasks must not.
                block_in_place(|| self.keep());
                kept_at = Instant::now();
            }
        }
        block_in_place(|| self.keep());
    }

    /// Drops what the journal need not keep any more, and then writes a checkpoint, for which a full disk may need the room.
    fn keep(&mut self) {
        let needed_from = self.directory.needed_from();
        let window_start = self.known.lock().window.first_at(SystemTime::now());
        self.journal.drop_before(needed_from.min(window_start.unwrap_or(u64::MAX)));
        self.journal.drop_beyond_limit(needed_from);
        if self.fold.position() == self.directory.checkpoint_position() {
            return;
        }
        if let Err(error) = self.directory.write_checkpoint(&self.fold.checkpoint()) {
            warn!(%error, "{NO_CHECKPOINT}");
        }
    }
}
