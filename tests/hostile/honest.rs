//! Honest clients: each call has a session ID of its own, goes out at a steady pace, and is sent again if its
//! connection ends without an answer, as every proxy does.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::wire::{Line, Wire};
use crate::support::exporter::CALL_EVENT_PATH;
use crate::support::load;

/// The data centre of honest calls. No attack uses it, so that honest calls can be told apart in the totals.
pub const IDC: &str = "KR";

/// Clients with one connection for all their calls, and clients with one for each.
const STEADY: usize = 4;
const FRESH: usize = 2;

/// From one call of a client to its next.
const PACE: Duration = Duration::from_millis(20);

/// A call that has no answer by then is lost.
const PATIENCE: Duration = Duration::from_secs(10);

/// What an honest client takes for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// 200 and nothing else.
    Ok,
    /// Whatever a bad service behind has to say; the call has to be counted all the same.
    Anything,
}

/// Honest clients of one exporter.
pub struct Honest {
    address: SocketAddr,
    wire: Wire,
    /// What stands before the parameters of a call.
    prefix: String,
    expected: Expected,
    next: AtomicUsize,
}

/// What honest clients saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// How long each call took that was answered as expected.
    pub times: Vec<Duration>,
    /// What came instead.
    pub lost: Vec<String>,
    /// How often a call was sent again.
    pub again: usize,
}

impl Seen {
    /// What 99 of 100 calls did not exceed.
    pub fn p99(&self) -> Option<Duration> {
        let mut times = self.times.clone();
        times.sort_unstable();
        times.get((times.len() * 99).div_ceil(100).checked_sub(1)?).copied()
    }

    fn add(&mut self, other: Seen) {
        self.times.extend(other.times);
        self.lost.extend(other.lost);
        self.again += other.again;
    }
}

impl Honest {
    /// Clients of an exporter, with the secret of its calls if it has one.
    pub fn new(address: SocketAddr, wire: Wire, secret: Option<&str>, expected: Expected) -> Honest {
        let secret = secret.map(|secret| format!("secret={secret}&"));
        let prefix = format!("{CALL_EVENT_PATH}?{}", secret.unwrap_or_default());
        Honest { address, wire, prefix, expected, next: AtomicUsize::new(0) }
    }

    /// Sends calls for so long.
    pub fn measure(&self, length: Duration) -> Seen {
        let (end, clients) = (Instant::now() + length, STEADY + FRESH);
        let client = |client: usize| {
            let (mut seen, mut connection) = (Seen::default(), None);
            let mut due = Instant::now() + PACE * client as u32 / clients as u32;
            while due < end {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                self.call(&mut connection, &mut seen);
                if client >= STEADY {
                    connection = None;
                }
                due = Instant::now().max(due + PACE);
            }
            seen
        };
        self.all(clients, client)
    }

    /// Sends calls from so many clients, each with its own connection and from one call to its next after this pause,
    /// until it is over.
    pub fn send(&self, clients: usize, pace: Duration, is_over: &AtomicBool) -> Seen {
        self.all(clients, |_| {
            let (mut seen, mut connection) = (Seen::default(), None);
            let mut due = Instant::now();
            while !is_over.load(Ordering::Relaxed) {
                thread::sleep(due.saturating_duration_since(Instant::now()));
                self.call(&mut connection, &mut seen);
                due = Instant::now().max(due + pace);
            }
            seen
        })
    }

    /// How many calls were sent until now.
    pub fn sent(&self) -> usize {
        self.next.load(Ordering::Relaxed)
    }

    fn all(&self, clients: usize, client: impl Fn(usize) -> Seen + Sync) -> Seen {
        let mut all = Seen::default();
        thread::scope(|scope| {
            let client = &client;
            let threads: Vec<_> = (0..clients).map(|number| scope.spawn(move || client(number))).collect();
            threads.into_iter().for_each(|thread| all.add(thread.join().expect("no panic")));
        });
        all
    }

    fn call(&self, connection: &mut Option<Line>, seen: &mut Seen) {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let query = load::query(number).with("rc_idc", IDC).encode();
        let request = format!("GET {}{query} HTTP/1.1\r\nhost: honest\r\n\r\n", self.prefix);
        let started = Instant::now();
        // A service behind may break every connection, so it is not asked forever.
        for attempt in 1.. {
            let outcome = self.attempt(connection, &request);
            match (outcome, self.expected) {
                (Ok(200), _) | (Ok(_), Expected::Anything) => break,
                (Ok(status), Expected::Ok) => return seen.lost.push(format!("{status} to call {number}")),
                (Err(_), Expected::Anything) if attempt == 3 => break,
                (Err(error), _) if is_closed(&error) && started.elapsed() < PATIENCE => seen.again += 1,
                (Err(error), _) => return seen.lost.push(format!("{error} at call {number}")),
            }
        }
        seen.times.push(started.elapsed());
    }

    /// One request, over the connection that is there or else over a new one.
    fn attempt(&self, connection: &mut Option<Line>, request: &str) -> io::Result<u16> {
        let mut open = match connection.take() {
            Some(open) => open,
            None => self.wire.open(self.address, PATIENCE)?,
        };
        open.try_send(request)?;
        let answer = open.try_receive()?;
        if answer.header("connection") != Some("close") {
            *connection = Some(open);
        }
        Ok(answer.status)
    }
}

/// Whether the other end closed the connection, rather than let one wait.
fn is_closed(error: &io::Error) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
}
