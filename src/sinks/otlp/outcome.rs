//! Why a message was not taken.

use std::time::Duration;

use thiserror::Error;

use super::answer::{self, Meaning};
use crate::http::obstacle::Obstacle;
use crate::http::peer::causes;
use crate::sinks::Failure;

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SendError {
    /// No connection, or it broke before an answer.
    #[error("{obstacle} ({detail})")]
    NoAnswer {
        /// Why.
        obstacle: Obstacle,
        /// What the libraries say.
        detail: String,
    },
    /// The files of TLS cannot be used, so no connection was tried.
    #[error("{0}")]
    Tls(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// An answer that broke off, or that is larger than any should be.
    #[error("its answer could not be read: {0}")]
    Interrupted(String),
    /// It makes more than one message, and nothing was sent.
    #[error("it makes more than one message: {0} bytes")]
    MoreThanOne(usize),
    /// No message could be made of it, and nothing was sent.
    #[error("it makes no message: {0}")]
    NoMessage(String),
    /// The receiver answered.
    #[error("it answered {code}{}{message}", if message.is_empty() { "" } else { ": " })]
    Answer {
        /// What follows.
        meaning: Meaning,
        /// Its status.
        code: String,
        /// What it said.
        message: String,
        /// Whether it is 400 over HTTP, which some receivers of metrics answer to single points.
        is_plain_400: bool,
        /// When to come again, if it said so.
        retry_after: Option<Duration>,
    },
}

impl SendError {
    /// When to come again, if the receiver said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            SendError::Answer { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether it is 400 over HTTP without an OTLP Status and without a word of size.
    pub fn is_plain_400(&self) -> bool {
        matches!(self, SendError::Answer { is_plain_400: true, meaning: Meaning::Misconfigured, .. })
    }

    /// What follows. Without an answer in time, another time may be better.
    pub fn meaning(&self) -> Meaning {
        match self {
            SendError::Answer { meaning, .. } => *meaning,
            SendError::MoreThanOne(_) | SendError::NoMessage(_) => Meaning::TooLarge,
            SendError::NoAnswer { obstacle, .. } => answer::of_obstacle(*obstacle),
            SendError::Tls(_) => Meaning::Misconfigured,
            SendError::Timeout(_) | SendError::Interrupted(_) => Meaning::Later,
        }
    }

    /// What an error means that was there instead of a connection.
    pub(super) fn no_connection(error: &(dyn std::error::Error + 'static)) -> SendError {
        SendError::NoAnswer { obstacle: Obstacle::of(error), detail: causes(error) }
    }

    /// What it means for the events that were sent. `reason` is what is said of it.
    pub fn into_failure(self, reason: String) -> Failure {
        let retry_after = self.retry_after();
        match self.meaning() {
            _ if matches!(self, SendError::MoreThanOne(_)) => Failure::MoreThanOne,
            Meaning::Later => Failure::Away { reason, retry_after },
            Meaning::Exhausted => Failure::Exhausted { reason, retry_after },
            Meaning::TooLarge => Failure::TooLarge(reason),
            Meaning::Misconfigured => Failure::Misconfigured(reason),
            Meaning::Batch => Failure::Batch(reason),
        }
    }
}
