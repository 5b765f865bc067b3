//! Labels of series. They live as long as their series, and every page that shows it shares them.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A label value. Copies share one text.
#[derive(Clone)]
pub enum Label {
    /// One that this program knows.
    Known(&'static str),
    /// One that came from outside, or was read back.
    Shared(Arc<str>),
}

impl Label {
    /// A label of this value.
    pub fn shared(value: &str) -> Label {
        Label::Shared(Arc::from(value))
    }

    /// The value.
    pub fn as_str(&self) -> &str {
        match self {
            Label::Known(value) => value,
            Label::Shared(value) => value,
        }
    }
}

impl PartialEq for Label {
    fn eq(&self, other: &Label) -> bool {
        self.cmp(other).is_eq()
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
        let (one, other) = (self.as_str(), other.as_str());
        // Mostly they are one text.
        if std::ptr::eq(one, other) { Ordering::Equal } else { one.cmp(other) }
    }
}

impl Hash for Label {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
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

/// The labels of a series, in the order in which they are shown. Copies share names and values. Those of one metric are
/// ordered by their values.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels {
    names: Arc<[&'static str]>,
    values: Arc<[Label]>,
}

impl Labels {
    /// Labels of these names with these values, in the same order.
    pub fn new(names: Arc<[&'static str]>, values: Arc<[Label]>) -> Labels {
        debug_assert_eq!(names.len(), values.len(), "{names:?} have the values {values:?}");
        Labels { names, values }
    }

    /// Each name with its value.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.names.iter().copied().zip(self.values.iter().map(Label::as_str))
    }
}

impl<const N: usize> From<[(&'static str, Label); N]> for Labels {
    fn from(labels: [(&'static str, Label); N]) -> Labels {
        let (names, values): (Vec<_>, Vec<_>) = labels.into_iter().unzip();
        Labels::new(names.into(), values.into())
    }
}
