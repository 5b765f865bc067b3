//! Readiness: a set of latches, one for each part that must be up. The process is ready when none is closed.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What keeps the process from being ready.
#[derive(Debug, Clone, Default)]
pub struct Readiness {
    closed: Arc<Mutex<BTreeSet<&'static str>>>,
}

impl Readiness {
    /// A latch with a name that tells a person what is amiss. It is closed at first.
    pub fn latch(&self, name: &'static str) -> Latch {
        let latch = Latch { readiness: self.clone(), name };
        latch.close();
        latch
    }

    /// The names of the closed latches; the process is ready if there are none.
    pub fn closed(&self) -> Vec<&'static str> {
        self.lock().iter().copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<&'static str>> {
        self.closed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One part's say in whether the process is ready. It can do nothing else.
#[derive(Debug)]
pub struct Latch {
    readiness: Readiness,
    name: &'static str,
}

impl Latch {
    /// Says that this part is up.
    pub fn open(&self) {
        self.readiness.lock().remove(self.name);
    }

    /// Says that this part is not up.
    pub fn close(&self) {
        self.readiness.lock().insert(self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_every_latch_is_open() {
        let readiness = Readiness::default();
        let (one, other) = (readiness.latch("starting"), readiness.latch("storage"));
        assert_eq!(readiness.closed(), ["starting", "storage"]);
        one.open();
        assert_eq!(readiness.closed(), ["storage"]);
        other.open();
        assert!(readiness.closed().is_empty());
        other.close();
        assert_eq!(readiness.closed(), ["storage"]);
    }
}
