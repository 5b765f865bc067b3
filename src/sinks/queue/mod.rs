//! The queue of a sink: which of the events that it has in hand or that wait may go next. It does no input or output and reads
//! no clock.
//!
//! Events of one order go one after another. Whose turn it is goes round among orders, and an event without an order has a turn
//! of its own.

mod old;
mod refusals;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::SystemTime;

use bytes::Bytes;
use tokio::time::Instant;

use super::waiting::Ticket;
pub use refusals::Refusals;

/// An event that is not finished.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Its sequence number in the journal.
    pub origin: u64,
    /// What it has to be delivered in the order of.
    pub order: Option<u64>,
    /// When it was received.
    pub received_at: SystemTime,
    /// How often it failed in a row.
    pub failures: u32,
    /// How often it was refused.
    pub refusals: Refusals,
    /// Where its record is.
    pub place: Place,
}

/// Where the record of an event is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In hand.
    Hand(Bytes),
    /// In the waiting journal.
    Waiting(Ticket),
}

/// Who has a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Turn {
    /// The first event of an order.
    Order(u64),
    /// An event without an order, by its origin.
    Alone(u64),
}

/// The events of one order, or one without an order.
#[derive(Debug)]
struct Line {
    /// In the order of their origins, without the one that is on its way.
    events: VecDeque<Event>,
    state: LineState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineState {
    /// Its first event may go.
    Ready,
    /// Its first event may go later.
    Due(Instant),
    /// An event of it is on its way.
    OnItsWay,
}

/// Which events in hand are to be set aside, beside those behind an event that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aside {
    /// Those that may go later only, with what is behind them.
    DueLater,
    /// Also those that failed and may go again: were they to fail again and again, they would fill the hand.
    Failed,
    /// Also whatever is behind another of its line.
    Behind,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    lines: HashMap<Turn, Line>,
    /// The lines that are ready and whose first event has not failed, in the order of their turns.
    ready: VecDeque<Turn>,
    /// The lines that are ready and whose first event has failed, in the order of their turns.
    again: VecDeque<Turn>,
    /// The lines that are due later, and when.
    due: BTreeSet<(Instant, Turn)>,
    /// The events in hand, those on their way too, by origin.
    hand: BTreeMap<u64, Turn>,
    /// Bytes of the records in hand.
    hand_bytes: usize,
    /// The events that wait, those on their way too.
    waiting: usize,
}

impl Queue {
    /// How many events are in hand.
    pub fn in_hand(&self) -> usize {
        self.hand.len()
    }

    /// Bytes of the records in hand.
    pub fn hand_bytes(&self) -> usize {
        self.hand_bytes
    }

    /// The origins of the events in hand, in ascending order.
    pub fn hand(&self) -> Vec<u64> {
        self.hand.keys().copied().collect()
    }

    /// How many events wait.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many lines may go now whose first event has not failed: orders, and events without one.
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// How many lines may go again now, after a failure.
    pub fn again(&self) -> usize {
        self.again.len()
    }

    /// When the next line may go that may not go now.
    pub fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// When the oldest event that is not on its way was received.
    pub fn oldest(&self) -> Option<SystemTime> {
        self.lines.values().filter_map(|line| line.events.front()).map(|event| event.received_at).min()
    }

    /// Puts a new event into its line. It may go when its turn comes.
    pub fn push(&mut self, event: Event) {
        let turn = turn(&event);
        match &event.place {
            Place::Hand(record) => {
                self.hand_bytes += record.len();
                self.hand.insert(event.origin, turn);
            }
            Place::Waiting(_) => self.waiting += 1,
        }
        let queue = if event.failures == 0 { &mut self.ready } else { &mut self.again };
        let line = self.lines.entry(turn).or_insert_with(|| {
            queue.push_back(turn);
            Line { events: VecDeque::with_capacity(1), state: LineState::Ready }
        });
        line.insert(event);
    }

    /// Takes out up to `most` events whose turn it is and that have not failed. They are on their way until one of the methods
    /// below hands them back.
    pub fn pop(&mut self, most: usize) -> Vec<Event> {
        let turns: Vec<Turn> = self.ready.drain(..most.min(self.ready.len())).collect();
        self.send(turns)
    }

    /// Takes out up to `most` events whose turn it is and that have failed.
    pub fn pop_again(&mut self, most: usize) -> Vec<Event> {
        let turns: Vec<Turn> = self.again.drain(..most.min(self.again.len())).collect();
        self.send(turns)
    }

    /// Takes out the first event of every line of which none is on its way, whether or not it would have to wait.
    pub fn pop_all(&mut self) -> Vec<Event> {
        while let Some((_, turn)) = self.due.pop_first() {
            self.line_up(turn);
        }
        let mut events = self.pop(usize::MAX);
        events.append(&mut self.pop_again(usize::MAX));
        events
    }

    fn send(&mut self, turns: Vec<Turn>) -> Vec<Event> {
        let mut sent = Vec::with_capacity(turns.len());
        for turn in turns {
            let Some(line) = self.lines.get_mut(&turn) else { continue };
            debug_assert_eq!(line.state, LineState::Ready, "who has a turn is ready");
            line.state = LineState::OnItsWay;
            sent.extend(line.events.pop_front());
        }
        sent
    }

    /// Lets other lines have the next turns, chosen by this number.
    pub fn rotate(&mut self, choice: u64) {
        for queue in [&mut self.ready, &mut self.again] {
            if !queue.is_empty() {
                let places = choice % queue.len() as u64;
                queue.rotate_left(places as usize);
            }
        }
    }

    /// Has a line wait for its turn.
    fn line_up(&mut self, turn: Turn) {
        let Some(line) = self.lines.get_mut(&turn) else { return };
        line.state = LineState::Ready;
        match line.events.front() {
            Some(event) if event.failures > 0 => self.again.push_back(turn),
            _ => self.ready.push_back(turn),
        }
    }

    /// Notes that an event which was on its way is finished: the next one of its line may go.
    pub fn finish(&mut self, event: &Event) {
        self.forget_place(event);
        let turn = turn(event);
        let Some(line) = self.lines.get_mut(&turn) else { return };
        debug_assert_eq!(line.state, LineState::OnItsWay, "it was on its way");
        if line.events.is_empty() {
            self.lines.remove(&turn);
        } else {
            self.line_up(turn);
        }
    }

    fn forget_place(&mut self, event: &Event) {
        match &event.place {
            Place::Hand(record) => {
                self.hand.remove(&event.origin);
                self.hand_bytes -= record.len();
            }
            Place::Waiting(_) => self.waiting -= 1,
        }
    }

    /// Puts an event back that was on its way and is to be tried again at `at`. Until then nothing of its line goes.
    pub fn put_back_until(&mut self, event: Event, at: Instant) {
        let turn = self.put_back(event, LineState::Due(at));
        self.due.insert((at, turn));
    }

    /// Puts events back that were on their way and may go again at any time, behind what is ready, so that others are tried.
    pub fn put_back_ready(&mut self, events: Vec<Event>) {
        for event in events {
            let turn = self.put_back(event, LineState::Ready);
            self.line_up(turn);
        }
    }

    fn put_back(&mut self, event: Event, state: LineState) -> Turn {
        let turn = turn(&event);
        if let Some(line) = self.lines.get_mut(&turn) {
            debug_assert_eq!(line.state, LineState::OnItsWay, "it was on its way");
            line.state = state;
            line.insert(event);
        }
        turn
    }

    /// Lets those go whose time has come.
    pub fn wake(&mut self, now: Instant) {
        while let Some(&(at, turn)) = self.due.first()
            && at <= now
        {
            self.due.pop_first();
            self.line_up(turn);
        }
    }

    /// The events in hand that have to wait, and what is behind an event that waits.
    pub fn to_set_aside(&self, which: Aside) -> impl Iterator<Item = &Event> {
        self.hand.iter().filter_map(move |(origin, turn)| {
            let line = self.lines.get(turn)?;
            let place = line.place(*origin).ok()?;
            let first = line.events.front()?;
            let is_on_its_way = line.state == LineState::OnItsWay;
            let is_due_later = matches!(line.state, LineState::Due(_));
            let has_failed = first.failures > 0 && !is_on_its_way;
            let is_behind_waiting = place > 0 && matches!(first.place, Place::Waiting(_));
            let is_behind = place > 0 || is_on_its_way;
            let has_to_wait = match which {
                Aside::DueLater => false,
                Aside::Failed => has_failed,
                Aside::Behind => has_failed || is_behind,
            };
            (has_to_wait || is_due_later || is_behind_waiting).then(|| &line.events[place])
        })
    }

    /// Notes that an event in hand waits from now on, under this ticket.
    pub fn set_aside(&mut self, origin: u64, ticket: Ticket) {
        let Some(line) = self.hand.get(&origin).and_then(|turn| self.lines.get_mut(turn)) else { return };
        let Ok(place) = line.place(origin) else { return };
        if let Place::Hand(record) = std::mem::replace(&mut line.events[place].place, Place::Waiting(ticket))
        {
            self.hand.remove(&origin);
            self.hand_bytes -= record.len();
            self.waiting += 1;
        }
    }

    /// Whether an event waits under this ticket and is not on its way.
    pub fn waits(&self, order: Option<u64>, origin: u64, ticket: Ticket) -> bool {
        let line = self.lines.get(&turn_of(order, origin));
        let event = line.and_then(|line| Some(&line.events[line.place(origin).ok()?]));
        event.is_some_and(|event| event.place == Place::Waiting(ticket))
    }

    /// Gives an event that waits, and is not on its way, another ticket.
    pub fn move_waiting(&mut self, order: Option<u64>, origin: u64, ticket: Ticket) {
        let Some(line) = self.lines.get_mut(&turn_of(order, origin)) else { return };
        if let Ok(place) = line.place(origin) {
            line.events[place].place = Place::Waiting(ticket);
        }
    }

    /// Drops events that wait under these tickets and are not on their way, each given by its order and its origin. Returns how
    /// many there were.
    pub fn drop_waiting(&mut self, events: impl IntoIterator<Item = (Option<u64>, u64, Ticket)>) -> u64 {
        let (mut dropped, mut ended) = (0, HashSet::new());
        for (order, origin, ticket) in events {
            if self.waits(order, origin, ticket)
                && self.take_out(turn_of(order, origin), origin, &mut ended).is_some()
            {
                self.waiting -= 1;
                dropped += 1;
            }
        }
        self.end_turns(&ended);
        dropped
    }

    /// Forgets events in hand, which go on waiting on disk only.
    pub fn leave(&mut self, origins: &[u64]) {
        let mut ended = HashSet::new();
        for origin in origins {
            let Some(turn) = self.hand.get(origin).copied() else { continue };
            if let Some(Event { place: Place::Hand(record), .. }) = self.take_out(turn, *origin, &mut ended) {
                self.hand.remove(origin);
                self.hand_bytes -= record.len();
            }
        }
        self.end_turns(&ended);
    }

    /// Takes out an event that is not on its way, and its line with the last one. If that had a turn, it is put into `ended`,
    /// for [`Queue::end_turns`].
    fn take_out(&mut self, turn: Turn, origin: u64, ended: &mut HashSet<Turn>) -> Option<Event> {
        let line = self.lines.get_mut(&turn)?;
        let place = line.place(origin).ok()?;
        let event = line.events.remove(place);
        if line.events.is_empty() && line.state != LineState::OnItsWay {
            match line.state {
                LineState::Due(at) => drop(self.due.remove(&(at, turn))),
                _ => drop(ended.insert(turn)),
            }
            self.lines.remove(&turn);
        }
        event
    }

    /// Takes the turns of lines away that are no more.
    fn end_turns(&mut self, ended: &HashSet<Turn>) {
        if !ended.is_empty() {
            self.ready.retain(|turn| !ended.contains(turn));
            self.again.retain(|turn| !ended.contains(turn));
        }
    }
}

impl Line {
    /// The place of the event with this origin, or the one where it would stand.
    fn place(&self, origin: u64) -> Result<usize, usize> {
        self.events.binary_search_by_key(&origin, |event| event.origin)
    }

    fn insert(&mut self, event: Event) {
        let place = self.place(event.origin).unwrap_or_else(|place| place);
        self.events.insert(place, event);
    }
}

fn turn(event: &Event) -> Turn {
    turn_of(event.order, event.origin)
}

fn turn_of(order: Option<u64>, origin: u64) -> Turn {
    order.map_or(Turn::Alone(origin), Turn::Order)
}

#[cfg(test)]
mod tests;
