//! How attempts to deliver begin: whose turn it is, and what may be on its way.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tracing::{error, warn};

use super::Drain;
use crate::callback::shield::fault_point;
use crate::http::pace::LeftOut;
use crate::sinks::queue::{Event, Place};
use crate::sinks::waiting::READ_PAUSE;
use crate::sinks::{Failure, Sink};

/// While the peer is away and an attempt has no answer: how long until another goes out.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// After this long without an answer, an attempt is slow.
const SLOW: Duration = Duration::from_secs(1);

/// How many times [`Settings::concurrency`](crate::sinks::Settings::concurrency) may be on its way with slow attempts.
const MOST_WITH_SLOW: usize = 4;

/// An attempt that has ended.
pub(super) struct Attempt {
    pub(super) started: Instant,
    pub(super) outcome: Result<u64, Failure>,
}

impl<S: Sink> Drain<S> {
    /// Begins as many attempts as may be.
    pub(super) fn begin_attempts(&mut self) {
        let now = Instant::now();
        self.queue.wake(now);
        if self.is_gone {
            return self.drop_all();
        }
        // What waits may be of the same order as an event that was in hand before the start and comes first.
        if self.reader.to_take_again() > 0 && self.reader.is_readable() {
            return;
        }
        while self.has_permit(now) && self.next_probe.is_none_or(|at| at <= now) {
            if self.is_stalled(now) {
                self.let_others_go_first();
            }
            let events = self.next_batch(now);
            if events.is_empty() {
                return;
            }
            self.begin(events);
            if self.next_probe.is_some() {
                // If this one has no answer by then, another is asked.
                self.next_probe = Some(now + PROBE_INTERVAL);
            }
        }
    }

    /// Whether another attempt may be on its way. At the end, a peer that is away is not asked again.
    ///
    /// Slow attempts give their permits to others, if the peer has answered such that began later, since it hangs on these
    /// events and not altogether. If it answers nothing at all, one more attempt goes every [`SLOW`], of another order each
    /// time.
    pub(super) fn has_permit(&self, now: Instant) -> bool {
        let most = self.settings.concurrency;
        let (all, slow) = (self.attempts.len(), self.slow_attempts(now));
        let has_permit = all - slow < most || self.is_stalled(now);
        let most_with_slow = if most == 1 { 1 } else { MOST_WITH_SLOW * most };
        let is_in_vain = self.is_stopping && self.next_probe.is_some();
        has_permit && all < most_with_slow && !is_in_vain
    }

    /// How many attempts are slow although the peer answers others.
    fn slow_attempts(&self, now: Instant) -> usize {
        let Some(success) = self.last_success else { return 0 };
        self.started.values().filter(|started| now >= **started + SLOW && success > **started).count()
    }

    /// Whether as much as may be is on its way and nothing of it was answered for a while.
    fn is_stalled(&self, now: Instant) -> bool {
        let latest = self.started.values().max();
        self.attempts.len() >= self.settings.concurrency && latest.is_some_and(|latest| now >= *latest + SLOW)
    }

    /// When an attempt becomes slow next.
    fn next_slow(&self, now: Instant) -> Option<Instant> {
        self.started.values().map(|started| *started + SLOW).filter(|at| *at > now).min()
    }

    /// Lets another order have the next turn: the one that was asked last may be the one that fails.
    fn let_others_go_first(&mut self) {
        self.probes = self.probes.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.queue.rotate(self.probes >> 32);
    }

    /// When the next attempt may go, if it need not wait for another one to end.
    pub(super) fn next_attempt(&self) -> Option<Instant> {
        let now = Instant::now();
        if !self.has_permit(now) {
            return self.next_slow(now).filter(|_| self.has_some());
        }
        let next = match self.next_probe {
            Some(at) => Some(at).filter(|_| self.has_some()),
            None => Some(self.retry_budget.next()).filter(|_| self.may_retry()),
        };
        [next, self.queue.next_due()].into_iter().flatten().min()
    }

    /// Whether something could go.
    fn has_some(&self) -> bool {
        self.queue.ready() + self.queue.again() + self.parts.len() > 0
    }

    /// Takes out what goes next. Events that have failed and others take turns. Those that have failed get half of what may be
    /// on its way, and no more than their budget, unless the peer is away, since few attempts go out then.
    fn next_batch(&mut self, now: Instant) -> Vec<Event> {
        let most = self.refusals.batch();
        if let Some(mut part) = self.parts.pop_front() {
            if part.len() > most {
                self.parts.push_front(part.split_off(most));
            }
            return part;
        }
        let is_probe = self.next_probe.is_some();
        // Where single events go, each has its turn, since it may be the one that passes.
        if is_probe && !self.refusals.is_everything_refused() {
            self.let_others_go_first();
        }
        let is_turn_of_retry = self.is_turn_of_retry || self.queue.ready() == 0;
        if is_turn_of_retry && (is_probe || self.may_retry() && self.retry_budget.allows(now)) {
            let events = self.queue.pop_again(most);
            if !events.is_empty() {
                self.is_turn_of_retry = false;
                self.retry_budget.spend();
                return events;
            }
        }
        self.is_turn_of_retry = true;
        self.queue.pop(most)
    }

    /// Whether an event that has failed may go again, as far as permits are concerned.
    fn may_retry(&self) -> bool {
        self.queue.again() > 0 && self.retries < self.settings.concurrency.div_ceil(2)
    }

    /// Sends events on their way, as far as they can be read.
    fn begin(&mut self, events: Vec<Event>) {
        let (mut sent, mut records) = (Vec::with_capacity(events.len()), Vec::with_capacity(events.len()));
        for event in events {
            match self.record(&event) {
                Ok(record) => {
                    records.push(record);
                    sent.push(event);
                }
                Err(error) => self.note_unreadable(event, &error),
            }
        }
        if sent.is_empty() {
            return;
        }
        let (sink, name) = (Arc::clone(&self.sink), self.settings.name);
        let started = Instant::now();
        let handle = self.attempts.spawn(async move {
            records.iter().for_each(|record| fault_point(name, record));
            Attempt { started, outcome: sink.deliver(records).await }
        });
        self.retries += usize::from(is_retry(&sent));
        self.started.insert(handle.id(), started);
        self.on_their_way.insert(handle.id(), sent);
    }

    /// The record of an event.
    pub(super) fn record(&self, event: &Event) -> io::Result<Bytes> {
        match &event.place {
            Place::Hand(record) => Ok(record.clone()),
            Place::Waiting(ticket) => self.waiting.read(*ticket),
        }
    }

    /// An event that waits and is damaged or gone is lost. If it is the disk that fails, it is tried again.
    fn note_unreadable(&mut self, event: Event, error: &io::Error) {
        let (sink, origin) = (self.settings.name, event.origin);
        match event.place {
            Place::Waiting(ticket)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) =>
            {
                if let Some(LeftOut { times, .. }) = self.unreadable.note(&format!("lost {error}"), 1) {
                    error!(sink, origin, %error, left_out = times, "an event that waits is lost");
                }
                self.waiting.lose(ticket);
                self.queue.finish(&event);
                self.note_unsaved();
            }
            _ => {
                if let Some(LeftOut { times, .. }) = self.unreadable.note(&format!("waits {error}"), 1) {
                    warn!(sink, origin, %error, left_out = times, "an event that waits cannot be read; trying again");
                }
                self.queue.put_back_until(event, Instant::now() + READ_PAUSE);
            }
        }
    }
}

/// Whether events have failed before.
pub(super) fn is_retry(events: &[Event]) -> bool {
    events.iter().any(|event| event.failures > 0)
}
