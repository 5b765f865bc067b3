//! The metrics of intake.

use hyper::StatusCode;
use metrics::{Counter, Histogram, counter, histogram};

use crate::metrics::catalog;

/// The metrics of intake, looked up once.
pub(super) struct IntakeMetrics {
    pub(super) probe: Counter,
    pub(super) canary: Counter,
    pub(super) refused: Counter,
    pub(super) panicked: Counter,
    pub(super) contradicting: Counter,
    requests: [(StatusCode, Counter); 10],
    pub(super) request_duration: Histogram,
}

impl IntakeMetrics {
    /// All of them, at 0.
    pub(super) fn new() -> IntakeMetrics {
        let event = |result: &'static str| counter!(catalog::EXPORTER_EVENTS.name, "result" => result);
        let answers = [
            StatusCode::OK,
            StatusCode::BAD_REQUEST,
            StatusCode::FORBIDDEN,
            StatusCode::NOT_FOUND,
            StatusCode::METHOD_NOT_ALLOWED,
            StatusCode::URI_TOO_LONG,
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            StatusCode::INTERNAL_SERVER_ERROR,
            StatusCode::SERVICE_UNAVAILABLE,
        ];
        IntakeMetrics {
            probe: event("probe"),
            canary: event("canary"),
            refused: event("refused"),
            panicked: event("panicked"),
            contradicting: counter!(catalog::EXPORTER_ANOMALIES.name, "kind" => "contradicting_repeat"),
            requests: answers.map(|status| (status, request_counter(status))),
            request_duration: histogram!(catalog::EXPORTER_REQUEST_DURATION.name),
        }
    }

    /// Counts a request by the status of its answer.
    pub(super) fn count_request(&self, status: StatusCode) {
        match self.requests.iter().find(|(known, _)| *known == status) {
            Some((_, counter)) => counter.increment(1),
            None => request_counter(status).increment(1),
        }
    }
}

impl std::fmt::Debug for IntakeMetrics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("IntakeMetrics")
    }
}

fn request_counter(status: StatusCode) -> Counter {
    counter!(catalog::EXPORTER_REQUESTS.name, "code" => status.as_u16().to_string())
}
