//! Slots of time that come round again.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

/// Which span of time each of `N` slots stands for. Spans are numbered since the Unix epoch.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Clock<const N: usize> {
    length: Duration,
    /// The span of each slot; 0 where there was none.
    spans: [u64; N],
    newest: u64,
}

impl<const N: usize> Clock<N> {
    /// No span yet. Each is of this length, in whole seconds.
    pub(super) fn new(length: Duration) -> Clock<N> {
        Clock { length, spans: [0; N], newest: 0 }
    }

    /// The slot of a second since the Unix epoch at the second `now`. `None` if it is too late for it, or not to be
    /// believed since it is yet to come. `empty` empties slots: those of spans that are over for good, or yet to come,
    /// since a clock was ahead.
    pub(super) fn enter(&mut self, second: u64, now: u64, mut empty: impl FnMut(usize)) -> Option<usize> {
        let (span, latest) = (self.span(second), self.span(now));
        if latest != self.newest {
            self.newest = latest;
            for (slot, held) in self.spans.iter_mut().enumerate() {
                if *held > 0 && (*held > latest || *held + N as u64 <= latest) {
                    *held = 0;
                    empty(slot);
                }
            }
        }
        if span > latest || span + N as u64 <= latest {
            return None;
        }
        let slot = slot::<N>(span);
        self.spans[slot] = span;
        Some(slot)
    }

    /// The spans that have come so far at this second, the oldest first, as many as there are slots: each with its
    /// beginning, and its slot unless nothing came in it.
    pub(super) fn until(&self, second: u64) -> impl Iterator<Item = (SystemTime, Option<usize>)> {
        let last = self.span(second);
        let spans: RangeInclusive<u64> = (last + 1).saturating_sub(N as u64)..=last;
        spans.map(|span| {
            let slot = slot::<N>(span);
            let begin = SystemTime::UNIX_EPOCH + self.length * u32::try_from(span).unwrap_or(u32::MAX);
            (begin, (self.spans[slot] == span && span > 0).then_some(slot))
        })
    }

    fn span(&self, second: u64) -> u64 {
        second / self.length.as_secs()
    }
}

fn slot<const N: usize>(span: u64) -> usize {
    (span % N as u64) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What the slots hold is what a list of all calls says, as long as no call is late by more than a round.
        #[test]
        fn slots_hold_what_came_in_their_spans(
            start in 10_000u64..1_000_000,
            steps in prop::collection::vec((0u64..200, 0u64..300), 0..200),
        ) {
            let mut clock = Clock::<7>::new(Duration::from_secs(60));
            let mut held = [0u32; 7];
            let (mut now, mut all) = (start, Vec::new());
            for (step, late) in steps {
                now += step;
                let second = now - late;
                if let Some(slot) = clock.enter(second, now, |slot| held[slot] = 0) {
                    held[slot] += 1;
                }
                all.push(second);
            }
            for (begin, slot) in clock.until(now) {
                let begin = begin.duration_since(SystemTime::UNIX_EPOCH).expect("after it").as_secs();
                let came = all.iter().filter(|second| (begin..begin + 60).contains(*second)).count();
                prop_assert_eq!(slot.map_or(0, |slot| held[slot]) as usize, came);
            }
        }
    }

    #[test]
    fn a_clock_that_was_ahead_hides_nothing_when_it_is_set_back() {
        for ahead in [600, 3_600, 365 * 24 * 3_600] {
            let mut clock = Clock::<7>::new(Duration::from_secs(60));
            let mut held = [0; 7];
            for second in (10_000 + ahead..10_000 + ahead + 420).step_by(60) {
                let slot = clock.enter(second, second, |slot| held[slot] = 0).expect("a slot");
                held[slot] += 1;
            }
            // What was received then is yet to come.
            assert_eq!(clock.enter(10_000 + ahead, 10_000, |slot| held[slot] = 0), None);
            let slot = clock.enter(10_000, 10_000, |slot| held[slot] = 0).expect("a slot");
            held[slot] += 1;
            let seen = clock.until(10_000).filter_map(|(_, slot)| Some(held[slot?])).collect::<Vec<_>>();
            assert_eq!((seen, held.iter().sum::<i32>()), (vec![1], 1), "ahead by {ahead}");
        }
    }
}
