//! Random histories of a waiting journal on a simulated disk: what was set aside and is not finished is handed out once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use proptest::prelude::*;

use super::entry::{COPY_HEAD, encode, encode_finished};
use super::{Copy, LONGEST_COPY, Ticket, Waiting, WaitingJournal, prefix};
use crate::journal::JournalError;
use crate::journal::disk::DiskJournal;
use crate::journal::prefixed::Prefixed;
use crate::journal::recovery::file_name;
use crate::journal::segment;
use crate::journal::simulated_disk::SimulatedDisk;
use crate::journal::storage::{Storage, read_all};

/// What happens to a waiting journal.
#[derive(Debug, Clone)]
enum Step {
    /// So many copies are appended, and from this one on they are left on disk only.
    Append(usize, usize),
    /// One that was to be set aside is delivered from the hand instead.
    DeliverFromHand,
    Finish(prop::sample::Index),
    /// All that are in memory except every n-th.
    FinishMost(usize),
    CleanUp,
    /// The same, when everything is old.
    CleanUpOld,
    Index(usize),
    FailAppend(usize),
    FailSync,
    RunFull(usize),
    MakeRoom,
    /// The next process has room for so many in memory.
    Kill(usize),
    LosePower(u64, usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let most = || prop_oneof![2 => 0usize..8, 1 => Just(usize::MAX)];
    let left = prop_oneof![3 => Just(usize::MAX), 1 => 0usize..6];
    let step = prop_oneof![
        12 => (0usize..6, left).prop_map(|(number, left)| Step::Append(number, left)),
        1 => Just(Step::DeliverFromHand),
        6 => any::<prop::sample::Index>().prop_map(Step::Finish),
        1 => (2usize..9).prop_map(Step::FinishMost),
        4 => Just(Step::CleanUp),
        1 => Just(Step::CleanUpOld),
        4 => (1usize..8).prop_map(Step::Index),
        1 => (0usize..200).prop_map(Step::FailAppend),
        1 => Just(Step::FailSync),
        1 => (0usize..300).prop_map(Step::RunFull),
        2 => Just(Step::MakeRoom),
        1 => most().prop_map(Step::Kill),
        1 => (any::<u64>(), most()).prop_map(|(choice, most)| Step::LosePower(choice, most)),
    ];
    prop::collection::vec(step, 1..120)
}

/// So small that segments are begun often, and that oldest ones are dropped in some histories.
const MAX_BYTES: u64 = 16 * 400;

/// A waiting journal, and what is known of it from outside. Events are told apart by their origins.
struct History {
    disk: SimulatedDisk,
    journal: WaitingJournal<SimulatedDisk>,
    copies: BTreeMap<u64, Copy>,
    /// To be set aside, after an append that failed.
    in_hand: Vec<Copy>,
    /// Wait, and somebody has them in memory.
    indexed: BTreeMap<u64, Ticket>,
    /// Wait on disk only.
    left: BTreeSet<u64>,
    /// Finished, but not noted durably.
    unsettled: BTreeSet<u64>,
    /// Of an append that failed, as long as none succeeded since.
    uncertain: BTreeSet<u64>,
    /// The bytes of the largest batch that was set aside, and of the largest that says what is finished.
    largest: [usize; 2],
}

fn open(disk: &SimulatedDisk, most: usize) -> (WaitingJournal<SimulatedDisk>, Vec<Waiting>, BTreeSet<u64>) {
    open_known(disk, 0, most)
}

/// Opens a waiting journal of which every entry before `known` is known to have been on disk.
fn open_known(
    disk: &SimulatedDisk,
    known: u64,
    most: usize,
) -> (WaitingJournal<SimulatedDisk>, Vec<Waiting>, BTreeSet<u64>) {
    let (mut visited, mut origins) = (Vec::new(), BTreeSet::new());
    let journal = WaitingJournal::open(
        disk.clone(),
        "service",
        MAX_BYTES,
        known,
        most,
        |waiting| visited.push(waiting),
        |origin| origins.extend([origin]),
    );
    (journal.expect("a waiting journal"), visited, origins)
}

impl History {
    fn new() -> History {
        let disk = SimulatedDisk::default();
        let (journal, _, _) = open(&disk, 0);
        History {
            disk,
            journal,
            copies: BTreeMap::new(),
            in_hand: Vec::new(),
            indexed: BTreeMap::new(),
            left: BTreeSet::new(),
            unsettled: BTreeSet::new(),
            uncertain: BTreeSet::new(),
            largest: [0; 2],
        }
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        if matches!(step, Step::CleanUp | Step::CleanUpOld | Step::Kill(_) | Step::LosePower(..)) {
            self.read_all()?;
        }
        match step {
            Step::Append(number, left) => self.append(number, left)?,
            Step::DeliverFromHand => drop(self.in_hand.pop()),
            Step::Finish(index) => {
                if !self.indexed.is_empty() {
                    let origin = *self.indexed.keys().nth(index.index(self.indexed.len())).expect("one");
                    self.finish(origin);
                }
            }
            Step::FinishMost(each) => {
                let origins: Vec<u64> = self.indexed.keys().copied().collect();
                for (place, origin) in origins.into_iter().enumerate() {
                    if place % each != 0 {
                        self.finish(origin);
                    }
                }
            }
            Step::CleanUp => self.clean_up(Duration::MAX)?,
            Step::CleanUpOld => self.clean_up(Duration::ZERO)?,
            Step::Index(most) => self.index(most)?,
            Step::FailAppend(written) => self.disk.fail_append(written),
            Step::FailSync => self.disk.fail_sync(),
            Step::RunFull(room) => self.disk.limit(Some(room)),
            Step::MakeRoom => self.disk.limit(None),
            Step::Kill(most) => self.reopen(self.disk.after_kill(), most)?,
            Step::LosePower(choice, most) => self.reopen(self.disk.after_power_loss(choice), most)?,
        }
        prop_assert_eq!(self.journal.unindexed(), self.left.len() as u64);
        self.check_sizes()
    }

    /// No segment is larger than one with room for another batch, and that batch.
    fn check_sizes(&self) -> Result<(), TestCaseError> {
        let most = self.journal.journal.segment_bytes() + self.largest.iter().sum::<usize>() as u64;
        for name in self.disk.list().expect("names") {
            let size = self.disk.size(&name).expect("a size");
            prop_assert!(size <= most, "{} has {} bytes, and {} at most", name, size, most);
        }
        Ok(())
    }

    /// Takes in how large the next batch is.
    fn note_batch(&mut self, copies: &[Copy]) {
        let frame = |entry: Bytes| segment::FRAME_HEAD + entry.len();
        let sizes = [
            copies.iter().map(|copy| frame(encode(copy, None))).sum(),
            frame(encode_finished(&self.journal.unnoted)),
        ];
        self.largest = std::array::from_fn(|batch| self.largest[batch].max(sizes[batch]));
    }

    /// A ticket reads its own record.
    fn read_all(&self) -> Result<(), TestCaseError> {
        for (origin, ticket) in &self.indexed {
            let record = self.journal.read(*ticket).expect("a disk that can be read");
            prop_assert_eq!(&record, &self.copies[origin].record, "the record of {}", origin);
        }
        Ok(())
    }

    fn finish(&mut self, origin: u64) {
        let ticket = self.indexed.remove(&origin).expect("it is in memory");
        self.journal.finish(ticket);
        self.unsettled.insert(origin);
    }

    fn append(&mut self, number: usize, left: usize) -> Result<(), TestCaseError> {
        for _ in 0..number {
            let origin = self.copies.len() as u64;
            let record = Bytes::from(format!("{origin:06}{}", "x".repeat((origin * 7) as usize % 60)));
            let copy = Copy { origin, order: (!origin.is_multiple_of(3)).then_some(origin % 5), record };
            self.copies.insert(origin, copy.clone());
            self.in_hand.push(copy);
        }
        self.note_batch(&self.in_hand.clone());
        let Ok(tickets) = self.journal.append(&self.in_hand) else {
            self.uncertain.extend(self.in_hand.iter().map(|copy| copy.origin));
            return Ok(());
        };
        prop_assert_eq!(tickets.len(), self.in_hand.len());
        self.unsettled.clear();
        self.uncertain.clear();
        let left = if self.left.is_empty() { left.min(tickets.len()) } else { 0 };
        let copies = std::mem::take(&mut self.in_hand);
        if let Some(first) = tickets.get(left) {
            self.journal.leave_unindexed(*first, (tickets.len() - left) as u64);
        }
        for (place, (copy, ticket)) in copies.into_iter().zip(tickets).enumerate() {
            if place < left {
                self.indexed.insert(copy.origin, ticket);
            } else {
                self.left.insert(copy.origin);
            }
        }
        Ok(())
    }

    /// What a sink does when its position is on disk.
    fn clean_up(&mut self, age: Duration) -> Result<(), TestCaseError> {
        // A disk that refuses is tried again the next time.
        let _ = self.journal.close_older_than(age);
        self.journal.drop_finished();
        let to_move = match self.journal.to_move().expect("a disk that can be read") {
            None => self.journal.to_move_for_age(age, Instant::now()).expect("a disk that can be read"),
            to_move => to_move,
        };
        if let Some(mut copies) = to_move {
            copies.retain(|waiting| self.indexed.get(&waiting.copy.origin) == Some(&waiting.ticket));
            self.note_batch(&[]);
            match self.journal.move_to_end(&copies) {
                Ok(tickets) => {
                    self.unsettled.clear();
                    self.uncertain.clear();
                    for (waiting, ticket) in copies.into_iter().zip(tickets) {
                        self.indexed.insert(waiting.copy.origin, ticket);
                    }
                }
                // Even if they are dropped now, a kill may bring back what was written of them.
                Err(_) => self.uncertain.extend(copies.iter().map(|waiting| waiting.copy.origin)),
            }
        }
        while let Some(copies) = self.journal.to_drop() {
            for Waiting { ticket, copy } in &copies {
                if self.indexed.get(&copy.origin) == Some(ticket) {
                    self.indexed.remove(&copy.origin);
                }
            }
            let dropped = self.journal.drop_oldest(&copies);
            let there = self.on_disk()?;
            let before = self.left.len();
            self.left.retain(|origin| there.contains(origin));
            prop_assert_eq!(dropped as usize, before - self.left.len());
        }
        Ok(())
    }

    fn index(&mut self, most: usize) -> Result<(), TestCaseError> {
        let indexed = self.journal.index(most).expect("a disk that can be read");
        prop_assert!(indexed.len() <= most);
        for Waiting { ticket, copy } in indexed {
            prop_assert_eq!(&copy, &self.copies[&copy.origin]);
            prop_assert!(self.left.remove(&copy.origin), "{} is handed out once", copy.origin);
            self.indexed.insert(copy.origin, ticket);
        }
        Ok(())
    }

    /// What a process would find after a kill.
    fn on_disk(&self) -> Result<BTreeSet<u64>, TestCaseError> {
        self.found(&self.disk.after_kill())
    }

    fn found(&self, disk: &SimulatedDisk) -> Result<BTreeSet<u64>, TestCaseError> {
        let (journal, visited, origins) = open(&disk.after_kill(), usize::MAX);
        prop_assert_eq!(journal.unindexed(), 0);
        let found: BTreeSet<u64> = visited.iter().map(|waiting| waiting.copy.origin).collect();
        prop_assert_eq!(found.len(), visited.len(), "nothing is found twice");
        prop_assert!(found.is_subset(&origins));
        Ok(found)
    }

    fn reopen(&mut self, disk: SimulatedDisk, most: usize) -> Result<(), TestCaseError> {
        // A position may tell up to where it was on disk.
        let known =
            if most.is_multiple_of(2) && !self.journal.is_end_uncertain { self.journal.end() } else { 0 };
        let found = self.found(&disk)?;
        for origin in self.indexed.keys().chain(&self.left) {
            prop_assert!(found.contains(origin), "{} was set aside and is not finished", origin);
        }
        for origin in &found {
            let is_known = self.indexed.contains_key(origin) || self.left.contains(origin);
            let may_come = self.unsettled.contains(origin) || self.uncertain.contains(origin);
            prop_assert!(is_known || may_come, "{} is finished", origin);
        }
        let (journal, visited, _) = open_known(&disk, known, most);
        prop_assert_eq!(journal.damaged(), 0);
        prop_assert_eq!(visited.len(), found.len().min(most));
        (self.disk, self.journal, self.left) = (disk, journal, found);
        (self.indexed, self.unsettled, self.uncertain) = Default::default();
        // What was in hand comes from the journal again; what waits already is not set aside again.
        let left = &self.left;
        self.in_hand.retain(|copy| !left.contains(&copy.origin));
        for Waiting { ticket, copy } in visited {
            prop_assert_eq!(&copy, &self.copies[&copy.origin]);
            prop_assert!(self.left.remove(&copy.origin), "{} is handed out once", copy.origin);
            self.indexed.insert(copy.origin, ticket);
        }
        Ok(())
    }

    /// In the end everything that waits is handed out.
    fn end(mut self) -> Result<(), TestCaseError> {
        for _ in 0..=MAX_BYTES {
            if self.journal.unindexed() == 0 {
                break;
            }
            self.step(Step::Index(3))?;
        }
        prop_assert_eq!(self.left.len(), 0);
        self.read_all()?;
        prop_assert!(self.journal.index(usize::MAX).expect("a disk that can be read").is_empty());
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn what_was_set_aside_and_is_not_finished_is_handed_out_once(steps in steps()) {
        let mut history = History::new();
        for step in steps {
            history.step(step)?;
        }
        history.end()?;
    }
}

#[test]
fn what_is_finished_takes_no_room_for_long() {
    let mut history = History::new();
    for _ in 0..2_000 {
        history.step(Step::Append(5, usize::MAX)).expect("appended");
        // One in a thousand waits until the end, and of the others none for longer than a few rounds.
        let passing: Vec<u64> =
            history.indexed.keys().copied().filter(|origin| origin % 1_000 != 0).collect();
        passing.into_iter().rev().skip(3).for_each(|origin| history.finish(origin));
        history.step(Step::CleanUp).expect("cleaned up");
        assert!(history.journal.bytes() < MAX_BYTES / 2, "{} bytes", history.journal.bytes());
    }
    assert_eq!(history.indexed.keys().filter(|origin| **origin % 1_000 == 0).count(), 10);
}

#[test]
fn what_moves_makes_no_segment_larger_than_what_is_set_aside_does() {
    let mut history = History::new();
    for _ in 0..30 {
        // The segment that is written to gets nearly full, and then the oldest one moves.
        let last =
            |history: &History| history.journal.journal.segments().last().map_or(0, |(first, _)| *first);
        let size = |history: &History| history.disk.size(&(prefix("service") + &file_name(last(history))));
        while last(&history) == 0 || size(&history).expect("a size") < 300 {
            history.append(1, usize::MAX).expect("appended");
        }
        let (oldest, end) = history.journal.oldest_of_several().expect("several segments");
        let copies = history.journal.copies_of(oldest, end).expect("a disk that can be read");
        history.journal.move_to_end(&copies).expect("moved");
        history.check_sizes().expect("no segment is too large");
    }
}

#[test]
fn what_is_finished_and_old_goes_though_most_of_what_is_beside_it_waits() {
    let mut history = History::new();
    history.step(Step::Append(40, usize::MAX)).expect("appended");
    history.step(Step::Append(1, usize::MAX)).expect("appended");
    history.finish(20);
    let holds_it = |history: &History| {
        let names = history.disk.list().expect("names");
        let files = names.iter().map(|name| read_all(&history.disk, name).expect("read"));
        files.filter(|bytes| bytes.windows(6).any(|window| window == b"000020")).count() > 0
    };
    history.step(Step::CleanUp).expect("cleaned up");
    assert!(holds_it(&history), "little is finished");
    for _ in 0..40 {
        history.step(Step::CleanUpOld).expect("cleaned up");
    }
    assert!(!holds_it(&history));
    assert_eq!(history.indexed.len(), 40);
    history.step(Step::Kill(usize::MAX)).expect("all of them are there");
}

#[test]
fn what_a_failed_append_left_behind_is_void_after_the_next_one_even_if_that_is_empty() {
    let mut history = History::new();
    history.step(Step::Append(2, usize::MAX)).expect("appended");
    history.disk.fail_sync();
    history.step(Step::Append(1, usize::MAX)).expect("refused");
    assert_eq!(history.on_disk().expect("read"), BTreeSet::from([0, 1, 2]), "written, though not synced");
    history.step(Step::DeliverFromHand).expect("delivered");
    history.step(Step::Append(0, usize::MAX)).expect("appended");
    assert_eq!(history.on_disk().expect("read"), BTreeSet::from([0, 1]));
}

#[test]
fn a_number_that_no_entry_can_be_about_costs_nothing() {
    let disk = SimulatedDisk::default();
    let storage = Prefixed::new(disk.clone(), prefix("service"));
    let journal = DiskJournal::open(storage, MAX_BYTES, 0, |_, _| {}).expect("a journal");
    let copy = Copy { origin: 7, order: None, record: Bytes::from_static(b"record") };
    let entries = [encode_finished(&[u64::MAX, u64::MAX / 2, 1]), encode(&copy, Some(1 << 60))];
    journal.append(&entries).expect("appended");
    let (_, visited, _) = open(&disk, 1);
    assert_eq!(visited.into_iter().map(|waiting| waiting.copy).collect::<Vec<_>>(), [copy]);
}

#[test]
fn a_segment_that_is_far_from_another_costs_nothing() {
    let disk = SimulatedDisk::default();
    let copy = |origin| Copy { origin, order: None, record: Bytes::from_static(b"record") };
    let (mut journal, ..) = open(&disk, 9);
    journal.append(&[copy(0)]).expect("appended");
    drop(journal);
    // What lies between was there, as far as anybody knows.
    let storage = Prefixed::new(disk.clone(), prefix("service"));
    let far = DiskJournal::open(storage, MAX_BYTES, 1 << 60, |_, _| {}).expect("a journal");
    far.append(&[encode(&copy(1), None), encode_finished(&[1 << 60])]).expect("appended");
    let (_, visited, _) = open(&disk, 9);
    assert_eq!(visited.into_iter().map(|waiting| waiting.copy).collect::<Vec<_>>(), [copy(0)]);
}

#[test]
fn the_longest_copy_is_taken_and_a_longer_one_refused() {
    let mut history = History::new();
    let copy = |length| Copy { origin: 1, order: None, record: vec![7; length].into() };
    let ticket = history.journal.append(&[copy(LONGEST_COPY)]).expect("appended")[0];
    assert_eq!(history.journal.read(ticket).expect("read"), copy(LONGEST_COPY).record);
    let refused = history.journal.append(&[copy(LONGEST_COPY + 1)]);
    assert!(matches!(refused, Err(JournalError::RecordTooLong(_))));
}

#[test]
fn damage_in_what_is_known_to_have_been_on_disk_is_no_torn_end() {
    let disk = SimulatedDisk::default();
    let (mut journal, ..) = open(&disk, 0);
    let copy = |origin| Copy { origin, order: None, record: Bytes::from_static(b"record") };
    journal.append(&[copy(0), copy(1), copy(2)]).expect("appended");
    let end = journal.end();
    let names = disk.list().expect("names");
    let frame = segment::FRAME_HEAD + COPY_HEAD + b"record".len();
    let middle = disk.size(&names[0]).expect("a size") as usize - frame - 1;
    disk.flip_bit(&names[0], middle, 0);
    let origins =
        |visited: Vec<Waiting>| visited.iter().map(|waiting| waiting.copy.origin).collect::<Vec<_>>();

    let (journal, visited, _) = open_known(&disk.after_kill(), end, 10);
    assert_eq!((origins(visited), journal.damaged(), journal.end()), (vec![0, 2], 1, end));
    // If nothing tells, it could be the torn end of a batch that never was acknowledged.
    let (journal, visited, _) = open_known(&disk.after_kill(), 0, 10);
    assert_eq!((origins(visited), journal.damaged()), (vec![0], 0));
}

#[test]
fn what_somebody_removed_is_lost_and_holds_up_nothing() {
    let disk = SimulatedDisk::default();
    let (mut journal, ..) = open(&disk, 0);
    let copy = |origin| Copy { origin, order: None, record: Bytes::from(vec![7; 100]) };
    for origin in 0..40 {
        let ticket = journal.append(&[copy(origin)]).expect("appended")[0];
        journal.leave_unindexed(ticket, 1);
    }
    let (segments, name) = (journal.journal.segments(), disk.list().expect("names").remove(1));
    disk.remove(&name).expect("removed");
    let mut found = Vec::new();
    for _ in 0..2 * segments.len() {
        found.extend(journal.index(100).expect("a disk that can be read"));
    }
    let removed = segments[1].0..segments[1].1;
    let origins: Vec<u64> = found.iter().map(|waiting| waiting.copy.origin).collect();
    assert_eq!(origins, (0..40).filter(|origin| !removed.contains(origin)).collect::<Vec<_>>());
    assert_eq!((journal.unindexed(), journal.lost()), (0, removed.end - removed.start));
    found.into_iter().for_each(|waiting| journal.finish(waiting.ticket));
    while let Some(copies) = journal.to_move().expect("a disk that can be read") {
        journal.move_to_end(&copies[..0]).expect("moved");
    }
    journal.drop_finished();
    assert_eq!(journal.journal.segments().len(), 1);
}
