//! What is true of a call, and what it must add to which series of the exporter: written down a second time on purpose, so
//! that the exporter's own list of metrics and labels is held against it.

use crate::callback::call_event::MediaType;
use crate::callback::labels;
use crate::callback::reason::{FaultDomain, Releaser};
use crate::metrics::catalog::{self, Metric};

use super::releases::Release;

/// What is true of a call, and so what its exporter must count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Truth {
    /// Its media type.
    pub media_type: MediaType,
    /// Its IDC.
    pub idc: String,
    /// Its reason, as the label has it.
    pub disconnect_reason: String,
    /// The reason in the metric of abnormal releases.
    pub abnormal_reason: &'static str,
    /// Whose fault it is.
    pub fault_domain: FaultDomain,
    /// Who released it.
    pub releaser: Releaser,
    /// Whether it was answered.
    pub answered: bool,
    /// Seconds of conversation.
    pub duration_seconds: u64,
    /// Seconds from its creation to the answer, or to its end.
    pub setup_seconds: u64,
    /// Billed seconds.
    pub billed_seconds: u64,
    /// The Q.850 cause.
    pub terminate: String,
    /// The detailed release code.
    pub rel_code: String,
    /// Its name.
    pub rel_code_str: String,
}

/// What a call adds to one series.
#[derive(Debug)]
pub struct Addition<'t> {
    /// The metric.
    pub metric: &'static Metric,
    /// The labels of the series.
    pub labels: Vec<(&'static str, &'t str)>,
    /// How much a sum grows, or how many durations a histogram has more.
    pub count: u64,
    /// The seconds that a histogram's sum has more.
    pub seconds: u64,
}

impl Truth {
    /// What is true of an ordinary call that takes these seconds.
    pub(super) fn new(
        media_type: MediaType,
        idc: String,
        release: &Release,
        [setup_seconds, duration_seconds, billed_seconds]: [u64; 3],
    ) -> Truth {
        Truth {
            media_type,
            idc,
            disconnect_reason: release.reason.name.to_owned(),
            abnormal_reason: release.reason.name,
            fault_domain: release.reason.fault_domain(release.releaser),
            releaser: release.releaser,
            answered: duration_seconds > 0,
            duration_seconds,
            setup_seconds,
            billed_seconds,
            terminate: release.terminate.to_string(),
            rel_code: release.rel_code().to_string(),
            rel_code_str: release.reason.name.to_owned(),
        }
    }

    /// What the call adds to each metric of calls.
    pub fn additions(&self) -> impl Iterator<Item = Addition<'_>> {
        let media_type = ("media_type", self.media_type.as_str());
        let idc = ("idc", self.idc.as_str());
        let reason = ("disconnect_reason", self.disconnect_reason.as_str());
        let fault_domain = ("fault_domain", self.fault_domain.as_str());
        let releaser = ("releaser", self.releaser.as_str());
        let answered = ("answered", labels::answered(self.answered));
        let release = [
            ("terminate", self.terminate.as_str()),
            ("rel_code", self.rel_code.as_str()),
            ("rel_code_str", self.rel_code_str.as_str()),
        ];
        let abnormal = [idc, ("disconnect_reason", self.abnormal_reason), fault_domain];
        let count =
            |metric, labels: &[_], count| Addition { metric, labels: labels.to_vec(), count, seconds: 0 };
        let observe =
            |metric, labels: &[_], seconds| Addition { metric, labels: labels.to_vec(), count: 1, seconds };
        [
            Some(count(&catalog::CALLS, &[media_type, idc, reason, fault_domain, releaser, answered], 1)),
            Some(count(&catalog::CALL_RESULTS, &[media_type, idc, fault_domain, answered], 1)),
            self.answered.then(|| {
                let labels = [media_type, idc, reason, fault_domain];
                observe(&catalog::CALL_DURATION, &labels, self.duration_seconds)
            }),
            Some(observe(&catalog::CALL_SETUP_DURATION, &[media_type, idc, answered], self.setup_seconds)),
            Some(count(&catalog::CALL_BILLED, &[media_type, idc], self.billed_seconds)),
            Some(count(&catalog::CALL_RELEASES, &release, 1)),
            self.fault_domain.is_abnormal().then(|| count(&catalog::CALL_ABNORMAL_RELEASES, &abnormal, 1)),
        ]
        .into_iter()
        .flatten()
    }
}
