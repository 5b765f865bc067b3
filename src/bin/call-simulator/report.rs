//! The report: exactly what was sent and acknowledged, per label set.

use std::collections::BTreeMap;
use std::time::Duration;

use planet_call_exporter::metrics::catalog::{Kind, Metric};
use planet_call_exporter::simulation::{Addition, Call, Truth};
use serde::Serialize;

use crate::arguments::Arguments;

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
struct MetricTotals {
    metric: &'static Metric,
    totals: BTreeMap<Labels, Total>,
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
        serializer.collect_map(self.series.values().map(metric))
    }
}

/// What became of everything that was sent.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// The seed of the scenario.
    pub(crate) seed: u64,
    /// Calls that were sent, each counted once.
    pub(crate) sent: u64,
    /// Calls that were acknowledged with 200, and counted.
    pub(crate) acknowledged: u64,
    /// Calls that were acknowledged with 200 as repeats though they were sent for the first time: those of an earlier
    /// run with this seed.
    pub(crate) known: u64,
    /// Repeats of its own that were acknowledged with 200.
    pub(crate) duplicates: u64,
    /// Calls that were answered with 4xx.
    pub(crate) refused: u64,
    /// Calls without an answer of 200 or 4xx: whether they were stored is unknown.
    pub(crate) unacknowledged: u64,
    /// Attempts after the first, for calls that were not acknowledged.
    pub(crate) retries: u64,
    pub(crate) elapsed_seconds: f64,
    pub(crate) latency_seconds: Latency,
    /// How many calls each incident hit.
    pub(crate) incidents: Vec<IncidentHits>,
    /// The acknowledged calls.
    pub(crate) metrics: Totals,
    /// The unacknowledged calls.
    pub(crate) unacknowledged_metrics: Totals,
    #[serde(skip)]
    target: String,
    #[serde(skip)]
    sids: Vec<String>,
    #[serde(skip)]
    latencies: Vec<Duration>,
}

/// What an incident did.
#[derive(Debug, Serialize)]
pub(crate) struct IncidentHits {
    incident: String,
    calls: u64,
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
    /// An empty report of what is to be sent.
    pub(crate) fn new(arguments: &Arguments) -> Report {
        let incidents = arguments.mix.incident.iter();
        Report {
            seed: arguments.mix.seed,
            target: arguments.target.to_string(),
            incidents: incidents
                .map(|incident| IncidentHits { incident: incident.to_string(), calls: 0 })
                .collect(),
            ..Report::default()
        }
    }

    /// Counts a call that was sent.
    pub(crate) fn note_sent(&mut self, call: &Call) {
        self.sent += 1;
        if let Some(hits) = call.incident.and_then(|incident| self.incidents.get_mut(incident)) {
            hits.calls += 1;
        }
    }

    /// Counts an acknowledged call.
    pub(crate) fn acknowledge(&mut self, call: &Call) {
        self.acknowledged += 1;
        self.metrics.add(&call.truth);
        self.sids.push(call.sid.clone());
    }

    /// Notes how long an answer took.
    pub(crate) fn note_latency(&mut self, latency: Duration) {
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
        self.sent == self.acknowledged + self.known
    }

    /// An incident that hit no call.
    pub(crate) fn incident_without_calls(&self) -> Option<&str> {
        self.incidents.iter().find(|hits| hits.calls == 0).map(|hits| hits.incident.as_str())
    }

    /// The report for people.
    pub(crate) fn summary(&self) -> String {
        let Report { seed, target, sent, acknowledged, known, duplicates, refused, .. } = self;
        let Report { unacknowledged, retries, elapsed_seconds, latency_seconds, .. } = self;
        let Latency { p50, p99, max } = latency_seconds;
        let [p50, p99, max] = [p50, p99, max].map(|seconds| seconds * 1_000.0);
        let note = if *known > 0 { ": sent before, and not counted again" } else { "" };
        let mut lines = vec![
            ("seed", format!("{seed} (the same calls again: --seed {seed})")),
            ("sent", format!("{sent} calls to {target} in {elapsed_seconds:.1} s")),
            ("acknowledged", format!("{acknowledged} as new")),
            ("known already", format!("{known}{note}")),
            ("repeated", format!("{duplicates} of them sent a second time and acknowledged as well")),
            ("refused", refused.to_string()),
            ("no answer", format!("{unacknowledged}; {retries} further attempts")),
            ("latency", format!("{p50:.1} ms in the middle, {p99:.1} ms at 99 %, {max:.1} ms at most")),
        ];
        let hit = |hits: &IncidentHits| ("incident", format!("{} hit {} calls", hits.incident, hits.calls));
        lines.extend(self.incidents.iter().map(hit));
        lines.iter().map(|(name, value)| format!("{name:<13} {value}\n")).collect()
    }

    /// The session ID of every acknowledged call, one a line.
    pub(crate) fn acknowledged_sids(&self) -> String {
        self.sids.iter().flat_map(|sid| [sid.as_str(), "\n"]).collect()
    }
}
