//! VictoriaMetrics, vmagent and vmalert, started as docs/victoriametrics.md says.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::process::Process;
use super::{Scratch, eventually, free_address, http, prometheus};

/// A running program of VictoriaMetrics.
#[derive(Debug)]
pub struct Program {
    pub address: SocketAddr,
    // Dropped before the directory that it writes into.
    _process: Process,
    _scratch: Scratch,
}

impl Program {
    /// Starts the command of the documentation that begins like this, with these names in it and in its files replaced and with
    /// more flags, which prevail over those of the documentation; waits until it is up.
    pub fn start(beginning: &str, names: &[(&str, &str)], flags: &[&str]) -> Program {
        let (scratch, address) = (Scratch::new("victoriametrics"), free_address());
        let (scrape, relabel) = (block("scrape_configs:"), block("- source_labels: [service_name]"));
        let scrape = format!("global: {{scrape_interval: 1s}}\n{}", replaced(scrape, names));
        fs::write(scratch.0.join("scrape.yml"), scrape).expect("a file");
        fs::write(scratch.0.join("relabel.yml"), relabel).expect("a file");
        let words = command_line(beginning, names);
        let own: &[&str] = match words[0].as_str() {
            "victoria-metrics" => &["-storageDataPath=data", "-search.latencyOffset=0s"],
            "vmagent" => &["-remoteWrite.tmpDataPath=queue"],
            _ => &[],
        };
        let mut command = Command::new(program(&words[0]));
        // Of a flag that is there twice the last one counts.
        command.current_dir(&scratch.0).args(&words[1..]).args(own).args(flags);
        let mut process = Process::start(&words[0], command.arg(format!("-httpListenAddr={address}")));
        process.eventually("its health", |_| {
            let answer = http::try_request(address, "GET", "/health", &[]).ok()?;
            (answer.status == 200).then_some(())
        });
        Program { address, _process: process, _scratch: scratch }
    }

    /// The vmalert of the documentation with rule files and data of this VictoriaMetrics, which evaluates often and
    /// tells nobody.
    pub fn vmalert(data: &Program) -> Program {
        let data = data.url();
        let names = [
            ("dashboards/rules", &*root().join("dashboards/rules").display().to_string()),
            ("http://victoria-metrics:8428", &*data),
            ("-notifier.url=http://alertmanager:9093", "-notifier.blackhole"),
        ];
        let often = ["-evaluationInterval=3s", "-rule.evalDelay=0s", "-remoteWrite.flushInterval=200ms"];
        Program::start("vmalert", &names, &often)
    }

    /// Its URL, without a path.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How much the series of the selector have grown together since the first sample of each.
    pub fn growth(&self, selector: &str) -> f64 {
        prometheus::growth(self.address, selector).values().sum()
    }

    /// Waits until the query answers one sample with this value.
    pub fn wait_until(&self, query: &str, value: f64) {
        eventually(&format!("{value} of {query}"), || {
            self.flush();
            prometheus::query(self.address, query).into_values().eq([value]).then_some(())
        });
    }

    /// Lets a VictoriaMetrics show at once what it has, where new series can take ten seconds otherwise.
    pub fn flush(&self) {
        assert_eq!(http::get(self.address, "/internal/force_flush").status, 200);
    }

    /// The groups of rules of a vmalert, with what became of their latest evaluation.
    pub fn rule_groups(&self) -> Vec<Value> {
        self.listed("/api/v1/rules", "groups")
    }

    /// The alerts of a vmalert that are pending or firing.
    pub fn alerts(&self) -> Vec<Value> {
        self.listed("/api/v1/alerts", "alerts")
    }

    fn listed(&self, path: &str, name: &str) -> Vec<Value> {
        let answer = http::get(self.address, path).json();
        answer["data"][name].as_array().unwrap_or_else(|| panic!("no {name} in {answer}")).clone()
    }
}

/// The environment in which the documentation lets the exporter push, to this VictoriaMetrics.
pub fn pushing_to(data: &Program) -> Vec<(String, String)> {
    let url = data.url();
    let words =
        command_line("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", &[("http://victoria-metrics:8428", &url)]);
    let variables = words.iter().filter_map(|word| word.split_once('='));
    variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// A program that `tests/run --peers` builds.
pub fn program(name: &str) -> PathBuf {
    let named = std::env::var_os("PLANET_TEST_VICTORIAMETRICS").map(PathBuf::from);
    named.unwrap_or_else(|| root().join(".tools/victoriametrics")).join(name)
}

/// The words of the command of the documentation that begins like this.
pub fn command_line(beginning: &str, names: &[(&str, &str)]) -> Vec<String> {
    let words = replaced(block(beginning), names).replace("\\\n", " ").replace('\'', "");
    words.split_whitespace().map(str::to_owned).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn replaced(text: String, names: &[(&str, &str)]) -> String {
    names.iter().fold(text, |text, (name, other)| text.replace(name, other))
}

/// The indented block of the documentation that begins like this, without the indent.
fn block(beginning: &str) -> String {
    let page = fs::read_to_string(root().join("docs/victoriametrics.md")).expect("the documentation");
    let lines = page.lines().map(|line| line.strip_prefix("    "));
    let lines = lines.skip_while(|line| !line.is_some_and(|line| line.starts_with(beginning)));
    let block: Vec<_> = lines.map_while(|line| line).collect();
    assert!(!block.is_empty(), "no block in the documentation begins with {beginning}");
    block.join("\n")
}
