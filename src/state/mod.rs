//! The pipeline that an event goes through: opened with what a state directory holds, or in memory; and kept in order
//! while the exporter runs.

pub mod committer;
pub mod directory;
pub mod readiness;
pub mod refused;
pub mod totals;
pub mod window;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use thiserror::Error;
use tokio::task::block_in_place;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::callback::record::UnreadableRecord;
use crate::config::Config;
use crate::intake::acceptance::Acceptance;
use crate::journal::disk::DiskJournal;
use crate::journal::memory::MemoryJournal;
use crate::journal::storage::Directory;
use crate::journal::{Journal, JournalError};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::{Ledger, Limits};
use crate::state::directory::{StateDirectory, StateError};
use crate::state::readiness::Readiness;
use crate::state::totals::{SharedTotals, Totals};
use crate::state::window::SeenSids;

/// The name of the latch that is open as long as the journal can be written.
pub const STORAGE: &str = "storage";

/// Why the pipeline cannot be opened.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The state directory cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The journal in the state directory cannot be used.
    #[error("cannot use the journal in the state directory: {0}")]
    Journal(#[from] JournalError),
    /// A newer version of this program wrote a record.
    #[error("record {sequence} of the journal in the state directory cannot be used: {reason}")]
    Record {
        /// Its sequence number.
        sequence: u64,
        /// Why not.
        reason: UnreadableRecord,
    },
    /// The first checkpoint cannot be written.
    #[error("cannot write to the state directory: {0}")]
    Checkpoint(io::Error),
    /// The thread that writes the journal cannot be started.
    #[error("cannot start the committer: {0}")]
    Committer(io::Error),
}

/// What an event goes through, and what its readers read.
pub struct Pipeline {
    /// Where readers read.
    pub journal: Journal,
    /// Where events go in.
    pub acceptance: Arc<Acceptance>,
    /// What keeps the state directory, if there is one.
    pub keeper: Option<StateKeeper>,
}

/// Opens the pipeline that is configured.
///
/// # Errors
/// The state directory cannot be used.
pub fn open(config: &Config, readiness: &Readiness) -> Result<Pipeline, OpenError> {
    match &config.state_dir {
        Some(path) => open_durable(config, StateDirectory::open(path)?, readiness),
        None => Ok(open_in_memory(config)),
    }
}

/// A pipeline that forgets.
fn open_in_memory(config: &Config) -> Pipeline {
    let journal = Arc::new(MemoryJournal::new(config.backlog_max_bytes.as_u64() as usize));
    let mut ledger = new_ledger(config);
    config.idcs.iter().for_each(|idc| ledger.expect_idc(idc));
    let totals = Totals::new(SeenSids::new(config.seen_max, config.seen_age), ledger, 0);
    let acceptance = Arc::new(Acceptance::in_memory(SharedTotals::new(totals), Arc::clone(&journal)));
    Pipeline { journal: Journal::Memory(journal), acceptance, keeper: None }
}

/// A ledger without any calls.
fn new_ledger(config: &Config) -> Ledger {
    let (durations, setup_durations) = (config.duration_buckets.clone(), config.setup_buckets.clone());
    Ledger::new(SystemTime::now(), ledger_limits(config), durations, setup_durations)
}

fn ledger_limits(config: &Config) -> Limits {
    Limits { call_series: config.max_series, ..Limits::default() }
}

/// A pipeline in a state directory: the totals of the latest checkpoint, what the journal has beyond it, and the window of
/// seen sids.
fn open_durable(
    config: &Config,
    mut state: StateDirectory,
    readiness: &Readiness,
) -> Result<Pipeline, OpenError> {
    let started = Instant::now();
    let checkpoint = state.read_checkpoint(ledger_limits(config))?;
    let has_checkpoint = checkpoint.is_some();
    let (mut ledger, position) = checkpoint
        .map_or_else(|| (new_ledger(config), 0), |checkpoint| (checkpoint.ledger, checkpoint.position));
    warn_of_other_buckets(config, &ledger);
    config.idcs.iter().for_each(|idc| ledger.expect_idc(idc));
    let mut totals = Totals::new(SeenSids::new(config.seen_max, config.seen_age), ledger, position);
    let (mut first, mut folded, mut newer) = (None, 0u64, None);
    let max_bytes = config.state_max_bytes.as_u64();
    let journal = DiskJournal::open(state.directory().clone(), max_bytes, position, |sequence, record| {
        first.get_or_insert(sequence);
        let read = if sequence < position {
            totals.remember(sequence, record)
        } else {
            folded += 1;
            totals.fold(sequence, record)
        };
        match read {
            Ok(()) => {}
            Err(reason @ UnreadableRecord::Version(_)) => {
                newer.get_or_insert(OpenError::Record { sequence, reason });
            }
            Err(error) => error!(%error, sequence, "a record of the journal cannot be read"),
        }
    })?;
    if let Some(newer) = newer {
        return Err(newer);
    }
    totals.position = journal.end();
    if !has_checkpoint || folded > 0 {
        // So that the totals keep their start time, and a process that dies again and again does not fold the same records
        // each time, whatever happens before the first regular checkpoint.
        let checkpoint = Checkpoint { position: totals.position, ledger: totals.ledger.clone() };
        match state.write_checkpoint(&checkpoint) {
            Ok(()) => {}
            // A full disk is no reason not to start: it may be the journal itself that can make room.
            Err(error) if has_checkpoint => warn!(%error, "{NO_CHECKPOINT}"),
            Err(error) => return Err(OpenError::Checkpoint(error)),
        }
    }
    if let Some(first) = first.filter(|first| *first > position) {
        let missing = first - position;
        error!(
            missing,
            has_checkpoint,
            "events are missing between the checkpoint and the journal; totals are without them"
        );
    }
    info!(
        position = journal.end(),
        folded,
        seen_sids = totals.seen.len_at(SystemTime::now()),
        milliseconds = started.elapsed().as_millis() as u64,
        "the state directory has been read"
    );
    let journal = Arc::new(journal);
    let storage = readiness.latch(STORAGE);
    let totals = SharedTotals::new(totals);
    let committer =
        committer::start(totals.clone(), Arc::clone(&journal), storage).map_err(OpenError::Committer)?;
    let acceptance = Acceptance::durable(totals, committer);
    acceptance.probe_storage();
    let acceptance = Arc::new(acceptance);
    let keeper = StateKeeper { state, journal: Arc::clone(&journal), acceptance: Arc::clone(&acceptance) };
    Ok(Pipeline { journal: Journal::Disk(journal), acceptance, keeper: Some(keeper) })
}

/// Histograms cannot be moved to other buckets, so those of the state directory stay in force.
fn warn_of_other_buckets(config: &Config, ledger: &Ledger) {
    if ledger.buckets() != (&config.duration_buckets, &config.setup_buckets) {
        warn!(
            "the state directory has histograms with other buckets than --duration-buckets and --setup-buckets; they stay \
             as they are, and new ones take a new state directory"
        );
    }
}

/// How often the state is kept.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(10);

/// How often it is looked whether the journal can be written, or takes too much.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What is said when a checkpoint cannot be written.
const NO_CHECKPOINT: &str = "the checkpoint of the ledger cannot be written; the journal keeps what it needs";

/// Writes checkpoints, and drops what the journal need not keep.
pub struct StateKeeper {
    state: StateDirectory,
    journal: Arc<DiskJournal<Directory>>,
    acceptance: Arc<Acceptance>,
}

impl StateKeeper {
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
        let needed_from = self.state.needed_from();
        self.journal.drop_before(needed_from.min(self.acceptance.window_start(SystemTime::now())));
        self.journal.drop_beyond_limit(needed_from);
        if self.acceptance.position() == self.state.checkpoint_position() {
            return;
        }
        if let Err(error) = self.state.write_checkpoint(&self.acceptance.checkpoint()) {
            warn!(%error, "{NO_CHECKPOINT}");
        }
    }
}

/// Watches the disk for `acceptance` until `stop`. A task of its own, since the keeper waits for the same disk.
pub async fn watch_storage(acceptance: Arc<Acceptance>, stop: CancellationToken) {
    let mut looks = tokio::time::interval(LOOK_INTERVAL);
    while stop.run_until_cancelled(looks.tick()).await.is_some() {
        acceptance.watch_storage(Instant::now());
    }
}
