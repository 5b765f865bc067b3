//! What a peer keeps, and what it costs.

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::peers::{CALLS, Peer};
use super::running::Running;
use super::support::rate::{self, Latency};
use super::support::wrk::Wrk;
use super::support::{Result, get, sample};

/// Calls that a peer has to count.
const SAMPLES: usize = 100;
/// Before anything is measured, compilers that work while a program runs get some calls to work on.
const WARMING_UP: u32 = 2;
const SECONDS: u32 = 5;
const CONNECTIONS: u32 = 64;
/// Calls a second where calls come at their own time, and for how long.
const RATE: u32 = 200;
const RATE_SECONDS: u32 = 10;

/// What a peer that counts does with acknowledged calls.
pub(crate) struct Kept {
    pub(crate) has_durations: bool,
    pub(crate) counts_repeats: bool,
    /// How many calls it shows after `kill -9` and a start, and how many it had acknowledged.
    pub(crate) after_a_kill: (f64, usize),
}

/// Sends sample calls, one a second time, and more right before the peer is killed. What does not count the samples is
/// an error, apart from the bare server.
pub(crate) fn kept(peer: &Peer, scratch: &Path) -> Result<Option<Kept>> {
    let directory = empty_directory(peer, scratch)?;
    let running = Running::start(peer, &directory)?;
    send(0..SAMPLES)?;
    if peer.calls.is_none() {
        return Ok(None);
    }
    let counted = running.counted_at_last(SAMPLES as f64)?;
    if counted != SAMPLES as f64 {
        return Err(format!("it counted {counted} of {SAMPLES} calls").into());
    }
    let has_durations = running.durations()? == counted;
    send(0..1)?;
    // It waits in vain where a repeat is known.
    let counts_repeats = running.counted_at_last(counted + 1.0)? > counted;
    send(SAMPLES..2 * SAMPLES)?;
    drop(running);
    let running = Running::start(peer, &directory)?;
    let acknowledged = 2 * SAMPLES + usize::from(counts_repeats);
    let after_a_kill = (running.counted_at_last(acknowledged as f64)?, acknowledged);
    Ok(Some(Kept { has_durations, counts_repeats, after_a_kill }))
}

/// What a peer takes in one round.
pub(crate) struct Cost {
    pub(crate) calls_a_second: f64,
    /// Microseconds of a processor for each of as many calls as fit, until all are counted.
    pub(crate) time: f64,
    /// Calls that were acknowledged in this time and that it does not show.
    pub(crate) lost: f64,
    /// Thousandths of a processor at the rate.
    pub(crate) millicores: f64,
    /// Milliseconds at the rate.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// MiB after all this.
    pub(crate) memory: f64,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cost { calls_a_second, time, lost, millicores, p50, p99, memory } = self;
        write!(
            f,
            "{calls_a_second:.0} calls/s, {time:.1} us a call, {lost:.0} lost; {millicores:.1} millicores, p50 {p50:.3} ms, p99 \
             {p99:.3} ms; {memory:.1} MiB"
        )
    }
}

/// Measures a peer once, from its start.
pub(crate) fn cost(peer: &Peer, scratch: &Path, wrk: &Wrk, round: usize) -> Result<Cost> {
    let running = Running::start(peer, &empty_directory(peer, scratch)?)?;
    let url = format!("http://{CALLS}/call_event");
    let warm = wrk.load(&url, CONNECTIONS, WARMING_UP, 2 * round)?;
    running.counted_at_last(warm.requests + f64::from(CONNECTIONS))?;
    let (counted_before, before) = (running.counted()?, running.processor_time()?);
    let load = wrk.load(&url, CONNECTIONS, SECONDS, 2 * round + 1)?;
    // wrk does not say how many answers it did not wait for at the end.
    let counted = running.counted_at_last(counted_before + load.requests)? - counted_before;
    let time = (running.processor_time()? - before).as_secs_f64() * 1e6 / load.requests;
    let lost = if peer.calls.is_some() { (load.requests - counted).max(0.0) } else { 0.0 };
    let (started, before) = (Instant::now(), running.processor_time()?);
    let Latency { p50, p99 } = rate::send(&url, RATE, RATE_SECONDS)?;
    let millicores =
        (running.processor_time()? - before).as_secs_f64() * 1e3 / started.elapsed().as_secs_f64();
    let memory = running.resident_kib()? as f64 / 1024.0;
    Ok(Cost { calls_a_second: load.requests_a_second, time, lost, millicores, p50, p99, memory })
}

/// Sends calls with these numbers, one by one. Each has to be answered 200.
fn send(numbers: std::ops::Range<usize>) -> Result<()> {
    for number in numbers {
        get(CALLS, &format!("/call_event?{}", sample::query(number, sample::PLAIN)), "")?;
    }
    Ok(())
}

/// A directory of its own, in which there is nothing.
fn empty_directory(peer: &Peer, scratch: &Path) -> Result<PathBuf> {
    let directory = scratch.join(peer.name.replace(|character: char| !character.is_alphanumeric(), "-"));
    if directory.exists() {
        std::fs::remove_dir_all(&directory)?;
    }
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// Bytes of a file or directory, without tests, packages of others and what is compiled from what is there as well.
pub(crate) fn installed_size(path: &Path) -> Result<u64> {
    let metadata = std::fs::symlink_metadata(path)?;
    if !metadata.is_dir() {
        return Ok(metadata.len());
    }
    let mut size = 0;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        if !["test", "tests", "site-packages", "__pycache__"].iter().any(|name| entry.file_name() == *name) {
            size += installed_size(&entry.path())?;
        }
    }
    Ok(size)
}
