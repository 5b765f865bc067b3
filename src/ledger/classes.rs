//! Classes of calls: calls that have every label in common, and so add to the same rows. A service has some dozens of
//! them. The rows of a class are looked for when the first of its calls comes, and are known from then on: to make nine
//! label sets and to look each up is several times the work of adding to what is found.
//!
//! It is a memory of what was found, and no part of the totals: it changes nothing of what a call adds. A call for
//! which a limit makes a label `other` is of no class, and neither is one whose labels depend on which values came
//! before. When rows leave, all classes are forgotten.

use std::collections::HashMap;
use std::fmt;

use super::days::Usage;
use super::specification::SPECIFICATIONS;
use super::table::{LabelSet, Moment};
use super::{Ledger, Limits};
use crate::callback::CallEvent;
use crate::callback::labels::{LabelSource, LabelValue};

/// The most classes that are known; a further one takes the place of all.
const MOST: usize = 1_024;

/// Where the calls of a class are added.
#[derive(Debug)]
pub(super) struct Class {
    /// The place of the row in each table, unless no call of the class added to it yet.
    pub(super) places: [Option<usize>; SPECIFICATIONS.len()],
    /// The labels among the last calls.
    pub(super) recent: LabelSet,
    /// Those among the last events.
    pub(super) last_event: LabelSet,
    /// Those in a day.
    pub(super) day: LabelSet,
}

/// The classes that are known.
#[derive(Default)]
pub(super) struct Classes {
    known: HashMap<Box<[u8]>, Class>,
    /// What the last call is known by.
    key: Vec<u8>,
}

impl Classes {
    /// The class of a call, if it is known.
    pub(super) fn find(&mut self, event: &CallEvent<'_>, limits: &Limits) -> Option<&Class> {
        self.key.clear();
        for source in LabelSource::all() {
            if source == LabelSource::Service && limits.services.is_empty() {
                continue;
            }
            // Bytes that no text has stand between values, and tell what is known from the same text from outside.
            match source.value(event) {
                LabelValue::Known(value) => {
                    self.key.extend_from_slice(value.as_bytes());
                    self.key.push(0xfe);
                }
                LabelValue::Foreign(value) => {
                    self.key.extend_from_slice(value.as_bytes());
                    self.key.push(0xff);
                }
            }
        }
        self.known.get(&self.key[..])
    }

    /// Notes the class of the call that was [looked for](Classes::find) last.
    pub(super) fn note(&mut self, class: Class) {
        if let Some(known) = self.known.get_mut(&self.key[..]) {
            for (known, place) in known.places.iter_mut().zip(class.places) {
                *known = known.or(place);
            }
            return;
        }
        if self.known.len() >= MOST {
            self.known.clear();
        }
        self.known.insert(self.key[..].into(), class);
    }

    /// Forgets all, since rows leave or move.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }
}

impl Ledger {
    /// Adds an event to the rows of its class. Returns false, and adds nothing, if one of them is not known yet.
    pub(super) fn add_to_class(&mut self, event: &CallEvent<'_>) -> bool {
        let Some(class) = self.classes.find(event, &self.limits) else { return false };
        let mut addends = [const { None }; SPECIFICATIONS.len()];
        for ((metric, place), addend) in SPECIFICATIONS.iter().zip(class.places).zip(&mut addends) {
            *addend = metric.addend(event);
            if addend.is_some() && place.is_none() {
                return false;
            }
        }
        let moment = Moment::at(event.received_at, self.births);
        for (at, (place, addend)) in class.places.into_iter().zip(addends).enumerate() {
            let Some((place, addend)) = place.zip(addend) else { continue };
            let exemplar = SPECIFICATIONS[at].exemplar(event.sid, addend, event.received_at);
            match self.tables[at].row_at(place) {
                Some(row) => row.add(addend, moment, exemplar),
                None => debug_assert!(false, "a row left, and its class was not forgotten"),
            }
        }
        self.recent.add(&class.recent, event.fault_domain.is_abnormal());
        self.last_events.note(&class.last_event, event.received_at);
        self.days.add(event.received_at, &class.day, Usage::of(event));
        self.add_anomalies(event.anomalies, moment);
        true
    }
}

impl Clone for Classes {
    /// None: a copy finds them anew.
    fn clone(&self) -> Classes {
        Classes::default()
    }
}

impl PartialEq for Classes {
    /// Always: see above.
    fn eq(&self, _: &Classes) -> bool {
        true
    }
}

impl fmt::Debug for Classes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Classes").field("known", &self.known.len()).finish_non_exhaustive()
    }
}
