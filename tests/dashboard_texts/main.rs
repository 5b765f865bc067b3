//! Every stat and every table of the dashboards says what is true: as Grafana makes text of the answers of a real
//! Prometheus, for services that are well, have an incident, have one call a minute, are pushed, are sick, were killed,
//! or never were.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod calls;
mod comparison;
mod exporter;
mod truth;

use serde_json::{Value, json};

use calls::{compare_alerts, compare_calls, compare_idcs, compare_releases};
use comparison::Comparison;
use exporter::{compare_exporter, compare_settings};
use support::prometheus::Prometheus;
use truth::{Calls, Played, Service, percent, shown};

#[test]
fn what_stats_and_tables_say_is_true_in_every_state() {
    let played = Played::new(&[]);
    let jobs = ["calm", "incident", "outage", "quiet", "pushed", "sick", "killed"];
    let shown = played.shown(&jobs);
    let of_exporters = [
        ("calm", "Calls connect", "Exporters are well", ["well", "well"]),
        ("incident", "Calls fail", "Exporters are well", ["well", "well"]),
        ("outage", "Calls fail", "Exporters are well", ["well", "well"]),
        ("quiet", "Calls connect", "Exporters are well", ["well", "well"]),
        ("pushed", "Calls connect", "Exporters are well", ["well", "well"]),
        ("sick", "An alert pages", "Restarting", ["restarting", "not storing"]),
    ];
    for (job, calls, exporter, states) in of_exporters {
        let (service, mut comparison) = (Service::new(&played, job), Comparison::new(&shown, job));
        compare_calls(&service, &mut comparison, calls);
        compare_releases(&service, &mut comparison);
        compare_exporter(&service, &played.truth["settings"], &mut comparison, exporter, states);
        let events = service.number("10m", |_| true).to_string();
        comparison.stat("planet-exporter", "Call events, 10 min", events.into());
        comparison.assert_every_panel_was_compared();
    }
    let everywhere = &shown["outage"]["planet-calls"]["Where and whose, 10 min"][0];
    assert!(
        everywhere.as_str().is_some_and(|place| place.starts_with("everywhere: application, ")),
        "{everywhere}"
    );
    // The first row is where it fails.
    let first = &shown["incident"]["planet-calls"]["IDC of the caller, 10 min"][0];
    assert_eq!((&first["IDC"], &first["Mostly"]), (&"JP".into(), &"platform".into()), "{first}");
    assert_killed_exporters_are_seen(&played, &shown);
}

/// Five and a half minutes after the end of its exporters nothing of a service is said to be well. Shares are still
/// those of the calls that there were.
fn assert_killed_exporters_are_seen(played: &Played, shown: &Value) {
    let (service, mut comparison) = (Service::new(played, "killed"), Comparison::new(shown, "killed"));
    let settings = &played.truth["settings"];
    compare_exporter(&service, settings, &mut comparison, "An exporter is dead", ["dead", "dead"]);
    comparison.stat("planet-calls", "Now", "Exporter gone".into());
    comparison.stat("planet-calls", "Failing since, local time", "unknown".into());
    comparison.stat("planet-calls", "Where and whose, 10 min", json!(["unknown"]));
    compare_alerts(&service, &mut comparison);
    let calls = &shown["killed"]["planet-calls"];
    for table in ["IDC of the caller, 10 min", "Audio and video, all IDCs, 10 min"] {
        for row in calls[table].as_array().expect("rows") {
            assert_eq!(row["State"], "gone", "{row}");
        }
    }
    let all = service.number("10m", |_| true);
    let delivered = all - service.number("10m", Calls::is_abnormal);
    // How many calls there were is estimated where samples end.
    let shares = calls["Delivered, 10 min"].as_object().expect("shares");
    let share = shares.iter().find_map(|(name, share)| name.starts_with("NER of ").then_some(share));
    assert_eq!(share.and_then(Value::as_str).map(str::to_owned), percent(delivered, all));
}

#[test]
fn an_empty_prometheus_is_not_well() {
    let prometheus = Prometheus::start(&[], "");
    let shown = shown(&prometheus, "1773802980", &[".+"]);
    let mut comparison = Comparison::new(&shown, ".+");
    comparison.stat("planet-calls", "Now", "No exporter in a day".into());
    for title in ["Delivered, 10 min", "Answered, 10 min"] {
        comparison.stat("planet-calls", title, "no calls".into());
    }
    comparison.stat("planet-calls", "Where and whose, 10 min", json!(["no exporter"]));
    comparison.stat("planet-exporter", "Now", "No exporter".into());
    comparison.stat("planet-exporter", "Alive", "0".into());
    let alerts = comparison.panel("planet-calls", "Alerts that fire");
    assert_eq!(alerts, &json!([{"Alert": "The rules are not loaded", "Fires since": "-"}]));
    for table in ["IDC of the caller, 10 min", "Audio and video, all IDCs, 10 min"] {
        assert_eq!(comparison.panel("planet-calls", table), "no calls", "{table}");
    }
    assert_eq!(comparison.panel("planet-exporter", "Exporters"), "No exporter in a day");
}

#[test]
fn limits_are_those_of_the_settings_and_their_defaults_without_rules() {
    // With nine calls in ten as objective, four budgets are two fifths: more than end abnormally in all, less than at the IDC.
    let generous = Played::new(&["--state", "incident", "--setting", "planet:objective:ratio=0.9"]);
    let shown = generous.shown(&["incident"]);
    let mut comparison = Comparison::new(&shown, "incident");
    comparison.stat("planet-calls", "Now", "Some calls fail".into());
    comparison.stat("planet-idcs", "JP: Now, 10 min", "Calls fail".into());
    let places = comparison.panel("planet-calls", "Where and whose, 10 min");
    assert!(places[0].as_str().is_some_and(|place| place.starts_with("JP: platform, ")), "{places}");
    for row in comparison.panel("planet-calls", "Audio and video, all IDCs, 10 min").as_array().expect("rows")
    {
        assert_eq!(row["State"], "well", "{row}");
    }
    compare_settings(&generous.truth["settings"], &mut comparison);
    let without = Played::new(&["--state", "incident", "--no-rules"]);
    let shown = without.shown(&["incident"]);
    let (service, mut comparison) = (Service::new(&without, "incident"), Comparison::new(&shown, "incident"));
    compare_idcs(&service, &mut comparison);
    comparison.stat("planet-calls", "Now", "Calls fail".into());
    compare_settings(&without.truth["settings"], &mut comparison);
}
