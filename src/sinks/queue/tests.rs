//! Unit and property tests of the queue.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn event(origin: u64, order: Option<u64>) -> Event {
    let place = Place::Hand(Bytes::from_static(b"record"));
    Event {
        origin,
        order,
        received_at: SystemTime::UNIX_EPOCH,
        failures: 0,
        refusals: Refusals::default(),
        place,
    }
}

fn origins(events: &[Event]) -> Vec<u64> {
    events.iter().map(|event| event.origin).collect()
}

#[test]
fn turns_go_round_among_orders() {
    let mut queue = Queue::default();
    for origin in 0..4 {
        queue.push(event(origin, Some(7)));
    }
    queue.push(event(4, Some(8)));
    queue.push(event(5, None));
    let mut order = Vec::new();
    while let Some(popped) = queue.pop(1).pop() {
        order.push(popped.origin);
        queue.finish(&popped);
    }
    assert_eq!(order, [0, 4, 5, 1, 2, 3]);
    assert_eq!((queue.in_hand(), queue.hand_bytes(), queue.lines.len()), (0, 0, 0));
}

#[test]
fn what_is_old_is_taken_out_wherever_it_is_unless_it_is_on_its_way() {
    let day = |days| SystemTime::UNIX_EPOCH + Duration::from_secs(days * 24 * 3_600);
    let mut queue = Queue::default();
    let mut push = |origin: u64, order, place| {
        queue.push(Event { received_at: day(origin), place, ..event(origin, order) });
    };
    let hand = || Place::Hand(Bytes::from_static(b"record"));
    for (origin, order) in [(0, Some(1)), (1, None), (3, Some(1)), (4, Some(2)), (5, Some(2)), (9, None)] {
        push(origin, order, hand());
    }
    push(2, Some(1), Place::Waiting(Ticket::of_number(7)));
    let on_its_way = queue.pop(1);
    assert_eq!(origins(&on_its_way), [0]);
    let due = queue.pop(2).remove(1);
    queue.put_back_until(due, Instant::now() + Duration::from_secs(1));
    let mut old = origins(&queue.take_received_before(day(5)));
    old.sort_unstable();
    assert_eq!(old, [2, 3, 4]);
    assert_eq!((queue.in_hand(), queue.waiting(), queue.hand_bytes()), (4, 0, 4 * b"record".len()));
    queue.finish(&on_its_way[0]);
    queue.wake(Instant::now() + Duration::from_secs(2));
    let mut left = origins(&queue.pop(9));
    left.append(&mut origins(&queue.pop_again(9)));
    left.sort_unstable();
    assert_eq!(left, [5, 9]);
}

#[test]
fn what_is_on_its_way_holds_up_its_own_order_only() {
    let mut queue = Queue::default();
    for (origin, order) in [(0, 1), (1, 1), (2, 2)] {
        queue.push(event(origin, Some(order)));
    }
    let on_its_way = queue.pop(10);
    assert_eq!(origins(&on_its_way), [0, 2]);
    assert!(queue.pop(10).is_empty());
    queue.finish(&on_its_way[1]);
    assert!(queue.pop(10).is_empty());
    queue.finish(&on_its_way[0]);
    assert_eq!(origins(&queue.pop(10)), [1]);
}

#[test]
fn what_may_go_later_is_set_aside_with_all_behind_it() {
    let now = Instant::now();
    let mut queue = Queue::default();
    for (origin, order) in [(0, 1), (1, 1), (2, 2), (3, 2)] {
        queue.push(event(origin, Some(order)));
    }
    let failed = queue.pop(1).remove(0);
    queue.put_back_until(failed, now + Duration::from_secs(1));
    let aside: Vec<u64> = queue.to_set_aside(Aside::Failed).map(|event| event.origin).collect();
    assert_eq!(aside, [0, 1]);
    assert_eq!(origins_of(queue.to_set_aside(Aside::Behind)), [0, 1, 3]);
    queue.set_aside(0, Ticket::default());
    queue.set_aside(1, Ticket::default());
    assert_eq!((queue.hand(), queue.waiting()), (vec![2, 3], 2));
    queue.wake(now);
    assert_eq!(origins(&queue.pop(10)), [2]);
    queue.wake(now + Duration::from_secs(1));
    let waiting = queue.pop(10);
    assert_eq!(origins(&waiting), [0]);
    // What comes behind those that wait has to wait too, even while the first is on its way.
    queue.push(event(4, Some(1)));
    assert_eq!(origins_of(queue.to_set_aside(Aside::Failed)), [4]);
}

fn origins_of<'a>(events: impl Iterator<Item = &'a Event>) -> Vec<u64> {
    events.map(|event| event.origin).collect()
}

#[derive(Debug, Clone)]
enum Step {
    Push(Option<u64>),
    Pop(usize),
    Finish(prop::sample::Index),
    Later(prop::sample::Index),
    Back,
    Wake(u64),
    SetAside(Aside),
    Rotate(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => prop::option::of(0u64..4).prop_map(Step::Push),
        3 => (1usize..4).prop_map(Step::Pop),
        3 => any::<prop::sample::Index>().prop_map(Step::Finish),
        2 => any::<prop::sample::Index>().prop_map(Step::Later),
        1 => Just(Step::Back),
        2 => (0u64..5).prop_map(Step::Wake),
        2 => prop_oneof![Just(Aside::DueLater), Just(Aside::Failed), Just(Aside::Behind)].prop_map(Step::SetAside),
        1 => any::<u64>().prop_map(Step::Rotate),
    ]
}

proptest! {
    /// Whatever happens, every event comes out once, those of one order in their order, and nothing is forgotten.
    #[test]
    fn everything_comes_out_once_and_in_its_order(steps in prop::collection::vec(step(), 0..150)) {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let (mut queue, mut pushed, mut time) = (Queue::default(), 0, 0);
        let mut on_its_way: Vec<Event> = Vec::new();
        let mut finished: Vec<Event> = Vec::new();
        for step in steps {
            match step {
                Step::Push(order) => {
                    queue.push(event(pushed, order));
                    pushed += 1;
                }
                Step::Pop(most) => {
                    on_its_way.extend(queue.pop(most));
                    on_its_way.extend(queue.pop_again(most));
                }
                Step::Finish(index) if !on_its_way.is_empty() => {
                    let event = on_its_way.swap_remove(index.index(on_its_way.len()));
                    queue.finish(&event);
                    finished.push(event);
                }
                Step::Later(index) if !on_its_way.is_empty() => {
                    let mut event = on_its_way.swap_remove(index.index(on_its_way.len()));
                    event.failures += 1;
                    queue.put_back_until(event, at(time + 2));
                }
                Step::Finish(_) | Step::Later(_) => {}
                Step::Back => queue.put_back_ready(std::mem::take(&mut on_its_way)),
                Step::Wake(seconds) => {
                    time += seconds;
                    queue.wake(at(time));
                }
                Step::SetAside(which) => {
                    for origin in origins_of(queue.to_set_aside(which)) {
                        queue.set_aside(origin, Ticket::default());
                    }
                }
                Step::Rotate(choice) => queue.rotate(choice),
            }
            prop_assert_eq!(queue.in_hand() + queue.waiting() + finished.len(), pushed as usize);
            let orders: Vec<u64> = on_its_way.iter().filter_map(|event| event.order).collect();
            let mut distinct = orders.clone();
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(distinct.len(), orders.len(), "one of an order is on its way at once");
        }
        for event in on_its_way {
            queue.finish(&event);
            finished.push(event);
        }
        queue.wake(at(time + 10));
        while let Some(event) = queue.pop(1).pop().or_else(|| queue.pop_again(1).pop()) {
            queue.finish(&event);
            finished.push(event);
        }
        prop_assert_eq!(finished.len() as u64, pushed);
        let mut last: BTreeMap<u64, u64> = BTreeMap::new();
        for event in finished.iter().filter(|event| event.order.is_some()) {
            let before = last.insert(event.order.unwrap_or_default(), event.origin);
            prop_assert!(before < Some(event.origin), "an order goes in order");
        }
        prop_assert_eq!((queue.in_hand(), queue.hand_bytes(), queue.waiting(), queue.lines.len()), (0, 0, 0, 0));
    }
}
