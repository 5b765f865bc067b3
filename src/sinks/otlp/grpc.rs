//! What gRPC adds to an HTTP/2 exchange of one message each way.
//!
//! Source: gRPC over HTTP2 (the protocol's specification).

use std::borrow::Cow;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use hyper::header::{HeaderValue, TE};
use hyper::{HeaderMap, StatusCode};
use percent_encoding::percent_decode;
use prost::Message;
use tonic::Code;
use tonic_types::{RpcStatusExt, pb};

use super::answer::{self, Taken};
use super::client::{Body, gunzip};
use super::outcome::SendError;

/// Where the status is.
const STATUS: &str = "grpc-status";

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
    headers.insert("grpc-accept-encoding", HeaderValue::from_static("gzip"));
    // The unit is milliseconds, of which the format takes at most eight digits.
    let timeout = timeout.as_millis().min(99_999_999) as u32;
    if let Ok(timeout) = HeaderValue::from_str(&format!("{timeout}m")) {
        headers.insert("grpc-timeout", timeout);
    }
}

/// Reads an answer: its status, and what was taken.
///
/// # Errors
/// Why the message was not taken.
pub(super) fn read(http_status: StatusCode, headers: &HeaderMap, body: Body) -> Result<Taken, SendError> {
    // An answer without a message has its status in the headers.
    if headers.contains_key(STATUS) {
        return status(headers).map(|()| Taken::default());
    }
    if !http_status.is_success() {
        return Err(answer::of_http(http_status, headers, &body.bytes));
    }
    if !answer::is_grpc(headers) {
        return Err(answer::no_otlp("success that is no answer of gRPC", &body.bytes));
    }
    // The trailers are the end; what breaks off after them does not matter.
    if !body.trailers.contains_key(STATUS) {
        body.end?;
    }
    status(&body.trailers)?;
    // Taken is taken, even if the answer cannot be read.
    Ok(message(headers, body.bytes).and_then(|message| answer::from_protobuf(&message)).unwrap_or_default())
}

/// The message in a frame. Servers compress it as the request was.
fn message(headers: &HeaderMap, mut body: Bytes) -> Option<Bytes> {
    let is_compressed = body.try_get_u8().ok()? != 0;
    let length = body.try_get_u32().ok()? as usize;
    let message = (body.len() >= length).then(|| body.split_to(length))?;
    if !is_compressed {
        return Some(message);
    }
    let encoding = headers.get("grpc-encoding")?;
    (encoding == "gzip").then(|| gunzip(&message)).flatten()
}

fn status(headers: &HeaderMap) -> Result<(), SendError> {
    let code = headers.get(STATUS).and_then(|value| value.to_str().ok()?.parse().ok());
    let Some(code) = code.map(Code::from_i32) else {
        return Err(SendError::Interrupted("the answer ended without a status".to_owned()));
    };
    if code == Code::Ok {
        return Ok(());
    }
    Err(answer::of_grpc(code, &status_message(headers), retry_after(headers)))
}

/// What a status says.
pub(super) fn status_message(headers: &HeaderMap) -> Cow<'_, str> {
    let message = headers.get("grpc-message").map(HeaderValue::as_bytes).unwrap_or_default();
    percent_decode(message).decode_utf8_lossy()
}

/// When to come again: the RetryInfo among the details of the status.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let details = headers.get("grpc-status-details-bin")?.to_str().ok()?;
    let details = STANDARD_NO_PAD.decode(details.trim_end_matches('=')).ok()?;
    pb::Status::decode(&*details).ok()?.get_details_retry_info()?.retry_delay
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceResponse,
    };

    use super::super::answer::Meaning;
    use super::*;

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let plain = HeaderMap::new();
        assert_eq!(message(&plain, frame(b"message", false)), Some(Bytes::from_static(b"message")));
        assert_eq!(frame(b"m", true), Bytes::from_static(b"\x01\x00\x00\x00\x01m"));
        assert_eq!(message(&plain, Bytes::from_static(b"\x00\x00\x00\x00\x09m")), None);
        assert_eq!(message(&plain, Bytes::new()), None);
    }

    fn gzip(content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        std::io::Write::write_all(&mut encoder, content).expect("written");
        encoder.finish().expect("compressed")
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            (hyper::header::HeaderName::from_static(name), value.parse().expect("a header"))
        });
        pairs.collect()
    }

    fn whole(bytes: Bytes, trailers: HeaderMap) -> Body {
        Body { bytes, trailers, end: Ok(()) }
    }

    #[test]
    fn an_answer_in_the_encoding_of_the_request_is_read() {
        let response = ExportTraceServiceResponse {
            partial_success: Some(ExportTracePartialSuccess {
                rejected_spans: 3,
                error_message: "too old".to_owned(),
            }),
        };
        let head = headers(&[("content-type", "application/grpc"), ("grpc-encoding", "gzip")]);
        let trailers = headers(&[("grpc-status", "0")]);
        let answer = |body: Bytes| read(StatusCode::OK, &head, whole(body, trailers.clone()));
        let taken = answer(frame(&gzip(&response.encode_to_vec()), true)).expect("success");
        assert_eq!(taken, Taken { rejected: 3, message: "too old".to_owned() });
        // A status of OK is success, whatever the body is: one that grows beyond bounds too.
        for body in
            [frame(b"no gzip", true), frame(&gzip(&vec![0; 8 << 20]), true), Bytes::from_static(b"\x01\x00")]
        {
            assert_eq!(answer(body), Ok(Taken::default()));
        }
    }

    #[test]
    fn who_does_not_speak_grpc_is_no_receiver() {
        let html = headers(&[("content-type", "text/html")]);
        let answered = read(StatusCode::OK, &html, whole(Bytes::from_static(b"<html>"), HeaderMap::new()));
        assert_eq!(answered.expect_err("no gRPC").meaning(), Meaning::Misconfigured);
        let answered = read(StatusCode::BAD_GATEWAY, &html, whole(Bytes::new(), HeaderMap::new()));
        assert_eq!(answered.expect_err("no gRPC").meaning(), Meaning::Later);
    }

    #[test]
    fn any_trailers_make_an_outcome() {
        let of = |pairs: &[(&'static str, &str)]| status(&headers(pairs));
        assert_eq!(of(&[("grpc-status", "0")]), Ok(()));
        assert!(matches!(of(&[]), Err(SendError::Interrupted(_))));
        assert!(matches!(of(&[("grpc-status", "x")]), Err(SendError::Interrupted(_))));
        let garbage =
            of(&[("grpc-status", "14"), ("grpc-status-details-bin", "?"), ("grpc-message", "a%0Ab")]);
        assert_eq!(garbage.as_ref().expect_err("unavailable").retry_after(), None);
        assert_eq!(garbage.expect_err("unavailable").meaning(), Meaning::Later);
    }
}
