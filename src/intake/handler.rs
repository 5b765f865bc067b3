//! The callback handler: one GET in, one answer out.
//!
//! | request | answer | with a service behind |
//! |---|---|---|
//! | GET call event, good, or a repeat | 200, empty | the same; inline: the service's |
//! | GET or HEAD without parameters: a probe | 200, empty (with `--probe-status 400` as any GET or HEAD below) | the same; inline: the service's |
//! | GET [canary](super::canary) of an exporter | 200 with its nonce, or 503 | the same |
//! | GET call event that cannot be a call | 400, a problem document naming the parameter | the service's |
//! | a query with raw bytes that no URI may have | as the same query without; the connection is closed | the same, byte for byte |
//! | a call event that is [turned away](super::admission) | 403; 429 with Retry-After | the same |
//! | two Host fields, or none in HTTP/1.1 | 400, a problem document; the query of a call event is kept | the same |
//! | another method | 405 with Allow; kept if its query is a call event's without doubt | the service's; kept as well |
//! | a load balancer's [check](super::checks) | 200, or 503 and what is amiss | the service's; readiness at the path named for it |
//! | another path | 404; kept likewise | the service's; kept as well |
//! | a URI that is too long, or headers that are | 414, 431; the beginning of the query is kept | the same |
//! | the event cannot be stored | 503 with Retry-After | the service's; 503 if it has none |
//! | an event while the exporter [drains](super::draining) and its state is to go | as ever | the service's; 503 if it has none |
//! | a request on which this program panics | 500 | the service's |
//!
//! What is answered without asking the service is not to be stored by a cache (`Cache-Control: no-store`).
//! The answer to a repeat is [marked](headers::mark_repeat), the service's inline too, so that who sends calls again can tell.
//!
//! What cannot be a call is passed on as well, since the service may know better than this program; it is counted and kept
//! as refused all the same.

mod of_service;

use std::borrow::Cow;
use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CACHE_CONTROL, EXPECT, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tracing::{debug, error, warn};

use self::of_service::Held;
use super::acceptance::{Acceptance, Outcome};
use super::admission::Admission;
use super::canary::Nonce;
use super::checks::{Checks, is_read};
use super::metrics::IntakeMetrics;
use super::misdirected::Misdirected;
use super::proxy::Proxy;
use super::unknown::UnknownParameters;
use crate::callback::shield::{Panicked, fault_point, shielded};
use crate::callback::{Anomaly, Fingerprint, Identified, Key, NotACall, Record, envelope};
use crate::config::ForwardMode;
use crate::config::routes::{Found, ProbeStatus, Routes};
use crate::http::body::discard;
use crate::http::headers::{self, WrongHost};
use crate::http::pace::{LeftOut, Pace};
use crate::http::response::{self, Body};
use crate::http::{Handler, raw_query};
use crate::state::known::NotStored;
use crate::state::refused::RefusedRequests;

/// Answers callbacks.
#[derive(Debug)]
pub struct CallbackHandler {
    routes: Routes,
    admission: Option<Admission>,
    longest_uri: usize,
    acceptance: Acceptance,
    refused: Arc<RefusedRequests>,
    service: Option<Proxy>,
    checks: Checks,
    metrics: IntakeMetrics,
    refusals_logged: Pace,
    contradictions_logged: Pace,
    panics_logged: Pace,
    misdirected: Misdirected,
    unknown_parameters: UnknownParameters,
}

/// What is said of a repeat whose cause, reason or duration is another one than that of the event with its key.
const CONTRADICTING: &str =
    "contradicting_repeat: the call was counted with another cause, reason or duration";

impl CallbackHandler {
    /// Answers the callbacks of `routes` that `admission` lets in, whose URI may have up to `longest_uri` bytes. With a
    /// service behind, everything else is passed on to it, but for what `checks` has a path of its own for.
    pub fn new(
        routes: Routes,
        admission: Option<Admission>,
        longest_uri: usize,
        acceptance: Acceptance,
        refused: Arc<RefusedRequests>,
        service: Option<Proxy>,
        checks: Checks,
    ) -> CallbackHandler {
        CallbackHandler {
            routes,
            admission,
            longest_uri,
            acceptance,
            misdirected: Misdirected::new(Arc::clone(&refused), longest_uri),
            refused,
            service,
            checks,
            metrics: IntakeMetrics::new(),
            refusals_logged: Pace::default(),
            contradictions_logged: Pace::default(),
            panics_logged: Pace::default(),
            unknown_parameters: UnknownParameters::default(),
        }
    }

    async fn answer(&self, mut request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let started = Instant::now();
        // First of all: what comes behind it never sees the secret.
        let admitted = match &self.admission {
            Some(admission) => admission.admit(&mut request, &self.routes, peer.ip()),
            None => Ok(()),
        };
        let answer = match (admitted, headers::settle_host(&mut request)) {
            (Err(turned_away), _) => Answer::Own(turned_away.answer()),
            (Ok(()), Ok(())) => self.callback(&request, peer).await,
            (Ok(()), Err(reason)) => Answer::Own(self.wrong_host(reason, &request, peer)),
        };
        let response = match answer {
            Answer::Own(response) => not_to_be_stored(response),
            Answer::OfService(proxy) => return proxy.pass_on(request, peer).await,
            Answer::EventOfService { proxy, key, is_repeat } => {
                name_event(&mut request, key);
                return marked(proxy.pass_on(request, peer).await, is_repeat);
            }
            Answer::NotStored(proxy, held) => return self.pass_on(proxy, request, peer, held).await,
            Answer::OfServiceFirst(proxy, event) => return self.ask_first(proxy, request, peer, event).await,
        };
        self.metrics.request_duration.record(started.elapsed());
        // Who waits to be told to send a body sends none now.
        if !request.headers().contains_key(EXPECT) && !request.body().is_end_stream() {
            discard(request.into_body()).await;
        }
        response
    }

    /// What a request is answered, as far as it is a callback that is read; everything else is for the service, if there is
    /// one.
    async fn callback(&self, request: &Request<Incoming>, peer: SocketAddr) -> Answer<'_> {
        let uri = request.uri();
        let whole_query = raw_query::query_of(request);
        let Some(found) = self.routes.find(uri.path().as_bytes(), whole_query) else {
            self.look_at_stray(request, whole_query, peer);
            return match self.checks.readiness(request) {
                Some(answer) => Answer::Own(answer),
                None => self.of_service(|| self.checks.answer(request)),
            };
        };
        let Found { route, query } = found;
        if route.probe == ProbeStatus::Ok && is_probe(request, query) {
            self.metrics.probe.increment(1);
            return match route.mode {
                ForwardMode::Stored => Answer::Own(response::empty(StatusCode::OK)),
                ForwardMode::Inline => self.of_service(|| response::empty(StatusCode::OK)),
            };
        }
        if request.method() != Method::GET {
            self.look_at_stray(request, whole_query, peer);
            return self.of_service(|| response::method_not_allowed("GET"));
        }
        let length = uri.path().len() + 1 + whole_query.len();
        if length > self.longest_uri {
            let what = format!("the URI has {length} bytes, and --max-uri-bytes allows {}", self.longest_uri);
            self.note_too_large(&what, query, peer);
            return Answer::Own(response::empty(StatusCode::URI_TOO_LONG));
        }
        if let Some(nonce) = Nonce::of_query(query) {
            self.metrics.canary.increment(1);
            return Answer::Own(nonce.answer(self.acceptance.refuses()));
        }
        let received_at = now_in_milliseconds();
        let event = match shielded(|| self.read(found, request, received_at, peer)) {
            Ok(Ok(read)) => read,
            Ok(Err(Unread::NotACall(reason))) => {
                self.note_refused(&reason, query, received_at, peer);
                return self.of_service(|| not_a_call(reason));
            }
            Ok(Err(Unread::HeadersTooLarge)) => {
                self.note_too_large("its headers are larger than what is kept to pass it on", query, peer);
                return Answer::Own(response::empty(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
            }
            Err(panicked) => {
                self.note_panicked(&panicked, query, received_at, peer);
                return self.of_service(|| response::empty(StatusCode::INTERNAL_SERVER_ERROR));
            }
        };
        if let Some(proxy) = self.service.as_ref().filter(|proxy| proxy.is_asked_first()) {
            return Answer::OfServiceFirst(proxy, event);
        }
        let key = event.key;
        let outcome = match self.accept(event, query, peer).await {
            Ok(outcome) => outcome,
            Err(reason) => return Answer::Own(not_stored(reason)),
        };
        match (outcome, &self.service) {
            (Outcome::Undurable(passage), Some(proxy)) => Answer::NotStored(proxy, Held::InMemory(passage)),
            (Outcome::Uncounted(uncounted), Some(proxy)) => {
                Answer::NotStored(proxy, Held::Nowhere(uncounted))
            }
            (Outcome::Answered(status), _) => Answer::Own(marked(response::empty(status), true)),
            (outcome, service) => {
                let is_repeat = matches!(outcome, Outcome::Duplicate);
                match service {
                    Some(proxy) if route.mode == ForwardMode::Inline => {
                        Answer::EventOfService { proxy, key, is_repeat }
                    }
                    _ => Answer::Own(marked(response::empty(StatusCode::OK), is_repeat)),
                }
            }
        }
    }

    /// Accepts an event with this query.
    async fn accept(&self, event: Event, query: &[u8], peer: SocketAddr) -> Result<Outcome, NotStored> {
        let Event { key, fingerprint, received_at, record } = event;
        let accepted = self.acceptance.accept(key, fingerprint, received_at, record).await?;
        if accepted.contradicts {
            self.note_contradicting(query, received_at, peer);
        }
        Ok(accepted.outcome)
    }

    /// The service's answer, or this one if there is no service.
    fn of_service(&self, or_else: impl FnOnce() -> Response<Body>) -> Answer<'_> {
        match &self.service {
            Some(proxy) => Answer::OfService(proxy),
            None => Answer::Own(or_else()),
        }
    }

    /// Reads a callback.
    fn read(
        &self,
        found: Found<'_>,
        request: &Request<Incoming>,
        received_at: SystemTime,
        peer: SocketAddr,
    ) -> Result<Event, Unread> {
        let Found { route, query } = found;
        fault_point("intake", query);
        let Identified { key, fingerprint, oddities } =
            route.kind.identify(query).map_err(Unread::NotACall)?;
        if oddities.contains(Anomaly::UnknownParameter) {
            self.unknown_parameters.note(route.kind, query);
        }
        let mut envelope = Vec::new();
        if let Some(proxy) = &self.service
            && route.mode == ForwardMode::Stored
        {
            let mut fields = request.headers().clone();
            proxy.own_fields(&mut fields, peer.ip(), request.version());
            let path = before_event(request, found);
            envelope = envelope::encode(&path, &fields).ok_or(Unread::HeadersTooLarge)?;
        }
        let record = Record { kind: route.kind, received_at, key, envelope: &envelope, query };
        Ok(Event { key, fingerprint, received_at, record: record.encode() })
    }

    /// Looks at a request that no route takes.
    fn look_at_stray(&self, request: &Request<Incoming>, query: &[u8], peer: SocketAddr) {
        if let Err(panicked) = self.misdirected.look(&self.routes, request, peer) {
            self.note_panicked(&panicked, query, now_in_milliseconds(), peer);
        }
    }

    /// Answers a request of which it is not clear whom it is for. Nobody else gets it; the query of a callback is kept.
    fn wrong_host(&self, reason: WrongHost, request: &Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let query = raw_query::query_of(request);
        let found = self.routes.find(request.uri().path().as_bytes(), query);
        let event = found.filter(|found| request.method() == Method::GET && !found.query.is_empty());
        if let Some(Found { query, .. }) = event {
            self.note_refused(&reason, query, now_in_milliseconds(), peer);
        }
        response::problem(StatusCode::BAD_REQUEST, "Wrong Host", &reason.to_string(), None)
    }

    /// Counts and keeps what cannot be a call.
    fn note_refused(&self, reason: &dyn Display, query: &[u8], received_at: SystemTime, peer: SocketAddr) {
        self.metrics.refused.increment(1);
        self.refused.keep(received_at, reason.to_string(), query);
        match self.refusals_logged.due() {
            Some(left_out) => {
                warn!(%reason, %peer, left_out, "refused a call event; further ones are logged at most once a minute")
            }
            None => debug!(%reason, %peer, "refused a call event"),
        }
    }

    /// Counts a call event that is too large, and keeps its beginning, which tells people which call it was.
    fn note_too_large(&self, what: &str, query: &[u8], peer: SocketAddr) {
        self.metrics.refused.increment(1);
        self.refused.keep_beginning(now_in_milliseconds(), format!("too_large: {what}"), query);
        match self.refusals_logged.due() {
            Some(left_out) => {
                warn!(reason = what, %peer, left_out, "refused a call event that is too large; further ones are logged at most once a minute")
            }
            None => debug!(reason = what, %peer, "refused a call event that is too large"),
        }
    }

    /// Counts and keeps a repeat that says something else than what was counted, for people to look at.
    fn note_contradicting(&self, query: &[u8], received_at: SystemTime, peer: SocketAddr) {
        self.metrics.contradicting.increment(1);
        self.refused.keep_for_show(received_at, CONTRADICTING.to_owned(), query);
        match self.contradictions_logged.due() {
            Some(left_out) => {
                warn!(%peer, left_out, "{CONTRADICTING}; it is kept among the refused; further ones are logged at most once a minute")
            }
            None => debug!(%peer, "{CONTRADICTING}"),
        }
    }

    /// Counts and keeps a request that brings out a bug.
    fn note_panicked(&self, panicked: &Panicked, query: &[u8], received_at: SystemTime, peer: SocketAddr) {
        self.metrics.panicked.increment(1);
        self.refused.keep(received_at, panicked.to_string(), query);
        if let Some(LeftOut { times, .. }) = self.panics_logged.note(&panicked.to_string(), 1) {
            error!(%panicked, %peer, left_out = times, "a request could not be read; it is kept among the refused");
        }
    }
}

/// A callback that was read.
struct Event {
    /// What makes it the same event when it comes again.
    key: Key,
    fingerprint: Fingerprint,
    received_at: SystemTime,
    /// What the journal keeps of it.
    record: Bytes,
}

/// Why a callback was not read.
enum Unread {
    /// It cannot be what arrives on this path.
    NotACall(NotACall),
    /// Its headers are longer than what the journal keeps to pass it on.
    HeadersTooLarge,
}

/// Who answers a request.
enum Answer<'a> {
    /// This program.
    Own(Response<Body>),
    /// The service behind.
    OfService(&'a Proxy),
    /// The service behind, which gets a call event.
    EventOfService {
        /// The way to it.
        proxy: &'a Proxy,
        /// What makes it the same event when it comes again.
        key: Key,
        /// Whether it is known already.
        is_repeat: bool,
    },
    /// The service behind, for an event that is not stored, or else this program.
    NotStored(&'a Proxy, Held),
    /// The service behind, for an event that is stored once it has it, or else this program.
    OfServiceFirst(&'a Proxy, Event),
}

/// Gives a request the key by which the service recognizes its event when it comes again.
fn name_event(request: &mut Request<Incoming>, key: Key) {
    if let Ok(key) = headers::idempotency_key(key) {
        request.headers_mut().insert(headers::IDEMPOTENCY_KEY, key);
    }
}

/// Whether a request tests the callback: it has nothing to say. Load balancers ask with HEAD.
fn is_probe(request: &Request<Incoming>, query: &[u8]) -> bool {
    query.is_empty() && is_read(request)
}

/// What stands before the event's own part of a URI: the path, and the registered query with what joins the two.
fn before_event<'r>(request: &'r Request<Incoming>, found: Found<'_>) -> Cow<'r, str> {
    let path = request.uri().path();
    if found.route.query.is_empty() {
        return Cow::Borrowed(path);
    }
    let whole = raw_query::query_of(request);
    // The registered query is ASCII, as is what joins the event's to it.
    let registered = String::from_utf8_lossy(&whole[..whole.len() - found.query.len()]);
    Cow::Owned(format!("{path}?{registered}"))
}

fn not_to_be_stored(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn marked(mut response: Response<Body>, is_repeat: bool) -> Response<Body> {
    headers::mark_repeat(response.headers_mut(), is_repeat);
    response
}

fn not_stored(reason: NotStored) -> Response<Body> {
    response::unavailable(&reason.to_string(), "1")
}

fn not_a_call(reason: NotACall) -> Response<Body> {
    response::problem(StatusCode::BAD_REQUEST, "Not a call event", &reason.to_string(), reason.parameter())
}

impl Handler for CallbackHandler {
    const TAKES_RAW_QUERIES: bool = true;

    async fn handle(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let response = self.answer(request, peer).await;
        self.metrics.count_request(response.status());
        response
    }
}

/// The time to the millisecond, which is what the journal keeps of it.
fn now_in_milliseconds() -> SystemTime {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    SystemTime::UNIX_EPOCH + Duration::from_millis(since_epoch.as_millis() as u64)
}
