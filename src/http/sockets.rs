//! Where a listener listens: what can be configured, and the sockets that come of it.
//!
//! A socket on `[::]` takes both families, and shows a peer of IPv4 by its mapped address (`::ffff:192.0.2.7`).
//! Everything behind the listener sees the plain one ([`canonical`]).

use std::fmt;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::task::Poll;

use rustix::io::Errno;
use rustix::net::sockopt::set_ipv6_v6only;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    /// A port on every address of this host, of both families, or of IPv4 alone where the kernel has no IPv6.
    Everywhere(u16),
    /// One address and a port. `[::]` is every address of both families, `0.0.0.0` every one of IPv4.
    One(SocketAddr),
    /// A port on every address that a name of this host has.
    Named(String, u16),
}

impl ListenAddress {
    /// The port.
    pub fn port(&self) -> u16 {
        match self {
            ListenAddress::Everywhere(port) | ListenAddress::Named(_, port) => *port,
            ListenAddress::One(address) => address.port(),
        }
    }

    /// Takes the addresses and gives them back without listening, so that nobody else is kept from them. Returns which
    /// they are.
    ///
    /// # Errors
    /// As for a listener.
    pub async fn try_out(&self) -> io::Result<Vec<SocketAddr>> {
        bind(self).await?.iter().map(TcpSocket::local_addr).collect()
    }
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<ListenAddress, String> {
        let read = || {
            if let Ok(address) = text.parse() {
                return Some(ListenAddress::One(address));
            }
            let (host, port) = text.rsplit_once(':')?;
            let port = port.parse().ok()?;
            match host {
                "" => Some(ListenAddress::Everywhere(port)),
                name => is_name(name).then(|| ListenAddress::Named(name.to_owned(), port)),
            }
        };
        read().ok_or_else(|| {
            "expected a port such as :20200, or an IP address or a name of this host with a port, such as 127.0.0.1:20200, \
             [::]:20200 or localhost:20200"
                .to_owned()
        })
    }
}

/// Whether it is the name of a host. What ends in a number would be an address (such as 127.1 or 1.2.3.256).
fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let mut labels = text.strip_suffix('.').unwrap_or(text).split('.');
    labels.clone().all(is_label)
        && labels.next_back().is_some_and(|last| !last.starts_with(|first: char| first.is_ascii_digit()))
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ListenAddress::Everywhere(port) => write!(formatter, ":{port}"),
            ListenAddress::One(address) => address.fmt(formatter),
            ListenAddress::Named(name, port) => write!(formatter, "{name}:{port}"),
        }
    }
}

/// An address as everything behind the listener is to see it: IPv4 where it is that.
pub(super) fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => (ip, address.port()).into(),
        IpAddr::V6(_) => address,
    }
}

/// The sockets of a listener; there is at least one, and all have the same port.
#[derive(Debug)]
pub(super) struct Sockets {
    sockets: Vec<TcpListener>,
    addresses: Vec<SocketAddr>,
}

impl Sockets {
    /// Binds what is configured.
    ///
    /// # Errors
    /// The name is unknown, or an address is in use, is not of this host, or needs privileges.
    pub(super) async fn bind(address: &ListenAddress) -> io::Result<Sockets> {
        Sockets::listen(bind(address).await?)
    }

    fn listen(bound: Vec<TcpSocket>) -> io::Result<Sockets> {
        let sockets = bound.into_iter().map(|socket| socket.listen(BACKLOG));
        let sockets = sockets.collect::<io::Result<Vec<TcpListener>>>()?;
        let addresses = sockets.iter().map(TcpListener::local_addr).collect::<io::Result<_>>()?;
        Ok(Sockets { sockets, addresses })
    }

    /// The addresses that are listened on, with the real port where 0 was asked for.
    pub(super) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Accepts a connection. The sockets take turns, so that none waits for another.
    pub(super) async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        poll_fn(|context| {
            for _ in 0..self.sockets.len() {
                self.sockets.rotate_left(1);
                if let Poll::Ready(accepted) = self.sockets[0].poll_accept(context) {
                    return Poll::Ready(accepted);
                }
            }
            Poll::Pending
        })
        .await
    }

    /// The sockets themselves.
    pub(super) fn into_inner(self) -> Vec<TcpListener> {
        self.sockets
    }
}

/// Connections that wait to be accepted, unless the kernel allows fewer (`net.core.somaxconn`): who finds no room there
/// tries again after a second.
const BACKLOG: u32 = 1024;

async fn bind(address: &ListenAddress) -> io::Result<Vec<TcpSocket>> {
    Ok(match address {
        ListenAddress::Everywhere(port) => vec![bind_everywhere(*port, bind_one)?],
        ListenAddress::One(address) => vec![bind_one(*address)?],
        ListenAddress::Named(name, port) => {
            bind_each(tokio::net::lookup_host((name.as_str(), *port)).await?)?
        }
    })
}

/// Binds one address; `[::]` for both families, whatever the system's default is.
fn bind_one(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => {
            let socket = TcpSocket::new_v6()?;
            set_ipv6_v6only(&socket, false)?;
            socket
        }
    };
    // Otherwise the port would be taken for a minute after a restart.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Binds a port for both families, or for IPv4 where that is all there is.
fn bind_everywhere<S>(port: u16, bind: impl Fn(SocketAddr) -> io::Result<S>) -> io::Result<S> {
    match bind((Ipv6Addr::UNSPECIFIED, port).into()) {
        Err(error) if is_absent(&error) => bind((Ipv4Addr::UNSPECIFIED, port).into()),
        bound => bound,
    }
}

/// Binds each of these addresses that there is on this host. Where the first was given a port, the others get the same.
fn bind_each(addresses: impl Iterator<Item = SocketAddr>) -> io::Result<Vec<TcpSocket>> {
    let mut sockets: Vec<TcpSocket> = Vec::new();
    let mut absent = None;
    let mut seen = Vec::new();
    for mut address in addresses {
        if seen.contains(&address) {
            continue;
        }
        seen.push(address);
        if let Some(first) = sockets.first() {
            address.set_port(first.local_addr()?.port());
        }
        match bind_one(address) {
            Ok(socket) => sockets.push(socket),
            Err(error) if is_absent(&error) => absent = Some(error),
            Err(error) => return Err(error),
        }
    }
    match sockets.is_empty() {
        true => Err(absent.unwrap_or_else(|| io::ErrorKind::NotFound.into())),
        false => Ok(sockets),
    }
}

/// Whether this host has no such address, or nothing of its family.
fn is_absent(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::AFNOSUPPORT | Errno::ADDRNOTAVAIL))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_port_an_address_and_a_name_are_places_to_listen() {
        for (text, expected) in [
            (":9464", ListenAddress::Everywhere(9464)),
            ("0.0.0.0:1", ListenAddress::One(address("0.0.0.0:1"))),
            ("[::1]:1", ListenAddress::One(address("[::1]:1"))),
            ("localhost:0", ListenAddress::Named("localhost".to_owned(), 0)),
            ("a-1.example.:80", ListenAddress::Named("a-1.example.".to_owned(), 80)),
        ] {
            let read: ListenAddress = text.parse().expect(text);
            assert_eq!((read.to_string().as_str(), &read), (text, &expected));
            assert_eq!(text.rsplit(':').next(), Some(read.port().to_string().as_str()));
        }
        for text in [
            "",
            "9464",
            "localhost",
            ":",
            ":65536",
            "::1:80",
            "[::1]",
            "127.1:80",
            "1.2.3.256:80",
            "a b:80",
            "a..b:80",
            "http://a:80",
        ] {
            assert!(text.parse::<ListenAddress>().is_err(), "{text}");
        }
    }

    #[test]
    fn ipv4_alone_is_what_is_left_without_ipv6_and_nothing_else_is_tried() {
        let bound = |of_ipv6: Option<Errno>| {
            let asked = RefCell::new(Vec::new());
            let bind = |address: SocketAddr| {
                asked.borrow_mut().push(address.to_string());
                match of_ipv6.filter(|_| address.is_ipv6()) {
                    Some(error) => Err(io::Error::from(error)),
                    None => Ok(()),
                }
            };
            let is_bound = bind_everywhere(80, bind).is_ok();
            (is_bound, asked.into_inner())
        };
        assert_eq!(bound(None), (true, vec!["[::]:80".to_owned()]));
        for error in [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL] {
            assert_eq!(bound(Some(error)), (true, vec!["[::]:80".to_owned(), "0.0.0.0:80".to_owned()]));
        }
        for error in [Errno::ADDRINUSE, Errno::ACCESS, Errno::MFILE] {
            assert_eq!(bound(Some(error)), (false, vec!["[::]:80".to_owned()]));
        }
    }

    #[tokio::test]
    async fn each_address_of_a_name_is_listened_on_under_one_port_and_each_gets_its_turn() {
        // The documentation's address is not of this host.
        let addresses = ["127.0.0.1:0", "127.0.0.1:0", "192.0.2.1:0", "127.0.0.2:0"].map(address);
        let bound = bind_each(addresses.into_iter()).expect("sockets");
        let mut sockets = Sockets::listen(bound).expect("listeners");
        let addresses = sockets.addresses().to_vec();
        let port = addresses[0].port();
        assert_eq!(addresses, ["127.0.0.1", "127.0.0.2"].map(|ip| address(&format!("{ip}:{port}"))));
        let mut waiting = Vec::new();
        for to in [addresses[0], addresses[0], addresses[0], addresses[1]] {
            waiting.push(TcpStream::connect(to).await.expect("a connection"));
        }
        let mut accepted = Vec::new();
        for _ in 0..2 {
            let (stream, _) = sockets.accept().await.expect("a connection");
            accepted.push(stream.local_addr().expect("an address"));
        }
        accepted.sort();
        assert_eq!(accepted, addresses, "the one connection does not wait for the three others");
    }

    #[tokio::test]
    async fn a_name_without_an_address_of_this_host_is_an_error() {
        let error = bind_each([address("192.0.2.1:0")].into_iter()).expect_err("it is not of this host");
        assert_eq!(error.kind(), io::ErrorKind::AddrNotAvailable);
        assert_eq!(bind_each(std::iter::empty()).expect_err("none").kind(), io::ErrorKind::NotFound);
        let taken = bind_one(address("127.0.0.1:0")).and_then(|socket| socket.listen(BACKLOG));
        let taken = taken.expect("a listener");
        let taken_address = taken.local_addr().expect("an address");
        let error = bind_each([taken_address].into_iter()).expect_err("it is taken");
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_mapped_address_is_plain_ipv4() {
        for (given, expected) in [
            ("[::ffff:192.0.2.7]:5", "192.0.2.7:5"),
            ("192.0.2.7:5", "192.0.2.7:5"),
            ("[::1]:5", "[::1]:5"),
            ("[fe80::1%3]:5", "[fe80::1%3]:5"),
            ("[::192.0.2.7]:5", "[::192.0.2.7]:5"),
        ] {
            assert_eq!(canonical(address(given)), address(expected));
        }
    }
}
