//! What the ledger counts: one specification for each metric of calls.
//!
//! A new metric takes an entry in the catalog and one here, a new label a source in `callback::labels` and its place here;
//! both also the truth of the call-simulator, which is held against this list.

use std::time::{Duration, SystemTime};

use super::Limits;
use super::table::Addend;
use crate::callback::call_event::Parameter;
use crate::callback::labels::LabelSource::{
    self, AbnormalReason, Answered, DisconnectReason, FaultDomain, Idc, MediaType, RelCode, RelCodeStr,
    Releaser, Result, Service, Terminate, UserRelCode,
};
use crate::callback::{CallEvent, Key};
use crate::metrics::catalog::{self, Metric};
use crate::metrics::family::Exemplar;

/// How a metric is counted.
#[derive(Debug)]
pub(super) struct Specification {
    /// Which metric.
    pub(super) metric: &'static Metric,
    /// Its labels, in the order in which they are shown, but for that of the service.
    pub(super) labels: &'static [LabelSource],
    /// What an event adds to it.
    pub(super) adds: Adds,
    /// How many series it may have, if its labels alone do not bound them.
    pub(super) limit: Option<SeriesLimit>,
}

/// What an event adds to a metric.
#[derive(Debug)]
pub(super) enum Adds {
    /// This number, if any.
    Number(fn(&CallEvent<'_>) -> Option<u64>),
    /// This duration, if any, in buckets of this kind.
    Duration(BucketKind, fn(&CallEvent<'_>) -> Option<Duration>),
}

/// Which of the configured buckets a histogram has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BucketKind {
    /// Those of conversations, which last from seconds to hours.
    Conversation,
    /// Those of call setup, which takes seconds.
    Setup,
}

/// The most series of a metric, and what becomes of further ones.
#[derive(Debug)]
pub(super) struct SeriesLimit {
    /// The value of the label `limit` in `planet.exporter.label_overflows`.
    pub(super) name: &'static str,
    /// The most series.
    pub(super) most: fn(&Limits) -> usize,
    /// The labels that become `other` past it, in this metric and in those that come after it in the list: they are
    /// bounded by its series.
    pub(super) fallback: &'static [LabelSource],
    /// The labels that become `other` past it unless this program knows their value, of which there are few.
    pub(super) fallback_of_foreign: &'static [LabelSource],
}

impl Specification {
    /// The labels: with that of the service, where services are told apart.
    pub(super) fn labels(&self, limits: &Limits) -> impl Iterator<Item = LabelSource> + Clone + use<> {
        let is_of_calls = !self.labels.contains(&Result);
        let service = (is_of_calls && !limits.services.is_empty()).then_some(Service);
        self.labels.iter().copied().chain(service)
    }

    /// Whether calls to look at are shown beside its numbers: of durations, and of what alerts are about.
    fn has_exemplars(&self) -> bool {
        match self.adds {
            Adds::Duration(..) => true,
            Adds::Number(_) => self.metric == &catalog::CALL_ABNORMAL_RELEASES,
        }
    }

    /// The call of this session ID as an exemplar, if calls to look at are shown.
    pub(super) fn exemplar(&self, sid: Key, addend: Addend, received_at: SystemTime) -> Option<Exemplar> {
        // The trace ID of a call is its sid.
        let exemplar = || Exemplar { trace_id: sid.bytes(), value: addend.as_f64(), at: received_at };
        self.has_exemplars().then(exemplar)
    }

    /// What an event adds, if anything.
    pub(super) fn addend(&self, event: &CallEvent<'_>) -> Option<Addend> {
        match self.adds {
            Adds::Number(number) => number(event).map(Addend::Number),
            Adds::Duration(_, duration) => duration(event).map(Addend::Duration),
        }
    }
}

/// Every metric that is counted by labels of the event.
pub(super) static SPECIFICATIONS: [Specification; 9] = [
    Specification {
        metric: &catalog::CALLS,
        labels: &[MediaType, Idc, DisconnectReason, FaultDomain, Releaser, Answered],
        adds: Adds::Number(|_| Some(1)),
        limit: Some(SeriesLimit {
            name: "calls",
            most: |limits| limits.call_series,
            fallback: &[Idc, DisconnectReason],
            fallback_of_foreign: &[],
        }),
    },
    Specification {
        metric: &catalog::CALL_RESULTS,
        labels: &[MediaType, Idc, FaultDomain, Answered],
        adds: Adds::Number(|_| Some(1)),
        limit: None,
    },
    Specification {
        metric: &catalog::CALL_DURATION,
        labels: &[MediaType, Idc, DisconnectReason, FaultDomain],
        adds: Adds::Duration(BucketKind::Conversation, |event| event.answered.then_some(event.duration)),
        // A series of a histogram is as many samples as it has buckets.
        limit: Some(SeriesLimit {
            name: "durations",
            most: Limits::duration_series,
            fallback: &[DisconnectReason],
            fallback_of_foreign: &[],
        }),
    },
    Specification {
        metric: &catalog::CALL_SETUP_DURATION,
        labels: &[MediaType, Idc, Answered],
        adds: Adds::Duration(BucketKind::Setup, |event| event.setup_duration),
        limit: None,
    },
    Specification {
        metric: &catalog::CALL_BILLED,
        labels: &[MediaType, Idc],
        adds: Adds::Number(|event| Some(event.billed_seconds)),
        limit: None,
    },
    Specification {
        metric: &catalog::CALL_RELEASES,
        labels: &[Terminate, RelCode, RelCodeStr],
        adds: Adds::Number(|_| Some(1)),
        limit: Some(SeriesLimit {
            name: "releases",
            most: |limits| limits.release_series,
            fallback: &[RelCode, RelCodeStr],
            fallback_of_foreign: &[Terminate],
        }),
    },
    Specification {
        metric: &catalog::CALL_USER_RELEASES,
        labels: &[UserRelCode],
        adds: Adds::Number(|event| event.text(Parameter::UserRelCode).map(|_| 1)),
        limit: Some(SeriesLimit {
            name: "user_releases",
            most: |limits| limits.user_release_series,
            fallback: &[UserRelCode],
            fallback_of_foreign: &[],
        }),
    },
    Specification {
        metric: &catalog::CALL_ABNORMAL_RELEASES,
        labels: &[Idc, AbnormalReason, FaultDomain],
        adds: Adds::Number(|event| event.fault_domain.is_abnormal().then_some(1)),
        limit: None,
    },
    Specification {
        metric: &catalog::EXPORTER_EVENTS,
        labels: &[Result],
        adds: Adds::Number(|_| Some(1)),
        limit: None,
    },
];
