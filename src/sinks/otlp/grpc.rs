//! What gRPC adds to an HTTP/2 exchange of one message each way.
//!
//! Source: gRPC over HTTP2 (the protocol's specification). Messages arrive here encoded and possibly compressed, which
//! is why no generated client stands in this place.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use hyper::body::Incoming;
use hyper::header::{HeaderValue, TE};
use hyper::{HeaderMap, Response};
use percent_encoding::percent_decode;
use prost::Message;
use tonic::Code;
use tonic_types::{RpcStatusExt, pb};

use super::outcome::SendError;

/// One flag and the length, before each message.
const FRAME_HEAD: usize = 5;

/// The message in its frame.
pub(super) fn frame(message: &[u8], is_gzip: bool) -> Bytes {
    let mut frame = BytesMut::with_capacity(FRAME_HEAD + message.len());
    frame.put_u8(is_gzip.into());
    frame.put_u32(message.len() as u32);
    frame.put_slice(message);
    frame.freeze()
}

/// Adds the headers that gRPC needs.
pub(super) fn add_headers(headers: &mut HeaderMap, timeout: Duration) {
    headers.insert(TE, HeaderValue::from_static("trailers"));
    // The unit is milliseconds, of which the format takes at most eight digits.
    let timeout = timeout.as_millis().min(99_999_999) as u32;
    if let Ok(timeout) = HeaderValue::from_str(&format!("{timeout}m")) {
        headers.insert("grpc-timeout", timeout);
    }
}

/// Reads the response message, or the status that stands in its place.
pub(super) async fn read(response: Response<Incoming>) -> Result<Bytes, SendError> {
    let (head, body) = response.into_parts();
    if !head.status.is_success() {
        return Err(SendError::of_http(head.status, &head.headers, b"not an answer of gRPC"));
    }
    // An answer without a message has its status in the headers.
    if head.headers.contains_key("grpc-status") {
        return status(&head.headers).map(|()| Bytes::new());
    }
    let (body, trailers) = super::client::read_body(body).await?;
    status(&trailers)?;
    message(body)
}

fn message(mut body: Bytes) -> Result<Bytes, SendError> {
    if body.len() < FRAME_HEAD {
        return Ok(Bytes::new());
    }
    let is_compressed = body.get_u8() != 0;
    let length = body.get_u32() as usize;
    match body.len() >= length && !is_compressed {
        true => Ok(body.split_to(length)),
        false => {
            Err(SendError::Interrupted("the frame of the answer is not whole or is compressed".to_owned()))
        }
    }
}

fn status(headers: &HeaderMap) -> Result<(), SendError> {
    let code = headers.get("grpc-status").and_then(|value| value.to_str().ok()?.parse().ok());
    let Some(code) = code.map(Code::from_i32) else {
        return Err(SendError::Interrupted("the answer ended without a status".to_owned()));
    };
    if code == Code::Ok {
        return Ok(());
    }
    let message = headers.get("grpc-message").map(HeaderValue::as_bytes).unwrap_or_default();
    let message = percent_decode(message).decode_utf8_lossy();
    Err(SendError::of_grpc(code, &message, retry_after(headers)))
}

/// When to come again: the RetryInfo among the details of the status.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let details = headers.get("grpc-status-details-bin")?.to_str().ok()?;
    let details = STANDARD_NO_PAD.decode(details.trim_end_matches('=')).ok()?;
    pb::Status::decode(&*details).ok()?.get_details_retry_info()?.retry_delay
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        assert_eq!(message(frame(b"message", false)), Ok(Bytes::from_static(b"message")));
        assert_eq!(frame(b"m", true), Bytes::from_static(b"\x01\x00\x00\x00\x01m"));
        assert!(message(Bytes::from_static(b"\x00\x00\x00\x00\x09m")).is_err());
        assert_eq!(message(Bytes::new()), Ok(Bytes::new()));
    }

    #[test]
    fn any_trailers_make_an_outcome() {
        let of = |pairs: &[(&'static str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| {
                (hyper::header::HeaderName::from_static(name), value.parse().expect("a header"))
            });
            status(&pairs.collect())
        };
        assert_eq!(of(&[("grpc-status", "0")]), Ok(()));
        assert!(matches!(of(&[]), Err(SendError::Interrupted(_))));
        assert!(matches!(of(&[("grpc-status", "x")]), Err(SendError::Interrupted(_))));
        let garbage =
            of(&[("grpc-status", "14"), ("grpc-status-details-bin", "?"), ("grpc-message", "a%0Ab")]);
        assert_eq!(garbage.as_ref().expect_err("unavailable").retry_after(), None);
        assert!(garbage.expect_err("unavailable").is_retryable());
    }
}
