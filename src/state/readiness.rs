//! Readiness: a set of latches, one for each part that must be up. The process is ready when none is closed that counts.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use crate::http::trouble::{Condition, Trouble};

/// What keeps the process from being ready.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    latches: Arc<Mutex<BTreeMap<&'static str, LatchStatus>>>,
}

/// How a latch stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatchStatus {
    /// Whether its part is up.
    pub is_open: bool,
    /// Whether the process is not ready while it is closed.
    pub counts: bool,
    /// Why it is closed, if its name does not say enough.
    pub reason: Option<String>,
    /// When it was opened or closed last.
    pub changed_at: SystemTime,
    /// What is amiss with the part, and since when.
    pub trouble: Option<Trouble>,
}

impl Readiness {
    /// A latch with a name that tells a person what is amiss. It is closed at first.
    pub fn latch(&self, name: &'static str) -> Latch {
        self.add(name, true)
    }

    /// A latch that is shown only: the process is ready without its part.
    pub fn latch_for_show(&self, name: &'static str) -> Latch {
        self.add(name, false)
    }

    fn add(&self, name: &'static str, counts: bool) -> Latch {
        let changed_at = SystemTime::now();
        self.lock()
            .insert(name, LatchStatus { is_open: false, counts, reason: None, changed_at, trouble: None });
        Latch { readiness: self.clone(), name, condition: Condition::default() }
    }

    /// The names of the closed latches that count, without those that are disregarded; the process is ready if there are none.
    pub fn closed(&self, disregarded: &[&str]) -> Vec<&'static str> {
        let latches = self.lock();
        let closed = latches.iter().filter(|(_, status)| status.counts && !status.is_open);
        closed.map(|(name, _)| *name).filter(|name| !disregarded.contains(name)).collect()
    }

    /// Says why a latch is closed, until that or the reason changes.
    pub fn explain(&self, name: &str, reason: Option<String>) {
        if let Some(status) = self.lock().get_mut(name) {
            status.reason = reason;
        }
    }

    /// Every latch, by name.
    pub fn latches(&self) -> BTreeMap<&'static str, LatchStatus> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, LatchStatus>> {
        self.latches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One part's say in whether the process is ready. It can do nothing else.
#[derive(Debug)]
pub struct Latch {
    readiness: Readiness,
    name: &'static str,
    condition: Condition,
}

impl Latch {
    /// Says that this part is up.
    pub fn open(&self) {
        self.set(true);
    }

    /// Says that this part is not up, for this reason.
    pub fn close(&self, reason: &dyn Display) {
        self.condition.note_trouble(reason);
        self.set(false);
    }

    fn set(&self, is_open: bool) {
        if is_open {
            self.condition.note_well();
        }
        if let Some(status) = self.readiness.lock().get_mut(self.name) {
            if status.is_open != is_open {
                status.changed_at = SystemTime::now();
            }
            (status.is_open, status.reason, status.trouble) = (is_open, None, self.condition.trouble());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_latch_is_open() {
        let readiness = Readiness::default();
        let (one, other) = (readiness.latch("starting"), readiness.latch("storage"));
        assert_eq!(readiness.closed(&[]), ["starting", "storage"]);
        one.open();
        assert_eq!(readiness.closed(&[]), ["storage"]);
        readiness.explain("storage", Some("the disk is full".to_owned()));
        assert_eq!(readiness.latches()["storage"].reason.as_deref(), Some("the disk is full"));
        other.open();
        assert!(readiness.closed(&[]).is_empty() && readiness.latches()["storage"].reason.is_none());
        other.close(&"no space");
        assert_eq!(
            readiness.latches()["storage"].trouble.as_ref().map(|trouble| &trouble.reason[..]),
            Some("no space")
        );
        assert_eq!(readiness.closed(&[]), ["storage"]);
        assert!(readiness.closed(&["storage", "unknown"]).is_empty());
    }

    #[test]
    fn a_latch_for_show_is_shown_and_does_not_count() {
        let readiness = Readiness::default();
        let latch = readiness.latch_for_show("storage");
        let shown =
            || readiness.latches().values().map(|latch| (latch.is_open, latch.counts)).collect::<Vec<_>>();
        assert_eq!((readiness.closed(&[]), shown()), (vec![], vec![(false, false)]));
        latch.open();
        assert_eq!((readiness.closed(&[]), shown()), (vec![], vec![(true, false)]));
    }
}
