//! The ledger: the totals, as a fold over accepted call events.
//!
//! Plain data with one way to change it, [`Ledger::apply`], which cannot fail: the same events in the same order
//! always make the same ledger. It is a table for each metric that `specification` lists. It knows nothing of Prometheus
//! or OTLP, which read its [families](Ledger::families). Its memory is bounded by [`Limits`]: what exceeds them is counted
//! under the label value `other`, and never lost.

mod cardinality;
pub mod checkpoint;
mod histogram;
mod label;
mod specification;
mod table;

use std::time::SystemTime;

use crate::callback::labels::{self, LabelSource, LabelValue};
use crate::callback::reason::{DISCONNECT_REASONS, FaultDomain};
use crate::callback::record::UnreadableRecord;
use crate::callback::{Anomalies, Anomaly, CallEvent, Kind, Record};
use crate::metrics::catalog::{self, Metric};
use crate::metrics::family::{Family, Point, Value};

use cardinality::CardinalityLimit;
pub use histogram::{Buckets, Histogram, InvalidBuckets};
use label::{EventLabels, Label};
use specification::{Adds, BucketKind, SPECIFICATIONS, Specification};
use table::{Addend, Table};

/// How many label values and label sets the ledger distinguishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// IDCs; further ones are `other`.
    pub idcs: usize,
    /// Disconnect reasons that are not in the published table; further ones are `other`.
    pub unknown_reasons: usize,
    /// Label sets of `planet.calls`; in further ones the IDC and the disconnect reason are `other`.
    pub call_series: usize,
    /// Label sets of `planet.call.releases`; in further ones every label is `other`.
    pub release_series: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { idcs: 64, unknown_reasons: 64, call_series: 10_000, release_series: 256 }
    }
}

/// The label of `planet.exporter.anomalies`.
const KIND: &str = "kind";

/// The label of `planet.exporter.label_overflows`.
const LIMIT: &str = "limit";

/// The totals of all accepted call events since `started_at`.
#[derive(Debug, Clone, PartialEq)]
pub struct Ledger {
    started_at: SystemTime,
    limits: Limits,
    buckets: BucketSets,
    idcs: CardinalityLimit,
    reasons: CardinalityLimit,
    /// One for each specification.
    tables: [Table; SPECIFICATIONS.len()],
    /// Oddities of events by kind.
    anomalies: Table,
    /// Events for which a limit made a label `other`, by limit.
    overflows: Table,
    last_event: Option<SystemTime>,
}

impl Ledger {
    /// An empty ledger whose totals count from `started_at`. Every known abnormal reason stands at 0 in
    /// `planet.call.abnormal_releases`, so that the first release of its kind is an increase.
    pub fn new(
        started_at: SystemTime,
        limits: Limits,
        duration_buckets: Buckets,
        setup_buckets: Buckets,
    ) -> Ledger {
        let mut ledger = Ledger::without_rows(
            started_at,
            limits,
            BucketSets { conversation: duration_buckets, setup: setup_buckets },
        );
        ledger.expect_what_is_known();
        ledger
    }

    fn without_rows(started_at: SystemTime, limits: Limits, buckets: BucketSets) -> Ledger {
        Ledger {
            started_at,
            limits,
            buckets,
            idcs: CardinalityLimit::new(limits.idcs),
            reasons: CardinalityLimit::new(limits.unknown_reasons),
            tables: std::array::from_fn(|_| Table::default()),
            anomalies: Table::default(),
            overflows: Table::default(),
            last_event: None,
        }
    }

    /// Lets what does not depend on the IDC stand at 0 where it does not stand yet: every known abnormal reason, accepted
    /// events, every anomaly and every limit.
    fn expect_what_is_known(&mut self) {
        for reason in &DISCONNECT_REASONS {
            for fault_domain in reason.fault_domains().filter(|domain| domain.is_abnormal()) {
                self.expect_abnormal(reason.name, fault_domain);
            }
        }
        self.expect_abnormal(labels::UNKNOWN_REASON, FaultDomain::Unknown);
        self.start_at_zero(&[(LabelSource::Result, labels::ACCEPTED)]);
        for anomaly in Anomaly::ALL {
            self.anomalies.start_at_zero(&[Label::Known(anomaly.as_str())], None);
        }
        let of_labels = [LabelSource::Idc, LabelSource::DisconnectReason].map(LabelSource::name);
        let of_series = SPECIFICATIONS.iter().filter_map(|metric| Some(metric.limit.as_ref()?.name));
        for limit in of_labels.into_iter().chain(of_series) {
            self.overflows.start_at_zero(&[Label::Known(limit)], None);
        }
    }

    fn expect_abnormal(&mut self, reason: &'static str, fault_domain: FaultDomain) {
        let fault_domain = (LabelSource::FaultDomain, fault_domain.as_str());
        self.start_at_zero(&[(LabelSource::AbnormalReason, reason), fault_domain]);
    }

    /// Lets a row with these labels stand at 0 in every table that has exactly these.
    fn start_at_zero(&mut self, given: &[(LabelSource, &'static str)]) {
        let mut labels = EventLabels::new();
        given.iter().for_each(|(source, value)| labels.set(*source, Label::Known(value)));
        for (metric, table) in SPECIFICATIONS.iter().zip(&mut self.tables) {
            let is_given = |source| given.iter().any(|(given, _)| given == source);
            if metric.labels.len() == given.len() && metric.labels.iter().all(is_given) {
                table.start_at_zero(&labels.of(metric.labels), self.buckets.of(metric));
            }
        }
    }

    /// Lets the usual series of an IDC stand at 0 before its first call: audio and video calls that are answered and
    /// end normally, and those that people decline, cancel, do not answer or are too busy for.
    pub fn expect_idc(&mut self, idc: &str) {
        let idc = self.idcs.admit_always(idc);
        for query in usual_calls() {
            let Ok(event) = CallEvent::read(query.as_bytes(), self.started_at) else { continue };
            let mut labels = EventLabels::new();
            for source in LabelSource::all() {
                // What is usual is known.
                if let LabelValue::Known(value) = source.value(&event) {
                    labels.set(source, Label::Known(value));
                }
            }
            labels.set(LabelSource::Idc, idc.clone());
            for (metric, table) in SPECIFICATIONS.iter().zip(&mut self.tables) {
                if metric.labels.contains(&LabelSource::Idc) && metric.addend(&event).is_some() {
                    table.start_at_zero(&labels.of(metric.labels), self.buckets.of(metric));
                }
            }
        }
    }

    /// Adds a recorded event to the totals.
    ///
    /// # Errors
    /// Its query is not that of an event of its kind; nothing is added.
    pub fn take(&mut self, record: &Record<'_>) -> Result<(), UnreadableRecord> {
        match record.kind {
            Kind::CallEvent => self.apply(&record.call_event()?),
        }
        Ok(())
    }

    /// Adds an accepted call event to the totals.
    pub fn apply(&mut self, event: &CallEvent<'_>) {
        // First everything that could go wrong, and then only additions: metrics never disagree with one another.
        let additions = self.additions(event);
        self.add(additions);
    }

    /// What an event adds, and where.
    fn additions(&mut self, event: &CallEvent<'_>) -> Additions {
        let mut overflows = Vec::new();
        let mut labels = EventLabels::new();
        for source in LabelSource::all() {
            match self.admit(source, source.value(event)) {
                Some(label) => labels.set(source, label),
                None => overflows.push(source.name()),
            }
        }
        let mut rows = Vec::with_capacity(SPECIFICATIONS.len());
        for (at, (metric, table)) in SPECIFICATIONS.iter().zip(&self.tables).enumerate() {
            let Some(addend) = metric.addend(event) else { continue };
            let mut row = labels.of(metric.labels);
            if let Some(limit) = &metric.limit
                && table.is_full_for(&row, (limit.most)(&self.limits))
            {
                overflows.push(limit.name);
                limit.fallback.iter().for_each(|source| labels.set(*source, Label::OTHER));
                row = labels.of(metric.labels);
            }
            rows.push((at, row, addend));
        }
        Additions { rows, anomalies: event.anomalies, overflows, received_at: event.received_at }
    }

    /// The label of a value, or `None` if a limit makes it `other`.
    fn admit(&mut self, source: LabelSource, value: LabelValue<'_>) -> Option<Label> {
        match (value, source) {
            (LabelValue::Known(value), _) => Some(Label::Known(value)),
            (LabelValue::Foreign(value), LabelSource::Idc) => self.idcs.admit(&value),
            (LabelValue::Foreign(value), LabelSource::DisconnectReason) => self.reasons.admit(&value),
            (LabelValue::Foreign(value), _) => Some(Label::shared(&value)),
        }
    }

    fn add(&mut self, additions: Additions) {
        for (at, row, addend) in additions.rows {
            let (metric, table) = (&SPECIFICATIONS[at], &mut self.tables[at]);
            table.add(&row, addend, self.buckets.of(metric));
        }
        for anomaly in additions.anomalies.iter() {
            self.anomalies.add(&[Label::Known(anomaly.as_str())], Addend::Number(1), None);
        }
        for limit in additions.overflows {
            self.overflows.add(&[Label::Known(limit)], Addend::Number(1), None);
        }
        self.last_event = self.last_event.max(Some(additions.received_at));
    }

    /// Every metric of the ledger with its points, all of which count from its start on.
    pub fn families(&self) -> Vec<Family> {
        let family = |(metric, names, table): (_, Vec<&'static str>, &Table)| Family {
            metric,
            points: table.points(names.into_iter(), self.started_at),
        };
        let last_event = self.last_event.map(|time| Point {
            labels: Vec::new(),
            started_at: self.started_at,
            value: Value::Gauge(unix_seconds(time)),
        });
        let last_event =
            Family { metric: &catalog::CALL_LAST_EVENT_TIME, points: last_event.into_iter().collect() };
        self.tables().map(family).chain([last_event]).collect()
    }

    /// Every table with its metric and the names of its labels.
    fn tables(&self) -> impl Iterator<Item = (&'static Metric, Vec<&'static str>, &Table)> {
        let specified = SPECIFICATIONS.iter().zip(&self.tables);
        let specified = specified.map(|(metric, table)| (metric.metric, metric.names().collect(), table));
        specified.chain([
            (&catalog::EXPORTER_ANOMALIES, vec![KIND], &self.anomalies),
            (&catalog::EXPORTER_LABEL_OVERFLOWS, vec![LIMIT], &self.overflows),
        ])
    }

    /// From when on the totals count.
    pub fn started_at(&self) -> SystemTime {
        self.started_at
    }

    /// The buckets of `planet.call.duration` and of `planet.call.setup.duration`.
    pub fn buckets(&self) -> (&Buckets, &Buckets) {
        (&self.buckets.conversation, &self.buckets.setup)
    }

    /// How many calls were counted.
    pub fn calls(&self) -> u64 {
        self.sum(&catalog::CALLS, None)
    }

    /// How many of them were answered.
    pub fn answered(&self) -> u64 {
        self.sum(&catalog::CALLS, Some((LabelSource::Answered, labels::answered(true))))
    }

    /// How many of them were released abnormally.
    pub fn abnormal(&self) -> u64 {
        self.sum(&catalog::CALL_ABNORMAL_RELEASES, None)
    }

    /// The sum of a metric, or of what of it has one value of a label.
    fn sum(&self, metric: &Metric, wanted: Option<(LabelSource, &str)>) -> u64 {
        let of_metric = SPECIFICATIONS.iter().zip(&self.tables).filter(|(of, _)| of.metric == metric);
        let sum = |(of, table): (&Specification, &Table)| {
            table.sum(|labels| {
                let mut labels = of.labels.iter().zip(labels);
                wanted.is_none_or(|(source, value)| {
                    labels.any(|(of, label)| *of == source && label.as_str() == value)
                })
            })
        };
        of_metric.map(sum).fold(0, u64::saturating_add)
    }
}

/// What an event adds to the ledger.
struct Additions {
    /// The place of the table, the labels of the row, and what is added to it.
    rows: Vec<(usize, Vec<Label>, Addend)>,
    anomalies: Anomalies,
    /// Each limit that made a label `other`.
    overflows: Vec<&'static str>,
    received_at: SystemTime,
}

/// The configured buckets.
#[derive(Debug, Clone, PartialEq)]
struct BucketSets {
    conversation: Buckets,
    setup: Buckets,
}

impl BucketSets {
    /// The buckets of a metric, if it is a histogram.
    fn of(&self, metric: &Specification) -> Option<&Buckets> {
        match metric.adds {
            Adds::Number(_) => None,
            Adds::Duration(BucketKind::Conversation, _) => Some(&self.conversation),
            Adds::Duration(BucketKind::Setup, _) => Some(&self.setup),
        }
    }
}

/// The releases that every IDC has on a normal day: disconnect reason, releaser, seconds of conversation.
const USUAL_RELEASES: [(u16, u8, u8); 6] =
    [(1001, 2, 1), (1001, 1, 1), (1002, 1, 0), (1201, 2, 0), (1202, 1, 0), (1203, 2, 0)];

/// A call for each of them, audio and video.
fn usual_calls() -> impl Iterator<Item = String> {
    ["A", "V"].into_iter().flat_map(|media_type| {
        USUAL_RELEASES.into_iter().map(move |(reason, releaser, duration)| {
            format!(
                "sid=usual&type={media_type}&setup_time=1600000000&start_time=1600000001&end_time=1600000002\
                 &duration={duration}&disconnect_reason={reason}&releaser_type={releaser}"
            )
        })
    })
}

/// Seconds since the Unix epoch, to the millisecond.
fn unix_seconds(time: SystemTime) -> f64 {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since_epoch.as_millis() as f64 / 1000.0
}

#[cfg(test)]
mod tests;
