//! Laws of the answers of receivers, whatever they are.

use std::time::Duration;

use bytes::Bytes;
use hyper::StatusCode;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::answer::{self, Taken};
use super::client::Body;
use super::grpc;
use super::outcome::SendError;
use crate::http::backoff::Backoff;

/// Characters of a text that is shown: a status, where a redirect leads, and what the receiver said.
const LONGEST_TEXT: usize = 1_000;

/// An answer to a message: a line with its status, lines of its header fields up to an empty one, lines of its trailers
/// likewise, and the body. It is read as one of OTLP/HTTP and as one of gRPC. Whatever it says, what is shown of it is
/// one short line, and it is not asked for a longer pause than there may be.
pub fn otlp_answer(bytes: &[u8]) {
    let (status, rest) = line(bytes);
    let status = str::from_utf8(status).ok().and_then(|status| status.parse().ok());
    let Some(status) = status.and_then(|status| StatusCode::from_u16(status).ok()) else { return };
    let (headers, rest) = fields(rest);
    let (trailers, body) = fields(rest);
    if status.is_success() {
        outcome(answer::taken_by_http(&headers, body));
    } else {
        outcome(Err(answer::of_http(status, &headers, body)));
    }
    for end in [Ok(()), Err(SendError::Timeout(Duration::ZERO))] {
        let body = Body { bytes: Bytes::copy_from_slice(body), trailers: trailers.clone(), end };
        outcome(grpc::read(status, &headers, body));
    }
    assert!(
        !grpc::status_message(&trailers).is_empty()
            || trailers.get("grpc-message").is_none_or(|message| message.is_empty())
    );
}

fn outcome(outcome: Result<Taken, SendError>) {
    let error = match outcome {
        Ok(Taken { rejected, .. }) => {
            assert!(rejected <= answer::MOST_REJECTED, "{rejected}");
            return;
        }
        Err(error) => error,
    };
    let text = error.to_string();
    assert!(!text.contains(char::is_control), "{text:?}");
    assert!(text.chars().count() <= LONGEST_TEXT, "{text}");
    let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
    assert!(backoff.after(1, error.retry_after()) <= Duration::from_secs(300));
    let _ = error.into_failure("reason".to_owned());
}

/// The bytes up to a line's end, and what comes behind.
fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == b'\n') {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[]),
    }
}

/// The header fields in lines up to an empty one, as far as they are any, and what comes behind.
fn fields(mut bytes: &[u8]) -> (HeaderMap, &[u8]) {
    let mut headers = HeaderMap::new();
    loop {
        let (field, rest) = line(bytes);
        if field.is_empty() {
            return (headers, rest);
        }
        bytes = rest;
        let Some(colon) = field.iter().position(|byte| *byte == b':') else { continue };
        let value = field[colon + 1..].trim_ascii();
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(&field[..colon]), HeaderValue::from_bytes(value))
        {
            headers.append(name, value);
        }
    }
}
