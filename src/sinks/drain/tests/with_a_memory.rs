//! Over a journal in memory, on paused time.

use super::*;

/// Different callers from this number on.
fn others(numbers: std::ops::Range<u64>) -> impl Iterator<Item = (u64, Option<u64>)> {
    numbers.map(|number| (number, Some(number)))
}

fn of_caller(caller: u64, numbers: std::ops::Range<u64>) -> impl Iterator<Item = (u64, Option<u64>)> {
    numbers.map(move |number| (number, Some(caller)))
}

#[tokio::test(start_paused = true)]
async fn one_that_fails_for_ever_holds_up_its_caller_only() {
    let peer = ScriptedPeer::new(|calls| if calls[0].number == 0 { Act::Later } else { Act::Take });
    let mut world = World::in_memory(one_by_one(), peer);
    world.append(of_caller(0, 0..1_101));
    world.append(others(10_000..10_700));
    let peer = Arc::clone(&world.peer);
    world.until(SECOND, "the others", || peer.took(|call| call.number >= 10_000) == 700).await;
    assert_eq!(in_order(&peer.taken()), 700);
    world.adds_up().await;
    assert_eq!(world.status.backlog().waiting, 1_101);
    peer.does(|_| Act::Take);
    world.until(40 * SECOND, "all", || peer.taken().len() == 1_801).await;
    in_order(&peer.taken());
    world.adds_up().await;
    assert_eq!(world.backlog(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_caller_with_much_holds_up_itself_only() {
    let peer = ScriptedPeer::new(|_| Act::TakeAfter(Duration::from_millis(20)));
    let mut world = World::in_memory(one_by_one(), peer);
    world.append(of_caller(0, 0..5_000));
    world.append(others(10_000..11_500));
    let peer = Arc::clone(&world.peer);
    // 15 at once take 2 s.
    world.until(4 * SECOND, "the others", || peer.took(|call| call.number >= 10_000) == 1_500).await;
    world.until(120 * SECOND, "all", || peer.taken().len() == 6_500).await;
    in_order(&peer.taken());
    world.adds_up().await;
    assert_eq!(world.backlog(), 0);
}

#[tokio::test(start_paused = true)]
async fn events_on_which_the_peer_hangs_hold_up_their_callers_only() {
    for first in [true, false] {
        let hangs = move |number: u64| if first { number < 40 } else { number % 21 == 20 };
        let peer = ScriptedPeer::new(move |calls| match hangs(calls[0].number) {
            true => Act::AwayAfter(2 * SECOND),
            false => Act::TakeAfter(Duration::from_millis(5)),
        });
        let mut world = World::in_memory(one_by_one(), peer);
        world.append(others(0..840));
        let peer = Arc::clone(&world.peer);
        let took = world.until(12 * SECOND, "the others", || peer.took(|_| true) == 800).await;
        assert!(took < 12 * SECOND, "{took:?}");
        world.adds_up().await;
        assert_eq!(world.backlog(), 40);
        peer.does(|_| Act::Take);
        world.until(60 * SECOND, "all", || peer.taken().len() == 840).await;
        world.adds_up().await;
    }
}

#[tokio::test(start_paused = true)]
async fn others_need_not_wait_until_the_peer_has_hung_for_its_whole_time() {
    for first in [true, false] {
        let hangs = move |number: u64| if first { number < 40 } else { number % 21 == 20 };
        let peer = ScriptedPeer::new(move |calls| match hangs(calls[0].number) {
            true => Act::AwayAfter(30 * SECOND),
            false => Act::TakeAfter(Duration::from_millis(5)),
        });
        let mut world = World::in_memory(one_by_one(), peer);
        world.append(others(0..840));
        let peer = Arc::clone(&world.peer);
        world.until(10 * SECOND, "the others", || peer.took(|_| true) == 800).await;
        assert!(peer.most_at_once() <= 4 * 16, "{} at once", peer.most_at_once());
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_hangs_on_everything_gets_one_more_a_second_and_no_more_than_fourfold() {
    let peer = ScriptedPeer::new(|_| Act::Hang);
    let mut world = World::in_memory(one_by_one(), peer);
    world.append(others(0..840));
    sleep(Duration::from_millis(10_500)).await;
    assert_eq!(world.peer.most_at_once(), 16 + 10);
    sleep(300 * SECOND).await;
    assert_eq!(world.peer.most_at_once(), 4 * 16);
}

#[tokio::test(start_paused = true)]
async fn one_at_once_is_one_at_once() {
    let peer = ScriptedPeer::new(|_| Act::Hang);
    let mut world = World::in_memory(Settings { concurrency: 1, ..one_by_one() }, peer);
    world.append(others(0..10));
    sleep(60 * SECOND).await;
    assert_eq!(world.peer.most_at_once(), 1);
}

#[tokio::test(start_paused = true)]
async fn events_on_which_the_peer_hangs_do_not_keep_it_away() {
    let peer = ScriptedPeer::new(|_| Act::Away);
    let mut world = World::in_memory(one_by_one(), peer);
    world.append(others(0..800));
    sleep(60 * SECOND).await;
    let peer = Arc::clone(&world.peer);
    peer.does(|calls| match calls[0].number < 7 {
        true => Act::AwayAfter(2 * SECOND),
        false => Act::Take,
    });
    // The next probe may be as far away as the longest pause, and a half.
    world.until(70 * SECOND, "the others", || peer.took(|_| true) == 793).await;
    world.adds_up().await;
}

#[tokio::test(start_paused = true)]
async fn a_hundredth_that_fails_for_ever_takes_nothing_from_the_others() {
    let peer = ScriptedPeer::new(|calls| if calls[0].number % 100 == 7 { Act::Later } else { Act::Take });
    let mut world = World::in_memory(one_by_one(), peer);
    for part in 0..100 {
        world.append(others(part * 1_000..(part + 1) * 1_000));
        let peer = Arc::clone(&world.peer);
        let others = (part as usize + 1) * 990;
        world.until(5 * SECOND, "the others", || peer.took(|_| true) == others).await;
        world.until(SECOND, "a journal that is empty", || world.journal.readers()[0].backlog == 0).await;
    }
    assert_eq!(world.journal.bytes(), 0);
    world.adds_up().await;
    assert_eq!(world.status.backlog().waiting, 1_000);
    // Their retries become rarer.
    let before = world.peer.attempts().len();
    sleep(60 * SECOND).await;
    assert!(world.peer.attempts().len() - before < 5_000);
}

#[tokio::test(start_paused = true)]
async fn many_that_ask_to_come_again_soon_do_not_fill_the_hand() {
    let soon = Duration::from_millis(1);
    let peer = ScriptedPeer::new(move |calls| match calls[0].number < 2_000 {
        true => Act::LaterAfter(soon),
        false => Act::Take,
    });
    let mut world = World::in_memory(one_by_one(), peer);
    world.append(others(0..3_000));
    let peer = Arc::clone(&world.peer);
    world.until(3 * SECOND, "the others", || peer.took(|_| true) == 1_000).await;
    world.adds_up().await;
    assert_eq!(world.status.backlog().waiting, 2_000);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_away_is_asked_now_and_then_and_nothing_moves() {
    let peer = ScriptedPeer::new(|_| Act::Away);
    let mut world = World::in_memory(one_by_one(), peer);
    world.append(others(0..5_000));
    sleep(600 * SECOND).await;
    let attempts = world.peer.attempts();
    // At first as many as may be on their way, and then one by one, of others and of those that failed in turn.
    assert!((20..80).contains(&attempts.len()), "{} attempts", attempts.len());
    let asked: std::collections::BTreeSet<u64> =
        attempts.iter().skip(16).map(|(_, calls)| calls[0].number).collect();
    assert!(asked.len() > (attempts.len() - 16) / 2, "others each time: {asked:?}");
    let pauses: Vec<Duration> = attempts[16..].windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    let is_long = |pause: &Duration| (15 * SECOND..31 * SECOND).contains(pause);
    assert!(pauses.iter().rev().take(5).all(is_long), "{pauses:?}");
    assert_eq!(world.status.backlog().waiting, 0);
    assert_eq!(world.journal.readers()[0].backlog, 5_000);
    assert!(world.polls.load(Ordering::Relaxed) < 1_000, "{:?}", world.polls);
    world.adds_up().await;
    let peer = Arc::clone(&world.peer);
    peer.does(|_| Act::Take);
    world.until(31 * SECOND, "all", || peer.taken().len() == 5_000).await;
    in_order(&peer.taken());
    world.adds_up().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_answer_is_waited_for_without_spinning() {
    let peer = ScriptedPeer::new(|calls| if calls[0].number < 40 { Act::Later } else { Act::Take });
    let mut world = World::in_memory(one_by_one(), peer);
    world.append(others(0..40));
    // All of them wait, and have failed.
    world.until(5 * SECOND, "waiting", || world.status.backlog().waiting == 40).await;
    world.peer.does(|_| Act::AwayAfter(10 * SECOND));
    sleep(60 * SECOND).await;
    let before = world.polls.load(Ordering::Relaxed);
    sleep(600 * SECOND).await;
    let polls = world.polls.load(Ordering::Relaxed) - before;
    assert!(polls < 2_000, "{polls} times in ten minutes");
    world.adds_up().await;
    let peer = Arc::clone(&world.peer);
    peer.does(|_| Act::Take);
    world.until(70 * SECOND, "all", || peer.took(|_| true) == 40).await;
    world.adds_up().await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_drain_sleeps() {
    for settings in [one_by_one(), in_batches(100)] {
        let mut world = World::in_memory(settings, ScriptedPeer::new(|_| Act::Take));
        world.append(others(0..10));
        sleep(10 * SECOND).await;
        assert_eq!(world.delivered(), 10);
        let before = world.polls.load(Ordering::Relaxed);
        sleep(600 * SECOND).await;
        assert!(world.polls.load(Ordering::Relaxed) - before < 10);
        world.adds_up().await;
    }
}

#[tokio::test(start_paused = true)]
async fn more_may_be_on_their_way_than_are_usually_in_hand() {
    let peer = ScriptedPeer::new(|_| Act::TakeAfter(SECOND));
    let mut world = World::in_memory(Settings { concurrency: 500, ..one_by_one() }, peer);
    world.append(others(0..5_000));
    let peer = Arc::clone(&world.peer);
    world.until(11 * SECOND, "all, 500 in a second", || peer.taken().len() == 5_000).await;
    world.adds_up().await;
}

#[tokio::test(start_paused = true)]
async fn an_event_on_which_a_delivery_panics_is_quarantined_and_no_other() {
    let peer = ScriptedPeer::new(|calls| match calls.iter().any(|call| call.number % 1_000 == 77) {
        true => Act::Panic,
        false => Act::Take,
    });
    let mut world = World::in_memory(in_batches(100), peer);
    world.append((0..2_000).map(|number| (number, None)));
    world.until(20 * SECOND, "the end", || world.backlog() == 0).await;
    assert_eq!(world.quarantine.len(), 2);
    assert_eq!(in_order(&world.peer.taken()), 1_998);
    world.adds_up().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_peer_refuses_of_a_batch_is_counted() {
    let mut world = World::in_memory(in_batches(100), ScriptedPeer::new(|_| Act::TakeExcept(3)));
    world.append((0..1_000).map(|number| (number, None)));
    world.until(10 * SECOND, "the end", || world.backlog() == 0).await;
    assert_eq!((world.delivered(), world.dropped("refused")), (970, 30));
    world.peer.does(|_| Act::Refuse);
    world.append([(1_000, None)]);
    world.until(10 * SECOND, "the end", || world.backlog() == 0).await;
    assert_eq!(world.peer.refused(), vec![1_000]);
    world.adds_up().await;
}

#[tokio::test(start_paused = true)]
async fn without_a_peer_everything_is_dropped_and_counted() {
    let peer = ScriptedPeer::new(|calls| match calls[0].number {
        0..100 => Act::LaterAfter(100 * SECOND),
        100..110 => Act::AwayAfter(30 * SECOND),
        500 => Act::Gone,
        _ => Act::TakeAfter(Duration::from_millis(10)),
    });
    let mut world = World::in_memory(one_by_one(), peer);
    world.append(others(0..600));
    world.until(40 * SECOND, "the end", || world.status.backlog().is_gone).await;
    world.append(others(600..50_000));
    world.until(40 * SECOND, "nothing", || world.backlog() == 0).await;
    assert_eq!(world.journal.bytes(), 0);
    assert_eq!(world.dropped("gone") + world.delivered(), 50_000);
    let attempts = world.peer.attempts().len();
    sleep(200 * SECOND).await;
    assert_eq!(world.peer.attempts().len(), attempts, "nobody is asked any more");
    world.adds_up().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_too_old_is_dropped_and_counted() {
    let settings = Settings { max_age: Some(Duration::ZERO), ..one_by_one() };
    let peer = ScriptedPeer::new(|calls| if calls[0].number % 2 == 0 { Act::Later } else { Act::Take });
    let mut world = World::in_memory(settings, peer);
    world.append(others(0..100));
    world.until(10 * SECOND, "the end", || world.backlog() == 0).await;
    assert_eq!((world.delivered(), world.dropped("age")), (50, 50));
    world.adds_up().await;
}

#[tokio::test(start_paused = true)]
async fn what_nobody_took_in_days_is_given_up_wherever_it_waits() {
    const DAY: Duration = Duration::from_secs(24 * 3_600);
    for settings in [one_by_one(), in_batches(10)] {
        let peer = ScriptedPeer::new(|_| Act::AwayAfter(Duration::from_millis(1)));
        let mut world = World::in_memory(settings, peer);
        let Journal::Memory(journal) = &world.journal else { panic!("it is in memory") };
        let old = SystemTime::now() - 8 * DAY;
        (0..2_000).for_each(|number| journal.append(record_at(number, Some(number % 7), old)));
        world.appended = 2_000;
        world.append((2_000..2_100).map(|number| (number, Some(number % 7))));
        world.until(200 * SECOND, "the old ones", || world.dropped("age") == 2_000).await;
        sleep(200 * SECOND).await;
        assert_eq!((world.backlog(), world.delivered()), (100, 0));
        world.adds_up().await;
    }
}

#[tokio::test(start_paused = true)]
async fn it_ends_in_time_whatever_the_peer_does() {
    // Away at once, away after a while, later, and on its way.
    let acts = [Act::Away, Act::AwayAfter(10 * SECOND), Act::Later, Act::TakeAfter(3 * SECOND)];
    for act in acts {
        let expected = if matches!(act, Act::TakeAfter(_)) { 100 } else { 0 };
        let scripted = act.clone();
        let mut world = World::in_memory(one_by_one(), ScriptedPeer::new(move |_| scripted.clone()));
        world.append(others(0..100));
        sleep(Duration::from_millis(14_500)).await;
        let (metrics, peer) = (world.metrics.clone(), Arc::clone(&world.peer));
        let took = world.stop().await.1;
        // As long as what was on its way takes: nobody who is away is asked again.
        assert!(took < 11 * SECOND, "{act:?}: {took:?}");
        assert_eq!(peer.taken().len(), expected, "{act:?}");
        let dropped = format!("cause=\"shutdown\"}} {}", 100 - expected);
        assert!(metrics.render().contains(&dropped), "{act:?}: {}", metrics.render());
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_after_a_success_at_the_same_moment_says_that_the_peer_is_away() {
    let peer = ScriptedPeer::new(|calls| if calls[0].number == 0 { Act::Take } else { Act::Away });
    let mut world = World::in_memory(Settings { concurrency: 1, ..one_by_one() }, peer);
    world.append(of_caller(0, 0..10));
    sleep(60 * SECOND).await;
    assert_eq!(world.status.backlog().waiting, 0, "nothing is set aside");
    world.adds_up().await;
}

#[tokio::test(start_paused = true)]
async fn memory_that_waits_is_bounded_and_what_is_dropped_is_counted() {
    let journal = Journal::Memory(Arc::new(MemoryJournal::new(200_000)));
    let peer = ScriptedPeer::new(|_| Act::Later);
    let mut world = World::new(journal, one_by_one(), peer, MOST_WAITING);
    for part in 0..50 {
        world.append(others(part * 100..(part + 1) * 100));
        sleep(SECOND).await;
        assert!(world.status.backlog().waiting_bytes <= 100_000 + 200_000);
    }
    sleep(60 * SECOND).await;
    assert!(world.status.backlog().waiting_bytes <= 100_000);
    assert!(world.backlog_dropped() > 4_000);
    world.adds_up().await;
    // What was dropped while it was on its way is not tried for ever.
    world.peer.does(|_| Act::Take);
    world.until(60 * SECOND, "nothing", || world.backlog() == 0).await;
    world.adds_up().await;
}

#[tokio::test(start_paused = true)]
async fn what_the_journal_drops_while_the_peer_is_away_is_a_drop_of_the_sink() {
    let journal = Journal::Memory(Arc::new(MemoryJournal::new(100_000)));
    let mut world = World::new(journal, one_by_one(), ScriptedPeer::new(|_| Act::Away), MOST_WAITING);
    world.append(others(0..100));
    sleep(10 * SECOND).await;
    assert_eq!((world.backlog_dropped(), world.status.last_drop()), (0, None));
    world.append(others(100..2_000));
    world.until(10 * SECOND, "a drop", || world.status.last_drop().is_some()).await;
    assert!(world.backlog_dropped() > 0);
    world.adds_up().await;
}

/// Something that looks like chance, and is the same for the same numbers.
fn chance(seed: u64, number: u64, before: u32) -> u64 {
    let mut mixed = (seed << 40) ^ (number << 8) ^ u64::from(before);
    for _ in 0..3 {
        mixed = (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    }
    mixed >> 20
}

fn act(seed: u64, calls: &[Call]) -> Act {
    if calls.len() > 10 && seed.is_multiple_of(3) {
        return Act::TooLarge;
    }
    if calls.iter().any(|call| chance(seed, call.number, 0).is_multiple_of(97)) {
        return Act::Panic;
    }
    let chosen = chance(seed, calls[0].number, calls[0].before);
    let time = Duration::from_millis(chosen % 3_000);
    match chosen % 16 {
        0 => Act::Later,
        1 => Act::LaterAfter(time),
        2 if seed.is_multiple_of(2) => Act::Away,
        3 => Act::AwayAfter(time),
        4 => Act::Refuse,
        5 => Act::TakeAfter(time),
        6 => Act::TooLarge,
        7 => Act::Batch,
        8 if seed.is_multiple_of(5) => Act::Misconfigured,
        9 => Act::Exhausted,
        _ => Act::TakeAfter(time / 1_000),
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_the_peer_does_each_event_is_in_one_place_and_in_order() {
    for seed in 0..40 {
        let settings = match seed % 4 {
            0 => in_batches(50),
            1 => Settings { concurrency: 1, ..one_by_one() },
            2 => Settings { batch: 5, concurrency: 4, ..one_by_one() },
            _ => one_by_one(),
        };
        let mut world = World::in_memory(settings, ScriptedPeer::new(move |calls| act(seed, calls)));
        for part in 0..5 {
            let callers = 1 + chance(seed, part, 9) % 200;
            let numbers = part * 300..(part + 1) * 300;
            world.append(numbers.map(|number| (number, (number % 7 != 0).then_some(number % callers))));
            sleep(Duration::from_millis(chance(seed, part, 8) % 20_000)).await;
        }
        world.peer.does(|_| Act::Take);
        world.until(300 * SECOND, "nothing", || world.backlog() == 0).await;
        world.adds_up().await;
        let taken = in_order(&world.peer.taken());
        assert_eq!(taken as u64, world.delivered());
        assert_eq!(world.journal.bytes(), 0);
        assert_eq!(world.status.backlog().waiting_bytes, 0);
    }
}
