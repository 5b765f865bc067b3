//! A real OpenTelemetry collector, rotel, which passes what it receives on to a backend of the test.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;

use super::Scratch;
use super::backend::Backend;
use super::process::Process;

/// A running collector.
#[derive(Debug)]
pub struct Rotel {
    _process: Process,
    // Dropped after the process that writes into it.
    _scratch: Scratch,
}

/// Where a collector listens.
#[derive(Debug, Clone, Copy)]
pub struct Addresses {
    pub grpc: SocketAddr,
    pub http: SocketAddr,
}

impl Addresses {
    /// Addresses that are free. The collector cannot be given port 0, so another program could still take them first;
    /// then the collector ends and the test says so.
    pub fn free() -> Addresses {
        let [grpc, http] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        Addresses {
            grpc: grpc.local_addr().expect("an address"),
            http: http.local_addr().expect("an address"),
        }
    }
}

impl Rotel {
    /// Starts a collector at these addresses which passes everything on to `backend`, and waits until it listens.
    pub fn start(addresses: Addresses, backend: &Backend) -> Rotel {
        let scratch = Scratch::new("rotel");
        let mut process = Process::start(
            &format!("rotel-agent ({})", program().display()),
            Command::new(program())
                .arg("start")
                .arg(format!("--otlp-grpc-endpoint={}", addresses.grpc))
                .arg(format!("--otlp-http-endpoint={}", addresses.http))
                .arg("--exporter=otlp")
                .arg(format!("--otlp-exporter-endpoint=http://{}", backend.address()))
                .arg("--otlp-exporter-protocol=http")
                .arg(format!("--pid-file={}", scratch.0.join("pid").display()))
                .arg(format!("--log-file={}", scratch.0.join("log").display())),
        );
        for address in [addresses.grpc, addresses.http] {
            process.eventually(&format!("{address} being open"), |_| {
                std::net::TcpStream::connect(address).ok().map(drop)
            });
        }
        Rotel { _process: process, _scratch: scratch }
    }
}

/// The collector's program, which `tests/run` installs.
fn program() -> PathBuf {
    let installed = concat!(env!("CARGO_MANIFEST_DIR"), "/.tools/rotel/rotel/rotel-agent");
    std::env::var_os("PLANET_TEST_ROTEL").map_or_else(|| PathBuf::from(installed), PathBuf::from)
}
