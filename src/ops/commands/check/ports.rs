//! Whether an address can be listened on, and if not, whether it is an exporter that does.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http::{BindError, ListenAddress, Purpose};

/// The addresses that a listener would have, or why it would not get them. `taken` are those of the other one.
pub(super) async fn check(
    purpose: Purpose,
    address: &ListenAddress,
    taken: &[SocketAddr],
) -> Result<Vec<SocketAddr>, String> {
    let port = address.port();
    // Where both ask for any port, they are given different ones.
    let is_taken = |one: &SocketAddr| {
        let is_of_both = |other: &SocketAddr| {
            other.ip() == one.ip() || other.ip().is_unspecified() || one.ip().is_unspecified()
        };
        port != 0 && taken.iter().any(|other| other.port() == port && is_of_both(other))
    };
    match address.try_out().await {
        Ok(addresses) if addresses.iter().any(is_taken) => {
            Err(format!("{address} is where --listen is; expected another port for {}", purpose.flag()))
        }
        Ok(addresses) => Ok(addresses),
        Err(source) if source.kind() == io::ErrorKind::AddrInUse && is_exporter(address).await => {
            Err(format!("{address} is in use by an exporter that runs; another needs another port"))
        }
        Err(source) => Err(BindError { purpose, address: address.clone(), source }.to_string()),
    }
}

/// How long who stands there may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of an answer that are looked at.
const LONGEST: u64 = 4096;

/// What is in the answers of an exporter at `/`, on its ports.
const MARKS: [&str; 2] = ["planet-call-exporter", "call events of LINE Planet"];

async fn is_exporter(address: &ListenAddress) -> bool {
    let host = match address {
        ListenAddress::Everywhere(_) => LOCAL.to_owned(),
        ListenAddress::One(one) if one.ip().is_unspecified() => LOCAL.to_owned(),
        ListenAddress::One(one) => one.ip().to_string(),
        ListenAddress::Named(name, _) => name.clone(),
    };
    let asked = tokio::time::timeout(PATIENCE, ask(&host, address.port())).await;
    asked.is_ok_and(|answer| answer.is_ok_and(|answer| MARKS.iter().any(|mark| answer.contains(mark))))
}

/// Who listens on every address is to be found there.
const LOCAL: &str = "localhost";

/// What the server there answers at `/`.
async fn ask(host: &str, port: u16) -> io::Result<String> {
    let mut stream = TcpStream::connect((host, port)).await?;
    let request = format!("GET / HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
