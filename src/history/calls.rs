//! The calls of a time, one by one.
//!
//! Of those that a filter admits there are the latest, in the order in which they were stored, as `tail` shows the end
//! of a file. They are looked for from the end backwards, in larger and larger parts, so that the latest hundred are
//! found at once in a journal of any size. Only the place of the first one is kept; from there on they are read again
//! as they are shown. So nothing grows with how many there are.
//!
//! One call is found by its session ID in the window of keys, which knows the number of its record. Only the segment
//! that has it is read: 16 MiB at most. A call that has left the window, and may still be in the journal since a sink
//! waits for it, is looked for everywhere.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;

use super::running::Running;
use crate::callback::shield::shielded;
use crate::callback::{CallEvent, Record};
use crate::config::call_filter::CallFilter;
use crate::journal::past::Place;

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
    /// From where on is read.
    place: Place,
    /// The sequence number of the first record that is still to be looked at, which may lie behind that place.
    begin: u64,
    /// Calls that were stored later are not shown.
    end: u64,
    left: usize,
    /// Records that were gone before they could be looked at.
    missed: u64,
}

impl Running {
    /// The latest calls that `filter` admits, at most `most`.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn calls(&self, filter: CallFilter, most: usize) -> io::Result<Calls> {
        let kept = self.journal.kept();
        if most == 0 {
            return Ok(Calls::new(filter, Place::at(kept.end), kept.end, 0));
        }
        if let Some(sequence) = filter.sid.and_then(|sid| self.known.sequence_of(sid)) {
            // No other call has it, but for one that left the window before.
            return Ok(Calls::new(filter, Place::at(sequence), sequence + 1, 1));
        }
        // One that is not in the window may be anywhere.
        let mut part = if filter.sid.is_some() { u64::MAX } else { AT_FIRST };
        loop {
            let begin = kept.end.saturating_sub(part).max(kept.start);
            let places = self.places(&filter, begin, kept.end, most)?;
            if places.len() == most || begin == kept.start {
                let place = places.front().copied().unwrap_or_else(|| Place::at(kept.end));
                return Ok(Calls::new(filter, place, kept.end, places.len()));
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

    /// What `show` makes of the next calls, about `bytes` of it; less, or nothing, where there are few among many others. Once
    /// they are [at their end](Calls::is_at_end), there are no more.
    ///
    /// # Errors
    /// The journal cannot be read.
    pub fn read_calls(
        &self,
        calls: &mut Calls,
        bytes: usize,
        show: impl Fn(&CallEvent<'_>) -> String,
    ) -> io::Result<String> {
        let (mut shown, mut looked_at) = (String::new(), 0);
        let (begin, mut is_at_end) = (calls.begin, true);
        self.journal.visit(calls.place, calls.filter.since, |place, record| {
            if place.sequence >= calls.end {
                return ControlFlow::Break(());
            }
            if shown.len() >= bytes || looked_at >= MOST_LOOKED_AT {
                is_at_end = false;
                return ControlFlow::Break(());
            }
            if place.sequence < begin {
                return ControlFlow::Continue(());
            }
            calls.missed += place.sequence - calls.begin;
            (calls.place, calls.begin) = (place, place.sequence + 1);
            looked_at += record.len();
            let call = shielded(|| Some(show(&calls.filter.admitted(&Record::decode(record).ok()?)?)));
            if let Ok(Some(call)) = call {
                shown += &call;
                calls.left = calls.left.saturating_sub(1);
            }
            if calls.left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        if is_at_end {
            if calls.left > 0 {
                calls.missed += calls.end - calls.begin;
                calls.begin = calls.end;
            }
            calls.left = 0;
        }
        Ok(shown)
    }

    /// Lets `calls`, which are at their end, go on with what has been stored since. Returns whether there is anything.
    pub fn go_on(&self, calls: &mut Calls) -> bool {
        let end = self.journal.kept().end;
        if end <= calls.end {
            return false;
        }
        if calls.place.sequence.saturating_add(1) < calls.end {
            // Nothing in between was to be shown.
            calls.place = Place::at(calls.end);
        }
        calls.begin = calls.end;
        (calls.end, calls.left) = (end, usize::MAX);
        true
    }
}

impl Calls {
    fn new(filter: CallFilter, place: Place, end: u64, left: usize) -> Calls {
        Calls { filter, place, begin: place.sequence, end, left, missed: 0 }
    }

    /// How many were stored and gone before they could be read, since this was asked for last.
    pub fn missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }

    /// Whether all were read.
    pub fn is_at_end(&self) -> bool {
        self.left == 0
    }
}

#[cfg(test)]
mod tests {
    use std::ops::Range;
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use bytes::Bytes;
    use tempfile::{TempDir, tempdir};

    use super::*;
    use crate::callback::call_event::Parameter;
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
        let past = Running::new(journal, known);
        add(&past, 0..calls);
        past
    }

    fn add(past: &Running, numbers: Range<u64>) {
        let mut records = Vec::new();
        for number in numbers {
            let idc = if number % 7 == 0 { "JP" } else { "KR" };
            let query = format!(
                "sid={number}&duration=1&rel_code={number}&from_user_id=somebody&rc_idc={idc}&stid={:0100}",
                0
            );
            let (query, received_at) = (query.as_bytes(), SystemTime::now());
            let key = Kind::CallEvent.identify(query).expect("a call").key;
            records.push(Record { kind: Kind::CallEvent, received_at, key, envelope: b"", query }.encode());
            past.known.lock().window.insert(key, Fingerprint::UNKNOWN, number, received_at);
        }
        match &past.journal {
            Journal::Memory(journal) => records.into_iter().for_each(|record| journal.append(record)),
            Journal::Disk(journal) => records.chunks(1_000).for_each(|batch: &[Bytes]| {
                journal.append(batch).expect("appended");
            }),
        }
    }

    fn on_disk(scratch: &TempDir) -> Journal {
        let storage = Directory::new(scratch.path()).expect("a directory");
        // Many segments.
        let journal = DiskJournal::open(storage, 4 << 20, 0, |_, _| {}).expect("a journal");
        Journal::Disk(Arc::new(journal))
    }

    fn in_memory() -> Journal {
        Journal::Memory(Arc::new(MemoryJournal::new(1_000)))
    }

    fn filter(parts: &[(&str, &str)]) -> CallFilter {
        let mut filter = CallFilter::default();
        parts.iter().for_each(|(name, text)| filter.set(name, text).expect("a part of it"));
        filter
    }

    /// The numbers of the calls that are shown, read a few at a time.
    fn shown(past: &Running, parts: &[(&str, &str)], most: usize) -> Vec<u64> {
        read(past, &mut past.calls(filter(parts), most).expect("calls"))
    }

    fn read(past: &Running, calls: &mut Calls) -> Vec<u64> {
        let mut lines = String::new();
        while !calls.is_at_end() {
            lines += &past.read_calls(calls, 16_000, line).expect("lines");
        }
        lines.lines().map(|line| line.parse().expect("a number")).collect()
    }

    fn line(call: &CallEvent<'_>) -> String {
        format!("{}\n", call.number(Parameter::RelCode).expect("a number"))
    }

    const NONE: [u64; 0] = [];

    #[test]
    fn the_latest_calls_are_shown_in_order() {
        let scratch = tempdir().expect("a directory");
        let number = 12_000;
        let (past_on_disk, past_in_memory) = (past(on_disk(&scratch), number), past(in_memory(), number));
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

    #[test]
    fn who_goes_on_sees_each_later_call_once() {
        let scratch = tempdir().expect("a directory");
        for journal in [on_disk(&scratch), in_memory()] {
            let past = past(journal, 0);
            let filters: [&[(&str, &str)]; 4] = [&[], &[("idc", "JP")], &[("idc", "TH")], &[("sid", "8")]];
            let mut all: Vec<_> =
                filters.map(|parts| past.calls(filter(parts), 5).expect("calls")).into_iter().collect();
            assert!(all.iter_mut().all(|calls| read(&past, calls).is_empty() && !past.go_on(calls)));
            let mut next = 0;
            // Some end a segment, and some begin one.
            for number in [1, 6, 1, 1, 900, 13, 1, 700, 2] {
                add(&past, next..next + number);
                let added = next..next + number;
                next += number;
                let read: Vec<_> = all
                    .iter_mut()
                    .map(|calls| {
                        assert!(past.go_on(calls));
                        read(&past, calls)
                    })
                    .collect();
                assert!(all.iter_mut().all(|calls| !past.go_on(calls)));
                let jp: Vec<_> = added.clone().filter(|number| number % 7 == 0).collect();
                let one: Vec<_> = added.clone().filter(|number| *number == 8).collect();
                assert_eq!(read, [added.collect(), jp, NONE.to_vec(), one]);
            }
            // After the latest of before.
            let mut calls = past.calls(filter(&[("idc", "JP")]), 1).expect("calls");
            assert_eq!(read(&past, &mut calls).len(), 1);
            add(&past, next..next + 7);
            assert!(past.go_on(&mut calls));
            assert_eq!((read(&past, &mut calls).len(), calls.missed()), (1, 0));
        }
    }

    #[test]
    fn what_was_gone_before_it_could_be_read_is_counted() {
        let past = past(in_memory(), 0);
        let mut calls = past.calls(filter(&[]), 1).expect("calls");
        let mut next = 0;
        for number in [10, 20_000, 1, 30_000, 30_000] {
            add(&past, next..next + number);
            next += number;
            assert!(past.go_on(&mut calls));
            // Meanwhile others come, for which there is no room beside those.
            add(&past, next..next + number);
            next += number;
            let read = read(&past, &mut calls).len() as u64;
            assert_eq!(read + calls.missed(), number, "{number}");
            assert!(past.go_on(&mut calls));
            let read = self::read(&past, &mut calls).len() as u64;
            assert_eq!(read + calls.missed(), number, "{number}");
        }
    }
}
