//! Refused requests: the raw query of what could not be a call, or was refused by the service behind, with the reason. A
//! bounded ring in memory and, with a state directory, a bounded file of JSON lines that people can read and that can be
//! sent again. They name people, so they leave both after an age.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::json_lines::{self, LineSender, Lines, is_old};
use crate::http::raw_query;

/// The name of the file.
const FILE: &str = "refused.jsonl";

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Refused {
    received_at: SystemTime,
    reason: String,
    query: String,
    /// Whether it may be sent again by hand.
    is_to_be_sent: bool,
}

impl Refused {
    /// The request as a line of JSON: `time` (RFC 3339), `reason`, `query`; `replay`, which is false, if it is not to be sent
    /// again.
    fn to_json_line(&self) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            time: String,
            reason: &'a str,
            query: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            replay: Option<bool>,
        }
        let time = humantime::format_rfc3339_millis(self.received_at).to_string();
        let replay = (!self.is_to_be_sent).then_some(false);
        let line = Line { time, reason: &self.reason, query: &self.query, replay };
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
    age: Duration,
    to_file: Option<LineSender>,
}

impl RefusedRequests {
    /// Keeps the latest `capacity` refused requests in memory, each for `age` after its receipt.
    pub fn in_memory(capacity: usize, age: Duration) -> RefusedRequests {
        RefusedRequests { ring: Mutex::default(), capacity, age, to_file: None }
    }

    /// The same with a file in a state directory that has them too, and the lines for it.
    pub fn in_directory(capacity: usize, age: Duration) -> (RefusedRequests, Lines) {
        let (to_file, lines) = json_lines::channel(FILE);
        (RefusedRequests { to_file: Some(to_file), ..RefusedRequests::in_memory(capacity, age) }, lines)
    }

    /// Keeps a refused request; the oldest goes if there are too many. It does not wait for the disk: what comes faster than
    /// that takes it is kept in memory only. Bytes of the query that are no UTF-8 are kept percent-encoded, which whoever reads
    /// forms decodes to the same bytes.
    pub fn keep(&self, received_at: SystemTime, reason: String, query: &[u8]) {
        self.push(Refused {
            received_at,
            reason,
            query: raw_query::as_text(query).into_owned(),
            is_to_be_sent: true,
        });
    }

    /// Keeps a request like a refused one, to be looked at and never sent again.
    pub fn keep_for_show(&self, received_at: SystemTime, reason: String, query: &[u8]) {
        self.push(Refused {
            received_at,
            reason,
            query: raw_query::as_text(query).into_owned(),
            is_to_be_sent: false,
        });
    }

    fn push(&self, refused: Refused) {
        if let Some(to_file) = &self.to_file {
            to_file.send(refused.to_json_line());
        }
        let mut ring = self.ring();
        ring.push_back(Arc::new(refused));
        if ring.len() > self.capacity {
            ring.pop_front();
        }
    }

    /// How many are kept at `now`.
    pub fn len_at(&self, now: SystemTime) -> usize {
        self.forget_old(now);
        self.ring().len()
    }

    /// The kept requests at `now` as JSON lines, the oldest first.
    pub fn to_json_lines(&self, now: SystemTime) -> String {
        self.forget_old(now);
        // Taken from the ring first: intake waits for it, and the lines are long.
        let kept: Vec<Arc<Refused>> = self.ring().iter().cloned().collect();
        kept.iter().map(|refused| refused.to_json_line()).collect()
    }

    /// Forgets what is too old at `now`.
    pub fn forget_old(&self, now: SystemTime) {
        self.ring().retain(|refused| !is_old(refused.received_at, self.age, now));
    }

    fn ring(&self) -> MutexGuard<'_, VecDeque<Arc<Refused>>> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3_600);

    #[test]
    fn the_latest_are_kept_as_lines_that_cannot_be_forged() {
        let refused = RefusedRequests::in_memory(2, DAY);
        for query in ["a=1", "b=2"] {
            refused.keep(SystemTime::UNIX_EPOCH, "no sid".to_owned(), query.as_bytes());
        }
        refused.keep_for_show(SystemTime::UNIX_EPOCH, "no sid".to_owned(), b"c=\"\n{}");
        let lines = refused.to_json_lines(SystemTime::UNIX_EPOCH + DAY / 2);
        let lines: Vec<serde_json::Value> =
            lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["query"], "b=2");
        assert_eq!(lines[1]["query"], "c=\"\n{}");
        assert_eq!(lines[1]["time"], "1970-01-01T00:00:00.000Z");
        assert_eq!(lines[1]["reason"], "no sid");
        assert_eq!((lines[0].get("replay"), &lines[1]["replay"]), (None, &serde_json::json!(false)));
    }

    #[test]
    fn they_are_forgotten_when_they_are_old_whoever_looks() {
        let refused = RefusedRequests::in_memory(9, DAY);
        let at = |days: u32| SystemTime::UNIX_EPOCH + days * DAY;
        // What the service behind refused may have come earlier than what is kept already.
        for (days, query) in [(3, "a=1"), (1, "b=2"), (4, "c=3")] {
            refused.keep(at(days), "no sid".to_owned(), query.as_bytes());
        }
        assert_eq!(refused.len_at(at(2) - Duration::from_millis(1)), 3);
        assert!(!refused.to_json_lines(at(2)).contains("b=2"));
        assert_eq!(refused.len_at(at(2)), 2);
        assert_eq!(refused.len_at(at(5)), 0);
    }
}
