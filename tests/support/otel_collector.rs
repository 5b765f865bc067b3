//! A real OpenTelemetry Collector, which writes what it receives into a file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use super::Scratch;
use super::process::Process;
use super::rotel::Addresses;

/// How a collector is configured, where it differs from the usual.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Lines below each of the protocols grpc and http, in YAML.
    pub grpc: String,
    pub http: String,
    /// It takes no spans.
    pub without_traces: bool,
    /// Only who sends this bearer token is heard.
    pub token: Option<String>,
}

/// A running collector.
#[derive(Debug)]
pub struct OtelCollector {
    pub process: Process,
    received: PathBuf,
    // Dropped after the process that writes into it.
    _scratch: Scratch,
}

impl OtelCollector {
    /// Starts a collector at these addresses, and waits until it listens.
    pub fn start(addresses: Addresses, options: &Options) -> OtelCollector {
        let scratch = Scratch::new("otel-collector");
        let (received, configuration) = (scratch.0.join("received.json"), scratch.0.join("collector.yaml"));
        let text = configuration_of(addresses, options, &received.display().to_string());
        std::fs::write(&configuration, text).expect("a file");
        let mut process = Process::start(
            &format!("the OpenTelemetry Collector ({})", program().display()),
            Command::new(program()).arg("--config").arg(format!("file:{}", configuration.display())),
        );
        for address in [addresses.grpc, addresses.http] {
            process.eventually(&format!("{address} being open"), |_| {
                std::net::TcpStream::connect(address).ok().map(drop)
            });
        }
        OtelCollector { process, received, _scratch: scratch }
    }

    /// The trace IDs of the spans that it received, and how often each came.
    pub fn spans(&self) -> BTreeMap<String, usize> {
        let mut spans = BTreeMap::new();
        for span in self.whole_spans() {
            *spans.entry(span["traceId"].as_str().expect("an ID").to_owned()).or_default() += 1;
        }
        spans
    }

    /// The spans that it received.
    pub fn whole_spans(&self) -> Vec<Value> {
        self.items("resourceSpans", "scopeSpans", "spans")
    }

    /// The log records that it received.
    pub fn logs(&self) -> Vec<Value> {
        self.items("resourceLogs", "scopeLogs", "logRecords")
    }

    fn items(&self, resources: &str, scopes: &str, items: &str) -> Vec<Value> {
        let scopes = self.scopes(resources, scopes);
        scopes.iter().flat_map(|scope| scope[items].as_array().cloned().unwrap_or_default()).collect()
    }

    /// How many points of each metric it received.
    pub fn points(&self) -> BTreeMap<String, usize> {
        let mut points = BTreeMap::new();
        for scope in self.scopes("resourceMetrics", "scopeMetrics") {
            for metric in scope["metrics"].as_array().into_iter().flatten() {
                let data = ["sum", "gauge", "histogram"].into_iter().find_map(|kind| metric.get(kind));
                let data_points = data.and_then(|data| data["dataPoints"].as_array());
                let name = metric["name"].as_str().expect("a name").to_owned();
                *points.entry(name).or_default() += data_points.map_or(0, Vec::len);
            }
        }
        points
    }

    fn scopes(&self, resources: &str, scopes: &str) -> Vec<Value> {
        let written = std::fs::read_to_string(&self.received).unwrap_or_default();
        // The last line may be on its way.
        let messages = written.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let of = |value: &Value, name: &str| value[name].as_array().cloned().unwrap_or_default();
        messages
            .flat_map(|message| of(&message, resources))
            .flat_map(|resource| of(&resource, scopes))
            .collect()
    }
}

fn configuration_of(addresses: Addresses, options: &Options, file: &str) -> String {
    let Options { grpc, http, without_traces, token } = options;
    let auth = if token.is_some() { "        auth: {authenticator: bearertokenauth}\n" } else { "" };
    let extension = match token {
        Some(token) => format!("extensions:\n  bearertokenauth: {{token: \"{token}\"}}\n"),
        None => String::new(),
    };
    let extensions = if token.is_some() { "  extensions: [bearertokenauth]\n" } else { "" };
    let traces = if *without_traces { "" } else { "    traces: {receivers: [otlp], exporters: [file]}\n" };
    let (grpc_address, http_address) = (addresses.grpc, addresses.http);
    format!(
        "{extension}receivers:\n  otlp:\n    protocols:\n      grpc:\n        endpoint: \"{grpc_address}\"\n{auth}{grpc}\
         \x20     http:\n        endpoint: \"{http_address}\"\n{auth}{http}\
         exporters:\n  file: {{path: \"{file}\", flush_interval: 100ms}}\n\
         service:\n{extensions}  telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n{traces}\
         \x20   metrics: {{receivers: [otlp], exporters: [file]}}\n\
         \x20   logs: {{receivers: [otlp], exporters: [file]}}\n"
    )
}

/// The collector's program, which `tests/run --peers` builds.
fn program() -> PathBuf {
    let built = concat!(env!("CARGO_MANIFEST_DIR"), "/.tools/otelcol/otelcol");
    std::env::var_os("PLANET_TEST_OTELCOL").map_or_else(|| PathBuf::from(built), PathBuf::from)
}
