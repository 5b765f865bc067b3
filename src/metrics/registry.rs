//! The exporter's own metrics: recorded through the `metrics` facade under the catalog's OpenTelemetry names, and read
//! as families, like those of the ledger. Beside them stands what the catalog does not have: CPU, memory and open files
//! of the process.

use std::sync::Arc;
use std::time::SystemTime;

use metrics::{KeyName, SharedString};
use metrics_process::Collector;
use thiserror::Error;

use super::birth::Birth;
use super::catalog::{self, Kind, METRICS};
use super::family::{Family, Point, Value};
use super::labels::Labels;
use super::recorder::{OwnRecorder, Reading};

/// The exporter's own metrics cannot be recorded, since something else records them already.
#[derive(Debug, Error)]
#[error("cannot install the recorder of the exporter's own metrics: there is one already")]
pub struct InstallError;

/// The exporter's own metrics and those of its process.
#[derive(Debug)]
pub struct OwnMetrics {
    recorder: Arc<OwnRecorder>,
    process: Collector,
}

impl OwnMetrics {
    /// Records everything in this process from now on.
    ///
    /// # Errors
    /// A recorder was installed before.
    pub fn install() -> Result<OwnMetrics, InstallError> {
        let metrics = OwnMetrics { recorder: Arc::new(OwnRecorder::new()), process: Collector::default() };
        metrics::set_global_recorder(Arc::clone(&metrics.recorder)).map_err(|_| InstallError)?;
        metrics.process.describe();
        Ok(metrics)
    }

    /// The metrics of the catalog that were recorded, each with its series sorted by their labels. When a series was
    /// born is for others to say.
    pub fn families(&self) -> Vec<Family> {
        families(self.recorder.read()).0
    }

    /// The same, and what the catalog does not have, which is about the process, sorted by name.
    pub fn families_and_process(&self) -> (Vec<Family>, Vec<ProcessFamily>) {
        self.process.collect();
        let (families, process) = families(self.recorder.read());
        let mut process: Vec<_> =
            process.into_iter().map(|reading| ProcessFamily::of(reading, &self.recorder)).collect();
        process.sort_by(|one, other| one.name.as_str().cmp(other.name.as_str()));
        (families, process)
    }
}

/// A metric about the process, which the catalog does not have.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessFamily {
    /// The name of its samples.
    pub name: KeyName,
    /// What it is.
    pub kind: Kind,
    /// What it measures, in plain words.
    pub description: SharedString,
    /// Its only series.
    pub point: Point,
}

impl ProcessFamily {
    fn of(Reading { name, kind, labels, value, .. }: Reading, recorder: &OwnRecorder) -> ProcessFamily {
        let description = recorder.description(&name);
        ProcessFamily { name, kind, description, point: point(labels, value) }
    }
}

/// The families of the catalog, and what it does not have.
fn families(readings: Vec<Reading>) -> (Vec<Family>, Vec<Reading>) {
    let empty = |metric: &&'static catalog::Metric| Family { metric, points: Vec::new() };
    let mut families: Vec<_> = METRICS.iter().map(empty).collect();
    let mut others = Vec::new();
    for reading in readings {
        match families.iter_mut().find(|family| Some(family.metric) == reading.metric) {
            Some(family) => family.points.push(point(reading.labels, reading.value)),
            None => others.push(reading),
        }
    }
    families.retain(|family| !family.points.is_empty());
    for family in &mut families {
        family.points.sort_by(|one, other| one.labels.cmp(&other.labels));
    }
    (families, others)
}

fn point(labels: Labels, value: Value) -> Point {
    Point { labels, started_at: None, born: Birth::NONE, value, exemplars: Vec::new() }
}

/// Says which version runs, in [`catalog::EXPORTER_BUILD_INFO`], and since when, in [`catalog::EXPORTER_START_TIME`].
pub fn record_start(at: SystemTime) {
    metrics::gauge!(catalog::EXPORTER_BUILD_INFO.name, "version" => env!("CARGO_PKG_VERSION")).set(1);
    let since_epoch = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    metrics::gauge!(catalog::EXPORTER_START_TIME.name).set(since_epoch.as_secs() as f64);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use metrics::{Recorder, counter, gauge, histogram};
    use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

    use super::*;
    use crate::metrics::recorder::DURATION_BUCKETS;
    use crate::metrics::text;

    fn metrics() -> OwnMetrics {
        OwnMetrics { recorder: Arc::new(OwnRecorder::new()), process: Collector::default() }
    }

    fn record_some_of_each_kind() {
        counter!(catalog::EXPORTER_EVENTS.name, "result" => "refused").increment(2);
        counter!(catalog::EXPORTER_EVENTS.name, "result" => String::from("duplicate")).absolute(3);
        counter!(catalog::EXPORTER_DROPPED_EVENTS.name, "sink" => "spans", "cause" => "age").increment(1);
        gauge!(catalog::EXPORTER_JOURNAL_SIZE.name).set(4096);
        let connections = gauge!(catalog::EXPORTER_CONNECTIONS.name, "listener" => "admin");
        connections.increment(3);
        connections.decrement(1.5);
        for sample in [0.000_3, 0.000_05, 0.000_050_1, 7.0, 20.0, 0.1] {
            histogram!(catalog::EXPORTER_REQUEST_DURATION.name).record(sample);
            histogram!(catalog::EXPORTER_DELIVERY_DURATION.name, "signal" => "traces").record(sample / 2.0);
        }
        record_start(SystemTime::UNIX_EPOCH + Duration::from_secs(5));
    }

    #[test]
    fn what_is_recorded_is_in_the_families() {
        let metrics = metrics();
        metrics::with_local_recorder(&metrics.recorder, record_some_of_each_kind);
        let page = text::render(&metrics.families());
        for line in [
            "# TYPE planet_exporter_events_total counter",
            "planet_exporter_events_total{result=\"duplicate\"} 3\nplanet_exporter_events_total{result=\"refused\"} 2",
            "planet_exporter_dropped_events_total{sink=\"spans\",cause=\"age\"} 1",
            "planet_exporter_journal_size_bytes 4096",
            "planet_exporter_connections{listener=\"admin\"} 1.5",
            "planet_exporter_request_duration_seconds_bucket{le=\"0.00005\"} 1",
            "planet_exporter_request_duration_seconds_bucket{le=\"0.0005\"} 3",
            "planet_exporter_request_duration_seconds_bucket{le=\"+Inf\"} 6",
        ] {
            assert!(page.contains(line), "{line} is on the page:\n{page}");
        }
    }

    /// The recorder that another exporter has, as the yardstick.
    #[test]
    fn the_samples_are_those_of_metrics_exporter_prometheus() {
        let metrics = metrics();
        let all = Matcher::Prefix(String::new());
        let builder = PrometheusBuilder::new().with_recommended_naming(true);
        let yardstick =
            builder.set_buckets_for_metric(all, &DURATION_BUCKETS).expect("buckets").build_recorder();
        let recorders: [&dyn Recorder; 2] = [&metrics.recorder, &yardstick];
        for recorder in recorders {
            metrics::with_local_recorder(recorder, || {
                metrics.process.describe();
                metrics::describe_gauge!(catalog::EXPORTER_JOURNAL_SIZE.name, metrics::Unit::Bytes, "");
                metrics::describe_gauge!(catalog::EXPORTER_START_TIME.name, metrics::Unit::Seconds, "");
                for durations in [&catalog::EXPORTER_REQUEST_DURATION, &catalog::EXPORTER_DELIVERY_DURATION] {
                    metrics::describe_histogram!(durations.name, metrics::Unit::Seconds, "");
                }
                record_some_of_each_kind();
                gauge!("process_threads").set(7);
                counter!("process_cpu_seconds_total").absolute(2);
            });
        }
        let samples = |page: &str| -> Vec<String> {
            let samples = page.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
            let mut samples: Vec<_> = samples.map(str::to_owned).collect();
            samples.sort_unstable();
            samples
        };
        let (own, process) = families(metrics.recorder.read());
        let process: Vec<_> =
            process.into_iter().map(|reading| ProcessFamily::of(reading, &metrics.recorder)).collect();
        assert_eq!(process.len(), 2);
        let (ours, theirs) = (text::render_all(&own, &process), yardstick.handle().render());
        assert_eq!(samples(&ours), samples(&theirs));
    }

    #[test]
    fn what_is_about_the_process_has_its_help_and_type_and_is_sorted() {
        let metrics = metrics();
        let (_, process) = metrics::with_local_recorder(&metrics.recorder, || {
            metrics.process.describe();
            metrics.families_and_process()
        });
        let names: Vec<_> = process.iter().map(|family| family.name.as_str()).collect();
        assert!(names.is_sorted() && names.iter().all(|name| name.starts_with("process_")), "{names:?}");
        let page = text::render_all(&[], &process);
        for text in [
            "# HELP process_cpu_seconds_total Total user and system CPU time spent in seconds.\n\
             # TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total ",
            "# HELP process_resident_memory_bytes Resident memory size in bytes.\n\
             # TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes ",
        ] {
            assert!(page.contains(text), "{text} is on the page:\n{page}");
        }
    }

    #[test]
    fn copies_of_a_series_share_its_labels() {
        let metrics = metrics();
        metrics::with_local_recorder(&metrics.recorder, || record_start(SystemTime::UNIX_EPOCH));
        let version = || {
            let families = metrics.families();
            let (_, version) = families[0].points[0].labels.iter().next().expect("a label");
            (version.as_ptr(), version.to_owned())
        };
        assert_eq!(version(), version());
        assert_eq!(version().1, env!("CARGO_PKG_VERSION"));
    }
}
