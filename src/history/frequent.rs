//! Counting values of which there may be any number, in bounded memory.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;

/// The most frequent values of a stream, found in one pass (Misra and Gries, 1982). Of `n` values with room for `k`,
/// each that came more than `n / (k + 1)` times is among those that are found. Their counts are too low by up to that
/// number.
#[derive(Debug)]
pub struct Frequent<K> {
    counts: HashMap<K, u64>,
    room: usize,
}

impl<K: Eq + Hash> Frequent<K> {
    /// Room for so many values.
    pub fn new(room: usize) -> Frequent<K> {
        Frequent { counts: HashMap::new(), room }
    }

    /// Notes a value.
    pub fn note<Q: ?Sized + Eq + Hash + ToOwned<Owned = K>>(&mut self, value: &Q)
    where
        K: Borrow<Q>,
    {
        let has_room = self.counts.len() < self.room;
        match self.counts.get_mut(value) {
            Some(count) => *count += 1,
            None if has_room => drop(self.counts.insert(value.to_owned(), 1)),
            // Each of them gives one away for it.
            None => self.counts.retain(|_, count| {
                *count -= 1;
                *count > 0
            }),
        }
    }

    /// The values that were found, with how often each came at least, in no order.
    pub fn found(self) -> impl Iterator<Item = (K, u64)> {
        self.counts.into_iter()
    }
}

/// The counts of the first values that came, and of all others together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally<T> {
    counts: HashMap<String, T>,
    room: usize,
    others: T,
}

impl<T: Default> Tally<T> {
    /// Room for so many values.
    pub fn new(room: usize) -> Tally<T> {
        Tally { counts: HashMap::new(), room, others: T::default() }
    }

    /// What is counted of a value.
    pub fn of(&mut self, value: &str) -> &mut T {
        if self.counts.contains_key(value) || self.counts.len() < self.room {
            self.counts.entry(value.to_owned()).or_default()
        } else {
            &mut self.others
        }
    }

    /// The values with what was counted of them, those first that `by` puts first, and what was counted of the others.
    pub fn sorted<B: Ord>(self, by: impl Fn(&T) -> B) -> (Vec<(String, T)>, T) {
        let mut counts: Vec<_> = self.counts.into_iter().collect();
        counts.sort_by(|(value, count), (other, of_other)| {
            by(count).cmp(&by(of_other)).then_with(|| value.cmp(other))
        });
        (counts, self.others)
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Reverse;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_came_often_is_found_with_a_count_that_is_nearly_right(
            values in prop::collection::vec(prop_oneof![1u8..5, any::<u8>()], 0..400),
            room in 1usize..40,
        ) {
            let mut frequent = Frequent::new(room);
            values.iter().for_each(|value| frequent.note(value));
            let found: HashMap<_, _> = frequent.found().collect();
            prop_assert!(found.len() <= room);
            let error = values.len() as u64 / (room as u64 + 1);
            for value in 0..=u8::MAX {
                let count = values.iter().filter(|other| **other == value).count() as u64;
                let found = found.get(&value).copied();
                prop_assert!(found.is_some() || count <= error, "{value} came {count} times");
                prop_assert!(found.is_none_or(|found| found <= count && count <= found + error));
            }
        }

        #[test]
        fn a_tally_counts_everything_and_is_bounded(values in prop::collection::vec("[a-f]{1,2}", 0..200), room in 0usize..9) {
            let mut tally: Tally<usize> = Tally::new(room);
            values.iter().for_each(|value| *tally.of(value) += 1);
            let (counts, others) = tally.sorted(|count| Reverse(*count));
            prop_assert!(counts.len() <= room);
            prop_assert!(counts.is_sorted_by_key(|(_, count)| Reverse(*count)));
            prop_assert_eq!(counts.iter().map(|(_, count)| count).sum::<usize>() + others, values.len());
            for (value, count) in counts {
                prop_assert_eq!(values.iter().filter(|other| **other == value).count(), count);
            }
        }
    }
}
