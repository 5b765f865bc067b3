//! The refused requests on their way to whoever looks at them.
//!
//! They can be megabytes, and anybody on this host may ask again and again and take nothing. So each part of the answer
//! is read from what is kept when it is asked for.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use hyper::body::{Body, Frame};

use crate::state::refused::{Reading, RefusedRequests};

/// Bytes that a connection is given at once, and with the piece that is the last, up to 16 KiB.
const CHUNK: usize = 4 * 1024;

/// The refused requests as JSON lines, as the body of an answer.
pub(super) struct RefusedBody {
    refused: Arc<RefusedRequests>,
    reading: Reading,
}

impl RefusedBody {
    /// Those that are kept now.
    pub(super) fn new(refused: Arc<RefusedRequests>) -> RefusedBody {
        let reading = refused.begin_reading(SystemTime::now());
        RefusedBody { refused, reading }
    }
}

impl Body for RefusedBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let RefusedBody { refused, reading } = &mut *self;
        Poll::Ready(match refused.read(reading, CHUNK) {
            Ok(part) if part.is_empty() => None,
            Ok(part) => Some(Ok(Frame::data(part.into()))),
            Err(forgotten) => Some(Err(forgotten.into())),
        })
    }
}
