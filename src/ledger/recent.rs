//! The last calls: how many of them were abnormal. PromQL cannot ask for the last calls, only for those of a time, and
//! a service with few calls has too few of them in any time that is short enough to wake somebody.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use super::Limits;
use super::label::Label;
use super::table::LabelSet;
use crate::callback::labels::LabelSource::{self, Idc, MediaType, Service};
use crate::metrics::birth::Birth;
use crate::metrics::catalog::{self, Metric};
use crate::metrics::family::{Family, Point, Value};
use crate::metrics::labels::Labels;

/// The last [`CALLS`](Recent::CALLS) calls of a label set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Recent {
    /// How many there are.
    pub(super) calls: u32,
    /// A bit for each, the latest the lowest: whether it was abnormal.
    pub(super) abnormal: u32,
}

impl Recent {
    /// How many calls are looked at.
    pub(super) const CALLS: u32 = u32::BITS;

    /// The calls that these numbers stand for; of more than there can be, those that can.
    pub(super) fn new(calls: u32, abnormal: u32) -> Recent {
        let calls = calls.min(Recent::CALLS);
        let there_are = u32::MAX.checked_shr(Recent::CALLS - calls).unwrap_or(0);
        Recent { calls, abnormal: abnormal & there_are }
    }

    fn add(&mut self, is_abnormal: bool) {
        *self = Recent::new(self.calls + 1, self.abnormal << 1 | u32::from(is_abnormal));
    }
}

/// The last calls of every label set.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct RecentCalls(pub(super) BTreeMap<LabelSet, Recent>);

impl RecentCalls {
    /// The labels: with that of the service, where services are told apart.
    pub(super) fn labels(limits: &Limits) -> impl Iterator<Item = LabelSource> + Clone + use<> {
        let service = (!limits.services.is_empty()).then_some(Service);
        [MediaType, Idc].into_iter().chain(service)
    }

    /// Adds a call.
    pub(super) fn add(&mut self, labels: &[Label], is_abnormal: bool) {
        match self.0.get_mut(labels) {
            Some(recent) => recent.add(is_abnormal),
            None => self.0.entry(labels.into()).or_default().add(is_abnormal),
        }
    }

    /// Both metrics.
    pub(super) fn families(&self, limits: &Limits, started_at: SystemTime) -> [Family; 2] {
        let names: Arc<[&'static str]> = RecentCalls::labels(limits).map(LabelSource::name).collect();
        let family = |metric: &'static Metric, value: fn(&Recent) -> u32| {
            let point = |(labels, recent): (&LabelSet, &Recent)| Point {
                labels: Labels::new(Arc::clone(&names), Arc::clone(labels)),
                started_at: Some(started_at),
                born: Birth::NONE,
                value: Value::Gauge(f64::from(value(recent))),
                exemplars: Vec::new(),
            };
            Family { metric, points: self.0.iter().map(point).collect() }
        };
        [
            family(&catalog::CALL_RECENT_ABNORMAL, |recent| recent.abnormal.count_ones()),
            family(&catalog::CALL_RECENT_CALLS, |recent| recent.calls),
        ]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn they_are_the_last_of_all(all in prop::collection::vec(any::<bool>(), 0..100)) {
            let mut recent = Recent::default();
            all.iter().for_each(|is_abnormal| recent.add(*is_abnormal));
            let last = all.iter().rev().take(Recent::CALLS as usize);
            prop_assert_eq!(recent.calls as usize, last.len());
            prop_assert_eq!(recent.abnormal.count_ones() as usize, last.filter(|is_abnormal| **is_abnormal).count());
            prop_assert_eq!(Recent::new(recent.calls, recent.abnormal), recent);
        }
    }
}
