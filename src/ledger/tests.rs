//! The laws of the ledger: it is a fold, its metrics agree with one another, and it is bounded whatever comes.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn ledger(limits: Limits) -> Ledger {
    let buckets = |text: &str| text.parse().expect("buckets");
    Ledger::new(NOW, limits, buckets("1,60,3600"), buckets("1,10"))
}

/// Limits that are reached soon.
const TIGHT: Limits = Limits { idcs: 3, unknown_reasons: 2, call_series: 12, release_series: 5 };

/// The query of an event that is often like another one.
fn query() -> impl Strategy<Value = String> {
    let code = prop_oneof![
        4 => (0..DISCONNECT_REASONS.len()).prop_map(|index| DISCONNECT_REASONS[index].code),
        1 => 1390i64..1400,
        1 => any::<i64>(),
    ];
    let idc = prop_oneof![Just("KR".to_owned()), Just("JP".to_owned()), "[A-Z]{2}"];
    (code, idc, 0u64..8_000, 0u64..100, 1u8..7, 0usize..3, 0u8..20).prop_map(
        |(code, idc, duration, setup, releaser, media_type, rel_code)| {
            let setup_time = 1_600_000_000 - setup;
            let end_time = 1_600_000_000 + duration;
            let media_type = ["A", "V", "X"][media_type];
            let duration = if duration % 3 == 0 { 0 } else { duration };
            format!(
                "sid=1&type={media_type}&rc_idc={idc}&setup_time={setup_time}&start_time=1600000000&end_time={end_time}\
                 &duration={duration}&billing_sec={duration}&terminate=16&rel_code={rel_code}&rel_code_str=X\
                 &disconnect_reason={code}&releaser_type={releaser}"
            )
        },
    )
}

fn fold(queries: &[String], limits: Limits) -> Ledger {
    let mut ledger = ledger(limits);
    queries.iter().for_each(|query| ledger.apply(&read(query)));
    ledger
}

fn read(query: &str) -> CallEvent<'_> {
    CallEvent::read(query.as_bytes(), NOW).expect("a call")
}

fn assert_metrics_agree(ledger: &Ledger, queries: &[String]) -> Result<(), TestCaseError> {
    let events: Vec<_> = queries.iter().map(|query| read(query)).collect();
    prop_assert_eq!(ledger.calls().values().sum::<u64>(), events.len() as u64);
    prop_assert_eq!(ledger.releases().values().sum::<u64>(), events.len() as u64);
    let billed: u64 = events.iter().map(|event| event.billed_seconds).sum();
    prop_assert_eq!(ledger.billed_seconds().values().sum::<u64>(), billed);
    for domain in FaultDomain::ALL {
        let calls = ledger.calls().iter().filter(|(labels, _)| labels.fault_domain == domain);
        let calls: u64 = calls.map(|(_, count)| count).sum();
        prop_assert_eq!(calls, events.iter().filter(|event| event.fault_domain == domain).count() as u64);
        let abnormal = ledger.abnormal_releases().iter().filter(|(labels, _)| labels.fault_domain == domain);
        let abnormal: u64 = abnormal.map(|(_, count)| count).sum();
        prop_assert_eq!(abnormal, if domain.is_abnormal() { calls } else { 0 });
    }
    let answered: u64 =
        ledger.calls().iter().filter(|(labels, _)| labels.answered).map(|(_, count)| count).sum();
    prop_assert_eq!(ledger.durations().values().map(Histogram::count).sum::<u64>(), answered);
    let talked: Duration = events.iter().map(|event| event.duration).sum();
    prop_assert_eq!(ledger.durations().values().map(Histogram::sum).sum::<Duration>(), talked);
    let set_up = events.iter().filter(|event| event.setup_duration.is_some()).count() as u64;
    prop_assert_eq!(ledger.setup_durations().values().map(Histogram::count).sum::<u64>(), set_up);
    Ok(())
}

proptest! {
    #[test]
    fn metrics_agree_with_one_another(queries in prop::collection::vec(query(), 0..100)) {
        assert_metrics_agree(&fold(&queries, Limits::default()), &queries)?;
    }

    #[test]
    fn past_every_limit_nothing_is_lost(queries in prop::collection::vec(query(), 0..200)) {
        let ledger = fold(&queries, TIGHT);
        assert_metrics_agree(&ledger, &queries)?;
        // Past its limit a label set still has media type, fault domain, releaser and answered: 3 x 7 x 6 x 2.
        prop_assert!(ledger.calls().len() <= TIGHT.call_series + 252);
        prop_assert!(ledger.releases().len() <= TIGHT.release_series + 1);
        let idcs: std::collections::BTreeSet<_> = ledger.calls().keys().map(|labels| &labels.idc).collect();
        prop_assert!(idcs.len() <= TIGHT.idcs + 1);
        let unlimited = fold(&queries, Limits::default());
        let is_same = ledger.calls() == unlimited.calls() && ledger.releases() == unlimited.releases();
        prop_assert!(is_same || ledger.overflows() != Overflows::default(), "what differs is counted");
    }

    #[test]
    fn the_order_of_events_does_not_matter_below_the_limits(
        (queries, shuffled) in prop::collection::vec(query(), 0..60)
            .prop_flat_map(|queries| (Just(queries.clone()), Just(queries).prop_shuffle()))
    ) {
        let (one, other) = (fold(&queries, Limits::default()), fold(&shuffled, Limits::default()));
        prop_assert_eq!(one.calls(), other.calls());
        prop_assert_eq!(one.durations(), other.durations());
        prop_assert_eq!(one.setup_durations(), other.setup_durations());
        prop_assert_eq!(one.abnormal_releases(), other.abnormal_releases());
    }
}

#[test]
fn every_known_abnormal_reason_stands_at_zero_from_the_start() {
    let ledger = ledger(Limits::default());
    assert!(ledger.abnormal_releases().values().all(|count| *count == 0));
    for reason in &DISCONNECT_REASONS {
        for fault_domain in reason.fault_domains() {
            let labels = AbnormalLabels { disconnect_reason: reason.name, fault_domain };
            assert_eq!(
                ledger.abnormal_releases().contains_key(&labels),
                fault_domain.is_abnormal(),
                "{labels:?}"
            );
        }
    }
    let unknown = AbnormalLabels { disconnect_reason: "UNKNOWN", fault_domain: FaultDomain::Unknown };
    assert_eq!(ledger.abnormal_releases().get(&unknown), Some(&0));
    assert!(ledger.calls().is_empty());
}

#[test]
fn an_expected_idc_has_its_usual_series_at_zero_and_takes_no_place() {
    let mut ledger = ledger(TIGHT);
    ["KR", "JP", "TW", "US", "DE"].iter().for_each(|idc| ledger.expect_idc(idc));
    assert!(ledger.calls().values().chain(ledger.billed_seconds().values()).all(|count| *count == 0));
    assert!(ledger.durations().values().chain(ledger.setup_durations().values()).all(|it| it.count() == 0));
    assert_eq!(ledger.calls().len(), 5 * 2 * USUAL_RELEASES.len());
    assert_eq!(ledger.billed_seconds().len(), 5 * 2);
    let before = ledger.calls().len();
    ledger.apply(&read(
        "sid=1&type=A&rc_idc=DE&duration=5&terminate=16&disconnect_reason=1001&releaser_type=2&setup_time=1600000000",
    ));
    assert_eq!((ledger.calls().len(), ledger.calls().values().sum::<u64>()), (before, 1));
}
