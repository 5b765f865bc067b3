//! What decides how an event is counted: which services and IDCs are told apart, how many series there may be, how long a call can
//! be.
//!
//! A checkpoint keeps it. Events that came after the last checkpoint were counted, and shown, by the settings of then; after a crash
//! they are folded by the same, whatever the flags say by now, or counters would fall and Prometheus would take that for a
//! reset. Then the ledger takes the new settings over ([`Ledger::reconfigured`]), and the next checkpoint has them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::label::Label;
use super::specification::SPECIFICATIONS;
use super::table::Table;
use super::{Ledger, Limits};

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
    /// from now on, what was counted before is of the service `other`.
    pub fn reconfigured(mut self, limits: Limits, idcs: &[String]) -> Ledger {
        let (had_services, has_services) = (!self.limits.services.is_empty(), !limits.services.is_empty());
        if had_services != has_services {
            for (metric, table) in SPECIFICATIONS.iter().zip(&mut self.tables) {
                // The label of the service is the last one of those that have it.
                let is_of_calls = metric.labels(&self.limits).count() != metric.labels(&limits).count();
                if is_of_calls {
                    *table = relabelled(std::mem::take(table), has_services);
                }
            }
        }
        self.limits = limits;
        self.idcs.clear();
        self.start_at_zero_what_is_known();
        idcs.iter().for_each(|idc| self.expect_idc(idc));
        self
    }
}

/// A table with the label of the service at the end of each row, or without.
fn relabelled(table: Table, has_services: bool) -> Table {
    let mut relabelled = Table::default();
    for (labels, row) in table.rows {
        let labels = match has_services {
            true => [&labels[..], &[Label::OTHER]].concat(),
            false => labels[..labels.len() - 1].to_vec(),
        };
        relabelled.merge(labels, row);
    }
    relabelled
}
