//! The page in OpenMetrics 1.0.0, for those who ask for it.
//!
//! Its samples are those of the text format to the letter: every one of the buckets, too, since a bucket whose bound is
//! spelled otherwise is another series to a Prometheus that was upgraded or scrapes both. Beside them it has what the
//! text format cannot say: units, exemplars and, if they are wanted, when series were born.
//!
//! Source: the OpenMetrics specification, version 1.0.0.

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use super::birth::Birth;
use super::catalog::Kind;
use super::family::{Exemplar, Family, Point, Value};
use super::registry::ProcessFamily;
use super::text::{self, push_escaped};

/// The content type of the page.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What stands at the end of a counter's samples, and not of its name.
const TOTAL: &str = "_total";

/// The units that a name can end with.
const UNITS: [&str; 2] = ["seconds", "bytes"];

/// Renders families in their order and what is about the process; `with_created` says when each series was born, as a sample of
/// its own.
pub fn render(families: &[Family], process: &[ProcessFamily], with_created: bool) -> String {
    let mut page = String::new();
    for family in families {
        let samples_name = family.metric.prometheus_name();
        let name = write_head(&mut page, &samples_name, family.metric.kind, family.metric.description);
        for point in &family.points {
            text::write_samples(&mut page, &samples_name, point, |place| exemplar(point, place));
            if with_created {
                write_created(&mut page, name, point);
            }
        }
    }
    for ProcessFamily { name, kind, description, point } in process {
        write_head(&mut page, name.as_str(), *kind, description);
        text::write_samples(&mut page, name.as_str(), point, |_| String::new());
    }
    page.push_str("# EOF\n");
    page
}

/// What a family is, which has samples of this name. Answers its own.
fn write_head<'n>(page: &mut String, samples_name: &'n str, kind: Kind, description: &str) -> &'n str {
    let name = match kind {
        Kind::Sum => samples_name.strip_suffix(TOTAL).unwrap_or(samples_name),
        Kind::Gauge | Kind::Histogram => samples_name,
    };
    write_line(page, format_args!("# TYPE {name} {}", kind.prometheus_type()));
    let ends_with = |unit: &&str| name.strip_suffix(*unit).is_some_and(|before| before.ends_with('_'));
    if let Some(unit) = UNITS.iter().find(|unit| ends_with(unit)) {
        write_line(page, format_args!("# UNIT {name} {unit}"));
    }
    page.extend(["# HELP ", name, " "]);
    push_escaped(page, description);
    page.push('\n');
    name
}

/// When a series was born, if that is known. A gauge has no beginning.
fn write_created(page: &mut String, name: &str, point: &Point) {
    let is_known = point.born != Birth::NONE && !matches!(point.value, Value::Gauge(_));
    if let Some(started_at) = point.started_at.filter(|_| is_known) {
        let labels = text::to_text(&point.labels);
        text::write_sample(page, &[name, "_created"], &labels, None, Seconds(started_at), "");
    }
}

/// What stands behind the sample of a sum, or of the bucket at this place.
fn exemplar(point: &Point, place: usize) -> String {
    let exemplar = point.exemplars.iter().find(|(known, _)| *known == place);
    exemplar.map_or_else(String::new, |(_, Exemplar { trace_id, value, at })| {
        let trace_id = u128::from_be_bytes(*trace_id);
        format!(" # {{trace_id=\"{trace_id:032x}\"}} {value} {}", Seconds(*at))
    })
}

fn write_line(page: &mut String, line: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = writeln!(page, "{line}");
}

/// A time in seconds since the Unix epoch, to the millisecond.
struct Seconds(SystemTime);

impl std::fmt::Display for Seconds {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let since_epoch = self.0.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        write!(formatter, "{}.{:03}", since_epoch.as_secs(), since_epoch.subsec_millis())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::catalog::{self, Metric};
    use crate::metrics::labels::{Label, Labels};

    fn family(metric: &'static Metric, value: Value, exemplars: Vec<(usize, Exemplar)>) -> Family {
        let born = Birth::at(SystemTime::UNIX_EPOCH + Duration::from_micros(7_000_250));
        let labels = [("idc", Label::Known("a\\\"b\nc"))].into();
        let started_at = Some(born.time());
        Family { metric, points: vec![Point { labels, started_at, born, value, exemplars }] }
    }

    fn exemplar_at(place: usize, value: f64) -> (usize, Exemplar) {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_600_000_000_045);
        (place, Exemplar { trace_id: [0x0a; 16], value, at })
    }

    const LABEL: &str = "idc=\"a\\\\\\\"b\\nc\"";
    const TRACE: &str = "{trace_id=\"0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a\"}";

    #[test]
    fn a_counter_has_its_name_without_total_its_unit_and_its_birth_if_wanted() {
        let families = [family(&catalog::CALL_BILLED, Value::Sum(7), vec![exemplar_at(0, 1.0)])];
        let name = "planet_call_billed_seconds";
        let head =
            format!("# TYPE {name} counter\n# UNIT {name} seconds\n# HELP {name} Billed time of calls.\n");
        let sample = format!("{name}_total{{{LABEL}}} 7 # {TRACE} 1 1600000000.045\n");
        assert_eq!(render(&families, &[], false), format!("{head}{sample}# EOF\n"));
        let created = format!("{name}_created{{{LABEL}}} 7.000\n");
        assert_eq!(render(&families, &[], true), format!("{head}{sample}{created}# EOF\n"));
    }

    #[test]
    fn a_birth_that_is_not_known_and_that_of_a_gauge_are_not_told() {
        let mut unknown = family(&catalog::CALLS, Value::Sum(7), Vec::new());
        unknown.points[0].born = Birth::NONE;
        let gauge = family(&catalog::CALL_LAST_EVENT_TIME, Value::Gauge(1.5), Vec::new());
        assert!(!render(&[unknown, gauge], &[], true).contains("_created"));
    }

    #[test]
    fn each_bucket_has_its_exemplar_and_sum_and_count_have_none() {
        let histogram = Value::Histogram { bounds: [0.5, 10.0].into(), counts: vec![1, 0, 3], sum: 61.25 };
        let exemplars = vec![exemplar_at(0, 0.25), exemplar_at(2, 30.0)];
        let page = render(&[family(&catalog::CALL_DURATION, histogram, exemplars)], &[], false);
        let samples: Vec<_> = page.lines().skip(3).collect();
        let name = "planet_call_duration_seconds";
        let expected = [
            format!("{name}_bucket{{{LABEL},le=\"0.5\"}} 1 # {TRACE} 0.25 1600000000.045"),
            format!("{name}_bucket{{{LABEL},le=\"10\"}} 1"),
            format!("{name}_bucket{{{LABEL},le=\"+Inf\"}} 4 # {TRACE} 30 1600000000.045"),
            format!("{name}_sum{{{LABEL}}} 61.25"),
            format!("{name}_count{{{LABEL}}} 4"),
            "# EOF".to_owned(),
        ];
        assert_eq!(samples, expected);
    }

    #[test]
    fn what_is_about_the_process_is_named_by_the_same_rules() {
        let family = |name: &'static str, kind, value| ProcessFamily {
            name: name.into(),
            kind,
            description: "Say \"it\".".into(),
            point: Point {
                labels: Labels::default(),
                started_at: None,
                born: Birth::NONE,
                value,
                exemplars: Vec::new(),
            },
        };
        let process = [
            family("process_cpu_seconds_total", Kind::Sum, Value::Sum(3)),
            family("process_threads", Kind::Gauge, Value::Gauge(3.0)),
        ];
        let expected = "# TYPE process_cpu_seconds counter\n# UNIT process_cpu_seconds seconds\n\
                        # HELP process_cpu_seconds Say \\\"it\\\".\nprocess_cpu_seconds_total 3\n\
                        # TYPE process_threads gauge\n# HELP process_threads Say \\\"it\\\".\nprocess_threads 3\n# EOF\n";
        assert_eq!(render(&[], &process, true), expected);
    }
}
