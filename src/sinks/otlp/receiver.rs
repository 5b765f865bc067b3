//! A receiver of pushes as a delivery sees it: every attempt is counted and timed, and there is a pause before the next.

use std::time::{Duration, Instant};

use metrics::{Counter, Histogram, counter, histogram};

use super::outcome::SendError;
use crate::config::otlp::Signal;
use crate::http::peer::{Pauses, Presence};
use crate::metrics::catalog;

/// The first pause after a failure.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);

/// Tells how attempts to deliver one signal go.
pub struct Receiver {
    presence: Presence,
    pauses: Pauses,
    meters: AttemptMeters,
}

impl Receiver {
    /// A receiver that is supposed to be there. Pauses grow from one second to `longest_pause`.
    pub fn new(signal: Signal, longest_pause: Duration) -> Receiver {
        Receiver {
            presence: Presence::new("the OTLP receiver", signal.as_str()),
            pauses: Pauses::new(SHORTEST_PAUSE, longest_pause),
            meters: AttemptMeters::new(signal.as_str()),
        }
    }

    /// Makes an attempt, whose success answers how many items of it were refused, and counts how it ends.
    ///
    /// # Errors
    /// Those of the attempt.
    pub async fn attempt<T>(
        &mut self,
        attempt: impl Future<Output = Result<T, SendError>>,
        refused: impl FnOnce(&T) -> u64,
    ) -> Result<T, SendError> {
        let started = Instant::now();
        let outcome = attempt.await;
        let result = match &outcome {
            Ok(answer) if refused(answer) > 0 => AttemptResult::Partial,
            Ok(_) => AttemptResult::Success,
            Err(error) if error.is_retryable() => AttemptResult::Retry,
            Err(_) => AttemptResult::Refused,
        };
        self.meters.count(result, started.elapsed());
        match &outcome {
            Err(error) if error.is_retryable() => self.presence.note_away(error),
            _ => {
                self.pauses.reset();
                self.presence.note_back();
            }
        }
        outcome
    }

    /// How long to wait before the next attempt after this failure.
    pub fn pause(&mut self, error: &SendError) -> Duration {
        self.pauses.next(error.retry_after())
    }
}

/// How an attempt to deliver ended, the value of the label `result`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptResult {
    /// All of it was taken.
    Success,
    /// Some of it was refused.
    Partial,
    /// It is to be tried again.
    Retry,
    /// It is never to be tried again.
    Refused,
}

/// The metrics of the attempts to deliver one signal.
pub struct AttemptMeters {
    results: [Counter; 4],
    duration: Histogram,
}

impl AttemptMeters {
    /// Looks the metrics of a signal up.
    pub fn new(signal: &'static str) -> AttemptMeters {
        let result = |result: &'static str| counter!(catalog::EXPORTER_DELIVERIES.name, "signal" => signal, "result" => result);
        AttemptMeters {
            results: ["success", "partial", "retry", "refused"].map(result),
            duration: histogram!(catalog::EXPORTER_DELIVERY_DURATION.name, "signal" => signal),
        }
    }

    /// Counts an attempt that took this long.
    pub fn count(&self, result: AttemptResult, duration: Duration) {
        self.results[result as usize].increment(1);
        self.duration.record(duration);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fail(receiver: &mut Receiver, error: SendError) -> Duration {
        let outcome: Result<u64, _> = receiver.attempt(async { Err(error) }, |refused| *refused).await;
        receiver.pause(&outcome.expect_err("a failure"))
    }

    #[tokio::test]
    async fn pauses_begin_anew_after_a_success_and_heed_the_receiver() {
        let longest = Duration::from_secs(8);
        let mut receiver = Receiver::new(Signal::Traces, longest);
        let away = || SendError::Unreachable("refused".to_owned());
        for _ in 0..10 {
            fail(&mut receiver, away()).await;
        }
        assert!(fail(&mut receiver, away()).await >= longest);
        receiver.attempt(async { Ok(0) }, |refused| *refused).await.expect("taken");
        assert!(fail(&mut receiver, away()).await < Duration::from_secs(3));
        let retry_after = Some(Duration::from_secs(17));
        let busy = SendError::Busy { message: String::new(), retry_after };
        assert_eq!(fail(&mut receiver, busy).await, Duration::from_secs(17));
    }
}
