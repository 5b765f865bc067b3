//! The page of the exporter.

use serde_json::Value;

use crate::comparison::Comparison;
use crate::truth::Service;

/// The page of the exporter; `states` are those of its two exporters.
pub(crate) fn compare_exporter(
    service: &Service<'_>,
    settings: &Value,
    comparison: &mut Comparison<'_>,
    headline: &str,
    states: [&str; 2],
) {
    let page = "planet-exporter";
    comparison.stat(page, "Now", headline.into());
    let alive = states.iter().filter(|state| **state != "dead").count();
    comparison.stat(page, "Alive", alive.to_string().into());
    let since = service.truth["since the last call"].as_u64().expect("seconds");
    comparison.stat(
        page,
        "Since the last call event",
        format!("00:{:02}:{:02}", since / 60, since % 60).into(),
    );
    comparison.panel(page, "Call events, 10 minutes");
    let shown = comparison.panel(page, "Exporters").as_array().expect("rows");
    assert_eq!(shown.len(), 2, "{shown:?}");
    for row in shown {
        let instance = row["Instance"].as_str().expect("an instance");
        let truth = &service.truth["exporters"][instance];
        let state = states[usize::from(instance.ends_with('1'))];
        assert_eq!((&row["Service"], &row["State"]), (&service.name.into(), &state.into()), "{row}");
        assert!(row["Version"].as_str().is_some_and(|version| version.starts_with("0.4.")), "{row}");
        assert_eq!(row["Last call"], truth["last call"], "{row}");
        assert_eq!(row["Starts, 1 hour"], truth["starts"].to_string(), "{row}");
        assert_eq!(row["Lost, 1 hour"], "0", "{row}");
        if state == "dead" {
            continue;
        }
        // A push does not say when the exporter started.
        if service.name != "pushed" {
            assert_eq!(row["Started"], truth["started"], "{row}");
        }
        let minutes = truth["oldest"].as_u64().expect("seconds") / 60;
        let oldest = if minutes == 0 { "0 s".to_owned() } else { format!("{minutes} mins") };
        assert_eq!(row["Oldest in a sink"], oldest, "{row}");
    }
    for row in comparison.panel(page, "What must not happen, 1 hour").as_array().expect("rows") {
        let expected = match row["What"].as_str().expect("text") {
            "Deliveries that failed (retry, refused)" => service.truth["failed deliveries"].to_string(),
            // The gauges of what is gone are not known any more.
            what if alive == 0 && what.ends_with("now") => panic!("{row}"),
            _ => "0".to_owned(),
        };
        assert_eq!(row["How often"], expected, "{row}");
    }
    compare_settings(settings, comparison);
}

pub(crate) fn compare_settings(settings: &Value, comparison: &mut Comparison<'_>) {
    let shown = comparison.panel("planet-exporter", "Settings").as_array().expect("rows");
    assert_eq!(shown.len(), settings.as_object().expect("settings").len());
    for row in shown {
        let value = row["Value"].as_str().and_then(|text| text.parse::<f64>().ok());
        assert_eq!(value, settings[row["Setting"].as_str().expect("a setting")].as_f64(), "{row}");
    }
}
