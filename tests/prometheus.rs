//! The promise: what Prometheus shows is exactly what was sent, for every label set, and a series stands at 0 before the
//! first event that it is watched for.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::time::SystemTime;

use support::call::CallEventQuery;
use support::exporter::Exporter;
use support::prometheus::{Prometheus, check_metrics};
use support::scrape::{Page, Series, series};
use support::{http, simulator};

/// A busy day in a second: odd events, repeats, and an incident in one IDC.
const BUSY: [&str; 14] = [
    "--seed",
    "20200",
    "--calls",
    "3000",
    "--rate",
    "3000",
    "--odd-share",
    "0.05",
    "--repeat-share",
    "0.05",
    "--abnormal-share",
    "0.05",
    "--incident",
    "JP:SERVER_INTERNAL_ERROR:200ms:600ms:0.8",
];

const LAST_EVENT: &str = "planet_call_last_event_time_seconds";

/// Asserts that each IDC of the calls that were sent has the time of its last one, which was a moment ago.
fn assert_last_events(shown: BTreeMap<Series, f64>, sent: &BTreeMap<Series, f64>) {
    let of_results = sent.keys().filter(|(name, _)| name == "planet_call_results_total");
    let expected: BTreeSet<Series> =
        of_results.map(|(_, labels)| series(LAST_EVENT, &[("idc", &labels["idc"])])).collect();
    assert!(expected.len() > 1, "several IDCs were sent: {expected:?}");
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64();
    assert!(shown.values().all(|time| (now - 60.0..=now).contains(time)), "{shown:?} at {now}");
    assert_eq!(shown.into_keys().collect::<BTreeSet<_>>(), expected);
}

#[test]
fn prometheus_shows_exactly_what_the_simulator_sent() {
    let exporter = Exporter::start();
    let mut prometheus = Prometheus::scraping(exporter.admin);
    let report = simulator::send(&exporter, &BUSY);
    assert_eq!(report.acknowledged, 3_000);
    assert!(report.duplicates > 50, "{} repeats", report.duplicates);

    prometheus.wait_until("sum(planet_calls_total)", |calls| calls == 3_000.0);
    let shown = prometheus.query("{__name__=~'planet_call.*'}");
    simulator::assert_same(&simulator::only_of_calls(shown), &report.series);
    let page = exporter.metrics();
    simulator::assert_same(&simulator::series_of_calls(&page), &report.series);
    assert_last_events(prometheus.query(LAST_EVENT), &report.series);

    let events = "planet_exporter_events_total";
    assert_eq!(page.value(events, &[("result", "accepted")]), 3_000.0);
    assert_eq!(page.value(events, &[("result", "duplicate")]), report.duplicates as f64);
    let incident = "planet_call_abnormal_releases_total{disconnect_reason='SERVER_INTERNAL_ERROR'}";
    assert!(prometheus.query(incident).into_values().sum::<f64>() > 50.0, "the incident is to be seen");
    // What people do with it: a query over labels of two metrics.
    let answered = prometheus.wait_until("sum(planet_calls_total{answered='true'})", |calls| calls > 0.0);
    let durations = prometheus.wait_until("sum(planet_call_duration_seconds_count)", |calls| calls > 0.0);
    assert_eq!(answered, durations);
}

#[test]
fn promtool_finds_nothing_to_say_against_the_page() {
    let exporter = Exporter::with(&["--idcs", "KR,JP,TW"]);
    for (number, text) in ["\"quoted\"", "back\\slash", "new\nline", "통화", "{}=,"].iter().enumerate() {
        let query = CallEventQuery::new(number).with("rel_code_str", text);
        assert_eq!(exporter.send(&query.encode()).status, 200);
    }
    simulator::send(&exporter, &BUSY);
    let page = exporter.admin("/metrics").text();
    let output = check_metrics(&page);
    let said =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.is_empty(), "promtool says:\n{said}");
    // A page that is wrong is found to be so, that is: promtool looked.
    assert!(
        !check_metrics(&page.replace("# TYPE planet_calls_total counter", "# TYPE x y")).status.success()
    );
}

/// Every abnormal release that is known of an IDC, from the published table of disconnect reasons.
fn published_abnormal_releases(idc: &str) -> BTreeMap<Series, f64> {
    let at_zero = |reason: &str, domain: &str| {
        let labels = [("idc", idc), ("disconnect_reason", reason), ("fault_domain", domain)];
        (series("planet_call_abnormal_releases_total", &labels), 0.0)
    };
    // The deprecated code without a newer kin is in the header of PlanetKit only.
    let deprecated = at_zero("WRONG_ROOM_ATTR", "application");
    let mut releases = BTreeMap::from([at_zero("UNKNOWN", "unknown"), deprecated]);
    for line in include_str!("data/disconnect-reasons.tsv").lines().skip(1) {
        let columns: Vec<_> = line.split('\t').collect();
        match columns[5] {
            "none" | "user" => {}
            "by_releaser" => {
                releases.extend([at_zero(columns[1], "client"), at_zero(columns[1], "platform")]);
            }
            domain => releases.extend([at_zero(columns[1], domain)]),
        }
    }
    releases
}

#[test]
fn the_first_abnormal_release_of_its_kind_is_an_increase() {
    let exporter = Exporter::start();
    let mut prometheus = Prometheus::scraping(exporter.admin);
    prometheus.wait_until("up", |up| up == 1.0);
    let event = CallEventQuery::new(1).with("rc_idc", "KR").with("disconnect_reason", "1301");
    assert_eq!(exporter.send(&event.encode()).status, 200);
    let unstable = "planet_call_abnormal_releases_total{disconnect_reason='NETWORK_UNSTABLE'}";
    prometheus.wait_until(unstable, |releases| releases == 1.0);
    prometheus.wait_until(&format!("increase({unstable}[5m])"), |increase| increase > 0.0);
    // With its first call an IDC has every reason.
    let mut releases = published_abnormal_releases("KR");
    let labels = [("idc", "KR"), ("disconnect_reason", "NETWORK_UNSTABLE"), ("fault_domain", "network")];
    releases.insert(series("planet_call_abnormal_releases_total", &labels), 1.0);
    simulator::assert_same(&exporter.metrics().beginning_with("planet_call_abnormal_releases"), &releases);
}

#[test]
fn expected_idcs_have_their_usual_series_at_zero() {
    let exporter = Exporter::with(&["--idcs", "KR,JP"]);
    let page = exporter.metrics();
    let calls = page.named("planet_calls_total");
    assert!(calls.values().all(|value| *value == 0.0));
    for idc in ["KR", "JP"] {
        for media_type in ["audio", "video"] {
            let of_both = |labels: &&BTreeMap<String, String>| {
                labels["idc"] == idc && labels["media_type"] == media_type
            };
            let labels: Vec<_> = calls.keys().filter(of_both).collect();
            let usual = |name: &str, value: &str| labels.iter().any(|labels| labels[name] == value);
            for reason in ["NORMAL", "DECLINE", "CANCEL", "BUSY", "NOANSWER"] {
                assert!(usual("disconnect_reason", reason), "{idc} {media_type} {reason}");
            }
            assert!(usual("answered", "true") && usual("answered", "false"), "{idc} {media_type}");
            let billed = [("media_type", media_type), ("idc", idc)];
            assert_eq!(page.value("planet_call_billed_seconds_total", &billed), 0.0);
        }
    }
    let idcs: std::collections::BTreeSet<_> = calls.keys().map(|labels| labels["idc"].as_str()).collect();
    assert_eq!(idcs.into_iter().collect::<Vec<_>>(), ["JP", "KR"]);
}

#[test]
fn the_page_keeps_its_order_from_scrape_to_scrape() {
    let exporter = Exporter::start();
    simulator::send(&exporter, &BUSY);
    // Answers of every kind, so that every series of the exporter's own is there.
    exporter.send("no call");
    exporter.get("/elsewhere");
    let first = exporter.metrics().order;
    for number in 0..5 {
        assert_eq!(exporter.send(&CallEventQuery::new(number).encode()).status, 200);
        let next = exporter.metrics().order;
        let known: Vec<_> = next.iter().filter(|series| first.contains(series)).cloned().collect();
        assert_eq!(known, first);
    }
}

#[test]
fn the_page_says_what_it_is_and_is_compressed_if_asked_for() {
    let exporter = Exporter::start();
    assert_eq!(exporter.send(&CallEventQuery::new(1).encode()).status, 200);
    let plain = exporter.admin("/metrics");
    assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(plain.header("content-encoding"), None);
    let page = Page::read(&plain.text());
    assert_eq!(page.types["planet_calls_total"], "counter");
    assert_eq!(page.types["planet_call_duration_seconds"], "histogram");
    assert_eq!(page.types["planet_call_last_event_time_seconds"], "gauge");

    let asked =
        |accept: &str| http::request(exporter.admin, "GET", "/metrics", &[("accept-encoding", accept)]);
    for accept in ["gzip", "deflate, gzip;q=0.5", "GZIP"] {
        let answer = asked(accept);
        assert_eq!(answer.header("content-encoding"), Some("gzip"), "{accept}");
        assert_eq!(answer.header("content-type"), plain.header("content-type"));
        let mut text = String::new();
        flate2::read::GzDecoder::new(answer.body.as_slice()).read_to_string(&mut text).expect("gzip");
        assert_eq!(Page::read(&text).beginning_with("planet_call"), page.beginning_with("planet_call"));
        assert!(answer.body.len() * 2 < text.len(), "{} of {} bytes", answer.body.len(), text.len());
    }
    for accept in ["identity", "br", "gzip;q=0", "gzip; q=0.0, identity"] {
        assert_eq!(asked(accept).header("content-encoding"), None, "{accept}");
    }
}
