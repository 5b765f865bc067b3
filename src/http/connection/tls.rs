//! The beginning of a connection with TLS.

use std::io;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::{Connection, Ended};
use crate::http::listener::Handler;
use crate::http::server_tls::ServerTls;

/// The first bytes of TLS: a handshake, version 3 of SSL or one after it.
pub(super) const FIRST_BYTES: [u8; 2] = [0x16, 3];

/// How long a handshake may still take once the exporter stops: as long as a first request.
const WHEN_STOPPING: Duration = Duration::from_secs(1);

/// What is said in plain HTTP to who does not speak TLS.
const EXPECTED_TLS: &str = "this port speaks TLS; expected https://\n";

impl<H: Handler> Connection<H> {
    /// Serves `stream` to its end, as [`serve`](Connection::serve) does, but with TLS. A header of the PROXY protocol
    /// stands before that.
    ///
    /// # Errors
    /// The connection ended early, perhaps before there was TLS.
    pub(in crate::http) async fn serve_tls(
        mut self,
        mut stream: TcpStream,
        has_header: bool,
        tls: &ServerTls,
    ) -> Result<(), Ended> {
        if has_header && !self.learn_client(&mut stream).await? {
            return Ok(());
        }
        // Nothing is lost with a connection on which there is no request yet.
        self.phase.restart_clock();
        let begun = tokio::time::timeout(self.limits.header_timeout, begin(stream, tls));
        let begun = tokio::select! {
            begun = begun => begun.unwrap_or_else(|_| Err(Ended::Handshake(io::ErrorKind::TimedOut.into()))),
            () = self.no_time_for_tls() => return Ok(()),
        };
        match begun? {
            Begun::Tls(stream) => self.serve_http(*stream).await,
            Begun::Nothing => Ok(()),
            Begun::Other(mut stream) => {
                let answer = format!(
                    "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncache-control: no-store\r\n\
                     content-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\r\n{EXPECTED_TLS}",
                    EXPECTED_TLS.len()
                );
                // Whoever does not take it has gone.
                let _ = stream.write_all(answer.as_bytes()).await;
                self.lingering_close(stream).await;
                Err(Ended::NoTls)
            }
        }
    }

    /// Completes when the place is needed, or a while after the exporter stops.
    async fn no_time_for_tls(&self) {
        let stopping = async {
            self.ending.stop.cancelled().await;
            tokio::time::sleep(WHEN_STOPPING).await;
        };
        tokio::select! {
            () = self.phase.evicted() => {}
            () = stopping => {}
        }
    }
}

/// How a connection begins.
enum Begun {
    Tls(Box<TlsStream<TcpStream>>),
    /// The peer closed it without a byte, as one that looks whether somebody listens.
    Nothing,
    /// No TLS.
    Other(TcpStream),
}

async fn begin(stream: TcpStream, tls: &ServerTls) -> Result<Begun, Ended> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        // One that was reset is none either.
        Ok(0) | Err(_) => return Ok(Begun::Nothing),
        Ok(_) if first[0] != FIRST_BYTES[0] => return Ok(Begun::Other(stream)),
        Ok(_) => {}
    }
    let accepted = TlsAcceptor::from(tls.config()).accept(stream).await;
    Ok(Begun::Tls(Box::new(accepted.map_err(Ended::Handshake)?)))
}
