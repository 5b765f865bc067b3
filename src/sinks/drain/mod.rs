//! The loop that drains the journal into a sink; see [`sinks`](super) for its states and its bounds.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::callback::Record;
use crate::callback::shield::{Panicked, fault_point, shielded};
use crate::http::peer::Peer;
use crate::journal::Reader;
use crate::state::quarantine::Quarantine;

use super::metrics::{AttemptMetrics, AttemptResult, Backlog, EventMetrics, SinkStatus};
use super::queue::{Event, Place, Queue};
use super::retry_budget::RetryBudget;
use super::waiting::Waiting;
use super::{Failure, Settings, Sink};

/// Events in hand, at most, and their bytes.
pub const MOST_IN_HAND: usize = 1024;
const MOST_IN_HAND_BYTES: usize = 4 * 1024 * 1024;

/// Events in hand above which those that cannot go are set aside, so that others come into view.
const CROWD: usize = 256;

/// Events that are taken from the journal at once.
const TAKEN_AT_ONCE: usize = 64;

/// Waiting events that have an entry in memory, at most.
pub const MOST_WAITING: usize = 100_000;

/// How long what was finished may wait to be noted durably. After a crash it is delivered once more.
const SAVE_INTERVAL: Duration = Duration::from_millis(200);

/// While the peer is away and an attempt has no answer: how long until another goes out.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

/// How often the oldest event is looked for.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

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
    /// How many of these had failed before.
    retries: usize,
    retry_budget: RetryBudget,
    /// Whether the next turn is that of an event that has failed, if there is one.
    is_turn_of_retry: bool,
    /// Since when events gather in the journal for a batch.
    gathers_since: Option<Instant>,
    peer: Peer,
    /// While the peer is away: when the next attempt goes out.
    next_probe: Option<Instant>,
    /// When it was last noted to be away. What had begun before says nothing new.
    away_noted_at: Option<Instant>,
    probes: u64,
    last_success: Option<Instant>,
    /// The peer is gone for good.
    is_gone: bool,
    is_stopping: bool,
    /// Since when something is finished that is not noted durably.
    unsaved_since: Option<Instant>,
    status: Arc<SinkStatus>,
    /// When the oldest event that is not finished was received, and when that was found out.
    oldest: Option<SystemTime>,
    oldest_found_at: Option<Instant>,
    quarantine: Quarantine,
    attempt_metrics: AttemptMetrics,
    metrics: EventMetrics,
}

/// An attempt that has ended.
struct Attempt {
    started: Instant,
    outcome: Result<u64, Failure>,
}

impl<S: Sink> Drain<S> {
    /// Drains what `reader` reads into `sink`. What has to wait, waits in `waiting`; what brings about a panic goes to
    /// `quarantine`.
    pub fn new(
        sink: Arc<S>,
        settings: Settings,
        reader: Reader,
        mut waiting: Waiting,
        quarantine: Quarantine,
    ) -> Drain<S> {
        let mut queue = Queue::default();
        waiting.take_found().into_iter().for_each(|event| queue.push(event));
        Drain {
            sink,
            reader,
            waiting,
            queue,
            parts: VecDeque::new(),
            attempts: JoinSet::new(),
            on_their_way: HashMap::new(),
            retries: 0,
            retry_budget: RetryBudget::new(Instant::now()),
            is_turn_of_retry: false,
            gathers_since: None,
            peer: Peer::new(settings.peer, settings.signal, settings.backoff),
            next_probe: None,
            away_noted_at: None,
            probes: 0,
            last_success: None,
            is_gone: false,
            is_stopping: false,
            unsaved_since: None,
            status: Arc::new(SinkStatus::new(settings.name)),
            oldest: None,
            oldest_found_at: None,
            quarantine,
            attempt_metrics: AttemptMetrics::new(settings.signal),
            metrics: EventMetrics::new(settings.name),
            settings,
        }
    }

    /// How the sink stands, for whoever looks.
    pub fn status(&self) -> Arc<SinkStatus> {
        Arc::clone(&self.status)
    }

    /// Drains until `stop`, and then what is left for as long as that succeeds.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            self.take_more();
            self.begin_attempts();
            self.note_status();
            if self.is_stopping && self.is_at_a_standstill() {
                break;
            }
            let (has_room, wake_at) = (self.has_room(), self.wake_at());
            let awaited = if self.gathers_since.is_some() { self.settings.batch as u64 } else { 1 };
            tokio::select! {
                biased;
                Some(attempt) = self.attempts.join_next_with_id() => self.finish(attempt),
                () = stop.cancelled(), if !self.is_stopping => self.is_stopping = true,
                () = sleep_until(wake_at) => {}
                () = self.reader.readable(awaited), if has_room => {}
            }
            self.save_if_due();
        }
        // Before waiting for what is on its way, since the time for the end may run out meanwhile.
        self.save();
        while let Some(attempt) = self.attempts.join_next_with_id().await {
            self.finish(attempt);
        }
        self.save();
        self.account_for_the_rest();
    }

    /// Whether nothing more goes out without waiting for the peer or for a pause.
    fn is_at_a_standstill(&self) -> bool {
        let can_take_more = self.has_room() && self.reader.is_readable();
        let can_go = self.queue.ready() > 0 || !self.parts.is_empty();
        self.attempts.is_empty() && (self.next_probe.is_some() || !can_take_more && !can_go)
    }

    fn has_room(&self) -> bool {
        // One batch after another; of single events, so many that those which cannot go do not hide others.
        let most = if self.settings.batch > 1 { 1 } else { CROWD };
        self.queue.in_hand() < most && self.queue.hand_bytes() < MOST_IN_HAND_BYTES
    }

    /// Takes events from the journal, unless enough are in hand.
    fn take_more(&mut self) {
        self.waiting.bring_in(&mut self.queue, self.settings.name, MOST_WAITING);
        while self.has_room() && self.reader.is_readable() && self.has_gathered() {
            let most =
                if self.settings.batch > 1 { self.settings.batch.min(MOST_IN_HAND) } else { TAKEN_AT_ONCE };
            let records = self.reader.take(most);
            if records.is_empty() {
                return;
            }
            for (origin, record) in records {
                self.take(origin, record);
            }
        }
    }

    /// Whether a full batch can be taken, or one has gathered for as long as it may.
    fn has_gathered(&mut self) -> bool {
        let now = Instant::now();
        let since = *self.gathers_since.get_or_insert(now);
        let is_full = self.reader.waiting() >= self.settings.batch as u64;
        let has_gathered = is_full || self.is_stopping || now >= since + self.settings.delay;
        if has_gathered {
            self.gathers_since = None;
        }
        has_gathered
    }

    fn take(&mut self, origin: u64, record: Bytes) {
        let is_to_be_delivered = !self.is_gone && !self.waiting.knows(origin);
        let event = is_to_be_delivered.then(|| self.event(origin, &record));
        match event {
            Some(Ok(event)) => self.queue.push(event),
            Some(Err(reason)) => {
                error!(sink = self.settings.name, origin, %reason, "an event cannot be read; it is quarantined");
                self.quarantine.keep(self.settings.name, origin, &reason, &record);
                self.note_unsaved();
            }
            None => {
                if self.is_gone {
                    self.metrics.gone.increment(1);
                }
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
        Ok(Event { origin, order, received_at, failures: 0, place })
    }

    /// Begins as many attempts as may be.
    fn begin_attempts(&mut self) {
        let now = Instant::now();
        self.queue.wake(now);
        while self.attempts.len() < self.settings.concurrency {
            let is_probe = self.next_probe.is_some();
            if self.next_probe.is_some_and(|at| at > now) {
                return;
            }
            let events = self.next_batch(now);
            if events.is_empty() || !self.begin(events) {
                return;
            }
            if is_probe {
                // If this one has no answer by then, another is asked.
                self.next_probe = Some(now + PROBE_INTERVAL);
            }
        }
    }

    /// Takes out what goes next. Events that have failed and others take turns; those that have failed get half of what may be
    /// on its way, and no more than their budget.
    fn next_batch(&mut self, now: Instant) -> Vec<Event> {
        if let Some(part) = self.parts.pop_front() {
            return part;
        }
        if self.next_probe.is_some() {
            // Another order each time: the one that was asked last may be the one that fails.
            self.probes = self.probes.wrapping_add(0x9e37_79b9_7f4a_7c15);
            self.queue.rotate(self.probes >> 32);
        }
        let has_fresh = self.queue.ready() > 0;
        if (self.is_turn_of_retry || !has_fresh) && self.may_retry() && self.retry_budget.allows(now) {
            self.retry_budget.spend();
            self.is_turn_of_retry = false;
            return self.queue.pop_again(self.settings.batch);
        }
        self.is_turn_of_retry = true;
        self.queue.pop(self.settings.batch)
    }

    /// Whether an event that has failed may go again, as far as permits are concerned.
    fn may_retry(&self) -> bool {
        self.queue.again() > 0 && self.retries < self.settings.concurrency.div_ceil(2)
    }

    /// Sends events on their way; answers whether that was possible.
    fn begin(&mut self, events: Vec<Event>) -> bool {
        let mut records = Vec::with_capacity(events.len());
        for event in &events {
            match &event.place {
                Place::Hand(record) => records.push(record.clone()),
                Place::Waiting(ticket) => match self.waiting.read(*ticket) {
                    Ok(record) => records.push(record),
                    Err(error) => {
                        let sink = self.settings.name;
                        error!(sink, %error, "a waiting event cannot be read; trying again");
                        self.put_back_until(events, Instant::now() + STATUS_INTERVAL);
                        return false;
                    }
                },
            }
        }
        let (sink, name) = (Arc::clone(&self.sink), self.settings.name);
        let started = Instant::now();
        let handle = self.attempts.spawn(async move {
            records.iter().for_each(|record| fault_point(name, record));
            Attempt { started, outcome: sink.deliver(records).await }
        });
        self.retries += usize::from(is_retry(&events));
        self.on_their_way.insert(handle.id(), events);
        true
    }

    /// When something is due without anything else happening.
    fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let is_full = self.attempts.len() >= self.settings.concurrency;
        let gathered = self.gathers_since.map(|since| since + self.settings.delay);
        let has_some = self.queue.ready() + self.queue.again() + self.parts.len() > 0;
        let probe = self.next_probe.filter(|_| has_some);
        let retry = Some(self.retry_budget.next()).filter(|_| self.next_probe.is_none() && self.may_retry());
        let begin = [self.queue.next_due(), gathered, probe, retry].into_iter().flatten().min();
        let save = self.unsaved_since.map(|since| since + SAVE_INTERVAL);
        // Without anything to do, the status is noted now and then only if it can change.
        let has_backlog = self.queue.in_hand() + self.queue.waiting() > 0;
        let status = has_backlog.then(|| now + STATUS_INTERVAL);
        let far = now + Duration::from_secs(3_600);
        [begin.filter(|_| !is_full), save, status].into_iter().flatten().min().unwrap_or(far)
    }

    /// Takes in how an attempt ended.
    fn finish(&mut self, attempt: Result<(Id, Attempt), JoinError>) {
        let (id, attempt) = match attempt {
            Ok((id, attempt)) => (id, Ok(attempt)),
            Err(error) => (error.id(), Err(panic_of(error))),
        };
        let events = self.on_their_way.remove(&id).unwrap_or_default();
        self.retries -= usize::from(is_retry(&events));
        debug_assert!(!events.is_empty(), "what ended was on its way");
        let Attempt { started, outcome } = match attempt {
            Ok(attempt) => attempt,
            Err(panicked) => return self.note_panicked(events, &panicked),
        };
        let result = match &outcome {
            Ok(0) => AttemptResult::Success,
            Ok(_) => AttemptResult::Partial,
            Err(Failure::Refused(_) | Failure::TooLarge(_) | Failure::Gone(_)) => AttemptResult::Refused,
            Err(Failure::Later { .. } | Failure::Away { .. }) => AttemptResult::Retry,
        };
        self.attempt_metrics.count(result, started.elapsed());
        match outcome {
            Ok(refused) => {
                let refused = refused.min(events.len() as u64);
                self.last_success = Some(Instant::now());
                self.retry_budget.note_success();
                self.note_back();
                self.metrics.delivered.increment(events.len() as u64 - refused);
                self.metrics.refused.increment(refused);
                self.remove(&events);
            }
            Err(Failure::TooLarge(_)) if events.len() > 1 => {
                self.note_back();
                self.split(events);
            }
            Err(Failure::Refused(reason) | Failure::TooLarge(reason)) => {
                self.note_back();
                self.refuse(&events, &reason);
            }
            Err(Failure::Later { reason, retry_after }) => {
                self.note_back();
                self.try_later(events, &reason, retry_after);
            }
            Err(Failure::Away { reason, retry_after }) => {
                // If another attempt succeeded meanwhile, the peer is there, and something is wrong with this one.
                if self.last_success.is_some_and(|success| success >= started) {
                    self.try_later(events, &reason, retry_after);
                } else {
                    self.note_away(events, started, &reason, retry_after);
                }
            }
            Err(Failure::Gone(reason)) => self.note_gone(events, &reason),
        }
    }

    fn note_back(&mut self) {
        (self.next_probe, self.away_noted_at) = (None, None);
        self.peer.note_back();
    }

    fn note_away(
        &mut self,
        events: Vec<Event>,
        started: Instant,
        reason: &str,
        retry_after: Option<Duration>,
    ) {
        // Of attempts that fail together the first says when the peer is asked again.
        if self.away_noted_at.is_none_or(|at| at <= started) {
            let now = Instant::now();
            self.away_noted_at = Some(now);
            self.next_probe = Some(now + self.peer.note_away(&reason, retry_after));
        }
        let events = self.without_too_old(events, reason);
        self.queue.put_back_ready(events);
    }

    /// Has events tried again later, while others go on.
    fn try_later(&mut self, events: Vec<Event>, reason: &str, retry_after: Option<Duration>) {
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
        let Some(max_age) = self.settings.max_age else { return events };
        let now = SystemTime::now();
        let (old, others): (Vec<_>, Vec<_>) = events
            .into_iter()
            .partition(|event| now.duration_since(event.received_at).unwrap_or_default() >= max_age);
        if !old.is_empty() {
            let reason = format!("not delivered within {max_age:?}: {reason}");
            let (sink, events) = (self.settings.name, old.len());
            warn!(sink, events, %reason, "events are too old to be tried again; they are dropped");
            self.tell_refused(&old, &reason);
            self.metrics.age.increment(old.len() as u64);
            self.remove(&old);
        }
        others
    }

    /// Drops events that the peer refused for good.
    fn refuse(&mut self, events: &[Event], reason: &str) {
        warn!(sink = self.settings.name, events = events.len(), %reason, "events were refused for good; they are dropped");
        self.tell_refused(events, reason);
        self.metrics.refused.increment(events.len() as u64);
        self.remove(events);
    }

    fn tell_refused(&self, events: &[Event], reason: &str) {
        for event in events {
            let record = match &event.place {
                Place::Hand(record) => Ok(record.clone()),
                Place::Waiting(ticket) => self.waiting.read(*ticket),
            };
            match record.as_ref().map(|record| Record::decode(record)) {
                Ok(Ok(record)) => self.sink.note_refused(&record, reason),
                Ok(Err(error)) => error!(%error, "a refused event cannot be read"),
                Err(error) => error!(%error, "a refused event cannot be read"),
            }
        }
    }

    /// A batch whose delivery panicked goes again in parts, until it is known which event brings it about.
    fn note_panicked(&mut self, events: Vec<Event>, panicked: &Panicked) {
        if events.len() > 1 {
            return self.split(events);
        }
        for event in &events {
            error!(sink = self.settings.name, origin = event.origin, %panicked, "an event is quarantined");
            let record = match &event.place {
                Place::Hand(record) => record.clone(),
                Place::Waiting(ticket) => self.waiting.read(*ticket).unwrap_or_default(),
            };
            self.quarantine.keep(self.settings.name, event.origin, &panicked.to_string(), &record);
        }
        self.remove(&events);
    }

    fn split(&mut self, mut events: Vec<Event>) {
        let second = events.split_off(events.len() / 2);
        self.parts.push_front(second);
        self.parts.push_front(events);
    }

    fn note_gone(&mut self, events: Vec<Event>, reason: &str) {
        let sink = self.settings.name;
        error!(sink, %reason, "{} is gone; what goes there is dropped until the next start", self.settings.peer);
        self.is_gone = true;
        self.metrics.gone.increment(events.len() as u64);
        self.remove(&events);
        loop {
            let mut events = self.queue.pop(usize::MAX);
            events.append(&mut self.queue.pop_again(usize::MAX));
            if events.is_empty() {
                break;
            }
            self.metrics.gone.increment(events.len() as u64);
            self.remove(&events);
        }
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

    fn note_unsaved(&mut self) {
        self.unsaved_since.get_or_insert_with(Instant::now);
    }

    fn save_if_due(&mut self) {
        let is_due = self.unsaved_since.is_some_and(|since| since.elapsed() >= SAVE_INTERVAL);
        let is_stuck = !self.has_room() && self.next_probe.is_none() && self.queue.ready() == 0;
        if is_due || is_stuck && self.attempts.len() < self.settings.concurrency {
            self.save();
        }
    }

    /// Makes progress durable: sets aside what has to wait, and notes what is finished.
    fn save(&mut self) {
        self.unsaved_since = None;
        let most = if self.next_probe.is_some() { usize::MAX } else { CROWD / 2 };
        let moved = self.waiting.set_aside(&mut self.queue, most, MOST_WAITING);
        match moved {
            Ok(unordered) => self.metrics.unordered.increment(unordered),
            Err(error) => {
                let sink = self.settings.name;
                warn!(sink, %error, "events that have to wait cannot be set aside; they stay in hand");
                self.note_unsaved();
            }
        }
        if self.reader.done_except(&self.queue.hand()) {
            let on_their_way =
                self.on_their_way.values().chain(&self.parts).flatten().map(|event| &event.place);
            self.waiting.clean_up(&mut self.queue, on_their_way);
        }
    }

    /// Brings the status up to date. The oldest event is looked for now and then only.
    fn note_status(&mut self) {
        let events = self.queue.in_hand() + self.queue.waiting();
        if events == 0 {
            self.oldest = None;
        } else if self.oldest_found_at.is_none_or(|at| at.elapsed() >= STATUS_INTERVAL) {
            self.oldest_found_at = Some(Instant::now());
            let on_their_way = self.on_their_way.values().chain(&self.parts).flatten();
            self.oldest = on_their_way.map(|event| event.received_at).chain(self.queue.oldest()).min();
        }
        self.status.note(Backlog {
            waiting: self.queue.waiting() as u64 + self.waiting.unindexed(),
            dropped: self.waiting.dropped(),
            waiting_bytes: self.waiting.bytes(),
            oldest: self.oldest,
            is_gone: self.is_gone,
        });
    }

    fn account_for_the_rest(&self) {
        let in_queue = self.queue.in_hand() + self.queue.waiting();
        let events = in_queue as u64 + self.waiting.unindexed() + self.reader.waiting();
        if events == 0 {
            return;
        }
        let sink = self.settings.name;
        if self.reader.is_durable() {
            return warn!(
                sink,
                events, "ended before all events were delivered; they are after the next start"
            );
        }
        self.metrics.shutdown.increment(events);
        warn!(sink, events, "ended before all events were delivered; they are dropped");
    }
}

/// Whether events have failed before.
fn is_retry(events: &[Event]) -> bool {
    events.iter().any(|event| event.failures > 0)
}

/// What a task that did not end as it should says. Nobody cancels attempts, so it has panicked.
fn panic_of(error: JoinError) -> Panicked {
    match error.try_into_panic() {
        Ok(payload) => Panicked::of(&*payload),
        Err(error) => Panicked(error.to_string()),
    }
}
