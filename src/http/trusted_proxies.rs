//! The proxies that are believed when they say whose connection or request they pass on: by the
//! [PROXY protocol](super::proxy_protocol), or request by request in `X-Forwarded-For` or `Forwarded` (RFC 7239).
//!
//! Each proxy appends the address that it was called from, and whoever calls the first one may have written anything in
//! front of that. So the lists are read from their end: the client is the first address from there that is no trusted
//! proxy. What cannot be read ends the reading, since what stands before it may be the client's own words.
//!
//! A proxy sets one of the two fields, and often passes the other on as the client sent it. Where both are there and
//! name different clients, neither is believed, and the request is the proxy's own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hyper::header::{FORWARDED, HeaderMap, HeaderValue};
use ipnet::IpNet;

use super::headers::X_FORWARDED_FOR;

/// The peers that are believed.
#[derive(Debug, Clone)]
pub struct TrustedProxies(Arc<[IpNet]>);

impl TrustedProxies {
    /// The peers in these networks.
    pub fn new(networks: &[IpNet]) -> TrustedProxies {
        TrustedProxies(networks.into())
    }

    /// Whether a peer is among them.
    pub(super) fn contains(&self, peer: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&peer))
    }

    /// Whose request it is that came from `peer` with these fields: the peer's own, unless the peer is trusted and says
    /// otherwise.
    pub fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        if !self.contains(peer) {
            return peer;
        }
        let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
        let by_list = self.first_untrusted(peer, lines.flat_map(addresses_of_list));
        let lines = headers.get_all(FORWARDED).iter().rev();
        let by_elements = self.first_untrusted(peer, lines.flat_map(addresses_of_elements));
        match (by_list, by_elements) {
            (Some(client), None) | (None, Some(client)) => client,
            (Some(one), Some(other)) if one == other => one,
            _ => peer,
        }
    }

    /// The first of these that is no trusted proxy, or the last of them that can be read; `None` if there are none at all.
    fn first_untrusted(
        &self,
        peer: IpAddr,
        addresses: impl Iterator<Item = Option<IpAddr>>,
    ) -> Option<IpAddr> {
        let mut client = None;
        for address in addresses {
            match address {
                Some(address) if self.contains(address) => client = Some(address),
                Some(address) => return Some(address),
                None => return client.or(Some(peer)),
            }
        }
        client
    }
}

/// The addresses in a line of `X-Forwarded-For`, from its end.
fn addresses_of_list(line: &HeaderValue) -> impl Iterator<Item = Option<IpAddr>> {
    line.as_bytes().rsplit(|byte| *byte == b',').map(|item| address(str::from_utf8(item).ok()?.trim()))
}

/// The addresses in a line of `Forwarded`, from its end.
fn addresses_of_elements(line: &HeaderValue) -> impl Iterator<Item = Option<IpAddr>> {
    let elements = line.to_str().ok().and_then(|line| split(line, ','));
    // A line that cannot be read is one element that cannot be.
    let elements = elements.map_or_else(|| vec![None], |elements| elements.into_iter().map(Some).collect());
    elements.into_iter().rev().map(|element| address_of_element(element?))
}

/// The address in an element such as `for="[2001:db8::1]:4711";proto=https`.
fn address_of_element(element: &str) -> Option<IpAddr> {
    let pairs = split(element, ';')?;
    let mut named = pairs.iter().filter_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then_some(value.trim())
    });
    let value = named.next().filter(|_| named.next().is_none())?;
    let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    address(quoted.unwrap_or(value))
}

/// The parts of a text between separators that stand in no quoted string; `None` if one does not end. A proxy may quote
/// what a client sent as its host.
fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut parts, mut begin) = (Vec::new(), 0);
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if is_escaped => is_escaped = false,
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ if character == separator && !is_quoted => {
                parts.push(&text[begin..at]);
                begin = at + character.len_utf8();
            }
            _ => {}
        }
    }
    parts.push(&text[begin..]);
    (!is_quoted).then_some(parts)
}

/// An address, which may have a port, and brackets if it is one of IPv6.
fn address(text: &str) -> Option<IpAddr> {
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6);
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    let address = text.parse().ok().or_else(in_brackets).or_else(with_port)?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trusted() -> TrustedProxies {
        let networks = ["10.0.0.0/8", "2001:db8::/32"].map(|network| network.parse().expect("a network"));
        TrustedProxies::new(&networks)
    }

    /// The client of a request with these fields from a peer.
    fn client(peer: &str, fields: &[(&str, &str)]) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = match *name {
                "list" => X_FORWARDED_FOR,
                _ => FORWARDED,
            };
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        trusted().client(peer.parse().expect("an address"), &headers).to_string()
    }

    #[test]
    fn networks_are_of_both_families() {
        for (peer, expected) in
            [("10.1.2.3", true), ("2001:db8::1", true), ("11.0.0.1", false), ("::2", false)]
        {
            assert_eq!(trusted().contains(peer.parse().expect("an address")), expected, "{peer}");
        }
    }

    #[test]
    fn the_client_is_the_first_from_the_end_that_is_no_trusted_proxy() {
        for (fields, expected) in [
            (&[][..], "10.0.0.1"),
            (&[("list", "1.1.1.1")], "1.1.1.1"),
            (&[("list", "9.9.9.9, 1.1.1.1")], "1.1.1.1"),
            (&[("list", "9.9.9.9, 1.1.1.1, 10.0.0.2,10.0.0.3")], "1.1.1.1"),
            (&[("list", "9.9.9.9"), ("list", "1.1.1.1"), ("list", "10.0.0.2")], "1.1.1.1"),
            (&[("list", "1.1.1.1:4711, [2001:db8::7]:1, [2001:db8::7], ::ffff:10.0.0.3")], "1.1.1.1"),
            (&[("list", "10.0.0.3, 10.0.0.2")], "10.0.0.3"),
            (&[("list", "1.1.1.1, unknown")], "10.0.0.1"),
            (&[("list", "1.1.1.1, unknown, 10.0.0.2")], "10.0.0.2"),
            (&[("list", "1.1.1.1,")], "10.0.0.1"),
            (&[("list", "")], "10.0.0.1"),
            (&[("elements", "for=9.9.9.9, For=1.1.1.1;proto=https, for=10.0.0.2")], "1.1.1.1"),
            (&[("elements", "for=\"[2001:db9::1]:4711\"")], "2001:db9::1"),
            (&[("elements", "for=1.1.1.1;host=\"a,for=9.9.9.9\"")], "1.1.1.1"),
            (&[("elements", "for=1.1.1.1;host=\"a\\\",for=9.9.9.9\"")], "1.1.1.1"),
            (&[("elements", "for=\"9.9.9.9, for=1.1.1.1")], "10.0.0.1"),
            (&[("elements", "for=1.1.1.1;for=9.9.9.9")], "10.0.0.1"),
            (&[("elements", "for=1.1.1.1, for=_hidden")], "10.0.0.1"),
            (&[("list", "1.1.1.1"), ("elements", "for=9.9.9.9, for=1.1.1.1")], "1.1.1.1"),
            (&[("list", "1.1.1.1"), ("elements", "for=9.9.9.9")], "10.0.0.1"),
            (&[("list", "9.9.9.9"), ("elements", "for=1.1.1.1")], "10.0.0.1"),
        ] {
            assert_eq!(client("10.0.0.1", fields), expected, "{fields:?}");
            assert_eq!(client("1.2.3.4", fields), "1.2.3.4", "nobody else is believed");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_client_sends_it_is_known_by_what_the_proxy_appends(sent in "[ -~]{0,60}") {
            prop_assert_eq!(client("10.0.0.1", &[("list", &format!("{sent},1.1.1.1"))]), "1.1.1.1");
            // A quoted string that does not end takes in what the proxy appends.
            let by_elements = client("10.0.0.1", &[("elements", &format!("{sent},for=1.1.1.1"))]);
            prop_assert!(["1.1.1.1", "10.0.0.1"].contains(&by_elements.as_str()), "{}", by_elements);
        }
    }
}
