//! A server that a benchmark starts, and what can be seen of it.

#![allow(dead_code, reason = "each benchmark takes the part that it needs")]

pub(crate) mod bare;
pub(crate) mod process;
#[cfg(feature = "simulator")]
pub(crate) mod rate;
pub(crate) mod sample;
pub(crate) mod wrk;

use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// A server under load; it ends with this value.
pub(crate) struct Server {
    process: Child,
    /// The URL of call events.
    pub(crate) url: String,
    admin: String,
}

impl Server {
    /// Starts a server that says where it listens in a line of JSON on standard error.
    pub(crate) fn start(command: &mut Command) -> Result<Server> {
        let mut process = command.stderr(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(process.stderr.take().ok_or("no standard error")?).lines();
        let deadline = Instant::now() + Duration::from_secs(10);
        while Instant::now() < deadline {
            let line = lines.next().ok_or("the server ended")??;
            let line: serde_json::Value = serde_json::from_str(&line)?;
            if let (Some(url), Some(admin)) = (line["call_events"].as_str(), line["admin"].as_str()) {
                let (url, admin) = (url.to_owned(), admin.to_owned());
                // A full pipe would stop the server, so somebody has to go on reading.
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(Server { process, url, admin });
            }
        }
        Err("the server did not say where it listens".into())
    }

    /// Tells it to end, and waits until it has.
    pub(crate) fn stop(mut self) -> Result<()> {
        kill_process(Pid::from_child(&self.process), Signal::TERM)?;
        self.process.wait()?;
        Ok(())
    }

    /// Resident memory, in KiB.
    pub(crate) fn resident_kib(&self) -> Result<u64> {
        self.status_kib("VmRSS:")
    }

    /// A line of the process's status in /proc, in KiB.
    pub(crate) fn status_kib(&self, name: &str) -> Result<u64> {
        process::status_kib(self.process.id(), name)
    }

    /// The time of a processor that it has taken, whatever else the machine does.
    pub(crate) fn processor_time(&self) -> Result<Duration> {
        process::processor_time(self.process.id())
    }

    /// The time of a processor that it takes while something is done, to the nanosecond.
    pub(crate) fn time_taken<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
        process::time_taken(self.process.id(), work)
    }

    /// How often its threads have gone to sleep, and so been woken up.
    pub(crate) fn sleeps(&self) -> Result<u64> {
        let mut sleeps = 0;
        for thread in process::threads(self.process.id())? {
            let status = std::fs::read_to_string(thread.join("status"))?;
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            sleeps += line.ok_or("no such line")?.trim().parse::<u64>()?;
        }
        Ok(sleeps)
    }

    /// The body of /metrics, with these lines in the head of the request.
    pub(crate) fn metrics(&self, head: &str) -> Result<Vec<u8>> {
        get(self.admin.trim_start_matches("http://"), "/metrics", head)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, which is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The body of an answer of 200, with these lines in the head of the request.
pub(crate) fn get(address: &str, target: &str, head: &str) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    write!(stream, "GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{head}\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or("no end of the head")?;
    if !answer.starts_with(b"HTTP/1.1 200 ") && !answer.starts_with(b"HTTP/1.0 200 ") {
        return Err(String::from_utf8_lossy(&answer[..end]).into());
    }
    Ok(answer.split_off(end + 4))
}

/// The sum of all series of a metric on a page that have this among their labels.
pub(crate) fn sum(page: &str, metric: &str, label: &str) -> f64 {
    let of_metric = page.lines().filter(|line| line.split(['{', ' ']).next() == Some(metric));
    let of_label = of_metric.filter(|line| line.contains(label));
    let values = of_label.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok());
    // The sum of nothing at all is -0.
    values.fold(0.0, |sum, value| sum + value)
}

/// The item in the middle.
pub(crate) fn median<T>(items: &mut [T], value: impl Fn(&T) -> f64) -> &T {
    items.sort_by(|one, other| value(one).total_cmp(&value(other)));
    &items[items.len() / 2]
}
