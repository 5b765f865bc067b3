//! Evaluates rule files as Prometheus does, at times that are played.
//!
//! Each expression is asked as a range query, which gives at each step what an instant query gives at that moment. What
//! a rule records is written before the next rule is asked. `for`, `keep_firing_for` and the staleness of what is not
//! recorded any more are done here.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use super::storage::{Labels, STALE, Storage};
use crate::support::eventually;
use crate::support::prometheus::Prometheus;

/// How far a rule that reads its own past looks back at least, in seconds.
const OWN_PAST: u64 = 300;

/// A rule of the files.
#[derive(Debug)]
struct Rule {
    name: String,
    expression: String,
    labels: Labels,
    /// `None`: a recording rule.
    alert: Option<Durations>,
    /// The steps of an alert's labels at which it is pending or fires; of a recording rule's, the last step with a value.
    states: BTreeMap<Labels, State>,
}

/// In seconds.
#[derive(Debug, Clone, Copy)]
struct Durations {
    for_: u64,
    keep_firing_for: u64,
}

#[derive(Debug, Clone, Copy)]
struct State {
    since: u64,
    last: u64,
    /// The place in the list of what fired.
    fired: Option<usize>,
}

/// An alert that fired.
#[derive(Debug, Clone)]
pub struct Fired {
    pub labels: Labels,
    /// Unix seconds.
    pub from: u64,
    pub to: u64,
}

impl Fired {
    pub fn name(&self) -> &str {
        &self.labels["alertname"]
    }

    pub fn is_page(&self) -> bool {
        self.labels.get("severity").is_some_and(|severity| severity == "page")
    }
}

/// The rules, and what became of them.
#[derive(Debug)]
pub struct Rules {
    rules: Vec<Rule>,
    /// Seconds from one evaluation to the next.
    interval: u64,
    pub fired: Vec<Fired>,
}

impl Rules {
    /// Reads rule files, as this Prometheus does.
    pub fn read(program: &Path, files: &[&Path], interval: u64) -> Rules {
        let files: Vec<_> = files.iter().map(|file| format!("'{}'", file.display())).collect();
        let configuration =
            format!("global: {{evaluation_interval: 1y}}\nrule_files: [{}]\n", files.join(", "));
        let prometheus = Prometheus::configured(program, &configuration, &[]);
        let groups = eventually("rules", || {
            let groups = prometheus.get("/api/v1/rules")["data"]["groups"].as_array().cloned()?;
            (!groups.is_empty()).then_some(groups)
        });
        // The groups in the order of the files, of which the API says nothing: settings first.
        let mut groups: Vec<_> = groups.iter().collect();
        let order = ["planet-settings", "planet-indicators", "planet-calls", "planet-exporter"];
        groups.sort_by_key(|group| order.iter().position(|name| group["name"] == *name));
        let rules = groups.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten());
        Rules { rules: rules.map(rule).collect(), interval, fired: Vec::new() }
    }

    /// The names of metrics in the expressions.
    pub fn metrics(&self) -> HashSet<String> {
        let words = self.rules.iter().flat_map(|rule| {
            rule.expression.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'))
        });
        words
            .filter(|word| word.starts_with("planet_") || *word == "process_start_time_seconds")
            .map(str::to_owned)
            .collect()
    }

    /// Evaluates every rule from `from` to `to`, in Unix seconds, both included.
    pub fn evaluate(&mut self, storage: &mut Storage, from: u64, to: u64) {
        let step = self.interval;
        for rule in &mut self.rules {
            // What reads what it recorded is asked for as much at once as it can have recorded. Before it records
            // anything it has nothing to read.
            let is_own_past = rule.expression.contains(&rule.name);
            let at_once = if is_own_past { OWN_PAST - step } else { to - from };
            let first = match is_own_past && rule.states.is_empty() {
                true => first_time(&storage.ask(&rule.expression, from, to, step)),
                false => Some(from),
            };
            let Some(from) = first else { continue };
            for from in (from..=to).step_by((at_once + step) as usize) {
                let to = to.min(from + at_once);
                let answer = storage.ask(&rule.expression, from, to, step);
                match rule.alert {
                    None => record(rule, storage, answer, from, to, step),
                    Some(durations) => alert(rule, durations, answer, (from, to, step), &mut self.fired),
                }
            }
        }
    }
}

/// The first step at which a range query answers anything.
fn first_time(answer: &super::storage::Range) -> Option<u64> {
    answer.iter().filter_map(|(_, values)| values.first()).map(|(time, _)| *time).min()
}

fn rule(of: &serde_json::Value) -> Rule {
    let text = |name: &str| of[name].as_str().unwrap_or_default().to_owned();
    let labels = of["labels"].as_object().into_iter().flatten();
    let seconds = |name: &str| of[name].as_f64().unwrap_or_default() as u64;
    Rule {
        name: text("name"),
        expression: text("query"),
        labels: labels
            .map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
        alert: (of["type"] == "alerting")
            .then(|| Durations { for_: seconds("duration"), keep_firing_for: seconds("keepFiringFor") }),
        states: BTreeMap::new(),
    }
}

/// Writes what a recording rule answers, and where it ends.
fn record(
    rule: &mut Rule,
    storage: &mut Storage,
    answer: super::storage::Range,
    from: u64,
    to: u64,
    step: u64,
) {
    let mut answered = BTreeMap::new();
    for (mut labels, values) in answer {
        labels.extend(rule.labels.clone());
        labels.insert("__name__".to_owned(), rule.name.clone());
        answered.insert(labels, values);
    }
    let before: Vec<_> = rule.states.keys().cloned().collect();
    for labels in before.iter().filter(|labels| !answered.contains_key(*labels)) {
        let series = storage.series(labels);
        storage.put(series, from, STALE);
        rule.states.remove(labels);
    }
    for (labels, values) in answered {
        let series = storage.series(&labels);
        let mut expected =
            if rule.states.contains_key(&labels) { from } else { values.first().map_or(to, |value| value.0) };
        let mut last = from;
        for (time, value) in values {
            if time > expected {
                storage.put(series, expected, STALE);
            }
            storage.put(series, time, value);
            (expected, last) = (time + step, time);
        }
        match expected <= to {
            true => {
                storage.put(series, expected, STALE);
                rule.states.remove(&labels);
            }
            false => drop(rule.states.insert(labels, State { since: from, last, fired: None })),
        }
    }
    storage.write();
}

/// Follows the alerts of a rule from pending to firing and to their end.
fn alert(
    rule: &mut Rule,
    durations: Durations,
    answer: super::storage::Range,
    (from, to, step): (u64, u64, u64),
    fired: &mut Vec<Fired>,
) {
    let mut answered: BTreeMap<Labels, HashSet<u64>> = BTreeMap::new();
    for (mut labels, values) in answer {
        labels.remove("__name__");
        labels.extend(rule.labels.clone());
        labels.insert("alertname".to_owned(), rule.name.clone());
        answered.entry(labels).or_default().extend(values.into_iter().map(|(time, _)| time));
    }
    let mut all: Vec<_> = rule.states.keys().cloned().collect();
    all.extend(answered.keys().cloned());
    all.sort();
    all.dedup();
    for labels in all {
        let active = answered.get(&labels);
        let mut state = rule.states.remove(&labels);
        for time in (from..=to).step_by(step as usize) {
            if active.is_some_and(|times| times.contains(&time)) {
                let now = state.get_or_insert(State { since: time, last: time, fired: None });
                now.last = time;
                if now.fired.is_none() && time - now.since >= durations.for_ {
                    now.fired = Some(fired.len());
                    fired.push(Fired { labels: labels.clone(), from: time, to: time });
                }
            } else if state.is_some_and(|state| {
                state.fired.is_none() || time - state.last >= durations.keep_firing_for + step
            }) {
                state = None;
            }
            if let Some(place) = state.and_then(|state| state.fired) {
                fired[place].to = time;
            }
        }
        if let Some(state) = state {
            rule.states.insert(labels, state);
        }
    }
}
