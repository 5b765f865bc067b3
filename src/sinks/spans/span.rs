//! The span of a call.
//!
//! The trace ID is the sid, so a call is found by its sid; the span ID is derived from it too, so that a delivery that
//! is repeated brings the same span. Attribute names: `planet.` and the parameter's name; `error.type` is
//! OpenTelemetry's.

use std::borrow::Cow;
use std::time::SystemTime;

use opentelemetry::trace::{Event, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{Array, InstrumentationScope, KeyValue, StringValue, Value};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use sha2::{Digest, Sha256};

use crate::callback::call_event::{Parameter, ValueKind};
use crate::callback::{CallEvent, Key, labels};

use crate::sinks::identity::Identity;

/// The name of every span: the class, not the call.
pub const SPAN_NAME: &str = "call";

/// The span of a call event.
///
/// A time that the event does not tell is replaced by the nearest that is known, at last by the time of receipt, and
/// the span says so in `planet.time_estimated`.
pub fn span(event: &CallEvent<'_>, identity: &Identity) -> SpanData {
    let end = end(event);
    let start = event.setup_time.or(event.start_time).unwrap_or(end).min(end);
    let status = match event.fault_domain.is_abnormal() {
        true => Status::error(labels::disconnect_reason(event)),
        false => Status::Unset,
    };
    let mut events = SpanEvents::default();
    if let Some(answered_at) = event.start_time.filter(|_| event.answered) {
        events.events.push(Event::new("answered", answered_at, Vec::new(), 0));
    }
    events.events.push(Event::new("released", end, release_attributes(event), 0));
    SpanData {
        span_context: span_context(event.sid),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: Cow::Borrowed(SPAN_NAME),
        start_time: start,
        end_time: end,
        attributes: attributes(event, identity),
        dropped_attributes_count: 0,
        events,
        links: SpanLinks::default(),
        status,
        instrumentation_scope: InstrumentationScope::default(),
    }
}

/// When the call ended, as far as is known.
pub fn end(event: &CallEvent<'_>) -> SystemTime {
    event.end_time.unwrap_or(event.received_at)
}

/// Everything that is known of a call.
pub fn attributes(event: &CallEvent<'_>, identity: &Identity) -> Vec<KeyValue> {
    let mut attributes = parameters(event, identity);
    attributes.push(KeyValue::new("planet.fault_domain", event.fault_domain.as_str()));
    attributes.push(KeyValue::new("planet.releaser", event.releaser.as_str()));
    attributes.push(KeyValue::new("planet.answered", event.answered));
    attributes.push(KeyValue::new("planet.reason", labels::disconnect_reason(event)));
    if event.setup_time.is_none() || event.end_time.is_none() || event.setup_time > event.end_time {
        attributes.push(KeyValue::new("planet.time_estimated", true));
    }
    if !event.anomalies.is_empty() {
        let kinds = event.anomalies.iter().map(|anomaly| StringValue::from(anomaly.as_str())).collect();
        attributes.push(KeyValue::new("planet.anomalies", Value::Array(Array::String(kinds))));
    }
    if event.fault_domain.is_abnormal() {
        attributes.push(KeyValue::new("error.type", labels::disconnect_reason(event)));
    }
    attributes
}

/// The trace ID is the sid's bytes.
fn span_context(sid: Key) -> SpanContext {
    let (trace_id, span_id) = (TraceId::from_bytes(sid.bytes()), span_id(sid.bytes()));
    SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, false, TraceState::default())
}

/// The ID of the span of the call with this trace ID: the first eight bytes of its SHA-256.
pub fn span_id(trace_id: [u8; 16]) -> SpanId {
    let digest = Sha256::digest(trace_id);
    let mut span_id: [u8; 8] = std::array::from_fn(|at| digest[at]);
    // All zero is no valid span ID (W3C Trace Context).
    span_id[7] |= u8::from(span_id == [0; 8]);
    SpanId::from_bytes(span_id)
}

/// Every parameter that was sent: numbers as numbers, identities as the configuration allows.
fn parameters(event: &CallEvent<'_>, identity: &Identity) -> Vec<KeyValue> {
    let attribute = |(parameter, name, kind, _): (Parameter, &str, ValueKind, bool)| {
        let text = event.text(parameter)?;
        let value = match kind {
            ValueKind::Identity => Value::from(identity.apply(text)?),
            ValueKind::Number => {
                event.number(parameter).map_or_else(|| Value::from(text.to_owned()), Value::from)
            }
            ValueKind::Text => Value::from(text.to_owned()),
        };
        Some(KeyValue::new(format!("planet.{name}"), value))
    };
    // The releaser of the older generation has the name of what is derived from it.
    let parameters = Parameter::TABLE.into_iter().filter(|(parameter, ..)| *parameter != Parameter::Releaser);
    parameters.filter_map(attribute).collect()
}

fn release_attributes(event: &CallEvent<'_>) -> Vec<KeyValue> {
    vec![
        KeyValue::new("planet.releaser", event.releaser.as_str()),
        KeyValue::new("planet.reason", labels::disconnect_reason(event)),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SAMPLE: &str = "sid=6364e8b3-bdac-436e-9631-0bce2498ce0c&type=V&from_user_id=9286&\
        from_service_id=caller-service-id&to_user_id=2809&to_service_id=callee-service-id&setup_time=1582527400&\
        start_time=1582527404&end_time=1582527434&duration=30&terminate=16&srcip=1.2.3.4&dstip=1.2.3.5&stid=voip.next&\
        rel_code=1&rel_code_str=NORMAL&billing_sec=25&rc_idc=KR&disconnect_reason=1001&releaser_type=1&\
        app_svr_data=appSvrData";

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn read(query: &str, identity: &Identity) -> SpanData {
        span(&CallEvent::read(query.as_bytes(), at(1_600_000_000)).expect("a call"), identity)
    }

    fn attribute(span: &SpanData, name: &str) -> Option<Value> {
        span.attributes
            .iter()
            .find(|attribute| attribute.key.as_str() == name)
            .map(|found| found.value.clone())
    }

    #[test]
    fn the_sample_becomes_its_span() {
        let span = read(SAMPLE, &Identity::Keep);
        assert_eq!(span.span_context.trace_id().to_string(), "6364e8b3bdac436e96310bce2498ce0c");
        assert!(span.span_context.is_valid() && span.span_context.is_sampled());
        assert_eq!((span.start_time, span.end_time), (at(1_582_527_400), at(1_582_527_434)));
        assert_eq!((span.name.as_ref(), &span.status), ("call", &Status::Unset));
        let events: Vec<_> = span.events.iter().map(|event| (event.name.as_ref(), event.timestamp)).collect();
        assert_eq!(events, [("answered", at(1_582_527_404)), ("released", at(1_582_527_434))]);
        let is_not_sent = |parameter| {
            matches!(parameter, Parameter::UserRelCode | Parameter::CallEndReason | Parameter::Releaser)
        };
        for (_, name, ..) in Parameter::TABLE.into_iter().filter(|(parameter, ..)| !is_not_sent(*parameter)) {
            assert!(attribute(&span, &format!("planet.{name}")).is_some(), "{name} is in the span");
        }
        assert_eq!(attribute(&span, "planet.duration"), Some(Value::I64(30)));
        assert_eq!(attribute(&span, "planet.from_user_id"), Some(Value::from("9286")));
        assert_eq!(attribute(&span, "planet.anomalies"), None);
        assert_eq!(attribute(&span, "error.type"), None);
    }

    #[test]
    fn identities_leave_only_as_allowed() {
        let dropped = read(SAMPLE, &Identity::Drop);
        for name in ["from_user_id", "to_user_id", "srcip", "dstip"] {
            assert_eq!(attribute(&dropped, &format!("planet.{name}")), None);
            assert!(attribute(&read(SAMPLE, &Identity::Keep), &format!("planet.{name}")).is_some());
        }
        assert!(!format!("{:?}", dropped.attributes).contains("9286"));
        let hashed =
            attribute(&read(SAMPLE, &Identity::hash(b"a key of some length")), "planet.from_user_id");
        assert!(hashed.is_some_and(|value| value.as_str().len() == 64));
    }

    #[test]
    fn an_abnormal_release_is_an_error_of_its_reason() {
        let span = read(&SAMPLE.replace("disconnect_reason=1001", "disconnect_reason=1301"), &Identity::Drop);
        assert_eq!(span.status, Status::error("NETWORK_UNSTABLE"));
        assert_eq!(attribute(&span, "error.type"), Some(Value::from("NETWORK_UNSTABLE")));
        let busy = read(&SAMPLE.replace("disconnect_reason=1001", "disconnect_reason=1202"), &Identity::Drop);
        assert_eq!(busy.status, Status::Unset);
    }

    #[test]
    fn a_call_without_usable_sid_or_times_still_has_a_marked_span() {
        let span = read("sid=x&duration=0&disconnect_reason=1201", &Identity::Drop);
        assert!(span.span_context.is_valid());
        assert_eq!((span.start_time, span.end_time), (at(1_600_000_000), at(1_600_000_000)));
        assert_eq!(attribute(&span, "planet.time_estimated"), Some(Value::Bool(true)));
        assert!(
            attribute(&span, "planet.anomalies").is_some_and(|value| value.as_str().contains("sid_not_uuid"))
        );
    }

    #[test]
    fn a_repeated_delivery_is_the_same_span() {
        assert_eq!(read(SAMPLE, &Identity::Drop), read(SAMPLE, &Identity::Drop));
        let upper = SAMPLE.replace("6364e8b3-bdac-436e", "6364E8B3-BDAC-436E");
        assert_eq!(read(&upper, &Identity::Drop).span_context, read(SAMPLE, &Identity::Drop).span_context);
    }
}
