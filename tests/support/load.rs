//! Calls that go out from several clients at once, each on a connection of its own, and what became of each.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::call::CallEventQuery;
use super::exporter::CALL_EVENT_PATH;
use super::{eventually, http};

/// Clients that send at once.
pub const CLIENTS: usize = 8;

/// What each client waits from one call to the next: 200 calls a second for all.
const PACE: Duration = Duration::from_millis(40);

/// A session ID of its own for each number, which differ in their ends: some proxies go by that.
pub fn sid(number: usize) -> String {
    format!("6364e8b3-bdac-436e-9631-{number:012x}")
}

/// The query of the call of this number.
pub fn query(number: usize) -> CallEventQuery {
    CallEventQuery::new(number).with("sid", &sid(number))
}

/// Sends calls of these numbers, from several clients at once, as fast as they are answered.
pub fn send(address: SocketAddr, numbers: Range<usize>) -> Sent {
    let (next, end) = (Arc::new(AtomicUsize::new(numbers.start)), numbers.end);
    let client = || {
        let next = Arc::clone(&next);
        thread::spawn(move || {
            let mut sent = Sent::default();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= end {
                    return sent;
                }
                sent.send(address, number);
            }
        })
    };
    Sent::all((0..CLIENTS).map(|_| client()).collect())
}

/// What became of calls.
#[derive(Debug, Default)]
pub struct Sent {
    /// The sids that were answered 200.
    pub acknowledged: BTreeSet<String>,
    /// What came instead of 200.
    pub failed: Vec<String>,
}

impl Sent {
    /// Sends a call on a connection of its own.
    fn send(&mut self, address: SocketAddr, number: usize) {
        let target = format!("{CALL_EVENT_PATH}?{}", query(number).encode());
        match http::try_request(address, "GET", &target, &[]) {
            Ok(answer) if answer.status == 200 => {
                self.acknowledged.insert(sid(number));
            }
            Ok(answer) => self.failed.push(format!("{} {}", answer.status, sid(number))),
            Err(error) => self.failed.push(format!("{error} {}", sid(number))),
        }
    }

    fn all(clients: Vec<JoinHandle<Sent>>) -> Sent {
        let mut all = Sent::default();
        for client in clients {
            let sent = client.join().expect("a client");
            all.acknowledged.extend(sent.acknowledged);
            all.failed.extend(sent.failed);
        }
        all
    }

    /// Checks that every call was acknowledged.
    pub fn assert_none_failed(&self) {
        let (failed, of) = (self.failed.len(), self.failed.len() + self.acknowledged.len());
        let some = &self.failed[..failed.min(5)];
        assert_eq!(failed, 0, "of {of} calls, such as {some:?}");
    }
}

/// Calls at a steady pace, until it is ended.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Sent>>,
}

impl Load {
    /// Starts to send.
    pub fn start(address: SocketAddr) -> Load {
        let (stop, next) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let client = |client: usize| {
            let (stop, next) = (Arc::clone(&stop), Arc::clone(&next));
            thread::spawn(move || {
                let mut sent = Sent::default();
                let mut due = Instant::now() + PACE * client as u32 / CLIENTS as u32;
                while !stop.load(Ordering::Relaxed) {
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    sent.send(address, next.fetch_add(1, Ordering::Relaxed));
                    due = Instant::now().max(due + PACE);
                }
                sent
            })
        };
        let clients = (0..CLIENTS).map(client).collect();
        Load { stop, sent: next, clients }
    }

    /// Waits until this many more calls have been sent.
    pub fn wait_for(&self, calls: usize) {
        let until = self.sent.load(Ordering::Relaxed) + calls;
        eventually("calls", || (self.sent.load(Ordering::Relaxed) >= until).then_some(()));
    }

    /// Ends it.
    pub fn end(self) -> Sent {
        self.stop.store(true, Ordering::Relaxed);
        Sent::all(self.clients)
    }
}
