//! The metrics of deliveries.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use metrics::{Counter, Histogram, counter, histogram};

use crate::http::trouble::{Condition, Trouble};
use crate::metrics::catalog;

/// How an attempt to deliver ended, the value of the label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptResult {
    /// All of it was taken.
    Success,
    /// Some of it was refused.
    Partial,
    /// It is to be tried again.
    Retry,
    /// It is never to be tried again.
    Refused,
}

impl AttemptResult {
    /// Every result, in the order in which they are declared.
    pub const ALL: [AttemptResult; 4] =
        [AttemptResult::Success, AttemptResult::Partial, AttemptResult::Retry, AttemptResult::Refused];

    /// The value of the label.
    pub fn as_str(self) -> &'static str {
        match self {
            AttemptResult::Success => "success",
            AttemptResult::Partial => "partial",
            AttemptResult::Retry => "retry",
            AttemptResult::Refused => "refused",
        }
    }
}

/// The metrics of the attempts to deliver one signal.
pub struct AttemptMetrics {
    results: [Counter; AttemptResult::ALL.len()],
    duration: Histogram,
}

impl AttemptMetrics {
    /// Looks the metrics of a signal up.
    pub fn new(signal: &'static str) -> AttemptMetrics {
        let result = |result: &'static str| counter!(catalog::EXPORTER_DELIVERIES.name, "signal" => signal, "result" => result);
        AttemptMetrics {
            results: AttemptResult::ALL.map(|each| result(each.as_str())),
            duration: histogram!(catalog::EXPORTER_DELIVERY_DURATION.name, "signal" => signal),
        }
    }

    /// Counts an attempt that took this long.
    pub fn count(&self, result: AttemptResult, duration: Duration) {
        self.results[result as usize].increment(1);
        self.duration.record(duration);
    }
}

/// Why events were dropped, the value of the label `cause`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The peer refused them for good.
    Refused,
    /// They failed for too long.
    Age,
    /// There is no peer any more.
    Gone,
    /// They were in memory when the exporter ended.
    Shutdown,
    /// What waited of them on disk is damaged or was removed.
    Damaged,
}

impl Cause {
    /// Every cause that a sink counts itself, in the order in which they are declared.
    pub const ALL: [Cause; 5] = [Cause::Refused, Cause::Age, Cause::Gone, Cause::Shutdown, Cause::Damaged];

    /// The value of the label.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::Refused => "refused",
            Cause::Age => "age",
            Cause::Gone => "gone",
            Cause::Shutdown => "shutdown",
            Cause::Damaged => "damaged",
        }
    }
}

/// The metrics of the events of one sink.
pub struct EventMetrics {
    /// Delivered.
    pub delivered: Counter,
    dropped: [Counter; Cause::ALL.len()],
    last_drop: Arc<Mutex<Option<SystemTime>>>,
    /// Events that may overtake an earlier one of their order, since too many wait.
    pub unordered: Counter,
}

impl EventMetrics {
    /// Looks the metrics of a sink up. When it dropped something last, is noted in `last_drop`.
    pub fn new(sink: &'static str, last_drop: Arc<Mutex<Option<SystemTime>>>) -> EventMetrics {
        let dropped = |cause: &'static str| counter!(catalog::EXPORTER_DROPPED_EVENTS.name, "sink" => sink, "cause" => cause);
        EventMetrics {
            delivered: counter!(catalog::EXPORTER_DELIVERED_EVENTS.name, "sink" => sink),
            dropped: Cause::ALL.map(|cause| dropped(cause.as_str())),
            last_drop,
            unordered: counter!(catalog::EXPORTER_UNORDERED_EVENTS.name, "sink" => sink),
        }
    }

    /// Counts events that were dropped.
    pub fn drop(&self, cause: Cause, events: u64) {
        self.dropped[cause as usize].increment(events);
        if events > 0 {
            self.note_drop();
        }
    }

    /// Notes that events were dropped now, which somebody else counts.
    pub fn note_drop(&self) {
        *self.last_drop.lock().unwrap_or_else(PoisonError::into_inner) = Some(SystemTime::now());
    }
}

/// How a sink stands, for whoever looks.
#[derive(Debug)]
pub struct SinkStatus {
    /// The value of the label `sink`.
    pub name: &'static str,
    /// What it delivers to, as people call it.
    pub peer: &'static str,
    backlog: Mutex<Backlog>,
    conditions: Vec<Arc<Condition>>,
    last_drop: Arc<Mutex<Option<SystemTime>>>,
}

/// What a sink has beside what it has not taken yet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Events that wait in the waiting journal.
    pub waiting: u64,
    /// Events that were dropped from it, since too much waits.
    pub dropped: u64,
    /// Entries of it that were found damaged when it was opened.
    pub damaged: u64,
    /// Bytes of the waiting journal.
    pub waiting_bytes: u64,
    /// When the oldest event was received that the sink has not finished, as far as it has looked.
    pub oldest: Option<SystemTime>,
    /// Whether there is no peer any more.
    pub is_gone: bool,
}

impl SinkStatus {
    /// The status of a sink without a backlog, with which something is amiss if it is with any of these.
    pub fn new(name: &'static str, peer: &'static str, conditions: Vec<Arc<Condition>>) -> SinkStatus {
        SinkStatus { name, peer, backlog: Mutex::default(), conditions, last_drop: Arc::default() }
    }

    /// When it dropped an event last.
    pub fn last_drop(&self) -> Option<SystemTime> {
        *self.last_drop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where that is noted.
    pub(super) fn drops(&self) -> Arc<Mutex<Option<SystemTime>>> {
        Arc::clone(&self.last_drop)
    }

    /// What is amiss with what it delivers to, if anything is.
    pub fn trouble(&self) -> Option<Trouble> {
        self.conditions.iter().filter_map(|condition| condition.trouble()).min_by_key(|trouble| trouble.since)
    }

    /// The backlog as it was noted last.
    pub fn backlog(&self) -> Backlog {
        *self.backlog.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, backlog: Backlog) {
        *self.backlog.lock().unwrap_or_else(PoisonError::into_inner) = backlog;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_has_the_label_of_what_it_counts() {
        assert_eq!(AttemptResult::ALL.map(|result| result as usize), [0, 1, 2, 3]);
        assert_eq!(Cause::ALL.map(|cause| cause as usize), [0, 1, 2, 3, 4]);
    }
}
