//! The laws of the ledger: it is a fold, its metrics agree with one another, and it is bounded whatever comes.

mod labels;
mod last_events;

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::checkpoint::Checkpoint;
use super::*;
use crate::callback::call_event::Parameter;
use crate::callback::idc::assigned_code;
use crate::callback::reason::DISCONNECT_REASONS;
use crate::metrics::family::{Point, Value};

const NOW: SystemTime = SystemTime::UNIX_EPOCH;

fn ledger(limits: Limits) -> Ledger {
    let buckets = |text: &str| text.parse().expect("buckets");
    Ledger::new(NOW, limits, buckets("1,60,3600"), buckets("1,10"))
}

/// Limits that are reached soon.
const TIGHT: Limits = Limits {
    unknown_reasons: 2,
    call_series: 12,
    release_series: 5,
    user_release_series: 3,
    services: Vec::new(),
    longest_call: Duration::from_secs(24 * 60 * 60),
};

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
                 &disconnect_reason={code}&releaser_type={releaser}&from_service_id={}&user_rel_code={rel_code}{}",
                ["shop", "chat", "game"][usize::from(releaser % 3)],
                if rel_code > 15 { "&duration=9&sdk=1" } else { "" }
            )
        },
    )
}

fn fold(queries: &[String], limits: Limits) -> Ledger {
    let mut ledger = ledger(limits);
    queries.iter().for_each(|query| ledger.apply(read(query)));
    ledger
}

fn read(query: &str) -> CallEvent<'_> {
    CallEvent::read(query.as_bytes(), NOW).expect("a call")
}

/// An event that is received so many hours later.
fn read_at(query: &str, hour: u64) -> CallEvent<'_> {
    CallEvent::read(query.as_bytes(), NOW + Duration::from_secs(3_600 * (24 + hour))).expect("a call")
}

/// How many calls the gauge has of a metric.
fn departed(ledger: &Ledger, metric: &str) -> u64 {
    let points = points(ledger, &catalog::EXPORTER_DEPARTED_CALLS);
    let of_metric = points.iter().filter(|point| label(point, "metric") == metric);
    of_metric
        .map(|point| match point.value {
            Value::Gauge(departed) => departed as u64,
            _ => panic!("{point:?} is no gauge"),
        })
        .sum()
}

/// What a metric counts by the value of a label, without what stands at 0.
fn by_label(ledger: &Ledger, metric: &Metric, name: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for point in points(ledger, metric).iter().filter(|point| amount(point).0 > 0) {
        *counts.entry(label(point, name).to_owned()).or_default() += amount(point).0;
    }
    counts
}

/// Counts by label, as they are expected.
fn counts<const N: usize>(expected: [(&str, u64); N]) -> BTreeMap<String, u64> {
    expected.map(|(label, count)| (label.to_owned(), count)).into()
}

/// The points of a metric.
fn points(ledger: &Ledger, metric: &Metric) -> Vec<Point> {
    let families = ledger.families().into_iter().filter(|family| family.metric == metric);
    families.flat_map(|family| family.points).collect()
}

/// Every family but those for which the order of events matters, and of no series when it was born or which call it shows.
fn without_births(ledger: &Ledger) -> Vec<Family> {
    let mut families = ledger.families();
    families.retain(|family| family.metric != &catalog::CALL_RECENT_ABNORMAL);
    for point in families.iter_mut().flat_map(|family| &mut family.points) {
        (point.born, point.started_at) = (Birth::NONE, None);
        point.exemplars.clear();
    }
    families
}

/// The value of a label.
fn label<'a>(point: &'a Point, name: &str) -> &'a str {
    let label = point.labels.iter().find(|(known, _)| *known == name);
    label.expect("a label").1
}

/// How much a point counts, and the sum of a histogram.
fn amount(point: &Point) -> (u64, f64) {
    match &point.value {
        Value::Sum(number) => (*number, 0.0),
        Value::Histogram { counts, sum, .. } => (counts.iter().sum(), *sum),
        Value::Gauge(_) => panic!("a gauge counts nothing"),
    }
}

/// What the wanted points of a metric count together.
fn count(ledger: &Ledger, metric: &Metric, is_wanted: impl Fn(&Point) -> bool) -> u64 {
    points(ledger, metric).iter().filter(|point| is_wanted(point)).map(|point| amount(point).0).sum()
}

fn total(ledger: &Ledger, metric: &Metric) -> u64 {
    count(ledger, metric, |_| true)
}

fn assert_metrics_agree(ledger: &Ledger, queries: &[String]) -> Result<(), TestCaseError> {
    let events: Vec<_> = queries.iter().map(|query| read(query)).collect();
    let number = events.len() as u64;
    prop_assert_eq!((total(ledger, &catalog::CALLS), ledger.calls()), (number, number));
    prop_assert_eq!(total(ledger, &catalog::CALL_RELEASES), number);
    prop_assert_eq!(total(ledger, &catalog::CALL_USER_RELEASES), number);
    let billed: u64 = events.iter().map(|event| event.billed_seconds).sum();
    prop_assert_eq!(total(ledger, &catalog::CALL_BILLED), billed);
    for domain in FaultDomain::ALL {
        let is_of_domain = |point: &Point| label(point, "fault_domain") == domain.as_str();
        let calls = count(ledger, &catalog::CALLS, is_of_domain);
        prop_assert_eq!(calls, events.iter().filter(|event| event.fault_domain == domain).count() as u64);
        let abnormal = count(ledger, &catalog::CALL_ABNORMAL_RELEASES, is_of_domain);
        prop_assert_eq!(abnormal, if domain.is_abnormal() { calls } else { 0 });
    }
    let abnormal = events.iter().filter(|event| event.fault_domain.is_abnormal()).count() as u64;
    prop_assert_eq!(ledger.abnormal(), abnormal);
    for (name, metric) in [("idc", &catalog::CALL_RESULTS), ("answered", &catalog::CALL_RESULTS)] {
        prop_assert_eq!(by_label(ledger, metric, name), by_label(ledger, &catalog::CALLS, name));
    }
    let is_abnormal = |point: &Point| {
        FaultDomain::ALL.iter().any(|it| it.is_abnormal() && it.as_str() == label(point, "fault_domain"))
    };
    prop_assert_eq!(count(ledger, &catalog::CALL_RESULTS, is_abnormal), abnormal);
    let answered = count(ledger, &catalog::CALLS, |point| label(point, "answered") == "true");
    prop_assert_eq!((total(ledger, &catalog::CALL_DURATION), ledger.answered()), (answered, answered));
    let talked: Duration = events.iter().map(|event| event.duration).sum();
    let observed: f64 = points(ledger, &catalog::CALL_DURATION).iter().map(|point| amount(point).1).sum();
    prop_assert_eq!(observed, talked.as_secs_f64());
    let set_up = events.iter().filter(|event| event.setup_duration.is_some()).count() as u64;
    prop_assert_eq!(total(ledger, &catalog::CALL_SETUP_DURATION), set_up);
    Ok(())
}

/// Accepted events and anomalies are those of the events.
fn assert_own_counts(ledger: &Ledger, queries: &[String]) -> Result<(), TestCaseError> {
    let accepted = points(ledger, &catalog::EXPORTER_EVENTS);
    prop_assert_eq!(accepted.len(), 1);
    prop_assert_eq!(
        (label(&accepted[0], "result"), amount(&accepted[0]).0),
        ("accepted", queries.len() as u64)
    );
    let anomalies = points(ledger, &catalog::EXPORTER_ANOMALIES);
    prop_assert_eq!(anomalies.len(), Anomaly::ALL.len());
    let of_events: Vec<_> = queries.iter().map(|query| read(query).anomalies).collect();
    for anomaly in Anomaly::ALL {
        let of_events = match anomaly {
            // What is one is for the ledger to say, which knows what is configured.
            Anomaly::UnusualIdc => {
                let is_other = |query: &&String| {
                    let event = read(query);
                    event.text(Parameter::RcIdc).is_some_and(|idc| assigned_code(idc).is_none())
                };
                queries.iter().filter(is_other).count() as u64
            }
            _ => of_events.iter().filter(|of_event| of_event.contains(anomaly)).count() as u64,
        };
        let counted = anomalies.iter().filter(|point| label(point, "kind") == anomaly.as_str());
        prop_assert_eq!(counted.map(|point| amount(point).0).sum::<u64>(), of_events, "{:?}", anomaly);
    }
    Ok(())
}

proptest! {
    /// A copy knows no classes, so it looks for every row.
    #[test]
    fn an_event_adds_the_same_whether_or_not_its_class_is_known(
        queries in prop::collection::vec(query(), 1..6),
        events in prop::collection::vec((any::<prop::sample::Index>(), 0u64..3), 1..60),
        is_tight in any::<bool>(),
        services in prop::sample::select(vec![vec![], vec!["shop".to_owned()]]),
    ) {
        let limits = if is_tight { TIGHT } else { Limits::default() };
        let mut known = ledger(Limits { services, ..limits });
        let mut looked_for = known.clone();
        let mut hour = 0;
        for (query, hours) in events {
            hour += hours;
            let event = read_at(&queries[query.index(queries.len())], hour);
            known.apply(event.clone());
            looked_for = looked_for.clone();
            looked_for.apply(event);
            prop_assert_eq!(&known, &looked_for);
        }
        prop_assert_eq!(format!("{:?}", known.families()), format!("{:?}", looked_for.families()));
    }

    #[test]
    fn metrics_agree_with_one_another(queries in prop::collection::vec(query(), 0..100)) {
        assert_metrics_agree(&fold(&queries, Limits::default()), &queries)?;
    }

    #[test]
    fn past_every_limit_nothing_is_lost(queries in prop::collection::vec(query(), 0..200)) {
        let ledger = fold(&queries, TIGHT);
        assert_metrics_agree(&ledger, &queries)?;
        let calls = points(&ledger, &catalog::CALLS);
        // Past its limit a label set still has media type, fault domain, releaser and answered: 3 x 7 x 6 x 2.
        prop_assert!(calls.len() <= TIGHT.call_series + 252);
        prop_assert!(points(&ledger, &catalog::CALL_DURATION).len() <= calls.len());
        let releases = points(&ledger, &catalog::CALL_RELEASES);
        // Past its limit a release still has its cause, if that is one of six.
        prop_assert!(releases.len() <= TIGHT.release_series + 7);
        prop_assert!(points(&ledger, &catalog::CALL_USER_RELEASES).len() <= TIGHT.user_release_series + 1);
        let last_events = points(&ledger, &catalog::CALL_LAST_EVENT_TIME);
        let idcs: Vec<_> = last_events.iter().map(|point| label(point, "idc").to_owned()).collect();
        prop_assert_eq!(idcs, by_label(&ledger, &catalog::CALL_RESULTS, "idc").into_keys().collect::<Vec<_>>());
        let unlimited = fold(&queries, Limits::default());
        let is_same = calls == points(&unlimited, &catalog::CALLS)
            && releases == points(&unlimited, &catalog::CALL_RELEASES);
        let overflows = total(&ledger, &catalog::EXPORTER_LABEL_OVERFLOWS);
        prop_assert!(is_same || overflows > 0, "what differs is counted");
    }

    #[test]
    fn the_order_of_events_does_not_matter_below_the_limits(
        (queries, shuffled) in prop::collection::vec(query(), 0..60)
            .prop_flat_map(|queries| (Just(queries.clone()), Just(queries).prop_shuffle()))
    ) {
        let (mut one, mut other) = (fold(&queries, Limits::default()), fold(&shuffled, Limits::default()));
        // The one thing that is for the first to come: which releases and unknown reasons have a series of their own.
        prop_assume!(total(&one, &catalog::EXPORTER_LABEL_OVERFLOWS) == 0);
        prop_assert_eq!(without_births(&one), without_births(&other));
        one.apply(read("sid=1&duration=1"));
        other.apply(read("sid=1&duration=1"));
        prop_assert_eq!(without_births(&one), without_births(&other));
    }

    #[test]
    fn accepted_events_and_anomalies_are_those_of_the_events(queries in prop::collection::vec(query(), 0..100)) {
        let ledger = fold(&queries, TIGHT);
        assert_own_counts(&ledger, &queries)?;
        let bytes = Checkpoint::of(ledger.clone()).encode().expect("encoded");
        let decoded = Checkpoint::decode(&bytes, &TIGHT).expect("decoded").ledger;
        assert_own_counts(&decoded, &queries)?;
        prop_assert_eq!(decoded, ledger);
    }

    #[test]
    fn a_fold_goes_on_from_a_checkpoint_as_if_there_had_been_none_and_loses_nothing_to_departures(
        events in prop::collection::vec((query(), 0u64..20), 0..60), at in 0usize..60
    ) {
        let at = at.min(events.len());
        let mut hour = 0;
        let events: Vec<(String, u64)> = events
            .into_iter()
            .map(|(query, hours)| {
                hour += hours;
                (query, hour)
            })
            .collect();
        let apply = |ledger: &mut Ledger, events: &[(String, u64)]| {
            events.iter().for_each(|(query, hour)| ledger.apply(read_at(query, *hour)));
        };
        let (mut ledger, mut without) = (ledger(TIGHT), ledger(TIGHT));
        apply(&mut without, &events);
        apply(&mut ledger, &events[..at]);
        let bytes = Checkpoint::of(ledger).encode().expect("encoded");
        let mut ledger = Checkpoint::decode(&bytes, &TIGHT).expect("decoded").ledger;
        apply(&mut ledger, &events[at..]);
        let calls = total(&ledger, &catalog::CALLS) + departed(&ledger, "planet_calls_total");
        let releases = total(&ledger, &catalog::CALL_RELEASES) + departed(&ledger, "planet_call_releases_total");
        prop_assert_eq!((calls, releases), (events.len() as u64, events.len() as u64));
        prop_assert_eq!(ledger, without);
    }
}

#[test]
fn what_is_known_stands_at_zero_from_the_start() {
    let ledger = ledger(Limits::default());
    for family in ledger.families() {
        let is_zero = |point: &Point| point.value == Value::Gauge(0.0) || amount(point) == (0, 0.0);
        assert!(family.points.iter().all(is_zero), "{family:?}");
        assert!(
            family.points.iter().all(|point| point
                .started_at
                .is_some_and(|start| (NOW..NOW + Duration::from_millis(1)).contains(&start))),
            "{family:?}"
        );
    }
    assert!(points(&ledger, &catalog::CALL_ABNORMAL_RELEASES).is_empty());
    assert!(points(&ledger, &catalog::CALLS).is_empty());
    assert_eq!(points(&ledger, &catalog::EXPORTER_EVENTS).len(), 1);
    assert_eq!(points(&ledger, &catalog::EXPORTER_ANOMALIES).len(), Anomaly::ALL.len());
    let limits = points(&ledger, &catalog::EXPORTER_LABEL_OVERFLOWS);
    let limits: Vec<_> = limits.iter().map(|point| label(point, "limit")).collect();
    assert_eq!(limits, ["calls", "disconnect_reason", "durations", "releases", "user_releases"]);
}

#[test]
fn the_results_of_an_idc_stand_at_zero_from_its_first_call_and_those_of_a_configured_one_from_the_start() {
    let mut ledger = ledger(Limits { services: vec!["shop".to_owned()], ..Limits::default() });
    ledger.expect_idc("KR");
    let abnormal: usize = DisconnectReason::all()
        .map(|reason| reason.fault_domains().filter(|domain| domain.is_abnormal()).count())
        .sum();
    // Audio and video, seven fault domains, answered or not; of shop and of other services.
    let each_has = (2 * 2 * 7 * 2, 2 * (abnormal + 1));
    let series_of = |ledger: &Ledger, idc: &str| {
        let of_idc =
            |metric| points(ledger, metric).iter().filter(|point| label(point, "idc") == idc).count();
        (of_idc(&catalog::CALL_RESULTS), of_idc(&catalog::CALL_ABNORMAL_RELEASES))
    };
    assert_eq!((series_of(&ledger, "KR"), series_of(&ledger, "JP")), (each_has, (0, 0)));
    ledger.apply(read("sid=1&type=V&rc_idc=JP&duration=5&disconnect_reason=1301&from_service_id=shop"));
    assert_eq!((series_of(&ledger, "KR"), series_of(&ledger, "JP")), (each_has, each_has));
    let result = count(&ledger, &catalog::CALL_RESULTS, |point| {
        ["video", "JP", "network", "true", "shop"]
            == ["media_type", "idc", "fault_domain", "answered", "service"].map(|name| label(point, name))
    });
    let is_it = |point: &Point| {
        label(point, "disconnect_reason") == "NETWORK_UNSTABLE" && label(point, "idc") == "JP"
    };
    assert_eq!((result, count(&ledger, &catalog::CALL_ABNORMAL_RELEASES, is_it)), (1, 1));
    assert_eq!((ledger.calls(), total(&ledger, &catalog::CALL_RESULTS), ledger.abnormal()), (1, 1, 1));
}

#[test]
fn a_series_is_born_once_and_later_than_all_before_it() {
    let mut ledger = ledger(Limits::default());
    let mut call = |query: &str, hour: u64| {
        let (before, known) = (ledger.births(), ledger.families());
        ledger.apply(read_at(query, hour));
        let is_known = |point: &Point| {
            known.iter().any(|family| {
                family.points.iter().any(|known| (known.born, &known.labels) == (point.born, &point.labels))
            })
        };
        let families = ledger.families();
        let points = families.iter().flat_map(|family| &family.points);
        // A gauge is what it is from the first time on.
        let points = points.filter(|point| !matches!(point.value, Value::Gauge(_)));
        let (known, new): (Vec<_>, Vec<_>) = points.partition(|point| is_known(point));
        assert!(known.iter().all(|point| point.born <= before), "{before:?}");
        assert!(new.iter().all(|point| before < point.born && point.born <= ledger.births()));
        (new.len(), ledger.births().time().duration_since(NOW).expect("after it").as_secs() / 3_600)
    };
    let (of_first_call, hour) = call("sid=1&type=A&rc_idc=KR&duration=5&disconnect_reason=1001", 1);
    assert!(of_first_call > 28 && hour == 25, "{of_first_call} {hour}");
    assert_eq!(call("sid=2&type=A&rc_idc=KR&duration=7&disconnect_reason=1001", 2), (0, 25));
    // The clock was set back.
    let (new, hour) = call("sid=3&type=A&rc_idc=KR&duration=7&disconnect_reason=1301", 0);
    assert!(new > 0 && hour == 25, "{new} {hour}");
}

#[test]
fn of_the_last_calls_it_is_known_how_many_were_abnormal() {
    let mut ledger = ledger(Limits::default());
    let recent = |ledger: &Ledger, idc: &str| {
        [&catalog::CALL_RECENT_ABNORMAL, &catalog::CALL_RECENT_CALLS].map(|metric| {
            let points = points(ledger, metric);
            let point = points.iter().find(|point| label(point, "idc") == idc);
            point.map(|point| point.value.clone())
        })
    };
    let are = |abnormal: u32, calls: u32| [abnormal, calls].map(|number| Some(Value::Gauge(number.into())));
    let call = |ledger: &mut Ledger, idc: &str, reason: u32| {
        ledger.apply(read(&format!("sid=1&type=A&rc_idc={idc}&duration=5&disconnect_reason={reason}")));
    };
    assert_eq!(recent(&ledger, "KR"), [None, None]);
    call(&mut ledger, "KR", 1301);
    call(&mut ledger, "KR", 1001);
    call(&mut ledger, "JP", 1301);
    assert_eq!((recent(&ledger, "KR"), recent(&ledger, "JP")), (are(1, 2), are(1, 1)));
    (0..30).for_each(|_| call(&mut ledger, "KR", 1301));
    assert_eq!(recent(&ledger, "KR"), are(31, 32));
    call(&mut ledger, "KR", 1001);
    assert_eq!(recent(&ledger, "KR"), are(30, 32));
    let bytes = Checkpoint::of(ledger.clone()).encode().expect("encoded");
    let read = Checkpoint::decode(&bytes, &Limits::default()).expect("decoded").ledger;
    assert_eq!(recent(&read, "KR"), are(30, 32));
    assert_eq!(read, ledger);
}

#[test]
fn an_expected_idc_has_its_usual_series_at_zero_beside_the_limits() {
    let mut ledger = ledger(TIGHT);
    let idcs = ["KR", "JP", "TW", "US", "DE"];
    idcs.iter().for_each(|idc| ledger.expect_idc(idc));
    let series = |ledger: &Ledger| {
        let of_calls = [
            &catalog::CALLS,
            &catalog::CALL_DURATION,
            &catalog::CALL_SETUP_DURATION,
            &catalog::CALL_BILLED,
            &catalog::CALL_RELEASES,
        ];
        of_calls.map(|metric| (points(ledger, metric).len() as u64, total(ledger, metric)))
    };
    // For each IDC audio and video: every usual release, one reason of answered calls, answered or not, billed time.
    assert_eq!(series(&ledger), [5 * 2 * 6, 5 * 2, 5 * 2 * 2, 5 * 2, 0].map(|series| (series, 0)));
    ledger.apply(read(
        "sid=1&type=A&rc_idc=DE&duration=5&terminate=16&disconnect_reason=1001&releaser_type=2&setup_time=1600000000\
         &start_time=1600000003",
    ));
    assert_eq!(series(&ledger), [(60, 1), (10, 1), (20, 1), (10, 0), (1, 1)]);
    assert_eq!(total(&ledger, &catalog::EXPORTER_LABEL_OVERFLOWS), 0);
}

#[test]
fn a_limit_takes_its_labels_from_the_metrics_that_it_bounds_and_is_counted_once_an_event() {
    let mut ledger =
        ledger(Limits { unknown_reasons: 1, call_series: 1, release_series: 1, ..Limits::default() });
    for (idc, reason) in [("KR", 1301), ("JP", 1399), ("JP", 1398)] {
        let call =
            format!("sid=1&type=A&rc_idc={idc}&duration=5&terminate={reason}&disconnect_reason={reason}");
        ledger.apply(read(&call));
    }
    let counts = |metric: &Metric, name: &str| -> Vec<_> {
        let points = points(&ledger, metric);
        points.iter().map(|point| (label(point, name).to_owned(), amount(point).0)).collect()
    };
    let expected = |counts: &[(&str, u64)]| -> Vec<_> {
        counts.iter().map(|(label, count)| ((*label).to_owned(), *count)).collect()
    };
    for metric in [&catalog::CALLS, &catalog::CALL_DURATION, &catalog::CALL_BILLED] {
        let number = if metric == &catalog::CALL_BILLED { [0, 0] } else { [1, 2] };
        assert_eq!(counts(metric, "idc"), expected(&[("KR", number[0]), ("other", number[1])]), "{metric:?}");
    }
    assert_eq!(counts(&catalog::CALL_RELEASES, "terminate"), expected(&[("1301", 1), ("other", 2)]));
    // Where the reason comes from a closed list, no limit takes it away.
    let abnormal = counts(&catalog::CALL_ABNORMAL_RELEASES, "disconnect_reason");
    let abnormal: Vec<_> = abnormal.into_iter().filter(|(_, count)| *count > 0).collect();
    assert_eq!(abnormal, expected(&[("NETWORK_UNSTABLE", 1), ("UNKNOWN", 2)]));
    // The first of the JP calls takes the place of an unknown reason though its series is past the limit.
    let overflows =
        [("calls", 2), ("disconnect_reason", 1), ("durations", 0), ("releases", 2), ("user_releases", 0)];
    assert_eq!(counts(&catalog::EXPORTER_LABEL_OVERFLOWS, "limit"), expected(&overflows));
}

#[test]
fn durations_have_a_tenth_of_the_series_of_calls_and_lose_their_reasons_past_it() {
    let mut ledger = ledger(Limits { call_series: 1_000, unknown_reasons: 1_000, ..Limits::default() });
    for reason in 2_000..2_150 {
        ledger.apply(read(&format!("sid=1&type=A&rc_idc=KR&duration=5&disconnect_reason={reason}")));
    }
    let durations = points(&ledger, &catalog::CALL_DURATION);
    assert_eq!(durations.len(), 101);
    assert_eq!(by_label(&ledger, &catalog::CALL_DURATION, "disconnect_reason")["other"], 50);
    assert_eq!(by_label(&ledger, &catalog::CALL_DURATION, "idc"), counts([("KR", 150)]));
    assert_eq!(points(&ledger, &catalog::CALLS).len(), 150);
    assert_eq!(by_label(&ledger, &catalog::EXPORTER_LABEL_OVERFLOWS, "limit"), counts([("durations", 50)]));
}

#[test]
fn totals_that_cannot_grow_any_more_stay() {
    let mut total = table::Total::Number(u64::MAX - 1);
    let mut table = Table::default();
    table.insert(
        [Label::Known("x")].into(),
        table::Row { total: total.clone(), ..table::Row::zero(Birth::NONE, None) },
    );
    for _ in 0..3 {
        table.add(
            &[Label::Known("x")],
            Addend::Number(1),
            Moment { second: 1, birth: Birth::NONE },
            None,
            None,
        );
    }
    total = table.iter().next().expect("a row").1.total.clone();
    assert_eq!(total, table::Total::Number(u64::MAX));
    let mut histogram = Histogram::new(&"1".parse().expect("buckets"));
    histogram.observe(Duration::MAX);
    histogram.observe(Duration::MAX);
    assert_eq!(
        (histogram.counts().iter().sum::<u64>(), histogram.sum()),
        (2, Duration::from_millis(u64::MAX))
    );
}
