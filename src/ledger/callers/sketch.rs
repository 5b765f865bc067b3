//! A sketch of bounded size that tells how many different things came within a time.
//!
//! Up to [`FEW`] things stand by their hashes, each with the [slot](Sketch::slot) in which it came last: their number
//! is exact. One more within an hour, and it is linear counting (Whang, Vander-Zanden and Taylor, 1990) with a time in
//! each cell instead of a bit. The hash of a thing leads to one of [`CELLS`] cells, which holds the slot in which one
//! of its things came last. `k` cells of a window stand for about `m ln(m / (m - k))` things, where `m` is the number
//! of cells: so many are expected to hit `k` of them.
//!
//! Either way one sketch answers for every window, and nothing has to expire.
//!
//! # Error of linear counting
//!
//! The standard error is `sqrt(m (e^t - t - 1)) / (m t)` with `t` things a cell: 1.1 % for hundreds, 1.3 % for 4,096,
//! 3.6 % for [`MOST`]. From there on cells run out, and `MOST` stands for that many or more. A window of few things is
//! off if two of them share a cell: by one for a quarter of all sets of 50, and for one in 20 of those of 20.

use std::collections::BTreeMap;

/// The most things that stand by their hashes: 10 KiB.
const FEW: usize = 512;

/// Cells where there are more: 16 KiB.
const CELLS: usize = 4096;

/// The most that is told.
const MOST: u64 = 20_000;

/// Seconds of a slot. A window has up to so many more than it should.
const SLOT: u32 = 15;

/// The time that is looked back at most, and the time by which a clock may be set back without harm, in slots.
const HOUR: u32 = slots(60 * 60);

/// How many slots so many seconds are.
pub(super) const fn slots(seconds: u32) -> u32 {
    seconds / SLOT
}

/// What came, and when.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Sketch {
    /// The slot of each hash.
    Few(BTreeMap<u64, u32>),
    /// The slot of each cell; 0 where nothing came.
    Many(Box<[u32]>),
}

impl Default for Sketch {
    fn default() -> Sketch {
        Sketch::Few(BTreeMap::new())
    }
}

impl Sketch {
    /// The slot of a second since the Unix epoch; none is 0.
    pub(super) fn slot(second: u64) -> u32 {
        u32::try_from(second / u64::from(SLOT)).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// Notes that something with this hash came in `slot`.
    pub(super) fn note(&mut self, hash: u64, slot: u32) {
        match self {
            Sketch::Few(few) => {
                note_last(few.entry(hash).or_default(), slot);
                if few.len() > FEW {
                    few.retain(|_, last| slot.saturating_sub(*last) <= HOUR);
                }
                if few.len() > FEW {
                    let mut many = Sketch::Many(vec![0; CELLS].into());
                    few.iter().for_each(|(hash, slot)| many.note(*hash, *slot));
                    *self = many;
                }
            }
            Sketch::Many(cells) => note_last(&mut cells[hash as usize % CELLS], slot),
        }
    }

    /// How many different hashes came in the slot `now` and the `window` slots before it, at most [`MOST`]. A clock
    /// that was set back by an hour or less hides none.
    pub(super) fn count(&self, now: u32, window: u32) -> u64 {
        let is_within = |last: &&u32| match now.checked_sub(**last) {
            Some(age) => **last > 0 && age <= window,
            None => **last - now <= HOUR,
        };
        match self {
            Sketch::Few(few) => few.values().filter(is_within).count() as u64,
            Sketch::Many(cells) => {
                let number = CELLS as f64;
                let free = number - cells.iter().filter(is_within).count() as f64;
                // Where none is free that is infinite.
                (number * (number / free).ln()).round().min(MOST as f64) as u64
            }
        }
    }
}

/// Notes in which slot something came. What comes late makes nothing older, and what came when the clock was ahead by
/// more than an hour gives way.
fn note_last(last: &mut u32, slot: u32) {
    let is_late = *last > slot && *last - slot <= HOUR;
    if !is_late {
        *last = slot;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::hash::{DefaultHasher, Hash, Hasher};

    use proptest::prelude::*;

    use super::*;

    /// The same hash for the same thing at every run of the tests.
    fn hash(thing: impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        thing.hash(&mut hasher);
        hasher.finish()
    }

    fn sketch_of(things: impl Iterator<Item = (u64, u32)>) -> Sketch {
        let mut sketch = Sketch::default();
        things.for_each(|(thing, slot)| sketch.note(hash(thing), slot));
        sketch
    }

    /// By how much the sketches of many sets of `number` things are off, with as many in the hour before them.
    fn errors(number: u64, sets: u64, before: u64) -> Vec<f64> {
        let before = sketch_of((0..before).map(|thing| (u64::MAX - thing, 900)));
        let error = |set: u64| {
            let mut sketch = before.clone();
            (0..number).for_each(|thing| sketch.note(hash(set << 32 | thing), 1_000));
            sketch.count(1_000, 20) as f64 - number as f64
        };
        (0..sets).map(error).collect()
    }

    #[test]
    fn few_are_counted_exactly() {
        assert_eq!(Sketch::default().count(1_000, HOUR), 0);
        for number in [1, 2, 50, FEW as u64] {
            assert!(errors(number, 20, FEW as u64 - number).iter().all(|error| *error == 0.0), "{number}");
        }
        // Those of other hours make no difference.
        let things = (0..100 * FEW as u64).map(|thing| (thing, 1_000 + thing as u32));
        let sketch = sketch_of(things.clone());
        assert!(matches!(&sketch, Sketch::Few(few) if few.len() <= FEW));
        let last = 1_000 + 100 * FEW as u32 - 1;
        assert_eq!((sketch.count(last, 20), sketch.count(last, HOUR)), (21, 241));
    }

    #[test]
    fn few_after_many_are_counted_but_for_those_that_share_a_cell() {
        for (number, least_exact) in [(1, 1_000), (2, 995), (10, 980), (20, 935), (50, 700)] {
            let errors = errors(number, 1_000, 600);
            let exact = errors.iter().filter(|error| **error == 0.0).count();
            assert!(exact >= least_exact, "{exact} of 1000 sets of {number}");
            assert!(errors.iter().all(|error| error.abs() <= 4.0), "{errors:?}");
        }
    }

    #[test]
    fn the_standard_error_of_many_is_what_it_is_said_to_be() {
        for (number, percent) in [(600, 1.2), (4_096, 1.4), (10_000, 1.9), (19_000, 3.7)] {
            let errors = errors(number, 100, 0);
            let squares: f64 = errors.iter().map(|error| (error / number as f64).powi(2)).sum();
            let standard_error = 100.0 * (squares / 100.0).sqrt();
            assert!(standard_error <= 1.2 * percent, "{standard_error} % of {number}");
        }
        for number in [25_000, 100_000] {
            assert_eq!(sketch_of((0..number).map(|thing| (thing, 7))).count(7, 0), MOST);
        }
    }

    #[test]
    fn a_clock_that_was_wrong_does_no_lasting_harm() {
        let mut sketch = sketch_of((0..10).map(|thing| (thing, 10_000)));
        // Set back by less than an hour, and back to where it was.
        assert_eq!((sketch.count(9_900, 20), sketch.count(10_021, 20)), (10, 0));
        // A year ahead, for one call of each.
        (0..10u64).for_each(|thing| sketch.note(hash(thing), 2_000_000));
        assert_eq!((sketch.count(2_000_000, 20), sketch.count(10_010, 20)), (10, 0));
        (0..10u64).for_each(|thing| sketch.note(hash(thing), 10_020));
        assert_eq!(sketch.count(10_020, 20), 10);
        // What was held for a while and comes late.
        (0..10u64).for_each(|thing| sketch.note(hash(thing), 9_990));
        assert_eq!(sketch.count(10_040, 20), 10);
    }

    #[test]
    fn every_second_has_a_slot() {
        assert_eq!([0, 14, 15, 3_600].map(Sketch::slot), [1, 1, 2, 241]);
        assert_eq!(Sketch::slot(u64::MAX), u32::MAX);
    }

    proptest! {
        #[test]
        fn it_counts_as_a_set_does(
            things in prop::collection::vec((0u64..3_000, 1_050u32..1_290), 0..2_000),
            now in 1_200u32..1_700,
            window in prop_oneof![Just(20u32), Just(240)],
        ) {
            let mut last = BTreeMap::new();
            for (thing, slot) in &things {
                let last = last.entry(*thing).or_insert(*slot);
                *last = (*slot).max(*last);
            }
            let exact = last.values().filter(|slot| now.saturating_sub(**slot) <= window).count() as f64;
            let counted = sketch_of(things.iter().copied()).count(now, window) as f64;
            let error = if last.len() > FEW { 5.0 + 0.06 * exact } else { 0.0 };
            prop_assert!((counted - exact).abs() <= error, "{counted} for {exact}");
            // Whatever the order in which those of an hour come.
            let others: BTreeSet<_> = things.iter().copied().collect();
            prop_assert!(sketch_of(others.into_iter()) == sketch_of(things.into_iter()));
        }
    }
}
