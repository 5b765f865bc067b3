//! The PROXY protocol, by which a load balancer says whose connection it passes on, before the first byte of that
//! (versions 1 and 2,
//! <https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>).
//!
//! Whoever may send the header can claim any address. So it is read from trusted peers only, and from these it is
//! required: behind a load balancer that does not send it, the first bytes are the client's. From anybody else it is no
//! HTTP.

use std::net::SocketAddr;
use std::time::Duration;

use ppp::{HeaderResult, PartialResult, v1, v2};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::sockets::canonical;

/// The first bytes of a header of version 1.
const FIRST_OF_1: &[u8] = b"PROXY ";

/// The first bytes of a header of version 2 behind the line ends that lead it.
const FIRST_OF_2: &[u8] = b"\0\r\nQUIT\n";

/// Bytes of a header of version 1 at most.
const LONGEST_1: usize = 107;

/// Bytes of a header of version 2 before those whose number is in it.
const FIXED_2: usize = 16;

/// Bytes of a header of version 2 that are read: addresses and the fields that load balancers add take a few hundred.
const LONGEST_2: usize = 4096;

/// Why a trusted peer's connection is not served.
#[derive(Debug, Error)]
pub(super) enum NoHeader {
    /// There is none, or a damaged one.
    #[error(
        "expected a header of the PROXY protocol from this trusted peer, and it sent none that can be read"
    )]
    Missing,
    /// It did not come in time.
    #[error("the header of the PROXY protocol did not come within {0:?}")]
    Timeout(Duration),
}

/// Whether bytes that are no HTTP begin as the protocol does, possibly without the line ends that lead it.
pub(super) fn is_header(bytes: &[u8]) -> bool {
    let behind_line_ends = &bytes[bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()..];
    bytes.starts_with(FIRST_OF_1) || behind_line_ends.starts_with(FIRST_OF_2)
}

/// Reads the header from a trusted peer, and returns the client's address, or the peer's own where the header says no
/// other; `None` if the peer closes the connection without a byte, as one that looks whether somebody listens.
///
/// # Errors
/// There is no header, or it does not come in time.
pub(super) async fn read_client(
    stream: &mut (impl AsyncRead + Unpin),
    peer: SocketAddr,
    timeout: Duration,
) -> Result<Option<SocketAddr>, NoHeader> {
    let read = tokio::time::timeout(timeout, read_header(stream)).await;
    let header = match read.map_err(|_| NoHeader::Timeout(timeout))? {
        Ok(header) => header,
        Err(Incomplete::Nothing) => return Ok(None),
        Err(Incomplete::Something) => return Err(NoHeader::Missing),
    };
    client(&header).ok_or(NoHeader::Missing).map(|client| Some(client.map_or(peer, canonical)))
}

/// What came in place of a header.
enum Incomplete {
    /// The end.
    Nothing,
    /// Something else, or the beginning of one.
    Something,
}

/// The bytes of a header, and not one more, since what comes behind is the client's.
async fn read_header(stream: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, Incomplete> {
    let mut header = Vec::with_capacity(LONGEST_1);
    loop {
        let missing = missing(&header).ok_or(Incomplete::Something)?;
        if missing == 0 {
            return Ok(header);
        }
        let before = header.len();
        header.resize(before + missing, 0);
        let read = stream.read_exact(&mut header[before..]).await;
        read.map_err(|_| if before == 0 { Incomplete::Nothing } else { Incomplete::Something })?;
    }
}

/// How many more bytes a header has at least that begins so; `None` if none begins so.
fn missing(header: &[u8]) -> Option<usize> {
    let is_2 = header.starts_with(b"\r");
    if is_2 && header.len() < FIXED_2 {
        return Some(FIXED_2 - header.len());
    }
    if is_2 {
        let rest = u16::from_be_bytes([header[FIXED_2 - 2], header[FIXED_2 - 1]]);
        let length = FIXED_2 + usize::from(rest);
        return (length <= LONGEST_2).then(|| length - header.len());
    }
    let begins_so = header.iter().zip(FIRST_OF_1).all(|(byte, expected)| byte == expected);
    match header.last() {
        Some(b'\n') => Some(0),
        _ => (begins_so && header.len() < LONGEST_1).then_some(1),
    }
}

/// The address in a header, if it has one; `None` if it is no header.
fn client(header: &[u8]) -> Option<Option<SocketAddr>> {
    let parsed = HeaderResult::parse(header);
    if parsed.is_incomplete() {
        return None;
    }
    match parsed {
        HeaderResult::V1(Ok(header)) => Some(match header.addresses {
            v1::Addresses::Tcp4(addresses) => Some((addresses.source_address, addresses.source_port).into()),
            v1::Addresses::Tcp6(addresses) => Some((addresses.source_address, addresses.source_port).into()),
            v1::Addresses::Unknown => None,
        }),
        HeaderResult::V2(Ok(header)) => Some(match (header.command, header.addresses) {
            // A check of the load balancer's own.
            (v2::Command::Local, _) => None,
            (_, v2::Addresses::IPv4(addresses)) => {
                Some((addresses.source_address, addresses.source_port).into())
            }
            (_, v2::Addresses::IPv6(addresses)) => {
                Some((addresses.source_address, addresses.source_port).into())
            }
            (_, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => None,
        }),
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(bytes: &[u8]) -> (Option<SocketAddr>, usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let mut rest = bytes;
        let peer = SocketAddr::from(([10, 0, 0, 1], 1));
        let client = runtime.block_on(read_client(&mut rest, peer, Duration::from_secs(60)));
        (client.ok().flatten(), rest.len())
    }

    #[test]
    fn a_header_is_read_to_its_end_and_no_further() {
        let of = |text: &str| text.parse().ok();
        for (header, client) in [
            (&b"PROXY TCP4 1.2.3.4 5.6.7.8 90 91\r\n"[..], of("1.2.3.4:90")),
            (b"PROXY TCP6 ::1 ::2 90 91\r\n", of("[::1]:90")),
            (b"PROXY TCP6 ::ffff:1.2.3.4 ::2 90 91\r\n", of("1.2.3.4:90")),
            (b"PROXY UNKNOWN ::1 ::2 90 91\r\n", of("10.0.0.1:1")),
            (
                b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\0\x5a\0\x5b",
                of("1.2.3.4:90"),
            ),
            (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", of("10.0.0.1:1")),
        ] {
            let bytes = [header, b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(read(&bytes), (client, 16), "{header:?}");
            for end in 0..header.len() {
                assert_eq!(read(&header[..end]).0, None);
            }
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_no_more_is_read_than_a_header_can_have(bytes in prop::collection::vec(any::<u8>(), 0..6_000)) {
            let (_, rest) = read(&bytes);
            prop_assert!(bytes.len() - rest <= LONGEST_2);
            let (_, rest) = read(&[b"PROXY ", &bytes[..]].concat());
            prop_assert!(bytes.len() + 6 - rest <= LONGEST_1);
        }
    }
}
