//! A drain with a scripted peer: over a journal in memory on paused time, and over one on disk.

mod on_disk;
mod peer;
mod refusals;
mod with_a_memory;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::http::backoff::Backoff;
use crate::journal::Journal;
use crate::journal::disk::DiskJournal;
use crate::journal::memory::MemoryJournal;
use crate::journal::storage::Directory;
use crate::sinks::Ages;
use peer::{Act, Call, ScriptedPeer, record, record_at};

const SECOND: Duration = Duration::from_secs(1);

/// How the tests deliver, one by one: 16 at once.
fn one_by_one() -> Settings {
    Settings {
        name: "service",
        signal: "call_events",
        peer: "the peer",
        batch: 1,
        delay: Duration::ZERO,
        concurrency: 16,
        max_age: None,
        ages: Ages::default(),
        backoff: Backoff::new(Duration::from_millis(200), Duration::from_secs(30)),
    }
}

/// In batches, one after another.
fn in_batches(batch: usize) -> Settings {
    Settings { batch, delay: Duration::from_millis(500), concurrency: 1, ..one_by_one() }
}

/// A drain that runs.
struct World {
    journal: Journal,
    peer: Arc<ScriptedPeer>,
    status: Arc<SinkStatus>,
    quarantine: Quarantine,
    metrics: PrometheusHandle,
    stop: CancellationToken,
    task: JoinHandle<()>,
    /// How often the drain was woken up.
    polls: Arc<AtomicU64>,
    appended: u64,
    /// What was in the journal or waiting already when it began.
    taken_over: u64,
}

impl World {
    /// Over a journal in memory.
    fn in_memory(settings: Settings, peer: ScriptedPeer) -> World {
        let journal = Journal::Memory(Arc::new(MemoryJournal::new(1 << 30)));
        World::new(journal, settings, peer, MOST_WAITING)
    }

    /// Over a journal on disk, with room for `most` waiting events in memory.
    fn on_disk(directory: &Path, settings: Settings, peer: ScriptedPeer, most: usize) -> World {
        World::on_disk_with(directory, settings, peer, most, 1 << 30)
    }

    fn on_disk_with(
        directory: &Path,
        settings: Settings,
        peer: ScriptedPeer,
        most: usize,
        bytes: u64,
    ) -> World {
        let storage = Directory::new(directory).expect("a directory");
        let journal = DiskJournal::open(storage, bytes, 0, |_, _| {}).expect("a journal");
        World::new(Journal::Disk(Arc::new(journal)), settings, peer, most)
    }

    fn new(journal: Journal, settings: Settings, peer: ScriptedPeer, most: usize) -> World {
        World::watched(journal, settings, peer, most, |_| None)
    }

    /// Over a journal in memory, with a destination that may be configured wrongly.
    fn to_destination(
        settings: Settings,
        peer: ScriptedPeer,
        watch: impl FnOnce(&'static str) -> DestinationWatch,
    ) -> World {
        let journal = Journal::Memory(Arc::new(MemoryJournal::new(1 << 30)));
        World::watched(journal, settings, peer, MOST_WAITING, |signal| Some(watch(signal)))
    }

    fn watched(
        journal: Journal,
        settings: Settings,
        peer: ScriptedPeer,
        most: usize,
        watch: impl FnOnce(&'static str) -> Option<DestinationWatch>,
    ) -> World {
        let (peer, quarantine, stop) = (Arc::new(peer), Quarantine::in_memory(), CancellationToken::new());
        let reader = journal.reader(settings.name).expect("a reader");
        let waiting = Waiting::open(&journal, &reader, settings.name, most).expect("a waiting journal");
        let recorder = PrometheusBuilder::new().build_recorder();
        let drain = metrics::with_local_recorder(&recorder, || {
            let signal = settings.signal;
            let drain = Drain::new(Arc::clone(&peer), settings, reader, waiting, quarantine.clone());
            drain.with_destination(watch(signal))
        });
        let (status, polls) = (drain.status(), Arc::new(AtomicU64::new(0)));
        let taken_over = journal.readers()[0].backlog + status.backlog().waiting;
        let run = counted(drain.run(stop.clone()), Arc::clone(&polls));
        let (metrics, task) = (recorder.handle(), tokio::spawn(run));
        World { journal, peer, status, quarantine, metrics, stop, task, polls, appended: 0, taken_over }
    }

    fn append(&mut self, calls: impl IntoIterator<Item = (u64, Option<u64>)>) {
        let records: Vec<Bytes> = calls.into_iter().map(|(number, caller)| record(number, caller)).collect();
        self.appended += records.len() as u64;
        match &self.journal {
            Journal::Memory(journal) => records.into_iter().for_each(|record| journal.append(record)),
            Journal::Disk(journal) => {
                for records in records.chunks(1_000) {
                    journal.append(records).expect("appended");
                }
            }
        }
    }

    /// A counter of the sink.
    fn counter(&self, name: &str, label: &str) -> u64 {
        let rendered = self.metrics.render();
        let lines = rendered.lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
    }

    fn delivered(&self) -> u64 {
        self.counter("planet_exporter_delivered_events", "")
    }

    fn dropped(&self, cause: &str) -> u64 {
        self.counter("planet_exporter_dropped_events", &format!("cause=\"{cause}\""))
    }

    /// What is in the journal and not finished, and what waits.
    fn backlog(&self) -> u64 {
        self.journal.readers()[0].backlog + self.status.backlog().waiting
    }

    fn backlog_dropped(&self) -> u64 {
        self.journal.readers()[0].dropped + self.status.backlog().dropped
    }

    /// At a quiet moment every event is in one place.
    async fn adds_up(&self) {
        let expected = self.taken_over + self.appended;
        let sum = || {
            let dropped: u64 = Cause::ALL.map(|cause| self.dropped(cause.as_str())).iter().sum();
            self.delivered() + dropped + self.quarantine.len() + self.backlog_dropped() + self.backlog()
        };
        let deadline = Instant::now() + Duration::from_secs(5);
        while sum() != expected {
            assert!(
                Instant::now() < deadline,
                "{} instead of {expected}: {} delivered, {:?} waiting, {:?}\n{}",
                sum(),
                self.delivered(),
                self.status.backlog(),
                self.journal.readers(),
                self.metrics.render()
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until something holds, for so long; answers how long it took.
    async fn until(&self, longest: Duration, what: &str, holds: impl Fn() -> bool) -> Duration {
        let begin = Instant::now();
        while !holds() {
            assert!(
                begin.elapsed() < longest,
                "{what} within {longest:?}: {} delivered, {:?}, {:?}",
                self.delivered(),
                self.status.backlog(),
                self.journal.readers()
            );
            assert!(!self.task.is_finished(), "the drain runs");
            sleep(Duration::from_millis(5)).await;
        }
        begin.elapsed()
    }

    /// Stops it, and waits until it has ended.
    async fn stop(self) -> (Arc<ScriptedPeer>, Duration) {
        let begin = Instant::now();
        self.stop.cancel();
        self.task.await.expect("no panic");
        (self.peer, begin.elapsed())
    }

    /// Ends it as a crash would, without saving.
    async fn crash(self) -> Arc<ScriptedPeer> {
        self.task.abort();
        let _ = self.task.await;
        self.peer
    }
}

/// Counts how often a future is polled, and panics if that is as often as only one is that spins.
async fn counted(future: impl Future<Output = ()>, polls: Arc<AtomicU64>) {
    let mut future = pin!(future);
    let (mut at, mut here) = (Instant::now(), 0);
    std::future::poll_fn(|context| {
        polls.fetch_add(1, Ordering::Relaxed);
        let now = Instant::now();
        here = if now > at + Duration::from_millis(1) { 0 } else { here + 1 };
        if here == 0 {
            at = now;
        }
        assert!(here < 1_000_000, "the drain spins");
        match future.as_mut().poll(context) {
            Poll::Ready(()) => Poll::Ready(()),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
}

/// Asserts that the events of each caller were taken in their order, each once; answers how many.
fn in_order(taken: &[Call]) -> usize {
    let mut last: BTreeMap<u64, u64> = BTreeMap::new();
    let mut numbers: Vec<u64> = taken.iter().map(|call| call.number).collect();
    for call in taken {
        let Some(caller) = call.caller else { continue };
        let before = last.insert(caller, call.number);
        assert!(before < Some(call.number), "caller {caller}: {before:?} before {}", call.number);
    }
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), taken.len(), "each is taken once");
    taken.len()
}
