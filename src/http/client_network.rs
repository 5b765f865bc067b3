//! Who counts as one peer, where each peer may have so much.

use std::net::{IpAddr, Ipv6Addr};

/// An address of IPv4, or a /64, of which a host of IPv6 has every address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ClientNetwork(u128);

/// Bits of an address of IPv6 that name its network.
const NETWORK_BITS: u32 = 64;

impl From<IpAddr> for ClientNetwork {
    fn from(address: IpAddr) -> ClientNetwork {
        let bits = |address: Ipv6Addr| address.to_bits();
        ClientNetwork(match address.to_canonical() {
            IpAddr::V4(address) => bits(address.to_ipv6_mapped()),
            IpAddr::V6(address) => bits(address) >> NETWORK_BITS << NETWORK_BITS,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_one_peer_however_many_addresses_it_has() {
        let of = |address: &str| ClientNetwork::from(address.parse::<IpAddr>().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("192.0.2.1"), of("::ffff:192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }
}
