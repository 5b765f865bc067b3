//! Random histories of a journal on a simulated disk: what was acknowledged is there, what was not is not half there.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;

use super::disk::DiskJournal;
use super::disk_reader::DiskReader;
use super::simulated_disk::SimulatedDisk;
use super::storage::Storage;

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
    Done,
    DropBefore(u8),
    Kill,
    LosePower(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0usize..6).prop_map(Step::Append),
        1 => (0usize..200).prop_map(Step::FailAppend),
        1 => Just(Step::FailSync),
        1 => (0usize..300).prop_map(Step::RunFull),
        2 => Just(Step::MakeRoom),
        3 => (1usize..8).prop_map(Step::Take),
        3 => Just(Step::Done),
        1 => any::<u8>().prop_map(Step::DropBefore),
        1 => Just(Step::Kill),
        2 => any::<u64>().prop_map(Step::LosePower),
    ];
    prop::collection::vec(step, 1..80)
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
    /// Records that the reader took.
    taken: HashSet<Bytes>,
    /// Everything before this sequence number may be gone.
    dropped: u64,
}

/// So small that segments are begun often.
const MAX_BYTES: u64 = 16 * 400;

impl History {
    fn new() -> History {
        let disk = SimulatedDisk::default();
        let (journal, reader) = open(&disk, |_, _| {});
        let (acknowledged, submitted, taken) = (BTreeMap::new(), HashSet::new(), HashSet::new());
        History { disk, journal, reader, acknowledged, submitted, taken, dropped: 0 }
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Append(number) => self.append(number)?,
            Step::FailAppend(written) => self.disk.fail_append(written),
            Step::FailSync => self.disk.fail_sync(),
            Step::RunFull(room) => self.disk.limit(Some(room)),
            Step::MakeRoom => self.disk.limit(None),
            Step::Take(most) => self.taken.extend(self.reader.take(most).expect("a disk that can be read")),
            // A full disk can refuse a position, which is then taken again after a restart.
            Step::Done => drop(self.reader.done()),
            Step::DropBefore(share) => {
                let bound = self.journal.end() * u64::from(share) / 255;
                self.journal.drop_before(bound);
                self.dropped = self.dropped.max(bound);
            }
            Step::Kill => self.reopen(self.disk.after_kill())?,
            Step::LosePower(choice) => self.reopen(self.disk.after_power_loss(choice))?,
        }
        Ok(())
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

    fn reopen(&mut self, disk: SimulatedDisk) -> Result<(), TestCaseError> {
        let mut found = BTreeMap::new();
        let (journal, reader) = open(&disk, |sequence, record| {
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
        Ok(())
    }

    /// In the end the reader has taken every acknowledged record, or will now.
    fn finish(mut self) -> Result<(), TestCaseError> {
        self.disk.limit(None);
        self.taken.extend(self.reader.take(usize::MAX).expect("a disk that can be read"));
        prop_assert_eq!(self.reader.waiting(), 0);
        for record in self.acknowledged.values() {
            prop_assert!(self.taken.contains(record), "{:?} is taken", record);
        }
        Ok(())
    }
}

type Opened = (Arc<DiskJournal<SimulatedDisk>>, DiskReader<SimulatedDisk>);

fn open(disk: &SimulatedDisk, visit: impl FnMut(u64, &[u8])) -> Opened {
    let journal = DiskJournal::open(disk.clone(), MAX_BYTES, 0, visit).expect("a journal");
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

    /// A bit that flips costs the record that it is in, and no other; and it does not go unnoticed.
    #[test]
    fn a_flipped_bit_costs_one_record(batches in prop::collection::vec(1usize..5, 3..20), at: prop::sample::Index, bit in 0u8..8) {
        let mut history = History::new();
        for batch in batches {
            history.append(batch)?;
        }
        // The last segment's last batch could be a torn one for all that can be told, so a later segment follows.
        history.reopen(history.disk.after_kill())?;
        history.append(1)?;
        let names = history.disk.list().expect("names");
        let segments: Vec<_> = names.iter().filter(|name| name.ends_with(".segment")).collect();
        let name = segments[at.index(segments.len() - 1)];
        let size = history.disk.size(name).expect("a size") as usize;
        let byte = super::segment::HEAD + at.index(size - super::segment::HEAD);
        history.disk.flip_bit(name, byte, bit);

        let mut found = BTreeMap::new();
        let disk = history.disk.after_kill();
        let (journal, mut reader) = open(&disk, |sequence, record| {
            found.insert(sequence, Bytes::copy_from_slice(record));
        });
        prop_assert_eq!(journal.damaged(), 1);
        prop_assert_eq!(found.len() + 1, history.acknowledged.len());
        prop_assert!(found.iter().all(|(sequence, record)| history.acknowledged.get(sequence) == Some(record)));
        prop_assert_eq!(journal.end(), history.journal.end());
        let taken = reader.take(usize::MAX).expect("a disk that can be read");
        prop_assert_eq!(taken, found.into_values().collect::<Vec<_>>());
    }
}

#[test]
fn a_journal_that_takes_too_much_gives_up_its_oldest_and_counts_it() {
    let mut history = History::new();
    for _ in 0..200 {
        history.append(3).expect("appended");
        history.journal.drop_beyond_limit(u64::MAX);
        assert!(history.journal.bytes() <= MAX_BYTES + 800);
    }
    let given_up = history.journal.readers()[0].given_up;
    let taken = history.reader.take(usize::MAX).expect("a disk that can be read").len() as u64;
    assert!(given_up > 0);
    assert_eq!(given_up + taken, 600);
}
