//! Connections to a receiver: one at a time, since deliveries go one after another.
//!
//! A connection belongs to the exchange that uses it. One that ends without an answer in time takes its connection with
//! it, so that nothing is sent again to a peer that hangs; the next connection looks the name up again and begins with
//! another of its addresses.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{HOST, HeaderValue, PROXY_AUTHORIZATION};
use hyper::rt::{Read, Write};
use hyper::{Request, Response, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::task::JoinHandle;

use super::outcome::SendError;
use crate::config::otlp::{Destination, OtlpProxy, Protocol};
use crate::http::observed::{Observed, Traffic};
use crate::http::obstacle::Obstacle;
use crate::http::peer::causes;
use crate::http::tls::{self, Files, Reloading, TlsError, Versions};

/// The pause between the pings of HTTP/2, at least. Servers on grpc-go take two that they think needless, and then close the
/// connection; so no more go in an exchange, nor while it is idle.
const SHORTEST_PING_INTERVAL: Duration = Duration::from_secs(20);

/// How long the answer to a ping may take.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection that is open.
#[derive(Debug)]
pub(super) struct Connection {
    sender: Sender,
    /// If a proxy passes requests on.
    forwarded: Option<Forwarded>,
    /// What came on it.
    traffic: Arc<Traffic>,
    /// The generation of files that it was made with.
    generation: u64,
    // It is closed when this is dropped.
    _driver: Task,
}

#[derive(Debug)]
enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

/// What a proxy wants to see in a request.
#[derive(Debug, Clone)]
struct Forwarded {
    authorization: Option<HeaderValue>,
}

/// A task that ends when it is dropped.
#[derive(Debug)]
pub(super) struct Task(JoinHandle<()>);

impl Task {
    pub(super) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Task {
        Task(tokio::spawn(future))
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connection {
    /// Whether it is open, as far as is known.
    pub(super) fn is_open(&self) -> bool {
        match &self.sender {
            Sender::Http1(sender) => !sender.is_closed(),
            Sender::Http2(sender) => !sender.is_closed(),
        }
    }

    /// What it means that an exchange on it failed with this error.
    pub(super) fn no_answer(&self, error: &hyper::Error) -> SendError {
        let is_http2 = matches!(self.sender, Sender::Http2(_));
        let obstacle = Obstacle::on_connection(error, is_http2, self.traffic.opening());
        SendError::NoAnswer { obstacle, detail: causes(error) }
    }

    /// Sends a request in absolute form, and returns the head of the answer.
    pub(super) async fn send(
        &mut self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, hyper::Error> {
        match &mut self.sender {
            Sender::Http2(sender) => {
                sender.ready().await?;
                *request.version_mut() = hyper::Version::HTTP_2;
                sender.send_request(request).await
            }
            Sender::Http1(sender) => {
                sender.ready().await?;
                as_http1(&mut request, self.forwarded.as_ref());
                sender.send_request(request).await
            }
        }
    }
}

/// Makes a request one of HTTP/1.1: the host is a header, and only a proxy wants it in the target as well.
fn as_http1(request: &mut Request<Full<Bytes>>, forwarded: Option<&Forwarded>) {
    let uri = request.uri().clone();
    if let Some(host) = uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok()) {
        request.headers_mut().insert(HOST, host);
    }
    match forwarded {
        Some(Forwarded { authorization }) => {
            if let Some(authorization) = authorization {
                request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
            }
        }
        None => {
            let path = uri.path_and_query().map_or("/", |path| path.as_str());
            *request.uri_mut() = path.parse().unwrap_or_default();
        }
    }
}

/// How connections to one receiver are made.
#[derive(Debug)]
pub(super) struct Connector {
    uri: Uri,
    tcp: HttpConnector<RotatingResolver>,
    tls: Arc<Reloading>,
    /// How often [`Connector::read_again`] has found files changed.
    generation: AtomicU64,
    versions: Versions,
    ping_interval: Duration,
    proxy: Option<OtlpProxy>,
}

impl Connector {
    /// Connections to `destination`.
    pub(super) fn new(destination: &Destination) -> Connector {
        let uri = destination.endpoint.clone();
        let mut tcp = HttpConnector::new_with_resolver(RotatingResolver::default());
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(destination.timeout));
        let files = Files {
            certificate: destination.certificate.clone(),
            client_identity: destination.client_identity.clone(),
        };
        Connector {
            tls: Arc::new(Reloading::new(&uri, files)),
            generation: AtomicU64::new(0),
            versions: match destination.protocol {
                Protocol::Grpc => Versions::Http2,
                Protocol::HttpProtobuf => Versions::Http1OrHttp2,
            },
            ping_interval: (destination.timeout / 2).max(SHORTEST_PING_INTERVAL),
            proxy: destination.proxy.clone(),
            tcp,
            uri,
        }
    }

    /// Whether its files can be used, so that a connection may come about.
    pub(super) fn check(&self) -> Result<(), SendError> {
        self.tls.config().map(drop).map_err(|error| SendError::Tls(causes(&error)))
    }

    /// Reads certificates and keys again, and returns whether they changed. Connections that were made before are
    /// [outdated](Connector::is_outdated) then.
    ///
    /// # Errors
    /// They cannot be used.
    pub(super) fn read_again(&self) -> Result<bool, TlsError> {
        let has_changed = self.tls.read_again()?;
        if has_changed {
            self.generation.fetch_add(1, Ordering::Relaxed);
        }
        Ok(has_changed)
    }

    /// Whether a connection was made with other certificates than those of now.
    pub(super) fn is_outdated(&self, connection: &Connection) -> bool {
        connection.generation != self.generation.load(Ordering::Relaxed)
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> Result<Connection, SendError> {
        // Before the files are looked at: what changes meanwhile makes it outdated rather than unnoticed.
        let generation = self.generation.load(Ordering::Relaxed);
        let tls = Arc::clone(&self.tls);
        // It may read files.
        let config = tokio::task::spawn_blocking(move || tls.config()).await;
        let config = config.map_err(|error| SendError::no_connection(&error))?;
        let config = config.map_err(|error| SendError::Tls(causes(&error)))?;
        let is_secure = self.uri.scheme_str() == Some("https");
        match &self.proxy {
            None => {
                let stream = call(tls::wrap(self.tcp.clone(), config, self.versions), &self.uri).await?;
                self.shake_hands(stream, None, generation).await
            }
            // A request that a proxy can read it passes on itself; not all let a tunnel through to any port.
            Some(proxy) if !is_secure && self.versions != Versions::Http2 => {
                let stream = call(tls::wrap(self.tcp.clone(), config, Versions::Http1), &proxy.uri).await?;
                let authorization = proxy.authorization.clone();
                self.shake_hands(stream, Some(Forwarded { authorization }), generation).await
            }
            Some(proxy) => {
                let mut tunnel = Tunnel::new(proxy.uri.clone(), self.tcp.clone());
                if let Some(authorization) = &proxy.authorization {
                    tunnel = tunnel.with_auth(authorization.clone());
                }
                // Without a port the tunnel goes to that of https.
                let uri = with_port(&self.uri);
                let stream = call(tls::wrap(tunnel, config, self.versions), &uri).await?;
                self.shake_hands(stream, None, generation).await
            }
        }
    }

    async fn shake_hands<T>(
        &self,
        stream: T,
        forwarded: Option<Forwarded>,
        generation: u64,
    ) -> Result<Connection, SendError>
    where
        T: Read + Write + hyper_util::client::legacy::connect::Connection + Send + Unpin + 'static,
    {
        let is_http2 = self.versions == Versions::Http2 || stream.connected().is_negotiated_h2();
        let traffic = Arc::<Traffic>::default();
        let stream = TokioIo::new(Observed::new(TokioIo::new(stream), Arc::clone(&traffic)));
        let no_connection = |error: hyper::Error| SendError::no_connection(&error);
        let (sender, driver) = if is_http2 {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(self.ping_interval)
                .keep_alive_timeout(PING_TIMEOUT)
                .keep_alive_while_idle(true)
                .handshake(stream)
                .await
                .map_err(no_connection)?;
            // How it ends is seen by who sends.
            (Sender::Http2(sender), Task::spawn(async move { drop(connection.await) }))
        } else {
            let (sender, connection) = http1::handshake(stream).await.map_err(no_connection)?;
            (Sender::Http1(sender), Task::spawn(async move { drop(connection.await) }))
        };
        Ok(Connection { sender, forwarded, traffic, generation, _driver: driver })
    }
}

/// Connects by `connector`.
async fn call<C>(
    connector: HttpsConnector<C>,
    uri: &Uri,
) -> Result<<HttpsConnector<C> as tower_service::Service<Uri>>::Response, SendError>
where
    HttpsConnector<C>:
        tower_service::Service<Uri, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Clone,
{
    let connected = hyper::service::Service::call(&TowerToHyperService::new(connector), uri.clone()).await;
    connected.map_err(|error| {
        let error: Box<dyn std::error::Error + Send + Sync> = error.into();
        SendError::no_connection(&*error)
    })
}

/// The URI with the port that its scheme implies.
fn with_port(uri: &Uri) -> Uri {
    let port = if uri.scheme_str() == Some("https") { 443 } else { 80 };
    let (None, Some(host)) = (uri.port_u16(), uri.host()) else { return uri.clone() };
    let mut parts = uri.clone().into_parts();
    parts.authority = format!("{host}:{port}").parse().ok();
    Uri::from_parts(parts).unwrap_or_else(|_| uri.clone())
}

/// Looks names up each time, and begins with another address each time: of several receivers behind a name, one may hang.
#[derive(Debug, Clone, Default)]
pub(super) struct RotatingResolver {
    turn: Arc<AtomicUsize>,
}

impl tower_service::Service<Name> for RotatingResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = std::io::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let looked_up = GaiResolver::new().call(name);
        Box::pin(async move { Ok(rotated(looked_up.await?.collect(), turn).into_iter()) })
    }
}

/// The addresses, beginning with that whose turn it is.
fn rotated(mut addresses: Vec<SocketAddr>, turn: usize) -> Vec<SocketAddr> {
    let places = turn.checked_rem(addresses.len()).unwrap_or(0);
    addresses.rotate_left(places);
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_of_a_name_has_its_turn() {
        let addresses: Vec<SocketAddr> =
            (1..=3).map(|last| SocketAddr::from(([127, 0, 0, last], 1))).collect();
        let first = |turn| rotated(addresses.clone(), turn)[0];
        assert_eq!([first(0), first(1), first(2), first(3)], [0, 1, 2, 0].map(|at: usize| addresses[at]));
        assert!(rotated(Vec::new(), 7).is_empty());
    }

    #[test]
    fn a_request_names_its_host_and_only_a_proxy_sees_the_whole_target() {
        let of = |forwarded: Option<Forwarded>| {
            let mut request = Request::new(Full::new(Bytes::new()));
            *request.uri_mut() = "http://collector:4318/v1/traces?a".parse().expect("a URI");
            as_http1(&mut request, forwarded.as_ref());
            request
        };
        let direct = of(None);
        assert_eq!(
            (direct.uri().to_string().as_str(), &direct.headers()[HOST]),
            ("/v1/traces?a", &HeaderValue::from_static("collector:4318"))
        );
        let forwarded = of(Some(Forwarded { authorization: Some(HeaderValue::from_static("Basic eA==")) }));
        assert_eq!(forwarded.uri().to_string(), "http://collector:4318/v1/traces?a");
        assert_eq!(forwarded.headers()[PROXY_AUTHORIZATION], "Basic eA==");
    }

    #[test]
    fn a_tunnel_needs_a_port() {
        for (given, expected) in [
            ("http://c/x", "http://c:80/x"),
            ("https://c/", "https://c:443/"),
            ("http://c:4317/", "http://c:4317/"),
        ] {
            assert_eq!(with_port(&given.parse().expect("a URI")).to_string(), expected);
        }
    }
}
