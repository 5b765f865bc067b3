//! The programs that are compared, how they are started, and what they call what they count.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::support::{Result, bare};

/// Where each of them takes calls, and shows what it has counted.
pub(crate) const CALLS: &str = "127.0.0.1:20211";
pub(crate) const METRICS: &str = "127.0.0.1:20212";

/// A metric, and a label that a series of it needs to be counted.
pub(crate) type Series = (&'static str, &'static str);

/// A program that answers call events, or several that do so together.
pub(crate) struct Peer {
    pub(crate) name: &'static str,
    /// They start in this order, in a directory that outlives them.
    pub(crate) commands: fn(&Path) -> Vec<Command>,
    /// How many calls there were; `None` if it does not count.
    pub(crate) calls: Option<Series>,
    /// Of how many calls there is a duration.
    pub(crate) durations: Option<Series>,
    /// After how long at the latest it shows what it has acknowledged.
    pub(crate) shown_after: Duration,
    /// Files and directories without which it does not run, apart from libraries of the system.
    pub(crate) installed: Vec<PathBuf>,
}

/// Soon, for what counts before it answers, or right after.
const SOON: Duration = Duration::from_secs(2);
/// Telegraf shows every five seconds what it has collected every five seconds.
const AFTER_TWO_INTERVALS: Duration = Duration::from_secs(12);

const OWN_CALLS: Option<Series> = Some(("planet_calls_total", ""));
const OWN_DURATIONS: Option<Series> = Some(("planet_call_duration_seconds_count", ""));
const COUNTER: Option<Series> = Some(("calls_total", ""));
const HISTOGRAM: Option<Series> = Some(("call_duration_seconds_count", ""));

/// All of them, the bare server first.
pub(crate) fn all() -> Result<Vec<Peer>> {
    let debian = Path::new("/usr");
    Ok(vec![
        Peer {
            name: "bare hyper, which counts nothing",
            commands: |_| vec![command(std::env::current_exe().unwrap_or_default(), &[bare::ARGUMENT])],
            calls: None,
            durations: None,
            shown_after: SOON,
            installed: Vec::new(),
        },
        Peer {
            name: "planet-call-exporter, in memory",
            commands: |_| vec![exporter()],
            calls: OWN_CALLS,
            durations: OWN_DURATIONS,
            shown_after: SOON,
            installed: vec![exporter_file()],
        },
        Peer {
            name: "planet-call-exporter, with a state directory",
            commands: |directory| {
                let mut command = exporter();
                command.arg("--state-dir").arg(directory.join("state"));
                vec![command]
            },
            calls: OWN_CALLS,
            durations: OWN_DURATIONS,
            shown_after: SOON,
            installed: vec![exporter_file()],
        },
        Peer {
            name: "nginx's access log and mtail",
            commands: |directory| {
                let mut nginx = command("nginx", &["-c"]);
                nginx.arg(configuration("nginx-mtail/nginx.conf")).arg("-p").arg(directory);
                let mut mtail = command("mtail", &["--address", "127.0.0.1", "--port", "20212", "--progs"]);
                mtail.arg(configuration("nginx-mtail/calls.mtail"));
                mtail.arg("--logs").arg(directory.join("calls.log"));
                vec![nginx, mtail]
            },
            calls: COUNTER,
            durations: HISTOGRAM,
            shown_after: SOON,
            installed: vec![debian.join("sbin/nginx"), debian.join("bin/mtail")],
        },
        Peer {
            name: "aiohttp and prometheus_client",
            commands: |_| {
                let mut command = command("python3", &[]);
                command.arg(configuration("aiohttp/server.py")).env("PYTHONPATH", tool("aiohttp"));
                vec![command]
            },
            calls: COUNTER,
            durations: HISTOGRAM,
            shown_after: SOON,
            installed: [python()?, vec![tool("aiohttp")]].concat(),
        },
        Peer {
            name: "Node's http and prom-client",
            commands: |_| {
                let mut command = command("node", &[]);
                command.arg(configuration("node/server.js"));
                command.env("NODE_PATH", tool("node/node_modules"));
                vec![command]
            },
            calls: COUNTER,
            durations: HISTOGRAM,
            shown_after: SOON,
            installed: vec![on_path("node"), tool("node/node_modules")],
        },
        Peer {
            name: "Telegraf",
            commands: |_| {
                let mut command = command(tool("telegraf/telegraf"), &["--quiet", "--config"]);
                command.arg(configuration("telegraf/telegraf.conf"));
                vec![command]
            },
            calls: Some(("call_duration_bucket", "le=\"+Inf\"")),
            durations: Some(("call_duration_bucket", "le=\"+Inf\"")),
            shown_after: AFTER_TWO_INTERVALS,
            installed: vec![tool("telegraf/telegraf")],
        },
        Peer {
            name: "Bento",
            commands: |_| {
                let mut command = command(tool("bento/bento"), &["-c"]);
                command.arg(configuration("bento/bento.yaml"));
                vec![command]
            },
            calls: COUNTER,
            durations: HISTOGRAM,
            shown_after: SOON,
            installed: vec![tool("bento/bento")],
        },
    ])
}

/// A program on the first core.
fn command(program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(program).args(arguments);
    command
}

fn exporter() -> Command {
    let arguments = ["--listen", CALLS, "--admin-listen", METRICS, "--log-format", "json"];
    command(exporter_file(), &arguments)
}

/// The exporter that was built with this benchmark, unless the environment names another.
fn exporter_file() -> PathBuf {
    let other = std::env::var_os("PLANET_BENCH_EXPORTER").map(PathBuf::from);
    other.unwrap_or_else(|| env!("CARGO_BIN_EXE_planet-call-exporter").into())
}

fn configuration(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/compare").join(file)
}

/// What `run` installs, since Debian does not have it.
fn tool(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/compare").join(name)
}

fn on_path(program: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut files = std::env::split_paths(&path).map(|directory| directory.join(program));
    files.find(|file| file.exists()).unwrap_or_else(|| program.into())
}

/// The interpreter and its standard library.
fn python() -> Result<Vec<PathBuf>> {
    let program = "import os, sys, sysconfig; print(os.path.realpath(sys.executable)); print(sysconfig.get_path('stdlib'))";
    let output = Command::new("python3").args(["-c", program]).output()?;
    Ok(String::from_utf8(output.stdout)?.lines().map(PathBuf::from).collect())
}
