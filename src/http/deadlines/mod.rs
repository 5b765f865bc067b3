//! A connection with time limits on what its peer can stretch, and how it is told to go.
//!
//! hyper has one limit for the head of a request and for idleness between requests, and none for a peer that does not
//! take its answer. Here each has its own, in one place: below HTTP, where bytes come and go.
//!
//! A connection is *idle* while no byte of a request has come: before the first, and between an answer and the next.
//! One that is told to go, because the exporter stops or its place is needed, goes as soon as it is idle and has
//! nothing to read, as if the peer had stopped sending: so a request that has arrived is answered, whoever was faster.
//! At a stop there is a moment for what is on its way, and longer for the first request of a connection, which the peer
//! may have sent before it could know. One whose place is needed does not wait for the rest of a head that has begun.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, Sleep};

use super::Limits;

/// How long a connection may be idle once its place is needed. That nothing can be read is known only when the runtime
/// has looked, which it does before it wakes anybody up for a time that is over.
const WHEN_EVICTED: Duration = Duration::from_millis(5);

/// How long it may be idle once the exporter stops: what is on its way may still arrive.
const WHEN_STOPPING: Duration = Duration::from_millis(100);

/// The same before its first request.
const BEFORE_FIRST_REQUEST: Duration = Duration::from_secs(1);

/// How long its peer may take nothing of the rest of an answer once its place is needed.
const WHEN_DEAF: Duration = Duration::from_millis(100);

/// What a connection is doing, as the service above and the stream below tell each other.
#[derive(Debug)]
pub(super) struct Phase {
    state: AtomicU8,
    /// Since when, in nanoseconds since [`EPOCH`].
    since: AtomicU64,
    /// Whether the head of the next request has begun behind the one that is being served.
    has_begun: AtomicBool,
    /// Whether the answer takes as long as it likes.
    is_endless: AtomicBool,
    /// Whether it is told to go, and why.
    leaving: AtomicU8,
    /// Tells the connection that its place is needed.
    evicted: Notify,
}

/// A time before any connection.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

const STAYING: u8 = 0;
const STOPPING: u8 = 1;
const EVICTED: u8 = 2;
const BROKEN_OFF: u8 = 3;

const WAITING: u8 = 0;
const RECEIVING: u8 = 1;
const SERVING: u8 = 2;

impl Phase {
    /// Of a connection that is idle, as its peer may have opened it ahead.
    pub(super) fn new() -> Phase {
        Phase {
            state: AtomicU8::new(WAITING),
            since: AtomicU64::new(nanoseconds(Instant::now())),
            has_begun: AtomicBool::new(false),
            is_endless: AtomicBool::new(false),
            leaving: AtomicU8::new(STAYING),
            evicted: Notify::new(),
        }
    }

    /// Marks that a request is being served until the guard is dropped; meanwhile the peer keeps nobody waiting.
    pub(super) fn serving(self: &Arc<Phase>) -> Serving {
        self.state.store(SERVING, Ordering::Relaxed);
        self.is_endless.store(false, Ordering::Relaxed);
        self.begin();
        Serving(Arc::clone(self))
    }

    /// Notes that the answer takes as long as it likes.
    pub(super) fn note_endless(&self) {
        self.is_endless.store(true, Ordering::Relaxed);
    }

    /// Notes whether the head of the next request has begun behind the one that is being served.
    pub(super) fn note_begun(&self, has_begun: bool) {
        self.has_begun.store(has_begun, Ordering::Relaxed);
    }

    /// Notes that a head is still to come to its end.
    pub(super) fn receiving(&self) {
        self.receiving_since(Instant::now());
    }

    fn receiving_since(&self, now: Instant) {
        self.state.store(RECEIVING, Ordering::Relaxed);
        self.begin_at(now);
    }

    /// Restarts the clock of a connection that may go at any time when its place is needed: no request of it would be lost.
    pub(super) fn restart_clock(&self) {
        self.begin();
    }

    /// Since when the connection has waited for its peer: to send a request or the rest of one's head, or to take the
    /// last of an answer. The number grows with time; `None` if it does not wait, or is told to go.
    pub(super) fn waits_since(&self) -> Option<u64> {
        let waits = self.get() != SERVING && !self.is_leaving();
        waits.then(|| self.since.load(Ordering::Relaxed))
    }

    /// Since when its request has been answered, likewise.
    pub(super) fn answers_since(&self) -> Option<u64> {
        let answers = self.get() == SERVING && !self.is_broken_off();
        answers.then(|| self.since.load(Ordering::Relaxed))
    }

    /// Whether it has been told that its place is needed, and goes.
    pub(super) fn is_going(&self) -> bool {
        self.is_broken_off() || self.is_evicted() && self.get() != SERVING
    }

    /// Tells the connection to go, since its place is needed.
    pub(super) fn evict(&self) {
        self.leaving.store(EVICTED, Ordering::Relaxed);
        self.evicted.notify_one();
    }

    /// Tells the connection to go at once, whatever it is doing, since its place is needed.
    pub(super) fn break_off(&self) {
        self.leaving.store(BROKEN_OFF, Ordering::Relaxed);
        self.evicted.notify_one();
    }

    /// Completes when the connection is told that its place is needed.
    pub(super) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    /// Completes when the connection is told to go at once.
    pub(super) async fn broken_off(&self) {
        while !self.is_broken_off() {
            self.evicted.notified().await;
        }
    }

    /// How long the connection may be idle, if it is told to go.
    fn grace(&self, is_fresh: bool) -> Option<Duration> {
        match self.leaving.load(Ordering::Relaxed) {
            STAYING => None,
            EVICTED | BROKEN_OFF => Some(WHEN_EVICTED),
            _ if is_fresh => Some(BEFORE_FIRST_REQUEST),
            _ => Some(WHEN_STOPPING),
        }
    }

    /// Tells the connection to go, since the exporter stops.
    pub(super) fn stop(&self) {
        self.leaving.store(STOPPING, Ordering::Relaxed);
    }

    /// Whether the connection is told to go because its place is needed.
    pub(super) fn is_evicted(&self) -> bool {
        matches!(self.leaving.load(Ordering::Relaxed), EVICTED | BROKEN_OFF)
    }

    fn is_broken_off(&self) -> bool {
        self.leaving.load(Ordering::Relaxed) == BROKEN_OFF
    }

    /// Whether the connection is told to go.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed) != STAYING
    }

    fn get(&self) -> u8 {
        self.state.load(Ordering::Relaxed)
    }

    /// Notes that something begins.
    fn begin(&self) {
        self.begin_at(Instant::now());
    }

    fn begin_at(&self, now: Instant) {
        self.since.store(nanoseconds(now), Ordering::Relaxed);
    }
}

/// Nanoseconds since [`EPOCH`].
fn nanoseconds(now: Instant) -> u64 {
    u64::try_from(now.duration_since(*EPOCH).as_nanos()).unwrap_or(u64::MAX)
}

/// A request is being served.
#[derive(Debug)]
pub(super) struct Serving(Arc<Phase>);

impl Drop for Serving {
    fn drop(&mut self) {
        match self.0.has_begun.swap(false, Ordering::Relaxed) {
            true => self.0.receiving(),
            false => self.0.state.store(WAITING, Ordering::Relaxed),
        }
    }
}

/// A stream that fails with `TimedOut` when its peer is too slow.
#[derive(Debug)]
pub(super) struct Deadlines<S> {
    stream: S,
    phase: Arc<Phase>,
    header_timeout: Duration,
    idle_timeout: Duration,
    stall_timeout: Duration,
    answer_timeout: Option<Duration>,
    /// Whether nothing has come yet.
    is_fresh: bool,
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
    /// A stream of a connection that is idle, as its peer may have opened it ahead.
    pub(super) fn new(stream: S, phase: Arc<Phase>, limits: Limits) -> Deadlines<S> {
        let Limits { header_timeout, idle_timeout, stall_timeout, answer_timeout, .. } = limits;
        phase.begin();
        let first = Instant::now() + idle_timeout;
        let alarm = Box::pin(tokio::time::sleep_until(first));
        Deadlines {
            stream,
            phase,
            header_timeout,
            idle_timeout,
            stall_timeout,
            answer_timeout,
            is_fresh: true,
            seen: WAITING,
            read_by: Some(first),
            written_by: None,
            answered_by: None,
            alarm,
        }
    }

    /// The stream without time limits.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    /// The phase. When a request has been served, the deadline of its head is over, and that of the next begins if this has.
    fn look(&mut self) -> u8 {
        let phase = self.phase.get();
        if phase == WAITING && self.seen != WAITING {
            self.read_by = None;
        }
        if phase == RECEIVING && self.seen != RECEIVING {
            self.read_by = Some(Instant::now() + self.header_timeout);
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
            this.is_fresh = false;
            if phase == WAITING {
                let now = Instant::now();
                this.phase.receiving_since(now);
                this.seen = RECEIVING;
                this.read_by = Some(now + this.header_timeout);
            }
            return Poll::Ready(result);
        }
        if phase == WAITING || phase == RECEIVING && this.phase.is_evicted() {
            let idle_timeout = this.idle_timeout;
            let read_by = this.read_by.get_or_insert_with(|| Instant::now() + idle_timeout);
            if let Some(grace) = this.phase.grace(this.is_fresh) {
                *read_by = (*read_by).min(Instant::now() + grace);
                // As if the peer had stopped sending.
                return this.poll_deadline(context).map(|_| Ok(()));
            }
        }
        this.poll_deadline(context).map(Err)
    }
}

impl<S: AsyncWrite + Unpin> Deadlines<S> {
    /// Idleness begins with the answer. hyper may have asked for the next request before it wrote this one's answer
    /// and does not ask again, so the alarm is what it will wake up from.
    fn begin_idleness(&mut self) {
        let now = Instant::now();
        self.phase.begin_at(now);
        let next = now + self.idle_timeout;
        self.read_by = Some(next);
        if self.alarm.deadline() > next {
            self.alarm.as_mut().reset(next);
        }
    }

    /// Notes that a part of an answer is to be written.
    fn begin_answer(&mut self) {
        let timeout = self.answer_timeout.filter(|_| !self.phase.is_endless.load(Ordering::Relaxed));
        if let Some(timeout) = timeout {
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
            let next = Instant::now() + self.stall_timeout;
            self.written_by = Some(self.answered_by.map_or(next, |last| last.min(next)));
        }
        if phase == WAITING && self.phase.is_evicted() {
            let last = Instant::now() + WHEN_DEAF;
            self.written_by = self.written_by.map(|by| by.min(last));
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
