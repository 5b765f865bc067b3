//! Why a message was not taken, and what to do about it.

use std::time::Duration;

use thiserror::Error;

use super::answer::Meaning;
use crate::config::otlp::Signal;
use crate::http::peer::causes;
use crate::sinks::Failure;

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SendError {
    /// No connection, or it broke before an answer.
    #[error("cannot reach the receiver: {0}")]
    Unreachable(String),
    /// The files of TLS cannot be used, so no connection was tried.
    #[error("{0}")]
    Tls(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// An answer that broke off, or that is larger than any should be.
    #[error("the answer could not be read: {0}")]
    Interrupted(String),
    /// It makes more than one message, and nothing was sent.
    #[error("it makes more than one message: {0} bytes")]
    MoreThanOne(usize),
    /// The receiver answered.
    #[error("the receiver answered {code}: {message}")]
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

    /// What follows. Without an answer, another time may be better.
    pub fn meaning(&self) -> Meaning {
        match self {
            SendError::Answer { meaning, .. } => *meaning,
            SendError::MoreThanOne(_) => Meaning::TooLarge,
            SendError::Tls(_) => Meaning::Misconfigured,
            SendError::Unreachable(_) | SendError::Timeout(_) | SendError::Interrupted(_) => Meaning::Later,
        }
    }

    /// What is likely to help, if the destination is configured wrongly.
    pub fn cure(&self, signal: Signal) -> Option<String> {
        if let SendError::Tls(_) = self {
            return Some(
                "OTEL_EXPORTER_OTLP_CERTIFICATE, _CLIENT_CERTIFICATE and _CLIENT_KEY should name PEM files; they are read again for \
                 each attempt"
                    .to_owned(),
            );
        }
        let SendError::Answer { meaning: Meaning::Misconfigured, code, .. } = self else { return None };
        let signal = signal.as_str();
        Some(match code.as_str() {
            "401" | "403" | "Unauthenticated" | "PermissionDenied" => {
                "the credentials in OTEL_EXPORTER_OTLP_HEADERS may be missing, wrong or expired".to_owned()
            }
            "404" => format!("the path may be wrong, or the receiver takes no {signal}"),
            "Unimplemented" => format!("the receiver may have no pipeline for {signal}"),
            code if code.starts_with('3') => {
                "OTEL_EXPORTER_OTLP_ENDPOINT should name where it redirects to".to_owned()
            }
            _ => "who answers may not be an OTLP receiver, or one of another OTEL_EXPORTER_OTLP_PROTOCOL"
                .to_owned(),
        })
    }

    /// What a failed connection means.
    pub(crate) fn unreachable(error: &dyn std::error::Error) -> SendError {
        SendError::Unreachable(causes(error))
    }
}

impl SendError {
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
