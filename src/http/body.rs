//! Bodies on their way through, with time limits on whoever keeps the other end waiting.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use thiserror::Error;
use tokio::time::{Instant, Sleep};

/// How far a request has come on its way to the service.
#[derive(Debug, Clone)]
pub struct Progress(Arc<Mutex<Step>>);

#[derive(Debug, Clone, Copy)]
struct Step {
    at: Instant,
    is_sent: bool,
    is_broken: bool,
}

impl Progress {
    /// Of a request whose head has just come.
    pub fn begin() -> Progress {
        Progress(Arc::new(Mutex::new(Step { at: Instant::now(), is_sent: false, is_broken: false })))
    }

    /// Completes when nothing has moved for this long, and returns whether the request had been sent whole by then.
    pub async fn stalled(&self, timeout: Duration) -> bool {
        loop {
            let Step { at, is_sent, .. } = *self.step();
            if at.elapsed() >= timeout {
                return is_sent;
            }
            tokio::time::sleep_until(at + timeout).await;
        }
    }

    /// Whether the request broke off.
    pub fn is_broken(&self) -> bool {
        self.step().is_broken
    }

    fn step(&self) -> std::sync::MutexGuard<'_, Step> {
        // Nothing panics between two changes that belong together.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request's body, whose progress is noted.
#[derive(Debug)]
pub struct Watched<B> {
    body: B,
    progress: Progress,
}

impl<B: Body> Watched<B> {
    /// Notes the progress of `body` in `progress`.
    pub fn new(body: B, progress: Progress) -> Watched<B> {
        progress.step().is_sent = body.is_end_stream();
        Watched { body, progress }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(frame) = &frame {
            let is_sent = frame.is_none() || self.body.is_end_stream();
            let is_broken = matches!(frame, Some(Err(_)));
            *self.progress.step() = Step { at: Instant::now(), is_sent, is_broken };
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The service stopped in the middle of an answer.
#[derive(Debug, Error)]
#[error("the service sent nothing more of its answer for {0:?}")]
pub struct Stalled(Duration);

/// An answer's body, which fails if the service sends nothing for too long. Time in which the client takes nothing does not
/// count.
pub struct Timed<B> {
    body: B,
    timeout: Duration,
    /// While it is waited for the service: when it must have sent something.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<B> Timed<B> {
    /// Gives the service `timeout` for each further part of `body`.
    pub fn new(body: B, timeout: Duration) -> Timed<B> {
        Timed { body, timeout, deadline: None }
    }
}

impl<B> Body for Timed<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(context) {
            this.deadline = None;
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let timeout = this.timeout;
        let deadline = this.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        deadline.as_mut().poll(context).map(|()| Some(Err(Stalled(timeout).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Bytes of an unwanted body that are read.
const MOST_UNWANTED: usize = 1024 * 1024;

/// How long that may take.
const UNWANTED_TIMEOUT: Duration = Duration::from_secs(1);

/// Reads a body that nobody wants, so that its connection can be used again and a proxy that sends it is done with it before it
/// has the answer; unless it is too long, or comes too slowly. What is left of it is for the end of the connection.
pub async fn discard(mut body: impl Body<Data = Bytes> + Unpin) {
    let read = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > MOST_UNWANTED {
                return;
            }
        }
    };
    // Whatever is left is thrown away.
    let _ = tokio::time::timeout(UNWANTED_TIMEOUT, read).await;
}
