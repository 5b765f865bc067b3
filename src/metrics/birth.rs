//! When a series was born, in an order that no clock can disturb.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

/// When a series was born: in microseconds since the Unix epoch, and always later than every birth before it, whatever
/// the clock says. So it is both a number to compare by and a time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Birth(u64);

impl Birth {
    /// Before every birth: that of series of which none is known.
    pub const NONE: Birth = Birth(0);
    /// After every birth.
    pub const ANY: Birth = Birth(u64::MAX);

    /// A birth at `time`.
    pub fn at(time: SystemTime) -> Birth {
        let since_epoch = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Birth(u64::try_from(since_epoch.as_micros()).unwrap_or(u64::MAX - 1))
    }

    /// The first birth after this one that is not before `time` either.
    #[must_use]
    pub fn next_at(self, time: SystemTime) -> Birth {
        Birth::at(time).max(Birth(self.0.saturating_add(1).min(u64::MAX - 1)))
    }

    /// The birth with this number of microseconds.
    pub const fn from_micros(micros: u64) -> Birth {
        Birth(micros)
    }

    /// Its number of microseconds.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Its time.
    pub fn time(self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_micros(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn births_follow_the_clock_and_never_go_back() {
        let at = |second| SystemTime::UNIX_EPOCH + Duration::from_secs(second);
        let first = Birth::NONE.next_at(at(10));
        assert_eq!(first, Birth::at(at(10)));
        let set_back = first.next_at(at(5));
        assert!(first < set_back && set_back < Birth::at(at(11)));
        assert_eq!(set_back.next_at(at(20)).time(), at(20));
        assert!(Birth::NONE < Birth::NONE.next_at(SystemTime::UNIX_EPOCH) && set_back < Birth::ANY);
    }
}
