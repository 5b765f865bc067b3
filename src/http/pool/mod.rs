//! Connections to the service behind that are used again, so that none that ends costs a request.
//!
//! A service closes what nobody has used for a while, in its own time and without asking. A request that goes out at
//! that moment is lost on the way: the service has not seen it, and there is no answer.
//!
//! A connection is
//!
//! | state | until |
//! |---|---|
//! | new: made for one request | the answer, or the error of whoever waits |
//! | busy | the answer has been read and the request sent whole |
//! | idle: among the [`Idle`], at most 64, the one that was used last goes out first | it is taken, [`rules::idle_time`] is over, the service closes it, or a later one takes its place |
//! | closed | |
//!
//! Three rules ([`rules`]) keep the requests:
//! 1. None is used that the service may be about to close, as far as one can know: after 4 seconds, or what `Keep-Alive:
//!    timeout=` says, less a margin.
//! 2. What must not arrive twice (POST, PATCH, anything with a body) goes out on a connection that was used within the last 300
//!    milliseconds, or else on a new one. A stream of such requests uses connections again; single ones pay for a handshake.
//! 3. Where a connection that is used again breaks before a byte of the answer, the request goes out once more on a new
//!    one, if it may arrive twice or nothing of it was sent. A new connection that breaks is an error, so each request
//!    is sent twice at most.
//!
//! An answer that comes before the body has been read is an answer, even if nothing more can be sent: [`Observed`] has
//! hyper read what there is.
//!
//! What can go wrong: a service that closes connections after less than 300 milliseconds, or as it ends, can still cost
//! a request that must not arrive twice. A service that has read a request and breaks the connection sees it again; RFC
//! 9110 (9.2.2) lets it expect that, and call events carry an `Idempotency-Key`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use http_body_util::{Either, Empty};
use hyper::body::{Body, Incoming};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::service::Service;
use hyper::{Request, Response, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::time::Instant;
use tracing::debug;

use self::idle::Idle;
use self::rules::{BodyState, Broken};
use super::headers::add_host;
use super::observed::{Observed, Traffic};
use super::service::{BUFFER, RequestBody, SendError};

mod idle;
pub(super) mod rules;

/// How often idle connections are looked at, for those whose time is over.
const LOOK: Duration = Duration::from_millis(500);

/// Connections to one service.
#[derive(Debug)]
pub(super) struct Pool {
    connector: HttpsConnector<HttpConnector>,
    idle: Arc<Mutex<Idle<Connection>>>,
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<RequestBody>,
    traffic: Arc<Traffic>,
}

impl Connection {
    fn is_usable(&self) -> bool {
        self.sender.is_ready() && !self.traffic.is_broken()
    }
}

impl Pool {
    /// No connection yet.
    pub(super) fn new(connector: HttpsConnector<HttpConnector>) -> Pool {
        Pool { connector, idle: Arc::default() }
    }

    /// Sends a request to its URI, and returns the head of the answer as soon as it is there.
    ///
    /// # Errors
    /// There is no connection, or it breaks and the request cannot be sent again.
    pub(super) async fn send(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, SendError> {
        let path_and_query = request.uri().path_and_query().cloned();
        let target = path_and_query.map_or_else(|| Uri::from_static("/"), Uri::from);
        let uri = std::mem::replace(request.uri_mut(), target);
        add_host(request.headers_mut(), &uri);
        let has_body = !request.body().is_end_stream();
        let is_idempotent = request.method().is_idempotent();
        let longest = rules::longest_idle(is_idempotent, has_body);
        let reused = lock(&self.idle).take(longest, Instant::now(), Connection::is_usable);
        if let Some(connection) = reused {
            let traffic = Arc::clone(&connection.traffic);
            traffic.begin();
            let copy = (!has_body).then(|| copy_of(&request));
            let mut error = match self.exchange(connection, request).await {
                Ok(response) => return Ok(response),
                Err(error) => error,
            };
            let untouched = error.take_message();
            let body = match (has_body, &untouched) {
                (false, _) => BodyState::None,
                (true, Some(_)) => BodyState::Whole,
                (true, None) => BodyState::Taken,
            };
            let (has_sent, has_received) = traffic.seen();
            let broken = Broken { is_idempotent, body, has_sent, has_received };
            let error = error.into_error();
            request = untouched.or(copy).filter(|_| broken.may_repeat()).ok_or(SendError::Http(error))?;
            debug!(method = %request.method(), "a connection to the service ended as a request went out; it is sent on a new one");
        }
        let connection = self.connect(uri).await?;
        self.exchange(connection, request).await.map_err(|error| SendError::Http(error.into_error()))
    }

    async fn connect(&self, uri: Uri) -> Result<Connection, SendError> {
        let connector = TowerToHyperService::new(self.connector.clone());
        let stream = connector.call(uri).await.map_err(SendError::Connect)?;
        let traffic = Arc::default();
        let stream = Observed::new(TokioIo::new(stream), Arc::clone(&traffic));
        let mut http = http1::Builder::new();
        let (sender, connection) = http.max_buf_size(BUFFER).handshake(TokioIo::new(stream)).await?;
        // It ends when the service closes it or nobody has the sender; what goes wrong is said to whoever waits.
        tokio::spawn(connection);
        Ok(Connection { sender, traffic })
    }

    /// Sends a request on this connection, which is kept for others if there is an answer.
    async fn exchange(
        &self,
        mut connection: Connection,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        let response = connection.sender.try_send_request(request).await?;
        let idle_time = rules::idle_time(response.headers());
        if connection.is_usable() {
            keep(&self.idle, connection, idle_time);
        } else {
            let idle = Arc::downgrade(&self.idle);
            tokio::spawn(async move {
                // The answer's body is still to be read, or the request's to be sent.
                let is_ready = connection.sender.ready().await.is_ok();
                if let Some(idle) = idle.upgrade().filter(|_| is_ready && connection.is_usable()) {
                    keep(&idle, connection, idle_time);
                }
            });
        }
        Ok(response)
    }
}

/// Makes a connection an idle one.
fn keep(idle: &Arc<Mutex<Idle<Connection>>>, connection: Connection, idle_time: Duration) {
    let is_first = lock(idle).put(connection, idle_time, Instant::now());
    if is_first {
        tokio::spawn(close_in_time(Arc::downgrade(idle)));
    }
}

/// Closes connections whose time is over, as long as there are any.
async fn close_in_time(idle: Weak<Mutex<Idle<Connection>>>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(idle) = idle.upgrade() else { return };
        if lock(&idle).expire(Instant::now(), Connection::is_usable) {
            return;
        }
    }
}

fn lock(idle: &Mutex<Idle<Connection>>) -> MutexGuard<'_, Idle<Connection>> {
    // Nothing panics between two changes that belong together.
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The same request without a body.
fn copy_of(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(Either::Right(Empty::new()));
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}
