//! A receiver of pushes as a delivery sees it: it may be away, and come back.
//!
//! Every attempt is counted and timed. That a receiver went is logged once, and once that it is back. The pause before
//! the next attempt grows and is jittered, unless the receiver says itself when to come again.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use metrics::{Counter, Histogram, counter, histogram};
use tracing::{info, warn};

use super::catalog;
use super::otlp_client::SendError;
use super::otlp_settings::Signal;

/// The longest pause that a receiver can ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

/// Tells how attempts to deliver one signal go.
pub struct Receiver {
    signal: Signal,
    away_since: Option<Instant>,
    longest_pause: Duration,
    pauses: ExponentialBackoff,
    meters: Meters,
}

impl Receiver {
    /// A receiver that is supposed to be there. Pauses grow from one second to `longest_pause`.
    pub fn new(signal: Signal, longest_pause: Duration) -> Receiver {
        Receiver {
            signal,
            away_since: None,
            longest_pause,
            pauses: pauses(longest_pause),
            meters: Meters::new(signal.as_str()),
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
        self.meters.duration.record(started.elapsed());
        match &outcome {
            Ok(answer) if refused(answer) > 0 => self.meters.partial.increment(1),
            Ok(_) => self.meters.success.increment(1),
            Err(error) if error.is_retryable() => self.meters.retry.increment(1),
            Err(_) => self.meters.refused.increment(1),
        }
        match &outcome {
            Err(error) if error.is_retryable() => self.note_away(error),
            _ => self.note_back(),
        }
        outcome
    }

    /// How long to wait before the next attempt after this failure.
    pub fn pause(&mut self, error: &SendError) -> Duration {
        let pause = self.pauses.next().unwrap_or(self.longest_pause);
        error
            .retry_after()
            .map_or(pause, |asked| asked.clamp(Duration::from_millis(100), LONGEST_RETRY_AFTER))
    }

    fn note_away(&mut self, error: &SendError) {
        if self.away_since.is_none() {
            self.away_since = Some(Instant::now());
            warn!(signal = self.signal.as_str(), %error, "the OTLP receiver is away; trying again");
        }
    }

    fn note_back(&mut self) {
        self.pauses = pauses(self.longest_pause);
        if let Some(since) = self.away_since.take() {
            let away_seconds = since.elapsed().as_secs();
            info!(signal = self.signal.as_str(), away_seconds, "the OTLP receiver is back");
        }
    }
}

fn pauses(longest: Duration) -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(Duration::from_secs(1).min(longest))
        .with_max_delay(longest)
        .without_max_times()
        .with_jitter()
        .build()
}

/// The metrics of the attempts for one signal.
struct Meters {
    success: Counter,
    partial: Counter,
    retry: Counter,
    refused: Counter,
    duration: Histogram,
}

impl Meters {
    fn new(signal: &'static str) -> Meters {
        let result = |result: &'static str| counter!(catalog::EXPORTER_DELIVERIES.name, "signal" => signal, "result" => result);
        Meters {
            success: result("success"),
            partial: result("partial"),
            retry: result("retry"),
            refused: result("refused"),
            duration: histogram!(catalog::EXPORTER_DELIVERY_DURATION.name, "signal" => signal),
        }
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
    async fn pauses_grow_to_their_limit_and_begin_anew_after_a_success() {
        let longest = Duration::from_secs(8);
        let mut receiver = Receiver::new(Signal::Traces, longest);
        let away = || SendError::Unreachable("refused".to_owned());
        for _ in 0..10 {
            fail(&mut receiver, away()).await;
        }
        assert!(fail(&mut receiver, away()).await >= longest);
        receiver.attempt(async { Ok(0) }, |refused| *refused).await.expect("taken");
        assert!(fail(&mut receiver, away()).await < Duration::from_secs(3));
    }

    #[tokio::test]
    async fn a_receiver_says_itself_when_to_come_again() {
        let mut receiver = Receiver::new(Signal::Metrics, Duration::from_secs(60));
        let busy = |seconds| SendError::Busy {
            message: String::new(),
            retry_after: Some(Duration::from_secs(seconds)),
        };
        assert_eq!(fail(&mut receiver, busy(17)).await, Duration::from_secs(17));
        assert_eq!(fail(&mut receiver, busy(86_400)).await, LONGEST_RETRY_AFTER);
    }
}
