//! Over a journal on disk, which a restart finds again.

use tempfile::tempdir;

use super::*;

const SOON: Duration = Duration::from_secs(20);

fn quick() -> Settings {
    let backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(400));
    Settings { backoff, ..one_by_one() }
}

/// What was taken before and after a restart, in order.
fn both(before: &ScriptedPeer, after: &ScriptedPeer) -> Vec<Call> {
    [before.taken(), after.taken()].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_for_ever_holds_no_segment_and_is_there_after_a_restart() {
    let scratch = tempdir().expect("a directory");
    let fails = |number: u64| number % 100 == 7;
    let peer = ScriptedPeer::new(move |calls| if fails(calls[0].number) { Act::Later } else { Act::Take });
    let mut world = World::on_disk_with(scratch.path(), quick(), peer, MOST_WAITING, 1 << 20);
    for part in 0..20 {
        world.append((part * 500..(part + 1) * 500).map(|number| (number, Some(number % 1_000))));
        let peer = Arc::clone(&world.peer);
        // The callers of those that fail have more, which waits too.
        let others = (part as usize + 1) * 495;
        world.until(SOON, "the others", || peer.took(|_| true) == others).await;
    }
    world.until(SOON, "an empty journal", || world.journal.readers()[0].backlog == 0).await;
    let Journal::Disk(journal) = &world.journal else { panic!("it is on disk") };
    journal.drop_before(u64::MAX);
    assert!(journal.bytes() < 100_000, "{} bytes", journal.bytes());
    world.adds_up().await;
    let before = world.crash().await;

    let world =
        World::on_disk_with(scratch.path(), quick(), ScriptedPeer::new(|_| Act::Take), MOST_WAITING, 1 << 20);
    let after = Arc::clone(&world.peer);
    world.until(SOON, "the rest", || after.taken().len() == 100).await;
    assert_eq!(in_order(&both(&before, &after)), 10_000);
    world.until(SOON, "nothing", || world.backlog() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_delivers_what_was_not_delivered_in_order_and_only_that() {
    for seed in 0..6u64 {
        let scratch = tempdir().expect("a directory");
        let peer = ScriptedPeer::new(move |calls| match (calls[0].number * 7 + seed) % 11 {
            0 => Act::Later,
            1 if calls[0].before == 0 => Act::Later,
            _ => Act::TakeAfter(Duration::from_millis(1)),
        });
        let mut world = World::on_disk(scratch.path(), quick(), peer, MOST_WAITING);
        // Some callers have much, some little.
        let calls: Vec<_> =
            (0..3_000).map(|number| (number, Some(number * number % (5 + seed * 17)))).collect();
        world.append(calls);
        sleep(Duration::from_millis(100 + 150 * seed)).await;
        // Nothing more ends, so that after the next save everything that was taken is saved.
        world.peer.does(|_| Act::Hang);
        sleep(Duration::from_millis(600)).await;
        let before = world.crash().await;

        let world = World::on_disk(scratch.path(), quick(), ScriptedPeer::new(|_| Act::Take), MOST_WAITING);
        let after = Arc::clone(&world.peer);
        world.until(SOON, "nothing", || world.backlog() == 0).await;
        assert_eq!(in_order(&both(&before, &after)), 3_000, "seed {seed}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_in_hand_comes_before_what_waits_of_the_same_caller() {
    let scratch = tempdir().expect("a directory");
    // The first of each caller hangs, and the others are set aside behind it. More hang than are in hand after the start, and
    // those that wait are of the last callers.
    let peer = ScriptedPeer::new(|_| Act::Hang);
    let mut world =
        World::on_disk(scratch.path(), Settings { concurrency: 300, ..quick() }, peer, MOST_WAITING);
    world.append((0..290).map(|number| (number, Some(number))));
    world.append((290..3_290).map(|number| (number, Some(260 + number % 30))));
    world.until(SOON, "waiting", || world.status.backlog().waiting >= 2_400).await;
    sleep(Duration::from_millis(500)).await;
    world.crash().await;
    let world = World::on_disk(scratch.path(), quick(), ScriptedPeer::new(|_| Act::Take), MOST_WAITING);
    world.until(SOON, "nothing", || world.backlog() == 0).await;
    assert_eq!(in_order(&world.peer.taken()), 3_290);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_wait_than_have_room_in_memory_and_none_is_lost_or_comes_twice() {
    let scratch = tempdir().expect("a directory");
    let peer = ScriptedPeer::new(|calls| if calls[0].number % 2 == 0 { Act::Later } else { Act::Take });
    let mut world = World::on_disk_with(scratch.path(), quick(), peer, 100, 1 << 20);
    for part in 0..10 {
        world.append((part * 300..(part + 1) * 300).map(|number| (number, Some(number % 1_000))));
        let peer = Arc::clone(&world.peer);
        world.until(SOON, "the others", || peer.took(|_| true) >= (part as usize + 1) * 150).await;
    }
    world.adds_up().await;
    assert_eq!(world.status.backlog().waiting, 1_500);
    assert!(world.counter("planet_exporter_unordered_events", "") >= 1_000);
    let peer = Arc::clone(&world.peer);
    // Some of them go, so that others are brought in and segments are cleaned.
    peer.does(|calls| if calls[0].number % 100 == 0 { Act::Later } else { Act::Take });
    world.until(2 * SOON, "all others", || peer.took(|_| true) == 2_970).await;
    world.adds_up().await;
    // Long enough for what was taken to be saved.
    sleep(Duration::from_millis(600)).await;
    let before = world.crash().await;

    let world = World::on_disk_with(scratch.path(), quick(), ScriptedPeer::new(|_| Act::Take), 100, 1 << 20);
    let after = Arc::clone(&world.peer);
    world.until(2 * SOON, "nothing", || world.backlog() == 0).await;
    world.adds_up().await;
    let mut numbers: Vec<u64> = both(&before, &after).iter().map(|call| call.number).collect();
    numbers.sort_unstable();
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "none twice");
    assert_eq!(numbers.len(), 3_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_journal_beyond_its_limit_drops_the_oldest_and_counts_them() {
    let scratch = tempdir().expect("a directory");
    let peer = ScriptedPeer::new(|_| Act::Later);
    let mut world = World::on_disk_with(scratch.path(), quick(), peer, 1_000, 1 << 18);
    for part in 0..20 {
        world.append((part * 500..(part + 1) * 500).map(|number| (number, Some(number))));
        world.until(SOON, "an empty journal", || world.journal.readers()[0].backlog == 0).await;
    }
    world.adds_up().await;
    assert!(world.status.backlog().dropped > 5_000);
    assert!(world.status.last_drop().is_some());
    assert!(world.status.backlog().waiting_bytes <= 1 << 17, "{:?}", world.status.backlog());
    let peer = Arc::clone(&world.peer);
    peer.does(|_| Act::Take);
    world.until(2 * SOON, "nothing", || world.backlog() == 0).await;
    in_order(&peer.taken());
    world.adds_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_and_cannot_be_read_any_more_is_dropped_and_holds_up_nothing() {
    let scratch = tempdir().expect("a directory");
    let peer = ScriptedPeer::new(|calls| if calls[0].number < 50 { Act::Later } else { Act::Take });
    let mut world = World::on_disk(scratch.path(), quick(), peer, MOST_WAITING);
    world.append((0..100).map(|number| (number, Some(number % 50))));
    world.until(SOON, "waiting", || world.status.backlog().waiting == 100).await;
    for entry in fs::read_dir(scratch.path()).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.to_string_lossy().contains("service.waiting.") {
            fs::write(path, b"").expect("written");
        }
    }
    world.until(SOON, "nothing", || world.backlog() == 0).await;
    assert_eq!((world.backlog_dropped(), world.dropped("damaged")), (0, 100));
    assert!(world.status.last_drop().is_some());
    world.append([(200, Some(1))]);
    world.until(SOON, "the next", || world.delivered() == 1).await;
    world.adds_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_position_that_could_not_be_written_is_written_later() {
    let scratch = tempdir().expect("a directory");
    let mut world = World::on_disk(scratch.path(), quick(), ScriptedPeer::new(|_| Act::Take), MOST_WAITING);
    let obstacle = scratch.path().join("service.position.new");
    fs::create_dir(&obstacle).expect("a directory");
    world.append((0..10).map(|number| (number, None)));
    world.until(SOON, "delivered", || world.delivered() == 10).await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(world.journal.readers()[0].backlog, 10);
    fs::remove_dir(&obstacle).expect("removed");
    world.until(SOON, "an empty journal", || world.journal.readers()[0].backlog == 0).await;
    world.crash().await;
    let world = World::on_disk(scratch.path(), quick(), ScriptedPeer::new(|_| Act::Take), MOST_WAITING);
    assert_eq!(world.backlog(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_journal_that_cannot_be_written_is_written_later() {
    let scratch = tempdir().expect("a directory");
    let peer = ScriptedPeer::new(|calls| if calls[0].number < 10 { Act::Later } else { Act::Take });
    let mut world = World::on_disk(scratch.path(), quick(), peer, MOST_WAITING);
    let obstacle = scratch.path().join("service.waiting.00000000000000000000.segment");
    fs::create_dir(&obstacle).expect("a directory");
    world.append((0..1_000).map(|number| (number, Some(number % 100))));
    world.until(SOON, "others", || world.delivered() >= 100).await;
    sleep(Duration::from_millis(500)).await;
    assert_eq!(world.status.backlog().waiting, 0);
    fs::remove_dir(&obstacle).expect("removed");
    world.until(SOON, "the others", || world.delivered() == 900).await;
    world.adds_up().await;
    world.peer.does(|_| Act::Take);
    world.until(SOON, "all", || world.delivered() == 1_000).await;
    in_order(&world.peer.taken());
    world.adds_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_peer_what_waits_is_dropped_too_and_nothing_is_held() {
    let scratch = tempdir().expect("a directory");
    let peer = ScriptedPeer::new(|calls| if calls[0].number < 500 { Act::Later } else { Act::Gone });
    let mut world = World::on_disk(scratch.path(), quick(), peer, 100);
    world.append((0..500).map(|number| (number, Some(number))));
    world.until(SOON, "waiting", || world.status.backlog().waiting == 500).await;
    world.append((500..3_000).map(|number| (number, Some(number))));
    world.until(SOON, "nothing", || world.backlog() == 0).await;
    assert_eq!(world.dropped("gone"), 3_000);
    world.adds_up().await;
    world.stop().await;
    let world = World::on_disk(scratch.path(), quick(), ScriptedPeer::new(|_| Act::Take), 100);
    sleep(Duration::from_millis(300)).await;
    assert_eq!((world.backlog(), world.peer.taken().len()), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_ends_while_events_are_due_later_and_goes_on_after_the_start() {
    let scratch = tempdir().expect("a directory");
    let peer = ScriptedPeer::new(|calls| if calls[0].number % 3 == 0 { Act::Later } else { Act::Take });
    let mut world = World::on_disk(scratch.path(), one_by_one(), peer, MOST_WAITING);
    world.append((0..900).map(|number| (number, None)));
    world.until(SOON, "the others", || world.delivered() == 600).await;
    let (before, took) = world.stop().await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    let world = World::on_disk(scratch.path(), quick(), ScriptedPeer::new(|_| Act::Take), MOST_WAITING);
    let after = Arc::clone(&world.peer);
    world.until(SOON, "nothing", || world.backlog() == 0).await;
    assert_eq!(in_order(&both(&before, &after)), 900);
}
