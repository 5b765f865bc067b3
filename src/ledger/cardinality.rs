//! The cardinality limit of a label: values from outside are admitted up to a number, so that nobody can create series
//! without end.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::label::Label;

/// The values of one label that are told apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CardinalityLimit {
    values: BTreeSet<Label>,
    /// How many more values are admitted.
    remaining: usize,
}

impl CardinalityLimit {
    /// Admits up to `limit` distinct values, and those that are admitted always.
    pub(super) fn new(limit: usize) -> CardinalityLimit {
        CardinalityLimit { values: BTreeSet::new(), remaining: limit }
    }

    /// A limit that has admitted these values, and admits this many more.
    pub(super) fn restored(values: BTreeSet<Label>, remaining: usize) -> CardinalityLimit {
        CardinalityLimit { values, remaining }
    }

    /// Admits a value that does not count towards the limit, because it is configured.
    pub(super) fn admit_always(&mut self, value: &str) -> Label {
        if let Some(known) = self.values.get(value) {
            return known.clone();
        }
        let label = Label::shared(value);
        self.values.insert(label.clone());
        label
    }

    /// The label of a value, or `None` if it is new and the limit is reached.
    pub(super) fn admit(&mut self, value: &str) -> Option<Label> {
        if let Some(known) = self.values.get(value) {
            return Some(known.clone());
        }
        self.remaining = self.remaining.checked_sub(1)?;
        Some(self.admit_always(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_for_new_values_only() {
        let mut limit = CardinalityLimit::new(2);
        limit.admit_always("KR");
        assert!(["JP", "TW", "JP", "KR"].iter().all(|idc| limit.admit(idc).is_some()));
        assert_eq!(limit.admit("US"), None);
        assert_eq!(limit.admit("TW"), Some(Label::shared("TW")));
    }
}
