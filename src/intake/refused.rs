//! Refused requests: the raw query of what could not be a call, with the reason. A bounded ring in memory.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use serde::Serialize;

use crate::call::NotACall;

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    received_at: SystemTime,
    reason: NotACall,
    query: String,
}

/// The latest refused requests.
#[derive(Debug)]
pub struct RefusedRequests {
    ring: Mutex<VecDeque<Refused>>,
    capacity: usize,
}

impl RefusedRequests {
    /// Keeps the latest `capacity` refused requests.
    pub fn new(capacity: usize) -> RefusedRequests {
        RefusedRequests { ring: Mutex::default(), capacity }
    }

    /// Keeps a refused request; the oldest goes if there are too many.
    pub fn keep(&self, received_at: SystemTime, reason: NotACall, query: &str) {
        let mut ring = self.ring();
        ring.push_back(Refused { received_at, reason, query: query.to_owned() });
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

    /// The kept requests as JSON lines, the oldest first: `time` (RFC 3339), `reason`, `query`.
    pub fn to_json_lines(&self) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            time: String,
            reason: String,
            query: &'a str,
        }
        let mut lines = String::new();
        for refused in self.ring().iter() {
            let time = humantime::format_rfc3339_millis(refused.received_at).to_string();
            let line = Line { time, reason: refused.reason.to_string(), query: &refused.query };
            lines.push_str(&serde_json::to_string(&line).unwrap_or_default());
            lines.push('\n');
        }
        lines
    }

    fn ring(&self) -> MutexGuard<'_, VecDeque<Refused>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_are_kept_as_lines_that_cannot_be_forged() {
        let refused = RefusedRequests::new(2);
        for query in ["a=1", "b=2", "c=\"\n{}"] {
            refused.keep(SystemTime::UNIX_EPOCH, NotACall::NoSid, query);
        }
        let lines = refused.to_json_lines();
        let lines: Vec<serde_json::Value> =
            lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(refused.len(), 2);
        assert_eq!(lines[0]["query"], "b=2");
        assert_eq!(lines[1]["query"], "c=\"\n{}");
        assert_eq!(lines[1]["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!(lines[1]["reason"], NotACall::NoSid.to_string());
    }
}
