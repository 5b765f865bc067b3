//! The window of keys, in which a repeat of an event is recognized: bounded by number and by age.
//!
//! Intake holds a lock while it looks, so no look takes long: the sets of keys are many, that none has much to move when it
//! grows, and what is too old is forgotten a little at a time.

use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};
use std::ops::ControlFlow;
use std::time::{Duration, SystemTime};

use crate::callback::{Fingerprint, Key};

/// How many sets of keys there are.
const SETS: usize = 64;

/// Keys that one look forgets, as long as it makes no difference to its answer.
const FORGOTTEN_AT_ONCE: usize = 256;

/// The window. The oldest key leaves when there are too many, and every key leaves when it is too old.
#[derive(Debug)]
pub struct Window {
    /// A key is in the set that its bytes lead to, with what is known of its event.
    keys: [HashMap<Key, Fingerprint>; SETS],
    /// In the order of receipt.
    order: VecDeque<Seen>,
    capacity: usize,
    age: Duration,
}

/// A key that was seen.
#[derive(Debug, Clone, Copy)]
struct Seen {
    key: Key,
    /// The sequence number of its record.
    sequence: u64,
    /// When it was received, in seconds since the Unix epoch.
    second: u64,
}

impl Window {
    /// An empty window of at most `capacity` keys, each for at most `age`.
    pub fn new(capacity: usize, age: Duration) -> Window {
        Window { keys: std::array::from_fn(|_| HashMap::new()), order: VecDeque::new(), capacity, age }
    }

    /// What is known of the event with this key, if it is in the window at `now`.
    pub fn get(&mut self, key: Key, now: SystemTime) -> Option<Fingerprint> {
        self.forget_before(now, FORGOTTEN_AT_ONCE);
        if !self.keys[set_of(key)].contains_key(&key) {
            return None;
        }
        // It may be one of those that are yet to be forgotten.
        self.forget_before(now, usize::MAX);
        self.keys[set_of(key)].get(&key).copied()
    }

    /// Compares a repeat with the event that has its key, if that is in the window at `now`. Returns whether it is the first to
    /// contradict it.
    pub fn compare(&mut self, key: Key, fingerprint: Fingerprint, now: SystemTime) -> Option<bool> {
        let first = self.get(key, now)?;
        let known = self.keys[set_of(key)].get_mut(&key)?;
        Some(fingerprint.contradicts(first) && known.note_contradiction())
    }

    /// Whether the key is in the window at `now`.
    pub fn contains(&mut self, key: Key, now: SystemTime) -> bool {
        self.get(key, now).is_some()
    }

    /// Notes what is known of the event whose record has this sequence number, if its key is in the window for this record and
    /// nothing was known of it.
    pub fn learn(&mut self, sequence: u64, key: Key, fingerprint: Fingerprint) {
        let at = self.order.binary_search_by_key(&sequence, |seen| seen.sequence);
        // The key may have come again since, after its time.
        let is_of_this_record = at.is_ok_and(|at| self.order[at].key == key);
        if is_of_this_record && let Some(known) = self.keys[set_of(key)].get_mut(&key) {
            known.learn(fingerprint);
        }
    }

    /// Puts the key of the record with this sequence number into the window at `now`.
    pub fn insert(&mut self, key: Key, fingerprint: Fingerprint, sequence: u64, now: SystemTime) {
        if self.capacity == 0 {
            return;
        }
        self.forget_before(now, FORGOTTEN_AT_ONCE);
        let was_there = match self.keys[set_of(key)].entry(key) {
            Entry::Occupied(_) => true,
            Entry::Vacant(place) => {
                place.insert(fingerprint);
                false
            }
        };
        if was_there {
            if self.contains(key, now) {
                return;
            }
            // It was too old, and is forgotten now.
            self.keys[set_of(key)].insert(key, fingerprint);
        }
        if self.order.len() == self.capacity {
            self.forget_oldest();
        }
        self.order.push_back(Seen { key, sequence, second: seconds(now) });
    }

    /// Looks for the record with this key, from the latest one before the sequence number `before` backwards, at `most`
    /// records. Goes on before another sequence number if it is none of them.
    pub fn find(&self, key: Key, before: u64, most: usize) -> ControlFlow<Option<u64>, u64> {
        if !self.keys[set_of(key)].contains_key(&key) {
            return ControlFlow::Break(None);
        }
        let end = self.order.partition_point(|seen| seen.sequence < before);
        let begin = end.saturating_sub(most);
        match self.order.range(begin..end).rev().find(|seen| seen.key == key) {
            Some(seen) => ControlFlow::Break(Some(seen.sequence)),
            None => match self.order.get(begin).filter(|_| begin > 0) {
                Some(first) => ControlFlow::Continue(first.sequence),
                None => ControlFlow::Break(None),
            },
        }
    }

    /// How many keys are in the window at `now`.
    pub fn len_at(&self, now: SystemTime) -> usize {
        self.order.len() - self.outdated(now).count()
    }

    /// The sequence number of the oldest record whose key is in the window at `now`, if one is.
    pub fn first_at(&self, now: SystemTime) -> Option<u64> {
        self.order.get(self.outdated(now).count()).map(|seen| seen.sequence)
    }

    /// The keys that are too old at `now`. They are forgotten when an event comes and not when somebody looks, so that
    /// a clock that was wrong for a moment does no harm in between.
    fn outdated(&self, now: SystemTime) -> impl Iterator<Item = &Seen> {
        let oldest = seconds(now).saturating_sub(self.age.as_secs());
        self.order.iter().take_while(move |seen| seen.second < oldest)
    }

    /// Forgets keys that are too old at `now`, at most this many.
    fn forget_before(&mut self, now: SystemTime, most: usize) {
        for _ in 0..self.outdated(now).take(most).count() {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(seen) = self.order.pop_front() {
            self.keys[set_of(seen.key)].remove(&seen.key);
        }
    }
}

/// The set that has a key, if any has. All bytes count, since some of them are the same in every UUID of one machine.
fn set_of(key: Key) -> usize {
    usize::from(key.bytes().into_iter().fold(0, |all, byte| all ^ byte)) % SETS
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    const FINGERPRINT: Fingerprint = Fingerprint::UNKNOWN;

    fn sid(number: u32) -> Key {
        Key::from_bytes(u128::from(number).to_be_bytes())
    }

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000 + second)
    }

    #[test]
    fn a_sid_is_seen_until_it_is_too_old() {
        let mut seen = Window::new(10, Duration::from_secs(60));
        assert!(!seen.contains(sid(1), at(0)));
        seen.insert(sid(1), FINGERPRINT, 7, at(0));
        assert_eq!((seen.len_at(at(60)), seen.first_at(at(60))), (1, Some(7)));
        assert!(seen.contains(sid(1), at(60)));
        assert_eq!((seen.len_at(at(61)), seen.first_at(at(61))), (0, None));
        assert!(!seen.contains(sid(1), at(61)));
    }

    #[test]
    fn a_sid_that_comes_again_after_its_time_is_seen_anew() {
        let mut seen = Window::new(10, Duration::from_secs(60));
        seen.insert(sid(1), FINGERPRINT, 0, at(0));
        seen.insert(sid(1), FINGERPRINT, 1, at(61));
        assert_eq!(seen.first_at(at(121)), Some(1));
        assert!(seen.contains(sid(1), at(121)));
    }

    #[test]
    fn a_look_with_a_wrong_clock_forgets_nothing() {
        let mut seen = Window::new(10, Duration::from_secs(60));
        seen.insert(sid(1), FINGERPRINT, 0, at(0));
        assert_eq!((seen.len_at(at(100_000)), seen.first_at(at(100_000))), (0, None));
        assert!(seen.contains(sid(1), at(1)));
    }

    #[test]
    fn what_is_too_old_is_forgotten_a_little_at_a_time_and_never_known() {
        let mut seen = Window::new(100_000, Duration::from_secs(60));
        let number = 10_000;
        (0..number).for_each(|number| seen.insert(sid(number), FINGERPRINT, number.into(), at(0)));
        assert!(!seen.contains(sid(number), at(100)));
        assert_eq!(seen.order.len(), number as usize - FORGOTTEN_AT_ONCE);
        assert_eq!((seen.len_at(at(100)), seen.first_at(at(100))), (0, None));
        // One that is still there, and too old.
        assert!(!seen.contains(sid(number - 1), at(100)));
        assert_eq!(seen.order.len(), 0);
        assert!(seen.keys.iter().all(HashMap::is_empty));
    }

    #[test]
    fn what_is_learned_later_is_of_a_key_that_is_there() {
        let mut seen = Window::new(10, Duration::from_secs(60));
        let (one, other) = (Fingerprint::of([Some(1)]), Fingerprint::of([Some(2)]));
        seen.insert(sid(1), FINGERPRINT, 0, at(0));
        seen.insert(sid(2), other, 1, at(0));
        (1..4).for_each(|number| seen.learn(number.into(), sid(number), one));
        assert_eq!(seen.get(sid(1), at(1)), Some(FINGERPRINT), "that is of another record");
        (1..4).for_each(|number| seen.learn(u64::from(number) - 1, sid(number), one));
        assert_eq!([1, 2, 3].map(|number| seen.get(sid(number), at(1))), [Some(one), Some(other), None]);
    }

    #[test]
    fn the_record_of_a_key_is_found_a_little_at_a_time() {
        let mut seen = Window::new(100, Duration::from_secs(60));
        (0..100).for_each(|number| seen.insert(sid(number), FINGERPRINT, 10 * u64::from(number), at(0)));
        assert_eq!(seen.find(sid(99), u64::MAX, 5), ControlFlow::Break(Some(990)));
        assert_eq!(seen.find(sid(93), u64::MAX, 5), ControlFlow::Continue(950));
        assert_eq!(seen.find(sid(93), 950, 5), ControlFlow::Break(Some(930)));
        assert_eq!(seen.find(sid(0), 10, 5), ControlFlow::Break(Some(0)));
        assert_eq!(seen.find(sid(5), 50, 50), ControlFlow::Break(None), "it came later");
        assert_eq!(seen.find(sid(100), u64::MAX, 5), ControlFlow::Break(None));
    }

    proptest! {
        #[test]
        fn the_window_holds_the_latest_and_no_more(sids in prop::collection::vec(0u32..50, 0..300), capacity in 0usize..20) {
            let mut seen = Window::new(capacity, Duration::from_secs(1_000));
            let mut expected: Vec<(u64, u32)> = Vec::new();
            for (sequence, number) in (0..).zip(sids) {
                if !expected.iter().any(|(_, known)| *known == number) {
                    expected.push((sequence, number));
                    if expected.len() > capacity {
                        expected.remove(0);
                    }
                }
                seen.insert(sid(number), FINGERPRINT, sequence, at(0));
                prop_assert_eq!(seen.len_at(at(0)), expected.len());
                prop_assert_eq!(seen.first_at(at(0)), expected.first().map(|(sequence, _)| *sequence));
            }
            for number in 0..50 {
                let is_expected = expected.iter().any(|(_, known)| *known == number);
                prop_assert_eq!(seen.contains(sid(number), at(0)), is_expected);
            }
        }
    }
}
