use std::time::SystemTime;

use proptest::prelude::*;

use super::*;

const START: u64 = 1_790_000_000;

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(START + second)
}

/// The query of a call of this kind.
fn query(number: usize, idc: &str, reason: u32, duration: u64) -> String {
    format!("sid={number}&type=A&rc_idc={idc}&disconnect_reason={reason}&duration={duration}")
}

fn note(timeline: &mut Timeline, query: &str, second: u64) {
    timeline.note(&CallEvent::read(query.as_bytes(), at(second)).expect("a call"), at(second));
}

/// A call: seconds after the one before, its IDC, its reason, and how long people talked.
fn call() -> impl Strategy<Value = (u64, &'static str, u32, u64)> {
    let idc = prop::sample::select(vec!["KR", "JP", "elsewhere"]);
    let reason = prop::sample::select(vec![1001, 1202, 1203, 1301, 9_999]);
    (0u64..800, idc, reason, 0u64..3)
}

proptest! {
    /// Every number is what a list of all calls says, in whatever order they are noted.
    #[test]
    fn a_summary_counts_the_calls_of_its_spans(calls in prop::collection::vec(call(), 1..200), backwards: bool) {
        let mut now = 0;
        let mut calls: Vec<_> = calls.into_iter().map(|(step, idc, reason, duration)| {
            now += step;
            (now, idc, reason, duration)
        }).collect();
        let latest = calls.last().map(|(second, ..)| *second).unwrap_or_default();
        if backwards {
            calls.reverse();
        }
        let mut timeline = Timeline::new(&[]);
        for (number, (second, idc, reason, duration)) in calls.iter().enumerate() {
            let event = query(number, idc, *reason, *duration);
            let event = CallEvent::read(event.as_bytes(), at(*second)).expect("a call");
            timeline.note(&event, if backwards { at(now) } else { at(*second) });
        }
        let summary = timeline.summary(at(now));
        let begin_of = |slots: &[Slot]| slots[0].begin;
        let count = |begin: SystemTime, is_meant: &dyn Fn(&&str, u32) -> bool| {
            calls.iter().filter(|(second, idc, reason, _)| at(*second) >= begin && is_meant(idc, *reason)).count() as u64
        };
        let (hour, day) = (begin_of(&summary.minutes), begin_of(&summary.tens));
        prop_assert_eq!(summary.all.hour.calls, count(hour, &|_, _| true));
        prop_assert_eq!(summary.all.day.calls, count(day, &|_, _| true));
        prop_assert_eq!(summary.minutes.iter().map(|slot| slot.calls).sum::<u64>(), summary.all.hour.calls);
        prop_assert_eq!(summary.tens.iter().map(|slot| slot.abnormal).sum::<u64>(), summary.all.day.abnormal);
        for (idc, group) in &summary.idcs {
            let is_meant = |name: &&str, _| *name == idc.as_str() || (idc == &Label::OTHER && *name == "elsewhere");
            prop_assert_eq!(group.day.calls, count(day, &is_meant));
        }
        let by_reason: u64 = summary.reasons.iter().map(|(.., counts)| counts.day).sum();
        prop_assert_eq!(by_reason, summary.all.day.calls);
        let by_fault: u64 = summary.all.day.fault_domains.values().sum();
        prop_assert_eq!(by_fault, summary.all.day.abnormal);
        for (.., counts) in &summary.reasons {
            prop_assert!(counts.first_seen <= counts.last_seen && counts.last_seen <= Some(at(latest)));
        }
        prop_assert!(summary.latest.is_sorted_by(|one, other| one.received_at >= other.received_at));
        let is_kept = |second: u64| !backwards || at(second) >= day;
        let abnormal = calls.iter().filter(|(second, _, reason, _)| ![1001, 1202, 1203].contains(reason) && is_kept(*second)).count();
        prop_assert_eq!(summary.latest.len(), abnormal.min(LATEST));
    }
}

#[test]
fn a_flood_of_made_up_calls_takes_no_place_from_others_and_none_is_left_out() {
    let mut timeline = Timeline::new(&[]);
    let mut calls = 0;
    let mut note_at = |timeline: &mut Timeline, idc: &str, reason: u32, second: u64| {
        calls += 1;
        note(timeline, &query(calls, idc, reason, 0), second);
        calls as u64
    };
    let codes: Vec<String> =
        ('A'..='Z').flat_map(|one| ('A'..='Z').map(move |two| format!("{one}{two}"))).collect();
    for (number, code) in codes.iter().enumerate() {
        for reason in [1301, 1302, 1305, 1001, 100_000 + number as u32] {
            note_at(&mut timeline, code, reason, 0);
        }
    }
    // The first call of an honest combination comes in the middle of it.
    let mut all = 0;
    for code in &codes[..50] {
        note_at(&mut timeline, "TW", 1303, 60);
        all = note_at(&mut timeline, code, 1308, 60);
    }
    let summary = timeline.summary(at(60));
    assert_eq!(summary.all.hour.calls, all);
    assert!(timeline.cells.len() <= MOST_CELLS + 42, "{}", timeline.cells.len());
    let of_reason = |name: &str| {
        summary.reasons.iter().find(|(reason, ..)| reason.as_str() == name).map(|(.., counts)| counts.hour)
    };
    assert_eq!(of_reason("AUTH_ERROR"), Some(50));
    let unknown = summary.reasons.iter().filter(|(reason, ..)| reason.as_str().starts_with("100"));
    assert!(unknown.count() <= MOST_UNKNOWN_REASONS);
    // When they are a day old, they make room, whenever the next call comes.
    note(&mut timeline, &query(0, "KR", 1001, 1), 37 * 3_600);
    assert_eq!((timeline.cells.len(), timeline.unknown_reasons.len()), (1, 0));
}

#[test]
fn since_when_is_told_to_the_minute_within_the_hour_and_to_ten_minutes_before_it() {
    for (began, exactness) in [(40 * 60, 60), (5 * 3_600, 600)] {
        let mut timeline = Timeline::new(&[]);
        let now = 20 * 3_600;
        for second in (0..now).step_by(3) {
            let number = second as usize;
            let is_failing = second >= now - began && number.is_multiple_of(2);
            let (idc, reason) = if is_failing { ("KR", 1305) } else { (["KR", "JP"][number / 2 % 2], 1001) };
            note(&mut timeline, &query(number, idc, reason, u64::from(!is_failing)), second);
        }
        let summary = timeline.summary(at(now - 1));
        let (_, fault_domain, worst) = &summary.reasons[0];
        assert!(fault_domain.is_abnormal());
        for change in [summary.all.change, summary.idcs[0].1.change, worst.change] {
            let since = change.expect("it has changed").since;
            let off = at(now - began).duration_since(since).unwrap_or_else(|error| error.duration());
            assert!(off <= Duration::from_secs(exactness), "{off:?}");
        }
        assert_eq!(summary.idcs[0].0.as_str(), "KR");
        assert_eq!(summary.idcs[1].1.change, None);
        assert!(
            summary.reasons.iter().all(|(_, domain, counts)| domain.is_abnormal() || counts.change.is_none())
        );
    }
}
