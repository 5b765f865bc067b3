//! What an answer of a receiver says, or that there is none, by one table.
//!
//! It is read from the top, and the first sign that fits holds: signs of size come first, since a message that is too
//! large may be answered with almost any status; then what the specification calls retryable; then what says that the
//! destination is configured wrongly and nothing of the batch; and last what is about the batch.

use std::ops::RangeInclusive;
use std::time::Duration;

use hyper::header::HeaderValue;
use hyper::{HeaderMap, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use serde_json::Value;
use tonic::Code;
use tonic_types::pb;

use super::outcome::SendError;
use crate::http::backoff::retry_after;
use crate::http::obstacle::Obstacle;
use crate::http::peer::{body_for_people, for_people, url_for_people};

/// What follows from an answer other than success.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// The receiver cannot take anything now.
    Later,
    /// The same, and it may be for the size of the message, if it says so again and again.
    Exhausted,
    /// The message is larger than the receiver takes.
    TooLarge,
    /// The destination is configured wrongly: no message will be taken until that changes.
    Misconfigured,
    /// Something is wrong with what the message carries.
    Batch,
}

/// What the receiver took of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// How many spans or points it refused.
    pub rejected: u64,
    /// Why, or whatever else it has to say.
    pub message: String,
}

/// By what an answer is known.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Sign {
    /// A status of HTTP.
    Http(RangeInclusive<u16>),
    /// A status of HTTP, and words about size.
    HttpOfSize(RangeInclusive<u16>),
    /// A status of HTTP, and an OTLP Status in the body.
    HttpWithStatus(RangeInclusive<u16>),
    /// A status of gRPC.
    Grpc(Code),
    /// A status of gRPC, and words about size.
    GrpcOfSize(Code),
    /// A status of gRPC that says when to come again.
    GrpcWithTime(Code),
    /// Any other status of gRPC.
    AnyGrpc,
    /// No answer, since another protocol is spoken there.
    AnotherProtocol,
    /// No answer.
    NoAnswer,
}

/// How many spans or points a receiver is believed to have refused: no message has more, and what is added to it must
/// not overflow.
pub(super) const MOST_REJECTED: u64 = u32::MAX as u64;

/// How receivers and libraries say that a message is too large.
const WORDS_OF_SIZE: [&str; 5] =
    ["too large", "larger than", "exceeds maximum size", "exceeds the maximum", "message size"];

/// A row: the sign, what it says, and who says so.
type Row = (Sign, Meaning, &'static str);

const OTLP_HTTP: &str = "OTLP specification, OTLP/HTTP Response";
const OTLP_GRPC: &str = "OTLP specification, OTLP/gRPC Response";
const COLLECTOR: &str = "observed: OpenTelemetry Collector 0.161";
const GRPC_GO: &str = "observed: grpc-go, received message larger than max";
const TONIC: &str = "source of tonic 0.14: decoded message length too large";
const GRPC_LIMITS: &str = "gRPC status codes: RESOURCE_EXHAUSTED is also a quota";
const RFC_9110: &str = "RFC 9110, 15: a redirect is for who configures";
const GRPC_CODES: &str = "gRPC status codes";

static TABLE: &[Row] = &[
    // Size.
    (Sign::Http(413..=413), Meaning::TooLarge, "RFC 9110, 15.5.14"),
    (
        Sign::HttpOfSize(400..=400),
        Meaning::TooLarge,
        "observed: OpenTelemetry Collector 0.161, request body too large",
    ),
    (
        Sign::HttpOfSize(429..=429),
        Meaning::TooLarge,
        "observed: OpenTelemetry Collector 0.161 before another over gRPC",
    ),
    (Sign::GrpcOfSize(Code::ResourceExhausted), Meaning::TooLarge, GRPC_GO),
    (Sign::Grpc(Code::OutOfRange), Meaning::TooLarge, TONIC),
    // Another time.
    (Sign::Http(408..=408), Meaning::Later, "RFC 9110, 15.5.9"),
    (Sign::Http(429..=429), Meaning::Exhausted, OTLP_HTTP),
    (Sign::Http(502..=504), Meaning::Later, OTLP_HTTP),
    (Sign::GrpcWithTime(Code::ResourceExhausted), Meaning::Later, OTLP_GRPC),
    (Sign::Grpc(Code::ResourceExhausted), Meaning::Exhausted, GRPC_LIMITS),
    (Sign::Grpc(Code::Cancelled), Meaning::Later, OTLP_GRPC),
    (Sign::Grpc(Code::DeadlineExceeded), Meaning::Later, OTLP_GRPC),
    (Sign::Grpc(Code::Aborted), Meaning::Later, OTLP_GRPC),
    (Sign::Grpc(Code::Unavailable), Meaning::Later, OTLP_GRPC),
    (Sign::Grpc(Code::DataLoss), Meaning::Later, OTLP_GRPC),
    // The destination.
    (Sign::Http(300..=399), Meaning::Misconfigured, RFC_9110),
    (
        Sign::Http(401..=401),
        Meaning::Misconfigured,
        "RFC 9110, 15.5.2; observed: OpenTelemetry Collector 0.161",
    ),
    (
        Sign::Http(403..=404),
        Meaning::Misconfigured,
        "RFC 9110, 15.5.4 and 15.5.5; observed: Prometheus 3.16 for traces",
    ),
    (Sign::Grpc(Code::Unauthenticated), Meaning::Misconfigured, COLLECTOR),
    (Sign::Grpc(Code::PermissionDenied), Meaning::Misconfigured, GRPC_CODES),
    (
        Sign::Grpc(Code::Unimplemented),
        Meaning::Misconfigured,
        "observed: OpenTelemetry Collector 0.161 without a pipeline of the signal",
    ),
    (
        Sign::AnotherProtocol,
        Meaning::Misconfigured,
        "observed: OpenTelemetry Collector 0.161, gRPC and HTTP on each other's ports, TLS on plain ones and the reverse",
    ),
    // Nobody, or nobody yet. Certificates are renewed at either end.
    (Sign::NoAnswer, Meaning::Later, OTLP_HTTP),
    // The batch.
    (Sign::HttpWithStatus(400..=599), Meaning::Batch, OTLP_HTTP),
    (Sign::AnyGrpc, Meaning::Batch, OTLP_GRPC),
    // What is left has no OTLP Status, so it is not from who receives OTLP.
    (Sign::Http(100..=999), Meaning::Misconfigured, OTLP_HTTP),
];

/// What the table is asked about.
#[derive(Debug, Clone, Copy)]
struct Asked<'a> {
    kind: Kind,
    text: &'a str,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Http { status: u16, has_status: bool },
    Grpc { code: Code, has_time: bool },
    NoAnswer(Obstacle),
}

impl Sign {
    fn fits(&self, asked: Asked<'_>) -> bool {
        match (self, asked.kind) {
            (Sign::Http(statuses), Kind::Http { status, .. }) => statuses.contains(&status),
            (Sign::HttpOfSize(statuses), Kind::Http { status, .. }) => {
                statuses.contains(&status) && is_of_size(asked.text)
            }
            (Sign::HttpWithStatus(statuses), Kind::Http { status, has_status }) => {
                statuses.contains(&status) && has_status
            }
            (Sign::Grpc(sign), Kind::Grpc { code, .. }) => *sign == code,
            (Sign::GrpcOfSize(sign), Kind::Grpc { code, .. }) => *sign == code && is_of_size(asked.text),
            (Sign::GrpcWithTime(sign), Kind::Grpc { code, has_time }) => *sign == code && has_time,
            (Sign::AnyGrpc, Kind::Grpc { .. }) | (Sign::NoAnswer, Kind::NoAnswer(_)) => true,
            (Sign::AnotherProtocol, Kind::NoAnswer(obstacle)) => obstacle.is_of_protocol(),
            _ => false,
        }
    }
}

fn is_of_size(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    WORDS_OF_SIZE.iter().any(|words| text.contains(words))
}

/// The first row that fits. There is one for every answer.
fn row(asked: Asked<'_>) -> Option<&'static Row> {
    TABLE.iter().find(|(sign, _, _)| sign.fits(asked))
}

fn meaning(asked: Asked<'_>) -> Meaning {
    row(asked).map_or(Meaning::Misconfigured, |(_, meaning, _)| *meaning)
}

/// What it says that there is no answer.
pub(super) fn of_obstacle(obstacle: Obstacle) -> Meaning {
    meaning(Asked { kind: Kind::NoAnswer(obstacle), text: "" })
}

/// What an answer of OTLP/HTTP other than success says, or one to gRPC that does not come from who speaks gRPC.
pub(super) fn of_http(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> SendError {
    let otlp_status = otlp_status(headers, body);
    let text = otlp_status.clone().unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    let kind = Kind::Http { status: status.as_u16(), has_status: otlp_status.is_some() };
    let location = headers.get(hyper::header::LOCATION).and_then(|location| location.to_str().ok());
    let location = location.map(|location| format!(" to {}", url_for_people(location))).unwrap_or_default();
    SendError::Answer {
        meaning: meaning(Asked { kind, text: &text }),
        code: format!("{}{}", status.as_u16(), location),
        message: body_for_people(text.as_bytes()),
        is_plain_400: status == StatusCode::BAD_REQUEST,
        retry_after: retry_after(headers),
    }
}

/// What a status of gRPC other than OK says.
pub(super) fn of_grpc(code: Code, message: &str, retry_after: Option<Duration>) -> SendError {
    let kind = Kind::Grpc { code, has_time: retry_after.is_some() };
    SendError::Answer {
        meaning: meaning(Asked { kind, text: message }),
        code: format!("{code:?}"),
        message: for_people(message),
        is_plain_400: false,
        retry_after,
    }
}

/// How an answer is called that came in gRPC where HTTP was spoken.
pub(super) const IN_GRPC: &str = "in gRPC";

/// Whether these headers are those of gRPC.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(hyper::header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type.is_some_and(|content_type| content_type.starts_with(b"application/grpc"))
}

/// An answer that claims success and does not come from who receives OTLP.
pub(super) fn no_otlp(what: &str, body: &[u8]) -> SendError {
    SendError::Answer {
        meaning: Meaning::Misconfigured,
        code: what.to_owned(),
        message: body_for_people(body),
        is_plain_400: false,
        retry_after: None,
    }
}

/// The message of an OTLP Status, if the body is one.
fn otlp_status(headers: &HeaderMap, body: &[u8]) -> Option<String> {
    match Format::of(headers)? {
        Format::Protobuf => Some(pb::Status::decode(body).ok()?.message),
        Format::Json => {
            let status: Value = serde_json::from_slice(body).ok()?;
            let message = status.get("message").and_then(Value::as_str);
            let has_status = message.is_some() || status.get("code").is_some();
            has_status.then(|| message.unwrap_or_default().to_owned())
        }
        Format::Other => None,
    }
}

/// How a body is written.
enum Format {
    Protobuf,
    Json,
    Other,
}

impl Format {
    /// What the header says, if there is one.
    fn of(headers: &HeaderMap) -> Option<Format> {
        let content_type = headers.get(hyper::header::CONTENT_TYPE)?.to_str().unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        Some(match essence.as_str() {
            "application/x-protobuf" | "application/protobuf" => Format::Protobuf,
            "application/json" => Format::Json,
            _ => Format::Other,
        })
    }
}

/// Reads the body of an answer of OTLP/HTTP that is a success. One without a body is one (observed: Prometheus 3.16).
///
/// # Errors
/// It does not come from who receives OTLP.
pub(super) fn taken_by_http(headers: &HeaderMap, body: &[u8]) -> Result<Taken, SendError> {
    if body.is_empty() {
        return Ok(Taken::default());
    }
    let read = match Format::of(headers) {
        Some(Format::Json) => from_json(body),
        Some(Format::Protobuf) => from_protobuf(body),
        None => from_protobuf(body).or_else(|| from_json(body)),
        Some(Format::Other) => None,
    };
    read.ok_or_else(|| no_otlp("success with a body that is no OTLP", body))
}

/// Reads a response message. Those of all signals look the same on the wire.
pub(super) fn from_protobuf(body: &[u8]) -> Option<Taken> {
    let partial = ExportTraceServiceResponse::decode(body).ok()?.partial_success.unwrap_or_default();
    let rejected = partial.rejected_spans.unsigned_abs().min(MOST_REJECTED);
    Some(Taken { rejected, message: partial.error_message })
}

fn from_json(body: &[u8]) -> Option<Taken> {
    let answer: Value = serde_json::from_slice(body).ok()?;
    let partial = answer.as_object()?.get("partialSuccess");
    let field = |name: &str| partial.and_then(|partial| partial.get(name));
    // A 64-bit number is a string in the JSON of protobuf.
    let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    let names = ["rejectedSpans", "rejectedDataPoints", "rejectedLogRecords"];
    let rejected = names.into_iter().find_map(|name| field(name).and_then(number));
    let message = field("errorMessage").and_then(Value::as_str).unwrap_or_default();
    Some(Taken { rejected: rejected.unwrap_or(0).min(MOST_REJECTED), message: message.to_owned() })
}

#[cfg(test)]
mod tests;
