//! Label values that come from outside: admitted up to a limit, so that nobody can create series without end.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::callback::labels::OTHER;

/// A label value. Copies share one text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", from = "String")]
pub struct Label(Arc<str>);

impl Label {
    /// A label of this value.
    pub fn new(value: &str) -> Label {
        Label(Arc::from(value))
    }

    /// The value for everything that has no value of its own.
    pub fn other() -> Label {
        Label::new(OTHER)
    }

    /// The value.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Label {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl From<String> for Label {
    fn from(value: String) -> Label {
        Label::new(&value)
    }
}

impl From<Label> for String {
    fn from(label: Label) -> String {
        label.as_str().to_owned()
    }
}

impl fmt::Display for Label {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// The values of one label that are told apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardinalityLimit {
    values: BTreeSet<Label>,
    places: usize,
}

impl CardinalityLimit {
    /// Admits up to `places` values, and those that are admitted always.
    pub fn new(places: usize) -> CardinalityLimit {
        CardinalityLimit { values: BTreeSet::new(), places }
    }

    /// Admits a value that takes no place, because it is configured or published.
    pub fn admit_always(&mut self, value: &str) -> Label {
        if let Some(known) = self.values.get(value) {
            return known.clone();
        }
        let label = Label::new(value);
        self.values.insert(label.clone());
        label
    }

    /// The label of a value, or `None` if it is new and no place is left for it.
    pub fn admit(&mut self, value: &str) -> Option<Label> {
        if let Some(known) = self.values.get(value) {
            return Some(known.clone());
        }
        self.places = self.places.checked_sub(1)?;
        Some(self.admit_always(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_run_out_for_new_values_only() {
        let mut limit = CardinalityLimit::new(2);
        limit.admit_always("KR");
        assert!(["JP", "TW", "JP", "KR"].iter().all(|idc| limit.admit(idc).is_some()));
        assert_eq!(limit.admit("US"), None);
        assert_eq!(limit.admit("TW"), Some(Label::new("TW")));
    }
}
