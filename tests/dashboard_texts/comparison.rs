//! Comparing what panels show with what is true, so that no panel is forgotten.

use std::collections::BTreeSet;

use serde_json::Value;

/// The rows of a table, in the order of their text.
pub(crate) fn rows(table: &Value) -> Vec<Value> {
    let mut rows = table.as_array().cloned().unwrap_or_default();
    rows.sort_by_key(Value::to_string);
    rows
}

/// What was compared, so that no panel is forgotten.
pub(crate) struct Comparison<'a> {
    pub(crate) shown: &'a Value,
    pub(crate) compared: BTreeSet<(String, String)>,
    pub(crate) about: &'a str,
}

impl<'a> Comparison<'a> {
    pub(crate) fn new(shown: &'a Value, job: &'a str) -> Comparison<'a> {
        Comparison { shown: &shown[job], compared: BTreeSet::new(), about: job }
    }

    /// What a panel shows.
    pub(crate) fn panel(&mut self, dashboard: &str, title: &str) -> &'a Value {
        self.compared.insert((dashboard.to_owned(), title.to_owned()));
        let shown = &self.shown[dashboard][title];
        assert!(!shown.is_null(), "{}, {dashboard}: there is a panel {title}", self.about);
        shown
    }

    pub(crate) fn stat(&mut self, dashboard: &str, title: &str, expected: Value) {
        let shown = self.panel(dashboard, title);
        assert_eq!(*shown, expected, "{}, {dashboard}, {title}", self.about);
    }

    pub(crate) fn table(&mut self, dashboard: &str, title: &str, expected: Vec<Value>) {
        let shown = self.panel(dashboard, title);
        assert_eq!(rows(shown), rows(&expected.into()), "{}, {dashboard}, {title}: {shown}", self.about);
    }

    pub(crate) fn assert_every_panel_was_compared(&self) {
        for (dashboard, panels) in self.shown.as_object().expect("dashboards") {
            for title in panels.as_object().expect("panels").keys() {
                let is_compared = self.compared.contains(&(dashboard.clone(), title.clone()));
                assert!(is_compared, "{}, {dashboard}: {title} was compared", self.about);
            }
        }
    }
}

pub(crate) fn with(mut row: Value, more: Value) -> Value {
    let row_fields = row.as_object_mut().expect("a row");
    row_fields.extend(more.as_object().expect("columns").clone());
    row
}

/// The minute of the day of a time as text.
fn minute(time: &Value) -> Option<i32> {
    let text = time.as_str().unwrap_or_default();
    let part = |range: std::ops::Range<usize>| text.get(range).and_then(|part| part.parse::<i32>().ok());
    Some(60 * part(11..13)? + part(14..16)?)
}

pub(crate) fn minutes_between(from: &Value, to: &Value) -> i32 {
    let between = minute(from).zip(minute(to)).map(|(from, to)| to - from);
    between.unwrap_or_else(|| panic!("{from} and {to} are times"))
}

/// A time that is shown is that of the truth, or up to two minutes later, as the share of abnormal calls takes some
/// calls to grow.
pub(crate) fn assert_since(shown: &Value, truth: &Value) {
    assert!((0..=2).contains(&minutes_between(truth, shown)), "{shown} is {truth}");
}
