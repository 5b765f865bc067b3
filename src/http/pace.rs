//! The pace of log lines that peers bring about: [`LogPace`] where one line a minute is enough, [`Repeats`] where it matters what they say.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Lets a log line through at most once a minute, so that a stream of bad requests does not become a stream of logs.
#[derive(Debug, Default)]
pub struct LogPace {
    /// The minute of the last line, since the Unix epoch.
    last: AtomicU64,
}

impl LogPace {
    /// Whether a line is due now; if so, the next one is due in another minute.
    pub fn is_due(&self) -> bool {
        let minute =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / 60;
        self.last.swap(minute, Ordering::Relaxed) != minute
    }
}

/// Texts that are told apart at once, at most.
const MOST_TEXTS: usize = 16;

/// Lets what a peer says through once, and then only after a while, with how much was left out in between. Texts that differ in
/// their digits only are the same. Of too many different ones the further are left out too.
#[derive(Debug)]
pub struct Repeats {
    again: Duration,
    said: Vec<Said>,
}

#[derive(Debug)]
struct Said {
    text: String,
    at: Instant,
    left_out: LeftOut,
}

/// What was not said.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// How many times.
    pub times: u64,
    /// Of how many things.
    pub number: u64,
}

impl Repeats {
    /// The same text is said again after this time.
    pub fn new(again: Duration) -> Repeats {
        Repeats { again, said: Vec::new() }
    }

    /// Notes a text about this number of things. If it is to be said now, answers what was left out since it was said last.
    pub fn note(&mut self, text: &str, number: u64, now: Instant) -> Option<LeftOut> {
        let text: String = text.chars().filter(|character| !character.is_ascii_digit()).collect();
        let is_recent = |said: &Said| now.saturating_duration_since(said.at) < self.again;
        if let Some(said) = self.said.iter_mut().find(|said| said.text == text) {
            if is_recent(said) {
                said.left_out.times += 1;
                said.left_out.number = said.left_out.number.saturating_add(number);
                return None;
            }
            said.at = now;
            return Some(std::mem::take(&mut said.left_out));
        }
        if self.said.len() == MOST_TEXTS {
            let old = self.said.iter().position(|said| !is_recent(said))?;
            self.said.swap_remove(old);
        }
        self.said.push(Said { text, at: now, left_out: LeftOut::default() });
        Some(LeftOut::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_said_once_and_again_after_a_while_with_what_was_left_out() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut repeats = Repeats::new(Duration::from_secs(60));
        assert_eq!(repeats.note("too old by 5 s", 3, after(0)), Some(LeftOut::default()));
        assert_eq!(repeats.note("too old by 17 s", 3, after(1)), None, "it is the same");
        assert_eq!(repeats.note("too old by 17 s", 4, after(59)), None);
        assert_eq!(repeats.note("too large", 1, after(59)), Some(LeftOut::default()), "it is another");
        assert_eq!(repeats.note("too old by 1 s", 5, after(60)), Some(LeftOut { times: 2, number: 7 }));
        assert_eq!(repeats.note("too old by 1 s", 5, after(119)), None);
        assert_eq!(repeats.note("too old by 1 s", 5, after(120)), Some(LeftOut { times: 1, number: 5 }));
    }

    #[test]
    fn a_peer_that_says_something_else_each_time_is_not_heard_without_end() {
        let start = Instant::now();
        let mut repeats = Repeats::new(Duration::from_secs(60));
        let mut said = |at: Instant| {
            let texts = ('a'..='z').map(|letter| letter.to_string().repeat(3));
            texts.filter(|text| repeats.note(text, 1, at).is_some()).count()
        };
        assert_eq!(said(start), MOST_TEXTS);
        assert_eq!(said(start + Duration::from_secs(1)), 0);
        assert_eq!(said(start + Duration::from_secs(61)), MOST_TEXTS);
    }
}
