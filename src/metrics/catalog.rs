//! Every metric, once: its OpenTelemetry name, unit, kind and description, from which its Prometheus name follows.
//!
//! Both paths read it: the page that Prometheus scrapes, and the OTLP push. Prometheus's own rules for OTLP make the
//! same names of it: dots become underscores, the unit is appended, and a sum ends in `_total`. Units in braces
//! are annotations, which append nothing.

use std::time::SystemTime;

use crate::callback::labels;
use crate::ledger::{Histogram, Ledger};

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A sum that only grows: a counter to Prometheus.
    Sum,
    /// A value that goes up and down.
    Gauge,
    /// A histogram with explicit buckets.
    Histogram,
}

/// A metric of the catalog.
#[derive(Debug, PartialEq, Eq)]
pub struct Metric {
    /// The OpenTelemetry name.
    pub name: &'static str,
    /// The unit in UCUM notation, as OpenTelemetry writes it.
    pub unit: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it counts or measures, in a sentence.
    pub description: &'static str,
}

impl Metric {
    /// The name under which Prometheus knows the metric, by its rules for translating OTLP.
    pub fn prometheus_name(&self) -> String {
        let mut name = self.name.replace('.', "_");
        let unit = match self.unit {
            "s" => Some("seconds"),
            "By" => Some("bytes"),
            _ => None,
        };
        if let Some(unit) = unit.filter(|unit| !name.ends_with(unit)) {
            name.push('_');
            name.push_str(unit);
        }
        if self.kind == Kind::Sum {
            name.push_str("_total");
        }
        name
    }
}

const fn sum(name: &'static str, unit: &'static str, description: &'static str) -> Metric {
    Metric { name, unit, kind: Kind::Sum, description }
}

const fn gauge(name: &'static str, unit: &'static str, description: &'static str) -> Metric {
    Metric { name, unit, kind: Kind::Gauge, description }
}

const fn histogram(name: &'static str, unit: &'static str, description: &'static str) -> Metric {
    Metric { name, unit, kind: Kind::Histogram, description }
}

/// Ended calls.
pub static CALLS: Metric = sum("planet.calls", "{call}", "Ended 1-to-1 calls.");
/// Conversation time.
pub static CALL_DURATION: Metric =
    histogram("planet.call.duration", "s", "Conversation time of answered calls, from answer to end.");
/// Time to answer.
pub static CALL_SETUP_DURATION: Metric = histogram(
    "planet.call.setup.duration",
    "s",
    "Time from a call's creation to its answer, or to its end if it was never answered.",
);
/// Billed time.
pub static CALL_BILLED: Metric = sum("planet.call.billed", "s", "Billed time of calls.");
/// Release causes and codes.
pub static CALL_RELEASES: Metric = sum(
    "planet.call.releases",
    "{release}",
    "Releases of calls by Q.850 cause (terminate) and detailed release code, as they were sent.",
);
/// Abnormal releases.
pub static CALL_ABNORMAL_RELEASES: Metric = sum(
    "planet.call.abnormal_releases",
    "{release}",
    "Releases whose fault domain is client, network, platform, application or unknown. Every known reason stands at 0 \
     from the start; UNKNOWN is every reason that is not in the published table.",
);
/// Time of the last event.
pub static CALL_LAST_EVENT_TIME: Metric = gauge(
    "planet.call.last_event.time",
    "s",
    "When the last call event was accepted, in seconds since the Unix epoch.",
);
/// Events whose label values exceeded a limit.
pub static EXPORTER_LABEL_OVERFLOWS: Metric = sum(
    "planet.exporter.label_overflows",
    "{event}",
    "Call events that were counted under the label value other because a limit of distinct values or label sets was \
     reached, by what reached it.",
);

/// Call events by what became of them.
pub static EXPORTER_EVENTS: Metric = sum(
    "planet.exporter.events",
    "{event}",
    "Call events by result: accepted, duplicate (its sid was seen before), refused (it cannot be a call), unavailable \
     (it could not be stored).",
);
/// Oddities of accepted events.
pub static EXPORTER_ANOMALIES: Metric = sum(
    "planet.exporter.anomalies",
    "{anomaly}",
    "Oddities of accepted call events by kind; each counts once an event.",
);
/// Requests by status code.
pub static EXPORTER_REQUESTS: Metric =
    sum("planet.exporter.requests", "{request}", "Requests to the call event listener by HTTP status code.");
/// Latency of intake.
pub static EXPORTER_REQUEST_DURATION: Metric = histogram(
    "planet.exporter.request.duration",
    "s",
    "Time from a request's head having been read to its answer, on the call event listener; without requests that are \
     passed on.",
);
/// Open connections.
pub static EXPORTER_CONNECTIONS: Metric =
    gauge("planet.exporter.connections", "{connection}", "Open connections by listener.");
/// Connections that were turned away.
pub static EXPORTER_REJECTED_CONNECTIONS: Metric = sum(
    "planet.exporter.rejected_connections",
    "{connection}",
    "Connections turned away because the limit of connections was reached, by listener.",
);
/// Failures to accept a connection.
pub static EXPORTER_ACCEPT_FAILURES: Metric = sum(
    "planet.exporter.accept_failures",
    "{failure}",
    "Failures to accept a connection, such as for want of file descriptors, by listener.",
);
/// Requests that are none.
pub static EXPORTER_INVALID_REQUESTS: Metric = sum(
    "planet.exporter.invalid_requests",
    "{request}",
    "Requests that could not be read as HTTP/1.1, or whose head was too large, by listener.",
);
/// The window of seen sids.
pub static EXPORTER_SEEN_SIDS: Metric =
    gauge("planet.exporter.seen_sids", "{sid}", "Session IDs in the window in which a repeat is recognized.");
/// Refused requests that are kept.
pub static EXPORTER_REFUSED_REQUESTS: Metric =
    gauge("planet.exporter.refused_requests", "{request}", "Refused requests that are kept to be looked at.");
/// Whether call events cannot be stored.
pub static EXPORTER_STORAGE_FAILING: Metric = gauge(
    "planet.exporter.storage_failing",
    "{state}",
    "1 while call events cannot be stored and the exporter is not ready for them, else 0.",
);
/// Size of the journal.
pub static EXPORTER_JOURNAL_SIZE: Metric =
    gauge("planet.exporter.journal.size", "By", "Bytes that the journal keeps for its readers.");
/// Records that cannot be read.
pub static EXPORTER_JOURNAL_DAMAGED: Metric = gauge(
    "planet.exporter.journal.damaged_records",
    "{record}",
    "Acknowledged records that were found damaged in the state directory at the start, and are not in the totals unless a \
     checkpoint has them.",
);
/// Time of storing a batch.
pub static EXPORTER_JOURNAL_SYNC_DURATION: Metric = histogram(
    "planet.exporter.journal.sync.duration",
    "s",
    "Time that storing a batch of call events on disk took, from the write to the end of the sync.",
);
/// Backlog of a reader.
pub static EXPORTER_BACKLOG: Metric =
    gauge("planet.exporter.backlog", "{event}", "Call events that a reader of the journal has not finished.");
/// Age of the oldest event in a reader's backlog.
pub static EXPORTER_BACKLOG_AGE: Metric = gauge(
    "planet.exporter.backlog.age",
    "s",
    "Age of the oldest call event that a reader of the journal has not finished; 0 without a backlog.",
);
/// Events that a reader delivered.
pub static EXPORTER_DELIVERED_EVENTS: Metric = sum(
    "planet.exporter.delivered_events",
    "{event}",
    "Call events that a reader of the journal delivered, as its receiver confirmed.",
);
/// Events that a reader will never deliver.
pub static EXPORTER_GIVEN_UP_EVENTS: Metric = sum(
    "planet.exporter.given_up_events",
    "{event}",
    "Call events that a reader of the journal did not deliver and will not, by cause: backlog (it passed its limit), \
     refused (the receiver refused them for good), age (they failed for too long), shutdown (they waited in memory when the \
     exporter ended).",
);
/// Attempts to push.
pub static EXPORTER_DELIVERIES: Metric = sum(
    "planet.exporter.deliveries",
    "{delivery}",
    "Attempts to deliver, by signal (metrics, traces, or call_events for the service behind) and result: success, partial (some of it was refused), retry (to be \
     tried again), refused (never to be tried again).",
);
/// Time of an attempt to push.
pub static EXPORTER_DELIVERY_DURATION: Metric =
    histogram("planet.exporter.delivery.duration", "s", "Time that an attempt to deliver took, by signal.");
/// Failures of the proxy.
pub static EXPORTER_PROXY_FAILURES: Metric = sum(
    "planet.exporter.proxy.failures",
    "{failure}",
    "Requests that were not passed on to the service behind, or not to their end, by error: unreachable (502), timeout \
     (504), request_timeout (408, the client was too slow), no_path (501), aborted (the service broke off its answer).",
);
/// Time of the service behind.
pub static EXPORTER_PROXY_DURATION: Metric = histogram(
    "planet.exporter.proxy.duration",
    "s",
    "Time from passing a request on to the head of the answer of the service behind, or to the failure.",
);
/// Version.
pub static EXPORTER_BUILD_INFO: Metric =
    gauge("planet.exporter.build_info", "{info}", "Always 1; the labels say which version runs.");

/// The metrics of calls, which are read from the ledger.
pub static CALL_METRICS: [&Metric; 8] = [
    &CALLS,
    &CALL_DURATION,
    &CALL_SETUP_DURATION,
    &CALL_BILLED,
    &CALL_RELEASES,
    &CALL_ABNORMAL_RELEASES,
    &CALL_LAST_EVENT_TIME,
    &EXPORTER_LABEL_OVERFLOWS,
];

/// The metrics of the exporter itself, which are recorded through the `metrics` facade under their OpenTelemetry names.
pub static EXPORTER_METRICS: [&Metric; 23] = [
    &EXPORTER_EVENTS,
    &EXPORTER_ANOMALIES,
    &EXPORTER_REQUESTS,
    &EXPORTER_REQUEST_DURATION,
    &EXPORTER_CONNECTIONS,
    &EXPORTER_REJECTED_CONNECTIONS,
    &EXPORTER_ACCEPT_FAILURES,
    &EXPORTER_INVALID_REQUESTS,
    &EXPORTER_SEEN_SIDS,
    &EXPORTER_REFUSED_REQUESTS,
    &EXPORTER_STORAGE_FAILING,
    &EXPORTER_JOURNAL_SIZE,
    &EXPORTER_JOURNAL_DAMAGED,
    &EXPORTER_JOURNAL_SYNC_DURATION,
    &EXPORTER_BACKLOG,
    &EXPORTER_BACKLOG_AGE,
    &EXPORTER_DELIVERED_EVENTS,
    &EXPORTER_GIVEN_UP_EVENTS,
    &EXPORTER_DELIVERIES,
    &EXPORTER_DELIVERY_DURATION,
    &EXPORTER_PROXY_FAILURES,
    &EXPORTER_PROXY_DURATION,
    &EXPORTER_BUILD_INFO,
];

/// A metric with its points at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// Which metric.
    pub metric: &'static Metric,
    /// From when on sums and histograms count.
    pub started_at: SystemTime,
    /// One point a label set, in a stable order.
    pub points: Vec<Point>,
}

/// The value of a metric for one label set.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Names and values of the labels.
    pub labels: Vec<(String, String)>,
    /// The value.
    pub value: Value,
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
        bounds: Vec<f64>,
        /// One count a bucket, not cumulative; one more than there are bounds.
        counts: Vec<u64>,
        /// The sum of what was observed, in the metric's unit.
        sum: f64,
    },
}

impl From<&Histogram> for Value {
    fn from(histogram: &Histogram) -> Value {
        Value::Histogram {
            bounds: histogram.bounds().to_vec(),
            counts: histogram.counts().to_vec(),
            sum: histogram.sum().as_secs_f64(),
        }
    }
}

/// The metrics of calls as the ledger has them, in the order of [`CALL_METRICS`].
pub fn call_families(ledger: &Ledger) -> Vec<Family> {
    let family = |metric, points| Family { metric, started_at: ledger.started_at(), points };
    let calls = ledger.calls().iter().map(|(call, count)| {
        let labels = [
            ("media_type", call.media_type.as_str()),
            ("idc", call.idc.as_str()),
            ("disconnect_reason", call.disconnect_reason.as_str()),
            ("fault_domain", call.fault_domain.as_str()),
            ("releaser", call.releaser.as_str()),
            ("answered", labels::answered(call.answered)),
        ];
        point(labels, Value::Sum(*count))
    });
    let durations = ledger.durations().iter().map(|(call, histogram)| {
        let labels = [
            ("media_type", call.media_type.as_str()),
            ("idc", call.idc.as_str()),
            ("disconnect_reason", call.disconnect_reason.as_str()),
            ("fault_domain", call.fault_domain.as_str()),
        ];
        point(labels, Value::from(histogram))
    });
    let setup_durations = ledger.setup_durations().iter().map(|(call, histogram)| {
        let labels = [
            ("media_type", call.media_type.as_str()),
            ("idc", call.idc.as_str()),
            ("answered", labels::answered(call.answered)),
        ];
        point(labels, Value::from(histogram))
    });
    let billed = ledger.billed_seconds().iter().map(|(call, seconds)| {
        point([("media_type", call.media_type.as_str()), ("idc", call.idc.as_str())], Value::Sum(*seconds))
    });
    let releases = ledger.releases().iter().map(|(release, count)| {
        let labels = [
            ("terminate", release.terminate.as_str()),
            ("rel_code", release.rel_code.as_str()),
            ("rel_code_str", release.rel_code_str.as_str()),
        ];
        point(labels, Value::Sum(*count))
    });
    let abnormal_releases = ledger.abnormal_releases().iter().map(|(release, count)| {
        let labels = [
            ("disconnect_reason", release.disconnect_reason),
            ("fault_domain", release.fault_domain.as_str()),
        ];
        point(labels, Value::Sum(*count))
    });
    let last_event = ledger.last_event().map(|time| point([], Value::Gauge(unix_seconds(time))));
    let overflows = ledger.overflows();
    let overflows = [
        ("idc", overflows.idc),
        ("disconnect_reason", overflows.disconnect_reason),
        ("calls", overflows.call_series),
        ("releases", overflows.release_series),
    ]
    .map(|(limit, count)| point([("limit", limit)], Value::Sum(count)));
    vec![
        family(&CALLS, calls.collect()),
        family(&CALL_DURATION, durations.collect()),
        family(&CALL_SETUP_DURATION, setup_durations.collect()),
        family(&CALL_BILLED, billed.collect()),
        family(&CALL_RELEASES, releases.collect()),
        family(&CALL_ABNORMAL_RELEASES, abnormal_releases.collect()),
        family(&CALL_LAST_EVENT_TIME, last_event.into_iter().collect()),
        family(&EXPORTER_LABEL_OVERFLOWS, overflows.to_vec()),
    ]
}

fn point<const LABELS: usize>(labels: [(&str, &str); LABELS], value: Value) -> Point {
    Point { labels: labels.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(), value }
}

/// Seconds since the Unix epoch, to the millisecond.
pub fn unix_seconds(time: SystemTime) -> f64 {
    let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since_epoch.as_millis() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_follow_the_contract() {
        let name = |metric: &Metric| metric.prometheus_name();
        assert_eq!(name(&CALLS), "planet_calls_total");
        assert_eq!(name(&CALL_DURATION), "planet_call_duration_seconds");
        assert_eq!(name(&CALL_SETUP_DURATION), "planet_call_setup_duration_seconds");
        assert_eq!(name(&CALL_BILLED), "planet_call_billed_seconds_total");
        assert_eq!(name(&CALL_RELEASES), "planet_call_releases_total");
        assert_eq!(name(&CALL_ABNORMAL_RELEASES), "planet_call_abnormal_releases_total");
        assert_eq!(name(&CALL_LAST_EVENT_TIME), "planet_call_last_event_time_seconds");
        assert_eq!(name(&EXPORTER_JOURNAL_SIZE), "planet_exporter_journal_size_bytes");
    }

    #[test]
    fn every_metric_stands_once_in_the_catalog() {
        let names: BTreeSet<_> =
            CALL_METRICS.iter().chain(&EXPORTER_METRICS).map(|metric| metric.name).collect();
        assert_eq!(names.len(), CALL_METRICS.len() + EXPORTER_METRICS.len());
    }
}
