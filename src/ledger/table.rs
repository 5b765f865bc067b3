//! A table: what a metric has for each label set.

use std::collections::btree_map::{BTreeMap, Entry};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::exemplars::Exemplars;
use super::histogram::{Buckets, Histogram};
use super::label::Label;
use super::second;
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

    /// Adds. A number cannot become more than the largest. Returns the place of the bucket that counts it; a number has one.
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

    /// Adds what an event adds, and shows the event if it is an exemplar.
    pub(super) fn add(&mut self, addend: Addend, moment: Moment, exemplar: Option<Exemplar>) {
        let place = self.total.add(addend);
        self.used = moment.second.max(self.used);
        if let Some(exemplar) = exemplar {
            self.exemplars.note(place, exemplar);
        }
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

impl Moment {
    /// That of an event received at this time, behind the latest birth.
    pub(super) fn at(received_at: SystemTime, births: Birth) -> Moment {
        Moment { second: second(received_at), birth: births.next_at(received_at) }
    }
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
#[derive(Debug, Clone, Default)]
pub(super) struct Table {
    /// The place of each row, in the order in which they are shown.
    places: BTreeMap<LabelSet, usize>,
    /// A row stays in its place until one leaves.
    rows: Vec<Row>,
}

impl PartialEq for Table {
    fn eq(&self, other: &Table) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Table {
    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// The rows with their labels, in the order of those.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&LabelSet, &Row)> {
        self.places.iter().map(|(labels, place)| (labels, &self.rows[*place]))
    }

    /// The place of the row of these labels.
    pub(super) fn place(&self, labels: &[Label]) -> Option<usize> {
        self.places.get(labels).copied()
    }

    /// The row in a place.
    pub(super) fn row_at(&mut self, place: usize) -> Option<&mut Row> {
        self.rows.get_mut(place)
    }

    fn row(&mut self, labels: &[Label]) -> Option<&mut Row> {
        self.place(labels).and_then(|place| self.row_at(place))
    }

    /// Puts in a row. Returns whether there was none of these labels.
    pub(super) fn insert(&mut self, labels: LabelSet, row: Row) -> bool {
        match self.places.entry(labels) {
            Entry::Vacant(place) => {
                place.insert(self.rows.len());
                self.rows.push(row);
                true
            }
            Entry::Occupied(place) => {
                self.rows[*place.get()] = row;
                false
            }
        }
    }

    /// Removes the rows of which this is true, and moves the others.
    pub(super) fn remove(&mut self, leaves: impl Fn(&[Label], &Row) -> bool) {
        if !self.iter().any(|(labels, row)| leaves(labels, row)) {
            return;
        }
        let Table { places, rows } = std::mem::take(self);
        for (labels, place) in places {
            if !leaves(&labels, &rows[place]) {
                self.insert(labels, rows[place].clone());
            }
        }
    }

    /// Whether a row for these labels would be one more than `limit`.
    pub(super) fn is_full_for(&self, labels: &[Label], limit: usize) -> bool {
        self.len() >= limit && self.place(labels).is_none()
    }

    /// Lets a row for these labels stand at 0 unless there is one. Returns whether there was none.
    pub(super) fn start_at_zero(&mut self, labels: &[Label], born: Birth, buckets: Option<&Buckets>) -> bool {
        let is_new = self.place(labels).is_none();
        if is_new {
            self.insert(labels.into(), Row::zero(born, buckets));
        }
        is_new
    }

    /// Adds to the row of these labels what an event adds, and shows the event if it is an exemplar. Returns whether
    /// there was no such row.
    pub(super) fn add(
        &mut self,
        labels: &[Label],
        addend: Addend,
        moment: Moment,
        buckets: Option<&Buckets>,
        exemplar: Option<Exemplar>,
    ) -> bool {
        if let Some(row) = self.row(labels) {
            row.add(addend, moment, exemplar);
            return false;
        }
        let mut row = Row::zero(moment.birth, buckets);
        row.add(addend, moment, exemplar);
        self.insert(labels.into(), row)
    }

    /// Notes that the row of these labels, if there is one, is used in this second.
    pub(super) fn touch(&mut self, labels: &[Label], second: u64) {
        if let Some(row) = self.row(labels) {
            row.used = second.max(row.used);
        }
    }

    /// Adds a row to that of the same labels, or makes it one.
    pub(super) fn merge(&mut self, labels: Vec<Label>, row: Row) {
        match self.row(&labels) {
            Some(known) => {
                known.total.merge(&row.total);
                known.used = known.used.max(row.used);
                known.born = known.born.min(row.born);
            }
            None => drop(self.insert(labels.into(), row)),
        }
    }

    /// What all rows count.
    pub(super) fn sum(&self) -> u64 {
        self.rows.iter().map(|row| row.total.count()).fold(0, u64::saturating_add)
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
        self.iter().map(point).collect()
    }
}
