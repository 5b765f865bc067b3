//! Header fields on the way through: what belongs to one connection stays behind, and what an intermediary has to say is
//! added.

use std::fmt::Display;
use std::net::IpAddr;

use hyper::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use hyper::http::uri::Scheme;
use hyper::{Request, Uri, Version, header};
use thiserror::Error;

/// The addresses that a request came from, each appended by the proxy that was called from there.
pub(super) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// By which a repeated delivery is recognized (draft-ietf-httpapi-idempotency-key-header).
pub const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The value of [`IDEMPOTENCY_KEY`] for an event with this key.
///
/// # Errors
/// Those of a text that no header field can have.
pub fn idempotency_key(key: impl Display) -> Result<HeaderValue, InvalidHeaderValue> {
    HeaderValue::from_str(&format!("\"{key}\""))
}

/// What became of a call event, by its name in `planet_exporter_events_total`. Only answers to repeats have it.
const RESULT: HeaderName = HeaderName::from_static("planet-exporter-result");
const DUPLICATE: &str = "duplicate";

/// Marks an answer to a repeat. One that is none is unmarked: what an exporter further behind knew is nothing that this one
/// says.
pub fn mark_repeat(headers: &mut HeaderMap, is_repeat: bool) {
    match is_repeat {
        true => drop(headers.insert(RESULT, HeaderValue::from_static(DUPLICATE))),
        false => drop(headers.remove(RESULT)),
    }
}

/// Whether the fields are those of an answer to a repeat.
pub fn is_repeat(headers: &HeaderMap) -> bool {
    headers.get(RESULT).is_some_and(|result| result == DUPLICATE)
}

/// The fields of one connection (RFC 9110, 7.6.1), and those for a proxy that the client knows of.
const OF_ONE_CONNECTION: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Removes the fields that belong to one connection: those known for it, and those that `Connection` names, but none on
/// which those behind rely, whoever names it.
pub fn remove_those_of_one_connection(headers: &mut HeaderMap) {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named = values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok());
    let named: Vec<HeaderName> = named.filter(|name| !is_relied_on(name)).collect();
    for name in named.iter().chain(&OF_ONE_CONNECTION) {
        headers.remove(name);
    }
}

/// Whether a field says which way a message came, whom it is for, or which event it is: what this program adds, and what
/// proxies before it said. A client that could have them removed could pass for another (CVE-2022-31813).
fn is_relied_on(name: &HeaderName) -> bool {
    name.as_str().starts_with("x-forwarded-")
        || matches!(name.as_str(), "forwarded" | "via" | "host" | "idempotency-key" | "x-real-ip")
}

/// Why a request does not say whom it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WrongHost {
    /// There is no Host field, which HTTP/1.1 must have.
    #[error("the request has no Host field; HTTP/1.1 expects one")]
    Missing,
    /// There are several, and each reader may take another.
    #[error("the request has more than one Host field; expected one")]
    Repeated,
}

/// Checks that a request has its Host field, and makes it what the request is for: the authority of an absolute URI, if
/// it has one (RFC 9112, 3.2 and 3.2.2).
///
/// # Errors
/// It has none, or several.
pub fn settle_host<B>(request: &mut Request<B>) -> Result<(), WrongHost> {
    match request.headers().get_all(HOST).iter().count() {
        0 if request.version() == Version::HTTP_11 => return Err(WrongHost::Missing),
        0 | 1 => {}
        _ => return Err(WrongHost::Repeated),
    }
    let uri = request.uri();
    if let (Some(_), Some(authority)) = (uri.scheme(), uri.authority()) {
        // A user is no part of Host.
        let host = authority.as_str().rsplit('@').next().unwrap_or_default();
        if let Ok(host) = HeaderValue::from_str(host) {
            request.headers_mut().insert(HOST, host);
        }
    }
    Ok(())
}

/// Says whom a request to this URI is for, if its fields do not.
pub fn add_host(headers: &mut HeaderMap, uri: &Uri) {
    let authority = uri.authority().and_then(|authority| HeaderValue::from_str(authority.as_str()).ok());
    if let (false, Some(authority)) = (headers.contains_key(HOST), authority) {
        headers.insert(HOST, authority);
    }
}

/// Makes the fields of a request that came from `peer` those of the request to the service: without what belongs to one
/// connection, with X-Forwarded-For, -Host and -Proto as other proxies set them, and Via (RFC 9110, 7.6.3). It came by
/// `scheme`. Host stays what the client asked for.
pub fn pass_on(headers: &mut HeaderMap, peer: IpAddr, version: Version, scheme: &Scheme) {
    remove_those_of_one_connection(headers);
    // 100 Continue is answered by this server when the body is asked for.
    headers.remove(header::EXPECT);
    append_to_list(headers, X_FORWARDED_FOR, &peer.to_string());
    if let Some(host) = headers.get(HOST).cloned() {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
    if let Ok(scheme) = HeaderValue::from_str(scheme.as_str()) {
        headers.entry(X_FORWARDED_PROTO).or_insert(scheme);
    }
    let via = if version == Version::HTTP_10 { "1.0" } else { "1.1" };
    append_to_list(headers, VIA, &format!("{via} {}", env!("CARGO_PKG_NAME")));
}

/// Appends to a comma-separated list, which becomes one line.
fn append_to_list(headers: &mut HeaderMap, name: HeaderName, item: &str) {
    let values = headers.get_all(&name).iter().map(HeaderValue::as_bytes);
    let list = values.chain([item.as_bytes()]).collect::<Vec<_>>().join(&b", "[..]);
    if let Ok(list) = HeaderValue::from_bytes(&list) {
        headers.insert(name, list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    fn passed_on(lines: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
        let mut headers = headers(lines);
        pass_on(&mut headers, IpAddr::from([10, 0, 0, 7]), Version::HTTP_11, &Scheme::HTTP);
        let mut lines: Vec<_> = headers
            .iter()
            .map(|(name, value)| (name.to_string(), value.to_str().expect("text").to_owned()))
            .collect();
        lines.sort();
        lines
    }

    fn owned(lines: &[(&str, &str)]) -> Vec<(String, String)> {
        lines.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
    }

    #[test]
    fn what_belongs_to_one_connection_stays_behind() {
        let lines = [
            ("connection", "Keep-Alive, X-Mine"),
            ("connection", "upgrade"),
            ("keep-alive", "timeout=5"),
            ("x-mine", "1"),
            ("upgrade", "websocket"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "secret"),
            ("expect", "100-continue"),
            ("trailer", "checksum"),
            ("authorization", "Bearer token"),
            ("accept", "*/*"),
        ];
        let expected = [
            ("accept", "*/*"),
            ("authorization", "Bearer token"),
            ("trailer", "checksum"),
            ("via", "1.1 planet-call-exporter"),
            ("x-forwarded-for", "10.0.0.7"),
            ("x-forwarded-proto", "http"),
        ];
        assert_eq!(passed_on(&lines), owned(&expected));
    }

    #[test]
    fn what_other_proxies_said_is_kept_and_added_to() {
        let lines = [
            ("host", "planet.example"),
            ("via", "1.1 edge"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-for", "5.6.7.8"),
            ("x-forwarded-host", "outer.example"),
            ("x-forwarded-proto", "https"),
        ];
        let expected = [
            ("host", "planet.example"),
            ("via", "1.1 edge, 1.1 planet-call-exporter"),
            ("x-forwarded-for", "1.2.3.4, 5.6.7.8, 10.0.0.7"),
            ("x-forwarded-host", "outer.example"),
            ("x-forwarded-proto", "https"),
        ];
        assert_eq!(passed_on(&lines), owned(&expected));
    }

    #[test]
    fn connection_cannot_remove_what_those_behind_rely_on() {
        let lines = [
            ("connection", "X-Forwarded-For, x-forwarded-port, Forwarded, via,host ,"),
            ("connection", "idempotency-key, x-real-ip, x-mine, x-forwarded-host"),
            ("host", "planet.example"),
            ("via", "1.1 edge"),
            ("forwarded", "for=1.2.3.4"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-port", "443"),
            ("x-real-ip", "1.2.3.4"),
            ("idempotency-key", "\"a\""),
            ("x-mine", "1"),
        ];
        let expected = [
            ("forwarded", "for=1.2.3.4"),
            ("host", "planet.example"),
            ("idempotency-key", "\"a\""),
            ("via", "1.1 edge, 1.1 planet-call-exporter"),
            ("x-forwarded-for", "1.2.3.4, 10.0.0.7"),
            ("x-forwarded-host", "planet.example"),
            ("x-forwarded-port", "443"),
            ("x-forwarded-proto", "http"),
            ("x-real-ip", "1.2.3.4"),
        ];
        assert_eq!(passed_on(&lines), owned(&expected));
    }

    #[test]
    fn host_is_whom_the_request_is_for() {
        let settled = |uri: &'static str, version: Version, hosts: &[&'static str]| {
            let mut request = Request::new(());
            *request.uri_mut() = uri.parse().expect("a URI");
            *request.version_mut() = version;
            for host in hosts {
                request.headers_mut().append(HOST, HeaderValue::from_static(host));
            }
            settle_host(&mut request)?;
            let hosts = request.headers().get_all(HOST).iter();
            Ok(hosts.map(|host| host.to_str().expect("text").to_owned()).collect::<Vec<_>>())
        };
        let (old, new) = (Version::HTTP_10, Version::HTTP_11);
        assert_eq!(settled("/a", new, &["b"]), Ok(vec!["b".to_owned()]));
        assert_eq!(settled("/a", new, &[""]), Ok(vec![String::new()]));
        assert_eq!(settled("http://c:1/a", new, &["b"]), Ok(vec!["c:1".to_owned()]));
        assert_eq!(settled("http://user@[::1]:1/a", old, &[]), Ok(vec!["[::1]:1".to_owned()]));
        assert_eq!(settled("/a", old, &[]), Ok(vec![]));
        assert_eq!(settled("c:1", new, &["b"]), Ok(vec!["b".to_owned()]), "CONNECT");
        assert_eq!(settled("http://c/a", new, &[]), Err(WrongHost::Missing));
        assert_eq!(settled("/a", new, &["b", "b"]), Err(WrongHost::Repeated));
        assert_eq!(settled("/a", old, &["b", "c"]), Err(WrongHost::Repeated));
    }
}
