//! A sketch of fixed size that tells about how many different things came within a time.
//!
//! Linear counting (Whang, Vander-Zanden and Taylor, 1990) with a time in each cell instead of a bit. The hash of a thing leads to one of
//! [`CELLS`] cells, which holds the [slot](Sketch::slot) in which one of its things came last. `k` cells of the last `w` slots
//! stand for about `m ln(m / (m - k))` things, where `m` is the number of cells: so many are expected to hit `k` of them. One
//! sketch answers for every window, and nothing has to expire.
//!
//! # Error
//!
//! Below 50 things it is off if two of them share a cell: by one for a quarter of all sets of 50, for one in 20 of those of 20, and for one
//! in 90 of those of ten. Above, the standard error is `sqrt(m (e^t - t - 1)) / (m t)` with `t` things a cell: 1.1 % for hundreds, 1.3 % for
//! 4,096, 3.6 % for [`MOST`]. From there on cells run out, and `MOST` stands for that many or more.

/// Cells of a sketch: 16 KiB.
const CELLS: usize = 4096;

/// The most that is told.
pub(super) const MOST: u64 = 20_000;

/// Seconds of a slot. A window has up to so many more than it should.
const SLOT: u64 = 15;

/// The time that is looked back at most, and the time by which a clock may be set back without harm, in slots.
const HOUR: u32 = slots(60 * 60);

/// How many slots so many seconds are.
pub(super) const fn slots(seconds: u32) -> u32 {
    seconds / SLOT as u32
}

/// What came, and when.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Sketch {
    /// The slot of each cell; 0 where nothing came.
    cells: Box<[u32]>,
}

impl Default for Sketch {
    fn default() -> Sketch {
        Sketch { cells: vec![0; CELLS].into() }
    }
}

impl Sketch {
    /// The slot of a second since the Unix epoch; none is 0.
    pub(super) fn slot(second: u64) -> u32 {
        u32::try_from(second / SLOT).unwrap_or(u32::MAX).saturating_add(1)
    }

    /// Notes that something with this hash came in `slot`. What comes late makes nothing older, and what came when the clock was
    /// ahead by more than an hour gives way.
    pub(super) fn note(&mut self, hash: u64, slot: u32) {
        let cell = &mut self.cells[hash as usize % CELLS];
        let is_late = *cell > slot && *cell - slot <= HOUR;
        if !is_late {
            *cell = slot;
        }
    }

    /// About how many different hashes came in the slot `now` and the `window` slots before it, at most [`MOST`]. A clock that was set back
    /// by an hour or less hides none.
    pub(super) fn count(&self, now: u32, window: u32) -> u64 {
        let is_within = |cell: &&u32| match now.checked_sub(**cell) {
            Some(age) => **cell > 0 && age <= window,
            None => **cell - now <= HOUR,
        };
        let cells = CELLS as f64;
        let free = cells - self.cells.iter().filter(is_within).count() as f64;
        // Where none is free that is infinite.
        (cells * (cells / free).ln()).round().min(MOST as f64) as u64
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

    /// By how much the sketches of many sets of `number` things are off.
    fn errors(number: u64, sets: u64) -> Vec<f64> {
        let error = |set: u64| {
            let things = (0..number).map(|thing| (set << 32 | thing, 1_000));
            sketch_of(things).count(1_000, 0) as f64 - number as f64
        };
        (0..sets).map(error).collect()
    }

    #[test]
    fn few_are_counted_exactly_but_for_those_that_share_a_cell() {
        assert_eq!(Sketch::default().count(1_000, HOUR), 0);
        assert!(errors(1, 4_096).iter().all(|error| *error == 0.0));
        for (number, least_exact) in [(2, 995), (10, 980), (20, 935), (50, 700)] {
            let errors = errors(number, 1_000);
            let exact = errors.iter().filter(|error| **error == 0.0).count();
            assert!(exact >= least_exact, "{exact} of 1000 sets of {number}");
            assert!(errors.iter().all(|error| error.abs() <= 4.0), "{errors:?}");
        }
    }

    #[test]
    fn the_standard_error_of_many_is_what_it_is_said_to_be() {
        for (number, percent) in [(500, 1.2), (4_096, 1.4), (10_000, 1.9), (19_000, 3.7)] {
            let errors = errors(number, 100);
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
            prop_assert!((counted - exact).abs() <= 5.0 + 0.06 * exact, "{counted} for {exact}");
            // Whatever the order in which those of an hour come.
            let others: BTreeSet<_> = things.iter().copied().collect();
            prop_assert!(sketch_of(others.into_iter()) == sketch_of(things.into_iter()));
        }
    }
}
