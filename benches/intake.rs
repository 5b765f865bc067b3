//! What intake costs: requests a second and latency of the exporter on one core, without and with a state directory, as a
//! ratio to a bare hyper server that answers 200 to everything, in the same run; what passing a request on adds to that
//! server's own answer; and memory and wake-ups of an exporter that is idle.
//!
//! Beside the ratio of calls a second stands that of the time of a processor that each takes for a call, which says the same on a
//! machine that does something else as well.
//!
//! `cargo bench --bench intake`, with `wrk` and `taskset` installed. The server has the first core, wrk the second.
//! Calls are like the documented sample, each with a session ID of its own, over keep-alive connections.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod support;

use std::process::Command;
use std::time::Duration;

use support::{Result, Server, bare};

const ROUNDS: usize = 3;
const SECONDS_A_ROUND: u32 = 5;
/// How long an idle exporter is looked at.
const IDLE: Duration = Duration::from_secs(20);
const CONNECTIONS: &[u32] = &[1, 16, 64, 256];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|argument| argument == bare::ARGUMENT) {
        return bare::serve();
    }
    compare()
}

fn compare() -> Result<()> {
    let script = std::env::temp_dir().join(format!("call-events-{}.lua", std::process::id()));
    std::fs::write(&script, WRK_SCRIPT)?;
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
                let mut load = load(&server.url, &script, *connections, round)?;
                load.time = (server.processor_time()? - before).as_secs_f64() * 1e6 / load.requests;
                loads.push(load);
            }
        }
        let (yardstick, time_yardstick) =
            (median(&mut loads[0]).requests_a_second, median_time(&mut loads[0]));
        for (name, loads) in ["bare", "memory", "state dir"].into_iter().zip(&mut loads) {
            let time = median_time(loads);
            let Load { requests_a_second, p50, p99, .. } = median(loads);
            let (ratio, time_ratio) = (*requests_a_second / yardstick, time_yardstick / time);
            println!(
                "{connections:>5} {name:<9} {requests_a_second:>10.0} {p50:>9} {p99:>9} {ratio:>7.3} {time:>6.1} us \
                 {time_ratio:>7.3}"
            );
        }
    }
    compare_passing_on(&bare, &script)?;
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
    std::fs::remove_file(script)?;
    Ok(())
}

/// What the proxy adds to the answer of the server behind, which shares its core.
fn compare_passing_on(bare: &Server, script: &std::path::Path) -> Result<()> {
    let base = bare.url.trim_end_matches("/call_event");
    let proxy = Server::start(exporter_command().args(["--forward-to", base]))?;
    let through = proxy.url.replace("/call_event", "/notify");
    println!("a request that is passed on; median time directly, through the proxy, and what the proxy adds");
    for connections in [1, 16] {
        let mut medians: [Vec<f64>; 2] = Default::default();
        for round in 1..=ROUNDS {
            for (url, medians) in [&bare.url, &through].into_iter().zip(&mut medians) {
                medians.push(microseconds(&load(url, script, connections, round)?.p50)?);
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

fn median(loads: &mut [Load]) -> &Load {
    loads.sort_by(|one, other| one.requests_a_second.total_cmp(&other.requests_a_second));
    &loads[loads.len() / 2]
}

fn median_time(loads: &mut [Load]) -> f64 {
    loads.sort_by(|one, other| one.time.total_cmp(&other.time));
    loads[loads.len() / 2].time
}

/// How often the threads of an idle server are woken up.
fn wakeups_a_second(server: &Server) -> Result<f64> {
    let before = server.sleeps()?;
    std::thread::sleep(IDLE);
    Ok((server.sleeps()? - before) as f64 / IDLE.as_secs_f64())
}

/// One session ID a request, told apart by connection, round and a counter; the rest is the documented sample.
const WRK_SCRIPT: &str = r#"
local round = tonumber(os.getenv("ROUND")) + 16 * tonumber(os.getenv("CONNECTIONS"))
local count = 0
local before = wrk.path .. "?sid="
local after = "&type=V&from_user_id=9286&from_service_id=caller-service-id&to_user_id=2809" ..
  "&to_service_id=callee-service-id&setup_time=1582527400&start_time=1582527404&end_time=1582527434&duration=30" ..
  "&terminate=16&srcip=1.2.3.4&dstip=1.2.3.5&stid=voip.next&rel_code=1&rel_code_str=NORMAL&billing_sec=25" ..
  "&rc_idc=KR&disconnect_reason=1001&releaser_type=1&app_svr_data=appSvrData"
function request()
  count = count + 1
  local sid = string.format("6364e8b3-%04x-436e-9631-%012x", round, count)
  return "GET " .. before .. sid .. after .. " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
end
"#;

struct Load {
    requests: f64,
    requests_a_second: f64,
    p50: String,
    p99: String,
    /// Microseconds of a processor for each.
    time: f64,
}

fn load(url: &str, script: &std::path::Path, connections: u32, round: usize) -> Result<Load> {
    let output = Command::new("taskset")
        .args([
            "-c",
            "1",
            "wrk",
            "-t1",
            &format!("-c{connections}"),
            &format!("-d{SECONDS_A_ROUND}s"),
            "--latency",
        ])
        .arg("-s")
        .arg(script)
        .arg(url)
        .env("ROUND", round.to_string())
        .env("CONNECTIONS", connections.to_string())
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        return Err(format!("wrk saw failures:\n{text}").into());
    }
    let after = |name: &str| {
        text.lines().find_map(|line| line.trim().strip_prefix(name)).map(|value| value.trim().to_owned())
    };
    let missing = || format!("wrk printed no figures:\n{text}{}", String::from_utf8_lossy(&output.stderr));
    let requests = text.lines().find_map(|line| line.split_once(" requests in ")).ok_or_else(missing)?.0;
    let requests = requests.trim().parse()?;
    let requests_a_second = after("Requests/sec:").ok_or_else(missing)?.parse()?;
    let p50 = after("50%").ok_or_else(missing)?;
    let p99 = after("99%").ok_or_else(missing)?;
    Ok(Load { requests, requests_a_second, p50, p99, time: 0.0 })
}

/// The sum of all series of a metric.
fn sum(server: &Server, metric: &str) -> Result<f64> {
    let page = String::from_utf8(server.metrics("")?)?;
    let of_metric = page.lines().filter(|line| line.split(['{', ' ']).next() == Some(metric));
    let values = of_metric.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    Ok(values.sum())
}
