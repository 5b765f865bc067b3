//! What is old in a queue, and is to leave it without having been delivered.

use std::collections::HashSet;
use std::time::SystemTime;

use super::{Event, Line, Queue, Turn};

impl Queue {
    /// Takes out the events that were received before this time and are not on their way.
    pub fn take_received_before(&mut self, time: SystemTime) -> Vec<Event> {
        let old = |(turn, line): (&Turn, &Line)| {
            let turn = *turn;
            let old = line.events.iter().filter(|event| event.received_at < time);
            old.map(|event| (turn, event.origin)).collect::<Vec<_>>()
        };
        let old: Vec<(Turn, u64)> = self.lines.iter().flat_map(old).collect();
        let (mut taken, mut ended) = (Vec::with_capacity(old.len()), HashSet::new());
        for (turn, origin) in old {
            let Some(event) = self.take_out(turn, origin, &mut ended) else { continue };
            self.forget_place(&event);
            taken.push(event);
        }
        self.end_turns(&ended);
        taken
    }
}
