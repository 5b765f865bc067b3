//! The fold: takes what the journal has stored into the totals, in order, and off the way of events.
//!
//! Whoever stores records hands them over before their requests are answered. Nobody needs the totals but those who look at
//! them: so what was handed over waits, unread, until somebody looks or until a batch has gathered, and a look always shows
//! every record that was handed over before it. Handing over never waits for the totals. Whoever did it then
//! [keeps up](Fold::keep_up), without a lock that others need: if more was handed over than may wait, which bounds memory, it
//! folds itself.
//!
//! Beside the totals, of which checkpoints are kept, it notes the [callers](crate::ledger::callers) of abnormal calls
//! and the [timeline](crate::ledger::timeline), of which none are: after a start they are recalled from the journal.
//!
//! A record on which the fold panics, or that cannot be read, is quarantined, and the fold goes on. It adds nothing to the
//! totals.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::Bytes;
use tracing::error;

use crate::callback::record::UnreadableRecord;
use crate::callback::shield::{fault_point, shielded};
use crate::callback::{Kind, Record};
use crate::http::pace::{LeftOut, Pace};
use crate::ledger::Ledger;
use crate::ledger::callers::{AbnormalCallers, CallerCounts};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::timeline::Timeline;
use crate::metrics::birth::Birth;

use super::quarantine::Quarantine;
use super::thread::Thread;

/// Records that gather before they are folded without anybody looking.
const BATCH: usize = 256;

/// Records that may wait, and their bytes.
const MOST_WAITING: usize = 2 * 1024;
const MOST_WAITING_BYTES: usize = 2 * 1024 * 1024;

/// The value of the label `by` for records on which the fold fails.
const NAME: &str = "fold";

/// The fold, its totals, and what waits for it.
#[derive(Debug)]
pub struct Fold {
    waiting: Mutex<Waiting>,
    gathered: Condvar,
    totals: Mutex<Totals>,
    /// The latest birth, in microseconds, for who must not wait for the totals.
    births: AtomicU64,
    quarantine: Quarantine,
    unreadable: Pace,
}

/// What records are folded into.
#[derive(Debug)]
struct Totals {
    /// What is kept of them.
    kept: Checkpoint,
    /// What is not.
    recalled: Recalled,
    /// Whether all callers are recalled.
    are_callers_known: bool,
    /// Whether the timeline is.
    is_timeline_known: bool,
    /// Since when it has every call.
    timeline_since: SystemTime,
}

/// What is in no checkpoint, but recalled from the journal after a start.
#[derive(Debug, Clone)]
pub struct Recalled {
    /// Who had an abnormal call lately.
    pub callers: AbnormalCallers,
    /// How calls went by time.
    pub timeline: Timeline,
}

impl Recalled {
    /// Nothing yet. The IDCs with these names are told apart beside those with an assigned code, and these services, if
    /// there are any.
    pub fn new(idcs: &[String], services: &[String]) -> Recalled {
        Recalled { callers: AbnormalCallers::new(idcs, services), timeline: Timeline::new(idcs) }
    }
}

/// How calls go, for whoever looks.
#[derive(Debug, Clone)]
pub struct Course {
    /// How they went by time.
    pub timeline: Timeline,
    /// Since when it has every call.
    pub known_since: SystemTime,
    /// Whether all of the last day that the journal has is in it: for some seconds after a start it may not be.
    pub is_whole: bool,
    /// How many callers had an abnormal call, unless some are still to be recalled.
    pub callers: Option<CallerCounts>,
    /// Since when calls are counted.
    pub started_at: SystemTime,
    /// How many there were since then.
    pub calls: u64,
    /// When the last event was accepted.
    pub last_event: Option<SystemTime>,
}

impl Totals {
    fn callers(&self, now: SystemTime) -> Option<CallerCounts> {
        self.are_callers_known.then(|| self.recalled.callers.count(now))
    }
}

/// What was handed over and not folded.
#[derive(Debug, Default)]
struct Waiting {
    batches: Vec<(u64, Vec<Bytes>)>,
    records: usize,
    bytes: usize,
}

impl Waiting {
    fn is_too_much(&self) -> bool {
        self.records > MOST_WAITING || self.bytes > MOST_WAITING_BYTES
    }
}

impl Fold {
    /// A fold that goes on from `kept`, and notes in `recalled` what is in no checkpoint. What it cannot read goes to
    /// `quarantine`.
    pub fn new(kept: Checkpoint, recalled: Recalled, quarantine: Quarantine) -> Fold {
        quarantine.start_at_zero(NAME);
        let births = AtomicU64::new(kept.ledger.births().as_micros());
        let timeline_since = kept.ledger.started_at();
        let totals =
            Totals { kept, recalled, are_callers_known: true, is_timeline_known: true, timeline_since };
        let totals = Mutex::new(totals);
        Fold {
            waiting: Mutex::default(),
            gathered: Condvar::new(),
            totals,
            births,
            quarantine,
            unreadable: Pace::default(),
        }
    }

    /// Starts the thread that folds what gathers.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(self: &Arc<Fold>) -> io::Result<Thread> {
        let fold = Arc::clone(self);
        Thread::start(NAME, move || {
            loop {
                fold.until_gathered();
                drop(fold.catch_up());
            }
        })
    }

    /// Hands over stored records, the first of which has this sequence number. Batches come in the order of the journal. To be
    /// followed by [`keep_up`](Fold::keep_up).
    pub fn push(&self, first: u64, records: Vec<Bytes>) {
        let mut waiting = self.waiting();
        let before = waiting.records;
        waiting.records += records.len();
        waiting.bytes += records.iter().map(Bytes::len).sum::<usize>();
        waiting.batches.push((first, records));
        let is_batch = before < BATCH && waiting.records >= BATCH;
        drop(waiting);
        if is_batch {
            self.gathered.notify_one();
        }
    }

    /// Folds what waits if it is more than may wait.
    pub fn keep_up(&self) {
        if self.waiting().is_too_much() {
            drop(self.catch_up());
        }
    }

    /// Folds one record that a journal had at the start.
    ///
    /// # Errors
    /// A newer version of this program wrote it.
    pub fn fold_at_start(&self, sequence: u64, record: &[u8]) -> Result<(), UnreadableRecord> {
        let mut totals = self.totals();
        let folded = self.fold(&mut totals, sequence, record, SystemTime::now());
        self.note_births(&totals);
        folded
    }

    /// Notes an event that is in the totals already, and with `callers` its caller if it was abnormal. What cannot be
    /// read is left out.
    pub fn recall(&self, record: &Record<'_>, callers: bool) {
        let Totals { recalled, .. } = &mut *self.totals();
        let caller = shielded(|| match record.kind {
            Kind::CallEvent => {
                let event = record.call_event().ok()?;
                recalled.timeline.note(&event, SystemTime::now());
                recalled.callers.caller(&event).filter(|_| callers)
            }
        });
        if let Ok(Some(caller)) = caller {
            recalled.callers.note(caller);
        }
    }

    /// The totals at this moment.
    #[cfg(test)]
    pub fn ledger(&self) -> Ledger {
        self.catch_up().kept.ledger.clone()
    }

    /// Shows the number of callers from now on, or not while some are still to be recalled.
    pub fn show_callers(&self, are_known: bool) {
        self.totals().are_callers_known = are_known;
    }

    /// Shows the timeline as whole from now on, or not while some of it is still to be recalled.
    pub fn show_timeline_as_whole(&self, is_known: bool) {
        self.totals().is_timeline_known = is_known;
    }

    /// Since when calls are counted.
    pub fn started_at(&self) -> SystemTime {
        self.totals().kept.ledger.started_at()
    }

    /// Notes since when the journal has every call.
    pub fn note_known_since(&self, since: SystemTime) {
        self.totals().timeline_since = since;
    }

    /// How calls go at `now`. A copy, so that whoever looks at it holds up nobody.
    pub fn course(&self, now: SystemTime) -> Course {
        let totals = self.catch_up();
        Course {
            timeline: totals.recalled.timeline.clone(),
            known_since: totals.timeline_since,
            is_whole: totals.is_timeline_known,
            callers: totals.callers(now),
            started_at: totals.kept.ledger.started_at(),
            calls: totals.kept.ledger.calls(),
            last_event: totals.kept.ledger.last_event(),
        }
    }

    /// The totals at this moment, with the number of callers at `now` if it is shown. A copy, so that whoever renders
    /// it holds up nobody.
    pub fn ledger_and_callers(&self, now: SystemTime) -> (Ledger, Option<CallerCounts>) {
        let totals = self.catch_up();
        (totals.kept.ledger.clone(), totals.callers(now))
    }

    /// What each day had, as `show` shows it.
    pub fn show_days(&self, show: impl FnOnce(&Ledger) -> String) -> String {
        show(&self.catch_up().kept.ledger)
    }

    /// The totals with the position that they stand for.
    pub fn checkpoint(&self) -> Checkpoint {
        self.catch_up().kept.clone()
    }

    /// The sequence number of the first record that is not in the totals, of those that were handed over so far.
    pub fn position(&self) -> u64 {
        self.catch_up().kept.position
    }

    /// The latest birth of a series of the totals, as far as what was handed over has been folded.
    pub fn births(&self) -> Birth {
        Birth::from_micros(self.births.load(Ordering::Acquire))
    }

    /// Goes on at this sequence number: what lies before it is lost.
    pub fn skip_to(&self, position: u64) {
        self.totals().kept.position = position;
    }

    /// Changes the ledger, when nothing waits.
    pub fn change(&self, change: impl FnOnce(Ledger) -> Ledger) {
        let mut totals = self.totals();
        totals.kept.ledger = change(totals.kept.ledger.clone());
        self.note_births(&totals);
    }

    /// Folds everything that waits.
    fn catch_up(&self) -> MutexGuard<'_, Totals> {
        let mut totals = self.totals();
        let batches = {
            let mut waiting = self.waiting();
            (waiting.records, waiting.bytes) = (0, 0);
            std::mem::take(&mut waiting.batches)
        };
        let now = SystemTime::now();
        for (first, records) in batches {
            debug_assert!(first >= totals.kept.position, "batches come in the order of the journal");
            for (sequence, record) in (first..).zip(records) {
                // This process wrote it, so no newer one did.
                let _ = self.fold(&mut totals, sequence, &record, now);
            }
        }
        self.note_births(&totals);
        totals
    }

    fn note_births(&self, totals: &Totals) {
        self.births.store(totals.kept.ledger.births().as_micros(), Ordering::Release);
    }

    /// Folds a record at `now` or sets it aside, unless a newer version of this program wrote it.
    fn fold(
        &self,
        totals: &mut Totals,
        sequence: u64,
        record: &[u8],
        now: SystemTime,
    ) -> Result<(), UnreadableRecord> {
        let Totals { kept: Checkpoint { position, ledger, .. }, recalled, .. } = totals;
        *position = sequence + 1;
        let folded = shielded(|| {
            fault_point(NAME, record);
            let record = Record::decode(record)?;
            match record.kind {
                Kind::CallEvent => {
                    let event = record.call_event()?;
                    let caller = recalled.callers.caller(&event);
                    recalled.timeline.note(&event, now);
                    ledger.apply(event);
                    caller.into_iter().for_each(|caller| recalled.callers.note(caller));
                }
            }
            Ok(())
        });
        let reason = match folded {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error @ UnreadableRecord::Version(_))) => return Err(error),
            Ok(Err(error)) => error.to_string(),
            Err(panicked) => panicked.to_string(),
        };
        if let Some(LeftOut { times, .. }) = self.unreadable.note(&reason, 1) {
            error!(sequence, %reason, left_out = times, "a stored event cannot be counted; it is quarantined");
        }
        self.quarantine.keep(NAME, sequence, &reason, record);
        Ok(())
    }

    /// Waits until a batch has gathered.
    fn until_gathered(&self) {
        let is_waiting = |waiting: &mut Waiting| waiting.records < BATCH;
        drop(self.gathered.wait_while(self.waiting(), is_waiting));
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing in here panics between two changes that belong together.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn totals(&self) -> MutexGuard<'_, Totals> {
        // What could panic under this lock is shielded.
        self.totals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::callback::{Key, Kind};
    use crate::ledger::Limits;

    fn fold() -> Arc<Fold> {
        let buckets = || "1,60".parse().expect("buckets");
        let ledger = Ledger::new(SystemTime::UNIX_EPOCH, Limits::default(), buckets(), buckets());
        Arc::new(Fold::new(Checkpoint::of(ledger), Recalled::new(&[], &[]), Quarantine::in_memory()))
    }

    fn record(query: &str) -> Bytes {
        let (received_at, key) = (SystemTime::UNIX_EPOCH, Key::from_bytes([1; 16]));
        Record { kind: Kind::CallEvent, received_at, key, envelope: b"", query: query.as_bytes() }.encode()
    }

    fn calls(fold: &Fold) -> u64 {
        fold.ledger().calls()
    }

    #[test]
    fn whoever_looks_sees_all_that_was_handed_over() {
        let fold = fold();
        for first in 0..10 {
            fold.push(2 * first, vec![record("sid=1&duration=1"), record("sid=2&duration=1")]);
            assert_eq!((calls(&fold), fold.position()), (2 * first + 2, 2 * first + 2));
        }
    }

    #[tokio::test]
    async fn what_gathers_is_folded_without_anybody_looking_and_is_bounded() {
        let fold = fold();
        let _thread = fold.start().expect("a thread");
        let records = vec![record("sid=1&duration=1"); BATCH];
        fold.push(0, records.clone());
        while fold.waiting().records > 0 {
            std::thread::yield_now();
        }
        for batch in 1..100 {
            fold.push(batch * BATCH as u64, records.clone());
            fold.keep_up();
            assert!(fold.waiting().records <= MOST_WAITING);
        }
        assert_eq!(calls(&fold), 100 * BATCH as u64);
    }

    #[test]
    fn handing_over_waits_for_nobody_and_keeping_up_makes_room() {
        let fold = fold();
        let looked_at = fold.totals();
        for sequence in 0..2 * MOST_WAITING as u64 {
            fold.push(sequence, vec![record("sid=1&duration=1")]);
        }
        drop(looked_at);
        fold.keep_up();
        assert_eq!(fold.waiting().records, 0);
        assert_eq!(calls(&fold), 2 * MOST_WAITING as u64);
    }

    #[test]
    fn what_cannot_be_read_is_quarantined_and_the_fold_goes_on() {
        let fold = fold();
        fold.push(0, vec![Bytes::from_static(b"\x01short"), record("sid=1&duration=1"), record("none")]);
        assert_eq!((calls(&fold), fold.position()), (1, 3));
        assert_eq!(fold.quarantine.len(), 2);
    }
}
