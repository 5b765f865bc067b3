//! How many different callers had an abnormal call in the last 5 and 60 minutes: one bot whose calls all fail is one,
//! and an outage is many.
//!
//! # What is known
//!
//! For each IDC, and with `--services` for each service in it, a *sketch*: keyed hashes of up to 512 callers with the
//! time of the last abnormal call of each; for more, 4,096 times, each that of the last abnormal call of any of the
//! callers whose hash leads there. It can be asked how many there are, and not who.
//!
//! A *caller* is the pair of `from_service_id` and `from_user_id`, since two services may give the same user ID to
//! different people. A call without a user ID counts as a caller of its own, so that calls of unknown people never look
//! like one bot. Its time is that of receipt, as in the journal: the other times of a call are what somebody says.
//!
//! # Why keyed
//!
//! The hash has a random key for each process, which is nowhere but in its memory. Without it nobody can tell from a
//! sketch whether a user is in it, or choose user IDs that fall into one cell. Neither key nor sketch is in a
//! checkpoint: what is on disk of people is the journal's, and leaves with it.
//!
//! # A crash at each arrow
//!
//! ```text
//!          synced                     folded                  an hour
//! event ───────────► in the journal ───────────► in a sketch ───────────► not counted any more
//! ```
//!
//! - Before it is synced: the call was not acknowledged, and comes again.
//! - After that: the journal is read at the start, as far as it goes back an hour. Calls that are in the totals of the
//!   checkpoint already are recalled into the sketches (`state::recall`); others are folded, and so are in both.
//!
//! So the sketches are a fold of the last hour of the journal. After a restart they are keyed anew, and up to 512
//! callers of an IDC are as many as before; more of them are about as many. The journal has the last hour as long as
//! `--seen-age` and `--seen-max` (139 calls a second with the default) cover it; otherwise the 60 minutes begin with
//! what it has. Without a state directory they begin with the process.
//!
//! # Bounds
//!
//! 16 KiB for each IDC that had an abnormal call, of 249 codes, those of `--idcs`, and `other`: 4 MiB for each service
//! that is told apart. A read looks at every cell. A start takes half a second at most for what it recalls, and leaves
//! the rest, of at most `--seen-max` calls, to a thread; until that is done the number is not shown.

mod sketch;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::label::Label;
use super::table::LabelSet;
use super::{Ledger, second};
use crate::callback::call_event::Parameter;
use crate::callback::labels::{LabelSource, LabelValue};
use crate::callback::{CallEvent, Key};
use crate::metrics::birth::Birth;
use crate::metrics::catalog;
use crate::metrics::family::{Family, Point, Value};
use crate::metrics::labels::Labels;

use sketch::{Sketch, slots};

/// The label of the window.
const WINDOW: &str = "window";

/// The windows: their names, and how many slots they are.
const WINDOWS: [(&str, u32); 2] = [("5m", slots(5 * 60)), ("60m", slots(60 * 60))];

/// Who had an abnormal call lately, by IDC, and by service where services are told apart.
#[derive(Clone, Default)]
pub struct AbnormalCallers {
    /// What makes the hashes of this process its own.
    key: RandomState,
    idcs: BTreeSet<Label>,
    services: BTreeSet<Label>,
    sketches: BTreeMap<LabelSet, Sketch>,
}

/// The caller of an abnormal call.
#[derive(Debug, PartialEq, Eq)]
pub struct AbnormalCaller {
    labels: Vec<Label>,
    hash: u64,
    slot: u32,
}

/// What makes callers different.
#[derive(Hash)]
enum Identity<'e> {
    User { service: Option<&'e str>, user: &'e str },
    Unknown(Key),
}

impl AbnormalCallers {
    /// How far back the longest window reaches.
    pub const LONGEST_WINDOW: Duration = Duration::from_secs(60 * 60);

    /// None yet. The IDCs with these names are told apart beside those with an assigned code, and these services, if
    /// there are any.
    pub fn new(idcs: &[String], services: &[String]) -> AbnormalCallers {
        let labels = |names: &[String]| names.iter().map(|name| Label::shared(name)).collect();
        AbnormalCallers { idcs: labels(idcs), services: labels(services), ..AbnormalCallers::default() }
    }

    /// The caller of a call if it was abnormal.
    pub fn caller(&self, event: &CallEvent<'_>) -> Option<AbnormalCaller> {
        if !event.fault_domain.is_abnormal() {
            return None;
        }
        let identity = match event.text(Parameter::FromUserId) {
            Some(user) => Identity::User { service: event.text(Parameter::FromServiceId), user },
            None => Identity::Unknown(event.sid),
        };
        let labels = self.sources().map(|source| self.label(source, event)).collect();
        let slot = Sketch::slot(second(event.received_at));
        Some(AbnormalCaller { labels, hash: self.key.hash_one(identity), slot })
    }

    /// Notes a caller of an abnormal call.
    pub fn note(&mut self, caller: AbnormalCaller) {
        let AbnormalCaller { labels, hash, slot } = caller;
        match self.sketches.get_mut(&labels[..]) {
            Some(sketch) => sketch.note(hash, slot),
            None => self.sketches.entry(labels.into()).or_default().note(hash, slot),
        }
    }

    /// How many there are at `now`.
    pub fn count(&self, now: SystemTime) -> CallerCounts {
        let now = Sketch::slot(second(now));
        let counts = |sketch: &Sketch| WINDOWS.map(|(_, window)| sketch.count(now, window));
        CallerCounts {
            sources: self.sources().collect(),
            counts: self.sketches.iter().map(|(labels, sketch)| (labels.clone(), counts(sketch))).collect(),
        }
    }

    /// The labels: with that of the service, where services are told apart.
    fn sources(&self) -> impl Iterator<Item = LabelSource> + use<> {
        [LabelSource::Idc].into_iter().chain((!self.services.is_empty()).then_some(LabelSource::Service))
    }

    /// The value of a label: what is not told apart is `other`.
    fn label(&self, source: LabelSource, event: &CallEvent<'_>) -> Label {
        let told_apart = if source == LabelSource::Idc { &self.idcs } else { &self.services };
        match source.value(event) {
            LabelValue::Known(value) => Label::Known(value),
            LabelValue::Foreign(value) => told_apart.get(&*value).cloned().unwrap_or(Label::OTHER),
        }
    }
}

impl fmt::Debug for AbnormalCallers {
    /// Without the key and what is known of people.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("AbnormalCallers")
            .field("sketches", &self.sketches.len())
            .finish_non_exhaustive()
    }
}

/// How many different callers had an abnormal call in each window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallerCounts {
    sources: Vec<LabelSource>,
    counts: BTreeMap<LabelSet, [u64; WINDOWS.len()]>,
}

impl CallerCounts {
    /// How many there are in each window: its name, and the number. A caller who called in two IDCs, or in two services
    /// where those are told apart, counts twice.
    pub fn by_window(&self) -> [(&'static str, u64); WINDOWS.len()] {
        std::array::from_fn(|at| (WINDOWS[at].0, self.counts.values().map(|counts| counts[at]).sum()))
    }

    /// The metric. An IDC of which `ledger` has results stands at 0 where it had no abnormal call.
    pub fn family(mut self, ledger: &Ledger) -> Family {
        for labels in ledger.results_by(&self.sources) {
            self.counts.entry(labels).or_default();
        }
        let mut names: Vec<_> = self.sources.iter().map(|source| source.name()).collect();
        names.insert(1, WINDOW);
        let names: Arc<[&'static str]> = names.into();
        let point = |labels: &LabelSet, window: &'static str, count: u64| {
            let mut values: Vec<_> = labels.iter().cloned().collect();
            values.insert(1, Label::Known(window));
            let labels = Labels::new(Arc::clone(&names), values.into());
            let value = Value::Gauge(count as f64);
            Point { labels, started_at: None, born: Birth::NONE, value, exemplars: Vec::new() }
        };
        let points = self.counts.iter().flat_map(|(labels, counts)| {
            let windows = WINDOWS.iter().zip(counts);
            windows.map(|((window, _), count)| point(labels, window, *count)).collect::<Vec<_>>()
        });
        Family { metric: &catalog::CALL_ABNORMAL_CALLERS, points: points.collect() }
    }
}

#[cfg(test)]
mod tests;
