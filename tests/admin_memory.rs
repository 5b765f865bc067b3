//! The promise: whoever reads the pages of the admin port, however many and however slowly, takes no more memory than
//! docs/operations.md says. Every page is read so, one after another, under a hard limit of what the exporter may
//! allocate, which ends it when it is passed.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use planet_call_exporter::callback::idc::assigned_code;
use support::call::CallEventQuery;
use support::eventually;
use support::exporter::{Exporter, command};
use support::http::{self, Connection};

/// Connections, half as many again of which read.
const CONNECTIONS: usize = 64;
const READERS: usize = 80;
const SERIES: usize = 600;
const SESSION_IDS: usize = 10_000;

/// What docs/operations.md says of these bounds, in memory and without a service behind.
const LIMIT: u64 = 1024 * (20 * 1024 + 152 * CONNECTIONS as u64 + 8 * SERIES as u64)
    + 150 * SESSION_IDS as u64
    + 1024 * 1024 * 3 / 2;

/// Requests that are refused, each of which is as long as it can be.
const REFUSED: usize = 200;

/// Calls that are as long as they can be, more than memory is for, and the number of the first.
const LONG: usize = 100;
const LONG_FROM: usize = 1_000_000;

/// The exporter with its largest pages and a limit of what it may allocate.
fn with_large_pages() -> Exporter {
    let mut prlimit = Command::new("prlimit");
    prlimit.arg(format!("--data={LIMIT}")).arg(command().get_program());
    prlimit.env_clear().envs(std::env::vars().filter(|(name, _)| name == "PATH"));
    prlimit.args(["--worker-threads", "2"]);
    prlimit.args(["--max-connections", &CONNECTIONS.to_string(), "--max-series", &SERIES.to_string()]);
    prlimit.args(["--seen-max", &SESSION_IDS.to_string(), "--backlog-max-bytes", "1MiB"]);
    let exporter = Exporter::launch(&mut prlimit);
    let mut connection = Connection::open(exporter.call_events);
    let letters = || 'A'..='Z';
    let codes = letters().flat_map(|first| letters().map(move |second| format!("{first}{second}")));
    let idcs = codes.filter(|code| assigned_code(code).is_some()).take(SERIES / 50 + 4);
    for (number, (idc, reason)) in
        idcs.flat_map(|idc| (0..50).map(move |reason| (idc.clone(), reason))).enumerate()
    {
        let event = CallEventQuery::new(number)
            .with("rc_idc", &idc)
            .with("disconnect_reason", &(9_000 + reason).to_string());
        assert_eq!(connection.get(&format!("/call_event?{}", event.encode())).status, 200);
    }
    // As long as calls can be, and twice as long in JSON.
    let data = "\u{202e}".repeat(10_000);
    for number in 0..LONG {
        let call = CallEventQuery::new(LONG_FROM + number).without("stid").encode();
        connection.send(format!("GET /call_event?{call}&stid={data} HTTP/1.1\r\nhost: a\r\n\r\n"));
        assert_eq!(connection.receive().status, 200);
    }
    // Each byte of it is six in JSON.
    let refused = format!("/call_event?{}", "\u{202e}".repeat(10_000));
    for _ in 0..REFUSED {
        connection.send(format!("GET {refused} HTTP/1.1\r\nhost: a\r\n\r\n"));
        assert_eq!(connection.receive().status, 400);
    }
    exporter
}

/// A connection whose reader takes next to nothing, in the kernel either.
fn deaf_connection(to: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        socket.set_recv_buffer_size(4 * 1024).expect("set");
        socket.connect(to).await.expect("a connection").into_std().expect("a stream")
    })
}

/// Many who ask for a page with these headers, again and again, and take nothing.
fn slow_readers(exporter: &Exporter, path: &str, headers: &[(&str, &str)]) -> Vec<TcpStream> {
    let fields: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let requests = format!("GET {path} HTTP/1.1\r\nhost: a\r\n{fields}\r\n").repeat(20);
    let mut readers = Vec::new();
    for _ in 0..READERS {
        let mut reader = deaf_connection(exporter.admin);
        match reader.write_all(requests.as_bytes()) {
            Ok(()) => readers.push(reader),
            Err(error) => {
                assert!(matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error}")
            }
        }
    }
    readers
}

/// Beside slow readers whoever takes a page gets the whole of it, and the exporter lives.
fn read_slowly(exporter: &mut Exporter, path: &str, headers: &[(&str, &str)]) {
    let _readers = slow_readers(exporter, path, headers);
    for _ in 0..2 {
        let answer = exporter.process.eventually("an answer", |_| {
            let answer = http::try_request(exporter.admin, "GET", path, headers).ok()?;
            // Who looks back while many others do may be told to come again.
            (answer.status != 503 || answer.header("retry-after").is_none()).then_some(answer)
        });
        assert_eq!(answer.status, 200, "{path}");
    }
    assert_eq!(http::get(exporter.admin, "/livez").status, 200);
    assert_eq!(exporter.process.ended(), None, "{path}");
}

/// What a release build takes of memory for its own code.
const PROGRAM: u64 = 10 * 1024 * 1024;

/// The memory that it has taken at most, in bytes. The code of a test build is several times as large as that of a release.
fn peak(exporter: &Exporter) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", exporter.process.id())).expect("a status");
    let of = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of it");
        1024 * line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
    };
    of("VmHWM:") - of("RssFile:") + PROGRAM
}

#[test]
fn no_page_takes_more_memory_than_is_promised_however_it_is_read() {
    let openmetrics = ("accept", "application/openmetrics-text");
    let gzip = ("accept-encoding", "gzip");
    let browser = ("accept", "text/html");
    let pages: [(&str, &[(&str, &str)]); 16] = [
        ("/metrics", &[]),
        ("/metrics", &[gzip]),
        ("/metrics", &[openmetrics]),
        ("/metrics", &[openmetrics, gzip]),
        ("/refused", &[]),
        ("/why", &[]),
        ("/why.json", &[]),
        ("/calls?limit=10000", &[]),
        ("/why", &[browser]),
        ("/calls?limit=10000", &[browser]),
        ("/report?since=1h", &[]),
        ("/readyz?verbose", &[]),
        ("/livez", &[]),
        ("/", &[]),
        ("/status.json", &[]),
        ("/usage", &[]),
    ];
    let mut exporter = with_large_pages();
    let refused = exporter.admin("/refused").text();
    assert_eq!(refused.lines().count(), REFUSED);
    assert!(refused.len() > 10_000_000, "{} bytes", refused.len());
    let before = peak(&exporter);
    for (path, headers) in pages {
        read_slowly(&mut exporter, path, headers);
        let peak = peak(&exporter);
        assert!(
            peak < LIMIT,
            "{path} {headers:?}: {peak} of {LIMIT} bytes; before anybody read it was {before}"
        );
    }
    // Of those who follow calls only the latest still do, who take nothing of ten thousand.
    let _followers = slow_readers(&exporter, "/calls?limit=10000&follow=1", &[]);
    assert_eq!(exporter.admin("/livez").status, 200);
    assert!(peak(&exporter) < LIMIT, "{} of {LIMIT} bytes", peak(&exporter));
    eventually("the metrics", || {
        Some(exporter.metrics().sum("planet_calls_total")).filter(|calls| *calls > 0.0)
    });
}
