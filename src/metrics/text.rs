//! The page that Prometheus scrapes: text format 0.0.4.
//!
//! Source: Prometheus's documentation of its exposition formats.

use std::fmt::{Display, Write};

use metrics_exporter_prometheus::formatting::{write_help_line, write_type_line};

use super::catalog::Kind;
use super::family::{Family, Point, Value};
use super::labels::Labels;
use super::registry::ProcessFamily;

/// The content type of the page. Prometheus 3 insists on the version.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Renders families in their order and what is about the process.
pub fn render_all(families: &[Family], process: &[ProcessFamily]) -> String {
    let mut page = render(families);
    for ProcessFamily { name, kind, description, point } in process {
        write_head(&mut page, name.as_str(), *kind, description);
        write_samples(&mut page, name.as_str(), point, |_| String::new());
        page.push('\n');
    }
    page
}

/// Renders families in their order.
pub fn render(families: &[Family]) -> String {
    let mut page = String::new();
    for family in families {
        let name = family.metric.prometheus_name();
        write_head(&mut page, &name, family.metric.kind, family.metric.description);
        family.points.iter().for_each(|point| write_samples(&mut page, &name, point, |_| String::new()));
        page.push('\n');
    }
    page
}

fn write_head(page: &mut String, name: &str, kind: Kind, description: &str) {
    write_help_line(page, name, None, None, description);
    write_type_line(page, name, None, None, kind.prometheus_type());
}

/// Writes the samples of a point of a metric with this name. `behind` is what stands behind that of a sum or a gauge,
/// whose place is 0, and behind that of each bucket.
pub(super) fn write_samples(page: &mut String, name: &str, point: &Point, behind: impl Fn(usize) -> String) {
    let labels = to_text(&point.labels);
    match &point.value {
        Value::Sum(value) => write_sample(page, &[name], &labels, None, value, &behind(0)),
        Value::Gauge(value) => write_sample(page, &[name], &labels, None, value, &behind(0)),
        Value::Histogram { bounds, counts, sum } => {
            let mut cumulative = 0u64;
            let bounds = bounds.iter().copied().chain([f64::INFINITY]);
            for (place, (bound, count)) in bounds.zip(counts).enumerate() {
                cumulative = cumulative.saturating_add(*count);
                write_sample(page, &[name, "_bucket"], &labels, Some(bound), cumulative, &behind(place));
            }
            write_sample(page, &[name, "_sum"], &labels, None, sum, "");
            write_sample(page, &[name, "_count"], &labels, None, cumulative, "");
        }
    }
}

/// Writes a sample whose name has these parts; of a bucket, with its upper bound. Both formats have the same samples.
pub(super) fn write_sample(
    page: &mut String,
    name: &[&str],
    labels: &str,
    le: Option<f64>,
    value: impl Display,
    behind: &str,
) {
    page.extend(name.iter().copied());
    if le.is_some() || !labels.is_empty() {
        page.extend(["{", labels]);
        if let Some(bound) = le {
            page.push_str(if labels.is_empty() { "le=\"" } else { ",le=\"" });
            match bound.is_infinite() {
                true => page.push_str("+Inf"),
                false => write(page, bound),
            }
            page.push('"');
        }
        page.push('}');
    }
    page.push(' ');
    write(page, value);
    page.extend([behind, "\n"]);
}

fn write(page: &mut String, value: impl Display) {
    // Writing to a String cannot fail.
    let _ = write!(page, "{value}");
}

/// Labels as both formats write them, without braces. The escaping is our own: the crate's takes a backslash before a
/// quote for an escape that is already there, so that two values can become one.
pub(super) fn to_text(labels: &Labels) -> String {
    let mut text = String::new();
    for (name, value) in labels.iter() {
        text.extend([if text.is_empty() { "" } else { "," }, name, "=\""]);
        push_escaped(&mut text, value);
        text.push('"');
    }
    text
}

/// Appends what stands between quotes.
pub(super) fn push_escaped(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::birth::Birth;
    use crate::metrics::catalog;
    use crate::metrics::labels::Label;

    fn family(metric: &'static catalog::Metric, label: &str, value: Value) -> Family {
        let labels = [("idc", Label::shared(label))].into();
        let point = Point { labels, started_at: None, born: Birth::NONE, value, exemplars: Vec::new() };
        Family { metric, points: vec![point] }
    }

    #[test]
    fn a_sum_has_help_type_and_escaped_labels() {
        let page = render(&[family(&catalog::CALLS, "a\\\"b\nc", Value::Sum(7))]);
        let expected = "# HELP planet_calls_total Ended 1-to-1 calls.\n# TYPE planet_calls_total counter\n\
                        planet_calls_total{idc=\"a\\\\\\\"b\\nc\"} 7\n\n";
        assert_eq!(page, expected);
    }

    #[test]
    fn a_histogram_is_cumulative() {
        let histogram = Value::Histogram { bounds: [0.5, 10.0].into(), counts: vec![1, 2, 3], sum: 61.25 };
        let page = render(&[family(&catalog::CALL_DURATION, "KR", histogram)]);
        let samples: Vec<_> = page.lines().skip(2).collect();
        let name = "planet_call_duration_seconds";
        let expected = [
            format!("{name}_bucket{{idc=\"KR\",le=\"0.5\"}} 1"),
            format!("{name}_bucket{{idc=\"KR\",le=\"10\"}} 3"),
            format!("{name}_bucket{{idc=\"KR\",le=\"+Inf\"}} 6"),
            format!("{name}_sum{{idc=\"KR\"}} 61.25"),
            format!("{name}_count{{idc=\"KR\"}} 6"),
            String::new(),
        ];
        assert_eq!(samples, expected);
    }
}
