//! The call log over OTLP: one log record a call, which is an event in the sense of OpenTelemetry.
//!
//! It has the IDs of the call's [span], also where spans are not pushed, so that a backend leads from one to the
//! other. Source: OpenTelemetry specification, "Logs Data Model" and "Semantic conventions for events".

use std::time::Duration;

use bytes::Bytes;
use opentelemetry::trace::TraceFlags;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::transform::common::tonic::Attributes;
use opentelemetry_sdk::Resource;
use prost::Message;

use super::Settings;
use super::destination::OTLP_LOGS;
use super::identity::Identity;
use super::otlp::answer::Taken;
use super::otlp::calls::{self, Form};
use super::otlp::client::OtlpClient;
use super::otlp::origin::{Origin, unix_nanoseconds};
use super::otlp::outcome::SendError;
use super::spans::span;
use crate::callback::{CallEvent, labels};
use crate::config::otlp::{Batches, Sampling, Signal};

/// The name of the sink, and of its latch.
pub const NAME: &str = OTLP_LOGS;

/// The name of every event: the class, not the call.
pub const EVENT_NAME: &str = "planet.call";

/// How logs are delivered.
pub fn settings(batches: Batches) -> Settings {
    calls::settings(NAME, Signal::Logs.as_str(), "the OTLP receiver of logs", batches)
}

/// The form of calls as log records.
pub struct Logs {
    client: OtlpClient,
    origin: Origin,
    identity: Identity,
    spans: Option<Sampling>,
}

impl Logs {
    /// Log records that go through `client`, with as much of users as `identity` says. `spans` says of which calls
    /// spans are pushed; `None` if of no call.
    pub fn new(client: OtlpClient, resource: &Resource, identity: Identity, spans: Option<Sampling>) -> Logs {
        Logs { client, origin: Origin::of(resource), identity, spans }
    }

    /// The message with these.
    fn message(&self, log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
        let Origin { resource, schema_url, scope } = self.origin.clone();
        let scope_logs = ScopeLogs { scope: Some(scope), log_records, schema_url: String::new() };
        ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource: Some(resource),
                scope_logs: vec![scope_logs],
                schema_url,
            }],
        }
    }
}

impl Form for Logs {
    type Item = LogRecord;

    fn item(&self, event: &CallEvent<'_>) -> Option<LogRecord> {
        let has_span = self.spans.is_some_and(|sampling| sampling.takes(event.sid.bytes()));
        Some(record(event, &self.identity, has_span))
    }

    async fn send(&self, records: Vec<LogRecord>) -> Result<Taken, SendError> {
        let is_one = records.len() == 1;
        let message = Bytes::from(self.message(records).encode_to_vec());
        calls::send(&self.client, message, is_one).await
    }
}

/// The log record of a call. `has_span` says whether a span of it is pushed.
pub fn record(event: &CallEvent<'_>, identity: &Identity, has_span: bool) -> LogRecord {
    let (severity, severity_text) = match event.fault_domain.is_abnormal() {
        true => (SeverityNumber::Warn, "WARN"),
        false => (SeverityNumber::Info, "INFO"),
    };
    let flags = if has_span { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED };
    let trace_id = event.sid.bytes();
    LogRecord {
        time_unix_nano: unix_nanoseconds(span::end(event)),
        observed_time_unix_nano: unix_nanoseconds(event.received_at),
        severity_number: severity.into(),
        severity_text: severity_text.to_owned(),
        body: Some(AnyValue { value: Some(any_value::Value::StringValue(sentence(event))) }),
        attributes: Attributes::from(span::attributes(event, identity)).0,
        dropped_attributes_count: 0,
        flags: flags.to_u8().into(),
        trace_id: trace_id.to_vec(),
        span_id: span::span_id(trace_id).to_bytes().to_vec(),
        event_name: EVENT_NAME.to_owned(),
    }
}

/// What became of the call, for people. Nothing in it names them.
fn sentence(event: &CallEvent<'_>) -> String {
    let (media_type, idc) = (event.media_type.as_str(), labels::idc_of_people(event));
    let reason = labels::disconnect_reason(event);
    let end = match event.answered {
        true => format!("ended after {:?}", Duration::from_secs(event.duration.as_secs())),
        false => "was not answered".to_owned(),
    };
    let fault = match event.fault_domain.is_abnormal() {
        true => format!(" (fault: {})", event.fault_domain.as_str()),
        false => String::new(),
    };
    format!("{media_type} call in {idc} {end}: {reason}{fault}")
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use opentelemetry_proto::tonic::trace::v1::Span;

    use super::*;
    use crate::config::otlp::{Flags, OtlpSettings};

    const RECEIVED: u64 = 1_600_000_000;

    fn read(query: &str) -> CallEvent<'_> {
        let received_at = SystemTime::UNIX_EPOCH + Duration::from_secs(RECEIVED);
        CallEvent::read(query.as_bytes(), received_at).expect("a call")
    }

    fn body(record: &LogRecord) -> &str {
        match record.body.as_ref().and_then(|body| body.value.as_ref()) {
            Some(any_value::Value::StringValue(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    const NORMAL: &str = "sid=6364e8b3-bdac-436e-9631-0bce2498ce0c&type=V&from_user_id=9286&setup_time=1582527400&\
        start_time=1582527404&end_time=1582527434&duration=30&rc_idc=KR&disconnect_reason=1001&releaser_type=1";
    const ABNORMAL: &str = "sid=6364e8b3-bdac-436e-9631-0bce2498ce0d&type=A&from_user_id=9286&setup_time=1582527400&\
        end_time=1582527434&duration=0&rc_idc=%0aJP&disconnect_reason=1305";

    #[test]
    fn a_record_has_the_ids_the_end_and_the_attributes_of_the_span() {
        for (query, identity) in [(NORMAL, Identity::Keep), (ABNORMAL, Identity::Drop)] {
            let event = read(query);
            let (record, span) = (record(&event, &identity, true), Span::from(span::span(&event, &identity)));
            assert_eq!((&record.trace_id, &record.span_id), (&span.trace_id, &span.span_id));
            assert_eq!(record.time_unix_nano, span.end_time_unix_nano);
            assert_eq!(record.observed_time_unix_nano, RECEIVED * 1_000_000_000);
            assert_eq!(record.attributes, span.attributes);
            assert_eq!(record.event_name, "planet.call");
            let has_user = format!("{record:?}").contains("9286");
            assert_eq!(has_user, matches!(identity, Identity::Keep));
        }
    }

    #[test]
    fn an_abnormal_release_is_a_warning_and_any_other_is_not() {
        let of = |query| record(&read(query), &Identity::Drop, true);
        let (normal, abnormal) = (of(NORMAL), of(ABNORMAL));
        assert_eq!((normal.severity_number(), normal.severity_text.as_str()), (SeverityNumber::Info, "INFO"));
        assert_eq!(
            (abnormal.severity_number(), abnormal.severity_text.as_str()),
            (SeverityNumber::Warn, "WARN")
        );
        assert_eq!(body(&normal), "video call in KR ended after 30s: NORMAL");
        assert_eq!(
            body(&abnormal),
            "audio call in other was not answered: SERVER_INTERNAL_ERROR (fault: platform)"
        );
    }

    #[test]
    fn a_time_that_is_not_known_is_that_of_receipt() {
        let record = record(&read("sid=a&duration=5"), &Identity::Drop, true);
        assert_eq!(record.time_unix_nano, record.observed_time_unix_nano);
    }

    #[test]
    fn the_trace_is_sampled_if_its_span_is_pushed() {
        let flags = |spans| {
            let environment = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector")].into_iter().collect();
            let flags = Flags { pushes_call_log: true, ..Flags::default() };
            let destination = OtlpSettings::read(&environment, flags).logs.destination().cloned();
            let client = OtlpClient::new(destination.expect("a destination"));
            let logs = Logs::new(client, &Resource::builder_empty().build(), Identity::Drop, spans);
            logs.item(&read(NORMAL)).expect("a record").flags
        };
        assert_eq!((flags(Some(Sampling::ALL)), flags(None)), (1, 0));
    }
}
