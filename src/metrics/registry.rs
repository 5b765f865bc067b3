//! The exporter's own metrics: recorded through the `metrics` facade under the catalog's OpenTelemetry names, kept by
//! metrics-exporter-prometheus's recorder, and read back from the text that it renders.
//!
//! The recorder has no other reading than its text, in an order that changes from page to page. So the text is taken apart
//! into families, like those of the ledger. What the catalog does not have (CPU, memory and open files of the process) is
//! put in order, and stays text.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use metrics::{SetRecorderError, Unit, describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{
    BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use metrics_process::Collector;
use thiserror::Error;

use super::birth::Birth;
use super::catalog::{self, Kind, METRICS, Metric};
use super::family::{Family, Point, Value};

/// Buckets of the exporter's own durations: from 50 microseconds to 10 seconds.
const DURATION_BUCKETS: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Why the exporter's own metrics cannot be recorded.
#[derive(Debug, Error)]
pub enum InstallError {
    /// The recorder cannot be built.
    #[error("cannot build the recorder of the exporter's own metrics: {0}")]
    Build(#[from] BuildError),
    /// A recorder is installed already.
    #[error("cannot install the recorder of the exporter's own metrics: {0}")]
    Install(#[from] SetRecorderError<PrometheusRecorder>),
}

/// The exporter's own metrics and those of its process.
#[derive(Debug)]
pub struct OwnMetrics {
    recorder: PrometheusHandle,
    process: Collector,
    started_at: SystemTime,
}

impl OwnMetrics {
    /// Installs the process-wide recorder and describes every metric of the catalog to it.
    ///
    /// # Errors
    /// A recorder was installed before.
    pub fn install() -> Result<OwnMetrics, InstallError> {
        let mut builder = PrometheusBuilder::new().with_recommended_naming(true);
        for metric in METRICS.iter().filter(|metric| metric.kind == Kind::Histogram) {
            builder =
                builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), &DURATION_BUCKETS)?;
        }
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder)?;
        METRICS.iter().for_each(|metric| describe(metric));
        let process = Collector::default();
        process.describe();
        Ok(OwnMetrics { recorder: handle, process, started_at: SystemTime::now() })
    }

    /// Takes in the samples of histograms, which would otherwise wait in memory until the next scrape.
    pub fn run_upkeep(&self) {
        self.recorder.run_upkeep();
    }

    /// The metrics of the catalog that were recorded.
    pub fn families(&self) -> Vec<Family> {
        families(&self.recorder.render(), self.started_at)
    }

    /// The same, and what the catalog does not have, which is about the process, in a stable order.
    pub fn families_and_process(&self) -> (Vec<Family>, Vec<ProcessFamily>) {
        self.process.collect();
        let page = self.recorder.render();
        (families(&page, self.started_at), beside_the_catalog(&page))
    }
}

/// A metric about the process, which the catalog does not have. None of them is a histogram.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessFamily {
    /// The name of its samples.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// What it measures, in plain words.
    pub description: String,
    /// The lines of its samples.
    pub samples: Vec<String>,
}

fn describe(metric: &'static Metric) {
    let unit = match metric.unit {
        "s" => Unit::Seconds,
        "By" => Unit::Bytes,
        _ => Unit::Count,
    };
    match metric.kind {
        Kind::Sum => describe_counter!(metric.name, unit, metric.description),
        Kind::Gauge => describe_gauge!(metric.name, unit, metric.description),
        Kind::Histogram => describe_histogram!(metric.name, unit, metric.description),
    }
}

/// The families of a page that are not in the catalog, sorted by name, and the samples of each by label.
fn beside_the_catalog(page: &str) -> Vec<ProcessFamily> {
    let names: BTreeSet<_> = METRICS.iter().map(|metric| metric.prometheus_name()).collect();
    let family = |family: &str| {
        let after = |start: &str| family.lines().find_map(|line| line.strip_prefix(start)?.split_once(' '));
        let (name, kind) = after("# TYPE ").filter(|(name, _)| !names.contains(*name))?;
        let kind = [Kind::Sum, Kind::Gauge].into_iter().find(|known| known.prometheus_type() == kind)?;
        let description = after("# HELP ").map_or("", |(_, description)| description).to_owned();
        let samples = family.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut samples: Vec<_> = samples.map(str::to_owned).collect();
        samples.sort_unstable();
        Some(ProcessFamily { name: name.to_owned(), kind, description, samples })
    };
    let mut families: Vec<_> = page.split("\n\n").filter_map(family).collect();
    families.sort_by(|one, other| one.name.cmp(&other.name));
    families
}

/// The families of the catalog on a page.
fn families(page: &str, started_at: SystemTime) -> Vec<Family> {
    let samples: Vec<Sample<'_>> = page.lines().filter_map(Sample::read).collect();
    let points = |metric: &'static Metric| {
        let name = metric.prometheus_name();
        match metric.kind {
            Kind::Histogram => histogram_points(&name, &samples, started_at),
            Kind::Sum | Kind::Gauge => {
                let of_metric = samples.iter().filter(|sample| sample.name == name);
                of_metric.filter_map(|sample| sample.point(metric.kind, started_at)).collect()
            }
        }
    };
    let family = |metric: &&'static Metric| Family { metric, points: points(metric) };
    let mut families: Vec<_> = METRICS.iter().map(family).collect();
    families.retain(|family| !family.points.is_empty());
    for family in &mut families {
        debug_assert!(
            family.points.iter().all(|point| point
                .labels
                .iter()
                .map(|(name, _)| name)
                .eq(family.metric.labels)),
            "{family:?} has the labels that the catalog says"
        );
        family.points.sort_by(|one, other| one.labels.cmp(&other.labels));
    }
    families
}

/// A sample line, taken apart. Label values of the exporter's own metrics are names of ours: without quotes or commas.
struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, &'a str)>,
    value: &'a str,
}

impl<'a> Sample<'a> {
    fn read(line: &'a str) -> Option<Sample<'a>> {
        let (series, value) = line.rsplit_once(' ').filter(|_| !line.starts_with('#'))?;
        let (name, labels) = match series.split_once('{') {
            Some((name, labels)) => (name, labels.strip_suffix('}')?),
            None => (series, ""),
        };
        let label = |label: &'a str| {
            let (name, value) = label.split_once('=')?;
            Some((name, value.trim_matches('"')))
        };
        let labels = labels.split(',').filter_map(label).collect();
        Some(Sample { name, labels, value })
    }

    fn labels_without_le(&self) -> Vec<(String, String)> {
        let labels = self.labels.iter().filter(|(name, _)| *name != "le");
        labels.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn point(&self, kind: Kind, started_at: SystemTime) -> Option<Point> {
        let value = match kind {
            Kind::Sum => Value::Sum(self.value.parse().ok()?),
            _ => Value::Gauge(self.value.parse().ok()?),
        };
        Some(Point {
            labels: self.labels_without_le(),
            started_at: Some(started_at),
            born: Birth::NONE,
            value,
            exemplars: Vec::new(),
        })
    }
}

fn histogram_points(name: &str, samples: &[Sample<'_>], started_at: SystemTime) -> Vec<Point> {
    /// Bounds, cumulative counts and the sum of one label set.
    type Parts = (Vec<f64>, Vec<u64>, f64);
    let mut parts: BTreeMap<Vec<(String, String)>, Parts> = BTreeMap::new();
    for sample in samples {
        let Some(suffix) = sample.name.strip_prefix(name) else { continue };
        let (bounds, counts, sum) = parts.entry(sample.labels_without_le()).or_default();
        match suffix {
            "_bucket" => {
                let le = sample.labels.iter().find(|(name, _)| *name == "le").map(|(_, bound)| *bound);
                bounds
                    .extend(le.and_then(|bound| bound.parse::<f64>().ok()).filter(|bound| bound.is_finite()));
                counts.extend(sample.value.parse::<u64>());
            }
            "_sum" => *sum = sample.value.parse().unwrap_or_default(),
            _ => {}
        }
    }
    let point = |(labels, (bounds, cumulative, sum)): (_, Parts)| {
        let below = std::iter::once(&0).chain(&cumulative);
        let counts = cumulative.iter().zip(below).map(|(upper, lower)| upper - lower).collect();
        Point {
            labels,
            started_at: Some(started_at),
            born: Birth::NONE,
            value: Value::Histogram { bounds, counts, sum },
            exemplars: Vec::new(),
        }
    };
    parts.into_iter().map(point).collect()
}

/// Says which version runs, in [`catalog::EXPORTER_BUILD_INFO`].
pub fn record_build_info() {
    metrics::gauge!(catalog::EXPORTER_BUILD_INFO.name, "version" => env!("CARGO_PKG_VERSION")).set(1);
}

#[cfg(test)]
mod tests {
    use metrics::{counter, gauge, histogram};

    use super::*;
    use crate::metrics::text;

    /// Everything in one test, since the recorder is installed once in a process.
    #[test]
    fn what_is_recorded_is_in_the_families_and_the_rest_on_the_page_of_the_process() {
        let metrics = OwnMetrics::install().expect("the first recorder");
        counter!(catalog::EXPORTER_EVENTS.name, "result" => "refused").increment(2);
        counter!(catalog::EXPORTER_EVENTS.name, "result" => "duplicate").increment(3);
        gauge!(catalog::EXPORTER_JOURNAL_SIZE.name).set(4096);
        histogram!(catalog::EXPORTER_REQUEST_DURATION.name).record(0.000_3);
        histogram!(catalog::EXPORTER_REQUEST_DURATION.name).record(20.0);
        record_build_info();

        let (own, process) = metrics.families_and_process();
        let page = text::render(&own);
        for line in [
            "# TYPE planet_exporter_events_total counter",
            "planet_exporter_events_total{result=\"duplicate\"} 3\nplanet_exporter_events_total{result=\"refused\"} 2",
            "planet_exporter_journal_size_bytes 4096",
            "planet_exporter_request_duration_seconds_bucket{le=\"0.0005\"} 1",
            "planet_exporter_request_duration_seconds_bucket{le=\"+Inf\"} 2",
        ] {
            assert!(page.contains(line), "{line} is on the page:\n{page}");
        }
        let names: Vec<_> = process.iter().map(|family| family.name.as_str()).collect();
        assert!(names.is_sorted() && names.iter().all(|name| name.starts_with("process_")), "{names:?}");
        let memory = process.iter().find(|family| family.name == "process_resident_memory_bytes");
        let memory = memory.expect("memory");
        assert_eq!((memory.kind, memory.samples.len()), (Kind::Gauge, 1), "{memory:?}");
        assert!(memory.samples[0].starts_with("process_resident_memory_bytes "), "{memory:?}");

        // Rendered by us, the families are the same lines as on the recorder's page: one page, since under cargo test
        // other tests record in the same process meanwhile.
        let recorded = metrics.recorder.render();
        let ours = text::render(&families(&recorded, metrics.started_at));
        let without_process = |page: &str| -> Vec<String> {
            let mut lines: Vec<_> =
                page.lines().filter(|line| line.contains("planet_")).map(str::to_owned).collect();
            lines.sort_unstable();
            lines
        };
        assert_eq!(without_process(&ours), without_process(&recorded));
    }
}
