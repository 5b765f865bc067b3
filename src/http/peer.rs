//! What every delivery needs to know of its other end: whether it is there, and when to try again.

use std::fmt::Display;
use std::time::{Duration, Instant, SystemTime};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use hyper::HeaderMap;
use hyper::header::RETRY_AFTER;
use tracing::{info, warn};

/// The longest pause that the other end can ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// The shortest pause that the other end can ask for: even "at once" is no reason to spin.
const SHORTEST_RETRY_AFTER: Duration = Duration::from_millis(100);

/// The pauses between attempts: they grow and are jittered, unless the other end says itself when to come again.
#[derive(Debug)]
pub struct Pauses {
    shortest: Duration,
    longest: Duration,
    coming: ExponentialBackoff,
}

impl Pauses {
    /// Pauses that grow from `shortest` to `longest`.
    pub fn new(shortest: Duration, longest: Duration) -> Pauses {
        let shortest = shortest.min(longest);
        Pauses { shortest, longest, coming: growing(shortest, longest) }
    }

    /// The pause before the next attempt. `asked` is what the other end said, if it said something.
    pub fn next(&mut self, asked: Option<Duration>) -> Duration {
        let pause = self.coming.next().unwrap_or(self.longest);
        asked.map_or(pause, |asked| asked.clamp(SHORTEST_RETRY_AFTER, LONGEST_RETRY_AFTER))
    }

    /// Begins anew, after a success.
    pub fn reset(&mut self) {
        self.coming = growing(self.shortest, self.longest);
    }
}

fn growing(shortest: Duration, longest: Duration) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(shortest)
        .with_max_delay(longest)
        .without_max_times()
        .with_jitter()
        .build()
}

/// Whether the other end is there. That it went is logged once, and once that it is back.
#[derive(Debug)]
pub struct Presence {
    peer: &'static str,
    signal: &'static str,
    away_since: Option<Instant>,
}

impl Presence {
    /// A peer that is supposed to be there, for this signal.
    pub fn new(peer: &'static str, signal: &'static str) -> Presence {
        Presence { peer, signal, away_since: None }
    }

    /// Notes a failure that shows that it is not there.
    pub fn note_away(&mut self, error: &dyn Display) {
        if self.away_since.is_none() {
            self.away_since = Some(Instant::now());
            warn!(signal = self.signal, %error, "{} is away", self.peer);
        }
    }

    /// Notes an answer.
    pub fn note_back(&mut self) {
        if let Some(since) = self.away_since.take() {
            let away_seconds = since.elapsed().as_secs();
            info!(signal = self.signal, away_seconds, "{} is back", self.peer);
        }
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

/// A text from outside, short enough for a log line and unable to forge one.
pub fn for_people(text: &str) -> String {
    const LONGEST: usize = 300;
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).take(LONGEST).collect()
}

/// An error with the chain of its causes, for people: the first alone says little.
pub fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let causes: Vec<_> = causes.map(ToString::to_string).collect();
    for_people(&causes.join(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit_and_begin_anew() {
        let longest = Duration::from_secs(8);
        let mut pauses = Pauses::new(Duration::from_secs(1), longest);
        for _ in 0..10 {
            pauses.next(None);
        }
        assert!(pauses.next(None) >= longest);
        pauses.reset();
        assert!(pauses.next(None) < Duration::from_secs(3));
    }

    #[test]
    fn the_other_end_says_itself_when_to_come_again_within_reason() {
        let mut pauses = Pauses::new(Duration::from_secs(1), Duration::from_secs(60));
        let mut asked = |seconds| pauses.next(Some(Duration::from_secs(seconds)));
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

    #[test]
    fn a_text_from_outside_is_one_short_line() {
        let text = for_people(&format!("a\nb\r\u{1b}{}", "x".repeat(1_000)));
        assert!(text.starts_with("a b  x") && text.len() == 300);
    }
}
