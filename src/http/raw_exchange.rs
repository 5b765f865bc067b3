//! One request to the service whose query no URI may have, on a connection of its own.
//!
//! hyper writes the request with a target of `/`, and what stands below it writes the real target in that place: the
//! first bytes on the connection are the request line, known to the byte, or nothing is sent. The query has no control
//! characters, so the line stays one line.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::Service;
use hyper::{Request, Response, Uri, Version};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::headers::add_host;
use super::raw_query::RawQuery;
use super::service::{BUFFER, RequestBody, SendError};

/// Sends a request to its URI with this query, and returns the head of the answer as soon as it is there.
pub(super) async fn send(
    connector: HttpsConnector<HttpConnector>,
    mut request: Request<RequestBody>,
    query: &RawQuery,
) -> Result<Response<Incoming>, SendError> {
    let uri = std::mem::replace(request.uri_mut(), Uri::from_static("/"));
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    add_host(headers, &uri);
    let method = request.method().as_str();
    let expected = Bytes::from(format!("{method} / HTTP/1.1\r\n"));
    let line = [method.as_bytes(), b" ", uri.path().as_bytes(), b"?", query.as_bytes(), b" HTTP/1.1\r\n"];
    let line = Bytes::from(line.concat());
    let stream = TowerToHyperService::new(connector).call(uri).await.map_err(SendError::Connect)?;
    let stream = OtherLine { stream: TokioIo::new(stream), expected, line };
    let mut http = http1::Builder::new();
    let (mut sender, connection) = http.max_buf_size(BUFFER).handshake(TokioIo::new(stream)).await?;
    // It ends when the answer is read or nobody waits for it; what goes wrong is said to whoever waits.
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

/// A stream on which a request line is written in the place of the expected one.
struct OtherLine<S> {
    stream: S,
    /// The line that is to come; empty when it has.
    expected: Bytes,
    /// What is still to be written of the other line.
    line: Bytes,
}

impl<S: AsyncWrite + Unpin> AsyncWrite for OtherLine<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        if this.expected.is_empty() {
            return Pin::new(&mut this.stream).poll_write(context, bytes);
        }
        if !bytes.starts_with(&this.expected) {
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "no request line comes first",
            )));
        }
        while !this.line.is_empty() {
            match ready!(Pin::new(&mut this.stream).poll_write(context, &this.line))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => this.line.advance(written),
            }
        }
        Poll::Ready(Ok(std::mem::take(&mut this.expected).len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for OtherLine<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn one_line_is_written_in_the_place_of_another() {
        for room in [1, 7, 1_000] {
            let (near, mut far) = duplex(room);
            let line = Bytes::from_static(b"GET /a?\"\xff HTTP/1.1\r\n");
            let mut stream =
                OtherLine { stream: near, expected: Bytes::from_static(b"GET / HTTP/1.1\r\n"), line };
            let write = async {
                stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await?;
                stream.write_all(b"GET / HTTP/1.1\r\n").await?;
                stream.shutdown().await
            };
            let mut written = Vec::new();
            let (wrote, read) = tokio::join!(write, far.read_to_end(&mut written));
            assert!(wrote.is_ok() && read.is_ok());
            assert_eq!(written, b"GET /a?\"\xff HTTP/1.1\r\nhost: a\r\n\r\nGET / HTTP/1.1\r\n");
        }
    }

    #[tokio::test]
    async fn nothing_is_sent_where_another_line_comes() {
        let (near, mut far) = duplex(100);
        let expected = Bytes::from_static(b"GET / HTTP/1.1\r\n");
        let mut stream =
            OtherLine { stream: near, expected, line: Bytes::from_static(b"GET /a HTTP/1.1\r\n") };
        assert!(stream.write_all(b"GET /b HTTP/1.1\r\n").await.is_err());
        drop(stream);
        let mut written = Vec::new();
        far.read_to_end(&mut written).await.expect("an end");
        assert_eq!(written, b"");
    }
}
