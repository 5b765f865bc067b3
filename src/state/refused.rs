//! Refused requests: the raw query of what could not be a call, or was refused by the service behind, with the reason. A
//! bounded ring in memory and, with a state directory, a bounded file of JSON lines that people can read and that can be
//! sent again. They name people, so they leave both after an age.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;
use thiserror::Error;

use super::json_lines::{self, LineSender, Lines, is_old};
use crate::http::raw_query;
use crate::http::shown::to_json;

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
        let (mut line, mut place) = (String::new(), Some(Place::Head));
        while let Some(next) = place {
            place = self.write_piece(next, &mut line);
        }
        line
    }

    /// Appends the piece of the line at this place, and returns where the next one is.
    fn write_piece(&self, place: Place, line: &mut String) -> Option<Place> {
        #[derive(Serialize)]
        struct Head<'a> {
            time: String,
            reason: &'a str,
        }
        match place {
            Place::Head => {
                let time = humantime::format_rfc3339_millis(self.received_at).to_string();
                let head = to_json(&Head { time, reason: &self.reason });
                line.extend([head.trim_end_matches('}'), ",\"query\":\""]);
                Some(Place::Query(0))
            }
            Place::Query(start) if start < self.query.len() => {
                let end = self.query.floor_char_boundary(start + PIECE);
                let piece = to_json(&&self.query[start..end]);
                line.push_str(
                    piece.strip_prefix('"').and_then(|piece| piece.strip_suffix('"')).unwrap_or_default(),
                );
                Some(Place::Query(end))
            }
            Place::Query(_) => {
                line.push_str(if self.is_to_be_sent { "\"}\n" } else { "\",\"replay\":false}\n" });
                None
            }
        }
    }
}

/// A place in the line of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// What stands before the query.
    Head,
    /// The query from this byte on, and what stands behind it.
    Query(usize),
}

/// Bytes of a query that are written at once. Each can become six.
const PIECE: usize = 2 * 1024;

/// The latest refused requests.
#[derive(Debug)]
pub struct RefusedRequests {
    ring: Mutex<Ring>,
    capacity: usize,
    age: Duration,
    to_file: Option<LineSender>,
}

#[derive(Debug, Default)]
struct Ring {
    /// Each with its number, the oldest first. Shared with whoever looks, so that nobody is held up meanwhile.
    kept: VecDeque<(u64, Arc<Refused>)>,
    /// The number of the next.
    next: u64,
}

/// How far somebody has read the lines of the requests that were kept when the reading began.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// The number of the next request, and the place in its line.
    next: u64,
    place: Place,
    /// The number at which it ends.
    end: u64,
}

/// A request was forgotten in the middle of its line.
#[derive(Debug, Error)]
#[error("its reader was too slow: what is read was forgotten meanwhile")]
pub struct Forgotten;

/// Bytes of the query of a request that is too large.
const LONGEST_BEGINNING: usize = 1024;

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
        self.keep_request(received_at, reason, query, true);
    }

    /// Keeps the beginning of a request that is too large, which tells people which call it was.
    pub fn keep_beginning(&self, received_at: SystemTime, reason: String, query: &[u8]) {
        self.keep_for_show(received_at, reason, query.get(..LONGEST_BEGINNING).unwrap_or(query));
    }

    /// Keeps a request like a refused one, to be looked at and never sent again.
    pub fn keep_for_show(&self, received_at: SystemTime, reason: String, query: &[u8]) {
        self.keep_request(received_at, reason, query, false);
    }

    fn keep_request(&self, received_at: SystemTime, reason: String, query: &[u8], is_to_be_sent: bool) {
        let query = raw_query::as_text(query).into_owned();
        let refused = Refused { received_at, reason, query, is_to_be_sent };
        if let Some(to_file) = &self.to_file {
            to_file.send(refused.to_json_line());
        }
        let mut ring = self.ring();
        let number = ring.next;
        ring.next += 1;
        ring.kept.push_back((number, Arc::new(refused)));
        if ring.kept.len() > self.capacity {
            ring.kept.pop_front();
        }
    }

    /// How many are kept at `now`.
    pub fn len_at(&self, now: SystemTime) -> usize {
        self.forget_old(now);
        self.ring().kept.len()
    }

    /// When the latest of those was received that are kept.
    pub fn latest(&self) -> Option<SystemTime> {
        self.ring().kept.iter().map(|(_, refused)| refused.received_at).max()
    }

    /// How many of those that are kept were received from then on.
    pub fn since(&self, since: SystemTime) -> usize {
        self.ring().kept.iter().filter(|(_, refused)| refused.received_at >= since).count()
    }

    /// Begins to read what is kept at `now`.
    pub fn begin_reading(&self, now: SystemTime) -> Reading {
        self.forget_old(now);
        Reading { next: 0, place: Place::Head, end: self.ring().next }
    }

    /// The next of the kept requests as JSON lines, the oldest first: at least so many bytes and few more, unless it is
    /// the end. Whoever reads keeps nothing in memory meanwhile, however slowly: what has been forgotten is left out.
    ///
    /// # Errors
    /// A request was forgotten of which a part has been read.
    pub fn read(&self, reading: &mut Reading, bytes: usize) -> Result<String, Forgotten> {
        let mut lines = String::new();
        while lines.len() < bytes {
            let found = self.at_or_after(reading.next, reading.end);
            let is_within = reading.place != Place::Head;
            if is_within && found.as_ref().is_none_or(|(number, _)| *number != reading.next) {
                return Err(Forgotten);
            }
            let Some((number, refused)) = found else { break };
            (reading.next, reading.place) = match refused.write_piece(reading.place, &mut lines) {
                Some(place) => (number, place),
                None => (number + 1, Place::Head),
            };
        }
        Ok(lines)
    }

    /// The first that is kept with a number from `first` to before `end`.
    fn at_or_after(&self, first: u64, end: u64) -> Option<(u64, Arc<Refused>)> {
        let ring = self.ring();
        let at = ring.kept.partition_point(|(number, _)| *number < first);
        let (number, refused) = ring.kept.get(at)?;
        (*number < end).then(|| (*number, Arc::clone(refused)))
    }

    /// Forgets what is too old at `now`.
    pub fn forget_old(&self, now: SystemTime) {
        self.ring().kept.retain(|(_, refused)| !is_old(refused.received_at, self.age, now));
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3_600);

    /// All that is kept, read in small parts.
    fn json_lines(refused: &RefusedRequests, now: SystemTime) -> String {
        let (mut reading, mut lines) = (refused.begin_reading(now), String::new());
        loop {
            let part = refused.read(&mut reading, 1).expect("nothing is forgotten meanwhile");
            if part.is_empty() {
                return lines;
            }
            lines += &part;
        }
    }

    #[test]
    fn who_reads_slowly_misses_what_is_forgotten_and_never_gets_half_a_line_as_a_whole_one() {
        let refused = RefusedRequests::in_memory(2, DAY);
        let keep = |query: &str| refused.keep(SystemTime::UNIX_EPOCH, "no sid".to_owned(), query.as_bytes());
        keep("a=1");
        keep("b=2");
        let begin = || refused.begin_reading(SystemTime::UNIX_EPOCH);
        let [mut at_the_start, mut within] = [begin(), begin()];
        assert!(!refused.read(&mut within, 1).expect("a part").contains('\n'));
        keep("c=3");
        let line = refused.read(&mut at_the_start, 1_000).expect("what is left");
        assert!(line.contains("b=2") && line.matches('\n').count() == 1, "{line}");
        assert!(refused.read(&mut at_the_start, 1_000).expect("the end").is_empty());
        assert!(refused.read(&mut within, 1_000).is_err());
        // Nor when nothing is left that it could read.
        let mut within = begin();
        assert!(!refused.read(&mut within, 1).expect("a part").contains('\n'));
        keep("d=4");
        keep("e=5");
        assert!(refused.read(&mut within, 1_000).is_err());
    }

    #[test]
    fn the_latest_are_kept_as_lines_that_cannot_be_forged() {
        let refused = RefusedRequests::in_memory(2, DAY);
        for query in ["a=1", "b=2"] {
            refused.keep(SystemTime::UNIX_EPOCH, "no sid".to_owned(), query.as_bytes());
        }
        refused.keep_for_show(SystemTime::UNIX_EPOCH, "no sid".to_owned(), b"c=\"\n{}");
        let lines = json_lines(&refused, SystemTime::UNIX_EPOCH + DAY / 2);
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
    fn a_long_line_is_read_in_pieces_and_is_the_same_as_in_the_file() {
        let refused = RefusedRequests::in_memory(2, DAY);
        let query = "a=\u{202e}\u{e9}\"&".repeat(PIECE);
        refused.keep(SystemTime::UNIX_EPOCH, "a }".to_owned(), query.as_bytes());
        let line = json_lines(&refused, SystemTime::UNIX_EPOCH);
        assert_eq!(line, refused.ring().kept[0].1.to_json_line());
        let read: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&read["query"], &read["reason"]), (&query.into(), &"a }".into()));
        let mut reading = refused.begin_reading(SystemTime::UNIX_EPOCH);
        assert!(refused.read(&mut reading, 1_000).expect("a part").len() <= 1_000 + 6 * PIECE);
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
        assert!(!json_lines(&refused, at(2)).contains("b=2"));
        assert_eq!(refused.len_at(at(2)), 2);
        assert_eq!(refused.len_at(at(5)), 0);
    }
}
