//! Reading what a journal has, beside those who append and take.

use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};

use super::DiskJournal;
use crate::journal::past::Place;
use crate::journal::recovery::file_name;
use crate::journal::segment::{self, LONGEST_FRAME, Next};
use crate::journal::storage::Storage;

/// How much is read at once where records are visited: at least one of the longest.
const VISITED_AT_ONCE: usize = 2 * LONGEST_FRAME;

/// By how much the clock of a file system is trusted to differ from that of this host.
const SLACK: Duration = Duration::from_secs(60);

impl<S: Storage> DiskJournal<S> {
    /// Hands the records from `from` on that are on disk now to `visit`, a block at a time, until that breaks off.
    /// Segments to which nothing was written since `since` are passed over: what they have was stored before, and
    /// received before that. The last of them is visited all the same, so that whoever looks sees that nothing between
    /// it and the next one is missing.
    ///
    /// # Errors
    /// The disk fails, or somebody has removed what it has. What is damaged is passed over, and so is a segment that is
    /// dropped meanwhile.
    pub fn visit(
        &self,
        from: Place,
        since: Option<SystemTime>,
        mut visit: impl FnMut(Place, &[u8]) -> ControlFlow<()>,
    ) -> io::Result<()> {
        let mut block = Vec::new();
        let segments = self.segments();
        let older = segments.iter().take_while(|(first, _)| self.is_older(*first, since)).count();
        for (first, end) in segments.into_iter().skip(older.saturating_sub(1)) {
            if end <= from.sequence {
                continue;
            }
            block.resize(VISITED_AT_ONCE, 0);
            let begin = match from {
                Place { segment, offset: 1.., .. } if segment == first => from,
                _ => Place { sequence: first, segment: first, offset: self.records_at(first) },
            };
            let mut visit = |place: Place, record: &[u8]| match place.sequence < from.sequence {
                true => ControlFlow::Continue(()),
                false => visit(place, record),
            };
            match self.visit_segment(begin, end, &mut block, &mut visit) {
                Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_last(first) => {}
                visited => {
                    if visited?.is_break() {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Whether a segment is the one that is appended to, which is never dropped.
    fn is_last(&self, first: u64) -> bool {
        self.segments().last().is_some_and(|(last, _)| *last == first)
    }

    /// Whether everything in a segment was stored before `since`.
    fn is_older(&self, first: u64, since: Option<SystemTime>) -> bool {
        let Some(since) = since.and_then(|since| since.checked_sub(SLACK)) else { return false };
        let written_at = self.storage.written_at(&file_name(first));
        written_at.is_ok_and(|written_at| written_at.is_some_and(|written_at| written_at < since))
    }

    /// Visits the records of a segment from `at` on that come before the sequence number `end`. Frames with others were
    /// left behind by appends that failed.
    fn visit_segment(
        &self,
        mut at: Place,
        end: u64,
        block: &mut [u8],
        visit: &mut impl FnMut(Place, &[u8]) -> ControlFlow<()>,
    ) -> io::Result<ControlFlow<()>> {
        let name = file_name(at.segment);
        loop {
            let begun_at = at.offset;
            let read = self.storage.read_at(&name, at.offset, block)?;
            let is_last = read < block.len();
            let mut rest = &block[..read];
            while at.sequence < end {
                let frame = match segment::read_frame(rest) {
                    Next::Frame(frame) if (at.sequence..end).contains(&frame.sequence) => frame,
                    Next::Short if !is_last => break,
                    _ => match segment::find_frame(rest, at.sequence..end) {
                        Some(damaged) => {
                            at.offset += damaged as u64;
                            rest = &rest[damaged..];
                            continue;
                        }
                        None if is_last => break,
                        None => {
                            // A frame may begin in the last bytes and end in the next block.
                            at.offset += rest.len().saturating_sub(LONGEST_FRAME - 1).max(1) as u64;
                            break;
                        }
                    },
                };
                at.sequence = frame.sequence;
                if visit(at, frame.record).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                at.sequence += 1;
                at.offset += frame.size() as u64;
                rest = &rest[frame.size()..];
            }
            if is_last || at.sequence >= end || at.offset == begun_at {
                return Ok(ControlFlow::Continue(()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use bytes::Bytes;
    use proptest::prelude::*;
    use tempfile::tempdir;

    use super::*;
    use crate::journal::head;
    use crate::journal::segment::LONGEST_RECORD;
    use crate::journal::simulated_disk::SimulatedDisk;
    use crate::journal::storage::Directory;

    fn open(disk: &SimulatedDisk, known: u64) -> DiskJournal<SimulatedDisk> {
        DiskJournal::open(disk.clone(), 1 << 30, known, |_, _| {}).expect("a journal")
    }

    fn record(number: u64, length: usize) -> Bytes {
        let mut record = number.to_le_bytes().to_vec();
        record.resize(length.max(8), number as u8);
        record.into()
    }

    fn visited(journal: &DiskJournal<SimulatedDisk>, from: Place) -> Vec<(Place, u64)> {
        let mut visited = Vec::new();
        let visit = |place: Place, record: &[u8]| {
            visited.push((place, u64::from_le_bytes(record[..8].try_into().expect("eight bytes"))));
            ControlFlow::Continue(())
        };
        journal.visit(from, None, visit).expect("a look");
        visited
    }

    fn sequences(journal: &DiskJournal<SimulatedDisk>, from: u64) -> Vec<u64> {
        visited(journal, Place::at(from)).into_iter().map(|(place, _)| place.sequence).collect()
    }

    proptest! {
        /// Whatever the lengths of records and where segments end, each record is seen once, and again from its place on.
        #[test]
        fn every_record_is_seen_once_and_from_any_place_on(
            lengths in prop::collection::vec(prop_oneof![9 => 8usize..300, 1 => Just(LONGEST_RECORD)], 1..30),
            closed: prop::sample::Index,
            from: prop::sample::Index,
        ) {
            let disk = SimulatedDisk::default();
            let journal = open(&disk, 0);
            for (number, length) in lengths.iter().enumerate() {
                if number == closed.index(lengths.len()) {
                    journal.close_older_than(Duration::ZERO, std::time::Instant::now()).expect("closed");
                }
                journal.append(&[record(number as u64, *length)]).expect("appended");
            }
            let all = visited(&journal, Place::default());
            let numbers: Vec<_> = all.iter().map(|(place, number)| (place.sequence, *number)).collect();
            prop_assert_eq!(numbers, (0..lengths.len() as u64).map(|number| (number, number)).collect::<Vec<_>>());
            let from = from.index(all.len());
            prop_assert_eq!(visited(&journal, all[from].0), all[from..].to_vec());
            prop_assert_eq!(visited(&journal, Place::at(from as u64)), all[from..].to_vec());
        }
    }

    #[test]
    fn what_somebody_removed_is_not_the_same_as_nothing() {
        let disk = SimulatedDisk::default();
        let journal = open(&disk, 0);
        journal.append(&[record(0, 100)]).expect("appended");
        disk.remove(&file_name(0)).expect("removed");
        let visited = journal.visit(Place::default(), None, |_, _| panic!("there is nothing to be read"));
        assert_eq!(visited.map_err(|error| error.kind()), Err(io::ErrorKind::NotFound));
    }

    #[test]
    fn what_is_damaged_is_passed_over_and_what_lies_behind_it_is_seen() {
        let disk = SimulatedDisk::default();
        let journal = open(&disk, 0);
        // Blocks end within the damaged record, and behind it.
        let lengths = [100, LONGEST_RECORD, LONGEST_RECORD, 100, LONGEST_RECORD, 100];
        let records: Vec<_> = (0..).zip(lengths).map(|(number, length)| record(number, length)).collect();
        journal.append(&records).expect("appended");
        disk.flip_bit(&file_name(0), head::SIZE + 200 + LONGEST_FRAME, 3);
        assert_eq!(sequences(&journal, 0), [0, 1, 3, 4, 5]);
        assert_eq!(sequences(&journal, 2), [3, 4, 5]);
        // The length of the first is none any more.
        disk.flip_bit(&file_name(0), head::SIZE + 6, 7);
        assert_eq!(sequences(&journal, 0), [1, 3, 4, 5]);
    }

    #[test]
    fn what_a_failed_append_left_behind_is_not_seen() {
        let disk = SimulatedDisk::default();
        let journal = open(&disk, 0);
        journal.append(&[record(0, 50)]).expect("appended");
        disk.fail_sync();
        journal.append(&[record(7, 50), record(8, 50)]).expect_err("no sync");
        assert_eq!(sequences(&journal, 0), [0]);
        journal.append(&[record(1, 50)]).expect("appended");
        let numbers: Vec<_> =
            visited(&journal, Place::default()).into_iter().map(|(_, number)| number).collect();
        assert_eq!(numbers, [0, 1]);
    }

    #[test]
    fn a_visit_can_break_off_and_a_segment_that_goes_is_passed_over() {
        let disk = SimulatedDisk::default();
        let journal = open(&disk, 0);
        for number in 0..4 {
            journal.append(&[record(number, 50)]).expect("appended");
            journal.close_older_than(Duration::ZERO, std::time::Instant::now()).expect("closed");
        }
        let mut seen = Vec::new();
        let visit = |place: Place, _: &[u8]| {
            seen.push(place.sequence);
            // Somebody drops the next one.
            journal.drop_before(2);
            if place.sequence == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        journal.visit(Place::default(), None, visit).expect("a look");
        assert_eq!(seen, [0, 2]);
    }

    #[test]
    fn of_the_segments_to_which_nothing_was_written_since_only_the_last_is_visited() {
        let scratch = tempdir().expect("a directory");
        let storage = Directory::new(scratch.path()).expect("a directory");
        let journal = DiskJournal::open(storage, 1 << 30, 0, |_, _| {}).expect("a journal");
        for number in 0..3 {
            journal.append(&[record(number, 50)]).expect("appended");
            if number < 2 {
                journal.close_older_than(Duration::ZERO, std::time::Instant::now()).expect("closed");
            }
        }
        let (now, minute) = (SystemTime::now(), Duration::from_secs(60));
        for (number, minutes) in [(0, 90), (1, 60)] {
            let path = scratch.path().join(file_name(number));
            let segment = File::options().append(true).open(path).expect("a segment");
            segment.set_modified(now - minutes * minute).expect("another time");
        }
        for (since, expected) in [
            (None, &[0, 1, 2][..]),
            (Some(now - 90 * minute), &[0, 1, 2]),
            (Some(now - 75 * minute), &[0, 1, 2]),
            (Some(now - 60 * minute), &[0, 1, 2]),
            (Some(now - 30 * minute), &[1, 2]),
            (Some(now), &[1, 2]),
            (Some(now + 30 * minute), &[2]),
        ] {
            let mut seen = Vec::new();
            let visit = |place: Place, _: &[u8]| {
                seen.push(place.sequence);
                ControlFlow::Continue(())
            };
            journal.visit(Place::default(), since, visit).expect("a look");
            assert_eq!(seen, expected, "{since:?}");
        }
    }
}
