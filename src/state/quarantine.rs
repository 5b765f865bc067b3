//! Quarantine: records that a part of this program cannot read, or on which it panics. Each is set aside and counted, so that
//! it stands in nobody's way and a person can look at it.
//!
//! With a state directory they are lines of `quarantined.jsonl`: `time`, `by` (the part that failed), `sequence` (the number
//! in the journal), `reason`, and `record` in base64, which `planet-call-exporter state` shows. They are removed after
//! `--refused-age`. The journal has them too, as long as it keeps their segment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use metrics::counter;
use serde::{Deserialize, Serialize};

use super::json_lines::{self, LineSender, Lines};
use crate::http::shown::to_json;
use crate::metrics::catalog;

/// The name of the file.
pub const FILE: &str = "quarantined.jsonl";

/// Where records are set aside. Clones are the same quarantine.
#[derive(Debug, Clone)]
pub struct Quarantine {
    records: Arc<AtomicU64>,
    to_file: Option<LineSender>,
}

/// A line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quarantined {
    /// When it was set aside (RFC 3339).
    pub time: String,
    /// The part that failed.
    pub by: String,
    /// The record's sequence number in the journal.
    pub sequence: u64,
    /// Why.
    pub reason: String,
    /// The record in base64.
    pub record: String,
}

impl Quarantine {
    /// A quarantine that counts only.
    pub fn in_memory() -> Quarantine {
        Quarantine { records: Arc::default(), to_file: None }
    }

    /// A quarantine with a file in a state directory, and the lines for it.
    pub fn in_directory() -> (Quarantine, Lines) {
        let (to_file, lines) = json_lines::channel(FILE);
        (Quarantine { records: Arc::default(), to_file: Some(to_file) }, lines)
    }

    /// Lets what the part `by` fails on stand at 0, so that the first record is an increase.
    pub fn start_at_zero(&self, by: &'static str) {
        counter!(catalog::EXPORTER_QUARANTINED_EVENTS.name, "by" => by).increment(0);
    }

    /// Sets aside the record with this sequence number, on which the part `by` failed for this reason.
    pub fn keep(&self, by: &'static str, sequence: u64, reason: &str, record: &[u8]) {
        self.records.fetch_add(1, Ordering::Relaxed);
        counter!(catalog::EXPORTER_QUARANTINED_EVENTS.name, "by" => by).increment(1);
        let Some(to_file) = &self.to_file else { return };
        let line = Quarantined {
            time: humantime::format_rfc3339_millis(SystemTime::now()).to_string(),
            by: by.to_owned(),
            sequence,
            reason: reason.to_owned(),
            record: STANDARD.encode(record),
        };
        to_file.send(to_json(&line) + "\n");
    }

    /// How many records were set aside since the start.
    pub fn len(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
