//! Header fields on the way through: what belongs to one connection stays behind, and what an intermediary has to say is
//! added.

use std::fmt::Display;
use std::net::IpAddr;

use hyper::header::{
    CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, InvalidHeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use hyper::{Version, header};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
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

/// Removes the fields that belong to one connection: those known for it, and those that `Connection` names.
pub fn remove_those_of_one_connection(headers: &mut HeaderMap) {
    let values = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let named: Vec<HeaderName> =
        values.flat_map(|value| value.split(',')).filter_map(|name| name.trim().parse().ok()).collect();
    for name in named.iter().chain(&OF_ONE_CONNECTION) {
        headers.remove(name);
    }
}

/// Makes the fields of a request that came from `peer` those of the request to the service: without what belongs to one
/// connection, with X-Forwarded-For, -Host and -Proto as other proxies set them, and Via (RFC 9110, 7.6.3). Host stays what
/// the client asked for.
pub fn pass_on(headers: &mut HeaderMap, peer: IpAddr, version: Version) {
    remove_those_of_one_connection(headers);
    // 100 Continue is answered by this server when the body is asked for.
    headers.remove(header::EXPECT);
    append_to_list(headers, X_FORWARDED_FOR, &peer.to_canonical().to_string());
    if let Some(host) = headers.get(HOST).cloned() {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
    headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
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
        pass_on(&mut headers, IpAddr::from([10, 0, 0, 7]), Version::HTTP_11);
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
}
