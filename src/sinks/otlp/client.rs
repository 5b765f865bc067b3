//! The way to a collector: one HTTP client for both signals and both protocols.
//!
//! A message goes out encoded as it is; what comes back is typed, so that a delivery can tell what is worth another
//! try, when, and what never is. Source: OpenTelemetry Protocol Specification, "OTLP/gRPC" and "OTLP/HTTP".

use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, Request, Response, Uri, Version};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::config::otlp::{Destination, Protocol, Signal};
use crate::http::peer::for_people;
use crate::http::tls::{self, TlsError};

use super::grpc;
use super::outcome::SendError;

/// The largest answer that is read.
const LONGEST_ANSWER: usize = 4 * 1024 * 1024;

/// How long an unused connection is kept.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// A client for one destination.
#[derive(Debug, Clone)]
pub struct OtlpClient {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    destination: Destination,
}

impl OtlpClient {
    /// A client for `destination`. It connects when there is something to send.
    ///
    /// # Errors
    /// A certificate or key cannot be used.
    pub fn new(destination: Destination) -> Result<OtlpClient, TlsError> {
        let connector = tls::connector(&tls::Target {
            uri: &destination.endpoint,
            connect_timeout: destination.timeout,
            versions: match destination.protocol {
                Protocol::Grpc => tls::Versions::Http2,
                Protocol::HttpProtobuf => tls::Versions::Http1OrHttp2,
            },
            certificate: destination.certificate.as_deref(),
            client_identity: destination
                .client_identity
                .as_ref()
                .map(|(certificate, key)| (certificate.as_path(), key.as_path())),
        })?;
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .timer(TokioTimer::new())
            .http2_only(destination.protocol == Protocol::Grpc)
            .build(connector);
        Ok(OtlpClient { http, destination })
    }

    /// The signal that this client carries.
    pub fn signal(&self) -> Signal {
        self.destination.signal
    }

    /// Where it goes, for people.
    pub fn endpoint(&self) -> &Uri {
        &self.destination.endpoint
    }

    /// Sends an encoded message, compressed if so configured, and answers the encoded response message.
    ///
    /// # Errors
    /// Why it was not taken, and whether and when another try makes sense.
    pub async fn send(&self, message: Bytes) -> Result<Bytes, SendError> {
        match tokio::time::timeout(self.destination.timeout, self.exchange(message)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(SendError::Timeout(self.destination.timeout)),
        }
    }

    async fn exchange(&self, message: Bytes) -> Result<Bytes, SendError> {
        let request = self.request(message);
        let response = self.http.request(request).await.map_err(|error| SendError::unreachable(&error))?;
        match self.destination.protocol {
            Protocol::Grpc => grpc::read(response).await,
            Protocol::HttpProtobuf => read(response).await,
        }
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
            *request.version_mut() = Version::HTTP_2;
            grpc::add_headers(request.headers_mut(), self.destination.timeout);
        }
        request
    }
}

const USER_AGENT_VALUE: &str = concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION"));

/// The message compressed. Writing to memory cannot fail; if it did, the message would go out as it is.
fn gzip(message: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(message).ok()?;
    Some(encoder.finish().ok()?.into())
}

/// Reads an answer of OTLP/HTTP.
async fn read(response: Response<Incoming>) -> Result<Bytes, SendError> {
    let (head, body) = response.into_parts();
    let body = read_body(body).await.map(|(bytes, _)| bytes);
    match head.status.is_success() {
        true => body,
        // The body of a failure is only for people, so it does not matter whether it could be read.
        false => Err(SendError::of_http(head.status, &head.headers, &body.unwrap_or_default())),
    }
}

/// Reads a body up to the limit, with its trailers.
pub(super) async fn read_body(body: Incoming) -> Result<(Bytes, hyper::HeaderMap), SendError> {
    let collected = Limited::new(body, LONGEST_ANSWER).collect().await;
    let collected = collected.map_err(|error| SendError::Interrupted(for_people(&error.to_string())))?;
    let trailers = collected.trailers().cloned().unwrap_or_default();
    Ok((collected.to_bytes(), trailers))
}
