//! The panels of the dashboards keep the rules of good dashboards.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeSet;

use serde_json::Value;
use support::dashboards::{dashboards, expressions, metric_names, panels, rules};

/// What the users of such dashboards complain of must not be.
#[test]
fn dashboards_keep_the_rules_of_dashboards() {
    for dashboard in dashboards() {
        let title = dashboard["title"].as_str().expect("a title");
        assert_eq!(dashboard["schemaVersion"], 39, "{title}");
        assert!(dashboard["uid"].as_str().is_some_and(|uid| uid.starts_with("planet-")), "{title}");
        assert_eq!(dashboard["links"][0]["tags"], dashboard["tags"], "{title} leads to the others");
        let alerts = dashboard["annotations"]["list"][0]["expr"].as_str();
        assert!(alerts.is_some_and(|alerts| alerts.contains("ALERTS{")), "{title} shows when alerts fired");
        let variables = dashboard["templating"]["list"].as_array().expect("variables");
        let names: Vec<_> =
            variables.iter().map(|variable| variable["name"].as_str().expect("a name")).collect();
        assert!(names.starts_with(&["datasource", "job", "instance"]), "{title}: {names:?}");
        for variable in variables.iter().filter(|variable| variable["type"] == "query") {
            assert_eq!(
                (&variable["refresh"], &variable["multi"], &variable["allValue"]),
                (&2.into(), &true.into(), &".+".into()),
                "{title}: {variable}"
            );
        }
        let mut places = BTreeSet::new();
        for panel in dashboard["panels"].as_array().expect("panels") {
            let place = &panel["gridPos"];
            let number = |key: &str| place[key].as_u64().expect("a number");
            assert!(number("x") + number("w") <= 24, "{title}: {panel}");
            for x in number("x")..number("x") + number("w") {
                for y in number("y")..number("y") + number("h") {
                    assert!(places.insert((x, y)), "{title}: two panels at {x}, {y}");
                }
            }
        }
        let bottom = places.iter().map(|(_, y)| y + 1).max().expect("panels");
        assert_eq!(places.len() as u64, 24 * bottom, "{title} has no holes");
    }
    for (dashboard, panel) in panels() {
        let name = format!("{dashboard}, {}", panel["title"]);
        for text in ["title", "description"] {
            assert!(panel[text].as_str().is_some_and(|text| !text.is_empty()), "{name} has a {text}");
        }
        assert!(panel["fieldConfig"]["defaults"]["noValue"].is_string(), "{name} says when it is empty");
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{name}");
        assert_units_and_colours(&name, &panel);
        for target in panel["targets"].as_array().expect("targets") {
            assert_windows(&name, &panel, target);
        }
        for expression in expressions(&panel) {
            assert_heeds_the_variables(&name, &expression);
        }
    }
}

/// A colour means a fault domain or a state: everything else has that of text, or shades of grey.
fn assert_units_and_colours(name: &str, panel: &Value) {
    let units = ["percentunit", "s", "dthms", "short", "none", "bytes", "dateTimeAsIsoNoDateIfToday"];
    let defaults = &panel["fieldConfig"]["defaults"];
    let unit = defaults["unit"].as_str().unwrap_or_default();
    assert!(units.contains(&unit), "{name} has the unit {unit:?}");
    let colour = &defaults["color"];
    match colour["mode"].as_str() {
        Some("thresholds") => {}
        Some("fixed") => assert_eq!(colour["fixedColor"], "text", "{name}"),
        Some("shades") => assert_eq!(colour["fixedColor"], "#B4BAC4", "{name}"),
        mode => panic!("{name} has the colours {mode:?}"),
    }
    let overrides = panel["fieldConfig"]["overrides"].as_array().expect("overrides");
    if panel["type"] == "timeseries" {
        for domain in ["none", "user", "client", "network", "platform", "application", "unknown"] {
            let colours = overrides.iter().filter(|matcher| matcher["matcher"]["options"] == domain).count();
            assert_eq!(colours, 1, "{name} has one colour for {domain}");
        }
    }
}

/// A headline is of a fixed window, which its title or a column names, or of the time that is shown; a share in a graph
/// is of a window that does not depend on the width of a screen.
fn assert_windows(name: &str, panel: &Value, target: &Value) {
    let is_number = panel["type"] == "stat" || panel["type"] == "table";
    assert_eq!(target["instant"], is_number, "{name}");
    let expression = target["expr"].as_str().expect("an expression");
    let is_share = panel["fieldConfig"]["defaults"]["unit"] == "percentunit";
    for call in ["rate(", "increase(", "changes(", "resets("] {
        for rest in expression.split(call).skip(1) {
            let window = rest.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
            let window = window.map(|(window, _)| window).unwrap_or_default();
            let of_alerts = ["5m", "10m", "20m", "90m", "1h", "7d"];
            let is_allowed = of_alerts.contains(&window)
                || match window {
                    "$__range" => is_number,
                    "$window" => !is_number,
                    "$__rate_interval" => !is_number && !is_share,
                    _ => false,
                };
            assert!(is_allowed, "{name}: the window {window:?} in {expression}");
        }
    }
}

fn assert_heeds_the_variables(name: &str, expression: &str) {
    // Alerts and settings are of no exporter.
    let is_of_none = expression.contains("ALERTS") || expression.contains("\"setting\"");
    for variable in ["job=~\"$job", "instance=~\"$instance\""] {
        assert!(is_of_none || expression.contains(variable), "{name} heeds {variable}: {expression}");
    }
}

/// Whoever is woken up by an alert finds what it looked at.
#[test]
fn every_metric_of_an_alert_is_in_a_panel() {
    let shown: BTreeSet<_> = panels()
        .iter()
        .flat_map(|(_, panel)| expressions(panel))
        .flat_map(|expression| metric_names(&expression))
        .collect();
    for (name, expression) in rules() {
        for metric in metric_names(&expression) {
            // What rules record is made of metrics that are looked for themselves.
            assert!(shown.contains(&metric) || metric.contains(':'), "{name} looks at {metric}");
        }
    }
}
