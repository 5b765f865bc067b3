//! When the last call event of each IDC was accepted, and with `--services` of each service in it.
//!
//! A checkpoint of an older release has only the last of all. It is shown under the labels `other` until the next event
//! comes, so that who watches for a pause does so across an upgrade as well.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::label::Label;
use super::settings::with_service;
use super::table::LabelSet;
use super::{Limits, unix_seconds};
use crate::callback::labels::LabelSource::{self, Idc, Service};
use crate::metrics::birth::Birth;
use crate::metrics::catalog;
use crate::metrics::family::{Family, Point, Value};
use crate::metrics::labels::Labels;

/// When the last event of every label set was accepted.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct LastEvents {
    /// The last of all.
    pub(super) of_all: Option<SystemTime>,
    pub(super) by_labels: BTreeMap<LabelSet, SystemTime>,
}

impl LastEvents {
    /// The labels: with that of the service, where services are told apart.
    pub(super) fn labels(limits: &Limits) -> impl Iterator<Item = LabelSource> + Clone + use<> {
        [Idc].into_iter().chain((!limits.services.is_empty()).then_some(Service))
    }

    /// Notes an event. One that was held and comes late changes nothing.
    pub(super) fn note(&mut self, labels: &[Label], received_at: SystemTime) {
        self.of_all = self.of_all.max(Some(received_at));
        match self.by_labels.get_mut(labels) {
            Some(last) => *last = received_at.max(*last),
            None => drop(self.by_labels.insert(labels.into(), received_at)),
        }
    }

    /// The same with the label of the service or without it. What had none before is of the service `other`.
    pub(super) fn relabelled(self, has_services: bool) -> LastEvents {
        let mut relabelled = LastEvents { of_all: self.of_all, ..LastEvents::default() };
        for (labels, last) in self.by_labels {
            relabelled.note(&with_service(&labels, has_services), last);
        }
        relabelled
    }

    /// The metric.
    pub(super) fn family(&self, limits: &Limits, started_at: SystemTime) -> Family {
        let names: Arc<[&'static str]> = LastEvents::labels(limits).map(LabelSource::name).collect();
        let point = |labels: LabelSet, last: SystemTime| Point {
            labels: Labels::new(Arc::clone(&names), labels),
            started_at: Some(started_at),
            born: Birth::NONE,
            value: Value::Gauge(unix_seconds(last)),
            exemplars: Vec::new(),
        };
        let untold = self.of_all.filter(|_| self.by_labels.is_empty());
        let untold = untold.map(|last| point(names.iter().map(|_| Label::OTHER).collect(), last));
        let told_apart = self.by_labels.iter().map(|(labels, last)| point(Arc::clone(labels), *last));
        Family { metric: &catalog::CALL_LAST_EVENT_TIME, points: told_apart.chain(untold).collect() }
    }
}
