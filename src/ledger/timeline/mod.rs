//! How calls went by time: by the minute for an hour, by ten minutes for a day, and the latest abnormal calls. It answers since when
//! something is as it is, which totals cannot.
//!
//! # What is known
//!
//! A *cell* for each media type, IDC, disconnect reason, fault domain, and for answered and unanswered calls: how many calls it had in each slot of
//! time. Calls are put where they were received, since the other times of a call are what somebody says. Nothing in it names people.
//!
//! # A crash at each arrow
//!
//! ```text
//!          synced                     folded              a day
//! event ───────────► in the journal ───────────► in a slot ───────────► not counted any more
//! ```
//!
//! - Before it is synced: the call was not acknowledged, and comes again.
//! - After that: the journal is read at the start, as far as it goes back a day. Calls that are in the totals of the checkpoint already
//!   are recalled into their slots (`state::recall`); others are folded, and so are in both.
//!
//! So it is a fold of the last day of the journal, the same before and after a restart. The journal has the last day as long as `--seen-age` and
//! `--seen-max` cover it; otherwise it begins with what the journal has. Without a state directory it begins with the process.
//!
//! # A clock that is set
//!
//! A slot belongs to one span of time, by its number. One that comes round again is emptied for the later span. A call of a span whose
//! slot has gone to a later one is too late and is left out, unless that is more than two days later: then the clock was ahead, and the slot is emptied
//! for the call. So a clock that was ahead by less may hide calls in the timeline until that time has come.
//!
//! # Bounds
//!
//! [`MOST_CELLS`] cells of 880 bytes are 1 MiB. Past that, cells that have been empty for a day go; where there are none, the call counts for the
//! IDC and the reason `other`. A call costs a look into a map and two additions.

mod change;
mod slots;
mod summary;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::{Duration, SystemTime};

use super::label::Label;
use super::second;
use crate::callback::call_event::MediaType;
use crate::callback::labels::{LabelSource, LabelValue};
use crate::callback::reason::{FaultDomain, Releaser};
use crate::callback::{CallEvent, Key};

pub use change::Change;
use slots::Clock;
pub use summary::{Counts, Group, LATELY, ReasonCounts, Slot, Summary};

/// Cells, but for those of the IDC and the reason `other`, of which there are at most 42.
const MOST_CELLS: usize = 1_024;

/// Abnormal calls that are kept.
const LATEST: usize = 20;

/// The minutes of an hour, and the one that is not over.
const MINUTES: usize = 61;

/// The spans of ten minutes of a day, and the one that is not over.
const TENS: usize = 145;

/// How calls went by time.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    /// The IDCs that are told apart beside those with an assigned code.
    idcs: BTreeSet<Label>,
    cells: HashMap<Cell, Spans>,
    minutes: Clock<MINUTES>,
    tens: Clock<TENS>,
    /// The latest is the last.
    latest: VecDeque<AbnormalCall>,
}

/// What calls have in common that are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Cell {
    media_type: MediaType,
    idc: Label,
    reason: Label,
    fault_domain: FaultDomain,
    answered: bool,
}

/// The calls of a cell in each slot.
#[derive(Debug, Clone, PartialEq)]
struct Spans {
    minutes: [u32; MINUTES],
    tens: [u32; TENS],
}

impl Default for Spans {
    fn default() -> Spans {
        Spans { minutes: [0; MINUTES], tens: [0; TENS] }
    }
}

impl Spans {
    fn is_empty(&self) -> bool {
        self.tens.iter().all(|calls| *calls == 0) && self.minutes.iter().all(|calls| *calls == 0)
    }
}

/// An abnormal call.
#[derive(Debug, Clone, PartialEq)]
pub struct AbnormalCall {
    /// When its event was received.
    pub received_at: SystemTime,
    /// Its session ID.
    pub sid: Key,
    /// Audio or video.
    pub media_type: MediaType,
    /// The label of its IDC.
    pub idc: Label,
    /// The label of its disconnect reason.
    pub reason: Label,
    /// Whose fault it was.
    pub fault_domain: FaultDomain,
    /// Who released it.
    pub releaser: Releaser,
    /// How long people talked.
    pub duration: Duration,
}

impl Timeline {
    /// How far back it reaches.
    pub const REACH: Duration = Duration::from_secs(24 * 60 * 60);

    /// No calls yet. The IDCs with these names are told apart beside those with an assigned code.
    pub fn new(idcs: &[String]) -> Timeline {
        Timeline {
            idcs: idcs.iter().map(|idc| Label::shared(idc)).collect(),
            cells: HashMap::new(),
            minutes: Clock::new(Duration::from_secs(60)),
            tens: Clock::new(Duration::from_secs(600)),
            latest: VecDeque::with_capacity(LATEST + 1),
        }
    }

    /// Notes a call.
    pub fn note(&mut self, event: &CallEvent<'_>) {
        let at = second(event.received_at);
        let [minute, ten] = [
            self.minutes.enter(at, |slot| self.cells.values_mut().for_each(|spans| spans.minutes[slot] = 0)),
            self.tens.enter(at, |slot| self.cells.values_mut().for_each(|spans| spans.tens[slot] = 0)),
        ];
        let cell = self.cell(event);
        if event.fault_domain.is_abnormal() {
            self.note_latest(event, &cell);
        }
        let spans = self.spans(cell);
        for calls in [minute.map(|slot| &mut spans.minutes[slot]), ten.map(|slot| &mut spans.tens[slot])] {
            calls.into_iter().for_each(|calls| *calls = calls.saturating_add(1));
        }
    }

    fn cell(&self, event: &CallEvent<'_>) -> Cell {
        let idc = match LabelSource::Idc.value(event) {
            LabelValue::Known(idc) => Label::Known(idc),
            LabelValue::Foreign(idc) => self.idcs.get(&*idc).cloned().unwrap_or(Label::OTHER),
        };
        let reason = match LabelSource::DisconnectReason.value(event) {
            LabelValue::Known(reason) => Label::Known(reason),
            LabelValue::Foreign(reason) => Label::shared(&reason),
        };
        Cell {
            media_type: event.media_type,
            idc,
            reason,
            fault_domain: event.fault_domain,
            answered: event.answered,
        }
    }

    /// The spans of a cell, or of the one that stands for it where there are too many.
    fn spans(&mut self, mut cell: Cell) -> &mut Spans {
        if !self.cells.contains_key(&cell) && self.cells.len() >= MOST_CELLS {
            self.cells.retain(|_, spans| !spans.is_empty());
            if self.cells.len() >= MOST_CELLS {
                (cell.idc, cell.reason) = (Label::OTHER, Label::OTHER);
            }
        }
        self.cells.entry(cell).or_default()
    }

    fn note_latest(&mut self, event: &CallEvent<'_>, cell: &Cell) {
        // What comes late stands where it belongs.
        let place = self.latest.partition_point(|call| call.received_at <= event.received_at);
        let call = AbnormalCall {
            received_at: event.received_at,
            sid: event.sid,
            media_type: event.media_type,
            idc: cell.idc.clone(),
            reason: cell.reason.clone(),
            fault_domain: event.fault_domain,
            releaser: event.releaser,
            duration: event.duration,
        };
        self.latest.insert(place, call);
        if self.latest.len() > LATEST {
            self.latest.pop_front();
        }
    }
}

#[cfg(test)]
mod tests;
