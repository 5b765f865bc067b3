//! The labels of one event.

use std::ops::{Index, Range};

use crate::callback::labels::{LabelSource, OTHER};
pub(super) use crate::metrics::labels::Label;

impl Label {
    /// The value for everything that has no value of its own.
    pub(super) const OTHER: Label = Label::Known(OTHER);
}

/// The labels of one event, each worked out once for every table.
pub(super) struct EventLabels([Label; LabelSource::COUNT]);

impl EventLabels {
    /// Labels that are all `other`.
    pub(super) fn new() -> EventLabels {
        EventLabels([const { Label::OTHER }; LabelSource::COUNT])
    }

    /// Gives a label its value.
    pub(super) fn set(&mut self, source: LabelSource, label: Label) {
        self.0[source as usize] = label;
    }

    /// The value of a label.
    pub(super) fn get(&self, source: LabelSource) -> &Label {
        &self.0[source as usize]
    }

    /// Makes a label `other` unless this program knows its value.
    pub(super) fn forget_foreign(&mut self, source: LabelSource) {
        if !source.knows(self.0[source as usize].as_str()) {
            self.set(source, Label::OTHER);
        }
    }

    /// The values of these labels.
    pub(super) fn of(&self, sources: impl Iterator<Item = LabelSource>) -> Vec<Label> {
        self.each_of(sources).collect()
    }

    fn each_of(&self, sources: impl Iterator<Item = LabelSource>) -> impl Iterator<Item = Label> {
        sources.map(|source| self.0[source as usize].clone())
    }
}

/// Label sets of one event in one piece of memory: each of its own would be a large part of the work of an event.
#[derive(Default)]
pub(super) struct LabelSets(Vec<Label>);

impl LabelSets {
    /// Room for so many labels.
    pub(super) fn with_capacity(labels: usize) -> LabelSets {
        LabelSets(Vec::with_capacity(labels))
    }

    /// Puts in the values of these labels. Returns where they are.
    pub(super) fn put(
        &mut self,
        labels: &EventLabels,
        sources: impl Iterator<Item = LabelSource>,
    ) -> Range<usize> {
        let begin = self.0.len();
        self.0.extend(labels.each_of(sources));
        begin..self.0.len()
    }
}

impl Index<&Range<usize>> for LabelSets {
    type Output = [Label];

    fn index(&self, place: &Range<usize>) -> &[Label] {
        &self.0[place.clone()]
    }
}
