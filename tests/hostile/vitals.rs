//! What the exporter takes of the machine, and whether it lives.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::wire::Wire;

/// What a process has open, and its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vitals {
    pub descriptors: usize,
    pub threads: usize,
    pub resident_kib: usize,
    pub peak_kib: usize,
}

impl Vitals {
    /// Of the process with this ID; none if it has ended.
    pub fn of(process: u32) -> Option<Vitals> {
        let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Some(Vitals {
            descriptors: fs::read_dir(format!("/proc/{process}/fd")).ok()?.count(),
            threads: number("Threads:")?,
            resident_kib: number("VmRSS:")?,
            peak_kib: number("VmHWM:")?,
        })
    }
}

/// How much memory docs/operations.md promises with the defaults, in KiB.
///
/// # Panics
///
/// If the sentence that says it is not there any more.
pub fn promised_kib(is_stored: bool, has_service: bool) -> usize {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).expect("docs");
    let sentence = page.split_once("With the defaults and a state directory that is").map(|(_, rest)| rest);
    let sentence =
        sentence.and_then(|rest| rest.split_once('.')).expect("the promise in docs/operations.md").0;
    let numbers = sentence.split(" MiB").filter_map(|part| part.rsplit(' ').next()?.parse().ok());
    let [alone, with_service, more_without_directory]: [usize; 3] =
        numbers.collect::<Vec<_>>().try_into().expect("three sizes in docs/operations.md");
    let directory = if is_stored { 0 } else { more_without_directory };
    1024 * (directory + if has_service { with_service } else { alone })
}

/// Asks `/livez` ten times a second, as a kubelet does: each time over a new connection, for at most a second.
#[derive(Debug)]
pub struct Kubelet {
    is_over: Arc<AtomicBool>,
    thread: JoinHandle<Asked>,
}

/// What became of it.
#[derive(Debug, Default, Clone)]
pub struct Asked {
    pub times: usize,
    pub unanswered: usize,
    /// The first reason.
    pub why: Option<String>,
}

impl Kubelet {
    pub fn at(admin: SocketAddr, wire: Wire) -> Kubelet {
        let is_over = Arc::new(AtomicBool::new(false));
        let end = Arc::clone(&is_over);
        let thread = thread::spawn(move || {
            let mut asked = Asked::default();
            while !end.load(Ordering::Relaxed) {
                let next = Instant::now() + Duration::from_millis(100);
                asked.times += 1;
                if let Err(why) = is_alive(admin, &wire) {
                    asked.unanswered += 1;
                    asked.why.get_or_insert(why);
                }
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
            asked
        });
        Kubelet { is_over, thread }
    }

    pub fn over(self) -> Asked {
        self.is_over.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

/// Asks once.
///
/// # Errors
///
/// What came instead of 200 within a second.
pub fn is_alive(admin: SocketAddr, wire: &Wire) -> Result<(), String> {
    match wire.get(admin, "/livez", Duration::from_secs(1)) {
        Ok(answer) if answer.status == 200 => Ok(()),
        Ok(answer) => Err(format!("it answered {}", answer.status)),
        Err(error) => Err(error.to_string()),
    }
}
