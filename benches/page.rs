//! What a scrape costs: how large the page of /metrics is, how much time of a CPU and how much memory the exporter
//! takes for it, for three sizes of service and for the most that the default of `--max-series` allows.
//!
//! `cargo bench --bench page` makes the table of docs/metrics.md. Prometheus asks for OpenMetrics with gzip; text is
//! what a person sees. The time is that of the whole process, so that it is the same on a busy machine; the exporter
//! makes a page on one thread, so a scrape lasts about as long. Memory is what is resident before the first scrape, and
//! the most after the last.

#![expect(clippy::print_stdout, reason = "a benchmark prints its figures")]

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use planet_call_exporter::callback::idc;
use planet_call_exporter::callback::reason::{DisconnectReason, FaultDomain, Releaser};

use support::{Result, Server, median, rate};

/// How much time of a CPU scrapes of one kind take together before they are enough.
const ENOUGH: Duration = Duration::from_secs(1);
/// Calls a second beside scrapes, and for how long.
const RATE: u32 = 200;
const RATE_SECONDS: u32 = 10;
const ROUNDS: usize = 5;
const OPENMETRICS: &str = "accept: application/openmetrics-text;version=1.0.0\r\n";
const OPENMETRICS_WITH_GZIP: &str =
    "accept: application/openmetrics-text;version=1.0.0\r\naccept-encoding: gzip\r\n";

fn main() -> Result<()> {
    println!(
        "| service | label sets of planet_calls_total | samples | text | OpenMetrics | with gzip | CPU time | CPU \
         time with gzip | memory | at most |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (service, idcs, calls) in [
        ("one IDC, 200 calls", "KR:1", 200),
        ("three IDCs, 20,000 calls", "KR:60,JP:30,TW:10", 20_000),
        ("ten IDCs, 100,000 calls", "KR:30,JP:20,TW:10,TH:8,ID:8,US:8,SG:6,HK:5,VN:3,DE:2", 100_000),
    ] {
        let exporter = start()?;
        simulate(&exporter, idcs, calls)?;
        print_row(service, &exporter)?;
    }
    let exporter = start()?;
    send_every_label_set(&exporter)?;
    print_row("every IDC, and every label set that fits", &exporter)?;
    print_beside_calls(&exporter)
}

fn start() -> Result<Server> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_planet-call-exporter"));
    command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--log-format", "json"]);
    Server::start(&mut command)
}

/// Sends calls with one odd call in a hundred and one abnormal call in twenty, the same in every run.
fn simulate(exporter: &Server, idcs: &str, calls: u32) -> Result<()> {
    let status = Command::new(env!("CARGO_BIN_EXE_call-simulator"))
        .args(["--target", &exporter.url, "--idcs", idcs, "--calls", &calls.to_string()])
        .args(["--rate", "0", "--seed", "1", "--odd-share", "0.01", "--abnormal-share", "0.05"])
        .stdout(Stdio::null())
        .status()?;
    if status.success() { Ok(()) } else { Err(format!("the simulator ended with {status}").into()) }
}

/// Sends calls of every IDC, media type and fault domain, answered and not, each with a release code of its own: more
/// label sets than any limit has room for.
fn send_every_label_set(exporter: &Server) -> Result<()> {
    let address = exporter.url.trim_start_matches("http://").split('/').next().ok_or("no address")?;
    let mut connection = BufReader::new(TcpStream::connect(address)?);
    connection.get_ref().set_nodelay(true)?;
    let letters = || 'A'..='Z';
    let names = letters().flat_map(|first| letters().map(move |second| format!("{first}{second}")));
    let idcs: Vec<_> = names.filter_map(|name| idc::assigned_code(&name)).collect();
    let mut sent = 0;
    for domain in FaultDomain::ALL {
        let is_of_domain = |reason: &&DisconnectReason| reason.fault_domain(Releaser::Caller) == domain;
        let code = DisconnectReason::all().find(is_of_domain).map_or(9999, |reason| reason.code);
        for (idc, media_type, times) in idcs.iter().flat_map(|idc| {
            ["A", "V", "X"].into_iter().flat_map(move |media_type| {
                let times = ["start_time=1582527404&duration=30&billing_sec=25", "duration=0&billing_sec=0"];
                times.map(|times| (idc, media_type, times))
            })
        }) {
            sent += 1;
            let query = format!(
                "sid={sent:08x}-bdac-436e-9631-0bce2498ce0c&type={media_type}&rc_idc={idc}&disconnect_reason={code}\
                 &releaser_type=2&setup_time=1582527400&{times}&end_time=1582527434&terminate=16&rel_code={sent}\
                 &rel_code_str=R{sent}&user_rel_code=U{sent}"
            );
            call(&mut connection, &query)?;
        }
    }
    Ok(())
}

/// Sends a call event and reads the answer.
fn call(connection: &mut BufReader<TcpStream>, query: &str) -> Result<()> {
    let request = format!("GET /call_event?{query} HTTP/1.1\r\nhost: localhost\r\n\r\n");
    connection.get_mut().write_all(request.as_bytes())?;
    let (mut line, mut length) = (String::new(), 0);
    connection.read_line(&mut line)?;
    if !line.starts_with("HTTP/1.1 200 ") {
        return Err(format!("{query} was answered {line}").into());
    }
    while line != "\r\n" {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse()?;
        }
        line.clear();
        connection.read_line(&mut line)?;
    }
    connection.read_exact(&mut vec![0; length])?;
    Ok(())
}

/// How long calls take to be answered while Prometheus asks for the page every second, and while it does not.
fn print_beside_calls(exporter: &Server) -> Result<()> {
    println!("\n| {RATE} calls a second | p50 | p99 |\n|---|---|---|");
    let (mut quiet, mut scraped) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        quiet.push(rate::send(&exporter.url, RATE, RATE_SECONDS)?);
        scraped.push(while_scraped(exporter, || rate::send(&exporter.url, RATE, RATE_SECONDS))?);
    }
    for (name, rounds) in [("nobody scrapes", &mut quiet), ("scraped every second", &mut scraped)] {
        let p50 = median(rounds, |latency| latency.p50).p50;
        println!("| {name} | {p50:.2} ms | {:.2} ms |", median(rounds, |latency| latency.p99).p99);
    }
    println!("\nmemory at its peak: {}", mebibytes(exporter.status_kib("VmHWM:")?));
    Ok(())
}

/// Scrapes every second until this is done.
fn while_scraped<T>(exporter: &Server, work: impl FnOnce() -> T) -> T {
    let is_done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                // What it does not get, it asks for anew, as Prometheus does.
                let _ = exporter.metrics(OPENMETRICS_WITH_GZIP);
                std::thread::sleep(Duration::from_secs(1));
            }
        });
        let result = work();
        is_done.store(true, Ordering::Relaxed);
        result
    })
}

fn print_row(service: &str, exporter: &Server) -> Result<()> {
    let memory = exporter.resident_kib()?;
    let text = String::from_utf8(exporter.metrics("")?)?;
    let samples: Vec<_> = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    let label_sets = samples.iter().filter(|line| line.starts_with("planet_calls_total{")).count();
    let (bytes, time) = scrape(exporter, OPENMETRICS)?;
    let (gzip_bytes, gzip_time) = scrape(exporter, OPENMETRICS_WITH_GZIP)?;
    let at_most = exporter.status_kib("VmHWM:")?;
    println!(
        "| {service} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        with_commas(label_sets),
        with_commas(samples.len()),
        kilobytes(text.len()),
        kilobytes(bytes),
        kilobytes(gzip_bytes),
        milliseconds(time),
        milliseconds(gzip_time),
        mebibytes(memory),
        mebibytes(at_most)
    );
    Ok(())
}

/// The bytes of a page, and the time of a CPU that the exporter takes to make and send it.
fn scrape(exporter: &Server, head: &str) -> Result<(usize, Duration)> {
    let bytes = exporter.metrics(head)?.len();
    let before = exporter.processor_time()?;
    for scrapes in 1.. {
        exporter.metrics(head)?;
        let taken = exporter.processor_time()? - before;
        if taken >= ENOUGH {
            return Ok((bytes, taken / scrapes));
        }
    }
    Err("the exporter takes no time".into())
}

fn with_commas(number: usize) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", number / 1_000, number % 1_000),
    }
}

fn kilobytes(bytes: usize) -> String {
    format!("{} kB", with_commas(bytes.div_ceil(1_000)))
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1_000.0)
}

fn mebibytes(kib: u64) -> String {
    format!("{} MiB", kib.div_ceil(1024))
}
