//! What the peer refuses: whether it is a single event, everything, or perhaps too much at once.

use tokio::time::Instant;

use super::Drain;
use crate::sinks::Sink;
use crate::sinks::queue::Event;

/// Refusals after which a single event is given up, if others passed between.
pub const MOST_REFUSALS: u32 = 5;

/// Refusals in a row, of batches and their parts, after which it is not single events that are refused. It takes eleven from a
/// batch of the largest size to one event.
const MOST_IN_A_ROW: u32 = 20;

/// How often in a row a peer is exhausted until that may be because of the size of what it is sent.
pub const EXHAUSTED_IN_A_ROW: u32 = 3;

/// What the peer has refused so far.
#[derive(Debug)]
pub(super) struct BatchRefusals {
    /// Events in a batch, at most: as configured, and for now.
    configured: usize,
    batch: usize,
    in_a_row: u32,
    exhausted: u32,
    passed: u32,
}

impl BatchRefusals {
    /// Nothing yet, of batches of up to `configured` events.
    pub(super) fn new(configured: usize) -> BatchRefusals {
        BatchRefusals { configured, batch: configured, in_a_row: 0, exhausted: 0, passed: 0 }
    }

    /// Events in the next batch, at most.
    pub(super) fn batch(&self) -> usize {
        if self.is_everything_refused() { 1 } else { self.batch }
    }

    /// Whether it is not single events that are refused.
    pub(super) fn is_everything_refused(&self) -> bool {
        self.in_a_row >= MOST_IN_A_ROW
    }

    /// Takes in that a batch passed.
    pub(super) fn note_passed(&mut self) {
        (self.in_a_row, self.exhausted) = (0, 0);
        self.passed = self.passed.wrapping_add(1);
        self.batch = (self.batch + 1).min(self.configured);
    }

    /// Takes in that the peer was exhausted by a batch of this many events. After a few times batches are half as large.
    pub(super) fn note_exhausted(&mut self, events: usize) {
        self.exhausted += 1;
        if self.exhausted == EXHAUSTED_IN_A_ROW {
            self.exhausted = 0;
            self.batch = (events / 2).max(1);
        }
    }
}

impl<S: Sink> Drain<S> {
    /// Takes in that a batch was refused, and returns whether it is given up: a single event that was refused often enough.
    pub(super) fn is_last_refusal(&mut self, events: &mut [Event]) -> bool {
        self.refusals.in_a_row = self.refusals.in_a_row.saturating_add(1);
        match events {
            [event] => event.refusals.note(self.refusals.passed) >= MOST_REFUSALS,
            _ => false,
        }
    }

    /// What follows for events that were refused and are not given up.
    pub(super) fn note_refused(&mut self, events: Vec<Event>, started: Instant, reason: &str) {
        self.note_back();
        if self.refusals.is_everything_refused() {
            self.note_nothing_finished(reason);
            // Another time others go first.
            let parts: Vec<Event> = self.parts.drain(..).flatten().collect();
            self.queue.put_back_ready(parts);
            let rounds = 1 + self.refusals.in_a_row - MOST_IN_A_ROW;
            return self
                .stand_still(events, started, reason, |drain| drain.settings.backoff.after(rounds, None));
        }
        if events.len() > 1 {
            return self.split(events);
        }
        self.try_later(events, reason, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_become_smaller_only_if_the_peer_is_exhausted_again_and_again() {
        let mut refusals = BatchRefusals::new(512);
        refusals.note_exhausted(512);
        refusals.note_exhausted(512);
        assert_eq!(refusals.batch(), 512);
        refusals.note_exhausted(512);
        assert_eq!(refusals.batch(), 256);
        (0..3).for_each(|_| refusals.note_exhausted(256));
        assert_eq!(refusals.batch(), 128);
        (0..10).for_each(|_| refusals.note_passed());
        assert_eq!(refusals.batch(), 138, "they grow again with each success");
        (0..1_000).for_each(|_| refusals.note_passed());
        assert_eq!(refusals.batch(), 512);
    }
}
