//! The call log: one JSON line a call on standard output, where it is switched on.
//!
//! A sink like any other: an output that nobody takes from stands still and its backlog is bounded, while intake goes on.

use std::io::{self, Write};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::identity::Identity;
use super::{Ages, Failure, Settings, Sink};
use crate::callback::call_event::{Parameter, ValueKind};
use crate::callback::{CallEvent, Record, labels};
use crate::http::backoff::Backoff;
use crate::http::shown::to_json;

/// How calls are logged.
pub fn settings() -> Settings {
    Settings {
        name: "call_log",
        signal: "call_log",
        peer: "standard output",
        batch: 256,
        delay: Duration::ZERO,
        concurrency: 1,
        max_age: None,
        ages: Ages::default(),
        backoff: Backoff::new(Duration::from_secs(1), Duration::from_secs(60)),
    }
}

/// Standard output as a sink.
pub struct CallLogSink {
    identity: Identity,
}

impl CallLogSink {
    /// Writes calls, with as much of users as `identity` says.
    pub fn new(identity: Identity) -> CallLogSink {
        CallLogSink { identity }
    }
}

impl Sink for CallLogSink {
    async fn deliver(&self, records: Vec<Bytes>) -> Result<u64, Failure> {
        let line = |record: &Bytes| {
            let event = Record::decode(record).and_then(|record| record.call_event()).ok()?;
            Some(line(&event, &self.identity, None))
        };
        let lines: Vec<_> = records.iter().map(line).collect();
        let unreadable = lines.iter().filter(|line| line.is_none()).count() as u64;
        let lines: String = lines.into_iter().flatten().collect();
        // Standard output can block for as long as its other end likes.
        match tokio::task::spawn_blocking(move || write(&lines)).await {
            Ok(Ok(())) => Ok(unreadable),
            Ok(Err(error)) => Err(Failure::Gone(error.to_string())),
            Err(error) => Err(Failure::Gone(error.to_string())),
        }
    }
}

fn write(lines: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(lines.as_bytes())?;
    output.flush()
}

/// The line of a call, with the URL of its `trace` if that is known.
pub fn line(event: &CallEvent<'_>, identity: &Identity, trace: Option<&str>) -> String {
    let parameter = |(parameter, name, kind, _): (Parameter, &str, ValueKind, bool)| {
        let text = event.text(parameter)?;
        let value = match kind {
            ValueKind::Identity => Value::from(identity.apply(text)?),
            ValueKind::Number => event.number(parameter).map_or_else(|| Value::from(text), Value::from),
            ValueKind::Text => Value::from(text),
        };
        Some((name.to_owned(), value))
    };
    let parameters: Map<String, Value> = Parameter::TABLE.into_iter().filter_map(parameter).collect();
    let anomalies: Vec<_> = event.anomalies.iter().map(|anomaly| anomaly.as_str()).collect();
    let mut line = json!({
        "time": humantime::format_rfc3339_millis(event.received_at).to_string(),
        "media_type": event.media_type.as_str(),
        "idc": labels::idc_of_people(event),
        "disconnect_reason": labels::disconnect_reason(event),
        "fault_domain": event.fault_domain.as_str(),
        "releaser": event.releaser.as_str(),
        "answered": event.answered,
        "duration_seconds": event.duration.as_secs_f64(),
        "setup_duration_seconds": event.setup_duration.map(|duration| duration.as_secs_f64()),
        "anomalies": anomalies,
        "parameters": parameters,
    });
    if let Some(trace) = trace {
        line["trace_url"] = trace.into();
    }
    to_json(&line) + "\n"
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn a_line_cannot_be_forged_and_carries_identity_as_configured() {
        let query = b"sid=6364e8b3-bdac-436e-9631-0bce2498ce0c&type=A&from_user_id=9286&duration=5&rel_code_str=a%0A%22b";
        let event = CallEvent::read(query, SystemTime::UNIX_EPOCH).expect("a call");
        let dropped = line(&event, &Identity::Drop, None);
        assert_eq!(dropped.matches('\n').count(), 1);
        assert!(!dropped.contains("9286"));
        let kept: Value = serde_json::from_str(&line(&event, &Identity::Keep, None)).expect("JSON");
        assert_eq!(kept["parameters"]["from_user_id"], "9286");
        assert_eq!(kept["parameters"]["rel_code_str"], "a\n\"b");
        assert_eq!((&kept["media_type"], &kept["duration_seconds"]), (&json!("audio"), &json!(5.0)));
    }
}
