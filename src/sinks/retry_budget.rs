//! The retry budget: how often events that failed may be tried again, so that many of them do not become a load of their own.
//!
//! A retry costs one token. Tokens come back steadily, and one for each success: so as long as nothing succeeds, retries go at
//! a trickle, and once the peer takes them again, they go as fast as it does.

use std::time::Duration;

use tokio::time::Instant;

/// Tokens that come back every second, whatever happens.
const TOKENS_A_SECOND: f64 = 20.0;

/// Tokens that may be saved.
const MOST_TOKENS: f64 = 100.0;

/// A retry budget.
#[derive(Debug)]
pub(super) struct RetryBudget {
    tokens: f64,
    refilled_at: Instant,
}

impl RetryBudget {
    /// A full budget.
    pub(super) fn new(now: Instant) -> RetryBudget {
        RetryBudget { tokens: MOST_TOKENS, refilled_at: now }
    }

    /// Whether a retry may go at `now`.
    pub(super) fn allows(&mut self, now: Instant) -> bool {
        let seconds = now.saturating_duration_since(self.refilled_at).as_secs_f64();
        self.tokens = (self.tokens + seconds * TOKENS_A_SECOND).min(MOST_TOKENS);
        self.refilled_at = now;
        self.tokens >= 1.0
    }

    /// Takes the token of a retry that goes.
    pub(super) fn spend(&mut self) {
        self.tokens -= 1.0;
    }

    /// Gives a token for a success.
    pub(super) fn note_success(&mut self) {
        self.tokens = (self.tokens + 1.0).min(MOST_TOKENS);
    }

    /// When the next retry may go.
    pub(super) fn next(&self) -> Instant {
        let missing = (1.0 - self.tokens).max(0.0);
        // A little later, since tokens are no exact numbers.
        self.refilled_at + Duration::from_secs_f64(missing / TOKENS_A_SECOND) + Duration::from_millis(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many retries go in a second, if this many of a hundred succeed.
    fn retries(successes: usize) -> usize {
        let begin = Instant::now();
        let mut budget = RetryBudget::new(begin);
        while budget.allows(begin) {
            budget.spend();
        }
        let mut retries = 0;
        for microseconds in (0..1_000_000).step_by(1_000) {
            if budget.allows(begin + Duration::from_micros(microseconds)) {
                budget.spend();
                retries += 1;
                if retries % 100 < successes {
                    budget.note_success();
                }
            }
        }
        retries
    }

    #[test]
    fn failures_trickle_and_successes_flow() {
        assert!((18..=21).contains(&retries(0)), "{}", retries(0));
        assert_eq!(retries(100), 1_000 - 50, "the first token comes after 50 ms, and then one a millisecond");
    }

    #[test]
    fn the_next_one_may_go_when_it_says_so() {
        let begin = Instant::now();
        let mut budget = RetryBudget::new(begin);
        while budget.allows(begin) {
            budget.spend();
        }
        let next = budget.next();
        assert!(next > begin && budget.allows(next));
    }
}
