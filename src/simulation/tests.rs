//! The scenario's truth held against the exporter's own reading, and the laws of a scenario.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use clap::Parser;
use proptest::prelude::*;

use super::*;
use crate::callback::CallEvent;
use crate::ledger::{Ledger, Limits};
use crate::metrics::catalog::CALL_LAST_EVENT_TIME;
use crate::metrics::family::Value;

const BASE_TIME: u64 = 1_700_000_000;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    mix: Mix,
}

fn calls(flags: &str, number: usize) -> Vec<Call> {
    let Flags { mix } = Flags::parse_from(["test"].into_iter().chain(flags.split_whitespace()));
    let mut scenario = Scenario::new(mix, BASE_TIME).expect("a scenario");
    std::iter::repeat_with(|| scenario.next_call()).take(number).collect()
}

/// Name, labels, and the value or the count and the sum, of every series above zero.
type Series = BTreeMap<(String, Vec<(String, String)>), (u64, u64)>;

fn ledger_of(calls: &[Call]) -> Ledger {
    let buckets = || "10,100".parse().expect("buckets");
    let mut ledger = Ledger::new(SystemTime::UNIX_EPOCH, Limits::default(), buckets(), buckets());
    for call in calls {
        let event = CallEvent::read(call.query.as_bytes(), SystemTime::UNIX_EPOCH).expect("a call");
        ledger.apply(event);
    }
    ledger
}

fn series_of_ledger(calls: &[Call]) -> Series {
    let mut series = Series::new();
    // Those that are about calls; what the exporter says of itself is no truth of a call.
    let families = ledger_of(calls).families();
    for family in families.into_iter().filter(|family| family.metric.name.starts_with("planet.call")) {
        for point in family.points {
            let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
            let mut labels: Vec<_> = point.labels.iter().map(owned).collect();
            labels.sort();
            let value = match point.value {
                Value::Sum(value) => (value, 0),
                Value::Histogram { counts, sum, .. } => (counts.iter().sum(), sum as u64),
                Value::Gauge(_) => continue,
            };
            if value.0 > 0 {
                series.insert((family.metric.prometheus_name(), labels), value);
            }
        }
    }
    series
}

/// The IDCs of which the ledger knows when the last call came.
fn idcs_of_last_events(calls: &[Call]) -> Vec<String> {
    let families = ledger_of(calls).families();
    let of_last_event = families.iter().filter(|family| family.metric == &CALL_LAST_EVENT_TIME);
    let points = of_last_event.flat_map(|family| &family.points);
    let labels = points.map(|point| point.labels.iter().map(|(name, value)| format!("{name} {value}")));
    labels.flatten().collect()
}

fn series_of_truth(calls: &[Call]) -> Series {
    let mut series = Series::new();
    for Addition { metric, labels, count, seconds } in calls.iter().flat_map(|call| call.truth.additions()) {
        let mut labels: Vec<_> =
            labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        labels.sort();
        let value = series.entry((metric.prometheus_name(), labels)).or_default();
        *value = (value.0 + count, value.1 + seconds);
    }
    series.retain(|_, value| value.0 > 0);
    series
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn the_same_seed_makes_the_same_calls(seed: u64) {
        let queries = |seed| -> Vec<String> {
            calls(&format!("--seed {seed} --odd-share 0.2"), 50).into_iter().map(|call| call.query).collect()
        };
        prop_assert_eq!(queries(seed), queries(seed));
        prop_assert_ne!(queries(seed), queries(seed.wrapping_add(1)));
    }

    #[test]
    fn the_exporter_reads_what_the_scenario_meant(seed: u64) {
        let calls = calls(&format!("--seed {seed} --odd-share 0.3 --abnormal-share 0.3"), 400);
        prop_assert_eq!(series_of_ledger(&calls), series_of_truth(&calls));
        let idcs: BTreeSet<_> = calls.iter().map(|call| format!("idc {}", call.truth.idc)).collect();
        prop_assert_eq!(idcs_of_last_events(&calls), idcs.into_iter().collect::<Vec<_>>());
    }
}

#[test]
fn an_incident_has_its_place_and_time() {
    let failed = |call: &Call| call.truth.disconnect_reason == "SERVER_INTERNAL_ERROR";
    let usual =
        "--seed 1 --rate 100 --abnormal-share 0 --odd-share 0 --incident JP:SERVER_INTERNAL_ERROR:2s:4s";
    let calls = calls(usual, 1000);
    for call in &calls {
        let is_covered = call.truth.idc == "JP" && (200..400).contains(&(call.at.as_millis() / 10));
        assert_eq!((failed(call), call.incident), (is_covered, is_covered.then_some(0)));
    }
    assert!(calls.iter().any(failed));
}

#[test]
fn the_mix_is_that_of_a_normal_day() {
    let calls = calls("--seed 1", 5_000);
    let share = |wanted: fn(&Call) -> bool| calls.iter().filter(|call| wanted(call)).count() as f64 / 5_000.0;
    assert!((0.6..0.75).contains(&share(|call| call.truth.answered)));
    assert!((0.55..0.65).contains(&share(|call| call.truth.idc == "KR")));
    assert!((0.005..0.04).contains(&share(|call| call.truth.fault_domain.is_abnormal())));
    let mut sids: Vec<_> = calls.iter().map(|call| &call.sid).collect();
    sids.sort_unstable();
    sids.dedup();
    assert_eq!(sids.len(), calls.len());
}
