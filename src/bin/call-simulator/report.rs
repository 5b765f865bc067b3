//! The report: exactly what was sent and acknowledged, per label set.

use std::collections::BTreeMap;
use std::time::Duration;

use planet_call_exporter::metrics::catalog::{Kind, Metric};
use serde::Serialize;

use crate::scenario::{Addition, Call, Truth};

/// A label set: names and values, sorted by name.
pub(crate) type Labels = BTreeMap<&'static str, String>;

/// What stands for a label set: how many calls, and for durations their sum in seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Total {
    pub(crate) count: u64,
    pub(crate) sum: u64,
}

/// The totals of calls under the labels of the exporter's metrics.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    series: BTreeMap<&'static str, MetricTotals>,
}

/// The totals of one metric.
#[derive(Debug)]
pub(crate) struct MetricTotals {
    pub(crate) metric: &'static Metric,
    pub(crate) totals: BTreeMap<Labels, Total>,
}

impl Totals {
    /// Adds a call.
    pub(crate) fn add(&mut self, truth: &Truth) {
        for Addition { metric, labels, count, seconds } in truth.additions() {
            let labels = labels.into_iter().map(|(name, value)| (name, value.to_owned())).collect();
            let none = || MetricTotals { metric, totals: BTreeMap::new() };
            let of_metric = self.series.entry(metric.name).or_insert_with(none);
            let total = of_metric.totals.entry(labels).or_default();
            total.count += count;
            total.sum += seconds;
        }
    }

    /// Every metric with its label sets.
    pub(crate) fn series(&self) -> impl Iterator<Item = &MetricTotals> {
        self.series.values()
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
        let line = |kind, (labels, total): (&Labels, &Total)| {
            let Total { count, sum } = *total;
            let line = match kind {
                Kind::Histogram => Line::Histogram { labels, count, sum },
                Kind::Sum | Kind::Gauge => Line::Counter { labels, value: count },
            };
            serde_json::to_value(line).unwrap_or_default()
        };
        let metric = |MetricTotals { metric, totals }: &MetricTotals| {
            let lines: Vec<_> = totals.iter().map(|total| line(metric.kind, total)).collect();
            (metric.prometheus_name(), lines)
        };
        serializer.collect_map(self.series().map(metric))
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
