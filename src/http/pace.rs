//! The pace of log lines that somebody else brings about: each is said once, and then again after a while, with how
//! often it was left out. Every line that a peer, a request or a stored event can cause again and again goes through a
//! [`Pace`].

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// After this time the same is said again, where nothing else is configured.
const A_MINUTE: Duration = Duration::from_secs(60);

/// Texts that are told apart at once, at most.
const MOST_TEXTS: usize = 16;

/// Lets a line through once, and then only after a while, with how much was left out in between. Lines are told apart
/// by a text, in which words with digits do not count: they are numbers and names of single things. Of too many
/// different ones the further are left out too, and told with the next one that is not.
#[derive(Debug)]
pub struct Pace {
    again: Duration,
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    texts: Vec<Text>,
    /// What was left out of those for which there was no room.
    others: LeftOut,
}

#[derive(Debug)]
struct Text {
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

impl LeftOut {
    fn add(&mut self, number: u64) {
        self.times += 1;
        self.number = self.number.saturating_add(number);
    }
}

impl Default for Pace {
    /// At most once a minute.
    fn default() -> Pace {
        Pace::new(A_MINUTE)
    }
}

impl Pace {
    /// The same is said again after this time.
    pub fn new(again: Duration) -> Pace {
        Pace { again, said: Mutex::default() }
    }

    /// For a line that is always the same: if it is to be said now, how many times it was left out since it was said last.
    pub fn due(&self) -> Option<u64> {
        self.note("", 1).map(|left_out| left_out.times)
    }

    /// Notes a line with this text about this number of things. If it is to be said now, returns what was left out since it was
    /// said last.
    pub fn note(&self, text: &str, number: u64) -> Option<LeftOut> {
        self.note_at(text, number, Instant::now())
    }

    /// Says everything anew, since something else was the case meanwhile.
    pub fn forget(&self) {
        *self.said() = Said::default();
    }

    fn note_at(&self, text: &str, number: u64, now: Instant) -> Option<LeftOut> {
        let text = without_words_with_digits(text);
        let is_recent = |said: &Text| now.saturating_duration_since(said.at) < self.again;
        let mut said = self.said();
        let known = said.texts.iter_mut().find(|known| known.text == text);
        let mut left_out = match known {
            Some(known) if is_recent(known) => {
                known.left_out.add(number);
                return None;
            }
            Some(known) => {
                known.at = now;
                std::mem::take(&mut known.left_out)
            }
            None => {
                let mut left_out = LeftOut::default();
                if said.texts.len() == MOST_TEXTS {
                    let Some(old) = said.texts.iter().position(|said| !is_recent(said)) else {
                        said.others.add(number);
                        return None;
                    };
                    left_out = said.texts.swap_remove(old).left_out;
                }
                said.texts.push(Text { text, at: now, left_out: LeftOut::default() });
                left_out
            }
        };
        let others = std::mem::take(&mut said.others);
        left_out.times += others.times;
        left_out.number = left_out.number.saturating_add(others.number);
        Some(left_out)
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        // Nothing panics between two changes that belong together.
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The text without its words that have digits, such as numbers, session IDs and times.
fn without_words_with_digits(text: &str) -> String {
    let is_kept = |word: &&str| !word.contains(|character: char| character.is_ascii_digit());
    text.split_inclusive(|character: char| !character.is_alphanumeric()).filter(is_kept).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_said_once_and_again_after_a_while_with_what_was_left_out() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let pace = Pace::default();
        assert_eq!(pace.note_at("too old by 5 s", 3, after(0)), Some(LeftOut::default()));
        assert_eq!(pace.note_at("too old by 17 s", 3, after(1)), None, "it is the same");
        assert_eq!(pace.note_at("too old by 17 s", 4, after(59)), None);
        assert_eq!(pace.note_at("too large", 1, after(59)), Some(LeftOut::default()), "it is another");
        assert_eq!(pace.note_at("too old by 1 s", 5, after(60)), Some(LeftOut { times: 2, number: 7 }));
        assert_eq!(pace.note_at("too old by 1 s", 5, after(119)), None);
        assert_eq!(pace.note_at("too old by 1 s", 5, after(120)), Some(LeftOut { times: 1, number: 5 }));
        pace.forget();
        assert_eq!(pace.note_at("too old by 1 s", 5, after(120)), Some(LeftOut::default()));
    }

    #[test]
    fn a_peer_that_says_something_else_each_time_is_not_heard_without_end_and_everything_is_counted() {
        let start = Instant::now();
        let pace = Pace::default();
        let said = |at: Instant| {
            let texts = ('a'..='z').map(|letter| letter.to_string().repeat(3));
            let said: Vec<LeftOut> = texts.filter_map(|text| pace.note_at(&text, 2, at)).collect();
            (said.len(), said.iter().map(|left_out| left_out.number).sum::<u64>())
        };
        assert_eq!(said(start), (MOST_TEXTS, 0));
        assert_eq!(said(start + Duration::from_secs(1)), (0, 0));
        let (times, left_out) = said(start + Duration::from_secs(61));
        assert_eq!(times, MOST_TEXTS);
        // What is not told yet is what was left out behind the last line.
        assert_eq!(left_out + pace.said().others.number, 2 * (3 * 26 - 2 * MOST_TEXTS as u64));
    }

    #[test]
    fn an_answer_that_names_each_event_is_one_text() {
        let pace = Pace::default();
        let answer = |sid: &str| format!("it answered 422: no call {sid}, /call_event?sid={sid}&a=9");
        let sids = ["38c72bb2-0e45-4cd0-a4e9-ae947dcd716f", "675f7bd8-2487-4e4e-8d8d-e7d2bc8ef4d6"];
        let said = sids.map(|sid| pace.note(&answer(sid), 1).is_some());
        assert_eq!(said, [true, false]);
    }

    #[test]
    fn a_line_that_is_always_the_same_is_due_once_a_minute() {
        let pace = Pace::default();
        assert_eq!([pace.due(), pace.due(), pace.due()], [Some(0), None, None]);
        let later = Instant::now() + A_MINUTE;
        assert_eq!(pace.note_at("", 1, later), Some(LeftOut { times: 2, number: 2 }));
    }
}
