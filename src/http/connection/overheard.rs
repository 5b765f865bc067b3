//! A stream that overhears what hyper reads and writes: it keeps the copy of the head that is being read, and holds back the
//! answer that hyper gives by itself to a head which may be good but for its query.
//!
//! It changes no byte that hyper reads. Of what hyper writes it holds back one thing: its own `400 Bad Request`, and only if no
//! answer of the handler is owed or has just been handed over, if the bytes have exactly that shape, and if the copy begins as
//! [`raw_head`] wants it. hyper reads nothing more after that answer, so what is held back is the last of the connection.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use hyper::body::Body;
use hyper::{Request, Uri};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::head_copy::{HeadCopy, without_line_ends};
use super::raw_head::{self, Reading};
use crate::http::raw_query::RawQuery;

/// What the service above hyper and the stream below it tell each other.
#[derive(Debug)]
pub(super) struct Exchange(Mutex<State>);

#[derive(Debug)]
struct State {
    copy: HeadCopy,
    /// Whether an answer of the handler is still to begin on the stream.
    owed: bool,
    /// Whether the handler has given it.
    given: bool,
}

impl Exchange {
    /// An exchange of which up to `limit` bytes of heads are copied.
    pub(super) fn new(limit: usize) -> Exchange {
        Exchange(Mutex::new(State { copy: HeadCopy::new(limit), owed: false, given: false }))
    }

    /// Notes a request as it is handed over. Returns its query if hyper has thrown a part of it away.
    pub(super) fn note_request<B: Body>(&self, request: &Request<B>) -> Option<RawQuery> {
        let mut state = self.state();
        let query = state.copy.target_with_fragment().and_then(|target| whole_query(target, request.uri()));
        state.copy.note_request(request.body().size_hint().exact());
        (state.owed, state.given) = (true, false);
        query
    }

    /// Whether something has come behind the requests that were handed over.
    pub(super) fn has_rest(&self) -> bool {
        !self.state().copy.rest().is_empty()
    }

    /// Notes that the handler has answered.
    pub(super) fn note_answer(&self) {
        self.state().given = true;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Whether hyper writes this by itself, to a head which may be good but for its query.
    fn may_be_held_back(&self, written: &[u8]) -> bool {
        !self.owed && is_refusal(written) && raw_head::read(self.copy.rest()) != Reading::Other
    }

    /// Notes that bytes were taken.
    fn note_written(&mut self) {
        self.owed &= !self.given;
    }
}

/// The query of a target with a `#` in it, which no URI has, but senders leave in values. `uri` is what hyper made of
/// the target.
fn whole_query(target: &[u8], uri: &Uri) -> Option<RawQuery> {
    let fragment = target.iter().position(|byte| *byte == b'#')?;
    // Else it is not the target of this request.
    let known = uri.path_and_query()?.as_str();
    if !target[..fragment].ends_with(known.as_bytes()) {
        return None;
    }
    let query = match target[..fragment].iter().position(|byte| *byte == b'?') {
        Some(begin) => &target[begin + 1..],
        None => target[fragment + 1..].strip_prefix(b"?").unwrap_or(&target[fragment + 1..]),
    };
    RawQuery::new(query)
}

/// Whether this is a whole answer 400 without a body.
fn is_refusal(answer: &[u8]) -> bool {
    let has_its_status = answer.get(8..).is_some_and(|rest| rest.starts_with(b" 400 Bad Request\r\n"));
    has_its_status
        && answer.starts_with(b"HTTP/1.")
        && raw_head::end_of_head(answer, 0).is_some_and(|end| end == answer.len())
}

/// The stream.
#[derive(Debug)]
pub(super) struct Overheard<S> {
    stream: S,
    exchange: Arc<Exchange>,
    /// What is held back.
    held_back: Bytes,
}

/// What is left of a connection when hyper is done with it.
#[derive(Debug)]
pub(super) enum Left<S> {
    /// Nothing is to be answered.
    Answered(S),
    /// The last answer was held back.
    Unanswered(Unanswered<S>),
}

/// What is left of a connection whose last answer was held back.
#[derive(Debug)]
pub(super) struct Unanswered<S> {
    pub(super) stream: S,
    /// What hyper would have answered.
    pub(super) refusal: Bytes,
    /// The beginning of the head at which hyper failed, and what came behind it.
    pub(super) head: Vec<u8>,
}

impl<S> Overheard<S> {
    pub(super) fn new(stream: S, exchange: Arc<Exchange>) -> Overheard<S> {
        Overheard { stream, exchange, held_back: Bytes::new() }
    }

    /// What is left when hyper is done. `unread` is what hyper has not thrown away: all of the copy, or
    /// what comes behind the head. If it is neither, there is no head.
    pub(super) fn left(self, unread: &[u8]) -> Left<S> {
        let Overheard { stream, exchange, held_back: refusal } = self;
        if refusal.is_empty() {
            return Left::Answered(stream);
        }
        let rest = exchange.state().copy.rest().to_vec();
        let is_behind = match raw_head::read(&rest) {
            Reading::Whole(head) => without_line_ends(&rest[head.len()..]) == unread,
            _ => false,
        };
        let head = if is_behind || rest == unread { rest } else { Vec::new() };
        Left::Unanswered(Unanswered { stream, refusal, head })
    }

    fn note_written(&self, written: &Poll<io::Result<usize>>) {
        if matches!(written, Poll::Ready(Ok(1..))) {
            self.exchange.state().note_written();
        }
    }

    /// Holds back what is to be held back.
    fn holds_back(&mut self, bytes: &[u8]) -> bool {
        let holds_back = self.held_back.is_empty() && self.exchange.state().may_be_held_back(bytes);
        if holds_back {
            self.held_back = Bytes::copy_from_slice(bytes);
        }
        holds_back
    }
}

impl<S: AsyncWrite + Unpin> Overheard<S> {
    /// Writes what was held back, since something comes behind it.
    fn poll_release(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held_back.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(context, &self.held_back))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.held_back.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Overheard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_release(context))?;
        let before = buffer.filled().len();
        let Overheard { stream, exchange, .. } = &mut *self;
        let mut state = exchange.state();
        if !state.owed {
            state.copy.begin_anew_if_lost();
        }
        let read = Pin::new(stream).poll_read(context, buffer);
        if let Poll::Ready(Ok(())) = read {
            state.copy.note_given(&buffer.filled()[before..]);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Overheard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.holds_back(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        ready!(self.poll_release(context))?;
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.note_written(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut filled = slices.iter().filter(|slice| !slice.is_empty());
        if let (Some(only), None) = (filled.next(), filled.next())
            && self.holds_back(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        ready!(self.poll_release(context))?;
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.note_written(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    /// Nothing is shut down as long as the last answer is not written.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.held_back.is_empty() {
            true => Pin::new(&mut self.stream).poll_shutdown(context),
            false => Poll::Ready(Ok(())),
        }
    }
}
