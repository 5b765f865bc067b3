//! The way to a collector: one client for all signals and both protocols.
//!
//! A message goes out encoded as it is; what comes back is typed, so that a delivery can tell what is worth another
//! try, when, and what never is. Source: OpenTelemetry Protocol Specification, "OTLP/gRPC" and "OTLP/HTTP".
//!
//! gRPC is a few lines on HTTP/2 here. A generated client would want messages that are not encoded yet, keep its connections to
//! itself, and hide the answers of whatever stands between and speaks no gRPC; all three matter here.

use std::io::{Read as _, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use hyper::{HeaderMap, Method, Request, Response};

use crate::config::otlp::{Destination, Protocol, Signal};
use crate::http::obstacle::Obstacle;
use crate::http::peer::causes;
use crate::http::tls::TlsError;

use super::answer::{self, Taken};
use super::connection::{Connection, Connector, Task};
use super::outcome::SendError;
use super::{cures, grpc};

/// How long an unused connection is kept: less than the minute after which many that stand between begin to close them.
const LONGEST_IDLE: Duration = Duration::from_secs(50);

/// How much of the time of an exchange the connection may take.
const CONNECTING: f64 = 0.9;

/// The largest answer that is read, also after it has been decompressed.
const LONGEST_ANSWER: usize = 4 * 1024 * 1024;

/// The connection that was used last, while nobody uses it, and what closes it in the end.
#[derive(Debug)]
struct Unused {
    connection: Connection,
    _closing: Task,
}

/// A client for one destination.
#[derive(Debug, Clone)]
pub struct OtlpClient {
    destination: Destination,
    connector: Arc<Connector>,
    unused: Arc<Mutex<Option<Unused>>>,
}

impl OtlpClient {
    /// A client for `destination`. It connects when there is something to send.
    pub fn new(destination: Destination) -> OtlpClient {
        let connector = Arc::new(Connector::new(&destination));
        OtlpClient { destination, connector, unused: Arc::default() }
    }

    /// What is wrong with a certificate or key now, if anything is. It reads their files.
    pub fn trouble(&self) -> Option<String> {
        self.connector.check().err().map(|error| self.explain(&error))
    }

    /// Reads certificates and keys again, and returns whether they changed; then the next message goes over a new
    /// connection. It may block. Without TLS there is nothing to read.
    ///
    /// # Errors
    /// They cannot be used, and what was used before still is.
    pub fn read_again(&self) -> Result<bool, TlsError> {
        self.connector.read_again()
    }

    /// The signal that this client carries.
    pub fn signal(&self) -> Signal {
        self.destination.signal
    }

    /// Where it goes.
    pub fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Sends an encoded message, compressed if so configured, and returns what was taken of it.
    ///
    /// # Errors
    /// Why it was not taken, and what follows from that.
    pub async fn send(&self, message: Bytes) -> Result<Taken, SendError> {
        match tokio::time::timeout(self.destination.timeout, self.exchange(message)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(SendError::Timeout(self.destination.timeout)),
        }
    }

    /// What an error says to people who can do something about it: where, what, and what is likely to help.
    pub fn explain(&self, error: &SendError) -> String {
        match cures::cure(error, &self.destination) {
            Some(cure) => format!("{}: {error}; {cure}", self.destination),
            None => format!("{}: {error}", self.destination),
        }
    }

    /// One exchange. A connection that was used before may have been closed meanwhile, so a request on it gets a second chance.
    async fn exchange(&self, message: Bytes) -> Result<Taken, SendError> {
        let request = self.request(message);
        if let Some(mut connection) = self.take_unused()
            && let Ok(response) = connection.send(request.clone()).await
        {
            return self.read(response, connection).await;
        }
        let mut connection = self.connect().await?;
        let response = connection.send(request).await.map_err(|error| connection.no_answer(&error))?;
        self.read(response, connection).await
    }

    /// A new connection. It is given a little less than the whole time, so that a peer that takes none is told from one
    /// that is slow.
    async fn connect(&self) -> Result<Connection, SendError> {
        let time = self.destination.timeout.mul_f64(CONNECTING);
        let connected = tokio::time::timeout(time, self.connector.connect()).await;
        connected.unwrap_or_else(|_| {
            let detail = format!("after {time:?}");
            Err(SendError::NoAnswer { obstacle: Obstacle::NoConnection, detail })
        })
    }

    /// Reads an answer to its end. Then its connection may be used again.
    async fn read(&self, response: Response<Incoming>, connection: Connection) -> Result<Taken, SendError> {
        let (head, body) = response.into_parts();
        let body = read_body(body).await;
        if body.end.is_ok() {
            self.keep(connection);
        }
        if self.destination.protocol == Protocol::Grpc {
            return grpc::read(head.status, &head.headers, body);
        }
        if answer::is_grpc(&head.headers) {
            let message = grpc::status_message(&head.headers);
            return Err(answer::no_otlp(answer::IN_GRPC, message.as_bytes()));
        }
        let plain = plain(&head.headers, body.bytes);
        if !head.status.is_success() {
            // The body of a failure matters less than its status, so it need not be whole.
            return Err(answer::of_http(head.status, &head.headers, &plain));
        }
        body.end?;
        answer::taken_by_http(&head.headers, &plain)
    }

    fn keep(&self, connection: Connection) {
        let unused = Arc::downgrade(&self.unused);
        let closing = Task::spawn(async move {
            tokio::time::sleep(LONGEST_IDLE).await;
            if let Some(unused) = unused.upgrade() {
                drop(lock(&unused).take());
            }
        });
        *lock(&self.unused) = Some(Unused { connection, _closing: closing });
    }

    fn take_unused(&self) -> Option<Connection> {
        let unused = lock(&self.unused).take();
        let connection = unused.map(|unused| unused.connection);
        connection.filter(|connection| connection.is_open() && !self.connector.is_outdated(connection))
    }

    fn request(&self, message: Bytes) -> Request<Full<Bytes>> {
        let protocol = self.destination.protocol;
        let compressed = if self.destination.gzip { gzip(&message) } else { None };
        let is_gzip = compressed.is_some();
        let message = compressed.unwrap_or(message);
        let (content_type, encoding, body) = match protocol {
            Protocol::HttpProtobuf => ("application/x-protobuf", CONTENT_ENCODING, message),
            Protocol::Grpc => {
                let encoding = HeaderName::from_static("grpc-encoding");
                ("application/grpc", encoding, grpc::frame(&message, is_gzip))
            }
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.destination.endpoint.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(USER_AGENT, HeaderValue::from_static(USER_AGENT_VALUE));
        if is_gzip {
            headers.insert(encoding, HeaderValue::from_static("gzip"));
        }
        headers.extend(self.destination.headers.iter().cloned());
        if protocol == Protocol::Grpc {
            grpc::add_headers(request.headers_mut(), self.destination.timeout);
        }
        request
    }
}

fn lock(unused: &Mutex<Option<Unused>>) -> MutexGuard<'_, Option<Unused>> {
    unused.lock().unwrap_or_else(PoisonError::into_inner)
}

const USER_AGENT_VALUE: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// The message compressed. Writing to memory cannot fail; if it did, the message would go out as it is.
fn gzip(message: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(message).ok()?;
    Some(encoder.finish().ok()?.into())
}

/// A body without its compression, if it has one that is known and can be read.
fn plain(headers: &HeaderMap, body: Bytes) -> Bytes {
    match headers.get(CONTENT_ENCODING) {
        Some(encoding) if encoding == "gzip" => gunzip(&body).unwrap_or(body),
        _ => body,
    }
}

/// The content of a gzip stream, unless it is none or is longer than any answer should be.
pub(super) fn gunzip(body: &[u8]) -> Option<Bytes> {
    let mut plain = Vec::new();
    GzDecoder::new(body).take(LONGEST_ANSWER as u64 + 1).read_to_end(&mut plain).ok()?;
    (plain.len() <= LONGEST_ANSWER).then(|| plain.into())
}

/// What was read of a body.
pub(super) struct Body {
    pub(super) bytes: Bytes,
    pub(super) trailers: HeaderMap,
    /// Whether that is all.
    pub(super) end: Result<(), SendError>,
}

/// Reads a body up to the limit, with its trailers.
async fn read_body(mut body: Incoming) -> Body {
    let (mut bytes, mut trailers) = (BytesMut::new(), HeaderMap::new());
    let end = loop {
        let frame = match body.frame().await {
            None => break Ok(()),
            Some(Err(error)) => break Err(SendError::Interrupted(causes(&error))),
            Some(Ok(frame)) => frame,
        };
        match frame.into_data() {
            Ok(data) if bytes.len() + data.len() > LONGEST_ANSWER => {
                break Err(SendError::Interrupted("it is longer than any answer".to_owned()));
            }
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    };
    Body { bytes: bytes.freeze(), trailers, end }
}
