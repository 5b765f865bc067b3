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
    answer_timeout: Option<Duration>,
    /// The phase when it was looked at last.
    seen: u8,
    /// When the peer must have sent something, or all of a head; `None` while it owes nothing.
    read_by: Option<Instant>,
    /// When the peer must have taken something; `None` while nothing waits for it.
    written_by: Option<Instant>,
    /// When the peer must have taken all of the answer that is being written; `None` between answers.
    answered_by: Option<Instant>,
    /// Fires at or before the next deadline. It is moved only when it fires too early or would fire too late, so that
    /// a busy connection does not touch the timer at each request.
    alarm: Pin<Box<Sleep>>,
}

impl<S> Deadlines<S> {
    pub(super) fn new(stream: S, phase: Arc<Phase>, limits: Limits) -> Deadlines<S> {
        let Limits { header_timeout, idle_timeout, answer_timeout, .. } = limits;
        // A new connection owes its first request as soon as a head that has begun.
        let first = Instant::now() + header_timeout;
        let alarm = Box::pin(tokio::time::sleep_until(first));
        Deadlines {
            stream,
            phase,
            header_timeout,
            idle_timeout,
            answer_timeout,
            seen: WAITING,
            read_by: Some(first),
            written_by: None,
            answered_by: None,
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

    /// Notes that a part of an answer is to be written.
    fn begin_answer(&mut self) {
        if let Some(timeout) = self.answer_timeout {
            self.answered_by.get_or_insert_with(|| Instant::now() + timeout);
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
            let next = Instant::now() + self.idle_timeout;
            self.written_by = Some(self.answered_by.map_or(next, |last| last.min(next)));
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
        self.begin_answer();
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note_write(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.begin_answer();
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note_write(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        // hyper flushes when it has written all that it has. As long as an answer is streamed, there is more to come.
        if flushed.is_ready() && self.phase.get() != SERVING {
            self.answered_by = None;
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
