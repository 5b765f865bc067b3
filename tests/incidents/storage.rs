//! A real Prometheus that is written to by remote write and asked by range queries.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use prost::Message;

use crate::support::call::percent_encode;
use crate::support::prometheus::Prometheus;

/// The labels of a series, the name among them.
pub type Labels = BTreeMap<String, String>;

/// What remote write and queries say of a series that has ended.
pub const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// The fields of Prometheus's remote write, version 1, that are used.
#[derive(Clone, PartialEq, Message)]
struct WriteRequest {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    /// Milliseconds.
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

/// The answer of a range query: for each series its values by step, in Unix seconds.
pub type Range = Vec<(Labels, Vec<(u64, f64)>)>;

/// The Prometheus.
#[derive(Debug)]
pub struct Storage {
    prometheus: Prometheus,
    numbers: HashMap<Labels, Handle>,
    /// By number: each series, with what waits to be written of it.
    series: Vec<TimeSeries>,
}

/// A series that can be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handle(usize);

impl Storage {
    /// Starts this program on an empty directory.
    pub fn start(program: &Path) -> Storage {
        let arguments = [
            "--web.enable-remote-write-receiver",
            // What is written may be half of this older than the newest.
            "--storage.tsdb.min-block-duration=1d",
            "--storage.tsdb.max-block-duration=1d",
            "--storage.tsdb.retention.time=10y",
            "--query.max-samples=200000000",
        ];
        let prometheus = Prometheus::configured(program, "global: {}\n", &arguments);
        Storage { prometheus, numbers: HashMap::new(), series: Vec::new() }
    }

    /// The series with these labels.
    pub fn series(&mut self, labels: &Labels) -> Handle {
        if let Some(handle) = self.numbers.get(labels) {
            return *handle;
        }
        let handle = Handle(self.series.len());
        self.numbers.insert(labels.clone(), handle);
        let labels = labels.iter().map(|(name, value)| Label { name: name.clone(), value: value.clone() });
        self.series.push(TimeSeries { labels: labels.collect(), samples: Vec::new() });
        handle
    }

    /// Takes a sample, at a time in Unix seconds, to be written with others.
    pub fn put(&mut self, Handle(number): Handle, time: u64, value: f64) {
        self.series[number].samples.push(Sample { value, timestamp: time as i64 * 1000 });
    }

    /// Writes what was put.
    pub fn write(&mut self) {
        let has_samples = |series: &&TimeSeries| !series.samples.is_empty();
        let timeseries: Vec<_> = self.series.iter().filter(has_samples).cloned().collect();
        self.series.iter_mut().for_each(|series| series.samples.clear());
        for some in timeseries.chunks(500) {
            let message = WriteRequest { timeseries: some.to_vec() }.encode_to_vec();
            let body = snap::raw::Encoder::new().compress_vec(&message).expect("compressible");
            let head = "content-type: application/x-protobuf\r\ncontent-encoding: snappy\r\n\
                        x-prometheus-remote-write-version: 0.1.0\r\n";
            let answer = self.prometheus.post("/api/v1/write", head, &body);
            assert!(answer.status < 300, "remote write: {} {}", answer.status, answer.text());
        }
    }

    /// Asks for an expression at every step.
    pub fn ask(&self, expression: &str, from: u64, to: u64, step: u64) -> Range {
        let expression = percent_encode(expression.as_bytes());
        let form = format!("query={expression}&start={from}&end={to}&step={step}");
        let head = "content-type: application/x-www-form-urlencoded\r\n";
        let answer = self.prometheus.post("/api/v1/query_range", head, form.as_bytes());
        let answer = answer.json();
        let series = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{expression}: {answer}"));
        series.iter().map(|series| (labels(&series["metric"]), values(&series["values"]))).collect()
    }
}

fn labels(of: &serde_json::Value) -> Labels {
    let pairs = of.as_object().into_iter().flatten();
    pairs.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

fn values(of: &serde_json::Value) -> Vec<(u64, f64)> {
    let pairs = of.as_array().into_iter().flatten();
    let pair = |pair: &serde_json::Value| Some((pair[0].as_f64()? as u64, pair[1].as_str()?.parse().ok()?));
    pairs.filter_map(pair).collect()
}
