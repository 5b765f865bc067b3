//! The recorder of the exporter's own metrics: it keeps what the `metrics` facade hands over in metrics-util's
//! registry, from which it is read as it stands.
//!
//! A series gets its labels when it is recorded for the first time, in the order of the catalog; all that read it share them. A
//! histogram takes each sample into its buckets at once. So memory is bounded by the number of series, which are as many as the
//! program has words for, however much is recorded and whether or not anybody reads.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::atomics::AtomicU64;
use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use metrics_exporter_prometheus::Distribution;
use metrics_util::registry::{Registry, Storage};

use super::catalog::{Kind, METRICS, Metric};
use super::family::Value;
use super::labels::{Label, Labels};

/// Buckets of the exporter's own durations: from 50 microseconds to 10 seconds.
pub(super) const DURATION_BUCKETS: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Keeps what is recorded.
#[derive(Debug)]
pub(super) struct OwnRecorder {
    registry: Registry<Key, OwnStorage>,
    /// Of the metrics that the catalog does not have.
    descriptions: Mutex<HashMap<KeyName, SharedString>>,
    /// [`DURATION_BUCKETS`] for everybody who reads them.
    bounds: Arc<[f64]>,
}

/// A series at one moment.
#[derive(Debug)]
pub(super) struct Reading {
    /// The name under which it was recorded.
    pub(super) name: KeyName,
    /// What its metric is.
    pub(super) kind: Kind,
    /// Its metric, unless the catalog has none of this name and kind.
    pub(super) metric: Option<&'static Metric>,
    /// Its labels; none where the catalog has no metric.
    pub(super) labels: Labels,
    /// Its value.
    pub(super) value: Value,
}

impl OwnRecorder {
    /// A recorder of nothing yet.
    pub(super) fn new() -> OwnRecorder {
        let (registry, descriptions) = (Registry::new(OwnStorage), Mutex::default());
        OwnRecorder { registry, descriptions, bounds: DURATION_BUCKETS.into() }
    }

    /// Every series that was recorded, in no order.
    pub(super) fn read(&self) -> Vec<Reading> {
        let mut readings = Vec::new();
        self.registry.visit_counters(|key, series| {
            readings.push(series.read(key, Kind::Sum, |number| Value::Sum(number.load(Ordering::Acquire))));
        });
        self.registry.visit_gauges(|key, series| {
            let value = |bits: &AtomicU64| Value::Gauge(f64::from_bits(bits.load(Ordering::Acquire)));
            readings.push(series.read(key, Kind::Gauge, value));
        });
        self.registry.visit_histograms(|key, series| {
            let value = |distribution: &Mutex<_>| histogram(&locked(distribution), &self.bounds);
            readings.push(series.read(key, Kind::Histogram, value));
        });
        readings
    }

    /// What a metric that the catalog does not have was described as; nothing if it was not.
    pub(super) fn description(&self, name: &KeyName) -> SharedString {
        locked(&self.descriptions).get(name).cloned().unwrap_or_default()
    }

    fn describe(&self, name: KeyName, description: SharedString) {
        locked(&self.descriptions).entry(name).or_insert(description);
    }
}

impl Recorder for OwnRecorder {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(name, description);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(name, description);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, description: SharedString) {
        self.describe(name, description);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.registry.get_or_create_counter(key, |series| Counter::from_arc(Arc::clone(series)))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.registry.get_or_create_gauge(key, |series| Gauge::from_arc(Arc::clone(series)))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.registry.get_or_create_histogram(key, |series| Histogram::from_arc(Arc::clone(series)))
    }
}

/// What a series is kept as in the registry.
#[derive(Debug)]
struct OwnStorage;

impl Storage<Key> for OwnStorage {
    type Counter = Arc<Series<AtomicU64>>;
    /// The bits of a floating-point number.
    type Gauge = Arc<Series<AtomicU64>>;
    type Histogram = Arc<Series<Mutex<Distribution>>>;

    fn counter(&self, key: &Key) -> Self::Counter {
        Arc::new(Series::new(key, Kind::Sum, AtomicU64::new(0)))
    }

    fn gauge(&self, key: &Key) -> Self::Gauge {
        Arc::new(Series::new(key, Kind::Gauge, AtomicU64::new(0)))
    }

    fn histogram(&self, key: &Key) -> Self::Histogram {
        let distribution = Distribution::new_histogram(&DURATION_BUCKETS);
        Arc::new(Series::new(key, Kind::Histogram, Mutex::new(distribution)))
    }
}

/// A series: which one it is, and what was recorded.
#[derive(Debug)]
struct Series<T> {
    metric: Option<&'static Metric>,
    labels: Labels,
    recorded: T,
}

impl<T> Series<T> {
    fn new(key: &Key, kind: Kind, recorded: T) -> Series<T> {
        let is_it = |metric: &&Metric| metric.name == key.name() && metric.kind == kind;
        let metric = METRICS.iter().copied().find(is_it);
        let names = metric.map_or(&[][..], |metric| metric.labels);
        debug_assert!(
            key.labels().map(metrics::Label::key).eq(names.iter().copied()),
            "{key} has the labels that the catalog says"
        );
        let value = |name: &&str| {
            let label = key.labels().find(|label| label.key() == *name);
            Label::shared(label.map_or("", metrics::Label::value))
        };
        let labels = Labels::new(names.into(), names.iter().map(value).collect());
        Series { metric, labels, recorded }
    }

    fn read(&self, key: &Key, kind: Kind, value: impl FnOnce(&T) -> Value) -> Reading {
        let (name, labels) = (key.name_shared(), self.labels.clone());
        Reading { name, kind, metric: self.metric, labels, value: value(&self.recorded) }
    }
}

impl CounterFn for Series<AtomicU64> {
    fn increment(&self, value: u64) {
        CounterFn::increment(&self.recorded, value);
    }

    fn absolute(&self, value: u64) {
        CounterFn::absolute(&self.recorded, value);
    }
}

impl GaugeFn for Series<AtomicU64> {
    fn increment(&self, value: f64) {
        GaugeFn::increment(&self.recorded, value);
    }

    fn decrement(&self, value: f64) {
        GaugeFn::decrement(&self.recorded, value);
    }

    fn set(&self, value: f64) {
        GaugeFn::set(&self.recorded, value);
    }
}

impl HistogramFn for Series<Mutex<Distribution>> {
    fn record(&self, sample: f64) {
        if let Distribution::Histogram(histogram) = &mut *locked(&self.recorded) {
            histogram.record(sample);
        }
    }
}

/// What a distribution in [`DURATION_BUCKETS`] has counted.
fn histogram(distribution: &Distribution, bounds: &Arc<[f64]>) -> Value {
    let (mut counts, mut sum) = (vec![0; bounds.len() + 1], 0.0);
    if let Distribution::Histogram(histogram) = distribution {
        let cumulative = histogram.buckets().into_iter().map(|(_, count)| count).chain([histogram.count()]);
        let mut below = 0;
        for (count, up_to_here) in counts.iter_mut().zip(cumulative) {
            *count = up_to_here - below;
            below = up_to_here;
        }
        sum = histogram.sum();
    }
    Value::Histogram { bounds: Arc::clone(bounds), counts, sum }
}

/// Nothing in here panics between two changes that belong together.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
