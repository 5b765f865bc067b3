//! Metrics with their values at one moment: what the ledger and the process show, and what the page and the OTLP push are
//! made of.

use std::sync::Arc;
use std::time::SystemTime;

use super::birth::Birth;
use super::catalog::{METRICS, Metric};
use super::labels::Labels;

/// A metric with its points at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// Which metric.
    pub metric: &'static Metric,
    /// One point a label set, in a stable order.
    pub points: Vec<Point>,
}

/// The value of a metric for one label set.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Names and values of the labels.
    pub labels: Labels,
    /// From when on a sum or a histogram counts, if that is to be told.
    pub started_at: Option<SystemTime>,
    /// When the series was born.
    pub born: Birth,
    /// The value.
    pub value: Value,
    /// Calls to look at, of those that it counts: at most one for each bucket, by its place; for a sum at most one, at 0.
    pub exemplars: Vec<(usize, Exemplar)>,
}

impl Point {
    /// Lets it stand as it did before anything was counted.
    pub fn start_at_zero(&mut self) {
        self.value = self.value.zeroed();
        self.exemplars.clear();
    }
}

/// A call to look at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Exemplar {
    /// The bytes of its trace ID.
    pub trace_id: [u8; 16],
    /// What it added, in the metric's unit.
    pub value: f64,
    /// When the exporter received it.
    pub at: SystemTime,
}

/// What a point holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Of a sum.
    Sum(u64),
    /// Of a gauge.
    Gauge(f64),
    /// Of a histogram.
    Histogram {
        /// Upper bounds of the buckets, in the metric's unit, without infinity.
        bounds: Arc<[f64]>,
        /// One count a bucket, not cumulative; one more than there are bounds.
        counts: Vec<u64>,
        /// The sum of what was observed, in the metric's unit.
        sum: f64,
    },
}

impl Value {
    /// The same before anything was counted. A gauge counts nothing and stays.
    fn zeroed(&self) -> Value {
        match self {
            Value::Sum(_) => Value::Sum(0),
            Value::Histogram { bounds, counts, .. } => {
                Value::Histogram { bounds: Arc::clone(bounds), counts: vec![0; counts.len()], sum: 0.0 }
            }
            Value::Gauge(value) => Value::Gauge(*value),
        }
    }
}

/// Families of several sources as one family a metric, in the order of the catalog. The points of a metric keep the order
/// in which they come.
pub fn merge(families: impl IntoIterator<Item = Family>) -> Vec<Family> {
    let mut by_metric: Vec<Option<Family>> = METRICS.iter().map(|_| None).collect();
    for mut family in families {
        let Some(place) = METRICS.iter().position(|metric| *metric == family.metric) else { continue };
        match &mut by_metric[place] {
            Some(merged) => merged.points.append(&mut family.points),
            none => *none = Some(family),
        }
    }
    by_metric.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::metrics::catalog;
    use crate::metrics::labels::Label;
    use crate::metrics::text;

    fn family(metric: &'static Metric, start: u64, points: &[(&str, u64)]) -> Family {
        let point = |(result, value): &(&str, u64)| Point {
            labels: [("result", Label::shared(result))].into(),
            started_at: Some(SystemTime::UNIX_EPOCH + Duration::from_secs(start)),
            born: Birth::NONE,
            value: Value::Sum(*value),
            exemplars: Vec::new(),
        };
        Family { metric, points: points.iter().map(point).collect() }
    }

    #[test]
    fn a_metric_of_two_sources_is_one_family_whose_points_keep_their_starts() {
        let of_ledger =
            [family(&catalog::EXPORTER_EVENTS, 1, &[("accepted", 7)]), family(&catalog::CALLS, 1, &[])];
        let of_process = [
            family(&catalog::EXPORTER_REQUESTS, 2, &[("200", 9)]),
            family(&catalog::EXPORTER_EVENTS, 2, &[("duplicate", 2), ("refused", 0)]),
        ];
        let merged = merge(of_ledger.into_iter().chain(of_process));
        let names: Vec<_> = merged.iter().map(|family| family.metric.name).collect();
        assert_eq!(names, ["planet.calls", "planet.exporter.events", "planet.exporter.requests"]);
        let starts: Vec<_> = merged[1]
            .points
            .iter()
            .filter_map(|point| point.started_at?.duration_since(SystemTime::UNIX_EPOCH).ok())
            .map(|since_epoch| since_epoch.as_secs())
            .collect();
        assert_eq!(starts, [1, 2, 2]);
        let page = text::render(&merged);
        let name = "planet_exporter_events_total";
        let samples = format!(
            "counter\n{name}{{result=\"accepted\"}} 7\n{name}{{result=\"duplicate\"}} 2\n{name}{{result=\"refused\"}} 0\n\n"
        );
        assert!(page.contains(&samples), "{page}");
        assert_eq!(page.matches("# TYPE planet_exporter_events_total").count(), 1);
    }
}
