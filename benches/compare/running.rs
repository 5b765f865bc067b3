//! A peer that runs.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::peers::{CALLS, METRICS, Peer, Series};
use super::support::{Result, get, process, sum};

/// For how long it may start.
const START: Duration = Duration::from_secs(20);
/// How often it is looked whether it has got on.
const LOOK: Duration = Duration::from_millis(100);

pub(crate) struct Running<'a> {
    peer: &'a Peer,
    processes: Vec<Child>,
}

impl Running<'_> {
    /// Starts it, and waits until it answers.
    pub(crate) fn start<'a>(peer: &'a Peer, directory: &Path) -> Result<Running<'a>> {
        if is_open(CALLS) || is_open(METRICS) {
            return Err(format!("something else listens on {CALLS} or {METRICS}").into());
        }
        std::fs::create_dir_all(directory)?;
        let mut running = Running { peer, processes: Vec::new() };
        for command in &mut (peer.commands)(directory) {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            running.processes.push(command.spawn()?);
        }
        let is_ready = || is_open(CALLS) && (peer.calls.is_none() || get(METRICS, "/metrics", "").is_ok());
        let deadline = Instant::now() + START;
        while !is_ready() {
            if Instant::now() > deadline {
                return Err("it did not start".into());
            }
            std::thread::sleep(LOOK);
        }
        Ok(running)
    }

    /// How many calls its page shows; none if it does not count.
    pub(crate) fn counted(&self) -> Result<f64> {
        self.shown(self.peer.calls)
    }

    /// How many calls its page shows a duration of.
    pub(crate) fn durations(&self) -> Result<f64> {
        self.shown(self.peer.durations)
    }

    fn shown(&self, series: Option<Series>) -> Result<f64> {
        let Some((metric, label)) = series else { return Ok(0.0) };
        Ok(sum(&String::from_utf8(get(METRICS, "/metrics", "")?)?, metric, label))
    }

    /// Waits until it shows so many calls, or does not get on for longer than it may take, and answers how many it shows.
    pub(crate) fn counted_at_last(&self, calls: f64) -> Result<f64> {
        let (mut counted, mut since) = (self.counted()?, Instant::now());
        while self.peer.calls.is_some() && counted < calls && since.elapsed() < self.peer.shown_after {
            std::thread::sleep(LOOK);
            let now = self.counted()?;
            if now > counted {
                (counted, since) = (now, Instant::now());
            }
        }
        Ok(counted)
    }

    /// The time of a processor that it has taken.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        self.family()?.into_iter().map(process::processor_time).sum()
    }

    /// Resident memory of all its processes, in KiB.
    pub(crate) fn resident_kib(&self) -> Result<u64> {
        self.family()?.into_iter().map(|id| process::status_kib(id, "VmRSS:")).sum()
    }

    fn family(&self) -> Result<Vec<u32>> {
        let families = self.processes.iter().map(|process| process::family(process.id()));
        Ok(families.collect::<Result<Vec<_>>>()?.concat())
    }
}

impl Drop for Running<'_> {
    /// Kills it, as a crash would, with all its processes.
    fn drop(&mut self) {
        for id in self.family().unwrap_or_default() {
            if let Some(id) = i32::try_from(id).ok().and_then(Pid::from_raw) {
                // It may have ended by itself.
                let _ = kill_process(id, Signal::KILL);
            }
        }
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
        // Grandchildren are waited for by their sockets.
        let deadline = Instant::now() + START;
        while (is_open(CALLS) || is_open(METRICS)) && Instant::now() < deadline {
            std::thread::sleep(LOOK);
        }
    }
}

fn is_open(address: &str) -> bool {
    TcpStream::connect(address).is_ok()
}
