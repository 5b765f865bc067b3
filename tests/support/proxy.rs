//! Real proxies in front of two exporters, each with the very file of examples/proxies.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use super::process::Process;
use super::{Scratch, http, listen_address};

/// What the examples have for addresses: of the proxy and of the two exporters.
const EXAMPLE_PORT: &str = "8080";
const EXAMPLE_EXPORTERS: [(&str, &str); 2] = [("192.0.2.11", "20200"), ("192.0.2.12", "20200")];

/// A proxy that has an example, and what its example can and cannot do.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// Its file in examples/proxies.
    pub example: &'static str,
    /// How it is started.
    start: fn(&Path, &Path, u16) -> Command,
    /// Whether it asks exporters for their readiness.
    pub checks_health: bool,
    /// Whether it tries again what it has sent already.
    pub retries_what_was_sent: bool,
    /// What its example has for the time after which it closes idle connections, if no exporter may close them before.
    pub closes_first: Option<&'static str>,
}

pub const NGINX: Kind = Kind {
    name: "nginx",
    example: "nginx.conf",
    start: nginx,
    checks_health: false,
    retries_what_was_sent: true,
    // A call that meets a closed connection of each exporter is not tried a third time.
    closes_first: Some("keepalive_timeout 60s"),
};

pub const HAPROXY: Kind = Kind {
    name: "haproxy",
    example: "haproxy.cfg",
    start: haproxy,
    checks_health: true,
    retries_what_was_sent: true,
    closes_first: None,
};

pub const CADDY: Kind = Kind {
    name: "caddy",
    example: "Caddyfile",
    start: caddy,
    checks_health: true,
    retries_what_was_sent: true,
    closes_first: None,
};

pub const TRAEFIK: Kind = Kind {
    name: "traefik",
    example: "traefik.yaml",
    start: traefik,
    checks_health: true,
    retries_what_was_sent: false,
    closes_first: None,
};

pub const ENVOY: Kind = Kind {
    name: "envoy",
    example: "envoy.yaml",
    start: envoy,
    checks_health: true,
    retries_what_was_sent: true,
    closes_first: None,
};

pub const APACHE: Kind = Kind {
    name: "apache",
    example: "apache.conf",
    start: apache,
    checks_health: true,
    retries_what_was_sent: false,
    closes_first: None,
};

/// A running proxy.
#[derive(Debug)]
pub struct Proxy {
    process: Process,
    /// Where it takes calls.
    pub address: SocketAddr,
    // It goes when the process has ended.
    _scratch: Scratch,
}

impl Drop for Proxy {
    /// Ends it with the processes that it has started, which would outlive it if it were killed.
    fn drop(&mut self) {
        if self.process.ended().is_some() {
            return;
        }
        let deadline = Instant::now() + END;
        self.process.signal("TERM");
        while self.process.ended().is_none() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Time to end. What has not ended by then is killed.
const END: Duration = Duration::from_secs(10);

impl Kind {
    /// Starts it in front of these exporters and waits until calls can pass.
    pub fn start(self, exporters: [SocketAddr; 2]) -> Proxy {
        self.start_changed(exporters, str::to_owned)
    }

    /// The same with a change of its example.
    pub fn start_changed(self, exporters: [SocketAddr; 2], change: impl Fn(&str) -> String) -> Proxy {
        let scratch = Scratch::new(self.name);
        let address = listen_address();
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/proxies").join(self.example);
        let configuration = scratch.0.join(self.example);
        let text = std::fs::read_to_string(example).expect("an example");
        let text = with_addresses(&change(&text), address, exporters);
        std::fs::write(&configuration, text).expect("a configuration");
        let mut command = (self.start)(&configuration, &scratch.0, address.port());
        Proxy::start(self.name, &mut command, address, scratch)
    }
}

impl Proxy {
    /// Varnish in front of one exporter, as it is without a configuration.
    pub fn varnish(exporter: SocketAddr) -> Proxy {
        let scratch = Scratch::new("varnish");
        let address = listen_address();
        let mut command = Command::new("varnishd");
        command.args(["-F", "-a", &address.to_string(), "-b", &exporter.to_string(), "-n"]).arg(&scratch.0);
        Proxy::start("varnish", &mut command, address, scratch)
    }

    fn start(name: &str, command: &mut Command, address: SocketAddr, scratch: Scratch) -> Proxy {
        let mut proxy = Proxy { process: Process::start(name, command), address, _scratch: scratch };
        // A check of `/` passes as soon as the proxy has found an exporter.
        proxy.process.eventually("a way to the exporters", |_| {
            let answer = http::try_request(address, "GET", "/", &[]).ok()?;
            (answer.status == 200).then_some(())
        });
        proxy
    }
}

/// An example with these addresses for its own, each of which must be there.
fn with_addresses(example: &str, proxy: SocketAddr, exporters: [SocketAddr; 2]) -> String {
    assert!(example.contains(EXAMPLE_PORT), "no port {EXAMPLE_PORT} in {example}");
    let mut text = example.replace(EXAMPLE_PORT, &proxy.port().to_string());
    for ((ip, port), exporter) in EXAMPLE_EXPORTERS.into_iter().zip(exporters) {
        // Envoy has a field for each.
        for (between, behind) in [(":", ""), (", port_value: ", " ")] {
            text = text.replace(
                &format!("{ip}{between}{port}{behind}"),
                &format!("{}{between}{}{behind}", exporter.ip(), exporter.port()),
            );
        }
        assert!(!text.contains(ip) && text.contains(&exporter.port().to_string()), "{ip} in {text}");
    }
    text
}

/// A program that tests/run has put into .tools.
fn tool(path: &str) -> Command {
    Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools").join(path))
}

/// Writes a file around the example, for proxies whose example is a part of what they read.
fn wrapper(scratch: &Path, text: &str) -> PathBuf {
    let path = scratch.join("whole.conf");
    std::fs::write(&path, text).expect("a configuration");
    path
}

fn nginx(example: &Path, scratch: &Path, _port: u16) -> Command {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {}/{name};\n", scratch.display()))
        .concat();
    let whole = wrapper(
        scratch,
        &format!(
            "daemon off;\nworker_processes 2;\npid {scratch}/pid;\nerror_log stderr;\nevents {{}}\n\
             http {{\n{temporary}include {example};\n}}\n",
            scratch = scratch.display(),
            example = example.display(),
        ),
    );
    let mut command = Command::new("nginx");
    command.args(["-e", "stderr", "-c"]).arg(whole).arg("-p").arg(scratch);
    command
}

fn haproxy(example: &Path, _scratch: &Path, _port: u16) -> Command {
    let mut command = Command::new("haproxy");
    command.arg("-f").arg(example);
    command
}

fn caddy(example: &Path, scratch: &Path, _port: u16) -> Command {
    // Its admin port would be the same for all that run at once.
    let mut command = tool("caddy/caddy");
    command.env("HOME", scratch).env("CADDY_ADMIN", format!("unix/{}/admin.sock", scratch.display()));
    command.args(["run", "--adapter", "caddyfile", "--config"]).arg(example);
    command
}

fn traefik(example: &Path, _scratch: &Path, port: u16) -> Command {
    let mut command = tool("traefik/traefik");
    command.arg(format!("--entryPoints.calls.address=127.0.0.1:{port}"));
    command.arg(format!("--providers.file.filename={}", example.display()));
    command
}

fn envoy(example: &Path, _scratch: &Path, _port: u16) -> Command {
    let mut command = tool("envoy/envoy/_bin/envoy");
    command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warn", "-c"]).arg(example);
    command
}

fn apache(example: &Path, scratch: &Path, _port: u16) -> Command {
    let modules: String = [
        "mpm_event",
        "authz_core",
        "proxy",
        "proxy_http",
        "proxy_balancer",
        "lbmethod_byrequests",
        "slotmem_shm",
        "proxy_hcheck",
        "rewrite",
    ]
    .map(|name| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n"))
    .concat();
    let whole = wrapper(
        scratch,
        &format!(
            "{modules}ServerRoot {scratch}\nServerName localhost\nDefaultRuntimeDir {scratch}\nPidFile pid\n\
             User www-data\nGroup www-data\nErrorLog /dev/stderr\nInclude {example}\n",
            scratch = scratch.display(),
            example = example.display(),
        ),
    );
    let mut command = Command::new("apache2");
    command.arg("-DFOREGROUND").arg("-f").arg(whole);
    command
}
