//! The JSON of a checkpoint.
//!
//! Each table stands under its metric's name, as rows of a label set, a total, the second in which an event was added
//! last, and the birth of its series: JSON's keys are texts.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::SystemTime;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Checkpoint, Marks, OLDEST_READER, UnreadableContents};
use crate::callback::labels::{LabelSource, OTHER};
use crate::http::shown;
use crate::journal::LAST;
use crate::ledger::days::{Days, Usage};
use crate::ledger::exemplars::Exemplars;
use crate::ledger::histogram::Buckets;
use crate::ledger::label::Label;
use crate::ledger::last_events::LastEvents;
use crate::ledger::recent::{Recent, RecentCalls};
use crate::ledger::settings::Settings;
use crate::ledger::table::{LabelSet, Row, Table, Total};
use crate::ledger::{BucketSets, KIND, LIMIT, Ledger, Limits, SPECIFICATIONS, second};
use crate::metrics::birth::Birth;
use crate::metrics::catalog;
use crate::release::Release;

/// A checkpoint as it is written.
#[derive(Serialize)]
struct Written<'a> {
    writer: String,
    oldest_reader: String,
    position: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    marks: Option<&'a Marks>,
    ledger: WrittenLedger<'a>,
}

#[derive(Serialize)]
struct WrittenLedger<'a> {
    started_at: SystemTime,
    last_event: Option<SystemTime>,
    duration_buckets: &'a Buckets,
    setup_buckets: &'a Buckets,
    settings: Settings,
    unknown_reasons: &'a BTreeMap<Label, u64>,
    departed: BTreeMap<&'static str, u64>,
    looked_at: u64,
    births: Birth,
    recent: WrittenRecent<'a>,
    last_events: WrittenLastEvents<'a>,
    days: WrittenDays<'a>,
    tables: WrittenTables<'a>,
}

struct WrittenTables<'a>(&'a Ledger);

impl Serialize for WrittenTables<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let table =
            |(metric, names, table): (&catalog::Metric, _, _)| (metric.name, WrittenRows(names, table));
        serializer.collect_map(self.0.tables().map(table))
    }
}

/// The rows of a table, and the names of its labels.
struct WrittenRows<'a>(Arc<[&'static str]>, &'a Table);

impl Serialize for WrittenRows<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let WrittenRows(names, table) = self;
        let rows = table.iter();
        serializer.collect_seq(
            rows.map(|(labels, row)| (WrittenLabels(names, labels), &row.total, row.used, row.born)),
        )
    }
}

/// The last calls: label sets, how many calls there are, and the bits of those that were abnormal.
struct WrittenRecent<'a>(&'a Ledger);

impl Serialize for WrittenRecent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let names: Vec<_> = RecentCalls::labels(&self.0.limits).map(LabelSource::name).collect();
        let recent = self.0.recent.0.iter();
        serializer.collect_seq(
            recent.map(|(labels, recent)| (WrittenLabels(&names, labels), recent.calls, recent.abnormal)),
        )
    }
}

/// When the last event of each label set was accepted.
struct WrittenLastEvents<'a>(&'a Ledger);

impl Serialize for WrittenLastEvents<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let names: Vec<_> = LastEvents::labels(&self.0.limits).map(LabelSource::name).collect();
        let last_events = self.0.last_events.by_labels.iter();
        serializer.collect_seq(last_events.map(|(labels, last)| (WrittenLabels(&names, labels), last)))
    }
}

/// What each day had: its number since the Unix epoch, label sets, and what they come to.
struct WrittenDays<'a>(&'a Ledger);

impl Serialize for WrittenDays<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let names: Vec<_> = Days::labels(&self.0.limits).map(LabelSource::name).collect();
        let days = self.0.days.iter();
        serializer.collect_seq(days.map(|(day, labels, usage)| (day, WrittenLabels(&names, labels), usage)))
    }
}

struct WrittenLabels<'a>(&'a [&'static str], &'a [Label]);

impl Serialize for WrittenLabels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().zip(self.1))
    }
}

/// The JSON of a checkpoint.
pub(super) fn write(checkpoint: &Checkpoint) -> Result<Vec<u8>, serde_json::Error> {
    let Checkpoint { position, ledger, marks } = checkpoint;
    serde_json::to_vec(&Written {
        writer: Release::THIS.to_string(),
        oldest_reader: OLDEST_READER.to_string(),
        position: *position,
        marks: marks.as_ref(),
        ledger: WrittenLedger {
            started_at: ledger.started_at,
            last_event: ledger.last_events.of_all,
            duration_buckets: &ledger.buckets.conversation,
            setup_buckets: &ledger.buckets.setup,
            settings: Settings::of(ledger),
            unknown_reasons: &ledger.reasons.values,
            departed: SPECIFICATIONS.iter().map(|metric| metric.metric.name).zip(ledger.departed).collect(),
            looked_at: ledger.looked_at,
            births: ledger.births,
            recent: WrittenRecent(ledger),
            last_events: WrittenLastEvents(ledger),
            days: WrittenDays(ledger),
            tables: WrittenTables(ledger),
        },
    })
}

/// A checkpoint as it is read. What is added later has a default.
#[derive(Deserialize)]
pub(super) struct Contents {
    pub(super) position: u64,
    #[serde(default)]
    pub(super) marks: Option<Marks>,
    pub(super) ledger: LedgerContents,
}

#[derive(Deserialize)]
pub(super) struct LedgerContents {
    pub(super) started_at: SystemTime,
    #[serde(default)]
    pub(super) last_event: Option<SystemTime>,
    pub(super) duration_buckets: Buckets,
    pub(super) setup_buckets: Buckets,
    #[serde(default)]
    pub(super) settings: Option<Settings>,
    /// With the second in which each was used last.
    #[serde(default)]
    pub(super) unknown_reasons: BTreeMap<String, u64>,
    /// The same in what was written before that second was.
    #[serde(default)]
    pub(super) reasons: AdmittedReasons,
    #[serde(default)]
    pub(super) departed: BTreeMap<String, u64>,
    #[serde(default)]
    pub(super) looked_at: u64,
    #[serde(default)]
    pub(super) births: Birth,
    #[serde(default)]
    pub(super) recent: Vec<(Entries<String>, u32, u32)>,
    #[serde(default)]
    pub(super) last_events: Vec<(Entries<String>, SystemTime)>,
    #[serde(default)]
    pub(super) days: Vec<(u64, Entries<String>, Usage)>,
    pub(super) tables: Entries<Rows<String>>,
}

/// Unknown reasons that have labels of their own.
#[derive(Default, Deserialize)]
pub(super) struct AdmittedReasons {
    pub(super) values: BTreeSet<String>,
}

/// The rows of a table, with label values of this type.
pub(super) type Rows<V> = Vec<WrittenRow<V>>;

/// A row: its labels, its total, the second in which an event was added last, and its birth, if these were written.
#[derive(Deserialize)]
pub(super) struct WrittenRow<V>(
    pub(super) Entries<V>,
    pub(super) Total,
    #[serde(default)] pub(super) Option<u64>,
    #[serde(default)] pub(super) Option<Birth>,
);

/// The entries of a JSON object, in their order and with those that repeat a key: which of them counts is not for a map to
/// decide.
pub(super) struct Entries<V>(pub(super) Vec<(String, V)>);

impl<'de, V: Deserialize<'de>> Deserialize<'de> for Entries<V> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entries<V>, D::Error> {
        struct OfEntries<V>(PhantomData<V>);

        impl<'de, V: Deserialize<'de>> Visitor<'de> for OfEntries<V> {
            type Value = Entries<V>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<V>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(OfEntries(PhantomData))
    }
}

/// The checkpoint of which this is the JSON.
pub(super) fn read(json: &[u8], limits: &Limits) -> Result<Checkpoint, UnreadableContents> {
    restore(serde_json::from_slice(json)?, limits)
}

/// The checkpoint with these contents.
pub(super) fn restore(contents: Contents, limits: &Limits) -> Result<Checkpoint, UnreadableContents> {
    let Contents { position, marks, ledger: contents } = contents;
    if position > LAST {
        return Err(UnreadableContents::Position(position));
    }
    let buckets = BucketSets { conversation: contents.duration_buckets, setup: contents.setup_buckets };
    let settings = contents.settings;
    let limits = settings.as_ref().map_or_else(|| limits.clone(), |settings| settings.limits(limits));
    let mut ledger = Ledger::without_rows(contents.started_at, limits, buckets);
    ledger.idcs = settings.iter().flat_map(Settings::idcs).collect();
    ledger.last_events.of_all = contents.last_event;
    // What was written before the second of use was, counts as used by the last event.
    let last_event = contents.last_event.map_or(0, second);
    let reasons = contents.reasons.values.into_iter().map(|reason| (reason, last_event));
    let reasons = reasons.chain(contents.unknown_reasons);
    ledger.reasons.values.extend(reasons.map(|(reason, used)| (Label::shared(&reason), used)));
    ledger.looked_at = contents.looked_at;
    for (metric, departed) in SPECIFICATIONS.iter().zip(&mut ledger.departed) {
        *departed = contents.departed.get(metric.metric.name).copied().unwrap_or(0);
    }
    let mut texts = BTreeSet::new();
    let mut seen = BTreeSet::new();
    for (metric, rows) in contents.tables.0 {
        if !seen.insert(metric.clone()) {
            return Err(UnreadableContents::RepeatedTable(metric));
        }
        // A metric of a newer release, which says that this one may do without it.
        let Some(place) = place(&mut ledger, &metric) else { continue };
        place.fill(&metric, rows, last_event, &mut texts)?;
    }
    if !seen.contains(catalog::CALL_RESULTS.name) {
        derive_results(&mut ledger);
    }
    ledger.births = contents.births;
    let names: Vec<_> = RecentCalls::labels(&ledger.limits).map(LabelSource::name).collect();
    for (labels, calls, abnormal) in contents.recent {
        let labels = label_set(catalog::CALL_RECENT_CALLS.name, &names, labels, &mut texts)?;
        ledger.recent.0.insert(labels, Recent::new(calls, abnormal));
    }
    let names: Vec<_> = LastEvents::labels(&ledger.limits).map(LabelSource::name).collect();
    for (labels, last) in contents.last_events {
        let labels = label_set(catalog::CALL_LAST_EVENT_TIME.name, &names, labels, &mut texts)?;
        ledger.last_events.note(&labels, last);
    }
    let names: Vec<_> = Days::labels(&ledger.limits).map(LabelSource::name).collect();
    for (day, labels, usage) in contents.days {
        let labels = label_set("days", &names, labels, &mut texts)?;
        ledger.days.add_to(day, &labels, usage);
    }
    Ok(Checkpoint { position, ledger, marks })
}

/// Adds the results up from the calls, which have all of their labels: whoever wrote the checkpoint did not count results yet.
fn derive_results(ledger: &mut Ledger) {
    let at = |wanted: &catalog::Metric| SPECIFICATIONS.iter().position(|metric| metric.metric == wanted);
    let (Some(calls), Some(results)) = (at(&catalog::CALLS), at(&catalog::CALL_RESULTS)) else { return };
    let sources: Vec<LabelSource> = SPECIFICATIONS[calls].labels(&ledger.limits).collect();
    let mut derived = Table::default();
    for (labels, row) in ledger.tables[calls].iter() {
        let label = |source| sources.iter().position(|known| *known == source).map(|at| labels[at].clone());
        let labels = SPECIFICATIONS[results].labels(&ledger.limits).filter_map(label).collect();
        derived.merge(labels, row.clone());
    }
    ledger.tables[results] = derived;
    ledger.departed[results] = ledger.departed[calls];
}

/// A table that is to be filled.
struct Place<'a> {
    table: &'a mut Table,
    names: Vec<&'static str>,
    /// If it is one of histograms.
    buckets: Option<Buckets>,
}

/// The table of a metric.
fn place<'a>(ledger: &'a mut Ledger, name: &str) -> Option<Place<'a>> {
    if name == catalog::EXPORTER_ANOMALIES.name {
        return Some(Place { table: &mut ledger.anomalies, names: vec![KIND], buckets: None });
    }
    if name == catalog::EXPORTER_LABEL_OVERFLOWS.name {
        return Some(Place { table: &mut ledger.overflows, names: vec![LIMIT], buckets: None });
    }
    let mut specified = SPECIFICATIONS.iter().zip(&mut ledger.tables);
    let (metric, table) = specified.find(|(metric, _)| metric.metric.name == name)?;
    let names = metric.labels(&ledger.limits).map(LabelSource::name).collect();
    Some(Place { table, names, buckets: ledger.buckets.of(metric).cloned() })
}

impl Place<'_> {
    /// Puts rows into the table, which were used by `last_event` if they do not say otherwise. `texts` are label values
    /// that were read before, which rows share.
    fn fill(
        self,
        metric: &str,
        rows: Rows<String>,
        last_event: u64,
        texts: &mut BTreeSet<Label>,
    ) -> Result<(), UnreadableContents> {
        let mut filled = Table::default();
        // Rows of an older release whose labels are not what they were in it.
        let mut cleaned = Vec::new();
        for WrittenRow(labels, mut total, used, born) in rows {
            let fits = match (&mut total, &self.buckets) {
                (Total::Number(_), None) => true,
                (Total::Histogram(histogram), Some(buckets)) => histogram.set_buckets(buckets),
                (Total::Number(_), Some(_)) | (Total::Histogram(_), None) => false,
            };
            if !fits {
                return Err(UnreadableContents::Total(metric.to_owned()));
            }
            let is_cleaned = labels.0.iter().any(|(_, value)| value.contains(shown::acts));
            let labels = label_set(metric, &self.names, labels, texts)?;
            let row = Row {
                total,
                used: used.unwrap_or(last_event),
                born: born.unwrap_or_default(),
                exemplars: Exemplars::default(),
            };
            if is_cleaned {
                cleaned.push((labels, row));
                continue;
            }
            if !filled.insert(Arc::clone(&labels), row) {
                let (metric, labels) = (metric.to_owned(), format!("{labels:?}"));
                return Err(UnreadableContents::RepeatedRow { metric, labels });
            }
        }
        *self.table = filled;
        for (labels, row) in cleaned {
            self.table.merge(labels.to_vec(), row);
        }
        Ok(())
    }
}

/// The label set of a row. A label that it lacks, because it was added later, is `other`. Labels of an older release may have
/// characters that act on who looks at them, and lose them; one that is empty then is `other` too.
fn label_set(
    metric: &str,
    names: &[&'static str],
    written: Entries<String>,
    texts: &mut BTreeSet<Label>,
) -> Result<LabelSet, UnreadableContents> {
    let mut labels: Vec<Option<Label>> = vec![None; names.len()];
    for (name, value) in written.0 {
        let place = names.iter().position(|known| *known == name).and_then(|at| labels.get_mut(at));
        let Some(place @ None) = place else {
            return Err(UnreadableContents::Label { metric: metric.to_owned(), label: name });
        };
        let value = match shown::without_acting(&value) {
            Cow::Owned(cleaned) if cleaned.is_empty() => Cow::Borrowed(OTHER),
            value => value,
        };
        let text = texts.get(&*value).cloned();
        *place = Some(text.unwrap_or_else(|| {
            let text = Label::shared(&value);
            texts.insert(text.clone());
            text
        }));
    }
    Ok(labels.into_iter().map(|label| label.unwrap_or(Label::OTHER)).collect())
}
