//! How progress becomes durable, and how the sink stands.

use std::time::Duration;

use tokio::time::Instant;
use tracing::warn;

use super::{Drain, STATUS_INTERVAL};
use crate::config::StateLifetime;
use crate::sinks::Sink;
use crate::sinks::metrics::{Backlog, Cause};
use crate::sinks::queue::Aside;

/// How long what was finished may wait to be noted durably. After a crash it is delivered once more.
const SAVE_INTERVAL: Duration = Duration::from_millis(200);

/// The pause after a save that failed.
const SAVE_PAUSE: Duration = Duration::from_secs(1);

impl<S: Sink> Drain<S> {
    /// Notes that something has to be made durable.
    pub(super) fn note_unsaved(&mut self) {
        self.save_at.get_or_insert_with(|| Instant::now() + SAVE_INTERVAL);
    }

    pub(super) fn save_if_due(&mut self) {
        let now = Instant::now();
        let is_to_close = self.waiting.has_open_segment() && self.close_at <= now;
        if is_to_close || self.save_at.is_some_and(|at| at <= now) {
            self.save();
        }
    }

    /// Whether what is in hand cannot go, and has to make room for others now. To be asked when as many attempts have begun as
    /// may be.
    pub(super) fn is_crowded(&self) -> bool {
        let is_idle = self.next_probe.is_none() && self.queue.ready() == 0 && self.has_permit(Instant::now());
        is_idle
            && !self.has_room()
            && !self.is_save_failing
            && self.queue.to_set_aside(self.may_set_aside()).next().is_some()
    }

    /// What may be set aside. While the peer is away, as little as can be.
    fn may_set_aside(&self) -> Aside {
        match self.next_probe {
            Some(_) => Aside::DueLater,
            None if self.queue.in_hand() > self.crowd() / 2 => Aside::Behind,
            None => Aside::Failed,
        }
    }

    /// Makes progress durable: sets aside what has to wait, and notes what is finished.
    pub(super) fn save(&mut self) {
        let was_failing = std::mem::replace(&mut self.is_save_failing, false);
        self.save_at = None;
        // Often enough that what is finished is gone well within the age after it.
        let segment_age = self.settings.ages.segment;
        self.close_at = Instant::now() + (segment_age / 4).max(SAVE_INTERVAL);
        let which = self.may_set_aside();
        match self.waiting.set_aside(&mut self.queue, which) {
            Ok(unordered) => self.metrics.unordered.increment(unordered),
            Err(error) => {
                let sink = self.settings.name;
                if !was_failing {
                    warn!(sink, %error, "events that have to wait cannot be set aside; they stay in hand");
                }
                self.is_save_failing = true;
            }
        }
        if self.reader.done_except(&self.queue.hand(), self.waiting.end()) {
            let on_their_way = self.on_their_way.values_mut().chain(&mut self.parts).flatten();
            let end = self.waiting.end();
            self.waiting.clean_up(&mut self.queue, on_their_way, segment_age);
            if self.waiting.end() > end {
                // The position is to say how far the waiting journal goes now.
                self.note_unsaved();
            }
        } else {
            self.is_save_failing = true;
        }
        if self.is_save_failing {
            self.save_at = Some(Instant::now() + SAVE_PAUSE);
        }
    }

    /// Brings the status up to date. The oldest event is looked for now and then only.
    pub(super) fn note_status(&mut self) {
        let events = self.queue.in_hand() + self.queue.waiting();
        if events == 0 {
            self.oldest = None;
        } else if self.oldest_found_at.is_none_or(|at| at.elapsed() >= STATUS_INTERVAL) {
            self.oldest_found_at = Some(Instant::now());
            let on_their_way = self.on_their_way.values().chain(&self.parts).flatten();
            self.oldest = on_their_way.map(|event| event.received_at).chain(self.queue.oldest()).min();
        }
        let dropped = self.reader.dropped() + self.waiting.dropped();
        // Whoever looks at the journal counts them.
        if dropped > self.dropped {
            self.metrics.note_drop();
        }
        self.dropped = dropped;
        let unreadable = self.waiting.unreadable();
        self.metrics.drop(Cause::Damaged, unreadable.saturating_sub(self.unreadable_waiting));
        self.unreadable_waiting = unreadable;
        self.status.note(Backlog {
            waiting: self.queue.waiting() as u64 + self.waiting.unindexed(),
            dropped: self.waiting.dropped(),
            damaged: self.waiting.damaged(),
            waiting_bytes: self.waiting.bytes(),
            oldest: self.oldest,
            is_gone: self.is_gone,
        });
    }

    pub(super) fn account_for_the_rest(&self) {
        let in_queue = self.queue.in_hand() + self.queue.waiting();
        let events = in_queue as u64 + self.waiting.unindexed() + self.reader.waiting();
        if events == 0 {
            return;
        }
        let (sink, peer) = (self.settings.name, self.settings.peer);
        let what_becomes = match self.settings.ages.state {
            StateLifetime::Volume => {
                return warn!(
                    sink,
                    peer,
                    events,
                    "ended before all events were delivered; they are on disk, and delivered after the next start"
                );
            }
            StateLifetime::Pod => {
                "they are in a state directory that goes with the pod: lost, unless the container starts in it again"
            }
            StateLifetime::Process => "they were in memory, and are lost",
        };
        self.metrics.drop(Cause::Shutdown, events);
        warn!(sink, peer, events, "ended before all events were delivered; {what_becomes}");
    }
}
