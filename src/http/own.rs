//! Whether requests to an address would come back to this process, as far as that can be told without sending anything.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};

/// Whether what is sent to `target` arrives at a socket that listens on the address `listening`, on the same port.
pub(super) fn leads_to(target: IpAddr, listening: IpAddr) -> bool {
    // Whoever sends to the unspecified address reaches this host.
    let target = match target.to_canonical() {
        target if !target.is_unspecified() => target,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    match listening.to_canonical() {
        one if !one.is_unspecified() => one == target,
        IpAddr::V4(_) => target.is_ipv4() && is_of_this_host(target),
        IpAddr::V6(_) => is_of_this_host(target),
    }
}

/// Whether an address is of this host. A second address of one network may be missed, but no other host's is taken for it.
fn is_of_this_host(address: IpAddr) -> bool {
    address.is_loopback() || source_towards(address).is_ok_and(|source| source == address)
}

/// The address from which this host would send to another. Nothing is sent.
fn source_towards(address: IpAddr) -> io::Result<IpAddr> {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    // Any port will do.
    socket.connect((address, 9))?;
    Ok(socket.local_addr()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(target: &str, listening: &str) -> bool {
        let ip = |text: &str| text.parse().expect("an address");
        leads_to(ip(target), ip(listening))
    }

    #[test]
    fn only_an_address_of_this_host_that_is_listened_on_leads_back() {
        for (target, listening) in [
            ("127.0.0.1", "127.0.0.1"),
            ("::ffff:127.0.0.1", "127.0.0.1"),
            ("127.0.0.1", "0.0.0.0"),
            ("127.0.0.2", "0.0.0.0"),
            ("0.0.0.0", "127.0.0.1"),
            ("127.0.0.1", "::"),
            ("::1", "::"),
            ("::", "::"),
            ("::", "::1"),
            ("192.0.2.1", "192.0.2.1"),
        ] {
            assert!(leads(target, listening), "{target} at {listening}");
        }
        for (target, listening) in [
            ("127.0.0.2", "127.0.0.1"),
            ("::1", "127.0.0.1"),
            ("127.0.0.1", "::1"),
            ("::1", "0.0.0.0"),
            ("192.0.2.1", "0.0.0.0"),
            ("192.0.2.1", "::"),
            ("2001:db8::1", "::"),
        ] {
            assert!(!leads(target, listening), "{target} at {listening}");
        }
    }

    #[test]
    fn this_hosts_own_addresses_lead_back() {
        // Those by which it would reach others, if it can reach any.
        let sources = ["198.51.100.1", "2001:db8::1"].map(|text| text.parse().expect("an address"));
        for own in sources.into_iter().filter_map(|other| source_towards(other).ok()) {
            assert!(leads_to(own, Ipv6Addr::UNSPECIFIED.into()), "{own}");
            assert!(own.is_ipv6() || leads_to(own, Ipv4Addr::UNSPECIFIED.into()), "{own}");
        }
    }
}
