//! The promise: the port of call events speaks TLS if it has a certificate, takes a renewed one without losing a
//! request, and keeps the old one where the new one cannot be used.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use support::authority::Authority;
use support::call::{CallEventQuery, DOCUMENTED_SAMPLE};
use support::exporter::{CALL_EVENT_PATH, Exporter};
use support::http::{self, Connection};
use support::service::Service;
use support::tls_client::{NAME, TlsClient};
use support::{Scratch, eventually};

/// A Secret as Kubernetes mounts it: files are links into a folder that is a link, and that one is exchanged.
struct Secret {
    scratch: Scratch,
    versions: usize,
}

impl Secret {
    fn new(identity: &(String, String)) -> Secret {
        let mut secret = Secret { scratch: Scratch::new("secret"), versions: 0 };
        secret.renew(identity);
        for file in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(file), secret.path(file)).expect("a link");
        }
        secret
    }

    fn path(&self, file: &str) -> PathBuf {
        self.scratch.0.join(file)
    }

    fn renew(&mut self, (certificate, key): &(String, String)) {
        self.versions += 1;
        let version = format!("..version-{}", self.versions);
        fs::create_dir(self.path(&version)).expect("a folder");
        fs::write(self.path(&version).join("tls.crt"), certificate).expect("written");
        fs::write(self.path(&version).join("tls.key"), key).expect("written");
        symlink(&version, self.path("..data_tmp")).expect("a link");
        fs::rename(self.path("..data_tmp"), self.path("..data")).expect("exchanged");
    }

    fn flags(&self) -> [String; 4] {
        let path = |file| self.path(file).display().to_string();
        ["--tls-cert-file".to_owned(), path("tls.crt"), "--tls-key-file".to_owned(), path("tls.key")]
    }
}

fn start(secret: &Secret, more: &[&str]) -> Exporter {
    let flags = secret.flags();
    let flags: Vec<&str> = flags.iter().map(String::as_str).chain(more.iter().copied()).collect();
    Exporter::with(&flags)
}

fn path_of(number: usize) -> String {
    format!("{CALL_EVENT_PATH}?{}", CallEventQuery::new(number).encode())
}

fn der(certificate: &str) -> Vec<u8> {
    CertificateDer::from_pem_slice(certificate.as_bytes()).expect("a certificate").to_vec()
}

fn invalid(exporter: &Exporter) -> f64 {
    exporter.metrics().value("planet_exporter_invalid_requests_total", &[("listener", "call_events")])
}

#[test]
fn a_call_event_over_tls_counts_and_who_speaks_something_else_is_told() {
    let authority = Authority::new("tls");
    let secret = Secret::new(&authority.issue(NAME));
    let exporter = start(&secret, &[]);
    let client = TlsClient::trusting(&authority);
    let mut connection = client.connect(exporter.call_events).expect("a connection");
    for _ in 0..2 {
        assert_eq!(connection.get(&format!("{CALL_EVENT_PATH}?{DOCUMENTED_SAMPLE}")).status, 200);
    }
    let page = exporter.metrics();
    assert_eq!(page.sum("planet_calls_total"), 1.0);
    let expiry =
        page.value("planet_exporter_certificate_expiry_time_seconds", &[("listener", "call_events")]);
    assert!(expiry > 2_000_000_000.0, "{expiry}");

    let plain = http::get(exporter.call_events, "/call_event");
    assert_eq!((plain.status, plain.text().as_str()), (400, "this port speaks TLS; expected https://\n"));
    exporter.process.stderr.wait_for("the peer does not speak TLS and this port does");
    assert_eq!(invalid(&exporter), 1.0);
    // A load balancer that looks whether somebody listens is no fault.
    drop(Connection::open(exporter.call_events));
    assert_eq!(connection.get(&path_of(1)).status, 200);
    assert_eq!(invalid(&exporter), 1.0);

    let without = Exporter::start();
    assert!(client.connect(without.call_events).is_err());
    without.process.stderr.wait_for("the peer speaks TLS and this port does not");
}

#[test]
fn the_service_behind_is_told_that_a_request_came_over_tls() {
    let authority = Authority::new("tls-behind");
    let secret = Secret::new(&authority.issue(NAME));
    let service = Service::start();
    let exporter = start(&secret, &["--forward-to", &service.url()]);
    let mut connection = TlsClient::trusting(&authority).connect(exporter.call_events).expect("a connection");
    // A call event comes from the journal, and everything else at once.
    for path in [path_of(1), "/else".to_owned()] {
        assert_eq!(connection.get(&path).status, 200);
    }
    let requests = eventually("both requests", || Some(service.requests()).filter(|all| all.len() == 2));
    for request in requests {
        assert_eq!(request.header("x-forwarded-proto"), Some("https"), "{request:?}");
    }
}

#[test]
fn a_renewed_certificate_is_taken_under_load_without_a_failed_request() {
    let authority = Authority::new("tls-renewed");
    let mut secret = Secret::new(&authority.issue(NAME));
    let exporter = start(&secret, &[]);
    let client = TlsClient::trusting(&authority);
    let (next, is_over) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let senders: Vec<_> = [1, 1, 20]
        .into_iter()
        .map(|calls_of_connection| {
            let (client, next, is_over) = (client.clone(), Arc::clone(&next), Arc::clone(&is_over));
            let address = exporter.call_events;
            thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    let mut connection = client.connect(address).expect("a connection");
                    for _ in 0..calls_of_connection {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        assert_eq!(connection.get(&path_of(number)).status, 200);
                    }
                }
            })
        })
        .collect();
    let mut kept = client.connect(exporter.call_events).expect("a connection");
    for _ in 0..3 {
        let renewed = authority.issue(NAME);
        secret.renew(&renewed);
        eventually("the renewed certificate", || {
            let shown = client.connect(exporter.call_events).expect("a connection").peer_certificate();
            (shown == der(&renewed.0)).then_some(())
        });
    }
    is_over.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.join().expect("no failed request");
    }
    let number = next.fetch_add(1, Ordering::Relaxed);
    assert_eq!(kept.get(&path_of(number)).status, 200, "what is open stays open");
    assert_eq!(exporter.metrics().sum("planet_calls_total"), (number + 1) as f64);
    assert_eq!(invalid(&exporter), 0.0);
    assert!(exporter.process.stderr.find("cannot be used").is_none());
}

#[test]
fn a_certificate_that_cannot_be_used_leaves_the_old_one_until_there_is_a_good_one() {
    let authority = Authority::new("tls-bad");
    let good = authority.issue(NAME);
    let mut secret = Secret::new(&good);
    let exporter = start(&secret, &[]);
    let client = TlsClient::trusting(&authority);
    let (other, another) = (authority.issue(NAME), authority.issue(NAME));
    secret.renew(&(other.0, another.1.clone()));
    let line = exporter.process.stderr.wait_for("changed and cannot be used");
    assert!(line.contains("tls.crt") && !line.contains("PRIVATE"), "{line}");
    let mut connection = client.connect(exporter.call_events).expect("a connection");
    assert_eq!(connection.peer_certificate(), der(&good.0));
    assert_eq!(connection.get(&path_of(0)).status, 200);
    secret.renew(&another);
    // A hangup does not wait.
    exporter.process.signal("HUP");
    exporter.process.stderr.wait_for("read again");
    let connection = client.connect(exporter.call_events).expect("a connection");
    assert_eq!(connection.peer_certificate(), der(&another.0));
}

#[test]
fn a_client_shows_a_certificate_where_that_is_asked_for() {
    let (authority, clients, others) =
        (Authority::new("tls-server"), Authority::new("tls-clients"), Authority::new("tls-others"));
    let secret = Secret::new(&authority.issue(NAME));
    let file = clients.file("ca.pem", &clients.issuer.pem());
    let exporter = start(&secret, &["--tls-client-ca-file", file.to_str().expect("text")]);
    let get = |client: TlsClient| client.get(exporter.call_events, &path_of(0), "");
    assert!(get(TlsClient::trusting(&authority)).is_err(), "none");
    exporter.process.stderr.wait_for("no TLS with the peer: ");
    assert!(get(TlsClient::showing(&authority, others.issue("client"))).is_err(), "of another authority");
    assert_eq!(exporter.metrics().sum("planet_calls_total"), 0.0);
    let answer = get(TlsClient::showing(&authority, clients.issue("client"))).expect("an answer");
    assert_eq!(answer.status, 200);
    assert_eq!(exporter.metrics().sum("planet_calls_total"), 1.0);
}

#[test]
fn who_does_not_finish_a_handshake_takes_a_place_for_a_while_only_and_keeps_nobody_out() {
    let authority = Authority::new("tls-slow");
    let secret = Secret::new(&authority.issue(NAME));
    let client = TlsClient::trusting(&authority);
    // The beginning of a record of 512 bytes.
    const BEGUN: &[u8] = &[0x16, 3, 1, 2, 0, 1];
    let slow = |exporter: &Exporter, begun: &[u8]| {
        let mut connection = Connection::open(exporter.call_events);
        connection.send(begun);
        connection
    };
    let exporter = start(&secret, &["--header-timeout", "500ms"]);
    for begun in [BEGUN, b""] {
        slow(&exporter, begun).receive_until_closed();
    }

    let exporter = start(&secret, &["--header-timeout", "1h", "--max-connections", "4"]);
    let _slow: Vec<_> = [BEGUN, b"", BEGUN, b"", BEGUN, b""].map(|begun| slow(&exporter, begun)).into();
    assert_eq!(client.get(exporter.call_events, &path_of(0), "").expect("an answer").status, 200);
    let open = exporter.metrics().value("planet_exporter_connections", &[("listener", "call_events")]);
    assert!(open <= 4.0, "{open}");
}

#[test]
fn the_header_of_a_load_balancer_stands_before_tls() {
    let authority = Authority::new("tls-proxy");
    let secret = Secret::new(&authority.issue(NAME));
    let exporter = start(&secret, &["--proxy-protocol", "required", "--trusted-proxies", "127.0.0.1"]);
    let client = TlsClient::trusting(&authority);
    let header = b"PROXY TCP4 203.0.113.7 127.0.0.1 4711 20200\r\n";
    let mut connection = client.connect_behind(header, exporter.call_events).expect("a connection");
    assert_eq!(connection.get(&path_of(0)).status, 200);
    assert!(client.connect(exporter.call_events).is_err(), "without");
    exporter.process.stderr.wait_for("expected a header of the PROXY protocol");
}
