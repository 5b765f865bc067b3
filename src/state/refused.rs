//! Refused requests: the raw query of what could not be a call, or was refused by the service behind, with the reason. A
//! bounded ring in memory and, with a state directory, a bounded file of JSON lines that people can read and that can be
//! sent again.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::Serialize;

use super::json_lines::{JsonLinesFile, LineSender};

/// The name of the file.
const FILE: &str = "refused.jsonl";

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    received_at: SystemTime,
    reason: String,
    query: String,
}

impl Refused {
    /// The request as a line of JSON: `time` (RFC 3339), `reason`, `query`.
    fn to_json_line(&self) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            time: String,
            reason: &'a str,
            query: &'a str,
        }
        let time = humantime::format_rfc3339_millis(self.received_at).to_string();
        let line = Line { time, reason: &self.reason, query: &self.query };
        // Texts have no value that JSON cannot write.
        serde_json::to_string(&line).unwrap_or_default() + "\n"
    }
}

/// The latest refused requests.
#[derive(Debug)]
pub struct RefusedRequests {
    /// Shared with whoever looks, so that nobody is held up meanwhile.
    ring: Mutex<VecDeque<Arc<Refused>>>,
    capacity: usize,
    to_file: Option<LineSender>,
}

impl RefusedRequests {
    /// Keeps the latest `capacity` refused requests in memory. With a `directory`, a file there has them too, which is to be
    /// run.
    pub fn new(capacity: usize, directory: Option<&Path>) -> (RefusedRequests, Option<JsonLinesFile>) {
        let (to_file, file) = directory.map(|directory| JsonLinesFile::new(directory, FILE)).unzip();
        (RefusedRequests { ring: Mutex::default(), capacity, to_file }, file)
    }

    /// Keeps a refused request; the oldest goes if there are too many. It does not wait for the disk: what comes faster than
    /// that takes it is kept in memory only.
    pub fn keep(&self, received_at: SystemTime, reason: String, query: &str) {
        let refused = Refused { received_at, reason, query: query.to_owned() };
        if let Some(to_file) = &self.to_file {
            to_file.send(refused.to_json_line());
        }
        let mut ring = self.ring();
        ring.push_back(Arc::new(refused));
        if ring.len() > self.capacity {
            ring.pop_front();
        }
    }

    /// How many are kept.
    pub fn len(&self) -> usize {
        self.ring().len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.ring().is_empty()
    }

    /// The kept requests as JSON lines, the oldest first.
    pub fn to_json_lines(&self) -> String {
        // Taken from the ring first: intake waits for it, and the lines are long.
        let kept: Vec<Arc<Refused>> = self.ring().iter().cloned().collect();
        kept.iter().map(|refused| refused.to_json_line()).collect()
    }

    fn ring(&self) -> MutexGuard<'_, VecDeque<Arc<Refused>>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_as_lines_that_cannot_be_forged() {
        let (refused, _) = RefusedRequests::new(2, None);
        for query in ["a=1", "b=2", "c=\"\n{}"] {
            refused.keep(SystemTime::UNIX_EPOCH, "no sid".to_owned(), query);
        }
        let lines = refused.to_json_lines();
        let lines: Vec<serde_json::Value> =
            lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(refused.len(), 2);
        assert_eq!(lines[0]["query"], "b=2");
        assert_eq!(lines[1]["query"], "c=\"\n{}");
        assert_eq!(lines[1]["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!(lines[1]["reason"], "no sid");
    }
}
