//! Why a message was not taken, and what to do about it.

use std::time::Duration;

use hyper::{HeaderMap, StatusCode};
use thiserror::Error;
use tonic::Code;

use crate::http::backoff::retry_after;
use crate::http::peer::{causes, for_people};
use crate::sinks::Failure;

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SendError {
    /// No connection, or it broke before an answer.
    #[error("cannot reach the receiver: {0}")]
    Unreachable(String),
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// An answer that broke off, or that is larger than any should be.
    #[error("the answer could not be read: {0}")]
    Interrupted(String),
    /// The receiver cannot take it now.
    #[error("the receiver is busy: {message}")]
    Busy {
        /// What it said.
        message: String,
        /// When to come again, if it said so.
        retry_after: Option<Duration>,
    },
    /// The message is larger than the receiver takes.
    #[error("the message is too large for the receiver: {0}")]
    TooLarge(String),
    /// The receiver will never take this message.
    #[error("the receiver refused the message: {0}")]
    Refused(String),
}

impl SendError {
    /// Whether the same message may be taken another time.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, SendError::TooLarge(_) | SendError::Refused(_))
    }

    /// When to come again, if the receiver said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            SendError::Busy { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What a failed connection means.
    pub(crate) fn unreachable(error: &dyn std::error::Error) -> SendError {
        SendError::Unreachable(causes(error))
    }

    /// What an answer of OTLP/HTTP other than success means: 429, 502, 503 and 504 are worth another try.
    pub(crate) fn of_http(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> SendError {
        let message = for_people(&format!("{status}: {}", String::from_utf8_lossy(body)));
        match status {
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => SendError::Busy { message, retry_after: retry_after(headers) },
            StatusCode::PAYLOAD_TOO_LARGE => SendError::TooLarge(message),
            _ => SendError::Refused(message),
        }
    }

    /// What a status of gRPC other than OK means, by the specification's table of retryable codes. An exhausted resource
    /// is worth another try only if the receiver says when; otherwise it is what receivers say of a message that is
    /// too large.
    pub(crate) fn of_grpc(code: Code, message: &str, retry_after: Option<Duration>) -> SendError {
        let message = for_people(&format!("{code:?}: {message}"));
        match code {
            Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss => SendError::Busy { message, retry_after },
            Code::ResourceExhausted if retry_after.is_some() => SendError::Busy { message, retry_after },
            Code::ResourceExhausted => SendError::TooLarge(message),
            _ => SendError::Refused(message),
        }
    }
}

impl From<SendError> for Failure {
    /// What it means for the events that were sent: an outcome that is worth another try says that the receiver is away.
    fn from(error: SendError) -> Failure {
        let (reason, retry_after) = (error.to_string(), error.retry_after());
        match error {
            SendError::TooLarge(_) => Failure::TooLarge(reason),
            SendError::Refused(_) => Failure::Refused(reason),
            _ => Failure::Away { reason, retry_after },
        }
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::RETRY_AFTER;

    use super::*;

    #[test]
    fn http_answers_are_told_apart() {
        let of = |status: u16, retry_after: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(value) = retry_after {
                headers.insert(RETRY_AFTER, value.parse().expect("a header"));
            }
            SendError::of_http(StatusCode::from_u16(status).expect("a status"), &headers, b"why\nnot")
        };
        for status in [429, 502, 503, 504] {
            assert!(of(status, None).is_retryable(), "{status}");
        }
        for status in [400, 401, 403, 404, 413, 500] {
            assert!(!of(status, None).is_retryable(), "{status}");
        }
        assert!(matches!(of(413, None), SendError::TooLarge(_)));
        assert_eq!(of(429, Some("17")).retry_after(), Some(Duration::from_secs(17)));
        assert!(!of(400, None).to_string().contains('\n'));
    }

    #[test]
    fn grpc_codes_are_told_apart() {
        let minute = Some(Duration::from_secs(60));
        assert_eq!(SendError::of_grpc(Code::Unavailable, "", minute).retry_after(), minute);
        assert!(SendError::of_grpc(Code::ResourceExhausted, "", minute).is_retryable());
        assert!(matches!(SendError::of_grpc(Code::ResourceExhausted, "", None), SendError::TooLarge(_)));
        for code in [Code::InvalidArgument, Code::Unauthenticated, Code::PermissionDenied, Code::Internal] {
            assert!(!SendError::of_grpc(code, "", None).is_retryable());
        }
    }
}
