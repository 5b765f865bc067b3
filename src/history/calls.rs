//! The calls of a time, one by one.
//!
//! Of those that a filter admits there are the latest, in the order in which they were stored, as `tail` shows the end of a file. They are looked
//! for from the end backwards, in larger and larger parts, so that the latest hundred are found at once in a journal of any size. Only
//! the place of the first one is kept; from there on they are read again as they are shown. So nothing grows with how many there are.
//!
//! One call is found by its session ID in the window of keys, which knows the number of its record. Only the segment that has it is read:
//! 16 MiB at most. A call that has left the window, and may still be in the journal since a sink waits for it, is looked for everywhere.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;

use super::running::Running;
use crate::callback::Record;
use crate::callback::shield::shielded;
use crate::config::call_filter::CallFilter;
use crate::journal::past::Place;
use crate::sinks::call_log;
use crate::sinks::identity::Identity;

/// Calls that are shown unless somebody says otherwise.
pub const USUAL_NUMBER: usize = 100;

/// The most calls that are shown.
pub const MOST: usize = 10_000;

/// Records at the end that are looked at first, and how much more each time.
const AT_FIRST: u64 = 1_000;
const MORE: u64 = 10;

/// Bytes of records that are looked at for one part of an answer.
const MOST_LOOKED_AT: usize = 1024 * 1024;

/// The calls that are still to be shown.
#[derive(Debug, Clone)]
pub struct Calls {
    filter: CallFilter,
    next: Place,
    /// Calls that were stored later are not shown.
    end: u64,
    left: usize,
}

impl Running {
    /// The latest calls that `filter` admits, at most `most`.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn calls(&self, filter: CallFilter, most: usize) -> io::Result<Calls> {
        if most == 0 {
            return Ok(Calls { filter, next: Place::default(), end: 0, left: 0 });
        }
        let kept = self.journal.kept();
        if let Some(sequence) = filter.sid.and_then(|sid| self.known.sequence_of(sid)) {
            // No other call has it, but for one that left the window before.
            return Ok(Calls { filter, next: Place::at(sequence), end: sequence + 1, left: 1 });
        }
        // One that is not in the window may be anywhere.
        let mut part = if filter.sid.is_some() { u64::MAX } else { AT_FIRST };
        loop {
            let begin = kept.end.saturating_sub(part).max(kept.start);
            let places = self.places(&filter, begin, kept.end, most)?;
            if places.len() == most || begin == kept.start {
                let next = places.front().copied().unwrap_or_default();
                return Ok(Calls { filter, next, end: kept.end, left: places.len() });
            }
            part = part.saturating_mul(MORE);
        }
    }

    /// Where the latest calls are that `filter` admits, from one sequence number up to another.
    fn places(&self, filter: &CallFilter, begin: u64, end: u64, most: usize) -> io::Result<VecDeque<Place>> {
        let mut places = VecDeque::new();
        self.visit(Place::at(begin), filter.since, |place, record| {
            if place.sequence >= end {
                return ControlFlow::Break(());
            }
            if shielded(|| Record::decode(record).is_ok_and(|record| filter.admitted(&record).is_some()))
                == Ok(true)
            {
                if places.len() == most {
                    places.pop_front();
                }
                places.push_back(place);
            }
            ControlFlow::Continue(())
        })?;
        Ok(places)
    }

    /// The lines of the next calls, about `bytes` of them; fewer, or none, where there are few among many others. With nothing
    /// [left](Calls::is_at_end), there are no more.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn read_calls(&self, calls: &mut Calls, bytes: usize) -> io::Result<String> {
        let (mut lines, mut looked_at) = (String::new(), 0);
        let mut is_at_end = true;
        self.journal.visit(calls.next, calls.filter.since, |place, record| {
            if place.sequence >= calls.end {
                return ControlFlow::Break(());
            }
            if lines.len() >= bytes || looked_at >= MOST_LOOKED_AT {
                calls.next = place;
                is_at_end = false;
                return ControlFlow::Break(());
            }
            looked_at += record.len();
            let line = shielded(|| {
                let record = Record::decode(record).ok()?;
                Some(call_log::line(&calls.filter.admitted(&record)?, &Identity::Drop))
            });
            if let Ok(Some(line)) = line {
                lines += &line;
                calls.left = calls.left.saturating_sub(1);
            }
            if calls.left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if is_at_end {
            calls.left = 0;
        }
        Ok(lines)
    }
}

impl Calls {
    /// Whether all were read.
    pub fn is_at_end(&self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use bytes::Bytes;
    use tempfile::tempdir;

    use super::*;
    use crate::callback::{Fingerprint, Kind};
    use crate::journal::Journal;
    use crate::journal::disk::DiskJournal;
    use crate::journal::memory::MemoryJournal;
    use crate::journal::storage::Directory;
    use crate::state::known::SharedKnown;
    use crate::state::window::Window;

    /// An exporter's past with so many calls, every seventh from JP, of which the window has the last hundred.
    fn past(journal: Journal, calls: u64) -> Running {
        let known = SharedKnown::new(Window::new(100, Duration::from_secs(3_600)), 0);
        let mut records = Vec::new();
        for number in 0..calls {
            let idc = if number % 7 == 0 { "JP" } else { "KR" };
            let query = format!(
                "sid={number}&duration=1&rel_code={number}&from_user_id=somebody&rc_idc={idc}&stid={:0100}",
                0
            );
            let (query, received_at) = (query.as_bytes(), SystemTime::now());
            let key = Kind::CallEvent.identify(query).expect("a call").key;
            records.push(Record { kind: Kind::CallEvent, received_at, key, envelope: b"", query }.encode());
            known.lock().window.insert(key, Fingerprint::UNKNOWN, number, received_at);
        }
        match &journal {
            Journal::Memory(journal) => records.into_iter().for_each(|record| journal.append(record)),
            Journal::Disk(journal) => records.chunks(1_000).for_each(|batch: &[Bytes]| {
                journal.append(batch).expect("appended");
            }),
        }
        Running::new(journal, known)
    }

    fn filter(parts: &[(&str, &str)]) -> CallFilter {
        let mut filter = CallFilter::default();
        parts.iter().for_each(|(name, text)| filter.set(name, text).expect("a part of it"));
        filter
    }

    /// The numbers of the calls that are shown, read a few at a time.
    fn shown(past: &Running, parts: &[(&str, &str)], most: usize) -> Vec<u64> {
        let mut calls = past.calls(filter(parts), most).expect("calls");
        let mut lines = String::new();
        while !calls.is_at_end() {
            lines += &past.read_calls(&mut calls, 16_000).expect("lines");
        }
        assert!(!lines.contains("somebody"), "{lines}");
        let number = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
            line["parameters"]["rel_code"].as_u64().expect("a number")
        };
        lines.lines().map(number).collect()
    }

    const NONE: [u64; 0] = [];

    #[test]
    fn the_latest_calls_are_shown_in_order() {
        let scratch = tempdir().expect("a directory");
        let storage = Directory::new(scratch.path()).expect("a directory");
        // Many segments.
        let disk = DiskJournal::open(storage, 4 << 20, 0, |_, _| {}).expect("a journal");
        let number = 12_000;
        let past_on_disk = past(Journal::Disk(Arc::new(disk)), number);
        let past_in_memory = past(Journal::Memory(Arc::new(MemoryJournal::new(1_000))), number);
        for past in [&past_on_disk, &past_in_memory] {
            assert_eq!(shown(past, &[], 3), [number - 3, number - 2, number - 1]);
            assert_eq!(shown(past, &[("idc", "JP")], 2), [11_991, 11_998]);
            assert_eq!(shown(past, &[("since", "1h")], 1), [number - 1]);
            assert_eq!(shown(past, &[("until", "1h")], 5), NONE);
            assert_eq!(shown(past, &[("idc", "TH")], 5), NONE);
            for sid in [number - 1, number - 100, number - 101, number - 3_000] {
                assert_eq!(shown(past, &[("sid", &sid.to_string())], 5), [sid]);
            }
            assert_eq!(shown(past, &[("sid", "11999"), ("idc", "JP")], 5), NONE);
            assert_eq!(shown(past, &[("sid", "none")], 5), NONE);
            assert_eq!(shown(past, &[], 0), NONE);
        }
        let all: Vec<_> = (0..number).collect();
        let everything = shown(&past_on_disk, &[], usize::MAX);
        assert!(everything == all, "{} from {:?}", everything.len(), everything.first());
        let jp: Vec<_> = all.iter().copied().filter(|number| number % 7 == 0).collect();
        assert!(shown(&past_on_disk, &[("idc", "JP")], 1_000) == jp[jp.len() - 1_000..]);
        assert_eq!(shown(&past_on_disk, &[("sid", "7")], 5), [7]);
        let kept = past_in_memory.journal.kept();
        assert!(kept.start > 0 && kept.end == number);
        assert!(shown(&past_in_memory, &[], usize::MAX) == all[kept.start as usize..]);
        assert_eq!(shown(&past_in_memory, &[("sid", "7")], 5), NONE);
    }
}
