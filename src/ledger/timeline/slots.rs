//! Slots of time that come round again.

use std::ops::RangeInclusive;
use std::time::{Duration, SystemTime};

/// How late something can be. Whatever seems to be later came before a clock that was ahead was set.
const LONGEST_DELAY: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// Which span of time each of `N` slots stands for. Spans are numbered since the Unix epoch.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Clock<const N: usize> {
    length: Duration,
    /// The span of each slot; 0 where there was none.
    spans: [u64; N],
}

impl<const N: usize> Clock<N> {
    /// No span yet. Each is of this length, in whole seconds.
    pub(super) fn new(length: Duration) -> Clock<N> {
        Clock { length, spans: [0; N] }
    }

    /// The slot of a second since the Unix epoch, which `empty` empties if it stood for another span. `None` if it has gone to a later one.
    pub(super) fn enter(&mut self, second: u64, empty: impl FnOnce(usize)) -> Option<usize> {
        let span = self.span(second);
        let slot = slot::<N>(span);
        let held = &mut self.spans[slot];
        if *held > span && (*held - span) * self.length.as_secs() <= LONGEST_DELAY.as_secs() {
            return None;
        }
        if *held != span {
            *held = span;
            empty(slot);
        }
        Some(slot)
    }

    /// The spans that have come so far at this second, the oldest first, as many as there are slots: each with its beginning, and its slot unless nothing came in it.
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
                if let Some(slot) = clock.enter(second, |slot| held[slot] = 0) {
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
        let mut clock = Clock::<7>::new(Duration::from_secs(60));
        let year = 365 * 24 * 3_600;
        for second in (year..year + 420).step_by(60) {
            assert!(clock.enter(second, |_| {}).is_some());
        }
        assert!(clock.until(1_000).all(|(_, slot)| slot.is_none()));
        let mut emptied = 0;
        assert!(clock.enter(1_000, |_| emptied += 1).is_some());
        assert_eq!((emptied, clock.until(1_000).filter(|(_, slot)| slot.is_some()).count()), (1, 1));
    }
}
