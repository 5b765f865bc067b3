//! What each configuration costs: the time of a processor that a call takes under full load, the part of a processor that
//! is taken where calls come at their own time, and how long answers take then; with a disk whose syncs take 5 ms, too.
//!
//! `cargo bench --bench configurations`, with `wrk`, `taskset` and `strace` installed. The exporter has the first core,
//! and all else the second: the simulator, the service behind, and what takes spans and metrics and discards them. Parts
//! of names as arguments, behind `--`, choose configurations; times are of the first that is measured.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod support;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::rate::{self, Latency};
use support::wrk::Wrk;
use support::{Result, Server, bare, median};

const ROUNDS: usize = 3;
const SECONDS: u32 = 5;
const CONNECTIONS: u32 = 64;
/// Calls a second where they come at their own time, and for how long.
const RATES: [u32; 3] = [5, 50, 200];
const RATE_SECONDS: u32 = 10;
/// How long what was acknowledged may take to be delivered.
const DELIVERED: Duration = Duration::from_secs(60);
/// What strace has each sync take, in microseconds.
const SLOW_SYNC: u32 = 5_000;

/// How an exporter runs: whether it has a state directory and pushes over OTLP, and how it forwards.
struct Configuration {
    name: &'static str,
    has_state: bool,
    is_pushed: bool,
    forward_mode: Option<&'static str>,
}

const IN_MEMORY: Configuration =
    Configuration { name: "in memory", has_state: false, is_pushed: false, forward_mode: None };
const STORED: Configuration = Configuration { name: "state directory", has_state: true, ..IN_MEMORY };

const CONFIGURATIONS: [Configuration; 6] = [
    IN_MEMORY,
    Configuration { name: "in memory, OTLP", is_pushed: true, ..IN_MEMORY },
    Configuration { name: "in memory, inline", forward_mode: Some("inline"), ..IN_MEMORY },
    STORED,
    Configuration { name: "state directory, OTLP", is_pushed: true, ..STORED },
    Configuration { name: "state directory, stored", forward_mode: Some("stored"), ..STORED },
];

fn main() -> Result<()> {
    let program = std::env::current_exe()?;
    if std::env::args().nth(1).is_some_and(|argument| argument == bare::ARGUMENT) {
        return bare::serve(bare::ANY_PORT);
    }
    let wanted: Vec<_> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|text| name.contains(text.as_str()));
    let wrk = Wrk::new()?;
    let other = || Server::start(Command::new("taskset").args(["-c", "1"]).arg(&program).arg(bare::ARGUMENT));
    // An empty answer is a sound one for OTLP too.
    let (behind, collector) = (other()?, other()?);
    let scratch = tempfile::tempdir()?;
    println!(
        "| configuration | time of a call | times of memory | millicores at 5, 50 and 200 calls a second | p50 and p99 at 200 | memory |"
    );
    println!("|---|---|---|---|---|---|");
    let mut memory = None;
    for configuration in CONFIGURATIONS.iter().filter(|configuration| is_wanted(configuration.name)) {
        let mut rounds = Vec::new();
        for round in 1..=ROUNDS {
            let directory = scratch.path().join(format!("{}-{round}", configuration.name));
            let mut command = Command::new("taskset");
            command.args(["-c", "0", env!("CARGO_BIN_EXE_planet-call-exporter")]);
            configure(&mut command, configuration, &directory, &behind, &collector);
            rounds.push(measure(&Server::start(&mut command)?, &wrk, round)?);
        }
        let time = median(&mut rounds, |round| round.time).time;
        let times = time / *memory.get_or_insert(time);
        let millicores: Vec<_> = (0..RATES.len())
            .map(|rate| {
                format!("{:.1}", median(&mut rounds, |round| round.millicores[rate]).millicores[rate])
            })
            .collect();
        let p50 = median(&mut rounds, |round| round.latency.p50).latency.p50;
        let p99 = median(&mut rounds, |round| round.latency.p99).latency.p99;
        let resident = median(&mut rounds, |round| round.resident).resident;
        println!(
            "| {} | {time:.1} us | {times:.1} | {} | {p50:.2} ms, {p99:.2} ms | {resident:.0} MiB |",
            configuration.name,
            millicores.join(", ")
        );
    }
    on_slow_disk(scratch.path())
}

fn configure(
    command: &mut Command,
    configuration: &Configuration,
    directory: &Path,
    behind: &Server,
    collector: &Server,
) {
    let base = |server: &Server| server.url.trim_end_matches("/call_event").to_owned();
    command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-format", "json"]);
    if configuration.has_state {
        command.arg("--state-dir").arg(directory);
    }
    if let Some(mode) = configuration.forward_mode {
        command.args(["--forward-mode", mode, "--forward-to", &base(behind)]);
    }
    if configuration.is_pushed {
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", base(collector));
        command.env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf");
    }
}

/// What one exporter took.
struct Round {
    /// Microseconds of a processor, until all is delivered.
    time: f64,
    /// At each of the rates.
    millicores: [f64; RATES.len()],
    /// At the highest of them.
    latency: Latency,
    /// MiB.
    resident: f64,
}

fn measure(exporter: &Server, wrk: &Wrk, round: usize) -> Result<Round> {
    wrk.load(&exporter.url, CONNECTIONS, 1, 2 * round)?;
    until_delivered(exporter)?;
    let mut millicores = [0.0; RATES.len()];
    let mut latency = None;
    for (rate, millicores) in RATES.into_iter().zip(&mut millicores) {
        let started = Instant::now();
        let (answers, taken) = exporter.time_taken(|| rate::send(&exporter.url, rate, RATE_SECONDS))?;
        latency = Some(answers);
        *millicores = taken.as_secs_f64() * 1e3 / started.elapsed().as_secs_f64();
    }
    until_delivered(exporter)?;
    let (load, taken) = exporter.time_taken(|| {
        let load = wrk.load(&exporter.url, CONNECTIONS, SECONDS, 2 * round + 1)?;
        until_delivered(exporter)?;
        Ok(load)
    })?;
    let time = taken.as_secs_f64() * 1e6 / load.requests;
    let resident = exporter.resident_kib()? as f64 / 1024.0;
    Ok(Round { time, millicores, latency: latency.ok_or("no rates")?, resident })
}

/// Waits until no sink has anything left to deliver.
fn until_delivered(exporter: &Server) -> Result<()> {
    let deadline = Instant::now() + DELIVERED;
    while Instant::now() < deadline {
        let page = String::from_utf8(exporter.metrics("")?)?;
        if support::sum(&page, "planet_exporter_backlog", "") == 0.0 {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Err("something is not delivered".into())
}

/// Answers at the highest rate with a state directory on a disk of slow syncs.
fn on_slow_disk(scratch: &Path) -> Result<()> {
    if !Command::new("strace").arg("-V").stdout(Stdio::null()).status().is_ok_and(|status| status.success()) {
        println!("\nstrace is not installed, which makes syncs slow");
        return Ok(());
    }
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null", "-e", "trace=fdatasync,fsync"]);
    command.args(["-e", &format!("inject=fdatasync,fsync:delay_exit={SLOW_SYNC}")]);
    command.arg(env!("CARGO_BIN_EXE_planet-call-exporter")).arg("--state-dir").arg(scratch.join("slow"));
    command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-format", "json"]);
    let exporter = Server::start(&mut command)?;
    let [.., rate] = RATES;
    let Latency { p50, p99 } = rate::send(&exporter.url, rate, RATE_SECONDS)?;
    println!(
        "\nA disk whose syncs take {SLOW_SYNC} us more: p50 {p50:.1} ms and p99 {p99:.1} ms at {rate} calls a second."
    );
    exporter.stop()
}
