//! Notes, after a start, what is in no checkpoint of the calls that the totals have already: the
//! [callers](crate::ledger::callers) of abnormal ones in the last hour, and the [timeline](crate::ledger::timeline) of
//! the last day.
//!
//! Reading an event again takes microseconds, and an hour has up to half a million. So a start spends no more than
//! [`PATIENCE`] on those of the last hour, as it reads the journal; what is left then, and what is older, is recalled
//! in the background, by the thread that works out `fingerprints`. Until it is done the number of callers is not shown,
//! since an outage would look like a bot, and the timeline is said to be incomplete.

use std::time::{Duration, Instant, SystemTime};

use crate::callback::Record;
use crate::callback::shield::shielded;
use crate::ledger::callers::AbnormalCallers;
use crate::ledger::timeline::Timeline;

use super::fold::Fold;

/// How long a start takes for it.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is to be recalled.
pub(super) struct Recall {
    /// Callers of records from this time on; of all, if the clock does not go back so far.
    callers_from: Option<SystemTime>,
    /// Records from this time on likewise.
    from: Option<SystemTime>,
    /// Records before this sequence number, which are in the totals.
    before: u64,
    /// When it takes too long for the start, from the first of those with callers on.
    until: Option<Instant>,
    /// The first record of those with callers that is left for later.
    left: Option<u64>,
    /// Whether there are older ones, all of which are.
    has_older: bool,
}

impl Recall {
    /// Recalls records of the last day before this sequence number.
    pub(super) fn before(sequence: u64) -> Recall {
        let now = SystemTime::now();
        Recall {
            callers_from: now.checked_sub(AbnormalCallers::LONGEST_WINDOW),
            from: now.checked_sub(Timeline::REACH),
            before: sequence,
            until: None,
            left: None,
            has_older: false,
        }
    }

    /// Recalls a record at the start, or leaves it for later.
    pub(super) fn at_start(&mut self, fold: &Fold, sequence: u64, record: &Record<'_>) {
        if !self.is_meant(sequence, record) {
            return;
        }
        if !self.has_caller(record) {
            if !std::mem::replace(&mut self.has_older, true) {
                fold.show_timeline_as_whole(false);
            }
            return;
        }
        let until = *self.until.get_or_insert_with(|| Instant::now() + PATIENCE);
        if self.left.is_none() && Instant::now() < until {
            fold.recall(record, true);
        } else if self.left.is_none() {
            self.left = Some(sequence);
            fold.show_callers(false);
            fold.show_timeline_as_whole(false);
        }
    }

    /// Recalls a record if it was left for later.
    pub(super) fn later(&self, fold: &Fold, sequence: u64, bytes: &[u8]) {
        if sequence < self.before
            && let Ok(Ok(record)) = shielded(|| Record::decode(bytes))
            && self.is_meant(sequence, &record)
        {
            let has_caller = self.has_caller(&record);
            if !has_caller || self.left.is_some_and(|left| left <= sequence) {
                fold.recall(&record, has_caller);
            }
        }
    }

    /// Everything is recalled that can be.
    pub(super) fn end(&self, fold: &Fold) {
        fold.show_callers(true);
        fold.show_timeline_as_whole(true);
    }

    fn is_meant(&self, sequence: u64, record: &Record<'_>) -> bool {
        sequence < self.before && Some(record.received_at) >= self.from
    }

    fn has_caller(&self, record: &Record<'_>) -> bool {
        Some(record.received_at) >= self.callers_from
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::callback::{Key, Kind};
    use crate::ledger::checkpoint::Checkpoint;
    use crate::ledger::{Ledger, Limits};
    use crate::metrics::family::Value;
    use crate::state::fold::Recalled;
    use crate::state::quarantine::Quarantine;

    /// The numbers of callers of the only IDC.
    fn counts(fold: &Fold) -> Option<Vec<Value>> {
        let (ledger, callers) = fold.ledger_and_callers(SystemTime::now());
        Some(callers?.family(&ledger).points.into_iter().map(|point| point.value).collect())
    }

    fn record(received_at: SystemTime, user: u8) -> Vec<u8> {
        let query = format!("sid={user}&duration=0&disconnect_reason=1301&rc_idc=KR&from_user_id={user}");
        let key = Key::from_bytes([user; 16]);
        let record =
            Record { kind: Kind::CallEvent, received_at, key, envelope: b"", query: query.as_bytes() };
        record.encode().to_vec()
    }

    #[test]
    fn what_takes_too_long_for_a_start_is_recalled_later_and_not_shown_before() {
        let buckets = || "1,60".parse().expect("buckets");
        let now = SystemTime::now();
        let ledger = Ledger::new(now, Limits::default(), buckets(), buckets());
        let fold = Fold::new(Checkpoint::of(ledger), Recalled::new(&[], &[]), Quarantine::in_memory());
        let old = record(now - Duration::from_secs(3_700), 9);
        let mut records: Vec<_> = (0..4).map(|user| record(now, user)).collect();
        records.insert(0, old);
        let mut recall = Recall::before(4);
        for (sequence, bytes) in (0..).zip(&records) {
            if sequence == 2 {
                assert_eq!(counts(&fold), Some(vec![Value::Gauge(1.0); 2]));
                recall.until = Some(Instant::now());
            }
            recall.at_start(&fold, sequence, &Record::decode(bytes).expect("a record"));
        }
        assert_eq!(counts(&fold), None);
        for (sequence, bytes) in (0..).zip(&records) {
            recall.later(&fold, sequence, bytes);
        }
        recall.later(&fold, 3, b"\x01short");
        assert_eq!(counts(&fold), None);
        recall.end(&fold);
        // Without the one that is old, and the one that is not in the totals yet.
        assert_eq!(counts(&fold), Some(vec![Value::Gauge(3.0); 2]));
        // Each stands once in the timeline, the old one too.
        let course = fold.course(now);
        assert!(course.is_whole);
        assert_eq!(course.timeline.summary(now).all.day.abnormal, 4);
    }
}
