//! The proxy: a request goes to the service as it came, and the service's own answer goes back, both streamed.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Either};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::http::uri::Scheme;
use hyper::{Method, Request, Response, StatusCode, Version};
use metrics::{Counter, Histogram, counter, histogram};
use thiserror::Error;

use super::draining::Draining;
use crate::http::backoff::Backoff;
use crate::http::body::{Progress, Timed, Watched};
use crate::http::headers;
use crate::http::peer::{Peer, causes};
use crate::http::response::{self, Body};
use crate::http::service::Service;
use crate::http::trouble::Condition;
use crate::metrics::catalog;

/// Passes requests on.
#[derive(Debug)]
pub struct Proxy {
    service: Arc<Service>,
    scheme: Scheme,
    draining: Draining,
    service_state: Mutex<Peer>,
    metrics: ProxyMetrics,
}

impl Proxy {
    /// Passes requests on to `service` that came by `scheme`, events before they are stored if `draining` wants that.
    pub fn new(service: Arc<Service>, scheme: Scheme, draining: Draining) -> Proxy {
        // Nothing is tried again here, so the pauses do not matter.
        let backoff = Backoff::new(Duration::ZERO, Duration::ZERO);
        let service_state = Mutex::new(Peer::new("the service behind", "requests", backoff));
        Proxy { service, scheme, draining, service_state, metrics: ProxyMetrics::new() }
    }

    /// Whether the service is away, for whoever looks.
    pub fn condition(&self) -> Arc<Condition> {
        self.peer().condition()
    }

    /// Whether the service gets an event before it is stored.
    pub fn is_asked_first(&self) -> bool {
        self.draining.asks_first()
    }

    /// Makes the fields of a request from `peer` those that the service gets.
    pub fn own_fields(&self, headers: &mut HeaderMap, peer: IpAddr, version: Version) {
        headers::pass_on(headers, peer, version, &self.scheme);
    }

    fn peer(&self) -> MutexGuard<'_, Peer> {
        // Nothing in here panics between two changes that belong together.
        self.service_state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Passes a request from `peer` on and answers what the service answers: 502 if it cannot be reached, 504 if it is too
    /// slow, 408 if the client is too slow with its body.
    pub async fn pass_on(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        self.ask(request, peer).await.unwrap_or_else(|failure| failure.answer())
    }

    /// Passes a request from `peer` on before its event is stored, and answers what the service answers.
    ///
    /// # Errors
    /// It answers nothing, or not before the exporter has to end.
    pub async fn ask_first(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<Response<Body>, NotPassedOn> {
        tokio::select! {
            answer = self.ask(request, peer) => answer,
            () = self.draining.is_to_end() => {
                failures(STOPPING).increment(1);
                Err(NotPassedOn::Stopping)
            }
        }
    }

    /// Passes a request from `peer` on and answers what the service answers.
    ///
    /// # Errors
    /// It answers nothing.
    pub async fn ask(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<Response<Body>, NotPassedOn> {
        let started = Instant::now();
        let outcome = self.exchange(request, peer).await;
        self.metrics.duration.record(started.elapsed());
        outcome.inspect_err(|failure| failures(failure.as_str()).increment(1))
    }

    async fn exchange(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<Response<Body>, NotPassedOn> {
        let (mut head, body) = request.into_parts();
        let path_and_query = head.uri.path_and_query().map_or("/", |path_and_query| path_and_query.as_str());
        let uri = self.service.url().join(path_and_query).ok().filter(|_| head.method != Method::CONNECT);
        head.uri = uri.ok_or(NotPassedOn::NoPath)?;
        self.own_fields(&mut head.headers, peer.ip(), head.version);
        head.version = hyper::Version::HTTP_11;
        let progress = Progress::begin();
        let request = Request::from_parts(head, Either::Left(Watched::new(body, progress.clone())));
        let timeout = self.service.timeout();
        let response = tokio::select! {
            response = self.service.send(request) => {
                response.map_err(|error| match progress.is_broken() {
                    true => NotPassedOn::BadBody,
                    false => {
                        let url = self.service.url();
                        let shown = format!("{url}: {}", error.explain());
                        self.peer().note_away(&shown, &shown, None);
                        NotPassedOn::Unreachable(causes(&error))
                    }
                })?
            }
            is_sent = progress.stalled(timeout) => return Err(match is_sent {
                true => {
                    let shown = format!("{}: no answer within {timeout:?}", self.service.url());
                    self.peer().note_away(&shown, &shown, None);
                    NotPassedOn::Timeout(timeout)
                }
                false => NotPassedOn::RequestTimeout(timeout),
            }),
        };
        self.peer().note_back();
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(NotPassedOn::Switching);
        }
        let (mut head, body) = response.into_parts();
        headers::remove_those_of_one_connection(&mut head.headers);
        head.version = hyper::Version::HTTP_11;
        let aborted = self.metrics.aborted.clone();
        let body = Timed::new(body, timeout).map_err(move |error| {
            aborted.increment(1);
            error
        });
        Ok(Response::from_parts(head, response::streamed(body)))
    }
}

/// Why a request was not passed on.
#[derive(Debug, Error)]
pub enum NotPassedOn {
    /// There is no connection, or it breaks.
    #[error("the service behind cannot be reached: {0}")]
    Unreachable(String),
    /// The service is too slow.
    #[error("the service behind did not answer within {0:?}")]
    Timeout(Duration),
    /// The client is too slow with its body.
    #[error("nothing more of the request came for {0:?}")]
    RequestTimeout(Duration),
    /// The client's body breaks off, or is none.
    #[error("the request's body could not be read to its end")]
    BadBody,
    /// The service changes to a protocol that nobody asked for.
    #[error("the service behind switched to another protocol, which was not passed on to it")]
    Switching,
    /// The exporter ends before the service has answered.
    #[error("the exporter stops, and the service behind has not answered yet")]
    Stopping,
    /// CONNECT.
    #[error("only a request for a path can be passed on")]
    NoPath,
}

impl NotPassedOn {
    /// The answer to who sent the request.
    pub fn answer(&self) -> Response<Body> {
        response::problem(self.status(), "Not passed on", &self.to_string(), None)
    }

    /// Whether it is the client's own doing.
    pub fn is_of_client(&self) -> bool {
        match self {
            NotPassedOn::RequestTimeout(_) | NotPassedOn::BadBody | NotPassedOn::NoPath => true,
            NotPassedOn::Unreachable(_)
            | NotPassedOn::Timeout(_)
            | NotPassedOn::Switching
            | NotPassedOn::Stopping => false,
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            NotPassedOn::Unreachable(_) | NotPassedOn::Switching => StatusCode::BAD_GATEWAY,
            NotPassedOn::BadBody => StatusCode::BAD_REQUEST,
            NotPassedOn::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
            NotPassedOn::RequestTimeout(_) => StatusCode::REQUEST_TIMEOUT,
            NotPassedOn::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            NotPassedOn::NoPath => StatusCode::NOT_IMPLEMENTED,
        }
    }

    /// The value of the label `error`.
    fn as_str(&self) -> &'static str {
        match self {
            NotPassedOn::Unreachable(_) => UNREACHABLE,
            NotPassedOn::BadBody => BAD_BODY,
            NotPassedOn::Switching => SWITCHING,
            NotPassedOn::Timeout(_) => TIMEOUT,
            NotPassedOn::RequestTimeout(_) => REQUEST_TIMEOUT,
            NotPassedOn::Stopping => STOPPING,
            NotPassedOn::NoPath => NO_PATH,
        }
    }
}

const UNREACHABLE: &str = "unreachable";
const TIMEOUT: &str = "timeout";
const REQUEST_TIMEOUT: &str = "request_timeout";
const NO_PATH: &str = "no_path";
const BAD_BODY: &str = "bad_body";
const SWITCHING: &str = "switching_protocols";
const STOPPING: &str = "stopping";
const ABORTED: &str = "aborted";

fn failures(error: &'static str) -> Counter {
    counter!(catalog::EXPORTER_PROXY_FAILURES.name, "error" => error)
}

/// The metrics of the proxy.
struct ProxyMetrics {
    aborted: Counter,
    duration: Histogram,
}

impl ProxyMetrics {
    fn new() -> ProxyMetrics {
        // All stand at 0 from the start, so that the first failure is an increase.
        [UNREACHABLE, TIMEOUT, REQUEST_TIMEOUT, BAD_BODY, SWITCHING, NO_PATH, STOPPING]
            .iter()
            .for_each(|error| failures(error).increment(0));
        ProxyMetrics {
            aborted: failures(ABORTED),
            duration: histogram!(catalog::EXPORTER_PROXY_DURATION.name),
        }
    }
}

impl std::fmt::Debug for ProxyMetrics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("ProxyMetrics")
    }
}
