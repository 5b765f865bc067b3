//! The call log: one JSON line a call on standard output, where it is switched on.
//!
//! A reader of the journal like any other: an output that nobody takes from stands still and its backlog is bounded,
//! while intake goes on.

use std::io::{self, Write};

use metrics::{Counter, counter};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::callback::call_event::{Kind, Parameter};
use crate::callback::{Record, labels};
use crate::journal::Reader;

use super::identity::Identity;
use crate::metrics::catalog;

/// The name of the call log's reader, the value of the label `reader`.
pub const READER: &str = "call_log";

/// Calls that are written at once, at most.
const BATCH: usize = 256;

/// Writes calls to standard output until `stop`, and then what is left.
pub async fn run(mut reader: Reader, identity: Identity, stop: CancellationToken) {
    let delivered: Counter = counter!(catalog::EXPORTER_DELIVERED_EVENTS.name, "reader" => READER);
    loop {
        stop.run_until_cancelled(reader.readable(1)).await;
        let records = reader.take(BATCH);
        if records.is_empty() && stop.is_cancelled() {
            return;
        }
        let calls = records.len() as u64;
        let lines: String = records.iter().filter_map(|(_, record)| line(record, &identity)).collect();
        // Standard output can block for as long as its other end likes.
        let written = tokio::task::spawn_blocking(move || write(&lines)).await;
        match written {
            Ok(Ok(())) => delivered.increment(calls),
            Ok(Err(error)) => return error!(%error, "standard output is gone; the call log has ended"),
            Err(error) => return error!(%error, "the call log has ended"),
        }
        reader.done();
    }
}

fn write(lines: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    output.write_all(lines.as_bytes())?;
    output.flush()
}

/// The line of a recorded call; `None` if it is none.
pub fn line(bytes: &[u8], identity: &Identity) -> Option<String> {
    let event = Record::decode(bytes).and_then(|record| record.event()).ok()?;
    let parameter = |(parameter, name, kind, _): (Parameter, &str, Kind, bool)| {
        let text = event.text(parameter)?;
        let value = match kind {
            Kind::Identity => Value::from(identity.apply(text)?),
            Kind::Number => event.number(parameter).map_or_else(|| Value::from(text), Value::from),
            Kind::Text => Value::from(text),
        };
        Some((name.to_owned(), value))
    };
    let parameters: Map<String, Value> = Parameter::TABLE.into_iter().filter_map(parameter).collect();
    let anomalies: Vec<_> = event.anomalies.iter().map(|anomaly| anomaly.as_str()).collect();
    let line = json!({
        "time": humantime::format_rfc3339_millis(event.received_at).to_string(),
        "media_type": event.media_type.as_str(),
        "idc": event.idc().unwrap_or(labels::OTHER),
        "disconnect_reason": labels::disconnect_reason(&event),
        "fault_domain": event.fault_domain.as_str(),
        "releaser": event.releaser.as_str(),
        "answered": event.answered,
        "duration_seconds": event.duration.as_secs_f64(),
        "setup_duration_seconds": event.setup_duration.map(|duration| duration.as_secs_f64()),
        "anomalies": anomalies,
        "parameters": parameters,
    });
    Some(format!("{line}\n"))
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::callback::{CallEvent, record};

    #[test]
    fn a_line_cannot_be_forged_and_carries_identity_as_configured() {
        let query = b"sid=6364e8b3-bdac-436e-9631-0bce2498ce0c&type=A&from_user_id=9286&duration=5&rel_code_str=a%0A%22b";
        let event = CallEvent::read(query, SystemTime::UNIX_EPOCH).expect("a call");
        let record = record::encode(&event, b"", query);
        let dropped = line(&record, &Identity::Drop).expect("a line");
        assert_eq!(dropped.matches('\n').count(), 1);
        assert!(!dropped.contains("9286"));
        let kept: Value =
            serde_json::from_str(&line(&record, &Identity::Keep).expect("a line")).expect("JSON");
        assert_eq!(kept["parameters"]["from_user_id"], "9286");
        assert_eq!(kept["parameters"]["rel_code_str"], "a\n\"b");
        assert_eq!((&kept["media_type"], &kept["duration_seconds"]), (&json!("audio"), &json!(5.0)));
    }
}
