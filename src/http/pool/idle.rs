//! The connections that nobody uses at the moment.

use std::time::Duration;

use tokio::time::Instant;

/// How many there are at most: as many as a busy pod uses at once. What a burst leaves beyond that is closed.
const MOST: usize = 64;

/// Idle connections, the one that has been idle longest first.
#[derive(Debug)]
pub(super) struct Idle<C> {
    entries: Vec<Entry<C>>,
    /// Whether somebody lets those go whose time is over.
    is_watched: bool,
}

#[derive(Debug)]
struct Entry<C> {
    connection: C,
    since: Instant,
    until: Instant,
}

impl<C> Default for Idle<C> {
    fn default() -> Idle<C> {
        Idle { entries: Vec::new(), is_watched: false }
    }
}

impl<C> Idle<C> {
    /// Keeps a connection for this long, in the place of the one that has been idle longest if there are too many.
    /// Returns whether somebody has to begin to [let them go](Idle::expire) in time.
    pub(super) fn put(&mut self, connection: C, idle_time: Duration, now: Instant) -> bool {
        if self.entries.len() >= MOST {
            self.entries.remove(0);
        }
        self.entries.push(Entry { connection, since: now, until: now + idle_time });
        !std::mem::replace(&mut self.is_watched, true)
    }

    /// The connection that was used last, if it has been idle for less than `longest` and than what it was kept for. Those that
    /// cannot be used any more go.
    pub(super) fn take(
        &mut self,
        longest: Duration,
        now: Instant,
        is_usable: impl Fn(&C) -> bool,
    ) -> Option<C> {
        while let Some(entry) = self.entries.pop() {
            if now >= entry.until || !is_usable(&entry.connection) {
                continue;
            }
            if now - entry.since >= longest {
                // So have all others.
                self.entries.push(entry);
                return None;
            }
            return Some(entry.connection);
        }
        None
    }

    /// Lets those go whose time is over or that cannot be used any more. Returns whether none is left, and nobody has
    /// to come again.
    pub(super) fn expire(&mut self, now: Instant, is_usable: impl Fn(&C) -> bool) -> bool {
        self.entries.retain(|entry| now < entry.until && is_usable(&entry.connection));
        self.is_watched = !self.entries.is_empty();
        if !self.is_watched {
            self.entries.shrink_to_fit();
        }
        !self.is_watched
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn take(idle: &mut Idle<u32>, longest: Duration, now: Instant) -> Option<u32> {
        idle.take(longest, now, |_| true)
    }

    #[test]
    fn the_one_that_was_used_last_goes_out_first_and_none_whose_time_is_over() {
        let (mut idle, start) = (Idle::default(), Instant::now());
        assert!(idle.put(1, 4 * SECOND, start));
        assert!(!idle.put(2, 3 * SECOND, start + SECOND));
        idle.put(3, SECOND, start + 2 * SECOND);
        assert_eq!(take(&mut idle, SECOND / 2, start + 2 * SECOND), Some(3));
        assert_eq!(take(&mut idle, SECOND, start + 2 * SECOND), None, "2 has been idle for a second");
        idle.put(4, SECOND, start + 2 * SECOND);
        assert_eq!(take(&mut idle, 60 * SECOND, start + 3 * SECOND), Some(2), "the time of 4 is over");
        assert_eq!(take(&mut idle, 60 * SECOND, start + 4 * SECOND), None);
    }

    #[test]
    fn what_is_closed_is_passed_over() {
        let (mut idle, now) = (Idle::default(), Instant::now());
        for number in 0..4 {
            idle.put(number, SECOND, now);
        }
        assert_eq!(idle.take(SECOND, now, |number| *number < 2), Some(1));
        assert!(!idle.expire(now, |_| true), "0 is left");
        assert!(idle.expire(now, |_| false));
        assert!(idle.put(5, SECOND, now));
        assert!(!idle.expire(now + SECOND / 2, |_| true));
        assert!(idle.expire(now + SECOND, |_| true));
    }

    #[test]
    fn one_lets_them_go_however_often_they_are_used() {
        let (mut idle, now) = (Idle::default(), Instant::now());
        let mut begun = 0;
        for number in 0..1_000 {
            begun += usize::from(idle.put(number, SECOND, now));
            assert_eq!(take(&mut idle, SECOND, now), Some(number));
        }
        assert_eq!(begun, 1);
        assert!(idle.expire(now, |_| true));
        assert!(idle.put(1, SECOND, now), "the next one has to be begun");
    }

    #[test]
    fn there_are_no_more_than_fit() {
        let (mut idle, now) = (Idle::default(), Instant::now());
        for number in 0..100 {
            idle.put(number, SECOND, now);
        }
        let kept: Vec<_> = std::iter::from_fn(|| take(&mut idle, SECOND, now)).collect();
        assert_eq!(kept, (100 - MOST as u32..100).rev().collect::<Vec<_>>());
    }
}
