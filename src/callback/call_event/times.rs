//! The times of a call, and what follows from them.

use std::time::{Duration, SystemTime};

use super::LONGEST;
use super::parameters::{Parameter, Values};
use crate::callback::anomaly::{Anomalies, Anomaly};

/// Times that are believed: from 2000-01-01 to 2100-01-01, in Unix seconds.
const BELIEVED_SECONDS: std::ops::Range<i64> = 946_684_800..4_102_444_800;

/// Milliseconds since the Unix epoch, within the believed range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Milliseconds(i64);

impl Milliseconds {
    /// The time.
    pub(super) fn to_system_time(self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_millis(self.0.unsigned_abs())
    }

    /// The time from `earlier` to `self`; `None` if the clock ran backwards or the difference is not believed.
    fn since(self, earlier: Milliseconds) -> Option<Duration> {
        let difference = Duration::from_millis(u64::try_from(self.0 - earlier.0).ok()?);
        (difference <= LONGEST).then_some(difference)
    }
}

/// The three times of a call.
pub(super) struct Times {
    pub(super) setup: Option<Milliseconds>,
    pub(super) start: Option<Milliseconds>,
    pub(super) end: Option<Milliseconds>,
    in_milliseconds: bool,
}

impl Times {
    /// Reads the three times.
    pub(super) fn read(values: &Values<'_>, anomalies: &mut Anomalies) -> Times {
        let mut in_milliseconds = false;
        let mut time = |parameter| {
            let sent = values.number(parameter)?;
            if BELIEVED_SECONDS.contains(&sent) {
                return Some(Milliseconds(sent * 1000));
            }
            if BELIEVED_SECONDS.contains(&(sent / 1000)) {
                in_milliseconds = true;
                return Some(Milliseconds(sent));
            }
            // A call that was never answered has 0 for its start.
            if sent != 0 || parameter != Parameter::StartTime {
                anomalies.insert(Anomaly::ImpossibleTime);
            }
            None
        };
        let times = Times {
            setup: time(Parameter::SetupTime),
            start: time(Parameter::StartTime),
            end: time(Parameter::EndTime),
            in_milliseconds,
        };
        if in_milliseconds {
            anomalies.insert(Anomaly::Milliseconds);
        }
        let backwards = |earlier: Option<Milliseconds>, later: Option<Milliseconds>| {
            earlier.zip(later).is_some_and(|(earlier, later)| later < earlier)
        };
        if backwards(times.setup, times.start)
            || backwards(times.setup, times.end)
            || backwards(times.start, times.end)
        {
            anomalies.insert(Anomaly::ClockBackwards);
        }
        times
    }

    /// How long the call was answered. What `duration` says counts; the times stand in for it where it is missing or absurd.
    pub(super) fn duration(&self, values: &Values<'_>, anomalies: &mut Anomalies) -> Duration {
        let from_times = self.start.zip(self.end).and_then(|(start, end)| end.since(start));
        let Some(sent) = values.number(Parameter::Duration) else {
            return from_times.unwrap_or_default();
        };
        // A server that sends times in milliseconds can send the duration so, too.
        let in_milliseconds = self.in_milliseconds
            && sent > 0
            && from_times.is_some_and(|duration| duration.as_millis() == i128::from(sent).unsigned_abs());
        let unit = if in_milliseconds { 1 } else { 1000 };
        let longest = LONGEST.as_millis() as i64;
        let duration = match sent.checked_mul(unit) {
            Some(milliseconds @ 0..) if milliseconds <= longest => {
                Duration::from_millis(milliseconds.unsigned_abs())
            }
            _ => {
                anomalies.insert(Anomaly::ImpossibleDuration);
                from_times.unwrap_or(if sent < 0 { Duration::ZERO } else { LONGEST })
            }
        };
        // Seconds are truncated at the source, so a difference below one second is none.
        if from_times.is_some_and(|times| times.abs_diff(duration) >= Duration::from_secs(1)) {
            anomalies.insert(Anomaly::DurationContradictsTimes);
        }
        duration
    }

    /// The time from creation to answer, or to the end if the call was never answered.
    pub(super) fn setup_duration(&self, answered: bool, anomalies: &mut Anomalies) -> Option<Duration> {
        let until = if answered { self.start } else { self.end };
        let (setup, until) = self.setup.zip(until)?;
        let duration = until.since(setup);
        if duration.is_none() && until >= setup {
            anomalies.insert(Anomaly::ImpossibleDuration);
        }
        duration
    }
}
