//! The call event handler: one GET in, one answer out.
//!
//! | request | answer |
//! |---|---|
//! | GET call event, good, or a repeat | 200, empty |
//! | GET call event that cannot be a call | 400, a problem document naming the parameter |
//! | another method | 405 with Allow |
//! | another path | 404 |
//! | a URI that is too long | 414 |
//! | the event cannot be stored | 503 with Retry-After |

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use metrics::{Counter, Histogram, counter, histogram};
use tracing::{debug, warn};

use crate::call::{Anomaly, CallEvent, NotACall};
use crate::export::catalog;
use crate::server::Handler;
use crate::server::response::{self, Body};

use super::acceptance::{Acceptance, Outcome};
use crate::refused::RefusedRequests;

/// Answers the callback.
#[derive(Debug)]
pub struct CallEventHandler {
    path: String,
    longest_uri: usize,
    acceptance: Arc<Acceptance>,
    refused: Arc<RefusedRequests>,
    meters: Meters,
    refusals_logged: LogPace,
}

impl CallEventHandler {
    /// Answers call events on `path`, whose URI may have up to `longest_uri` bytes.
    pub fn new(
        path: String,
        longest_uri: usize,
        acceptance: Arc<Acceptance>,
        refused: Arc<RefusedRequests>,
    ) -> CallEventHandler {
        let (meters, refusals_logged) = (Meters::new(), LogPace::default());
        CallEventHandler { path, longest_uri, acceptance, refused, meters, refusals_logged }
    }

    async fn answer(&self, request: &Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let uri = request.uri();
        let query = uri.query().unwrap_or_default();
        if uri.path().len() + 1 + query.len() > self.longest_uri {
            return response::empty(StatusCode::URI_TOO_LONG);
        }
        if uri.path() != self.path {
            return response::empty(StatusCode::NOT_FOUND);
        }
        if request.method() != Method::GET {
            return response::method_not_allowed("GET");
        }
        let received_at = now_in_milliseconds();
        match CallEvent::read(query.as_bytes(), received_at) {
            Ok(event) => self.accept(&event, query).await,
            Err(reason) => self.refuse(reason, query, received_at, peer),
        }
    }

    async fn accept(&self, event: &CallEvent<'_>, query: &str) -> Response<Body> {
        match self.acceptance.accept(event, query.as_bytes()).await {
            Err(reason) => {
                self.meters.unavailable.increment(1);
                return response::unavailable(&reason.to_string(), "1");
            }
            Ok(Outcome::Duplicate) => self.meters.duplicate.increment(1),
            Ok(Outcome::Accepted) => {
                self.meters.accepted.increment(1);
                for anomaly in event.anomalies.iter() {
                    self.meters.anomalies[anomaly as usize].increment(1);
                }
            }
        }
        response::empty(StatusCode::OK)
    }

    fn refuse(
        &self,
        reason: NotACall,
        query: &str,
        received_at: SystemTime,
        peer: SocketAddr,
    ) -> Response<Body> {
        self.meters.refused.increment(1);
        self.refused.keep(received_at, reason.to_string(), query);
        match self.refusals_logged.is_due() {
            true => {
                warn!(%reason, %peer, "refused a call event; further ones are logged at most once a minute")
            }
            false => debug!(%reason, %peer, "refused a call event"),
        }
        response::problem(
            StatusCode::BAD_REQUEST,
            "Not a call event",
            &reason.to_string(),
            reason.parameter(),
        )
    }
}

impl Handler for CallEventHandler {
    async fn handle(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let started = Instant::now();
        let response = self.answer(&request, peer).await;
        self.meters.count_request(response.status());
        self.meters.request_duration.record(started.elapsed());
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
    accepted: Counter,
    duplicate: Counter,
    refused: Counter,
    unavailable: Counter,
    anomalies: [Counter; Anomaly::ALL.len()],
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
            accepted: event("accepted"),
            duplicate: event("duplicate"),
            refused: event("refused"),
            unavailable: event("unavailable"),
            anomalies: Anomaly::ALL
                .map(|anomaly| counter!(catalog::EXPORTER_ANOMALIES.name, "kind" => anomaly.as_str())),
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
