//! Undurable events: what becomes of an event that the disk does not take, while a service behind could have it.
//!
//! A sick disk is no reason to keep a callback from the service. So an event that cannot be stored, or is not within
//! [`PATIENCE`], is passed on at once, as inline mode does, and the service's own answer goes back. The event is *held*
//! in memory until the disk takes it. Without a service behind it is answered 503, as nobody else could have it.
//!
//! # States of an event
//!
//! ```text
//! callback ──► pending ──stored in time──► stored ──► 200
//!    │            │ refused, or too slow, or the disk is known to fail
//!    │            ▼
//!    │          held ──────── the disk takes it ────────► stored, in the totals
//!    │            │ its passage                             │ final answer known: the record carries its status
//!    │            ▼                                         │ else a sink waits for the passage
//!    │      under way ──final answer──► answered            ▼
//!    │         │    └──other answer, or none──► free ──► delivered by the sink
//!    │ no room
//!    └──► passed on and forgotten: uncounted
//! ```
//!
//! - *Held* is what the [`committer`](super::committer) keeps; its key stays among those that are
//!   [on their way](super::known). It is counted `undurable` once, when it is first passed on, and enters the totals when it is
//!   stored: counters that fell at a crash would make Prometheus count everything again.
//! - A *passage* is the right to pass a held event on. One request has it at a time. A final answer (2xx, or a refusal
//!   for good) is remembered. Any other answer goes back as well, and so does 503 where there is none; then the passage
//!   is free again.
//! - A repeat of a held event is a duplicate. It waits while the passage is under way, gets the status that was remembered
//!   without asking again, or takes the passage if it is free. It never counts as another event.
//! - A final answer is stored with the record ([`record::with_answer`](crate::callback::record::with_answer)): the sink
//!   takes it for its own. What was being written before the answer came is stored without it: the sink asks here, and
//!   waits while the passage is under way. Everything else is delivered from the journal, as ever.
//! - A write that hangs may succeed later. The event is the same submission all the while, so it is stored once. If it
//!   does so in the very moment in which its passage begins, the sink may not see that yet, and the event is delivered
//!   by both, with the same Idempotency-Key.
//!
//! # A crash at each arrow
//!
//! | the process dies | afterwards |
//! |---|---|
//! | while an event is held | it is not in the totals, and not delivered again. Nobody was told that it is stored: the client has the service's own answer, or 503, or none |
//! | while it is being stored | the same, or it is stored; a repeat finds it in the window or is a new event |
//! | stored without the answer that the service gave | it is delivered once more, with the same Idempotency-Key |
//! | stored with the answer | nothing is repeated |
//!
//! An orderly end tries once more to store what is held, and says how much is lost. A client that goes away while its event is
//! passed on leaves it unknown whether the service has it; the sink delivers it then, maybe once more.
//!
//! # Bounds
//!
//! Held events and what waits for the disk share the bounds of the committer, in bytes and in number. Past them an
//! event is passed on and forgotten: counted `uncounted`, in no total, and its repeat is a new event. A remembered
//! answer leaves when the sink has asked for it; if that never comes about, past twice as many those of stored events
//! are forgotten, which costs a repeat each. While the disk fails, events of one caller may overtake earlier ones that
//! wait for a service.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hyper::StatusCode;
use metrics::{Counter, counter};
use tokio::sync::watch;

use crate::callback::Key;
use crate::http::service::is_final;
use crate::metrics::catalog;

/// How long a request waits for the disk before its event is passed on.
pub const PATIENCE: Duration = Duration::from_secs(1);

/// Passages that are remembered, at most; more than events that can be held.
const MOST_PASSAGES: usize = 2 * super::committer::MOST_WAITING;

/// What became of a passage: a final answer, or nothing yet.
type Progress = Option<StatusCode>;

/// The passages of events: which are under way, and which answers were final. Clones are the same.
#[derive(Debug, Clone)]
pub struct Passages {
    passages: Arc<Mutex<HashMap<Key, Entry>>>,
    /// Whether a sink asks for what is stored without its answer.
    is_asked: bool,
}

#[derive(Debug)]
struct Entry {
    progress: watch::Receiver<Progress>,
    /// Whether its event is stored without the answer.
    is_stored: bool,
}

impl Passages {
    /// No passages. `is_asked` says whether a sink will [ask](Passages::answer) for those of stored events.
    pub fn new(is_asked: bool) -> Passages {
        Passages { passages: Arc::default(), is_asked }
    }

    /// Takes the passage of an event.
    ///
    /// # Errors
    /// Somebody has it, or had it and got a final answer: here is how it gets on.
    pub fn begin(&self, key: Key) -> Result<Passage, Answered> {
        let mut passages = self.lock();
        if let Some(entry) = passages.get(&key) {
            return Err(Answered(entry.progress.clone()));
        }
        if passages.len() >= MOST_PASSAGES {
            passages.retain(|_, entry| !entry.is_stored);
        }
        let (answer, progress) = watch::channel(None);
        passages.insert(key, Entry { progress, is_stored: false });
        Ok(Passage { key, passages: self.clone(), answer })
    }

    /// The final answer that the service gave to an event, as far as it is known.
    pub(super) fn known_answer(&self, key: Key) -> Option<StatusCode> {
        self.lock().get(&key).and_then(|entry| *entry.progress.borrow())
    }

    /// Notes that an event is stored, with the answer or without.
    pub(super) fn note_stored(&self, key: Key, has_answer: bool) {
        let mut passages = self.lock();
        match passages.get_mut(&key) {
            Some(entry) if self.is_asked && !has_answer => entry.is_stored = true,
            Some(_) => drop(passages.remove(&key)),
            None => {}
        }
    }

    /// The final answer that the service gave to a stored event when it was passed on, if it did. If it is being passed
    /// on, this waits for the end of that. An answer is forgotten as it is given.
    pub async fn answer(&self, key: Key) -> Option<StatusCode> {
        let progress = self.lock().get(&key)?.progress.clone();
        let status = Answered(progress).status().await;
        if status.is_some() {
            self.lock().remove(&key);
        }
        status
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Entry>> {
        // Nothing in here panics between two changes that belong together.
        self.passages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How somebody else's passage gets on.
#[derive(Debug)]
pub struct Answered(watch::Receiver<Progress>);

impl Answered {
    /// The final answer, when it is there; `None` if there is none when the passage has ended.
    pub async fn status(mut self) -> Option<StatusCode> {
        self.0.wait_for(Option::is_some).await.ok().and_then(|status| *status)
    }
}

/// The right to pass an event on. When it is dropped, the passage is free again, unless there was a final answer.
#[derive(Debug)]
pub struct Passage {
    key: Key,
    passages: Passages,
    answer: watch::Sender<Progress>,
}

impl Passage {
    /// The key of the event.
    pub fn key(&self) -> Key {
        self.key
    }

    /// Notes what the service answered, and ends the passage.
    pub fn end(self, status: StatusCode) {
        if is_final(status) {
            self.answer.send_replace(Some(status));
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if self.answer.borrow().is_none() {
            self.passages.lock().remove(&self.key);
        }
    }
}

/// An event that is passed on and forgotten, since there is no room to hold it. It counts when this is dropped.
#[derive(Debug)]
pub struct Uncounted {
    key: Key,
    counter: Counter,
}

impl Uncounted {
    /// Of the event with this key.
    pub fn new(key: Key, metrics: &UndurableMetrics) -> Uncounted {
        Uncounted { key, counter: metrics.uncounted.clone() }
    }

    /// The key of the event.
    pub fn key(&self) -> Key {
        self.key
    }

    /// Notes that it could not be passed on either, and was answered 503: it is no event then.
    pub fn refuse(mut self) {
        self.counter = Counter::noop();
    }
}

impl Drop for Uncounted {
    fn drop(&mut self) {
        self.counter.increment(1);
    }
}

/// The counters of what the disk does not take. All stand at 0 from the start, so that the first event is an increase.
pub struct UndurableMetrics {
    pub(crate) undurable: Counter,
    uncounted: Counter,
}

impl Default for UndurableMetrics {
    fn default() -> UndurableMetrics {
        let event = |result: &'static str| counter!(catalog::EXPORTER_EVENTS.name, "result" => result);
        let metrics = UndurableMetrics { undurable: event("undurable"), uncounted: event("uncounted") };
        metrics.undurable.increment(0);
        metrics.uncounted.increment(0);
        metrics
    }
}

impl std::fmt::Debug for UndurableMetrics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("UndurableMetrics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u8) -> Key {
        Key::from_bytes([number; 16])
    }

    #[tokio::test]
    async fn one_passes_on_and_the_others_get_its_final_answer() {
        let passages = Passages::new(true);
        let passage = passages.begin(key(1)).expect("a passage");
        let other = passages.begin(key(1)).expect_err("somebody has it");
        assert_eq!(passages.known_answer(key(1)), None);
        passage.end(StatusCode::NOT_FOUND);
        assert_eq!(other.status().await, Some(StatusCode::NOT_FOUND));
        let later = passages.begin(key(1)).expect_err("it has its answer");
        assert_eq!(later.status().await, Some(StatusCode::NOT_FOUND));
        assert_eq!(passages.known_answer(key(1)), Some(StatusCode::NOT_FOUND));
    }

    #[tokio::test]
    async fn without_a_final_answer_the_passage_is_free_again() {
        let passages = Passages::new(true);
        let passage = passages.begin(key(1)).expect("a passage");
        let other = passages.begin(key(1)).expect_err("somebody has it");
        passage.end(StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(other.status().await, None);
        // One whose client has gone away.
        drop(passages.begin(key(1)).expect("free"));
        passages.begin(key(1)).expect("free").end(StatusCode::OK);
        assert_eq!(passages.known_answer(key(1)), Some(StatusCode::OK));
    }

    #[tokio::test]
    async fn the_sink_waits_for_a_passage_and_an_answer_is_given_once() {
        let passages = Passages::new(true);
        assert_eq!(passages.answer(key(1)).await, None);
        let passage = passages.begin(key(1)).expect("a passage");
        passages.note_stored(key(1), false);
        let asked = passages.answer(key(1));
        let (answer, ()) = tokio::join!(biased; asked, async { passage.end(StatusCode::OK) });
        assert_eq!(answer, Some(StatusCode::OK));
        assert_eq!(passages.answer(key(1)).await, None);
        assert!(passages.lock().is_empty());
    }

    #[test]
    fn what_is_stored_with_its_answer_or_asked_for_by_nobody_is_forgotten() {
        for (is_asked, has_answer, is_kept) in
            [(true, false, true), (true, true, false), (false, false, false)]
        {
            let passages = Passages::new(is_asked);
            passages.begin(key(1)).expect("a passage").end(StatusCode::OK);
            passages.note_stored(key(1), has_answer);
            assert_eq!(!passages.lock().is_empty(), is_kept);
        }
    }

    #[test]
    fn answers_that_nobody_asks_for_are_bounded() {
        let passages = Passages::new(true);
        for number in 0..2 * MOST_PASSAGES as u128 {
            let key = Key::from_bytes(number.to_be_bytes());
            passages.begin(key).expect("a passage").end(StatusCode::OK);
            passages.note_stored(key, false);
            assert!(passages.lock().len() <= MOST_PASSAGES);
        }
    }
}
