//! What is known of a peer that something is delivered to: whether it answers, and how what it says is shown to people.

use std::fmt::Display;
use std::time::{Duration, Instant};

use tracing::{info, warn};

use super::backoff::Backoff;

/// A peer. That it went away is logged once, and once that it is back.
#[derive(Debug)]
pub struct Peer {
    name: &'static str,
    signal: &'static str,
    backoff: Backoff,
    failures: u32,
    away_since: Option<Instant>,
}

impl Peer {
    /// A peer that is supposed to answer, for this signal. While it does not, pauses are those of `backoff`.
    pub fn new(name: &'static str, signal: &'static str, backoff: Backoff) -> Peer {
        Peer { name, signal, backoff, failures: 0, away_since: None }
    }

    /// Notes a failure that shows that it does not answer, and returns how long to wait before the next attempt. `asked` is
    /// what it said itself.
    pub fn note_away(&mut self, error: &dyn Display, asked: Option<Duration>) -> Duration {
        if self.away_since.is_none() {
            self.away_since = Some(Instant::now());
            warn!(signal = self.signal, %error, "{} is away", self.name);
        }
        self.failures = self.failures.saturating_add(1);
        self.backoff.after(self.failures, asked)
    }

    /// Notes an answer.
    pub fn note_back(&mut self) {
        self.failures = 0;
        if let Some(since) = self.away_since.take() {
            let away_seconds = since.elapsed().as_secs();
            info!(signal = self.signal, away_seconds, "{} is back", self.name);
        }
    }
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
    fn pauses_begin_anew_when_the_peer_is_back() {
        let longest = Duration::from_secs(64);
        let mut peer = Peer::new("the peer", "test", Backoff::new(Duration::from_secs(1), longest));
        for _ in 0..10 {
            peer.note_away(&"gone", None);
        }
        assert!(peer.note_away(&"gone", None) >= longest / 2);
        assert_eq!(peer.note_away(&"gone", Some(Duration::from_secs(17))), Duration::from_secs(17));
        peer.note_back();
        assert!(peer.note_away(&"gone", None) <= Duration::from_secs(1));
    }

    #[test]
    fn a_text_from_outside_is_one_short_line() {
        let text = for_people(&format!("a\nb\r\u{1b}{}", "x".repeat(1_000)));
        assert!(text.starts_with("a b  x") && text.len() == 300);
    }
}
