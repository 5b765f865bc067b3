//! How many events each peer may send: the generic cell rate algorithm, which needs one number for each peer.
//!
//! The table has a fixed size. A peer has its place in one small set, chosen by a keyed hash; where that is full, the peer is
//! forgotten that has used up the least, which costs it nothing or gives it a little more. So whoever sends from many addresses
//! takes nothing away from others. It gets more itself, which no limit for each peer prevents.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::rate::Rate;
use crate::http::ClientNetwork;

/// Sets of the table. With their places it takes about 280 KiB.
const SETS: usize = 1024;

/// Places of a set.
const PLACES: usize = 8;

/// Where a set is looked at.
type Set = Mutex<[Place; PLACES]>;

/// Limits each peer.
pub(super) struct RateLimit {
    /// Nanoseconds from one event to the next at the full rate.
    interval: u64,
    /// Nanoseconds by which a peer may be ahead of that.
    ahead: u64,
    start: Instant,
    sets: Box<[Set]>,
    hasher: RandomState,
}

/// A peer, and when it would have sent what it did at the full rate, in nanoseconds since the start. An empty place is
/// one of a peer that never sent anything.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    peer: ClientNetwork,
    due: u64,
}

impl RateLimit {
    /// Lets each peer send at this rate, from now on.
    pub(super) fn new(rate: Rate, start: Instant) -> RateLimit {
        let interval = 1_000_000_000 / u64::from(rate.per_second);
        let ahead = interval * u64::from(rate.burst);
        let sets = (0..SETS).map(|_| Set::default()).collect();
        RateLimit { interval, ahead, start, sets, hasher: RandomState::new() }
    }

    /// Takes an event of this peer.
    ///
    /// # Errors
    /// It is one too many; the next may come after this time.
    pub(super) fn take(&self, peer: IpAddr, now: Instant) -> Result<(), Duration> {
        let now = u64::try_from(now.saturating_duration_since(self.start).as_nanos()).unwrap_or(u64::MAX);
        let peer = ClientNetwork::from(peer);
        let at = usize::try_from(self.hasher.hash_one(peer) % SETS as u64).unwrap_or_default();
        // Nothing in here panics between two changes that belong together.
        let mut set = self.sets[at].lock().unwrap_or_else(PoisonError::into_inner);
        let known = set.iter().position(|place| place.peer == peer);
        let least = || (0..PLACES).min_by_key(|at| set[*at].due).unwrap_or_default();
        let at = known.unwrap_or_else(least);
        let due = if known.is_some() { set[at].due.max(now) } else { now };
        let next = due.saturating_add(self.interval);
        match next.saturating_sub(now).checked_sub(self.ahead) {
            None | Some(0) => {
                set[at] = Place { peer, due: next };
                Ok(())
            }
            Some(wait) => Err(Duration::from_nanos(wait)),
        }
    }
}

impl std::fmt::Debug for RateLimit {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("RateLimit")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(per_second: u32, burst: u32) -> (RateLimit, Instant) {
        let start = Instant::now();
        (RateLimit::new(Rate { per_second, burst }, start), start)
    }

    fn peer(number: u32) -> IpAddr {
        IpAddr::V4(number.into())
    }

    #[test]
    fn a_peer_has_a_burst_and_then_its_rate() {
        let (limit, start) = limit(10, 3);
        let at = |milliseconds| start + Duration::from_millis(milliseconds);
        for _ in 0..3 {
            assert_eq!(limit.take(peer(1), start), Ok(()));
        }
        assert_eq!(limit.take(peer(1), start), Err(Duration::from_millis(100)));
        assert_eq!(limit.take(peer(1), at(60)), Err(Duration::from_millis(40)), "a refusal costs nothing");
        assert_eq!(limit.take(peer(2), at(60)), Ok(()), "another has its own");
        assert_eq!(limit.take(peer(1), at(100)), Ok(()));
        assert!(limit.take(peer(1), at(199)).is_err());
        let taken = (0..10).filter(|_| limit.take(peer(1), at(60_000)).is_ok()).count();
        assert_eq!(taken, 3, "a pause gives no more than the burst");
    }

    #[test]
    fn over_a_while_it_is_the_rate() {
        let (limit, start) = limit(7, 1);
        let times = (0..100_000).map(|at| start + Duration::from_micros(100 * at));
        let taken = times.filter(|at| limit.take(peer(1), *at).is_ok()).count();
        assert!((69..=71).contains(&taken), "{taken} in 10 s");
    }

    #[test]
    fn addresses_of_one_network_are_one_peer() {
        let (limit, start) = limit(1, 1);
        let take = |text: &str| limit.take(text.parse().expect("an address"), start).is_ok();
        assert!(take("2001:db8::1"));
        assert!(!take("2001:db8::ffff:1"));
        assert!(take("2001:db8:0:1::1"));
        assert!(take("192.0.2.1"));
        assert!(!take("::ffff:192.0.2.1"));
        assert!(take("192.0.2.2"));
        assert!(take("::1") && take("0.0.0.0"));
    }

    #[test]
    fn who_sends_from_everywhere_takes_nothing_away_from_others() {
        let (limit, start) = limit(1, 2);
        let places = SETS * PLACES;
        for number in 0..u32::try_from(4 * places).expect("a number") {
            assert_eq!(limit.take(peer(number), start), Ok(()));
        }
        for number in 0..1_000 {
            assert_eq!(limit.take(peer(0xff00_0000 + number), start), Ok(()));
        }
    }
}
