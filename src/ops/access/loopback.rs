//! Whether a request comes from this host: from 127.0.0.1 or ::1, and from nobody else that is said to be there.
//!
//! A proxy in the pod delivers what others send, and delivers it from a loopback address. Istio's has one of its own,
//! 127.0.0.6; where that was seen there is a mesh, and nobody is trusted until a flag says otherwise. What proxies add
//! to a request is never believed, and shows that it is not from here.
//!
//! A browser on this host sends what pages of other sites have it send. They cannot read the answer, unless their name
//! has been made to lead here (DNS rebinding): so what a browser asks for has to be asked of a name of this host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, Ordering};

use hyper::header::{ACCEPT_LANGUAGE, HOST, HeaderMap};
use tracing::warn;

use crate::config::TrustLoopback;

/// Headers that proxies add and people do not.
const ADDED_BY_PROXIES: [&str; 9] = [
    "forwarded",
    "via",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-client-cert",
    "x-real-ip",
    "x-request-id",
    "l5d-client-id",
];

/// Headers that browsers add to a request that a page of another site makes.
const ADDED_BY_BROWSERS: [&str; 2] = ["origin", "sec-fetch-site"];

/// The trust in this host.
#[derive(Debug)]
pub(super) struct Loopback {
    trust: TrustLoopback,
    /// Whether a mesh was seen.
    has_mesh: AtomicBool,
}

impl Loopback {
    pub(super) fn new(trust: TrustLoopback) -> Loopback {
        Loopback { trust, has_mesh: AtomicBool::new(false) }
    }

    /// Notes a peer, whose address is one of IPv4 if it speaks that.
    pub(super) fn note(&self, peer: IpAddr) {
        let is_mesh = peer.is_loopback() && !is_this_host(peer);
        if is_mesh && self.trust == TrustLoopback::Auto && !self.has_mesh.swap(true, Ordering::Relaxed) {
            warn!(
                %peer,
                "a mesh delivers requests from a loopback address, so nobody sees /refused from now on; --admin-trust-loopback always \
                 allows it to 127.0.0.1 and ::1 again"
            );
        }
    }

    /// Whether a request is believed to come from this host.
    pub(super) fn trusts(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        is_this_host(peer)
            && match self.trust {
                TrustLoopback::Always => true,
                TrustLoopback::Never => false,
                TrustLoopback::Auto => {
                    let is_proxied = ADDED_BY_PROXIES.iter().any(|name| headers.contains_key(*name));
                    !is_proxied && !self.has_mesh.load(Ordering::Relaxed) && is_asked_of_this_host(headers)
                }
            }
    }

    /// Whether a request comes from a program on this host: neither a proxy nor a browser shows in it, even where those
    /// are trusted.
    pub(super) fn is_of_program(&self, peer: IpAddr, headers: &HeaderMap) -> bool {
        let mut added = ADDED_BY_PROXIES.iter().chain(&ADDED_BY_BROWSERS);
        is_this_host(peer)
            && self.trust != TrustLoopback::Never
            && !added.any(|name| headers.contains_key(*name))
    }
}

/// Whether what a browser sends is for a name of this host. Others may use any.
fn is_asked_of_this_host(headers: &HeaderMap) -> bool {
    // Of a site without TLS, a browser may send neither of the others.
    let is_of_browser = headers.contains_key(ACCEPT_LANGUAGE)
        || ADDED_BY_BROWSERS.iter().any(|name| headers.contains_key(*name));
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    !is_of_browser || name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(is_this_host)
}

fn is_this_host(peer: IpAddr) -> bool {
    peer == Ipv4Addr::LOCALHOST || peer == Ipv6Addr::LOCALHOST
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn only_this_host_is_trusted_and_no_mesh_on_it() {
        let none = HeaderMap::new();
        for trust in [TrustLoopback::Auto, TrustLoopback::Always] {
            let loopback = Loopback::new(trust);
            for (peer, expected) in
                [("127.0.0.1", true), ("::1", true), ("127.0.0.2", false), ("10.0.0.1", false)]
            {
                assert_eq!(loopback.trusts(address(peer), &none), expected, "{peer}");
            }
            loopback.note(address("127.0.0.1"));
            assert!(loopback.trusts(address("127.0.0.1"), &none));
            loopback.note(address("127.0.0.6"));
            assert_eq!(loopback.trusts(address("127.0.0.1"), &none), trust == TrustLoopback::Always);
            assert!(!loopback.trusts(address("127.0.0.6"), &none));
            assert!(loopback.is_of_program(address("127.0.0.1"), &none), "the pod's own hook may drain");
            assert!(!loopback.is_of_program(address("127.0.0.6"), &none));
            for name in ["x-forwarded-for", "origin"] {
                let mut headers = HeaderMap::new();
                headers.insert(name, HeaderValue::from_static("127.0.0.1"));
                assert!(!loopback.is_of_program(address("127.0.0.1"), &headers), "{name}");
            }
        }
        assert!(!Loopback::new(TrustLoopback::Never).trusts(address("::1"), &none));
    }

    #[test]
    fn what_a_browser_sends_has_to_be_for_a_name_of_this_host() {
        let auto = Loopback::new(TrustLoopback::Auto);
        let trusts = |host: &'static str, is_of_browser: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static(host));
            if is_of_browser {
                headers.insert(ACCEPT_LANGUAGE, HeaderValue::from_static("ko"));
            }
            auto.trusts(address("127.0.0.1"), &headers)
        };
        for host in ["localhost", "LOCALHOST:9464", "127.0.0.1:9464", "[::1]:9464"] {
            assert!(trusts(host, true), "{host}");
        }
        for host in ["calls.example.com", "calls.example.com:9464", "10.0.0.1", "[2001:db8::1]:9464", ""] {
            assert!(!trusts(host, true) && trusts(host, false), "{host}");
        }
    }

    #[test]
    fn what_proxies_say_takes_trust_away_and_never_gives_it() {
        let mut headers = HeaderMap::new();
        headers.insert("x-forwarded-for", HeaderValue::from_static("127.0.0.1"));
        let auto = Loopback::new(TrustLoopback::Auto);
        assert!(!auto.trusts(address("127.0.0.1"), &headers) && !auto.trusts(address("10.0.0.1"), &headers));
        assert!(!Loopback::new(TrustLoopback::Always).trusts(address("10.0.0.1"), &headers));
    }
}
