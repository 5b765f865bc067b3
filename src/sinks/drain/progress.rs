//! Whether a peer that answers takes anything. One that does not answer is away, which [`Peer`](crate::http::peer::Peer) says.

use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::http::trouble::Condition;

/// How long everything has to fail before the log says so.
const PATIENCE: Duration = Duration::from_secs(10);

/// What attempts have shown so far.
#[derive(Debug, Default)]
pub(super) struct Progress {
    failing_since: Option<Instant>,
    is_said: bool,
    condition: Arc<Condition>,
}

impl Progress {
    /// Whether everything fails, for whoever looks.
    pub(super) fn condition(&self) -> Arc<Condition> {
        Arc::clone(&self.condition)
    }

    /// Takes in that an attempt failed, and answers for how long all have, if that is to be said now: once.
    pub(super) fn note_failure(&mut self, reason: &dyn Display, now: Instant) -> Option<Duration> {
        let failing = now - *self.failing_since.get_or_insert(now);
        if failing >= PATIENCE {
            self.condition.note_trouble(reason);
        }
        let is_new = failing >= PATIENCE && !self.is_said;
        self.is_said |= is_new;
        is_new.then_some(failing)
    }

    /// Takes in that an attempt finished its events, and answers for how long none had, if that was said.
    pub(super) fn note_finished(&mut self, now: Instant) -> Option<Duration> {
        self.condition.note_well();
        let failing_since = self.failing_since.take();
        let was_said = std::mem::take(&mut self.is_said);
        failing_since.filter(|_| was_said).map(|since| now - since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_when_everything_fails_and_once_when_something_is_finished() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut progress = Progress::default();
        assert_eq!(progress.note_failure(&"busy", after(0)), None);
        assert_eq!(progress.note_failure(&"busy", after(9)), None);
        assert_eq!(progress.note_finished(after(9)), None);
        // From the first failure since something was finished.
        assert_eq!(progress.note_failure(&"busy", after(15)), None);
        assert_eq!(progress.note_failure(&"busy", after(24)), None);
        assert_eq!(progress.note_failure(&"busy", after(25)), Some(Duration::from_secs(10)));
        assert_eq!(progress.note_failure(&"busy", after(60)), None);
        assert_eq!(progress.note_finished(after(61)), Some(Duration::from_secs(46)));
        assert_eq!(progress.note_finished(after(62)), None);
    }
}
