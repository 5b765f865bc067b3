//! The real exporter on ports of its own.

use std::net::SocketAddr;
use std::process::{Command, Stdio};

use super::free_address;
use super::http::{self, Response};
use super::process::Process;
use super::scrape::Page;

/// The path of the callback unless a test configures another.
pub const CALL_EVENT_PATH: &str = "/call_event";

/// A running exporter.
#[derive(Debug)]
pub struct Exporter {
    pub process: Process,
    /// Where call events come in.
    pub call_events: SocketAddr,
    /// The admin port.
    pub admin: SocketAddr,
}

/// The command of the exporter without arguments and with an environment of its own: what the machine that runs the
/// tests has set in OTEL_ or PLANET_ variables would change what they show.
pub fn command() -> Command {
    command_of(Command::new(env!("CARGO_BIN_EXE_planet-call-exporter")))
}

/// The exporter under a limit of the shell, such as `ulimit -n 32`.
pub fn command_under(limit: &str) -> Command {
    let mut shell = command_of(Command::new("sh"));
    shell.args(["-c", &format!("{limit} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_planet-call-exporter")]);
    shell
}

fn on_free_ports(command: &mut Command) -> &mut Command {
    command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"])
}

fn command_of(mut command: Command) -> Command {
    command.env_clear().envs(std::env::vars().filter(|(name, _)| name == "PATH"));
    command
}

impl Exporter {
    /// Starts the exporter with defaults.
    pub fn start() -> Exporter {
        Exporter::with(&[])
    }

    /// Starts the exporter with these arguments.
    pub fn with(arguments: &[&str]) -> Exporter {
        Exporter::launch(command().args(arguments))
    }

    /// Starts a command of the exporter on free ports and waits until it is ready.
    pub fn launch(command: &mut Command) -> Exporter {
        Exporter::launch_as_it_is(on_free_ports(command))
    }

    /// Starts a command of the exporter that says where to listen, and waits until it is ready.
    pub fn launch_as_it_is(command: &mut Command) -> Exporter {
        let mut exporter = Exporter::launch_listening(command);
        exporter.wait_until_ready();
        exporter
    }

    /// Starts a command of the exporter on free ports, which may not become ready.
    pub fn launch_unready(command: &mut Command) -> Exporter {
        Exporter::launch_listening(on_free_ports(command))
    }

    /// Starts a command of the exporter on addresses that are known before it says so, and waits for nothing.
    pub fn launch_at_once(command: &mut Command, stderr: Option<Stdio>) -> Exporter {
        let (call_events, admin) = (free_address(), free_address());
        command.args(["--listen", &call_events.to_string(), "--admin-listen", &admin.to_string()]);
        let name = "planet-call-exporter";
        let process = match stderr {
            Some(stderr) => Process::start_with_stderr(name, command, stderr),
            None => Process::start(name, command),
        };
        Exporter { process, call_events, admin }
    }

    /// Waits until it is ready.
    pub fn wait_until_ready(&mut self) {
        let admin = self.admin;
        self.process.eventually("its readiness", |_| {
            let answer = http::try_request(admin, "GET", "/readyz", &[]).ok()?;
            (answer.status == 200).then_some(())
        });
    }

    /// Starts a command of the exporter that says where to listen, and waits until it does.
    pub fn launch_listening(command: &mut Command) -> Exporter {
        let mut process = Process::start("planet-call-exporter", command);
        let line =
            process.eventually("its addresses in the log", |process| process.stderr.find("is listening"));
        let call_events = address_after("call_events", &line);
        let admin = address_after("admin", &line);
        Exporter { process, call_events, admin }
    }

    /// Kills it with -9.
    pub fn kill(mut self) {
        self.process.signal("KILL");
        self.process.wait();
    }

    /// Sends a call event.
    pub fn send(&self, query: &str) -> Response {
        self.get(&format!("{CALL_EVENT_PATH}?{query}"))
    }

    /// A GET on the port of call events.
    pub fn get(&self, path_and_query: &str) -> Response {
        http::get(self.call_events, path_and_query)
    }

    /// A GET on the admin port.
    pub fn admin(&self, path: &str) -> Response {
        http::get(self.admin, path)
    }

    /// The metrics at this moment.
    pub fn metrics(&self) -> Page {
        let answer = self.admin("/metrics");
        assert_eq!(answer.status, 200);
        Page::read(&answer.text())
    }

    /// The number of call events that were accepted and not refused or repeated.
    pub fn accepted(&self) -> f64 {
        self.metrics().value("planet_exporter_events_total", &[("result", "accepted")])
    }
}

/// The address in the first URL after a field's name in a log line, be it JSON or text.
fn address_after(field: &str, line: &str) -> SocketAddr {
    let url = line.split_once(field).and_then(|(_, rest)| rest.split_once("://"));
    let address = url.and_then(|(_, rest)| rest.split(['/', '"', ' ', ',']).next()).unwrap_or_default();
    address.parse().unwrap_or_else(|error| panic!("no address of {field} ({error}) in {line}"))
}
