//! Works out, in the background, what is known of the events in the window that came before the start.
//!
//! A repeat that says something else than what was counted is noticed by its
//! [`Fingerprint`](crate::callback::Fingerprint). To work it out for every record of the journal takes seconds where
//! there are many, which a start must not: so the window begins with keys alone, and a thread reads the journal once
//! more. Until it has come to a record, a repeat of its event is a plain repeat; so is one whose record has left the
//! journal. The thread pauses, so that it takes no more than part of a processor, and ends when it is done. If it
//! fails, repeats of these events stay plain ones.

use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use tracing::{debug, warn};

use crate::callback::shield::shielded;
use crate::callback::{Fingerprint, Key, Record};
use crate::journal::disk::DiskJournal;
use crate::journal::past::Place;
use crate::journal::storage::Storage;

use super::fold::Fold;
use super::known::SharedKnown;
use super::recall::Recall;
use super::thread::Thread;

/// How many records are looked at before a pause.
const RECORDS_AT_ONCE: usize = 256;

/// How long it is.
const PAUSE: Duration = Duration::from_millis(1);

/// Starts to work out what is known of the events whose records are in `journal` now, and [recalls](Recall) what was
/// left for that.
///
/// # Errors
/// The thread cannot be started.
pub(super) fn learn<S: Storage>(
    journal: &Arc<DiskJournal<S>>,
    known: &SharedKnown,
    fold: &Arc<Fold>,
    recall: Recall,
) -> io::Result<()> {
    let (journal, known, fold) = (Arc::clone(journal), known.clone(), Arc::clone(fold));
    // Nothing depends on its end.
    Thread::start("fingerprints", move || learn_all(&journal, &known, &fold, &recall)).map(drop)
}

fn learn_all<S: Storage>(journal: &DiskJournal<S>, known: &SharedKnown, fold: &Fold, recall: &Recall) {
    let mut learned = Vec::with_capacity(RECORDS_AT_ONCE);
    let mut records = 0u64;
    let read = journal.visit(Place::default(), None, |Place { sequence, .. }, record| {
        records += 1;
        recall.later(fold, sequence, record);
        learned.extend(fingerprint(record).map(|(key, fingerprint)| (sequence, key, fingerprint)));
        if learned.len() == RECORDS_AT_ONCE {
            note(known, &mut learned);
            std::thread::sleep(PAUSE);
        }
        ControlFlow::Continue(())
    });
    note(known, &mut learned);
    recall.end(fold);
    match read {
        Ok(()) => {
            debug!(records, "repeats of events from before the start are compared with what was counted")
        }
        Err(error) => {
            warn!(%error, "repeats of some events from before the start are not compared with what was counted")
        }
    }
}

/// What a record says, if this program can read it.
fn fingerprint(record: &[u8]) -> Option<(Key, Fingerprint)> {
    let read = shielded(|| {
        let record = Record::decode(record).ok()?;
        let identified = record.kind.identify(record.query).ok()?;
        Some((identified.key, identified.fingerprint))
    });
    read.ok().flatten()
}

fn note(known: &SharedKnown, learned: &mut Vec<(u64, Key, Fingerprint)>) {
    let mut known = known.lock();
    for (sequence, key, fingerprint) in learned.drain(..) {
        known.window.learn(sequence, key, fingerprint);
    }
}
