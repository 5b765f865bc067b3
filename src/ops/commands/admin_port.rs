//! Commands that ask the admin port of an exporter on this host: `planet-call-exporter drain`, `wait` and `probe`. They
//! are for images without a shell, in which there is no other client.
//!
//! Where the port speaks TLS, its certificate is not verified, as the kubelet does not for its probes: it is for names
//! by which others know the exporter, and nothing that is asked is a secret.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::config::AdminPort;
use crate::http::ListenAddress;
use crate::http::peer::causes;
use crate::http::unverified_tls;
use crate::ops::access::{self, AccessError};
use crate::ops::admin::DRAIN;

/// How long an answer may take, connecting included.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Where it is said whether the exporter is ready, and how often that is asked.
const READY: &str = "/readyz";
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Bytes of an answer, at most.
pub(in crate::ops) const LONGEST_ANSWER: usize = 64 * 1024;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum AskError {
    /// The web configuration cannot be read.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The path makes no URI.
    #[error("expected a path such as /livez, and it is {0:?}")]
    Path(String),
    /// Nobody answers.
    #[error("no answer from the admin port {address} on this host: {reason}")]
    NoAnswer {
        /// Where the port is.
        address: ListenAddress,
        /// What went wrong.
        reason: String,
    },
    /// The answer is not the one that was hoped for.
    #[error("{address} answers {status}: {said}", status = .status.as_u16())]
    Refused {
        /// Where the port is.
        address: ListenAddress,
        /// The status of the answer.
        status: StatusCode,
        /// What it says.
        said: String,
    },
}

/// Has the exporter drain, and waits for `wait` then. It waits also if that fails: the pod gets requests for as long
/// all the same.
///
/// # Errors
/// It does not drain.
pub async fn drain(port: &AdminPort, wait: Duration) -> Result<(), AskError> {
    let asked = ask(port, Method::POST, DRAIN, TIMEOUT).await;
    tokio::time::sleep(wait).await;
    asked.map(drop)
}

/// Waits until the exporter is ready, for at most `patience`.
///
/// # Errors
/// It is not ready in time; why it was not at last.
pub async fn wait(port: &AdminPort, patience: Duration) -> Result<(), AskError> {
    let ends_at = Instant::now() + patience;
    loop {
        let left = ends_at.saturating_duration_since(Instant::now());
        match get(port, READY, TIMEOUT.min(left)).await {
            Ok(_) => return Ok(()),
            Err(error @ (AskError::Access(_) | AskError::Path(_))) => return Err(error),
            Err(error) if Instant::now() + LOOK_EVERY > ends_at => return Err(error),
            Err(_) => tokio::time::sleep(LOOK_EVERY).await,
        }
    }
}

/// What the exporter answers to a GET of this path.
///
/// # Errors
/// It does not answer 200.
pub async fn probe(port: &AdminPort, path: &str) -> Result<String, AskError> {
    get(port, path, TIMEOUT).await
}

/// The same, within this time.
///
/// # Errors
/// It does not answer 200.
pub async fn get(port: &AdminPort, path: &str, patience: Duration) -> Result<String, AskError> {
    ask(port, Method::GET, path, patience).await
}

async fn ask(port: &AdminPort, method: Method, path: &str, patience: Duration) -> Result<String, AskError> {
    let bad_path = || AskError::Path(path.to_owned());
    let request = Request::builder().method(method).uri(path).header(HOST, "localhost");
    let request = request.body(Empty::new()).map_err(|_| bad_path())?;
    if !path.starts_with('/') {
        return Err(bad_path());
    }
    let is_tls = port.web_config_file.as_deref().map(access::speaks_tls).transpose()?.unwrap_or_default();
    let no_answer = |reason| AskError::NoAnswer { address: port.listen.clone(), reason };
    let answer = async {
        let stream = connect(&port.listen).await.map_err(|error| no_answer(error.to_string()))?;
        let answer = match is_tls {
            false => exchange(stream, request).await,
            true => match unverified_tls::connect(stream).await {
                Ok(stream) => exchange(stream, request).await,
                Err(error) => Err(format!("no TLS: {error}")),
            },
        };
        answer.map_err(no_answer)
    };
    let too_late = |_| no_answer(format!("none within {patience:?}"));
    let (status, said) = timeout(patience, answer).await.map_err(too_late)??;
    match status {
        StatusCode::OK => Ok(said),
        _ => Err(AskError::Refused { address: port.listen.clone(), status, said: said.trim().to_owned() }),
    }
}

/// A connection to who listens there, seen from this host.
async fn connect(listen: &ListenAddress) -> io::Result<TcpStream> {
    let both = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    let addresses: Vec<SocketAddr> = match listen {
        ListenAddress::Everywhere(port) => both.map(|ip| (ip, *port).into()).to_vec(),
        ListenAddress::One(address) if address.ip().is_unspecified() => {
            both.map(|ip| (ip, address.port()).into()).to_vec()
        }
        ListenAddress::One(address) => vec![*address],
        ListenAddress::Named(name, port) => tokio::net::lookup_host((name.as_str(), *port)).await?.collect(),
    };
    TcpStream::connect(addresses.as_slice()).await
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<(StatusCode, String), String> {
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| causes(&error))?;
    // It ends with the answer.
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| causes(&error))?;
    let status = response.status();
    let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
    let body = body.map_err(|error| causes(&*error))?.to_bytes();
    Ok((status, String::from_utf8_lossy(&body).into_owned()))
}
