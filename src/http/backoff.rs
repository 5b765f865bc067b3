//! Backoff: how long to wait before another attempt at a peer that could not take the last one.

use std::time::{Duration, SystemTime};

use hyper::HeaderMap;
use hyper::header::RETRY_AFTER;

/// The longest pause that a peer can ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// The shortest pause that a peer can ask for: even "at once" is no reason to spin.
const SHORTEST_RETRY_AFTER: Duration = Duration::from_millis(100);

/// Pauses between attempts: they grow and are jittered, unless the peer says itself when to come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    shortest: Duration,
    longest: Duration,
}

impl Backoff {
    /// Pauses of up to `shortest` at first, twofold each time, and never more than `longest`.
    pub fn new(shortest: Duration, longest: Duration) -> Backoff {
        Backoff { shortest: shortest.min(longest), longest }
    }

    /// The pause after this many failures in a row. `asked` is what the peer said, if it said something.
    pub fn after(self, failures: u32, asked: Option<Duration>) -> Duration {
        if let Some(asked) = asked {
            return asked.clamp(SHORTEST_RETRY_AFTER, LONGEST_RETRY_AFTER);
        }
        let doublings = failures.saturating_sub(1).min(31);
        let pause = self.shortest.saturating_mul(1 << doublings).min(self.longest);
        // Between half of it and the whole, so that those who fail together do not come again together.
        pause.mul_f64(0.5 + fastrand::f64() / 2.0)
    }
}

/// The Retry-After of an answer: seconds or a date (RFC 9110, 10.2.3).
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit() {
        let longest = Duration::from_secs(8);
        let backoff = Backoff::new(Duration::from_secs(1), longest);
        let within = |failures: u32, whole: Duration| {
            let pause = backoff.after(failures, None);
            assert!(pause >= whole / 2 && pause <= whole, "{pause:?} after {failures}");
        };
        within(1, Duration::from_secs(1));
        within(2, Duration::from_secs(2));
        for failures in [4, 10, 1_000, u32::MAX] {
            within(failures, longest);
        }
    }

    #[test]
    fn no_two_processes_pause_alike() {
        // Each thread has a seed of its own, as each process has.
        let pauses = || -> Vec<Duration> {
            let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
            (1..10).map(|failures| backoff.after(failures, None)).collect()
        };
        let other = std::thread::spawn(pauses).join().expect("no panic");
        assert_ne!(pauses(), other);
    }

    #[test]
    fn a_peer_says_itself_when_to_come_again_within_reason() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        let asked = |seconds| backoff.after(3, Some(Duration::from_secs(seconds)));
        assert_eq!(asked(17), Duration::from_secs(17));
        assert_eq!(asked(86_400), LONGEST_RETRY_AFTER);
        assert_eq!(asked(0), SHORTEST_RETRY_AFTER);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, value.parse().expect("a header"));
            retry_after(&headers)
        };
        assert_eq!(of("17"), Some(Duration::from_secs(17)));
        assert_eq!(of("Thu, 01 Jan 1970 00:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(of("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new()), None);
    }
}
