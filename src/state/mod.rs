//! What a state directory is, and the same in memory: what an event goes through once intake has read it.
//!
//! [`open`] reads what a [`directory`] holds, unless that is for a newer release: the latest checkpoint of the totals,
//! what the journal has beyond it, the window of keys, and what the last day says. From then on the [`committer`]
//! stores what intake hands it ([`known`] is what both must agree on: the [`window`] and what is on its way), the
//! [`fold`] takes what was stored into the totals, and the [`keeper`] writes [`checkpoints`] and drops what the journal
//! need not keep, which is [`bounded`] whatever comes. [`undurable`] is what becomes of events that the disk does not
//! take; `fingerprints` learns what a repeat may contradict, and `recall` what is in no checkpoint. [`readiness`] has a
//! latch that is closed while the disk fails; [`health`] tells it to who asks. [`refused`] keeps requests that were
//! refused and [`quarantine`] records that this program fails on, for people, in [`json_lines`]. [`readers`] is what
//! each reader of metrics was shown.

pub mod bounded;
pub mod checkpoints;
pub mod committer;
pub mod directory;
mod fingerprints;
pub mod fold;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod health;
mod heartbeat;
pub mod json_lines;
pub mod keeper;
pub mod known;
pub mod quarantine;
pub mod readers;
pub mod readiness;
mod recall;
pub mod refused;
pub mod thread;
pub mod undurable;
pub mod volume;
pub mod window;

use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use thiserror::Error;
use tracing::{error, info, warn};

use crate::callback::record::UnreadableRecord;
use crate::callback::shield::shielded;
use crate::callback::{Fingerprint, Record};
use crate::config::Config;
use crate::journal::disk::DiskJournal;
use crate::journal::memory::MemoryJournal;
use crate::journal::{self, Journal, JournalError};
use crate::ledger::checkpoint::{Checkpoint, Marks};
use crate::ledger::{Ledger, Limits};

use bounded::BoundedJournal;
use committer::CommitterHandle;
use directory::{StateDirectory, StateError};
use fold::{Fold, Recalled};
use json_lines::JsonLinesFile;
use keeper::{Ages, Keeper};
use known::SharedKnown;
use quarantine::Quarantine;
use readers::Readers;
use readiness::Readiness;
use recall::Recall;
use thread::Thread;
use undurable::Passages;
use volume::Volume;
use window::Window;

/// The name of the latch that is open as soon as call events are taken.
pub const STARTING: &str = "starting";

/// The name of the latch that is open as long as the journal can be written.
pub const STORAGE: &str = "storage";

/// Why the state cannot be opened.
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
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// What is open: where events go in, what sinks read, and what the totals are.
pub struct State {
    /// What intake and the committer know.
    pub known: SharedKnown,
    /// The totals.
    pub fold: Arc<Fold>,
    /// What readers were shown of them.
    pub readers: Arc<Readers>,
    /// What sinks read.
    pub journal: Journal,
    /// Where events are stored.
    pub storage: Storage,
    /// Where records go that this program fails on.
    pub quarantine: Quarantine,
    /// The file of the quarantine in a state directory, which is to be run.
    pub quarantine_file: Option<JsonLinesFile>,
    /// Its threads.
    pub threads: Vec<Thread>,
}

/// Where events are stored.
pub enum Storage {
    /// In memory.
    Memory(Arc<MemoryJournal>),
    /// In a state directory, by a committer and with a keeper.
    Directory(CommitterHandle, Keeper),
}

/// Opens the state that is configured. This takes as long as reading a state directory does. With `passages` there is a service
/// behind, which gets what the disk does not take.
///
/// # Errors
/// The state directory cannot be used.
pub fn open(config: &Config, readiness: &Readiness, passages: Option<Passages>) -> Result<State, OpenError> {
    match &config.state_dir {
        Some(path) => {
            let wait = config.state_lock_wait;
            let directory = StateDirectory::open(path, wait, |holder| {
                warn!(holder, state_lock_wait = ?wait, "waiting for the state directory, which another process holds");
                readiness.explain(STARTING, Some(format!("the state directory is held by {holder}")));
            })?;
            readiness.explain(STARTING, None);
            open_directory(config, directory, readiness, passages)
        }
        None => open_in_memory(config),
    }
}

/// A state that forgets.
fn open_in_memory(config: &Config) -> Result<State, OpenError> {
    let journal = Arc::new(MemoryJournal::new(config.backlog_max_bytes.as_u64() as usize));
    let mut ledger = new_ledger(config);
    config.idcs.iter().for_each(|idc| ledger.expect_idc(idc));
    let quarantine = Quarantine::in_memory();
    let fold = Arc::new(Fold::new(Checkpoint::of(ledger), nothing_recalled(config), quarantine.clone()));
    let threads = vec![fold.start().map_err(OpenError::Thread)?];
    let known = SharedKnown::new(Window::new(config.seen_max, config.seen_age), 0);
    let storage = Storage::Memory(Arc::clone(&journal));
    let journal = Journal::Memory(journal);
    let readers = Arc::new(Readers::in_memory(config.series_zero_for));
    Ok(State { known, fold, readers, journal, storage, quarantine, quarantine_file: None, threads })
}

/// A ledger without any calls.
fn new_ledger(config: &Config) -> Ledger {
    let (durations, setup_durations) = (config.duration_buckets.clone(), config.setup_buckets.clone());
    Ledger::new(SystemTime::now(), ledger_limits(config), durations, setup_durations)
}

/// Nothing that is in no checkpoint yet.
fn nothing_recalled(config: &Config) -> Recalled {
    Recalled::new(&config.idcs, &config.services)
}

fn ledger_limits(config: &Config) -> Limits {
    Limits {
        call_series: config.max_series,
        services: config.services.clone(),
        longest_call: config.longest_call,
        ..Limits::default()
    }
}

/// A state in a directory: the totals of the latest checkpoint, what the journal has beyond it, and the window of keys.
fn open_directory(
    config: &Config,
    directory: StateDirectory,
    readiness: &Readiness,
    passages: Option<Passages>,
) -> Result<State, OpenError> {
    let started = Instant::now();
    journal::check(directory.directory())?;
    directory.remove_unfinished();
    let (quarantine, lines) = Quarantine::in_directory();
    let mut quarantine_file = lines.into_file(directory.directory().clone(), config.refused_age);
    let mut checkpoints = directory.checkpoints();
    let checkpoint = checkpoints.read(&ledger_limits(config))?;
    let has_checkpoint = checkpoint.is_some();
    let mut totals = checkpoint.unwrap_or_else(|| Checkpoint::of(new_ledger(config)));
    let marks = totals.marks.take();
    warn_of_other_buckets(config, &totals.ledger);
    let position = totals.position;
    let fold = Arc::new(Fold::new(totals, nothing_recalled(config), quarantine.clone()));
    let mut reading = Reading {
        position,
        recall: Recall::before(position),
        window: Window::new(config.seen_max, config.seen_age),
        fold: &fold,
        first: None,
        first_received_at: None,
        folded: 0,
        unreadable: 0,
        newer: None,
    };
    let storage = directory.directory();
    let max_bytes = bounded::limit_on(storage, storage.path(), config.state_max_bytes.as_u64());
    let journal = DiskJournal::open(storage.clone(), max_bytes, position, |sequence, record| {
        reading.record(sequence, record)
    })?;
    let Reading { window, recall, first, first_received_at, folded, unreadable, newer, .. } = reading;
    if unreadable > 1 {
        error!(records = unreadable, "the journal has records that cannot be read");
    }
    if let Some(newer) = newer {
        return Err(newer);
    }
    fold.skip_to(journal.end());
    if let (Some(first), Some(received_at)) = (first, first_received_at) {
        // Of a journal that has lost nothing yet, all calls are known since they are counted.
        let started_at = fold.started_at();
        fold.note_known_since(if first == 0 { received_at.min(started_at) } else { received_at });
    }
    // Who read before was shown more than is known, unless there was nothing to be shown.
    let is_new = !has_checkpoint && first.is_none();
    let marks = marks.unwrap_or_else(|| match is_new {
        true => Marks::default(),
        false => Marks { old: fold.births(), ..Marks::default() },
    });
    let readers = Arc::new(Readers::on_disk(&marks, config.series_zero_for));
    // Not before all events are folded that were counted by the settings of then.
    fold.change(|ledger| ledger.reconfigured(ledger_limits(config), &config.idcs, SystemTime::now()));
    // Before a checkpoint is past what was set aside: nobody sets it aside again then.
    quarantine_file.write_waiting();
    // So that the totals keep their start time, a process that dies again and again does not fold the same records each time,
    // and what an older release wrote is there in this one's format, whatever happens before the first regular checkpoint.
    let journal = Arc::new(journal);
    let bounded = Arc::new(BoundedJournal::new(
        Arc::clone(&journal),
        Arc::clone(&fold),
        Arc::clone(&readers),
        checkpoints,
    ));
    bounded.keep_at_start(has_checkpoint).map_err(OpenError::Checkpoint)?;
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
        seen_sids = window.len_at(SystemTime::now()),
        milliseconds = started.elapsed().as_millis() as u64,
        "the state directory has been read"
    );
    let known = SharedKnown::new(window, journal.end());
    fingerprints::learn(&journal, &known, &fold, recall).map_err(OpenError::Thread)?;
    let mut threads = vec![fold.start().map_err(OpenError::Thread)?];
    if Volume::of(directory.directory().path()).overwrites_in_place() {
        threads.push(Thread::start("segments", journal.makes_ahead()).map_err(OpenError::Thread)?);
    }
    // What a service behind can have is taken without the disk.
    let latch = if passages.is_some() { readiness.latch_for_show(STORAGE) } else { readiness.latch(STORAGE) };
    let (committer, committer_thread) =
        committer::start(known.clone(), Arc::clone(&fold), Arc::clone(&bounded), latch, passages)
            .map_err(OpenError::Thread)?;
    threads.push(committer_thread);
    drop(committer.probe());
    let ages = Ages { segment: config.segment_age, waiting: config.state_max_age };
    let keeper = Keeper::new(directory, bounded, known.clone(), Arc::clone(&readers), ages);
    Ok(State {
        known,
        fold,
        readers,
        journal: Journal::Disk(journal),
        storage: Storage::Directory(committer, keeper),
        quarantine,
        quarantine_file: Some(quarantine_file),
        threads,
    })
}

/// What comes of the records of a journal as they are read at the start.
struct Reading<'a> {
    /// Records before this sequence number are in the totals already.
    position: u64,
    recall: Recall,
    window: Window,
    fold: &'a Fold,
    first: Option<u64>,
    first_received_at: Option<SystemTime>,
    folded: u64,
    unreadable: u64,
    newer: Option<OpenError>,
}

impl Reading<'_> {
    fn record(&mut self, sequence: u64, bytes: &[u8]) {
        self.first.get_or_insert(sequence);
        let mut newer = None;
        match shielded(|| Record::decode(bytes)) {
            Ok(Ok(record)) => {
                self.first_received_at.get_or_insert(record.received_at);
                self.window.insert(record.key, Fingerprint::UNKNOWN, sequence, record.received_at);
                self.recall.at_start(self.fold, sequence, &record);
            }
            Ok(Err(reason @ UnreadableRecord::Version(_))) => newer = Some(reason),
            Ok(Err(error)) => self.note_unreadable(sequence, &error),
            Err(error) => self.note_unreadable(sequence, &error),
        }
        if sequence >= self.position {
            self.folded += 1;
            newer = newer.or(self.fold.fold_at_start(sequence, bytes).err());
        }
        if let Some(reason) = newer {
            self.newer.get_or_insert(OpenError::Record { sequence, reason });
        }
    }

    /// Says which record cannot be read first, since there may be as many as records.
    fn note_unreadable(&mut self, sequence: u64, error: &dyn Display) {
        if self.unreadable == 0 {
            error!(%error, sequence, "a record of the journal cannot be read");
        }
        self.unreadable += 1;
    }
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
