//! How attempts end, and what follows for their events.

use std::fmt::Display;
use std::time::{Duration, SystemTime};

use tokio::task::{Id, JoinError};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::attempts::{Attempt, is_retry};
use super::{Drain, MISCONFIGURED_PAUSE};
use crate::callback::Record;
use crate::callback::shield::Panicked;
use crate::http::pace::LeftOut;
use crate::sinks::metrics::{AttemptResult, Cause};
use crate::sinks::queue::{Event, Place};
use crate::sinks::{Failure, Sink};

impl<S: Sink> Drain<S> {
    /// Takes in how an attempt ended.
    pub(super) fn finish(&mut self, attempt: Result<(Id, Attempt), JoinError>) {
        let (id, attempt) = match attempt {
            Ok((id, attempt)) => (id, Ok(attempt)),
            Err(error) => (error.id(), Err(panic_of(error))),
        };
        let mut events = self.on_their_way.remove(&id).unwrap_or_default();
        self.started.remove(&id);
        self.retries -= usize::from(is_retry(&events));
        debug_assert!(!events.is_empty(), "what ended was on its way");
        let Attempt { started, outcome } = match attempt {
            Ok(attempt) => attempt,
            Err(panicked) => return self.note_panicked(events, &panicked),
        };
        let result = match &outcome {
            Ok(0) => AttemptResult::Success,
            Ok(_) => AttemptResult::Partial,
            Err(Failure::MoreThanOne) => return self.split(events),
            Err(Failure::Refused(_) | Failure::Gone(_)) => AttemptResult::Refused,
            Err(Failure::TooLarge(_) | Failure::Batch(_)) if self.is_last_refusal(&mut events) => {
                AttemptResult::Refused
            }
            Err(_) => AttemptResult::Retry,
        };
        self.attempt_metrics.count(result, started.elapsed());
        match outcome {
            Ok(refused) => {
                let refused = refused.min(events.len() as u64);
                self.last_success = Some(Instant::now());
                self.refusals.note_passed();
                self.retry_budget.note_success();
                self.note_back();
                self.note_finished();
                self.metrics.delivered.increment(events.len() as u64 - refused);
                self.metrics.drop(Cause::Refused, refused);
                self.remove(&events);
            }
            Err(Failure::TooLarge(reason) | Failure::Batch(reason)) if result == AttemptResult::Retry => {
                self.note_refused(events, started, &reason);
            }
            Err(Failure::Refused(reason) | Failure::TooLarge(reason) | Failure::Batch(reason)) => {
                self.note_back();
                self.note_finished();
                self.refuse(&events, &reason);
            }
            Err(Failure::Later { reason, retry_after }) => {
                self.note_back();
                self.note_nothing_finished(&reason);
                self.try_later(events, &reason, retry_after);
            }
            Err(Failure::Away { reason, retry_after }) => {
                // If another attempt succeeded meanwhile, the peer is there, and something is wrong with this one.
                if self.last_success.is_some_and(|success| success > started) {
                    self.try_later(events, &reason, retry_after);
                } else {
                    self.note_away(events, started, &reason, retry_after);
                }
            }
            Err(Failure::Exhausted { reason, retry_after }) => {
                self.refusals.note_exhausted(events.len());
                self.note_away(events, started, &reason, retry_after);
            }
            Err(Failure::Misconfigured(reason)) => {
                if let Some(destination) = &mut self.destination {
                    destination.note_wrong(&reason);
                }
                self.stand_still(events, started, &reason, |_| MISCONFIGURED_PAUSE);
            }
            Err(Failure::MoreThanOne) => {}
            Err(Failure::Gone(reason)) => self.note_gone(events, &reason),
        }
    }

    pub(super) fn note_back(&mut self) {
        (self.next_probe, self.away_noted_at) = (None, None);
        self.peer.note_back();
        if let Some(destination) = &mut self.destination {
            destination.note_right();
        }
    }

    fn note_finished(&mut self) {
        if let Some(failed) = self.progress.note_finished(Instant::now()) {
            let failed_seconds = failed.as_secs();
            info!(sink = self.settings.name, failed_seconds, "{} takes events again", self.settings.peer);
        }
    }

    pub(super) fn note_nothing_finished(&mut self, reason: &str) {
        if let Some(failed) =
            self.progress.note_failure(&self.sink.reason_for_everybody(reason), Instant::now())
        {
            let failed_seconds = failed.as_secs();
            warn!(sink = self.settings.name, failed_seconds, %reason, "{} takes no event", self.settings.peer);
        }
    }

    fn note_away(
        &mut self,
        events: Vec<Event>,
        started: Instant,
        reason: &str,
        retry_after: Option<Duration>,
    ) {
        self.stand_still(events, started, reason, |drain| {
            let shown = drain.sink.reason_for_everybody(reason);
            drain.peer.note_away(&reason, &shown, retry_after)
        });
    }

    /// Stands still, except for an attempt from time to time: the first after the time that `pause` answers.
    pub(super) fn stand_still(
        &mut self,
        events: Vec<Event>,
        started: Instant,
        reason: &str,
        pause: impl FnOnce(&mut Drain<S>) -> Duration,
    ) {
        // Of attempts that fail together the first says when the peer is asked again.
        if self.away_noted_at.is_none_or(|at| at <= started) {
            self.away_noted_at = Some(Instant::now());
            self.next_probe = Some(Instant::now() + pause(self));
        }
        // Of the next attempts not all are to be with those that may be the cause.
        self.is_turn_of_retry = false;
        let mut events = self.without_too_old(events, reason);
        events.iter_mut().for_each(|event| event.failures = event.failures.max(1));
        self.queue.put_back_ready(events);
    }

    /// Has events tried again later, while others go on.
    pub(super) fn try_later(&mut self, events: Vec<Event>, reason: &str, retry_after: Option<Duration>) {
        let mut events = self.without_too_old(events, reason);
        let failures = events.iter().map(|event| event.failures).max().unwrap_or(0).saturating_add(1);
        events.iter_mut().for_each(|event| event.failures = failures);
        let pause = self.settings.backoff.after(failures, retry_after);
        self.put_back_until(events, Instant::now() + pause);
    }

    fn put_back_until(&mut self, events: Vec<Event>, at: Instant) {
        for event in events {
            self.queue.put_back_until(event, at);
        }
        self.note_unsaved();
    }

    /// The events that are not too old to be tried again; the others are dropped.
    fn without_too_old(&mut self, events: Vec<Event>, reason: &str) -> Vec<Event> {
        let given_up = self.settings.ages.given_up;
        let max_age = self.settings.max_age.map_or(given_up, |max_age| max_age.min(given_up));
        let now = SystemTime::now();
        let (old, others): (Vec<_>, Vec<_>) = events
            .into_iter()
            .partition(|event| now.duration_since(event.received_at).unwrap_or_default() >= max_age);
        if !old.is_empty() {
            let reason = format!("not delivered within {max_age:?}: {reason}");
            if let Some((events, left_out)) = self.dropped_to_say(old.len(), &reason) {
                let sink = self.settings.name;
                warn!(sink, events, %reason, left_out, "events are too old to be tried again; they are dropped");
            }
            self.tell_refused(&old, &reason);
            self.metrics.drop(Cause::Age, old.len() as u64);
            self.remove(&old);
        }
        others
    }

    /// Drops events that the peer refused for good.
    fn refuse(&mut self, events: &[Event], reason: &str) {
        if let Some((events, left_out)) = self.dropped_to_say(events.len(), reason) {
            let sink = self.settings.name;
            warn!(sink, events, %reason, left_out, "events were refused for good; they are dropped");
        }
        self.tell_refused(events, reason);
        self.metrics.drop(Cause::Refused, events.len() as u64);
        self.remove(events);
    }

    /// If it is to be said now that this many events are dropped: how many they are with those of which it was not
    /// said, and how often it was not.
    fn dropped_to_say(&mut self, events: usize, reason: &str) -> Option<(u64, u64)> {
        let events = events as u64;
        let LeftOut { times, number } = self.said.note(reason, events)?;
        Some((events + number, times))
    }

    fn tell_refused(&self, events: &[Event], reason: &str) {
        for event in events {
            let record = self.record(event);
            match record.as_ref().map(|record| Record::decode(record)) {
                Ok(Ok(record)) => self.sink.note_refused(&record, reason),
                Ok(Err(error)) => self.note_unreadable_refusal(&error),
                Err(error) => self.note_unreadable_refusal(&error),
            }
        }
    }

    fn note_unreadable_refusal(&self, error: &dyn Display) {
        if let Some(LeftOut { times, .. }) = self.unreadable.note(&format!("refused {error}"), 1) {
            error!(%error, left_out = times, "a refused event cannot be read");
        }
    }

    /// A batch whose delivery panicked goes again in parts, until it is known which event brings it about.
    fn note_panicked(&mut self, events: Vec<Event>, panicked: &Panicked) {
        if events.len() > 1 {
            return self.split(events);
        }
        for event in &events {
            let (sink, origin) = (self.settings.name, event.origin);
            if let Some(LeftOut { times, .. }) = self.unreadable.note(&panicked.to_string(), 1) {
                error!(sink, origin, %panicked, left_out = times, "an event is quarantined");
            }
            let record = self.record(event).unwrap_or_default();
            self.quarantine.keep(self.settings.name, event.origin, &panicked.to_string(), &record);
        }
        self.remove(&events);
    }

    pub(super) fn split(&mut self, mut events: Vec<Event>) {
        let second = events.split_off(events.len() / 2);
        self.parts.push_front(second);
        self.parts.push_front(events);
    }

    fn note_gone(&mut self, events: Vec<Event>, reason: &str) {
        let sink = self.settings.name;
        error!(sink, %reason, "{} is gone; what goes there is dropped until the next start", self.settings.peer);
        self.is_gone = true;
        self.drop_gone(&events);
    }

    /// Drops everything that is not on its way, since the peer is gone.
    pub(super) fn drop_all(&mut self) {
        loop {
            let mut events: Vec<Event> = self.parts.drain(..).flatten().collect();
            events.append(&mut self.queue.pop_all());
            if events.is_empty() {
                return;
            }
            self.drop_gone(&events);
        }
    }

    fn drop_gone(&mut self, events: &[Event]) {
        self.metrics.drop(Cause::Gone, events.len() as u64);
        self.remove(events);
    }

    /// Takes out events that are finished.
    fn remove(&mut self, events: &[Event]) {
        for event in events {
            if let Place::Waiting(ticket) = event.place {
                self.waiting.finish(ticket);
            }
            self.queue.finish(event);
        }
        self.note_unsaved();
    }
}

/// What a task that did not end as it should says. Nobody cancels attempts, so it has panicked.
fn panic_of(error: JoinError) -> Panicked {
    match error.try_into_panic() {
        Ok(payload) => Panicked::of(&*payload),
        Err(error) => Panicked(error.to_string()),
    }
}
