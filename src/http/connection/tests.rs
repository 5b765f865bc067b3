//! Laws of a connection: what hyper reads by itself is answered as if nothing stood below it, however the bytes come,
//! and at most the last head is answered otherwise.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Request, Response, StatusCode};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::{Connection, Ended};
use crate::http::Handler;
use crate::http::raw_query::query_of;
use crate::http::response::{self, Body};

/// What a handler was given: the path, the query and the body.
type Given = (String, Vec<u8>, Vec<u8>);

/// Keeps what it is given; answers 200, and 400 without a body to what asks for it.
#[derive(Default)]
struct Keeper<const RAW: bool>(Mutex<Vec<Given>>);

impl<const RAW: bool> Handler for Keeper<RAW> {
    const TAKES_RAW_QUERIES: bool = RAW;

    async fn handle(&self, request: Request<Incoming>, _: std::net::SocketAddr) -> Response<Body> {
        let (path, query) = (request.uri().path().to_owned(), query_of(&request).to_vec());
        let wants_refusal = path.starts_with("/refuse");
        let body = request.into_body().collect().await.map(|body| body.to_bytes().to_vec());
        self.0.lock().expect("no panic").push((path, query, body.unwrap_or_default()));
        match wants_refusal {
            true => response::empty(StatusCode::BAD_REQUEST),
            false => response::text(StatusCode::OK, "ok\n"),
        }
    }
}

/// What became of a connection: what the handler was given, the status of each answer, and whether it ended with a parse error.
#[derive(Debug, PartialEq, Eq)]
struct Served {
    given: Vec<Given>,
    statuses: Vec<u16>,
    is_invalid: bool,
}

/// Sends pieces on a connection with pauses in between, and closes the sending side a while later.
fn serve<const RAW: bool>(pieces: &[&[u8]], head_bytes: usize) -> Served {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let handler = Arc::new(Keeper::<RAW>::default());
    let second = Duration::from_secs(1);
    let connection = Connection::patient(Arc::clone(&handler), head_bytes);
    let (near, far) = duplex(1 << 20);
    let (mut from, mut to) = tokio::io::split(far);
    let client = async {
        for piece in pieces {
            // The other end may have closed.
            let _ = to.write_all(piece).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(second).await;
        let _ = to.shutdown().await;
        let mut answers = Vec::new();
        let _ = from.read_to_end(&mut answers).await;
        answers
    };
    let served = async { tokio::join!(connection.serve(near, false), client) };
    let (ended, answers) = runtime.expect("a runtime").block_on(served);
    let answers = String::from_utf8(answers).expect("text");
    let statuses = answers.split("HTTP/1.").skip(1).filter_map(|answer| answer[2..5].parse().ok());
    let given = std::mem::take(&mut *handler.0.lock().expect("no panic"));
    Served {
        given,
        statuses: statuses.collect(),
        is_invalid: matches!(ended, Err(Ended::Early(error)) if error.is_parse()),
    }
}

/// The bytes in pieces of these sizes, over and over again.
fn pieces<'a>(bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let (mut pieces, mut rest) = (Vec::new(), bytes);
    for size in sizes.iter().cycle() {
        let (piece, behind) = rest.split_at((*size).min(rest.len()));
        pieces.push(piece);
        rest = behind;
        if rest.is_empty() {
            break;
        }
    }
    pieces
}

/// Requests that hyper reads.
fn ordinary() -> impl Strategy<Value = (Vec<u8>, Given)> {
    let path = prop::sample::select(vec!["/a", "/refuse"]);
    let body = prop_oneof![
        prop::collection::vec(any::<u8>(), 1..40),
        Just(b"GET /smuggled?\" HTTP/1.1\r\nhost: a\r\n\r\n".to_vec()),
        Just(b"\r\n\r\nGET /smuggled?\" HTTP/1.1".to_vec()),
    ];
    (path, "[a-z=&]{0,9}", prop::option::of(body), prop::sample::select(vec!["\r\n", "\n"])).prop_map(
        |(path, query, body, end)| {
            let (method, length) = match &body {
                Some(body) => ("POST", format!("content-length: {}{end}", body.len())),
                None => ("GET", String::new()),
            };
            let body = body.unwrap_or_default();
            let head = format!("{method} {path}?{query} HTTP/1.1{end}host: a{end}{length}{end}");
            ([head.as_bytes(), &body].concat(), (path.to_owned(), query.into_bytes(), body))
        },
    )
}

/// Bytes that look like requests, whole or not.
fn anything() -> impl Strategy<Value = Vec<u8>> {
    let token = prop::sample::select(vec![
        "GET /a",
        "POST /a",
        "GET http://a/b",
        "?",
        "\"",
        "<",
        " ",
        "x=y",
        " HTTP/1.1",
        " HTTP/1.0",
        "\r\n",
        "\n",
        "\r",
        "host: a\r\n",
        "connection: close\r\n",
        "content-length: 3\r\n",
        "content-length: 0\r\n",
        "transfer-encoding: chunked\r\n",
        "expect: 100-continue\r\n",
        "\r\n\r\n",
        "3\r\nabc\r\n0\r\n\r\n",
        "abc",
        "\0",
        "GET /a?b=\" HTTP/1.1\r\nhost: a\r\n\r\n",
        "GET /a HTTP/1.1\r\nhost: a\r\n\r\n",
    ]);
    let token =
        prop_oneof![9 => token.prop_map(|token| token.as_bytes().to_vec()), 1 => Just(b"\xff".to_vec())];
    prop::collection::vec(token, 1..25).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_raw_query_is_read_behind_any_requests_however_the_bytes_come(
        before in prop::collection::vec(ordinary(), 0..5),
        raw in prop::sample::select(vec![&b"\""[..], b"<", b"> ", b" ", b"\xff"]),
        (begin, end) in ("[a-z=&]{0,9}", prop::collection::vec(0x80u8..=0xff, 0..5)),
        behind in prop::sample::select(vec![&b""[..], b"GET /behind HTTP/1.1\r\nhost: a\r\n\r\n", b"GET /behind?\""]),
        sizes in prop::collection::vec(1usize..80, 1..20),
    ) {
        let query = [begin.as_bytes(), raw, &end].concat();
        let raw = [b"GET /raw?", &query[..], b" HTTP/1.1\r\nhost: a\r\n\r\n", behind].concat();
        let bytes: Vec<u8> = before.iter().flat_map(|(bytes, _)| bytes.clone()).chain(raw).collect();
        let mut given: Vec<Given> = before.into_iter().map(|(_, given)| given).collect();
        let mut statuses: Vec<u16> =
            given.iter().map(|(path, ..)| if path == "/refuse" { 400 } else { 200 }).collect();
        let refused = Served { given: given.clone(), statuses: [&statuses[..], &[400]].concat(), is_invalid: true };
        given.push(("/raw".to_owned(), query, Vec::new()));
        statuses.push(200);
        let served = Served { given, statuses, is_invalid: false };
        prop_assert_eq!(serve::<true>(&pieces(&bytes, &sizes), 9_000), served);
        prop_assert_eq!(serve::<false>(&pieces(&bytes, &sizes), 9_000), refused);
    }

    /// What hyper hands over by itself is the same with and without the copy, and so is each answer but the last one, which
    /// may be that to one request more in the place of a 400.
    #[test]
    fn at_most_the_last_head_is_answered_otherwise(
        bytes in anything(), sizes in prop::collection::vec(1usize..80, 1..20)
    ) {
        let pieces = pieces(&bytes, &sizes);
        let (plain, mut raw) = (serve::<false>(&pieces, 9_000), serve::<true>(&pieces, 9_000));
        if raw.given.len() == plain.given.len() + 1 {
            let (_, query, body) = raw.given.pop().expect("one more");
            prop_assert!(plain.is_invalid && !raw.is_invalid && body.is_empty());
            prop_assert!(bytes.windows(query.len()).any(|window| window == query));
            prop_assert_eq!((raw.statuses.pop(), plain.statuses.last()), (Some(200), Some(&400)));
            raw.statuses.push(400);
            raw.is_invalid = true;
        }
        prop_assert_eq!(raw, plain);
    }
}

#[test]
fn a_head_that_is_never_whole_or_too_long_is_refused() {
    let long = "x".repeat(10_000);
    for pieces in [
        &[&b"GET /a?b c"[..]][..],
        &[b"GET /a?b c HTTP/1.1\r\nhost"],
        &[b"GET /a?b c", long.as_bytes(), b" HTTP/1.1\r\nhost: a\r\n\r\n"],
        &[b"GET /a?b c HTTP/1.1\r\nhost: a\r\n", b"no field\r\n\r\n"],
    ] {
        let served = serve::<true>(pieces, 9_000);
        assert_eq!(served, Served { given: vec![], statuses: vec![400], is_invalid: true });
    }
}

#[test]
fn behind_a_body_of_unknown_length_the_copy_begins_anew_if_it_can() {
    let chunked = b"POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let raw = b"GET /a?\" HTTP/1.1\r\nhost: a\r\n\r\n";
    let body = ("/a".to_owned(), Vec::new(), b"abc".to_vec());
    let served = serve::<true>(&[chunked, raw], 9_000);
    let given = vec![body.clone(), ("/a".to_owned(), b"\"".to_vec(), Vec::new())];
    assert_eq!(served, Served { given, statuses: vec![200, 200], is_invalid: false });
    // Nobody knows where the head begins that came with the body.
    for pieces in [&[&[&chunked[..], raw].concat()[..]][..], &[&[&chunked[..], b"GET /"].concat(), &raw[5..]]]
    {
        let served = serve::<true>(pieces, 9_000);
        assert_eq!(served, Served { given: vec![body.clone()], statuses: vec![200, 400], is_invalid: true });
    }
}
