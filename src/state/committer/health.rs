//! Whether the journal can be written, as far as is known, and what is said of it.

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{error, info};

use crate::state::known::NotStored;
use crate::state::readiness::Latch;
use crate::state::undurable::PATIENCE;

/// How long a request waits for the disk if nobody else could have its event. A disk that takes longer hangs, which a person
/// has to know.
pub(super) const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How long nothing is said again, so that a disk that is slow now and then does not fill the log.
const SILENCE: Duration = Duration::from_secs(60);

/// Whether the journal can be written.
#[derive(Debug)]
pub(super) struct Health {
    storage: Latch,
    /// Whether what the disk does not take is held.
    holds: bool,
    is_failing: AtomicBool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Since when the committer waits for the disk, if it does.
    waits_since: Option<Instant>,
    /// Whether it was said that the journal cannot be written.
    is_said: bool,
    said_at: Option<Instant>,
}

impl Health {
    /// Of a journal of which nothing is known. `storage` is open while it can be written. `holds` says whether what the disk
    /// does not take is held.
    pub(super) fn new(storage: Latch, holds: bool) -> Health {
        Health { storage, holds, is_failing: AtomicBool::new(false), state: Mutex::default() }
    }

    /// How long the disk may take.
    pub(super) fn patience(&self) -> Duration {
        if self.holds { PATIENCE } else { LONGEST_WAIT }
    }

    /// Whether the journal is known to be unwritable.
    pub(super) fn is_failing(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

    /// Notes that the committer waits for the disk.
    pub(super) fn begin(&self, now: Instant) {
        self.lock().waits_since = Some(now);
    }

    /// Notes how that ended.
    pub(super) fn end(&self, error: Option<&dyn Display>) {
        let mut state = self.lock();
        state.waits_since = None;
        match error {
            None => self.note_working(&mut state),
            Some(error) => self.note_failing(&mut state, error),
        }
    }

    /// Says so if the disk hangs at `now`. Returns whether it is time to try whether the journal can be written: again,
    /// or still, since the directory may have gone.
    pub(super) fn look(&self, now: Instant) -> bool {
        let mut state = self.lock();
        match state.waits_since {
            Some(since) if now.duration_since(since) >= self.patience() => {
                self.note_failing(&mut state, &NotStored::Slow);
                false
            }
            Some(_) => false,
            None => true,
        }
    }

    fn note_working(&self, state: &mut State) {
        if std::mem::take(&mut state.is_said) {
            info!("the journal can be written again");
        }
        self.is_failing.store(false, Ordering::Relaxed);
        self.storage.open();
    }

    fn note_failing(&self, state: &mut State, error: &dyn Display) {
        self.storage.close(error);
        self.is_failing.store(true, Ordering::Relaxed);
        if state.is_said || state.said_at.is_some_and(|at| at.elapsed() < SILENCE) {
            return;
        }
        (state.is_said, state.said_at) = (true, Some(Instant::now()));
        match self.holds {
            true => error!(
                %error,
                "the journal cannot be written; call events are passed on at once and held in memory until it can"
            ),
            false => {
                error!(%error, "the journal cannot be written; call events are answered 503 until it can")
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::readiness::Readiness;

    #[test]
    fn that_a_disk_is_slow_now_and_then_is_said_once_a_minute() {
        let health = Health::new(Readiness::default().latch("storage"), true);
        for round in 0..3 {
            let now = Instant::now();
            health.begin(now);
            assert!(!health.look(now) && !health.is_failing());
            assert!(!health.look(now + PATIENCE) && health.is_failing());
            assert_eq!(health.lock().is_said, round == 0);
            health.end(None);
            assert!(!health.is_failing() && health.look(now + PATIENCE), "nobody waits, so it can be tried");
        }
        health.end(Some(&"no room"));
        assert!(health.is_failing() && health.look(Instant::now()));
        assert!(!health.lock().is_said, "it is when the silence is over");
        health.lock().said_at = Instant::now().checked_sub(SILENCE);
        health.end(Some(&"no room"));
        assert!(health.lock().is_said);
    }
}
