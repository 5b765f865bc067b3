//! Random histories of a journal on a simulated disk: what was acknowledged is there, what was not is not half there.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use super::disk::DiskJournal;
use super::disk_reader::DiskReader;
use super::position::{self, Position};
use super::simulated_disk::SimulatedDisk;
use super::storage::{Storage, read_all, replace};
use super::{BYTES_AT_ONCE, head};

/// What happens to a journal.
#[derive(Debug, Clone)]
enum Step {
    /// Records are appended as a batch, with lengths that vary.
    Append(usize),
    FailAppend(usize),
    FailSync,
    RunFull(usize),
    MakeRoom,
    Take(usize),
    /// The reader finishes what it holds, except every n-th record.
    Done(u64),
    DropBefore(u8),
    /// The segment that is written to is closed, whatever its age.
    Close,
    /// The next segment is made ahead.
    MakeNext,
    Kill(Writer),
    LosePower(u64, Writer),
    /// The machine stops in the midst of this, after so many changes of the disk.
    Stop(usize, Change, u64),
}

/// What changes the files of a journal.
#[derive(Debug, Clone, Copy)]
enum Change {
    Append(usize),
    MakeNext,
    Close,
}

/// Whose files the next process finds.
#[derive(Debug, Clone, Copy)]
enum Writer {
    This,
    Release0_1_0,
}

fn writer() -> impl Strategy<Value = Writer> {
    prop_oneof![Just(Writer::This), Just(Writer::Release0_1_0)]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0usize..6).prop_map(Step::Append),
        1 => (0usize..200).prop_map(Step::FailAppend),
        1 => Just(Step::FailSync),
        1 => (0usize..300).prop_map(Step::RunFull),
        2 => Just(Step::MakeRoom),
        3 => (1usize..8).prop_map(Step::Take),
        3 => (1u64..5).prop_map(Step::Done),
        1 => any::<u8>().prop_map(Step::DropBefore),
        1 => Just(Step::Close),
        3 => Just(Step::MakeNext),
        1 => writer().prop_map(Step::Kill),
        2 => (any::<u64>(), writer()).prop_map(|(choice, writer)| Step::LosePower(choice, writer)),
        3 => (0usize..10, change(), any::<u64>()).prop_map(|(after, change, choice)| Step::Stop(after, change, choice)),
    ];
    prop::collection::vec(step, 1..80)
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![4 => (1usize..6).prop_map(Change::Append), 1 => Just(Change::MakeNext), 1 => Just(Change::Close)]
}

/// A journal, and what is known of it from outside.
struct History {
    disk: SimulatedDisk,
    journal: Arc<DiskJournal<SimulatedDisk>>,
    reader: DiskReader<SimulatedDisk>,
    /// Acknowledged records by sequence number.
    acknowledged: BTreeMap<u64, Bytes>,
    /// Every record that was ever handed in; each is different.
    submitted: HashSet<Bytes>,
    /// Records that the reader took and has not finished.
    held: BTreeMap<u64, Bytes>,
    /// Records that the reader finished, and those of which it knows that this will last.
    finished: BTreeSet<u64>,
    settled: BTreeSet<u64>,
    /// Everything before this sequence number may be gone.
    dropped: u64,
}

/// So small that segments are begun often.
const MAX_BYTES: u64 = 16 * 400;

impl History {
    fn new() -> History {
        let disk = SimulatedDisk::default();
        let (journal, reader) = open(&disk, |_, _| {});
        History {
            disk,
            journal,
            reader,
            acknowledged: BTreeMap::new(),
            submitted: HashSet::new(),
            held: BTreeMap::new(),
            finished: BTreeSet::new(),
            settled: BTreeSet::new(),
            dropped: 0,
        }
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Append(number) => self.append(number)?,
            Step::FailAppend(written) => self.disk.fail_append(written),
            Step::FailSync => self.disk.fail_sync(),
            Step::RunFull(room) => self.disk.limit(Some(room)),
            Step::MakeRoom => self.disk.limit(None),
            Step::Take(most) => self.take(most)?,
            Step::Done(each) => self.finish_except(each),
            Step::DropBefore(share) => {
                let bound = self.journal.end() * u64::from(share) / 255;
                self.journal.drop_before(bound);
                self.dropped = self.dropped.max(bound);
            }
            // A disk that refuses is tried again with the next append.
            Step::Close => drop(self.journal.close_older_than(Duration::ZERO, Instant::now())),
            // There may be no room for it.
            Step::MakeNext => drop(self.journal.make_next()),
            Step::Kill(writer) => self.reopen(as_written_by(writer, self.disk.after_kill()), 0)?,
            Step::LosePower(choice, writer) => self.lose_power(&self.disk.clone(), choice, writer)?,
            Step::Stop(after, change, choice) => self.stop(after, change, choice)?,
        }
        Ok(())
    }

    fn lose_power(&mut self, disk: &SimulatedDisk, choice: u64, writer: Writer) -> Result<(), TestCaseError> {
        // A checkpoint may tell what was acknowledged.
        let known = self.acknowledged.last_key_value().filter(|_| choice.is_multiple_of(2));
        let known = known.map_or(0, |(sequence, _)| sequence + 1);
        self.reopen(as_written_by(writer, disk.after_power_loss(choice / 2)), known)
    }

    fn stop(&mut self, after: usize, change: Change, choice: u64) -> Result<(), TestCaseError> {
        let acknowledged = self.acknowledged.clone();
        self.disk.stop_in(after);
        match change {
            Change::Append(number) => self.append(number)?,
            Change::MakeNext => drop(self.journal.make_next()),
            Change::Close => drop(self.journal.close_older_than(Duration::ZERO, Instant::now())),
        }
        let Some(stopped) = self.disk.stopped() else { return Ok(()) };
        // What was appended was acknowledged to nobody.
        self.acknowledged = acknowledged;
        self.lose_power(&stopped, choice, Writer::This)
    }

    fn take(&mut self, most: usize) -> Result<(), TestCaseError> {
        for (sequence, record) in self.reader.take(most).expect("a disk that can be read") {
            prop_assert_eq!(self.acknowledged.get(&sequence), Some(&record));
            prop_assert!(!self.settled.contains(&sequence), "{} is not taken again", sequence);
            prop_assert!(self.held.insert(sequence, record).is_none(), "{} is taken once", sequence);
        }
        Ok(())
    }

    fn finish_except(&mut self, each: u64) {
        let (unfinished, finished): (BTreeMap<_, _>, _) =
            std::mem::take(&mut self.held).into_iter().partition(|(sequence, _)| sequence % each == 1);
        self.held = unfinished;
        self.finished.extend(finished.into_keys());
        let held: Vec<u64> = self.held.keys().copied().collect();
        // A full disk can refuse a position; what was finished is then taken again after a restart.
        if self.reader.done_except(&held, 0).is_ok() {
            self.settled.clone_from(&self.finished);
        }
    }

    fn append(&mut self, number: usize) -> Result<(), TestCaseError> {
        let records: Vec<Bytes> = (0..number)
            .map(|place| {
                let serial = self.submitted.len() + place;
                Bytes::from(format!("{serial:06}{}", "x".repeat(serial % 50)))
            })
            .collect();
        self.submitted.extend(records.iter().cloned());
        let before = self.journal.end();
        match self.journal.append(&records) {
            Ok(first) => {
                prop_assert_eq!(first, before);
                self.acknowledged.extend((first..).zip(records));
            }
            Err(_) => prop_assert_eq!(self.journal.end(), before),
        }
        Ok(())
    }

    fn reopen(&mut self, disk: SimulatedDisk, known: u64) -> Result<(), TestCaseError> {
        let mut found = BTreeMap::new();
        let (journal, reader) = open_known(&disk, known, |sequence, record| {
            found.insert(sequence, Bytes::copy_from_slice(record));
        });
        prop_assert_eq!(journal.damaged(), 0);
        let last = self.acknowledged.last_key_value().map(|(sequence, _)| *sequence);
        prop_assert!(last.is_none_or(|last| journal.end() > last));
        for (sequence, record) in self.acknowledged.range(self.dropped..) {
            prop_assert_eq!(found.get(sequence), Some(record), "acknowledged as number {}", sequence);
        }
        let mut whole: Vec<_> = found.values().collect();
        prop_assert!(whole.iter().all(|record| self.submitted.contains(*record)), "nothing is half there");
        whole.sort_unstable();
        whole.dedup();
        prop_assert_eq!(whole.len(), found.len(), "nothing is there twice");
        // What was in flight and survived counts from now on.
        self.acknowledged.extend(found);
        (self.disk, self.journal, self.reader) = (disk, journal, reader);
        self.held.clear();
        self.finished.clone_from(&self.settled);
        Ok(())
    }

    /// In the end the reader has finished every acknowledged record, or will now.
    fn finish(mut self) -> Result<(), TestCaseError> {
        self.disk.limit(None);
        while self.reader.waiting() > 0 {
            self.take(usize::MAX)?;
        }
        let backlog = self.journal.readers()[0].backlog;
        prop_assert!(backlog >= self.held.len() as u64, "{} of {}", backlog, self.held.len());
        for sequence in self.acknowledged.keys() {
            let is_taken = self.finished.contains(sequence) || self.held.contains_key(sequence);
            prop_assert!(is_taken, "{} is taken", sequence);
        }
        // Failures of a write and of a sync may still be due.
        (0..3).for_each(|_| self.finish_except(u64::MAX));
        prop_assert_eq!(self.journal.readers()[0].backlog, self.held.len() as u64);
        Ok(())
    }
}

/// The disk with its segments and positions in the layouts of their writer.
fn as_written_by(writer: Writer, disk: SimulatedDisk) -> SimulatedDisk {
    let Writer::Release0_1_0 = writer else { return disk };
    for name in disk.list().expect("names") {
        let read = || read_all(&disk, &name).expect("a file");
        let older = if position::reader(&name).is_some() {
            position::encode_version_1(&Position::decode(&read()).expect("a position"))
        } else if name.ends_with(".segment")
            && let Ok(head) = head::read(&read())
        {
            [&head::common(head.first, 1), &read()[head.size..]].concat()
        } else {
            // A torn head, or a file that was to take the place of another.
            continue;
        };
        replace(&disk, &name, &older).expect("written");
    }
    disk
}

fn sequences(records: &[(u64, Bytes)]) -> Vec<u64> {
    records.iter().map(|(sequence, _)| *sequence).collect()
}

type Opened = (Arc<DiskJournal<SimulatedDisk>>, DiskReader<SimulatedDisk>);

fn open(disk: &SimulatedDisk, visit: impl FnMut(u64, &[u8])) -> Opened {
    open_known(disk, 0, visit)
}

/// Opens a journal of which every record before `known` is known to have been acknowledged.
fn open_known(disk: &SimulatedDisk, known: u64, visit: impl FnMut(u64, &[u8])) -> Opened {
    let journal = DiskJournal::open(disk.clone(), MAX_BYTES, known, visit).expect("a journal");
    let journal = Arc::new(journal);
    let reader = DiskReader::new(&journal, "spans").expect("a reader");
    (journal, reader)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_was_acknowledged_is_there_and_what_was_not_is_not_half_there(steps in steps()) {
        let mut history = History::new();
        for step in steps {
            history.step(step)?;
        }
        history.finish()?;
    }

    /// A bit that flips costs the record that it is in, if it is in one, and no other; and it does not go unnoticed.
    #[test]
    fn a_flipped_bit_costs_one_record(batches in prop::collection::vec(1usize..5, 3..20), at: prop::sample::Index, bit in 0u8..8) {
        let mut history = History::new();
        for batch in batches {
            history.append(batch)?;
        }
        // The last segment's last batch could be a torn one for all that can be told, so a later segment follows.
        history.reopen(history.disk.after_kill(), 0)?;
        history.append(1)?;
        let names = history.disk.list().expect("names");
        let segments: Vec<_> = names.iter().filter(|name| name.ends_with(".segment")).collect();
        let name = segments[at.index(segments.len() - 1)];
        let byte = at.index(history.disk.size(name).expect("a size") as usize);
        let lost = usize::from(byte >= head::SIZE);
        history.disk.flip_bit(name, byte, bit);

        let mut found = BTreeMap::new();
        let disk = history.disk.after_kill();
        let (journal, mut reader) = open(&disk, |sequence, record| {
            found.insert(sequence, Bytes::copy_from_slice(record));
        });
        prop_assert_eq!(journal.damaged(), 1);
        prop_assert_eq!(found.len() + lost, history.acknowledged.len());
        prop_assert!(found.iter().all(|(sequence, record)| history.acknowledged.get(sequence) == Some(record)));
        prop_assert_eq!(journal.end(), history.journal.end());
        let taken = reader.take(usize::MAX).expect("a disk that can be read");
        prop_assert_eq!(taken, found.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn a_damaged_head_of_the_last_segment_costs_no_record_and_does_not_go_unnoticed() {
    let old = (0..head::common(0, 1).len()).map(|byte| (Writer::Release0_1_0, byte));
    for (writer, byte) in (0..head::SIZE).map(|byte| (Writer::This, byte)).chain(old) {
        let mut history = History::new();
        history.append(3).expect("appended");
        let disk = as_written_by(writer, history.disk.after_kill());
        disk.flip_bit("00000000000000000000.segment", byte, 0);
        let mut found = Vec::new();
        let (journal, mut reader) = open(&disk, |sequence, _| found.push(sequence));
        assert_eq!((found, journal.damaged()), (vec![0, 1, 2], 1), "byte {byte}");
        let records: Vec<_> = history.acknowledged.into_iter().collect();
        assert_eq!(reader.take(usize::MAX).expect("a disk that can be read"), records);

        // It is there for people to look at, whatever comes after it.
        journal.append(&[Bytes::from_static(b"next")]).expect("appended");
        assert_eq!(disk.list().expect("names").iter().filter(|name| name.ends_with(".segment")).count(), 2);
    }
}

#[test]
fn a_damaged_head_and_a_damaged_first_record_cost_that_record() {
    for (writer, size) in [(Writer::This, head::SIZE), (Writer::Release0_1_0, head::common(0, 1).len())] {
        let mut history = History::new();
        (0..3).for_each(|_| history.append(1).expect("appended"));
        let disk = as_written_by(writer, history.disk.after_kill());
        [0, size].into_iter().for_each(|byte| disk.flip_bit("00000000000000000000.segment", byte, 0));
        let mut found = Vec::new();
        let (journal, mut reader) = open(&disk, |sequence, _| found.push(sequence));
        assert_eq!((found, journal.damaged()), (vec![1, 2], 1));
        let records: Vec<_> = history.acknowledged.into_iter().skip(1).collect();
        assert_eq!(reader.take(usize::MAX).expect("a disk that can be read"), records);
    }
}

#[test]
fn a_last_segment_that_is_damaged_throughout_is_kept_and_counted() {
    let mut history = History::new();
    history.append(1).expect("appended");
    let name = "00000000000000000000.segment";
    let size = history.disk.size(name).expect("a size") as usize;
    (0..size).for_each(|byte| history.disk.flip_bit(name, byte, 3));
    let disk = history.disk.after_kill();
    let (journal, _) = open(&disk, |_, _| panic!("nothing in it is sound"));
    assert_eq!((journal.damaged(), journal.end()), (1, 1));
    journal.append(&[Bytes::from_static(b"next")]).expect("appended");
    assert_eq!(disk.size(name).expect("a size") as usize, size);
}

#[test]
fn a_journal_that_takes_too_much_drops_its_oldest_and_counts_it() {
    let mut history = History::new();
    for _ in 0..200 {
        history.append(3).expect("appended");
        history.journal.drop_beyond_limit(u64::MAX);
        assert!(history.journal.bytes() <= MAX_BYTES + 800);
    }
    let dropped = history.journal.readers()[0].dropped;
    let taken = history.reader.take(usize::MAX).expect("a disk that can be read").len() as u64;
    assert!(dropped > 0);
    assert_eq!(dropped + taken, 600);
}

#[test]
fn what_is_taken_at_once_has_a_limit_of_bytes() {
    let mut history = History::new();
    let records: Vec<Bytes> = (0..50u8).map(|number| vec![number; 100_000].into()).collect();
    history.journal.append(&records).expect("appended");
    let takes = |reader: &mut DiskReader<SimulatedDisk>| {
        let mut taken = Vec::new();
        loop {
            let records = reader.take(usize::MAX).expect("a disk that can be read");
            if records.is_empty() {
                return taken;
            }
            let bytes: usize = records.iter().map(|(_, record)| record.len()).sum();
            assert!(bytes < 2 * BYTES_AT_ONCE, "{bytes} bytes");
            taken.extend(records);
        }
    };
    let taken = takes(&mut history.reader);
    assert!(taken.iter().map(|(_, record)| record).eq(&records));

    // The same holds for what it had not finished before a start.
    history.reader.done_except(&sequences(&taken), 0).expect("a position");
    let (_, mut reader) = open(&history.disk.after_kill(), |_, _| {});
    assert_eq!(takes(&mut reader), taken);
}

#[test]
fn what_was_unfinished_and_is_still_there_is_taken_again() {
    let mut history = History::new();
    for _ in 0..4 {
        history.append(3).expect("appended");
        history.reopen(history.disk.after_kill(), 0).expect("reopened");
    }
    let taken = history.reader.take(usize::MAX).expect("a disk that can be read");
    history.reader.done_except(&sequences(&taken[1..]), 0).expect("a position");
    let room = history.journal.bytes() - 1;
    let journal = DiskJournal::open(history.disk.after_kill(), room, 0, |_, _| {}).expect("a journal");
    let journal = Arc::new(journal);
    let mut reader = DiskReader::new(&journal, "spans").expect("a reader");
    journal.drop_beyond_limit(u64::MAX);
    assert_eq!(reader.take(usize::MAX).expect("a disk that can be read"), taken[3..]);
    assert_eq!(journal.readers()[0].dropped, 2);
}
