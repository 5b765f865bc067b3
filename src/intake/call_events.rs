//! The call event handler: one GET in, one answer out.
//!
//! | request | answer | with a service behind |
//! |---|---|---|
//! | GET call event, good, or a repeat | 200, empty | the same; inline: the service's |
//! | GET call event that cannot be a call | 400, a problem document naming the parameter | the service's |
//! | another method | 405 with Allow | the service's |
//! | another path | 404 | the service's |
//! | a URI that is too long, or headers that are | 414, 431 | the same |
//! | the event cannot be stored | 503 with Retry-After | the same |
//!
//! What cannot be a call is passed on as well, since the service may know better than this program; it is counted and kept
//! as refused all the same.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use metrics::{Counter, Histogram, counter, histogram};
use tracing::{debug, warn};

use crate::callback::envelope;
use crate::callback::{CallEvent, NotACall};
use crate::config::ForwardMode;
use crate::http::Handler;
use crate::http::headers;
use crate::http::response::{self, Body};
use crate::intake::proxy::Proxy;
use crate::metrics::catalog;

use super::acceptance::{Acceptance, Outcome};
use crate::state::refused::RefusedRequests;

/// Answers the callback.
#[derive(Debug)]
pub struct CallEventHandler {
    path: String,
    longest_uri: usize,
    acceptance: Arc<Acceptance>,
    refused: Arc<RefusedRequests>,
    service: Option<(Proxy, ForwardMode)>,
    meters: Meters,
    refusals_logged: LogPace,
}

impl CallEventHandler {
    /// Answers call events on `path`, whose URI may have up to `longest_uri` bytes. With a service behind, everything else
    /// is passed on to it, and call events are as the mode says.
    pub fn new(
        path: String,
        longest_uri: usize,
        acceptance: Arc<Acceptance>,
        refused: Arc<RefusedRequests>,
        service: Option<(Proxy, ForwardMode)>,
    ) -> CallEventHandler {
        let (meters, refusals_logged) = (Meters::new(), LogPace::default());
        CallEventHandler { path, longest_uri, acceptance, refused, service, meters, refusals_logged }
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let started = Instant::now();
        let response = match self.call_event(&request, peer).await {
            CallEventAnswer::Own(response) => response,
            CallEventAnswer::OfService(proxy) => return proxy.pass_on(request, peer).await,
        };
        self.meters.request_duration.record(started.elapsed());
        response
    }

    /// What a request is answered, as far as it is a call event; everything else is for the service, if there is one.
    async fn call_event(&self, request: &Request<Incoming>, peer: SocketAddr) -> CallEventAnswer<'_> {
        let of_service = |or_else: fn() -> Response<Body>| match &self.service {
            Some((proxy, _)) => CallEventAnswer::OfService(proxy),
            None => CallEventAnswer::Own(or_else()),
        };
        let uri = request.uri();
        if uri.path() != self.path {
            return of_service(|| response::empty(StatusCode::NOT_FOUND));
        }
        if request.method() != Method::GET {
            return of_service(|| response::method_not_allowed("GET"));
        }
        let query = uri.query().unwrap_or_default();
        if uri.path().len() + 1 + query.len() > self.longest_uri {
            return CallEventAnswer::Own(response::empty(StatusCode::URI_TOO_LONG));
        }
        let received_at = now_in_milliseconds();
        let event = match CallEvent::read(query.as_bytes(), received_at) {
            Ok(event) => event,
            Err(reason) => {
                self.note_refused(reason, query, received_at, peer);
                return match &self.service {
                    Some((proxy, _)) => CallEventAnswer::OfService(proxy),
                    None => CallEventAnswer::Own(not_a_call(reason)),
                };
            }
        };
        let envelope = match &self.service {
            Some((_, ForwardMode::Stored)) => self.envelope(request, peer),
            Some((_, ForwardMode::Inline)) | None => Some(Vec::new()),
        };
        let Some(envelope) = envelope else {
            return CallEventAnswer::Own(response::empty(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
        };
        match self.acceptance.accept(&event, &envelope, query.as_bytes()).await {
            // The ledger counts it.
            Ok(Outcome::Accepted) => {}
            Ok(Outcome::Duplicate) => self.meters.duplicate.increment(1),
            Err(reason) => {
                self.meters.unavailable.increment(1);
                return CallEventAnswer::Own(response::unavailable(&reason.to_string(), "1"));
            }
        }
        match &self.service {
            Some((proxy, ForwardMode::Inline)) => CallEventAnswer::OfService(proxy),
            Some((_, ForwardMode::Stored)) | None => CallEventAnswer::Own(response::empty(StatusCode::OK)),
        }
    }

    /// What the journal keeps of a call event to pass it on, unless that is too much.
    fn envelope(&self, request: &Request<Incoming>, peer: SocketAddr) -> Option<Vec<u8>> {
        let mut fields = request.headers().clone();
        headers::pass_on(&mut fields, peer.ip(), request.version());
        envelope::encode(request.uri().path(), &fields)
    }

    /// Counts and keeps what cannot be a call.
    fn note_refused(&self, reason: NotACall, query: &str, received_at: SystemTime, peer: SocketAddr) {
        self.meters.refused.increment(1);
        self.refused.keep(received_at, reason.to_string(), query);
        match self.refusals_logged.is_due() {
            true => {
                warn!(%reason, %peer, "refused a call event; further ones are logged at most once a minute")
            }
            false => debug!(%reason, %peer, "refused a call event"),
        }
    }
}

/// Who answers a request.
enum CallEventAnswer<'a> {
    /// This program.
    Own(Response<Body>),
    /// The service behind.
    OfService(&'a Proxy),
}

fn not_a_call(reason: NotACall) -> Response<Body> {
    response::problem(StatusCode::BAD_REQUEST, "Not a call event", &reason.to_string(), reason.parameter())
}

impl Handler for CallEventHandler {
    async fn handle(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let response = self.answer(request, peer).await;
        self.meters.count_request(response.status());
        response
    }
}

/// The time to the millisecond, which is what the journal keeps of it.
fn now_in_milliseconds() -> SystemTime {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_millis(since_epoch.as_millis() as u64)
}

/// The metrics of intake, looked up once.
struct Meters {
    duplicate: Counter,
    refused: Counter,
    unavailable: Counter,
    requests: [(StatusCode, Counter); 6],
    request_duration: Histogram,
}

impl Meters {
    fn new() -> Meters {
        let event = |result: &'static str| counter!(catalog::EXPORTER_EVENTS.name, "result" => result);
        let answers = [
            StatusCode::OK,
            StatusCode::BAD_REQUEST,
            StatusCode::NOT_FOUND,
            StatusCode::METHOD_NOT_ALLOWED,
            StatusCode::URI_TOO_LONG,
            StatusCode::SERVICE_UNAVAILABLE,
        ];
        Meters {
            duplicate: event("duplicate"),
            refused: event("refused"),
            unavailable: event("unavailable"),
            requests: answers.map(|status| (status, request_counter(status))),
            request_duration: histogram!(catalog::EXPORTER_REQUEST_DURATION.name),
        }
    }

    fn count_request(&self, status: StatusCode) {
        match self.requests.iter().find(|(known, _)| *known == status) {
            Some((_, counter)) => counter.increment(1),
            None => request_counter(status).increment(1),
        }
    }
}

impl std::fmt::Debug for Meters {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Meters")
    }
}

fn request_counter(status: StatusCode) -> Counter {
    counter!(catalog::EXPORTER_REQUESTS.name, "code" => status.as_u16().to_string())
}

/// Lets a log line through at most once a minute, so that a stream of bad requests does not become a stream of logs.
#[derive(Debug, Default)]
struct LogPace {
    /// The minute of the last line, since the Unix epoch.
    last: AtomicU64,
}

impl LogPace {
    fn is_due(&self) -> bool {
        let minute =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs() / 60;
        self.last.swap(minute, Ordering::Relaxed) != minute
    }
}
