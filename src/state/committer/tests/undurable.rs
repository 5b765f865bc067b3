//! What becomes of events that the disk does not take while a service is behind; see `state::undurable`.

use std::collections::BTreeMap;

use hyper::StatusCode;
use proptest::prelude::*;

use super::*;
use crate::state::undurable::Passage;

fn with_service(disk: &SimulatedDisk) -> (Opened, Passages) {
    let passages = Passages::new(true);
    (open_with(disk, Some(passages.clone())), passages)
}

fn key(sid: u32) -> Key {
    Kind::CallEvent.identify(format!("sid={sid}&duration=5").as_bytes()).expect("a call").key
}

/// An event that is to be passed on.
async fn undurable(opened: &Opened, sid: u32) -> Passage {
    match accept_with(&opened.acceptance, sid, b"").await {
        Ok(acceptance::Outcome::Undurable(passage)) => passage,
        other => panic!("{other:?}"),
    }
}

/// Has the committer try the disk once more.
async fn probe(opened: &Opened) {
    opened.committer.probe().await.expect("it has tried");
}

#[tokio::test]
async fn what_the_disk_refuses_is_passed_on_and_stored_with_its_answer_later() {
    let disk = SimulatedDisk::default();
    let (opened, _) = with_service(&disk);
    assert_eq!(opened.accept(0).await, Ok(Outcome::Accepted));
    disk.limit(Some(0));
    for (sid, status) in [(1, StatusCode::OK), (2, StatusCode::NOT_FOUND), (3, StatusCode::BAD_GATEWAY)] {
        undurable(&opened, sid).await.end(status);
    }
    assert_eq!((opened.calls(), opened.known.lock().undurable()), (1, 3));
    assert_eq!(opened.readiness.closed(&[]), ["storage"]);
    probe(&opened).await;
    assert_eq!((opened.calls(), opened.known.lock().undurable()), (1, 3));
    disk.limit(None);
    probe(&opened).await;
    assert_eq!((opened.calls(), opened.position(), opened.known.lock().undurable()), (4, 4, 0));
    assert!(opened.readiness.closed(&[]).is_empty());
    for sid in 0..4 {
        assert_eq!(opened.accept(sid).await, Ok(Outcome::Duplicate));
    }
    let opened = open(&disk.after_power_loss(0));
    assert_eq!((opened.calls(), opened.answers), (4, vec![None, Some(200), Some(404), None]));
}

#[tokio::test]
async fn a_repeat_waits_for_the_passage_or_gets_its_answer_or_takes_it_if_it_is_free() {
    let disk = SimulatedDisk::default();
    let (opened, _) = with_service(&disk);
    disk.limit(Some(0));
    let passage = undurable(&opened, 1).await;
    let answered = async { passage.end(StatusCode::NOT_FOUND) };
    let (one, two, ()) = tokio::join!(biased; opened.accept(1), opened.accept(1), answered);
    assert_eq!([one, two], [Ok(Outcome::Answered(404)); 2]);
    assert_eq!(opened.accept(1).await, Ok(Outcome::Answered(404)));
    // Without a final answer who waited is told so, and the next one tries.
    let passage = undurable(&opened, 2).await;
    let failed = async { passage.end(StatusCode::INTERNAL_SERVER_ERROR) };
    let (one, ()) = tokio::join!(biased; opened.accept(2), failed);
    assert_eq!(one, Err(NotStored::Storage));
    undurable(&opened, 2).await.end(StatusCode::OK);
    assert_eq!(opened.accept(2).await, Ok(Outcome::Answered(200)));
    assert_eq!(opened.known.lock().undurable(), 2);
    disk.limit(None);
    probe(&opened).await;
    assert_eq!((opened.calls(), opened.accept(1).await), (2, Ok(Outcome::Duplicate)));
}

#[tokio::test]
async fn of_repeats_that_wait_as_the_disk_fails_one_passes_on() {
    let disk = SimulatedDisk::default();
    let (opened, _) = with_service(&disk);
    disk.fail_sync();
    let [one, two] = accept_twice(&opened, &disk, 1).await;
    // The one that passes on is not done, so the other one is told that nobody has it.
    let mut outcomes = [one, two];
    outcomes.sort_by_key(Result::is_err);
    assert_eq!(outcomes[0], Ok(Outcome::Undurable));
    assert!(matches!(outcomes[1], Err(NotStored::Storage) | Ok(Outcome::Undurable)));
    assert_eq!(opened.known.lock().undurable(), 1);
    probe(&opened).await;
    assert_eq!((opened.calls(), opened.position()), (1, 1));
}

#[tokio::test]
async fn a_write_that_hangs_and_succeeds_later_stores_once_and_the_sink_is_told_the_answer() {
    let disk = SimulatedDisk::default();
    let (opened, passages) = with_service(&disk);
    assert_eq!(opened.accept(0).await, Ok(Outcome::Accepted));
    let held = disk.hold();
    // The first hangs, and nobody waits once that is known.
    let passage = undurable(&opened, 1).await;
    while !opened.committer.is_failing() {
        opened.committer.watch(Instant::now());
        tokio::task::yield_now().await;
    }
    let started = Instant::now();
    undurable(&opened, 2).await.end(StatusCode::OK);
    assert!(started.elapsed() < PATIENCE);
    assert_eq!((opened.calls(), opened.known.lock().undurable()), (1, 2));
    drop(held);
    probe(&opened).await;
    assert_eq!((opened.calls(), opened.position()), (3, 3));
    // What was being written has no answer with it. The sink waits for its passage.
    let (answer, ()) = tokio::join!(biased; passages.answer(key(1)), async { passage.end(StatusCode::OK) });
    assert_eq!(answer, Some(StatusCode::OK));
    assert_eq!((passages.answer(key(1)).await, passages.answer(key(2)).await), (None, None));
    assert_eq!(opened.accept(1).await, Ok(Outcome::Duplicate));
    assert_eq!(open(&disk.after_power_loss(0)).answers, [None, None, Some(200)]);
}

#[tokio::test]
async fn past_the_bounds_events_are_passed_on_and_forgotten() {
    let disk = SimulatedDisk::default();
    let (opened, _) = with_service(&disk);
    disk.limit(Some(0));
    let envelope = vec![b'x'; 100_000];
    let most = MOST_WAITING_BYTES / envelope.len();
    let mut held = 0;
    for sid in 0..2 * most as u32 {
        match accept_with(&opened.acceptance, sid, &envelope).await.map(Outcome::from) {
            Ok(Outcome::Undurable) => held += 1,
            other => assert_eq!(other, Ok(Outcome::Uncounted)),
        }
    }
    assert!((most / 2..=most).contains(&held), "{held} of {most}");
    assert_eq!(opened.known.lock().undurable(), held);
    // Nobody knows it any more.
    let again = accept_with(&opened.acceptance, 2 * most as u32 - 1, &envelope).await;
    assert_eq!(again.map(Outcome::from), Ok(Outcome::Uncounted));
    disk.limit(None);
    probe(&opened).await;
    assert_eq!((opened.calls(), opened.known.lock().undurable()), (held as u64, 0));
    assert_eq!(opened.accept(u32::MAX).await, Ok(Outcome::Accepted));
}

#[tokio::test]
async fn who_has_gone_away_leaves_an_event_that_is_stored_when_the_disk_is_back() {
    let disk = SimulatedDisk::default();
    let (opened, passages) = with_service(&disk);
    disk.limit(Some(0));
    let held = disk.hold();
    assert!(give_up_at_once(opened.accept(1)).is_none());
    drop(held);
    while !opened.committer.is_failing() {
        tokio::task::yield_now().await;
    }
    while opened.known.lock().undurable() == 0 {
        tokio::task::yield_now().await;
    }
    disk.limit(None);
    probe(&opened).await;
    assert_eq!((opened.calls(), passages.answer(key(1)).await), (1, None));
}

/// What happens to a disk and to events.
#[derive(Debug, Clone)]
enum Step {
    /// An event of this number arrives; the service would answer so.
    Event(u32, u16),
    /// The disk has no room, or has.
    Full(bool),
    /// The disk is tried once more.
    Probe,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let status = prop::sample::select(vec![200u16, 404, 429, 500]);
    let step = prop_oneof![
        6 => (0u32..8, status).prop_map(|(sid, status)| Step::Event(sid, status)),
        2 => any::<bool>().prop_map(Step::Full),
        1 => Just(Step::Probe),
    ];
    prop::collection::vec(step, 0..60)
}

/// Where an event is, with the final answer that it got while it was held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    Held(Option<u16>),
    Stored(Option<u16>),
}

async fn every_event_is_stored_once_and_finally_answered_once(steps: Vec<Step>) {
    let disk = SimulatedDisk::default();
    let (opened, _) = with_service(&disk);
    // With a segment that is written to, a full disk shows as an event comes and not before.
    assert_eq!(opened.accept(100).await, Ok(Outcome::Accepted));
    let (mut events, mut is_full) = (BTreeMap::from([(100, Expected::Stored(None))]), false);
    for step in steps.into_iter().chain([Step::Full(false), Step::Probe]) {
        let is_failing = events.values().any(|event| matches!(event, Expected::Held(_)));
        match step {
            Step::Event(sid, status) => {
                let outcome = accept_with(&opened.acceptance, sid, b"").await.expect("an outcome");
                let is_final = matches!(status, 200 | 404).then_some(status);
                match (events.get(&sid), outcome) {
                    (Some(Expected::Stored(_)), acceptance::Outcome::Duplicate) => {}
                    (Some(Expected::Held(Some(before))), acceptance::Outcome::Answered(status)) => {
                        assert_eq!(status.as_u16(), *before);
                    }
                    (None, acceptance::Outcome::Accepted) if !is_failing && !is_full => {
                        events.insert(sid, Expected::Stored(None));
                    }
                    (event, acceptance::Outcome::Undurable(passage)) => {
                        assert!(
                            event == Some(&Expected::Held(None))
                                || event.is_none() && (is_failing || is_full)
                        );
                        passage.end(StatusCode::from_u16(status).expect("a status"));
                        events.insert(sid, Expected::Held(is_final));
                    }
                    (event, outcome) => panic!("{event:?} {outcome:?}"),
                }
            }
            Step::Full(full) => {
                is_full = full;
                disk.limit(full.then_some(0));
            }
            Step::Probe => {
                probe(&opened).await;
                for event in events.values_mut().filter(|_| !is_full) {
                    if let Expected::Held(answer) = *event {
                        *event = Expected::Stored(answer);
                    }
                }
            }
        }
        let stored = events.values().filter(|event| matches!(event, Expected::Stored(_))).count();
        assert_eq!((opened.calls(), opened.known.lock().undurable()), (stored as u64, events.len() - stored));
    }
    let opened = open(&disk.after_power_loss(0));
    let mut expected: Vec<Option<u16>> = events
        .values()
        .map(|event| if let Expected::Stored(answer) = event { *answer } else { None })
        .collect();
    let mut answers = opened.answers;
    answers.sort();
    expected.sort();
    assert_eq!(answers, expected);
}

proptest! {
    #[test]
    fn whatever_the_disk_does_events_are_stored_once_and_finally_answered_once(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(every_event_is_stored_once_and_finally_answered_once(steps));
    }
}
