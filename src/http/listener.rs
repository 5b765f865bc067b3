//! An HTTP/1.1 listener with limits: the ground on which call events and the admin port stand.
//!
//! What hyper leaves to its user is here: a cap on connections, time limits on everything that a peer can stretch
//! (`deadlines`), the requests that hyper cannot read and this program can (`connection`), a back-off when accepting fails, and
//! a shutdown that finishes what was begun.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Request, Response};
use metrics::{Counter, Gauge, counter, gauge};
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::connection::{Connection, farewell};
use super::response::{self, Body};
use crate::metrics::catalog;

/// What a listener allows its peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Open connections; a further one is answered 503 and closed.
    pub connections: usize,
    /// Time from the first byte of a request's head to its last.
    pub header_timeout: Duration,
    /// Time without a request, and time in which a peer takes nothing of an answer.
    pub idle_timeout: Duration,
    /// Time from the first byte of an answer to its last, whatever the peer takes meanwhile; `None` if it may go on for as
    /// long as the peer takes something.
    pub answer_timeout: Option<Duration>,
    /// Bytes of a request's head: request line and headers.
    pub head_bytes: usize,
}

/// An address that cannot be listened on.
#[derive(Debug, Error)]
#[error("cannot listen on {address} for {listener}: {source}")]
pub struct BindError {
    /// Whose address it is.
    pub listener: &'static str,
    /// The address.
    pub address: SocketAddr,
    /// Why not.
    pub source: io::Error,
}

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Whether it takes a request whose query no URI may have, as a [`RawQuery`](super::raw_query::RawQuery) among the request's extensions. If not, such a
    /// request is answered 400 before anybody sees it.
    const TAKES_RAW_QUERIES: bool = false;

    /// Answers one request from `peer`.
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
    listener: TcpListener,
    limits: Limits,
}

impl Server {
    /// Binds `address`. `name` is the value of the label `listener` in the metrics of connections.
    ///
    /// # Errors
    /// The address is in use, is not of this machine, or needs privileges.
    pub async fn bind(name: &'static str, address: SocketAddr, limits: Limits) -> Result<Server, BindError> {
        match TcpListener::bind(address).await {
            Ok(listener) => Ok(Server { name, listener, limits }),
            Err(source) => Err(BindError { listener: name, address, source }),
        }
    }

    /// The address that is listened on, with the real port where 0 was asked for.
    ///
    /// # Errors
    /// The operating system does not say.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`, then accepts no more, lets every connection finish its request, and returns.
    pub async fn run(self, handler: Arc<impl Handler>, stop: CancellationToken) {
        let Server { name, listener, limits } = self;
        let metrics = ListenerMetrics::new(name);
        let permits = Arc::new(Semaphore::new(limits.connections));
        let rejections = Arc::new(Semaphore::new(CONCURRENT_REJECTIONS));
        let mut failures = AcceptFailures::new(name);
        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    metrics.accept_failures.increment(1);
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => break,
                        () = failures.back_off(&error) => continue,
                    }
                }
            };
            failures.over();
            let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else {
                metrics.rejected.increment(1);
                reject(stream, &rejections);
                continue;
            };
            let open = OpenConnection::new(permit, metrics.connections.clone());
            // Answers are small and complete, so waiting to fill a segment would only delay them.
            if let Err(error) = stream.set_nodelay(true) {
                debug!(listener = name, %error, "a connection was lost as soon as it was accepted");
                continue;
            }
            let connection = Connection { handler: Arc::clone(&handler), peer, limits };
            let (invalid, stop) = (metrics.invalid.clone(), stop.clone());
            tokio::spawn(async move {
                if let Err(error) = connection.serve(stream, stop).await {
                    if error.is_parse() {
                        invalid.increment(1);
                    }
                    debug!(listener = name, %error, "a connection ended early");
                }
                drop(open);
            });
        }
        drop(listener);
        // Each connection gives its permit back when it ends.
        let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
        let _ended = permits.acquire_many(all).await;
    }
}

/// How many connections may be in the course of being turned away; beyond that they are just closed.
const CONCURRENT_REJECTIONS: usize = 32;

/// How long turning a connection away may take.
const REJECTION_TIMEOUT: Duration = Duration::from_millis(500);

/// Answers 503 to a connection for which there is no permit.
fn reject(mut stream: TcpStream, rejections: &Arc<Semaphore>) {
    let Ok(permit) = Arc::clone(rejections).try_acquire_owned() else { return };
    tokio::spawn(async move {
        let answer = async {
            stream.write_all(response::TOO_MANY_CONNECTIONS.as_bytes()).await?;
            stream.shutdown().await?;
            farewell(&mut stream).await;
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

/// A connection that has its permit and is counted, until it is dropped.
struct OpenConnection {
    connections: Gauge,
    _permit: OwnedSemaphorePermit,
}

impl OpenConnection {
    fn new(permit: OwnedSemaphorePermit, connections: Gauge) -> OpenConnection {
        connections.increment(1);
        OpenConnection { connections, _permit: permit }
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
}

impl AcceptFailures {
    const FIRST_PAUSE: Duration = Duration::from_millis(5);
    const LONGEST_PAUSE: Duration = Duration::from_secs(1);

    fn new(listener: &'static str) -> AcceptFailures {
        AcceptFailures { listener, pause: AcceptFailures::FIRST_PAUSE }
    }

    /// Waits before the next try, longer each time. Without it a process that has run out of file descriptors
    /// would spin. Failures of the one connection that was to be accepted need no wait.
    async fn back_off(&mut self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
        if matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset) {
            return;
        }
        if self.pause == AcceptFailures::FIRST_PAUSE {
            warn!(listener = self.listener, %error, "connections cannot be accepted; trying again");
        }
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(AcceptFailures::LONGEST_PAUSE);
    }

    fn over(&mut self) {
        self.pause = AcceptFailures::FIRST_PAUSE;
    }
}
