//! Whether an address can be listened on, and if not, whether it is an exporter that does.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// What there is to say of an address to listen on, or what is wrong.
pub(super) async fn check(address: SocketAddr) -> Result<String, String> {
    match bind(address) {
        Ok(()) => Ok(format!("{address} is free")),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let by = if is_exporter(address).await { " by an exporter that runs" } else { "" };
            Err(format!("{address} is in use{by}"))
        }
        Err(error) => Err(format!("{address} cannot be listened on: {error}")),
    }
}

/// Takes the address and gives it back, without listening: so nobody else is kept from it.
fn bind(address: SocketAddr) -> io::Result<()> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // As a listener does, so that connections that have just ended are not in the way.
    socket.set_reuseaddr(true)?;
    socket.bind(address)
}

/// How long who stands there may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of an answer that are looked at.
const LONGEST: u64 = 4096;

/// What is in the answers of an exporter at `/`, on its ports.
const MARKS: [&str; 2] = ["planet-call-exporter", "call events of LINE Planet"];

async fn is_exporter(address: SocketAddr) -> bool {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    let asked = tokio::time::timeout(PATIENCE, ask(SocketAddr::new(ip, address.port()))).await;
    asked.is_ok_and(|answer| answer.is_ok_and(|answer| MARKS.iter().any(|mark| answer.contains(mark))))
}

/// What the server there answers at `/`.
async fn ask(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
