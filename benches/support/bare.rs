//! The yardstick: hyper with nothing behind it, which answers 200 to everything.

#![allow(clippy::print_stderr, reason = "a server says where it listens")]

use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::Result;

/// The argument that makes a benchmark this server.
pub(crate) const ARGUMENT: &str = "bare";

/// An address with a port that is free.
pub(crate) const ANY_PORT: &str = "127.0.0.1:0";

/// Serves at this address until the process ends.
pub(crate) fn serve(address: &str) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind(address).await?;
        eprintln!("{{\"call_events\":\"http://{}/call_event\",\"admin\":\"\"}}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let service = service_fn(|_| async {
                Ok::<_, std::convert::Infallible>(hyper::Response::new(Full::<bytes::Bytes>::default()))
            });
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    })
}
