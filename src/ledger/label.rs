//! Label values, and those of one event.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::callback::labels::{LabelSource, OTHER};

/// A label value. Copies share one text.
#[derive(Clone)]
pub(super) enum Label {
    /// One that this program knows.
    Known(&'static str),
    /// One that came from outside, or was read back.
    Shared(Arc<str>),
}

impl Label {
    /// The value for everything that has no value of its own.
    pub(super) const OTHER: Label = Label::Known(OTHER);

    /// A label of this value.
    pub(super) fn shared(value: &str) -> Label {
        Label::Shared(Arc::from(value))
    }

    /// The value.
    pub(super) fn as_str(&self) -> &str {
        match self {
            Label::Known(value) => value,
            Label::Shared(value) => value,
        }
    }
}

impl PartialEq for Label {
    fn eq(&self, other: &Label) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Label {}

impl PartialOrd for Label {
    fn partial_cmp(&self, other: &Label) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Label {
    fn cmp(&self, other: &Label) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Borrow<str> for Label {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for Label {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(formatter)
    }
}

impl Serialize for Label {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Label {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Label, D::Error> {
        Ok(Label::shared(&String::deserialize(deserializer)?))
    }
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
