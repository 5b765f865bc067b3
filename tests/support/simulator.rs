//! The call-simulator: sends calls made from a seed and reports exactly which were acknowledged.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use super::exporter::{CALL_EVENT_PATH, Exporter};
use super::scrape::{Page, Series};

/// What the simulator sent.
#[derive(Debug)]
pub struct Report {
    /// Calls that were answered 200, each counted once.
    pub acknowledged: u64,
    /// Calls that were sent a second time and answered 200.
    pub duplicates: u64,
    /// Every series of calls that must not be zero, with its value; a histogram is its count and its sum.
    pub series: BTreeMap<Series, f64>,
}

/// Sends calls to an exporter; panics unless every one of them was acknowledged.
pub fn send(exporter: &Exporter, arguments: &[&str]) -> Report {
    report(start(exporter.call_events, arguments))
}

/// Starts to send calls.
pub fn start(call_events: SocketAddr, arguments: &[&str]) -> Child {
    let target = format!("http://{call_events}{CALL_EVENT_PATH}");
    Command::new(env!("CARGO_BIN_EXE_call-simulator"))
        .args(["--json", "--target", &target])
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the simulator runs")
}

/// Ends sending early; panics unless every call that was sent was acknowledged.
pub fn interrupt(simulator: Child) -> Report {
    let kill = format!("kill -s INT {}", simulator.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success(), "{kill}");
    report(simulator)
}

/// Waits until everything is sent; panics unless every call was acknowledged.
pub fn report(simulator: Child) -> Report {
    let output = simulator.wait_with_output().expect("the simulator's output");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the simulator ended with {}: {errors}", output.status);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a report in JSON");
    let number = |name: &str| report[name].as_u64().unwrap_or_else(|| panic!("no {name} in {report}"));
    let others = (number("refused"), number("unacknowledged"), number("known"));
    assert_eq!(others, (0, 0, 0), "{report}");
    let acknowledged = number("acknowledged");
    assert_eq!(acknowledged, number("sent"));
    let series = read_series(&report["metrics"]).unwrap_or_else(|| panic!("no series in {report}"));
    Report { acknowledged, duplicates: number("duplicates"), series }
}

fn read_series(metrics: &serde_json::Value) -> Option<BTreeMap<Series, f64>> {
    let mut series = BTreeMap::new();
    for (name, lines) in metrics.as_object()? {
        for line in lines.as_array()? {
            let labels = line["labels"].as_object()?.iter();
            let labels: Option<BTreeMap<_, _>> =
                labels.map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect();
            let labels = labels?;
            match line["value"].as_f64() {
                Some(value) => drop(series.insert((name.clone(), labels), value)),
                None => {
                    series.insert((format!("{name}_count"), labels.clone()), line["count"].as_f64()?);
                    series.insert((format!("{name}_sum"), labels), line["sum"].as_f64()?);
                }
            }
        }
    }
    series.retain(|_, value| *value != 0.0);
    Some(series)
}

/// The series of calls that the report has, taken from a page: all of them but buckets, zeros and what is
/// about the last calls or minutes.
pub fn series_of_calls(page: &Page) -> BTreeMap<Series, f64> {
    only_of_calls(page.beginning_with("planet_call"))
}

/// Those series among others that the report has.
pub fn only_of_calls(mut series: BTreeMap<Series, f64>) -> BTreeMap<Series, f64> {
    series.retain(|(name, _), value| {
        name.starts_with("planet_call")
            && !name.ends_with("_bucket")
            && name != "planet_call_last_event_time_seconds"
            && !name.starts_with("planet_call_recent_")
            && name != "planet_call_abnormal_callers"
            && *value != 0.0
    });
    series
}

/// Asserts that two sets of series are the same, and shows only what differs.
pub fn assert_same(actual: &BTreeMap<Series, f64>, expected: &BTreeMap<Series, f64>) {
    let missing: Vec<_> =
        expected.iter().filter(|(series, value)| actual.get(series) != Some(value)).collect();
    let unexpected: Vec<_> =
        actual.iter().filter(|(series, value)| expected.get(series) != Some(value)).collect();
    assert!(!expected.is_empty(), "nothing was expected");
    assert!(
        missing.is_empty() && unexpected.is_empty(),
        "expected, but not there: {missing:#?}\nthere instead: {unexpected:#?}"
    );
}
