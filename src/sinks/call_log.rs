//! The call log: one JSON line a call on standard output, where it is switched on.
//!
//! A sink like any other: an output that nobody takes from stands still and its backlog is bounded, while intake goes on.

use std::borrow::Cow;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::identity::Identity;
use super::{Ages, Failure, Settings, Sink};
use crate::callback::call_event::{Parameter, ValueKind};
use crate::callback::{CallEvent, Record, labels};
use crate::http::backoff::Backoff;
use crate::http::shown::to_json;

/// How long an output that does not block may take nothing, and how soon it is tried again.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

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
    /// Whether a line may have been torn by a failure.
    is_torn: Arc<AtomicBool>,
}

impl CallLogSink {
    /// Writes calls, with as much of users as `identity` says.
    pub fn new(identity: Identity) -> CallLogSink {
        CallLogSink { identity, is_torn: Arc::default() }
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
        let is_torn = Arc::clone(&self.is_torn);
        // Standard output can block for as long as its other end likes.
        match tokio::task::spawn_blocking(move || write(&mut Patient(io::stdout().lock()), &lines, &is_torn))
            .await
        {
            Ok(Ok(())) => Ok(unreadable),
            Ok(Err(error)) => Err(failure(&error)),
            Err(error) => Err(Failure::Gone(error.to_string())),
        }
    }
}

/// Writes lines; if the ones before could not be written, after the end of the line that may have been torn.
fn write(output: &mut impl Write, lines: &str, is_torn: &AtomicBool) -> io::Result<()> {
    if is_torn.swap(true, Ordering::Relaxed) {
        output.write_all(b"\n")?;
    }
    output.write_all(lines.as_bytes())?;
    output.flush()?;
    is_torn.store(false, Ordering::Relaxed);
    Ok(())
}

/// An output that is waited for where it does not block, so that lines are not repeated each time that a pipe is full.
struct Patient<W>(W);

impl<W: Write> Patient<W> {
    fn wait<T>(&mut self, act: impl Fn(&mut W) -> io::Result<T>) -> io::Result<T> {
        let end = Instant::now() + PATIENCE;
        loop {
            match act(&mut self.0) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && Instant::now() < end => {
                    std::thread::sleep(LOOK_AGAIN);
                }
                done => return done,
            }
        }
    }
}

impl<W: Write> Write for Patient<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.wait(|output| output.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.wait(W::flush)
    }
}

/// What follows for lines that could not be written: a disk gets room again, and who reads a pipe goes on.
fn failure(error: &io::Error) -> Failure {
    use io::ErrorKind::{QuotaExceeded, StorageFull, TimedOut, WouldBlock};
    let reason = error.to_string();
    match error.kind() {
        StorageFull | QuotaExceeded | WouldBlock | TimedOut => Failure::Away { reason, retry_after: None },
        _ => Failure::Gone(reason),
    }
}

/// The line of a call, with the URL of its `trace` if that is known.
pub fn line(event: &CallEvent<'_>, identity: &Identity, trace: Option<&str>) -> String {
    let line = Line {
        time: humantime::format_rfc3339_millis(event.received_at).to_string(),
        sid: event.text(Parameter::Sid),
        disconnect_reason: labels::disconnect_reason(event),
        media_type: event.media_type.as_str(),
        idc: labels::idc_of_people(event),
        fault_domain: event.fault_domain.as_str(),
        answered: event.answered,
        duration_seconds: event.duration.as_secs_f64(),
        setup_duration_seconds: event.setup_duration.map(|duration| duration.as_secs_f64()),
        releaser: event.releaser.as_str(),
        anomalies: event.anomalies.iter().map(|anomaly| anomaly.as_str()).collect(),
        parameters: Parameters { event, identity },
        trace_url: trace,
    };
    to_json(&line) + "\n"
}

/// A line, in the order in which people ask: when, which call, how it ended, and then the rest. The names are a
/// contract, the order is for those who read.
#[derive(Serialize)]
struct Line<'l> {
    time: String,
    sid: Option<&'l str>,
    disconnect_reason: Cow<'static, str>,
    media_type: &'static str,
    idc: &'l str,
    fault_domain: &'static str,
    answered: bool,
    duration_seconds: f64,
    setup_duration_seconds: Option<f64>,
    releaser: &'static str,
    anomalies: Vec<&'static str>,
    parameters: Parameters<'l>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_url: Option<&'l str>,
}

/// What was sent: first who called whom, as far as that may be said, and then all else as documented.
struct Parameters<'l> {
    event: &'l CallEvent<'l>,
    identity: &'l Identity,
}

impl Serialize for Parameters<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (identities, others): (Vec<_>, Vec<_>) =
            Parameter::TABLE.into_iter().partition(|(_, _, kind, _)| *kind == ValueKind::Identity);
        let in_order = identities.into_iter().chain(others);
        serializer.collect_map(in_order.filter_map(|(parameter, name, kind, _)| {
            let text = self.event.text(parameter)?;
            let value = match kind {
                ValueKind::Identity => Value::from(self.identity.apply(text)?),
                ValueKind::Number => {
                    self.event.number(parameter).map_or_else(|| Value::from(text), Value::from)
                }
                ValueKind::Text => Value::from(text),
            };
            Some((name, value))
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use serde_json::json;

    use super::*;

    /// An output with room for so many bytes, and what is in it.
    struct Output {
        room: usize,
        bytes: Vec<u8>,
    }

    impl Write for Output {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.room);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= taken;
            self.bytes.extend(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_full_disk_tore_is_written_again_in_lines_of_its_own() {
        let (mut output, is_torn) = (Output { room: 5, bytes: Vec::new() }, AtomicBool::default());
        let mut write = |room: usize, lines: &str| {
            output.room = room;
            let written = write(&mut output, lines, &is_torn);
            (written.is_ok(), String::from_utf8(std::mem::take(&mut output.bytes)).expect("text"))
        };
        assert_eq!(write(9, "one\n"), (true, "one\n".to_owned()));
        assert_eq!(write(6, "two\nthree\n"), (false, "two\nth".to_owned()));
        assert_eq!(write(0, "two\nthree\n"), (false, String::new()));
        assert_eq!(write(99, "two\nthree\n"), (true, "\ntwo\nthree\n".to_owned()));
        assert_eq!(write(9, "four\n"), (true, "four\n".to_owned()));
    }

    #[test]
    fn a_pipe_that_does_not_block_is_waited_for() {
        /// Takes a byte every other time.
        struct Pipe(Vec<u8>, usize);

        impl Write for Pipe {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.1 += 1;
                if self.1 % 2 == 1 {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                self.0.push(bytes[0]);
                Ok(1)
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }

        let mut pipe = Patient(Pipe(Vec::new(), 0));
        write(&mut pipe, "one\n", &AtomicBool::default()).expect("written");
        assert_eq!(pipe.0.0, b"one\n");
    }

    #[test]
    fn only_an_output_that_can_take_nothing_any_more_is_gone() {
        let is_gone = |kind: io::ErrorKind| matches!(failure(&kind.into()), Failure::Gone(_));
        let come_back = [
            io::ErrorKind::StorageFull,
            io::ErrorKind::QuotaExceeded,
            io::ErrorKind::WouldBlock,
            io::ErrorKind::TimedOut,
        ];
        assert!(!come_back.into_iter().any(is_gone));
        assert!([io::ErrorKind::BrokenPipe, io::ErrorKind::Other].into_iter().all(is_gone));
    }

    #[test]
    fn the_keys_stand_in_the_order_in_which_people_ask() {
        let query = b"sid=6364e8b3-bdac-436e-9631-0bce2498ce0c&type=A&from_user_id=9286&to_user_id=2809&duration=5&srcip=1.2.3.4\
            &disconnect_reason=1001&dstip=1.2.3.5";
        let event = CallEvent::read(query, SystemTime::UNIX_EPOCH).expect("a call");
        let line = line(&event, &Identity::Keep, Some("https://t/1"));
        let places: Vec<_> = [
            "{\"time\":",
            ",\"sid\":\"6364e8b3-bdac-436e-9631-0bce2498ce0c\",",
            "\"disconnect_reason\":\"NORMAL\",",
            "\"media_type\":",
            "\"idc\":",
            "\"fault_domain\":",
            "\"answered\":",
            "\"duration_seconds\":",
            "\"setup_duration_seconds\":",
            "\"releaser\":",
            "\"anomalies\":",
            "\"parameters\":{\"from_user_id\":\"9286\",\"to_user_id\":",
            "\"srcip\":",
            "\"dstip\":\"1.2.3.5\",\"sid\":",
            "\"type\":",
            "\"duration\":5,",
            "\"disconnect_reason\":1001},\"trace_url\":\"https://t/1\"}\n",
        ]
        .into_iter()
        .map(|key| line.find(key).unwrap_or_else(|| panic!("{key} is not in {line}")))
        .collect();
        assert!(places.is_sorted(), "{line}");
    }

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
