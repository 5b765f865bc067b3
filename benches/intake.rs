//! What intake costs: requests a second and latency of the exporter on one core, without and with a state directory, as a
//! ratio to a bare hyper server that answers 200 to everything, in the same run; what passing a request on adds to that
//! server's own answer; and memory and wake-ups of an exporter that is idle.
//!
//! Beside the ratio of calls a second stands that of the time of a processor that each takes for a call, which says the
//! same on a machine that does something else as well.
//!
//! `cargo bench --bench intake`, with `wrk` and `taskset` installed. The server has the first core, wrk the second.
//! Calls are like the documented sample, each with a session ID of its own, over keep-alive connections.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod support;

use std::process::Command;
use std::time::Duration;

use support::wrk::{Load, Wrk};
use support::{Result, Server, bare, median};

const ROUNDS: usize = 3;
const SECONDS_A_ROUND: u32 = 5;
/// How long an idle exporter is looked at.
const IDLE: Duration = Duration::from_secs(20);
const CONNECTIONS: &[u32] = &[1, 16, 64, 256];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|argument| argument == bare::ARGUMENT) {
        return bare::serve(bare::ANY_PORT);
    }
    compare()
}

fn compare() -> Result<()> {
    let wrk = Wrk::new()?;
    let program = std::env::current_exe()?;
    let bare = Server::start(Command::new("taskset").args(["-c", "0"]).arg(program).arg(bare::ARGUMENT))?;
    let exporter = Server::start(&mut exporter_command())?;
    let state_directory = std::env::temp_dir().join(format!("call-state-{}", std::process::id()));
    let durable = Server::start(exporter_command().arg("--state-dir").arg(&state_directory))?;
    println!(
        "resident memory, idle: {} KiB, with a state directory {} KiB",
        exporter.resident_kib()?,
        durable.resident_kib()?
    );
    println!(
        "wake-ups a second, idle: {:.1}, with a state directory {:.1}",
        wakeups_a_second(&exporter)?,
        wakeups_a_second(&durable)?
    );
    println!(
        "one core; calls a second, p50, p99 and processor time a call; the ratios are to the bare server"
    );
    println!(
        "{:>5} {:<9} {:>10} {:>9} {:>9} {:>7} {:>9} {:>7}",
        "conns", "server", "calls/s", "p50", "p99", "ratio", "time", "ratio"
    );
    for connections in CONNECTIONS {
        let mut loads: [Vec<Load>; 3] = Default::default();
        for round in 1..=ROUNDS {
            for (server, loads) in [&bare, &exporter, &durable].into_iter().zip(&mut loads) {
                let before = server.processor_time()?;
                let mut load = wrk.load(&server.url, *connections, SECONDS_A_ROUND, round)?;
                load.time = (server.processor_time()? - before).as_secs_f64() * 1e6 / load.requests;
                loads.push(load);
            }
        }
        let (yardstick, time_yardstick) = (
            median(&mut loads[0], |load| load.requests_a_second).requests_a_second,
            median_time(&mut loads[0]),
        );
        for (name, loads) in ["bare", "memory", "state dir"].into_iter().zip(&mut loads) {
            let time = median_time(loads);
            let Load { requests_a_second, p50, p99, .. } = median(loads, |load| load.requests_a_second);
            let (ratio, time_ratio) = (*requests_a_second / yardstick, time_yardstick / time);
            println!(
                "{connections:>5} {name:<9} {requests_a_second:>10.0} {p50:>9} {p99:>9} {ratio:>7.3} {time:>6.1} us \
                 {time_ratio:>7.3}"
            );
        }
    }
    compare_passing_on(&bare, &wrk)?;
    println!(
        "resident memory, after the run: {} KiB, with a state directory {} KiB",
        exporter.resident_kib()?,
        durable.resident_kib()?
    );
    println!(
        "calls in the totals: {:.0} and {:.0}",
        sum(&exporter, "planet_calls_total")?,
        sum(&durable, "planet_calls_total")?
    );
    let calls = sum(&durable, "planet_calls_total")?;
    let syncs = sum(&durable, "planet_exporter_journal_sync_duration_seconds_count")?;
    let bytes = sum(&durable, "planet_exporter_journal_size_bytes")?;
    println!("mean calls a sync: {:.1}; bytes on disk a call: {:.0}", calls / syncs, bytes / calls);
    drop(durable);
    std::fs::remove_dir_all(state_directory)?;
    Ok(())
}

/// What the proxy adds to the answer of the server behind, which shares its core.
fn compare_passing_on(bare: &Server, wrk: &Wrk) -> Result<()> {
    let base = bare.url.trim_end_matches("/call_event");
    let proxy = Server::start(exporter_command().args(["--forward-to", base]))?;
    let through = proxy.url.replace("/call_event", "/notify");
    println!("a request that is passed on; median time directly, through the proxy, and what the proxy adds");
    for connections in [1, 16] {
        let mut medians: [Vec<f64>; 2] = Default::default();
        for round in 1..=ROUNDS {
            for (url, medians) in [&bare.url, &through].into_iter().zip(&mut medians) {
                medians.push(microseconds(&wrk.load(url, connections, SECONDS_A_ROUND, round)?.p50)?);
            }
        }
        let [direct, through] = medians.map(|mut medians| {
            medians.sort_by(f64::total_cmp);
            medians[medians.len() / 2]
        });
        println!("{connections:>5} {direct:>9.0} us {through:>9.0} us {:>9.0} us", through - direct);
    }
    Ok(())
}

/// A time as wrk prints it.
fn microseconds(text: &str) -> Result<f64> {
    let digits = text.trim_end_matches(|character: char| character.is_alphabetic());
    let factor = match &text[digits.len()..] {
        "us" => 1.0,
        "ms" => 1_000.0,
        "s" => 1_000_000.0,
        unit => return Err(format!("wrk printed the unit {unit}").into()),
    };
    Ok(digits.parse::<f64>()? * factor)
}

/// The exporter on the first core, on free ports.
fn exporter_command() -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", "0", env!("CARGO_BIN_EXE_planet-call-exporter")]);
    command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-format", "json"]);
    command.args(["--seen-max", "1000000", "--state-max-bytes", "100GiB"]);
    command
}

fn median_time(loads: &mut [Load]) -> f64 {
    median(loads, |load| load.time).time
}

/// How often the threads of an idle server are woken up.
fn wakeups_a_second(server: &Server) -> Result<f64> {
    let before = server.sleeps()?;
    std::thread::sleep(IDLE);
    Ok((server.sleeps()? - before) as f64 / IDLE.as_secs_f64())
}

/// The sum of all series of a metric.
fn sum(server: &Server, metric: &str) -> Result<f64> {
    Ok(support::sum(&String::from_utf8(server.metrics("")?)?, metric, ""))
}
