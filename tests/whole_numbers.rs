//! The promise: a Prometheus holds every call, whatever series it makes and whatever dies. What it holds of a series is
//! the last raw sample less the first, with what was counted before a counter began anew; of all series together that
//! is every call that was sent.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use support::call::CallEventQuery;
use support::exporter::{Exporter, command};
use support::prometheus::Prometheus;
use support::{Scratch, eventually, free_address, http};

/// The metrics that count each call once, and that of abnormal releases.
const OF_CALLS: [&str; 5] = [
    "planet_calls_total",
    "planet_call_results_total",
    "planet_call_releases_total",
    "planet_call_setup_duration_seconds_count",
    "planet_exporter_events_total{result='accepted'}",
];
const ABNORMAL: &str = "planet_call_abnormal_releases_total";

/// An exporter whose addresses stay the same.
struct Site {
    directory: Scratch,
    call_events: SocketAddr,
    admin: SocketAddr,
}

impl Site {
    fn new() -> Site {
        Site { directory: Scratch::new("whole"), call_events: free_address(), admin: free_address() }
    }

    fn command(&self) -> Command {
        let mut command = command();
        let state = self.directory.0.join("state");
        command
            .args(["--listen", &self.call_events.to_string(), "--admin-listen", &self.admin.to_string()])
            .args(["--state-dir", &state.to_string_lossy()]);
        command
    }

    fn start(&self) -> Exporter {
        Exporter::launch_as_it_is(&mut self.command())
    }
}

/// A call of one of six IDCs that ends for one of eleven reasons: soon there are as many series as there are calls.
fn call(number: usize) -> CallEventQuery {
    const IDCS: [&str; 6] = ["KR", "JP", "TW", "TH", "ID", "US"];
    const REASONS: [&str; 11] =
        ["1001", "1301", "1302", "1101", "1102", "1203", "1399", "1202", "1201", "1403", "1002"];
    CallEventQuery::new(number)
        .with("rc_idc", IDCS[number % IDCS.len()])
        .with("disconnect_reason", REASONS[number % REASONS.len()])
        .with("type", if number.is_multiple_of(3) { "V" } else { "A" })
        .with("rel_code", &(number % 7).to_string())
}

fn send(exporter: &Exporter, numbers: std::ops::Range<usize>) {
    for number in numbers {
        assert_eq!(exporter.send(&call(number).encode()).status, 200);
    }
}

fn held(prometheus: &Prometheus, selector: &str) -> f64 {
    prometheus.growth(selector).values().sum()
}

/// Waits until a Prometheus holds exactly what the exporter shows a person, which is every call.
fn assert_holds(prometheus: &mut Prometheus, exporter: &Exporter, calls: usize) {
    let page = exporter.metrics();
    assert_eq!(page.sum("planet_calls_total"), calls as f64);
    let abnormal = page.sum(ABNORMAL);
    assert!(abnormal > 0.0);
    eventually("all calls in Prometheus", || {
        (held(prometheus, ABNORMAL) >= abnormal && held(prometheus, OF_CALLS[0]) >= calls as f64)
            .then_some(())
    });
    for selector in OF_CALLS {
        assert_eq!(held(prometheus, selector), calls as f64, "{selector}");
    }
    assert_eq!(held(prometheus, ABNORMAL), abnormal);
    let per_series = prometheus.growth(OF_CALLS[0]);
    for (labels, value) in page.named(OF_CALLS[0]) {
        assert_eq!(per_series.get(&(OF_CALLS[0].to_owned(), labels.clone())), Some(&value), "{labels:?}");
    }
}

fn scrapes(program: &Path, site: &Site) -> Prometheus {
    let mut prometheus = Prometheus::of(program, &[("planet", site.admin)], "");
    prometheus.wait_until("up", |up| up == 1.0);
    prometheus
}

/// Bursts of calls of all sorts, kills between them, an IDC that comes late, people who look, two of each Prometheus.
fn every_call_is_held(program: &Path) {
    let site = Site::new();
    let mut exporter = site.start();
    let mut prometheis = [scrapes(program, &site), scrapes(program, &site)];
    let mut sent = 0;
    for burst in [100, 7, 60, 1, 132] {
        send(&exporter, sent..sent + burst);
        sent += burst;
        let page = exporter.metrics();
        assert_eq!(page.sum("planet_calls_total"), sent as f64, "a person sees values at once");
        if burst % 2 == 0 {
            exporter.kill();
            exporter = site.start();
        } else {
            for prometheus in &mut prometheis {
                assert_holds(prometheus, &exporter, sent);
            }
        }
    }
    let late = CallEventQuery::new(sent).with("rc_idc", "DE").with("disconnect_reason", "1301");
    assert_eq!(exporter.send(&late.encode()).status, 200);
    for prometheus in &mut prometheis {
        assert_holds(prometheus, &exporter, sent + 1);
    }
    // An orderly stop, and on.
    exporter.process.signal("TERM");
    exporter.process.wait();
    let exporter = site.start();
    send(&exporter, sent + 1..sent + 40);
    for prometheus in &mut prometheis {
        assert_holds(prometheus, &exporter, sent + 40);
    }
}

#[test]
fn prometheus_2_holds_every_call_whatever_dies() {
    every_call_is_held(Path::new("prometheus"));
}

#[test]
#[ignore = "needs the Prometheus that tests/run --peers builds"]
fn prometheus_3_holds_every_call_whatever_dies() {
    every_call_is_held(&prometheus_3());
}

/// The pod of an exporter, as Prometheus discovers it.
struct Pod {
    directory: Scratch,
}

impl Pod {
    fn is_at(&self, address: SocketAddr) {
        let labels = json!({
            "__meta_kubernetes_namespace": "voice",
            "__meta_kubernetes_pod_name": "live-0",
            "__meta_kubernetes_pod_container_name": "planet-call-exporter",
            "__meta_kubernetes_pod_container_port_name": "planet-metrics",
        });
        let pods = json!([{"targets": [address.to_string()], "labels": labels}]);
        let written = self.directory.0.join("pods.new");
        fs::write(&written, pods.to_string()).expect("a file");
        fs::rename(written, self.file()).expect("a file in its place");
    }

    fn file(&self) -> PathBuf {
        self.directory.0.join("pods.json")
    }

    /// The scrape job of the documentation, which finds the pod in a file.
    fn scrape_job(&self) -> String {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/prometheus.md");
        let page = fs::read_to_string(page).expect("the documentation");
        let lines = page.lines().skip_while(|line| line.trim() != "scrape_configs:");
        let job: Vec<_> = lines.map_while(|line| line.strip_prefix("    ")).collect();
        let discovery =
            format!("file_sd_configs: [{{files: ['{}'], refresh_interval: 1s}}]", self.file().display());
        let found = job.join("\n").replace("kubernetes_sd_configs: [{role: pod}]", &discovery);
        assert!(found.contains(&discovery), "{found}");
        format!("global: {{scrape_interval: 1s}}\n{found}\n")
    }
}

/// A pod that is replaced again and again, by a kill or in order. Its address changes, and calls come before Prometheus
/// finds it.
fn every_call_is_held_across_pods(program: &Path) {
    let (mut site, pod) = (Site::new(), Pod { directory: Scratch::new("pods") });
    let mut exporter = site.start();
    pod.is_at(site.admin);
    let mut prometheus = Prometheus::configured(program, &pod.scrape_job(), &[]);
    let up = r#"up{job="planet-call-exporter",instance="voice.live-0.planet-call-exporter"}"#;
    prometheus.wait_until(up, |up| up == 1.0);
    let mut sent = 0;
    for (number, burst) in [90, 41, 7, 120, 33].into_iter().enumerate() {
        send(&exporter, sent..sent + burst);
        sent += burst;
        if number % 2 == 0 {
            exporter.kill();
        } else {
            assert_holds(&mut prometheus, &exporter, sent);
            exporter.process.signal("TERM");
            exporter.process.wait();
        }
        site.admin = free_address();
        exporter = site.start();
        send(&exporter, sent..sent + burst);
        sent += burst;
        pod.is_at(site.admin);
        prometheus.wait_until(up, |up| up == 1.0);
    }
    assert_holds(&mut prometheus, &exporter, sent);
    assert_eq!(prometheus.samples("count by (instance) (last_over_time(up[1h]))"), Ok(1));
}

#[test]
fn prometheus_2_holds_every_call_of_a_pod_that_is_replaced() {
    every_call_is_held_across_pods(Path::new("prometheus"));
}

#[test]
#[ignore = "needs the Prometheus that tests/run --peers builds"]
fn prometheus_3_holds_every_call_of_a_pod_that_is_replaced() {
    every_call_is_held_across_pods(&prometheus_3());
}

#[test]
#[ignore = "needs the Prometheus that tests/run --peers builds"]
fn prometheus_3_holds_every_call_that_is_pushed_to_it_and_knows_when_the_series_have_ended() {
    // It takes what it was not told the start of, and makes zeros of starts that it is told.
    for features in ["", "--enable-feature=created-timestamp-zero-ingestion"] {
        let arguments: Vec<&str> = ["--web.enable-otlp-receiver", features]
            .into_iter()
            .filter(|argument| !argument.is_empty())
            .collect();
        let mut prometheus = Prometheus::configured(&prometheus_3(), "global: {}", &arguments);
        let (site, endpoint) = (Site::new(), prometheus.otlp_metrics());
        let pushing = |identity: &str| {
            Exporter::launch_as_it_is(
                site.command()
                    .env("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", &endpoint)
                    .env("OTEL_METRIC_EXPORT_INTERVAL", "300")
                    .env("OTEL_RESOURCE_ATTRIBUTES", format!("service.instance.id={identity}")),
            )
        };
        let mut exporter = pushing("pod-0");
        let mut sent = 0;
        for burst in [100, 7, 60, 1, 132] {
            send(&exporter, sent..sent + burst);
            sent += burst;
            if burst % 2 == 0 {
                exporter.kill();
                exporter = pushing("pod-0");
            }
        }
        assert_holds(&mut prometheus, &exporter, sent);
        let gone = |prometheus: &Prometheus| prometheus.query("planet_calls_total").is_empty();
        assert!(!gone(&prometheus));
        exporter.process.signal("TERM");
        exporter.process.wait();
        eventually("an end of the series", || gone(&prometheus).then_some(()));
        // Under another identity old totals are no new calls.
        let exporter = pushing("pod-1");
        prometheus.wait_until("sum(planet_calls_total)", |calls| calls == sent as f64);
        assert_eq!(held(&prometheus, OF_CALLS[0]), sent as f64, "{features}");
        send(&exporter, sent..sent + 30);
        prometheus.wait_until("sum(planet_calls_total)", |calls| calls == (sent + 30) as f64);
        assert_eq!(held(&prometheus, OF_CALLS[0]), (sent + 30) as f64, "{features}");
    }
}

fn prometheus_3() -> PathBuf {
    let named = std::env::var_os("PLANET_TEST_PROMETHEUS_3").map(PathBuf::from);
    named.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/prometheus3/prometheus"))
}

#[test]
fn without_a_state_directory_every_call_is_held_as_well() {
    let exporter = Exporter::start();
    let mut prometheus = Prometheus::scraping(exporter.admin);
    prometheus.wait_until("up", |up| up == 1.0);
    send(&exporter, 0..300);
    assert_holds(&mut prometheus, &exporter, 300);
}

#[test]
fn who_comes_late_takes_no_old_total_for_new_calls() {
    let site = Site::new();
    let exporter = Exporter::launch_as_it_is(site.command().args(["--series-zero-for", "1ms"]));
    // An IDC of which nobody will see the first call.
    send(&exporter, 0..60);
    let mut prometheus = scrapes(Path::new("prometheus"), &site);
    prometheus.wait_until("sum(planet_calls_total)", |calls| calls == 60.0);
    assert_eq!(held(&prometheus, OF_CALLS[0]), 0.0);
    send(&exporter, 60..120);
    prometheus.wait_until("sum(planet_calls_total)", |calls| calls == 120.0);
    let grown = held(&prometheus, OF_CALLS[0]);
    assert_eq!(grown, 60.0, "what came since");
}

/// What somebody scrapes on a connection, of calls.
fn scraped(connection: &mut http::Connection, agent: &str) -> BTreeMap<String, f64> {
    let scrape = format!(
        "GET /metrics HTTP/1.1\r\nHost: x\r\nUser-Agent: {agent}\r\nX-Prometheus-Scrape-Timeout-Seconds: 10\r\n\r\n"
    );
    connection.send(scrape);
    let page = connection.receive().text();
    let calls = page.lines().filter_map(|line| line.strip_prefix("planet_calls_total{")?.rsplit_once(' '));
    calls.map(|(labels, value)| (labels.to_owned(), value.parse().expect("a number"))).collect()
}

#[test]
fn each_reader_is_shown_a_series_at_zero_once_and_nobody_takes_that_from_another() {
    let site = Site::new();
    let exporter = site.start();
    let sum = |series: BTreeMap<String, f64>| (series.len(), series.values().sum::<f64>());
    let [mut one, mut other] = [(); 2].map(|()| http::Connection::open(site.admin));
    assert_eq!(sum(scraped(&mut one, "Prometheus/3.1")), (0, 0.0));
    send(&exporter, 0..1);
    // A person, a head, and a second Prometheus of the same kind.
    assert_eq!(exporter.metrics().sum("planet_calls_total"), 1.0);
    assert_eq!(
        http::request(site.admin, "HEAD", "/metrics", &[("X-Prometheus-Scrape-Timeout-Seconds", "10")])
            .status,
        200
    );
    assert_eq!(sum(scraped(&mut other, "Prometheus/3.1")), (1, 0.0));
    assert_eq!(sum(scraped(&mut other, "Prometheus/3.1")), (1, 1.0));
    assert_eq!(sum(scraped(&mut one, "Prometheus/3.1")), (1, 0.0));
    assert_eq!(sum(scraped(&mut one, "Prometheus/3.1")), (1, 1.0));
    // After a kill nobody is shown it at 0 again, on whatever connection.
    exporter.kill();
    let exporter = site.start();
    let mut again = http::Connection::open(site.admin);
    assert_eq!(sum(scraped(&mut again, "Prometheus/3.1")), (1, 1.0));
    let mut newer = http::Connection::open(site.admin);
    assert_eq!(sum(scraped(&mut newer, "Prometheus/3.2")), (1, 1.0));
    // What a scrape was shown that nobody waited for any longer counts for nothing.
    send(&exporter, 1..2);
    again.send("GET /metrics HTTP/1.1\r\nHost: x\r\nUser-Agent: Prometheus/3.1\r\nX-Prometheus-Scrape-Timeout-Seconds: 0\r\n\r\n");
    again.receive();
    assert_eq!(sum(scraped(&mut again, "Prometheus/3.1")), (2, 1.0));
    assert_eq!(sum(scraped(&mut again, "Prometheus/3.1")), (2, 2.0));
}
