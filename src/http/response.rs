//! The few kinds of answer that the listeners give.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::{Frame, SizeHint};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::json;

use super::deadlines::Serving;
use super::shown::to_json;

/// The body of an answer: at hand, or coming from elsewhere.
pub type Body = Either<Full<Bytes>, Streamed>;

/// What goes wrong with a body that comes from elsewhere.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A body that comes from elsewhere. As long as it does, its request is being served.
pub struct Streamed {
    body: UnsyncBoxBody<Bytes, Failure>,
    serving: Option<Serving>,
}

impl Streamed {
    /// Keeps this until the body has come to its end.
    pub(super) fn keep(&mut self, serving: Serving) {
        self.serving = Some(serving);
    }
}

impl hyper::body::Body for Streamed {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Stands among the extensions of an answer that takes as long as it likes, while its reader takes what there is.
#[derive(Debug, Clone, Copy)]
pub struct Endless;

/// A body that comes from elsewhere.
pub fn streamed(body: impl hyper::body::Body<Data = Bytes, Error = Failure> + Send + 'static) -> Body {
    Either::Right(Streamed { body: body.boxed_unsync(), serving: None })
}

fn at_hand(body: impl Into<Bytes>) -> Body {
    Either::Left(Full::new(body.into()))
}

/// What a connection past the limit of connections is told.
pub(super) const TOO_MANY_CONNECTIONS: &str = "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\n\
     retry-after: 1\r\ncontent-length: 0\r\n\r\n";

/// An answer without a body.
pub fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(at_hand(Bytes::new()));
    *response.status_mut() = status;
    response
}

/// An answer with a body of this content type.
pub fn content(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(at_hand(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// The content type of JSON Lines.
pub const JSON_LINES: &str = "application/jsonl; charset=utf-8";

/// An answer whose body comes from elsewhere.
pub fn with_content_type(body: Body, content_type: &'static str) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// A short text for people.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    content(status, "text/plain; charset=utf-8", body)
}

/// A problem document (RFC 9457), which no cache is to keep. `parameter` is a member of ours: the query parameter that
/// is to blame.
pub fn problem(status: StatusCode, title: &str, detail: &str, parameter: Option<&str>) -> Response<Body> {
    let mut problem =
        json!({ "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail });
    if let Some(parameter) = parameter {
        problem["parameter"] = parameter.into();
    }
    let response = content(status, "application/problem+json", to_json(&problem) + "\n");
    with_header(response, CACHE_CONTROL, "no-store")
}

/// The answer to a method that the path does not have.
pub fn method_not_allowed(allow: &'static str) -> Response<Body> {
    with_header(empty(StatusCode::METHOD_NOT_ALLOWED), ALLOW, allow)
}

/// The answer to who asks which methods a path has.
pub fn options(allow: &'static str) -> Response<Body> {
    with_header(empty(StatusCode::OK), ALLOW, allow)
}

/// The answer while events cannot be stored: come again in `seconds`.
pub fn unavailable(detail: &str, seconds: &'static str) -> Response<Body> {
    let response = problem(StatusCode::SERVICE_UNAVAILABLE, "Not stored", detail, None);
    with_header(response, RETRY_AFTER, seconds)
}

/// The answer to a peer that sends too much: it may come again after `wait`.
pub fn too_many(detail: &str, wait: Duration) -> Response<Body> {
    let mut response = problem(StatusCode::TOO_MANY_REQUESTS, "Too many", detail, None);
    let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
    response.headers_mut().insert(RETRY_AFTER, seconds.max(1).into());
    response
}

fn with_header(mut response: Response<Body>, name: HeaderName, value: &'static str) -> Response<Body> {
    response.headers_mut().insert(name, HeaderValue::from_static(value));
    response
}
