//! The connections that nobody uses at the moment.

use std::time::Duration;

use tokio::time::Instant;

/// How many there are at most: as many as a busy pod uses at once. What a burst leaves beyond that is closed.
const MOST: usize = 64;

/// Idle connections, the one that has been idle longest first.
#[derive(Debug)]
pub(super) struct Idle<C>(Vec<Entry<C>>);

#[derive(Debug)]
struct Entry<C> {
    connection: C,
    since: Instant,
    until: Instant,
}

impl<C> Default for Idle<C> {
    fn default() -> Idle<C> {
        Idle(Vec::new())
    }
}

impl<C> Idle<C> {
    /// Keeps a connection for this long, in the place of the one that has been idle longest if there are too many. Answers whether
    /// it is the only one.
    pub(super) fn put(&mut self, connection: C, idle_time: Duration, now: Instant) -> bool {
        if self.0.len() >= MOST {
            self.0.remove(0);
        }
        self.0.push(Entry { connection, since: now, until: now + idle_time });
        self.0.len() == 1
    }

    /// The connection that was used last, if it has been idle for less than `longest` and than what it was kept for. Those that
    /// cannot be used any more go.
    pub(super) fn take(
        &mut self,
        longest: Duration,
        now: Instant,
        is_usable: impl Fn(&C) -> bool,
    ) -> Option<C> {
        while let Some(entry) = self.0.pop() {
            if now >= entry.until || !is_usable(&entry.connection) {
                continue;
            }
            if now - entry.since >= longest {
                // So have all others.
                self.0.push(entry);
                return None;
            }
            return Some(entry.connection);
        }
        None
    }

    /// Lets those go whose time is over or that cannot be used any more. Answers whether none is left.
    pub(super) fn expire(&mut self, now: Instant, is_usable: impl Fn(&C) -> bool) -> bool {
        self.0.retain(|entry| now < entry.until && is_usable(&entry.connection));
        if self.0.is_empty() {
            self.0.shrink_to_fit();
        }
        self.0.is_empty()
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
    fn there_are_no_more_than_fit() {
        let (mut idle, now) = (Idle::default(), Instant::now());
        for number in 0..100 {
            idle.put(number, SECOND, now);
        }
        let kept: Vec<_> = std::iter::from_fn(|| take(&mut idle, SECOND, now)).collect();
        assert_eq!(kept, (100 - MOST as u32..100).rev().collect::<Vec<_>>());
    }
}
