//! Laws of a connection, whatever comes on it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode, Uri};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::Connection;
use super::raw_head::{RawHead, Reading, read};
use crate::http::Handler;
use crate::http::fuzzing::runtime;
use crate::http::raw_query::query_of;
use crate::http::response::{self, Body};

/// The beginning of a head at which hyper failed. What is cut out of it and put back is what came.
pub fn raw_head(bytes: &[u8]) {
    let Reading::Whole(RawHead { head, query }) = read(bytes) else { return };
    let at = head.windows(6).position(|text| text == b" HTTP/").unwrap_or_default();
    let put_back = [&head[..at], b"?", query.as_bytes(), &head[at..]].concat();
    assert!(bytes.starts_with(&put_back) && put_back.ends_with(b"\r\n\r\n"));
    for end in 0..put_back.len() {
        assert!(
            !matches!(read(&bytes[..end]), Reading::Whole(_)),
            "it is whole at its end, and not at {end}"
        );
    }
}

/// What a handler was given: the method, the path, the query and the body.
type Given = (String, String, Vec<u8>, Vec<u8>);

/// Keeps what it is given, and answers 200.
#[derive(Default)]
struct Keeper(Mutex<Vec<Given>>);

impl Handler for Keeper {
    const TAKES_RAW_QUERIES: bool = true;

    async fn handle(&self, request: Request<Incoming>, _: SocketAddr) -> Response<Body> {
        let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
        let query = query_of(&request).to_vec();
        let body = request.into_body().collect().await.map(|body| body.to_bytes().to_vec());
        let given = (method, path, query, body.unwrap_or_default());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(given);
        response::text(StatusCode::OK, "ok\n")
    }
}

/// All that comes on a connection. However it comes, the same requests are handed over, and each of them is in what
/// came. Whether the last one is that hyper cannot read may depend on how it comes: behind a body of unknown length
/// nobody knows where its head begins.
pub fn connection(bytes: &[u8]) {
    if bytes.len() > 4_096 {
        return;
    }
    let given = serve(bytes, bytes.len());
    for (_, _, query, _) in &given {
        assert!(!query.iter().any(u8::is_ascii_control), "{query:?} stays one line");
        assert!(query.is_empty() || bytes.windows(query.len()).any(|window| window == query));
    }
    let lines =
        bytes.split(|byte| *byte == b'\n').filter(|line| line.windows(6).any(|text| text == b" HTTP/"));
    assert!(given.len() <= lines.count(), "{given:?}");
    let of_pieces = serve(bytes, 1);
    let (fewer, more) = if given.len() < of_pieces.len() { (given, of_pieces) } else { (of_pieces, given) };
    assert!(more.starts_with(&fewer), "{fewer:?} and {more:?}");
    assert!(more[fewer.len()..].iter().all(|(_, _, query, _)| is_raw(query)), "{fewer:?} and {more:?}");
    assert!(more.len() - fewer.len() <= 1, "{fewer:?} and {more:?}");
}

/// Whether no URI can have this query.
fn is_raw(query: &[u8]) -> bool {
    Uri::try_from([b"/?", query].concat()).is_err() || query.contains(&b'#')
}

/// What is handed over of a connection on which the bytes come in pieces of this size.
fn serve(bytes: &[u8], size: usize) -> Vec<Given> {
    let handler = Arc::new(Keeper::default());
    let connection = Connection::patient(Arc::clone(&handler), 8 * 1024);
    let (near, far) = duplex(1 << 20);
    let (mut from, mut to) = tokio::io::split(far);
    let client = async {
        for piece in bytes.chunks(size.max(1)) {
            // The other end may have closed.
            let _ = to.write_all(piece).await;
            tokio::task::yield_now().await;
        }
        let _ = to.shutdown().await;
        let mut answers = Vec::new();
        let _ = from.read_to_end(&mut answers).await;
    };
    let _ = runtime().block_on(async { tokio::join!(connection.serve(near, false), client) });
    std::mem::take(&mut *handler.0.lock().unwrap_or_else(PoisonError::into_inner))
}
