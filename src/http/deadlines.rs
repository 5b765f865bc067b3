//! A connection with time limits on what its peer can stretch.
//!
//! hyper has one limit for the head of a request and for idleness between requests, and none for a peer that does not
//! take its answer. Here each has its own, in one place: below HTTP, where bytes come and go.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::Limits;

/// What a connection is doing, as the service above and the stream below tell each other.
#[derive(Debug, Default)]
pub(super) struct Phase(AtomicU8);

const WAITING: u8 = 0;
const RECEIVING: u8 = 1;
const SERVING: u8 = 2;

impl Phase {
    /// Marks that a request is being served until the guard is dropped; meanwhile the peer keeps nobody waiting.
    pub(super) fn serving(self: &Arc<Phase>) -> Serving {
        self.0.store(SERVING, Ordering::Relaxed);
        Serving(Arc::clone(self))
    }

    fn get(&self) -> u8 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A request is being served.
#[derive(Debug)]
pub(super) struct Serving(Arc<Phase>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.0.store(WAITING, Ordering::Relaxed);
    }
}

/// A stream that fails with `TimedOut` when its peer is too slow.
#[derive(Debug)]
pub(super) struct Deadlines<S> {
    stream: S,
    phase: Arc<Phase>,
    header_timeout: Duration,
    idle_timeout: Duration,
    /// The phase when it was looked at last.
    seen: u8,
    /// When the peer must have sent something, or all of a head; `None` while it owes nothing.
    read_by: Option<Instant>,
    /// When the peer must have taken something; `None` while nothing waits for it.
    written_by: Option<Instant>,
    /// Fires at or before the next deadline. It is moved only when it fires too early or would fire too late, so that
    /// a busy connection does not touch the timer at each request.
    alarm: Pin<Box<Sleep>>,
}

impl<S> Deadlines<S> {
    pub(super) fn new(stream: S, phase: Arc<Phase>, limits: Limits) -> Deadlines<S> {
        let Limits { header_timeout, idle_timeout, .. } = limits;
        // A new connection owes its first request as soon as a head that has begun.
        let first = Instant::now() + header_timeout;
        let alarm = Box::pin(tokio::time::sleep_until(first));
        Deadlines {
            stream,
            phase,
            header_timeout,
            idle_timeout,
            seen: WAITING,
            read_by: Some(first),
            written_by: None,
            alarm,
        }
    }

    /// The phase. When a request has been served, the deadline of its head is over.
    fn look(&mut self) -> u8 {
        let phase = self.phase.get();
        if phase == WAITING && self.seen != WAITING {
            self.read_by = None;
        }
        self.seen = phase;
        phase
    }

    /// Ready with an error when the next deadline has passed.
    fn poll_deadline(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        // As long as something waits for the peer to take it, the peer need not send anything.
        let read_by = self.read_by.filter(|_| self.phase.get() != SERVING && self.written_by.is_none());
        let next = match (read_by, self.written_by) {
            (Some(read), Some(written)) => read.min(written),
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => return Poll::Pending,
        };
        if self.alarm.deadline() > next {
            self.alarm.as_mut().reset(next);
        }
        loop {
            ready!(self.alarm.as_mut().poll(context));
            if Instant::now() >= next {
                let message = "the peer sent or took nothing for too long";
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            self.alarm.as_mut().reset(next);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Deadlines<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let phase = this.look();
        if let Poll::Ready(result) = Pin::new(&mut this.stream).poll_read(context, buffer) {
            if phase == WAITING {
                this.phase.0.store(RECEIVING, Ordering::Relaxed);
                this.seen = RECEIVING;
                this.read_by = Some(Instant::now() + this.header_timeout);
            }
            return Poll::Ready(result);
        }
        if phase == WAITING && this.read_by.is_none() {
            this.read_by = Some(Instant::now() + this.idle_timeout);
        }
        this.poll_deadline(context).map(Err)
    }
}

impl<S: AsyncWrite + Unpin> Deadlines<S> {
    /// Idleness begins with the answer. hyper may have asked for the next request before it wrote this one's answer
    /// and does not ask again, so the alarm is what it will wake up from.
    fn begin_idleness(&mut self) {
        let next = Instant::now() + self.idle_timeout;
        self.read_by = Some(next);
        if self.alarm.deadline() > next {
            self.alarm.as_mut().reset(next);
        }
    }

    /// Notes how a write went: what was taken moves the deadlines on, what was not sets one.
    fn note_write<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        let phase = self.look();
        if written.is_ready() {
            self.written_by = None;
            if phase == WAITING {
                self.begin_idleness();
            }
            return written;
        }
        if self.written_by.is_none() {
            self.written_by = Some(Instant::now() + self.idle_timeout);
        }
        self.poll_deadline(context).map(Err)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Deadlines<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note_write(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note_write(written, context)
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Either;
    use hyper::body::Frame;
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper_util::rt::TokioIo;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::http::response;

    const HEADER: Duration = Duration::from_secs(10);
    const IDLE: Duration = Duration::from_secs(60);

    fn connection() -> (Deadlines<DuplexStream>, Arc<Phase>, DuplexStream) {
        let (near, far) = duplex(16);
        let phase = Arc::new(Phase::default());
        let limits = Limits { connections: 1, header_timeout: HEADER, idle_timeout: IDLE, head_bytes: 8192 };
        (Deadlines::new(near, Arc::clone(&phase), limits), phase, far)
    }

    async fn time_out(stream: &mut Deadlines<DuplexStream>) -> Duration {
        let from = Instant::now();
        let error = stream.read(&mut [0; 64]).await.expect_err("a time-out");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        from.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_sends_nothing_is_cut_off() {
        let (mut stream, _phase, _far) = connection();
        assert_eq!(time_out(&mut stream).await.as_secs(), HEADER.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_in_drops_is_cut_off() {
        let (mut stream, _phase, mut far) = connection();
        let drops = async {
            while far.write_all(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(3)).await;
            }
        };
        let cut_off = async {
            let from = Instant::now();
            while stream.read(&mut [0; 64]).await.is_ok() {}
            from.elapsed()
        };
        tokio::select! {
            () = drops => panic!("the peer was served"),
            after = cut_off => assert_eq!(after.as_secs(), HEADER.as_secs()),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_has_more_time_than_a_head() {
        let (mut stream, phase, mut far) = connection();
        far.write_all(b"head").await.expect("sent");
        stream.read_exact(&mut [0; 4]).await.expect("received");
        drop(phase.serving());
        stream.write_all(b"answer").await.expect("answered");
        assert_eq!(time_out(&mut stream).await.as_secs(), IDLE.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn serving_has_no_deadline_here() {
        let (mut stream, phase, mut far) = connection();
        far.write_all(b"head").await.expect("sent");
        stream.read_exact(&mut [0; 4]).await.expect("received");
        let _serving = phase.serving();
        let mut byte = [0; 1];
        let read = tokio::time::timeout(IDLE * 10, stream.read(&mut byte)).await;
        assert!(read.is_err(), "still waiting");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_takes_nothing_is_cut_off() {
        let (mut stream, phase, _far) = connection();
        let _serving = phase.serving();
        let from = Instant::now();
        let error = stream.write_all(&[0; 1024]).await.expect_err("a time-out");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(from.elapsed().as_secs(), IDLE.as_secs());
    }

    /// What a client gets of an answer of this size that is streamed to it, if it pauses in the middle.
    async fn take_with_pause(size: usize, room: usize, pause: Duration, header_timeout: Duration) -> usize {
        let (near, mut far) = duplex(room);
        let phase = Arc::new(Phase::default());
        let limits = Limits { connections: 1, header_timeout, idle_timeout: IDLE, head_bytes: 8192 };
        let stream = Deadlines::new(near, Arc::clone(&phase), limits);
        let service = service_fn(move |_| {
            let phase = Arc::clone(&phase);
            async move {
                let serving = phase.serving();
                let chunks = (0..size).step_by(CHUNK).map(move |at| {
                    let chunk = Bytes::from(vec![b'x'; CHUNK.min(size - at)]);
                    Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Frame::data(chunk))
                });
                let mut response = hyper::Response::new(response::streamed(Chunks(chunks)));
                if let Either::Right(streamed) = response.body_mut() {
                    streamed.keep(serving);
                }
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        let connection =
            http1::Builder::new().header_read_timeout(None).serve_connection(TokioIo::new(stream), service);
        let client = async move {
            far.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.expect("sent");
            tokio::time::sleep(pause).await;
            let mut answer = Vec::new();
            let _ = far.read_to_end(&mut answer).await;
            // Without the frames of the chunked encoding and the head, in which there is no x.
            answer.iter().filter(|byte| **byte == b'x').count()
        };
        tokio::join!(connection, client).1
    }

    const CHUNK: usize = 1_000;

    /// A body of frames that are all at hand.
    struct Chunks<I>(I);

    impl<I: Iterator<Item = Result<Frame<Bytes>, E>> + Unpin, E> hyper::body::Body for Chunks<I> {
        type Data = Bytes;
        type Error = E;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
            Poll::Ready(self.0.next())
        }
    }

    proptest! {
        /// A client that takes its answer within the idle timeout gets all of it, however much of it waits when the service is
        /// done, and however long ago the deadline of the request's head was.
        #[test]
        fn a_slow_client_gets_the_last_byte_of_an_answer(
            size in 0usize..20_000,
            room in 64usize..20_000,
            pause in 0u64..59,
            header_timeout in 1u64..20,
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            let (pause, header_timeout) = (Duration::from_secs(pause), Duration::from_secs(header_timeout));
            let taken = runtime.expect("a runtime").block_on(take_with_pause(size, room, pause, header_timeout));
            prop_assert_eq!(taken, size);
        }
    }
}
