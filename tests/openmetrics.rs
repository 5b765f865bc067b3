//! The promise: who asks for OpenMetrics gets it as the specification says, with the same series as everybody else gets in text
//! format, and with the trace IDs of calls to look at.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use support::call::{CallEventQuery, sid};
use support::exporter::Exporter;
use support::http::{self, Response};
use support::prometheus::Prometheus;
use support::{Scratch, eventually, simulator};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What Prometheus 2.42 and 3.16 send by default.
const PROMETHEUS_2: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
    text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
const PROMETHEUS_3: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
    application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
    text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

fn page(exporter: &Exporter, headers: &[(&str, &str)]) -> Response {
    http::request(exporter.admin, "GET", "/metrics", headers)
}

fn openmetrics(exporter: &Exporter) -> String {
    let page = page(exporter, &[("accept", PROMETHEUS_3)]);
    assert_eq!(page.header("content-type"), Some(OPENMETRICS));
    page.text()
}

/// Calls with labels that are hard to write down, odd ones, and a busy second.
fn send_calls(exporter: &Exporter) {
    for (number, text) in ["\"quoted\"", "back\\slash", "new\nline", "통화", "{}=,# 1"].iter().enumerate() {
        let query = CallEventQuery::new(number).with("rel_code_str", text);
        assert_eq!(exporter.send(&query.encode()).status, 200);
    }
    simulator::send(exporter, &["--calls", "500", "--rate", "2000", "--odd-share", "0.05", "--seed", "7"]);
}

#[test]
fn who_asks_for_openmetrics_gets_it_and_everybody_else_text() {
    let exporter = Exporter::start();
    for accept in [PROMETHEUS_2, PROMETHEUS_3] {
        let plain = page(&exporter, &[("accept", accept)]);
        assert_eq!((plain.status, plain.header("content-type")), (200, Some(OPENMETRICS)), "{accept}");
        assert_eq!(plain.header("vary"), Some("Accept, Accept-Encoding"));
        assert!(plain.text().ends_with("\n# EOF\n"));
        let compressed = page(&exporter, &[("accept", accept), ("accept-encoding", "gzip")]);
        assert_eq!(compressed.header("content-type"), Some(OPENMETRICS));
        assert_eq!(compressed.header("content-encoding"), Some("gzip"));
        let mut text = String::new();
        flate2::read::GzDecoder::new(compressed.body.as_slice()).read_to_string(&mut text).expect("gzip");
        assert!(text.ends_with("\n# EOF\n"));
    }
    let head = http::request(exporter.admin, "HEAD", "/metrics", &[("accept", PROMETHEUS_2)]);
    assert_eq!(head.header("content-type"), Some(OPENMETRICS));
    // Nothing, a person, curl and Datadog, and somebody who wants another OpenMetrics.
    for accept in [
        None,
        Some("text/plain"),
        Some("*/*"),
        Some("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        Some("application/openmetrics-text;version=2.0.0,*/*;q=0.1"),
    ] {
        let headers: Vec<_> = accept.iter().map(|accept| ("accept", *accept)).collect();
        let text = page(&exporter, &headers);
        assert_eq!((text.status, text.header("content-type")), (200, Some(TEXT)), "{accept:?}");
        assert_eq!(text.header("vary"), Some("Accept, Accept-Encoding"));
        assert!(!text.text().contains("# EOF"));
    }
}

/// What the parser of the specification's authors reads of a page: each family's name, type, unit, help and samples.
fn parsed(page: &str) -> Vec<Value> {
    const PROGRAM: &str = "import json, sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
print(json.dumps([
    [family.name, family.type, family.unit, family.documentation, [
        [sample.name, sample.labels, sample.value, sample.exemplar and str(sample.exemplar)] for sample in family.samples]]
    for family in text_string_to_metric_families(sys.stdin.read())]))";
    let named = std::env::var_os("PLANET_TEST_PROMETHEUS_CLIENT").map(PathBuf::from);
    let modules =
        named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/prometheus_client"));
    let mut python = Command::new("python3")
        .args(["-c", PROGRAM])
        .env("PYTHONPATH", modules)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    python.stdin.take().expect("a pipe").write_all(page.as_bytes()).expect("a parser that reads");
    let output = python.wait_with_output().expect("an end");
    assert!(output.status.success(), "the parser refuses the page, or tests/run did not install it:\n{page}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The samples that the parser read, under their names and labels.
fn samples(families: &[Value]) -> BTreeMap<(String, String), f64> {
    let samples = families.iter().flat_map(|family| family[4].as_array().expect("samples"));
    let sample = |sample: &Value| {
        let name = sample[0].as_str().expect("a name").to_owned();
        ((name, sample[1].to_string()), sample[2].as_f64().expect("a number"))
    };
    samples.map(sample).collect()
}

#[test]
fn the_reference_parser_reads_the_same_samples_as_the_text_page_has() {
    let exporter = Exporter::with(&["--idcs", "KR,JP,TW"]);
    send_calls(&exporter);
    let page = openmetrics(&exporter);
    assert!(!page.lines().any(str::is_empty), "no blank lines");
    let families = parsed(&page);
    let text = exporter.metrics();
    let (of_page, of_text) = (samples(&families), text.beginning_with(""));
    let labels = |labels: &BTreeMap<String, String>| serde_json::json!(labels).to_string();
    let of_text: BTreeMap<_, _> =
        of_text.into_iter().map(|((name, of), value)| ((name, labels(&of)), value)).collect();
    assert_eq!(of_page.keys().collect::<Vec<_>>(), of_text.keys().collect::<Vec<_>>());
    for ((series, value), of_text) in of_page.iter().zip(of_text.values()) {
        // What the exporter itself does goes on meanwhile.
        if series.0.starts_with("planet_call") {
            assert_eq!(value, of_text, "{series:?}");
        }
    }
    let of_families: BTreeMap<_, _> = families
        .iter()
        .map(|family| {
            let text = |at: usize| family[at].as_str().expect("a text");
            (text(0), (text(1), text(2)))
        })
        .collect();
    for (name, kind, unit) in [
        ("planet_calls", "counter", ""),
        ("planet_call_billed_seconds", "counter", "seconds"),
        ("planet_call_duration_seconds", "histogram", "seconds"),
        ("planet_call_last_event_time_seconds", "gauge", "seconds"),
        ("planet_exporter_journal_size_bytes", "gauge", "bytes"),
        ("planet_exporter_request_duration_seconds", "histogram", "seconds"),
        ("process_cpu_seconds", "counter", "seconds"),
        ("process_resident_memory_bytes", "gauge", "bytes"),
        ("process_open_fds", "gauge", ""),
    ] {
        assert_eq!(of_families.get(name), Some(&(kind, unit)), "{name}");
    }
    let exemplars = families.iter().flat_map(|family| family[4].as_array().expect("samples"));
    assert!(exemplars.filter(|sample| !sample[3].is_null()).count() > 10, "exemplars are read");
    // The parser judges: a page that is wrong is found to be so.
    let wrong = page.replace("# TYPE planet_calls counter", "# TYPE planet_calls_total counter");
    assert!(std::panic::catch_unwind(|| parsed(&wrong)).is_err());
}

/// Where a page is answered as if nobody had asked for a format, so that Prometheus takes the text format.
fn without_accept(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            std::thread::spawn(move || answer_without_accept(&client, server));
        }
    });
    address
}

fn answer_without_accept(mut client: &TcpStream, server: SocketAddr) {
    let lines = BufReader::new(client).lines().map_while(Result::ok).take_while(|line| !line.is_empty());
    assert!(lines.count() > 1, "a request");
    let answer = http::get(server, "/metrics");
    let head = format!(
        "HTTP/1.1 {} OK\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        answer.status,
        answer.header("content-type").expect("a type"),
        answer.body.len()
    );
    // It may have gone when the test has ended.
    let _ = client.write_all(&[head.as_bytes(), &answer.body].concat());
}

/// Scrapes the same exporter in both formats, and compares every series.
fn both_formats_are_the_same_series(program: &Path) {
    let exporter = Exporter::with(&["--idcs", "KR,JP"]);
    send_calls(&exporter);
    let accepted = exporter.metrics().sum("planet_calls_total");
    let jobs = [("openmetrics", exporter.admin), ("text", without_accept(exporter.admin))];
    let mut prometheus = Prometheus::of(program, &jobs, "");
    for job in ["openmetrics", "text"] {
        let selector = format!("sum(planet_calls_total{{job='{job}'}})");
        prometheus.wait_until(&selector, |calls| calls == accepted);
    }
    let types = prometheus.get("/api/v1/targets/metadata?metric=planet_calls");
    assert_eq!(types["data"][0]["type"], "counter", "one of the two is OpenMetrics: {types}");
    let types = prometheus.get("/api/v1/targets/metadata?metric=planet_calls_total");
    assert_eq!(types["data"].as_array().map(Vec::len), Some(1), "the other is text: {types}");
    let of = |job: &str| prometheus.query(&format!("{{__name__=~'planet_.*|process_.*',job='{job}'}}"));
    // One of them may have been scraped once more than the other, which has seen a series of the exporter itself meanwhile.
    let (in_openmetrics, in_text) = eventually("the same series", || {
        let both = (of("openmetrics"), of("text"));
        both.0.keys().eq(both.1.keys()).then_some(both)
    });
    let names: BTreeSet<_> = in_text.keys().map(|(name, _)| name.as_str()).collect();
    for name in
        ["process_cpu_seconds_total", "planet_call_duration_seconds_bucket", "planet_exporter_events_total"]
    {
        assert!(names.contains(name), "{name}");
    }
    for (series, value) in in_text.iter().filter(|((name, _), _)| name.starts_with("planet_call")) {
        assert_eq!(in_openmetrics.get(series), Some(value), "{series:?}");
    }
}

#[test]
fn prometheus_2_makes_the_same_series_of_both_formats() {
    both_formats_are_the_same_series(Path::new("prometheus"));
}

#[test]
#[ignore = "needs the Prometheus that tests/run --peers builds"]
fn prometheus_3_makes_the_same_series_of_both_formats() {
    both_formats_are_the_same_series(&prometheus_3());
}

/// The trace IDs of the exemplars that a Prometheus keeps, each with its value and the labels of its series.
fn exemplars(prometheus: &Prometheus, selector: &str) -> BTreeMap<String, (f64, Value)> {
    let query = format!("/api/v1/query_exemplars?query={selector}&start=0&end=4000000000");
    let answer = prometheus.get(&query);
    assert_eq!(answer["status"], "success", "{answer}");
    let mut exemplars = BTreeMap::new();
    for series in answer["data"].as_array().expect("a list") {
        for exemplar in series["exemplars"].as_array().expect("a list") {
            assert_eq!(exemplar["labels"].as_object().map(serde_json::Map::len), Some(1), "{exemplar}");
            let trace_id = exemplar["labels"]["trace_id"].as_str().expect("a trace ID").to_owned();
            let value = exemplar["value"].as_str().expect("text").parse().expect("a number");
            exemplars.insert(trace_id, (value, series["seriesLabels"].clone()));
        }
    }
    exemplars
}

fn trace_id(number: usize) -> String {
    sid(number).replace('-', "")
}

/// A Prometheus that keeps exemplars shows which calls were counted, from graph to trace.
fn the_calls_behind_a_graph_are_found(program: &Path) {
    let exporter = Exporter::start();
    let feature = ["--enable-feature=exemplar-storage"];
    let mut prometheus = Prometheus::with(program, &[("planet", exporter.admin)], "", &feature);
    prometheus.wait_until("up", |up| up == 1.0);
    let send = |number: usize, reason: &str, duration: &str| {
        let query = CallEventQuery::new(number).with("disconnect_reason", reason).with("duration", duration);
        assert_eq!(exporter.send(&query.encode()).status, 200);
    };
    send(1, "1001", "30");
    send(2, "1301", "4000");
    let found = |prometheus: &Prometheus, selector: &str, number: usize| {
        eventually("the exemplar", || exemplars(prometheus, selector).remove(&trace_id(number)))
    };
    let (value, series) = found(&prometheus, "planet_call_duration_seconds_bucket", 1);
    assert_eq!((value, &series["le"].as_str().expect("a bucket")[..2]), (30.0, "30"));
    let (value, series) = found(&prometheus, "planet_call_duration_seconds_bucket", 2);
    assert_eq!((value, &series["le"].as_str().expect("a bucket")[..4]), (4000.0, "7200"));
    let (value, series) = found(&prometheus, "planet_call_setup_duration_seconds_bucket", 2);
    assert_eq!((value, &series["answered"]), (4.0, &Value::from("true")));
    let (value, series) = found(&prometheus, "planet_call_abnormal_releases_total", 2);
    assert_eq!((value, &series["disconnect_reason"]), (1.0, &Value::from("NETWORK_UNSTABLE")));
    // A later one is added to those that Prometheus has.
    send(3, "1301", "4001");
    found(&prometheus, "planet_call_abnormal_releases_total", 3);
    let kept = exemplars(&prometheus, "planet_call_abnormal_releases_total");
    assert_eq!(kept.keys().collect::<Vec<_>>(), [&trace_id(2), &trace_id(3)]);
    for word in ["out-of-order exemplars", "Error on ingesting", "Error while adding exemplar"] {
        assert!(prometheus.said(word).is_none(), "{word}");
    }
}

#[test]
fn prometheus_2_finds_the_calls_behind_a_graph() {
    the_calls_behind_a_graph_are_found(Path::new("prometheus"));
}

#[test]
#[ignore = "needs the Prometheus that tests/run --peers builds"]
fn prometheus_3_finds_the_calls_behind_a_graph() {
    the_calls_behind_a_graph_are_found(&prometheus_3());
}

#[test]
fn exemplars_are_in_openmetrics_only_and_in_memory_only() {
    let scratch = Scratch::new("exemplars");
    let state = scratch.0.join("state").to_string_lossy().into_owned();
    let mut exporter = Exporter::with(&["--state-dir", &state]);
    send_calls(&exporter);
    let shown = openmetrics(&exporter);
    let (mut buckets, mut releases) = (0, 0);
    for line in shown.lines().filter(|line| line.contains(" # {")) {
        let (sample, exemplar) = line.rsplit_once(" # ").expect("an exemplar");
        let name = sample.split('{').next().expect("a name");
        match name {
            "planet_call_duration_seconds_bucket" | "planet_call_setup_duration_seconds_bucket" => {
                buckets += 1
            }
            "planet_call_abnormal_releases_total" => releases += 1,
            _ => panic!("{line}"),
        }
        assert!(exemplar.starts_with("{trace_id=\"") && exemplar.find("\"}") == Some(43), "{line}");
        assert!(!sample.ends_with(" 0"), "what has counted nothing shows no call: {line}");
    }
    assert!(buckets > 10 && releases > 3, "{buckets} of buckets, {releases} of releases");
    assert!(!exporter.admin("/metrics").text().contains("trace_id"));
    exporter.process.signal("TERM");
    exporter.process.wait();
    let again = Exporter::with(&["--state-dir", &state]);
    let shown = openmetrics(&again);
    assert!(again.metrics().sum("planet_calls_total") > 500.0 && !shown.contains("trace_id"));
}

#[test]
fn a_series_that_is_shown_at_zero_shows_no_call() {
    let exporter = Exporter::start();
    let mut connection = http::Connection::open(exporter.admin);
    let mut scraped = || {
        connection.send(format!(
            "GET /metrics HTTP/1.1\r\nHost: x\r\nUser-Agent: Prometheus/3.1\r\nAccept: {PROMETHEUS_3}\r\n\
             X-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n"
        ));
        let page = connection.receive().text();
        page.lines().filter(|line| line.contains("trace_id")).count()
    };
    assert_eq!(scraped(), 0);
    assert_eq!(exporter.send(&CallEventQuery::new(1).encode()).status, 200);
    assert_eq!(scraped(), 0, "the page on which they stand at 0");
    // A bucket of the duration and one of the setup duration.
    assert_eq!(scraped(), 2);
}

#[test]
fn births_are_shown_if_they_are_wanted_and_known() {
    let before = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    for arguments in [&["--created-series", "true"][..], &["--created-series=true"]] {
        let exporter = Exporter::with(arguments);
        send_calls(&exporter);
        let page = openmetrics(&exporter);
        let samples = samples(&parsed(&page));
        let births: Vec<_> = samples.iter().filter(|((name, _), _)| name.ends_with("_created")).collect();
        let names: BTreeSet<_> = births.iter().map(|((name, _), _)| name.as_str()).collect();
        for name in [
            "planet_calls_created",
            "planet_call_duration_seconds_created",
            "planet_exporter_events_created",
            "planet_exporter_request_duration_seconds_created",
        ] {
            assert!(names.contains(name), "{name} is among {names:?}");
        }
        assert!(names.iter().all(|name| name.starts_with("planet_")), "{names:?}");
        for (series, born) in births {
            assert!(*born >= before - 1.0 && *born < before + 600.0, "{series:?} {born}");
        }
        assert!(!exporter.admin("/metrics").text().contains("_created"));
    }
    assert!(!openmetrics(&Exporter::start()).contains("_created"));
}

fn prometheus_3() -> PathBuf {
    let named = std::env::var_os("PLANET_TEST_PROMETHEUS_3").map(PathBuf::from);
    named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/prometheus3/prometheus"))
}
