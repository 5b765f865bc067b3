//! The ledger: the totals, as a fold over accepted call events.
//!
//! Plain data with one way to change it, [`Ledger::apply`], which cannot fail: the same events in the same order always
//! make the same ledger. It is a table for each metric that `specification` lists. It knows nothing of Prometheus or
//! OTLP, which read its [families](Ledger::families). Its memory is bounded by [`Limits`] and by the tables of what is
//! known: what exceeds them is counted under the label value `other`, and never lost. `departures` says which series
//! leave in time.

pub mod callers;
mod cardinality;
pub mod checkpoint;
mod classes;
mod days;
mod departures;
mod exemplars;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod histogram;
mod label;
mod last_events;
mod recent;
mod settings;
mod specification;
mod table;
pub mod timeline;
mod usual;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::callback::call_event::MediaType;
use crate::callback::labels::{self, LabelSource, LabelValue};
use crate::callback::reason::{DisconnectReason, FaultDomain};
use crate::callback::record::UnreadableRecord;
use crate::callback::{Anomalies, Anomaly, CallEvent, Key, Kind, Record};
use crate::metrics::birth::Birth;
use crate::metrics::catalog::{self, Metric};
use crate::metrics::family::Family;
use crate::metrics::labels::Labels;

use cardinality::CardinalityLimit;
use classes::{Class, Classes};
use days::Days;
pub use days::{MOST_DAYS, Usage};
use departures::Departed;
pub use histogram::{Buckets, Histogram, InvalidBuckets};
use label::{EventLabels, Label, LabelSets};
use last_events::LastEvents;
use recent::RecentCalls;
use specification::{Adds, BucketKind, SPECIFICATIONS, Specification};
use table::{Addend, Moment, Table};
use usual::usual_calls;

/// What the ledger distinguishes, and what it believes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Disconnect reasons that are not in the published table; further ones are `other`.
    pub unknown_reasons: usize,
    /// Label sets of `planet.calls`; in further ones the IDC and the disconnect reason are `other`.
    pub call_series: usize,
    /// Label sets of `planet.call.releases`; in further ones every label is `other`.
    pub release_series: usize,
    /// Label sets of `planet.call.user_releases`; further ones are `other`.
    pub user_release_series: usize,
    /// The services that call metrics tell apart; if there are any, all others are `other`.
    pub services: Vec<String>,
    /// The longest duration, billed time and setup time of one call; longer ones count as this long.
    pub longest_call: Duration,
}

impl Limits {
    /// Label sets of `planet.call.duration`; in further ones the disconnect reason is `other`.
    pub fn duration_series(&self) -> usize {
        (self.call_series / 10).max(100)
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            unknown_reasons: 64,
            call_series: 10_000,
            release_series: 256,
            user_release_series: 64,
            services: Vec::new(),
            longest_call: Duration::from_secs(24 * 60 * 60),
        }
    }
}

/// The label of `planet.exporter.anomalies`.
const KIND: &str = "kind";

/// The labels to which an event adds, as a rule at most.
const USUAL_LABELS: usize = 40;

/// The label of `planet.exporter.label_overflows`.
const LIMIT: &str = "limit";

/// The totals of all accepted call events since `started_at`.
#[derive(Debug, Clone, PartialEq)]
pub struct Ledger {
    started_at: SystemTime,
    limits: Limits,
    buckets: BucketSets,
    /// The configured IDCs.
    idcs: BTreeSet<Label>,
    reasons: CardinalityLimit,
    /// One for each specification.
    tables: [Table; SPECIFICATIONS.len()],
    departed: Departed,
    /// The second of the event before which it was looked for series that leave.
    looked_at: u64,
    /// The last of the births.
    births: Birth,
    /// The last calls.
    recent: RecentCalls,
    /// Oddities of events by kind.
    anomalies: Table,
    /// Events for which a limit made a label `other`, by limit.
    overflows: Table,
    last_events: LastEvents,
    days: Days,
    classes: Classes,
}

impl Ledger {
    /// An empty ledger whose totals count from `started_at`.
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
        ledger.start_at_zero_what_is_known(ledger.births.next_at(started_at));
        ledger
    }

    fn without_rows(started_at: SystemTime, limits: Limits, buckets: BucketSets) -> Ledger {
        Ledger {
            started_at,
            buckets,
            idcs: BTreeSet::new(),
            reasons: CardinalityLimit::new(limits.unknown_reasons),
            limits,
            tables: std::array::from_fn(|_| Table::default()),
            departed: Departed::default(),
            looked_at: 0,
            births: Birth::NONE,
            recent: RecentCalls::default(),
            anomalies: Table::default(),
            overflows: Table::default(),
            last_events: LastEvents::default(),
            days: Days::default(),
            classes: Classes::default(),
        }
    }

    /// Lets what does not depend on the IDC stand at 0 where it does not stand yet: accepted events, every anomaly and every
    /// limit.
    fn start_at_zero_what_is_known(&mut self, birth: Birth) {
        let mut labels = EventLabels::new();
        labels.set(LabelSource::Result, Label::Known(labels::ACCEPTED));
        self.start_at_zero_where(&mut labels, birth, |metric| metric.metric == &catalog::EXPORTER_EVENTS);
        let mut is_born = false;
        for anomaly in Anomaly::ALL {
            is_born |= self.anomalies.start_at_zero(&[Label::Known(anomaly.as_str())], birth, None);
        }
        let of_series = SPECIFICATIONS.iter().filter_map(|metric| Some(metric.limit.as_ref()?.name));
        for limit in [LabelSource::DisconnectReason.name()].into_iter().chain(of_series) {
            is_born |= self.overflows.start_at_zero(&[Label::Known(limit)], birth, None);
        }
        self.note_birth(is_born, birth);
    }

    /// Lets audio and video calls of an IDC stand at 0 with every result, and every known abnormal reason: what ratios
    /// and alerts read begins with what there was before the first call.
    fn start_at_zero_results_of(&mut self, idc: &Label, birth: Birth) {
        let mut labels = EventLabels::new();
        labels.set(LabelSource::Idc, idc.clone());
        for (media_type, fault_domain, answered) in results() {
            labels.set(LabelSource::MediaType, Label::Known(media_type.as_str()));
            labels.set(LabelSource::FaultDomain, Label::Known(fault_domain.as_str()));
            labels.set(LabelSource::Answered, Label::Known(labels::answered(answered)));
            self.start_at_zero_where(&mut labels, birth, |metric| metric.metric == &catalog::CALL_RESULTS);
        }
        for (reason, fault_domain) in abnormal_reasons() {
            labels.set(LabelSource::AbnormalReason, Label::Known(reason));
            labels.set(LabelSource::FaultDomain, Label::Known(fault_domain.as_str()));
            let is_meant = |metric: &Specification| metric.metric == &catalog::CALL_ABNORMAL_RELEASES;
            self.start_at_zero_where(&mut labels, birth, is_meant);
        }
    }

    /// Lets a row with these labels stand at 0 in the tables of these metrics, for every service.
    fn start_at_zero_where(
        &mut self,
        labels: &mut EventLabels,
        birth: Birth,
        is_meant: impl Fn(&Specification) -> bool,
    ) {
        let services = self.limits.services.iter().map(|service| Label::shared(service));
        let services: Vec<Label> = services.chain([Label::OTHER]).collect();
        let mut is_born = false;
        for service in services {
            labels.set(LabelSource::Service, service);
            for (metric, table) in SPECIFICATIONS.iter().zip(&mut self.tables) {
                if is_meant(metric) {
                    let labels = labels.of(metric.labels(&self.limits));
                    is_born |= table.start_at_zero(&labels, birth, self.buckets.of(metric));
                }
            }
        }
        self.note_birth(is_born, birth);
    }

    fn note_birth(&mut self, is_born: bool, birth: Birth) {
        if is_born {
            self.births = self.births.max(birth);
        }
    }

    /// Tells an IDC apart, whatever its name, and lets its usual series stand at 0 before its first call: every result, and
    /// audio and video calls that are answered and end normally, and those that people decline, cancel, do not answer or are
    /// too busy for.
    pub fn expect_idc(&mut self, idc: &str) {
        self.expect_idc_from(idc, self.births.next_at(self.started_at));
    }

    fn expect_idc_from(&mut self, idc: &str, birth: Birth) {
        let idc = Label::shared(idc);
        self.idcs.insert(idc.clone());
        self.start_at_zero_results_of(&idc, birth);
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
            self.start_at_zero_where(&mut labels, birth, |metric| {
                metric.labels.contains(&LabelSource::Idc) && metric.addend(&event).is_some()
            });
        }
    }

    /// Adds a recorded event to the totals.
    ///
    /// # Errors
    /// Its query is not that of an event of its kind; nothing is added.
    pub fn take(&mut self, record: &Record<'_>) -> Result<(), UnreadableRecord> {
        match record.kind {
            Kind::CallEvent => self.apply(record.call_event()?),
        }
        Ok(())
    }

    /// Adds an accepted call event to the totals.
    pub fn apply(&mut self, mut event: CallEvent<'_>) {
        event.cap(self.limits.longest_call);
        self.look_for_departures(&event, second(event.received_at));
        // First everything that could go wrong, and then only additions: metrics never disagree with one another.
        if !self.add_to_class(&event) {
            let additions = self.additions(&event);
            self.add(additions);
        }
    }

    /// Counts what is odd about an event.
    fn add_anomalies(&mut self, anomalies: Anomalies, moment: Moment) {
        let mut is_born = false;
        for anomaly in anomalies.iter() {
            let labels = [Label::Known(anomaly.as_str())];
            is_born |= self.anomalies.add(&labels, Addend::Number(1), moment, None, None);
        }
        self.note_birth(is_born, moment.birth);
    }

    /// What an event adds, and where.
    fn additions(&mut self, event: &CallEvent<'_>) -> Additions {
        let mut anomalies = event.anomalies;
        let mut overflows = Vec::new();
        let mut labels = EventLabels::new();
        let mut is_of_class = true;
        for source in LabelSource::all() {
            let value = source.value(event);
            is_of_class &=
                !matches!((source, &value), (LabelSource::DisconnectReason, LabelValue::Foreign(_)));
            match (self.admit(source, value, event.received_at), source) {
                (Some(label), _) => labels.set(source, label),
                (None, LabelSource::Idc) => anomalies.insert(Anomaly::UnusualIdc),
                (None, LabelSource::Service) => {}
                (None, _) => overflows.push(source.name()),
            }
        }
        let mut sets = LabelSets::with_capacity(USUAL_LABELS);
        let mut rows = [const { None }; SPECIFICATIONS.len()];
        for ((metric, table), row) in SPECIFICATIONS.iter().zip(&self.tables).zip(&mut rows) {
            let Some(addend) = metric.addend(event) else { continue };
            let mut place = sets.put(&labels, metric.labels(&self.limits));
            if let Some(limit) = &metric.limit
                && table.is_full_for(&sets[&place], (limit.most)(&self.limits))
            {
                overflows.push(limit.name);
                limit.fallback.iter().for_each(|source| labels.set(*source, Label::OTHER));
                limit.fallback_of_foreign.iter().for_each(|source| labels.forget_foreign(*source));
                place = sets.put(&labels, metric.labels(&self.limits));
            }
            *row = Some((place, addend));
        }
        let recent = sets.put(&labels, RecentCalls::labels(&self.limits));
        let last_event = sets.put(&labels, LastEvents::labels(&self.limits));
        let day = sets.put(&labels, Days::labels(&self.limits));
        let idc = labels.get(LabelSource::Idc).clone();
        let is_abnormal = event.fault_domain.is_abnormal();
        let (sid, received_at) = (event.sid, event.received_at);
        let usage = Usage::of(event);
        let is_of_class = is_of_class && overflows.is_empty() && anomalies == event.anomalies;
        Additions {
            is_of_class,
            sets,
            rows,
            idc,
            recent,
            last_event,
            day,
            usage,
            is_abnormal,
            anomalies,
            overflows,
            sid,
            received_at,
        }
    }

    /// The label of a value, or `None` if it is none of those that are told apart.
    fn admit(
        &mut self,
        source: LabelSource,
        value: LabelValue<'_>,
        received_at: SystemTime,
    ) -> Option<Label> {
        match (value, source) {
            (LabelValue::Known(value), _) => Some(Label::Known(value)),
            (LabelValue::Foreign(value), LabelSource::DisconnectReason) => {
                self.reasons.admit(&value, second(received_at))
            }
            (LabelValue::Foreign(value), source) => {
                self.is_told_apart(source, &value).then(|| Label::shared(&value))
            }
        }
    }

    /// Whether a value from outside has a label of its own, as far as configuration decides that.
    fn is_told_apart(&self, source: LabelSource, value: &str) -> bool {
        match source {
            LabelSource::Idc => self.idcs.contains(value),
            LabelSource::Service => self.limits.services.iter().any(|service| service == value),
            _ => true,
        }
    }

    /// Whether the call metrics can have no further label set.
    fn are_calls_full(&self) -> bool {
        let mut limited = SPECIFICATIONS.iter().zip(&self.tables);
        limited
            .any(|(metric, table)| metric.metric == &catalog::CALLS && table.len() >= self.limits.call_series)
    }

    fn add(&mut self, additions: Additions) {
        let moment = Moment::at(additions.received_at, self.births);
        let birth = moment.birth;
        let mut places = [None; SPECIFICATIONS.len()];
        let (mut is_born, mut is_new_result) = (false, false);
        let sets = &additions.sets;
        for (at, row) in additions.rows.into_iter().enumerate() {
            let (metric, table) = (&SPECIFICATIONS[at], &mut self.tables[at]);
            let Some((labels, addend)) = row else { continue };
            let exemplar = metric.exemplar(additions.sid, addend, additions.received_at);
            let is_new = table.add(&sets[&labels], addend, moment, self.buckets.of(metric), exemplar);
            places[at] = table.place(&sets[&labels]);
            is_born |= is_new;
            is_new_result |= is_new && metric.metric == &catalog::CALL_RESULTS;
        }
        for limit in additions.overflows {
            is_born |= self.overflows.add(&[Label::Known(limit)], Addend::Number(1), moment, None, None);
        }
        self.note_birth(is_born, birth);
        self.add_anomalies(additions.anomalies, moment);
        if is_new_result {
            // It may be the first call of the IDC.
            self.start_at_zero_results_of(&additions.idc, birth);
        }
        self.recent.add(&sets[&additions.recent], additions.is_abnormal);
        self.last_events.note(&sets[&additions.last_event], additions.received_at);
        self.days.add(additions.received_at, &sets[&additions.day], additions.usage);
        if additions.is_of_class {
            let [recent, last_event, day] =
                [&additions.recent, &additions.last_event, &additions.day].map(|place| sets[place].into());
            self.classes.note(Class { places, recent, last_event, day });
        }
    }

    /// What each day had: its beginning, the labels, and what their calls come to; the oldest first.
    pub fn days(&self) -> impl Iterator<Item = (SystemTime, Labels, Usage)> {
        let names: Arc<[&'static str]> = Days::labels(&self.limits).map(LabelSource::name).collect();
        self.days.iter().map(move |(day, labels, usage)| {
            (days::begin(day), Labels::new(Arc::clone(&names), Arc::clone(labels)), *usage)
        })
    }

    /// Every metric of the ledger with its points. Each counts from its birth on, or from the start of the ledger if
    /// that is not known.
    pub fn families(&self) -> Vec<Family> {
        let family = |(metric, names, table): (_, Arc<[&'static str]>, &Table)| Family {
            metric,
            points: table.points(&names, self.started_at),
        };
        let recent = self.recent.families(&self.limits, self.started_at);
        let last_events = self.last_events.family(&self.limits, self.started_at);
        self.tables().map(family).chain(recent).chain([last_events, self.departed_calls()]).collect()
    }

    /// Every table with its metric and the names of its labels.
    fn tables(&self) -> impl Iterator<Item = (&'static Metric, Arc<[&'static str]>, &Table)> {
        let specified = SPECIFICATIONS.iter().zip(&self.tables);
        let specified = specified.map(|(metric, table)| {
            let names = metric.labels(&self.limits).map(LabelSource::name);
            (metric.metric, names.collect(), table)
        });
        specified.chain([
            (&catalog::EXPORTER_ANOMALIES, [KIND].into(), &self.anomalies),
            (&catalog::EXPORTER_LABEL_OVERFLOWS, [LIMIT].into(), &self.overflows),
        ])
    }

    /// The latest birth of a series: whatever is born later is not there yet.
    pub fn births(&self) -> Birth {
        self.births
    }

    /// From when on the totals count.
    pub fn started_at(&self) -> SystemTime {
        self.started_at
    }

    /// The buckets of `planet.call.duration` and of `planet.call.setup.duration`.
    pub fn buckets(&self) -> (&Buckets, &Buckets) {
        (&self.buckets.conversation, &self.buckets.setup)
    }

    /// When the last event was accepted, if any was.
    pub fn last_event(&self) -> Option<SystemTime> {
        self.last_events.of_all
    }

    /// How many calls were counted.
    pub fn calls(&self) -> u64 {
        self.sum(&catalog::CALLS)
    }

    /// How many of them were answered.
    pub fn answered(&self) -> u64 {
        self.sum(&catalog::CALL_DURATION)
    }

    /// How many of them were released abnormally.
    pub fn abnormal(&self) -> u64 {
        self.sum(&catalog::CALL_ABNORMAL_RELEASES)
    }

    /// What a metric counted, with the series that have left.
    fn sum(&self, metric: &Metric) -> u64 {
        let of_all = SPECIFICATIONS.iter().zip(&self.tables).zip(self.departed);
        let of_metric = of_all.filter(|((of, _), _)| of.metric == metric);
        of_metric
            .map(|((_, table), departed)| table.sum().saturating_add(departed))
            .fold(0, u64::saturating_add)
    }
}

/// The results that stand at 0 for an IDC from its first call.
fn results() -> impl Iterator<Item = (MediaType, FaultDomain, bool)> {
    [MediaType::Audio, MediaType::Video].into_iter().flat_map(|media_type| {
        FaultDomain::ALL
            .into_iter()
            .flat_map(move |fault_domain| [false, true].map(|answered| (media_type, fault_domain, answered)))
    })
}

/// The known abnormal reasons, each with whose fault it can be, and what stands for those that are not known.
fn abnormal_reasons() -> impl Iterator<Item = (&'static str, FaultDomain)> {
    let known = DisconnectReason::all().flat_map(|reason| {
        reason.fault_domains().filter(|domain| domain.is_abnormal()).map(|domain| (reason.name, domain))
    });
    known.chain([(labels::UNKNOWN_REASON, FaultDomain::Unknown)])
}

/// What an event adds to the ledger.
struct Additions {
    /// Whether all calls with the same values of labels add to the same rows, whatever came before.
    is_of_class: bool,
    /// The label sets to which it adds.
    sets: LabelSets,
    /// For each table the place of its row's labels, and what is added to it, if anything is.
    rows: [Option<(Range<usize>, Addend)>; SPECIFICATIONS.len()],
    idc: Label,
    /// The place of the labels among the last calls.
    recent: Range<usize>,
    /// That of the labels among the last events.
    last_event: Range<usize>,
    /// That of the labels in its day, and what it adds there.
    day: Range<usize>,
    usage: Usage,
    is_abnormal: bool,
    anomalies: Anomalies,
    /// Each limit that made a label `other`.
    overflows: Vec<&'static str>,
    sid: Key,
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

/// The whole second of a time, since the Unix epoch.
fn second(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Seconds since the Unix epoch, to the millisecond.
fn unix_seconds(time: SystemTime) -> f64 {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since_epoch.as_millis() as f64 / 1000.0
}

#[cfg(test)]
mod tests;
