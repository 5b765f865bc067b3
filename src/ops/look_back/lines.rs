//! Calls on their way to whoever looks at them.
//!
//! There may be ten thousand, and anybody on this host may ask again and again and take nothing. So each part of the answer is read from
//! the journal when it is asked for, and one part at most is in memory.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::history::calls::Calls;
use crate::history::running::Running;

/// Bytes of lines that are read at once, but for the line that is the last of them.
const PART: usize = 16 * 1024;

/// Bytes that a connection is given at once.
const CHUNK: usize = 16 * 1024;

/// The lines of calls as the body of an answer.
pub(super) struct Lines {
    past: Running,
    /// `None` while a part is read.
    calls: Option<Calls>,
    /// What was read and not taken.
    part: Bytes,
    reading: Option<JoinHandle<io::Result<(Calls, String)>>>,
}

impl Lines {
    /// The lines of these calls.
    pub(super) fn new(past: Running, calls: Calls) -> Lines {
        Lines { past, calls: Some(calls), part: Bytes::new(), reading: None }
    }
}

impl Body for Lines {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        loop {
            if !self.part.is_empty() {
                let length = self.part.len().min(CHUNK);
                // A copy: a slice would keep the whole part.
                let chunk = Bytes::copy_from_slice(&self.part.split_to(length));
                return Poll::Ready(Some(Ok(Frame::data(chunk))));
            }
            if let Some(mut calls) = self.calls.take() {
                if calls.is_at_end() {
                    self.calls = Some(calls);
                    return Poll::Ready(None);
                }
                let past = self.past.clone();
                self.reading = Some(spawn_blocking(move || {
                    let lines = past.read_calls(&mut calls, PART)?;
                    Ok((calls, lines))
                }));
            }
            let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
            let read = ready!(Pin::new(reading).poll(context));
            self.reading = None;
            match read {
                Ok(Ok((calls, lines))) => {
                    self.calls = Some(calls);
                    self.part = lines.into();
                }
                Ok(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                Err(error) => return Poll::Ready(Some(Err(error.into()))),
            }
        }
    }
}
