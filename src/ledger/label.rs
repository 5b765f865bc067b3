//! The labels of one event.

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
        sources.map(|source| self.0[source as usize].clone()).collect()
    }
}
