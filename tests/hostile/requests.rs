//! What hostile clients send.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::crowd::Bytes;
use super::honest;
use crate::support::call::CallEventQuery;
use crate::support::exporter::CALL_EVENT_PATH;

/// Requests that go out in one piece, where as many as possible are to arrive.
pub const BURST: usize = 100;

/// The same bytes each time.
pub fn same(bytes: impl AsRef<[u8]>) -> Bytes {
    let bytes = bytes.as_ref().to_vec();
    Arc::new(move |_| bytes.clone())
}

/// A GET of a path and query, with further lines of a head, each of which ends in CR LF.
pub fn get(target: &str, head: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: hostile\r\n{head}\r\n")
}

/// A POST whose body is sent as it is here.
pub fn post(path: &str, head: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nhost: hostile\r\n{head}\r\n{body}")
}

/// A call event that counts, with a session ID that no other has.
pub fn call() -> CallEventQuery {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    CallEventQuery::new(NUMBER.fetch_add(1, Ordering::Relaxed)).with("rc_idc", "JP")
}

/// The request of a call event.
pub fn request_of(query: &CallEventQuery) -> String {
    get(&format!("{CALL_EVENT_PATH}?{}", query.encode()), "")
}

/// Many calls in one piece, each with another value of a parameter.
pub fn calls_with(parameter: &'static str, value: impl Fn(usize) -> String + Send + Sync + 'static) -> Bytes {
    Arc::new(move |number| {
        let calls = (0..BURST)
            .map(|call_number| request_of(&call().with(parameter, &value(BURST * number + call_number))));
        calls.collect::<String>().into_bytes()
    })
}

/// Many calls in one piece, of every data centre that there could be but that of honest calls, and for many reasons.
pub fn calls_of_forged_idcs() -> Bytes {
    Arc::new(|number| {
        let calls = (0..BURST).map(|call_number| {
            let number = BURST * number + call_number;
            let letter = |place: usize| char::from(b'A' + (place % 26) as u8);
            let idc = format!("{}{}", letter(number), letter(number / 26));
            let idc = if idc == honest::IDC { "JP" } else { &idc };
            let reason = (1_000 + number / 676 % 500).to_string();
            request_of(&call().with("rc_idc", idc).with("disconnect_reason", &reason))
        });
        calls.collect::<String>().into_bytes()
    })
}

/// So many requests in one piece; after the last one the connection is to be closed.
pub fn pipeline(length: usize, request: impl Fn() -> String + Send + Sync + 'static) -> Bytes {
    Arc::new(move |_| {
        let mut requests: String = (1..length).map(|_| request()).collect();
        requests.push_str(&get("/", "connection: close\r\n"));
        requests.into_bytes()
    })
}

/// Random bytes, others each time.
pub fn garbage(length: usize) -> Bytes {
    Arc::new(move |_| std::iter::repeat_with(|| fastrand::u8(..)).take(length).collect())
}

/// The first message of TLS, as far as it is read before anything is answered.
pub const TLS_HELLO: &[u8] = &[
    0x16, 0x03, 0x01, 0x00, 0x31, 0x01, 0x00, 0x00, 0x2d, 0x03, 0x03, 0x0d, 0x0a, 0x0d, 0x0a, 0x20, 0x47,
    0x45, 0x54, 0x20, 0x2f, 0x20, 0x48, 0x54, 0x54, 0x50, 0x2f, 0x31, 0x2e, 0x31, 0x0d, 0x0a, 0x00, 0x01,
    0x02, 0x03, 0x04, 0x05, 0x06, 0x00, 0x00, 0x06, 0x13, 0x01, 0x13, 0x02, 0x13, 0x03, 0x01, 0x00,
];

/// The beginning of a first message of TLS that takes a record of 16 KiB, of which there is never the end.
pub fn endless_hello() -> Vec<u8> {
    let mut hello = vec![0x16, 0x03, 0x01, 0x40, 0x00, 0x01, 0x00, 0x3f, 0xfc, 0x03, 0x03];
    hello.extend(std::iter::repeat_n(0x20, 10_000));
    hello
}

/// Random bytes that begin as TLS does.
pub fn garbage_for_tls(length: usize) -> Bytes {
    Arc::new(move |_| {
        let random = std::iter::repeat_with(|| fastrand::u8(..)).take(length);
        [0x16, 0x03, 0x01].into_iter().chain(random).collect()
    })
}

/// HTTP/2 by prior knowledge, with its empty settings and a window that grows.
pub const HTTP_2: &[u8] =
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x04\x08\0\0\0\0\0\x7f\xff\x00\x00";

/// Requests that two readers may divide at different places: by name.
pub fn smuggled() -> [(&'static str, String); 7] {
    let hidden = get("/smuggled", "");
    let length = hidden.len();
    [
        (
            "two lengths",
            post("/notify", &format!("content-length: 0\r\ncontent-length: {length}\r\n"), &hidden),
        ),
        (
            "length and chunks",
            post(
                "/notify",
                &format!("content-length: {}\r\ntransfer-encoding: chunked\r\n", length + 5),
                &format!("0\r\n\r\n{hidden}"),
            ),
        ),
        (
            "two encodings",
            post("/notify", "transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", "0\r\n\r\n"),
        ),
        (
            "a folded line",
            post("/notify", "transfer-encoding:\r\n chunked\r\n", &format!("0\r\n\r\n{hidden}")),
        ),
        (
            "bare line feeds",
            format!("POST /notify HTTP/1.1\nhost: hostile\ncontent-length: {length}\n\n{hidden}"),
        ),
        ("a space before the colon", post("/notify", &format!("content-length : {length}\r\n"), &hidden)),
        (
            "chunk sizes without limit",
            post("/notify", "transfer-encoding: chunked\r\n", &format!("{}\r\n{hidden}", "f".repeat(64))),
        ),
    ]
}

/// Calls whose values are odd, by name: raw ones are not percent-encoded.
pub fn poison() -> Vec<(&'static str, Bytes)> {
    let everywhere = |value: &'static str| -> Bytes {
        calls_with("app_svr_data", move |number| {
            // The encoding is the exporter's to undo.
            let parameter = ["", "rel_code_str=", "to_user_id=", "user_rel_code=", "stid="][number % 5];
            format!("{parameter}{value}{number}")
        })
    };
    let odd = |parameter: &'static str, value: &'static str| calls_with(parameter, move |_| value.to_owned());
    let raw: Bytes = Arc::new(|_| {
        let query = call().encode();
        let mut request = format!("GET {CALL_EVENT_PATH}?{query}&x=").into_bytes();
        request
            .extend_from_slice(b"\"<\xff\xfe \x80> HTTP/1.1\r\nhost: hostile\r\nconnection: close\r\n\r\n");
        request
    });
    let long: Bytes = Arc::new(|number| {
        let parameter = ["app_svr_data", "rel_code_str", "sid", "to_user_id"][number % 4];
        let value = format!("{number}{}", "x".repeat(31 * 1024));
        request_of(&call().with(parameter, &value)).into_bytes()
    });
    vec![
        ("control characters", everywhere("\0\u{1b}[2J\r\n{\"level\":\"ERROR\"}\u{7f}")),
        (
            "control characters in a label",
            calls_with("rel_code_str", |number| format!("\0\r\n\"}} {number}")),
        ),
        ("bidirectional text", calls_with("rel_code_str", |number| format!("\u{202e}{number}\u{2066}"))),
        ("values of 31 KiB", long),
        ("a duration of 10^18", odd("duration", "1000000000000000000")),
        ("a negative duration", odd("duration", "-1000000000000000000")),
        ("times of 10^18", odd("end_time", "1000000000000000000")),
        ("billed seconds that are none", odd("billing_sec", "NaN")),
        ("raw bytes", raw),
    ]
}
