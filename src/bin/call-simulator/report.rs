//! The report: exactly what was sent and acknowledged, per label set.

use std::collections::BTreeMap;
use std::time::Duration;

use planet_call_exporter::callback::labels;
use serde::Serialize;

use crate::scenario::{Call, Truth};

/// A label set: names and values, sorted by name.
pub(crate) type Labels = BTreeMap<&'static str, String>;

/// What stands for a label set: how many calls, and for durations their sum in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Total {
    pub(crate) count: u64,
    pub(crate) sum: u64,
}

/// The totals of calls under the names and labels of the exporter's metrics.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    series: BTreeMap<&'static str, BTreeMap<Labels, Total>>,
}

const CALLS: &str = "planet_calls_total";
const DURATION: &str = "planet_call_duration_seconds";
const SETUP_DURATION: &str = "planet_call_setup_duration_seconds";
const BILLED: &str = "planet_call_billed_seconds_total";
const RELEASES: &str = "planet_call_releases_total";
const ABNORMAL_RELEASES: &str = "planet_call_abnormal_releases_total";

/// The metrics that are histograms: count and sum instead of a value.
const HISTOGRAMS: [&str; 2] = [DURATION, SETUP_DURATION];

impl Totals {
    /// Adds a call.
    pub(crate) fn add(&mut self, truth: &Truth) {
        let media_type = ("media_type", truth.media_type.as_str());
        let idc = ("idc", truth.idc.as_str());
        let reason = ("disconnect_reason", truth.disconnect_reason.as_str());
        let fault_domain = ("fault_domain", truth.fault_domain.as_str());
        let releaser = ("releaser", truth.releaser.as_str());
        let answered = ("answered", labels::answered(truth.answered));
        self.count(CALLS, &[media_type, idc, reason, fault_domain, releaser, answered], 1, 0);
        if truth.answered {
            self.count(DURATION, &[media_type, idc, reason, fault_domain], 1, truth.duration_seconds);
        }
        self.count(SETUP_DURATION, &[media_type, idc, answered], 1, truth.setup_seconds);
        self.count(BILLED, &[media_type, idc], truth.billed_seconds, 0);
        let release = [
            ("terminate", truth.terminate.as_str()),
            ("rel_code", truth.rel_code.as_str()),
            ("rel_code_str", truth.rel_code_str.as_str()),
        ];
        self.count(RELEASES, &release, 1, 0);
        if truth.fault_domain.is_abnormal() {
            self.count(
                ABNORMAL_RELEASES,
                &[("disconnect_reason", truth.abnormal_reason), fault_domain],
                1,
                0,
            );
        }
    }

    fn count(&mut self, metric: &'static str, labels: &[(&'static str, &str)], count: u64, sum: u64) {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let total = self.series.entry(metric).or_default().entry(labels).or_default();
        total.count += count;
        total.sum += sum;
    }

    /// Every metric with its label sets.
    pub(crate) fn series(&self) -> &BTreeMap<&'static str, BTreeMap<Labels, Total>> {
        &self.series
    }
}

/// One label set as the report prints it.
#[derive(Serialize)]
#[serde(untagged)]
enum Line<'a> {
    Counter { labels: &'a Labels, value: u64 },
    Histogram { labels: &'a Labels, count: u64, sum: u64 },
}

impl Serialize for Totals {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let lines = |metric: &str, sets: &'_ BTreeMap<Labels, Total>| -> Vec<serde_json::Value> {
            let line = |(labels, total): (&Labels, &Total)| {
                let Total { count, sum } = *total;
                let line = match HISTOGRAMS.contains(&metric) {
                    true => Line::Histogram { labels, count, sum },
                    false => Line::Counter { labels, value: count },
                };
                serde_json::to_value(line).unwrap_or_default()
            };
            sets.iter().map(line).collect()
        };
        serializer.collect_map(self.series().iter().map(|(metric, sets)| (metric, lines(metric, sets))))
    }
}

/// What became of everything that was sent.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// The seed of the scenario.
    pub(crate) seed: u64,
    /// Calls that were sent, each counted once.
    pub(crate) sent: u64,
    /// Calls that were acknowledged with 200.
    pub(crate) acknowledged: u64,
    /// Repeats that were acknowledged with 200.
    pub(crate) duplicates: u64,
    /// Calls that were answered with 4xx.
    pub(crate) refused: u64,
    /// Calls without an answer of 200 or 4xx: whether they were stored is unknown.
    pub(crate) unacknowledged: u64,
    /// Attempts after the first, for calls that were not acknowledged.
    pub(crate) retries: u64,
    pub(crate) elapsed_seconds: f64,
    pub(crate) latency_seconds: Latency,
    /// The acknowledged calls.
    pub(crate) metrics: Totals,
    /// The unacknowledged calls.
    pub(crate) unacknowledged_metrics: Totals,
    #[serde(skip)]
    sids: Vec<String>,
    #[serde(skip)]
    latencies: Vec<Duration>,
}

/// How long answers took.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Latency {
    p50: f64,
    p99: f64,
    max: f64,
}

/// How many latencies are kept at most; of a longer run the first.
const LATENCIES: usize = 2_000_000;

impl Report {
    /// An empty report of a scenario with this seed.
    pub(crate) fn new(seed: u64) -> Report {
        Report { seed, ..Report::default() }
    }

    /// Counts an acknowledged call.
    pub(crate) fn acknowledge(&mut self, call: &Call, latency: Duration) {
        self.acknowledged += 1;
        self.metrics.add(&call.truth);
        self.sids.push(call.sid.clone());
        if self.latencies.len() < LATENCIES {
            self.latencies.push(latency);
        }
    }

    /// Completes the report.
    pub(crate) fn finish(&mut self, elapsed: Duration) {
        self.elapsed_seconds = elapsed.as_secs_f64();
        self.latencies.sort_unstable();
        let at = |share: f64| {
            let index = (self.latencies.len() as f64 * share) as usize;
            let latency = self.latencies.get(index).or(self.latencies.last());
            latency.copied().unwrap_or_default().as_secs_f64()
        };
        self.latency_seconds = Latency { p50: at(0.5), p99: at(0.99), max: at(1.0) };
    }

    /// Whether everything that was sent was acknowledged.
    pub(crate) fn is_complete(&self) -> bool {
        self.sent == self.acknowledged
    }

    /// The session ID of every acknowledged call, one a line.
    pub(crate) fn acknowledged_sids(&self) -> String {
        self.sids.iter().flat_map(|sid| [sid.as_str(), "\n"]).collect()
    }
}
