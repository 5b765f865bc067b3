//! When the last event of each IDC came.

use super::*;

/// When the last event of each label set came, in hours since that of [`read_at`] 0.
fn hours(ledger: &Ledger) -> BTreeMap<String, f64> {
    let points = points(ledger, &catalog::CALL_LAST_EVENT_TIME);
    let of_point = |point: &Point| {
        let labels: Vec<_> = point.labels.iter().map(|(_, value)| value).collect();
        let Value::Gauge(time) = point.value else { panic!("{point:?} is no gauge") };
        (labels.join(" "), time / 3_600.0 - 24.0)
    };
    let hours: BTreeMap<_, _> = points.iter().map(of_point).collect();
    assert_eq!(hours.len(), points.len(), "each label set is there once");
    hours
}

fn are<const N: usize>(expected: [(&str, f64); N]) -> BTreeMap<String, f64> {
    expected.map(|(labels, hour)| (labels.to_owned(), hour)).into()
}

fn call(ledger: &mut Ledger, idc: &str, service: &str, hour: u64) {
    ledger.apply(read_at(&format!("sid=1&duration=5&rc_idc={idc}&from_service_id={service}"), hour));
}

/// What a checkpoint of it is read as.
fn reread(ledger: &Ledger) -> Ledger {
    let bytes = Checkpoint::of(ledger.clone()).encode().expect("encoded");
    Checkpoint::decode(&bytes, &Limits::default()).expect("decoded").ledger
}

#[test]
fn each_idc_has_the_time_of_its_last_call_and_none_before_its_first() {
    let mut ledger = ledger(Limits::default());
    ledger.expect_idc("TW");
    assert_eq!(hours(&ledger), are([]));
    // The last one was held while the disk failed.
    for (idc, hour) in [("KR", 0), ("JP", 1), ("KR", 2), ("forged", 3), ("X1", 4), ("JP", 0)] {
        call(&mut ledger, idc, "shop", hour);
    }
    let expected = are([("JP", 1.0), ("KR", 2.0), ("other", 4.0)]);
    assert_eq!((hours(&ledger), hours(&reread(&ledger))), (expected.clone(), expected));
    assert_eq!(reread(&ledger), ledger);
}

#[test]
fn services_have_it_each_and_together_the_later_one() {
    let services = Limits { services: vec!["shop".to_owned(), "chat".to_owned()], ..Limits::default() };
    let mut ledger = ledger(services.clone());
    for (service, hour) in [("shop", 3), ("chat", 1), ("game", 2)] {
        call(&mut ledger, "KR", service, hour);
    }
    let each = are([("KR chat", 1.0), ("KR other", 2.0), ("KR shop", 3.0)]);
    assert_eq!((hours(&ledger), hours(&reread(&ledger))), (each.clone(), each));
    let together = reread(&ledger).reconfigured(Limits::default(), &[], NOW);
    assert_eq!(hours(&together), are([("KR", 3.0)]));
    let mut apart = reread(&together).reconfigured(services, &[], NOW);
    assert_eq!(hours(&apart), are([("KR other", 3.0)]));
    call(&mut apart, "KR", "chat", 5);
    assert_eq!(hours(&apart), are([("KR chat", 5.0), ("KR other", 3.0)]));
}

#[test]
fn an_idc_that_is_configured_no_more_leaves_after_a_day_without_a_call() {
    let mut ledger = ledger(Limits::default());
    ledger.expect_idc("lab-1");
    call(&mut ledger, "lab-1", "", 0);
    call(&mut ledger, "KR", "", 0);
    call(&mut ledger, "JP", "", 24);
    assert_eq!(hours(&ledger), are([("JP", 24.0), ("KR", 0.0), ("lab-1", 0.0)]));
    let mut ledger = reread(&ledger).reconfigured(Limits::default(), &[], NOW);
    call(&mut ledger, "JP", "", 25);
    assert_eq!(hours(&ledger), are([("JP", 25.0), ("KR", 0.0)]));
}
