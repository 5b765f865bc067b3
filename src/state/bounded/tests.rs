use std::time::SystemTime;

use proptest::prelude::*;

use super::*;
use crate::callback::{Key, Kind, Record};
use crate::journal::disk_reader::DiskReader;
use crate::journal::segment::LONGEST_RECORD;
use crate::journal::simulated_disk::SimulatedDisk;
use crate::journal::storage::{NEXT_SEGMENT, Space, StorageFile};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::{Ledger, Limits};
use crate::state::fold::Recalled;
use crate::state::quarantine::Quarantine;

const LIMIT: u64 = 1024 * 1024;

/// Bytes of a frame beside its record, and of a segment's head, and more.
const OVERHEAD: u64 = 200;

/// Room for a journal within its limit, a segment more, the checkpoints, and what is set aside for them.
const ENOUGH: usize = 4 * 1024 * 1024;

/// What happens to a journal in a state directory.
#[derive(Debug, Clone)]
enum Step {
    /// Records of these sizes are appended, as the committer does it.
    Append(Vec<usize>),
    /// The reader takes what there is and finishes it.
    Deliver,
    Keep,
    /// The next segment is made ahead.
    MakeNext,
    RunFull(usize),
    MakeRoom,
    Kill,
}

fn append() -> impl Strategy<Value = Step> {
    prop::collection::vec(prop_oneof![Just(100usize), 100usize..120_000], 1..8).prop_map(Step::Append)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => append(),
        1 => Just(Step::Deliver),
        1 => Just(Step::Keep),
        2 => Just(Step::MakeNext),
        1 => (0usize..300_000).prop_map(Step::RunFull),
        1 => Just(Step::MakeRoom),
        1 => Just(Step::Kill),
    ];
    prop::collection::vec(step, 1..60)
}

struct World {
    disk: SimulatedDisk,
    journal: Arc<DiskJournal<SimulatedDisk>>,
    reader: DiskReader<SimulatedDisk>,
    fold: Arc<Fold>,
    bounded: BoundedJournal<SimulatedDisk>,
    acknowledged: u64,
}

impl World {
    fn new(disk: SimulatedDisk) -> World {
        World::open(disk, 0)
    }

    /// Opens what is on the disk, as a start does.
    fn open(disk: SimulatedDisk, acknowledged: u64) -> World {
        // As everything that is unfinished.
        let _ = disk.remove(NEXT_SEGMENT);
        let mut checkpoints = Checkpoints::new(disk.clone(), Path::new(""));
        let checkpoint = checkpoints.read(&Limits::default()).expect("checkpoints that can be used");
        let has_checkpoint = checkpoint.is_some();
        let buckets = || "1,60".parse().expect("buckets");
        let new = || Ledger::new(SystemTime::UNIX_EPOCH, Limits::default(), buckets(), buckets());
        let totals = checkpoint.unwrap_or_else(|| Checkpoint::of(new()));
        let readers = Readers::on_disk(&totals.marks.clone().unwrap_or_default(), Duration::ZERO);
        let position = totals.position;
        let fold = Arc::new(Fold::new(totals, Recalled::new(&[], &[]), Quarantine::in_memory()));
        let journal = DiskJournal::open(disk.clone(), LIMIT, position, |sequence, record| {
            if sequence >= position {
                fold.fold_at_start(sequence, record).expect("a record of this release");
            }
        });
        let journal = Arc::new(journal.expect("a journal"));
        fold.skip_to(journal.end());
        let bounded =
            BoundedJournal::new(Arc::clone(&journal), Arc::clone(&fold), Arc::new(readers), checkpoints);
        bounded.keep_at_start(has_checkpoint).expect("a checkpoint");
        let reader = DiskReader::new(&journal, "spans").expect("a reader");
        World { disk, journal, reader, fold, bounded, acknowledged }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Append(sizes) => {
                self.append(&sizes);
            }
            Step::Deliver => self.deliver(),
            Step::Keep => self.bounded.keep(None, Duration::from_secs(3_600), Instant::now()),
            // There may be no room for it.
            Step::MakeNext => drop(self.journal.make_next()),
            Step::RunFull(room) => self.disk.limit(Some(room)),
            Step::MakeRoom => self.disk.limit(None),
            Step::Kill => {
                let space = self.disk.space().expect("a disk");
                let disk = self.disk.after_kill();
                disk.limit(space.map(|Space { free, .. }| free as usize));
                *self = World::open(disk, self.acknowledged);
            }
        }
    }

    /// Appends records of these sizes, and returns whether all were taken.
    fn append(&mut self, sizes: &[usize]) -> bool {
        let records: Vec<Bytes> = sizes.iter().map(|size| record(*size)).collect();
        let mut rest = records.as_slice();
        let mut is_taken = true;
        while !rest.is_empty() {
            let (batch, others) = rest.split_at(self.bounded.batch(rest.iter().map(Bytes::len)));
            match self.bounded.append(batch) {
                Ok(first) => {
                    self.fold.push(first, batch.to_vec());
                    self.acknowledged += batch.len() as u64;
                }
                Err(_) => is_taken = false,
            }
            assert!(self.bytes() <= self.most(), "{} bytes, of {} at most", self.bytes(), self.most());
            rest = others;
        }
        is_taken
    }

    fn deliver(&mut self) {
        while !self.reader.take(usize::MAX).expect("a disk that can be read").is_empty() {}
        // A full disk refuses it, and then it is delivered again after a restart.
        let _ = self.reader.done_except(&[], 0);
    }

    /// Bytes of the segments on the disk, with the next one.
    fn bytes(&self) -> u64 {
        let names = self.disk.list().expect("names");
        let segments = names.iter().filter(|name| name.ends_with(".segment") || *name == NEXT_SEGMENT);
        segments.map(|name| self.disk.size(name).expect("a size")).sum()
    }

    /// The limit and a segment, or the longest record.
    fn most(&self) -> u64 {
        LIMIT + self.journal.segment_bytes().max(LONGEST_RECORD as u64 + OVERHEAD)
    }

    fn check(&self) -> Result<(), TestCaseError> {
        prop_assert!(self.bytes() <= self.most(), "{} bytes", self.bytes());
        prop_assert_eq!(self.fold.ledger().calls(), self.acknowledged);
        prop_assert_eq!(self.journal.damaged(), 0);
        Ok(())
    }
}

fn record(size: usize) -> Bytes {
    let (received_at, key) = (SystemTime::UNIX_EPOCH, Key::from_bytes([1; 16]));
    let query = format!("sid=1&duration=1&pad={}", "x".repeat(size));
    Record { kind: Kind::CallEvent, received_at, key, envelope: b"", query: query.as_bytes() }.encode()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn the_journal_stays_within_its_limit_and_the_totals_are_right_whatever_comes(steps in steps()) {
        let mut world = World::new(SimulatedDisk::default());
        for step in steps {
            world.step(step);
            world.check()?;
        }
        // It gets out of a full disk by itself, once there is room.
        world.disk.limit(None);
        prop_assert!(world.append(&[30_000]));
        world.step(Step::Kill);
        world.check()?;
    }

    /// As long as nobody else takes the room of the disk, no event is refused, though nothing is delivered.
    #[test]
    fn on_a_disk_with_room_for_its_limit_nothing_is_refused(
        steps in prop::collection::vec(append(), 1..60),
        is_killed: bool,
        makes_ahead: bool,
    ) {
        let disk = SimulatedDisk::default();
        disk.limit(Some(ENOUGH));
        let mut world = World::new(disk);
        for step in steps {
            let Step::Append(sizes) = step else { unreachable!("appends only") };
            prop_assert!(world.append(&sizes));
            if makes_ahead {
                world.step(Step::MakeNext);
            }
            if is_killed {
                world.step(Step::Kill);
            }
            world.check()?;
        }
        let status = world.journal.readers().remove(0);
        prop_assert_eq!(status.backlog + status.dropped, world.acknowledged);
    }
}

/// A world with so much in its journal that segments have been dropped.
fn at_its_limit() -> World {
    let mut world = World::new(SimulatedDisk::default());
    (0..60).for_each(|_| assert!(world.append(&[30_000])));
    assert!(world.journal.readers()[0].dropped > 0);
    world
}

#[test]
fn a_disk_that_others_have_filled_takes_a_checkpoint_and_gets_room_when_readers_move_on() {
    let disk = SimulatedDisk::default();
    disk.limit(Some(32 * LIMIT as usize));
    let mut world = World::new(disk);
    (0..20).for_each(|_| assert!(world.append(&[30_000])));
    let free = world.disk.space().expect("a disk").map_or(0, |space| space.free);
    world.disk.create("filler").and_then(|mut file| file.append(&vec![1; free as usize])).expect("room");
    assert!(!world.append(&[30_000]));
    assert!(world.bounded.is_pressed());
    world.bounded.keep(None, Duration::from_secs(3_600), Instant::now());
    assert!(!world.append(&[30_000]), "what waits is kept");
    assert_eq!(world.bounded.checkpoints().needed_from(), 20);
    world.deliver();
    world.bounded.keep(None, Duration::from_secs(3_600), Instant::now());
    assert!(world.append(&[30_000]));
    assert_eq!(world.journal.readers()[0].dropped, 0);
    world.check().expect("right totals");
}

#[test]
fn at_its_limit_on_a_full_disk_the_journal_goes_on_with_the_room_that_is_set_aside() {
    let mut world = at_its_limit();
    world.disk.limit(Some(0));
    let taken = (0..100).filter(|_| world.append(&[30_000])).count();
    assert!(taken > 90, "{taken} of 100");
    world.check().expect("right totals");
}

#[test]
fn a_start_on_a_disk_that_the_journal_has_filled_makes_room() {
    // As a release left it that kept no limit, and set nothing aside.
    let world = World::new(SimulatedDisk::default());
    for _ in 0..100 {
        let first = world.journal.append(&[record(30_000)]).expect("appended");
        world.fold.push(first, vec![record(30_000)]);
    }
    world.bounded.keep(None, Duration::from_secs(3_600), Instant::now());
    let disk = world.disk.after_kill();
    disk.remove("ledger.checkpoint.reserve").expect("what was set aside");
    disk.limit(Some(0));
    let mut world = World::open(disk, 100);
    assert!(world.append(&[30_000]));
    world.check().expect("right totals");
}

#[test]
fn a_disk_that_is_too_small_lowers_the_limit() {
    let limit = |total: Option<usize>| {
        let disk = SimulatedDisk::default();
        disk.limit(total);
        limit_on(&disk, Path::new("state"), 64 * LIMIT)
    };
    assert_eq!(limit(None), 64 * LIMIT);
    assert_eq!(limit(Some(110 * 1024 * 1024)), 64 * LIMIT);
    for total in [0, 1 << 20, 48 << 20, 64 << 20] {
        let limit = limit(Some(total as usize));
        assert!(limit < 64 * LIMIT && limit + limit / 16 <= total, "{limit} of {total}");
    }
}
