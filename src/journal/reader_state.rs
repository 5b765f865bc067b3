//! How a reader of the journal stands: what it has taken, what of that it has finished, and what was dropped before it
//! took it. The journal on disk and the one in memory keep one such state for every reader, and change it only through
//! these methods.

use std::collections::BTreeSet;
use std::ops::Range;

use super::ReaderStatus;
use super::position::Position;

/// The state of a reader. From its first record on, each belongs to exactly one of: finished, taken and not finished,
/// dropped, waiting.
#[derive(Debug)]
pub(super) struct ReaderState {
    name: &'static str,
    /// Everything before this sequence number is finished or dropped, except `unfinished`.
    done: u64,
    /// What it has taken and not finished, before `done`.
    unfinished: BTreeSet<u64>,
    /// Those of `unfinished` that it took before the last start and has yet to take again.
    again: BTreeSet<u64>,
    /// Everything before this sequence number has been taken or dropped.
    taken: u64,
    /// How many from `done` up to `taken` were dropped; the others are in the reader's hands.
    skipped: u64,
    /// How many were dropped before it took them, since it began.
    dropped: u64,
}

impl ReaderState {
    /// A reader that takes what is appended from `end` on.
    pub(super) fn new(name: &'static str, end: u64) -> ReaderState {
        let (unfinished, again) = (BTreeSet::new(), BTreeSet::new());
        ReaderState { name, done: end, unfinished, again, taken: end, skipped: 0, dropped: 0 }
    }

    /// A reader that goes on at `position` in a journal that has the records in `kept`. What it had not finished and the
    /// journal does not have any more was dropped.
    pub(super) fn resume(name: &'static str, position: Position, kept: Range<u64>) -> ReaderState {
        let taken = position.next.clamp(kept.start, kept.end);
        let known = position.unfinished.len();
        let unfinished: BTreeSet<u64> = position
            .unfinished
            .into_iter()
            .filter(|sequence| (kept.start..taken).contains(sequence))
            .collect();
        let dropped = kept.start.saturating_sub(position.next) + (known - unfinished.len()) as u64;
        let again = unfinished.clone();
        ReaderState { name, done: taken, unfinished, again, taken, skipped: 0, dropped }
    }

    /// The reader's name.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// The sequence number of the record that it takes next, beside what it takes again.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// What it has to take again, in order: those that lie within `max` records of the first of them.
    pub(super) fn again(&self, max: usize) -> Vec<u64> {
        let first = self.again.first().copied().unwrap_or(0);
        self.again.iter().copied().take_while(|sequence| sequence - first < max as u64).collect()
    }

    /// How many records it has to take again.
    pub(super) fn to_take_again(&self) -> usize {
        self.again.len()
    }

    /// Takes the records from `start` up to `next`, where `start` is what [`taken`](Self::taken) was before they were read.
    pub(super) fn take(&mut self, start: u64, next: u64) {
        debug_assert!(start <= self.taken, "only the reader takes, and it is where it was or further on");
        // What was dropped meanwhile had been read by then.
        let regained = self.taken.min(next).saturating_sub(start);
        self.dropped -= regained;
        self.skipped -= regained;
        self.taken = self.taken.max(next);
    }

    /// Takes again those of `wanted` that are in `read`, both in order; the others are not there any more.
    pub(super) fn take_again(&mut self, wanted: &[u64], read: &[u64]) {
        for sequence in wanted {
            let is_read = read.binary_search(sequence).is_ok();
            match (self.again.remove(sequence), is_read) {
                (true, true) => {}
                (true, false) => {
                    self.unfinished.remove(sequence);
                    self.dropped += 1;
                }
                // It was dropped meanwhile, and had been read by then.
                (false, true) => {
                    self.unfinished.insert(*sequence);
                    self.dropped -= 1;
                }
                (false, false) => {}
            }
        }
    }

    /// The position at which everything is finished that was taken, except what is in `held`, in order, and what has yet
    /// to be taken again.
    /// `waiting_end` is where the waiting journal of its sink ends.
    pub(super) fn position(&self, held: &[u64], waiting_end: u64) -> Position {
        let mut unfinished = self.again.clone();
        unfinished.extend(held);
        Position { next: self.taken, unfinished: unfinished.into_iter().collect(), waiting_end }
    }

    /// Finishes everything before `done` that was taken, except what is in `held`, in order, and what has yet to be taken
    /// again. What was taken from there on stays in the reader's hands.
    pub(super) fn finish(&mut self, done: u64, held: &[u64]) {
        debug_assert!(held.is_sorted_by(|before, after| before < after), "held in order: {held:?}");
        debug_assert!(
            held.iter().all(|sequence| !self.again.contains(sequence)
                && (self.unfinished.contains(sequence) || (self.done..done).contains(sequence))),
            "held is what was taken and not finished: {held:?}"
        );
        debug_assert!((self.done..=self.taken).contains(&done));
        self.unfinished.clone_from(&self.again);
        self.unfinished.extend(held);
        self.done = done;
        // Nothing was taken since the position was asked for, so what lies behind it was dropped.
        self.skipped = self.taken - done;
    }

    /// The journal has nothing before `bound` any more. Returns how many records were dropped that the reader had not
    /// taken; what is in its hands it goes on with.
    pub(super) fn drop_before(&mut self, bound: u64) -> u64 {
        let skipped = bound.saturating_sub(self.taken);
        self.taken += skipped;
        self.skipped += skipped;
        let kept = self.again.split_off(&bound);
        let gone = std::mem::replace(&mut self.again, kept);
        for sequence in &gone {
            self.unfinished.remove(sequence);
        }
        let dropped = skipped + gone.len() as u64;
        self.dropped += dropped;
        dropped
    }

    /// Everything before this sequence number has been told to be finished, or is in the reader's hands.
    pub(super) fn done(&self) -> u64 {
        self.done
    }

    /// The first record that the reader has not finished, of those from `first` on.
    pub(super) fn unfinished_from(&self, first: u64) -> u64 {
        let unfinished = self.unfinished.range(first..).next().copied();
        unfinished.unwrap_or(self.done.max(first))
    }

    /// How many records wait to be taken in a journal that ends at `end`.
    pub(super) fn waiting(&self, end: u64) -> u64 {
        end.saturating_sub(self.taken) + self.again.len() as u64
    }

    /// How many records were dropped that the reader had not taken.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How the reader stands in a journal that ends at `end`.
    pub(super) fn status(&self, end: u64) -> ReaderStatus {
        let backlog = self.unfinished.len() as u64 + end.saturating_sub(self.done + self.skipped);
        ReaderStatus { name: self.name, backlog, dropped: self.dropped }
    }

    /// Asserts what always holds of a reader in a journal that ends at `end`.
    pub(super) fn check(&self, end: u64) {
        debug_assert!(self.done <= self.taken && self.taken <= end, "{self:?} at {end}");
        debug_assert!(self.unfinished.last().is_none_or(|last| *last < self.done), "{self:?}");
        debug_assert!(self.again.is_subset(&self.unfinished), "{self:?}");
        debug_assert!(self.skipped <= self.taken - self.done, "{self:?}");
        debug_assert!(self.skipped <= self.dropped, "{self:?}");
        debug_assert!(self.waiting(end) <= self.status(end).backlog, "{self:?}");
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// What happens to a reader.
    #[derive(Debug, Clone)]
    enum Step {
        Append(u64),
        /// It takes up to so many, and what lies before this share of the journal is dropped while it reads.
        Take(u64, u8),
        TakeAgain(usize, u8),
        /// It finishes what it holds, except every n-th record; meanwhile some are dropped.
        Finish(u64, u8),
        Drop(u8),
        Restart,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let rarely = || prop_oneof![3 => Just(0), 1 => any::<u8>()];
        let step = prop_oneof![
            4 => (0u64..6).prop_map(Step::Append),
            3 => (0u64..6, rarely()).prop_map(|(most, share)| Step::Take(most, share)),
            2 => (1usize..6, rarely()).prop_map(|(most, share)| Step::TakeAgain(most, share)),
            3 => (1u64..4, rarely()).prop_map(|(each, share)| Step::Finish(each, share)),
            1 => any::<u8>().prop_map(Step::Drop),
            1 => Just(Step::Restart),
        ];
        prop::collection::vec(step, 0..100)
    }

    /// Where a record belongs.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Place {
        Waiting,
        WaitingAgain,
        Held,
        Finished,
        Dropped,
    }

    struct Model {
        reader: ReaderState,
        first: u64,
        places: BTreeMap<u64, Place>,
        kept: Position,
    }

    impl Model {
        fn new() -> Model {
            let reader = ReaderState::new("spans", 0);
            Model { reader, first: 0, places: BTreeMap::new(), kept: Position::default() }
        }

        fn end(&self) -> u64 {
            self.places.len() as u64
        }

        fn drop_before(&mut self, share: u8) {
            let bound = self.first.max(self.end() * u64::from(share) / 255);
            let mut dropped = 0;
            for place in self.places.range_mut(..bound).map(|(_, place)| place) {
                if matches!(place, Place::Waiting | Place::WaitingAgain) {
                    *place = Place::Dropped;
                    dropped += 1;
                }
            }
            assert_eq!(self.reader.drop_before(bound), dropped);
            self.first = bound;
        }

        fn step(&mut self, step: Step) {
            match step {
                Step::Append(number) => {
                    let end = self.end();
                    self.places.extend((end..end + number).map(|sequence| (sequence, Place::Waiting)));
                }
                Step::Take(most, share) => {
                    let start = self.reader.taken();
                    let next = (start + most).min(self.end());
                    self.drop_before(share);
                    self.reader.take(start, next);
                    self.places.extend((start..next).map(|sequence| (sequence, Place::Held)));
                }
                Step::TakeAgain(most, share) => {
                    let wanted = self.reader.again(most);
                    // Those that are damaged are not there.
                    let (read, gone): (Vec<u64>, _) = wanted.iter().partition(|sequence| *sequence % 7 != 0);
                    self.drop_before(share);
                    self.reader.take_again(&wanted, &read);
                    self.places.extend(read.into_iter().map(|sequence| (sequence, Place::Held)));
                    self.places.extend(gone.into_iter().map(|sequence| (sequence, Place::Dropped)));
                }
                Step::Finish(each, share) => {
                    let held =
                        self.at(Place::Held).filter(|sequence| sequence % each == 1).collect::<Vec<_>>();
                    self.kept = self.reader.position(&held, 0);
                    let finished = self.at(Place::Held).filter(|sequence| !held.contains(sequence));
                    let finished: Vec<_> = finished.map(|sequence| (sequence, Place::Finished)).collect();
                    self.drop_before(share);
                    self.reader.finish(self.kept.next, &held);
                    self.places.extend(finished);
                    assert_eq!(self.reader.unfinished_from(self.first), self.first_unfinished());
                }
                Step::Drop(share) => self.drop_before(share),
                Step::Restart => self.restart(),
            }
        }

        fn restart(&mut self) {
            self.reader = ReaderState::resume("spans", self.kept.clone(), self.first..self.end());
            for (sequence, place) in &mut self.places {
                let is_again = self.kept.unfinished.contains(sequence);
                *place = match sequence {
                    _ if *sequence < self.kept.next && !is_again => Place::Finished,
                    _ if *sequence < self.first => Place::Dropped,
                    _ if is_again => Place::WaitingAgain,
                    _ => Place::Waiting,
                };
            }
        }

        fn at(&self, place: Place) -> impl Iterator<Item = u64> {
            self.places.iter().filter(move |(_, its)| **its == place).map(|(sequence, _)| *sequence)
        }

        /// The first record that is kept and not finished, or else the end.
        fn first_unfinished(&self) -> u64 {
            let finished = |place: &Place| matches!(place, Place::Finished | Place::Dropped);
            let unfinished = self.places.range(self.first..).find(|(_, place)| !finished(place));
            unfinished.map_or(self.end(), |(sequence, _)| *sequence)
        }

        fn check(&self) -> Result<(), TestCaseError> {
            self.reader.check(self.end());
            let number = |place| self.at(place).count() as u64;
            let waiting = number(Place::Waiting) + number(Place::WaitingAgain);
            prop_assert_eq!(self.reader.waiting(self.end()), waiting);
            let status = self.reader.status(self.end());
            prop_assert_eq!(status.backlog, waiting + number(Place::Held));
            let keeps_from = self.reader.unfinished_from(self.first);
            prop_assert!(self.first <= keeps_from && keeps_from <= self.first_unfinished());
            Ok(())
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        /// Every record is in one place, and the reader's counts say in which.
        #[test]
        fn the_state_agrees_with_where_every_record_is(steps in steps()) {
            let mut model = Model::new();
            let mut dropped_before = 0;
            for step in steps {
                let is_restart = matches!(step, Step::Restart);
                model.step(step);
                model.check()?;
                let dropped = model.at(Place::Dropped).count() as u64;
                if is_restart {
                    dropped_before = dropped - model.reader.dropped;
                }
                prop_assert_eq!(model.reader.dropped, dropped - dropped_before);
            }
        }
    }
}
