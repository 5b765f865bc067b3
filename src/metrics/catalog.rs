//! Every metric, once: its OpenTelemetry name, unit, kind and description, from which its Prometheus name follows.
//!
//! Both paths read it: the page that Prometheus scrapes, and the OTLP push. Prometheus's own rules for OTLP make the
//! same names of it: dots become underscores, the unit is appended, and a sum ends in `_total`. Units in braces
//! are annotations, which append nothing.

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

impl Kind {
    /// The type under which Prometheus knows it.
    pub const fn prometheus_type(self) -> &'static str {
        match self {
            Kind::Sum => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
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
    /// The names of its labels. With `--services` the metrics of calls have the label `service` as well.
    pub labels: &'static [&'static str],
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

/// Declares the metrics, each once, and the list of them.
macro_rules! catalog {
    ($($name:ident = $kind:ident($otel:literal, $unit:literal, $description:literal $(, $label:literal)*);)*) => {
        $(
            #[doc = $description]
            pub static $name: Metric = Metric {
                name: $otel,
                unit: $unit,
                kind: Kind::$kind,
                description: $description,
                labels: &[$($label),*],
            };
        )*

        /// Every metric, in the order in which they are shown.
        pub static METRICS: &[&Metric] = &[$(&$name),*];
    };
}

catalog! {
    CALLS = Sum("planet.calls", "{call}",
        "Ended 1-to-1 calls.",
        "media_type", "idc", "disconnect_reason", "fault_domain", "releaser", "answered");
    CALL_RESULTS = Sum("planet.call.results", "{call}",
        "Ended 1-to-1 calls by whose fault their release was. Audio and video stand at 0 for an IDC from its first call.",
        "media_type", "idc", "fault_domain", "answered");
    CALL_DURATION = Histogram("planet.call.duration", "s",
        "Conversation time of answered calls, from answer to end.",
        "media_type", "idc", "disconnect_reason", "fault_domain");
    CALL_SETUP_DURATION = Histogram("planet.call.setup.duration", "s",
        "Time from a call's creation to its answer, or to its end if it was never answered.",
        "media_type", "idc", "answered");
    CALL_BILLED = Sum("planet.call.billed", "s",
        "Billed time of calls.",
        "media_type", "idc");
    CALL_RELEASES = Sum("planet.call.releases", "{release}",
        "Releases of calls by Q.850 cause (terminate) and detailed release code, as they were sent.",
        "terminate", "rel_code", "rel_code_str");
    CALL_USER_RELEASES = Sum("planet.call.user_releases", "{release}",
        "Releases of calls with a release code that the application defines, by that code (user_rel_code).",
        "user_rel_code");
    CALL_ABNORMAL_RELEASES = Sum("planet.call.abnormal_releases", "{release}",
        "Releases whose fault domain is client, network, platform, application or unknown. Every known reason \
         stands at 0 for an IDC from its first call; UNKNOWN is every reason that is not in the published table.",
        "idc", "disconnect_reason", "fault_domain");
    CALL_RECENT_ABNORMAL = Gauge("planet.call.recent.abnormal", "{call}",
        "How many of the last 32 calls were released abnormally.",
        "media_type", "idc");
    CALL_RECENT_CALLS = Gauge("planet.call.recent.calls", "{call}",
        "How many calls planet_call_recent_abnormal is about: 32, or all if there were fewer.",
        "media_type", "idc");
    CALL_ABNORMAL_CALLERS = Gauge("planet.call.abnormal_callers", "{caller}",
        "How many different callers had an abnormal call in the last 5 or 60 minutes, exact up to \
         512 in 60 minutes and within a few percent beyond. 20000 stands for that many or more.",
        "idc", "window");
    CALL_LAST_EVENT_TIME = Gauge("planet.call.last_event.time", "s",
        "When the last call event of an IDC was accepted, in seconds since the Unix epoch. An IDC without a call has no sample.",
        "idc");
    EXPORTER_LABEL_OVERFLOWS = Sum("planet.exporter.label_overflows", "{event}",
        "Call events that were counted under the label value other because a limit of distinct values or label \
         sets was reached, by what reached it.",
        "limit");
    EXPORTER_DEPARTED_CALLS = Gauge("planet.exporter.departed_calls", "{call}",
        "Calls that were counted by series that are not shown any more, because a label value from outside was unused for \
         a day, by metric. With what the metric shows they make the total.",
        "metric");
    EXPORTER_EVENTS = Sum("planet.exporter.events", "{event}",
        "Call events by result: accepted, duplicate (its sid was seen before), refused (it cannot be a call), \
         unavailable (it could not be stored and was answered 503), undurable (it could not be stored in time, so it \
         was passed on and is held in memory until it can), uncounted (it was passed on and forgotten, since there was \
         no room to hold it), not_taken (the exporter drains, and the service behind did not take it, so it is not \
         stored), panicked (this program could not read it, which is a bug), wrong_path (it came to another \
         path than the registered one, or with another method, and is kept like a refused one), probe (a request to \
         the callback without any parameter), canary (a request of an exporter to itself, which is no call event).",
        "result");
    EXPORTER_TURNED_AWAY_REQUESTS = Sum("planet.exporter.turned_away_requests", "{request}",
        "Requests to the callback, or with call events elsewhere, that were answered 403 or 429 and not looked at, by reason: secret (they \
         do not have that of --call-event-secret-file), address (it is not in --allow-from), rate (their peer sent more than \
         --max-rate).",
        "reason");
    EXPORTER_ANOMALIES = Sum("planet.exporter.anomalies", "{anomaly}",
        "Oddities of accepted call events by kind; each counts once an event. contradicting_repeat is a call of \
         which a repeat says something else than what was counted.",
        "kind");
    EXPORTER_REQUESTS = Sum("planet.exporter.requests", "{request}",
        "Requests to the call event listener by HTTP status code.",
        "code");
    EXPORTER_REQUEST_DURATION = Histogram("planet.exporter.request.duration", "s",
        "Time from a request's head having been read to its answer, on the call event listener; without requests \
         that are passed on.");
    EXPORTER_CANARY_ROUND_TRIPS = Sum("planet.exporter.canary.round_trips", "{round_trip}",
        "Requests of the exporter to itself through its public URL, by result: success, or why it did not come back: \
         unresolved, unreachable, tls, timeout, refused (an exporter got it, and cannot store), status (another answer), \
         no_echo (something else than an exporter answered).",
        "result");
    EXPORTER_CANARY_DURATION = Histogram("planet.exporter.canary.duration", "s",
        "Time from the lookup of the name to the head of the answer, of successful round trips.");
    EXPORTER_CANARY_LAST_SUCCESS_TIME = Gauge("planet.exporter.canary.last_success.time", "s",
        "When the last successful round trip ended, in seconds since the Unix epoch; 0 before the first.");
    EXPORTER_CONNECTIONS = Gauge("planet.exporter.connections", "{connection}",
        "Open connections by listener.",
        "listener");
    EXPORTER_EVICTED_CONNECTIONS = Sum("planet.exporter.evicted_connections", "{connection}",
        "Connections closed because the limit of connections was reached and a new one came, by listener.",
        "listener");
    EXPORTER_REJECTED_CONNECTIONS = Sum("planet.exporter.rejected_connections", "{connection}",
        "Connections turned away because the limit of connections was reached and none could be closed, by listener.",
        "listener");
    EXPORTER_ACCEPT_FAILURES = Sum("planet.exporter.accept_failures", "{failure}",
        "Failures to accept a connection, such as for want of file descriptors, by listener.",
        "listener");
    EXPORTER_INVALID_REQUESTS = Sum("planet.exporter.invalid_requests", "{request}",
        "Requests that could not be read as HTTP/1.1, or whose head was too large, by listener.",
        "listener");
    EXPORTER_CERTIFICATE_EXPIRY_TIME = Gauge("planet.exporter.certificate_expiry.time", "s",
        "When the certificate of a listener that speaks TLS expires, in seconds since 1970, by listener.",
        "listener");
    EXPORTER_SEEN_SIDS = Gauge("planet.exporter.seen_sids", "{sid}",
        "Session IDs in the window in which a repeat is recognized.");
    EXPORTER_REFUSED_REQUESTS = Gauge("planet.exporter.refused_requests", "{request}",
        "Refused requests that are kept to be looked at.");
    EXPORTER_STORAGE_FAILING = Gauge("planet.exporter.storage_failing", "{state}",
        "1 while call events cannot be stored, else 0.");
    EXPORTER_UNDURABLE_EVENTS = Gauge("planet.exporter.undurable_events", "{event}",
        "Call events that could not be stored in time and are held in memory until the disk takes them.");
    EXPORTER_JOURNAL_SIZE = Gauge("planet.exporter.journal.size", "By",
        "Bytes that the journal and what sinks have set aside of it take.");
    EXPORTER_JOURNAL_DAMAGED = Gauge("planet.exporter.journal.damaged_records", "{record}",
        "Acknowledged records that were found damaged in the state directory at the start, and are not in the \
         totals unless a checkpoint has them.");
    EXPORTER_JOURNAL_SYNC_DURATION = Histogram("planet.exporter.journal.sync.duration", "s",
        "Time that storing a batch of call events on disk took, from the write to the end of the sync.");
    EXPORTER_BACKLOG = Gauge("planet.exporter.backlog", "{event}",
        "Call events that a sink has not finished.",
        "sink");
    EXPORTER_BACKLOG_AGE = Gauge("planet.exporter.backlog.age", "s",
        "Age of the oldest call event that a sink has not finished; 0 without a backlog.",
        "sink");
    EXPORTER_DELIVERED_EVENTS = Sum("planet.exporter.delivered_events", "{event}",
        "Call events that a sink delivered, as its peer confirmed.",
        "sink");
    EXPORTER_DROPPED_EVENTS = Sum("planet.exporter.dropped_events", "{event}",
        "Call events that a sink did not deliver and will not, by cause: backlog (it passed its limit), refused (the \
         peer refused them for good), age (they failed for too long), gone (there is no peer any more), shutdown (they \
         were left when the exporter ended, in memory or in a state directory that goes with the pod), damaged (what waited \
         of them on disk is damaged or was removed).",
        "sink", "cause");
    EXPORTER_UNORDERED_EVENTS = Sum("planet.exporter.unordered_events", "{event}",
        "Call events that wait for a sink on disk only, since too many wait, and may be overtaken by later ones of the \
         same caller.",
        "sink");
    EXPORTER_SINK_GONE = Gauge("planet.exporter.sink_gone", "{state}",
        "1 if what a sink writes to is gone, so that its events are dropped until the next start, else 0.",
        "sink");
    EXPORTER_QUARANTINED_EVENTS = Sum("planet.exporter.quarantined_events", "{event}",
        "Stored call events that a part of the exporter could not read, which is a bug; they are set aside, by the part \
         (fold or a sink). What the fold sets aside is not in the totals.",
        "by");
    EXPORTER_DELIVERIES = Sum("planet.exporter.deliveries", "{delivery}",
        "Attempts to deliver, by signal (metrics, traces, logs, call_log, or call_events for the service behind) and result: \
         success, partial (some of it was refused), retry (to be tried again), refused (never to be tried again).",
        "signal", "result");
    EXPORTER_MISCONFIGURED = Gauge("planet.exporter.misconfigured", "{state}",
        "1 while a destination of OTLP answers as if it were configured wrongly (credentials, path, protocol), by \
         signal, else 0. What goes there waits.",
        "signal");
    EXPORTER_DELIVERY_DURATION = Histogram("planet.exporter.delivery.duration", "s",
        "Time that an attempt to deliver took, by signal.",
        "signal");
    EXPORTER_PROXY_FAILURES = Sum("planet.exporter.proxy.failures", "{failure}",
        "Requests that were not passed on to the service behind, or not to their end, by error: unreachable \
         (502), timeout (504), request_timeout (408, the client was too slow), bad_body (400, the client's body broke off), switching_protocols (502), \
         stopping (503, the exporter ended before the service answered), no_path (501), aborted (the \
         service broke off its answer).",
        "error");
    EXPORTER_PROXY_DURATION = Histogram("planet.exporter.proxy.duration", "s",
        "Time from passing a request on to the head of the answer of the service behind, or to the failure.");
    EXPORTER_BUILD_INFO = Gauge("planet.exporter.build_info", "{info}",
        "Always 1; the labels say which version runs.",
        "version");
    EXPORTER_START_TIME = Gauge("planet.exporter.start_time", "s",
        "When the process started, in Unix time. It is pushed as well, unlike process_start_time_seconds.");
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write;

    use super::*;
    use crate::metrics::documented::assert_documented;

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

    /// What stands before the table in docs/metrics.md.
    const MARK: &str = "<!-- The table is made of src/metrics/catalog.rs: PLANET_TEST_UPDATE=1 cargo test --lib catalog -->\n";

    /// The table of docs/metrics.md.
    fn table() -> String {
        let mut text =
            "\n| Prometheus | OpenTelemetry, unit | what | labels |\n|---|---|---|---|\n".to_owned();
        for metric in METRICS {
            let Metric { name, unit, description, .. } = metric;
            let kind = match metric.kind {
                Kind::Sum => "",
                Kind::Gauge => "Gauge. ",
                Kind::Histogram => "Histogram. ",
            };
            let (shown, labels) = (metric.prometheus_name(), metric.labels.join(", "));
            let _ = writeln!(text, "| {shown} | {name}, `{unit}` | {kind}{description} | {labels} |");
        }
        text
    }

    #[test]
    fn the_documentation_has_the_catalog() {
        assert_documented("docs/metrics.md", MARK, &table());
    }

    #[test]
    fn every_metric_has_names_of_its_own() {
        let names: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
        let prometheus_names: BTreeSet<_> = METRICS.iter().map(|metric| metric.prometheus_name()).collect();
        assert_eq!((names.len(), prometheus_names.len()), (METRICS.len(), METRICS.len()));
    }
}
