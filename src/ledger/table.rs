//! A table: what a metric has for each label set.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::exemplars::Exemplars;
use super::histogram::{Buckets, Histogram};
use super::label::Label;
use crate::metrics::birth::Birth;
use crate::metrics::family::{Exemplar, Point, Value};
use crate::metrics::labels::Labels;

/// The values of a table's labels, in the order of its labels.
pub(super) type LabelSet = Arc<[Label]>;

/// What an event adds to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Addend {
    /// A number.
    Number(u64),
    /// A duration, which a histogram counts.
    Duration(Duration),
}

impl Addend {
    /// How much it is, in the metric's unit.
    pub(super) fn as_f64(self) -> f64 {
        match self {
            Addend::Number(number) => number as f64,
            Addend::Duration(duration) => duration.as_secs_f64(),
        }
    }
}

/// What the events of one label set add up to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Total {
    /// Of numbers.
    Number(u64),
    /// Of durations.
    Histogram(Histogram),
}

impl Total {
    /// Nothing yet: of numbers, or of durations in these buckets.
    pub(super) fn zero(buckets: Option<&Buckets>) -> Total {
        buckets.map_or(Total::Number(0), |buckets| Total::Histogram(Histogram::new(buckets)))
    }

    /// The number, or how many durations there were.
    pub(super) fn count(&self) -> u64 {
        match self {
            Total::Number(number) => *number,
            Total::Histogram(histogram) => histogram.counts().iter().copied().fold(0, u64::saturating_add),
        }
    }

    /// Adds what another total of the same kind and buckets counts.
    pub(super) fn merge(&mut self, other: &Total) {
        match (self, other) {
            (Total::Number(total), Total::Number(number)) => *total = total.saturating_add(*number),
            (Total::Histogram(histogram), Total::Histogram(other)) => histogram.merge(other),
            (total, other) => debug_assert!(false, "{other:?} cannot be added to {total:?}"),
        }
    }

    /// Adds. A number cannot become more than the largest. Answers the place of the bucket that counts it; a number has one.
    fn add(&mut self, addend: Addend) -> usize {
        match (self, addend) {
            (Total::Number(total), Addend::Number(number)) => *total = total.saturating_add(number),
            (Total::Histogram(histogram), Addend::Duration(duration)) => return histogram.observe(duration),
            (total, addend) => debug_assert!(false, "{addend:?} cannot be added to {total:?}"),
        }
        0
    }
}

/// A row: what its events add up to, when the last of them came, when it was born, and which of them to look at.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Row {
    pub(super) total: Total,
    /// In seconds since the Unix epoch; 0 before the first event.
    pub(super) used: u64,
    pub(super) born: Birth,
    pub(super) exemplars: Exemplars,
}

impl Row {
    /// A row to which nothing was added yet.
    pub(super) fn zero(born: Birth, buckets: Option<&Buckets>) -> Row {
        Row { total: Total::zero(buckets), used: 0, born, exemplars: Exemplars::default() }
    }
}

/// When an event is added.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    /// In seconds since the Unix epoch.
    pub(super) second: u64,
    /// The birth of the rows that begin with it.
    pub(super) birth: Birth,
}

impl From<&Histogram> for Value {
    fn from(histogram: &Histogram) -> Value {
        Value::Histogram {
            bounds: Arc::clone(histogram.bounds()),
            counts: histogram.counts().to_vec(),
            sum: histogram.sum().as_secs_f64(),
        }
    }
}

impl From<&Total> for Value {
    fn from(total: &Total) -> Value {
        match total {
            Total::Number(number) => Value::Sum(*number),
            Total::Histogram(histogram) => Value::from(histogram),
        }
    }
}

/// The rows of a metric, one a label set.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Table {
    pub(super) rows: BTreeMap<LabelSet, Row>,
}

impl Table {
    /// Whether a row for these labels would be one more than `limit`.
    pub(super) fn is_full_for(&self, labels: &[Label], limit: usize) -> bool {
        self.rows.len() >= limit && !self.rows.contains_key(labels)
    }

    /// Lets a row for these labels stand at 0 unless there is one. Answers whether there was none.
    pub(super) fn start_at_zero(&mut self, labels: &[Label], born: Birth, buckets: Option<&Buckets>) -> bool {
        let is_new = !self.rows.contains_key(labels);
        if is_new {
            self.rows.insert(labels.into(), Row::zero(born, buckets));
        }
        is_new
    }

    /// Adds to the row of these labels what an event adds, and shows the event if it is an exemplar. Answers whether there was no such
    /// row.
    pub(super) fn add(
        &mut self,
        labels: &[Label],
        addend: Addend,
        moment: Moment,
        buckets: Option<&Buckets>,
        exemplar: Option<Exemplar>,
    ) -> bool {
        let is_new = self.start_at_zero(labels, moment.birth, buckets);
        if let Some(row) = self.rows.get_mut(labels) {
            let place = row.total.add(addend);
            row.used = moment.second.max(row.used);
            if let Some(exemplar) = exemplar {
                row.exemplars.note(place, exemplar);
            }
        }
        is_new
    }

    /// Notes that the row of these labels, if there is one, is used in this second.
    pub(super) fn touch(&mut self, labels: &[Label], second: u64) {
        if let Some(row) = self.rows.get_mut(labels) {
            row.used = second.max(row.used);
        }
    }

    /// Adds a row to that of the same labels, or makes it one.
    pub(super) fn merge(&mut self, labels: Vec<Label>, row: Row) {
        match self.rows.get_mut(&labels[..]) {
            Some(known) => {
                known.total.merge(&row.total);
                known.used = known.used.max(row.used);
                known.born = known.born.min(row.born);
            }
            None => drop(self.rows.insert(labels.into(), row)),
        }
    }

    /// What all rows count.
    pub(super) fn sum(&self) -> u64 {
        self.rows.values().map(|row| row.total.count()).fold(0, u64::saturating_add)
    }

    /// A point for each row, under these names of labels. One whose birth is not known counts from `started_at` on.
    pub(super) fn points(&self, names: &Arc<[&'static str]>, started_at: SystemTime) -> Vec<Point> {
        let point = |(labels, row): (&LabelSet, &Row)| Point {
            labels: Labels::new(Arc::clone(names), Arc::clone(labels)),
            started_at: Some(if row.born == Birth::NONE { started_at } else { row.born.time() }),
            born: row.born,
            value: Value::from(&row.total),
            exemplars: row.exemplars.to_vec(),
        };
        self.rows.iter().map(point).collect()
    }
}
