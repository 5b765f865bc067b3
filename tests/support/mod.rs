//! What the end-to-end tests share: the real programs around the exporter, and a view of what they say.
//!
//! Nothing here is a stand-in for the exporter: every test starts the real binary on ports of its own.

#![allow(dead_code, unreachable_pub, reason = "each file of tests takes the part that it needs")]
#![allow(clippy::expect_used, reason = "a helper that cannot do its work fails the test")]

pub mod authority;
pub mod backend;
pub mod call;
pub mod charts;
pub mod cluster;
pub mod dashboards;
pub mod exporter;
pub mod http;
pub mod load;
pub mod otel_collector;
pub mod otlp_receiver;
pub mod process;
pub mod prometheus;
pub mod proxy;
pub mod relay;
pub mod rotel;
pub mod scrape;
pub mod service;
#[cfg(feature = "simulator")]
pub mod simulator;
pub mod small_disk;
pub mod state;
pub mod tls_client;
pub mod tls_front;
pub mod victoriametrics;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long a test waits for what must happen. Far more than it takes, so that a busy machine fails no test.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer; panics with what was waited for when patience is over.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain for this: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// An address that is free now and is asked for by name later, again and again.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// An address for a listener that goes and comes back. Its port is below those that the system gives to connections, which
/// might take it meanwhile, and of a block that only this process takes from.
pub fn listen_address() -> SocketAddr {
    const BLOCK: usize = 20;
    static TAKEN: AtomicUsize = AtomicUsize::new(0);
    let block = 10_000 + std::process::id() as usize % 1_000 * BLOCK;
    loop {
        let port = block + TAKEN.fetch_add(1, Ordering::Relaxed);
        assert!(port < block + BLOCK, "no free port from {block} on");
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port as u16)) {
            return listener.local_addr().expect("an address");
        }
    }
}

/// An empty directory for what a program writes; it goes when it is dropped.
#[derive(Debug)]
pub struct Scratch(pub PathBuf);

impl Scratch {
    pub fn new(name: &str) -> Scratch {
        // Tests share a process under cargo test, and have one each under cargo-nextest.
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("a directory for what a program writes");
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left over does not harm.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
