//! Messages of metrics in parts, so that each is small enough.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, Metric, ResourceMetrics, ScopeMetrics, Sum, metric,
};
use prost::Message;

/// The message in parts of at most `largest` bytes, as far as single points are not larger. Each has resource and scope.
pub(super) fn of(whole: ExportMetricsServiceRequest, largest: usize) -> Vec<ExportMetricsServiceRequest> {
    if whole.encoded_len() <= largest {
        return vec![whole];
    }
    let mut parts = Vec::new();
    for resource in whole.resource_metrics {
        let (frame, scopes) = without_scopes(resource);
        for scope in scopes {
            let (scope, metrics) = without_metrics(scope);
            let message = |metrics| ExportMetricsServiceRequest {
                resource_metrics: vec![ResourceMetrics {
                    scope_metrics: vec![ScopeMetrics { metrics, ..scope.clone() }],
                    ..frame.clone()
                }],
            };
            // Each of the lengths around them takes a few bytes more, the larger they are.
            let overhead = message(Vec::new()).encoded_len() + 3 * LENGTH_BYTES;
            let groups = grouped(metrics, largest.saturating_sub(overhead));
            parts.extend(groups.into_iter().map(message));
        }
    }
    parts
}

/// Bytes of a field's tag and length, at most.
const LENGTH_BYTES: usize = 6;

fn without_scopes(mut resource: ResourceMetrics) -> (ResourceMetrics, Vec<ScopeMetrics>) {
    let scopes = std::mem::take(&mut resource.scope_metrics);
    (resource, scopes)
}

fn without_metrics(mut scope: ScopeMetrics) -> (ScopeMetrics, Vec<Metric>) {
    let metrics = std::mem::take(&mut scope.metrics);
    (scope, metrics)
}

/// Metrics in groups of at most `largest` bytes, in their order; one that is larger is cut.
fn grouped(metrics: Vec<Metric>, largest: usize) -> Vec<Vec<Metric>> {
    let mut groups: Vec<Vec<Metric>> = Vec::new();
    let mut room = 0;
    for metric in metrics.into_iter().flat_map(|metric| cut(metric, largest)) {
        let size = metric.encoded_len() + LENGTH_BYTES;
        match groups.last_mut() {
            Some(group) if size <= room => group.push(metric),
            _ => {
                groups.push(vec![metric]);
                room = largest;
            }
        }
        room = room.saturating_sub(size);
    }
    groups
}

/// A metric in halves, and these likewise, until each is small enough or has one point.
fn cut(mut metric: Metric, largest: usize) -> Vec<Metric> {
    if metric.encoded_len() + LENGTH_BYTES <= largest {
        return vec![metric];
    }
    let Some(rest) = metric.data.as_mut().and_then(split_off) else { return vec![metric] };
    let second = Metric {
        name: metric.name.clone(),
        description: metric.description.clone(),
        unit: metric.unit.clone(),
        metadata: metric.metadata.clone(),
        data: Some(rest),
    };
    let mut parts = cut(metric, largest);
    parts.append(&mut cut(second, largest));
    parts
}

/// Takes out the second half of the points.
fn split_off(data: &mut metric::Data) -> Option<metric::Data> {
    Some(match data {
        metric::Data::Sum(sum) => metric::Data::Sum(Sum { data_points: half(&mut sum.data_points)?, ..*sum }),
        metric::Data::Gauge(gauge) => {
            metric::Data::Gauge(Gauge { data_points: half(&mut gauge.data_points)? })
        }
        metric::Data::Histogram(histogram) => metric::Data::Histogram(Histogram {
            data_points: half(&mut histogram.data_points)?,
            aggregation_temporality: histogram.aggregation_temporality,
        }),
        _ => return None,
    })
}

fn half<T>(points: &mut Vec<T>) -> Option<Vec<T>> {
    (points.len() > 1).then(|| points.split_off(points.len() / 2))
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
    use opentelemetry_proto::tonic::metrics::v1::{NumberDataPoint, number_data_point};
    use proptest::prelude::*;

    use super::*;

    fn request(points_of_metrics: &[usize]) -> ExportMetricsServiceRequest {
        let metric = |(number, points): (usize, &usize)| Metric {
            name: format!("metric.{number}"),
            data: Some(metric::Data::Sum(Sum {
                data_points: (0..*points)
                    .map(|point| NumberDataPoint {
                        time_unix_nano: point as u64 + 1,
                        value: Some(number_data_point::Value::AsInt(number as i64)),
                        ..NumberDataPoint::default()
                    })
                    .collect(),
                aggregation_temporality: 2,
                is_monotonic: true,
            })),
            ..Metric::default()
        };
        let scope = InstrumentationScope { name: "scope".to_owned(), ..InstrumentationScope::default() };
        let metrics = points_of_metrics.iter().enumerate().map(metric).collect();
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }];
        let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
        ExportMetricsServiceRequest { resource_metrics }
    }

    /// Every point, by its metric.
    fn points(request: &ExportMetricsServiceRequest) -> Vec<(String, u64)> {
        let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
        let metrics = scopes.inspect(|scope| assert!(scope.scope.is_some())).flat_map(|scope| &scope.metrics);
        let points = metrics.flat_map(|metric| {
            let Some(metric::Data::Sum(sum)) = &metric.data else { panic!("a sum") };
            assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
            sum.data_points.iter().map(|point| (metric.name.clone(), point.time_unix_nano))
        });
        points.collect()
    }

    proptest! {
        #[test]
        fn every_point_is_in_one_part_in_its_order_and_no_part_is_larger(
            points_of_metrics in prop::collection::vec(1_usize..60, 1..20),
            largest in 120_usize..4_000,
        ) {
            let whole = request(&points_of_metrics);
            let parts = of(whole.clone(), largest);
            prop_assert!(parts.iter().all(|part| part.encoded_len() <= largest));
            let in_parts: Vec<_> = parts.iter().flat_map(points).collect();
            prop_assert_eq!(in_parts, points(&whole));
            // Not many more than are needed: two that follow each other fill one.
            prop_assert!(parts.len() <= 2 * whole.encoded_len().div_ceil(largest - 80) + 2);
        }
    }
}
