//! The cardinality limit of a label: values from outside are admitted up to a number, so that nobody can create series
//! without end.

use std::collections::BTreeMap;

use super::label::Label;

/// The values of one label that are told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CardinalityLimit {
    /// With the second in which each was used last.
    pub(super) values: BTreeMap<Label, u64>,
    limit: usize,
}

impl CardinalityLimit {
    /// Admits up to `limit` distinct values.
    pub(super) fn new(limit: usize) -> CardinalityLimit {
        CardinalityLimit { values: BTreeMap::new(), limit }
    }

    /// The label of a value that is used in this second, or `None` if it is new and the limit is reached.
    pub(super) fn admit(&mut self, value: &str, second: u64) -> Option<Label> {
        if let Some(known) = self.touch(value, second) {
            return Some(known);
        }
        if self.values.len() >= self.limit {
            return None;
        }
        let label = Label::shared(value);
        self.values.insert(label.clone(), second);
        Some(label)
    }

    /// The label of a value that was admitted, and is used in this second.
    pub(super) fn touch(&mut self, value: &str, second: u64) -> Option<Label> {
        let used = self.values.get_mut(value)?;
        *used = second.max(*used);
        self.values.get_key_value(value).map(|(label, _)| label.clone())
    }

    /// Forgets the values of which this is true of the second in which they were used last.
    pub(super) fn forget(&mut self, is_unused: impl Fn(u64) -> bool) {
        self.values.retain(|_, used| !is_unused(*used));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_for_new_values_only_and_what_is_forgotten_gives_its_place_back() {
        let mut limit = CardinalityLimit::new(2);
        assert!(["1398", "1399", "1398"].iter().all(|reason| limit.admit(reason, 7).is_some()));
        assert_eq!(limit.admit("1397", 8), None);
        assert_eq!(limit.admit("1399", 9), Some(Label::shared("1399")));
        limit.forget(|used| used < 9);
        assert_eq!(limit.admit("1397", 9), Some(Label::shared("1397")));
        assert_eq!(limit.admit("1398", 9), None);
    }
}
