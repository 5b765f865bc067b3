//! One connection of a listener: hyper serves it, and perhaps the last request is one that hyper cannot read.
//!
//! hyper answers 400 to a head whose query has raw `"`, `<`, `>`, spaces or bytes that are no UTF-8, before any handler
//! sees it. Senders leave such bytes raw, and a call must not be lost for them. So, on a listener whose handler wants
//! it:
//!
//! 1. *Serving.* hyper reads and writes the connection, every byte as it is. Below it, [`Overheard`] copies what hyper was
//!    given and has not handed over yet ([`head_copy`]).
//! 2. *Held back.* hyper fails at a head and writes its 400. If the head may be good but for its query ([`raw_head`]),
//!    the 400 is held back. hyper is done with the connection: it has ended with an error and gives back the stream and
//!    what it has not read. That must be the end of the copy, or the 400 goes out.
//! 3. *Completing.* If hyper failed before the head was whole, as it does at a space, the rest of the head is read
//!    here, up to the limit of heads and within the deadline of this head. What turns out to be wrong in another way,
//!    or never ends, gets the 400.
//! 4. *Answering.* The head without its query is read by a second hyper, which sees this head and never another byte of
//!    the peer. If it is good, the query alone was at fault: the handler gets the request with its query beside it
//!    ([`RawQuery`](super::raw_query::RawQuery)), and hyper frames the answer and says that the connection is closed.
//!    If not, this hyper's 400 is the answer. What the peer has sent behind the head is thrown away.
//!
//! What could go wrong, and does not:
//! - *A wrong boundary,* by which a body or a part of a head becomes a request. The copy is told of every request that
//!   hyper hands over, so that it ends where hyper's reading does; what hyper has not read says it a second time; where
//!   the two differ, or the length of a body was not known beforehand, the 400 stands.
//! - *Smuggling.* Nothing is rewritten in front of hyper: the first hyper reads what came, and the second one a single head
//!   in a stream of its own. Only GET without a body is taken, with whole line ends, no control character in its request line
//!   and one version in it; whatever hyper refuses of the other lines stays refused.
//! - *Two answers to one head.* The second hyper begins when the first one has ended, and its 400 is dropped only if the second
//!   one was handed a request or answered by itself.
//! - *An answer of the handler that is taken for hyper's own.* None is owed while something is held back. If hyper reads or
//!   writes on all the same, what was held back goes out first.
//! - *An answer behind one that is not written yet,* as when the body of a POST was read after its answer: the two come as
//!   one write, and the 400 is not held back.
//! - *Memory and time.* The copy is bounded by the limit of heads, which hyper has as well; the deadlines are those of
//!   any request ([`Deadlines`]); the place among the connections is kept until the end.

#[cfg(feature = "fuzzing")]
pub(super) mod fuzzing;
mod head_copy;
mod lingering_close;
mod overheard;
mod raw_head;
#[cfg(test)]
mod tests;
mod tls;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body_util::Either;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio_util::sync::CancellationToken;

pub(super) use self::lingering_close::lingering_close;
use self::overheard::{Exchange, Left, Overheard, Unanswered};
use self::raw_head::{RawHead, Reading};
use super::deadlines::{Deadlines, Phase};
use super::proxy_protocol::{self, NoHeader, read_client};
use super::response::{self, Body, Endless};
use super::{Handler, Limits};

/// The smallest read buffer that hyper accepts.
const SMALLEST_BUFFER: usize = 8 * 1024;

/// How HTTP/2 begins (RFC 9113, 3.4).
const HTTP_2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";

/// How a connection ended otherwise than it should.
#[derive(Debug, Error)]
pub(super) enum Ended {
    /// The peer speaks HTTP/2, which is not served here.
    #[error("the peer speaks HTTP/2 by prior knowledge; expected HTTP/1.1: set the proxy in front to it")]
    Http2,
    /// The peer sent a header of the PROXY protocol that is not believed.
    #[error(
        "the peer sent a header of the PROXY protocol; --proxy-protocol required takes it from the peers that --trusted-proxies names"
    )]
    ProxyProtocol,
    /// The peer speaks TLS to a listener that has no certificate.
    #[error("the peer speaks TLS and this port does not; expected http://, or a certificate for this port")]
    Tls,
    /// The peer does not speak TLS to a listener that does.
    #[error("the peer does not speak TLS and this port does; expected https://")]
    NoTls,
    /// TLS could not be agreed on.
    #[error("no TLS with the peer: {0}")]
    Handshake(io::Error),
    /// A trusted peer sent no header.
    #[error(transparent)]
    NoHeader(#[from] NoHeader),
    /// The peer sent what is no HTTP, or went, or was too slow.
    #[error(transparent)]
    Early(#[from] hyper::Error),
}

/// Headers that a request may have, with those that proxies add.
const MOST_HEADERS: usize = 256;

/// When connections are to end.
#[derive(Debug, Clone, Default)]
pub struct Ending {
    /// From then on each answer says that its connection is closed.
    pub drain: CancellationToken,
    /// From then on each connection goes as soon as it is idle.
    pub stop: CancellationToken,
}

/// A connection that is open, to be told from others.
#[derive(Debug, Clone, Default)]
pub struct OpenConnection(Arc<()>);

impl OpenConnection {
    /// What is gone when the connection has ended.
    pub fn downgrade(&self) -> Weak<()> {
        Arc::downgrade(&self.0)
    }
}

/// A connection that was accepted.
pub(super) struct Connection<H> {
    pub(super) handler: Arc<H>,
    pub(super) peer: SocketAddr,
    pub(super) limits: Limits,
    pub(super) phase: Arc<Phase>,
    pub(super) ending: Ending,
}

#[cfg(any(test, feature = "fuzzing"))]
impl<H> Connection<H> {
    /// One of this host, whose head may have this many bytes and which may take its time.
    fn patient(handler: Arc<H>, head_bytes: usize) -> Connection<H> {
        Connection {
            handler,
            peer: ([127, 0, 0, 1], 1).into(),
            limits: Limits::patient(1, head_bytes),
            phase: Arc::new(Phase::new()),
            ending: Ending::default(),
        }
    }
}

impl<H: Handler> Connection<H> {
    /// Serves `stream` to its end, or until it is idle after it is told to go. With `has_header` the PROXY protocol says first
    /// whose it is.
    ///
    /// # Errors
    /// The connection ended early. What was answered 400 because it is no HTTP is a parse error.
    pub(super) async fn serve<S>(mut self, mut stream: S, has_header: bool) -> Result<(), Ended>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        if has_header && !self.learn_client(&mut stream).await? {
            return Ok(());
        }
        self.serve_http(stream).await
    }

    /// Reads from the PROXY protocol whose connection it is, and returns whether there is more to come.
    async fn learn_client(&mut self, stream: &mut (impl AsyncRead + Unpin)) -> Result<bool, NoHeader> {
        self.phase.restart_clock();
        let client = tokio::select! {
            client = read_client(stream, self.peer, self.limits.header_timeout) => client?,
            () = self.told_to_go() => None,
        };
        self.peer = client.unwrap_or(self.peer);
        Ok(client.is_some())
    }

    async fn serve_http<S>(self, stream: S) -> Result<(), Ended>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let exchange = Arc::new(Exchange::new(if H::TAKES_RAW_QUERIES { self.buffer() } else { 0 }));
        let stream = Deadlines::new(stream, Arc::clone(&self.phase), self.limits);
        let stream = Overheard::new(stream, Arc::clone(&exchange));
        let had_body = AtomicBool::new(false);
        let open = H::TELLS_CONNECTIONS_APART.then(OpenConnection::default);
        let service = service_fn(|mut request: Request<Incoming>| {
            if let Some(query) = exchange.note_request(&request).filter(|_| request.method() == Method::GET) {
                request.extensions_mut().insert(query);
            }
            if let Some(open) = &open {
                request.extensions_mut().insert(open.clone());
            }
            self.phase.note_begun(exchange.has_rest());
            had_body.store(!request.body().is_end_stream(), Ordering::Relaxed);
            let (this, exchange) = (&self, &exchange);
            async move {
                let answer = this.answer(request).await;
                exchange.note_answer();
                Ok::<_, Infallible>(answer)
            }
        });
        let mut connection = self.http().serve_connection(TokioIo::new(stream), service);
        let mut served = tokio::select! {
            served = &mut connection => served,
            () = self.told_to_go() => tokio::select! {
                served = &mut connection => served,
                () = self.phase.broken_off() => return Ok(()),
            },
        };
        let parts = connection.into_parts();
        let speaks_http_2 = served.is_err() && parts.read_buf.starts_with(HTTP_2_PREFACE);
        let is_proxied = served.is_err() && proxy_protocol::is_header(&parts.read_buf);
        let is_tls = served.is_err() && parts.read_buf.starts_with(&tls::FIRST_BYTES);
        let mut may_be_sending = had_body.load(Ordering::Relaxed);
        let stream = match parts.io.into_inner().left(&parts.read_buf) {
            Left::Answered(stream) => stream,
            Left::Unanswered(unanswered) if served.as_ref().is_err_and(hyper::Error::is_parse) => {
                // Rare, and large: no connection keeps room for it.
                let (stream, is_answered) = Box::pin(self.answer_raw(unanswered)).await;
                if is_answered {
                    (served, may_be_sending) = (Ok(()), true);
                }
                stream
            }
            Left::Unanswered(unanswered) => unanswered.refuse().await,
        };
        if speaks_http_2 {
            return Err(Ended::Http2);
        }
        if may_be_sending || served.as_ref().is_err_and(hyper::Error::is_parse) {
            self.lingering_close(stream.into_inner()).await;
        }
        if is_proxied {
            return Err(Ended::ProxyProtocol);
        }
        if is_tls {
            return Err(Ended::Tls);
        }
        Ok(served?)
    }

    /// Waits for the end of what the peer sends, unless the place is needed.
    async fn lingering_close(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        self.phase.restart_clock();
        if self.phase.is_evicted() {
            return;
        }
        tokio::select! {
            () = lingering_close(&mut stream, &self.ending.stop) => {}
            () = self.phase.evicted() => {}
        }
    }

    /// Completes when the connection has been told to go.
    async fn told_to_go(&self) {
        tokio::select! {
            () = self.ending.stop.cancelled() => self.phase.stop(),
            () = self.phase.evicted() => {}
        }
    }

    fn buffer(&self) -> usize {
        self.limits.head_bytes.max(SMALLEST_BUFFER)
    }

    fn http(&self) -> http1::Builder {
        let mut http = http1::Builder::new();
        http.header_read_timeout(None).max_buf_size(self.buffer()).max_headers(MOST_HEADERS).half_close(true);
        http
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let serving = self.phase.serving();
        let mut response = self.handler.handle(request, self.peer).await;
        if response.extensions().get::<Endless>().is_some() {
            self.phase.note_endless();
        }
        if self.ending.drain.is_cancelled() || self.phase.is_leaving() {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Either::Right(streamed) = response.body_mut() {
            streamed.keep(serving);
        }
        response
    }

    /// Answers the head at which hyper failed. Also answers whether its query alone was at fault.
    async fn answer_raw<S>(&self, mut unanswered: Unanswered<Deadlines<S>>) -> (Deadlines<S>, bool)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        // hyper may have failed behind an answer, when the connection was idle as far as anybody knew.
        self.phase.receiving();
        let head = unanswered.complete(self.buffer(), &self.phase).await;
        let Some(RawHead { head, query }) = head else { return (unanswered.refuse().await, false) };
        let has_body = AtomicBool::new(false);
        let service = service_fn(|mut request: Request<Incoming>| {
            request.extensions_mut().insert(query.clone());
            let has_body = &has_body;
            async move {
                if !request.body().is_end_stream() {
                    has_body.store(true, Ordering::Relaxed);
                    return Ok::<_, Infallible>(response::empty(StatusCode::BAD_REQUEST));
                }
                Ok(self.answer(request).await)
            }
        });
        let stream = OneHead { head: head.into(), stream: unanswered.stream };
        let mut connection = self.http().keep_alive(false).serve_connection(TokioIo::new(stream), service);
        let is_bad = (&mut connection).await.is_err_and(|error| error.is_parse());
        let stream = connection.into_parts().io.into_inner().stream;
        (stream, !is_bad && !has_body.into_inner())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Unanswered<S> {
    /// Reads the head to its end, unless that is not to be awaited: it is no head whose query alone is at fault, or has more
    /// than `limit` bytes, or the place is needed.
    async fn complete(&mut self, limit: usize, phase: &Phase) -> Option<RawHead> {
        let mut looked_at = 0;
        loop {
            if looked_at == 0 || raw_head::end_of_head(&self.head, looked_at).is_some() {
                match raw_head::read(&self.head) {
                    Reading::Whole(head) => return Some(head),
                    Reading::Other => return None,
                    Reading::Begun => {}
                }
            }
            looked_at = self.head.len().saturating_sub(3).max(1);
            // Whatever ends the stream, no head comes of it.
            let read = tokio::select! {
                biased;
                read = self.stream.read_buf(&mut self.head) => read.unwrap_or(0),
                () = phase.evicted() => 0,
            };
            if read == 0 || self.head.len() > limit {
                return None;
            }
        }
    }

    /// Answers what hyper would have answered.
    async fn refuse(mut self) -> S {
        // Whoever does not take it has gone.
        let _ = self.stream.write_all(&self.refusal).await;
        self.stream
    }
}

/// A stream on which one head comes and nothing else.
struct OneHead<S> {
    head: Bytes,
    stream: S,
}

impl<S: Unpin> AsyncRead for OneHead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.head.is_empty() {
            // hyper goes on when there is an answer to write.
            return Poll::Pending;
        }
        let length = self.head.len().min(buffer.remaining());
        buffer.put_slice(&self.head[..length]);
        self.head.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for OneHead<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
