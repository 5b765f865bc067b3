//! The promise: a crowd that takes all places, sends little and comes again at once keeps nobody out, and whatever
//! holds the places of the admin port, `/livez` and `/readyz` are answered.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use support::call::CallEventQuery;
use support::eventually;
use support::exporter::{Exporter, command_under};
use support::http::{self, Connection};

const PLACES: [&str; 2] = ["--max-connections", "64"];

/// More than there are places.
const CROWD: usize = 96;

/// Clients that connect, send the same bytes, wait for the end, and come again at once.
struct Crowd {
    is_over: Arc<AtomicBool>,
    came: Arc<AtomicUsize>,
    clients: Vec<thread::JoinHandle<()>>,
}

impl Crowd {
    fn at(address: SocketAddr, bytes: &'static [u8]) -> Crowd {
        let (is_over, came) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = || {
            let (is_over, came) = (Arc::clone(&is_over), Arc::clone(&came));
            thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    // Whatever becomes of it, it comes again.
                    let _ = stay(address, bytes, &came, &is_over);
                }
            })
        };
        let clients = (0..CROWD).map(|_| client()).collect();
        let crowd = Crowd { is_over, came, clients };
        eventually("a crowd", || (crowd.came.load(Ordering::Relaxed) > CROWD).then_some(()));
        crowd
    }

    /// Ends it, and answers how often its clients came.
    fn over(self) -> usize {
        self.is_over.store(true, Ordering::Relaxed);
        self.clients.into_iter().for_each(|client| client.join().expect("no panic"));
        self.came.load(Ordering::Relaxed)
    }
}

/// One connection, until the exporter ends it.
fn stay(address: SocketAddr, bytes: &[u8], came: &AtomicUsize, is_over: &AtomicBool) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    came.fetch_add(1, Ordering::Relaxed);
    stream.write_all(bytes)?;
    stream.set_read_timeout(Some(Duration::from_millis(200)))?;
    while !is_over.load(Ordering::Relaxed) {
        match stream.read(&mut [0; 1_000]) {
            Ok(0) => break,
            Err(error) if error.kind() != std::io::ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// The status of the answer. A client that is told to go before it has sent its request, as may happen on a busy
/// machine, comes again.
fn status(address: SocketAddr, path: &str) -> u16 {
    eventually("an answer", || http::try_request(address, "GET", path, &[]).ok()).status
}

#[test]
fn a_crowd_that_sends_little_keeps_no_call_out() {
    for bytes in [&b""[..], b"G", b"GET /call_event?sid=1 HTTP/1.1\r\nhost: a\r\nx-a", b"GET /call_event?a b"]
    {
        let exporter = Exporter::with(&[&PLACES[..], &["--header-timeout", "1h"]].concat());
        let crowd = Crowd::at(exporter.call_events, bytes);
        for number in 0..50 {
            let path = format!("/call_event?{}", CallEventQuery::new(number).encode());
            assert_eq!(status(exporter.call_events, &path), 200, "beside {bytes:?}");
        }
        assert!(crowd.over() > 2 * CROWD, "it came again and again");
        assert_eq!(exporter.accepted(), 50.0);
        let rejected = exporter.metrics().sum("planet_exporter_rejected_connections_total");
        assert_eq!(rejected, 0.0, "beside {bytes:?}");
    }
}

#[test]
fn a_silent_crowd_that_takes_all_descriptors_keeps_no_call_out() {
    for bytes in [&b""[..], b"GET /call_event?sid=1 HTTP/1.1\r\nhost: a\r\nx-a"] {
        let exporter = Exporter::with(&["--header-timeout", "1h"]);
        exporter.process.limit_descriptors(64);
        let crowd = Crowd::at(exporter.call_events, bytes);
        exporter.process.stderr.wait_for("connections cannot be accepted");
        for number in 0..20 {
            let path = format!("/call_event?{}", CallEventQuery::new(number).encode());
            assert_eq!(status(exporter.call_events, &path), 200, "beside {bytes:?}");
        }
        crowd.over();
        assert_eq!(exporter.accepted(), 20.0);
    }
}

#[test]
fn no_crowd_of_the_other_port_takes_the_descriptor_of_livez() {
    let silent_service = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let service = format!("http://{}", silent_service.local_addr().expect("an address"));
    let half = &b"GET /call_event?sid=1 HTTP/1.1\r\nhost: a\r\nx-a"[..];
    for (bytes, arguments) in [
        (&b""[..], &[][..]),
        (half, &[]),
        (b"GET / HTTP/1.1\r\nhost: a\r\n\r\n", &[]),
        // Each has a connection to the service as well.
        (b"GET /other HTTP/1.1\r\nhost: a\r\n\r\n", &["--forward-to", &service]),
    ] {
        let mut command = command_under("ulimit -n 64");
        let exporter = Exporter::launch(command.args(["--header-timeout", "1h"]).args(arguments));
        let warning =
            exporter.process.stderr.wait_for("fewer file descriptors may be open than all connections need");
        assert!(warning.contains("max_connections") && warning.contains("call_events"), "{warning}");
        let crowd = Crowd::at(exporter.call_events, bytes);
        exporter.process.stderr.wait_for("no place is left for a connection");
        for _ in 0..100 {
            let answer = http::try_request(exporter.admin, "GET", "/livez", &[]);
            assert_eq!(answer.expect("an answer").status, 200, "beside {bytes:?}");
        }
        crowd.over();
        let failures = exporter.metrics().sum("planet_exporter_accept_failures_total");
        assert_eq!(failures, 0.0, "beside {bytes:?}");
    }
}

#[test]
fn it_may_open_as_many_descriptors_as_it_can_have() {
    let exporter = Exporter::launch(&mut command_under("ulimit -Sn 64"));
    assert!(exporter.metrics().value("process_max_fds", &[]) > 2_000.0);
    let few = Exporter::launch(&mut command_under("ulimit -n 64"));
    few.process.stderr.wait_for("fewer file descriptors may be open than all connections need");
}

#[test]
fn livez_and_readyz_have_a_place_whatever_the_others_do() {
    let pages = "GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(100).leak().as_bytes();
    for bytes in [&b""[..], b"G", b"GET / HTTP/1.1\r\nhost: a\r\nx-a", pages] {
        let exporter = Exporter::with(&[&PLACES[..], &["--header-timeout", "1h"]].concat());
        let crowd = Crowd::at(exporter.admin, bytes);
        for path in ["/livez", "/readyz"].into_iter().cycle().take(50) {
            assert_eq!(status(exporter.admin, path), 200, "beside {bytes:?}");
        }
        crowd.over();
    }
}

#[test]
fn answers_that_nobody_takes_make_place_for_livez() {
    let exporter = Exporter::with(&PLACES);
    // More than the buffers of a connection take, so that the exporter waits for each of them.
    let requests = "GET /metrics HTTP/1.1\r\nhost: a\r\n\r\n".repeat(1_000);
    let mut deaf: Vec<TcpStream> = Vec::new();
    for _ in 0..64 {
        let stream = TcpStream::connect(exporter.admin).expect("a connection");
        stream.set_nonblocking(true).expect("set");
        deaf.push(stream);
    }
    for stream in &mut deaf {
        // As much of it as goes.
        let _ = stream.write_all(requests.as_bytes());
    }
    for _ in 0..100 {
        assert_eq!(status(exporter.admin, "/livez"), 200);
    }
    let page = exporter.metrics();
    assert_eq!(page.value("planet_exporter_rejected_connections_total", &[("listener", "admin")]), 0.0);
}

/// A connection from this address of the loopback network.
fn connection_from(last: u8, to: SocketAddr) -> TcpStream {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
        let from = IpAddr::from(Ipv4Addr::new(127, 0, 0, last));
        socket.bind(SocketAddr::new(from, 0)).expect("an address of this host");
        socket.connect(to).await.expect("a connection").into_std().expect("a stream")
    });
    stream.set_nonblocking(false).expect("set");
    stream.set_read_timeout(Some(support::PATIENCE)).expect("set");
    stream
}

fn is_answered(stream: &mut TcpStream) -> bool {
    let mut answer = [0; 1_000];
    let read = stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").and_then(|()| stream.read(&mut answer));
    read.is_ok() && answer.starts_with(b"HTTP/1.1 200 ")
}

#[test]
fn a_peer_at_its_limit_takes_no_place_from_others() {
    let exporter = Exporter::with(&["--max-connections-per-peer", "2"]);
    let mut other = connection_from(2, exporter.call_events);
    assert!(is_answered(&mut other));
    let mut of_peer = Vec::new();
    for _ in 0..20 {
        let mut stream = connection_from(3, exporter.call_events);
        assert!(is_answered(&mut stream));
        of_peer.push(stream);
    }
    assert!(is_answered(&mut other), "it has waited longest, and is another peer");
    // Those that were told to go would still answer what comes before they have gone.
    eventually("that the others have gone", || {
        let open = exporter.metrics().value("planet_exporter_connections", &[("listener", "call_events")]);
        (open == 3.0).then_some(())
    });
    let alive = of_peer.iter_mut().map(is_answered);
    assert_eq!(alive.filter(|is_answered| *is_answered).count(), 2);
    let mut open = Connection::open(exporter.call_events);
    assert_eq!(open.get("/").status, 200);
}
