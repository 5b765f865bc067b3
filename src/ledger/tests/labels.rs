//! Which labels there are, and which leave in time.

use super::*;

#[test]
fn forged_idcs_take_no_label_away_and_have_none() {
    let mut ledger = ledger(Limits::default());
    ledger.expect_idc("lab-1");
    for number in 0..300 {
        ledger.apply(read(&format!("sid=1&duration=0&rc_idc=X{number}")));
    }
    for idc in ["KR", "ZZ", "lab-1", "kr", "KR%0A"] {
        ledger.apply(read(&format!("sid=1&duration=0&rc_idc={idc}")));
    }
    assert_eq!(by_label(&ledger, &catalog::CALLS, "idc"), counts([("KR", 1), ("lab-1", 1), ("other", 303)]));
    let anomalies = by_label(&ledger, &catalog::EXPORTER_ANOMALIES, "kind");
    assert_eq!(anomalies["unusual_idc"], 303);
}

#[test]
fn an_unknown_reason_leaves_after_a_day_without_use_and_gives_its_place_back() {
    let mut ledger = ledger(TIGHT);
    let mut call = |reason: u64, hour: u64| {
        ledger.apply(read_at(
            &format!("sid=1&duration=5&rc_idc=KR&terminate={reason}&disconnect_reason={reason}"),
            hour,
        ));
        let reasons = by_label(&ledger, &catalog::CALLS, "disconnect_reason");
        (reasons, departed(&ledger, "planet_calls_total"))
    };
    call(1398, 0);
    call(1301, 0);
    assert_eq!(call(1399, 10).0, counts([("1398", 1), ("1399", 1), ("NETWORK_UNSTABLE", 1)]));
    // Both places are taken.
    let taken = counts([("1398", 1), ("1399", 1), ("NETWORK_UNSTABLE", 1), ("other", 1)]);
    assert_eq!(call(1397, 23), (taken, 0));
    // After a day there is one for it; what is known and was used as long ago stays.
    let left = counts([("1397", 1), ("1399", 1), ("NETWORK_UNSTABLE", 1), ("other", 1)]);
    assert_eq!(call(1397, 24), (left, 1));
    // What comes back starts at 0, and what was used since stays.
    let back = counts([("1397", 1), ("1398", 1), ("NETWORK_UNSTABLE", 1), ("other", 1)]);
    assert_eq!(call(1398, 34), (back, 2));
    assert_eq!((ledger.calls(), ledger.answered()), (6, 6));
    assert_eq!(departed(&ledger, "planet_call_duration_seconds"), 2);
    assert_eq!(
        by_label(&ledger, &catalog::CALL_ABNORMAL_RELEASES, "disconnect_reason"),
        counts([("NETWORK_UNSTABLE", 1), ("UNKNOWN", 5)])
    );
}

#[test]
fn a_series_that_is_used_again_does_not_leave_in_that_moment() {
    let mut ledger = ledger(TIGHT);
    let mut call = |hour: u64| {
        let query =
            "sid=1&duration=5&rc_idc=KR&terminate=16&rel_code=7&disconnect_reason=1399&user_rel_code=A";
        ledger.apply(read_at(query, hour));
        let counts =
            [&catalog::CALLS, &catalog::CALL_RELEASES, &catalog::CALL_USER_RELEASES, &catalog::CALL_DURATION];
        (counts.map(|metric| total(&ledger, metric)), departed(&ledger, "planet_calls_total"))
    };
    // Or its counter would stand where it stood, and the call be seen by nobody.
    for (number, hour) in [(1, 0), (2, 48), (3, 1_000)] {
        assert_eq!(call(hour), ([number; 4], 0));
    }
}

#[test]
fn an_event_that_comes_late_makes_no_series_older() {
    let mut ledger = ledger(TIGHT);
    let mut call = |reason: u64, hour: u64| {
        ledger.apply(read_at(&format!("sid=1&duration=5&rc_idc=KR&disconnect_reason={reason}"), hour));
    };
    // The second was held while the disk failed.
    for (reason, hour) in [(1399, 70), (1399, 0), (1001, 71), (1001, 93)] {
        call(reason, hour);
    }
    assert_eq!(departed(&ledger, "planet_calls_total"), 0);
    assert_eq!(by_label(&ledger, &catalog::CALLS, "disconnect_reason"), counts([("1399", 2), ("NORMAL", 2)]));
}

#[test]
fn call_metrics_that_are_full_let_known_series_go_but_no_configured_idc() {
    let mut ledger = ledger(Limits { call_series: 14, ..TIGHT });
    ledger.expect_idc("KR");
    let mut call = |idc: &str, hour: u64| {
        ledger.apply(read_at(
            &format!("sid=1&type=A&duration=5&rc_idc={idc}&disconnect_reason=1001&releaser_type=1"),
            hour,
        ));
        by_label(&ledger, &catalog::CALLS, "idc")
    };
    call("KR", 0);
    call("JP", 0);
    assert_eq!(call("TW", 1), counts([("KR", 1), ("JP", 1), ("TW", 1)]));
    assert_eq!(call("TH", 24), counts([("KR", 1), ("TH", 1), ("TW", 1)]));
    assert_eq!(call("ID", 24), counts([("KR", 1), ("TH", 1), ("TW", 1), ("other", 1)]));
    assert_eq!((ledger.calls(), departed(&ledger, "planet_calls_total")), (5, 1));
}

#[test]
fn call_metrics_that_stay_full_never_hide_a_call_in_the_series_of_what_has_none() {
    let mut ledger = ledger(Limits { call_series: 14, ..TIGHT });
    ledger.expect_idc("KR");
    let mut call = |idc: &str, hour: u64| {
        ledger.apply(read_at(
            &format!("sid=1&type=A&duration=5&rc_idc={idc}&disconnect_reason=1001&releaser_type=1"),
            hour,
        ));
        (by_label(&ledger, &catalog::CALLS, "idc"), departed(&ledger, "planet_calls_total"))
    };
    for (idc, hour) in [("KR", 0), ("JP", 0), ("TW", 0), ("ID", 0), ("JP", 20), ("TW", 20)] {
        call(idc, hour);
    }
    assert_eq!(call("ID", 30), (counts([("KR", 1), ("JP", 2), ("TW", 2), ("other", 2)]), 0));
}

#[test]
fn application_codes_have_a_metric_without_control_characters() {
    let mut ledger = ledger(TIGHT);
    for code in ["", "A-7", "%1b%5BA-7%0A", "%0A", "B", "C", "D"] {
        ledger.apply(read(&format!("sid=1&duration=0&user_rel_code={code}")));
    }
    let codes = by_label(&ledger, &catalog::CALL_USER_RELEASES, "user_rel_code");
    assert_eq!(codes, counts([("A-7", 1), ("[A-7", 1), ("other", 4)]));
}

#[test]
fn services_are_told_apart_if_they_are_configured_and_a_checkpoint_is_read_either_way() {
    let services = Limits { services: vec!["shop".to_owned(), "chat".to_owned()], ..Limits::default() };
    let calls = ["shop", "chat", "game", "shop", ""].map(|service| {
        format!("sid=1&type=A&duration=5&rc_idc=KR&disconnect_reason=1301&from_service_id={service}")
    });
    let (mut with, mut without) = (ledger(services.clone()), ledger(Limits::default()));
    with.expect_idc("KR");
    for call in &calls {
        with.apply(read(call));
        without.apply(read(call));
    }
    let of_services = counts([("shop", 2), ("chat", 1), ("other", 2)]);
    for metric in
        [&catalog::CALLS, &catalog::CALL_DURATION, &catalog::CALL_ABNORMAL_RELEASES, &catalog::CALL_RELEASES]
    {
        assert_eq!(by_label(&with, metric, "service"), of_services, "{metric:?}");
        assert!(
            points(&without, metric)
                .iter()
                .all(|point| point.labels.iter().all(|(name, _)| name != "service"))
        );
    }
    // The usual series stand at 0 for every service that is told apart.
    let stands = |service: &str| {
        let is_it = |point: &&Point| {
            label(point, "service") == service && label(point, "disconnect_reason") == "CANCEL"
        };
        points(&with, &catalog::CALLS).iter().filter(is_it).count()
    };
    assert_eq!(["shop", "chat", "other"].map(stands), [2, 2, 2]);
    let reread = |ledger: &Ledger, limits: &Limits| {
        let bytes = Checkpoint::of(ledger.clone()).encode().expect("encoded");
        let read = Checkpoint::decode(&bytes, limits).expect("decoded").ledger;
        assert_eq!(read, *ledger, "a checkpoint is read as it was written");
        read.reconfigured(limits.clone(), &[], NOW)
    };
    let off = reread(&with, &Limits::default());
    assert_eq!(
        by_label(&off, &catalog::CALL_DURATION, "disconnect_reason"),
        counts([("NETWORK_UNSTABLE", 5)])
    );
    let abnormal = |ledger| {
        let points = points(ledger, &catalog::CALL_ABNORMAL_RELEASES).into_iter();
        points.map(|point| (point.labels, point.value)).collect::<Vec<_>>()
    };
    assert_eq!(abnormal(&off), abnormal(&without));
    // To who reads them these are other series, whose calls were counted already.
    assert!(points(&off, &catalog::CALLS).iter().all(|point| point.born == Birth::NONE));
    let on = reread(&without, &services);
    assert_eq!(by_label(&on, &catalog::CALLS, "service"), counts([("other", 5)]));
}

#[test]
fn a_call_that_is_not_plausible_is_capped_and_noted() {
    let mut ledger = ledger(Limits { longest_call: Duration::from_secs(3_600), ..Limits::default() });
    ledger.apply(read("sid=1&duration=3601&billing_sec=3601"));
    ledger.apply(read("sid=2&duration=3600&billing_sec=3600"));
    assert_eq!(total(&ledger, &catalog::CALL_BILLED), 7_200);
    let talked: f64 = points(&ledger, &catalog::CALL_DURATION).iter().map(|point| amount(point).1).sum();
    assert_eq!(talked, 7_200.0);
    assert_eq!(by_label(&ledger, &catalog::EXPORTER_ANOMALIES, "kind")["impossible_duration"], 1);
}

#[test]
fn forged_release_codes_take_no_cause_away() {
    let mut ledger = ledger(TIGHT);
    let mut call = |terminate: u32, code: u32| {
        ledger.apply(read(&format!("sid=1&duration=0&terminate={terminate}&rel_code={code}&rel_code_str=X")));
    };
    (0..20).for_each(|code| call(1_000 + code, code));
    call(77, 2);
    call(17, 3);
    let causes = by_label(&ledger, &catalog::CALL_RELEASES, "terminate");
    assert_eq!((causes["77"], causes["17"], causes["other"]), (1, 1, 15));
}

#[test]
fn the_catalog_says_which_labels_there_are() {
    let mut ledger = ledger(Limits::default());
    ledger.apply(read(
        "sid=1&type=A&rc_idc=KR&duration=5&setup_time=1&start_time=2&user_rel_code=A&terminate=16",
    ));
    for family in ledger.families() {
        let names = |point: &Point| point.labels.iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert!(family.points.iter().all(|point| names(point) == family.metric.labels), "{family:?}");
    }
}
