use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::ledger::Limits;
use crate::metrics::text;

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn at(second: u64) -> SystemTime {
    NOW + Duration::from_secs(1_700_000_000 + second)
}

/// A ledger and callers with these services, and the IDC `dc-1` beside those with codes.
struct Both(Ledger, AbnormalCallers);

impl Both {
    fn new(services: &[&str]) -> Both {
        let services: Vec<_> = services.iter().map(|service| (*service).to_owned()).collect();
        let buckets = || "1,60".parse().expect("buckets");
        let limits = Limits { services: services.clone(), ..Limits::default() };
        let mut ledger = Ledger::new(NOW, limits, buckets(), buckets());
        ledger.expect_idc("dc-1");
        Both(ledger, AbnormalCallers::new(&["dc-1".to_owned()], &services))
    }

    /// Takes a call of this second, whose query is this one behind its sid.
    fn call(&mut self, second: u64, query: &str) {
        let query = format!("duration=0&{query}");
        let event = CallEvent::read(query.as_bytes(), at(second)).expect("a call");
        let caller = self.1.caller(&event);
        self.0.apply(event);
        caller.into_iter().for_each(|caller| self.1.note(caller));
    }

    /// The samples of the metric in this second, without its name.
    fn samples(&self, second: u64) -> Vec<String> {
        let page = text::render(&[self.1.count(at(second)).family(&self.0)]);
        let samples = page.lines().filter_map(|line| line.strip_prefix("planet_call_abnormal_callers"));
        samples.map(str::to_owned).collect()
    }
}

const ABNORMAL: &str = "disconnect_reason=1301";

#[test]
fn an_idc_stands_at_0_and_counts_callers_and_not_calls() {
    let mut both = Both::new(&[]);
    let of_first = ["{idc=\"dc-1\",window=\"5m\"} 0", "{idc=\"dc-1\",window=\"60m\"} 0"];
    assert_eq!(both.samples(0), of_first);
    // One that is normal, and one user over and over.
    both.call(0, "sid=a&rc_idc=JP&from_service_id=s&from_user_id=1&disconnect_reason=1001");
    for sid in 0..30 {
        both.call(0, &format!("sid={sid}&rc_idc=KR&from_service_id=s&from_user_id=1&{ABNORMAL}"));
    }
    // The same ID in another service is another person, and so is everybody who is not named.
    both.call(0, &format!("sid=b&rc_idc=KR&from_service_id=t&from_user_id=1&{ABNORMAL}"));
    for sid in 0..3 {
        both.call(0, &format!("sid=n{sid}&rc_idc=KR&from_service_id=s&from_user_id=&{ABNORMAL}"));
    }
    // An IDC that is told apart, and one that is not.
    both.call(0, &format!("sid=c&rc_idc=dc-1&from_user_id=1&{ABNORMAL}"));
    both.call(0, &format!("sid=d&rc_idc=dc-2&from_user_id=1&{ABNORMAL}"));
    let expected = [("JP", 0), ("KR", 5), ("dc-1", 1), ("other", 1)];
    let samples = |long: bool| {
        let samples = expected.iter().flat_map(|(idc, count)| {
            let short = if long { 0 } else { *count };
            [("5m", short), ("60m", *count)]
                .map(|(window, count)| format!("{{idc=\"{idc}\",window=\"{window}\"}} {count}"))
        });
        samples.collect::<Vec<_>>()
    };
    assert_eq!(both.samples(0), samples(false));
    assert_eq!(both.samples(300), samples(false));
    assert_eq!(both.samples(315), samples(true));
    assert_eq!(both.samples(3_600), samples(true));
    assert!(both.samples(3_615).iter().all(|sample| sample.ends_with(" 0")));
}

#[test]
fn services_are_told_apart_as_elsewhere() {
    let mut both = Both::new(&["chat"]);
    for (user, service) in [(1, "chat"), (2, "chat"), (1, "shop"), (2, "game"), (3, "game")] {
        both.call(
            0,
            &format!(
                "sid={service}{user}&rc_idc=KR&from_service_id={service}&from_user_id={user}&{ABNORMAL}"
            ),
        );
    }
    let samples = both.samples(0);
    for (service, count) in [("chat", 2), ("other", 3)] {
        for (idc, count) in [("KR", count), ("dc-1", 0)] {
            let sample = format!("{{idc=\"{idc}\",window=\"5m\",service=\"{service}\"}} {count}");
            assert!(samples.contains(&sample), "{sample} is not in {samples:?}");
        }
    }
    assert_eq!(samples.len(), 8);
}

#[test]
fn nothing_shows_the_key_or_anybody() {
    let mut both = Both::new(&[]);
    both.call(0, &format!("sid=a&rc_idc=KR&from_service_id=s&from_user_id=somebody&{ABNORMAL}"));
    assert_eq!(format!("{:?}", both.1), "AbnormalCallers { sketches: 1, .. }");
    // Another process has another key.
    let event =
        CallEvent::read(b"sid=a&duration=0&disconnect_reason=1301&from_user_id=1", NOW).expect("a call");
    let hash = |callers: AbnormalCallers| callers.caller(&event).expect("an abnormal call").hash;
    assert_ne!(hash(AbnormalCallers::default()), hash(AbnormalCallers::default()));
    assert_eq!(hash(both.1.clone()), hash(both.1));
}

proptest! {
    #[test]
    fn few_are_as_many_as_there_are_whatever_the_key(
        calls in prop::collection::vec((0u64..7_200, 0usize..3, 0u32..40, any::<bool>()), 0..200),
        now in 7_000u64..11_000,
    ) {
        let mut both = Both::new(&[]);
        let mut calls = calls;
        calls.sort();
        let mut exact: BTreeMap<(&str, &str), BTreeSet<u32>> = BTreeMap::new();
        for (number, (second, idc, user, is_abnormal)) in calls.into_iter().enumerate() {
            let (idc, reason) = (["KR", "JP", "dc-1"][idc], if is_abnormal { 1301 } else { 1001 });
            both.call(second, &format!("sid={number}&rc_idc={idc}&from_user_id={user}&disconnect_reason={reason}"));
            for (window, seconds) in [("5m", 300), ("60m", 3_600)] {
                // A slot has the seconds up to its end, from the beginning of its first one on.
                let (call, now) = ((1_700_000_000 + second) / 15, (1_700_000_000 + now) / 15);
                if is_abnormal && now.saturating_sub(call) <= seconds / 15 {
                    exact.entry((idc, window)).or_default().insert(user);
                }
            }
        }
        for sample in both.samples(now) {
            let (labels, count) = sample.split_once(' ').expect("a sample");
            let count: usize = count.parse().expect("a number");
            let exact = exact.iter().find(|((idc, window), _)| {
                labels == format!("{{idc=\"{idc}\",window=\"{window}\"}}")
            });
            let exact = exact.map_or(0, |(_, users)| users.len());
            prop_assert_eq!(count, exact, "{}", sample);
        }
    }
}
