//! `planet-call-exporter replay FILE --to URL`: sends recorded requests again, one after another: the refused ones of a
//! `refused.jsonl`, or the call events of a segment of the journal.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::StatusCode;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use thiserror::Error;

use crate::callback::Record;
use crate::config::callback_url::{CallbackUrl, TURNED_AWAY, WRONG_PATH};
use crate::http::headers;
use crate::http::peer::{causes, for_people};
use crate::http::raw_query::as_text;
use crate::journal::{self, JournalError};

/// How long to wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why requests cannot be sent again.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is a segment that cannot be read.
    #[error(transparent)]
    Segment(#[from] JournalError),
    /// A line is not that of a refused request. What it has instead may be a call's and is not said.
    #[error(
        "line {line} of {path} is no refused request, from its column {column} on; expected JSON with a query"
    )]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1 on.
        line: usize,
        /// Where in the line, from 1 on.
        column: usize,
    },
    /// A query makes no URI.
    #[error(
        "request {number} of {path} makes no URI: expected one of 65534 bytes at most; before it {before}"
    )]
    TooLong {
        /// Which file.
        path: PathBuf,
        /// Which request, from 1 on.
        number: u64,
        /// What became of those before it.
        before: Replayed,
    },
    /// Nobody is there.
    #[error("cannot connect to {to}: {reason}; before that {before}")]
    NoConnection {
        /// Where to.
        to: CallbackUrl,
        /// What went wrong.
        reason: String,
        /// What became of the requests before.
        before: Replayed,
    },
    /// The connection was there, and no answer came.
    #[error("no answer from {to} to request {number}: {reason}; before it {before}")]
    NoAnswer {
        /// Where it was sent.
        to: CallbackUrl,
        /// Which request, from 1 on.
        number: u64,
        /// What went wrong.
        reason: String,
        /// What became of those before it.
        before: Replayed,
    },
    /// The first request was answered 404.
    #[error("{0} answers 404: {WRONG_PATH}")]
    WrongPath(CallbackUrl),
    /// The first request was answered 403.
    #[error("{0} answers 403: {TURNED_AWAY}")]
    TurnedAway(CallbackUrl),
}

/// How many requests were answered how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Answered 2xx, as new.
    pub taken: u64,
    /// Answered 2xx, as repeats of what was known already.
    pub known: u64,
    /// Answered otherwise.
    pub refused: u64,
}

impl fmt::Display for Replayed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Replayed { taken, known, refused } = self;
        write!(formatter, "{taken} taken, {known} known already, {refused} refused")
    }
}

/// Sends every request of `file` to `to`. One that is answered 404 or 403 was refused, unless it is the first: then the path is
/// wrong, or the secret, and nothing more is sent there.
///
/// # Errors
/// The file cannot be read, the URL is wrong, or a request is not answered.
pub async fn replay(file: &Path, to: &CallbackUrl) -> Result<Replayed, ReplayError> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let mut replayed = Replayed::default();
    for (number, query) in (1..).zip(queries(file)?) {
        let before = replayed;
        let uri = to.with(query.as_bytes());
        let uri = uri.ok_or_else(|| ReplayError::TooLong { path: file.to_owned(), number, before })?;
        let no_answer = |reason| ReplayError::NoAnswer { to: to.clone(), number, reason, before };
        let answer = async {
            let response = client.get(uri).await.map_err(|error| match error.is_connect() {
                true => ReplayError::NoConnection { to: to.clone(), reason: root(&error), before },
                false => no_answer(causes(&error)),
            })?;
            let (status, is_repeat) = (response.status(), headers::is_repeat(response.headers()));
            // Read to its end, so that the connection can be used again.
            response.into_body().collect().await.map_err(|error| no_answer(causes(&error)))?;
            Ok::<_, ReplayError>((status, is_repeat))
        };
        let timeout = |_| no_answer(format!("none within {TIMEOUT:?}"));
        match tokio::time::timeout(TIMEOUT, answer).await.map_err(timeout)?? {
            (status, true) if status.is_success() => replayed.known += 1,
            (status, false) if status.is_success() => replayed.taken += 1,
            (StatusCode::NOT_FOUND, _) if number == 1 => return Err(ReplayError::WrongPath(to.clone())),
            (StatusCode::FORBIDDEN, _) if number == 1 => return Err(ReplayError::TurnedAway(to.clone())),
            _ => replayed.refused += 1,
        }
    }
    Ok(replayed)
}

/// The first cause of an error. Those behind it only name the layers of the client.
fn root(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.last().map(|cause| for_people(&cause.to_string())).unwrap_or_default()
}

/// The queries that a file holds.
fn queries(path: &Path) -> Result<Vec<String>, ReplayError> {
    let bytes = fs::read(path).map_err(|source| ReplayError::Read { path: path.to_owned(), source })?;
    queries_in(path, &bytes)
}

/// The queries that the file at `path` holds, which has these bytes.
pub(super) fn queries_in(path: &Path, bytes: &[u8]) -> Result<Vec<String>, ReplayError> {
    if journal::is_segment(bytes) {
        let mut queries = Vec::new();
        journal::inspect_segment(path, bytes, |_, record| {
            queries.extend(Record::decode(record).map(|record| as_text(record.query).into_owned()));
        })?;
        return Ok(queries);
    }
    #[derive(Deserialize)]
    struct Line {
        query: String,
        #[serde(default = "is_to_be_sent")]
        replay: bool,
    }
    let lines = bytes.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.is_empty());
    let query = |(index, line): (usize, &[u8])| match serde_json::from_slice::<Line>(line) {
        Ok(line) => Ok(line.replay.then_some(line.query)),
        Err(error) => {
            Err(ReplayError::Line { path: path.to_owned(), line: index + 1, column: error.column() })
        }
    };
    // What was kept to be looked at only is passed over.
    lines.filter_map(|line| query(line).transpose()).collect()
}

/// Whether a line is to be sent that does not say so.
const fn is_to_be_sent() -> bool {
    true
}
