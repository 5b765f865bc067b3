//! The heartbeat: whether the parts that take call events still get on, for the admin port to tell, which has a thread
//! of its own and would answer whatever becomes of them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Without a beat for this long something is stuck for good: a beat takes a moment and is due every few seconds.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The last beat, while there are to be any.
#[derive(Debug, Default)]
pub(super) struct Heartbeat(Mutex<Option<Instant>>);

impl Heartbeat {
    /// Notes a beat.
    pub(super) fn beat(&self, now: Instant) {
        *self.last() = Some(now);
    }

    /// There are to be no more beats, since the process ends.
    pub(super) fn rest(&self) {
        *self.last() = None;
    }

    /// How long ago the last beat was at `now`, while there are to be any.
    pub(super) fn pause(&self, now: Instant) -> Option<Duration> {
        self.last().map(|last| now.duration_since(last))
    }

    /// Whether nothing is stuck at `now`. Before the first beat nothing can be.
    pub(super) fn is_regular(&self, now: Instant) -> bool {
        self.last().is_none_or(|last| now.duration_since(last) < LONGEST_PAUSE)
    }

    fn last(&self) -> MutexGuard<'_, Option<Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_regular_unless_a_beat_is_long_overdue() {
        let heartbeat = Heartbeat::default();
        let start = Instant::now();
        assert!(heartbeat.is_regular(start + LONGEST_PAUSE));
        heartbeat.beat(start);
        assert!(heartbeat.is_regular(start + LONGEST_PAUSE / 2));
        assert!(!heartbeat.is_regular(start + LONGEST_PAUSE));
        heartbeat.beat(start + LONGEST_PAUSE);
        assert!(heartbeat.is_regular(start + LONGEST_PAUSE));
        heartbeat.rest();
        assert!(heartbeat.is_regular(start + 10 * LONGEST_PAUSE));
    }
}
