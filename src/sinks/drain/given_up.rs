//! How events are given up that could not be delivered within an age: they name people, and are to leave in time.

use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tracing::warn;

use super::Drain;
use crate::sinks::Sink;
use crate::sinks::metrics::Cause;
use crate::sinks::queue::{Event, Place};

/// How often it is looked for them: a hundred times in the age, within these bounds.
const SHORTEST_LOOK: Duration = Duration::from_millis(100);
const LONGEST_LOOK: Duration = Duration::from_secs(60);

impl<S: Sink> Drain<S> {
    /// The time before which what was received is given up.
    fn given_up_before(&self) -> SystemTime {
        let age = self.settings.ages.given_up;
        SystemTime::now().checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    /// Whether an event is so old that it is given up.
    pub(super) fn is_given_up(&self, event: &Event) -> bool {
        event.received_at < self.given_up_before()
    }

    /// Counts events that are given up.
    pub(super) fn note_given_up(&mut self, events: u64) {
        self.given_up += events;
        self.metrics.drop(Cause::Age, events);
        self.note_unsaved();
    }

    /// Gives up what is too old of the events in hand and of those that wait, except what is on its way, now and then.
    pub(super) fn give_up_if_due(&mut self) {
        let now = Instant::now();
        if now < self.give_up_at {
            return;
        }
        self.give_up_at = now + (self.settings.ages.given_up / 100).clamp(SHORTEST_LOOK, LONGEST_LOOK);
        let events = self.queue.take_received_before(self.given_up_before());
        for event in &events {
            if let Place::Waiting(ticket) = event.place {
                self.waiting.finish(ticket);
            }
        }
        if !events.is_empty() {
            self.note_given_up(events.len() as u64);
        }
        let given_up = std::mem::take(&mut self.given_up);
        if given_up > 0 {
            let (sink, age) = (self.settings.name, self.settings.ages.given_up);
            warn!(sink, events = given_up, ?age, "events could not be delivered in time; they are dropped");
        }
    }
}
