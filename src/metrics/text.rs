//! The page that Prometheus scrapes: text format 0.0.4.
//!
//! Source: Prometheus's documentation of its exposition formats.

use std::fmt::Write;

use metrics_exporter_prometheus::formatting::{write_help_line, write_type_line};

use super::catalog::Kind;
use super::family::{Family, Point, Value};

/// The content type of the page. Prometheus 3 insists on the version.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Renders families in their order.
pub fn render(families: &[Family]) -> String {
    let mut page = String::new();
    for family in families {
        render_family(&mut page, family);
    }
    page
}

fn render_family(page: &mut String, family: &Family) {
    let name = family.metric.prometheus_name();
    let kind = match family.metric.kind {
        Kind::Sum => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    write_help_line(page, &name, None, None, family.metric.description);
    write_type_line(page, &name, None, None, kind);
    for Point { labels, value, .. } in &family.points {
        let labels = Labels(labels);
        match value {
            Value::Sum(value) => sample(page, &name, "", &labels.to_text(None), value),
            Value::Gauge(value) => sample(page, &name, "", &labels.to_text(None), value),
            Value::Histogram { bounds, counts, sum } => {
                let mut cumulative = 0u64;
                let bounds = bounds.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
                for (bound, count) in bounds.zip(counts) {
                    cumulative = cumulative.saturating_add(*count);
                    sample(page, &name, "_bucket", &labels.to_text(Some(&bound)), cumulative);
                }
                let labels = labels.to_text(None);
                sample(page, &name, "_sum", &labels, sum);
                sample(page, &name, "_count", &labels, cumulative);
            }
        }
    }
    page.push('\n');
}

fn sample(page: &mut String, name: &str, suffix: &str, labels: &str, value: impl std::fmt::Display) {
    // Writing to a String cannot fail.
    let _ = writeln!(page, "{name}{suffix}{labels} {value}");
}

/// Labels as the format writes them. The escaping is our own: the crate's takes a backslash before a quote for an
/// escape that is already there, so that two values can become one.
struct Labels<'a>(&'a [(String, String)]);

impl Labels<'_> {
    fn to_text(&self, le: Option<&str>) -> String {
        let labels = self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let mut text = String::new();
        for (name, value) in labels.chain(le.map(|bound| ("le", bound))) {
            text.push(if text.is_empty() { '{' } else { ',' });
            text.push_str(name);
            text.push_str("=\"");
            for character in value.chars() {
                match character {
                    '\\' => text.push_str("\\\\"),
                    '"' => text.push_str("\\\""),
                    '\n' => text.push_str("\\n"),
                    other => text.push(other),
                }
            }
            text.push('"');
        }
        if !text.is_empty() {
            text.push('}');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::birth::Birth;
    use crate::metrics::catalog;

    fn family(metric: &'static catalog::Metric, label: &str, value: Value) -> Family {
        let labels = vec![("idc".to_owned(), label.to_owned())];
        Family { metric, points: vec![Point { labels, started_at: None, born: Birth::NONE, value }] }
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
        let histogram = Value::Histogram { bounds: vec![0.5, 10.0], counts: vec![1, 2, 3], sum: 61.25 };
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
