//! Series that leave, so that what came from outside once has no place for ever.
//!
//! A label value is *known* to this program or configured, or it came *from outside*: an unknown reason, a release
//! code, an IDC that an older release admitted. A row with a value from outside that no event was added to for a
//! [`DAY`] leaves, and the place of the value goes to the next new one. Rows of known values stay, since a counter that
//! is gone bends no `increase()` but one that comes back does; only where the call metrics have reached their limit of
//! series, and nothing could get a series of its own any more, those that were unused for a day and are not of a
//! configured IDC leave as well.
//!
//! The time of the last event of an IDC or service from outside leaves in the same way, and is nothing that is counted.
//!
//! What a row counted moves to [`Departed`] in the same step, so that the page and the gauge of departed calls together are the
//! fold. A label that comes back later starts at 0.
//!
//! The clock is the time at which events were received. Once an hour of it, the event that comes looks at all rows
//! before it is counted itself; the rows that it adds to are used, however long ago they were before, since a row that
//! left and came back at once would hide what it counts. So departures are part of the fold: the same events make the
//! same ledger, whatever dies in between, as long as a checkpoint keeps when each row was used and when the rows were
//! looked at. Without events nothing leaves. Events that were held while the disk failed come late and make no row
//! older. A clock that is set back lets rows stay longer.
//!
//! It costs eight bytes a row, and a look at every row an hour.

use super::label::{EventLabels, Label};
use super::last_events::LastEvents;
use super::specification::{Adds, SPECIFICATIONS, Specification};
use super::table::{Row, Table};
use super::{LabelSource, Ledger};
use crate::callback::CallEvent;
use crate::callback::labels::LabelValue;
use crate::metrics::birth::Birth;
use crate::metrics::catalog;
use crate::metrics::family::{Family, Point, Value};

/// How long a row of values from outside stays without an event, in seconds.
const DAY: u64 = 24 * 60 * 60;

/// How often it is looked for rows that leave, in seconds.
const LOOK_INTERVAL: u64 = 60 * 60;

/// The label of `planet.exporter.departed_calls`.
const METRIC: &str = "metric";

/// What rows that have left counted, for each specification.
pub(super) type Departed = [u64; SPECIFICATIONS.len()];

impl Ledger {
    /// Removes the rows that are unused for a day, if a look is due, before `event` is added in this second.
    pub(super) fn look_for_departures(&mut self, event: &CallEvent<'_>, second: u64) {
        let is_set_back = second.saturating_add(DAY) < self.looked_at;
        if second < self.looked_at.saturating_add(LOOK_INTERVAL) && !is_set_back {
            return;
        }
        self.looked_at = second;
        self.classes.forget();
        self.touch(event, second);
        let is_unused = |used: u64| second.saturating_sub(used) >= DAY;
        let is_full = self.are_calls_full();
        let (limits, idcs) = (&self.limits, &self.idcs);
        // What has no label of its own is counted as `other`; rows with it stay, since the event that comes may add to one.
        let has_label = |label: &Label| *label != Label::OTHER;
        let is_foreign = |source: LabelSource, label: &Label| match source {
            LabelSource::Idc if idcs.contains(label.as_str()) => false,
            LabelSource::Service => !limits.services.iter().any(|service| service == label.as_str()),
            source => !source.knows(label.as_str()),
        };
        let is_from_outside = |sources: &[LabelSource], labels: &[Label]| {
            let mut labels = sources.iter().zip(labels).filter(|(_, label)| has_label(label));
            labels.any(|(source, label)| is_foreign(*source, label))
        };
        for ((metric, table), departed) in SPECIFICATIONS.iter().zip(&mut self.tables).zip(&mut self.departed)
        {
            let sources: Vec<LabelSource> = metric.labels(limits).collect();
            let leaves = |labels: &[Label], row: &Row| {
                let is_of_no_configured_idc = |(source, label): (&LabelSource, &Label)| {
                    *source == LabelSource::Idc && has_label(label) && !idcs.contains(label.as_str())
                };
                is_unused(row.used)
                    && (is_from_outside(&sources, labels)
                        || is_full
                            && row.total.count() > 0
                            && sources.iter().zip(labels).any(is_of_no_configured_idc))
            };
            *departed = departed.saturating_add(take_out(table, leaves));
        }
        self.reasons.forget(is_unused);
        let sources: Vec<LabelSource> = LastEvents::labels(limits).collect();
        let leaves =
            |labels: &[Label], last| is_unused(super::second(last)) && is_from_outside(&sources, labels);
        self.last_events.by_labels.retain(|labels, last| !leaves(labels, *last));
    }

    /// Notes that the rows that an event adds to are used in this second.
    fn touch(&mut self, event: &CallEvent<'_>, second: u64) {
        let mut labels = EventLabels::new();
        for source in LabelSource::all() {
            let label = match source.value(event) {
                LabelValue::Known(value) => Label::Known(value),
                LabelValue::Foreign(value) if source == LabelSource::DisconnectReason => {
                    match self.reasons.touch(&value, second) {
                        Some(label) => label,
                        None => continue,
                    }
                }
                LabelValue::Foreign(value) => match self.is_told_apart(source, &value) {
                    true => Label::shared(&value),
                    false => continue,
                },
            };
            labels.set(source, label);
        }
        for (metric, table) in SPECIFICATIONS.iter().zip(&mut self.tables) {
            table.touch(&labels.of(metric.labels(&self.limits)), second);
        }
    }

    /// What rows that have left counted, of each metric that counts calls.
    pub(super) fn departed_calls(&self) -> Family {
        let counted = SPECIFICATIONS.iter().zip(self.departed).filter(|(metric, _)| can_lose_calls(metric));
        let point = |(metric, departed): (&Specification, u64)| Point {
            labels: [(METRIC, Label::shared(&metric.metric.prometheus_name()))].into(),
            started_at: Some(self.started_at),
            born: Birth::NONE,
            value: Value::Gauge(departed as f64),
            exemplars: Vec::new(),
        };
        Family { metric: &catalog::EXPORTER_DEPARTED_CALLS, points: counted.map(point).collect() }
    }
}

/// Takes rows out of a table, and returns what they counted.
fn take_out(table: &mut Table, leaves: impl Fn(&[Label], &Row) -> bool) -> u64 {
    let mut counted = 0u64;
    for (_, row) in table.iter().filter(|(labels, row)| leaves(labels, row)) {
        counted = counted.saturating_add(row.total.count());
    }
    table.remove(leaves);
    counted
}

/// Whether rows of a metric can leave, and count calls: not seconds, say.
fn can_lose_calls(metric: &Specification) -> bool {
    let counts_calls = match metric.adds {
        Adds::Number(_) => metric.metric.unit != "s",
        Adds::Duration(..) => true,
    };
    counts_calls && metric.labels.iter().any(|source| source.is_open())
}
