//! `planet-call-exporter replay FILE --to URL`: sends recorded requests again, one after another: the refused ones of a
//! `refused.jsonl`, or the call events of a segment of the journal.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use thiserror::Error;

use crate::callback::{Record, envelope};
use crate::http::peer::{causes, url_for_people};
use crate::http::raw_query::{as_text, uri_with_query};
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
    /// A line is not that of a refused request.
    #[error("line {line} of {path} is no refused request ({source}); expected JSON with a query")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1 on.
        line: usize,
        /// Why not.
        source: serde_json::Error,
    },
    /// The URL and the query make no URI.
    #[error("{0:?} cannot be sent as a query")]
    Query(String),
    /// No answer; those before it were sent.
    #[error("no answer from {to} to request {number}: {reason}")]
    NoAnswer {
        /// Where it was sent.
        to: String,
        /// Which request, from 1 on.
        number: u64,
        /// What went wrong.
        reason: String,
    },
}

/// How many requests were answered how.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Answered 200: taken, or known already.
    pub taken: u64,
    /// Answered otherwise.
    pub refused: u64,
}

/// Sends every request of `file` to `url`, which gets its query behind its own, if it has one; what no URI may have in it is
/// percent-encoded.
///
/// # Errors
/// The file cannot be read, or a request is not answered.
pub async fn replay(file: &Path, url: &str) -> Result<Replayed, ReplayError> {
    let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
    let mut replayed = Replayed::default();
    for (number, query) in (1..).zip(queries(file)?) {
        let (base, whole) = envelope::target(url, query.as_bytes());
        let uri = uri_with_query(base, &as_text(&whole)).ok_or(ReplayError::Query(query))?;
        let no_answer = |reason: String| ReplayError::NoAnswer { to: url_for_people(url), number, reason };
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri;
        let answer = async {
            let response = client.request(request).await.map_err(|error| no_answer(causes(&error)))?;
            let status = response.status();
            // Read to its end, so that the connection can be used again.
            response.into_body().collect().await.map_err(|error| no_answer(causes(&error)))?;
            Ok::<_, ReplayError>(status)
        };
        let timeout = |_| no_answer(format!("none within {TIMEOUT:?}"));
        match tokio::time::timeout(TIMEOUT, answer).await.map_err(timeout)?? {
            StatusCode::OK => replayed.taken += 1,
            _ => replayed.refused += 1,
        }
    }
    Ok(replayed)
}

/// The queries that a file holds.
fn queries(path: &Path) -> Result<Vec<String>, ReplayError> {
    let bytes = fs::read(path).map_err(|source| ReplayError::Read { path: path.to_owned(), source })?;
    if journal::is_segment(&bytes) {
        let mut queries = Vec::new();
        journal::inspect_segment(path, &bytes, |_, record| {
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
        Err(source) => Err(ReplayError::Line { path: path.to_owned(), line: index + 1, source }),
    };
    // What was kept to be looked at only is passed over.
    lines.filter_map(|line| query(line).transpose()).collect()
}

/// Whether a line is to be sent that does not say so.
const fn is_to_be_sent() -> bool {
    true
}
