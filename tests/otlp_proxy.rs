//! The promise: a collector beyond a proxy is reached as other exporters of OTLP reach it, and nothing else goes through it.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use support::authority::Authority;
use support::call::CallEventQuery;
use support::eventually;
use support::exporter::{Exporter, command};
use support::otlp_receiver::OtlpReceiver;
use support::service::Service;

/// A proxy that makes tunnels, all to one server, and keeps what it was asked.
struct TunnelProxy {
    address: SocketAddr,
    heads: Arc<Mutex<Vec<Vec<String>>>>,
}

impl TunnelProxy {
    fn to(server: SocketAddr) -> TunnelProxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let heads = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&heads);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let mut reader = BufReader::new(client.try_clone().expect("a handle"));
                let lines = reader.by_ref().lines().map_while(Result::ok).take_while(|line| !line.is_empty());
                kept.lock().expect("no panic").push(lines.collect());
                let server = TcpStream::connect(server).expect("the server");
                (&client).write_all(b"HTTP/1.1 200 OK\r\n\r\n").expect("written");
                let (from, to) = (server.try_clone().expect("a handle"), client);
                thread::spawn(move || carry(reader, server));
                thread::spawn(move || carry(from, to));
            }
        });
        TunnelProxy { address, heads }
    }

    fn heads(&self) -> Vec<Vec<String>> {
        self.heads.lock().expect("no panic").clone()
    }
}

fn carry(mut from: impl Read, mut to: TcpStream) {
    // However it ends, the other end is to know.
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Both);
}

fn pushing_to(endpoint: &str, protocol: &str) -> Command {
    let mut command = command();
    command
        .env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", endpoint)
        .env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", protocol)
        .env("OTEL_BSP_SCHEDULE_DELAY", "50");
    command
}

fn send_a_call(exporter: &Exporter) {
    assert_eq!(exporter.send(&CallEventQuery::new(1).encode()).status, 200);
}

#[test]
fn a_collector_beyond_a_proxy_is_reached_through_a_tunnel() {
    let authority = Authority::new("proxy");
    let receiver = OtlpReceiver::start_with_tls(authority.server_at("collector.example"));
    let proxy = TunnelProxy::to(receiver.address());
    let trusted = authority.file("ca.pem", &authority.issuer.pem());
    let exporter = Exporter::launch(
        // A name that only the proxy knows.
        pushing_to("https://collector.example:4317", "grpc")
            .env("OTEL_EXPORTER_OTLP_CERTIFICATE", trusted)
            .env("https_proxy", format!("http://user:secret@{}", proxy.address)),
    );
    send_a_call(&exporter);
    eventually("the span", || (receiver.taken().len() == 1).then_some(()));
    let head = &proxy.heads()[0];
    assert_eq!(head[0], "CONNECT collector.example:4317 HTTP/1.1");
    assert!(head.iter().any(|line| line == "Proxy-Authorization: Basic dXNlcjpzZWNyZXQ="), "{head:?}");
    let log = exporter.process.stderr.all().join("\n");
    assert!(log.contains(&format!("through http://{}/", proxy.address)), "{log}");
    assert!(!log.contains("secret") && !log.contains("dXNl"), "{log}");
}

#[test]
fn grpc_without_tls_goes_through_a_tunnel_as_well() {
    let receiver = OtlpReceiver::start([]);
    let proxy = TunnelProxy::to(receiver.address());
    let exporter = Exporter::launch(
        pushing_to("http://collector.example", "grpc").env("HTTP_PROXY", proxy.address.to_string()),
    );
    send_a_call(&exporter);
    eventually("the span", || (receiver.taken().len() == 1).then_some(()));
    assert_eq!(proxy.heads()[0][0], "CONNECT collector.example:80 HTTP/1.1");
}

#[test]
fn a_proxy_passes_on_plain_http_itself() {
    let proxy = Service::start();
    let exporter = Exporter::launch(
        pushing_to("http://collector.example:4318/v1/traces", "http/protobuf")
            .env("HTTP_PROXY", format!("http://user:secret@{}", proxy.url().trim_start_matches("http://"))),
    );
    send_a_call(&exporter);
    let request = eventually("the request", || proxy.requests().into_iter().next());
    assert_eq!(request.target, "http://collector.example:4318/v1/traces");
    assert_eq!(request.header("host"), Some("collector.example:4318"));
    assert_eq!(request.header("proxy-authorization"), Some("Basic dXNlcjpzZWNyZXQ="));
}

#[test]
fn this_machine_and_the_service_behind_are_reached_directly() {
    let (receiver, service) = (OtlpReceiver::start([]), Service::start());
    // Nobody listens there.
    let nowhere = format!("http://{}", support::free_address());
    let exporter = Exporter::launch(
        pushing_to(&receiver.endpoint(), "grpc")
            .envs(["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"].map(|name| (name, &nowhere)))
            .args(["--forward-to", &service.url()]),
    );
    send_a_call(&exporter);
    eventually("the span", || (receiver.taken().len() == 1).then_some(()));
    eventually("the callback", || (service.requests().len() == 1).then_some(()));
}
