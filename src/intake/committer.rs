//! The committer: stores events that wait, as one batch with one sync, and then folds and acknowledges them.
//!
//! One thread, because a disk has one end to write at. While it waits for a sync, the next batch gathers. The fold reads
//! what was stored, so that after a crash the same code makes the same totals of the same records.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use metrics::{Histogram, histogram};
use tokio::sync::mpsc;
use tracing::{error, info};

use crate::call::{Record, Sid};
use crate::export::catalog;
use crate::journal::disk::DiskJournal;
use crate::journal::storage::Storage;
use crate::readiness::Latch;

use super::acceptance::{Acceptance, Answer, NotStored, SharedTotals, Totals};

/// Events that are stored at once, at most.
const LARGEST_BATCH: usize = 1024;

/// What the committer is asked to do.
#[derive(Debug)]
pub(super) enum Submission {
    /// To store an event.
    Event {
        /// The call.
        sid: Sid,
        /// What is stored of it.
        record: Bytes,
        /// Where the outcome goes.
        answer: Answer,
    },
    /// To find out whether the journal can be written.
    Probe,
}

/// Starts a committer that stores in `journal`, and answers the acceptance in front of it. `storage` is open as long as the
/// journal can be written.
///
/// # Errors
/// The thread cannot be started.
pub fn start<S: Storage>(
    totals: Totals,
    journal: Arc<DiskJournal<S>>,
    storage: Latch,
) -> io::Result<Acceptance> {
    let mut started = Ok(());
    let acceptance = Acceptance::with_committer(totals, |totals, submissions| {
        let committer = Committer { totals, journal, storage, is_failing: false, sync: sync_duration() };
        let thread = std::thread::Builder::new().name("committer".to_owned());
        started = thread.spawn(move || committer.run(submissions)).map(drop);
    });
    started.map(|()| acceptance)
}

fn sync_duration() -> Histogram {
    histogram!(catalog::EXPORTER_JOURNAL_SYNC_DURATION.name)
}

struct Committer<S: Storage> {
    totals: SharedTotals,
    journal: Arc<DiskJournal<S>>,
    storage: Latch,
    is_failing: bool,
    sync: Histogram,
}

impl<S: Storage> Committer<S> {
    fn run(mut self, mut submissions: mpsc::Receiver<Submission>) {
        let mut waiting = Vec::with_capacity(LARGEST_BATCH);
        while submissions.blocking_recv_many(&mut waiting, LARGEST_BATCH) > 0 {
            self.commit(&mut waiting);
        }
    }

    fn commit(&mut self, waiting: &mut Vec<Submission>) {
        let (mut records, mut callers) = (Vec::new(), Vec::new());
        for submission in waiting.drain(..) {
            if let Submission::Event { sid, record, answer } = submission {
                records.push(record);
                callers.push((sid, answer));
            }
        }
        let started = std::time::Instant::now();
        let outcome = self.journal.append(&records);
        self.sync.record(started.elapsed());
        let first = match outcome {
            Ok(first) => {
                self.note_working();
                Ok(first)
            }
            Err(error) => {
                self.note_failing(&error);
                Err(NotStored::Storage)
            }
        };
        let mut repeats = Vec::new();
        {
            let mut totals = self.totals.lock();
            for (sid, _) in &callers {
                repeats.extend(totals.pending.remove(sid).unwrap_or_default());
            }
            if let Ok(first) = first {
                (first..).zip(&records).for_each(|(sequence, record)| totals.fold(sequence, record));
            }
        }
        // Who has gone away meanwhile needs no answer.
        for answer in callers.into_iter().map(|(_, answer)| answer).chain(repeats) {
            let _ = answer.send(first.map(|_| ()));
        }
    }

    fn note_working(&mut self) {
        if std::mem::replace(&mut self.is_failing, false) {
            info!("the journal can be written again");
        }
        self.storage.open();
    }

    fn note_failing(&mut self, error: &crate::journal::JournalError) {
        self.storage.close();
        if !std::mem::replace(&mut self.is_failing, true) {
            error!(%error, "the journal cannot be written; call events are answered 503 until it can");
        }
    }
}

impl Totals {
    /// Takes a record of the journal into the totals and the window.
    pub fn fold(&mut self, sequence: u64, bytes: &[u8]) {
        self.position = sequence + 1;
        match Record::decode(bytes).and_then(|record| Ok((record, record.event()?))) {
            Ok((record, event)) => {
                self.seen.insert(record.sid, record.received_at);
                self.ledger.apply(&event);
            }
            Err(error) => error!(%error, sequence, "a record of the journal is not counted"),
        }
    }

    /// Takes a record that the totals have already into the window only.
    pub fn remember(&mut self, bytes: &[u8]) {
        if let Ok(record) = Record::decode(bytes) {
            self.seen.insert(record.sid, record.received_at);
        }
    }
}
