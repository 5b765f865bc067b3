//! Laws of what peers send, whatever it is; those of the files of whoever operates the exporter stand in `files`.

mod files;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::header::{CONNECTION, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::http::uri::Scheme;
use hyper::{Request, Uri, Version};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::runtime::{Builder, Runtime};

use super::backoff::{Backoff, retry_after};
use super::pool::rules::idle_time;
use super::proxy_protocol::read_client;
use super::{headers, peer};

use super::trusted_proxies::TrustedProxies;

pub use super::connection::fuzzing::{connection, raw_head};
pub use files::{credentials_file, tls_files};

/// Bytes of a header of the PROXY protocol that are read at most.
const LONGEST_PROXY_HEADER: usize = 4096;

pub(super) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap_or_else(|error| panic!("{error}"))
}

/// Bytes that come one by one.
struct OneByOne<'a>(&'a [u8]);

impl AsyncRead for OneByOne<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some((byte, rest)) = self.0.split_first() {
            buffer.put_slice(&[*byte]);
            self.0 = rest;
        }
        Poll::Ready(Ok(()))
    }
}

/// The beginning of a connection of a trusted peer. However it comes, the same header is read, and nothing of what is
/// behind it.
pub fn proxy_header(bytes: &[u8]) {
    let runtime = runtime();
    let peer = SocketAddr::from(([10, 0, 0, 1], 1));
    let mut whole = bytes;
    let client = runtime.block_on(read_client(&mut whole, peer, Duration::from_secs(60)));
    let client = client.map_err(|error| error.to_string());
    let mut pieces = OneByOne(bytes);
    let of_pieces = runtime.block_on(read_client(&mut pieces, peer, Duration::from_secs(60)));
    assert_eq!(of_pieces.map_err(|error| error.to_string()), client);
    let read = bytes.len() - whole.len();
    assert!(read <= LONGEST_PROXY_HEADER);
    match client {
        Ok(Some(client)) => {
            assert_eq!(pieces.0, whole, "what is behind the header is the client's");
            assert!(read > 0);
            assert!(!matches!(client.ip(), IpAddr::V6(address) if address.to_ipv4_mapped().is_some()));
        }
        Ok(None) => assert!(bytes.is_empty()),
        Err(_) => {}
    }
}

/// The value of a header field. A service is not asked for what no peer may ask, and no client removes what those
/// behind rely on.
pub fn field_value(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let of = |name: HeaderName| HeaderMap::from_iter([(name, value.clone())]);
    assert!(idle_time(&of(HeaderName::from_static("keep-alive"))) <= Duration::from_secs(60));
    let asked = retry_after(&of(RETRY_AFTER));
    let pause = Backoff::new(Duration::from_secs(1), Duration::from_secs(60)).after(1, asked);
    assert!(pause <= Duration::from_secs(300) && pause >= Duration::from_millis(100));
    let relied_on = [
        HOST,
        FORWARDED,
        HeaderName::from_static("x-forwarded-for"),
        HeaderName::from_static("x-real-ip"),
        headers::IDEMPOTENCY_KEY,
    ];
    let mut fields = of(CONNECTION);
    for name in &relied_on {
        fields.insert(name, HeaderValue::from_static("1.2.3.4"));
    }
    fields.append(hyper::header::VIA, value.clone());
    headers::pass_on(&mut fields, IpAddr::from([10, 0, 0, 7]), Version::HTTP_11, &Scheme::HTTPS);
    assert!(!fields.contains_key(CONNECTION));
    assert!(relied_on.iter().all(|name| fields.contains_key(name)));
    assert_eq!(fields.get_all(hyper::header::VIA).iter().count(), 1);
    if let Ok(text) = str::from_utf8(bytes) {
        let shown = peer::url_for_people(text);
        assert!(!shown.contains(['@', '?', '#']) && !shown.contains(char::is_control), "{shown}");
    }
    let shown = peer::body_for_people(bytes);
    assert!(!shown.contains(char::is_control) && shown.chars().count() <= 300, "{shown}");
}

/// A request's target in the first line, and a Host field in each of the others. Whom a request is for is said once.
pub fn request_host(bytes: &[u8]) {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let Some(uri) = lines.next().and_then(|target| Uri::try_from(target).ok()) else { return };
    let mut request = Request::new(());
    let authority = uri.authority().map(|authority| authority.as_str().to_owned());
    let is_absolute = uri.scheme().is_some();
    *request.uri_mut() = uri;
    for host in lines.filter_map(|host| HeaderValue::from_bytes(host).ok()) {
        request.headers_mut().append(HOST, host);
    }
    for version in [Version::HTTP_10, Version::HTTP_11] {
        let mut request = request.clone();
        *request.version_mut() = version;
        let came = request.headers().get_all(HOST).iter().count();
        if headers::settle_host(&mut request).is_err() {
            assert!(came > 1 || came == 0 && version == Version::HTTP_11);
            continue;
        }
        let hosts: Vec<_> = request.headers().get_all(HOST).iter().collect();
        assert!(hosts.len() <= 1, "{hosts:?}");
        if let Some(authority) = authority.as_deref().filter(|_| is_absolute) {
            let host = authority.rsplit('@').next().unwrap_or_default();
            assert_eq!(hosts, [host]);
        }
    }
}

/// A peer in the first line, and a line of `X-Forwarded-For` in each of the others, or of `Forwarded` where it begins
/// with `F`. Only trusted proxies are believed, and of what they say nothing that stands to the left of an untrusted
/// address.
pub fn client_address(bytes: &[u8]) {
    let networks = ["10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse());
    let proxies = TrustedProxies::new(&networks.map(|network| network.unwrap_or_default()));
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let peer = lines.next().and_then(|line| str::from_utf8(line).ok()?.parse::<IpAddr>().ok());
    let peer = peer.map_or(IpAddr::from([10, 0, 0, 1]), |peer| peer.to_canonical());
    let (mut lists, mut elements) = (Vec::new(), Vec::new());
    for line in lines {
        let (of_kind, line) = match line.strip_prefix(b"F") {
            Some(line) => (&mut elements, line),
            None => (&mut lists, line),
        };
        of_kind.extend(HeaderValue::from_bytes(line).is_ok().then_some(line));
    }
    let client = |lists: &[&[u8]], elements: &[&[u8]]| {
        let fields = [(HeaderName::from_static("x-forwarded-for"), lists), (FORWARDED, elements)];
        let mut headers = HeaderMap::new();
        for (name, lines) in fields {
            for value in lines.iter().filter_map(|line| HeaderValue::from_bytes(line).ok()) {
                headers.append(&name, value);
            }
        }
        proxies.client(peer, &headers)
    };
    let whole = client(&lists, &elements);
    assert_eq!(whole, whole.to_canonical());
    if !proxies.contains(peer) {
        assert_eq!(whole, peer, "nobody else is believed");
        return;
    }
    // What a proxy appends stands to the right of everything that a client may have written.
    let untrusted = IpAddr::from([1, 1, 1, 1]);
    let behind = |lines: &[&'static [u8]], of: &[&'_ [u8]]| -> Vec<Vec<u8>> {
        of.iter().chain(lines).map(|line| line.to_vec()).collect()
    };
    for appended in [&[&b"1.1.1.1"[..]][..], &[b"1.1.1.1:4711, 10.0.0.2", b"[2001:db8::7]:1"]] {
        let lists = behind(appended, &lists);
        let lists: Vec<&[u8]> = lists.iter().map(Vec::as_slice).collect();
        assert_eq!(client(&lists, &[]), untrusted);
        assert!([untrusted, peer].contains(&client(&lists, &elements)), "neither field is believed alone");
    }
    for appended in [&[&b"for=1.1.1.1"[..]][..], &[b"for=\"1.1.1.1:4711\";proto=https,for=10.0.0.2"]] {
        let elements = behind(appended, &elements);
        let elements: Vec<&[u8]> = elements.iter().map(Vec::as_slice).collect();
        assert_eq!(client(&[], &elements), untrusted);
    }
    // Nor does it matter what stands to the left of who is found to be the client.
    for (at, line) in lists.iter().enumerate().take(8) {
        for comma in
            line.iter().enumerate().filter(|(_, byte)| **byte == b',').map(|(comma, _)| comma).take(8)
        {
            let right = [&[&line[comma + 1..]], &lists[at + 1..]].concat();
            let found = client(&right, &[]);
            if !proxies.contains(found) {
                assert_eq!(client(&lists, &[]), found);
            }
        }
    }
}
