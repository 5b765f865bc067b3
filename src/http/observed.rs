//! The stream below hyper: what has gone and come on it, and an answer that can still be read when nothing can be sent
//! any more.
//!
//! hyper gives a connection up at the first write that fails, without another look at what has arrived. A service that
//! answers early and closes has answered all the same, and the kernel keeps what came before the reset. So from the
//! first failure on, writing seems to succeed, and reading says how the connection ends: it does not wait, since a
//! connection that cannot be written has been closed by the other end.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What has been seen on a connection since its last request began.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    has_sent: AtomicBool,
    has_received: AtomicBool,
    /// Whether a write has failed, for good.
    is_broken: AtomicBool,
    /// The first bytes that came on the connection.
    opening: OnceLock<Vec<u8>>,
}

/// Bytes that are kept of how the other end began: the head of a frame of HTTP/2.
const OPENING: usize = 9;

// Each is a fact of its own, and whoever asks has been told by hyper's channels that the exchange is over.
impl Traffic {
    /// Another request begins.
    pub(crate) fn begin(&self) {
        self.has_sent.store(false, Ordering::Relaxed);
        self.has_received.store(false, Ordering::Relaxed);
    }

    /// Whether anything may have been sent, and whether anything has come.
    pub(crate) fn seen(&self) -> (bool, bool) {
        (self.has_sent.load(Ordering::Relaxed), self.has_received.load(Ordering::Relaxed))
    }

    /// The first bytes that came on the connection, as many as tell protocols apart.
    pub(crate) fn opening(&self) -> &[u8] {
        self.opening.get().map_or(&[], Vec::as_slice)
    }

    /// Whether nothing can be sent any more.
    pub(crate) fn is_broken(&self) -> bool {
        self.is_broken.load(Ordering::Relaxed)
    }
}

/// A stream whose traffic is noted.
#[derive(Debug)]
pub(crate) struct Observed<S> {
    stream: S,
    traffic: Arc<Traffic>,
}

impl<S> Observed<S> {
    /// Notes in `traffic` what goes and comes on `stream`.
    pub(crate) fn new(stream: S, traffic: Arc<Traffic>) -> Observed<S> {
        Observed { stream, traffic }
    }

    /// The outcome of writing `length` bytes as hyper is told.
    fn note_written(&self, written: Poll<io::Result<usize>>, length: usize) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(written)) => {
                self.traffic.has_sent.store(true, Ordering::Relaxed);
                Poll::Ready(Ok(written))
            }
            Poll::Ready(Err(_)) => {
                self.traffic.is_broken.store(true, Ordering::Relaxed);
                Poll::Ready(Ok(length))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Observed<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let new = &buffer.filled()[before..];
        if !new.is_empty() {
            self.traffic.has_received.store(true, Ordering::Relaxed);
            self.traffic.opening.get_or_init(|| new[..new.len().min(OPENING)].to_vec());
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Observed<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.traffic.is_broken() {
            return Poll::Ready(Ok(bytes.len()));
        }
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note_written(written, bytes.len())
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        if self.traffic.is_broken() {
            return Poll::Ready(Ok(length));
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note_written(written, length)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.traffic.is_broken() {
            return Poll::Ready(Ok(()));
        }
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        flushed.map(|flushed| {
            if flushed.is_err() {
                self.traffic.is_broken.store(true, Ordering::Relaxed);
            }
            Ok(())
        })
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// The end of a connection that the other end has reset after an answer.
    struct Reset(&'static [u8]);

    impl AsyncRead for Reset {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buffer: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            buffer.put_slice(std::mem::take(&mut self.0));
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Reset {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn an_answer_is_read_where_nothing_can_be_sent() {
        let traffic = Arc::<Traffic>::default();
        let mut stream = Observed::new(Reset(b"answer"), Arc::clone(&traffic));
        for _ in 0..2 {
            stream.write_all(b"more of the body").await.expect("a write that seems to succeed");
            stream.flush().await.expect("a flush that seems to succeed");
        }
        assert_eq!((traffic.seen(), traffic.is_broken()), ((false, false), true), "nothing was sent");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("what came before the end");
        assert_eq!((answer.as_slice(), traffic.seen()), (&b"answer"[..], (false, true)));
        assert_eq!(traffic.opening(), b"answer");
    }

    #[tokio::test]
    async fn traffic_is_that_of_one_request() {
        let traffic = Arc::<Traffic>::default();
        let (near, mut far) = tokio::io::duplex(100);
        let mut stream = Observed::new(near, Arc::clone(&traffic));
        stream.write_all(b"a").await.expect("a write");
        assert_eq!(traffic.seen(), (true, false));
        far.write_all(b"b").await.expect("a write");
        stream.read_u8().await.expect("a byte");
        assert_eq!((traffic.seen(), traffic.is_broken()), ((true, true), false));
        traffic.begin();
        assert_eq!(traffic.seen(), (false, false));
        drop(far);
        assert_eq!(stream.read(&mut [0]).await.expect("an end"), 0);
        assert_eq!(traffic.seen(), (false, false), "an end is no byte");
    }
}
