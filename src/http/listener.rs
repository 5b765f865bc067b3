//! An HTTP/1.1 listener with limits: the ground on which call events and the admin port stand.
//!
//! What hyper leaves to its user is here: a cap on connections (`places`), time limits on everything that a peer can stretch
//! (`deadlines`), the requests that hyper cannot read and this program can (`connection`), a back-off when accepting fails, and
//! a shutdown that finishes what was begun.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use metrics::{Counter, Gauge, counter, gauge};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tracing::{debug, warn};

use super::bind_error::{BindError, Purpose};
use super::client_network::ClientNetwork;
use super::connection::{Connection, Ended, Ending, lingering_close};
use super::pace::{LeftOut, Pace};
use super::places::{Numbers, Place, Places};
use super::response::{self, Body};
use super::server_tls::ServerTls;
use super::sockets::{ListenAddress, Sockets, canonical};
use super::trusted_proxies::TrustedProxies;
use crate::metrics::catalog;

/// What a listener allows its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open connections. For a further one that goes which has waited longest for a request or the rest of one's head;
    /// if none does, it is answered 503 and closed.
    pub connections: usize,
    /// Open connections of one peer, likewise; `None` if it may have all of them.
    pub connections_of_a_peer: Option<usize>,
    /// Time from the first byte of a request's head to its last.
    pub header_timeout: Duration,
    /// Time without a request, from the beginning of the connection or from the last answer on.
    pub idle_timeout: Duration,
    /// Time in which a peer takes nothing of an answer.
    pub stall_timeout: Duration,
    /// Time from the first byte of an answer to its last, whatever the peer takes meanwhile; `None` if it may go on for as
    /// long as the peer takes something. With a limit, the oldest answer also breaks off when its connection's place is needed.
    pub answer_timeout: Option<Duration>,
    /// Bytes of a request's head: request line and headers.
    pub head_bytes: usize,
}

impl Limits {
    /// Descriptors that a listener of so many connections has open at most: theirs, those that are being turned away,
    /// and the one for which a place is made.
    pub fn descriptors(connections: usize) -> usize {
        connections.saturating_add(rejections(connections)).saturating_add(1)
    }
}

#[cfg(any(test, feature = "fuzzing"))]
impl Limits {
    /// So many connections, with heads of so many bytes, which may take an hour for everything.
    pub(super) fn patient(connections: usize, head_bytes: usize) -> Limits {
        let hour = Duration::from_secs(3_600);
        Limits {
            connections,
            connections_of_a_peer: None,
            header_timeout: hour,
            idle_timeout: hour,
            stall_timeout: hour,
            answer_timeout: None,
            head_bytes,
        }
    }
}

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Whether it takes a request whose query no URI may have, as a [`RawQuery`](super::raw_query::RawQuery) among the
    /// request's extensions. If not, such a request is answered 400 before anybody sees it.
    const TAKES_RAW_QUERIES: bool = false;

    /// Whether it finds an [`OpenConnection`](super::OpenConnection) among each request's extensions.
    const TELLS_CONNECTIONS_APART: bool = false;

    /// Answers one request from `peer`, whose address is one of IPv4 if it speaks that, whatever socket took its connection.
    fn handle(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// A bound listener.
#[derive(Debug)]
pub struct Server {
    name: &'static str,
    sockets: Sockets,
    limits: Limits,
    proxy_protocol: Option<TrustedProxies>,
    tls: Option<Arc<ServerTls>>,
}

impl Server {
    /// Binds `address`.
    ///
    /// # Errors
    /// The address is in use, is not of this machine, or needs privileges.
    pub async fn bind(
        purpose: Purpose,
        address: &ListenAddress,
        limits: Limits,
    ) -> Result<Server, BindError> {
        match Sockets::bind(address).await {
            Ok(sockets) => {
                Ok(Server { name: purpose.as_str(), sockets, limits, proxy_protocol: None, tls: None })
            }
            Err(source) => Err(BindError { purpose, address: address.clone(), source }),
        }
    }

    /// Requires a header of the PROXY protocol from these peers, if there are any.
    pub fn with_proxy_protocol(self, from: Option<TrustedProxies>) -> Server {
        Server { proxy_protocol: from, ..self }
    }

    /// Speaks TLS, if there is any.
    pub fn with_tls(self, tls: Option<Arc<ServerTls>>) -> Server {
        Server { tls, ..self }
    }

    /// The addresses that are listened on, with the real port where 0 was asked for.
    pub fn addresses(&self) -> &[SocketAddr] {
        self.sockets.addresses()
    }

    /// Serves until it is to stop, then takes what still stands in the backlog and no more, lets every connection finish its
    /// request, and returns.
    pub async fn run(self, handler: Arc<impl Handler>, ending: Ending) {
        let Server { name, mut sockets, limits, proxy_protocol, tls } = self;
        let metrics = ListenerMetrics::new(name);
        let mut failures = AcceptFailures::new(name);
        let evicted = counter!(catalog::EXPORTER_EVICTED_CONNECTIONS.name, "listener" => name);
        let serving = Serving {
            name,
            handler,
            limits,
            proxy_protocol,
            tls,
            places: Places::new(
                Numbers {
                    all: limits.connections,
                    of_a_peer: limits.connections_of_a_peer,
                    breaks_off: limits.answer_timeout.is_some(),
                },
                evicted,
            ),
            rejections: Arc::new(Semaphore::new(rejections(limits.connections))),
            metrics,
            no_place_logged: Pace::default(),
            foreign_logged: Arc::default(),
            ending: ending.clone(),
        };
        loop {
            let accepted = tokio::select! {
                biased;
                () = ending.stop.cancelled() => break,
                accepted = sockets.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    failures.over();
                    serving.take(stream, peer).await;
                }
                Err(error) => {
                    serving.metrics.accept_failures.increment(1);
                    if !is_of_one_connection(&error) {
                        serving.places.make_room();
                    }
                    tokio::select! {
                        biased;
                        () = ending.stop.cancelled() => break,
                        () = failures.back_off(&error) => {}
                    }
                }
            }
        }
        for listener in sockets.into_inner() {
            serving.take_backlog(listener).await;
        }
        serving.places.all_given_back().await;
    }
}

/// What is needed to serve connections.
struct Serving<H> {
    name: &'static str,
    handler: Arc<H>,
    limits: Limits,
    proxy_protocol: Option<TrustedProxies>,
    tls: Option<Arc<ServerTls>>,
    places: Places,
    rejections: Arc<Semaphore>,
    metrics: ListenerMetrics,
    no_place_logged: Pace,
    foreign_logged: Arc<Pace>,
    ending: Ending,
}

impl<H: Handler> Serving<H> {
    /// Takes the connections that stand in the backlog of the listener, and closes it. Whoever connected has a promise of the
    /// kernel that somebody listens.
    async fn take_backlog(&self, listener: TcpListener) {
        let taken = async {
            let listener = listener.into_std()?;
            loop {
                let (stream, peer) = match listener.accept() {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) if is_of_one_connection(&error) => continue,
                    accepted => accepted?,
                };
                stream.set_nonblocking(true)?;
                self.take(TcpStream::from_std(stream)?, peer).await;
            }
        };
        let taken: io::Result<()> = taken.await;
        if let Err(error) = taken {
            self.metrics.accept_failures.increment(1);
            warn!(listener = self.name, %error, "what stood in the backlog was not taken to its end");
        }
    }

    /// Serves a connection, if there is a place for it.
    async fn take(&self, stream: TcpStream, peer: SocketAddr) {
        let peer = canonical(peer);
        let has_header = self.proxy_protocol.as_ref().is_some_and(|trusted| trusted.contains(peer.ip()));
        // A proxy that says for whom it connects is not one peer.
        let of_peer = (!has_header).then(|| ClientNetwork::from(peer.ip()));
        let place = match self.places.take(of_peer) {
            Some(place) => place,
            None => {
                let made = self.places.make(of_peer).await;
                let is_made = made.is_some();
                if let Some(left_out) = self.no_place_logged.due() {
                    warn!(
                        listener = self.name,
                        max_connections = self.limits.connections,
                        max_connections_per_peer = self.limits.connections_of_a_peer,
                        %peer,
                        is_made,
                        left_out,
                        "no place is left for a connection; the one that has waited longest for a request is closed, or else the \
                         new one; this is logged at most once a minute"
                    );
                }
                let Some(place) = made else {
                    self.metrics.rejected.increment(1);
                    if self.tls.is_some() {
                        // A handshake only to say so would cost more than it is worth.
                        return;
                    }
                    return reject(stream, &self.rejections, &self.ending);
                };
                place
            }
        };
        // Answers are small and complete, so waiting to fill a segment would only delay them.
        if let Err(error) = stream.set_nodelay(true) {
            debug!(listener = self.name, %error, "a connection was lost as soon as it was accepted");
            return;
        }
        let connection = Connection {
            handler: Arc::clone(&self.handler),
            peer,
            limits: self.limits,
            phase: Arc::clone(&place.phase),
            ending: self.ending.clone(),
        };
        let open = OpenConnection::new(place, self.metrics.connections.clone());
        let (name, invalid, foreign_logged) =
            (self.name, self.metrics.invalid.clone(), Arc::clone(&self.foreign_logged));
        let tls = self.tls.clone();
        tokio::spawn(async move {
            let served = match &tls {
                None => connection.serve(stream, has_header).await,
                // A connection without it needs no room for it.
                Some(tls) => Box::pin(connection.serve_tls(stream, has_header, tls)).await,
            };
            match served {
                Ok(()) => {}
                Err(Ended::Early(error)) => {
                    if error.is_parse() {
                        invalid.increment(1);
                    }
                    debug!(listener = name, %error, "a connection ended early");
                }
                Err(foreign) => {
                    invalid.increment(1);
                    let foreign = foreign.to_string();
                    if let Some(LeftOut { times, .. }) = foreign_logged.note(&foreign, 1) {
                        warn!(listener = name, %peer, left_out = times, "{foreign}; this is logged at most once a minute");
                    }
                }
            }
            drop(open);
        });
    }
}

/// How many connections may be in the course of being turned away, fewer where there are few; beyond that they are just closed.
fn rejections(connections: usize) -> usize {
    (connections / 4).clamp(4, 32)
}

/// How long turning a connection away may take.
const REJECTION_TIMEOUT: Duration = Duration::from_millis(500);

/// Answers 503 to a connection for which there is no permit.
fn reject(mut stream: TcpStream, rejections: &Arc<Semaphore>, ending: &Ending) {
    let Ok(permit) = Arc::clone(rejections).try_acquire_owned() else { return };
    let stop = ending.stop.clone();
    tokio::spawn(async move {
        let answer = async {
            stream.write_all(response::TOO_MANY_CONNECTIONS.as_bytes()).await?;
            lingering_close(&mut stream, &stop).await;
            io::Result::Ok(())
        };
        // The peer is turned away either way, so it does not matter how the attempt to tell it ends.
        let _ = tokio::time::timeout(REJECTION_TIMEOUT, answer).await;
        drop(permit);
    });
}

/// The metrics of a listener.
struct ListenerMetrics {
    connections: Gauge,
    rejected: Counter,
    invalid: Counter,
    accept_failures: Counter,
}

impl ListenerMetrics {
    fn new(listener: &'static str) -> ListenerMetrics {
        ListenerMetrics {
            connections: gauge!(catalog::EXPORTER_CONNECTIONS.name, "listener" => listener),
            rejected: counter!(catalog::EXPORTER_REJECTED_CONNECTIONS.name, "listener" => listener),
            invalid: counter!(catalog::EXPORTER_INVALID_REQUESTS.name, "listener" => listener),
            accept_failures: counter!(catalog::EXPORTER_ACCEPT_FAILURES.name, "listener" => listener),
        }
    }
}

/// A connection that has its place and is counted, until it is dropped.
struct OpenConnection {
    connections: Gauge,
    _place: Place,
}

impl OpenConnection {
    fn new(place: Place, connections: Gauge) -> OpenConnection {
        connections.increment(1);
        OpenConnection { connections, _place: place }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.connections.decrement(1);
    }
}

/// A run of failures to accept.
struct AcceptFailures {
    listener: &'static str,
    pause: Duration,
    logged: Pace,
}

impl AcceptFailures {
    const FIRST_PAUSE: Duration = Duration::from_millis(5);
    const LONGEST_PAUSE: Duration = Duration::from_secs(1);

    fn new(listener: &'static str) -> AcceptFailures {
        AcceptFailures { listener, pause: AcceptFailures::FIRST_PAUSE, logged: Pace::default() }
    }

    /// Waits before the next try, longer each time. Without it a process that has run out of file descriptors
    /// would spin. Failures of the one connection that was to be accepted need no wait.
    async fn back_off(&mut self, error: &io::Error) {
        if is_of_one_connection(error) {
            return;
        }
        if self.pause == AcceptFailures::FIRST_PAUSE
            && let Some(LeftOut { times, .. }) = self.logged.note(&error.to_string(), 1)
        {
            warn!(listener = self.listener, %error, left_out = times, "connections cannot be accepted; trying again");
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(AcceptFailures::LONGEST_PAUSE);
    }

    fn over(&mut self) {
        self.pause = AcceptFailures::FIRST_PAUSE;
    }
}

/// Whether only the connection failed that was to be accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
