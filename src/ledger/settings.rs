//! What decides how an event is counted: which services and IDCs are told apart, how many series there may be, how long
//! a call can be.
//!
//! A checkpoint keeps it. Events that came after the last checkpoint were counted, and shown, by the settings of then;
//! after a crash they are folded by the same, whatever the flags say by now, or counters would fall and Prometheus
//! would take that for a reset. Then the ledger takes the new settings over ([`Ledger::reconfigured`]), and the next
//! checkpoint has them.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use super::label::Label;
use super::recent::RecentCalls;
use super::specification::SPECIFICATIONS;
use super::table::{LabelSet, Row, Table};
use super::{Ledger, Limits};
use crate::callback::labels::LabelSource;
use crate::metrics::birth::Birth;
use crate::metrics::catalog;

/// The settings as a checkpoint keeps them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Settings {
    services: Vec<String>,
    idcs: Vec<String>,
    call_series: usize,
    longest_call: Duration,
}

impl Settings {
    /// Those of a ledger.
    pub(super) fn of(ledger: &Ledger) -> Settings {
        Settings {
            services: ledger.limits.services.clone(),
            idcs: ledger.idcs.iter().map(|idc| idc.as_str().to_owned()).collect(),
            call_series: ledger.limits.call_series,
            longest_call: ledger.limits.longest_call,
        }
    }

    /// The limits that follow, with those of `limits` where a checkpoint keeps none.
    pub(super) fn limits(&self, limits: &Limits) -> Limits {
        Limits {
            services: self.services.clone(),
            call_series: self.call_series,
            longest_call: self.longest_call,
            ..limits.clone()
        }
    }

    /// The IDCs that are told apart whatever their names.
    pub(super) fn idcs(&self) -> impl Iterator<Item = Label> {
        self.idcs.iter().map(|idc| Label::shared(idc))
    }
}

impl Ledger {
    /// The same totals with other settings. Where services are not told apart any more, their rows are added up; where they are
    /// from now on, what was counted before is of the service `other`. What is new stands at 0 and is born at `now`.
    pub fn reconfigured(mut self, limits: Limits, idcs: &[String], now: SystemTime) -> Ledger {
        self.classes.forget();
        let (had_services, has_services) = (!self.limits.services.is_empty(), !limits.services.is_empty());
        if had_services != has_services {
            for (metric, table) in SPECIFICATIONS.iter().zip(&mut self.tables) {
                // The label of the service is the last one of those that have it.
                let is_of_calls = metric.labels(&self.limits).count() != metric.labels(&limits).count();
                if is_of_calls {
                    *table = relabelled(std::mem::take(table), has_services);
                }
            }
            // Those of one service cannot be told from those of another any more.
            self.recent = RecentCalls::default();
            self.last_events = std::mem::take(&mut self.last_events).relabelled(has_services);
            self.days = std::mem::take(&mut self.days).relabelled(has_services);
        }
        self.limits = limits;
        self.idcs.clear();
        let birth = self.births.next_at(now);
        self.start_at_zero_what_is_known(birth);
        for labels in self.results_by(&[LabelSource::Idc]) {
            labels.iter().for_each(|idc| self.start_at_zero_results_of(idc, birth));
        }
        idcs.iter().for_each(|idc| self.expect_idc_from(idc, birth));
        self
    }

    /// What the results have of these labels; one that they lack is `other`.
    pub(super) fn results_by(&self, wanted: &[LabelSource]) -> BTreeSet<LabelSet> {
        let mut label_sets = BTreeSet::new();
        let results = SPECIFICATIONS.iter().zip(&self.tables);
        for (metric, table) in results.filter(|(metric, _)| metric.metric == &catalog::CALL_RESULTS) {
            let sources: Vec<LabelSource> = metric.labels(&self.limits).collect();
            let places: Vec<_> =
                wanted.iter().map(|wanted| sources.iter().position(|source| source == wanted)).collect();
            label_sets.extend(table.iter().map(|(row, _)| {
                let label = |at: &Option<usize>| at.map_or(Label::OTHER, |at| row[at].clone());
                places.iter().map(label).collect::<LabelSet>()
            }));
        }
        label_sets
    }
}

/// A table with the label of the service at the end of each row, or without. These are other series, whose calls were counted
/// already, so none of them is born now.
fn relabelled(table: Table, has_services: bool) -> Table {
    let mut relabelled = Table::default();
    for (labels, row) in table.iter() {
        relabelled.merge(with_service(labels, has_services), Row { born: Birth::NONE, ..row.clone() });
    }
    relabelled
}

/// A label set with the label of the service at its end, or without.
pub(super) fn with_service(labels: &[Label], has_services: bool) -> Vec<Label> {
    match has_services {
        true => [labels, &[Label::OTHER]].concat(),
        false => labels[..labels.len() - 1].to_vec(),
    }
}
