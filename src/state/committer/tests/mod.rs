mod undurable;

use std::path::Path;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::SystemTime;

use metrics_exporter_prometheus::PrometheusBuilder;

use super::health::LONGEST_WAIT;
use super::*;
use crate::callback::{Fingerprint, Identified, Kind, Record};
use crate::intake::acceptance::{self, Acceptance, Store};
use crate::journal::disk::DiskJournal;
use crate::journal::simulated_disk::SimulatedDisk;
use crate::ledger::checkpoint::{Checkpoint, Marks};
use crate::ledger::{Ledger, Limits};
use crate::state::checkpoints::Checkpoints;
use crate::state::fold::Recalled;
use crate::state::quarantine::Quarantine;
use crate::state::readers::Readers;
use crate::state::readiness::Readiness;
use crate::state::undurable::PATIENCE;
use crate::state::window::Window;

/// What became of an event, to be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Accepted,
    Duplicate,
    /// To be passed on, which is not done.
    Undurable,
    Answered(u16),
    Uncounted,
}

impl From<acceptance::Outcome> for Outcome {
    fn from(outcome: acceptance::Outcome) -> Outcome {
        match outcome {
            acceptance::Outcome::Accepted => Outcome::Accepted,
            acceptance::Outcome::Duplicate => Outcome::Duplicate,
            acceptance::Outcome::Undurable(_) => Outcome::Undurable,
            acceptance::Outcome::Answered(status) => Outcome::Answered(status.as_u16()),
            acceptance::Outcome::Uncounted(_) => Outcome::Uncounted,
        }
    }
}

/// What a test opens on a simulated disk.
struct Opened {
    acceptance: Acceptance,
    committer: Arc<CommitterHandle>,
    readiness: Readiness,
    known: SharedKnown,
    fold: Arc<Fold>,
    /// The answers in the records that the journal had.
    answers: Vec<Option<u16>>,
}

impl Opened {
    fn calls(&self) -> u64 {
        self.fold.ledger().calls()
    }

    fn position(&self) -> u64 {
        self.fold.position()
    }

    async fn accept(&self, sid: u32) -> Result<Outcome, NotStored> {
        accept_with(&self.acceptance, sid, b"").await.map(Outcome::from)
    }
}

fn open(disk: &SimulatedDisk) -> Opened {
    open_with(disk, None)
}

fn open_with(disk: &SimulatedDisk, passages: Option<Passages>) -> Opened {
    let buckets = || "1,60".parse().expect("buckets");
    let ledger = Ledger::new(SystemTime::UNIX_EPOCH, Limits::default(), buckets(), buckets());
    let fold = Arc::new(Fold::new(Checkpoint::of(ledger), Recalled::new(&[], &[]), Quarantine::in_memory()));
    let mut window = Window::new(1_000, Duration::from_secs(3_600));
    let mut answers = Vec::new();
    let journal = DiskJournal::open(disk.clone(), 1 << 20, 0, |sequence, bytes| {
        answers.push(record::answer(bytes));
        let record = Record::decode(bytes).expect("a record");
        window.insert(record.key, Fingerprint::UNKNOWN, sequence, record.received_at);
        fold.fold_at_start(sequence, bytes).expect("a call");
    });
    let readiness = Readiness::default();
    let journal = Arc::new(journal.expect("a journal"));
    let known = SharedKnown::new(window, journal.end());
    let checkpoints = Checkpoints::new(disk.clone(), Path::new(""));
    let readers = Arc::new(Readers::on_disk(&Marks::default(), Duration::ZERO));
    let journal = Arc::new(BoundedJournal::new(journal, Arc::clone(&fold), readers, checkpoints));
    let latch = readiness.latch("storage");
    let (committer, _) = start(known.clone(), Arc::clone(&fold), journal, latch, passages).expect("a thread");
    let committer = Arc::new(committer);
    let acceptance = Acceptance::new(known.clone(), Store::Disk(Arc::clone(&committer)));
    Opened { acceptance, committer, readiness, known, fold, answers }
}

async fn accept_with(
    acceptance: &Acceptance,
    sid: u32,
    envelope: &[u8],
) -> Result<acceptance::Outcome, NotStored> {
    let query = format!("sid={sid}&duration=5&terminate=16&disconnect_reason=1001");
    let (received_at, query) = (SystemTime::UNIX_EPOCH, query.as_bytes());
    let Identified { key, fingerprint, .. } = Kind::CallEvent.identify(query).expect("a call");
    let record = Record { kind: Kind::CallEvent, received_at, key, envelope, query };
    let accepted = acceptance.accept(key, fingerprint, received_at, record.encode()).await;
    accepted.map(|accepted| accepted.outcome)
}

/// What comes of two requests with the same sid, the second of which arrives before the first is stored.
async fn accept_twice(opened: &Opened, disk: &SimulatedDisk, sid: u32) -> [Result<Outcome, NotStored>; 2] {
    let held = disk.hold();
    let (one, two, ()) = tokio::join!(biased; opened.accept(sid), opened.accept(sid), async { drop(held) });
    [one, two]
}

/// What a client gets that does not wait.
fn give_up_at_once<T>(answer: impl Future<Output = T>) -> Option<T> {
    match pin!(answer).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending => None,
    }
}

#[tokio::test]
async fn of_concurrent_repeats_one_counts_and_all_wait_for_it() {
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    let both = accept_twice(&opened, &disk, 1).await;
    assert_eq!(both, [Ok(Outcome::Accepted), Ok(Outcome::Duplicate)]);
    assert_eq!(opened.accept(1).await, Ok(Outcome::Duplicate));
    assert_eq!((opened.calls(), opened.position()), (1, 1));
}

#[tokio::test]
async fn a_repeat_counts_once_whether_or_not_its_client_waits() {
    let disk = SimulatedDisk::default();
    let recorder = PrometheusBuilder::new().build_recorder();
    let opened = metrics::with_local_recorder(&recorder, || open(&disk));
    let held = disk.hold();
    for _ in 0..4 {
        assert_eq!(give_up_at_once(opened.accept(1)), None);
    }
    drop(held);
    assert_eq!(opened.accept(2).await, Ok(Outcome::Accepted));
    let page = recorder.handle().render();
    assert!(page.contains("{result=\"duplicate\"} 3\n"), "{page}");
}

#[tokio::test]
async fn that_there_is_no_room_for_another_event_is_known_without_one() {
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    assert_eq!(opened.acceptance.refuses(), None);
    let held = disk.hold();
    let is_refused = |sid: &u32| give_up_at_once(opened.accept(*sid)) == Some(Err(NotStored::Busy));
    let events = (0..2 * MOST_WAITING as u32).find(is_refused).expect("an event for which there is no room");
    assert_eq!(opened.acceptance.refuses(), Some(NotStored::Busy));
    drop(held);
    while opened.position() < u64::from(events) {
        tokio::task::yield_now().await;
    }
    assert_eq!(opened.acceptance.refuses(), None);
}

#[tokio::test]
async fn what_waits_for_a_disk_that_hangs_is_bounded_though_clients_give_up() {
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    let held = disk.hold();
    let envelope = vec![b'x'; 100_000];
    let mut stored = 0;
    let most = MOST_WAITING_BYTES / envelope.len();
    for sid in 0..2 * most as u32 {
        let answer = give_up_at_once(accept_with(&opened.acceptance, sid, &envelope));
        stored += usize::from(answer.is_none());
        assert!(matches!(answer, None | Some(Err(NotStored::Busy))));
    }
    assert!((1..=most).contains(&stored), "{stored} of {most}");
    // Nor do repeats of one call pile up.
    for _ in 0..1_000 {
        assert_eq!(give_up_at_once(opened.accept(0)), None);
    }
    assert_eq!(opened.known.lock().pending.values().map(|pending| pending.repeats.len()).sum::<usize>(), 1);
    drop(held);
    assert_eq!(opened.accept(0).await, Ok(Outcome::Duplicate));
    // Room again.
    while opened.position() < stored as u64 {
        tokio::task::yield_now().await;
    }
    assert_eq!(opened.accept(u32::MAX).await, Ok(Outcome::Accepted));
    assert_eq!(opened.calls(), stored as u64 + 1);
}

#[tokio::test]
async fn nobody_waits_forever_for_a_disk_that_hangs_and_what_it_stores_late_counts_once() {
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    let held = disk.hold();
    tokio::time::pause();
    // The one that is stored, and one that waits for it.
    let (one, two) = tokio::join!(opened.accept(1), opened.accept(1));
    assert_eq!([one, two], [Err(NotStored::Slow); 2]);
    tokio::time::resume();
    drop(held);
    assert_eq!(opened.accept(1).await, Ok(Outcome::Duplicate));
    assert_eq!(opened.calls(), 1);
}

#[tokio::test]
async fn a_disk_that_hangs_is_noticed_though_clients_give_up() {
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    assert_eq!(opened.accept(1).await, Ok(Outcome::Accepted));
    let held = disk.hold();
    assert_eq!(give_up_at_once(opened.accept(2)), None);
    // Before the committer has taken it, nothing is to be seen.
    let mut seen_at = Instant::now();
    while opened.readiness.closed(&[]).is_empty() {
        tokio::task::yield_now().await;
        opened.committer.watch(seen_at);
        assert!(opened.readiness.closed(&[]).is_empty(), "too early");
        seen_at = Instant::now();
        opened.committer.watch(seen_at + LONGEST_WAIT);
    }
    assert_eq!(opened.readiness.closed(&[]), ["storage"]);
    drop(held);
    assert_eq!(opened.accept(2).await, Ok(Outcome::Duplicate));
    assert!(opened.readiness.closed(&[]).is_empty());
}

#[tokio::test]
async fn a_journal_that_could_not_be_written_is_tried_again_while_nobody_sends() {
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    disk.fail_sync();
    assert_eq!(opened.accept(1).await, Err(NotStored::Storage));
    assert_eq!(opened.readiness.closed(&[]), ["storage"]);
    opened.committer.watch(Instant::now());
    while !opened.readiness.closed(&[]).is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(opened.accept(1).await, Ok(Outcome::Accepted));
}

#[tokio::test]
async fn what_could_not_be_stored_is_not_counted_and_can_be_sent_again() {
    let disk = SimulatedDisk::default();
    let opened = open(&disk);
    assert_eq!(opened.accept(1).await, Ok(Outcome::Accepted));
    assert!(opened.readiness.closed(&[]).is_empty());
    disk.fail_sync();
    assert_eq!(accept_twice(&opened, &disk, 2).await, [Err(NotStored::Storage); 2]);
    assert_eq!((opened.calls(), opened.readiness.closed(&[])), (1, vec!["storage"]));
    assert_eq!(opened.accept(2).await, Ok(Outcome::Accepted));
    assert_eq!((opened.calls(), opened.readiness.closed(&[])), (2, vec![]));
    // And so it is after the power was lost, whatever the failed sync left behind.
    for choice in 0..20 {
        let opened = open(&disk.after_power_loss(choice));
        assert_eq!((opened.calls(), opened.position()), (2, 2));
        assert_eq!(opened.accept(2).await, Ok(Outcome::Duplicate));
    }
}
