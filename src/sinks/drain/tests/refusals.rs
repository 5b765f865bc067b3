//! What the peer refuses, takes for too large, or answers because the destination is configured wrongly.

use super::*;
use crate::state::readiness::Readiness;

fn alone(numbers: std::ops::Range<u64>) -> impl Iterator<Item = (u64, Option<u64>)> {
    numbers.map(|number| (number, None))
}

/// Appends a call a second for a while.
async fn one_a_second(world: &mut World, numbers: std::ops::Range<u64>) {
    for call in alone(numbers) {
        world.append([call]);
        sleep(SECOND).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_too_large_goes_in_parts() {
    for act in [Act::TooLarge, Act::MoreThanOne] {
        let peer = ScriptedPeer::new(move |calls| if calls.len() > 10 { act.clone() } else { Act::Take });
        let mut world = World::in_memory(in_batches(100), peer);
        world.append(alone(0..1_000));
        world.until(10 * SECOND, "the end", || world.backlog() == 0).await;
        assert_eq!(in_order(&world.peer.taken()), 1_000);
        world.adds_up().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_event_is_given_up_after_five_refusals_while_others_pass() {
    for act in [Act::TooLarge, Act::Batch] {
        let refused = |calls: &[Call]| calls.iter().any(|call| [0, 1, 77].contains(&call.number));
        let peer = ScriptedPeer::new(move |calls| if refused(calls) { act.clone() } else { Act::Take });
        let mut world = World::in_memory(in_batches(100), peer);
        world.append(alone(0..1_000));
        let peer = Arc::clone(&world.peer);
        world.until(10 * SECOND, "the others", || peer.taken().len() == 997).await;
        assert_eq!(peer.refused(), Vec::<u64>::new(), "not at once");
        one_a_second(&mut world, 1_000..1_060).await;
        world.until(SECOND, "the end", || world.backlog() == 0).await;
        let mut refused = peer.refused();
        refused.sort_unstable();
        assert_eq!((refused, world.dropped("refused")), (vec![0, 1, 77], 3));
        let refusals = |number| {
            let is_alone = |(_, calls): &&(Instant, Vec<Call>)| calls.len() == 1 && calls[0].number == number;
            peer.attempts().iter().filter(is_alone).count()
        };
        assert!([0, 1, 77].into_iter().all(|number| refusals(number) >= 5));
        assert_eq!(peer.taken().len(), 1_057);
        world.adds_up().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_refuses_everything_is_not_flooded_and_takes_everything_later() {
    for act in [Act::Batch, Act::TooLarge] {
        let refuse = act.clone();
        let mut world = World::in_memory(in_batches(512), ScriptedPeer::new(move |_| refuse.clone()));
        world.append(alone(0..2_000));
        let peer = Arc::clone(&world.peer);
        sleep(600 * SECOND).await;
        let attempts = peer.attempts().len();
        assert!(attempts < 80, "{attempts} in ten minutes");
        assert_eq!(world.dropped("refused"), 0);
        peer.does(|_| Act::Take);
        world.until(70 * SECOND, "all", || peer.taken().len() == 2_000).await;
        world.adds_up().await;
    }
}

#[tokio::test(start_paused = true)]
async fn many_events_that_are_refused_do_not_hold_up_the_others_for_good() {
    // The first of every batch, more than it takes for everything to seem refused.
    let refused = |number: u64| number % 100 < 30;
    let peer = ScriptedPeer::new(move |calls| match calls.iter().any(|call| refused(call.number)) {
        true => Act::Batch,
        false => Act::Take,
    });
    let mut world = World::in_memory(in_batches(100), peer);
    world.append(alone(0..300));
    let peer = Arc::clone(&world.peer);
    world.until(3_600 * SECOND, "the others", || peer.taken().len() == 210).await;
    world.adds_up().await;
}

#[tokio::test(start_paused = true)]
async fn an_exhausted_peer_gets_smaller_batches_and_few_of_them() {
    let peer = ScriptedPeer::new(|calls| if calls.len() > 100 { Act::Exhausted } else { Act::Take });
    let mut world = World::in_memory(in_batches(512), peer);
    world.append(alone(0..2_000));
    let peer = Arc::clone(&world.peer);
    world.until(400 * SECOND, "all", || peer.taken().len() == 2_000).await;
    assert!(peer.attempts().len() < 60, "{}", peer.attempts().len());
    world.adds_up().await;

    // A limit of rate is none of size: nothing is given up, and nobody is flooded.
    let mut world = World::in_memory(in_batches(512), ScriptedPeer::new(|_| Act::Exhausted));
    world.append(alone(0..512));
    sleep(300 * SECOND).await;
    assert!(world.peer.attempts().len() < 40, "{}", world.peer.attempts().len());
    assert_eq!(world.backlog(), 512);
    world.adds_up().await;
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_is_configured_wrongly_is_shown_and_costs_nothing() {
    let readiness = Readiness::default();
    let peer = ScriptedPeer::new(|_| Act::Misconfigured);
    let latch = readiness.latch_for_show("otlp_traces");
    let mut world =
        World::to_destination(in_batches(512), peer, |signal| DestinationWatch::new(signal, latch, None));
    let is_shown = |world: &World| {
        let page = world.metrics.render();
        let line = page.lines().find(|line| line.starts_with("planet_exporter_misconfigured{"));
        (readiness.latches()["otlp_traces"].is_open, line.map(|line| line.ends_with(" 1")))
    };
    world.append(alone(0..2_000));
    sleep(300 * SECOND).await;
    let attempts = world.peer.attempts().len();
    assert!((5..=7).contains(&attempts), "{attempts} in five minutes");
    assert_eq!((is_shown(&world), readiness.closed(&[])), ((false, Some(true)), vec![]));
    assert_eq!(world.backlog(), 2_000);
    let peer = Arc::clone(&world.peer);
    peer.does(|_| Act::Take);
    world.until(61 * SECOND, "all", || peer.taken().len() == 2_000).await;
    assert_eq!(is_shown(&world), (true, Some(false)));
    world.adds_up().await;
}
