//! The loop that drains the journal into a sink; see [`sinks`](super) for its states and its bounds.
//!
//! Here: what it takes from the journal, and when it wakes up. `attempts` begins attempts, `outcomes` takes in how they end,
//! `refusals` knows what the peer has
//! refused, `given_up` gives up what is old, `saving` makes progress durable and says how the sink stands.

mod attempts;
mod given_up;
mod outcomes;
mod progress;
mod refusals;
mod saving;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::callback::Record;
use crate::callback::shield::shielded;
use crate::http::pace::{LeftOut, Pace};
use crate::http::peer::Peer;
use crate::journal::Reader;
use crate::state::quarantine::Quarantine;

use super::destination::DestinationWatch;
use super::metrics::{AttemptMetrics, Cause, EventMetrics, SinkStatus};
use super::queue::{Event, Place, Queue, Refusals};
use super::retry_budget::RetryBudget;
use super::waiting::Waiting;
use super::{Settings, Sink};
use attempts::Attempt;
use progress::Progress;
use refusals::BatchRefusals;
pub use refusals::{EXHAUSTED_IN_A_ROW, MOST_REFUSALS};

/// Events in hand, at most, and the bytes beyond which no more are taken.
pub const MOST_IN_HAND: usize = 1024;
const MOST_IN_HAND_BYTES: usize = 4 * 1024 * 1024;

/// Events in hand above which no more are taken, if they go one by one; those that cannot go are then set aside, so that others
/// come into view. It is more if more may be on their way.
const CROWD: usize = 256;

/// Events that are taken from the journal at once, if they go one by one.
const TAKEN_AT_ONCE: usize = 64;

/// How often the loop takes from the journal before it looks at anything else.
const TAKES: usize = 16;

/// Waiting events that have an entry in memory, at most.
pub const MOST_WAITING: usize = 100_000;

/// The pause before another attempt, if the destination is configured wrongly.
pub const MISCONFIGURED_PAUSE: Duration = Duration::from_secs(60);

/// How often the status is noted while there is a backlog, and the oldest event looked for.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// When the same is said again of events that are dropped.
const SAID_AGAIN: Duration = Duration::from_secs(60);

/// How long the loop sleeps if it has nothing to wait for but its events.
const LONG: Duration = Duration::from_secs(3_600);

/// Drains the journal into a sink.
pub struct Drain<S: Sink> {
    sink: Arc<S>,
    settings: Settings,
    reader: Reader,
    waiting: Waiting,
    queue: Queue,
    /// Parts of a batch that is being delivered in parts, since the whole was too large or brought about a panic.
    parts: VecDeque<Vec<Event>>,
    attempts: JoinSet<Attempt>,
    on_their_way: HashMap<Id, Vec<Event>>,
    /// When each of these began.
    started: HashMap<Id, Instant>,
    /// How many of these had failed before.
    retries: usize,
    retry_budget: RetryBudget,
    /// Whether the next turn is that of an event that has failed, if there is one.
    is_turn_of_retry: bool,
    /// Since when events gather in the journal for a batch.
    gathers_since: Option<Instant>,
    peer: Peer,
    /// Whether the destination is configured wrongly, for who can say so.
    destination: Option<DestinationWatch>,
    refusals: BatchRefusals,
    /// What was said of events that were dropped.
    said: Pace,
    /// What was said of events that cannot be read.
    unreadable: Pace,
    /// While the peer is away: when the next attempt goes out.
    next_probe: Option<Instant>,
    /// When it was last noted to be away. What had begun before says nothing new.
    away_noted_at: Option<Instant>,
    probes: u64,
    last_success: Option<Instant>,
    progress: Progress,
    /// The peer is gone for good.
    is_gone: bool,
    is_stopping: bool,
    /// Ends it at once, whatever is on its way.
    last: CancellationToken,
    /// When progress is to be made durable that is not.
    save_at: Option<Instant>,
    /// Whether the last try to do so failed.
    is_save_failing: bool,
    /// When a segment of what waits may have to be closed.
    close_at: Instant,
    /// When it is looked again for events that are to be given up, and how many were since it was said.
    give_up_at: Instant,
    given_up: u64,
    status: Arc<SinkStatus>,
    /// How many events are known to have been dropped from the backlog, and how many of what waited could not be read.
    dropped: u64,
    unreadable_waiting: u64,
    /// When the oldest event that is not finished was received, and when that was found out.
    oldest: Option<SystemTime>,
    oldest_found_at: Option<Instant>,
    quarantine: Quarantine,
    attempt_metrics: AttemptMetrics,
    metrics: EventMetrics,
}

impl<S: Sink> Drain<S> {
    /// Drains what `reader` reads into `sink`. What has to wait, waits in `waiting`; what brings about a panic goes to
    /// `quarantine`.
    pub fn new(
        sink: Arc<S>,
        mut settings: Settings,
        reader: Reader,
        mut waiting: Waiting,
        quarantine: Quarantine,
    ) -> Drain<S> {
        settings.batch = settings.batch.min(MOST_IN_HAND);
        let mut queue = Queue::default();
        waiting.take_found().into_iter().for_each(|event| queue.push(event));
        let (peer, progress) =
            (Peer::new(settings.peer, settings.signal, settings.backoff), Progress::default());
        let conditions = vec![peer.condition(), progress.condition()];
        let status = Arc::new(SinkStatus::new(settings.name, settings.peer, conditions));
        let metrics = EventMetrics::new(settings.name, status.drops());
        let mut drain = Drain {
            sink,
            reader,
            waiting,
            queue,
            parts: VecDeque::new(),
            attempts: JoinSet::new(),
            on_their_way: HashMap::new(),
            started: HashMap::new(),
            retries: 0,
            retry_budget: RetryBudget::new(Instant::now()),
            is_turn_of_retry: false,
            gathers_since: None,
            peer,
            destination: None,
            refusals: BatchRefusals::new(settings.batch),
            said: Pace::new(SAID_AGAIN),
            unreadable: Pace::new(SAID_AGAIN),
            next_probe: None,
            away_noted_at: None,
            probes: 0,
            last_success: None,
            progress,
            is_gone: false,
            is_stopping: false,
            last: CancellationToken::new(),
            save_at: None,
            is_save_failing: false,
            close_at: Instant::now(),
            give_up_at: Instant::now(),
            given_up: 0,
            status,
            dropped: 0,
            unreadable_waiting: 0,
            oldest: None,
            oldest_found_at: None,
            quarantine,
            attempt_metrics: AttemptMetrics::new(settings.signal),
            metrics,
            settings,
        };
        drain.note_status();
        drain
    }

    /// Shows by `destination` whether it is configured rightly.
    pub fn with_destination(mut self, destination: Option<DestinationWatch>) -> Drain<S> {
        self.destination = destination;
        self
    }

    /// Ends at once when `last` is cancelled, even if the peer has not answered what is on its way, which counts as not
    /// delivered.
    pub fn ending_at(mut self, last: CancellationToken) -> Drain<S> {
        self.last = last;
        self
    }

    /// How the sink stands, for whoever looks.
    pub fn status(&self) -> Arc<SinkStatus> {
        Arc::clone(&self.status)
    }

    /// Drains until `stop`, and then what is left for as long as that succeeds.
    pub async fn run(mut self, stop: CancellationToken) {
        let last = self.last.clone();
        while !last.is_cancelled() {
            self.give_up_if_due();
            self.take_more();
            self.begin_attempts();
            if self.is_crowded() {
                self.save();
                continue;
            }
            self.note_status();
            if self.is_stopping && self.is_at_a_standstill() {
                break;
            }
            let (has_room, wake_at) = (self.has_room(), self.wake_at());
            let awaited = if self.gathers_since.is_some() { self.settings.batch as u64 } else { 1 };
            tokio::select! {
                biased;
                () = last.cancelled() => {}
                () = stop.cancelled(), if !self.is_stopping => self.is_stopping = true,
                Some(attempt) = self.attempts.join_next_with_id() => self.finish(attempt),
                () = sleep_until(wake_at) => {}
                () = self.reader.readable(awaited), if has_room => {}
            }
            self.save_if_due();
        }
        self.attempts.abort_all();
        self.save();
        self.account_for_the_rest();
    }

    /// Whether nothing more goes out without waiting for the peer or for a pause.
    fn is_at_a_standstill(&self) -> bool {
        let can_take_more = self.has_room() && self.reader.is_readable();
        let can_go = self.queue.ready() > 0 || !self.parts.is_empty();
        self.attempts.is_empty() && (self.next_probe.is_some() || !can_take_more && !can_go)
    }

    /// Events in hand above which no more are taken.
    fn crowd(&self) -> usize {
        CROWD.max(2 * self.settings.concurrency.min(MOST_IN_HAND)).min(MOST_IN_HAND - TAKEN_AT_ONCE)
    }

    fn has_room(&self) -> bool {
        // One batch after another; of single events, so many that those which cannot go do not hide others.
        let most = if self.settings.batch > 1 { 1 } else { self.crowd() };
        let has_room = self.queue.in_hand() < most && self.queue.hand_bytes() < MOST_IN_HAND_BYTES;
        // What was in hand before the start had room then. It comes before what waits, which may be of the same order.
        has_room || self.reader.to_take_again() > 0
    }

    /// Takes events from the journal, unless enough are in hand.
    fn take_more(&mut self) {
        self.waiting.bring_in(&mut self.queue);
        let most = if self.settings.batch > 1 { self.settings.batch } else { TAKEN_AT_ONCE };
        for _ in 0..TAKES {
            if !self.has_room() || !self.reader.is_readable() || !self.has_gathered() {
                return;
            }
            for (origin, record) in self.reader.take(most) {
                self.take(origin, record);
            }
        }
    }

    /// Whether a full batch can be taken, or one has gathered for as long as it may.
    fn has_gathered(&mut self) -> bool {
        let now = Instant::now();
        let since = *self.gathers_since.get_or_insert(now);
        // What was in hand before the start has gathered.
        let is_full = self.reader.waiting() >= self.settings.batch as u64 || self.reader.to_take_again() > 0;
        let has_gathered = is_full || self.is_stopping || now >= since + self.settings.delay;
        if has_gathered {
            self.gathers_since = None;
        }
        has_gathered
    }

    fn take(&mut self, origin: u64, record: Bytes) {
        if self.waiting.knows(origin) {
            return self.note_unsaved();
        }
        if self.is_gone {
            self.metrics.drop(Cause::Gone, 1);
            return self.note_unsaved();
        }
        match self.event(origin, &record) {
            Ok(event) if self.is_given_up(&event) => self.note_given_up(1),
            Ok(event) => self.queue.push(event),
            Err(reason) => {
                if let Some(LeftOut { times, .. }) = self.unreadable.note(&reason, 1) {
                    let sink = self.settings.name;
                    error!(sink, origin, %reason, left_out = times, "an event cannot be read; it is quarantined");
                }
                self.quarantine.keep(self.settings.name, origin, &reason, &record);
                self.note_unsaved();
            }
        }
    }

    /// A record as an event in hand.
    fn event(&self, origin: u64, record: &Bytes) -> Result<Event, String> {
        let read = shielded(|| {
            Record::decode(record).map(|decoded| (decoded.received_at, self.sink.order(&decoded)))
        });
        let (received_at, order) =
            read.map_err(|panicked| panicked.to_string())?.map_err(|error| error.to_string())?;
        // A copy, so that it does not keep the whole chunk of the journal that was read.
        let place = Place::Hand(Bytes::copy_from_slice(record));
        Ok(Event { origin, order, received_at, failures: 0, refusals: Refusals::default(), place })
    }

    /// When something is due without anything else happening.
    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let gathers_since = self.gathers_since.filter(|_| self.has_room() && self.reader.is_readable());
        let gathered = gathers_since.map(|since| since + self.settings.delay);
        let bring_in = self.waiting.brings_in_at(&self.queue);
        // Without anything to do, the status is noted now and then only if it can change.
        let has_backlog = self.queue.in_hand() + self.queue.waiting() > 0;
        let status = has_backlog.then(|| now + STATUS_INTERVAL);
        let close = self.waiting.has_open_segment().then_some(self.close_at);
        let due = [self.next_attempt(), gathered, bring_in, self.save_at, close, status];
        due.into_iter().flatten().min().unwrap_or(now + LONG)
    }
}
