//! A real Prometheus that scrapes the exporter, and promtool.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::call::percent_encode;
use super::process::Process;
use super::scrape::Series;
use super::{Scratch, http};

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    address: SocketAddr,
    // Dropped after the process that writes into it.
    _scratch: Scratch,
}

impl Prometheus {
    /// Starts a Prometheus that scrapes the admin port each second, and waits until it is ready.
    pub fn scraping(admin: SocketAddr) -> Prometheus {
        Prometheus::start(&[("planet", admin)], "")
    }

    /// Starts a Prometheus that scrapes these jobs each second, with more lines in its configuration, and waits until it
    /// is ready.
    pub fn start(jobs: &[(&str, SocketAddr)], more: &str) -> Prometheus {
        Prometheus::of(Path::new("prometheus"), jobs, more)
    }

    /// The same of this program, which may be of another version.
    pub fn of(program: &Path, jobs: &[(&str, SocketAddr)], more: &str) -> Prometheus {
        Prometheus::with(program, jobs, more, &[])
    }

    /// The same with these arguments, too.
    pub fn with(program: &Path, jobs: &[(&str, SocketAddr)], more: &str, arguments: &[&str]) -> Prometheus {
        let mut text =
            format!("{more}\nglobal: {{scrape_interval: 1s, evaluation_interval: 1s}}\nscrape_configs:\n");
        for (job, admin) in jobs {
            text += &format!("  - {{job_name: {job}, static_configs: [{{targets: ['{admin}']}}]}}\n");
        }
        Prometheus::configured(program, &text, arguments)
    }

    /// Starts this program with a configuration and more arguments, and waits until it is ready.
    pub fn configured(program: &Path, text: &str, arguments: &[&str]) -> Prometheus {
        Prometheus::started(program, text, arguments, Scratch::new("prometheus"))
    }

    /// Starts a Prometheus that scrapes nothing and has the samples of a file in OpenMetrics, however old they are.
    pub fn with_samples(file: &Path) -> Prometheus {
        let scratch = Scratch::new("prometheus");
        let import = Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "--max-block-duration=2000h", "openmetrics", "-q"])
            .args([file, &scratch.0.join("data")])
            .output()
            .expect("promtool, which tests/run installs");
        assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
        Prometheus::started(Path::new("prometheus"), "", &["--storage.tsdb.retention.time=100y"], scratch)
    }

    fn started(program: &Path, text: &str, arguments: &[&str], scratch: Scratch) -> Prometheus {
        let configuration = scratch.0.join("prometheus.yml");
        std::fs::write(&configuration, text).expect("a configuration");
        let mut process = Process::start(
            "prometheus",
            Command::new(program)
                .arg(format!("--config.file={}", configuration.display()))
                .arg(format!("--storage.tsdb.path={}", scratch.0.join("data").display()))
                .arg("--web.listen-address=127.0.0.1:0")
                .args(arguments),
        );
        let line = process.eventually("its address", |process| process.stderr.find("msg=\"Listening on\""));
        let address = line.split_once("address=").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
        let address = address.unwrap_or_else(|| panic!("no address in {line}"));
        process.eventually("its readiness", |_| {
            let answer = http::try_request(address, "GET", "/-/ready", &[]).ok()?;
            (answer.status == 200).then_some(())
        });
        Prometheus { process, address, _scratch: scratch }
    }

    /// Where its API is.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where a Prometheus 3 with --web.enable-otlp-receiver takes metrics over OTLP.
    pub fn otlp_metrics(&self) -> String {
        format!("http://{}/api/v1/otlp/v1/metrics", self.address)
    }

    /// The answer to an instant query: series without `job` and `instance`, and their values.
    pub fn query(&self, query: &str) -> BTreeMap<Series, f64> {
        self::query(self.address, query)
    }

    /// How much each series has grown since its first sample, as its raw samples say, with what began anew added.
    pub fn growth(&self, selector: &str) -> BTreeMap<Series, f64> {
        self::growth(self.address, selector)
    }

    /// The answer of its API to a GET.
    pub fn get(&self, path_and_query: &str) -> serde_json::Value {
        http::get(self.address, path_and_query).json()
    }

    /// The answer of its API to a POST with more headers, each with its line end.
    pub fn post(&self, path: &str, headers: &str, body: &[u8]) -> http::Response {
        let mut connection = http::Connection::open(self.address);
        let length = body.len();
        connection
            .send(format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {length}\r\n{headers}\r\n"));
        connection.send(body);
        connection.receive()
    }

    /// The first line of its log with this text in it, if there is one by now.
    pub fn said(&self, text: &str) -> Option<String> {
        self.process.stderr.find(text)
    }

    /// How many samples the query answers, or what is wrong with it.
    pub fn samples(&self, query: &str) -> Result<usize, String> {
        let path = format!("/api/v1/query?query={}", percent_encode(query.as_bytes()));
        let answer = http::get(self.address, &path).json();
        match answer["data"]["result"].as_array() {
            Some(samples) => Ok(samples.len()),
            None => Err(answer.to_string()),
        }
    }

    /// Asks until the query answers one sample that is accepted.
    pub fn wait_until(&mut self, query: &str, is_accepted: impl Fn(f64) -> bool) -> f64 {
        super::eventually(&format!("an answer to {query}"), || {
            assert_eq!(self.process.ended(), None, "Prometheus ended");
            let values: Vec<f64> = self.query(query).into_values().collect();
            values.first().copied().filter(|value| values.len() == 1 && is_accepted(*value))
        })
    }
}

/// The answer to an instant query by what has the API of Prometheus: series without `job` and `instance`, and their values.
pub fn query(address: SocketAddr, query: &str) -> BTreeMap<Series, f64> {
    let result = result_of(address, query);
    result.iter().map(|sample| read_sample(sample).unwrap_or_else(|| panic!("{sample}"))).collect()
}

/// How much each series has grown since its first sample there, as its raw samples say, with what began anew added.
pub fn growth(address: SocketAddr, selector: &str) -> BTreeMap<Series, f64> {
    let mut growth = BTreeMap::new();
    for series in result_of(address, &format!("{selector}[1d]")) {
        let values = series["values"].as_array().expect("samples").iter();
        let values = values.map(|sample| sample[1].as_str().expect("a text").parse().expect("a number"));
        // VictoriaMetrics shows where a series ended for a while; Prometheus does not.
        let values: Vec<f64> = values.filter(|value: &f64| !value.is_nan()).collect();
        let grown: f64 =
            values.windows(2).map(|pair| if pair[1] < pair[0] { pair[1] } else { pair[1] - pair[0] }).sum();
        *growth.entry(read_series(&series).expect("labels")).or_default() += grown;
    }
    growth
}

fn result_of(address: SocketAddr, query: &str) -> Vec<serde_json::Value> {
    let path = format!("/api/v1/query?query={}", percent_encode(query.as_bytes()));
    let answer = http::get(address, &path).json();
    assert_eq!(answer["status"], "success", "{query}: {answer}");
    answer["data"]["result"].as_array().expect("a vector or a matrix").clone()
}

fn read_sample(sample: &serde_json::Value) -> Option<(Series, f64)> {
    Some((read_series(sample)?, sample["value"][1].as_str()?.parse().ok()?))
}

/// The name and the labels of a series but for `job` and `instance`.
fn read_series(sample: &serde_json::Value) -> Option<Series> {
    let mut labels = BTreeMap::new();
    for (name, value) in sample["metric"].as_object()? {
        labels.insert(name.clone(), value.as_str()?.to_owned());
    }
    let name = labels.remove("__name__").unwrap_or_default();
    labels.retain(|name, _| !matches!(name.as_str(), "job" | "instance"));
    Some((name, labels))
}

/// What `promtool check metrics` says of a page.
pub fn check_metrics(page: &str) -> Output {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("promtool cannot be started; tests/run installs it: {error}"));
    // Dropped at the end of the statement, so that promtool sees the end of the page. It may stop reading at an error.
    let _ = promtool.stdin.take().expect("a pipe").write_all(page.as_bytes());
    promtool.wait_with_output().expect("promtool ends")
}
