//! How calls went by time: by the minute for an hour, by ten minutes for a day, and the latest abnormal calls. It
//! answers since when something is as it is, which totals cannot.
//!
//! # What is known
//!
//! A *cell* for each media type, IDC, disconnect reason, fault domain, and for answered and unanswered calls: how many
//! calls it had in each slot of time. Calls are put where they were received, since the other times of a call are what
//! somebody says. Nothing in it names people.
//!
//! # A crash at each arrow
//!
//! ```text
//!          synced                     folded              a day
//! event ───────────► in the journal ───────────► in a slot ───────────► not counted any more
//! ```
//!
//! - Before it is synced: the call was not acknowledged, and comes again.
//! - After that: the journal is read at the start, as far as it goes back a day. Calls that are in the totals of the
//!   checkpoint already are recalled into their slots (`state::recall`); others are folded, and so are in both.
//!
//! So it is a fold of the last day of the journal, the same before and after a restart. The journal has the last day as
//! long as `--seen-age` and `--seen-max` cover it; otherwise it begins with what the journal has. Without a state
//! directory it begins with the process.
//!
//! # A clock that is set
//!
//! A slot belongs to one span of time, by its number. It is emptied when that is over for good, and when it is yet to
//! come: then a clock was ahead. A call that is too late for the slots, or was received in a time that is yet to come,
//! is left out.
//!
//! # Bounds
//!
//! 1,024 cells of 900 bytes, in a table with room for twice as many: 2 MiB. For a further one, the one with the fewest
//! calls goes, and its calls count for the IDC and the reason `other`: so a flood of made-up combinations takes no
//! place from those that have calls. Of reasons that are in no table, 64 are told apart. A call costs a look into a map
//! and three additions; with no room left, one of a new combination costs a look at the sums of all cells as well.

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

/// Reasons that are told apart though no table has them, as in the totals.
const MOST_UNKNOWN_REASONS: usize = 64;

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
    /// The reasons that are told apart though no table has them.
    unknown_reasons: BTreeSet<Label>,
    cells: HashMap<Cell, Spans>,
    minutes: Clock<MINUTES>,
    tens: Clock<TENS>,
    /// How many calls were noted.
    noted: u64,
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

impl Cell {
    fn is_other(&self) -> bool {
        self.idc == Label::OTHER && self.reason == Label::OTHER
    }
}

/// The calls of a cell in each slot.
#[derive(Debug, Clone, PartialEq)]
struct Spans {
    minutes: [u32; MINUTES],
    tens: [u32; TENS],
    /// The sum of the latter.
    day: u64,
    /// The number of its latest call among all.
    latest: u64,
}

impl Default for Spans {
    fn default() -> Spans {
        Spans { minutes: [0; MINUTES], tens: [0; TENS], day: 0, latest: 0 }
    }
}

impl Spans {
    fn is_empty(&self) -> bool {
        self.day == 0 && self.minutes.iter().all(|calls| *calls == 0)
    }

    fn empty_ten(&mut self, slot: usize) {
        self.day -= u64::from(std::mem::take(&mut self.tens[slot]));
    }

    fn add(&mut self, other: &Spans) {
        let sum = |sums: &mut [u32], more: &[u32]| {
            sums.iter_mut().zip(more).for_each(|(sum, more)| *sum = sum.saturating_add(*more));
        };
        sum(&mut self.minutes, &other.minutes);
        sum(&mut self.tens, &other.tens);
        self.day = self.tens.iter().map(|calls| u64::from(*calls)).sum();
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
            unknown_reasons: BTreeSet::new(),
            cells: HashMap::new(),
            minutes: Clock::new(Duration::from_secs(60)),
            tens: Clock::new(Duration::from_secs(600)),
            noted: 0,
            latest: VecDeque::with_capacity(LATEST + 1),
        }
    }

    /// Notes a call. It is `now`.
    pub fn note(&mut self, event: &CallEvent<'_>, now: SystemTime) {
        let (at, now) = (second(event.received_at), second(now));
        let Timeline { cells, minutes, tens, unknown_reasons, .. } = self;
        let minute =
            minutes.enter(at, now, |slot| cells.values_mut().for_each(|spans| spans.minutes[slot] = 0));
        let mut is_over = false;
        let ten = tens.enter(at, now, |slot| {
            is_over = true;
            cells.values_mut().for_each(|spans| spans.empty_ten(slot));
        });
        if is_over {
            cells.retain(|_, spans| !spans.is_empty());
            unknown_reasons.retain(|reason| cells.keys().any(|cell| cell.reason == *reason));
        }
        // What is too late for a slot of ten minutes is too late for one of a minute.
        let Some(ten) = ten else { return };
        let cell = self.cell(event);
        if event.fault_domain.is_abnormal() {
            self.note_latest(event, &cell, now);
        }
        self.noted += 1;
        let noted = self.noted;
        let spans = self.spans(cell);
        spans.latest = noted;
        if let Some(minute) = minute {
            spans.minutes[minute] = spans.minutes[minute].saturating_add(1);
        }
        if let Some(calls) = spans.tens[ten].checked_add(1) {
            spans.tens[ten] = calls;
            spans.day += 1;
        }
    }

    fn cell(&mut self, event: &CallEvent<'_>) -> Cell {
        let idc = match LabelSource::Idc.value(event) {
            LabelValue::Known(idc) => Label::Known(idc),
            LabelValue::Foreign(idc) => self.idcs.get(&*idc).cloned().unwrap_or(Label::OTHER),
        };
        let reason = match LabelSource::DisconnectReason.value(event) {
            LabelValue::Known(reason) => Label::Known(reason),
            LabelValue::Foreign(reason) => self.unknown_reason(&reason),
        };
        Cell {
            media_type: event.media_type,
            idc,
            reason,
            fault_domain: event.fault_domain,
            answered: event.answered,
        }
    }

    /// The label of a reason that is in no table.
    fn unknown_reason(&mut self, reason: &str) -> Label {
        match self.unknown_reasons.get(reason) {
            Some(known) => known.clone(),
            None if self.unknown_reasons.len() < MOST_UNKNOWN_REASONS => {
                let label = Label::shared(reason);
                self.unknown_reasons.insert(label.clone());
                label
            }
            None => Label::OTHER,
        }
    }

    /// The spans of a cell. If there are too many, the one with the fewest calls makes room, and of several the one
    /// that had none for longest.
    fn spans(&mut self, cell: Cell) -> &mut Spans {
        if self.cells.len() >= MOST_CELLS && !self.cells.contains_key(&cell) {
            let others = self.cells.iter().filter(|(cell, _)| !cell.is_other());
            let fewest =
                others.min_by_key(|(_, spans)| (spans.day, spans.latest)).map(|(cell, _)| cell.clone());
            if let Some((mut fewest, spans)) = fewest.and_then(|cell| self.cells.remove_entry(&cell)) {
                (fewest.idc, fewest.reason) = (Label::OTHER, Label::OTHER);
                self.cells.entry(fewest).or_default().add(&spans);
            }
        }
        self.cells.entry(cell).or_default()
    }

    fn note_latest(&mut self, event: &CallEvent<'_>, cell: &Cell, now: u64) {
        // Those that are yet to come are from a clock that was ahead.
        self.latest.retain(|call| second(call.received_at) <= now);
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
