//! The ledger: the totals, as a fold over accepted call events.
//!
//! Plain data with one way to change it, [`Ledger::apply`], which cannot fail: the same events in the same order
//! always make the same ledger. It knows nothing of Prometheus or OTLP; `export` reads it. Its memory is bounded by
//! [`Limits`]: what exceeds them is counted under the label value `other`, and never lost.

mod cardinality;
pub mod checkpoint;
mod histogram;

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::callback::call_event::{CallEvent, MediaType, Parameter, Reason};
use crate::callback::labels;
use crate::callback::reason::{DISCONNECT_REASONS, DisconnectReason, FaultDomain, Releaser};

pub use cardinality::{CardinalityLimit, Label};
pub use histogram::{Buckets, Histogram, InvalidBuckets};

/// How many label values and label sets the ledger distinguishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// IDCs; further ones are `other`.
    pub idcs: usize,
    /// Disconnect reasons that are not in the published table; further ones are `other`.
    pub unknown_reasons: usize,
    /// Label sets of `planet.calls`; in further ones the IDC and the disconnect reason are `other`.
    pub call_series: usize,
    /// Label sets of `planet.call.releases`; in further ones every label is `other`.
    pub release_series: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { idcs: 64, unknown_reasons: 64, call_series: 10_000, release_series: 256 }
    }
}

/// The label set of `planet.calls`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CallLabels {
    /// Audio, video or other.
    pub media_type: MediaType,
    /// The data centre.
    pub idc: Label,
    /// The reason's name, or its number if it is unknown.
    pub disconnect_reason: Label,
    /// Whose fault the release was.
    pub fault_domain: FaultDomain,
    /// Who released the call.
    pub releaser: Releaser,
    /// Whether it was answered.
    pub answered: bool,
}

/// The label set of `planet.call.duration`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DurationLabels {
    /// Audio, video or other.
    pub media_type: MediaType,
    /// The data centre.
    pub idc: Label,
    /// The reason's name, or its number if it is unknown.
    pub disconnect_reason: Label,
    /// Whose fault the release was.
    pub fault_domain: FaultDomain,
}

/// The label set of `planet.call.setup.duration`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SetupLabels {
    /// Audio, video or other.
    pub media_type: MediaType,
    /// The data centre.
    pub idc: Label,
    /// Whether the call was answered.
    pub answered: bool,
}

/// The label set of `planet.call.billed`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BilledLabels {
    /// Audio, video or other.
    pub media_type: MediaType,
    /// The data centre.
    pub idc: Label,
}

/// The label set of `planet.call.releases`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ReleaseLabels {
    /// The Q.850 cause as it was sent.
    pub terminate: Label,
    /// The detailed release code as it was sent.
    pub rel_code: Label,
    /// Its text as it was sent.
    pub rel_code_str: Label,
}

/// The label set of `planet.call.abnormal_releases`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct AbnormalLabels {
    /// The reason's name, or `UNKNOWN`.
    pub disconnect_reason: &'static str,
    /// Whose fault the release was.
    pub fault_domain: FaultDomain,
}

/// How often a value was counted as `other` because a limit was reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overflows {
    /// Events whose IDC was past the limit.
    pub idc: u64,
    /// Events whose unknown disconnect reason was past the limit.
    pub disconnect_reason: u64,
    /// Events whose label set of `planet.calls` was past the limit.
    pub call_series: u64,
    /// Events whose label set of `planet.call.releases` was past the limit.
    pub release_series: u64,
}

/// The totals of all accepted call events since `started_at`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ledger {
    started_at: SystemTime,
    #[serde(skip)]
    limits: Limits,
    duration_buckets: Buckets,
    setup_buckets: Buckets,
    idcs: CardinalityLimit,
    reasons: CardinalityLimit,
    #[serde(with = "checkpoint::pairs")]
    calls: BTreeMap<CallLabels, u64>,
    #[serde(with = "checkpoint::pairs")]
    durations: BTreeMap<DurationLabels, Histogram>,
    #[serde(with = "checkpoint::pairs")]
    setup_durations: BTreeMap<SetupLabels, Histogram>,
    #[serde(with = "checkpoint::pairs")]
    billed_seconds: BTreeMap<BilledLabels, u64>,
    #[serde(with = "checkpoint::pairs")]
    releases: BTreeMap<ReleaseLabels, u64>,
    #[serde(with = "checkpoint::pairs")]
    abnormal_releases: BTreeMap<AbnormalLabels, u64>,
    last_event: Option<SystemTime>,
    overflows: Overflows,
}

impl Ledger {
    /// An empty ledger whose totals count from `started_at`. Every known abnormal reason stands at 0 in
    /// `planet.call.abnormal_releases`, so that the first release of its kind is an increase.
    pub fn new(
        started_at: SystemTime,
        limits: Limits,
        duration_buckets: Buckets,
        setup_buckets: Buckets,
    ) -> Ledger {
        let mut ledger = Ledger {
            started_at,
            limits,
            duration_buckets,
            setup_buckets,
            idcs: CardinalityLimit::new(limits.idcs),
            reasons: CardinalityLimit::new(limits.unknown_reasons),
            calls: BTreeMap::new(),
            durations: BTreeMap::new(),
            setup_durations: BTreeMap::new(),
            billed_seconds: BTreeMap::new(),
            releases: BTreeMap::new(),
            abnormal_releases: BTreeMap::new(),
            last_event: None,
            overflows: Overflows::default(),
        };
        ledger.expect_known_reasons();
        ledger
    }

    /// Lets every known abnormal reason stand at 0 where it does not stand yet.
    fn expect_known_reasons(&mut self) {
        for reason in &DISCONNECT_REASONS {
            self.reasons.admit_always(reason.name);
            for fault_domain in reason.fault_domains().filter(|domain| domain.is_abnormal()) {
                let labels = AbnormalLabels { disconnect_reason: reason.name, fault_domain };
                self.abnormal_releases.entry(labels).or_default();
            }
        }
        let (disconnect_reason, fault_domain) = (labels::UNKNOWN_REASON, FaultDomain::Unknown);
        self.abnormal_releases.entry(AbnormalLabels { disconnect_reason, fault_domain }).or_default();
    }

    /// The buckets of `planet.call.duration` and of `planet.call.setup.duration`.
    pub fn buckets(&self) -> (&Buckets, &Buckets) {
        (&self.duration_buckets, &self.setup_buckets)
    }

    /// Lets the usual series of an IDC stand at 0 before its first call: audio and video calls that are answered and
    /// end normally, and those that people decline, cancel, do not answer or are too busy for.
    pub fn expect_idc(&mut self, idc: &str) {
        let idc = self.idcs.admit_always(idc);
        for media_type in [MediaType::Audio, MediaType::Video] {
            for (code, releaser, answered) in USUAL_RELEASES {
                let Some(reason) = DisconnectReason::from_code(code) else { continue };
                let disconnect_reason = self.reasons.admit_always(reason.name);
                let fault_domain = reason.fault_domain(releaser);
                let labels = CallLabels {
                    media_type,
                    idc: idc.clone(),
                    disconnect_reason: disconnect_reason.clone(),
                    fault_domain,
                    releaser,
                    answered,
                };
                self.calls.entry(labels).or_default();
                self.setup_histogram(SetupLabels { media_type, idc: idc.clone(), answered });
                if answered {
                    let idc = idc.clone();
                    self.duration_histogram(DurationLabels {
                        media_type,
                        idc,
                        disconnect_reason,
                        fault_domain,
                    });
                }
            }
            self.billed_seconds.entry(BilledLabels { media_type, idc: idc.clone() }).or_default();
        }
    }

    /// Adds an accepted call event to the totals.
    pub fn apply(&mut self, event: &CallEvent<'_>) {
        let labels = self.call_labels(event);
        let CallLabels { media_type, fault_domain, answered, .. } = labels;
        let (idc, disconnect_reason) = (labels.idc.clone(), labels.disconnect_reason.clone());

        *self.calls.entry(labels).or_default() += 1;
        if answered {
            let idc = idc.clone();
            self.duration_histogram(DurationLabels { media_type, idc, disconnect_reason, fault_domain })
                .observe(event.duration);
        }
        if let Some(setup_duration) = event.setup_duration {
            self.setup_histogram(SetupLabels { media_type, idc: idc.clone(), answered })
                .observe(setup_duration);
        }
        *self.billed_seconds.entry(BilledLabels { media_type, idc }).or_default() += event.billed_seconds;
        let release_labels = self.release_labels(event);
        *self.releases.entry(release_labels).or_default() += 1;
        if fault_domain.is_abnormal() {
            let disconnect_reason = labels::abnormal_reason(event);
            *self.abnormal_releases.entry(AbnormalLabels { disconnect_reason, fault_domain }).or_default() +=
                1;
        }
        self.last_event = self.last_event.max(Some(event.received_at));
    }

    fn call_labels(&mut self, event: &CallEvent<'_>) -> CallLabels {
        let idc = match event.idc() {
            Some(idc) => self.idcs.admit(idc).unwrap_or_else(|| {
                self.overflows.idc += 1;
                Label::other()
            }),
            None => Label::other(),
        };
        let disconnect_reason = match event.reason {
            Reason::NotSent => Label::other(),
            _ => self.reasons.admit(&labels::disconnect_reason(event)).unwrap_or_else(|| {
                self.overflows.disconnect_reason += 1;
                Label::other()
            }),
        };
        let CallEvent { media_type, fault_domain, releaser, answered, .. } = *event;
        let labels = CallLabels { media_type, idc, disconnect_reason, fault_domain, releaser, answered };
        if self.calls.len() < self.limits.call_series || self.calls.contains_key(&labels) {
            return labels;
        }
        self.overflows.call_series += 1;
        CallLabels { idc: Label::other(), disconnect_reason: Label::other(), ..labels }
    }

    fn release_labels(&mut self, event: &CallEvent<'_>) -> ReleaseLabels {
        let number = |parameter| match event.number(parameter) {
            Some(number) => Label::new(&number.to_string()),
            None => Label::other(),
        };
        let labels = ReleaseLabels {
            terminate: number(Parameter::Terminate),
            rel_code: number(Parameter::RelCode),
            rel_code_str: match event.text(Parameter::RelCodeStr) {
                Some(text) if text.len() <= LONGEST_RELEASE_TEXT => Label::new(text),
                _ => Label::other(),
            },
        };
        if self.releases.len() < self.limits.release_series || self.releases.contains_key(&labels) {
            return labels;
        }
        self.overflows.release_series += 1;
        ReleaseLabels { terminate: Label::other(), rel_code: Label::other(), rel_code_str: Label::other() }
    }

    fn duration_histogram(&mut self, labels: DurationLabels) -> &mut Histogram {
        self.durations.entry(labels).or_insert_with(|| Histogram::new(&self.duration_buckets))
    }

    fn setup_histogram(&mut self, labels: SetupLabels) -> &mut Histogram {
        self.setup_durations.entry(labels).or_insert_with(|| Histogram::new(&self.setup_buckets))
    }

    /// From when on the totals count.
    pub fn started_at(&self) -> SystemTime {
        self.started_at
    }

    /// `planet.calls`.
    pub fn calls(&self) -> &BTreeMap<CallLabels, u64> {
        &self.calls
    }

    /// `planet.call.duration`.
    pub fn durations(&self) -> &BTreeMap<DurationLabels, Histogram> {
        &self.durations
    }

    /// `planet.call.setup.duration`.
    pub fn setup_durations(&self) -> &BTreeMap<SetupLabels, Histogram> {
        &self.setup_durations
    }

    /// `planet.call.billed`, in seconds.
    pub fn billed_seconds(&self) -> &BTreeMap<BilledLabels, u64> {
        &self.billed_seconds
    }

    /// `planet.call.releases`.
    pub fn releases(&self) -> &BTreeMap<ReleaseLabels, u64> {
        &self.releases
    }

    /// `planet.call.abnormal_releases`.
    pub fn abnormal_releases(&self) -> &BTreeMap<AbnormalLabels, u64> {
        &self.abnormal_releases
    }

    /// When the last event was received; `None` before the first.
    pub fn last_event(&self) -> Option<SystemTime> {
        self.last_event
    }

    /// How often a limit made a label `other`.
    pub fn overflows(&self) -> Overflows {
        self.overflows
    }
}

/// The longest text of a release code that becomes a label value, in bytes.
const LONGEST_RELEASE_TEXT: usize = 64;

/// The releases that every IDC has on a normal day: disconnect reason, releaser, answered.
const USUAL_RELEASES: [(i64, Releaser, bool); 6] = [
    (1001, Releaser::Caller, true),
    (1001, Releaser::Callee, true),
    (1002, Releaser::Callee, false),
    (1201, Releaser::Caller, false),
    (1202, Releaser::Callee, false),
    (1203, Releaser::Caller, false),
];

#[cfg(test)]
mod tests;
