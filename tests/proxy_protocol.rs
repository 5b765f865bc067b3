//! The promise: behind a load balancer that speaks the PROXY protocol, clients are known by their own addresses, and
//! nobody else can claim one.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::net::{Ipv4Addr, SocketAddr};

use support::call::CallEventQuery;
use support::eventually;
use support::exporter::Exporter;
use support::http::Connection;
use support::service::Service;

const V1: &[u8] = b"PROXY TCP4 203.0.113.7 127.0.0.1 4711 20200\r\n";

/// Version 2 (section 2.2 of the PROXY protocol's specification): TCP over IPv4, with a field that nobody knows behind it.
fn v2() -> Vec<u8> {
    let addresses =
        [&Ipv4Addr::new(203, 0, 113, 7).octets()[..], &[127, 0, 0, 1], &[0x12, 0x67], &[0x4e, 0xe8]];
    let unknown = [0xee, 0, 3, 1, 2, 3];
    let rest = [&addresses.concat()[..], &unknown].concat();
    [b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0", &[rest.len() as u8][..], &rest].concat()
}

fn request(number: usize) -> String {
    format!("GET /other?{} HTTP/1.1\r\nhost: test\r\n\r\n", CallEventQuery::new(number).encode())
}

/// The address by which the service knows the client of such a connection; `None` if there is no answer 200.
fn known_as(exporter: SocketAddr, service: &Service, header: &[u8], piece: usize) -> Option<String> {
    let before = service.requests().len();
    let mut connection = Connection::open(exporter);
    let bytes = [header, request(before).as_bytes()].concat();
    for piece in bytes.chunks(piece) {
        // The peer may have closed before all is sent.
        let _ = connection.try_send(piece);
    }
    let answer = connection.try_receive().ok()?;
    let requests = service.requests();
    (answer.status == 200).then(|| requests[before].header("x-forwarded-for").expect("an address").to_owned())
}

/// An exporter whose load balancer has one of these addresses and says whose connections it passes on.
fn behind_a_load_balancer(service: &Service, addresses: &str) -> Exporter {
    Exporter::with(&[
        "--forward-to",
        &service.url(),
        "--proxy-protocol",
        "required",
        "--trusted-proxies",
        addresses,
    ])
}

#[test]
fn a_trusted_peer_says_whose_connection_it_is() {
    let service = Service::start();
    let exporter = behind_a_load_balancer(&service, "10.0.0.0/8,127.0.0.1,::1/128");
    let address = exporter.call_events;
    for header in [V1, &v2()] {
        for piece in [1, 7, 1_000] {
            assert_eq!(
                known_as(address, &service, header, piece).as_deref(),
                Some("203.0.113.7"),
                "{header:?}"
            );
        }
    }
    // A check of the load balancer's own is of its own address.
    for own in [&b"PROXY UNKNOWN\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"] {
        assert_eq!(known_as(address, &service, own, 1_000).as_deref(), Some("127.0.0.1"), "{own:?}");
    }
    // Without the header it would be the client who says where it comes from.
    for none in [&b""[..], b"PROXY TCP4 nonsense\r\n", b"PROXY", b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0"] {
        assert_eq!(known_as(address, &service, none, 1_000), None, "{none:?}");
    }
    // Who only looks whether somebody listens says nothing wrong.
    let invalid = [("listener", "call_events")];
    let all_are_gone = || {
        eventually("they are gone", || {
            (exporter.metrics().value("planet_exporter_connections", &invalid) == 0.0).then_some(())
        });
    };
    // What was wrong is counted when its connection has ended, of which its client may know before.
    all_are_gone();
    let before = exporter.metrics().value("planet_exporter_invalid_requests_total", &invalid);
    let look = Connection::open(address);
    look.finish_sending();
    drop(look);
    all_are_gone();
    assert_eq!(exporter.metrics().value("planet_exporter_invalid_requests_total", &invalid), before);
    assert!(exporter.metrics().value("planet_exporter_invalid_requests_total", &invalid) >= 3.0);
    exporter.process.stderr.wait_for("PROXY protocol");
}

#[test]
fn nobody_else_can_claim_an_address() {
    let service = Service::start();
    let exporter = behind_a_load_balancer(&service, "192.0.2.0/24");
    assert_eq!(known_as(exporter.call_events, &service, V1, 1_000), None);
    assert_eq!(known_as(exporter.call_events, &service, b"", 1_000).as_deref(), Some("127.0.0.1"));
}

#[test]
fn what_would_take_it_is_said() {
    let exporter = Exporter::start();
    for header in [V1, &v2()] {
        let mut connection = Connection::open(exporter.call_events);
        connection.send([header, request(1).as_bytes()].concat());
        assert_eq!(connection.receive().status, 400);
    }
    let line = exporter.process.stderr.wait_for("--proxy-protocol");
    assert!(line.contains("--trusted-proxies"), "{line}");
}
