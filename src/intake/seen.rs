//! The window of seen sids, in which a repeat of a call event is recognized: bounded by number and by age.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, SystemTime};

use crate::call::Sid;

/// The window. The oldest sid leaves when there are too many, and every sid leaves when it is too old.
#[derive(Debug)]
pub struct SeenSids {
    sids: HashSet<Sid>,
    /// In the order of receipt, with the second of receipt since the Unix epoch.
    order: VecDeque<(u64, Sid)>,
    capacity: usize,
    age: Duration,
}

impl SeenSids {
    /// An empty window of at most `capacity` sids, each for at most `age`.
    pub fn new(capacity: usize, age: Duration) -> SeenSids {
        SeenSids { sids: HashSet::new(), order: VecDeque::new(), capacity, age }
    }

    /// Whether the sid is in the window at `now`.
    pub fn contains(&mut self, sid: Sid, now: SystemTime) -> bool {
        self.forget_before(now);
        self.sids.contains(&sid)
    }

    /// Puts a sid into the window.
    pub fn insert(&mut self, sid: Sid, now: SystemTime) {
        if !self.sids.insert(sid) {
            return;
        }
        self.order.push_back((seconds(now), sid));
        if self.order.len() > self.capacity {
            self.forget_oldest();
        }
    }

    /// How many sids are in the window at `now`.
    pub fn len_at(&mut self, now: SystemTime) -> usize {
        self.forget_before(now);
        self.order.len()
    }

    fn forget_before(&mut self, now: SystemTime) {
        let oldest = seconds(now).saturating_sub(self.age.as_secs());
        while self.order.front().is_some_and(|(second, _)| *second < oldest) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, sid)) = self.order.pop_front() {
            self.sids.remove(&sid);
        }
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::call::Anomalies;

    fn sid(number: u32) -> Sid {
        Sid::read(&format!("{number}"), &mut Anomalies::default())
    }

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000 + second)
    }

    #[test]
    fn a_sid_is_seen_until_it_is_too_old() {
        let mut seen = SeenSids::new(10, Duration::from_secs(60));
        assert!(!seen.contains(sid(1), at(0)));
        seen.insert(sid(1), at(0));
        assert!(seen.contains(sid(1), at(60)));
        assert!(!seen.contains(sid(1), at(61)));
        assert_eq!(seen.len_at(at(61)), 0);
    }

    proptest! {
        #[test]
        fn the_window_holds_the_latest_and_no_more(sids in prop::collection::vec(0u32..50, 0..300), capacity in 0usize..20) {
            let mut seen = SeenSids::new(capacity, Duration::from_secs(1_000));
            let mut expected: Vec<u32> = Vec::new();
            for number in sids {
                if !expected.contains(&number) {
                    expected.push(number);
                    if expected.len() > capacity {
                        expected.remove(0);
                    }
                }
                seen.insert(sid(number), at(0));
                prop_assert_eq!(seen.len_at(at(0)), expected.len());
            }
            for number in 0..50 {
                prop_assert_eq!(seen.contains(sid(number), at(0)), expected.contains(&number));
            }
        }
    }
}
