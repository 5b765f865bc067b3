//! The way to the service behind.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Empty};
use hyper::body::Incoming;
use hyper::http::uri::{Authority, InvalidUri, PathAndQuery, Scheme};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use thiserror::Error;

use super::body::Watched;
use super::obstacle::Obstacle;
use super::own::leads_to;
use super::peer::causes;
use super::pool::Pool;
use super::raw_exchange;
use super::raw_query::RawQuery;
use crate::http::tls::{self, TlsError};

/// What a connection holds of an answer at most: its head, or what the client has not taken yet.
pub(super) const BUFFER: usize = 64 * 1024;

/// The base URL of the service behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceUrl {
    scheme: Scheme,
    authority: Authority,
    /// What stands before every path, without a slash at its end.
    prefix: String,
}

impl ServiceUrl {
    /// The URI at the service of a path and query, which stay byte for byte what they are. The server as a whole, `*`, has no
    /// path.
    ///
    /// # Errors
    /// They are no path and query.
    pub fn join(&self, path_and_query: &str) -> Result<Uri, InvalidUri> {
        let prefix = if path_and_query == "*" { "" } else { &self.prefix };
        let path_and_query = PathAndQuery::from_str(&format!("{prefix}{path_and_query}"))?;
        let mut parts = hyper::http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path_and_query);
        // With all three parts there is nothing left that could be wrong.
        Ok(Uri::from_parts(parts).unwrap_or_default())
    }

    /// A request without a body for this path and query at the service, byte for byte: what no URI may have stands beside the
    /// URI.
    ///
    /// # Errors
    /// The path is none, or the query has control characters.
    pub fn request(&self, path: &str, query: &[u8]) -> Result<Request<RequestBody>, NoRequest> {
        let mut request = Request::new(Either::Right(Empty::new()));
        let plain = str::from_utf8(query).ok().and_then(|query| self.join(&format!("{path}?{query}")).ok());
        // A URI has no fragment, and loses it without a word.
        *request.uri_mut() = match plain.filter(|uri| uri.query().map(str::as_bytes) == Some(query)) {
            Some(uri) => uri,
            None => {
                request.extensions_mut().insert(RawQuery::new(query).ok_or(NoRequest::Query)?);
                self.join(path)?
            }
        };
        Ok(request)
    }

    /// Where connections go. An address of IPv6 stands without brackets.
    pub fn host_and_port(&self) -> (&str, u16) {
        let default = if self.scheme == Scheme::HTTPS { 443 } else { 80 };
        let host = self.authority.host().trim_matches(['[', ']']);
        (host, self.authority.port_u16().unwrap_or(default))
    }

    /// Whether a request to it may arrive at one of these sockets of this process, as far as that can be told. Its name
    /// is looked up only if one has its port; one that cannot be found leads nowhere.
    pub async fn leads_to(&self, listening: &[SocketAddr]) -> bool {
        let (host, port) = self.host_and_port();
        let mut listening = listening.iter().filter(|address| address.port() == port).peekable();
        if listening.peek().is_none() {
            return false;
        }
        let targets = addresses_of(host, port).await;
        listening.any(|listening| targets.iter().any(|target| leads_to(*target, listening.ip())))
    }
}

/// How long the name of the service may take to be looked up at the start.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// The addresses of a host, as far as they can be found.
async fn addresses_of(host: &str, port: u16) -> Vec<IpAddr> {
    if let Ok(address) = host.parse() {
        return vec![address];
    }
    if host.eq_ignore_ascii_case("localhost") {
        return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    }
    match tokio::time::timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((host, port))).await {
        Ok(Ok(addresses)) => addresses.map(|address| address.ip()).collect(),
        Ok(Err(_)) | Err(_) => Vec::new(),
    }
}

impl FromStr for ServiceUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<ServiceUrl, String> {
        let wrong =
            || "expected a URL such as http://127.0.0.1:8080, without user, query and fragment".to_owned();
        let parts = Uri::from_str(text).map_err(|_| wrong())?.into_parts();
        let (Some(scheme), Some(authority)) = (parts.scheme, parts.authority) else { return Err(wrong()) };
        let is_http = scheme == Scheme::HTTP || scheme == Scheme::HTTPS;
        let path = parts.path_and_query.filter(|path| path.query().is_none());
        match path {
            Some(path) if is_http && !authority.as_str().contains('@') && !text.contains('#') => {
                let prefix = path.path().trim_end_matches('/').to_owned();
                Ok(ServiceUrl { scheme, authority, prefix })
            }
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for ServiceUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}{}", self.scheme, self.authority, self.prefix)
    }
}

/// Why a recorded path and query make no request.
#[derive(Debug, Error)]
pub enum NoRequest {
    /// The path is none.
    #[error("its path is none: {0}")]
    Path(#[from] InvalidUri),
    /// The query cannot be sent.
    #[error("its query has control characters")]
    Query,
}

/// Why the service has not answered.
#[derive(Debug, Error)]
pub enum SendError {
    /// There is no connection.
    #[error("cannot connect")]
    Connect(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It breaks.
    #[error("the exchange failed")]
    Http(#[from] hyper::Error),
}

impl SendError {
    /// What it says to people who can do something about it: what is the matter, and what is likely to help.
    pub fn explain(&self) -> String {
        let (obstacle, detail) = (Obstacle::of(self), causes(self));
        match cure(obstacle) {
            Some(cure) => format!("{obstacle} ({detail}); {cure}"),
            None => format!("{obstacle} ({detail})"),
        }
    }
}

/// What is likely to help, if anything but time.
const fn cure(obstacle: Obstacle) -> Option<&'static str> {
    match obstacle {
        Obstacle::Unresolved => Some("the host in --forward-to may be misspelt, or not be there yet"),
        Obstacle::NobodyListens => {
            Some("the service may not run, or listen on another port than that of --forward-to")
        }
        Obstacle::NoRoute => Some("the network of this machine does not lead there"),
        Obstacle::NoConnection => {
            Some("it may hang, or a firewall may drop what goes there; it has --forward-timeout")
        }
        Obstacle::Untrusted => {
            Some("its authority has to be one of the system's, or of the file that SSL_CERT_FILE names")
        }
        Obstacle::OtherName => Some("the host in --forward-to has to be a name that is in its certificate"),
        Obstacle::NotValidNow => {
            Some("its certificate needs to be renewed, or the clock of this machine is wrong")
        }
        Obstacle::SpeaksNoTls => Some("use http:// in --forward-to"),
        Obstacle::SpeaksTls => Some("use https:// in --forward-to"),
        Obstacle::SpeaksHttp1 | Obstacle::SpeaksHttp2 | Obstacle::SpeaksOtherwise => {
            Some("it may be a TLS port (use https:// in --forward-to), or not speak HTTP/1.1")
        }
        Obstacle::WantsCertificate | Obstacle::ProxyRefuses | Obstacle::Ended => None,
    }
}

/// What is sent to the service: the body of a request on its way through, or none.
pub type RequestBody = Either<Watched<Incoming>, Empty<Bytes>>;

/// The service behind, over connections that are used again.
#[derive(Debug)]
pub struct Service {
    pool: Pool,
    /// For a request that needs a connection of its own.
    connector: HttpsConnector<HttpConnector>,
    url: ServiceUrl,
    timeout: Duration,
}

impl Service {
    /// The service at `url`, which is given `timeout` for a connection, and then for every step that it can be slow at.
    ///
    /// # Errors
    /// For https: no authority to trust.
    pub fn new(url: ServiceUrl, timeout: Duration) -> Result<Service, TlsError> {
        let uri = url.join("/").unwrap_or_default();
        let connector = tls::connector(&uri, timeout, tls::Versions::Http1)?;
        let pool = Pool::new(connector.clone());
        Ok(Service { pool, connector, url, timeout })
    }

    /// Where it is.
    pub fn url(&self) -> &ServiceUrl {
        &self.url
    }

    /// How long it may be slow.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Sends a request, and returns the head of the answer as soon as it is there. A [`RawQuery`] among its extensions
    /// is its query.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn send(&self, mut request: Request<RequestBody>) -> Result<Response<Incoming>, SendError> {
        match request.extensions_mut().remove::<RawQuery>() {
            None => self.pool.send(request).await,
            Some(query) => raw_exchange::send(self.connector.clone(), request, &query).await,
        }
    }
}

/// Whether an answer says for good what becomes of an event: it is taken, or never will be.
pub fn is_final(status: StatusCode) -> bool {
    let is_later = matches!(
        status,
        StatusCode::REQUEST_TIMEOUT
            | StatusCode::CONFLICT
            | StatusCode::TOO_EARLY
            | StatusCode::TOO_MANY_REQUESTS
    );
    status.is_success() || status.is_client_error() && !is_later
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::raw_query;

    #[test]
    fn a_path_and_query_stays_byte_for_byte_what_it_is() {
        for (base, path, uri) in [
            (
                "http://127.0.0.1:8080",
                "/call_event?a=%2F&b=+%zz&&c",
                "http://127.0.0.1:8080/call_event?a=%2F&b=+%zz&&c",
            ),
            ("http://app/", "/", "http://app/"),
            ("https://app/base/", "//x/../y?", "https://app/base//x/../y?"),
            ("https://app/base/", "*", "https://app*"),
        ] {
            let url: ServiceUrl = base.parse().expect("a URL");
            assert_eq!(url.join(path).expect("a URI").to_string(), uri);
        }
    }

    #[test]
    fn a_query_that_no_uri_may_have_stands_beside_the_uri() {
        let url: ServiceUrl = "http://app/base".parse().expect("a URL");
        for (query, is_raw) in [
            (&b"a=%zz&b=+"[..], false),
            ("a=\u{e9}".as_bytes(), false),
            (b"a=\"", true),
            (b"a=b c", true),
            (b"a=#b", true),
            (b"a=\xff", true),
        ] {
            let request = url.request("/c", query).expect("a request");
            assert_eq!(request.uri().path(), "/base/c");
            assert_eq!(request.extensions().get::<RawQuery>().is_some(), is_raw);
            assert_eq!(raw_query::query_of(&request), query);
        }
        assert!(matches!(url.request("/c", b"a=\r\nb"), Err(NoRequest::Query)));
        assert!(matches!(url.request("c d", b"a"), Err(NoRequest::Path(_))));
    }

    #[test]
    fn only_a_base_url_is_one() {
        for text in [
            "127.0.0.1:8080",
            "/x",
            "ftp://a",
            "http://u:p@a",
            "http://a/?q",
            "http://a/#f",
            "http://",
            "a b",
        ] {
            assert!(text.parse::<ServiceUrl>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_url_that_leads_back_is_known_as_such() {
        let leads_back = async |text: &str, listening: &str| {
            let listening = listening.parse().expect("an address");
            text.parse::<ServiceUrl>().expect("a URL").leads_to(&[listening]).await
        };
        let own_name = format!("http://{}", gethostname::gethostname().to_string_lossy());
        for text in [
            "http://localhost",
            "http://LOCALHOST:80",
            "http://127.0.0.1:80",
            "http://[::1]/x",
            "http://0.0.0.0",
            &own_name,
        ] {
            assert!(leads_back(text, "[::]:80").await, "{text}");
        }
        for text in ["https://localhost", "http://127.0.0.1:8080", "http://192.0.2.1", "http://name.invalid"]
        {
            assert!(!leads_back(text, "[::]:80").await, "{text}");
        }
        assert!(leads_back("http://localhost", "[::1]:80").await);
        assert!(!leads_back("http://127.0.0.1", "[::1]:80").await, "another may listen there");
    }
}
